//! The supervisor in a small world with a clock of its own: processes that start, register, work, crash, hang and ignore what they
//! are told, all from one seed.
//!
//! While faults last, what must never happen is checked at every step. Then they stop, and everything has to settle.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

use super::event::{
    Action, Caps, Event, ExitStatus, PoolLoad, ProcId, ProcLoad, Slot, Stop, Unfit,
};
use super::jitter::Jitter;
use super::supervisor::Supervisor;
use super::view::{PoolState, ProcessState};
use crate::config::{Command, Pool, Restart, Rush};
use crate::time::Time;

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// What happens in the world, some time after it was brought about.
#[derive(Clone, Debug)]
enum Happening {
    Tell(Event),
    /// The process connects and registers.
    Register(ProcId),
    Park(ProcId),
    JobEnds(ProcId),
    Exit(ProcId, ExitStatus),
    Jobs(&'static str, u64),
    Operator,
    Sample,
}

#[derive(Clone, Debug)]
struct Child {
    pool: Arc<Pool>,
    slot: Slot,
    alive: bool,
    registered: bool,
    busy_since: Option<Time>,
    idle_since: Time,
    jobs_done: u64,
    quiesced: bool,
    parks: bool,
    minds_signals: bool,
    minds_disconnects: bool,
}

struct World {
    sup: Supervisor,
    /// One that was read from what that one was.
    twin: Option<Supervisor>,
    random: Jitter,
    now: Time,
    line: BTreeMap<(Time, u64), Happening>,
    number: u64,
    children: BTreeMap<ProcId, Child>,
    ever: BTreeSet<ProcId>,
    queues: BTreeMap<&'static str, u64>,
    file: Vec<Arc<Pool>>,
    /// The pools that have passed a check, or have been there without one.
    passed: BTreeSet<String>,
    caps: Caps,
    faults: bool,
    stopping: Option<(Stop, Time)>,
    finished: bool,
    steps: u64,
}

impl World {
    fn new(seed: u64) -> World {
        let mut random = Jitter::new(seed);
        World {
            sup: Supervisor::new(random.next_u64()),
            twin: None,
            now: Time::ZERO,
            line: BTreeMap::new(),
            number: 0,
            children: BTreeMap::new(),
            ever: BTreeSet::new(),
            queues: BTreeMap::new(),
            file: Vec::new(),
            passed: BTreeSet::new(),
            caps: Caps::default(),
            faults: true,
            stopping: None,
            finished: false,
            steps: 0,
            random,
        }
    }

    fn below(&mut self, n: u64) -> u64 {
        self.random.next_u64() % n
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// True now and then, as long as faults last.
    fn fault(&mut self, percent: u64) -> bool {
        self.faults && self.percent(percent)
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }

    fn later(&mut self, after: Duration, happening: Happening) {
        self.number += 1;
        self.line.insert((self.now + after, self.number), happening);
    }

    /// An event on its way through the shell: nothing is told at the moment it happens.
    fn tell(&mut self, event: Event) {
        let after = self.millis(0, 3);
        self.later(after, Happening::Tell(event));
    }

    fn any_pool(&mut self, name: &str) -> Pool {
        let version = match self.fault(25) {
            true => "broken".to_owned(),
            false => format!("v{}", self.below(3)),
        };
        let mut pool = Pool::new(name, Command::Exec(vec![version]));
        pool.min = self.below(4) as u32;
        pool.max = pool.min.max(1) + self.below(5) as u32;
        pool.stop_timeout = self.millis(500, 4000);
        pool.start_timeout = self.millis(300, 2000);
        pool.scale.down_after = Some(self.millis(0, 8000));
        pool.max_jobs = self.percent(20).then_some(20);
        pool.max_lifetime = self.percent(20).then_some(Duration::from_secs(20));
        pool.check = self
            .percent(25)
            .then(|| Command::Exec(vec!["check".to_owned()]));
        if self.percent(20) {
            let min = self.below(4) as u32;
            pool.scale.schedule.push(Rush {
                cron: "*/2 * * * *".parse().unwrap(),
                lasts: Duration::from_secs(60),
                min: Some(min),
                max: Some(min.max(1) + self.below(3) as u32),
            });
        }
        pool.restart = match self.below(6) {
            0 => Restart::Never,
            1 => Restart::OnFailure,
            _ => Restart::Always,
        };
        pool
    }

    fn reload(&mut self) {
        let mut pools = Vec::new();
        for name in NAMES {
            if self.percent(15) {
                continue;
            }
            let old = self.file.iter().find(|pool| pool.name == name).cloned();
            let pool = match old {
                Some(old) if self.percent(40) => old,
                Some(old) if self.percent(50) => Arc::new(Pool {
                    command: old.command.clone(),
                    ..self.any_pool(name)
                }),
                _ => Arc::new(self.any_pool(name)),
            };
            pools.push(pool);
        }
        self.caps.max_processes = self.percent(30).then(|| 3 + self.below(12) as u32);
        self.file = pools;
        self.configured();
    }

    fn configured(&mut self) {
        self.handle(Event::Configured(self.file.clone(), self.caps));
        for pool in self.file.clone() {
            let pool = pool.as_ref();
            match pool.check {
                Some(_) => self.check(&pool.name),
                None => drop(self.passed.insert(pool.name.clone())),
            }
        }
    }

    /// The check of a pool passes or does not, some time later.
    fn check(&mut self, pool: &str) {
        let failure = self.fault(40).then(|| Unfit {
            text: "exit 1".to_owned(),
            lines: Vec::new(),
        });
        let after = self.millis(1, 5000);
        let pool = pool.to_owned();
        self.later(after, Happening::Tell(Event::Checked { pool, failure }));
    }

    fn operate(&mut self) {
        let pool = NAMES[self.below(4) as usize].to_owned();
        match self.below(8) {
            0 | 1 => self.reload(),
            6 => self.check(&pool),
            7 => {
                let second = self.below(600).cast_signed();
                let moment = Timestamp::from_second(second).unwrap();
                self.handle(Event::Clock(ZonedDateTime::new(moment, TimeZone::UTC)));
            }
            2 => {
                let min = self.below(5) as u32;
                let max = min + self.below(4) as u32;
                self.handle(Event::Scale { pool, min, max });
            }
            3 => {
                let slot = self.percent(50).then(|| Slot(1 + self.below(4) as u32));
                self.handle(Event::Restart { pool, slot });
            }
            4 => self.handle(Event::Stop { pool }),
            _ => self.handle(Event::Start { pool }),
        }
    }

    /// Gives waiting jobs to idle processes.
    fn assign(&mut self) {
        let idle: Vec<(ProcId, &'static str)> = self
            .children
            .iter()
            .filter(|(_, c)| c.alive && c.registered && c.busy_since.is_none() && !c.quiesced)
            .filter_map(|(&proc, c)| Some((proc, *NAMES.iter().find(|n| **n == c.pool.name)?)))
            .collect();
        for (proc, name) in idle {
            let queue = self.queues.entry(name).or_default();
            if *queue == 0 {
                continue;
            }
            *queue -= 1;
            self.children.get_mut(&proc).unwrap().busy_since = Some(self.now);
            let long = self.fault(5);
            let takes = match long {
                true => self.millis(1000, 15_000),
                false => self.millis(5, 800),
            };
            self.later(takes, Happening::JobEnds(proc));
        }
    }

    fn park_if_idle(&mut self, proc: ProcId) {
        let child = &self.children[&proc];
        if child.alive && child.quiesced && child.busy_since.is_none() && child.parks {
            let after = self.millis(0, 30);
            self.later(after, Happening::Park(proc));
        }
    }

    fn exit(&mut self, proc: ProcId, after: Duration, status: ExitStatus) {
        self.later(after, Happening::Exit(proc, status));
    }

    fn handle(&mut self, event: Event) {
        self.steps += 1;
        // one that was written and read decides the same from clock to clock, which is not written, and then takes this one's place
        if let Event::Clock(_) = event {
            if let Some(twin) = self.twin.take() {
                self.sup = twin;
            }
            if self.steps.is_multiple_of(3) {
                let state = rmp_serde::to_vec_named(&self.sup).unwrap();
                self.twin = Some(rmp_serde::from_slice(&state).unwrap());
            }
        }
        let said = self.twin.as_mut().map(|twin| {
            let actions = twin.handle(self.now, event.clone());
            (actions, twin.view(self.now))
        });
        let actions = self.sup.handle(self.now, event);
        if let Some((said, view)) = said {
            assert_eq!(format!("{said:?}"), format!("{actions:?}"));
            assert_eq!(view, self.sup.view(self.now));
        }
        for action in actions {
            self.carry_out(action);
        }
        if let Some(deadline) = self.sup.next_deadline() {
            assert!(
                deadline > self.now,
                "a deadline that has passed is still to come: {:#?}",
                self.sup
            );
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Spawn { proc, slot, pool } => self.spawn(proc, slot, pool),
            Action::Quiesce { proc } => {
                let child = self.children.get_mut(&proc).unwrap();
                child.quiesced = true;
                self.park_if_idle(proc);
            }
            Action::Unquiesce { proc } => {
                let child = self.children.get_mut(&proc).unwrap();
                assert!(child.quiesced);
                child.quiesced = false;
                self.assign();
            }
            Action::Signal { proc, .. } => {
                self.check_may_stop(proc);
                if self.children[&proc].minds_signals {
                    let after = self.millis(1, 200);
                    self.exit(proc, after, ExitStatus::Signal(15));
                }
            }
            Action::Disconnect { proc } => {
                self.check_may_stop(proc);
                if self.children[&proc].minds_disconnects {
                    let after = self.millis(1, 200);
                    self.exit(proc, after, ExitStatus::Code(0));
                }
            }
            Action::Kill { proc } => {
                self.check_may_stop(proc);
                let after = self.millis(1, 20);
                self.exit(proc, after, ExitStatus::Signal(9));
            }
            Action::Tell(_) | Action::GiveUp { .. } | Action::Renew { .. } => {}
            Action::Finished => {
                assert!(!self.finished, "finished twice");
                assert!(self.children.is_empty(), "finished with processes left");
                self.finished = true;
            }
        }
    }

    /// Invariant 5: no stopping signal for a process that holds a job, unless its deadline has passed.
    fn check_may_stop(&self, proc: ProcId) {
        let child = &self.children[&proc];
        if !child.alive || child.busy_since.is_none() {
            assert!(!child.alive || child.quiesced || self.stopping.is_some());
            return;
        }
        match self.stopping {
            Some((Stop::AtOnce, _)) => {}
            Some((Stop::Gracefully, since)) => assert!(
                self.now >= since + child.pool.stop_timeout.min(Duration::from_millis(500)),
                "{proc:?} is cut before its deadline"
            ),
            _ => panic!("{proc:?} is stopped while it has a job: {:#?}", self.sup),
        }
    }

    fn spawn(&mut self, proc: ProcId, slot: Slot, pool: Arc<Pool>) {
        assert!(self.ever.insert(proc), "{proc:?} is used twice");
        assert!(self.stopping.is_none(), "a start while shutting down");
        let siblings: Vec<&Child> = self
            .children
            .values()
            .filter(|c| c.pool.name == pool.name)
            .collect();
        assert!(
            siblings.iter().all(|c| c.slot != slot),
            "{slot:?} of {} is taken",
            pool.name
        );
        assert!(
            pool.check.is_none() || self.passed.contains(&pool.name),
            "{} starts before its check has passed",
            pool.name
        );
        let view = self.sup.view(self.now);
        let view = view.iter().find(|view| view.name == pool.name).unwrap();
        assert!(
            siblings.len() < view.max as usize + 1,
            "{} has {} of {}",
            pool.name,
            siblings.len(),
            view.max
        );
        if let Some(max) = self.caps.max_processes {
            assert!(self.children.len() < max as usize);
        }
        let broken = self.faults && pool.command == Command::Exec(vec!["broken".into()]);
        let child = Child {
            pool,
            slot,
            alive: true,
            registered: false,
            busy_since: None,
            idle_since: self.now,
            jobs_done: 0,
            quiesced: false,
            parks: !self.fault(15),
            minds_signals: !self.fault(20),
            minds_disconnects: !self.fault(50),
        };
        self.children.insert(proc, child);
        if self.fault(5) {
            let error = "no such file".to_owned();
            self.children.get_mut(&proc).unwrap().alive = false;
            return self.tell(Event::SpawnFailed { proc, error });
        }
        let pid = proc.0 as u32;
        self.tell(Event::Spawned { proc, pid });
        if broken || self.fault(8) {
            let after = self.millis(5, 200);
            let code = self.below(2) as i32;
            self.exit(proc, after, ExitStatus::Code(code));
        } else if !self.fault(8) {
            let after = self.millis(10, 250);
            self.later(after, Happening::Register(proc));
        }
        if self.fault(15) {
            let after = self.millis(50, 10_000);
            let code = self.below(2) as i32;
            self.exit(proc, after, ExitStatus::Code(code));
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Tell(event) => {
                match &event {
                    Event::Exited { proc, .. } | Event::SpawnFailed { proc, .. } => {
                        assert!(self.children.remove(proc).is_some());
                    }
                    // what the shell checks before it passes it on
                    Event::Checked {
                        pool,
                        failure: None,
                    } => drop(self.passed.insert(pool.clone())),
                    Event::Parked { proc } => {
                        let parked = |c: &Child| c.alive && c.quiesced && c.busy_since.is_none();
                        if !self.children.get(proc).is_some_and(parked) {
                            return;
                        }
                    }
                    _ => {}
                }
                self.handle(event);
            }
            Happening::Register(proc) => {
                if let Some(child) = self.children.get_mut(&proc).filter(|c| c.alive) {
                    child.registered = true;
                    child.idle_since = self.now;
                    self.tell(Event::Registered { proc });
                    self.assign();
                }
            }
            Happening::Park(proc) => self.tell(Event::Parked { proc }),
            Happening::JobEnds(proc) => {
                let now = self.now;
                if let Some(child) = self.children.get_mut(&proc).filter(|c| c.alive) {
                    child.busy_since = None;
                    child.idle_since = now;
                    child.jobs_done += 1;
                    if child.jobs_done == 1 {
                        self.tell(Event::Worked { proc });
                    }
                    self.park_if_idle(proc);
                    self.assign();
                }
            }
            Happening::Exit(proc, status) => {
                if let Some(child) = self.children.get_mut(&proc).filter(|c| c.alive) {
                    child.alive = false;
                    child.registered = false;
                    let last_lines = vec!["last words".to_owned()];
                    let after = self.millis(4, 8);
                    self.later(
                        after,
                        Happening::Tell(Event::Exited {
                            proc,
                            status,
                            last_lines,
                        }),
                    );
                }
            }
            Happening::Jobs(name, jobs) => {
                *self.queues.entry(name).or_default() += jobs;
                self.assign();
                self.sample();
            }
            Happening::Operator => self.operate(),
            Happening::Sample => {
                self.sample();
                let pause = if self.faults { 250 } else { 2000 };
                self.later(Duration::from_millis(pause), Happening::Sample);
            }
        }
    }

    fn sample(&mut self) {
        let mut loads = Vec::new();
        for name in NAMES {
            let processes: Vec<ProcLoad> = self
                .children
                .iter()
                .filter(|(_, c)| c.alive && c.registered && c.pool.name == name)
                .map(|(&proc, c)| ProcLoad {
                    proc,
                    busy_since: c.busy_since,
                    idle_since: c.idle_since,
                    jobs_done: c.jobs_done,
                })
                .collect();
            let completed = processes.iter().map(|p| p.jobs_done).sum();
            loads.push(PoolLoad {
                pool: name.to_owned(),
                queued: self.queues.get(name).copied().unwrap_or_default(),
                completed,
                busy_seconds: completed as f64 * 0.4,
                arrived: completed + self.queues.get(name).copied().unwrap_or_default(),
                processes,
                ..PoolLoad::default()
            });
        }
        self.handle(Event::Sampled(loads));
    }

    /// Lets things happen until `until`, or until nothing will any more.
    fn run(&mut self, until: Time) {
        loop {
            let next = self.line.keys().next().map(|&(at, _)| at);
            let deadline = self.sup.next_deadline();
            let Some(at) = [next, deadline].into_iter().flatten().min() else {
                return;
            };
            if at > until {
                self.now = until;
                return;
            }
            self.now = at;
            match self.line.first_entry() {
                Some(first) if first.key().0 <= at => {
                    let happening = first.remove();
                    self.happen(happening);
                }
                _ => self.handle(Event::Tick),
            }
            if self.finished {
                return;
            }
        }
    }

    fn check_settled(&self) {
        let views = self.sup.view(self.now);
        assert_eq!(
            views.iter().map(|v| v.name.as_str()).collect::<Vec<_>>(),
            self.file
                .iter()
                .map(|p| p.name.as_str())
                .collect::<Vec<_>>()
        );
        for (view, pool) in views.iter().zip(&self.file) {
            assert_eq!(view.state, PoolState::Running, "{view:#?}");
            assert_eq!(view.target, pool.min, "{view:#?}");
            assert_eq!(view.processes.len() as u32, pool.min, "{view:#?}");
            for process in &view.processes {
                assert_eq!(process.state, ProcessState::Running, "{view:#?}");
                let child = &self.children[&ProcId(process.proc)];
                assert!(child.pool.starts_the_same(pool), "{view:#?}");
            }
        }
        assert_eq!(
            self.children.len() as u32,
            self.file.iter().map(|pool| pool.min).sum::<u32>()
        );
    }
}

fn play(seed: u64) -> u64 {
    let mut world = World::new(seed);
    world.reload();
    world.happen(Happening::Sample);
    for _ in 0..12 {
        let after = world.millis(0, 40_000);
        world.later(after, Happening::Operator);
    }
    for _ in 0..25 {
        let name = NAMES[world.below(4) as usize];
        let jobs = 1 + world.below(40);
        let after = world.millis(0, 40_000);
        world.later(after, Happening::Jobs(name, jobs));
    }
    world.run(Time::from_millis(40_000));

    if world.percent(70) {
        world.faults = false;
        world.caps = Caps::default();
        for pool in &mut world.file {
            let pool = Arc::make_mut(pool);
            pool.max_lifetime = None;
            pool.max_jobs = None;
            pool.scale.schedule.clear();
            if pool.command == Command::Exec(vec!["broken".into()]) {
                pool.command = Command::Exec(vec!["mended".into()]);
            }
        }
        world.configured();
        // what was started while faults lasted may still be dying of them, and `restart` may keep its slot empty until `Start`
        let until = world.now + Duration::from_secs(20);
        world.run(until);
        for pool in world.file.clone() {
            let pool = pool.name.clone();
            world.handle(Event::Start { pool });
        }
        let until = world.now + Duration::from_secs(200);
        world.run(until);
        world.check_settled();
    }

    let stop = match world.below(3) {
        0 => Stop::Gracefully,
        1 => Stop::WhenIdle,
        _ => Stop::AtOnce,
    };
    world.stopping = Some((stop, world.now));
    world.handle(Event::ShutDown(stop));
    let until = world.now + Duration::from_secs(40);
    world.run(until);
    assert!(world.finished, "{stop:?} has not ended: {:#?}", world.sup);
    world.steps
}

#[test]
fn nothing_is_cut_and_everything_settles() {
    let mut steps = 0;
    for seed in 0..400 {
        match std::panic::catch_unwind(|| play(seed)) {
            Ok(played) => steps += played,
            Err(panic) => {
                eprintln!("the seed is {seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    assert!(steps > 100_000, "{steps} steps");
}
