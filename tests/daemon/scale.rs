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
