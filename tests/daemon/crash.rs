//! Workers that die.

use std::time::{Duration, SystemTime};

use gearpool::pools::view::PoolState;

use crate::support::{Daemon, pids, until};

#[test]
fn a_worker_that_dies_with_a_job_is_replaced_and_another_does_the_job() {
    let daemon = Daemon::start("f: {cmd: php worker.php, min: 2}\n");
    let before = pids(&daemon.ready("f", 2));

    // one that dies within its first second may be one that cannot live, and is waited with
    until("both to have lived for a second", || {
        let members = daemon.pool("f").members;
        members
            .iter()
            .all(|member| member.process.up > Duration::from_millis(1500))
    });

    let result = daemon.result("f", "note begun;die dead;note done");
    assert_eq!(result.code, 0, "{result:?}");
    assert_eq!(daemon.home.notes(), ["begun", "begun", "done"]);
    let by: u32 = result.out.trim().parse().unwrap();
    until("the dead one to be replaced", || {
        daemon.log().matches("started, pid").count() == 3
    });
    let after = pids(&daemon.ready("f", 2));
    let log = daemon.log();
    let told = "goes to another: f/";
    assert_eq!(log.matches(told).count(), 1, "{log}");
    let moves = log.lines().filter(|line| line.contains(" f/"));
    let moves: Vec<_> = moves.filter(|line| !line.contains(told)).collect();
    let [_, _, died, started] = moves.as_slice() else {
        panic!("four moves in\n{log}");
    };
    assert!(
        died.contains("ended by itself") && died.ends_with("signal KILL"),
        "{died}"
    );
    assert!(started.contains("started, pid"), "{started}");
    let pause = moment(started).duration_since(moment(died)).unwrap();
    eprintln!("started again after {pause:?}");
    assert!(pause < Duration::from_millis(100), "{pause:?}");
    assert_eq!(
        before.iter().filter(|pid| after.contains(pid)).count(),
        1,
        "{before:?} {after:?}"
    );
    assert!(after.contains(&by), "{by} of {after:?}");

    let pool = daemon.pool("f").pool;
    assert_eq!(pool.state, PoolState::Running);
    assert_eq!(pool.restarts, 1);
    assert_eq!(pool.last_exit.as_deref(), Some("signal KILL"));
}

/// The time at the head of a line of the daemon's log.
fn moment(line: &str) -> SystemTime {
    humantime::parse_rfc3339(line.split(' ').next().unwrap()).unwrap()
}

#[test]
fn a_command_that_never_registers_is_killed_and_told_of() {
    let daemon =
        Daemon::start("f: {cmd: \"sh -c 'echo waiting; sleep 1000'\", start_timeout: 300ms}\n");
    until("the pool to fail", || {
        daemon.pool("f").pool.state == PoolState::Failing
    });
    let pool = daemon.pool("f").pool;
    assert_eq!(
        pool.last_exit.as_deref(),
        Some("did not register within 0.3 s")
    );
    assert_eq!(pool.last_lines, ["waiting"]);
    let text = daemon.run(&["status"]).out;
    assert!(text.contains("did not register within 0.3 s"), "{text}");
}

#[test]
fn one_that_is_deaf_besides_is_not_waited_for() {
    let daemon = Daemon::start(
        r#"
f:
  cmd: "trap '' TERM; echo deaf; while :; do sleep 1000; done"
  shell: true
  start_timeout: 300ms
  stop_timeout: 1h
"#,
    );
    until("another to be started", || {
        daemon.log().matches("started, pid").count() == 2
    });
    let pool = daemon.pool("f").pool;
    assert_eq!(
        pool.last_exit.as_deref(),
        Some("did not register within 0.3 s")
    );
}

#[test]
fn a_worker_that_dies_at_once_is_started_with_growing_delays() {
    let daemon = Daemon::start(
        r#"
functions:
  bad: {cmd: "date +%s.%N >> starts; echo no database >&2; exit 7", shell: true, min: 3}
  good: {cmd: php worker.php}
"#,
    );
    daemon.ready("good", 1);
    let starts = || -> Vec<f64> {
        let starts = daemon.home.read("starts");
        starts.lines().map(|line| line.parse().unwrap()).collect()
    };
    until("the pool to fail", || {
        daemon.pool("bad").pool.state == PoolState::Failing
    });
    // three begin together; from the first death on there is one probe at a time
    until("some more starts", || starts().len() >= 6);
    let starts = starts();
    let gaps: Vec<_> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let last = *gaps.last().unwrap();
    assert!(last > 0.5, "{gaps:?}");
    let lived = starts.last().unwrap() - starts[0];
    assert!(starts.len() < 10, "{} starts in {lived} s", starts.len());

    let pool = daemon.pool("bad").pool;
    assert_eq!(pool.last_exit.as_deref(), Some("exit 7"));
    assert_eq!(pool.last_lines, ["no database"]);
    assert!(pool.reason.starts_with("failing: "), "{}", pool.reason);
    let shown = daemon.run(&["status"]);
    assert_eq!(shown.code, 0);
    for part in ["FAILING", "exit 7", "no database"] {
        assert!(shown.out.contains(part), "no {part} in\n{}", shown.out);
    }
    assert_eq!(daemon.result("good", "say hello").code, 0);
}
