//! A rush of jobs on an idle pool of two: all of its `max` come, every job is done once, nobody is stopped with a job, and when it is
//! over the pool is back at its `min`.
//!
//! `GEARPOOL_RUSH=full` is 1,000 jobs of a second, and says how long they took beside 30 processes that were there before.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

#[path = "support/running.rs"]
mod running;
#[path = "support/daemon.rs"]
#[expect(dead_code, reason = "it is made for more tests than there are here")]
mod support;
#[path = "drain/work.rs"]
#[expect(dead_code, reason = "it is made for more kinds of workers")]
mod work;

use std::time::{Duration, Instant};

use gearpool::pools::view::ProcessState;

use running::poll;
use support::{Daemon, Home, until};
use work::{Faults, Tally};

const MIN: usize = 2;
const MAX: usize = 30;

/// Longer than the full size takes.
const DEADLINE: Duration = Duration::from_secs(180);

/// A daemon whose workers take 0.3 s to come up.
fn daemon(pool: &str) -> Daemon {
    let home = Home::new(&format!("c: {{cmd: ./worker c 300 0, {pool}}}\n"));
    work::prepare(&home.path(""));
    Daemon::start_in(home, &[])
}

/// Queues the jobs, and says how long all of them took, and after how long all processes were up.
fn rush(daemon: &Daemon, jobs: usize, milliseconds: u32) -> (Duration, Duration) {
    let workloads: Vec<_> = (0..jobs)
        .map(|job| format!("{job} {milliseconds}"))
        .collect();
    let began = Instant::now();
    daemon.queue("c", &workloads);
    let mut most = 0;
    let mut all_up = None;
    poll("all jobs to be done", DEADLINE, || {
        let members = daemon.pool("c").members;
        let states = members.iter().map(|it| it.process.state);
        let running = states.filter(|&it| it == ProcessState::Running).count();
        most = most.max(members.len());
        if running == MAX {
            all_up.get_or_insert(began.elapsed());
        }
        let ended = Tally::read(&daemon.home.path("")).ended.len();
        (ended == jobs).then_some(())
    });
    let took = began.elapsed();
    assert_eq!(most, MAX, "the most that there were");
    (took, all_up.expect("all of them came"))
}

#[test]
fn a_rush_is_met_by_all_and_then_by_few() {
    let is_full = std::env::var("GEARPOOL_RUSH").is_ok_and(|it| it == "full");
    let (jobs, milliseconds, scale) = match is_full {
        true => (1000, 1000, ""),
        false => (300, 400, ", scale: {down_after: 1s}"),
    };
    let scaled = daemon(&format!("min: {MIN}, max: {MAX}{scale}"));
    scaled.ready("c", MIN);
    let (took, all_up) = rush(&scaled, jobs, milliseconds);
    let over = Instant::now();
    let mut rest = Duration::ZERO;
    poll("the pool to be back at its min", DEADLINE, || {
        rest = over.elapsed();
        (scaled.pool("c").members.len() == MIN).then_some(())
    });
    eprintln!(
        "{jobs} jobs took {took:.2?}; {MAX} were up after {all_up:.2?}; {MIN} again {rest:.1?} after the last job"
    );

    // what comes after the last result
    until("all tails", || {
        Tally::read(&scaled.home.path("")).tails.len() == jobs
    });
    let faults = Tally::read(&scaled.home.path("")).faults(jobs);
    assert_eq!(faults, Faults::default());
    let log = scaled.log();
    for bad in ["signal KILL", "ended by itself"] {
        let line = log.lines().find(|line| line.contains(bad));
        assert_eq!(line, None);
    }
    let stopped = log.matches(", scale down: ").count();
    assert!(stopped >= MAX - MIN, "{stopped} were stopped");

    if is_full {
        let standing = daemon(&format!("count: {MAX}"));
        standing.ready("c", MAX);
        let (before, _) = rush(&standing, jobs, milliseconds);
        let ratio = took.as_secs_f64() / before.as_secs_f64();
        eprintln!(
            "{MAX} that stood ready took {before:.2?}: {ratio:.3} times as long without them"
        );
    }
}
