//! One epoll loop over raw Gearman connections, for the load and for the floor server alike.
//!
//! A turn is one `epoll_wait`, then one `read` a ready connection and one `write` for what was said in answer. It must never make
//! another system call in the steady state, for the floor is defined by these three.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use gearpool::proto::{Decoded, Frame, Kind, Request, decode};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// Bytes that one `read` takes at most.
const READ: usize = 64 << 10;

/// The token of the listener; connections have their place in the list.
const LISTENER: u64 = u64::MAX;

/// How long a server may leave the load without a single packet before the run is given up.
pub(crate) const SILENCE: Duration = Duration::from_secs(20);

/// What a peer's going means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Closing {
    /// A load's connections stand until the load drops them.
    Fails,
    /// A server's clients come and go.
    IsNormal,
}

/// The connections and what is still to be written to them.
pub(crate) struct Wire {
    epoll: Epoll,
    listener: Option<TcpListener>,
    closing: Closing,
    links: Vec<Option<Link>>,
    outboxes: Outboxes,
    scratch: Vec<u8>,
}

struct Link {
    stream: TcpStream,
    /// The head of a packet whose rest has not come yet.
    rest: Vec<u8>,
    /// Whether epoll also watches for room to write: only after a short write.
    blocked: bool,
}

/// Bytes on their way out, by connection.
#[derive(Default)]
pub(crate) struct Outboxes {
    boxes: Vec<Vec<u8>>,
    filled: Vec<usize>,
}

impl Outboxes {
    /// The bytes waiting for connection `at`; the turn writes them.
    pub(crate) fn to(&mut self, at: usize) -> &mut Vec<u8> {
        if self.boxes[at].is_empty() {
            self.filled.push(at);
        }
        &mut self.boxes[at]
    }
}

impl Wire {
    /// A wire whose connections are made by [`Wire::connect`]; it is an error when the server closes one.
    pub(crate) fn dialing() -> Result<Wire> {
        Wire::new(None, Closing::Fails)
    }

    /// A wire that accepts connections.
    pub(crate) fn listening(listener: TcpListener) -> Result<Wire> {
        listener.set_nonblocking(true)?;
        let wire = Wire::new(None, Closing::IsNormal)?;
        let event = EpollEvent::new(EpollFlags::EPOLLIN, LISTENER);
        wire.epoll.add(&listener, event)?;
        Ok(Wire {
            listener: Some(listener),
            ..wire
        })
    }

    fn new(listener: Option<TcpListener>, closing: Closing) -> Result<Wire> {
        Ok(Wire {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            listener,
            closing,
            links: Vec::new(),
            outboxes: Outboxes::default(),
            scratch: vec![0; READ],
        })
    }

    /// Connects, says `hello`, and returns the connection's place once the server has taken it in (an ECHO came back). One at a
    /// time, because gearmand's listener has a backlog of 32.
    pub(crate) fn connect(&mut self, address: SocketAddr, hello: &[u8]) -> Result<usize> {
        let mut stream = TcpStream::connect(address)?;
        let mut bytes = hello.to_vec();
        Request::EchoReq { data: b"ready" }.encode(&mut bytes);
        stream.set_read_timeout(Some(SILENCE))?;
        stream.write_all(&bytes)?;
        let mut answer = [0; 12 + b"ready".len()];
        stream
            .read_exact(&mut answer)
            .context("the server does not answer ECHO_REQ")?;
        self.adopt(stream)
    }

    /// The bytes waiting for a connection; [`Wire::flush`] or the next answer on the connection sends them.
    pub(crate) fn to(&mut self, at: usize) -> &mut Vec<u8> {
        self.outboxes.to(at)
    }

    /// Waits once, and hands every packet that has come to `handle` with its connection. Returns how many connections were ready:
    /// none when the time is up.
    pub(crate) fn turn(
        &mut self,
        wait: EpollTimeout,
        handle: &mut impl FnMut(usize, Kind, &[u8], &mut Outboxes) -> Result<()>,
    ) -> Result<usize> {
        let mut events = [EpollEvent::empty(); 64];
        let ready = match self.epoll.wait(&mut events, wait) {
            Ok(ready) => ready,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        for event in &events[..ready] {
            if event.data() == LISTENER {
                self.accept()?;
                continue;
            }
            let at = event.data() as usize;
            if event.events().contains(EpollFlags::EPOLLOUT) {
                self.outboxes.filled.push(at);
            }
            if event.events() != EpollFlags::EPOLLOUT {
                self.receive(at, handle)?;
            }
            self.flush()?;
        }
        Ok(ready)
    }

    /// Writes what is waiting, as far as the sockets take it.
    pub(crate) fn flush(&mut self) -> Result<()> {
        while let Some(at) = self.outboxes.filled.pop() {
            let outbox = &mut self.outboxes.boxes[at];
            let Some(link) = &mut self.links[at] else {
                outbox.clear();
                continue;
            };
            if outbox.is_empty() {
                continue;
            }
            match link.stream.write(outbox) {
                Ok(sent) => drop(outbox.drain(..sent)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) if self.closing == Closing::IsNormal => outbox.clear(),
                Err(error) => return Err(error.into()),
            }
            let blocked = !outbox.is_empty();
            if blocked != link.blocked {
                link.blocked = blocked;
                let mut flags = EpollFlags::EPOLLIN;
                flags.set(EpollFlags::EPOLLOUT, blocked);
                self.epoll
                    .modify(&link.stream, &mut EpollEvent::new(flags, at as u64))?;
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> Result<()> {
        while let Some(listener) = &self.listener {
            match listener.accept() {
                Ok((stream, _)) => drop(self.adopt(stream)?),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn adopt(&mut self, stream: TcpStream) -> Result<usize> {
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let at = self.links.len();
        let event = EpollEvent::new(EpollFlags::EPOLLIN, at as u64);
        self.epoll.add(&stream, event)?;
        self.links.push(Some(Link {
            stream,
            rest: Vec::new(),
            blocked: false,
        }));
        self.outboxes.boxes.push(Vec::new());
        Ok(at)
    }

    fn receive(
        &mut self,
        at: usize,
        handle: &mut impl FnMut(usize, Kind, &[u8], &mut Outboxes) -> Result<()>,
    ) -> Result<()> {
        let Some(link) = &mut self.links[at] else {
            return Ok(());
        };
        let got = match link.stream.read(&mut self.scratch) {
            Ok(0) => Err(io::Error::from(ErrorKind::UnexpectedEof)),
            Ok(got) => Ok(got),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => Err(error),
        };
        let got = match (got, self.closing) {
            (Ok(got), _) => got,
            (Err(_), Closing::IsNormal) => {
                self.links[at] = None;
                return Ok(());
            }
            (Err(error), Closing::Fails) => {
                return Err(error).context("the server closed a connection");
            }
        };
        let new = &self.scratch[..got];
        if link.rest.is_empty() {
            let used = packets(new, at, &mut self.outboxes, handle)?;
            link.rest.extend_from_slice(&new[used..]);
        } else {
            link.rest.extend_from_slice(new);
            let used = packets(&link.rest, at, &mut self.outboxes, handle)?;
            link.rest.drain(..used);
        }
        Ok(())
    }
}

/// Hands on the whole packets at the head of `bytes`, and returns how many bytes they took.
fn packets(
    bytes: &[u8],
    at: usize,
    outboxes: &mut Outboxes,
    handle: &mut impl FnMut(usize, Kind, &[u8], &mut Outboxes) -> Result<()>,
) -> Result<usize> {
    let mut used = 0;
    while let Decoded::Frame(frame, length) = decode(&bytes[used..])? {
        let Frame::Packet { kind, body, .. } = frame else {
            bail!("a line of text on a binary connection");
        };
        let kind = Kind::from_number(kind).context("a packet that the protocol does not have")?;
        handle(at, kind, body, outboxes)?;
        used += length;
    }
    Ok(used)
}
