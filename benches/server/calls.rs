//! How many system calls a job takes, as strace counts them.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::contestant::{Contestant, Running};
use crate::load::{self, Uniques};

/// The calls that a job can take. The others are a server's start and end.
const COUNTED: [&str; 14] = [
    "epoll_wait",
    "epoll_pwait",
    "epoll_ctl",
    "poll",
    "read",
    "recvfrom",
    "recvmsg",
    "readv",
    "write",
    "sendto",
    "sendmsg",
    "writev",
    "futex",
    "mprotect",
];

/// What is counted, each in a process of its own.
const SCENARIOS: [&str; 3] = ["submit", "submit and drain", "foreground"];

/// Prints a table: each server, what was done, all calls a job, and which.
pub(crate) fn print(servers: &[Contestant], jobs: usize) -> Result<()> {
    println!("\n| system calls | server | a job | of these |");
    println!("| --- | --- | ---: | --- |");
    for scenario in SCENARIOS {
        for &server in servers {
            let counts = count(server, scenario, jobs)?;
            let all: f64 = counts.iter().map(|(_, calls)| calls).sum();
            // what is left out is less than a hundredth of a call
            let parts = counts.iter().filter(|(_, calls)| *calls >= 0.01);
            let parts: Vec<_> = parts
                .map(|(name, calls)| format!("{name} {calls:.2}"))
                .collect();
            println!(
                "| {scenario} | {server} | {all:.2} | {} |",
                parts.join(", ")
            );
        }
    }
    Ok(())
}

fn count(server: Contestant, scenario: &str, jobs: usize) -> Result<Vec<(String, f64)>> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("calls");
    let under = [
        "strace",
        "-D",
        "-c",
        "-f",
        "-o",
        &file.display().to_string(),
    ]
    .map(str::to_owned);
    let running =
        Running::start(server, &under).context("is strace there? Debian: apt install strace")?;
    match scenario {
        "foreground" => _ = load::foreground(&running, jobs)?,
        _ => _ = load::submit(&running, jobs, Uniques::Empty)?,
    }
    if scenario == "submit and drain" {
        load::drain(&running, jobs)?;
    }
    running.stop()?;
    parse(&file, jobs)
}

/// strace writes it when the server has ended.
fn parse(file: &Path, jobs: usize) -> Result<Vec<(String, f64)>> {
    let begin = Instant::now();
    let text = loop {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        if text.trim_end().ends_with("total") {
            break text;
        }
        if begin.elapsed() > Duration::from_secs(10) {
            bail!("strace has counted nothing");
        }
        thread::sleep(Duration::from_millis(20));
    };
    let counts = text.lines().filter_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let name = words.last().filter(|name| COUNTED.contains(name))?;
        let calls: f64 = words.get(3)?.parse().ok()?;
        Some(((*name).to_owned(), calls / jobs as f64))
    });
    let mut counts: Vec<_> = counts.collect();
    counts.sort_by(|one, other| other.1.total_cmp(&one.1));
    Ok(counts)
}
