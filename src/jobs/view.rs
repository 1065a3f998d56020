//! Jobs as `gearpool jobs` shows them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::conn::ConnId;
use super::failed::{FailedJob, Why};
use super::job::{Job, JobKey, Place};
use super::server::{Handle, JobServer};
use crate::proto::Priority;
use crate::time::Time;

/// So much of a workload is shown, in bytes.
const SHOWN: usize = 1024;

/// Some of the jobs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JobList {
    /// Those that run first, then those that wait, as they will be given out, then those that wait for their time. Of those that are set
    /// aside the latest first.
    pub jobs: Vec<JobView>,
    /// How many there are, shown or not.
    pub total: u64,
    /// How many were set aside and had to go for others since the start.
    pub discarded: u64,
}

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobState {
    /// In a worker's hands.
    Running,
    /// Until a worker takes it.
    Waiting,
    /// Until an operator resumes its function.
    Held,
    /// For its time: it was submitted for later, or has failed and is tried again.
    Later,
    /// Set aside.
    Failed,
}

/// One job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobView {
    /// Its handle.
    pub handle: String,
    /// Its function.
    pub function: String,
    /// Where it is.
    pub state: JobState,
    /// How long it has been there.
    #[serde(with = "crate::time::seconds")]
    pub since: Duration,
    /// In how long it may run, where it waits for that.
    #[serde(with = "crate::time::seconds::option", default)]
    pub due_in: Option<Duration>,
    /// `high`, `normal` or `low`.
    pub priority: String,
    /// Whether it was submitted in the background.
    pub background: bool,
    /// How many submissions wait for its result.
    pub clients: u64,
    /// Its unique.
    pub unique: String,
    /// The length of its workload, in bytes.
    pub workload_bytes: u64,
    /// The beginning of its workload; in lists there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// How many processes, or connections, were gone before it had ended.
    pub attempts: u32,
    /// How many may be; 0 is no limit.
    pub attempts_allowed: u32,
    /// How often it has failed.
    pub failures: u32,
    /// How often it is tried again after that.
    pub retries_allowed: u32,
    /// How much of it is done, as its worker says: so much, of so much.
    pub progress: (u64, u64),
    /// Who runs it, or has run it last where it is set aside.
    pub worker: Option<String>,
    /// Why it is set aside.
    pub reason: Option<String>,
    /// How the process that had it last ended: "exit 1", "signal KILL".
    pub exit: Option<String>,
    /// What that process wrote last.
    pub last_lines: Vec<String>,
    /// The connection of who runs it.
    #[serde(skip)]
    pub conn: Option<ConnId>,
}

impl JobServer {
    /// Jobs that are not over, at most `limit` of them: of one function, or of all.
    pub fn job_list(&self, now: Time, function: Option<&str>, limit: usize) -> JobList {
        let keys: Vec<u32> = match function {
            Some(name) => self.functions.find(name.as_bytes()).into_iter().collect(),
            None => self.functions.keys().collect(),
        };
        let is_meant = |job: &Job| match function {
            Some(_) => keys.first() == Some(&job.function),
            None => true,
        };
        let running = self.conns.iter().flat_map(|conn| conn.held.iter().copied());
        let waiting = keys.iter().flat_map(|&key| {
            [Priority::High, Priority::Normal, Priority::Low]
                .into_iter()
                .flat_map(move |priority| self.functions[key].waiting(&self.jobs, priority))
        });
        let later = self
            .later
            .iter()
            .filter_map(|&(_, number)| self.jobs.by_number(number));
        let all = running.chain(waiting).chain(later);
        let shown = all.filter(|&job| is_meant(&self.jobs[job])).take(limit);
        JobList {
            jobs: shown.map(|job| self.job_view(now, job, false)).collect(),
            total: keys.iter().map(|&key| self.functions[key].jobs).sum(),
            discarded: 0,
        }
    }

    /// Jobs that are set aside, the latest first, at most `limit` of them: of one function, or of all.
    pub fn failed_list(&self, now: Time, function: Option<&str>, limit: usize) -> JobList {
        let of = |job: &&FailedJob| function.is_none_or(|it| it.as_bytes() == &*job.function);
        let shown = self.failed.iter().rev().filter(of).take(limit);
        JobList {
            jobs: shown.map(|job| self.failed_view(now, job, false)).collect(),
            total: self.failed.iter().filter(of).count() as u64,
            discarded: self.failed.discarded(),
        }
    }

    /// The job with this handle, set aside or not, with the beginning of its workload.
    pub fn show(&self, now: Time, handle: &[u8]) -> Option<JobView> {
        let number = self.number(handle)?;
        match self.jobs.by_number(number) {
            Some(job) => Some(self.job_view(now, job, true)),
            None => {
                let failed = self.failed.find(number)?;
                Some(self.failed_view(now, failed, true))
            }
        }
    }

    fn job_view(&self, now: Time, key: JobKey, with_workload: bool) -> JobView {
        let job = &self.jobs[key];
        let function = &self.functions[job.function];
        let (state, since, due_in, conn) = match job.place {
            Place::Lane { .. } if function.is_paused => (JobState::Held, job.since, None, None),
            Place::Lane { .. } => (JobState::Waiting, job.since, None, None),
            Place::Worker { conn, since, .. } => (JobState::Running, since, None, Some(conn)),
            Place::Later { due } => (JobState::Later, job.since, Some(due.since(now)), None),
        };
        JobView {
            handle: text(Handle::new(&self.options.handle_prefix, job.number).bytes()),
            function: text(&function.name),
            state,
            since: now.since(since),
            due_in,
            priority: priority(job.priority).to_owned(),
            background: job.background,
            clients: job.clients.len() as u64,
            unique: text(&job.unique),
            workload_bytes: job.workload.len() as u64,
            workload: with_workload.then(|| beginning(&job.workload)),
            attempts: job.lost.into(),
            attempts_allowed: self.attempts(job.function),
            failures: job.failed.into(),
            retries_allowed: function.policy.retries,
            progress: (job.numerator, job.denominator),
            worker: conn.map(|conn| self.worker_name(conn)),
            reason: job.is_overdue.then(|| {
                "it has run past its time limit, and its process is being killed".to_owned()
            }),
            exit: None,
            last_lines: Vec::new(),
            conn: conn.map(|conn| self.conns[conn].id),
        }
    }

    fn failed_view(&self, now: Time, job: &FailedJob, with_workload: bool) -> JobView {
        let policy = self.functions.find(&job.function).map(|it| {
            let retries = self.functions[it].policy.retries;
            (self.attempts(it), retries)
        });
        let (attempts_allowed, retries_allowed) = policy.unwrap_or_default();
        JobView {
            handle: text(Handle::new(&self.options.handle_prefix, job.number).bytes()),
            function: text(&job.function),
            state: JobState::Failed,
            since: now.since(job.since),
            due_in: None,
            priority: priority(job.priority).to_owned(),
            background: job.background,
            clients: 0,
            unique: text(&job.unique),
            workload_bytes: job.workload.len() as u64,
            workload: with_workload.then(|| beginning(&job.workload)),
            attempts: job.lost.into(),
            attempts_allowed,
            failures: job.failed.into(),
            retries_allowed,
            progress: (0, 0),
            worker: Some(job.worker.clone()),
            reason: Some(reason(job)),
            exit: job.exit.clone(),
            last_lines: job.last_lines.clone(),
            conn: None,
        }
    }
}

/// Why a job is set aside, in a sentence without a full stop.
fn reason(job: &FailedJob) -> String {
    let times = |times: u16| match times {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        times => format!("{times} times"),
    };
    match &job.why {
        Why::Lost => format!(
            "its worker was gone before it had ended, {}",
            times(job.lost)
        ),
        Why::Overdue if job.lost == 1 => "it ran past its time limit".to_owned(),
        Why::Overdue => format!(
            "it ran past its time limit, in the last of {} attempts",
            job.lost
        ),
        Why::Failed => format!("it failed {}", times(job.failed)),
        Why::Exception(data) => {
            format!(
                "it failed {}, the last time with: {}",
                times(job.failed),
                text(data)
            )
        }
    }
}

fn priority(priority: Priority) -> &'static str {
    match priority {
        Priority::High => "high",
        Priority::Normal => "normal",
        Priority::Low => "low",
    }
}

fn beginning(workload: &[u8]) -> String {
    text(&workload[..workload.len().min(SHOWN)])
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
