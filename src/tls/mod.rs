//! TLS for both ends: certificates from PEM files, the bytes between a socket and a connection, and what went wrong in words.
//!
//! rustls does the cryptography and holds no socket. Whoever owns one reads it, gives the bytes to [`wire::receive`], and sends what
//! [`wire::send`] hands out. `files` makes the configurations of both ends, `words` the sentences.
//!
//! That is all of it for a client. A server's connection outlives its program, so that rustls does its handshake alone (`handshake`), and
//! what has been agreed on then is ours (`records`, `keys`).

mod files;
mod handshake;
mod keys;
mod records;
pub mod wire;
mod words;

pub use files::{Identity, Pem, PemProblem, client, server};
pub use handshake::Handshake;
pub use records::Records;
pub use words::{explain, explain_io};
