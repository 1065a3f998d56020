//! The job server against a model of the queue that is too simple to be wrong: one list of jobs, looked through from the front.
//!
//! Random packets of several connections go to both. Each packet that the server sends must be one that the model expects, in its
//! place; only NOOPs are judged by rules, and of several functions that a worker could be given a job of, the server may choose.
//! Lines of admin text are answered at once, so they are compared where they are sent.
//! `PROPTEST_CASES=10000` tries more.

#[path = "queue_model/model.rs"]
mod model;

use std::time::Duration;

use gearpool::jobs::{self, ConnId, JobServer, Notice, Options, Peer};
use gearpool::proto::{Decoded, Frame, Grab, Kind, Mode, Priority, Request, Response, decode};
use gearpool::time::Time;
use model::{At, CONNS, FUNCTIONS, Job, Limits, Model, Policy, handle, sameness};
use proptest::prelude::*;

const UNIQUES: [&str; 4] = ["", "u", "v", "-"];

/// One thing that happens. Jobs are meant by their place in a list, so that most of what is tried makes sense.
#[derive(Clone, Debug)]
enum Step {
    Submit {
        priority: Priority,
        mode: Mode,
        function: usize,
        unique: usize,
        workload: u8,
    },
    Epoch {
        function: usize,
        unique: usize,
        seconds: u64,
    },
    Reduce {
        mode: Mode,
        function: usize,
        unique: usize,
        reducer: &'static str,
    },
    CanDo(usize),
    CanDoTimeout(usize, u64),
    CantDo(usize),
    Reset,
    Grab(Grab),
    Sleep,
    /// Of the jobs that the connection was ever given, this one.
    End(End, prop::sample::Index),
    Report(prop::sample::Index),
    /// The same with WORK_STATUS.
    Progress(prop::sample::Index, u64),
    /// Of all jobs that there ever were, this one.
    GetStatus(prop::sample::Index),
    GetStatusUnique(usize),
    Exceptions,
    /// Closes, and another one connects in its place.
    Reconnect,
    Quiesce,
    Unquiesce,
    Pass(u64),
    /// `cancel job`: of all jobs that there ever were, this one.
    Cancel(prop::sample::Index),
    /// `drop function`.
    Drop(usize),
    /// The connection is a process's of ours, with a limit for its jobs.
    Own(u64),
    Pause(usize),
    Resume(usize),
    /// Of all jobs that there ever were, this one is taken back from those that are set aside, or discarded.
    Retry(prop::sample::Index),
    Discard(prop::sample::Index),
    /// `maxqueue`, with as many limits as there are.
    MaxQueue(usize, Vec<u32>),
    /// Another server goes on where this one stopped.
    Upgrade,
}

/// How a worker ends a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Complete,
    Fail,
    Except,
}

fn step() -> impl Strategy<Value = Step> {
    let priority = prop_oneof![
        Just(Priority::High),
        Just(Priority::Normal),
        Just(Priority::Low)
    ];
    let mode = || prop_oneof![Just(Mode::Foreground), Just(Mode::Background)];
    let grab = prop_oneof![Just(Grab::Plain), Just(Grab::Uniq), Just(Grab::All)];
    let (function, unique) = (0..FUNCTIONS.len(), 0..UNIQUES.len());
    let job = any::<prop::sample::Index>;
    prop_oneof![
        8 => (priority, mode(), function.clone(), unique.clone(), 0..2u8).prop_map(
            |(priority, mode, function, unique, workload)| Step::Submit {
                priority, mode, function, unique, workload,
            }
        ),
        1 => (function.clone(), unique.clone(), 0..4u64)
            .prop_map(|(function, unique, seconds)| Step::Epoch { function, unique, seconds }),
        1 => (mode(), function.clone(), unique.clone(), prop_oneof![Just(""), Just("r")]).prop_map(
            |(mode, function, unique, reducer)| Step::Reduce { mode, function, unique, reducer }
        ),
        4 => function.clone().prop_map(Step::CanDo),
        1 => (function.clone(), 0..3u64).prop_map(|(f, seconds)| Step::CanDoTimeout(f, seconds)),
        1 => function.prop_map(Step::CantDo),
        1 => Just(Step::Reset),
        8 => grab.prop_map(Step::Grab),
        4 => Just(Step::Sleep),
        4 => job().prop_map(|job| Step::End(End::Complete, job)),
        2 => job().prop_map(|job| Step::End(End::Fail, job)),
        1 => job().prop_map(|job| Step::End(End::Except, job)),
        1 => job().prop_map(Step::Report),
        1 => (job(), 0..100u64).prop_map(|(job, done)| Step::Progress(job, done)),
        2 => job().prop_map(Step::GetStatus),
        1 => unique.prop_map(Step::GetStatusUnique),
        1 => Just(Step::Exceptions),
        2 => Just(Step::Reconnect),
        2 => Just(Step::Quiesce),
        2 => Just(Step::Unquiesce),
        2 => prop_oneof![Just(10), Just(60), Just(1000)].prop_map(Step::Pass),
        2 => job().prop_map(Step::Cancel),
        1 => (0..FUNCTIONS.len()).prop_map(Step::Drop),
        2 => (1..3u64).prop_map(Step::Own),
        1 => (0..FUNCTIONS.len()).prop_map(Step::Pause),
        2 => (0..FUNCTIONS.len()).prop_map(Step::Resume),
        2 => job().prop_map(Step::Retry),
        1 => job().prop_map(Step::Discard),
        1 => (0..FUNCTIONS.len(), prop::collection::vec(0..5u32, 0..4))
            .prop_map(|(function, limits)| Step::MaxQueue(function, limits)),
        2 => Just(Step::Upgrade),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    let retries = prop_oneof![Just(0u32), Just(2)];
    let policy = (0..3u32, 0..3u32, prop_oneof![Just(0u64), Just(40)]).prop_map(
        |(attempts, retries, millis)| Policy {
            attempts,
            retries,
            delay: Duration::from_millis(millis),
        },
    );
    let max_queue = prop_oneof![3 => Just(0u32), 1 => 1..6u32];
    let max_queued_bytes = prop_oneof![3 => Just(0u64), 1 => 1..2000u64];
    (retries, policy, max_queue, max_queued_bytes).prop_map(
        |(retries, policy, max_queue, max_queued_bytes)| Limits {
            retries,
            policy,
            max_queue,
            max_queued_bytes,
        },
    )
}

/// Both, side by side.
struct World {
    server: JobServer,
    model: Model,
    ids: Vec<ConnId>,
}

impl World {
    fn new(limits: Limits) -> World {
        let mut server = JobServer::new(options(&limits));
        let Policy {
            attempts,
            retries,
            delay: retry_delay,
        } = limits.policy;
        let policy = jobs::Policy {
            attempts,
            retries,
            retry_delay,
        };
        server.govern([(FUNCTIONS[0], policy)].into_iter());
        let ids = (0..CONNS)
            .map(|_| server.connect(Time::ZERO, Peer::default()))
            .collect();
        World {
            server,
            model: Model::new(limits),
            ids,
        }
    }

    fn tell(&mut self, who: usize, request: &Request<'_>) {
        let mut bytes = Vec::new();
        request.encode(&mut bytes);
        match decode(&bytes) {
            Ok(Decoded::Frame(frame, _)) => {
                self.server.receive(self.model.now, self.ids[who], frame)
            }
            other => unreachable!("a request is a frame: {other:?}"),
        }
    }

    fn step(&mut self, who: usize, step: &Step) -> Result<(), TestCaseError> {
        let mut must_wake = None;
        match step {
            Step::Submit {
                priority,
                mode,
                function,
                unique,
                workload,
            } => {
                let (priority, mode, workload) = (*priority, *mode, [b'a' + workload]);
                self.tell(
                    who,
                    &Request::SubmitJob {
                        priority,
                        mode,
                        function: FUNCTIONS[*function].as_bytes(),
                        unique: UNIQUES[*unique].as_bytes(),
                        workload: &workload,
                    },
                );
                let job = (priority, mode, *function);
                self.model
                    .submit(who, job, UNIQUES[*unique], (None, &workload), None);
            }
            Step::Reduce {
                mode,
                function,
                unique,
                reducer,
            } => {
                self.tell(
                    who,
                    &Request::SubmitReduceJob {
                        mode: *mode,
                        function: FUNCTIONS[*function].as_bytes(),
                        unique: UNIQUES[*unique].as_bytes(),
                        reducer: reducer.as_bytes(),
                        workload: b"part",
                    },
                );
                let job = (Priority::Normal, *mode, *function);
                let reduced = (Some(*reducer), &b"part"[..]);
                self.model.submit(who, job, UNIQUES[*unique], reduced, None);
            }
            Step::Epoch {
                function,
                unique,
                seconds,
            } => {
                self.tell(
                    who,
                    &Request::SubmitJobEpoch {
                        function: FUNCTIONS[*function].as_bytes(),
                        unique: UNIQUES[*unique].as_bytes(),
                        epoch: seconds.to_string().as_bytes(),
                        workload: b"later",
                    },
                );
                let (job, due) = (
                    (Priority::Normal, Mode::Background, *function),
                    Time::new(Duration::from_secs(*seconds)),
                );
                self.model
                    .submit(who, job, UNIQUES[*unique], (None, b"later"), Some(due));
            }
            Step::CanDo(function) | Step::CanDoTimeout(function, _) => {
                let name = FUNCTIONS[*function].as_bytes();
                let limit = match step {
                    Step::CanDoTimeout(_, seconds) => *seconds,
                    _ => 0,
                };
                match step {
                    Step::CanDo(_) => self.tell(who, &Request::CanDo { function: name }),
                    _ => {
                        let timeout = limit.to_string();
                        let (function, timeout) = (name, timeout.as_bytes());
                        self.tell(who, &Request::CanDoTimeout { function, timeout });
                    }
                }
                self.model.is_named[*function] = true;
                let abilities = &mut self.model.peers[who].abilities;
                match abilities.iter_mut().find(|it| it.0 == *function) {
                    Some(ability) => ability.1 = limit,
                    None => abilities.push((*function, limit)),
                }
            }
            Step::CantDo(function) => {
                let name = FUNCTIONS[*function].as_bytes();
                self.tell(who, &Request::CantDo { function: name });
                let peer = &mut self.model.peers[who];
                peer.abilities.retain(|it| it.0 != *function);
            }
            Step::Reset => {
                self.tell(who, &Request::ResetAbilities);
                self.model.peers[who].abilities.clear();
            }
            Step::Grab(grab) => {
                self.tell(who, &Request::GrabJob(*grab));
                let candidates = self.model.candidates(who);
                // where several functions have one, it is the server's choice
                let chosen = self.assigned_to(who);
                match chosen.filter(|chosen| candidates.contains(chosen)) {
                    Some(chosen) => self.model.assign(who, chosen, *grab),
                    None => match candidates.first() {
                        Some(&first) => self.model.assign(who, first, *grab),
                        None => self.model.no_job(who),
                    },
                }
            }
            Step::Sleep => {
                self.tell(who, &Request::PreSleep);
                self.model.peers[who].is_asleep = true;
                self.model.settle(who);
                if self.model.has_work(who) {
                    must_wake = Some(who);
                }
            }
            Step::End(end, index) => {
                let given = &self.model.peers[who].given;
                if given.is_empty() {
                    return Ok(());
                }
                let number = *index.get(given);
                self.end(who, number, *end);
            }
            Step::Report(index) => {
                let given = &self.model.peers[who].given;
                if given.is_empty() {
                    return Ok(());
                }
                let number = *index.get(given);
                let (handle, data) = (handle(number), b"part");
                self.tell(
                    who,
                    &Request::WorkData {
                        handle: &handle,
                        data,
                    },
                );
                let is_held = self.model.held(who).any(|job| job.number == number);
                if is_held {
                    let job = self.model.job(number).expect("it is held").clone();
                    for &client in &job.clients {
                        self.model.say(client, Kind::WorkData, &[&handle, data]);
                    }
                } else {
                    let text: [&[u8]; 2] = [b"JOB_NOT_FOUND", b"Job does not exist on server"];
                    self.model.say(who, Kind::Error, &text);
                }
            }
            Step::Progress(index, done) => {
                let given = &self.model.peers[who].given;
                if given.is_empty() {
                    return Ok(());
                }
                let number = *index.get(given);
                self.progress(who, number, *done);
            }
            Step::GetStatus(index) => {
                // one that was never there among them
                let number = 1 + index.index(self.model.next as usize) as u64;
                let handle = handle(number);
                self.tell(who, &Request::GetStatus { handle: &handle });
                let job = self.model.jobs.iter().find(|job| job.number == number);
                let fields = Model::status(job);
                let [known, running, numerator, denominator] = fields.each_ref().map(|it| &**it);
                let arguments = [&handle, known, running, numerator, denominator];
                self.model.say(who, Kind::StatusRes, &arguments);
            }
            Step::GetStatusUnique(unique) => self.status_of_unique(who, UNIQUES[*unique]),
            Step::Exceptions => {
                let option = b"exceptions";
                self.tell(who, &Request::OptionReq { option });
                self.model.peers[who].exceptions = true;
                self.model.say(who, Kind::OptionRes, &[option]);
            }
            Step::Reconnect => {
                let now = self.model.now;
                self.server.disconnect(now, self.ids[who]);
                self.model.close(who);
                // what is sent to others because of it is looked at before the place is taken again
                self.compare(None)?;
                self.ids[who] = self.server.connect(now, Peer::default());
            }
            Step::Quiesce => {
                self.server.quiesce(self.model.now, self.ids[who]);
                let peer = &mut self.model.peers[who];
                if !peer.is_quiesced {
                    (peer.is_quiesced, peer.is_told) = (true, false);
                }
                self.model.tell_if_parked(who);
            }
            Step::Unquiesce => {
                self.server.unquiesce(self.model.now, self.ids[who]);
                self.model.peers[who].is_quiesced = false;
            }
            Step::Pass(millis) => {
                let jump = Duration::from_millis(*millis);
                self.model.pass(jump);
                self.server.tick(self.model.now);
                let next = self.server.next_deadline();
                prop_assert!(next.is_none_or(|next| next > self.model.now), "{next:?}");
            }
            Step::Own(seconds) => {
                self.server.trace(self.ids[who]);
                let limit = Some(Duration::from_secs(*seconds));
                self.server.limit(self.ids[who], limit);
                self.model.peers[who].limit = Some(*seconds);
            }
            Step::Pause(function) => {
                let is_new = self.server.pause(FUNCTIONS[*function].as_bytes());
                prop_assert_eq!(is_new, !self.model.is_paused[*function]);
                self.model.is_paused[*function] = true;
            }
            Step::Resume(function) => {
                let name = FUNCTIONS[*function].as_bytes();
                let was = self.server.resume(self.model.now, name);
                prop_assert_eq!(was, self.model.is_paused[*function]);
                self.model.is_paused[*function] = false;
            }
            Step::Retry(index) => {
                let number = 1 + index.index(self.model.next as usize) as u64;
                let result = self.server.retry(self.model.now, &handle(number));
                let at = self.model.failed.iter().position(|it| it.number == number);
                let is_done = at.is_some_and(|at| self.model.retry(at));
                prop_assert_eq!(result.is_ok(), is_done, "{:?}", result);
            }
            Step::Discard(index) => {
                let number = 1 + index.index(self.model.next as usize) as u64;
                let was = self.server.discard(&handle(number));
                let before = self.model.failed.len();
                self.model.failed.retain(|it| it.number != number);
                prop_assert_eq!(was, self.model.failed.len() < before);
            }
            Step::Cancel(index) => {
                let number = 1 + index.index(self.model.next as usize) as u64;
                let is_it = |job: &Job| job.number == number && !job.is_cancelled;
                let at = self.model.jobs.iter().position(is_it);
                let answer = match at {
                    Some(_) => "OK",
                    None => "ERR UNKNOWN_JOB",
                };
                let worker = at.and_then(|at| self.model.cancel(at));
                let line = format!("cancel job H:test:{number}");
                self.ask(who, &line, answer)?;
                let notices = self.server.outbox().notices();
                let told = notices.iter().find_map(|notice| match notice {
                    Notice::Cancelled(conn) => Some(*conn),
                    _ => None,
                });
                let expected = worker.map(|worker| self.ids[worker]);
                prop_assert_eq!(told, expected, "who is told that a job was cancelled");
            }
            Step::Drop(function) => {
                let model = &mut self.model;
                let is_used = model.jobs.iter().any(|job| job.function == *function)
                    || model.peers.iter().any(|peer| peer.can(*function));
                let answer = match (model.is_named[*function], is_used) {
                    (false, _) => "ERR function not found",
                    (true, true) => "ERR there are still connected workers or executing clients",
                    (true, false) => {
                        model.is_named[*function] = false;
                        model.own_limits[*function] = None;
                        "OK"
                    }
                };
                let line = format!("drop function {}", FUNCTIONS[*function]);
                self.ask(who, &line, answer)?;
            }
            Step::MaxQueue(function, limits) => {
                self.model.is_named[*function] = true;
                self.model.own_limits[*function] = Some(match limits[..] {
                    [] => [0; 3],
                    [all] => [all; 3],
                    [high, normal] => [high, normal, 0],
                    [high, normal, low, ..] => [high, normal, low],
                });
                let words = limits.iter().map(|limit| format!(" {limit}"));
                let line = format!(
                    "maxqueue {}{}",
                    FUNCTIONS[*function],
                    words.collect::<String>()
                );
                self.ask(who, &line, "OK")?;
            }
            Step::Upgrade => {
                let options = Options {
                    seed: 7,
                    ..options(&self.model.limits)
                };
                let state = rmp_serde::to_vec_named(&self.server.state()).expect("it is written");
                let state = rmp_serde::from_slice(&state).expect("it is read");
                self.server = JobServer::restore(state, options);
            }
        }
        self.compare(must_wake)
    }

    /// Sends a line of admin text; its answer is the last thing that is said.
    fn ask(&mut self, who: usize, line: &str, answer: &str) -> Result<(), TestCaseError> {
        let (conn, frame) = (self.ids[who], Frame::Text(line.as_bytes()));
        self.server.receive(self.model.now, conn, frame);
        let (to, bytes) = self.server.outbox().sends().last().expect("an answer");
        prop_assert_eq!(to, conn, "who is answered {}", line);
        prop_assert!(
            bytes.ends_with(format!("{answer}\r\n").as_bytes()),
            "{line} is answered {:?}, not {answer}",
            String::from_utf8_lossy(bytes)
        );
        Ok(())
    }

    fn status_of_unique(&mut self, who: usize, unique: &str) {
        let is_it = |job: &&Job| {
            !unique.is_empty()
                && !job.unique.is_empty()
                && sameness(&job.unique, &job.workload) == unique.as_bytes()
        };
        let mut jobs = self.model.jobs.iter().filter(is_it);
        let (job, another) = (jobs.next(), jobs.next());
        // where two functions have one, it is the server's choice
        if another.is_some() {
            return;
        }
        let fields = Model::status(job);
        let [known, running, numerator, denominator] = fields.each_ref().map(|it| &**it);
        let clients = job.map_or(0, |job| job.clients.len()).to_string();
        let (unique, clients) = (unique.as_bytes(), clients.as_bytes());
        self.tell(who, &Request::GetStatusUnique { unique });
        let arguments = [unique, known, running, numerator, denominator, clients];
        self.model.say(who, Kind::StatusResUnique, &arguments);
    }

    fn progress(&mut self, who: usize, number: u64, done: u64) {
        let (handle, done_of) = (handle(number), done.to_string());
        let denominator: &[u8] = if done > 0 { b"100" } else { b"0" };
        let (handle, numerator) = (&*handle, done_of.as_bytes());
        self.tell(
            who,
            &Request::WorkStatus {
                handle,
                numerator,
                denominator,
            },
        );
        let is_held = self.model.held(who).any(|job| job.number == number);
        if !is_held {
            let text = [&b"JOB_NOT_FOUND"[..], b"Job given in work result not found"];
            return self.model.say(who, Kind::Error, &text);
        }
        let job = self.model.job(number).expect("it is held");
        job.progress = done;
        for client in job.clients.clone() {
            let arguments = [handle, numerator, denominator];
            self.model.say(client, Kind::WorkStatus, &arguments);
        }
    }

    fn end(&mut self, who: usize, number: u64, end: End) {
        let (handle, data) = (handle(number), b"result");
        let handle = &*handle;
        let request = match end {
            End::Complete => Request::WorkComplete { handle, data },
            End::Fail => Request::WorkFail { handle },
            End::Except => Request::WorkException { handle, data },
        };
        self.tell(who, &request);
        let model = &mut self.model;
        let ended = model.end(who, number);
        let (kind, data, missing): (_, _, &[u8]) = match end {
            End::Complete => (
                Kind::WorkComplete,
                Some(&data[..]),
                b"Job given in work result not found",
            ),
            End::Fail => (Kind::WorkFail, None, b"Job given in work result not found"),
            End::Except => (
                Kind::WorkException,
                Some(&data[..]),
                b"An exception was received for a job that does not exist",
            ),
        };
        match ended {
            Some(job) => {
                model.tell_end(&job, kind, data);
                if kind == Kind::WorkException {
                    model.peers[who].excepted.push(number);
                }
                if end != End::Complete {
                    model.has_failed(job);
                }
            }
            None => {
                let excepted = &mut model.peers[who].excepted;
                match excepted.iter().position(|&it| it == number) {
                    // the WORK_FAIL after a WORK_EXCEPTION
                    Some(at) if kind == Kind::WorkFail => drop(excepted.remove(at)),
                    Some(_) | None => model.say(who, Kind::Error, &[b"JOB_NOT_FOUND", missing]),
                }
            }
        }
    }

    /// The job that the server has given this worker just now.
    fn assigned_to(&mut self, who: usize) -> Option<u64> {
        let id = self.ids[who];
        let sends = packets(&mut self.server);
        let assigned = sends.iter().find_map(|(conn, kind, body)| {
            let is_assigned = matches!(
                kind,
                Kind::JobAssign | Kind::JobAssignUniq | Kind::JobAssignAll
            );
            let is_it = *conn == id && is_assigned;
            is_it.then(|| body.split(|&byte| byte == 0).next().map(<[u8]>::to_vec))?
        })?;
        let text = String::from_utf8(assigned).ok()?;
        text.strip_prefix("H:test:")?.parse().ok()
    }

    /// What the server has said is what the model expects, and then both have the same in their queues.
    fn compare(&mut self, must_wake: Option<usize>) -> Result<(), TestCaseError> {
        self.server.assert_invariants();
        let mut woken = Vec::new();
        let mut said: Vec<Vec<(Kind, Vec<u8>)>> = vec![Vec::new(); CONNS];
        for (conn, kind, body) in packets(&mut self.server) {
            let Some(who) = self.ids.iter().position(|&id| id == conn) else {
                return Err(TestCaseError::fail(
                    "a packet for a connection that is gone",
                ));
            };
            match kind {
                Kind::Noop => woken.push(who),
                kind => said[who].push((kind, body)),
            }
        }
        let mut expected: Vec<Vec<(Kind, Vec<u8>)>> = vec![Vec::new(); CONNS];
        for (who, kind, arguments) in self.model.out.drain(..) {
            expected[who].push((kind, arguments.join(&0)));
        }
        prop_assert_eq!(said, expected, "what each connection is sent");

        for &who in &woken {
            let peer = &self.model.peers[who];
            prop_assert!(peer.is_asleep, "a NOOP for one that is awake");
            prop_assert!(!peer.is_quiesced, "a NOOP for one that is being drained");
            prop_assert!(self.model.has_work(who), "a NOOP for nothing");
        }
        if let Some(who) = must_wake {
            prop_assert!(woken.contains(&who), "there is work, and no NOOP at once");
        }

        let out = self.server.outbox();
        prop_assert!(out.closes().is_empty());
        let is_parked = |notice: &Notice| match notice {
            Notice::Parked(conn) => self.ids.iter().position(|id| id == conn),
            Notice::Registered { .. }
            | Notice::Worked(_)
            | Notice::Cancelled(_)
            | Notice::Overdue { .. }
            | Notice::Lost { .. }
            | Notice::Failed { .. }
            | Notice::Closed(_)
            | Notice::ShutDown(_) => None,
        };
        let parked: Vec<usize> = out.notices().iter().filter_map(is_parked).collect();
        prop_assert_eq!(&parked, &self.model.parked, "who is parked");
        self.model.parked.clear();
        let is_overdue = |notice: &Notice| match notice {
            Notice::Overdue { conn, .. } => self.ids.iter().position(|id| id == conn),
            _ => None,
        };
        let overdue: Vec<usize> = out.notices().iter().filter_map(is_overdue).collect();
        prop_assert_eq!(
            &overdue,
            &self.model.overdue,
            "whose process is to be killed"
        );
        self.model.overdue.clear();
        out.clear();
        for (who, &id) in self.ids.iter().enumerate() {
            let mut held = self.model.held(who).peekable();
            let for_nobody = held.peek().is_some() && held.all(|job| job.is_cancelled);
            prop_assert_eq!(self.server.works_for_nobody(&[id]), for_nobody);
            let is_overdue = self.model.held(who).any(|job| job.is_overdue);
            prop_assert_eq!(self.server.is_overdue(&[id]), is_overdue);
        }
        self.compare_queues()
    }

    fn compare_queues(&self) -> Result<(), TestCaseError> {
        let model = &self.model;
        let failed = model.failed.iter().map(|job| handle(job.number));
        let failed: Vec<_> = failed.map(String::from_utf8).map(Result::unwrap).collect();
        prop_assert_eq!(
            self.server.failed_handles(None),
            failed,
            "what is set aside"
        );
        let loads = self.server.function_loads(model.now);
        let listed = self.server.job_list(model.now, None, usize::MAX);
        prop_assert_eq!(listed.total, model.jobs.len() as u64);
        for job in &listed.jobs {
            let it = model
                .jobs
                .iter()
                .find(|it| handle(it.number) == job.handle.as_bytes());
            let it = it.expect("a job that there is");
            prop_assert_eq!((job.attempts, job.failures), (it.lost, it.failed));
        }
        prop_assert_eq!(listed.jobs.len(), model.jobs.len());
        let listed = model.is_named.iter().filter(|&&is| is).count();
        prop_assert_eq!(loads.len(), listed, "how many functions are listed");
        for load in loads {
            let function = FUNCTIONS.iter().position(|&name| name == load.name);
            let function = function.expect("a function that was named");
            let jobs = || {
                model
                    .jobs
                    .iter()
                    .filter(move |job| job.function == function)
            };
            let queued = [Priority::High, Priority::Normal, Priority::Low].map(|priority| {
                let is_there = |job: &&Job| job.priority == priority && job.at == At::Waiting;
                jobs().filter(is_there).count() as u64
            });
            prop_assert_eq!(load.queued, queued, "what is queued of {}", load.name);
            let running = jobs().filter(|job| matches!(job.at, At::Worker(..)));
            prop_assert_eq!(load.running, running.count() as u64, "what runs");
            let workers = model.peers.iter().filter(|peer| peer.can(function)).count();
            prop_assert_eq!(load.paused, model.is_paused[function]);
            prop_assert_eq!(load.workers, workers as u64, "who can do {}", load.name);
        }
        Ok(())
    }

    /// The faults stop, and one worker does what is left: then nothing may be left, and nobody may still wait.
    fn settle(&mut self) -> Result<(), TestCaseError> {
        let worker = CONNS - 1;
        self.step(worker, &Step::Reconnect)?;
        for _ in 0..8 {
            self.step(worker, &Step::Pass(1000))?;
        }
        for who in 0..worker {
            for job in self
                .model
                .held(who)
                .map(|job| job.number)
                .collect::<Vec<_>>()
            {
                self.end(who, job, End::Complete);
                self.compare(None)?;
            }
        }
        for function in 0..FUNCTIONS.len() {
            self.step(worker, &Step::CanDo(function))?;
            self.step(worker, &Step::Resume(function))?;
        }
        while self.model.has_work(worker) {
            self.step(worker, &Step::Grab(Grab::All))?;
            let number = *self.model.peers[worker].given.last().expect("a job");
            self.end(worker, number, End::Complete);
            self.compare(None)?;
        }
        prop_assert_eq!(self.model.jobs.len(), 0, "jobs are left");
        prop_assert_eq!(self.model.waiting_foreground, 0, "clients still wait");
        Ok(())
    }
}

fn options(limits: &Limits) -> Options {
    Options {
        handle_prefix: "H:test".to_owned(),
        job_retries: limits.retries,
        max_queue: limits.max_queue,
        max_queued_bytes: limits.max_queued_bytes,
        ..Options::default()
    }
}

/// The packets that the server has to send.
fn packets(server: &mut JobServer) -> Vec<(ConnId, Kind, Vec<u8>)> {
    let mut all = Vec::new();
    for (conn, mut bytes) in server.outbox().sends() {
        while !bytes.is_empty() {
            let (kind, body, length) = match decode(bytes) {
                Ok(Decoded::Frame(Frame::Packet { kind, body, .. }, length)) => {
                    (kind, body, length)
                }
                Ok(Decoded::Frame(Frame::Text(_), length)) => {
                    bytes = &bytes[length..];
                    continue;
                }
                other => panic!("what the server sends is whole packets and lines: {other:?}"),
            };
            Response::parse(kind, body).expect("the server sends responses");
            let kind = Kind::from_number(kind).expect("a kind");
            all.push((conn, kind, body.to_vec()));
            bytes = &bytes[length..];
        }
    }
    all
}

proptest! {
    // what it finds becomes a transcript, so no file of seeds is kept
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_queue_is_what_the_model_says(
        limits in limits(),
        steps in prop::collection::vec((0..CONNS, step()), 0..120),
    ) {
        let mut world = World::new(limits);
        for (who, step) in &steps {
            world.step(*who, step)?;
        }
        world.settle()?;
    }
}
