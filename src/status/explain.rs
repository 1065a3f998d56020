//! Why a pool has the size that it has, in plain sentences: `gearpool explain`.

use std::fmt::Write as _;
use std::time::Duration;

use super::words::printable;
use super::{PoolStatus, Status};
use crate::jobs::load::FunctionLoad;

/// So many decisions are told; the JSON has all that are remembered.
const TOLD: usize = 8;

/// The sentences about a pool, or `None` when there is none of that name.
pub fn explain(status: &Status, name: &str) -> Option<String> {
    let it = status.pools.iter().find(|it| it.pool.name == name)?;
    let functions = status.functions.iter();
    let functions = functions.filter(|load| it.pool.functions.contains(&load.name));
    Some(text(it, &functions.collect::<Vec<_>>()))
}

fn text(it: &PoolStatus, functions: &[&FunctionLoad]) -> String {
    let (pool, scale) = (&it.pool, &it.pool.scale);
    let mut out = String::new();
    let by_hand = match &pool.by_hand {
        Some(by_hand) => format!(" ({by_hand})"),
        None => String::new(),
    };
    // writing to a String does not fail
    let _ = writeln!(
        out,
        "{} should have {} of {}..{} processes{by_hand}: {}.",
        pool.name, pool.target, pool.min, pool.max, pool.reason
    );
    let _ = writeln!(
        out,
        "It has {} running, {} starting and {} draining; {} {}.",
        scale.running,
        scale.starting,
        scale.draining,
        it.queued,
        if it.queued == 1 {
            "job waits"
        } else {
            "jobs wait"
        },
    );
    if let Some(check) = &pool.check {
        let _ = writeln!(out, "Its {}", printable(&check.failed));
        for line in &check.lines {
            let _ = writeln!(out, "  | {}", printable(line));
        }
    }
    if !it.paused.is_empty() {
        let _ = writeln!(
            out,
            "{} held by hand: its jobs are given to nobody, and no process is started for them, until `gearpool resume`.",
            it.paused.join(", ")
        );
    }
    match scale.service {
        Some(service) => {
            let _ = writeln!(
                out,
                "{:.1} jobs come in a second and take {} each, which keeps {:.1} processes busy; a job should wait {} at most.",
                scale.arrivals,
                seconds(service),
                scale.arrivals * service.as_secs_f64(),
                seconds(scale.target_wait)
            );
        }
        None => out.push_str("No job has ended yet, so how long one takes is not known.\n"),
    }
    if let Some(startup) = scale.startup {
        let _ = writeln!(
            out,
            "Starting a process takes {}; what was needed is kept for {} at least after it was needed last.",
            seconds(startup),
            seconds(scale.hold)
        );
    }
    for load in functions.iter().filter(|load| load.waits.jobs > 0) {
        let _ = writeln!(
            out,
            "Of the last {} jobs of {}, half waited less than {}, 95 % less than {}, 99 % less than {}.",
            load.waits.jobs,
            load.name,
            seconds(load.waits.p50),
            seconds(load.waits.p95),
            seconds(load.waits.p99)
        );
    }
    if !scale.decisions.is_empty() {
        out.push_str("\nLately:\n");
    }
    let skipped = scale.decisions.len().saturating_sub(TOLD);
    for decision in scale.decisions.iter().skip(skipped) {
        let _ = writeln!(
            out,
            "  {} ago  {} → {}  {}",
            seconds(decision.ago),
            decision.from,
            decision.to,
            decision.reason
        );
    }
    out
}

fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    match seconds {
        s if s >= 10.0 => format!("{s:.0} s"),
        s if s >= 1.0 => format!("{s:.1} s"),
        s => format!("{:.0} ms", s * 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::load::WaitLoad;
    use crate::pools::view::{CheckView, DecisionView, ScaleView};
    use crate::status::samples;

    fn pool(name: &str, reason: &str) -> PoolStatus {
        let mut it = samples::pool(name, Vec::new());
        (it.pool.target, it.pool.reason) = (2, reason.to_owned());
        it
    }

    fn load(name: &str, waits: WaitLoad) -> FunctionLoad {
        FunctionLoad {
            name: name.to_owned(),
            waits,
            ..FunctionLoad::default()
        }
    }

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_pool_at_work() {
        let decision = |seconds, from, to: u32| DecisionView {
            ago: Duration::from_secs(seconds),
            from,
            to,
            reason: format!("wants {to}: {to} busy"),
        };
        let mut it = pool(
            "fetchURL",
            "wants 12: 80 queued × 1 s would wait ~8 s on 10 processes, target 0.25 s",
        );
        it.queued = 80;
        it.pool.target = 12;
        it.pool.functions.push("fetchFile".to_owned());
        it.pool.scale = ScaleView {
            wants: 12,
            running: 10,
            starting: 2,
            draining: 1,
            arrivals: 8.04,
            service: Some(millis(1000)),
            startup: Some(millis(320)),
            target_wait: millis(250),
            hold: millis(30_000),
            decisions: (1..=10)
                .rev()
                .map(|at| decision(u64::from(at) * 7, at, at + 1))
                .collect(),
        };
        let waits = WaitLoad {
            jobs: 500,
            p50: millis(3),
            p95: millis(1234),
            p99: millis(12_345),
        };
        let functions = [
            load("fetchURL", waits),
            load("fetchFile", WaitLoad::default()),
        ];
        insta::assert_snapshot!(text(&it, &functions.iter().collect::<Vec<_>>()));
    }

    #[test]
    fn pools_that_have_done_nothing_yet() {
        let mut held = pool("resize", "held at 1 by hand");
        (held.pool.by_hand, held.queued) = (Some("scaled by hand".to_owned()), 1);
        let mut unfit = pool("mail", "starts when its check has passed");
        unfit.pool.check = Some(CheckView {
            failed: "check failed, nothing is started before it passes: php -l mail.php: exit 255"
                .to_owned(),
            lines: vec![
                "PHP Parse error: …".to_owned(),
                "Errors parsing mail.php".to_owned(),
            ],
        });
        insta::assert_snapshot!(text(&held, &[]) + "\n" + &text(&unfit, &[]));
    }
}
