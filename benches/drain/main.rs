//! What becomes of jobs while their workers are scaled and restarted: under Gearpool, under supervisord, and with plain SIGTERM.
//!
//!     cargo bench --bench drain -- [--quick] [--seed N] [--only NAME]
//!
//! What is counted, and how to read it, is in `benches/README.md`.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]

mod gearpool;
mod manager;
mod plain;
#[path = "../../tests/sim/random.rs"]
#[expect(dead_code, reason = "it is made for a simulation")]
mod random;
mod supervisord;
#[path = "../../tests/drain/work.rs"]
mod work;

use std::path::Path;
use std::time::{Duration, Instant};

use manager::{Manager, Server};
use random::Random;
use work::{KINDS, Tally};

/// Reached only when something hangs.
const DEADLINE: Duration = Duration::from_secs(120);

/// So many processes of each kind there are at first.
const FIRST: u32 = 3;

/// What happens to the workers of a kind, once so many jobs are done.
struct Operation {
    kind: &'static str,
    /// How many there are to be from now on; or they are all replaced.
    scale: Option<u32>,
    after: usize,
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let after = |flag: &str| {
        let place = words.iter().position(|word| word == flag)?;
        words.get(place + 1)
    };
    let (jobs, operations) = match words.iter().any(|word| word == "--quick") {
        true => (200, 10),
        false => (2000, 50),
    };
    let seed = after("--seed").map_or(1, |seed| seed.parse().unwrap());
    let only = after("--only");
    println!("{jobs} jobs of 50 to 500 ms, 100 ms of work after each; {operations} operations\n");
    println!(
        "| workers run by | jobs begun more than once | never done | work after the result cut | killed by KILL | took |"
    );
    println!("| --- | --- | --- | --- | --- | --- |");
    for name in ["Gearpool", "supervisord", "plain SIGTERM"] {
        if only.is_none_or(|only| only == name) {
            run(name, jobs, operations, seed);
        }
    }
}

fn run(name: &str, jobs: usize, operations: usize, seed: u64) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    work::prepare(folder);
    let server = Server::new(folder);
    let mut manager: Box<dyn Manager> = match name {
        "Gearpool" => Box::new(gearpool::Gearpool::start(server)),
        "supervisord" => Box::new(supervisord::Supervisord::start(server)),
        _ => Box::new(plain::Plain::start(server)),
    };
    let mut random = Random::new(seed);
    let began = Instant::now();
    let mut submitted = 0;
    for operation in 0..operations {
        let next = jobs * (operation + 1) / operations;
        for (kind, workloads) in work::draw(submitted..next, |n| random.below(n)) {
            manager.server().queue(kind, &workloads);
        }
        let share = random.below(100) as usize;
        let operation = Operation {
            kind: random.any::<&str>(&KINDS),
            scale: random.percent(50).then(|| 1 + random.below(6) as u32),
            after: submitted + (next - submitted) * share / 100,
        };
        submitted = next;
        ended(folder, operation.after);
        manager.operate(operation.kind, operation.scale);
    }
    ended(folder, jobs);
    let took = began.elapsed();
    // what comes after the last job
    std::thread::sleep(Duration::from_millis(500));
    let faults = Tally::read(folder).faults(jobs);
    let killed = manager.end();
    println!(
        "| {name} | {} | {} | {} | {killed} | {:.0} s |",
        faults.repeated.len(),
        faults.lost.len(),
        faults.cut.len(),
        took.as_secs_f64()
    );
}

/// Waits until so many jobs have been done, or until nothing has been done for long.
fn ended(folder: &Path, jobs: usize) {
    let mut best = (0, Instant::now());
    loop {
        let ended = Tally::read(folder).ended.len();
        if ended >= jobs {
            return;
        }
        if ended > best.0 {
            best = (ended, Instant::now());
        }
        if best.1.elapsed() > DEADLINE {
            eprintln!("{ended} jobs of {jobs} are done, and no more for {DEADLINE:?}");
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
