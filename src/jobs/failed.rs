//! Jobs that are set aside: they have taken down as many processes as they may, or failed as often, and wait for the operator, who has
//! them done again or discards them.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::conn::ConnKey;
use super::job::{Job, JobKey, Place};
use super::outbox::Notice;
use super::policy::Policy;
use super::server::{Handle, JobServer};
use crate::proto::Priority;
use crate::time::Time;

/// So many jobs are kept aside; the oldest goes for a new one.
pub const MAX_FAILED: usize = 1000;

/// What they may take together, in bytes.
pub const MAX_FAILED_BYTES: u64 = 64 << 20;

/// The text of an exception is kept up to here, in bytes.
const MAX_EXCEPTION: usize = 4096;

/// So much is kept of each line that its process wrote last, in bytes.
const MAX_LAST_LINE: usize = 1024;

/// Why a job is set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Why {
    /// Its worker was gone.
    Lost,
    /// It ran past its limit.
    Overdue,
    /// WORK_FAIL.
    Failed,
    /// WORK_EXCEPTION.
    Exception(#[serde(with = "serde_bytes")] Box<[u8]>),
}

impl Why {
    pub(super) fn exception(data: &[u8]) -> Why {
        Why::Exception(data[..data.len().min(MAX_EXCEPTION)].into())
    }
}

/// A job that is set aside.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FailedJob {
    pub(super) number: u64,
    #[serde(with = "serde_bytes")]
    pub(super) function: Box<[u8]>,
    pub(super) priority: Priority,
    pub(super) background: bool,
    pub(super) lost: u16,
    pub(super) failed: u16,
    #[serde(with = "serde_bytes")]
    pub(super) unique: Box<[u8]>,
    #[serde(with = "serde_bytes")]
    pub(super) workload: Box<[u8]>,
    #[serde(with = "serde_bytes")]
    pub(super) reducer: Option<Box<[u8]>>,
    pub(super) since: Time,
    pub(super) why: Why,
    /// Who had it last.
    pub(super) worker: String,
    /// How the process of that ended, and what it wrote last.
    pub(super) exit: Option<String>,
    pub(super) last_lines: Vec<String>,
}

impl FailedJob {
    fn bytes(&self) -> u64 {
        let reducer = self.reducer.as_ref().map_or(0, |reducer| reducer.len());
        let exception = match &self.why {
            Why::Exception(data) => data.len(),
            Why::Lost | Why::Overdue | Why::Failed => 0,
        };
        let lines: usize = self.last_lines.iter().map(|line| line.len() + 24).sum();
        let texts = self.function.len() + self.unique.len() + self.workload.len();
        (size_of::<FailedJob>() + texts + reducer + exception + lines) as u64
    }
}

/// All of them, the oldest first.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Failed {
    jobs: VecDeque<FailedJob>,
    /// The sum of [`FailedJob::bytes`].
    bytes: u64,
    /// How many had to go for others.
    discarded: u64,
}

impl Failed {
    pub(super) fn len(&self) -> usize {
        self.jobs.len()
    }

    pub(super) fn discarded(&self) -> u64 {
        self.discarded
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &FailedJob> {
        self.jobs.iter()
    }

    pub(super) fn find(&self, number: u64) -> Option<&FailedJob> {
        self.jobs.iter().find(|job| job.number == number)
    }

    fn push(&mut self, job: FailedJob) {
        self.bytes += job.bytes();
        self.jobs.push_back(job);
        self.trim();
    }

    fn trim(&mut self) {
        while self.jobs.len() > MAX_FAILED || self.bytes > MAX_FAILED_BYTES {
            let Some(oldest) = self.jobs.pop_front() else {
                return;
            };
            self.bytes -= oldest.bytes();
            self.discarded += 1;
        }
    }

    fn take(&mut self, number: u64) -> Option<FailedJob> {
        let at = self.jobs.iter().position(|job| job.number == number)?;
        let job = self.jobs.remove(at)?;
        self.bytes -= job.bytes();
        Some(job)
    }

    /// Says more of a job's end.
    fn amend(&mut self, number: u64, change: impl FnOnce(&mut FailedJob)) {
        if let Some(job) = self.jobs.iter_mut().find(|job| job.number == number) {
            self.bytes -= job.bytes();
            change(job);
            self.bytes += job.bytes();
            self.trim();
        }
    }

    pub(super) fn assert_bounds(&self) {
        let bytes: u64 = self.jobs.iter().map(FailedJob::bytes).sum();
        assert_eq!(self.bytes, bytes, "the bytes of what is set aside");
        assert!(
            self.jobs.len() <= MAX_FAILED && bytes <= MAX_FAILED_BYTES,
            "what is set aside has its bounds"
        );
    }
}

/// Why a job that is set aside is not done again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RetryError {
    /// None with this handle is set aside.
    #[error("no job {0} is set aside; `gearpool jobs failed` lists those that are")]
    Unknown(String),
    /// Another job is what it would be.
    #[error("{0}: a job with the same unique is queued or running; retry it when that has ended")]
    Same(String),
    /// The queue takes no more.
    #[error("{0}: {1}")]
    NoRoom(String, String),
}

impl JobServer {
    /// A job that a worker has failed at, and whose clients have been told: it is tried again, if it is one of those that are.
    pub(super) fn has_failed(
        &mut self,
        now: Time,
        key: ConnKey,
        job: JobKey,
        why: impl FnOnce() -> Why,
    ) {
        let Policy { retries, .. } = self.functions[self.jobs[job].function].policy;
        if retries == 0 || !self.jobs[job].background {
            self.forget(job);
            return;
        }
        // they have been told: what comes of it now is for nobody in particular
        for client in std::mem::take(&mut self.jobs[job].clients) {
            self.conns[client].waits.remove(&job);
        }
        let it = &mut self.jobs[job];
        it.failed = it.failed.saturating_add(1);
        it.since = now;
        it.is_overdue = false;
        (it.numerator, it.denominator) = (0, 0);
        if u32::from(it.failed) > retries {
            let conn = self.conns[key].id;
            let handle = self.handle(job).bytes().into();
            self.out.tell(Notice::Failed { conn, handle });
            return self.set_aside(now, key, job, why());
        }
        let due = now + self.functions[it.function].policy.delay(it.failed);
        if due > now {
            it.place = Place::Later { due };
            self.later.insert((due, it.number));
        } else {
            self.enqueue(now, job);
        }
    }

    /// Takes a job that is in no lane and in no worker's hands out of everything, and keeps it for the operator.
    pub(super) fn set_aside(&mut self, now: Time, key: ConnKey, job: JobKey, why: Why) {
        for client in std::mem::take(&mut self.jobs[job].clients) {
            self.conns[client].waits.remove(&job);
        }
        let gone = self.jobs.remove(job);
        self.functions[gone.function].jobs -= 1;
        self.failed.push(FailedJob {
            number: gone.number,
            function: self.functions[gone.function].name.clone(),
            priority: gone.priority,
            background: gone.background,
            lost: gone.lost,
            failed: gone.failed,
            unique: gone.unique,
            workload: gone.workload,
            reducer: gone.reducer,
            since: now,
            why,
            worker: self.worker_name(key),
            exit: None,
            last_lines: Vec::new(),
        });
    }

    /// A worker by its address and the name that it has given itself.
    pub(super) fn worker_name(&self, key: ConnKey) -> String {
        let conn = &self.conns[key];
        match &*conn.client_id {
            b"-" => conn.peer.clone(),
            id => format!("{} {}", conn.peer, String::from_utf8_lossy(id)),
        }
    }

    /// Says of a job that is set aside whose process had it last; and once that has ended, how, and what it wrote last.
    pub fn tell_how_it_was_lost(
        &mut self,
        handle: &[u8],
        worker: &str,
        exit: Option<&str>,
        last_lines: &[String],
    ) {
        let Some(number) = self.number(handle) else {
            return;
        };
        self.failed.amend(number, |job| {
            worker.clone_into(&mut job.worker);
            job.exit = exit.map(str::to_owned);
            job.last_lines = last_lines
                .iter()
                .map(|line| line[..line.floor_char_boundary(MAX_LAST_LINE)].to_owned())
                .collect();
        });
    }

    /// Has a job that is set aside done again, as a new one with its old handle: in the background, for whoever waited was told that it
    /// has failed.
    ///
    /// # Errors
    /// It is not there, or cannot be taken now.
    pub fn retry(&mut self, now: Time, handle: &[u8]) -> Result<(), RetryError> {
        let shown = || String::from_utf8_lossy(handle).into_owned();
        let unknown = || RetryError::Unknown(shown());
        let number = self.number(handle).ok_or_else(unknown)?;
        let it = self.failed.find(number).ok_or_else(unknown)?;
        let no_room =
            |text: &[u8]| RetryError::NoRoom(shown(), String::from_utf8_lossy(text).into_owned());
        let named = self.functions.named(&it.function);
        let function = named.ok_or_else(|| no_room(super::submit::TOO_MANY_FUNCTIONS.1))?;
        if self.jobs.same(function, &it.unique, &it.workload).is_some() {
            return Err(RetryError::Same(shown()));
        }
        let mut job = Job::new(
            now,
            function,
            it.priority,
            &it.unique,
            &it.workload,
            it.reducer.as_deref(),
        );
        job.number = number;
        job.background = true;
        self.check_room(&job).map_err(|(_, text)| no_room(text))?;
        self.failed.take(number);
        self.functions[function].jobs += 1;
        let key = self.jobs.restore(job);
        self.enqueue(now, key);
        Ok(())
    }

    /// Discards a job that is set aside. Returns whether it was.
    pub fn discard(&mut self, handle: &[u8]) -> bool {
        let number = self.number(handle);
        number.and_then(|number| self.failed.take(number)).is_some()
    }

    /// The handles of what is set aside, of one function or of all, the oldest first.
    pub fn failed_handles(&self, function: Option<&str>) -> Vec<String> {
        let of = |job: &&FailedJob| function.is_none_or(|it| it.as_bytes() == &*job.function);
        let handle = |job: &FailedJob| {
            let handle = Handle::new(&self.options.handle_prefix, job.number);
            String::from_utf8_lossy(handle.bytes()).into_owned()
        };
        self.failed.iter().filter(of).map(handle).collect()
    }

    /// How many jobs are set aside, and how many had to go for others since the start.
    pub fn failed_count(&self) -> (u64, u64) {
        (self.failed.len() as u64, self.failed.discarded())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(number: u64, workload: usize) -> FailedJob {
        FailedJob {
            number,
            function: (*b"f").into(),
            priority: Priority::Normal,
            background: true,
            lost: 3,
            failed: 0,
            unique: Box::default(),
            workload: vec![0; workload].into(),
            reducer: None,
            since: Time::ZERO,
            why: Why::Lost,
            worker: "f/1".to_owned(),
            exit: None,
            last_lines: Vec::new(),
        }
    }

    #[test]
    fn the_oldest_goes_for_a_new_one() {
        let mut failed = Failed::default();
        for number in 0..MAX_FAILED as u64 + 2 {
            failed.push(job(number, 10));
            failed.assert_bounds();
        }
        assert_eq!((failed.len(), failed.discarded()), (MAX_FAILED, 2));
        assert!(failed.find(1).is_none() && failed.find(2).is_some());
        // one that takes nearly all there is
        failed.push(job(9999, MAX_FAILED_BYTES as usize - 1000));
        failed.assert_bounds();
        assert!((1..10).contains(&failed.len()));
        assert!(failed.find(9999).is_some());
        // and one that takes more has no place
        failed.push(job(10_000, MAX_FAILED_BYTES as usize));
        failed.assert_bounds();
        assert_eq!(failed.len(), 0);
        assert_eq!(failed.discarded(), MAX_FAILED as u64 + 4);
    }

    #[test]
    fn what_is_told_later_counts_too() {
        let mut failed = Failed::default();
        failed.push(job(1, 10));
        failed.amend(1, |job| job.last_lines = vec!["x".repeat(500); 20]);
        failed.assert_bounds();
        assert!(failed.take(1).is_some() && failed.take(1).is_none());
        assert_eq!(failed.bytes, 0);
    }
}
