//! `gearpool explain`.

use anyhow::{Context as _, anyhow};
use clap::Args;

use super::Failure;
use super::client::{DaemonArgs, block_on};
use super::nearest::nearest;
use super::terminal;
use crate::status::explain::explain;

/// Say why a pool has the size it has
///
/// What it should have and why, what its jobs are like, how long they have waited, and what was decided lately.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gearpool explain fetchURL
  gearpool explain fetchURL --json | jq .scale.decisions")]
pub struct ExplainArgs {
    /// The pool
    #[arg(value_name = "POOL")]
    pool: String,

    /// Print the pool as JSON: durations are seconds
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    daemon: DaemonArgs,
}

impl ExplainArgs {
    /// Prints the sentences.
    ///
    /// # Errors
    /// No daemon, no such pool, or an output that cannot be written to.
    pub(super) fn run(self) -> Result<u8, Failure> {
        let daemon = self.daemon.locate()?;
        let status = block_on(async { daemon.status().await })?;
        let text = match self.json {
            false => explain(&status, &self.pool),
            true => status
                .pools
                .iter()
                .find(|it| it.pool.name == self.pool)
                .map(serde_json::to_string_pretty)
                .transpose()
                .context("cannot write JSON")?
                .map(|json| json + "\n"),
        };
        let Some(text) = text else {
            let names = status.pools.iter().map(|it| it.pool.name.as_str());
            return Err(Failure::Failed(anyhow!(
                "there is no pool \"{}\"{}",
                self.pool,
                nearest(&self.pool, names)
            )));
        };
        terminal::print(&text)?;
        Ok(0)
    }
}
