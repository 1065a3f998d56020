//! PURE. The YAML file as a value.
//!
//! [`parse`] turns text into a [`Config`] or into *all* of its problems, each with line, column and a hint. It reads no file and no
//! environment: the shell passes both in. What a key means is said once, at its field here, and shown in `workers.example.yaml`.

mod schema;

pub use schema::{
    Command, Config, DEFAULT_PORT, Limits, Listen, Log, Pool, Restart, Scale, Server, Signal,
};
