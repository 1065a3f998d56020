//! Runs the policies over the loads, and the figures of it.

use crate::ours::Ours;
use crate::rivals::{AlwaysMax, Celery, Every, Horizon, Keda, Knative, PhpFpm};
use crate::workloads::{self, load};
use crate::world::{Policy, Pool, World};

/// What became of one load under one policy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    /// Worker seconds.
    pub(crate) cost: f64,
    pub(crate) starts: u32,
    pub(crate) cut: u32,
}

/// The same over all loads; waits without the spike, which its `max` decides.
#[derive(Clone, Debug)]
pub(crate) struct Summary {
    pub(crate) policy: String,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    /// The geometric mean of the cost beside that of always having `max`.
    pub(crate) cost: f64,
    pub(crate) starts: u32,
    pub(crate) cut: u32,
}

pub(crate) fn percentile(waits: &[f64], percent: f64) -> f64 {
    let mut waits = waits.to_vec();
    waits.sort_by(f64::total_cmp);
    let rank = (percent / 100.0 * waits.len() as f64).ceil() as usize;
    waits.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

pub(crate) fn row(pool: &Pool) -> Row {
    Row {
        p95: percentile(&pool.waits, 95.0),
        p99: percentile(&pool.waits, 99.0),
        cost: pool.cost,
        starts: pool.starts,
        cut: pool.cut,
    }
}

pub(crate) fn ours() -> Box<dyn Policy> {
    Box::new(Ours::new(None, |_| {}))
}

pub(crate) fn policies() -> Vec<fn() -> Box<dyn Policy>> {
    vec![
        || Box::new(AlwaysMax),
        || Box::new(Horizon::new(None)),
        || Box::new(Every(Keda::default())),
        || Box::new(Every(PhpFpm::default())),
        || Box::new(Every(Celery::default())),
        || Box::new(Every(Knative::default())),
        ours,
    ]
}

/// One load under one policy, `min` 2 and `max` 30.
pub(crate) fn one(name: &'static str, policy: &mut dyn Policy, seed: u64) -> World {
    let load = load(name, seed);
    let pool = Pool::new(2, 30, load.startup);
    World::run(vec![pool], load.arrivals, policy, load.end)
}

/// The mean of so many seeds.
fn mean(name: &'static str, policy: fn() -> Box<dyn Policy>, seeds: u64) -> Row {
    let rows: Vec<Row> = (1..=seeds)
        .map(|seed| row(&one(name, &mut *policy(), seed).pools[0]))
        .collect();
    let of = |value: fn(&Row) -> f64| rows.iter().map(value).sum::<f64>() / seeds as f64;
    Row {
        p95: of(|row| row.p95),
        p99: of(|row| row.p99),
        cost: of(|row| row.cost),
        starts: of(|row| f64::from(row.starts)).round() as u32,
        // one in any run shows
        cut: rows
            .iter()
            .map(|row| row.cut)
            .sum::<u32>()
            .div_ceil(seeds as u32),
    }
}

pub(crate) fn summarize(
    policy: fn() -> Box<dyn Policy>,
    fixed: &[f64],
    each: bool,
    seeds: u64,
) -> Summary {
    let name = policy().name();
    let mut rows = Vec::new();
    for load in workloads::NAMES {
        let row = mean(load, policy, seeds);
        if each {
            println!(
                "{load:12} {name:22} p95 {:8.3} s  p99 {:8.3} s  cost {:.2}  starts {:5}  cut {:5}",
                row.p95,
                row.p99,
                row.cost / fixed.get(rows.len()).copied().unwrap_or(row.cost),
                row.starts,
                row.cut
            );
        }
        rows.push((load, row));
    }
    let waits: Vec<&Row> = rows
        .iter()
        .filter(|(load, _)| *load != "spike")
        .map(|(_, row)| row)
        .collect();
    let mean =
        |of: fn(&Row) -> f64| waits.iter().map(|row| of(row)).sum::<f64>() / waits.len() as f64;
    let logs: f64 = rows
        .iter()
        .zip(fixed)
        .map(|((_, row), fixed)| (row.cost / fixed).ln())
        .sum();
    Summary {
        policy: name,
        p95: mean(|row| row.p95),
        p99: mean(|row| row.p99),
        cost: (logs / rows.len() as f64).exp(),
        starts: rows.iter().map(|(_, row)| row.starts).sum(),
        cut: rows.iter().map(|(_, row)| row.cut).sum(),
    }
}

/// What always having `max` costs, a load each.
pub(crate) fn fixed_costs(seeds: u64) -> Vec<f64> {
    workloads::NAMES
        .iter()
        .map(|load| mean(load, || Box::new(AlwaysMax), seeds).cost)
        .collect()
}

/// The table of `docs/scaling.md`.
pub(crate) fn print(summaries: &[Summary]) {
    println!(
        "| policy | p95 wait | p99 | cost ÷ always max | process starts | stopped while busy |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    for it in summaries {
        println!(
            "| {} | {:.2} s | {:.2} s | {:.2} | {} | {} |",
            it.policy, it.p95, it.p99, it.cost, it.starts, it.cut
        );
    }
}
