//! The simulated machine: pools with queues and workers, a clock that jumps, and a policy that starts and stops workers.
//!
//! A worker takes a while to start, does one job after the other, and can be told to go in two ways: drained, it finishes its job
//! and gets no other; signalled, an idle one is gone at once, and a busy one has `grace` seconds for its job, which then goes back to
//! the queue. Every policy sees the same arrivals and the same service times.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

/// A job that is to come: when, how long it takes, and for which pool.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    pub(crate) at: f64,
    pub(crate) takes: f64,
    pub(crate) pool: usize,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    pub(crate) came: f64,
    pub(crate) takes: f64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum State {
    Starting,
    Idle,
    Busy,
}

#[derive(Clone, Debug)]
pub(crate) struct Worker {
    pub(crate) pool: usize,
    pub(crate) state: State,
    pub(crate) started: f64,
    pub(crate) since: f64,
    pub(crate) jobs: u64,
    /// It gets no more jobs.
    pub(crate) leaving: bool,
    job: Option<Job>,
    run: u64,
}

/// A pool and what became of its jobs.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    pub(crate) min: u32,
    pub(crate) max: u32,
    /// Seconds from a worker's start until it is ready.
    pub(crate) startup: f64,
    /// Workers started before this moment die when they should be ready.
    pub(crate) broken_until: f64,
    pub(crate) queue: VecDeque<Job>,
    /// By number, which is the order of their start; those that leave are not among them.
    pub(crate) staff: BTreeMap<u64, ()>,
    /// In the order in which they became idle.
    pub(crate) idle: Vec<u64>,
    pub(crate) starting: u32,
    pub(crate) busy: u32,
    /// Leaving and not gone.
    pub(crate) leaving: u32,
    pub(crate) completed: u64,
    pub(crate) busy_seconds: f64,
    pub(crate) busy_squares: f64,
    pub(crate) arrived: u64,
    pub(crate) waits: Vec<f64>,
    pub(crate) cost: f64,
    pub(crate) starts: u32,
    pub(crate) crashes: u32,
    /// Told to go while they had a job.
    pub(crate) cut: u32,
    /// When there were as many as `max` for the first time since the last time that there were fewer than 3.
    pub(crate) full_at: Option<f64>,
    pub(crate) last_start: f64,
}

impl Pool {
    pub(crate) fn new(min: u32, max: u32, startup: f64) -> Pool {
        Pool {
            min,
            max,
            startup,
            broken_until: -1.0,
            queue: VecDeque::new(),
            staff: BTreeMap::new(),
            idle: Vec::new(),
            starting: 0,
            busy: 0,
            leaving: 0,
            completed: 0,
            busy_seconds: 0.0,
            busy_squares: 0.0,
            arrived: 0,
            waits: Vec::new(),
            cost: 0.0,
            starts: 0,
            crashes: 0,
            cut: 0,
            full_at: None,
            last_start: 0.0,
        }
    }

    /// Starting, idle and busy, and not leaving.
    pub(crate) fn staffed(&self) -> u32 {
        self.staff.len() as u32
    }

    pub(crate) fn ready(&self) -> u32 {
        self.staffed() - self.starting
    }

    pub(crate) fn queued(&self) -> u32 {
        self.queue.len() as u32
    }
}

/// What a policy hears.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum News {
    Arrived,
    Done {
        worker: u64,
        took: f64,
    },
    Ready {
        worker: u64,
    },
    /// It died before it was ready.
    Crashed {
        worker: u64,
    },
    /// A worker that was drained has ended its last job.
    Drained {
        worker: u64,
    },
    Requeued,
    /// The policy's own time has come.
    Wake,
}

pub(crate) trait Policy {
    fn name(&self) -> String;
    /// Whether the worker that became idle last gets the next job.
    fn latest_first(&self) -> bool {
        false
    }
    fn first_staff(&self, pool: &Pool) -> u32 {
        pool.min
    }
    fn start(&mut self, world: &mut World);
    fn hear(&mut self, world: &mut World, pool: usize, news: News);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Ready(u64),
    Done(u64, u64),
    Kill(u64, u64),
    Wake,
}

pub(crate) struct World {
    pub(crate) now: f64,
    pub(crate) pools: Vec<Pool>,
    pub(crate) workers: BTreeMap<u64, Worker>,
    latest_first: bool,
    line: BinaryHeap<Reverse<(u64, u64, Due)>>,
    seq: u64,
    last: u64,
    pub(crate) news: VecDeque<(usize, News)>,
}

impl World {
    /// Runs the arrivals through the policy until `end` and until all jobs are done.
    pub(crate) fn run(
        pools: Vec<Pool>,
        mut arrivals: Vec<Arrival>,
        policy: &mut dyn Policy,
        end: f64,
    ) -> World {
        arrivals.sort_by(|a, b| a.at.total_cmp(&b.at));
        let mut world = World {
            now: 0.0,
            pools,
            workers: BTreeMap::new(),
            latest_first: policy.latest_first(),
            line: BinaryHeap::new(),
            seq: 0,
            last: 0,
            news: VecDeque::new(),
        };
        policy.start(&mut world);
        world.settle(policy);
        let mut arrivals = arrivals.into_iter().peekable();
        loop {
            let next = world.line.peek().map(|Reverse((at, ..))| *at as f64 / 1e9);
            let open = world
                .pools
                .iter()
                .any(|it| !it.queue.is_empty() || it.busy + it.leaving > 0);
            if arrivals.peek().is_none() && !open && next.is_none_or(|at| at > end) {
                break;
            }
            if let Some(it) = arrivals.next_if(|it| next.is_none_or(|at| it.at <= at)) {
                world.now = it.at;
                let pool = &mut world.pools[it.pool];
                pool.queue.push_back(Job {
                    came: it.at,
                    takes: it.takes,
                });
                pool.arrived += 1;
                world.dispatch(it.pool);
                world.news.push_back((it.pool, News::Arrived));
            } else if let Some(Reverse((at, _, due))) = world.line.pop() {
                world.now = at as f64 / 1e9;
                if world.now > end + 36_000.0 {
                    break;
                }
                world.happen(due);
            }
            world.settle(policy);
        }
        world.now = world.now.max(end);
        for worker in world.workers.values() {
            world.pools[worker.pool].cost += world.now - worker.started;
        }
        world
    }

    fn settle(&mut self, policy: &mut dyn Policy) {
        while let Some((pool, news)) = self.news.pop_front() {
            policy.hear(self, pool, news);
        }
    }

    fn at(&mut self, at: f64, due: Due) {
        self.seq += 1;
        self.line.push(Reverse(((at * 1e9) as u64, self.seq, due)));
    }

    /// The policy wants to be woken then.
    pub(crate) fn wake_at(&mut self, at: f64) {
        self.at(at, Due::Wake);
    }

    /// A worker that is there from the beginning.
    pub(crate) fn staff_at_once(&mut self, pool: usize) -> u64 {
        let worker = self.add(pool);
        self.ready(worker);
        worker
    }

    pub(crate) fn spawn(&mut self, pool: usize) -> u64 {
        let worker = self.add(pool);
        let it = &mut self.pools[pool];
        it.starts += 1;
        it.last_start = self.now;
        let at = self.now + it.startup;
        self.at(at, Due::Ready(worker));
        worker
    }

    fn add(&mut self, pool: usize) -> u64 {
        self.last += 1;
        let worker = Worker {
            pool,
            state: State::Starting,
            started: self.now,
            since: self.now,
            jobs: 0,
            leaving: false,
            job: None,
            run: 0,
        };
        self.workers.insert(self.last, worker);
        let it = &mut self.pools[pool];
        it.staff.insert(self.last, ());
        it.starting += 1;
        self.last
    }

    /// A signal: an idle or starting one is gone, a busy one has `grace` seconds.
    pub(crate) fn signal(&mut self, worker: u64, grace: f64) {
        let Some(it) = self.workers.get(&worker).cloned() else {
            return;
        };
        if it.state == State::Busy {
            self.pools[it.pool].cut += 1;
            self.drain(worker);
            self.at(self.now + grace, Due::Kill(worker, it.run));
        } else {
            self.drain(worker);
        }
    }

    /// It gets no more jobs, and is gone when it has none.
    pub(crate) fn drain(&mut self, worker: u64) {
        self.quiesce(worker);
        if self
            .workers
            .get(&worker)
            .is_some_and(|it| it.state != State::Busy)
        {
            self.gone(worker);
        }
    }

    /// It gets no more jobs. Whether it has none now.
    pub(crate) fn quiesce(&mut self, worker: u64) -> bool {
        let Some(it) = self.workers.get_mut(&worker).filter(|it| !it.leaving) else {
            return false;
        };
        it.leaving = true;
        let pool = &mut self.pools[it.pool];
        pool.staff.remove(&worker);
        pool.leaving += 1;
        match it.state {
            State::Starting => pool.starting -= 1,
            State::Idle => pool.idle.retain(|&other| other != worker),
            State::Busy => pool.busy -= 1,
        }
        it.state != State::Busy
    }

    /// It gets jobs again.
    pub(crate) fn unquiesce(&mut self, worker: u64) {
        let Some(it) = self.workers.get_mut(&worker).filter(|it| it.leaving) else {
            return;
        };
        it.leaving = false;
        let pool = &mut self.pools[it.pool];
        pool.staff.insert(worker, ());
        pool.leaving -= 1;
        match it.state {
            State::Starting => pool.starting += 1,
            State::Idle => pool.idle.push(worker),
            State::Busy => pool.busy += 1,
        }
        let pool = it.pool;
        self.dispatch(pool);
    }

    /// It has ended, having been quiesced before.
    pub(crate) fn gone(&mut self, worker: u64) {
        if let Some(it) = self.workers.remove(&worker) {
            let pool = &mut self.pools[it.pool];
            pool.leaving -= 1;
            pool.cost += self.now - it.started;
        }
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Wake => self.news.push_back((0, News::Wake)),
            Due::Ready(worker) => {
                let Some(it) = self.workers.get(&worker) else {
                    return;
                };
                let pool = it.pool;
                if it.started < self.pools[pool].broken_until {
                    self.pools[pool].crashes += 1;
                    self.quiesce(worker);
                    self.gone(worker);
                    self.news.push_back((pool, News::Crashed { worker }));
                } else {
                    self.ready(worker);
                    self.news.push_back((pool, News::Ready { worker }));
                }
            }
            Due::Done(worker, run) => self.done(worker, run),
            Due::Kill(worker, run) => {
                let Some(it) = self.workers.get_mut(&worker) else {
                    return;
                };
                if it.run == run
                    && let Some(job) = it.job.take()
                {
                    let pool = it.pool;
                    self.gone(worker);
                    self.pools[pool].queue.push_back(job);
                    self.dispatch(pool);
                    self.news.push_back((pool, News::Requeued));
                }
            }
        }
    }

    fn ready(&mut self, worker: u64) {
        let now = self.now;
        let Some(it) = self.workers.get_mut(&worker) else {
            return;
        };
        it.state = State::Idle;
        it.since = now;
        let leaving = it.leaving;
        let index = it.pool;
        let pool = &mut self.pools[index];
        if !leaving {
            pool.starting -= 1;
            pool.idle.push(worker);
        }
        if pool.ready() < 3 {
            pool.full_at = None;
        }
        if pool.ready() == pool.max {
            pool.full_at.get_or_insert(now);
        }
        self.dispatch(index);
    }

    fn done(&mut self, worker: u64, run: u64) {
        let Some(it) = self.workers.get_mut(&worker).filter(|it| it.run == run) else {
            return;
        };
        let Some(job) = it.job.take() else {
            return;
        };
        let (index, leaving, since) = (it.pool, it.leaving, it.since);
        it.state = State::Idle;
        it.since = self.now;
        it.jobs += 1;
        let pool = &mut self.pools[index];
        pool.completed += 1;
        pool.busy_seconds += job.takes;
        pool.busy_squares += job.takes * job.takes;
        pool.waits.push(since - job.came);
        if leaving {
            self.news.push_back((index, News::Drained { worker }));
            self.news.push_back((
                index,
                News::Done {
                    worker,
                    took: job.takes,
                },
            ));
            return;
        }
        pool.busy -= 1;
        pool.idle.push(worker);
        self.dispatch(index);
        self.news.push_back((
            index,
            News::Done {
                worker,
                took: job.takes,
            },
        ));
    }

    fn dispatch(&mut self, index: usize) {
        let pool = &mut self.pools[index];
        while !pool.queue.is_empty() && !pool.idle.is_empty() {
            let worker = match self.latest_first {
                true => pool.idle.pop().expect("there is an idle one"),
                false => pool.idle.remove(0),
            };
            let job = pool.queue.pop_front().expect("there is a job");
            pool.busy += 1;
            let it = self.workers.get_mut(&worker).expect("the idle exist");
            it.state = State::Busy;
            it.since = self.now;
            it.job = Some(job);
            it.run += 1;
            self.seq += 1;
            let at = ((self.now + job.takes) * 1e9) as u64;
            self.line
                .push(Reverse((at, self.seq, Due::Done(worker, it.run))));
        }
    }
}
