//! Every order of events of a drain, tried against the real job server.
//!
//! Two workers, A of `f` and `g`, B of `f`; a client submits; packets are in flight in both directions; a worker has code to run
//! after its job; a worker is drained, the drain is undone, a worker crashes, a NOOP comes late. SIGTERM is sent when the owner of
//! the processes would, takes effect any time after, and ends the worker at once, which is the worst that it can do. What must
//! never happen is [`Harm`]. That the search would find it is shown by an owner that sends the signal too early.

#[path = "support/packets.rs"]
mod packets;
#[path = "support/search.rs"]
mod search;

use std::collections::VecDeque;
use std::time::Duration;

use gearpool::jobs::wake::TICKET;
use gearpool::jobs::{ConnId, JobServer, Notice, Options, Peer};
use gearpool::proto::{Grab, Kind, Priority, Request};
use gearpool::time::Time;
use packets::{answers, background, tell};
use search::search;

/// What a drain must never do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    /// The signal took effect while the worker had a job, or one was on its way.
    JobKilled,
    /// … between its answer and its next request: a commit, a log flush, a clean-up of its own was cut off.
    TailCut,
    /// Nothing is in flight, a job waits, and a worker that could take it sleeps for ever.
    Stranded,
    /// A job was given to a worker that was being drained.
    Disobeyed,
}

/// When the owner of the processes sends SIGTERM to a worker that is being drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    /// When the job server has said that it is parked.
    WaitsForParked,
    /// As soon as it has no job: too early.
    WaitsForNoJob,
    /// Without asking for a drain, when the worker has no job: what a supervisor outside of the job server can do at best.
    Outside,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Doing {
    /// About to ask.
    Asking,
    /// Has asked, and waits for the answer.
    Waiting,
    Running,
    /// Has sent its answer and has code of its own left.
    Tail,
    Asleep,
    Dead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Up {
    Grab,
    Sleep,
    Complete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Down {
    Noop,
    NoJob,
    Assign,
}

#[derive(Clone)]
struct Worker {
    conn: ConnId,
    functions: &'static [&'static str],
    doing: Doing,
    /// The handle of the job that it runs, or that it is to run.
    handles: VecDeque<Vec<u8>>,
    up: VecDeque<Up>,
    down: VecDeque<Down>,
    is_draining: bool,
    is_parked: bool,
    is_signalled: bool,
}

#[derive(Clone)]
struct State {
    server: JobServer,
    now: Time,
    client: ConnId,
    workers: [Worker; 2],
    submits: [(&'static str, u32); 2],
    drains: u32,
    undrains: u32,
    crashes: u32,
    delays: u32,
    owner: Owner,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Submit(usize),
    /// The worker's own next step.
    Works(usize),
    /// The worker reads the next packet.
    Hears(usize),
    /// The server reads the worker's next packet.
    Serves(usize),
    Drain(usize),
    Undrain(usize),
    Signal(usize),
    Dies(usize),
    Crashes(usize),
    /// Every NOOP that is out is late.
    Delay,
}

impl Event {
    /// Whether it happens by itself, sooner or later. The others may never come.
    fn is_inevitable(self) -> bool {
        matches!(
            self,
            Event::Works(_) | Event::Hears(_) | Event::Serves(_) | Event::Dies(_)
        )
    }
}

impl State {
    fn start(budget: Budget, owner: Owner) -> State {
        let mut server = JobServer::new(Options::default());
        let now = Time::ZERO;
        let workers = [&["f", "g"][..], &["f"][..]].map(|functions| {
            let conn = server.connect(now, Peer::default());
            for function in functions {
                let function = function.as_bytes();
                tell(&mut server, now, conn, &Request::CanDo { function });
            }
            Worker {
                conn,
                functions,
                doing: Doing::Asking,
                handles: VecDeque::new(),
                up: VecDeque::new(),
                down: VecDeque::new(),
                is_draining: false,
                is_parked: false,
                is_signalled: false,
            }
        });
        let client = server.connect(now, Peer::default());
        server.outbox().clear();
        State {
            server,
            now,
            client,
            workers,
            submits: [("f", budget.f), ("g", budget.g)],
            drains: budget.drains,
            undrains: budget.undrains,
            crashes: budget.crashes,
            delays: budget.delays,
            owner,
        }
    }

    fn has_no_job(&self, at: usize) -> bool {
        let load = self.server.worker_load(self.workers[at].conn);
        load.is_some_and(|load| load.jobs.is_empty())
    }

    fn serve(&mut self, at: usize) {
        let worker = &mut self.workers[at];
        let packet = worker.up.pop_front().expect("a packet");
        let handle = match packet {
            Up::Complete => worker.handles.pop_front().expect("a job"),
            Up::Grab | Up::Sleep => Vec::new(),
        };
        let request = match packet {
            Up::Grab => Request::GrabJob(Grab::Plain),
            Up::Sleep => Request::PreSleep,
            Up::Complete => Request::WorkComplete {
                handle: &handle,
                data: b"",
            },
        };
        tell(&mut self.server, self.now, worker.conn, &request);
    }

    /// A worker is gone, with all that was on its way.
    fn bury(&mut self, at: usize) {
        let worker = &mut self.workers[at];
        worker.doing = Doing::Dead;
        worker.up.clear();
        worker.down.clear();
        worker.handles.clear();
        (worker.is_draining, worker.is_parked) = (false, false);
        worker.is_signalled = false;
        self.server.disconnect(self.now, worker.conn);
    }

    /// Puts what the server says on its way.
    fn carry_out(&mut self) -> Option<Harm> {
        self.server.assert_invariants();
        let mut harm = None;
        let out = self.server.outbox();
        for (conn, bytes) in out.sends() {
            let Some(worker) = self.workers.iter_mut().find(|worker| worker.conn == conn) else {
                continue;
            };
            for (kind, first) in answers(bytes) {
                let packet = match kind {
                    Kind::Noop => Down::Noop,
                    Kind::NoJob => Down::NoJob,
                    Kind::JobAssign => {
                        worker.handles.push_back(first.to_vec());
                        if worker.is_draining {
                            harm = Some(Harm::Disobeyed);
                        }
                        Down::Assign
                    }
                    other => unreachable!("{other:?} is no answer to a worker that does no wrong"),
                };
                if worker.doing != Doing::Dead {
                    worker.down.push_back(packet);
                }
            }
        }
        for notice in out.notices() {
            if let Notice::Parked(conn) = notice
                && let Some(worker) = self.workers.iter_mut().find(|worker| worker.conn == *conn)
            {
                worker.is_parked = true;
            }
        }
        out.clear();
        harm
    }

    /// When nothing more happens by itself: is a job left although a worker could take it?
    fn is_stranded(&self) -> bool {
        let loads = self.server.function_loads(self.now);
        self.workers.iter().any(|worker| {
            let is_idle = worker.doing == Doing::Asleep && !worker.is_draining;
            let can = |name: &str| worker.functions.contains(&name);
            let waits = loads
                .iter()
                .any(|load| can(&load.name) && load.queued.iter().sum::<u64>() > 0);
            is_idle && !worker.is_signalled && waits
        })
    }
}

impl search::World for State {
    type Event = Event;
    type Harm = Harm;

    fn events(&self) -> Vec<Event> {
        let owner = self.owner;
        let mut events = Vec::new();
        for (at, &(_, left)) in self.submits.iter().enumerate() {
            if left > 0 {
                events.push(Event::Submit(at));
            }
        }
        for (at, worker) in self.workers.iter().enumerate() {
            if worker.doing == Doing::Dead {
                continue;
            }
            if matches!(worker.doing, Doing::Asking | Doing::Running | Doing::Tail) {
                events.push(Event::Works(at));
            }
            if matches!(worker.doing, Doing::Waiting | Doing::Asleep) && !worker.down.is_empty() {
                events.push(Event::Hears(at));
            }
            if !worker.up.is_empty() {
                events.push(Event::Serves(at));
            }
            if !worker.is_draining && !worker.is_signalled && self.drains > 0 {
                events.push(match owner {
                    Owner::Outside => Event::Signal(at),
                    Owner::WaitsForParked | Owner::WaitsForNoJob => Event::Drain(at),
                });
            }
            if worker.is_draining && !worker.is_signalled {
                let may = match owner {
                    Owner::WaitsForParked => worker.is_parked,
                    Owner::WaitsForNoJob => self.has_no_job(at),
                    Owner::Outside => false,
                };
                if may {
                    events.push(Event::Signal(at));
                }
                if self.undrains > 0 {
                    events.push(Event::Undrain(at));
                }
            }
            if worker.is_signalled {
                events.push(Event::Dies(at));
            }
            if self.crashes > 0 {
                events.push(Event::Crashes(at));
            }
        }
        if self.delays > 0 && self.server.next_deadline().is_some() {
            events.push(Event::Delay);
        }
        if owner == Owner::Outside {
            events.retain(|event| !matches!(event, Event::Signal(at) if !self.has_no_job(*at)));
        }
        events
    }

    fn happen(&mut self, event: Event) -> Option<Harm> {
        match event {
            Event::Submit(at) => {
                let (function, left) = &mut self.submits[at];
                *left -= 1;
                let job = background(Priority::Normal, function);
                tell(&mut self.server, self.now, self.client, &job);
            }
            Event::Works(at) => {
                let worker = &mut self.workers[at];
                worker.doing = match worker.doing {
                    Doing::Asking => {
                        worker.up.push_back(Up::Grab);
                        Doing::Waiting
                    }
                    Doing::Running => {
                        worker.up.push_back(Up::Complete);
                        Doing::Tail
                    }
                    Doing::Tail => Doing::Asking,
                    other => unreachable!("{other:?} does nothing by itself"),
                };
            }
            Event::Hears(at) => {
                let worker = &mut self.workers[at];
                let packet = worker.down.pop_front().expect("a packet");
                worker.doing = match (packet, worker.doing) {
                    (Down::Noop, Doing::Asleep) => Doing::Asking,
                    (Down::Noop, awake) => awake,
                    (Down::NoJob, _) => {
                        worker.up.push_back(Up::Sleep);
                        Doing::Asleep
                    }
                    (Down::Assign, _) => Doing::Running,
                };
            }
            Event::Serves(at) => self.serve(at),
            Event::Drain(at) => {
                self.drains -= 1;
                self.workers[at].is_draining = true;
                let conn = self.workers[at].conn;
                self.server.quiesce(self.now, conn);
            }
            Event::Undrain(at) => {
                self.undrains -= 1;
                let worker = &mut self.workers[at];
                (worker.is_draining, worker.is_parked) = (false, false);
                self.server.unquiesce(self.now, worker.conn);
            }
            Event::Signal(at) => {
                self.workers[at].is_signalled = true;
                if !self.workers[at].is_draining {
                    self.drains -= 1;
                }
            }
            Event::Dies(at) => {
                let worker = &self.workers[at];
                let harm = match worker.doing {
                    Doing::Running => Some(Harm::JobKilled),
                    _ if worker.down.contains(&Down::Assign) => Some(Harm::JobKilled),
                    Doing::Tail => Some(Harm::TailCut),
                    _ => None,
                };
                self.bury(at);
                return self.carry_out().or(harm);
            }
            Event::Crashes(at) => {
                self.crashes -= 1;
                self.bury(at);
            }
            Event::Delay => {
                self.delays -= 1;
                self.now = self.now + TICKET + Duration::from_millis(1);
                self.server.tick(self.now);
            }
        }
        self.carry_out()
    }

    /// Nothing more happens by itself, and a job is left although a worker could take it.
    fn harm(&self, next: &[Event]) -> Option<Harm> {
        let is_over = !next.iter().any(|event| event.is_inevitable());
        (is_over && self.is_stranded()).then_some(Harm::Stranded)
    }

    fn key(&self) -> impl std::hash::Hash + Eq + use<> {
        let worker = |worker: &Worker| {
            let flags = [worker.is_draining, worker.is_parked, worker.is_signalled];
            (worker.doing, worker.up.clone(), worker.down.clone(), flags)
        };
        (
            self.server.shape(),
            self.workers.each_ref().map(worker),
            self.submits.map(|(_, left)| left),
            [self.drains, self.undrains, self.crashes, self.delays],
        )
    }
}

/// How often each thing may happen.
#[derive(Clone, Copy)]
struct Budget {
    f: u32,
    g: u32,
    drains: u32,
    undrains: u32,
    crashes: u32,
    delays: u32,
}

const BUDGET: Budget = Budget {
    f: 2,
    g: 1,
    drains: 1,
    undrains: 1,
    crashes: 0,
    delays: 0,
};

fn assert_harmless(budget: Budget) {
    let found = search(State::start(budget, Owner::WaitsForParked));
    let states = found.states;
    println!("{states} states");
    assert!(
        states > 1000,
        "{states} states are not every order of events"
    );
    assert_eq!(found.harm, None);
}

#[test]
fn a_drain_cuts_nothing_off() {
    assert_harmless(BUDGET);
}

#[test]
fn nor_when_both_are_drained() {
    assert_harmless(Budget {
        f: 1,
        g: 1,
        drains: 2,
        ..BUDGET
    });
}

#[test]
fn nor_when_a_worker_crashes() {
    assert_harmless(Budget {
        f: 1,
        crashes: 1,
        ..BUDGET
    });
}

#[test]
fn nor_when_a_noop_is_late() {
    assert_harmless(Budget {
        f: 1,
        delays: 1,
        ..BUDGET
    });
}

#[test]
fn a_signal_once_there_is_no_job_cuts_the_tail_off() {
    let found = search(State::start(BUDGET, Owner::WaitsForNoJob));
    let (harm, way) = found.harm.expect("this owner is too early");
    assert_eq!(harm, Harm::TailCut, "after {way:?}");
}

#[test]
fn a_signal_from_outside_kills_a_job() {
    let found = search(State::start(BUDGET, Owner::Outside));
    let (harm, way) = found.harm.expect("this owner knows too little");
    assert_eq!(harm, Harm::JobKilled, "after {way:?}");
}
