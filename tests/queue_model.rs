//! The job server against a model of the queue that is too simple to be wrong: one list of jobs, looked through from the front.
//!
//! Random packets of several connections go to both. Each packet that the server sends must be one that the model expects, in its
//! place; only NOOPs are judged by rules, and of several functions that a worker could be given a job of, the server may choose.
//! `PROPTEST_CASES=10000` tries more.

#[path = "queue_model/world.rs"]
mod world;

use std::collections::VecDeque;
use std::time::Duration;

use gearpool::proto::{Grab, Kind, Mode, Priority};
use gearpool::time::Time;
use proptest::prelude::*;
use world::World;

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

fn handle(number: u64) -> Vec<u8> {
    format!("H:test:{number}").into_bytes()
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
