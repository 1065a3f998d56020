//! What a pool's past says: how long its jobs take, how many come, how long a start takes, and the peak of its need.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::erlang::{Traffic, staff};
use super::hold::{Hold, Peaks, Rhythm};
use super::target_wait;
use crate::pools::event::PoolLoad;
use crate::time::Time;

/// How often the reserve is worked out anew; the rest is taken in at every sample.
const SLOW: Duration = Duration::from_secs(1);

/// The hold while nothing is learned: so many times what a start takes, within these bounds.
const HOLD_STARTS: f64 = 200.0;
const HOLD_LEAST: f64 = 30.0;
const HOLD_MOST: f64 = 600.0;

/// A need that keeps coming back is held for so many holds at most, and no longer than [`HOLD_MOST`].
const HOLDS: u32 = 3;

/// A sum that forgets: what was added `constant` seconds ago counts for 1/e.
fn decay(past: f64, constant: f64) -> f64 {
    (-past / constant).exp()
}

/// Arrivals and time, both decaying alike, so that their quotient is the rate lately.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Rate {
    events: f64,
    over: f64,
}

impl Rate {
    fn add(&mut self, past: f64, constant: f64, events: f64) {
        let decay = decay(past, constant);
        self.events = self.events * decay + events;
        self.over = self.over * decay + constant * (1.0 - decay);
    }

    /// Nothing until it has been watched for a second: the first jobs of an idle pool are a burst and no rate.
    fn per_second(self) -> Option<f64> {
        (self.over > 1.0).then(|| self.events / self.over)
    }
}

/// The processes that Poisson arrivals need, and what that was worked out from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::pools) struct Reserve {
    pub(super) n: u32,
    /// Arrivals a second.
    pub(super) rate: f64,
    pub(super) service: Duration,
    /// The wait that is kept.
    pub(super) within: Duration,
}

/// How the pool is to be scaled, as the file says it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::pools) struct Wishes {
    pub(in crate::pools) max: u32,
    pub(in crate::pools) target_wait: Option<Duration>,
    /// The share of waits that are to be under the target, 0 to 1.
    pub(in crate::pools) service_level: f64,
    pub(in crate::pools) down_after: Option<Duration>,
}

/// What is remembered of a pool.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(in crate::pools) struct Past {
    sampled_at: Option<Time>,
    /// Completions, their busy seconds (of the running jobs too, so far) and the squares of their service times, decaying alike.
    completions: f64,
    busy_seconds: f64,
    squares: f64,
    service: Option<f64>,
    slow: Rate,
    fast: Rate,
    startup: Option<f64>,
    /// The counters of the sample before.
    seen_completed: u64,
    seen_busy: f64,
    seen_squares: f64,
    seen_arrived: u64,

    /// The need in force, whether jobs waited then, and the low-pass of the need.
    need: u32,
    waited: bool,
    smooth: f64,
    reserve: Reserve,
    reserved_at: Option<Time>,
    peaks: Peaks,
    rhythm: Rhythm,
    hold: Hold,
}

impl Past {
    /// Takes in a sample.
    pub(in crate::pools) fn sampled(&mut self, now: Time, load: &PoolLoad, wishes: Wishes) {
        let so_far: f64 = load
            .processes
            .iter()
            .filter_map(|process| process.busy_since)
            .map(|since| now.since(since).as_secs_f64())
            .sum();
        // a running job counts with its time so far: jobs that have become long are noticed before they end
        let busy = load.busy_seconds + so_far;
        let past = self
            .sampled_at
            .map_or(0.0, |before| now.since(before).as_secs_f64());
        let service = self.service.unwrap_or(1.0);
        let kept = decay(past, (20.0 * service).max(60.0));
        let ended = load.completed.saturating_sub(self.seen_completed);
        self.completions = self.completions * kept + ended as f64;
        self.busy_seconds = self.busy_seconds * kept + (busy - self.seen_busy).max(0.0);
        self.squares = self.squares * kept + (load.busy_squares - self.seen_squares).max(0.0);
        if self.completions >= 1.0 {
            self.service = Some(self.busy_seconds / self.completions);
        }
        if self.sampled_at.is_some() {
            let came = load.arrived.saturating_sub(self.seen_arrived) as f64 * load.share();
            self.slow
                .add(past, (3.0 * service).clamp(10.0, 300.0), came);
            self.fast
                .add(past, self.startup.unwrap_or(0.0).max(2.0), came);
        }
        // between samples the busy seconds tell more than the moment of the sample does
        let busy_now = match past > 0.0 && !self.waited && load.share.is_none() {
            true => ((busy - self.seen_busy).max(0.0) / past).min(f64::from(wishes.max)),
            false => f64::from(self.need),
        };
        self.waited = load.queued > 0;
        self.seen_completed = load.completed;
        self.seen_busy = busy;
        self.seen_squares = load.busy_squares;
        self.seen_arrived = load.arrived;
        self.sampled_at = Some(now);
        self.follow(now, past, busy_now, wishes);
    }

    /// What time does to the need that was in force since the last sample.
    fn follow(&mut self, now: Time, past: f64, need: f64, wishes: Wishes) {
        let service = self.service.unwrap_or(1.0);
        let target = target_wait(wishes.target_wait, self.service).as_secs_f64();
        let startup = self.startup.unwrap_or(0.0);
        let first = (HOLD_STARTS * startup).clamp(HOLD_LEAST, HOLD_MOST);
        let learned = self.rhythm.hold();
        let least = wishes
            .down_after
            .or(learned)
            .unwrap_or(Duration::from_secs_f64(first));
        let most = match wishes.down_after {
            // who says how long means it
            Some(_) => least,
            None => (least * HOLDS)
                .min(Duration::from_secs_f64(HOLD_MOST))
                .max(least),
        };
        self.hold = Hold { least, most };
        let window = (5.0 * service.max(target)).min(least.as_secs_f64() / 4.0);
        self.smooth += (need - self.smooth) * (1.0 - decay(past, window.max(1e-3)));
        let level = self.level();
        self.rhythm.follow(now, level, HOLD_STARTS * startup);
        if self
            .reserved_at
            .is_none_or(|before| now.since(before) >= SLOW)
        {
            self.reserved_at = Some(now);
            self.reserve = self.work_out_reserve(wishes, target, startup);
        }
        self.peaks.push(now, level.max(self.reserve.n));
    }

    /// A start that is slow beside the target wait cannot answer to a job: what comes on average has to be there before.
    fn work_out_reserve(&self, wishes: Wishes, target: f64, startup: f64) -> Reserve {
        let (Some(service), Some(rate)) = (self.service, self.slow.per_second()) else {
            return Reserve::default();
        };
        if startup <= target / 2.0 {
            return Reserve::default();
        }
        let cv2 = match self.completions >= 10.0 {
            true => (self.squares / self.completions / (service * service).max(1e-12) - 1.0)
                .clamp(0.0, 4.0),
            false => 1.0,
        };
        let within = target.max(startup);
        let traffic = Traffic { rate, service, cv2 };
        Reserve {
            n: staff(traffic, within, wishes.service_level, wishes.max),
            rate,
            service: Duration::try_from_secs_f64(service).unwrap_or_default(),
            within: Duration::from_secs_f64(within),
        }
    }

    /// The need without its haste: not the next number for a fraction of one.
    pub(in crate::pools) fn level(&self) -> u32 {
        (self.smooth - 0.25).ceil().max(0.0) as u32
    }

    /// The pool needs so many for what it has to do now.
    pub(in crate::pools) fn needs(&mut self, need: u32) {
        self.need = need;
    }

    /// Processes were started, so that there are `n`: what is started is kept for a while.
    pub(in crate::pools) fn grew(&mut self, now: Time, n: u32) {
        self.peaks.push(now, n);
    }

    /// A process took `took` from its start until it registered.
    pub(in crate::pools) fn started(&mut self, took: Duration) {
        let took = took.as_secs_f64();
        self.startup = Some(match self.startup {
            Some(before) => before + (took - before) * 0.25,
            None => took,
        });
    }

    /// How long a job takes; `None` until the first has ended.
    pub(in crate::pools) fn service(&self) -> Option<Duration> {
        self.service
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
    }

    /// Jobs that came in a second, over about as long as a few of them take.
    pub(in crate::pools) fn arrivals(&self) -> f64 {
        self.slow.per_second().unwrap_or(0.0)
    }

    /// Jobs that came in a second, over the last moments.
    pub(in crate::pools) fn arrivals_now(&self) -> f64 {
        self.fast.per_second().unwrap_or(0.0)
    }

    /// How long a start takes.
    pub(in crate::pools) fn startup(&self) -> Option<Duration> {
        self.startup.map(Duration::from_secs_f64)
    }

    /// What Poisson arrivals need.
    pub(in crate::pools) const fn reserve(&self) -> Reserve {
        self.reserve
    }

    /// The highest need that is kept, and the time within which it was needed.
    pub(in crate::pools) fn peak(&mut self, now: Time) -> (u32, Duration) {
        let (n, ago) = self.peaks.highest(now, self.hold);
        (n, self.hold.least.max(ago))
    }

    /// How long a peak is kept.
    pub(in crate::pools) const fn hold(&self) -> Duration {
        self.hold.least
    }

    /// When the peak falls, if nothing happens until then.
    pub(in crate::pools) fn peak_falls_at(&self) -> Option<Time> {
        self.peaks.fall_at(self.hold)
    }
}
