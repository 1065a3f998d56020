//! Gearpool's scaling beside that of other systems, in simulation: `cargo bench --bench scale`. With `each`, each policy's figures on
//! each load; with `seeds N`, the mean of so many runs; and what one decision costs. With `decision` that alone, for callgrind; with
//! `idle`, what the real daemon costs with 200 pools of 20 processes that have nothing to do.

mod idle;
mod ours;
mod report;
mod rivals;
mod workloads;
mod world;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gearpool::config::{Command, Pool};
use gearpool::pools::{Caps, Event, PoolLoad, ProcId, ProcLoad, Supervisor};
use gearpool::time::Time;

fn main() {
    let words: Vec<String> = std::env::args().collect();
    if words.iter().any(|word| word == "idle") {
        return idle::measure();
    }
    if words.iter().any(|word| word == "decision") {
        return decisions();
    }
    let each = words.iter().any(|word| word == "each");
    let seeds = words.iter().position(|word| word == "seeds");
    let seeds = seeds.and_then(|place| words.get(place + 1)?.parse().ok());
    let seeds = seeds.unwrap_or(1);
    let fixed = report::fixed_costs(seeds);
    let summaries: Vec<_> = report::policies()
        .into_iter()
        .map(|policy| report::summarize(policy, &fixed, each, seeds))
        .collect();
    report::print(&summaries);
    println!();
    let wander = |policy: &mut dyn world::Policy| {
        report::row(&report::one("random walk", policy, 1).pools[0])
    };
    for policy in report::policies() {
        let (name, row) = (policy().name(), wander(&mut *policy()));
        println!(
            "a rate that wanders, {name}: p95 {:.2} s, p99 {:.2} s, {} starts, {} cut",
            row.p95, row.p99, row.starts, row.cut
        );
    }
    println!();
    let (arrivals, end) = workloads::beside_a_flood();
    let mut ours = ours::Ours::new(Some(30), |_| {});
    let pools = vec![world::Pool::new(1, 30, 0.3); 3];
    let world = world::World::run(pools, arrivals, &mut ours, end);
    println!(
        "a steady pool beside a flood, max_processes 30: p95 {:.2} s; the flood at the end: {}",
        report::percentile(&world.pools[1].waits, 95.0),
        ours.reason(&world, 0)
    );
    decisions();
}

fn decisions() {
    for (pools, processes) in [(1, 20), (200, 20)] {
        let took = decision(pools, processes);
        println!(
            "a sample of {pools} pools with {processes} processes each: {:.1} µs, {:.2} µs a pool",
            took.as_secs_f64() * 1e6,
            took.as_secs_f64() * 1e6 / f64::from(pools)
        );
    }
}

/// How long the supervisor takes for a sample of idle pools.
fn decision(pools: u32, processes: u32) -> Duration {
    const ROUNDS: u32 = 1000;
    let mut supervisor = Supervisor::new(1);
    let files = (0..pools).map(|i| {
        let mut pool = Pool::new(&format!("p{i}"), Command::Exec(vec!["w".to_owned()]));
        (pool.min, pool.max) = (processes, processes * 2);
        Arc::new(pool)
    });
    let configured = Event::Configured(files.collect(), Caps::default());
    black_box(supervisor.handle(Time::ZERO, configured));
    let mut now = Time::ZERO;
    for proc in 1..=u64::from(pools * processes) {
        let proc = ProcId(proc);
        black_box(supervisor.handle(now, Event::Registered { proc }));
        now = now + Duration::from_millis(2);
    }
    let loads: Vec<PoolLoad> = supervisor
        .view(now)
        .into_iter()
        .map(|view| PoolLoad {
            pool: view.name,
            processes: view
                .processes
                .iter()
                .map(|it| ProcLoad {
                    proc: ProcId(it.proc),
                    busy_since: None,
                    idle_since: Time::ZERO,
                    jobs_done: 7,
                })
                .collect(),
            ..PoolLoad::default()
        })
        .collect();
    let samples: Vec<_> = (0..ROUNDS).map(|_| loads.clone()).collect();
    let start = Instant::now();
    for sample in samples {
        now = now + Duration::from_secs(1);
        black_box(supervisor.handle(now, Event::Sampled(sample)));
    }
    start.elapsed() / ROUNDS
}
