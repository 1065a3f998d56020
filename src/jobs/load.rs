//! The job server as a snapshot: what `status`, the manager and the admin texts read.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::conn::ConnId;
use crate::time::Time;

/// One function.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FunctionLoad {
    /// Its name; bytes that are no UTF-8 are shown as U+FFFD.
    pub name: String,
    /// Jobs that wait, by priority: high, normal, low.
    pub queued: [u64; 3],
    /// Jobs that a worker has.
    pub running: u64,
    /// Connections that can do it.
    pub workers: u64,
    /// Jobs that have ended since the daemon started.
    pub completed: u64,
    /// The seconds that those ran in all.
    pub busy_seconds: f64,
    /// How long the oldest waiting job has waited.
    #[serde(with = "crate::time::seconds")]
    pub oldest_wait: Duration,
}

/// One connection.
#[derive(Clone, Debug, PartialEq)]
pub struct ConnLoad {
    /// The core's number of it.
    pub conn: ConnId,
    /// The peer's address, as it is shown.
    pub peer: String,
    /// SET_CLIENT_ID, `-` when there was none.
    pub client_id: String,
    /// What it can do.
    pub functions: Vec<String>,
    /// The jobs that it runs.
    pub jobs: Vec<RunningJob>,
    /// Jobs that it has ended.
    pub jobs_done: u64,
    /// Since when it has had no job.
    pub idle_since: Time,
}

/// A job in a worker's hands.
#[derive(Clone, Debug, PartialEq)]
pub struct RunningJob {
    /// Its handle.
    pub handle: String,
    /// Its function.
    pub function: String,
    /// Since when.
    pub since: Time,
}
