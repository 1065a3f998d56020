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
    /// Server CPU a job, divided by gearmand's and by the floor's in the same round.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_to_gearmand: Option<Ratio>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_to_floor: Option<Ratio>,
}

/// A ratio between two servers, taken round by round: the machine's other work comes and goes between rounds, and two medians may
/// come from different ones.
#[derive(Clone, Copy, Serialize)]
struct Ratio {
    median: f64,
    lowest: f64,
    highest: f64,
}

impl Ratio {
    fn of(own: &[f64], other: &[f64]) -> Ratio {
        let ratios = Vec::from_iter(own.iter().zip(other).map(|(own, other)| own / other));
        Ratio {
            lowest: lowest(&ratios),
            highest: highest(&ratios),
            median: median(ratios),
        }
    }
}

impl Figures {
    /// The figures of one scenario, for every server that has samples.
    pub(crate) fn of(scenario: Scenario, samples: &[(Contestant, Vec<Sample>)]) -> Vec<Figures> {
        let cpu = |whose: Contestant| {
            let (_, samples) = samples.iter().find(|(server, _)| *server == whose)?;
            Some(per_job(samples, |sample| sample.server))
        };
        let (gearmand, floor) = (cpu(Contestant::Gearmand), cpu(Contestant::Floor));
        samples
            .iter()
            .map(|(server, samples)| {
                let cpu = per_job(samples, |sample| sample.server);
                Figures {
                    scenario: scenario.name(),
                    server: server.to_string(),
                    rounds: samples.len(),
                    jobs_per_round: samples.first().map_or(0, |sample| sample.jobs),
                    jobs_per_second: 1e6 / median(per_job(samples, |sample| sample.wall)),
                    server_cpu_us: median(cpu.clone()),
                    server_cpu_us_lowest: lowest(&cpu),
                    server_cpu_us_highest: highest(&cpu),
                    load_cpu_us: median(per_job(samples, |sample| sample.load)),
                    p50_us: percentile(samples, 50),
                    p99_us: percentile(samples, 99),
                    cpu_to_gearmand: gearmand.as_ref().map(|other| Ratio::of(&cpu, other)),
                    cpu_to_floor: floor.as_ref().map(|other| Ratio::of(&cpu, other)),
                }
            })
            .collect()
    }
}

/// Prints the table.
pub(crate) fn print(figures: &[Figures]) {
    println!(
        "{:<13} {:<9} {:>9} {:>12} {:>17} {:>21} {:>21} {:>9} {:>8} {:>8}",
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
            ratio(figure.cpu_to_gearmand),
            ratio(figure.cpu_to_floor),
            figure.load_cpu_us,
            microseconds(figure.p50_us),
            microseconds(figure.p99_us),
        );
    }
}

fn microseconds(figure: Option<f64>) -> String {
    figure.map_or("–".to_owned(), |figure| format!("{figure:.0}"))
}

fn ratio(ratio: Option<Ratio>) -> String {
    ratio.map_or("–".to_owned(), |ratio| {
        format!(
            "{:.3} ({:.3}…{:.3})",
            ratio.median, ratio.lowest, ratio.highest
        )
    })
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

fn lowest(figures: &[f64]) -> f64 {
    figures.iter().copied().fold(f64::INFINITY, f64::min)
}

fn highest(figures: &[f64]) -> f64 {
    figures.iter().copied().fold(0.0, f64::max)
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
