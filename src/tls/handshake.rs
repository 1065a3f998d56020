//! A server's handshake, and what has been agreed on in the end.

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

use rustls::{Error, KeyLog, ServerConfig, ServerConnection};

use super::keys::Keys;
use super::records::{Record, Records};
use super::wire::{self, Incoming};

/// A connection whose handshake is not done yet.
pub struct Handshake {
    tls: ServerConnection,
    traffic: Arc<Traffic>,
    /// What has come and was not rustls's to read yet: it gets whole records alone, so that it has read nothing of what comes after the
    /// handshake.
    incoming: Vec<u8>,
}

impl Handshake {
    /// A handshake in which the peer is shown this.
    ///
    /// # Errors
    /// rustls's.
    pub fn new(config: &ServerConfig) -> Result<Handshake, Error> {
        let traffic = Arc::<Traffic>::default();
        let mut config = config.clone();
        config.enable_secret_extraction = true;
        config.key_log = Arc::clone(&traffic) as Arc<dyn KeyLog>;
        Ok(Handshake {
            tls: ServerConnection::new(Arc::new(config))?,
            traffic,
            incoming: Vec::new(),
        })
    }

    /// Takes what a socket brought. There may be something to [`send`](Handshake::send) afterwards: with an error, the alert that tells
    /// the peer.
    ///
    /// # Errors
    /// rustls's, after which there is no connection.
    pub fn receive(&mut self, bytes: &[u8]) -> Result<Incoming, Error> {
        self.incoming.extend_from_slice(bytes);
        let mut used = 0;
        let mut incoming = Incoming::Open;
        while self.tls.is_handshaking() && incoming == Incoming::Open {
            let rest = &self.incoming[used..];
            let length = match Record::first(rest) {
                Ok(None) => break,
                Ok(Some(record)) => record.length(),
                // rustls says what is wrong with it
                Err(_) => rest.len(),
            };
            // a handshake says nothing
            incoming = wire::receive(&mut self.tls, &rest[..length], &mut Vec::new())?;
            used += length;
        }
        self.incoming.drain(..used);
        Ok(incoming)
    }

    /// Whether the handshake goes on.
    pub fn goes_on(&self) -> bool {
        self.tls.is_handshaking()
    }

    /// Whether there is something to send.
    pub fn wants_write(&self) -> bool {
        self.tls.wants_write()
    }

    /// Sends what there is, as far as `send` takes it.
    ///
    /// # Errors
    /// Those of `send`, `WouldBlock` too.
    pub fn send(&mut self, send: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<()> {
        wire::send(&mut self.tls, &[], &mut 0, send)
    }

    /// The connection, when the handshake is done and everything is sent.
    ///
    /// # Errors
    /// rustls's, before that.
    pub fn finish(self) -> Result<Records, Error> {
        let Handshake {
            tls,
            traffic,
            incoming,
        } = self;
        let secrets = tls.dangerous_extract_secrets()?;
        let keys = |(number, secrets), traffic: &OnceLock<Vec<u8>>| {
            Keys::new(number, secrets, traffic.get().map(Vec::as_slice))
                .ok_or_else(|| Error::General("it speaks a cipher that is not known".to_owned()))
        };
        Ok(Records::new(
            keys(secrets.tx, &traffic.ours)?,
            keys(secrets.rx, &traffic.theirs)?,
            incoming,
        ))
    }
}

/// The secrets of TLS 1.3 that keys are made from, of which rustls hands out the first key alone. TLS 1.2 has none.
#[derive(Default)]
struct Traffic {
    ours: OnceLock<Vec<u8>>,
    theirs: OnceLock<Vec<u8>>,
}

impl fmt::Debug for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traffic").finish_non_exhaustive()
    }
}

impl KeyLog for Traffic {
    fn log(&self, label: &str, _client_random: &[u8], secret: &[u8]) {
        let of = match label {
            "SERVER_TRAFFIC_SECRET_0" => &self.ours,
            "CLIENT_TRAFFIC_SECRET_0" => &self.theirs,
            _ => return,
        };
        // there is one of each
        let _ = of.set(secret.to_vec());
    }
}
