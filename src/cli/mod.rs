//! The command line: one file a command, each with its arguments and a `run`.

mod serve;
mod servers;
mod submit;
mod work;

use clap::{Parser, Subcommand};

/// A Gearman job server that also starts, restarts and scales the worker processes that serve it.
#[derive(Debug, Parser)]
#[command(name = "gearpool", version, propagate_version = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
#[expect(
    missing_docs,
    reason = "what a command does is said once, at its arguments; it is the help's text"
)]
pub enum Command {
    Serve(Box<serve::Args>),
    Submit(submit::Args),
    Work(work::Args),
}

impl Cli {
    /// Does what the command line asks for, and returns the exit code.
    ///
    /// # Errors
    /// A [`Failure`], which the binary prints.
    pub fn run(self) -> Result<u8, Failure> {
        match self.command {
            Command::Serve(args) => serve::run(&args),
            Command::Submit(args) => submit::run(args),
            Command::Work(args) => work::run(args),
        }
    }
}

/// Why a command did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It was tried, and failed.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
    /// The command line or the configuration cannot be acted on.
    #[error("{0}")]
    Usage(String),
    /// No daemon answers there.
    #[error("{0}")]
    NoDaemon(String),
}

impl Failure {
    /// 1 failed, 2 usage or configuration, 3 no daemon.
    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Failed(_) => 1,
            Failure::Usage(_) => 2,
            Failure::NoDaemon(_) => 3,
        }
    }
}
