//! How fast the workers' output is taken and written, and what it costs: Gearpool beside supervisord, with the same writers.
//!
//!     cargo bench --bench logs -- [--quick] [--rounds N] [--only NAME] [--megabytes N] [--format json|timestamps]
//!
//! What is measured, and how to read it, is in `benches/README.md`.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]

mod contestant;
mod floor;
mod writer;

use std::path::Path;
use std::time::Duration;

use contestant::{Contestant, Kind};

/// So many processes write at once.
const WRITERS: u32 = 4;

/// How a run went.
struct Run {
    megabytes_a_second: f64,
    cpu_seconds_a_gigabyte: f64,
    /// How much resident memory grew, in MiB.
    grown: f64,
}

struct Settings {
    rounds: usize,
    megabytes: u64,
    only: Option<String>,
    format: String,
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "--writer") {
        return writer::write(&words[1..]);
    }
    if words.first().is_some_and(|word| word == "--floor") {
        return floor::write(&words[1..]);
    }
    let settings = settings(&words);
    println!("load average {}", load_average());
    for (name, write) in [("blocks of 32 KiB", 32 << 10), ("a line a write", 0)] {
        println!(
            "\n{WRITERS} writers of {} MB each, {name}",
            settings.megabytes
        );
        let kinds = [Kind::Gearpool, Kind::Supervisord, Kind::Floor];
        let kinds = kinds.into_iter().filter(|kind| {
            settings
                .only
                .as_ref()
                .is_none_or(|only| only == kind.name())
        });
        let kinds: Vec<Kind> = kinds.collect();
        let mut runs: Vec<Vec<Run>> = kinds.iter().map(|_| Vec::new()).collect();
        for _ in 0..settings.rounds {
            for (kind, runs) in kinds.iter().zip(&mut runs) {
                runs.push(run(*kind, &settings, write));
            }
        }
        for (kind, runs) in kinds.iter().zip(&runs) {
            let rate = spread(runs.iter().map(|run| run.megabytes_a_second));
            let cpu = spread(runs.iter().map(|run| run.cpu_seconds_a_gigabyte));
            let grown = spread(runs.iter().map(|run| run.grown));
            println!(
                "{:<12} {:>5.0} MB/s ({:.0}…{:.0})   {:.2} CPU s/GB ({:.2}…{:.2})   memory +{:.1} MiB (…{:.1})",
                kind.name(),
                rate.1,
                rate.0,
                rate.2,
                cpu.1,
                cpu.0,
                cpu.2,
                grown.1,
                grown.2
            );
        }
        for (kind, theirs) in kinds.iter().zip(&runs).skip(1) {
            if kinds[0] != Kind::Gearpool {
                break;
            }
            let pairs = || runs[0].iter().zip(theirs);
            let faster = spread(
                pairs().map(|(our, their)| our.megabytes_a_second / their.megabytes_a_second),
            );
            let cheaper = spread(
                pairs()
                    .map(|(our, their)| our.cpu_seconds_a_gigabyte / their.cpu_seconds_a_gigabyte),
            );
            println!(
                "gearpool ×{:<12} {:>5.2} in MB/s ({:.2}…{:.2})   {:.2} in CPU ({:.2}…{:.2})",
                kind.name(),
                faster.1,
                faster.0,
                faster.2,
                cheaper.1,
                cheaper.0,
                cheaper.2
            );
        }
    }
    println!("\nload average {}", load_average());
}

fn settings(words: &[String]) -> Settings {
    let mut settings = Settings {
        rounds: 3,
        megabytes: 500,
        only: None,
        format: String::new(),
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().cloned().unwrap_or_default();
        match word.as_str() {
            "--quick" => (settings.rounds, settings.megabytes) = (1, 100),
            "--rounds" => settings.rounds = value().parse().unwrap(),
            "--megabytes" => settings.megabytes = value().parse().unwrap(),
            "--only" => settings.only = Some(value()),
            "--format" => settings.format = value(),
            // cargo's own
            "--bench" => {}
            other => panic!("unknown option {other}"),
        }
    }
    settings
}

fn run(kind: Kind, settings: &Settings, write: usize) -> Run {
    // Beside the build, which is on a disk; a temporary folder may be memory.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let bytes = settings.megabytes * 1_000_000;
    let contestant = Contestant::start(kind, folder.path(), bytes, write, &settings.format);
    writer::await_files(folder.path(), "ready", WRITERS);
    std::thread::sleep(Duration::from_millis(300));
    let (cpu, memory) = (contestant.cpu(), contestant.resident());
    std::fs::write(folder.path().join("go"), "").unwrap();
    let mut most = memory;
    while writer::files(folder.path(), "done") < WRITERS as usize {
        most = most.max(contestant.resident());
        std::thread::sleep(Duration::from_millis(20));
    }
    let last = contestant.settled();
    let used = (last - cpu).as_secs_f64();
    let seconds = writer::seconds(folder.path(), WRITERS);
    let total = (bytes * u64::from(WRITERS)) as f64;
    contestant.stop();
    if settings.format.is_empty() {
        for slot in 1..=WRITERS {
            check(kind, &kind.log(folder.path(), slot), bytes);
        }
    }
    Run {
        megabytes_a_second: total / 1e6 / seconds,
        cpu_seconds_a_gigabyte: used / (total / 1e9),
        grown: (most - memory) as f64 / f64::from(1 << 20),
    }
}

/// That the files that were kept hold every line to the last, in order, none torn.
fn check(kind: Kind, log: &Path, bytes: u64) {
    let older = |age: u32| format!("{}.{age}", log.display());
    let mut files: Vec<Vec<u8>> = (1..)
        .map_while(|age| std::fs::read(older(age)).ok())
        .collect();
    files.insert(0, std::fs::read(log).unwrap());
    files.reverse();
    assert!(
        files.len() > 1 || bytes < 10 << 20,
        "{} was not rotated",
        log.display()
    );
    let text = files.concat();
    let begin = match kind {
        Kind::Gearpool => 0,
        // They rotate in the middle of lines: the first that is left may be half of one.
        Kind::Supervisord | Kind::Floor => text.iter().position(|&byte| byte == b'\n').unwrap() + 1,
    };
    let mut expected = None;
    for line in text[begin..].split_inclusive(|&byte| byte == b'\n') {
        let number = writer::number(line);
        assert!(
            number.is_some(),
            "torn: {:?}",
            String::from_utf8_lossy(line)
        );
        assert!(
            expected.is_none() || expected == number,
            "a line is lost before {number:?}"
        );
        expected = number.map(|number| number + 1);
    }
    assert_eq!(expected, Some(writer::lines(bytes)), "the end is lost");
}

/// The least, the median, the most.
fn spread(values: impl Iterator<Item = f64>) -> (f64, f64, f64) {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    (
        values[0],
        values[values.len() / 2],
        values[values.len() - 1],
    )
}

fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}
