//! `gearpool upgrade`: another program in the daemon's place, with all that it has.

use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use clap::Args;
use serde::Serialize;

use super::client::{Asked, DaemonArgs, block_on};
use super::{Failure, terminal};
use crate::http::Done;
use crate::status::Status;

/// How long the daemon may take to begin, and the new program to answer: both read and write all that is queued.
const PATIENCE: Duration = Duration::from_secs(600);

/// How soon it is asked again.
const AGAIN: Duration = Duration::from_millis(5);

/// Execute the daemon's program anew, after its file was replaced, without an interruption
///
/// The process stays the same, with its id. Listeners, connections of clients and workers, the queue, running jobs, the processes of
/// all pools and their output go on in the new program; nobody has to connect again. The new program is asked first whether it can go
/// on with all that, and whether it understands the command line and the file that the daemon was started with. If it can not, nothing
/// happens, and this says why.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  apt-get install gearpool && gearpool upgrade     the new version, with everything that is queued and running

SIGUSR2 to the daemon does the same; what came of it is in its log then.")]
pub struct UpgradeArgs {
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    daemon: DaemonArgs,
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Upgraded {
    from: String,
    to: String,
    pid: u32,
    connections: u64,
    /// For how long connections were not served.
    silent_ms: f64,
}

impl UpgradeArgs {
    /// Gives the order, and waits until the new program answers.
    ///
    /// # Errors
    /// No daemon, or its refusal.
    pub(super) fn run(self) -> Result<u8, Failure> {
        let upgraded = block_on(self.upgrade())?;
        let text = if self.json {
            serde_json::to_string(&upgraded).context("cannot write JSON")?
        } else {
            let Upgraded {
                from,
                to,
                pid,
                connections,
                silent_ms,
            } = upgraded;
            let connections = match connections {
                1 => "1 connection was".to_owned(),
                count => format!("{count} connections were"),
            };
            format!(
                "gearpool {from} → {to}, pid {pid} as before; {connections} silent for {silent_ms:.0} ms"
            )
        };
        terminal::print(&format!("{text}\n"))?;
        Ok(0)
    }

    async fn upgrade(&self) -> Result<Upgraded, Failure> {
        let daemon = self.daemon.locate()?;
        let before = daemon.status().await?;
        match daemon.ask::<Done>("/upgrade", PATIENCE).await? {
            // with the program goes the connection
            Asked::Cut => {}
            Asked::Answered(done) => return Err(Failure::Failed(anyhow!(done.message))),
        }
        let begin = Instant::now();
        loop {
            match daemon.status().await {
                Ok(status) => {
                    let upgraded = upgraded(&before, status);
                    let other = || {
                        anyhow!(
                            "another daemon answers; what became of the one before is in its log"
                        )
                    };
                    return Ok(upgraded.ok_or_else(other)?);
                }
                // its socket stays open for as long as the process lives
                Err(Failure::NoDaemon(_)) => {
                    return Err(Failure::Failed(anyhow!(
                        "the daemon has ended; its log says why"
                    )));
                }
                Err(error) if begin.elapsed() > PATIENCE => return Err(error),
                Err(_) => tokio::time::sleep(AGAIN).await,
            }
        }
    }
}

fn upgraded(before: &Status, status: Status) -> Option<Upgraded> {
    let count = |status: &Status| status.server.upgrade.as_ref().map_or(0, |it| it.count);
    let is_new = count(&status) > count(before);
    let server = status.server;
    let upgrade = server.upgrade.filter(|_| is_new)?;
    Some(Upgraded {
        from: upgrade.from,
        to: server.version,
        pid: server.pid,
        connections: server.connections,
        silent_ms: upgrade.silent.as_secs_f64() * 1e3,
    })
}
