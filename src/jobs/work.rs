//! What workers do with jobs: take one, report on it, end it, or vanish with it.

use super::conn::{ConnId, ConnKey, MAX_EXCEPTED, Service};
use super::failed::Why;
use super::job::{Job, JobKey, Place};
use super::outbox::{Edge, Mark, Notice, Outcome};
use super::server::{Handle, JobServer};
use crate::proto::{Grab, Priority, Response};
use crate::time::Time;

const NOT_FOUND: (&[u8], &[u8]) = (b"JOB_NOT_FOUND", b"Job given in work result not found");
const NO_SUCH_JOB: (&[u8], &[u8]) = (b"JOB_NOT_FOUND", b"Job does not exist on server");
const NO_SUCH_EXCEPTION: (&[u8], &[u8]) = (
    b"JOB_NOT_FOUND",
    b"An exception was received for a job that does not exist",
);

/// How a worker comes to have a job no longer without having ended it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// Its connection is gone.
    Vanished,
    /// Its connection is gone because we ended it: no fault of the job's.
    Drained,
    /// It ran past its limit in a process of ours, which is gone for that.
    Overdue,
    /// It has run past its limit, and its worker goes on with what nobody waits for.
    Expired,
}

impl JobServer {
    /// A worker asks for a job.
    pub(super) fn grab(&mut self, now: Time, key: ConnKey, grab: Grab) {
        let had_ticket = self.wake_up(key);
        match self.conns[key].service {
            // one that has registered nothing is not looked at, and one that asks twice has asked once
            Service::Held { asked: None } if !self.conns[key].abilities.is_empty() => {
                self.conns[key].service = Service::Held { asked: Some(grab) };
            }
            Service::Held { .. } => self.no_job(key),
            Service::Refused => self.error(
                key,
                b"draining",
                b"no more jobs for this worker, it is being stopped",
            ),
            Service::Quiesced { .. } => self.no_job(key),
            Service::Open if self.is_ending => self.no_job(key),
            Service::Open => match self.choose(key) {
                Some(job) => self.assign(now, key, job, grab),
                None => self.no_job(key),
            },
        }
        // the job that it was woken for may be another one's now, or of another of its functions
        if had_ticket {
            self.wake_for_all(now, key);
        }
    }

    fn no_job(&mut self, key: ConnKey) {
        self.send(key, &Response::NoJob);
        self.settle(key);
    }

    /// High jobs of any of its functions before normal ones, and those before low ones; among the functions in turn, so that
    /// none is starved.
    fn choose(&mut self, key: ConnKey) -> Option<JobKey> {
        let conn = &mut self.conns[key];
        let count = conn.abilities.len();
        for priority in [Priority::High, Priority::Normal, Priority::Low] {
            for step in 0..count {
                let at = (conn.turn + step) % count;
                let function = &self.functions[conn.abilities[at].function];
                if let Some(job) = function.head(priority)
                    && !function.is_paused
                {
                    conn.turn = (at + 1) % count;
                    return Some(job);
                }
            }
        }
        None
    }

    fn assign(&mut self, now: Time, key: ConnKey, job: JobKey, grab: Grab) {
        let function = self.jobs[job].function;
        let queue = &mut self.functions[function];
        queue.unlink(&mut self.jobs, job);
        queue.running += 1;
        queue.waits.count(now, self.jobs[job].since);
        let conn = &mut self.conns[key];
        let timeout = conn
            .abilities
            .iter()
            .find(|ability| ability.function == function)
            .and_then(|a| a.timeout);
        let timeout = match (timeout, conn.limit) {
            (Some(own), Some(limit)) => Some(own.min(limit)),
            (own, limit) => own.or(limit),
        };
        let deadline = timeout.map(|timeout| now + timeout);
        conn.held.push(job);
        conn.settled = false;
        let it = &mut self.jobs[job];
        it.place = Place::Worker {
            conn: key,
            since: now,
            deadline,
        };
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, it.number));
        }

        let handle = Handle::new(&self.options.handle_prefix, it.number);
        let (handle, unique, workload) = (handle.bytes(), &*it.unique, &*it.workload);
        let function = &*self.functions[function].name;
        let response = match (grab, &it.reducer) {
            (Grab::Plain, _) => Response::JobAssign {
                handle,
                function,
                workload,
            },
            (Grab::All, Some(reducer)) => Response::JobAssignAll {
                handle,
                function,
                unique,
                reducer,
                workload,
            },
            (Grab::Uniq | Grab::All, _) => Response::JobAssignUniq {
                handle,
                function,
                unique,
                workload,
            },
        };
        self.out.send(self.conns[key].id, &response);
        self.trace_job(key, job, Edge::Began);
    }

    /// WORK_STATUS: kept for those who ask, and passed on as it was sent.
    pub(super) fn status(
        &mut self,
        key: ConnKey,
        handle: &[u8],
        numerator: &[u8],
        denominator: &[u8],
    ) {
        let Some(job) = self.held_job(key, handle) else {
            return self.error(key, NOT_FOUND.0, NOT_FOUND.1);
        };
        self.jobs[job].numerator = leading_number(numerator);
        self.jobs[job].denominator = leading_number(denominator);
        self.tell_clients(
            job,
            &Response::WorkStatus {
                handle,
                numerator,
                denominator,
            },
        );
    }

    /// WORK_DATA and WORK_WARNING.
    pub(super) fn pass_on<'a>(
        &mut self,
        key: ConnKey,
        handle: &'a [u8],
        response: impl Fn(&'a [u8]) -> Response<'a>,
    ) {
        match self.held_job(key, handle) {
            Some(job) => self.tell_clients(job, &response(handle)),
            None => self.error(key, NO_SUCH_JOB.0, NO_SUCH_JOB.1),
        }
    }

    /// WORK_COMPLETE.
    pub(super) fn complete(&mut self, now: Time, key: ConnKey, handle: &[u8], data: &[u8]) {
        let Some(job) = self.held_job(key, handle) else {
            return self.error(key, NOT_FOUND.0, NOT_FOUND.1);
        };
        self.tell_clients(job, &Response::WorkComplete { handle, data });
        self.finish(now, key, job, Outcome::Complete);
        self.forget(job);
    }

    /// WORK_FAIL. Some libraries send it after WORK_EXCEPTION, which has ended the job already.
    pub(super) fn fail(&mut self, now: Time, key: ConnKey, handle: &[u8]) {
        let Some(job) = self.held_job(key, handle) else {
            let excepted = &mut self.conns[key].excepted;
            let prefix = &self.options.handle_prefix;
            let is_second = |&number: &u64| Handle::new(prefix, number).bytes() == handle;
            match excepted.iter().position(is_second) {
                Some(at) => drop(excepted.remove(at)),
                None => self.error(key, NOT_FOUND.0, NOT_FOUND.1),
            }
            return;
        };
        self.tell_clients(job, &Response::WorkFail { handle });
        self.finish(now, key, job, Outcome::Fail);
        self.has_failed(now, key, job, || Why::Failed);
    }

    /// WORK_EXCEPTION: a client that did not ask for exceptions is told of a failure.
    pub(super) fn except(&mut self, now: Time, key: ConnKey, handle: &[u8], data: &[u8]) {
        let Some(job) = self.held_job(key, handle) else {
            return self.error(key, NO_SUCH_EXCEPTION.0, NO_SUCH_EXCEPTION.1);
        };
        let clients = self.jobs[job].clients.iter();
        let conns = clients.map(|&client| &self.conns[client]);
        let (hear, others): (Vec<_>, Vec<_>) = conns.partition(|conn| conn.exceptions);
        let exception = Response::WorkException { handle, data };
        let failure = Response::WorkFail { handle };
        self.out
            .send_all(hear.iter().map(|conn| conn.id), &exception);
        self.out
            .send_all(others.iter().map(|conn| conn.id), &failure);
        let excepted = &mut self.conns[key].excepted;
        if excepted.len() == MAX_EXCEPTED {
            excepted.remove(0);
        }
        excepted.push(self.jobs[job].number);
        self.finish(now, key, job, Outcome::Exception);
        self.has_failed(now, key, job, || Why::exception(data));
    }

    /// A running job has run too long. In a process of ours that one is to be killed, and until it is gone the job is not another's: two
    /// would be at it. Of any other worker nothing can be done about it: it counts as a run, and another worker gets it.
    pub(super) fn expire(&mut self, now: Time, job: JobKey) {
        let Place::Worker { conn, .. } = self.jobs[job].place else {
            return;
        };
        if self.conns[conn].traced {
            return self.overdue(now, conn, job);
        }
        let worker = &mut self.conns[conn];
        worker.held.retain(|&held| held != job);
        // nobody waits for its answer, but it is still at it, whatever it asked for meanwhile
        worker.settled = false;
        self.give_back(now, job, Loss::Expired);
        if self.jobs.is_queued(job) {
            let function = self.jobs[job].function;
            self.wake(now, function);
        }
    }

    fn overdue(&mut self, now: Time, key: ConnKey, job: JobKey) {
        let it = &mut self.jobs[job];
        it.is_overdue = true;
        if let Place::Worker { deadline, .. } = &mut it.place {
            *deadline = None;
        }
        self.trace_job(key, job, Edge::Overdue);
        let conn = self.conns[key].id;
        let handle = self.handle(job).bytes().into();
        self.out.tell(Notice::Overdue { conn, handle });
        self.quiesce(now, conn);
    }

    /// Whether one of these connections has a job past its limit. To be asked when [`Notice::Overdue`] is acted on.
    pub fn is_overdue(&self, conns: &[ConnId]) -> bool {
        let keys = conns.iter().filter_map(|&conn| self.conns.key(conn));
        let mut held = keys.flat_map(|key| &self.conns[key].held);
        held.any(|&job| self.jobs[job].is_overdue)
    }

    /// A worker no longer has this job: back to the head of its lane, unless nobody wants it or it has taken too many with it.
    /// The caller has taken it from the worker, and wakes somebody.
    pub(super) fn give_back(&mut self, now: Time, job: JobKey, loss: Loss) {
        let Place::Worker { conn: key, .. } = self.jobs[job].place else {
            unreachable!("only a running job is given back");
        };
        self.leave_worker(
            job,
            match loss {
                Loss::Vanished | Loss::Drained => Outcome::Lost,
                Loss::Overdue | Loss::Expired => Outcome::Timeout,
            },
        );
        let it = &mut self.jobs[job];
        it.since = now;
        it.is_overdue = false;
        it.lost = it.lost.saturating_add(u16::from(loss != Loss::Drained));
        let (function, attempts) = (it.function, u32::from(it.lost));
        if self.is_unwanted(job) {
            self.forget(job);
            return;
        }
        let of = self.attempts(function);
        let is_set_aside = loss != Loss::Drained && of > 0 && attempts >= of;
        if loss != Loss::Drained {
            self.out.tell(Notice::Lost {
                conn: self.conns[key].id,
                handle: self.handle(job).bytes().into(),
                attempts,
                of,
                is_set_aside,
            });
        }
        if is_set_aside {
            let handle = self.handle(job);
            let handle = handle.bytes();
            self.tell_clients(job, &Response::WorkFail { handle });
            let why = match loss {
                Loss::Vanished | Loss::Drained => Why::Lost,
                Loss::Overdue | Loss::Expired => Why::Overdue,
            };
            self.set_aside(now, key, job, why);
        } else {
            self.functions[function].push_front(&mut self.jobs, job);
        }
    }

    /// Whether nobody is left who would hear of this job's end.
    pub(super) fn is_unwanted(&self, job: JobKey) -> bool {
        let job = &self.jobs[job];
        job.clients.is_empty() && !job.background
    }

    /// Drops a job that no worker has.
    pub(super) fn drop_job(&mut self, job: JobKey) {
        let function = self.jobs[job].function;
        match self.jobs[job].place {
            Place::Lane { .. } => self.functions[function].unlink(&mut self.jobs, job),
            Place::Later { due } => {
                self.later.remove(&(due, self.jobs[job].number));
            }
            Place::Worker { .. } => unreachable!("a running job ends by its worker"),
        }
        self.forget(job);
    }

    /// A worker has ended its job. What becomes of that is for the caller.
    fn finish(&mut self, now: Time, key: ConnKey, job: JobKey, outcome: Outcome) {
        let Place::Worker { since, .. } = self.jobs[job].place else {
            unreachable!("only a running job is finished");
        };
        self.leave_worker(job, outcome);
        let conn = &mut self.conns[key];
        conn.held.retain(|&held| held != job);
        conn.jobs_done += 1;
        let (id, is_first) = (conn.id, conn.jobs_done == 1);
        conn.idle_since = now;
        conn.settled = false;
        let function = &mut self.functions[self.jobs[job].function];
        function.completed += 1;
        let took = now.since(since);
        function.busy += took;
        function.busy_squares += took.as_secs_f64() * took.as_secs_f64();
        if is_first {
            self.out.tell(Notice::Worked(id));
        }
    }

    /// The counters and the deadline of a running job that no longer runs.
    fn leave_worker(&mut self, job: JobKey, outcome: Outcome) {
        if let Place::Worker { conn, .. } = self.jobs[job].place {
            self.trace_job(conn, job, Edge::Ended(outcome));
        }
        let it = &self.jobs[job];
        if let Place::Worker {
            deadline: Some(deadline),
            ..
        } = it.place
        {
            self.deadlines.remove(&(deadline, it.number));
        }
        self.functions[it.function].running -= 1;
    }

    fn trace_job(&mut self, key: ConnKey, job: JobKey, edge: Edge) {
        let conn = &self.conns[key];
        if conn.traced {
            let handle = Handle::new(&self.options.handle_prefix, self.jobs[job].number);
            self.out.mark(Mark {
                conn: conn.id,
                edge,
                handle: handle.bytes().into(),
            });
        }
    }

    /// The end of a job that is in no lane and in no worker's hands.
    pub(super) fn forget(&mut self, job: JobKey) {
        let gone = self.jobs.remove(job);
        self.functions[gone.function].jobs -= 1;
        for client in gone.clients {
            self.conns[client].waits.remove(&job);
        }
    }

    pub(super) fn handle(&self, job: JobKey) -> Handle {
        Handle::new(&self.options.handle_prefix, self.jobs[job].number)
    }

    /// Makes a running job nobody's: its end is heard by no one, and if its worker vanishes it is not given to another.
    pub(super) fn disown(&mut self, job: JobKey) {
        for client in std::mem::take(&mut self.jobs[job].clients) {
            self.conns[client].waits.remove(&job);
        }
        (self.jobs[job].background, self.jobs[job].cancelled) = (false, true);
        self.jobs.make_unlike_any(job);
    }

    /// The job with this handle, if this worker has it.
    fn held_job(&self, key: ConnKey, handle: &[u8]) -> Option<JobKey> {
        let job = self.job(handle)?;
        matches!(self.jobs[job].place, Place::Worker { conn, .. } if conn == key).then_some(job)
    }

    pub(super) fn tell_clients(&mut self, job: JobKey, response: &Response<'_>) {
        let clients = self.jobs[job].clients.iter();
        let ids = clients.map(|&client| self.conns[client].id);
        self.out.send_all(ids, response);
    }
}

impl Job {
    pub(super) fn new(
        now: Time,
        function: u32,
        priority: Priority,
        unique: &[u8],
        workload: &[u8],
        reducer: Option<&[u8]>,
    ) -> Job {
        Job {
            number: 0,
            function,
            priority,
            place: Place::Later { due: now },
            background: false,
            cancelled: false,
            is_overdue: false,
            lost: 0,
            failed: 0,
            since: now,
            numerator: 0,
            denominator: 0,
            unique: unique.into(),
            workload: workload.into(),
            reducer: reducer.map(Into::into),
            clients: Vec::new(),
        }
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.place, Place::Worker { .. })
    }
}

/// The number that a text begins with, 0 if it begins with none: what a worker sends as progress may be anything.
fn leading_number(text: &[u8]) -> u64 {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0u64, |number, &digit| {
        number
            .saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    })
}
