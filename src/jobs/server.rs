//! The job server: one call for each thing that a peer did.
//!
//! Every call takes the moment and leaves what there is to say in the [`Outbox`]. This file is the switch-board and what clients
//! ask for; `work` is what workers do with jobs, [`super::wake`] who is woken for one.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use jiff::tz::TimeZone;

use super::conn::{Ability, ConnId, ConnKey, Conns, MAX_ABILITIES, Reach, Service, Ticket};
use super::failed::Failed;
use super::function::Functions;
use super::job::{Job, JobKey, Jobs, Place};
use super::outbox::{Notice, Outbox};
use super::submit::{Start, Submission, TOO_MANY_FUNCTIONS};
use super::text;
use super::work::Loss;
use crate::proto::{Frame, FrameError, Request, RequestError, Response};
use crate::time::Time;

/// The longest unique, in bytes.
pub const MAX_UNIQUE: usize = 64;

/// The longest function name, in bytes.
pub const MAX_FUNCTION: usize = 512;

/// So much of a client id is kept, in bytes.
pub const MAX_CLIENT_ID: usize = 256;

/// How the job server is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// The first part of every handle, `H:<host>`; what is longer than a handle has room for is cut off.
    pub handle_prefix: String,
    /// A job that was given to this many workers which all vanished has failed, whatever [`Policy`](super::Policy) its function has; 0
    /// leaves it to that.
    pub job_retries: u32,
    /// Whether every connection gets WORK_EXCEPTION, asked for or not.
    pub exceptions: bool,
    /// How many sleepers to wake for a job, at least.
    pub wakeup: u32,
    /// What the hashes of names from outside begin with; any number, best one that nobody can guess.
    pub seed: u64,
    /// Unix seconds at [`Time::ZERO`], for SUBMIT_JOB_EPOCH and SUBMIT_JOB_SCHED.
    pub epoch: u64,
    /// Whose clock SUBMIT_JOB_SCHED means.
    pub zone: TimeZone,
    /// The number in the first handle. A server that is started anew begins with a higher one, so that no handle means two jobs.
    pub first_number: u64,
    /// No more jobs of a function than this, waiting and running, unless `maxqueue` says otherwise; 0 is no limit.
    pub max_queue: u32,
    /// No more bytes than this in all jobs, their workloads and what the queue itself needs for them; 0 is no limit.
    pub max_queued_bytes: u64,
    /// What becomes of new connections.
    pub newcomers: Newcomers,
    /// What `getpid` answers.
    pub pid: u32,
    /// What `verbose` answers.
    pub verbosity: &'static str,
}

/// Whether a new connection is given jobs at once.
///
/// A process that is being stopped may just be connecting. Given a job before its owner knows of the connection, it would be cut
/// down with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Newcomers {
    /// It is: nobody here stops workers.
    Served,
    /// Only when [`JobServer::admit`] is called after its [`Notice::Registered`]. Its request for a job waits until then, so that a
    /// worker sees a somewhat later answer and nothing else.
    Held,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            handle_prefix: "H:localhost".to_owned(),
            job_retries: 0,
            exceptions: false,
            wakeup: 1,
            seed: 0,
            epoch: 0,
            zone: TimeZone::UTC,
            first_number: 1,
            max_queue: 0,
            max_queued_bytes: 0,
            newcomers: Newcomers::Served,
            pid: 0,
            verbosity: "ERROR",
        }
    }
}

/// Where a connection comes from, as `workers` shows it.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    /// The descriptor.
    pub descriptor: i32,
    /// The address without the port.
    pub address: String,
    /// How far away it may be.
    pub reach: Reach,
}

/// The queue, the connections, and who does what. A clone is a second server with the same past, for tests that try what may
/// come next.
#[derive(Clone)]
pub struct JobServer {
    pub(super) options: Options,
    pub(super) conns: Conns,
    pub(super) functions: Functions,
    pub(super) jobs: Jobs,
    /// When running jobs have run too long, by number.
    pub(super) deadlines: BTreeSet<(Time, u64)>,
    /// When jobs that wait for their time are due, by number.
    pub(super) later: BTreeSet<(Time, u64)>,
    /// What is set aside.
    pub(super) failed: Failed,
    /// NOOPs that are out, the oldest first: when they are late, and which.
    pub(super) tickets: VecDeque<(Time, ConnId, u64)>,
    /// Numbers the times that a worker went to sleep and the NOOPs, so that the latest can be told.
    pub(super) count: u64,
    /// Nobody is given a job any more.
    pub(super) is_ending: bool,
    pub(super) out: Outbox,
}

impl JobServer {
    /// An empty one.
    pub fn new(mut options: Options) -> JobServer {
        // cut here and not in each handle, for a worker's handle is compared with the whole prefix
        let kept = options.handle_prefix.floor_char_boundary(Handle::PREFIX);
        options.handle_prefix.truncate(kept);
        JobServer {
            conns: Conns::default(),
            functions: Functions::new(options.seed),
            jobs: Jobs::new(options.seed, options.first_number),
            deadlines: BTreeSet::new(),
            later: BTreeSet::new(),
            failed: Failed::default(),
            tickets: VecDeque::new(),
            count: 0,
            is_ending: false,
            out: Outbox::default(),
            options,
        }
    }

    /// What there is to say. The caller carries it out and then clears it, before any other caller adds to it.
    pub fn outbox(&mut self) -> &mut Outbox {
        &mut self.out
    }

    /// A peer has connected.
    pub fn connect(&mut self, now: Time, peer: Peer) -> ConnId {
        let service = match self.options.newcomers {
            Newcomers::Served => Service::Open,
            Newcomers::Held => Service::Held { asked: None },
        };
        self.conns.open(now, peer, self.options.exceptions, service)
    }

    /// A peer has sent something. A connection that is gone is none of our business any more.
    pub fn receive(&mut self, now: Time, conn: ConnId, frame: Frame<'_>) {
        let Some(key) = self.conns.key(conn) else {
            return;
        };
        // whoever does not wait for the end of a list gets it at once
        while self.conns[key].listing.is_some() {
            self.go_on(conn);
        }
        match frame {
            // the direction is not checked: a worker library is known that sends its results as `\0RES`
            Frame::Packet { kind, body, .. } => match Request::parse(kind, body) {
                Ok(request) => self.request(now, key, request),
                Err(RequestError::NotExpected) => {
                    self.error(key, b"INVALID_COMMAND", b"Command not expected")
                }
                Err(missing @ RequestError::MissingArguments(_)) => {
                    self.error(key, b"INVALID_ARGUMENTS", missing.to_string().as_bytes());
                }
            },
            Frame::Text(line) => text::answer(self, conn, line),
        }
    }

    /// A peer has sent what cannot be followed: it is told why, and its connection is closed.
    pub fn reject(&mut self, conn: ConnId, why: FrameError) {
        let Some(key) = self.conns.key(conn) else {
            return;
        };
        match why {
            FrameError::Magic | FrameError::Tls => {
                self.error(key, b"INVALID_MAGIC", b"Request magic expected")
            }
            FrameError::TooLarge(_) => {
                self.error(key, b"INVALID_PACKET", why.to_string().as_bytes())
            }
            FrameError::LineTooLong => self.out.write(conn, |out| {
                out.extend_from_slice(format!("ERR INVALID_COMMAND {why}\r\n").as_bytes());
            }),
        }
        self.out.close(conn);
    }

    /// A peer has gone. The jobs that it ran go back to the head of their lanes; those that it alone waited for are dropped
    /// unless they run.
    pub fn disconnect(&mut self, now: Time, conn: ConnId) {
        let Some(key) = self.conns.key(conn) else {
            return;
        };
        let waits: Vec<JobKey> = self.conns[key].waits.drain().map(|(job, _)| job).collect();
        for job in waits {
            self.jobs[job].clients.retain(|&client| client != key);
            let is_running = matches!(self.jobs[job].place, Place::Worker { .. });
            if !is_running && self.is_unwanted(job) {
                self.drop_job(job);
            }
        }
        let held = std::mem::take(&mut self.conns[key].held);
        // one that we have made go has not been taken down by its job
        let service = self.conns[key].service;
        let is_ours =
            self.is_ending || matches!(service, Service::Quiesced { .. } | Service::Refused);
        // the oldest was at the head before, so it is put back last
        for &job in held.iter().rev() {
            let loss = match (self.jobs[job].is_overdue, is_ours) {
                (true, _) => Loss::Overdue,
                (false, true) => Loss::Drained,
                (false, false) => Loss::Vanished,
            };
            self.give_back(now, job, loss);
        }
        self.forget_abilities(now, key);
        self.conns.remove(key);
        self.out.tell(Notice::Closed(conn));
        for job in held {
            // forgetting the abilities came after the jobs were back: somebody else may have to be woken for them
            if self.jobs.is_queued(job) {
                let function = self.jobs[job].function;
                self.wake(now, function);
            }
        }
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Time) {
        while let Some(&(due, number)) = self.deadlines.first()
            && due <= now
        {
            self.deadlines.pop_first();
            if let Some(job) = self.jobs.by_number(number) {
                self.expire(now, job);
            }
        }
        while let Some(&(due, number)) = self.later.first()
            && due <= now
        {
            self.later.pop_first();
            if let Some(job) = self.jobs.by_number(number) {
                self.enqueue(now, job);
            }
        }
        self.call_late_tickets(now);
    }

    /// When [`JobServer::tick`] has something to do.
    pub fn next_deadline(&self) -> Option<Time> {
        let running = self.deadlines.first().map(|&(due, _)| due);
        let later = self.later.first().map(|&(due, _)| due);
        let ticket = self.tickets.front().map(|&(due, ..)| due);
        [running, later, ticket].into_iter().flatten().min()
    }

    /// Gives up a job, as an operator asks: the clients that wait for it are told that it has failed. One that runs is nobody's from
    /// then on, and whoever owns its worker's process is told. Returns whether there is such a job that was not given up before.
    pub fn cancel(&mut self, handle: &[u8]) -> bool {
        let Some(job) = self.job(handle).filter(|&job| !self.jobs[job].cancelled) else {
            return false;
        };
        self.tell_clients(job, &Response::WorkFail { handle });
        match self.jobs[job].place {
            Place::Worker { conn, .. } => {
                self.disown(job);
                let conn = self.conns[conn].id;
                self.out.tell(Notice::Cancelled(conn));
            }
            Place::Lane { .. } | Place::Later { .. } => self.drop_job(job),
        }
        true
    }

    /// Whether these connections run cancelled jobs, and no others. To be asked, and answered with [`JobServer::quiesce`], under one
    /// lock: the worker of a cancelled job may have another one by now, which is not to be cut.
    pub fn works_for_nobody(&self, conns: &[ConnId]) -> bool {
        let keys = conns.iter().filter_map(|&conn| self.conns.key(conn));
        let mut held = keys.flat_map(|key| &self.conns[key].held).peekable();
        held.peek().is_some() && held.all(|&job| self.jobs[job].cancelled)
    }

    /// How far away a peer may be, unless it is gone.
    pub(super) fn reach(&self, conn: ConnId) -> Option<Reach> {
        self.conns.key(conn).map(|key| self.conns[key].reach)
    }

    /// How many jobs are in workers' hands.
    pub fn running(&self) -> u64 {
        self.functions.iter().map(|function| function.running).sum()
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.conns.len()
    }

    fn request(&mut self, now: Time, key: ConnKey, request: Request<'_>) {
        match request {
            Request::CanDo { function } => self.can_do(now, key, function, None),
            Request::CanDoTimeout { function, timeout } => {
                let timeout = self.time_limit(timeout);
                self.can_do(now, key, function, timeout);
            }
            Request::CantDo { function } => self.cant_do(now, key, function),
            Request::ResetAbilities => self.forget_abilities(now, key),
            Request::PreSleep => self.sleep(now, key),
            Request::GrabJob(grab) => self.grab(now, key, grab),
            Request::SubmitJob {
                priority,
                mode,
                function,
                unique,
                workload,
            } => {
                let submission = Submission {
                    priority,
                    ..Submission::new(mode, function, unique, workload)
                };
                self.submit(now, key, &submission);
            }
            Request::SubmitReduceJob {
                mode,
                function,
                unique,
                reducer,
                workload,
            } => {
                let submission = Submission {
                    reducer: Some(reducer),
                    ..Submission::new(mode, function, unique, workload)
                };
                self.submit(now, key, &submission);
            }
            Request::SubmitJobEpoch {
                function,
                unique,
                epoch,
                workload,
            } => {
                let start = number(epoch)
                    .map(Start::At)
                    .ok_or("the time is not a number of seconds");
                self.submit_later(now, key, (function, unique, workload), start);
            }
            Request::SubmitJobSched {
                function,
                unique,
                schedule,
                workload,
            } => {
                let start = self.next_moment(now, &schedule).map(Start::At);
                self.submit_later(now, key, (function, unique, workload), start);
            }
            Request::AllYours => {
                self.error(key, b"INVALID_COMMAND", b"Command not expected");
            }
            Request::WorkStatus {
                handle,
                numerator,
                denominator,
            } => {
                self.status(key, handle, numerator, denominator);
            }
            Request::WorkData { handle, data } => {
                self.pass_on(key, handle, |handle| Response::WorkData { handle, data });
            }
            Request::WorkWarning { handle, data } => {
                self.pass_on(key, handle, |handle| Response::WorkWarning { handle, data });
            }
            Request::WorkComplete { handle, data } => self.complete(now, key, handle, data),
            Request::WorkFail { handle } => self.fail(now, key, handle),
            Request::WorkException { handle, data } => self.except(now, key, handle, data),
            Request::GetStatus { handle } => self.tell_status(key, handle),
            Request::GetStatusUnique { unique } => self.tell_status_unique(key, unique),
            Request::EchoReq { data } => self.send(key, &Response::EchoRes { data }),
            Request::OptionReq {
                option: option @ b"exceptions",
            } => {
                self.conns[key].exceptions = true;
                self.send(key, &Response::OptionRes { option });
            }
            Request::OptionReq { .. } => {
                self.error(
                    key,
                    b"UNKNOWN_OPTION",
                    b"Server does not recognize given option",
                );
            }
            Request::SetClientId { id } => {
                // one line of `workers` a connection, whatever a client calls itself
                self.conns[key].client_id = id
                    .iter()
                    .take(MAX_CLIENT_ID)
                    .map(|&byte| if byte.is_ascii_graphic() { byte } else { b'_' })
                    .collect();
            }
        }
    }

    fn can_do(&mut self, now: Time, key: ConnKey, name: &[u8], timeout: Option<Duration>) {
        // a NUL would be the end of it in every packet that names it
        if name.is_empty() || name.len() > MAX_FUNCTION || name.contains(&0) {
            self.error(
                key,
                b"ARGUMENT_TOO_LARGE",
                b"Function name empty or too large",
            );
            return;
        }
        let Some(function) = self.functions.named(name) else {
            return self.error(key, TOO_MANY_FUNCTIONS.0, TOO_MANY_FUNCTIONS.1);
        };
        let conn = &mut self.conns[key];
        if let Some(ability) = conn
            .abilities
            .iter_mut()
            .find(|ability| ability.function == function)
        {
            ability.timeout = timeout;
            return;
        }
        if conn.abilities.len() == MAX_ABILITIES {
            return self.error(
                key,
                b"QUEUE_ERROR",
                b"this connection has registered as many functions as it can",
            );
        }
        conn.abilities.push(Ability { function, timeout });
        let id = conn.id;
        self.functions[function].workers += 1;
        if let Some(place) = conn.asleep
            && conn.service == Service::Open
            && conn.ticket == Ticket::None
        {
            self.functions[function].sleepers.insert(place, key);
        }
        if let Ticket::Out(_) = self.conns[key].ticket {
            self.functions[function].expected += 1;
        }
        self.out.tell(Notice::Registered {
            conn: id,
            function: name.into(),
        });
        self.wake(now, function);
    }

    fn cant_do(&mut self, now: Time, key: ConnKey, name: &[u8]) {
        let Some(function) = self.functions.find(name) else {
            return;
        };
        let conn = &mut self.conns[key];
        let Some(at) = conn
            .abilities
            .iter()
            .position(|ability| ability.function == function)
        else {
            return;
        };
        conn.abilities.remove(at);
        conn.turn = 0;
        self.lose_ability(now, key, function);
    }

    fn forget_abilities(&mut self, now: Time, key: ConnKey) {
        for ability in std::mem::take(&mut self.conns[key].abilities) {
            self.lose_ability(now, key, ability.function);
        }
        self.conns[key].turn = 0;
    }

    fn tell_status(&mut self, key: ConnKey, handle: &[u8]) {
        let job = self.job(handle).map(|job| &self.jobs[job]);
        let response = Response::StatusRes {
            handle,
            known: job.is_some(),
            running: job.is_some_and(Job::is_running),
            numerator: job.map_or(0, |job| job.numerator),
            denominator: job.map_or(0, |job| job.denominator),
        };
        self.out.send(self.conns[key].id, &response);
    }

    fn tell_status_unique(&mut self, key: ConnKey, unique: &[u8]) {
        let job = self
            .jobs
            .any_with_unique(self.functions.keys(), unique)
            .map(|job| &self.jobs[job]);
        let response = Response::StatusResUnique {
            unique,
            known: job.is_some(),
            running: job.is_some_and(Job::is_running),
            numerator: job.map_or(0, |job| job.numerator),
            denominator: job.map_or(0, |job| job.denominator),
            clients: job.map_or(0, |job| job.clients.len() as u64),
        };
        self.out.send(self.conns[key].id, &response);
    }

    /// The job with this handle.
    pub(super) fn job(&self, handle: &[u8]) -> Option<JobKey> {
        self.jobs.by_number(self.number(handle)?)
    }

    /// The number in a handle.
    pub(super) fn number(&self, handle: &[u8]) -> Option<u64> {
        let rest = handle.strip_prefix(self.options.handle_prefix.as_bytes())?;
        let digits = rest.strip_prefix(b":")?;
        // clients compare handles as text: one that is spelled otherwise, and passed on so, would be no client's
        if digits.starts_with(b"0") {
            return None;
        }
        number(digits)
    }

    pub(super) fn send(&mut self, key: ConnKey, response: &Response<'_>) {
        self.out.send(self.conns[key].id, response);
    }

    pub(super) fn error(&mut self, key: ConnKey, code: &[u8], text: &[u8]) {
        self.send(key, &Response::Error { code, text });
    }

    /// CAN_DO_TIMEOUT's argument. The protocol document says milliseconds, PHP and Perl say seconds and send the number as it was
    /// given: below 1,000 are seconds. What is no number is no limit.
    fn time_limit(&self, text: &[u8]) -> Option<Duration> {
        match number(text)? {
            0 => None,
            seconds @ 1..1000 => Some(Duration::from_secs(seconds)),
            millis => Some(Duration::from_millis(millis)),
        }
    }
}

/// A job's handle as text, `<prefix>:<number>`, without an allocation.
pub(super) struct Handle {
    bytes: [u8; Handle::MAX],
    len: usize,
}

impl Handle {
    /// libgearman keeps handles in 64 bytes with a NUL.
    pub(super) const MAX: usize = 63;
    const DIGITS: usize = 20;
    /// What a prefix may take of it.
    const PREFIX: usize = Handle::MAX - 1 - Handle::DIGITS;

    /// The handle with this number. `prefix` is no longer than [`Handle::PREFIX`].
    pub(super) fn new(prefix: &str, number: u64) -> Handle {
        let mut bytes = [0; Handle::MAX];
        let mut digits = [0; Handle::DIGITS];
        let (mut at, mut rest) = (Handle::DIGITS, number);
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        let digits = &digits[at..];
        let prefix = prefix.as_bytes();
        let len = prefix.len() + 1 + digits.len();
        bytes[..prefix.len()].copy_from_slice(prefix);
        bytes[prefix.len()] = b':';
        bytes[prefix.len() + 1..len].copy_from_slice(digits);
        Handle { bytes, len }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// A decimal number that fills the whole text.
pub(super) fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}
