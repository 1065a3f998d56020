//! PURE. The YAML file as a value.
//!
//! [`parse`] turns text into a [`Config`] or into *all* of its problems, each with line, column and a hint. It reads no file and no
//! environment: the shell passes both in. What a key means is said at its field in [`Config`], and shown in `workers.example.yaml`.
//!
//! The way of the text: `brackets` → `tree` (YAML with places) → `check` and `pool`, which go over the tree with the readers of `read`.
//! `keys` is the table of what may be written, `command` the splitting of `cmd` and `run` into words.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod address;
mod bounds;
mod brackets;
mod check;
mod command;
mod cron;
mod keys;
mod log;
mod pool;
mod problem;
mod program;
mod read;
mod rlimits;
mod schedule;
mod schema;
#[cfg(test)]
mod tests;
mod tree;
pub mod units;

use std::path::Path;

use self::read::{At, Reader};

pub use address::{Address, AddressError, DEFAULT_PORT, DEFAULT_TLS_PORT};
pub use cron::{Cron, NoCron};
pub use pool::MAX_PROCESSES;
pub use problem::{Problem, Problems};
pub use schema::{
    Command, Config, Limit, Limits, Log, LogFormat, NoSignal, PemFiles, PemPlaces, Pool, Resource,
    Restart, Rush, Scale, Server, ServerLimits, Signal, Stderr, Tls, Watch,
};
pub use tree::Place;

/// A file's text.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// How the messages name it.
    pub file: &'a str,
    /// Where relative paths in it begin.
    pub folder: &'a Path,
    /// What it says.
    pub text: &'a str,
}

/// Reads a configuration. `file` is how the messages name it, `env` gives the variables that its texts may use.
///
/// # Errors
/// All [`Problems`] of the file; of a text that is no YAML the first.
pub fn parse(
    text: &str,
    file: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, Problems> {
    let folder = Path::new("");
    parse_files(&[Source { file, folder, text }], env)
}

/// Reads a configuration: a file, and after it those that it includes, in their order. `env` gives the variables.
///
/// # Errors
/// All [`Problems`] of all files; of a text that is no YAML the first.
///
/// # Panics
/// Without any file.
pub fn parse_files(
    files: &[Source<'_>],
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Config, Problems> {
    let mut problems = Vec::new();
    let mut roots = Vec::new();
    for source in files {
        match root(source) {
            Ok(root) => roots.push((at(source), root)),
            Err(problem) => problems.push(problem),
        }
    }
    let mut config = Config::default();
    // without the first, nothing is known of the defaults of the others
    if let Some(((main, root), included)) = roots.split_first()
        && main.file == files[0].file
    {
        let mut reader = Reader::new(*main, env);
        config = check::check(&mut reader, root, included);
        problems.append(&mut reader.problems);
    }
    if problems.is_empty() {
        return Ok(config);
    }
    let names: Vec<_> = files.iter().map(|source| source.file).collect();
    Err(Problems::new(&names, problems))
}

/// Which further files a file names: each path or pattern, and where it stands. None of a file that cannot be read.
pub fn includes(source: &Source<'_>, env: &dyn Fn(&str) -> Option<String>) -> Vec<(String, Place)> {
    let mut reader = Reader::new(at(source), env);
    root(source).map_or_else(|_| Vec::new(), |root| check::includes(&mut reader, &root))
}

fn root(source: &Source<'_>) -> Result<tree::Node, Problem> {
    tree::read(&brackets::rewrite(source.text), source.file)
}

fn at<'a>(source: &Source<'a>) -> At<'a> {
    At {
        file: source.file,
        folder: source.folder,
    }
}
