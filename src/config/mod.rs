//! PURE. The YAML file as a value.
//!
//! [`parse`] turns text into a [`Config`] or into *all* of its problems, each with line, column and a hint. It reads no file and no
//! environment: the shell passes both in. What a key means is said at its field in [`Config`], and shown in `workers.example.yaml`.
//!
//! The way of the text: `brackets` → `tree` (YAML with places) → `check` and `pool`, which go over the tree with the readers of `read`.
//! `keys` is the table of what may be written, `command` the splitting of `cmd` and `run` into words.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod address;
mod brackets;
mod check;
mod command;
mod cron;
mod keys;
mod log;
mod pool;
mod problem;
mod read;
mod schedule;
mod schema;
#[cfg(test)]
mod tests;
mod tree;
pub mod units;

pub use address::{Address, AddressError, DEFAULT_PORT, DEFAULT_TLS_PORT};
pub use cron::{Cron, NoCron};
pub use problem::{Problem, Problems};
pub use schema::{
    Command, Config, Limits, Log, LogFormat, NoSignal, PemFiles, PemPlaces, Pool, Restart, Rush,
    Scale, Server, ServerLimits, Signal, Stderr, Tls,
};
pub use tree::Place;

/// Reads a configuration. `file` is how the messages name it, `env` gives the variables that `cmd` and `run` may use.
///
/// # Errors
/// All [`Problems`] of the file; of a text that is no YAML the first.
pub fn parse(
    text: &str,
    file: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, Problems> {
    let text = brackets::rewrite(text);
    let root = tree::read(&text).map_err(|problem| Problems::new(file, vec![problem]))?;
    check::check(&root, env).map_err(|problems| Problems::new(file, problems))
}
