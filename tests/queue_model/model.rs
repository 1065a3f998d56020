//! The model: what a queue does, in the plainest way.

use std::collections::VecDeque;
use std::time::Duration;

use gearpool::proto::{Grab, Kind, Mode, Priority};
use gearpool::time::Time;

pub(crate) const CONNS: usize = 4;
pub(crate) const FUNCTIONS: [&str; 2] = ["f", "g"];

/// What a job counts besides its unique and its workload, in bytes.
const OWN: usize = 250;

/// Where a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Waiting,
    Later(Time),
    Worker(usize, Option<Time>),
}

#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) number: u64,
    pub(crate) function: usize,
    pub(crate) priority: Priority,
    pub(crate) unique: String,
    pub(crate) reducer: Option<&'static str>,
    pub(crate) workload: Vec<u8>,
    /// How much is done of a hundred.
    pub(crate) progress: u64,
    pub(crate) at: At,
    pub(crate) background: bool,
    pub(crate) is_cancelled: bool,
    /// It has run past the limit of its process.
    pub(crate) is_overdue: bool,
    pub(crate) lost: u32,
    pub(crate) failed: u32,
    pub(crate) clients: Vec<usize>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Conn {
    pub(crate) abilities: Vec<(usize, u64)>,
    pub(crate) exceptions: bool,
    pub(crate) is_asleep: bool,
    pub(crate) is_quiesced: bool,
    /// Has asked for a job since the last one.
    pub(crate) is_settled: bool,
    pub(crate) is_told: bool,
    /// It is a process's of ours, whose pool limits the seconds of a job.
    pub(crate) limit: Option<u64>,
    pub(crate) excepted: Vec<u64>,
    /// Every job that it was given.
    pub(crate) given: Vec<u64>,
}

impl Conn {
    pub(crate) fn can(&self, function: usize) -> bool {
        self.abilities.iter().any(|it| it.0 == function)
    }
}

/// What makes a job the same as another.
pub(crate) fn sameness<'a>(unique: &'a str, workload: &'a [u8]) -> &'a [u8] {
    match unique {
        "-" => workload,
        other => other.as_bytes(),
    }
}

/// A packet as the model thinks of it.
pub(crate) type Packet = (usize, Kind, Vec<Vec<u8>>);

/// What is said of a function's jobs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Policy {
    pub(crate) attempts: u32,
    pub(crate) retries: u32,
    pub(crate) delay: Duration,
}

/// What the operator limits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) retries: u32,
    /// What the first function's pool says.
    pub(crate) policy: Policy,
    pub(crate) max_queue: u32,
    pub(crate) max_queued_bytes: u64,
}

/// The jobs in the order in which they are to be given out, priorities aside.
pub(crate) struct Model {
    pub(crate) now: Time,
    pub(crate) limits: Limits,
    /// `maxqueue`, for high, normal and low.
    pub(crate) own_limits: [Option<[u32; 3]>; FUNCTIONS.len()],
    /// Which functions are listed.
    pub(crate) is_named: [bool; FUNCTIONS.len()],
    pub(crate) jobs: VecDeque<Job>,
    /// What is set aside, the oldest first.
    pub(crate) failed: Vec<Job>,
    pub(crate) is_paused: [bool; FUNCTIONS.len()],
    /// Connections whose process is to be killed.
    pub(crate) overdue: Vec<usize>,
    pub(crate) peers: Vec<Conn>,
    pub(crate) next: u64,
    pub(crate) out: Vec<Packet>,
    pub(crate) parked: Vec<usize>,
    /// Submissions in the foreground whose client is there and has heard of no end.
    pub(crate) waiting_foreground: u64,
}

impl Model {
    pub(crate) fn new(limits: Limits) -> Model {
        Model {
            now: Time::ZERO,
            limits,
            own_limits: [None; FUNCTIONS.len()],
            is_named: [false; FUNCTIONS.len()],
            jobs: VecDeque::new(),
            failed: Vec::new(),
            is_paused: [false; FUNCTIONS.len()],
            overdue: Vec::new(),
            peers: vec![Conn::default(); CONNS],
            next: 1,
            out: Vec::new(),
            parked: Vec::new(),
            waiting_foreground: 0,
        }
    }

    pub(crate) fn say(&mut self, to: usize, kind: Kind, arguments: &[&[u8]]) {
        let arguments = arguments.iter().map(|it| it.to_vec()).collect();
        self.out.push((to, kind, arguments));
    }

    pub(crate) fn submit(
        &mut self,
        from: usize,
        job: (Priority, Mode, usize),
        unique: &str,
        (reducer, workload): (Option<&'static str>, &[u8]),
        due: Option<Time>,
    ) {
        let (priority, mode, function) = job;
        self.is_named[function] = true;
        let same = self.jobs.iter().position(|job| {
            !unique.is_empty()
                && !job.unique.is_empty()
                && job.function == function
                && sameness(&job.unique, &job.workload) == sameness(unique, workload)
        });
        if same.is_none()
            && let Some(text) = self.refusal(
                function,
                priority,
                unique.len() + reducer.map_or(0, str::len) + workload.len(),
            )
        {
            return self.say(from, Kind::Error, &[b"QUEUE_ERROR", text]);
        }
        let at = same.unwrap_or_else(|| {
            let is_ahead = due.filter(|&due| due > self.now);
            self.jobs.push_back(Job {
                number: self.next,
                function,
                priority,
                unique: unique.to_owned(),
                reducer,
                progress: 0,
                workload: workload.to_vec(),
                at: is_ahead.map_or(At::Waiting, At::Later),
                background: false,
                is_cancelled: false,
                is_overdue: false,
                lost: 0,
                failed: 0,
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

    /// Why there is no room for a job of so many bytes.
    pub(crate) fn refusal(
        &self,
        function: usize,
        priority: Priority,
        bytes: usize,
    ) -> Option<&'static [u8]> {
        let own = self.own_limits[function].map(|limits| limits[priority as usize]);
        let limit = own.unwrap_or(self.limits.max_queue);
        let jobs = self.jobs.iter().filter(|job| job.function == function);
        if limit > 0 && jobs.count() >= limit as usize {
            return Some(b"Job queue is full");
        }
        let there = self.jobs.iter().map(|job| {
            let reducer = job.reducer.map_or(0, str::len);
            OWN + job.unique.len() + reducer + job.workload.len()
        });
        let most = self.limits.max_queued_bytes;
        (most > 0 && (there.sum::<usize>() + OWN + bytes) as u64 > most).then_some(
            b"the queued workloads have reached the limit of this server, try again later",
        )
    }

    /// Gives up a job: its clients are told, and if a worker has it, it does it for nobody. Returns that worker.
    pub(crate) fn cancel(&mut self, at: usize) -> Option<usize> {
        let job = self.jobs[at].clone();
        self.tell_end(&job, Kind::WorkFail, None);
        match job.at {
            At::Worker(worker, _) => {
                self.waiting_foreground -= job.clients.len() as u64;
                let job = &mut self.jobs[at];
                job.clients.clear();
                job.unique.clear();
                (job.background, job.is_cancelled) = (false, true);
                Some(worker)
            }
            At::Waiting | At::Later(_) => {
                self.remove(at);
                None
            }
        }
    }

    /// The jobs that this worker may be given: the first of each of its functions, of the highest priority that there is.
    pub(crate) fn candidates(&self, worker: usize) -> Vec<u64> {
        let peer = &self.peers[worker];
        if peer.is_quiesced {
            return Vec::new();
        }
        let can = |job: &&Job| peer.abilities.iter().any(|it| it.0 == job.function);
        let waiting = || {
            self.jobs
                .iter()
                .filter(can)
                .filter(|job| job.at == At::Waiting && !self.is_paused[job.function])
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

    /// What STATUS_RES says of a job: known, running, and how much is done of a hundred.
    pub(crate) fn status(job: Option<&Job>) -> [Vec<u8>; 4] {
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

    pub(crate) fn assign(&mut self, worker: usize, number: u64, grab: Grab) {
        let peer = &mut self.peers[worker];
        peer.given.push(number);
        (peer.is_settled, peer.is_asleep) = (false, false);
        let now = self.now;
        let abilities = self.peers[worker].abilities.clone();
        let pools = self.peers[worker].limit;
        let job = self.job(number).expect("a candidate");
        let limit = abilities.iter().find(|it| it.0 == job.function);
        let limit = limit.map_or(0, |it| it.1);
        let limit = match (limit, pools) {
            (0, pools) => pools.unwrap_or(0),
            (own, pools) => pools.map_or(own, |pools| own.min(pools)),
        };
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

    pub(crate) fn no_job(&mut self, worker: usize) {
        self.peers[worker].is_asleep = false;
        self.say(worker, Kind::NoJob, &[]);
        self.settle(worker);
    }

    pub(crate) fn settle(&mut self, worker: usize) {
        self.peers[worker].is_settled = true;
        self.tell_if_parked(worker);
    }

    pub(crate) fn tell_if_parked(&mut self, worker: usize) {
        let holds = self.held(worker).next().is_some();
        let peer = &mut self.peers[worker];
        if peer.is_quiesced && peer.is_settled && !peer.is_told && !holds {
            peer.is_told = true;
            self.parked.push(worker);
        }
    }

    pub(crate) fn held(&self, worker: usize) -> impl Iterator<Item = &Job> {
        let is_held = move |job: &&Job| matches!(job.at, At::Worker(at, _) if at == worker);
        self.jobs.iter().filter(is_held)
    }

    pub(crate) fn job(&mut self, number: u64) -> Option<&mut Job> {
        self.jobs.iter_mut().find(|job| job.number == number)
    }

    /// Takes the job that the worker has ended; an ERROR if it does not have it.
    pub(crate) fn end(&mut self, worker: usize, number: u64) -> Option<Job> {
        let at = self.jobs.iter().position(|job| {
            job.number == number && matches!(job.at, At::Worker(at, _) if at == worker)
        })?;
        self.peers[worker].is_settled = false;
        self.remove(at)
    }

    pub(crate) fn remove(&mut self, at: usize) -> Option<Job> {
        let job = self.jobs.remove(at)?;
        self.waiting_foreground -= job.clients.len() as u64;
        Some(job)
    }

    pub(crate) fn tell_end(&mut self, job: &Job, kind: Kind, data: Option<&[u8]>) {
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
    pub(crate) fn give_back(&mut self, number: u64, counts: bool) {
        let at = self.jobs.iter().position(|job| job.number == number);
        let at = at.expect("a job that a worker had");
        let attempts = match (self.limits.retries, self.jobs[at].function) {
            (0, 0) => self.limits.policy.attempts,
            (retries, _) => retries,
        };
        let job = &mut self.jobs[at];
        job.is_overdue = false;
        job.lost += u32::from(counts);
        if job.clients.is_empty() && !job.background {
            self.remove(at);
        } else if counts && attempts > 0 && job.lost >= attempts {
            let job = self.remove(at).expect("it is there");
            self.tell_end(&job, Kind::WorkFail, None);
            self.failed.push(job);
        } else {
            let mut job = self.jobs.remove(at).expect("it is there");
            job.at = At::Waiting;
            self.jobs.push_front(job);
        }
    }

    /// What becomes of a job that a worker has failed at, and that is in the queue no longer.
    pub(crate) fn has_failed(&mut self, mut job: Job) {
        let Policy { retries, delay, .. } = self.limits.policy;
        if job.function != 0 || retries == 0 || !job.background {
            return;
        }
        job.clients.clear();
        job.failed += 1;
        job.progress = 0;
        job.is_overdue = false;
        if job.failed > retries {
            return self.failed.push(job);
        }
        job.at = match delay * 2u32.pow(job.failed - 1) {
            Duration::ZERO => At::Waiting,
            wait => At::Later(self.now + wait),
        };
        self.jobs.push_back(job);
    }

    /// The operator has a job that is set aside done again. Returns whether it is.
    pub(crate) fn retry(&mut self, at: usize) -> bool {
        let old = &self.failed[at];
        let same = sameness(&old.unique, &old.workload);
        let is_same = |job: &Job| {
            !old.unique.is_empty()
                && !job.unique.is_empty()
                && job.function == old.function
                && sameness(&job.unique, &job.workload) == same
        };
        self.is_named[old.function] = true;
        let bytes = old.unique.len() + old.reducer.map_or(0, str::len) + old.workload.len();
        let has_no_room = self.refusal(old.function, old.priority, bytes).is_some();
        if self.jobs.iter().any(is_same) || has_no_room {
            return false;
        }
        let mut job = self.failed.remove(at);
        (job.lost, job.failed, job.progress) = (0, 0, 0);
        (job.background, job.at) = (true, At::Waiting);
        job.clients.clear();
        self.jobs.push_back(job);
        true
    }

    pub(crate) fn close(&mut self, who: usize) {
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
            let is_drained = self.peers[who].is_quiesced;
            if let Some(job) = self.job(*number).filter(|job| job.at != At::Waiting) {
                let counts = job.is_overdue || !is_drained;
                self.give_back(*number, counts);
            }
        }
        self.peers[who] = Conn::default();
    }

    pub(crate) fn pass(&mut self, jump: Duration) {
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
            let peer = &mut self.peers[worker];
            if peer.limit.is_some() {
                // its process is killed first
                if !peer.is_quiesced {
                    (peer.is_quiesced, peer.is_told) = (true, false);
                }
                self.overdue.push(worker);
                let job = self.job(number).expect("it is late");
                (job.at, job.is_overdue) = (At::Worker(worker, None), true);
                continue;
            }
            peer.is_settled = false;
            self.give_back(number, true);
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
    pub(crate) fn has_work(&self, worker: usize) -> bool {
        !self.candidates(worker).is_empty()
    }
}

/// The handle of a job.
pub(crate) fn handle(number: u64) -> Vec<u8> {
    format!("H:test:{number}").into_bytes()
}
