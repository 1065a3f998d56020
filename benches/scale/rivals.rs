//! Other systems' rules for the number of workers, as their documentation and sources describe them. They look from outside, every few
//! seconds, at what can be seen from there, and most choose whom to stop without knowing who is busy.

use std::collections::VecDeque;

use crate::world::{News, Policy, Pool, World};

/// Always as many as there may be.
pub(crate) struct AlwaysMax;

impl Policy for AlwaysMax {
    fn name(&self) -> String {
        "always max".to_owned()
    }
    fn first_staff(&self, pool: &Pool) -> u32 {
        pool.max
    }
    fn start(&mut self, world: &mut World) {
        staff(self, world);
    }
    fn hear(&mut self, _: &mut World, _: usize, _: News) {}
}

fn staff(policy: &dyn Policy, world: &mut World) {
    for pool in 0..world.pools.len() {
        for _ in 0..policy.first_staff(&world.pools[pool]) {
            world.staff_at_once(pool);
        }
    }
}

/// A rule that looks at all pools every so many seconds.
pub(crate) trait Periodic {
    const NAME: &'static str;
    const PERIOD: f64;
    fn look(&mut self, world: &mut World);
    fn notice(&mut self, _: &mut World, _: usize, _: News) {}
}

pub(crate) struct Every<P>(pub(crate) P);

impl<P: Periodic> Policy for Every<P> {
    fn name(&self) -> String {
        P::NAME.to_owned()
    }
    fn start(&mut self, world: &mut World) {
        staff(self, world);
        world.wake_at(P::PERIOD);
    }
    fn hear(&mut self, world: &mut World, pool: usize, news: News) {
        self.0.notice(world, pool, news);
        if news == News::Wake {
            self.0.look(world);
            world.wake_at(world.now + P::PERIOD);
        }
    }
}

fn grow(world: &mut World, pool: usize, to: u32) {
    for _ in world.pools[pool].staffed()..to.min(world.pools[pool].max) {
        world.spawn(pool);
    }
}

fn stop(world: &mut World, workers: impl IntoIterator<Item = u64>, grace: f64) {
    for worker in workers {
        world.signal(worker, grace);
    }
}

fn newest(pool: &Pool, beyond: u32) -> Vec<u64> {
    pool.staff.keys().copied().skip(beyond as usize).collect()
}

/// Laravel Horizon, `balance: auto` by time, `balanceMaxShift` 1 and `balanceCooldown` 3: all pools share the highest `max`, in
/// proportion to the time that their queues will take, and go one step in its direction. The oldest processes are told to stop.
pub(crate) struct Horizon {
    runtimes: Vec<(f64, f64)>,
    cap: Option<u32>,
}

impl Horizon {
    pub(crate) fn new(cap: Option<u32>) -> Every<Horizon> {
        Every(Horizon {
            runtimes: Vec::new(),
            cap,
        })
    }
}

impl Periodic for Horizon {
    const NAME: &'static str = "Laravel Horizon, auto";
    const PERIOD: f64 = 3.0;
    fn notice(&mut self, world: &mut World, pool: usize, news: News) {
        self.runtimes.resize(world.pools.len(), (0.0, 0.0));
        if let News::Done { took, .. } = news {
            let (n, mean) = &mut self.runtimes[pool];
            *mean = (*mean * *n + took) / (*n + 1.0);
            *n += 1.0;
        }
    }
    fn look(&mut self, world: &mut World) {
        let (min, max) = (world.pools[0].min, self.cap.unwrap_or(world.pools[0].max));
        let times: Vec<f64> = (0..world.pools.len())
            .map(|i| f64::from(world.pools[i].queued()) * self.runtimes[i].1)
            .collect();
        let total: f64 = times.iter().sum();
        for (pool, time) in times.into_iter().enumerate() {
            let all: u32 = world.pools.iter().map(|it| it.staffed() + it.leaving).sum();
            let it = &world.pools[pool];
            let wanted = match total > 0.0 {
                true => (time / total * f64::from(max)).ceil() as u32,
                false if it.queued() > 0 => max,
                false => min,
            };
            let has = it.staffed() + it.leaving;
            let others = (world.pools.len() as u32 - 1) * min;
            let to = if wanted > has {
                let up = max.saturating_sub(all).min(1);
                (has + up).min(max - others).min(wanted)
            } else {
                let down = all.saturating_sub(min).min(1);
                has.saturating_sub(down).max(min).max(wanted)
            };
            grow(world, pool, to);
            let it = &world.pools[pool];
            let oldest: Vec<_> = it.staff.keys().copied().collect();
            let beyond = it.staffed().saturating_sub(to) as usize;
            stop(world, oldest.into_iter().take(beyond), 60.0);
        }
    }
}

/// KEDA and Kubernetes' HPA on the jobs in the queue and in work, tuned: one a worker, every 15 s; four more or twice as many at once,
/// fewer after five minutes. The newest pods are ended, with 30 s of grace.
#[derive(Default)]
pub(crate) struct Keda {
    wanted: Vec<VecDeque<(f64, u32)>>,
}

impl Periodic for Keda {
    const NAME: &'static str = "KEDA/HPA, tuned";
    const PERIOD: f64 = 15.0;
    fn look(&mut self, world: &mut World) {
        self.wanted.resize_with(world.pools.len(), VecDeque::new);
        for pool in 0..world.pools.len() {
            let it = &world.pools[pool];
            let has = it.staffed();
            let jobs = it.queued() + it.busy;
            let ratio = f64::from(jobs) / f64::from(has.max(1));
            let wanted = if (ratio - 1.0).abs() <= 0.1 {
                has
            } else {
                jobs
            };
            let window = &mut self.wanted[pool];
            window.push_back((world.now, wanted));
            while window
                .front()
                .is_some_and(|&(at, _)| at < world.now - 300.0)
            {
                window.pop_front();
            }
            if wanted > has {
                grow(world, pool, wanted.min((has + 4).max(has * 2)));
            } else {
                let highest = window.iter().map(|&(_, n)| n).max().unwrap_or(0);
                let beyond = newest(it, highest.max(it.min));
                stop(world, beyond, 30.0);
            }
        }
    }
}

/// php-fpm, `pm = dynamic` with 2 to 6 spare servers: looks each second, starts 1, 2, 4 … 32, ends one idle one.
#[derive(Default)]
pub(crate) struct PhpFpm {
    rate: Vec<u32>,
}

impl Periodic for PhpFpm {
    const NAME: &'static str = "php-fpm, dynamic";
    const PERIOD: f64 = 1.0;
    fn look(&mut self, world: &mut World) {
        self.rate.resize(world.pools.len(), 1);
        for pool in 0..world.pools.len() {
            let it = &world.pools[pool];
            let idle = it.idle.len() as u32 + it.starting;
            let rate = self.rate[pool];
            self.rate[pool] = 1;
            if idle > 6 {
                let oldest = it.idle.iter().copied().min();
                stop(world, oldest, 0.0);
            } else if idle < 2 {
                let more = rate.min(2 - idle).min(it.max - it.staffed());
                if more > 0 {
                    grow(world, pool, it.staffed() + more);
                    self.rate[pool] = (rate * 2).min(32);
                }
            }
        }
    }
}

/// Celery's autoscaler: grows with every message to one process a reserved job (four times `max` are reserved), and takes idle ones
/// away thirty seconds after the last growth.
#[derive(Default)]
pub(crate) struct Celery {
    grown: Vec<Option<f64>>,
}

impl Celery {
    fn scale(&mut self, world: &mut World, pool: usize) {
        self.grown.resize(world.pools.len(), None);
        let it = &world.pools[pool];
        let jobs = (it.queued() + it.busy).min(4 * it.max);
        if jobs.min(it.max) > it.staffed() {
            self.grown[pool] = Some(world.now);
            grow(world, pool, jobs);
        } else if self.grown[pool].is_some_and(|at| world.now - at > 30.0) {
            let beyond = it.staffed().saturating_sub(jobs.max(it.min)) as usize;
            let idle: Vec<_> = it.idle.iter().copied().take(beyond).collect();
            stop(world, idle, 0.0);
        }
    }
}

impl Periodic for Celery {
    const NAME: &'static str = "Celery, autoscale";
    const PERIOD: f64 = 30.0;
    fn notice(&mut self, world: &mut World, pool: usize, news: News) {
        if matches!(news, News::Arrived | News::Requeued) {
            self.scale(world, pool);
        }
    }
    fn look(&mut self, world: &mut World) {
        for pool in 0..world.pools.len() {
            self.scale(world, pool);
        }
    }
}

/// Knative's autoscaler at one request a container: 70 % of the average over a minute, or over six seconds while those say twice as
/// many as there are; looks every two seconds and ends the newest.
#[derive(Default)]
pub(crate) struct Knative {
    area: f64,
    since: f64,
    level: f64,
    window: VecDeque<f64>,
    panic: Option<f64>,
    highest: u32,
}

impl Knative {
    fn follow(&mut self, world: &World) {
        let it = &world.pools[0];
        self.area += self.level * (world.now - self.since);
        self.since = world.now;
        self.level = f64::from(it.queued() + it.busy + it.leaving);
    }
}

impl Periodic for Knative {
    const NAME: &'static str = "Knative";
    const PERIOD: f64 = 2.0;
    fn notice(&mut self, world: &mut World, _: usize, _: News) {
        self.follow(world);
    }
    fn look(&mut self, world: &mut World) {
        self.follow(world);
        self.window.push_back(std::mem::take(&mut self.area) / 2.0);
        if self.window.len() > 30 {
            self.window.pop_front();
        }
        let average = |n: usize| {
            let n = n.min(self.window.len());
            self.window.iter().rev().take(n).sum::<f64>() / n as f64
        };
        let it = &world.pools[0];
        let ready = it.ready().max(1);
        let stable = ((average(30) / 0.7).ceil() as u32).max(ready / 2);
        let panicked = (average(3) / 0.7).ceil() as u32;
        if panicked >= 2 * ready {
            self.panic = Some(world.now);
        } else if self.panic.is_some_and(|at| world.now - at > 60.0) {
            (self.panic, self.highest) = (None, 0);
        }
        let mut wanted = stable;
        if self.panic.is_some() {
            self.highest = self.highest.max(stable).max(panicked.max(ready / 2));
            wanted = self.highest;
        }
        let wanted = wanted.clamp(it.min, it.max);
        let beyond = newest(it, wanted);
        grow(world, 0, wanted);
        stop(world, beyond, 300.0);
    }
}
