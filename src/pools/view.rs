//! The pools as a snapshot: what `status` shows of them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::Slot;

/// One pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolView {
    /// Its name.
    pub name: String,
    /// Its command, as one line.
    pub command: String,
    /// The functions that it serves.
    pub functions: Vec<String>,
    /// The bounds in force.
    pub min: u32,
    /// See `min`.
    pub max: u32,
    /// How many processes it should have now.
    pub target: u32,
    /// Why, in the words of `scale`.
    pub reason: String,
    /// In one word.
    pub state: PoolState,
    /// What an operator's command holds it at, when one does: "scaled by hand", "stopped by hand".
    pub by_hand: Option<String>,
    /// How often a process had to be started again since the daemon started.
    pub restarts: u64,
    /// The way the last process that ended by itself did: "exit 1", "signal KILL".
    pub last_exit: Option<String>,
    /// The last lines that it wrote, while the pool is failing.
    pub last_lines: Vec<String>,
    /// What is wrong with it by its check, while that has not passed.
    pub check: Option<CheckView>,
    /// What its size is decided from.
    pub scale: ScaleView,
    /// Its processes, by slot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<ProcessView>,
}

/// A check that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckView {
    /// What that means, which command it was, and how it ended.
    pub failed: String,
    /// The last lines that it wrote.
    pub lines: Vec<String>,
}

/// What a pool's size is decided from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScaleView {
    /// How many it wants for the jobs that there are; its target may keep more, or be held at fewer.
    pub wants: u32,
    /// Processes that have registered and stay.
    pub running: u32,
    /// Processes that have been started and have not registered.
    pub starting: u32,
    /// Processes that are leaving.
    pub draining: u32,
    /// Jobs that came in a second, lately.
    pub arrivals: f64,
    /// How long a job takes; `null` until the first has ended.
    #[serde(with = "crate::time::seconds::option", default)]
    pub service: Option<Duration>,
    /// How long a start takes; `null` until the first process has registered.
    #[serde(with = "crate::time::seconds::option", default)]
    pub startup: Option<Duration>,
    /// How long a job should wait at most.
    #[serde(with = "crate::time::seconds")]
    pub target_wait: Duration,
    /// How long a peak of the need is kept.
    #[serde(with = "crate::time::seconds")]
    pub hold: Duration,
    /// The last changes of its target, the latest last.
    pub decisions: Vec<DecisionView>,
}

/// A change of a pool's target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DecisionView {
    /// How long ago.
    #[serde(with = "crate::time::seconds")]
    pub ago: Duration,
    /// From so many processes.
    pub from: u32,
    /// To so many.
    pub to: u32,
    /// Why, in the words of that moment.
    pub reason: String,
}

/// How a pool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PoolState {
    /// It has what it wants, or is getting it.
    Running,
    /// Its processes keep dying, or cannot be started.
    Failing,
    /// Stopped by hand.
    Stopped,
    /// Removed from the file, or the daemon is shutting down: its processes are leaving.
    Leaving,
}

/// One process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessView {
    /// The number that the shell knows it by.
    pub proc: u64,
    /// Its slot.
    pub slot: Slot,
    /// Its process id, from the moment it runs.
    pub pid: Option<u32>,
    /// In one word.
    pub state: ProcessState,
    /// How long it has been up.
    #[serde(with = "crate::time::seconds")]
    pub up: Duration,
    /// Why it is being stopped, while it is: "scale down", "reload", "max_jobs reached".
    pub leaving_because: Option<String>,
    /// In how long it is started, while it backs off.
    #[serde(with = "crate::time::seconds::option", default)]
    pub next_start_in: Option<Duration>,
}

/// Where a process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProcessState {
    /// Waiting for its next start after one that failed.
    Backoff,
    /// Started, has not registered yet.
    Starting,
    /// Registered, takes jobs.
    Running,
    /// Gets no more jobs, finishes what it has.
    Draining,
    /// Was asked to stop.
    Stopping,
    /// Was sent KILL.
    Killed,
}
