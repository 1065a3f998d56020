//! Samples to figures: medians over the rounds, ratios, the table and the JSON.

use std::time::Duration;

use serde::Serialize;

use crate::contestant::Contestant;
use crate::load::Sample;
use crate::scenario::Scenario;

/// The figures of one server in one scenario: each the median of the rounds, on its own.
#[derive(Serialize)]
pub(crate) struct Figures {
    scenario: &'static str,
    server: String,
    rounds: usize,
    jobs_per_round: usize,
    jobs_per_second: f64,
    /// Microseconds of the server's CPU a job: the median, the lowest and the highest round.
    server_cpu_us: f64,
    server_cpu_us_lowest: f64,
    server_cpu_us_highest: f64,
    /// Microseconds of the load's own CPU a job.
    load_cpu_us: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    p50_us: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p99_us: Option<f64>,
    /// Server CPU a job, divided by gearmand's and by the floor's in the same run.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_to_gearmand: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_to_floor: Option<f64>,
}

impl Figures {
    /// The figures of one scenario, for every server that has samples.
    pub(crate) fn of(scenario: Scenario, samples: &[(Contestant, Vec<Sample>)]) -> Vec<Figures> {
        let cpu = |whose: Contestant| {
            let (_, samples) = samples.iter().find(|(server, _)| *server == whose)?;
            Some(median(per_job(samples, |sample| sample.server)))
        };
        let (gearmand, floor) = (cpu(Contestant::Gearmand), cpu(Contestant::Floor));
        samples
            .iter()
            .map(|(server, samples)| {
                let cpu = per_job(samples, |sample| sample.server);
                let own = median(cpu.clone());
                Figures {
                    scenario: scenario.name(),
                    server: server.to_string(),
                    rounds: samples.len(),
                    jobs_per_round: samples.first().map_or(0, |sample| sample.jobs),
                    jobs_per_second: 1e6 / median(per_job(samples, |sample| sample.wall)),
                    server_cpu_us: own,
                    server_cpu_us_lowest: cpu.iter().copied().fold(f64::INFINITY, f64::min),
                    server_cpu_us_highest: cpu.iter().copied().fold(0.0, f64::max),
                    load_cpu_us: median(per_job(samples, |sample| sample.load)),
                    p50_us: percentile(samples, 50),
                    p99_us: percentile(samples, 99),
                    cpu_to_gearmand: gearmand.map(|gearmand| own / gearmand),
                    cpu_to_floor: floor.map(|floor| own / floor),
                }
            })
            .collect()
    }
}

/// Prints the table.
pub(crate) fn print(figures: &[Figures]) {
    println!(
        "{:<13} {:<9} {:>9} {:>12} {:>17} {:>10} {:>8} {:>9} {:>8} {:>8}",
        "scenario",
        "server",
        "jobs/s",
        "CPU µs/job",
        "lowest…highest",
        "×gearmand",
        "×floor",
        "load CPU",
        "p50 µs",
        "p99 µs"
    );
    let mut last = "";
    for figure in figures {
        let scenario = if figure.scenario == last {
            ""
        } else {
            figure.scenario
        };
        last = figure.scenario;
        println!(
            "{:<13} {:<9} {:>9.0} {:>12.2} {:>17} {:>10} {:>8} {:>9.2} {:>8} {:>8}",
            scenario,
            figure.server,
            figure.jobs_per_second,
            figure.server_cpu_us,
            format!(
                "{:.2}…{:.2}",
                figure.server_cpu_us_lowest, figure.server_cpu_us_highest
            ),
            optional(figure.cpu_to_gearmand, 3),
            optional(figure.cpu_to_floor, 2),
            figure.load_cpu_us,
            optional(figure.p50_us, 0),
            optional(figure.p99_us, 0),
        );
    }
}

fn optional(figure: Option<f64>, decimals: usize) -> String {
    figure.map_or("–".to_owned(), |figure| format!("{figure:.decimals$}"))
}

/// Microseconds a job, one figure a round.
fn per_job(samples: &[Sample], what: impl Fn(&Sample) -> Duration) -> Vec<f64> {
    samples
        .iter()
        .map(|sample| what(sample).as_secs_f64() * 1e6 / sample.jobs as f64)
        .collect()
}

/// The median over the rounds of each round's percentile, in microseconds.
fn percentile(samples: &[Sample], percent: usize) -> Option<f64> {
    let rounds: Option<Vec<f64>> = samples
        .iter()
        .map(|sample| {
            let latencies = &sample.latencies;
            let at = (latencies.len() * percent / 100).min(latencies.len().checked_sub(1)?);
            Some(latencies[at].as_secs_f64() * 1e6)
        })
        .collect();
    rounds.map(median)
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    let middle = figures.len() / 2;
    match figures.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => figures[middle],
        _ => f64::midpoint(figures[middle - 1], figures[middle]),
    }
}
