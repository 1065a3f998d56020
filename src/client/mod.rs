//! A connection to any Gearman server, for our own commands.
//!
//! [`Address`](crate::config::Address) says where, [`Connection`] speaks the wire there. It never holds more than one packet's worth of what a peer sends,
//! and writing never keeps it from reading: two peers that both wait for the other to read cannot happen here.

mod connection;

pub use connection::{ConnectError, Connection, ConnectionError};
