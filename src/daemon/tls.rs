//! TLS for clients and workers that connect: what they are shown, and the handshake.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::hub::LINGER;
use crate::sys::net;
use crate::tls::wire::Incoming;
use crate::tls::{Handshake, Identity, Records, explain};

/// How long a peer may take for its handshake. Until it is done the job server does not know of the connection.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// What is said instead of a handshake where there is no room: a fatal alert, internal_error(80), RFC 8446, 6.
pub(super) const NO_ROOM: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];

/// Bytes that are read at a time in a handshake.
const READ: usize = 4 << 10;

/// What new connections are shown; those that are there keep what they were shown.
#[derive(Default)]
pub struct Certificates(Mutex<Option<Identity>>);

impl Certificates {
    /// Shows this one first, if there is any.
    pub fn new(identity: Option<Identity>) -> Certificates {
        Certificates(Mutex::new(identity))
    }

    /// Shows another one from now on. Returns whether it is another.
    pub(super) fn replace(&self, identity: Identity) -> bool {
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let old = current.replace(identity.clone());
        old.is_none_or(|old| old.fingerprint != identity.fingerprint)
    }

    /// What a new connection is shown. `None` where there is no TLS.
    pub(super) fn current(&self) -> Option<Arc<ServerConfig>> {
        let current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        current
            .as_ref()
            .map(|identity| Arc::clone(&identity.config))
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
enum HandshakeError {
    /// The peer says nothing, or too slowly.
    #[error("its handshake takes more than {} s", HANDSHAKE_TIMEOUT.as_secs())]
    TooSlow,
    /// The peer has gone.
    #[error("it has gone before the end of its handshake")]
    Gone,
    /// The socket is broken.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The peer's fault. It is to be told.
    #[error("{}", explain(.0))]
    Tls(#[from] rustls::Error),
}

/// Does a handshake, the server's side of it. `None` when there is no connection; why has been logged, and the peer has been told.
pub(super) async fn accept(
    stream: &TcpStream,
    remote: SocketAddr,
    config: Arc<ServerConfig>,
) -> Option<Records> {
    let mut handshake = Handshake::new(&config).ok()?;
    let shaken = timeout(HANDSHAKE_TIMEOUT, shake_hands(stream, &mut handshake)).await;
    let shaken = shaken.unwrap_or(Err(HandshakeError::TooSlow));
    let error = match shaken {
        Ok(()) => match handshake.finish() {
            Ok(records) => {
                // In TLS 1.3 the client has the last word, and one without TCP_NODELAY has its first request wait until that is
                // acknowledged: by Linux 40 ms later, unless it is asked to do so now, tcp(7). A refusal leaves it at that.
                let _ = stream.set_quickack(true);
                return Some(records);
            }
            Err(error) => HandshakeError::Tls(error),
        },
        Err(error) => {
            if let HandshakeError::Tls(_) = error {
                let _ = timeout(LINGER, refuse(stream, &mut handshake)).await;
            }
            error
        }
    };
    tracing::debug!(peer = %remote, "closing a connection without TLS: {error}");
    None
}

async fn shake_hands(stream: &TcpStream, handshake: &mut Handshake) -> Result<(), HandshakeError> {
    let mut buffer = vec![0; READ];
    loop {
        send(stream, handshake).await?;
        if !handshake.goes_on() {
            return Ok(());
        }
        stream.readable().await?;
        match stream.try_read(&mut buffer) {
            Ok(0) => return Err(HandshakeError::Gone),
            Ok(count) => {
                if handshake.receive(&buffer[..count])? == Incoming::Ended {
                    return Err(HandshakeError::Gone);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
}

async fn send(stream: &TcpStream, handshake: &mut Handshake) -> io::Result<()> {
    while handshake.wants_write() {
        stream.writable().await?;
        match handshake.send(|bytes| stream.try_write(bytes)) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Sends the alert that says why, and reads on until the peer has closed too: a socket closed with unread bytes is reset, and a reset
/// can overtake the alert.
async fn refuse(stream: &TcpStream, handshake: &mut Handshake) -> io::Result<()> {
    send(stream, handshake).await?;
    net::end_writing(stream.as_fd());
    let mut buffer = vec![0; READ];
    loop {
        stream.readable().await?;
        match stream.try_read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}
