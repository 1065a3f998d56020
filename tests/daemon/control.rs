//! An operator's commands.

use std::time::{Duration, Instant};

use gearpool::pools::view::PoolState;

use crate::support::{Daemon, Home, ended, finish, pids, until};

fn says(daemon: &Daemon, words: &[&str]) {
    let ended = daemon.run(words);
    assert_eq!(ended.code, 0, "{words:?}: {ended:?}");
    assert!(ended.out.contains(words[1]), "{words:?}: {ended:?}");
}

#[test]
fn scale_stop_and_start() {
    let daemon = Daemon::start("f: {cmd: php worker.php, min: 1, max: 2}\n");
    let first = pids(&daemon.ready("f", 1));
    says(&daemon, &["scale", "f", "3"]);
    assert!(pids(&daemon.ready("f", 3)).contains(&first[0]));
    let pool = daemon.pool("f").pool;
    assert_eq!((pool.min, pool.max), (3, 3));
    assert!(pool.by_hand.is_some());
    says(&daemon, &["scale", "f", "1..4"]);
    let pool = daemon.pool("f").pool;
    assert_eq!((pool.min, pool.max), (1, 4));

    says(&daemon, &["stop", "f"]);
    until("all to have stopped", || {
        daemon.pool("f").members.is_empty()
    });
    assert_eq!(daemon.pool("f").pool.state, PoolState::Stopped);
    daemon.queue("f", &["note done".to_owned()]);
    says(&daemon, &["start", "f"]);
    until("the job to be done", || daemon.home.notes() == ["done"]);
    let pool = daemon.pool("f").pool;
    assert_eq!((pool.min, pool.max, pool.by_hand), (1, 2, None));

    let wrong = daemon.run(&["scale", "g", "3"]);
    assert_eq!(wrong.code, 1);
    assert!(wrong.err.contains("there is no pool \"g\""), "{wrong:?}");
}

#[test]
fn restart_replaces_each_process_when_its_job_is_done() {
    let daemon = Daemon::start("f: {cmd: php worker.php, min: 2, max: 2}\n");
    let before = pids(&daemon.ready("f", 2));
    let job = daemon.submit(&["-f", "f", "until go"]);
    until("the job to run", || {
        daemon.status().functions[0].running == 1
    });
    says(&daemon, &["restart", "f"]);
    until("the idle one to be replaced", || {
        let now = pids(&daemon.pool("f").members);
        now.iter().filter(|pid| before.contains(pid)).count() == 1
    });
    daemon.home.write("go", "");
    let job = finish(job);
    assert_eq!(job.code, 0, "{job:?}");
    assert!(before.contains(&job.out.trim().parse().unwrap()));
    until("both to be new", || {
        let now = pids(&daemon.pool("f").members);
        now.len() == 2 && now.iter().all(|pid| !before.contains(pid))
    });

    let before = daemon.ready("f", 2);
    let (one, other) = (&before[0].process, &before[1].process);
    says(&daemon, &["restart", &format!("f/{}", one.slot.0)]);
    until("one to be replaced", || {
        let now = pids(&daemon.pool("f").members);
        now.len() == 2 && !now.contains(&one.pid.unwrap()) && now.contains(&other.pid.unwrap())
    });
    assert_eq!(daemon.run(&["restart", "f/77"]).code, 1);
}

#[test]
fn a_worker_that_looks_at_signals_between_jobs_only_ends_by_itself_too() {
    let daemon = Daemon::start("f: {cmd: php worker.php stubborn, min: 2, stop_timeout: 20s}\n");
    daemon.ready("f", 2);
    let start = Instant::now();
    says(&daemon, &["stop", "f"]);
    until("all to have stopped", || {
        daemon.pool("f").members.is_empty()
    });
    assert!(
        start.elapsed() < Duration::from_secs(8),
        "{:?}",
        start.elapsed()
    );
    eprintln!("stopped after {:?}", start.elapsed());
    for slot in [1, 2] {
        let log = daemon.home.read(&format!("state/logs/f/{slot}.log"));
        assert!(log.ends_with("stopped as asked\n"), "{log:?}");
    }
    let kills = daemon.log().matches("signal KILL").count();
    assert_eq!(kills, 0);
}

#[test]
fn a_process_that_has_done_its_number_of_jobs_is_replaced_and_no_job_is_lost() {
    let daemon = Daemon::start("f: {cmd: php worker.php, min: 2, max_jobs: 5}\n");
    daemon.ready("f", 2);
    let jobs: Vec<_> = (0..60).map(|job| format!("sleep 10;note {job}")).collect();
    let lines = jobs.join("\n");
    let workers = ended(
        &daemon.submit_command(&["-N", "-f", "f", "--json"]),
        lines.as_bytes(),
    );
    assert_eq!(workers.code, 0, "{workers:?}");
    let mut notes = daemon.home.notes();
    notes.sort_by_key(|note| note.parse::<u32>().unwrap());
    let expected: Vec<_> = (0..60).map(|job| job.to_string()).collect();
    assert_eq!(notes, expected);
    // they go on until their replacements are there, which may be after the last job
    until("both to be replaced", || {
        daemon.log().matches(", max_jobs reached").count() >= 2
    });
    assert_eq!(daemon.pool("f").pool.restarts, 0);
}

#[test]
fn without_a_daemon_each_command_says_so() {
    let home = Home::new("");
    for words in [
        &["status"][..],
        &["status", "--json"],
        &["scale", "f", "3"],
        &["start", "f"],
        &["stop", "f"],
        &["restart", "f"],
        &["reload"],
    ] {
        let ended = home.run(words);
        assert_eq!(ended.code, 3, "{words:?}: {ended:?}");
        assert!(
            ended.err.contains("no gearpool runs"),
            "{words:?}: {ended:?}"
        );
        assert!(ended.out.is_empty(), "{words:?}: {ended:?}");
    }
}
