//! How many processes a pool should have, and why.
//!
//! [`target`] is a function of what is known of the pool's jobs, a [`Demand`]. It gives a number and the reason for it, in the words
//! that the status shows. What has to be remembered for it (service time, arrivals, start-up time, the peak of the need) is kept by
//! [`Scaler`]. Neither knows single processes: which one goes when fewer are wanted is the crew's business, and so is what keeps a
//! pool from what it wants (a crash loop, the machine-wide cap).

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use super::event::PoolLoad;
use crate::time::Time;

/// While nothing is known of the service time, at most so many are starting at once, or as many as are up, if that is more.
const COLD_STEP: u32 = 4;

/// What is known of a pool's jobs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Demand {
    /// Its processes that have a job.
    pub(super) busy: u32,
    /// Jobs that wait.
    pub(super) queued: u64,
    /// How long a job takes; `None` until the first has ended.
    pub(super) service: Option<Duration>,
    /// Jobs that came in a second, lately.
    pub(super) arrivals: f64,
    /// From the start of a process until it registers; `None` until the first has.
    pub(super) startup: Option<Duration>,
    /// Its processes that have registered and stay.
    pub(super) ready: u32,
    /// The bounds in force.
    pub(super) min: u32,
    /// See `min`.
    pub(super) max: u32,
    /// The configured `target_wait`.
    pub(super) target_wait: Option<Duration>,
    /// The highest need of the last `down_after`.
    pub(super) peak: u32,
    /// See `peak`.
    pub(super) down_after: Duration,
}

/// How many, and why.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Target {
    pub(super) n: u32,
    pub(super) reason: Reason,
}

/// Why a pool should have the number that it should have.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reason {
    /// `min` covers the need.
    AtMin,
    /// `max` does not.
    AtMax,
    /// One for each job that is running.
    Busy { n: u32 },
    /// One for each job, as the service time is not known.
    Cold { n: u32 },
    /// Too many jobs would wait too long.
    Late {
        n: u32,
        queued: u64,
        service: Duration,
        wait: Duration,
        on: u32,
        target: Duration,
    },
    /// The need was higher a moment ago.
    Peak { n: u32, hold: Duration },
}

/// What the pool needs for what it has to do now, within its `max`, whatever it needed before.
pub(super) fn need(demand: &Demand) -> Target {
    let busy = demand.busy;
    let (n, reason) = match demand.service {
        _ if demand.queued == 0 => (busy, Reason::Busy { n: busy }),
        None => {
            let all = clamp(u64::from(busy) + demand.queued);
            let step = demand.ready.saturating_add(demand.ready.max(COLD_STEP));
            let n = all.min(step);
            (n, Reason::Cold { n })
        }
        Some(service) => late(demand, service),
    };
    if n > demand.max {
        return Target {
            n: demand.max,
            reason: Reason::AtMax,
        };
    }
    Target { n, reason }
}

/// How many the pool should have.
pub(super) fn target(demand: &Demand) -> Target {
    let need = need(demand);
    let peak = demand.peak.min(demand.max);
    if need.n.max(peak) <= demand.min && need.reason != Reason::AtMax {
        return Target {
            n: demand.min,
            reason: Reason::AtMin,
        };
    }
    if need.n >= peak {
        return Target {
            n: need.n.max(demand.min),
            reason: need.reason,
        };
    }
    Target {
        n: peak,
        reason: Reason::Peak {
            n: peak,
            hold: demand.down_after,
        },
    }
}

/// Enough processes that the jobs which would start later than the target wait do not have to.
fn late(demand: &Demand, service: Duration) -> (u32, Reason) {
    let busy = f64::from(demand.busy);
    // a service time of zero would divide by it
    let each = service.as_secs_f64().max(1e-4);
    let startup = demand.startup.unwrap_or_default().as_secs_f64();
    let target = demand
        .target_wait
        .map_or_else(|| (0.25 * each).clamp(0.1, 2.0), |wait| wait.as_secs_f64());
    // a new process cannot help sooner than it has started
    let horizon = target.max(startup);
    let come_meanwhile = (demand.arrivals - busy / each).max(0.0) * startup;
    let late = demand.queued as f64 + come_meanwhile - busy * horizon / each;
    if late <= 0.0 {
        return (demand.busy, Reason::Busy { n: demand.busy });
    }
    let more = (late / (1.0 + target / each)).ceil();
    let n = clamp(u64::from(demand.busy) + more as u64);
    let on = demand.busy.max(demand.ready);
    (
        n,
        Reason::Late {
            n,
            queued: demand.queued,
            service,
            wait: Duration::from_secs_f64(demand.queued as f64 * each / f64::from(on.max(1))),
            on,
            target: Duration::from_secs_f64(target),
        },
    )
}

fn clamp(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::AtMin => write!(f, "at min"),
            Reason::AtMax => write!(f, "held at max: raise max to start more"),
            Reason::Busy { n } => write!(f, "wants {n}: {n} busy"),
            Reason::Cold { n } => write!(f, "wants {n}: one for each job until the first ends"),
            Reason::Late {
                n,
                queued,
                service,
                wait,
                on,
                target,
            } => write!(
                f,
                "wants {n}: {queued} queued × {} would wait ~{} on {on} {}, target {}",
                Seconds(*service),
                Seconds(*wait),
                if *on == 1 { "process" } else { "processes" },
                Seconds(*target),
            ),
            Reason::Peak { n, hold } => {
                write!(f, "keeping {n}: peak demand of the last {}", Seconds(*hold))
            }
        }
    }
}

/// A duration as people read it: 30 s, 1.5 s, 0.96 s.
pub(super) struct Seconds(pub(super) Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs_f64();
        let digits = match seconds {
            s if s >= 10.0 => 0,
            s if s >= 1.0 => 1,
            s if s >= 0.01 => 2,
            _ => 4,
        };
        let text = format!("{seconds:.digits$}");
        let text = match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.'),
            false => &text,
        };
        write!(f, "{text} s")
    }
}

/// What a pool's past says: how long its jobs take, how many come, how long a start takes, and the peak of its need.
#[derive(Clone, Debug, Default)]
pub(super) struct Scaler {
    sampled_at: Option<Time>,
    /// Completions and their busy seconds, both decaying alike, so that their quotient is the service time lately.
    completions: f64,
    busy_seconds: f64,
    service: Option<f64>,
    /// Arrivals and time, both decaying alike.
    arrivals: f64,
    arrivals_over: f64,
    startup: Option<f64>,
    /// The counters of the sample before.
    seen_completed: u64,
    seen_busy_seconds: f64,
    seen_jobs: u64,
    /// The needs of the hold window that no later need has reached, falling: each until when it held, and the number. The last one
    /// holds still.
    peaks: VecDeque<(Time, u32)>,
}

impl Scaler {
    /// Takes in a sample.
    pub(super) fn sampled(&mut self, now: Time, load: &PoolLoad) {
        let running: Vec<Time> = load
            .processes
            .iter()
            .filter_map(|process| process.busy_since)
            .collect();
        let jobs = load.queued + running.len() as u64 + load.completed;
        if let Some(before) = self.sampled_at {
            let past = now.since(before).as_secs_f64();
            let service = self.service.unwrap_or(1.0);
            let decay = (-past / (20.0 * service).max(60.0)).exp();
            let ended = load.completed.saturating_sub(self.seen_completed);
            self.completions = self.completions * decay + ended as f64;
            self.busy_seconds =
                self.busy_seconds * decay + (load.busy_seconds - self.seen_busy_seconds).max(0.0);
            let constant = self.startup.unwrap_or_default().max(2.0);
            let decay = (-past / constant).exp();
            let came = jobs.saturating_sub(self.seen_jobs);
            self.arrivals = self.arrivals * decay + came as f64;
            self.arrivals_over = self.arrivals_over * decay + constant * (1.0 - decay);
        } else {
            self.completions = load.completed as f64;
            self.busy_seconds = load.busy_seconds;
        }
        if self.completions >= 1.0 {
            // a running job counts with its time so far: jobs that have become long are noticed before they end
            let so_far: f64 = running
                .iter()
                .map(|&since| now.since(since).as_secs_f64())
                .sum();
            self.service = Some((self.busy_seconds + so_far) / self.completions);
        }
        self.sampled_at = Some(now);
        self.seen_completed = load.completed;
        self.seen_busy_seconds = load.busy_seconds;
        self.seen_jobs = jobs;
    }

    /// A process took `took` from its start until it registered.
    pub(super) fn started(&mut self, took: Duration) {
        let took = took.as_secs_f64();
        self.startup = Some(match self.startup {
            Some(before) => before + (took - before) * 0.25,
            None => took,
        });
    }

    /// How long a job takes.
    pub(super) fn service(&self) -> Option<Duration> {
        self.service
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
    }

    /// Jobs that came in a second, lately. Nothing until that has been watched for a second: the first jobs of an idle pool are a
    /// burst and no rate.
    pub(super) fn arrivals(&self) -> f64 {
        match self.arrivals_over >= 1.0 {
            true => self.arrivals / self.arrivals_over,
            false => 0.0,
        }
    }

    /// How long a start takes.
    pub(super) fn startup(&self) -> Option<Duration> {
        self.startup.map(Duration::from_secs_f64)
    }

    /// The highest need of the last `hold`, of which `need` is the one now.
    pub(super) fn peak(&mut self, now: Time, need: u32, hold: Duration) -> u32 {
        if let Some((until, _)) = self.peaks.back_mut() {
            *until = now;
        }
        while self.peaks.back().is_some_and(|&(_, n)| n <= need) {
            self.peaks.pop_back();
        }
        self.peaks.push_back((now, need));
        while self.peaks.len() > 1
            && self
                .peaks
                .front()
                .is_some_and(|&(until, _)| until + hold <= now)
        {
            self.peaks.pop_front();
        }
        self.peaks.front().map_or(need, |&(_, n)| n)
    }

    /// When the peak falls, if nothing happens until then.
    pub(super) fn peak_falls_at(&self, hold: Duration) -> Option<Time> {
        match self.peaks.len() {
            0 | 1 => None,
            _ => self.peaks.front().map(|&(until, _)| until + hold),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pools::event::{ProcId, ProcLoad};

    fn secs(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn demand() -> Demand {
        Demand {
            min: 1,
            max: 30,
            down_after: secs(30.0),
            ..Demand::default()
        }
    }

    #[test]
    fn the_number_and_the_reason() {
        let known = Demand {
            service: Some(secs(1.0)),
            startup: Some(secs(0.3)),
            ..demand()
        };
        let cases = [
            (demand(), 1, "at min"),
            (Demand { min: 0, ..demand() }, 0, "at min"),
            (
                Demand {
                    busy: 1,
                    ..demand()
                },
                1,
                "at min",
            ),
            (
                Demand {
                    busy: 5,
                    ..demand()
                },
                5,
                "wants 5: 5 busy",
            ),
            // the service time is not known: one each, in steps
            (
                Demand {
                    min: 0,
                    queued: 1,
                    ..demand()
                },
                1,
                "wants 1: one for each job until the first ends",
            ),
            (
                Demand {
                    queued: 1000,
                    ready: 1,
                    busy: 1,
                    ..demand()
                },
                5,
                "wants 5: one for each job until the first ends",
            ),
            (
                Demand {
                    queued: 1000,
                    ready: 8,
                    busy: 8,
                    ..demand()
                },
                16,
                "wants 16: one for each job until the first ends",
            ),
            // it is known
            (
                Demand {
                    queued: 2,
                    busy: 10,
                    ready: 10,
                    ..known.clone()
                },
                10,
                "wants 10: 10 busy",
            ),
            (
                Demand {
                    queued: 10,
                    busy: 10,
                    ready: 10,
                    ..known.clone()
                },
                16,
                "wants 16: 10 queued × 1 s would wait ~1 s on 10 processes, target 0.25 s",
            ),
            (
                Demand {
                    queued: 1000,
                    busy: 2,
                    ready: 2,
                    ..known.clone()
                },
                30,
                "held at max: raise max to start more",
            ),
            (
                Demand {
                    min: 0,
                    queued: 1,
                    ..known.clone()
                },
                1,
                "wants 1: 1 queued × 1 s would wait ~1 s on 0 processes, target 0.25 s",
            ),
            (
                Demand {
                    queued: 3,
                    busy: 1,
                    ready: 1,
                    target_wait: Some(secs(10.0)),
                    ..known
                },
                1,
                "at min",
            ),
            // the past
            (
                Demand {
                    busy: 2,
                    peak: 12,
                    ..demand()
                },
                12,
                "keeping 12: peak demand of the last 30 s",
            ),
            (
                Demand {
                    busy: 2,
                    peak: 99,
                    max: 4,
                    ..demand()
                },
                4,
                "keeping 4: peak demand of the last 30 s",
            ),
        ];
        for (demand, n, reason) in cases {
            let target = target(&demand);
            assert_eq!(target.n, n, "{demand:?}");
            assert_eq!(target.reason.to_string(), reason, "{demand:?}");
        }
    }

    #[test]
    fn arrivals_that_outrun_the_pool_count_while_new_processes_start() {
        let slow_start = Demand {
            queued: 1,
            busy: 2,
            ready: 2,
            service: Some(secs(1.0)),
            startup: Some(secs(2.0)),
            ..demand()
        };
        assert_eq!(target(&slow_start).n, 2);
        let flooded = Demand {
            arrivals: 12.0,
            ..slow_start
        };
        assert_eq!(target(&flooded).n, 2 + 14);
    }

    #[test]
    fn the_peak_holds_from_when_it_was_last_needed() {
        let mut scaler = Scaler::default();
        let hold = secs(30.0);
        let at = Time::from_millis;
        assert_eq!(scaler.peak(at(0), 5, hold), 5);
        assert_eq!(scaler.peak_falls_at(hold), None);
        // five were needed until ten seconds, not only at zero
        assert_eq!(scaler.peak(at(10_000), 2, hold), 5);
        assert_eq!(scaler.peak(at(20_000), 3, hold), 5);
        assert_eq!(scaler.peak_falls_at(hold), Some(at(40_000)));
        assert_eq!(scaler.peak(at(39_999), 0, hold), 5);
        assert_eq!(scaler.peak(at(40_000), 0, hold), 3);
        assert_eq!(scaler.peak(at(69_999), 0, hold), 0);
        assert_eq!(scaler.peak_falls_at(hold), None);
        assert_eq!(scaler.peak(at(69_999), 1, Duration::ZERO), 1);
        assert_eq!(scaler.peak(at(69_999), 0, Duration::ZERO), 0);
    }

    #[test]
    fn the_service_time_counts_what_still_runs() {
        let mut scaler = Scaler::default();
        let mut load = PoolLoad::default();
        scaler.sampled(Time::ZERO, &load);
        assert_eq!(scaler.service(), None);
        load.completed = 10;
        load.busy_seconds = 5.0;
        scaler.sampled(Time::from_millis(1000), &load);
        assert_eq!(scaler.service(), Some(secs(0.5)));
        load.processes.push(ProcLoad {
            proc: ProcId(1),
            busy_since: Some(Time::from_millis(1000)),
            idle_since: Time::ZERO,
            jobs_done: 0,
        });
        scaler.sampled(Time::from_millis(6000), &load);
        let service = scaler.service().unwrap().as_secs_f64();
        assert!(service > 0.95, "{service}");
    }

    #[test]
    fn the_start_up_time_follows_what_is_measured() {
        let mut scaler = Scaler::default();
        scaler.started(secs(1.0));
        assert_eq!(scaler.startup(), Some(secs(1.0)));
        scaler.started(secs(2.0));
        assert_eq!(scaler.startup(), Some(secs(1.25)));
    }

    #[test]
    fn seconds_read_well() {
        for (seconds, text) in [
            (30.0, "30 s"),
            (1.5, "1.5 s"),
            (0.96, "0.96 s"),
            (0.0, "0 s"),
            (100.4, "100 s"),
        ] {
            assert_eq!(Seconds(secs(seconds)).to_string(), text);
        }
    }
}
