//! Why a pool has the size that it has, in plain sentences: `gearpool explain`.

use std::fmt::Write as _;
use std::time::Duration;

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
            "Starting a process takes {}; what was needed is kept for {} after it was needed last.",
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
