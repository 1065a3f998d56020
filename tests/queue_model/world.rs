//! The job server and the model, side by side.

use std::time::Duration;

use gearpool::jobs::{ConnId, JobServer, Notice, Options, Peer};
use gearpool::proto::{Decoded, Frame, Grab, Kind, Mode, Priority, Request, Response, decode};
use gearpool::time::Time;
use proptest::prelude::*;

use super::{At, CONNS, Conn, EXCEPTED, End, FUNCTIONS, Job, Model, Step, UNIQUES, handle};

/// Both, side by side.
pub(crate) struct World {
    server: JobServer,
    model: Model,
    ids: Vec<ConnId>,
}

impl World {
    pub(crate) fn new(retries: u32) -> World {
        let mut server = JobServer::new(Options {
            handle_prefix: "H:test".to_owned(),
            job_retries: retries,
            ..Options::default()
        });
        let ids = (0..CONNS)
            .map(|_| server.connect(Time::ZERO, Peer::default()))
            .collect();
        World {
            server,
            model: Model::new(retries),
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

    pub(crate) fn step(&mut self, who: usize, step: &Step) -> Result<(), TestCaseError> {
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
                self.model.name(*function);
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
            Step::GetStatusUnique(unique) => {
                let unique = UNIQUES[*unique].as_bytes();
                self.tell(who, &Request::GetStatusUnique { unique });
                let model = &self.model;
                let of = |function: &usize| {
                    let is_it = |job: &&Job| {
                        job.function == *function
                            && !unique.is_empty()
                            && !job.sameness.is_empty()
                            && job.sameness == unique
                    };
                    model.jobs.iter().find(is_it)
                };
                let job = model.named.iter().find_map(of);
                let fields = Model::status(job);
                let [known, running, numerator, denominator] = fields.each_ref().map(|it| &**it);
                let clients = job.map_or(0, |job| job.clients.len()).to_string();
                let clients = clients.as_bytes();
                let arguments = [unique, known, running, numerator, denominator, clients];
                self.model.say(who, Kind::StatusResUnique, &arguments);
            }
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
        }
        self.compare(must_wake)
    }

    fn progress(&mut self, who: usize, number: u64, done: u64) {
        let (handle, done_of) = (handle(number), done.to_string());
        let (numerator, denominator) = (
            done_of.as_bytes(),
            if done > 0 { b"100" } else { &b"0"[..] },
        );
        let handle = &*handle;
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
                    let excepted = &mut model.peers[who].excepted;
                    excepted.push(number);
                    let forgotten = excepted.len().saturating_sub(EXCEPTED);
                    excepted.drain(..forgotten);
                }
            }
            // the WORK_FAIL after a WORK_EXCEPTION
            None if kind == Kind::WorkFail && model.peers[who].excepted.contains(&number) => {
                let excepted = &mut model.peers[who].excepted;
                excepted.retain(|&other| other != number);
            }
            None => model.say(who, Kind::Error, &[b"JOB_NOT_FOUND", missing]),
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
            | Notice::Closed(_)
            | Notice::ShutDown(_) => None,
        };
        let parked: Vec<usize> = out.notices().iter().filter_map(is_parked).collect();
        prop_assert_eq!(&parked, &self.model.parked, "who is parked");
        self.model.parked.clear();
        out.clear();
        self.compare_queues()
    }

    fn compare_queues(&self) -> Result<(), TestCaseError> {
        let model = &self.model;
        for load in self.server.function_loads(model.now) {
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
            let can = |peer: &&Conn| peer.abilities.iter().any(|it| it.0 == function);
            let workers = model.peers.iter().filter(can).count();
            prop_assert_eq!(load.workers, workers as u64, "who can do {}", load.name);
        }
        Ok(())
    }

    /// The faults stop, and one worker does what is left: then nothing may be left, and nobody may still wait.
    pub(crate) fn settle(&mut self) -> Result<(), TestCaseError> {
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

/// The packets that the server has to send.
fn packets(server: &mut JobServer) -> Vec<(ConnId, Kind, Vec<u8>)> {
    let mut all = Vec::new();
    for (conn, mut bytes) in server.outbox().sends() {
        while !bytes.is_empty() {
            let Ok(Decoded::Frame(Frame::Packet { kind, body, .. }, length)) = decode(bytes) else {
                panic!("what the server sends is whole packets");
            };
            Response::parse(kind, body).expect("the server sends responses");
            let kind = Kind::from_number(kind).expect("a kind");
            all.push((conn, kind, body.to_vec()));
            bytes = &bytes[length..];
        }
    }
    all
}
