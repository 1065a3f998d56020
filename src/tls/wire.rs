//! The bytes between a socket and a TLS connection.

use std::io::{self, BufRead, Write};

use rustls::{ConnectionCommon, Error};

/// Bytes that are encrypted ahead of what the socket takes. More of them would be a second mailbox behind the first.
pub const MAX_CIPHERTEXT: usize = 64 << 10;

/// Whether more may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// The peer goes on.
    Open,
    /// The peer has said that nothing more will come.
    Ended,
}

/// Takes what a socket brought, and appends what it says to `plain`. There may be something to [`send`] afterwards: with an error, the
/// alert that tells the peer.
///
/// # Errors
/// rustls's, after which the connection is of no use. What came before is in `plain`.
pub fn receive<D>(
    tls: &mut ConnectionCommon<D>,
    mut bytes: &[u8],
    plain: &mut Vec<u8>,
) -> Result<Incoming, Error> {
    let mut state = tls.process_new_packets()?;
    drain(tls, plain);
    // after the peer's end nothing is read, and to read nothing would be the end
    while !state.peer_has_closed() && !bytes.is_empty() {
        tls.read_tls(&mut bytes)
            .map_err(|error| Error::General(error.to_string()))?;
        let result = tls.process_new_packets();
        drain(tls, plain);
        state = result?;
    }
    Ok(match state.peer_has_closed() {
        true => Incoming::Ended,
        false => Incoming::Open,
    })
}

fn drain<D>(tls: &mut ConnectionCommon<D>, plain: &mut Vec<u8>) {
    let mut reader = tls.reader();
    // an error means that nothing is left: more has to come, or nothing will
    while let Ok(chunk @ [_, ..]) = reader.fill_buf() {
        plain.extend_from_slice(chunk);
        let taken = chunk.len();
        reader.consume(taken);
    }
}

/// Encrypts `plain` and sends it, as far as `send` takes it. Returns how many bytes of it were encrypted: those are the connection's
/// to send, and are sent before anything else with the next call.
///
/// # Errors
/// Those of `send`, once something could not be sent, `WouldBlock` too; `taken` counts nevertheless.
pub fn send<D>(
    tls: &mut ConnectionCommon<D>,
    plain: &[u8],
    taken: &mut usize,
    send: impl FnMut(&[u8]) -> io::Result<usize>,
) -> io::Result<()> {
    let mut socket = Socket(send);
    loop {
        while tls.wants_write() {
            tls.write_tls(&mut socket)?;
        }
        match &plain[*taken..] {
            [] => return Ok(()),
            rest => *taken += tls.writer().write(rest)?,
        }
    }
}

/// A socket's send, as rustls wants it.
struct Socket<S>(S);

impl<S: FnMut(&[u8]) -> io::Result<usize>> Write for Socket<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (self.0)(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
