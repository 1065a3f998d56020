//! PURE. The one snapshot: jobs, pools and processes as they stood at one moment.
//!
//! Assembled in one place (the manager), read by everything that shows something, so that no two views can disagree. [`table`] makes
//! it the text of `gearpool status` and the lines of `gearpool top`, [`words`] its durations, sizes and names;
//! [`explain`] tells of one pool in sentences, [`mod@jobs`] shows jobs.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod explain;
mod grid;
pub mod jobs;
mod page;
#[cfg(test)]
pub(crate) mod samples;
pub mod table;
pub mod words;

pub use page::{Cell, Colour, Line, Look, Page, Paint};

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::jobs::load::FunctionLoad;
use crate::pools::view::{PoolState, PoolView, ProcessView};

/// Everything that `status` knows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The daemon.
    pub server: ServerStatus,
    /// What is queued and who can do it, by name.
    pub functions: Vec<FunctionLoad>,
    /// The pools, in the order of the file.
    pub pools: Vec<PoolStatus>,
    /// Workers that Gearpool did not start.
    pub other_workers: Vec<WorkerStatus>,
}

/// The daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerStatus {
    /// Gearpool's version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// How long it has been up.
    #[serde(with = "crate::time::seconds")]
    pub up: Duration,
    /// The addresses that it listens on.
    pub listen: Vec<String>,
    /// The folder of its lock and control socket.
    pub state_dir: String,
    /// The folder of the workers' output.
    pub log_dir: String,
    /// The configuration file, if there is one.
    pub config: Option<String>,
    /// What is wrong with the file as it stands now, while an older one is in force.
    pub config_error: Option<String>,
    /// How many of the workers' log files cannot be written now.
    pub logs_failing: u64,
    /// How many bytes of the workers' output could not be written since the start.
    pub logs_dropped: u64,
    /// Whether it is shutting down.
    pub shutting_down: bool,
    /// How many connections it has.
    pub connections: u64,
    /// How many jobs are set aside as failed.
    #[serde(default)]
    pub failed_jobs: u64,
    /// How many of those had to go for others since the start.
    #[serde(default)]
    pub failed_jobs_discarded: u64,
    /// The last upgrade in place, if there was one.
    #[serde(default)]
    pub upgrade: Option<UpgradeStatus>,
}

/// An upgrade in place: another program took over, in the same process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpgradeStatus {
    /// The version before.
    pub from: String,
    /// How many there were since the daemon started, with this one.
    pub count: u64,
    /// How long no connection was served.
    #[serde(with = "crate::time::seconds")]
    pub silent: Duration,
}

/// A pool, with what the job server and the system know of its processes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PoolStatus {
    /// What the supervisor knows; its own list of processes is empty here.
    #[serde(flatten)]
    pub pool: PoolView,
    /// Jobs of its functions that wait.
    pub queued: u64,
    /// Those of its functions that an operator holds: nobody is given a job of them.
    #[serde(default)]
    pub paused: Vec<String>,
    /// Its processes, by slot.
    pub members: Vec<MemberStatus>,
}

impl PoolStatus {
    /// Whether the file has it and nobody has stopped it.
    pub fn is_up(&self) -> bool {
        matches!(self.pool.state, PoolState::Running | PoolState::Failing)
    }
}

/// A process of a pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// What the supervisor knows.
    #[serde(flatten)]
    pub process: ProcessView,
    /// Whether its connection is known, without which only `stop_timeout` protects its job.
    pub mapped: bool,
    /// Per cent of one core, over the last moments.
    pub cpu_percent: Option<f32>,
    /// Resident memory in bytes.
    pub memory: Option<u64>,
    /// The jobs that it runs.
    pub jobs: Vec<JobStatus>,
    /// How many it has ended.
    pub jobs_done: u64,
}

/// A running job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobStatus {
    /// Its handle.
    pub handle: String,
    /// Its function.
    pub function: String,
    /// For how long.
    #[serde(with = "crate::time::seconds")]
    pub running: Duration,
}

/// A worker that is not a process of a pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerStatus {
    /// Where it connects from.
    pub peer: String,
    /// SET_CLIENT_ID, `-` when there was none.
    pub client_id: String,
    /// What it can do.
    pub functions: Vec<String>,
    /// The jobs that it runs.
    pub jobs: Vec<JobStatus>,
}

impl Status {
    /// What concerns one function: its line, the pools that serve it or have its name, and the other workers that can do it.
    /// `None` when nothing here knows of it.
    pub fn about(&self, function: &str) -> Option<Status> {
        let serves = |functions: &[String]| functions.iter().any(|name| name == function);
        let mut about = self.clone();
        let named = self.pools.iter().filter(|pool| pool.pool.name == function);
        let served: Vec<_> = named.flat_map(|pool| &pool.pool.functions).collect();
        about
            .functions
            .retain(|load| load.name == function || served.contains(&&load.name));
        about
            .pools
            .retain(|pool| pool.pool.name == function || serves(&pool.pool.functions));
        about
            .other_workers
            .retain(|worker| serves(&worker.functions));
        let empty =
            about.functions.is_empty() && about.pools.is_empty() && about.other_workers.is_empty();
        (!empty).then_some(about)
    }
}
