//! How many processes a pool should have, and why.
//!
//! [`target`] is a function of what is known of the pool's jobs, a [`Demand`]. It gives a number and the reason for it, in the words
//! that the status shows. What has to be remembered for it (service time, arrivals, start-up time, the peak of the need) is kept by
//! [`Past`]. Neither knows single processes: which one goes when fewer are wanted is the crew's business, and so is what keeps a
//! pool from what it wants (a crash loop); what the machine has room for is decided in `share`.

mod erlang;
mod hold;
mod past;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(super) use past::{Past, Reserve, Wishes};

/// While nothing is known of the service time, at most so many are starting at once, or as many as are up, if that is more. It is one
/// until the pool's first process has registered.
const COLD_STEP: u32 = 4;

/// What is known of a pool's jobs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Demand {
    /// Its processes that have a job.
    pub(super) busy: u32,
    /// Jobs that wait.
    pub(super) queued: u64,
    /// How long the oldest of them has waited.
    pub(super) oldest_wait: Duration,
    /// How long a job takes; `None` until the first has ended.
    pub(super) service: Option<Duration>,
    /// Jobs that came in a second, over the last moments.
    pub(super) arrivals: f64,
    /// From the start of a process until it registers; `None` until the first has.
    pub(super) startup: Option<Duration>,
    /// What Poisson arrivals need.
    pub(super) reserve: Reserve,
    /// Its processes that stay.
    pub(super) serving: u32,
    /// Those of them that have registered.
    pub(super) ready: u32,
    /// How long ago it last grew because jobs had waited long.
    pub(super) since_late: Option<Duration>,
    /// The bounds in force.
    pub(super) min: u32,
    /// See `min`.
    pub(super) max: u32,
    /// The configured `target_wait`.
    pub(super) target_wait: Option<Duration>,
    /// The share of waits under the target, 0 to 1.
    pub(super) service_level: f64,
    /// The highest need of the last `hold`.
    pub(super) peak: u32,
    /// See `peak`.
    pub(super) hold: Duration,
}

/// How many, and why.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Target {
    pub(super) n: u32,
    pub(super) reason: Reason,
}

/// Why a pool should have the number that it should have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Reason {
    /// `min` covers the need.
    AtMin,
    /// `max` does not.
    AtMax,
    /// `scale: off`: it has `min`.
    Off,
    /// It has nothing before its check has passed.
    Untried,
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
    /// Arrivals vary, and a start is slow.
    Reserve {
        n: u32,
        reserve: Reserve,
        service_level: f64,
    },
    /// A job has waited longer than was foreseen.
    Waited {
        n: u32,
        wait: Duration,
        target: Duration,
    },
    /// The need was higher a moment ago.
    Peak { n: u32, hold: Duration },
}

/// How long a job should wait at most: as configured, or a quarter of what it takes.
pub(super) fn target_wait(configured: Option<Duration>, service: Option<f64>) -> Duration {
    configured
        .unwrap_or_else(|| Duration::from_secs_f64((0.25 * service.unwrap_or(0.0)).clamp(0.1, 2.0)))
}

impl Demand {
    fn target(&self) -> Duration {
        target_wait(self.target_wait, self.service.map(|it| it.as_secs_f64()))
    }

    /// A new process cannot help sooner than it has started.
    fn horizon(&self) -> Duration {
        self.target().max(self.startup.unwrap_or_default())
    }
}

/// What the pool needs for what it has to do now, whatever it needed before, and whatever its `max`.
pub(super) fn need(demand: &Demand) -> Target {
    let busy = demand.busy;
    let (n, reason) = match demand.service {
        _ if demand.queued == 0 => (busy, Reason::Busy { n: busy }),
        None => {
            let all = clamp(u64::from(busy) + demand.queued);
            // nothing has come up yet: one shows whether anything does
            let first = demand.startup.map_or(1, |_| COLD_STEP);
            let step = demand.ready.saturating_add(demand.ready.max(first));
            let n = all.min(step);
            (n, Reason::Cold { n })
        }
        Some(service) => late(demand, service),
    };
    Target { n, reason }
}

/// What the pool wants: its need, what it keeps in reserve, and a correction when jobs wait longer than was foreseen; within its
/// bounds.
pub(super) fn want(demand: &Demand) -> Target {
    let mut want = need(demand);
    if demand.reserve.n > want.n {
        want = Target {
            n: demand.reserve.n,
            reason: Reason::Reserve {
                n: demand.reserve.n,
                reserve: demand.reserve,
                service_level: demand.service_level,
            },
        };
    }
    if let Some(waited) = waited(demand)
        && waited.n > want.n
    {
        want = waited;
    }
    if want.n > demand.max {
        return Target {
            n: demand.max,
            reason: Reason::AtMax,
        };
    }
    if want.n <= demand.min {
        return Target {
            n: demand.min,
            reason: Reason::AtMin,
        };
    }
    want
}

/// How many the pool should have, when it wants this.
pub(super) fn target(demand: &Demand, want: Target) -> Target {
    let peak = demand.peak.min(demand.max);
    if want.n >= peak {
        return want;
    }
    Target {
        n: peak,
        reason: Reason::Peak {
            n: peak,
            hold: demand.hold,
        },
    }
}

/// Enough processes that the jobs which would start later than the target wait do not have to.
fn late(demand: &Demand, service: Duration) -> (u32, Reason) {
    let busy = f64::from(demand.busy);
    // a service time of zero would divide by it
    let each = service.as_secs_f64().max(1e-4);
    let startup = demand.startup.unwrap_or_default().as_secs_f64();
    let target = demand.target().as_secs_f64();
    let horizon = demand.horizon().as_secs_f64();
    let come_meanwhile = (demand.arrivals - busy / each).max(0.0) * startup;
    let late = demand.queued as f64 + come_meanwhile - busy * horizon / each;
    if late <= 0.0 {
        return (demand.busy, Reason::Busy { n: demand.busy });
    }
    // so many jobs does a new process start within its first target wait
    let more = (late / (1.0 + target / each)).ceil();
    let n = clamp(u64::from(demand.busy) + more as u64);
    let on = demand.busy.max(demand.ready);
    let wait = demand.queued as f64 * each / f64::from(on.max(1));
    (
        n,
        Reason::Late {
            n,
            queued: demand.queued,
            service,
            wait: Duration::try_from_secs_f64(wait).unwrap_or(Duration::MAX),
            on,
            target: demand.target(),
        },
    )
}

/// The prediction was too good: a job has waited twice as long as one should, and nothing is on the way.
fn waited(demand: &Demand) -> Option<Target> {
    let horizon = demand.horizon();
    let is_late = demand.queued > 0
        && demand.serving == demand.ready
        && demand.oldest_wait > horizon * 2
        && demand.since_late.is_none_or(|since| since > horizon);
    let all = clamp(u64::from(demand.busy) + demand.queued);
    let more = demand.serving + (demand.serving / 4).max(1);
    is_late.then(|| {
        let n = more.min(all);
        Target {
            n,
            reason: Reason::Waited {
                n,
                wait: demand.oldest_wait,
                target: demand.target(),
            },
        }
    })
}

fn clamp(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::AtMin => write!(f, "at min"),
            Reason::AtMax => write!(f, "held at max: raise max to start more"),
            Reason::Off => write!(f, "scaling is off"),
            Reason::Untried => write!(f, "starts when its check has passed"),
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
            Reason::Reserve {
                n,
                reserve,
                service_level,
            } => write!(
                f,
                "wants {n}: {:.1} jobs/s × {:.2} s = {:.0} busy on average; {n} keeps {} % of waits under {}",
                reserve.rate,
                reserve.service.as_secs_f64(),
                reserve.rate * reserve.service.as_secs_f64(),
                (service_level * 1000.0).round() / 10.0,
                Seconds(reserve.within),
            ),
            Reason::Waited { n, wait, target } => write!(
                f,
                "wants {n}: the oldest job has waited {}, target {}",
                Seconds(*wait),
                Seconds(*target)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pools::event::{PoolLoad, ProcId, ProcLoad};
    use crate::time::Time;

    fn secs(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    const WISHES: Wishes = Wishes {
        max: 30,
        target_wait: None,
        service_level: 0.95,
        down_after: None,
    };

    fn demand() -> Demand {
        Demand {
            min: 1,
            max: 30,
            hold: secs(30.0),
            service_level: 0.95,
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
                    ..demand()
                },
                1,
                "at min",
            ),
            (
                Demand {
                    queued: 1000,
                    ready: 1,
                    busy: 1,
                    startup: Some(secs(0.3)),
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
            let target = target(&demand, want(&demand));
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
        assert_eq!(want(&slow_start).n, 2);
        let flooded = Demand {
            arrivals: 12.0,
            ..slow_start
        };
        assert_eq!(want(&flooded).n, 2 + 14);
    }

    #[test]
    fn the_service_time_counts_what_still_runs() {
        let mut past = Past::default();
        let mut load = PoolLoad::default();
        past.sampled(Time::ZERO, &load, WISHES);
        assert_eq!(past.service(), None);
        load.completed = 10;
        load.busy_seconds = 5.0;
        past.sampled(Time::from_millis(1000), &load, WISHES);
        assert_eq!(past.service(), Some(secs(0.5)));
        load.processes.push(ProcLoad {
            proc: ProcId(1),
            busy_since: Some(Time::from_millis(1000)),
            idle_since: Time::ZERO,
            jobs_done: 0,
        });
        past.sampled(Time::from_millis(6000), &load, WISHES);
        let service = past.service().unwrap().as_secs_f64();
        assert!(service > 0.95, "{service}");
    }

    #[test]
    fn the_start_up_time_follows_what_is_measured() {
        let mut past = Past::default();
        past.started(secs(1.0));
        assert_eq!(past.startup(), Some(secs(1.0)));
        past.started(secs(2.0));
        assert_eq!(past.startup(), Some(secs(1.25)));
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
