//! TLS for both ends: certificates from PEM files, the bytes between a socket and a connection, and what went wrong in words.
//!
//! rustls does the cryptography and holds no socket. Whoever owns one reads it, gives the bytes to [`wire::receive`], and sends what
//! [`wire::send`] hands out. `files` makes the configurations of both ends, `words` the sentences.

mod files;
pub mod wire;
mod words;

pub use files::{Identity, Pem, PemProblem, client, server};
pub use words::{explain, explain_io};
