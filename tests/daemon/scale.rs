//! A burst of jobs: the pool grows for it, each job is done once, and the pool shrinks again without cutting one.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::support::{Daemon, until};

const JOBS: usize = 500;
const MAX: usize = 30;

#[test]
fn five_hundred_jobs_are_done_once_each_by_a_pool_that_grows_and_shrinks() {
    let daemon = Daemon::start(
        "sendEmail: {cmd: php worker.php, min: 2, max: 30, scale: {down_after: 1s}}\n",
    );
    daemon.ready("sendEmail", 2);

    let jobs: Vec<_> = (0..JOBS)
        .map(|job| format!("note begin {job};sleep 200;note end {job}"))
        .collect();
    let start = Instant::now();
    daemon.queue("sendEmail", &jobs);
    let mut most = 0;
    let mut half_after = None;
    until("the pool to have grown", || {
        let count = daemon.pool("sendEmail").members.len();
        assert!(count <= MAX, "{count} processes");
        most = most.max(count);
        if count >= MAX / 2 {
            half_after.get_or_insert(start.elapsed());
        }
        daemon.home.notes().len() == 2 * JOBS
    });
    eprintln!(
        "{most} processes at most, {} of them after {half_after:?}; all done after {:?}",
        MAX / 2,
        start.elapsed()
    );
    assert!(
        half_after.is_some_and(|after| after < Duration::from_secs(3)),
        "{} processes after {half_after:?}",
        MAX / 2
    );

    until("the pool to shrink to its min", || {
        daemon.pool("sendEmail").members.len() == 2
    });
    eprintln!("at min after {:?}", start.elapsed());
    let mut counts = BTreeMap::new();
    for note in daemon.home.notes() {
        *counts.entry(note).or_insert(0) += 1;
    }
    for job in 0..JOBS {
        assert_eq!(counts.get(&format!("begin {job}")), Some(&1), "job {job}");
        assert_eq!(counts.get(&format!("end {job}")), Some(&1), "job {job}");
    }
    assert_eq!(daemon.pool("sendEmail").pool.restarts, 0);
}

/// A rush that begins anew every minute is always in force; one of a month that is half a year away is not.
#[test]
fn a_schedule_is_in_force_as_long_as_the_clock_says_so() {
    let file = |cron: &str| {
        format!(
            "sendEmail: {{cmd: php worker.php, min: 1, max: 2, scale: {{down_after: 0s, schedule: [{{cron: '{cron}', min: 3, max: 5}}]}}}}\n"
        )
    };
    let daemon = Daemon::start(&file("* * * * *"));
    daemon.ready("sendEmail", 3);
    let pool = daemon.pool("sendEmail").pool;
    assert_eq!((pool.min, pool.max), (3, 5));
    let says = "at min; schedule \"* * * * *\" has 3..5 until ";
    assert!(pool.reason.starts_with(says), "{}", pool.reason);
    let told = daemon.run(&["explain", "sendEmail"]).out;
    let begins = format!("sendEmail should have 3 of 3..5 processes: {says}");
    assert!(told.starts_with(&begins), "{told}");
    assert!(
        daemon
            .log()
            .contains("sendEmail: schedule \"* * * * *\" has 3..5 until ")
    );

    let six_months_on = jiff::ZonedDateTime::now()
        .saturating_add(jiff::Span::new().months(6))
        .month();
    let never = format!("0 0 1 {six_months_on} *");
    daemon.home.write("workers.yaml", &file(&never));
    daemon.ready("sendEmail", 1);
    let pool = daemon.pool("sendEmail").pool;
    assert_eq!((pool.min, pool.max, pool.reason.as_str()), (1, 2, "at min"));
    let log = daemon.log();
    assert!(log.contains("schedule \"* * * * *\" 1h 3..5 → "), "{log}");
    assert!(
        log.contains("the rush of its schedule is over: 1..2 again"),
        "{log}"
    );
}
