//! The command line: one file a command, each with its arguments and a `run`.

mod admin;
mod check;
mod client;
mod control;
mod explain;
mod generate;
mod import;
mod jobs;
mod logs;
mod nearest;
mod pool_slot;
mod serve;
mod server_section;
mod servers;
mod ssl;
mod status;
mod submit;
pub mod terminal;
mod top;
mod upgrade;
mod work;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

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
    reason = "each one's arguments say what it does, and --help shows that"
)]
pub enum Command {
    Serve(Box<serve::ServeArgs>),
    Status(status::StatusArgs),
    Top(top::TopArgs),
    Explain(explain::ExplainArgs),
    Logs(logs::LogsArgs),
    Scale(control::ScaleArgs),
    Start(control::StartArgs),
    Stop(control::StopArgs),
    Restart(control::RestartArgs),
    Pause(control::PauseArgs),
    Resume(control::ResumeArgs),
    Jobs(jobs::JobsArgs),
    Reload(control::ReloadArgs),
    Upgrade(upgrade::UpgradeArgs),
    Check(check::CheckArgs),
    Import(import::ImportArgs),
    Submit(submit::SubmitArgs),
    Work(work::WorkArgs),
    Admin(admin::AdminArgs),
    Completions(generate::CompletionsArgs),
    Man(generate::ManArgs),
}

impl Cli {
    /// Reads the command line; one that is wrong ends the program with exit code 2. Under the name `gearmand` the words are
    /// gearmand's flags, so that a link by that name takes gearmand's place in a script.
    pub fn from_words(words: impl Iterator<Item = OsString>) -> Cli {
        let words: Vec<OsString> = words.collect();
        let is_gearmand = words
            .first()
            .is_some_and(|word| Path::new(word).file_name() == Some(OsStr::new("gearmand")));
        match is_gearmand {
            true => Cli {
                command: Command::Serve(Box::new(serve::gearmand::parse(words))),
            },
            false => Cli::parse_from(words),
        }
    }

    /// Does what the command line asks for, and returns the exit code.
    ///
    /// # Errors
    /// A [`Failure`], which the binary prints.
    pub fn run(self) -> Result<u8, Failure> {
        match self.command {
            Command::Serve(args) => args.run(),
            Command::Status(args) => args.run(),
            Command::Top(args) => args.run(),
            Command::Explain(args) => args.run(),
            Command::Logs(args) => args.run(),
            Command::Scale(args) => args.run(),
            Command::Start(args) => args.run(),
            Command::Stop(args) => args.run(),
            Command::Restart(args) => args.run(),
            Command::Pause(args) => args.run(),
            Command::Resume(args) => args.run(),
            Command::Jobs(args) => args.run(),
            Command::Reload(args) => args.run(),
            Command::Upgrade(args) => args.run(),
            Command::Check(args) => args.run(),
            Command::Import(args) => args.run(),
            Command::Submit(args) => args.run(),
            Command::Work(args) => args.run(),
            Command::Admin(args) => args.run(),
            Command::Completions(args) => args.run(),
            Command::Man(args) => args.run(),
        }
    }
}

fn absolute(path: PathBuf) -> Result<PathBuf, Failure> {
    std::path::absolute(&path)
        .map_err(|error| Failure::Usage(format!("{}: {error}", path.display())))
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
