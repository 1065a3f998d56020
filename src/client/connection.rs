//! One connection to a Gearman server: requests out, responses in.
//!
//! Requests are queued by [`Connection::send`] and written while the connection waits in [`Connection::ready`] or
//! [`Connection::flush`]; both read whenever there is something to read, so that a server which wants to be read before it
//! reads on gets its way.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

use crate::config::Address;
use crate::proto::frame::MAX_BODY;
use crate::proto::{Decoded, Frame, FrameError, Magic, Request, Response, ResponseError};
use crate::proto::{decode, decode_within};
use crate::tls::explain_io;
use crate::tls::wire::{self, Incoming, MAX_CIPHERTEXT};

/// How long a server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A sleeping worker hears nothing for days, and must notice within two minutes that the server's machine is gone.
const KEEPALIVE: TcpKeepalive = TcpKeepalive::new()
    .with_time(Duration::from_secs(60))
    .with_interval(Duration::from_secs(10))
    .with_retries(6);

/// The longest body that is read: a workload of the longest body that a server accepts comes back with a handle before it.
const MAX_RECEIVED: usize = MAX_BODY + (4 << 10);

/// Bytes of what is read at a time; the buffer grows by what has come, never by what was announced.
const CHUNK: usize = 64 << 10;

/// Bytes of TLS that are read at a time: a record.
const TLS_CHUNK: usize = 16 << 10;

/// A server that could not be reached.
#[derive(Debug, thiserror::Error)]
#[error("cannot connect to {address}: {}", unreachable(.source))]
pub struct ConnectError {
    /// Where it should have been.
    pub address: Address,
    /// What the system said.
    pub source: io::Error,
}

/// A connection that is of no use any more.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionError {
    /// The server has closed it.
    #[error("{0} closed the connection")]
    Closed(Address),
    /// The system gave it up.
    #[error("the connection to {address} is lost: {}", explain_io(.source))]
    Io {
        /// Where it led.
        address: Address,
        /// What the system said.
        source: io::Error,
    },
    /// The stream does not follow the protocol's framing.
    #[error("{0} does not speak Gearman: {1}")]
    Frame(Address, #[source] FrameError),
    /// A packet that a server does not send.
    #[error("{0} does not speak Gearman: {1}")]
    Response(Address, #[source] ResponseError),
    /// A line of text where a packet should be, or the reverse.
    #[error("{0} does not speak Gearman: {1}")]
    Unexpected(Address, &'static str),
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Tls(TcpStream, Box<ClientConnection>),
    Unix(UnixStream),
}

fn unreachable(source: &io::Error) -> String {
    let reason = explain_io(source);
    // who has answered in TLS, or has closed, is there
    match source.get_ref() {
        Some(error) if error.is::<rustls::Error>() || error.is::<NotTls>() => reason,
        _ => format!("{reason}; is a Gearman server running there?"),
    }
}

/// The end of the stream where a handshake should be.
#[derive(Debug, thiserror::Error)]
#[error("it closed the connection instead of answering; does it speak TLS?")]
struct NotTls;

/// A connection to a Gearman server.
#[derive(Debug)]
pub struct Connection {
    address: Address,
    stream: Stream,
    /// What was read. The first `taken` bytes of it belong to frames that were handed out.
    input: Vec<u8>,
    taken: usize,
    /// What is to be written. The first `written` bytes of it are.
    output: Vec<u8>,
    written: usize,
}

impl Connection {
    /// Connects within 10 seconds, the handshake included. `tls` is for an address with TLS.
    ///
    /// # Errors
    /// [`ConnectError`], a sentence that names the address.
    pub async fn connect(
        address: &Address,
        tls: Option<&Arc<ClientConfig>>,
    ) -> Result<Connection, ConnectError> {
        let connecting = async {
            let stream = match address {
                Address::Tcp(host, port) => Stream::Tcp(connect_tcp(host, *port).await?),
                Address::Tls(host, port) => {
                    let session = session(host, tls)?;
                    Stream::Tls(connect_tcp(host, *port).await?, session)
                }
                Address::Unix(path) => Stream::Unix(UnixStream::connect(path).await?),
            };
            let mut connection = Connection {
                address: address.clone(),
                stream,
                input: Vec::new(),
                taken: 0,
                output: Vec::new(),
                written: 0,
            };
            connection.shake_hands().await?;
            Ok(connection)
        };
        within(CONNECT_TIMEOUT, connecting)
            .await
            .map_err(|source| ConnectError {
                address: address.clone(),
                source,
            })
    }

    async fn shake_hands(&mut self) -> io::Result<()> {
        while let Stream::Tls(_, tls) = &self.stream
            && tls.is_handshaking()
        {
            let interest = self.interest();
            self.transfer(interest)
                .await
                .map_err(|error| match error.kind() {
                    io::ErrorKind::UnexpectedEof => io::Error::other(NotTls),
                    _ => error,
                })?;
        }
        Ok(())
    }

    /// Where it leads.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Queues a request. It is written while the connection is waited for, or by [`Connection::flush`].
    pub fn send(&mut self, request: &Request<'_>) {
        request.encode(&mut self.output);
    }

    /// Queues a line of admin text; the line end is added.
    pub fn send_line(&mut self, line: &str) {
        self.output.extend_from_slice(line.as_bytes());
        self.output.push(b'\n');
    }

    /// Bytes that are queued and not yet written.
    pub fn unsent(&self) -> usize {
        self.output.len() - self.written
    }

    /// Writes all that is queued. Cancelled, it can be called again.
    ///
    /// # Errors
    /// [`ConnectionError`], after which the connection is of no use.
    pub async fn flush(&mut self) -> Result<(), ConnectionError> {
        while self.has_output() {
            self.progress().await?;
        }
        Ok(())
    }

    /// Waits until [`Connection::try_receive`] has something, and writes what is queued meanwhile. Cancelled, it can be called again.
    ///
    /// # Errors
    /// [`ConnectionError`], after which the connection is of no use.
    pub async fn ready(&mut self) -> Result<(), ConnectionError> {
        while self.frame()?.is_none() {
            self.progress().await?;
        }
        Ok(())
    }

    /// The next response, if a whole one has come. It borrows from the buffer.
    ///
    /// # Errors
    /// [`ConnectionError`], after which the connection is of no use.
    pub fn try_receive(&mut self) -> Result<Option<Response<'_>>, ConnectionError> {
        let Some(taken) = self.frame()? else {
            return Ok(None);
        };
        let from = self.taken;
        self.taken += taken;
        match decode_within(&self.input[from..], MAX_RECEIVED) {
            Ok(Decoded::Frame(
                Frame::Packet {
                    magic: Magic::Response,
                    kind,
                    body,
                },
                _,
            )) => Response::parse(kind, body)
                .map(Some)
                .map_err(|error| ConnectionError::Response(self.address.clone(), error)),
            Ok(Decoded::Frame(Frame::Packet { .. }, _)) => {
                Err(self.unexpected("it sent a request"))
            }
            Ok(Decoded::Frame(Frame::Text(_), _)) => Err(self.unexpected("it sent a line of text")),
            Ok(Decoded::Incomplete(_)) => Ok(None),
            Err(error) => Err(ConnectionError::Frame(self.address.clone(), error)),
        }
    }

    /// Waits for the next response.
    ///
    /// # Errors
    /// [`ConnectionError`], after which the connection is of no use.
    pub async fn receive(&mut self) -> Result<Response<'_>, ConnectionError> {
        self.ready().await?;
        let closed = ConnectionError::Closed(self.address.clone());
        self.try_receive()?.ok_or(closed)
    }

    /// Waits for the next line of an admin command's answer, without its line end.
    ///
    /// # Errors
    /// [`ConnectionError`], after which the connection is of no use.
    pub async fn line(&mut self) -> Result<&[u8], ConnectionError> {
        self.ready().await?;
        let from = self.taken;
        self.taken += self.frame()?.unwrap_or_default();
        match decode(&self.input[from..]) {
            Ok(Decoded::Frame(Frame::Text(line), _)) => Ok(line),
            _ => Err(self.unexpected("it sent a packet instead of a line of text")),
        }
    }

    fn unexpected(&self, what: &'static str) -> ConnectionError {
        ConnectionError::Unexpected(self.address.clone(), what)
    }

    /// The length of the frame at the head of what was read, if it is whole.
    fn frame(&self) -> Result<Option<usize>, ConnectionError> {
        match decode_within(&self.input[self.taken..], MAX_RECEIVED) {
            Ok(Decoded::Frame(_, taken)) => Ok(Some(taken)),
            Ok(Decoded::Incomplete(_)) => Ok(None),
            Err(error) => Err(ConnectionError::Frame(self.address.clone(), error)),
        }
    }

    /// Whether something is left to write: what was queued, or what TLS has made of it.
    fn has_output(&self) -> bool {
        self.unsent() > 0 || matches!(&self.stream, Stream::Tls(_, tls) if tls.wants_write())
    }

    fn interest(&self) -> Interest {
        match self.has_output() {
            false => Interest::READABLE,
            true => Interest::READABLE | Interest::WRITABLE,
        }
    }

    /// Reads or writes something, whichever is possible first.
    async fn progress(&mut self) -> Result<(), ConnectionError> {
        consume(&mut self.input, &mut self.taken);
        let interest = self.interest();
        match self.transfer(interest).await {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(ConnectionError::Closed(self.address.clone()))
            }
            Err(source) => Err(ConnectionError::Io {
                address: self.address.clone(),
                source,
            }),
        }
    }

    async fn transfer(&mut self, interest: Interest) -> io::Result<()> {
        let ready = match &self.stream {
            Stream::Tcp(stream) | Stream::Tls(stream, _) => stream.ready(interest).await?,
            Stream::Unix(stream) => stream.ready(interest).await?,
        };
        let mut came = 0;
        if ready.is_readable() || ready.is_read_closed() {
            self.input.reserve(CHUNK);
            let result = match &mut self.stream {
                Stream::Tcp(stream) => stream.try_read_buf(&mut self.input),
                Stream::Tls(stream, tls) => read_tls(stream, tls, &mut self.input),
                Stream::Unix(stream) => stream.try_read_buf(&mut self.input),
            };
            match result {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => came = count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        if ready.is_writable() && self.has_output() {
            let rest = &self.output[self.written..];
            let result = match &mut self.stream {
                Stream::Tcp(stream) => stream.try_write(rest),
                Stream::Tls(stream, tls) => {
                    let mut taken = 0;
                    let sent = wire::send(tls, rest, &mut taken, |bytes| stream.try_write(bytes));
                    self.written += taken;
                    sent.map(|()| 0)
                }
                Stream::Unix(stream) => stream.try_write(rest),
            };
            match result {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // a server that refuses and closes has said why, and that is to be read first; reading ends in an error too
                Err(_) if came > 0 => {}
                Err(error) => return Err(error),
            }
            consume(&mut self.output, &mut self.written);
        }
        Ok(())
    }
}

/// The server goes by the end of the stream too; a middleman that looks for TLS's own end gets it where the socket takes it.
impl Drop for Connection {
    fn drop(&mut self) {
        if let Stream::Tls(stream, tls) = &mut self.stream {
            tls.send_close_notify();
            let _ = wire::send(tls, &[], &mut 0, |bytes| stream.try_write(bytes));
        }
    }
}

async fn connect_tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    SockRef::from(&stream).set_tcp_keepalive(&KEEPALIVE)?;
    Ok(stream)
}

fn session(host: &str, tls: Option<&Arc<ClientConfig>>) -> io::Result<Box<ClientConnection>> {
    let config = tls.ok_or_else(|| io::Error::other("no CA is known for TLS"))?;
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| io::Error::other("no certificate can be for such a name"))?;
    let mut session = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
    session.set_buffer_limit(Some(MAX_CIPHERTEXT));
    Ok(Box::new(session))
}

/// Reads what has come, and appends what it says. Returns how many bytes have come of both together, 0 at the end.
fn read_tls(
    stream: &TcpStream,
    tls: &mut ClientConnection,
    input: &mut Vec<u8>,
) -> io::Result<usize> {
    let mut bytes = vec![0; TLS_CHUNK];
    let count = stream.try_read(&mut bytes)?;
    let before = input.len();
    let incoming = wire::receive(tls, &bytes[..count], input).map_err(|error| {
        // the server should know why, and we go in any case
        let _ = wire::send(tls, &[], &mut 0, |bytes| stream.try_write(bytes));
        io::Error::other(error)
    })?;
    Ok(match incoming {
        Incoming::Open => count,
        Incoming::Ended => input.len() - before,
    })
}

/// Forgets the first `done` bytes when they are most of the buffer, and gives the memory of a long packet back.
fn consume(buffer: &mut Vec<u8>, done: &mut usize) {
    if *done < buffer.len() / 2 {
        return;
    }
    buffer.drain(..*done);
    *done = 0;
    if buffer.is_empty() && buffer.capacity() > 16 * CHUNK {
        *buffer = Vec::new();
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("no answer within {} s", limit.as_secs()),
        )),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::proto::frame::HEADER;

    /// A connection to a peer of the test.
    async fn pair() -> (Connection, TcpStream) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = Address::local(listener.local_addr().unwrap().port());
        let connection = Connection::connect(&address, None).await.unwrap();
        (connection, listener.accept().await.unwrap().0)
    }

    fn encoded(response: &Response<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        response.encode(&mut out);
        out
    }

    #[tokio::test]
    async fn packets_byte_by_byte_and_lines_of_text() {
        let (mut connection, mut peer) = pair().await;
        let created = encoded(&Response::JobCreated { handle: b"H:a:1" });
        let writing = async {
            for byte in created.iter().chain(b"OK 1.1.20\r\n.\n") {
                peer.write_all(&[*byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
            peer.write_all(&[&created[..], &created[..], &created[..5]].concat())
                .await
                .unwrap();
            drop(peer);
        };
        let reading = async {
            let handle = b"H:a:1";
            assert_eq!(
                connection.receive().await.unwrap(),
                Response::JobCreated { handle }
            );
            assert_eq!(connection.line().await.unwrap(), b"OK 1.1.20");
            assert_eq!(connection.line().await.unwrap(), b".");
            for _ in 0..2 {
                assert_eq!(
                    connection.receive().await.unwrap(),
                    Response::JobCreated { handle }
                );
            }
            let torn = connection.receive().await.unwrap_err();
            assert!(torn.to_string().contains("closed the connection"), "{torn}");
        };
        tokio::join!(writing, reading);
    }

    /// Both sides have more to say than the sockets hold, and the peer reads only when it has said it.
    #[tokio::test]
    async fn a_peer_that_wants_to_be_read_first() {
        const LENGTH: usize = 16 << 20;
        let (mut connection, mut peer) = pair().await;
        let big = vec![b'a'; LENGTH];
        let talking = async {
            let mut echo = encoded(&Response::EchoRes { data: &big });
            peer.write_all(&echo).await.unwrap();
            peer.read_exact(&mut echo).await.unwrap();
            peer
        };
        connection.send(&Request::EchoReq { data: &big });
        assert_eq!(connection.unsent(), HEADER + LENGTH);
        let (flushed, _peer) = tokio::join!(connection.flush(), talking);
        flushed.unwrap();
        assert_eq!(connection.unsent(), 0);
        match connection.receive().await.unwrap() {
            Response::EchoRes { data } => assert!(data == big),
            other => panic!("{other:?}"),
        }
        assert!(connection.try_receive().unwrap().is_none());
    }

    #[tokio::test]
    async fn peers_that_do_not_speak_gearman() {
        let table: [(&[u8], &str); 5] = [
            (b"HTTP/1.1 400 Bad Request\r\n", "a line of text"),
            (b"\0BAD", "does not begin with"),
            (b"\0REQ\0\0\0\x01\0\0\0\x01f", "it sent a request"),
            (b"\0RES\0\0\0\x01\0\0\0\x01f", "packet 1 is not one"),
            (b"\0RES\0\0\0\x11\xff\0\0\0", "more than are accepted"),
        ];
        for (bytes, part) in table {
            let (mut connection, mut peer) = pair().await;
            peer.write_all(bytes).await.unwrap();
            let error = connection.receive().await.unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[tokio::test]
    async fn errors_are_plain() {
        let address: Address = "unix:/no/such/socket".parse().unwrap();
        assert_eq!(
            Connection::connect(&address, None)
                .await
                .unwrap_err()
                .to_string(),
            "cannot connect to unix:/no/such/socket: no such file or directory; is a Gearman server running there?"
        );
    }
}
