//! `gearpool status`.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;
use tokio::signal;
use tokio::time::{MissedTickBehavior, interval};

use super::Failure;
use super::client::{Daemon, DaemonArgs, block_on};
use super::nearest::nearest;
use super::terminal::{self, Reader};
use crate::status::{Status, table};

/// Show queues, pools and processes, and why each pool has the size it has
///
/// One line a function with what waits, what runs and who can do it; then each pool with the number of its processes, the number it
/// wants and the reason; then its processes with the job that each runs. A pool whose processes keep dying shows how the last one
/// ended and the last lines that it wrote.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gearpool status                    everything
  gearpool status fetchURL           one function, the pools and workers that do it
  gearpool status --watch            the same, drawn anew each second until Ctrl-C
  gearpool status --json | jq '.pools[] | {name, target, reason}'")]
pub struct StatusArgs {
    /// Only this function, and the pools and workers that do it
    #[arg(value_name = "FUNCTION")]
    function: Option<String>,

    /// Print JSON: durations are seconds, memory is bytes
    #[arg(long)]
    json: bool,

    /// Draw it anew each second until Ctrl-C; with --json, print one line each second
    #[arg(short, long)]
    watch: bool,

    #[command(flatten)]
    daemon: DaemonArgs,
}

impl StatusArgs {
    /// Prints the snapshot, once or each second.
    ///
    /// # Errors
    /// No daemon, a function that nothing is known of, or an output that cannot be written to.
    pub(super) fn run(self) -> Result<u8, Failure> {
        let daemon = self.daemon.locate()?;
        block_on(async {
            if self.watch {
                self.watch(&daemon).await
            } else {
                let status = self.select(daemon.status().await?)?;
                terminal::print(&self.text(&status)?)?;
                Ok(0)
            }
        })
    }

    async fn watch(&self, daemon: &Daemon) -> Result<u8, Failure> {
        // Without a daemon to begin with, there is nothing to watch; one that goes away meanwhile may come back.
        daemon.status().await?;
        let mut ticks = interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let ends = signal::ctrl_c();
        tokio::pin!(ends);
        let mut first = true;
        loop {
            tokio::select! {
                _ = &mut ends => return Ok(0),
                _ = ticks.tick() => {}
            }
            let text = match daemon.status().await.and_then(|status| self.select(status)) {
                Ok(status) => self.text(&status)?,
                Err(failure) if self.json => return Err(failure),
                Err(failure) => format!("{failure}\n"),
            };
            let text = match terminal::size() {
                Some((_, rows)) if !self.json => frame(&text, rows, first),
                Some(_) | None if self.json || first => text,
                Some(_) | None => format!("\n{text}"),
            };
            if terminal::print(&text)? == Reader::Gone {
                return Ok(0);
            }
            first = false;
        }
    }

    fn select(&self, status: Status) -> Result<Status, Failure> {
        let Some(function) = &self.function else {
            return Ok(status);
        };
        status.about(function).ok_or_else(|| {
            let functions = status
                .functions
                .iter()
                .map(|function| function.name.as_str());
            let pools = status.pools.iter().map(|pool| pool.pool.name.as_str());
            let hint = nearest(function, functions.chain(pools));
            Failure::Failed(anyhow!(
                "no job, worker or pool here has to do with \"{function}\"{hint}"
            ))
        })
    }

    fn text(&self, status: &Status) -> Result<String, Failure> {
        let mut text = match (self.json, self.watch) {
            (false, _) => return Ok(table::render(status, terminal::look())),
            (true, false) => serde_json::to_string_pretty(status).context("cannot write JSON")?,
            (true, true) => serde_json::to_string(status).context("cannot write JSON")?,
        };
        text.push('\n');
        Ok(text)
    }
}

/// One picture of the watch: over the last one without clearing first, so that nothing flickers, and no more lines than the screen has.
fn frame(text: &str, rows: usize, first: bool) -> String {
    let mut out = if first { "\x1b[2J\x1b[H" } else { "\x1b[H" }.to_owned();
    let lines: Vec<&str> = text.lines().collect();
    let room = rows.saturating_sub(1).max(1);
    let shown = if lines.len() > room {
        room - 1
    } else {
        lines.len()
    };
    for line in &lines[..shown] {
        out.push_str(line);
        out.push_str("\x1b[K\n");
    }
    let hidden = lines.len() - shown;
    if hidden > 0 {
        out.push_str(&format!(
            "… {hidden} more lines: \"gearpool status\" shows all\x1b[K\n"
        ));
    }
    out.push_str("\x1b[J");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_fits_the_screen() {
        assert_eq!(
            frame("a\nb\n", 24, true),
            "\x1b[2J\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J"
        );
        let long = "line\n".repeat(100);
        let picture = frame(&long, 24, false);
        assert_eq!(picture.matches('\n').count(), 23);
        assert!(picture.contains("… 78 more lines"));
        frame(&long, 1, false);
    }
}
