//! What the tests with real processes share: a job server of their own, and children that never outlive their test.

mod running;
mod server;

pub(crate) use running::{Finished, Running, poll};
pub(crate) use server::{Implementation, Server};
