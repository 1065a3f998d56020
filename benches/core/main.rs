//! How many instructions a job takes in the pure core: the same on a busy machine as on a quiet one.
//!
//!     cargo run --release -p gearpool-core                # count, and compare with benches/core/instructions.txt
//!     cargo run --release -p gearpool-core -- --record    # write that file
//!
//!     cargo run --release -p gearpool-core -- --plot      # draw docs/cost.svg: the cost against waiting jobs, workers and functions
//!
//! Each case runs as a process of its own under `valgrind --tool=callgrind`, which counts between entering and leaving [`counted`].
//! The packets are decoded, the answers encoded, as the daemon does it; sockets, locks and the kernel are not in it.

mod cases;
mod plot;

use std::fmt::Write as _;
use std::process::{Command, ExitCode};

use cases::{CASES, Case};

/// More than this beyond what is recorded is a regression. Another compiler moves the figures by a few per cent.
const TOLERANCE: f64 = 0.05;

const RECORD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/instructions.txt");

const PLOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cost.svg");

fn main() -> ExitCode {
    let argument = std::env::args().nth(1);
    match argument.as_deref() {
        None => report(&count_all(), &recorded()),
        Some("--record") => {
            let mut text = String::new();
            for (case, count) in count_all() {
                println!("{:<28} {count:>8.0}", case.name);
                let _ = writeln!(text, "{:<28} {count:>8.0}", case.name);
            }
            std::fs::write(RECORD, text).expect("the folder of this program is writable");
            ExitCode::SUCCESS
        }
        Some("--plot") => {
            let svg = plot::draw(|name| count(name) as f64 / cases::JOBS as f64);
            std::fs::write(PLOT, svg).expect("the folder of documents is writable");
            ExitCode::SUCCESS
        }
        Some(name) if plot::run(name) => ExitCode::SUCCESS,
        Some(name) => match CASES.iter().find(|case| case.name == name) {
            Some(case) => {
                (case.run)();
                ExitCode::SUCCESS
            }
            None => {
                eprintln!("no case is called {name:?}");
                ExitCode::FAILURE
            }
        },
    }
}

/// The instructions a job of each case.
fn count_all() -> Vec<(&'static Case, f64)> {
    let count = |case: &'static Case| (case, count(case.name) as f64 / cases::JOBS as f64);
    CASES.iter().map(count).collect()
}

fn count(name: &str) -> u64 {
    let program = std::env::current_exe().expect("the program that runs has a path");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg("--toggle-collect=*counted*")
        .arg(program)
        .arg(name)
        .output()
        .expect("valgrind is installed (Debian: apt install valgrind)");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {said}");
    let (_, count) = said
        .split_once("Collected : ")
        .expect("callgrind says what it has counted");
    let count = count.split_whitespace().next().unwrap_or_default();
    let count = count.parse().expect("a count is a number");
    assert!(count > 0, "{name}: nothing was counted");
    count
}

fn recorded() -> Vec<(String, f64)> {
    let text = std::fs::read_to_string(RECORD).unwrap_or_default();
    let line = |line: &str| {
        let (name, count) = line.rsplit_once(' ')?;
        Some((name.trim().to_owned(), count.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

fn report(counts: &[(&Case, f64)], recorded: &[(String, f64)]) -> ExitCode {
    let mut verdict = ExitCode::SUCCESS;
    println!(
        "{:<28} {:>8} {:>8}",
        "instructions a job", "now", "recorded"
    );
    for (case, count) in counts {
        let before = recorded.iter().find(|(name, _)| name == case.name);
        let before = before.map_or(0.0, |&(_, before)| before);
        let word = if *count > before * (1.0 + TOLERANCE) {
            verdict = ExitCode::FAILURE;
            "  MORE than recorded"
        } else if *count < before * (1.0 - TOLERANCE) {
            "  less: record it"
        } else {
            ""
        };
        println!("{:<28} {count:>8.0} {before:>8.0}{word}", case.name);
    }
    verdict
}

/// What callgrind counts.
#[inline(never)]
fn counted(work: &mut dyn FnMut()) {
    work();
    // no tail call, for callgrind has to see the way back
    std::hint::black_box(());
}
