//! The daemon: tokio around the two state machines.

pub mod logs;
