//! The job server as a snapshot: what `status`, the manager and the admin texts read.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::conn::{Conn, ConnId};
use super::function::Function;
use super::job::Place;
use super::server::{Handle, JobServer};
pub use super::waits::WaitLoad;
use crate::proto::Priority;
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
    /// An operator has it held: its jobs wait, and nobody is given one.
    #[serde(default)]
    pub paused: bool,
    /// Jobs that have ended since the daemon started.
    pub completed: u64,
    /// The seconds that those ran in all.
    pub busy_seconds: f64,
    /// The sum of the squares of the seconds that each ran.
    pub busy_squares: f64,
    /// How long jobs waited for a worker, lately.
    pub waits: WaitLoad,
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

/// How busy a connection is: what the manager samples, without the names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occupation {
    /// Since when it has had the oldest of its jobs.
    pub busy_since: Option<Time>,
    /// Since when it has had no job.
    pub idle_since: Time,
    /// Jobs that it has ended.
    pub jobs_done: u64,
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

impl JobServer {
    /// Every function, in the order in which they were first named.
    pub fn function_loads(&self, now: Time) -> Vec<FunctionLoad> {
        let all = self.functions.iter();
        all.map(|function| self.function_load(now, function))
            .collect()
    }

    /// Those of these functions that there are, in the same order: others may have named any number of further ones.
    pub fn function_loads_of<'a>(
        &self,
        now: Time,
        names: impl Iterator<Item = &'a str>,
    ) -> Vec<FunctionLoad> {
        let keys = names.filter_map(|name| self.functions.find(name.as_bytes()));
        let keys: BTreeSet<u32> = keys.collect();
        keys.into_iter()
            .map(|key| self.function_load(now, &self.functions[key]))
            .collect()
    }

    fn function_load(&self, now: Time, function: &Function) -> FunctionLoad {
        let mut load = function.load();
        let heads = [Priority::High, Priority::Normal, Priority::Low]
            .map(|priority| function.head(priority));
        let oldest = heads
            .into_iter()
            .flatten()
            .map(|job| now.since(self.jobs[job].since))
            .max();
        load.oldest_wait = oldest.unwrap_or_default();
        load.waits = function.waits.load(now);
        load
    }

    /// Every connection that can do something or does.
    pub fn worker_loads(&self) -> Vec<ConnLoad> {
        let workers = self
            .conns
            .iter()
            .filter(|conn| !conn.abilities.is_empty() || !conn.held.is_empty());
        workers.map(|conn| self.conn_load(conn)).collect()
    }

    /// One connection, unless it is gone.
    pub fn worker_load(&self, conn: ConnId) -> Option<ConnLoad> {
        self.conns
            .key(conn)
            .map(|key| self.conn_load(&self.conns[key]))
    }

    /// How busy a connection is, unless it is gone.
    pub fn occupation(&self, conn: ConnId) -> Option<Occupation> {
        let conn = &self.conns[self.conns.key(conn)?];
        let busy_since = conn
            .held
            .first()
            .and_then(|&job| match self.jobs[job].place {
                Place::Worker { since, .. } => Some(since),
                Place::Lane { .. } | Place::Later { .. } => None,
            });
        Some(Occupation {
            busy_since,
            idle_since: conn.idle_since,
            jobs_done: conn.jobs_done,
        })
    }

    fn conn_load(&self, conn: &Conn) -> ConnLoad {
        let jobs = conn.held.iter().filter_map(|&job| {
            let job = &self.jobs[job];
            let Place::Worker { since, .. } = job.place else {
                return None;
            };
            let handle = Handle::new(&self.options.handle_prefix, job.number);
            Some(RunningJob {
                handle: String::from_utf8_lossy(handle.bytes()).into_owned(),
                function: String::from_utf8_lossy(&self.functions[job.function].name).into_owned(),
                since,
            })
        });
        let functions = conn
            .abilities
            .iter()
            .map(|ability| &self.functions[ability.function].name);
        ConnLoad {
            conn: conn.id,
            peer: conn.peer.clone(),
            client_id: String::from_utf8_lossy(&conn.client_id).into_owned(),
            functions: functions
                .map(|name| String::from_utf8_lossy(name).into_owned())
                .collect(),
            jobs: jobs.collect(),
            jobs_done: conn.jobs_done,
            idle_since: conn.idle_since,
        }
    }
}

impl Function {
    /// What the function itself knows; the oldest wait is the jobs'.
    pub(super) fn load(&self) -> FunctionLoad {
        FunctionLoad {
            name: String::from_utf8_lossy(&self.name).into_owned(),
            queued: self.queued_by_priority(),
            running: self.running,
            workers: self.workers,
            paused: self.is_paused,
            completed: self.completed,
            busy_seconds: self.busy.as_secs_f64(),
            busy_squares: self.busy_squares,
            waits: WaitLoad::default(),
            oldest_wait: Duration::ZERO,
        }
    }
}
