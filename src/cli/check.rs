//! `gearpool check`: is the file right, and what would a reload change?

use std::path::PathBuf;

use serde_json::json;

use super::Failure;
use super::client::{DaemonArgs, block_on};
use super::terminal;
use crate::daemon::file::{self, FileError};
use crate::http::{Done, segment};

/// Check a configuration file, and say what a reload would change
///
/// Every problem of the file is printed, each with its line and column. When a daemon runs where the file says, what this file would
/// change in it is printed too: pools that are added, removed, scaled, or whose processes are replaced. Nothing is changed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit status: 0 the file is right, 2 it is not.

Examples:
  gearpool check workers.yaml
  gearpool check new.yaml && mv new.yaml workers.yaml    look first: the daemon applies its file as soon as it is saved")]
pub struct CheckArgs {
    /// The file
    file: PathBuf,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    daemon: DaemonArgs,
}

impl CheckArgs {
    /// Does it, and returns the exit code.
    ///
    /// # Errors
    /// A [`Failure`]; a file with problems is exit code 2.
    pub fn run(mut self) -> Result<u8, Failure> {
        let (pools, most) = match file::read(&self.file) {
            Ok(read) => (
                read.config.pools.len(),
                read.config
                    .pools
                    .values()
                    .map(|pool| u64::from(pool.max))
                    .sum::<u64>(),
            ),
            Err(error) => return self.wrong(&error),
        };
        if self.daemon.config.is_none() {
            self.daemon.config = Some(self.file.clone());
        }
        let plan = self.plan();
        if self.json {
            terminal::print(&format!(
                "{}\n",
                json!({ "ok": true, "pools": pools, "max_processes": most, "plan": plan })
            ))?;
            return Ok(0);
        }
        let mut text = format!(
            "{}: right; {}, {} at most\n",
            self.file.display(),
            counted(pools as u64, "pool", "pools"),
            counted(most, "process", "processes")
        );
        match plan.as_deref() {
            None => text.push_str("no daemon runs that it could be compared with\n"),
            Some("") => text.push_str("a reload would change nothing\n"),
            Some(plan) => {
                text.push_str("a reload would:\n");
                for line in plan.lines() {
                    text.push_str(&format!("  {line}\n"));
                }
            }
        }
        terminal::print(&text)?;
        Ok(0)
    }

    fn wrong(&self, error: &FileError) -> Result<u8, Failure> {
        if !self.json {
            return Err(Failure::Usage(error.to_string()));
        }
        let problems: Vec<String> = error.to_string().lines().map(str::to_owned).collect();
        terminal::print(&format!(
            "{}\n",
            json!({ "ok": false, "problems": problems })
        ))?;
        Ok(2)
    }

    /// What putting the file in force would change in the daemon that runs; `None` when there is none.
    fn plan(&self) -> Option<String> {
        let daemon = self.daemon.locate().ok()?;
        let file = std::path::absolute(&self.file).ok()?;
        let path = format!("/plan?file={}", segment(file.to_str()?));
        let asked = block_on(async { daemon.get::<Done>(&path).await });
        asked.ok().map(|done| done.message)
    }
}

fn counted(count: u64, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}
