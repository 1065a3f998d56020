//! Every order of events around sleep and wake-up, tried against the real job server.
//!
//! Workers of `f` and `g` ask, work, go to sleep and are called; packets are in flight in both directions; functions are registered
//! and taken back; workers crash and come again, are quiesced, served again, refused, held back and let in; a NOOP comes late, or is
//! never read. What must never happen is [`Harm`]: a job waits, a worker that could take it sleeps, and nobody will ever call it.
//! Each state is also asked whether all jobs get done once nothing goes wrong any more.
//!
//! That the search would find it is shown by servers that look less often: what the real one says after some kind of event is
//! withheld ([`Weakness`]).
//!
//! `GEARPOOL_WAKE_MODEL=long` allows more of everything at once; use `--release`.

#[path = "wake_model/calls.rs"]
mod calls;
#[path = "support/packets.rs"]
mod packets;
#[path = "support/search.rs"]
mod search;
#[path = "wake_model/weak.rs"]
mod weak;

use std::collections::VecDeque;
use std::time::Duration;

use gearpool::jobs::{ConnId, JobServer, Newcomers, Options, Peer};
use gearpool::proto::{Grab, Kind, Priority, Request};
use gearpool::time::Time;
use packets::{answers, background, tell};
use search::search;

const FUNCTIONS: [&str; 2] = ["f", "g"];
const PRIORITIES: [Priority; 3] = [Priority::Normal, Priority::High, Priority::Low];

/// What must never happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    /// A job waits, a worker that could take it sleeps and was not called, and no timer will call it.
    Stranded,
    /// The same, and a timer will: nobody hangs, so there was nothing to wait for.
    Delayed,
    /// A submission has called more workers than it may.
    CalledTooMany,
    /// A submission has called another than the one that was parked last.
    CalledTheWrongOne,
    /// A NOOP for a worker that may not have a job.
    CalledForNothing,
    /// Nothing goes wrong any more, and a job is not done.
    NeverDone,
}

/// After what the server does not look whether somebody has to be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weakness {
    None,
    /// A job that the worker was called for is left to whoever comes when it takes another.
    Grab,
    /// The classic one: a job that came while PRE_SLEEP was on its way.
    Sleep,
    Death,
    Quiesce,
    Unquiesce,
    CantDo,
    CanDo,
    Admit,
    /// A worker that was called is counted on for ever.
    NoTimer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Doing {
    /// About to ask.
    Asking,
    /// Has asked, and waits for the answer.
    Waiting,
    Running,
    Asleep,
    Dead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Up {
    CanDo(usize),
    CantDo(usize),
    Grab,
    Sleep,
    Complete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Down {
    Noop,
    NoJob,
    Assign,
    Refused,
}

/// Whether the server may give it jobs, as its owner has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Service {
    Held,
    Open,
    Quiesced,
    Refused,
}

#[derive(Clone)]
struct Worker {
    conn: ConnId,
    doing: Doing,
    /// Does nothing more: was called and never reads it, or never asks.
    is_hung: bool,
    service: Service,
    /// What the server knows that it can do.
    able: [bool; 2],
    /// The order in which workers went to sleep.
    parked: u32,
    handles: VecDeque<Vec<u8>>,
    up: VecDeque<Up>,
    down: VecDeque<Down>,
}

impl Worker {
    /// It sleeps for good, unless it is called.
    fn is_left(&self) -> bool {
        self.doing == Doing::Asleep
            && self.service == Service::Open
            && !self.down.contains(&Down::Noop)
            && !self.up.contains(&Up::Grab)
            && !self.up.contains(&Up::Sleep)
    }

    /// It will ask for a job, or go to sleep and be looked at then.
    fn is_coming(&self) -> bool {
        let waits_for_job = self.doing == Doing::Waiting && self.down.contains(&Down::Assign);
        let is_awake = matches!(self.doing, Doing::Asking | Doing::Waiting) && !waits_for_job;
        self.service == Service::Open
            && !self.is_hung
            && (is_awake || self.doing == Doing::Asleep && !self.is_left())
    }
}

/// How often each thing may happen, and who there is.
#[derive(Clone, Copy)]
struct Setting {
    /// What each worker can do.
    workers: &'static [[bool; 2]],
    /// How many jobs of each function.
    jobs: [u32; 2],
    /// Whether they come with any priority, or with the normal one.
    any_priority: bool,
    /// Whether a worker may go to sleep without having asked, as some do at first.
    naps: bool,
    /// CAN_DO or CANT_DO by a worker that runs.
    changes: u32,
    crashes: u32,
    /// A worker that crashed connects again.
    comebacks: u32,
    /// Quiesce, refuse, and serve again.
    orders: u32,
    /// A NOOP is late.
    delays: u32,
    hangs: u32,
    newcomers: Newcomers,
    wakeup: u32,
    weakness: Weakness,
}

const BOTH: [bool; 2] = [true, true];
const ONLY_F: [bool; 2] = [true, false];
const ONLY_G: [bool; 2] = [false, true];

const SETTING: Setting = Setting {
    workers: &[BOTH, ONLY_F],
    jobs: [1, 1],
    any_priority: false,
    naps: false,
    changes: 0,
    crashes: 0,
    comebacks: 0,
    orders: 0,
    delays: 0,
    hangs: 0,
    newcomers: Newcomers::Served,
    wakeup: 1,
    weakness: Weakness::None,
};

/// [`SETTING`] with something changed.
fn setting(change: impl FnOnce(&mut Setting)) -> Setting {
    let mut setting = SETTING;
    change(&mut setting);
    setting
}

#[derive(Clone)]
struct State {
    server: JobServer,
    now: Time,
    client: ConnId,
    workers: Vec<Worker>,
    left: Setting,
    submitted: u64,
    parked: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Submit(usize, Priority),
    /// The worker's own next step.
    Works(usize),
    /// It goes to sleep without having asked.
    Naps(usize),
    /// The worker reads the next packet.
    Hears(usize),
    /// The server reads the worker's next packet.
    Serves(usize),
    CanDo(usize, usize),
    CantDo(usize, usize),
    Crashes(usize),
    ComesBack(usize),
    Quiesce(usize),
    Refuse(usize),
    Unquiesce(usize),
    Admit(usize),
    /// The oldest NOOP that somebody counts on is late.
    Delay,
    Hangs(usize),
}

impl State {
    fn start(setting: Setting) -> State {
        let mut server = JobServer::new(Options {
            newcomers: setting.newcomers,
            wakeup: setting.wakeup,
            ..Options::default()
        });
        let client = server.connect(Time::ZERO, Peer::default());
        let mut state = State {
            server,
            now: Time::ZERO,
            client,
            workers: Vec::new(),
            left: setting,
            submitted: 0,
            parked: 0,
        };
        for at in 0..setting.workers.len() {
            let worker = state.connect(at);
            state.workers.push(worker);
        }
        for at in 0..setting.workers.len() {
            state.serve_all(at);
        }
        state.server.outbox().clear();
        state
    }

    fn connect(&mut self, at: usize) -> Worker {
        let functions = self.left.workers[at];
        Worker {
            conn: self.server.connect(self.now, Peer::default()),
            doing: Doing::Asking,
            is_hung: false,
            service: match self.left.newcomers {
                Newcomers::Held => Service::Held,
                Newcomers::Served => Service::Open,
            },
            able: [false; 2],
            parked: 0,
            handles: VecDeque::new(),
            up: (0..2).filter(|&f| functions[f]).map(Up::CanDo).collect(),
            down: VecDeque::new(),
        }
    }

    fn serve_all(&mut self, at: usize) {
        while !self.workers[at].up.is_empty() {
            self.serve(at);
        }
    }

    fn serve(&mut self, at: usize) {
        let worker = &mut self.workers[at];
        let packet = worker.up.pop_front().expect("a packet");
        let handle = match packet {
            Up::Complete => worker.handles.pop_front().expect("a job"),
            _ => Vec::new(),
        };
        let request = match packet {
            Up::CanDo(f) => {
                worker.able[f] = true;
                Request::CanDo {
                    function: FUNCTIONS[f].as_bytes(),
                }
            }
            Up::CantDo(f) => {
                worker.able[f] = false;
                Request::CantDo {
                    function: FUNCTIONS[f].as_bytes(),
                }
            }
            Up::Grab => Request::GrabJob(Grab::Plain),
            Up::Sleep => {
                self.parked += 1;
                worker.parked = self.parked;
                Request::PreSleep
            }
            Up::Complete => Request::WorkComplete {
                handle: &handle,
                data: b"",
            },
        };
        let conn = worker.conn;
        self.tell(conn, &request);
    }

    fn tell(&mut self, conn: ConnId, request: &Request<'_>) {
        tell(&mut self.server, self.now, conn, request);
    }

    /// Puts what the server says on its way, without the NOOPs that a weak server would not have said. Returns whom it has called.
    fn carry_out(&mut self, is_withheld: bool) -> Vec<usize> {
        self.server.assert_invariants();
        let mut called = Vec::new();
        let out = self.server.outbox();
        for (conn, bytes) in out.sends() {
            let at = self.workers.iter().position(|it| it.conn == conn);
            let Some(at) = at.filter(|&at| self.workers[at].doing != Doing::Dead) else {
                continue;
            };
            let worker = &mut self.workers[at];
            for (kind, first) in answers(bytes) {
                let packet = match kind {
                    Kind::Noop if is_withheld => continue,
                    Kind::Noop => {
                        called.push(at);
                        Down::Noop
                    }
                    Kind::NoJob => Down::NoJob,
                    Kind::JobAssign => {
                        worker.handles.push_back(first.to_vec());
                        Down::Assign
                    }
                    Kind::Error => Down::Refused,
                    other => unreachable!("{other:?} is no answer to a worker that does no wrong"),
                };
                worker.down.push_back(packet);
            }
        }
        out.clear();
        called
    }

    /// Goes on with the oldest ticket that is out, until the server has something to say or nothing is due any more.
    fn pass(&mut self) {
        let before = self.server.shape();
        while let Some(due) = self.server.next_deadline() {
            self.now = self.now.max(due);
            self.server.tick(self.now);
            if self.server.shape() != before {
                return;
            }
        }
    }

    fn is_weak(&self, event: Event) -> bool {
        let weakness = match event {
            Event::Serves(at) => match self.workers[at].up.front() {
                Some(Up::Grab) => Weakness::Grab,
                Some(Up::Sleep) => Weakness::Sleep,
                Some(Up::CanDo(_)) => Weakness::CanDo,
                Some(Up::CantDo(_)) => Weakness::CantDo,
                Some(Up::Complete) | None => return false,
            },
            Event::Crashes(_) => Weakness::Death,
            Event::Quiesce(_) => Weakness::Quiesce,
            Event::Unquiesce(_) => Weakness::Unquiesce,
            Event::Admit(_) => Weakness::Admit,
            _ => return false,
        };
        weakness == self.left.weakness
    }

    /// The functions of which jobs wait, and a worker sleeps that could take one, and too few are on their way.
    fn is_short_of_workers(&self) -> bool {
        let loads = self.server.function_loads(self.now);
        loads.iter().any(|load| {
            let f = FUNCTIONS.iter().position(|&name| name == load.name);
            let f = f.expect("one of ours");
            let can = || self.workers.iter().filter(|it| it.able[f]);
            let waiting = load.queued.iter().sum::<u64>();
            can().any(Worker::is_left) && waiting > can().filter(|it| it.is_coming()).count() as u64
        })
    }

    /// As it is when all timers have run out and their calls are on the way.
    fn after_all_timers(&self) -> State {
        let mut after = self.clone();
        if self.left.weakness != Weakness::NoTimer {
            while let Some(due) = after.server.next_deadline() {
                after.now = after.now.max(due);
                after.server.tick(after.now);
                after.carry_out(false);
            }
        }
        after
    }

    /// Nothing goes wrong any more: what hangs goes on, who was held back or quiesced is served, who died comes back. Everybody takes
    /// turns, and a timer runs out only when nobody has anything to do.
    fn gets_everything_done(&self) -> bool {
        let mut state = self.clone();
        for at in 0..state.workers.len() {
            let worker = &mut state.workers[at];
            worker.is_hung = false;
            if worker.doing == Doing::Dead {
                state.workers[at] = state.connect(at);
            }
            let conn = state.workers[at].conn;
            match state.workers[at].service {
                Service::Open => {}
                Service::Held => state.server.admit(state.now, conn),
                Service::Quiesced | Service::Refused => state.server.unquiesce(state.now, conn),
            }
            state.workers[at].service = Service::Open;
            for (f, can) in state.left.workers[at].into_iter().enumerate() {
                if can {
                    state.workers[at].up.push_back(Up::CanDo(f));
                }
            }
            state.carry_out(false);
        }
        for _ in 0..200 {
            let mut is_idle = true;
            for at in 0..state.workers.len() {
                for event in [Event::Serves(at), Event::Hears(at), Event::Works(at)] {
                    if state.can_happen(event) {
                        state.step(event);
                        state.carry_out(false);
                        is_idle = false;
                    }
                }
            }
            if is_idle && state.server.next_deadline().is_none() {
                break;
            }
            if is_idle {
                state.pass();
                state.carry_out(false);
            }
        }
        let loads = state.server.function_loads(state.now);
        let done: u64 = loads.iter().map(|load| load.completed).sum();
        done == state.submitted
    }

    /// Whether a worker's, or the network's, next step is there to be done.
    fn can_happen(&self, event: Event) -> bool {
        match event {
            Event::Works(at) => {
                let worker = &self.workers[at];
                matches!(worker.doing, Doing::Asking | Doing::Running) && !worker.is_hung
            }
            Event::Hears(at) => {
                let worker = &self.workers[at];
                let listens = matches!(worker.doing, Doing::Waiting | Doing::Asleep);
                listens && !worker.is_hung && !worker.down.is_empty()
            }
            Event::Serves(at) => !self.workers[at].up.is_empty(),
            other => unreachable!("{other:?} is not a step of its own"),
        }
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Submit(f, priority) => {
                self.left.jobs[f] -= 1;
                self.submitted += 1;
                self.tell(self.client, &background(priority, FUNCTIONS[f]));
            }
            Event::Works(at) => {
                let worker = &mut self.workers[at];
                let (packet, doing) = match worker.doing {
                    Doing::Asking => (Up::Grab, Doing::Waiting),
                    Doing::Running => (Up::Complete, Doing::Asking),
                    other => unreachable!("{other:?} does nothing by itself"),
                };
                worker.up.push_back(packet);
                worker.doing = doing;
            }
            Event::Naps(at) => {
                self.workers[at].up.push_back(Up::Sleep);
                self.workers[at].doing = Doing::Asleep;
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
                    // it does not mind; one that ends here is one that crashes
                    (Down::Refused, _) => Doing::Asking,
                };
            }
            Event::Serves(at) => self.serve(at),
            Event::CanDo(at, f) => {
                self.left.changes -= 1;
                self.workers[at].up.push_back(Up::CanDo(f));
            }
            Event::CantDo(at, f) => {
                self.left.changes -= 1;
                self.workers[at].up.push_back(Up::CantDo(f));
            }
            Event::Crashes(at) => {
                self.left.crashes -= 1;
                let worker = &mut self.workers[at];
                worker.doing = Doing::Dead;
                worker.is_hung = false;
                worker.able = [false; 2];
                worker.up.clear();
                worker.down.clear();
                worker.handles.clear();
                self.server.disconnect(self.now, worker.conn);
            }
            Event::ComesBack(at) => {
                self.left.comebacks -= 1;
                self.workers[at] = self.connect(at);
            }
            Event::Quiesce(at) | Event::Refuse(at) => {
                self.left.orders -= 1;
                let worker = &mut self.workers[at];
                match event {
                    Event::Quiesce(_) => {
                        worker.service = Service::Quiesced;
                        self.server.quiesce(self.now, worker.conn);
                    }
                    _ => {
                        worker.service = Service::Refused;
                        self.server.refuse(self.now, worker.conn);
                    }
                }
            }
            Event::Unquiesce(at) => {
                let worker = &mut self.workers[at];
                worker.service = Service::Open;
                self.server.unquiesce(self.now, worker.conn);
            }
            Event::Admit(at) => {
                // it goes to sleep only now, as the server sees it
                self.parked += 1;
                let worker = &mut self.workers[at];
                worker.service = Service::Open;
                worker.parked = self.parked;
                self.server.admit(self.now, worker.conn);
            }
            Event::Delay => {
                self.left.delays -= 1;
                self.pass();
            }
            Event::Hangs(at) => {
                self.left.hangs -= 1;
                self.workers[at].is_hung = true;
            }
        }
    }

    /// What a submission has called, against those who slept: the ones that were parked last, and no more than are wanted.
    fn judge_calls(&self, f: usize, before: &[Worker], called: &[usize]) -> Option<Harm> {
        if called.len() > self.left.wakeup as usize {
            return Some(Harm::CalledTooMany);
        }
        // one that was refused and is served again may have an unread NOOP and be called a second time
        let is_passed_over = |at: usize| {
            let it = &before[at];
            let is_later = |&other: &usize| it.parked > before[other].parked;
            it.able[f] && it.is_left() && !called.contains(&at) && called.iter().any(is_later)
        };
        (0..before.len())
            .any(is_passed_over)
            .then_some(Harm::CalledTheWrongOne)
    }
}

impl search::World for State {
    type Event = Event;
    type Harm = Harm;

    fn events(&self) -> Vec<Event> {
        let left = &self.left;
        let mut events = Vec::new();
        for f in (0..2).filter(|&f| left.jobs[f] > 0) {
            for &priority in &PRIORITIES[..if left.any_priority { 3 } else { 1 }] {
                events.push(Event::Submit(f, priority));
            }
        }
        for (at, worker) in self.workers.iter().enumerate() {
            if worker.doing == Doing::Dead {
                if left.comebacks > 0 {
                    events.push(Event::ComesBack(at));
                }
                continue;
            }
            for event in [Event::Works(at), Event::Hears(at), Event::Serves(at)] {
                if self.can_happen(event) {
                    events.push(event);
                }
            }
            if left.naps && worker.doing == Doing::Asking && !worker.is_hung {
                events.push(Event::Naps(at));
            }
            if left.changes > 0 && worker.up.is_empty() && !worker.is_hung {
                events.extend((0..2).map(|f| match worker.able[f] {
                    true => Event::CantDo(at, f),
                    false => Event::CanDo(at, f),
                }));
            }
            if left.crashes > 0 {
                events.push(Event::Crashes(at));
            }
            match worker.service {
                Service::Held => {
                    events.push(Event::Admit(at));
                    if left.orders > 0 {
                        events.extend([Event::Quiesce(at), Event::Refuse(at)]);
                    }
                }
                Service::Open if left.orders > 0 => {
                    events.extend([Event::Quiesce(at), Event::Refuse(at)]);
                }
                Service::Open => {}
                Service::Quiesced | Service::Refused => events.push(Event::Unquiesce(at)),
            }
            let is_called = worker.doing == Doing::Asleep && worker.down.contains(&Down::Noop);
            if left.hangs > 0 && !worker.is_hung && (is_called || worker.doing == Doing::Asking) {
                events.push(Event::Hangs(at));
            }
        }
        let has_timer = left.weakness != Weakness::NoTimer;
        if has_timer && left.delays > 0 && self.server.next_deadline().is_some() {
            events.push(Event::Delay);
        }
        events
    }

    fn happen(&mut self, event: Event) -> Option<Harm> {
        let is_withheld = self.is_weak(event);
        // no two NOOPs are sent in the same moment, so that one may be late before the other
        self.now = self.now + Duration::from_micros(1);
        let before = self.workers.clone();
        self.step(event);
        let called = self.carry_out(is_withheld);
        // one that is refused is called so that it asks and hears of it
        let may_be = |service| matches!(service, Service::Open | Service::Refused);
        let is_for_nothing = |&at: &usize| !may_be(self.workers[at].service);
        if called.iter().any(is_for_nothing) {
            return Some(Harm::CalledForNothing);
        }
        if let Event::Submit(f, _) = event
            && let Some(harm) = self.judge_calls(f, &before, &called)
        {
            return Some(harm);
        }
        None
    }

    fn harm(&self, _: &[Event]) -> Option<Harm> {
        if self.after_all_timers().is_short_of_workers() {
            return Some(Harm::Stranded);
        }
        let hangs = self.workers.iter().any(|it| it.is_hung);
        if !hangs && self.is_short_of_workers() {
            return Some(Harm::Delayed);
        }
        (!self.gets_everything_done()).then_some(Harm::NeverDone)
    }

    fn key(&self) -> impl std::hash::Hash + Eq + use<> {
        let worker = |it: &Worker| {
            let queues = (it.up.clone(), it.down.clone());
            (it.doing, it.is_hung, it.service, it.able, queues)
        };
        let left = &self.left;
        let budget = [
            left.changes,
            left.crashes,
            left.comebacks,
            left.orders,
            left.delays,
            left.hangs,
        ];
        let workers: Vec<_> = self.workers.iter().map(worker).collect();
        (self.server.shape(), workers, left.jobs, budget)
    }
}

/// With `GEARPOOL_WAKE_MODEL=long` there is a job more, and more of what else may happen.
fn assert_harmless(mut setting: Setting, more: impl FnOnce(&mut Setting)) {
    if std::env::var("GEARPOOL_WAKE_MODEL").is_ok_and(|it| it == "long") {
        setting.jobs = [2, 1];
        more(&mut setting);
    }
    let found = search(State::start(setting));
    println!("{} states", found.states);
    assert!(
        found.harm.is_some() || found.states > 1000,
        "{} states are not every order of events",
        found.states
    );
    assert_eq!(found.harm, None);
}

#[test]
fn nobody_is_left_asleep() {
    let setting = setting(|it| it.jobs = [2, 1]);
    assert_harmless(setting, |it| it.workers = &[BOTH, ONLY_F, ONLY_G]);
}

#[test]
fn whatever_the_priority() {
    assert_harmless(setting(|it| it.any_priority = true), |_| {});
}

#[test]
fn nor_when_functions_come_and_go() {
    assert_harmless(setting(|it| it.changes = 1), |it| it.changes = 2);
}

#[test]
fn nor_when_a_worker_dies_and_comes_again() {
    let setting = setting(|it| (it.crashes, it.comebacks) = (1, 1));
    assert_harmless(setting, |_| {});
}

#[test]
fn nor_when_a_worker_is_quiesced_or_refused_and_served_again() {
    assert_harmless(setting(|it| it.orders = 1), |it| it.orders = 2);
}

#[test]
fn nor_when_a_worker_that_was_called_hangs() {
    let setting = setting(|it| (it.delays, it.hangs) = (1, 1));
    assert_harmless(setting, |it| it.delays = 2);
}

#[test]
fn nor_when_newcomers_are_held_back() {
    let setting = setting(|it| (it.naps, it.newcomers) = (true, Newcomers::Held));
    assert_harmless(setting, |it| it.orders = 1);
}

#[test]
fn nor_when_more_are_woken_than_there_are_jobs() {
    let workers = &[BOTH, ONLY_F, ONLY_F];
    let setting = setting(|it| (it.workers, it.wakeup) = (workers, 2));
    assert_harmless(setting, |_| {});
}
