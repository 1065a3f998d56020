//! The job server against a model of the queue that is too simple to be wrong: one list of jobs, looked through from the front.
//!
//! Random packets of several connections go to both. Each packet that the server sends must be one that the model expects, in its
//! place; only NOOPs are judged by rules, and of several functions that a worker could be given a job of, the server may choose.
//! `PROPTEST_CASES=10000` tries more.

use std::collections::VecDeque;
use std::time::Duration;

use gearpool::jobs::{ConnId, JobServer, Notice, Options, Peer};
use gearpool::proto::{Decoded, Frame, Grab, Kind, Mode, Priority, Request, Response, decode};
use gearpool::time::Time;
use proptest::prelude::*;

/// How many jobs that ended with WORK_EXCEPTION the server remembers of a worker.
const EXCEPTED: usize = 16;

const CONNS: usize = 4;
const FUNCTIONS: [&str; 2] = ["f", "g"];
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
    ]
}

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Waiting,
    Later(Time),
    Worker(usize, Option<Time>),
}

#[derive(Clone, Debug)]
struct Job {
    number: u64,
    function: usize,
    priority: Priority,
    sameness: Vec<u8>,
    unique: &'static str,
    reducer: Option<&'static str>,
    workload: Vec<u8>,
    progress: u64,
    at: At,
    background: bool,
    runs: u32,
    clients: Vec<usize>,
}

#[derive(Clone, Debug, Default)]
struct Conn {
    abilities: Vec<(usize, u64)>,
    exceptions: bool,
    is_asleep: bool,
    is_quiesced: bool,
    /// Has asked for a job since the last one.
    is_settled: bool,
    is_told: bool,
    /// The last jobs that it ended with WORK_EXCEPTION: a WORK_FAIL after that is no error.
    excepted: Vec<u64>,
    /// Every job that it was given.
    given: Vec<u64>,
}

/// A packet as the model thinks of it.
type Packet = (usize, Kind, Vec<Vec<u8>>);

/// The jobs in the order in which they are to be given out, priorities aside.
struct Model {
    now: Time,
    retries: u32,
    jobs: VecDeque<Job>,
    peers: Vec<Conn>,
    next: u64,
    /// Functions in the order in which they were first named.
    named: Vec<usize>,
    out: Vec<Packet>,
    parked: Vec<usize>,
    /// Submissions in the foreground whose client is there and has heard of no end.
    waiting_foreground: u64,
}

impl Model {
    fn new(retries: u32) -> Model {
        Model {
            now: Time::ZERO,
            retries,
            jobs: VecDeque::new(),
            peers: vec![Conn::default(); CONNS],
            next: 1,
            named: Vec::new(),
            out: Vec::new(),
            parked: Vec::new(),
            waiting_foreground: 0,
        }
    }

    fn say(&mut self, to: usize, kind: Kind, arguments: &[&[u8]]) {
        let arguments = arguments.iter().map(|it| it.to_vec()).collect();
        self.out.push((to, kind, arguments));
    }

    fn submit(
        &mut self,
        from: usize,
        job: (Priority, Mode, usize),
        unique: &'static str,
        (reducer, workload): (Option<&'static str>, &[u8]),
        due: Option<Time>,
    ) {
        let (priority, mode, function) = job;
        self.name(function);
        let sameness = match unique {
            "-" => workload,
            other => other.as_bytes(),
        };
        let same = self.jobs.iter().position(|job| {
            !unique.is_empty()
                && !job.sameness.is_empty()
                && job.function == function
                && job.sameness == sameness
        });
        let at = same.unwrap_or_else(|| {
            let is_ahead = due.filter(|&due| due > self.now);
            self.jobs.push_back(Job {
                number: self.next,
                function,
                priority,
                sameness: sameness.to_vec(),
                unique,
                reducer,
                progress: 0,
                workload: workload.to_vec(),
                at: is_ahead.map_or(At::Waiting, At::Later),
                background: false,
                runs: 0,
                clients: Vec::new(),
            });
            self.next += 1;
            self.jobs.len() - 1
        });
        let job = &mut self.jobs[at];
        match mode {
            Mode::Background => job.background = true,
            Mode::Foreground => {
                job.clients.push(from);
                self.waiting_foreground += 1;
            }
        }
        let number = job.number;
        self.say(from, Kind::JobCreated, &[&handle(number)]);
    }

    fn name(&mut self, function: usize) {
        if !self.named.contains(&function) {
            self.named.push(function);
        }
    }

    /// What STATUS_RES says of a job: known, running, and how much is done of a hundred.
    fn status(job: Option<&Job>) -> [Vec<u8>; 4] {
        let number = |number: u64| number.to_string().into_bytes();
        let is_running = job.is_some_and(|job| matches!(job.at, At::Worker(..)));
        let progress = job.map_or(0, |job| job.progress);
        let of = if progress > 0 { 100 } else { 0 };
        [
            number(u64::from(job.is_some())),
            number(u64::from(is_running)),
            number(progress),
            number(of),
        ]
    }

    /// The jobs that this worker may be given: the first of each of its functions, of the highest priority that there is.
    fn candidates(&self, worker: usize) -> Vec<u64> {
        let peer = &self.peers[worker];
        if peer.is_quiesced {
            return Vec::new();
        }
        let can = |job: &&Job| peer.abilities.iter().any(|it| it.0 == job.function);
        let waiting = || {
            self.jobs
                .iter()
                .filter(can)
                .filter(|job| job.at == At::Waiting)
        };
        let Some(best) = waiting().map(|job| job.priority).min() else {
            return Vec::new();
        };
        let mut seen = Vec::new();
        let mut first = Vec::new();
        for job in waiting().filter(|job| job.priority == best) {
            if !seen.contains(&job.function) {
                seen.push(job.function);
                first.push(job.number);
            }
        }
        first
    }

    fn assign(&mut self, worker: usize, number: u64, grab: Grab) {
        let peer = &mut self.peers[worker];
        peer.given.push(number);
        (peer.is_settled, peer.is_asleep) = (false, false);
        let now = self.now;
        let abilities = self.peers[worker].abilities.clone();
        let job = self.job(number).expect("a candidate");
        let limit = abilities.iter().find(|it| it.0 == job.function);
        let limit = limit.map_or(0, |it| it.1);
        job.runs += 1;
        job.at = At::Worker(
            worker,
            (limit > 0).then(|| now + Duration::from_secs(limit)),
        );
        let job = job.clone();
        let (handle, function) = (handle(number), FUNCTIONS[job.function].as_bytes());
        let (unique, workload) = (job.unique.as_bytes(), &*job.workload);
        match (grab, job.reducer) {
            (Grab::Plain, _) => {
                self.say(worker, Kind::JobAssign, &[&handle, function, workload]);
            }
            (Grab::All, Some(reducer)) => {
                let reducer = reducer.as_bytes();
                let arguments = [&handle, function, unique, reducer, workload];
                self.say(worker, Kind::JobAssignAll, &arguments);
            }
            (Grab::Uniq | Grab::All, _) => {
                let arguments = [&handle, function, unique, workload];
                self.say(worker, Kind::JobAssignUniq, &arguments);
            }
        }
    }

    fn no_job(&mut self, worker: usize) {
        self.peers[worker].is_asleep = false;
        self.say(worker, Kind::NoJob, &[]);
        self.settle(worker);
    }

    fn settle(&mut self, worker: usize) {
        self.peers[worker].is_settled = true;
        self.tell_if_parked(worker);
    }

    fn tell_if_parked(&mut self, worker: usize) {
        let holds = self.held(worker).next().is_some();
        let peer = &mut self.peers[worker];
        if peer.is_quiesced && peer.is_settled && !peer.is_told && !holds {
            peer.is_told = true;
            self.parked.push(worker);
        }
    }

    fn held(&self, worker: usize) -> impl Iterator<Item = &Job> {
        let is_held = move |job: &&Job| matches!(job.at, At::Worker(at, _) if at == worker);
        self.jobs.iter().filter(is_held)
    }

    fn job(&mut self, number: u64) -> Option<&mut Job> {
        self.jobs.iter_mut().find(|job| job.number == number)
    }

    /// Takes the job that the worker has ended; an ERROR if it does not have it.
    fn end(&mut self, worker: usize, number: u64) -> Option<Job> {
        let at = self.jobs.iter().position(|job| {
            job.number == number && matches!(job.at, At::Worker(at, _) if at == worker)
        })?;
        self.peers[worker].is_settled = false;
        self.remove(at)
    }

    fn remove(&mut self, at: usize) -> Option<Job> {
        let job = self.jobs.remove(at)?;
        self.waiting_foreground -= job.clients.len() as u64;
        Some(job)
    }

    fn tell_end(&mut self, job: &Job, kind: Kind, data: Option<&[u8]>) {
        for &client in &job.clients {
            let (handle, kind) = (
                handle(job.number),
                match kind {
                    Kind::WorkException if !self.peers[client].exceptions => Kind::WorkFail,
                    kind => kind,
                },
            );
            match data.filter(|_| kind != Kind::WorkFail) {
                Some(data) => self.say(client, kind, &[&handle, data]),
                None => self.say(client, kind, &[&handle]),
            }
        }
    }

    /// A job whose worker no longer has it: before all others, unless it is over.
    fn give_back(&mut self, number: u64) {
        let at = self.jobs.iter().position(|job| job.number == number);
        let at = at.expect("a job that a worker had");
        let job = &self.jobs[at];
        if self.retries > 0 && job.runs >= self.retries {
            let job = self.remove(at).expect("it is there");
            self.tell_end(&job, Kind::WorkFail, None);
        } else if job.clients.is_empty() && !job.background {
            self.remove(at);
        } else {
            let mut job = self.jobs.remove(at).expect("it is there");
            job.at = At::Waiting;
            self.jobs.push_front(job);
        }
    }

    fn close(&mut self, who: usize) {
        for job in &mut self.jobs {
            let before = job.clients.len();
            job.clients.retain(|&client| client != who);
            self.waiting_foreground -= (before - job.clients.len()) as u64;
        }
        self.jobs.retain(|job| {
            !job.clients.is_empty() || job.background || matches!(job.at, At::Worker(..))
        });
        // in the order in which they were given out, which is the order of the worker's list
        let held: Vec<u64> = self.held(who).map(|job| job.number).collect();
        let given = std::mem::take(&mut self.peers[who].given);
        for number in given.iter().rev().filter(|number| held.contains(number)) {
            // a job that was lost and given to the same worker again is in its list twice
            if self.job(*number).is_some_and(|job| job.at != At::Waiting) {
                self.give_back(*number);
            }
        }
        self.peers[who] = Conn::default();
    }

    fn pass(&mut self, jump: Duration) {
        self.now = self.now + jump;
        let now = self.now;
        let mut late: Vec<(Time, u64, usize)> = self
            .jobs
            .iter()
            .filter_map(|job| match job.at {
                At::Worker(worker, Some(deadline)) if deadline <= now => {
                    Some((deadline, job.number, worker))
                }
                _ => None,
            })
            .collect();
        late.sort_unstable();
        for (_, number, worker) in late {
            self.peers[worker].is_settled = false;
            self.give_back(number);
        }
        let mut due: Vec<(Time, u64)> = self
            .jobs
            .iter()
            .filter_map(|job| match job.at {
                At::Later(due) if due <= now => Some((due, job.number)),
                _ => None,
            })
            .collect();
        due.sort_unstable();
        for (_, number) in due {
            let at = self.jobs.iter().position(|job| job.number == number);
            let mut job = at.and_then(|at| self.jobs.remove(at)).expect("it is there");
            job.at = At::Waiting;
            self.jobs.push_back(job);
        }
    }

    /// Whether a sleeper has work.
    fn has_work(&self, worker: usize) -> bool {
        !self.candidates(worker).is_empty()
    }
}

/// Both, side by side.
struct World {
    server: JobServer,
    model: Model,
    ids: Vec<ConnId>,
}

impl World {
    fn new(retries: u32) -> World {
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

fn handle(number: u64) -> Vec<u8> {
    format!("H:test:{number}").into_bytes()
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

proptest! {
    // what it finds becomes a transcript, so no file of seeds is kept
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_queue_is_what_the_model_says(
        retries in prop_oneof![Just(0u32), Just(2)],
        steps in prop::collection::vec((0..CONNS, step()), 0..120),
    ) {
        let mut world = World::new(retries);
        for (who, step) in &steps {
            world.step(*who, step)?;
        }
        world.settle()?;
    }
}
