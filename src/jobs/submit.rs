//! How a job comes in: it is checked, filed, acknowledged, and then put into its lane.
//!
//! These are four steps because something may come between the second and the third: a store that has to have the job on disk before
//! JOB_CREATED may be said. The handle is fixed when the job is filed, so a later submission with the same unique finds it there, and
//! the connection that waits for its JOB_CREATED is the only one that a slow commit holds up: what it is sent meanwhile has to stay
//! behind that packet, which is its mailbox's business and not the queue's.

use std::time::Duration;

use super::calendar;
use super::conn::ConnKey;
use super::job::{Job, JobKey, Place};
use super::server::{Handle, JobServer, MAX_FUNCTION, MAX_UNIQUE};
use crate::proto::{Mode, Priority, Response, Schedule};
use crate::time::Time;

/// When a job may run.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start {
    AtOnce,
    /// Not before this Unix second.
    At(u64),
}

/// A job as it is handed in, in whichever of the packets.
pub(super) struct Submission<'a> {
    pub(super) priority: Priority,
    pub(super) mode: Mode,
    pub(super) function: &'a [u8],
    pub(super) unique: &'a [u8],
    pub(super) workload: &'a [u8],
    pub(super) reducer: Option<&'a [u8]>,
    pub(super) start: Start,
}

/// Why a job is not taken: an ERROR's code and text.
pub(super) type Refusal = (&'static [u8], &'static [u8]);

/// So many submissions may wait for the result of one job.
pub const MAX_WAITING: usize = 10_000;

const UNIQUE_TOO_LARGE: Refusal = (b"ARGUMENT_TOO_LARGE", b"Unique value too large");
const BAD_FUNCTION: Refusal = (b"ARGUMENT_TOO_LARGE", b"Function name empty or too large");
pub(super) const TOO_MANY_FUNCTIONS: Refusal = (
    b"QUEUE_ERROR",
    b"this server has as many functions as it can, drop some",
);
const TOO_MANY_WAIT: Refusal = (b"QUEUE_ERROR", b"as many clients wait for this job as can");
const QUEUE_FULL: Refusal = (b"QUEUE_ERROR", b"Job queue is full");
const NO_ROOM: Refusal = (
    b"QUEUE_ERROR",
    b"the queued workloads have reached the limit of this server, try again later",
);

impl JobServer {
    /// Any SUBMIT_JOB.
    pub(super) fn submit(&mut self, now: Time, key: ConnKey, submission: &Submission<'_>) {
        match self.file(now, submission) {
            Err((code, text)) => self.error(key, code, text),
            Ok((job, is_new)) => {
                self.acknowledge(key, job, submission.mode);
                if is_new {
                    self.start(now, job, submission.start);
                }
            }
        }
    }

    /// SUBMIT_JOB_EPOCH and SUBMIT_JOB_SCHED, which are background jobs.
    pub(super) fn submit_later(
        &mut self,
        now: Time,
        key: ConnKey,
        (function, unique, workload): (&[u8], &[u8], &[u8]),
        start: Result<Start, &'static str>,
    ) {
        match start {
            Err(why) => self.error(key, b"INVALID_ARGUMENTS", why.as_bytes()),
            Ok(start) => {
                let submission = Submission {
                    start,
                    ..Submission::new(Mode::Background, function, unique, workload)
                };
                self.submit(now, key, &submission);
            }
        }
    }

    /// The Unix second at which a schedule begins next.
    pub(super) fn next_moment(
        &self,
        now: Time,
        schedule: &Schedule<'_>,
    ) -> Result<u64, &'static str> {
        let now = self.options.epoch + now.since_start().as_secs();
        calendar::next(schedule, now, &self.options.zone)
    }

    /// The job that a submission is from now on, and whether it is a new one.
    fn file(&mut self, now: Time, it: &Submission<'_>) -> Result<(JobKey, bool), Refusal> {
        if it.unique.len() > MAX_UNIQUE {
            return Err(UNIQUE_TOO_LARGE);
        }
        if it.function.is_empty() || it.function.len() > MAX_FUNCTION {
            return Err(BAD_FUNCTION);
        }
        let function = self
            .functions
            .named(it.function)
            .ok_or(TOO_MANY_FUNCTIONS)?;
        if let Some(job) = self.jobs.same(function, it.unique, it.workload) {
            let waits = it.mode == Mode::Foreground;
            return match waits && self.jobs[job].clients.len() == MAX_WAITING {
                true => Err(TOO_MANY_WAIT),
                false => Ok((job, false)),
            };
        }
        let job = Job::new(
            now,
            function,
            it.priority,
            it.unique,
            it.workload,
            it.reducer,
        );
        self.check_room(&job)?;
        self.functions[function].jobs += 1;
        Ok((self.jobs.insert(job), true))
    }

    /// Whether the queue takes one more.
    #[inline]
    pub(super) fn check_room(&self, job: &Job) -> Result<(), Refusal> {
        let function = &self.functions[job.function];
        let limit = function
            .max_queue
            .map_or(self.options.max_queue, |own| own[job.priority as usize]);
        if limit > 0 && function.jobs >= u64::from(limit) {
            return Err(QUEUE_FULL);
        }
        let most = self.options.max_queued_bytes;
        if most > 0 && self.jobs.bytes() + job.bytes() > most {
            return Err(NO_ROOM);
        }
        Ok(())
    }

    /// JOB_CREATED, and from now on the results.
    fn acknowledge(&mut self, key: ConnKey, job: JobKey, mode: Mode) {
        match mode {
            Mode::Background => self.jobs[job].background = true,
            Mode::Foreground => {
                self.jobs[job].clients.push(key);
                *self.conns[key].waits.entry(job).or_insert(0) += 1;
            }
        }
        let handle = Handle::new(&self.options.handle_prefix, self.jobs[job].number);
        let handle = handle.bytes();
        self.send(key, &Response::JobCreated { handle });
    }

    /// Lets a new job wait for its time, or for a worker.
    fn start(&mut self, now: Time, job: JobKey, start: Start) {
        let due = match start {
            Start::AtOnce => now,
            Start::At(second) => Time::new(Duration::from_secs(
                second.saturating_sub(self.options.epoch),
            )),
        };
        if due > now {
            self.jobs[job].place = Place::Later { due };
            self.later.insert((due, self.jobs[job].number));
        } else {
            self.enqueue(now, job);
        }
    }

    /// Puts a job that is in no lane at the end of its own, and wakes somebody for it.
    pub(super) fn enqueue(&mut self, now: Time, job: JobKey) {
        let function = self.jobs[job].function;
        self.jobs[job].since = now;
        self.functions[function].push_back(&mut self.jobs, job);
        self.wake(now, function);
    }
}

impl<'a> Submission<'a> {
    pub(super) fn new(
        mode: Mode,
        function: &'a [u8],
        unique: &'a [u8],
        workload: &'a [u8],
    ) -> Self {
        Submission {
            priority: Priority::Normal,
            mode,
            function,
            unique,
            workload,
            reducer: None,
            start: Start::AtOnce,
        }
    }
}
