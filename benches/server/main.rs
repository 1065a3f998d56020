//! Gearpool against gearmand and against a server that does nothing, under the same raw load, in turn, in one run: throughput and
//! the server's CPU time a job. `benches/README.md` says what each scenario sends and how the figures are computed.
//!
//! [`contestant`] starts the servers, [`load`] is the load, [`floor`] the do-nothing server, [`wire`] the epoll loop of both.

mod calls;
mod contestant;
mod floor;
mod load;
mod plot;
mod report;
mod scenario;
mod wire;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;

use contestant::{Contestant, Running};
use load::{Sample, Uniques};
use report::Figures;
use scenario::{Counts, Scenario};

/// Measures job servers under a raw load: throughput, and the server's CPU time a job.
#[derive(Debug, Parser)]
#[command(name = "cargo bench --bench server --")]
struct Arguments {
    /// A short run, of about 20 seconds.
    #[arg(long)]
    quick: bool,
    /// Measure these servers only, in this order (may be repeated).
    #[arg(long = "server", value_enum, value_name = "NAME")]
    servers: Vec<Contestant>,
    /// Measure these scenarios only (may be repeated). The queue is submitted for a drain in any case.
    #[arg(long = "scenario", value_enum, value_name = "NAME")]
    scenarios: Vec<Scenario>,
    /// How many rounds, instead of 5, or 3 with --quick.
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Give each background job a unique of its own, as libgearman does.
    #[arg(long)]
    uniques: bool,
    /// Start each server under this command, for instance "strace -D -c -f -o target/calls.txt". The figures then mean nothing.
    #[arg(long, value_name = "COMMAND")]
    under: Option<String>,
    /// Also write the figures to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Only count the system calls a job, with strace.
    #[arg(long)]
    calls: bool,
    /// Only draw what a submitted job costs against jobs that wait, connections and functions, into this file; two minutes.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Be the floor server, on this port.
    #[arg(long, hide = true, value_name = "PORT")]
    floor_server: Option<u16>,
    /// What cargo passes when benchmarks are wanted; without it, a test run has only built this.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    // a test runner that takes every target for a test asks for a list, and there is none
    if std::env::args().any(|argument| argument == "--list") {
        return Ok(());
    }
    let arguments = Arguments::parse();
    if let Some(port) = arguments.floor_server {
        return floor::serve(port);
    }
    if !arguments.bench {
        println!("nothing measured: run it as `cargo bench --bench server`");
        return Ok(());
    }
    run(&arguments)
}

fn run(arguments: &Arguments) -> Result<()> {
    let mut counts = if arguments.quick {
        Counts::QUICK
    } else {
        Counts::FULL
    };
    counts.rounds = arguments.rounds.unwrap_or(counts.rounds);
    let uniques = if arguments.uniques {
        Uniques::Each
    } else {
        Uniques::Empty
    };
    let servers = chosen(&arguments.servers)?;
    let wanted =
        |scenario| arguments.scenarios.is_empty() || arguments.scenarios.contains(&scenario);
    let under = match &arguments.under {
        Some(command) => shlex::split(command).context("--under: a quote is not closed")?,
        None => Vec::new(),
    };
    let before = load_average();
    if let Some(file) = &arguments.plot {
        std::fs::write(file, plot::draw(&servers)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
        println!("\nload average before: {before}, after: {}", load_average());
        return Ok(());
    }
    if arguments.calls {
        return calls::print(&servers, counts.foreground);
    }
    println!("{counts:?}, uniques: {uniques:?}\n");

    let mut samples =
        Scenario::ALL.map(|_| Vec::from_iter(servers.iter().map(|&s| (s, Vec::new()))));
    for round in 1..=counts.rounds {
        for (place, &server) in servers.iter().enumerate() {
            eprintln!("round {round} of {}: {server}", counts.rounds);
            for (scenario, sample) in round_of(server, counts, uniques, &under, &wanted)
                .with_context(|| format!("{server}, round {round}"))?
            {
                samples[scenario as usize][place].1.push(sample);
            }
        }
    }

    let mut figures = Vec::new();
    for scenario in Scenario::ALL
        .into_iter()
        .filter(|&scenario| wanted(scenario))
    {
        figures.extend(Figures::of(scenario, &samples[scenario as usize]));
    }
    report::print(&figures);
    println!(
        "\nload average (1, 5, 15 min) before: {before}, after: {}",
        load_average()
    );
    if let Some(file) = &arguments.json {
        std::fs::write(file, serde_json::to_string_pretty(&figures)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// What else the machine had to do: the figures of a crowded one scatter, and the reader has to know.
fn load_average() -> String {
    let all = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    all.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// The servers asked for, each of which has to be there, or else all that are there, with a word about the others.
fn chosen(asked: &[Contestant]) -> Result<Vec<Contestant>> {
    if !asked.is_empty() {
        asked.iter().try_for_each(|server| server.check())?;
        return Ok(asked.to_vec());
    }
    let all = [
        Contestant::Gearmand,
        Contestant::Gearpool,
        Contestant::Floor,
    ];
    Contestant::Gearmand.check()?;
    Ok(Vec::from_iter(all.into_iter().filter(|server| {
        server
            .check()
            .inspect_err(|error| eprintln!("without {server}: {error}"))
            .is_ok()
    })))
}

/// One server's part of a round: three processes, so that the scenarios do not see what the others have left behind.
fn round_of(
    server: Contestant,
    counts: Counts,
    uniques: Uniques,
    under: &[String],
    wanted: &impl Fn(Scenario) -> bool,
) -> Result<Vec<(Scenario, Sample)>> {
    let mut samples = Vec::new();
    let mut keep = |scenario, sample| {
        if wanted(scenario) {
            samples.push((scenario, sample));
        }
    };
    let queue = [Scenario::SubmitFresh, Scenario::Drain, Scenario::SubmitWarm];
    if queue.into_iter().any(wanted) {
        let running = Running::start(server, under)?;
        keep(
            Scenario::SubmitFresh,
            load::submit(&running, counts.queue, uniques)?,
        );
        if wanted(Scenario::Drain) || wanted(Scenario::SubmitWarm) {
            keep(Scenario::Drain, load::drain(&running, counts.queue)?);
        }
        if wanted(Scenario::SubmitWarm) {
            keep(
                Scenario::SubmitWarm,
                load::submit(&running, counts.queue, uniques)?,
            );
        }
        running.stop()?;
    }
    if wanted(Scenario::Foreground) {
        let running = Running::start(server, under)?;
        keep(
            Scenario::Foreground,
            load::foreground(&running, counts.foreground)?,
        );
        running.stop()?;
    }
    if wanted(Scenario::Sleepers) {
        let running = Running::start(server, under)?;
        keep(
            Scenario::Sleepers,
            load::sleepers(&running, counts.sleepers)?,
        );
        running.stop()?;
    }
    Ok(samples)
}
