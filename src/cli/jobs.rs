//! `gearpool jobs`.

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde::Serialize;

use super::Failure;
use super::client::block_on;
use super::control::Common;
use super::terminal;
use crate::http::segment;
use crate::status::Look;
use crate::status::jobs::{self, JobList, JobView};

/// List, show and cancel jobs, and see to those that are set aside as failed
///
/// A job is set aside when it has taken down as many processes as the "attempts" of its pool, or when it has failed in the background
/// and all of its "retries" too. It waits there until it is retried or discarded.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  gearpool jobs                       what is queued and running
  gearpool jobs list fetchURL         the same of one function
  gearpool jobs show H:web1:42        one job: who runs it, how often it was tried, why it is set aside
  gearpool jobs cancel H:web1:42      give it up; if it runs, its process is stopped
  gearpool jobs failed                what is set aside
  gearpool jobs retry --all fetchURL  queue all of them again that are fetchURL's
  gearpool jobs discard H:web1:42"
)]
pub struct JobsArgs {
    #[command(subcommand)]
    what: Option<What>,

    #[command(flatten)]
    bare: BareArgs,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List what is queued and running, in the order in which it is given out
    List(ListArgs),
    /// Show one job: where it is, who runs it, how often it was tried; why it is set aside, and what its process wrote last
    Show(OneArgs),
    /// Give up a job: who waits for it is told that it has failed, and if it runs its process is stopped
    Cancel(OneArgs),
    /// List the jobs that are set aside, the latest first
    Failed(ListArgs),
    /// Queue a job that is set aside again, in the background, with its old handle
    Retry(SomeArgs),
    /// Discard a job that is set aside
    Discard(SomeArgs),
}

/// Without a word for what is wanted. A function here could not be told from a misplaced one of those words.
#[derive(Debug, Args)]
struct BareArgs {
    /// How many to list
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    lines: u16,

    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Only this function's
    #[arg(value_name = "FUNCTION")]
    function: Option<String>,

    #[command(flatten)]
    bare: BareArgs,
}

#[derive(Debug, Args)]
struct OneArgs {
    /// The job's handle
    #[arg(value_name = "HANDLE")]
    handle: String,

    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct SomeArgs {
    /// The job's handle; with --all a function, for all of that one's
    #[arg(value_name = "HANDLE", required_unless_present = "all")]
    which: Option<String>,

    /// All that are set aside, or all of a function
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    common: Common,
}

impl JobsArgs {
    /// Asks the daemon, or gives it an order.
    ///
    /// # Errors
    /// No daemon, or its refusal.
    pub(super) fn run(self) -> Result<u8, Failure> {
        let bare = || {
            What::List(ListArgs {
                function: None,
                bare: self.bare,
            })
        };
        match self.what.unwrap_or_else(bare) {
            What::List(args) => args.run("/jobs", jobs::list),
            What::Failed(args) => args.run("/failed", jobs::failed),
            What::Show(args) => {
                let daemon = args.common.daemon.locate()?;
                let path = format!("/jobs/{}", segment(&args.handle));
                let job: JobView = block_on(daemon.get(&path))?;
                print(&job, args.common.json, jobs::show)
            }
            What::Cancel(args) => {
                let path = format!("/jobs/{}/cancel", segment(&args.handle));
                args.common.order(&path, None)
            }
            What::Retry(args) => args.run("retry"),
            What::Discard(args) => args.run("discard"),
        }
    }
}

impl ListArgs {
    fn run(self, path: &str, text: fn(&JobList, Look) -> String) -> Result<u8, Failure> {
        let ListArgs { function, bare } = self;
        let BareArgs { lines, common } = bare;
        let daemon = common.daemon.locate()?;
        let function = function.as_deref().map(segment);
        let function = function.map(|it| format!("&function={it}"));
        let path = format!("{path}?limit={lines}{}", function.unwrap_or_default());
        let list: JobList = block_on(daemon.get(&path))?;
        print(&list, common.json, text)
    }
}

impl SomeArgs {
    fn run(self, order: &str) -> Result<u8, Failure> {
        let which = self.which.as_deref().map(segment);
        let path = match (self.all, which) {
            (false, which) => format!("/failed/{}/{order}", which.unwrap_or_default()),
            (true, None) => format!("/failed/{order}"),
            (true, Some(function)) => format!("/failed/{order}?function={function}"),
        };
        self.common.order(&path, None)
    }
}

fn print<T: Serialize>(
    it: &T,
    as_json: bool,
    text: impl FnOnce(&T, Look) -> String,
) -> Result<u8, Failure> {
    let text = match as_json {
        true => serde_json::to_string_pretty(it).context("cannot write JSON")? + "\n",
        false => text(it, terminal::look()),
    };
    terminal::print(&text)?;
    Ok(0)
}
