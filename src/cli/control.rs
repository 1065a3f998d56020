//! `gearpool scale`, `start`, `stop`, `restart`, `pause`, `resume` and `reload`: an order to the daemon, and its sentence back.

use anyhow::{Context as _, anyhow};
use clap::Args;

use super::Failure;
use super::client::{DaemonArgs, block_on};
use super::pool_slot::PoolSlot;
use super::terminal;
use crate::http::{Bounds, Done, Order};
use crate::pools::Slot;
use crate::status::PoolStatus;

/// Hold a pool at a number of processes, or between two
///
/// The pool grows at once; it shrinks as its processes become idle, and no running job is cut. This holds until the file changes the
/// pool, or until "gearpool start POOL" gives it back to the file.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gearpool scale fetchURL 10        ten processes, whatever the queue
  gearpool scale fetchURL 5..40     never less than 5, never more than 40")]
pub struct ScaleArgs {
    /// The pool
    pool: String,

    /// How many processes: N, or MIN..MAX
    #[arg(value_name = "N|MIN..MAX")]
    bounds: Bounds,

    #[command(flatten)]
    common: Common,
}

/// Start a pool that was stopped by hand, and undo "scale"
///
/// From now on the pool has the size that its file says.
#[derive(Debug, Args)]
pub struct StartArgs {
    /// The pool, or several
    #[arg(required = true, value_name = "POOL")]
    pools: Vec<String>,

    #[command(flatten)]
    common: Common,
}

/// Stop a pool: its processes finish their jobs and end, and none is started
///
/// Its jobs stay queued. "gearpool start POOL" undoes it; so does a restart of the daemon.
#[derive(Debug, Args)]
pub struct StopArgs {
    /// The pool, or several
    #[arg(required = true, value_name = "POOL")]
    pools: Vec<String>,

    #[command(flatten)]
    common: Common,
}

/// Replace a pool's processes by new ones, or the one in a slot
///
/// One after the other, the new one first; the old one finishes its job. Use it after the workers' code has changed, or have "watch" in
/// the file do it. When the pool has a "check" that fails, nothing is replaced, and what it wrote is printed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gearpool restart fetchURL         all of its processes
  gearpool restart fetchURL/3       the one in slot 3
  gearpool restart                  all pools but those that are stopped")]
pub struct RestartArgs {
    /// The pool, or one slot of it, or several; all pools if it is missing
    #[arg(value_name = "POOL[/SLOT]")]
    which: Vec<PoolSlot>,

    #[command(flatten)]
    common: Common,
}

/// Hold the queue of a function without stopping anything
///
/// None of its jobs is given out; those that run are finished, and new ones are accepted and wait. Its workers sleep, and its pool does
/// not grow for what waits. This holds until "gearpool resume FUNCTION", or until the file changes a pool of the function; a restart of
/// the daemon ends it too.
#[derive(Debug, Args)]
pub struct PauseArgs {
    /// The function
    function: String,

    #[command(flatten)]
    common: Common,
}

/// Give out the jobs of a function again that "pause" holds
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// The function
    function: String,

    #[command(flatten)]
    common: Common,
}

/// Read the configuration file again and apply what is different
///
/// A pool that the change does not concern is not touched, and no running job is cut. When the file has an error, nothing changes,
/// and all errors are printed. A pool whose "check" fails stays as it is, and what the check wrote is printed. The daemon does the same by itself when the file changes, and on SIGHUP.
#[derive(Debug, Args)]
pub struct ReloadArgs {
    #[command(flatten)]
    common: Common,
}

/// What all orders have in common.
#[derive(Debug, Args)]
pub(super) struct Common {
    /// Print the answer as JSON
    #[arg(long)]
    pub(super) json: bool,

    #[command(flatten)]
    pub(super) daemon: DaemonArgs,
}

impl ScaleArgs {
    /// Gives the order.
    ///
    /// # Errors
    /// No daemon, or its refusal.
    pub(super) fn run(self) -> Result<u8, Failure> {
        self.common.give(&Order::Scale(self.pool, self.bounds))
    }
}

impl StartArgs {
    /// Gives the order.
    ///
    /// # Errors
    /// No daemon, or its refusal.
    pub(super) fn run(self) -> Result<u8, Failure> {
        let orders = self.pools.into_iter().map(Order::Start);
        self.common.give_all(orders.collect())
    }
}

impl StopArgs {
    /// Gives the order.
    ///
    /// # Errors
    /// No daemon, or its refusal.
    pub(super) fn run(self) -> Result<u8, Failure> {
        let orders = self.pools.into_iter().map(Order::Stop);
        self.common.give_all(orders.collect())
    }
}

impl RestartArgs {
    /// Gives the order.
    ///
    /// # Errors
    /// No daemon, or its refusal.
    pub(super) fn run(self) -> Result<u8, Failure> {
        let restart = |PoolSlot { pool, slot }| Order::Restart(pool, slot.map(Slot));
        let which = match self.which.is_empty() {
            true => self.common.running_pools()?,
            false => self.which,
        };
        self.common
            .give_all(which.into_iter().map(restart).collect())
    }
}

impl PauseArgs {
    /// Gives the order.
    ///
    /// # Errors
    /// No daemon, or its refusal.
    pub(super) fn run(self) -> Result<u8, Failure> {
        self.common.give(&Order::Pause(self.function))
    }
}

impl ResumeArgs {
    /// Gives the order.
    ///
    /// # Errors
    /// No daemon, or its refusal.
    pub(super) fn run(self) -> Result<u8, Failure> {
        self.common.give(&Order::Resume(self.function))
    }
}

impl ReloadArgs {
    /// Gives the order.
    ///
    /// # Errors
    /// No daemon, or the file's problems.
    pub(super) fn run(self) -> Result<u8, Failure> {
        self.common.give(&Order::Reload)
    }
}

impl Common {
    fn give(&self, order: &Order) -> Result<u8, Failure> {
        self.order(&order.path(), order.body())
    }

    /// Gives several orders. One that is refused does not keep the others from being carried out.
    fn give_all(&self, orders: Vec<Order>) -> Result<u8, Failure> {
        let daemon = self.daemon.locate()?;
        let (mut done, mut refused) = (Vec::new(), Vec::new());
        for order in orders {
            match block_on(daemon.post::<Done>(&order.path(), order.body())) {
                Ok(Done { message }) => done.push(message),
                Err(Failure::Failed(error)) => refused.push(format!("{error:#}")),
                Err(other) => return Err(other),
            }
        }
        if !done.is_empty() {
            let message = done.join("\n");
            self.print(Done { message })?;
        }
        match refused.is_empty() {
            true => Ok(0),
            false => Err(Failure::Failed(anyhow!(refused.join("\n")))),
        }
    }

    /// The pools that the file has and nobody has stopped.
    fn running_pools(&self) -> Result<Vec<PoolSlot>, Failure> {
        let status = block_on(async { self.daemon.locate()?.status().await })?;
        let running = status.pools.into_iter().filter(PoolStatus::is_up);
        let running: Vec<_> = running
            .map(|pool| PoolSlot {
                pool: pool.pool.name,
                slot: None,
            })
            .collect();
        match running.is_empty() {
            true => Err(Failure::Failed(anyhow!("no pool is there that runs"))),
            false => Ok(running),
        }
    }

    pub(super) fn order(&self, path: &str, body: Option<serde_json::Value>) -> Result<u8, Failure> {
        let daemon = self.daemon.locate()?;
        self.print(block_on(daemon.post(path, body))?)
    }

    fn print(&self, done: Done) -> Result<u8, Failure> {
        let text = if self.json {
            serde_json::to_string(&done).context("cannot write JSON")?
        } else {
            done.message
        };
        terminal::print(&format!("{}\n", text.trim_end()))?;
        Ok(0)
    }
}
