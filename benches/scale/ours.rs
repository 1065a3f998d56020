//! Gearpool's own supervisor in the simulated machine, asked as the daemon's manager asks it: a sample when a job finds nobody idle
//! (not more often than every 10 ms), every 100 ms while jobs wait, and every second otherwise.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gearpool::config::{self, Command};
use gearpool::pools::{Action, Caps, Event, ExitStatus, PoolLoad, ProcId, ProcLoad, Supervisor};
use gearpool::time::Time;

use crate::world::{News, Policy, Pool, State, World};

pub(crate) struct Ours {
    supervisor: Supervisor,
    cap: Option<u32>,
    change: fn(&mut config::Pool),
    by_proc: BTreeMap<ProcId, u64>,
    by_worker: BTreeMap<u64, ProcId>,
    sampled: f64,
    sample_at: f64,
    woken_for: f64,
}

fn name(pool: usize) -> String {
    format!("p{pool}")
}

impl Ours {
    pub(crate) fn new(cap: Option<u32>, change: fn(&mut config::Pool)) -> Ours {
        Ours {
            supervisor: Supervisor::new(1),
            cap,
            change,
            by_proc: BTreeMap::new(),
            by_worker: BTreeMap::new(),
            sampled: 0.0,
            sample_at: 0.0,
            woken_for: f64::INFINITY,
        }
    }

    /// Why the pool has its size.
    pub(crate) fn reason(&self, world: &World, pool: usize) -> String {
        self.supervisor.view(time(world.now))[pool].reason.clone()
    }

    fn event(&mut self, world: &mut World, event: Event) {
        let mut events = vec![event];
        while let Some(event) = events.pop() {
            for action in self.supervisor.handle(time(world.now), event) {
                events.extend(self.carry_out(world, action));
            }
        }
    }

    fn carry_out(&mut self, world: &mut World, action: Action) -> Option<Event> {
        match action {
            Action::Spawn { proc, pool, .. } => {
                let index = pool.name[1..].parse().expect("pools are named so here");
                let worker = world.spawn(index);
                self.by_proc.insert(proc, worker);
                self.by_worker.insert(worker, proc);
                None
            }
            Action::Quiesce { proc } => {
                let worker = self.by_proc[&proc];
                // a worker that is starting has no connection that could be parked
                let idle = world.quiesce(worker) && world.workers[&worker].state == State::Idle;
                idle.then_some(Event::Parked { proc })
            }
            Action::Unquiesce { proc } => {
                world.unquiesce(self.by_proc[&proc]);
                None
            }
            Action::Signal { proc, .. } | Action::Kill { proc } => {
                let worker = self.by_proc.get(&proc).copied()?;
                let it = world.workers.get(&worker)?;
                world.pools[it.pool].cut += u32::from(it.state == State::Busy);
                world.gone(worker);
                self.by_proc.remove(&proc);
                self.by_worker.remove(&worker);
                Some(exited(proc, 0))
            }
            Action::Disconnect { .. }
            | Action::Tell(_)
            | Action::GiveUp { .. }
            | Action::Renew { .. }
            | Action::Finished => None,
        }
    }

    fn sample(&mut self, world: &mut World) {
        self.sampled = world.now;
        let mut loads: Vec<PoolLoad> = (0..)
            .zip(&world.pools)
            .map(|(i, pool)| PoolLoad {
                pool: name(i),
                queued: pool.queue.len() as u64,
                completed: pool.completed,
                busy_seconds: pool.busy_seconds,
                busy_squares: pool.busy_squares,
                arrived: pool.arrived,
                oldest_wait: Duration::from_secs_f64(
                    pool.queue.front().map_or(0.0, |job| world.now - job.came),
                ),
                ..PoolLoad::default()
            })
            .collect();
        for (worker, it) in &world.workers {
            if it.state != State::Starting {
                loads[it.pool].processes.push(ProcLoad {
                    proc: self.by_worker[worker],
                    busy_since: (it.state == State::Busy).then(|| time(it.since)),
                    idle_since: time(it.since),
                    jobs_done: it.jobs,
                });
            }
        }
        let waits = loads.iter().any(|load| load.queued > 0);
        self.sample_at = world.now + if waits { 0.1 } else { 1.0 };
        self.event(world, Event::Sampled(loads));
    }

    fn sample_soon(&mut self, world: &World) {
        self.sample_at = self.sample_at.min((self.sampled + 0.01).max(world.now));
    }
}

fn time(seconds: f64) -> Time {
    Time::new(Duration::from_secs_f64(seconds.max(0.0)))
}

fn exited(proc: ProcId, code: i32) -> Event {
    Event::Exited {
        proc,
        status: ExitStatus::Code(code),
        last_lines: Vec::new(),
    }
}

impl Policy for Ours {
    fn name(&self) -> String {
        "Gearpool".to_owned()
    }

    fn latest_first(&self) -> bool {
        true
    }

    fn start(&mut self, world: &mut World) {
        let pools = (0..)
            .zip(&world.pools)
            .map(|(i, pool): (usize, &Pool)| {
                let mut it = config::Pool::new(&name(i), Command::Exec(vec!["w".to_owned()]));
                it.min = pool.min;
                it.max = pool.max;
                it.start_timeout = Duration::from_secs(60);
                (self.change)(&mut it);
                Arc::new(it)
            })
            .collect();
        let caps = Caps {
            max_processes: self.cap,
        };
        self.event(world, Event::Configured(pools, caps));
        // those of `min` are there from the beginning, for the other policies too
        for pool in &mut world.pools {
            pool.starts = 0;
        }
        world.news.push_back((0, News::Wake));
    }

    fn hear(&mut self, world: &mut World, pool: usize, news: News) {
        match news {
            News::Arrived | News::Requeued => {
                if world.pools[pool].queued() > 0 {
                    self.sample_soon(world);
                }
            }
            News::Done { .. } => {}
            News::Ready { worker } => {
                let proc = self.by_worker[&worker];
                self.event(world, Event::Registered { proc });
                if world.workers.get(&worker).is_some_and(|it| it.leaving) {
                    self.event(world, Event::Parked { proc });
                }
                self.sample_soon(world);
            }
            News::Crashed { worker } => {
                if let Some(proc) = self.by_worker.remove(&worker) {
                    self.by_proc.remove(&proc);
                    self.event(world, exited(proc, 1));
                }
            }
            News::Drained { worker } => {
                if let Some(&proc) = self.by_worker.get(&worker) {
                    self.event(world, Event::Parked { proc });
                }
            }
            News::Wake => self.woken_for = f64::INFINITY,
        }
        if self.sample_at <= world.now + 1e-9 {
            self.sample(world);
        }
        if self
            .supervisor
            .next_deadline()
            .is_some_and(|at| at <= time(world.now))
        {
            self.event(world, Event::Tick);
        }
        let deadline = self.supervisor.next_deadline();
        let deadline = deadline.map_or(f64::INFINITY, |at| at.since_start().as_secs_f64() + 1e-6);
        let next = self.sample_at.min(deadline).max(world.now);
        if next < self.woken_for {
            self.woken_for = next;
            world.wake_at(next);
        }
    }
}
