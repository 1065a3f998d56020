//! What is shown of jobs and processes.

use std::time::Duration;

use gearpool::pools::view::{PoolState, ProcessState};

use crate::running::Running;
use crate::support::{Daemon, finish, pids, until};

#[test]
fn the_status_shows_queues_pools_processes_and_their_jobs() {
    let daemon = Daemon::start("fetchURL: {cmd: php worker.php, min: 1, max: 1}\n");
    let pid = pids(&daemon.ready("fetchURL", 1))[0];
    daemon.queue(
        "fetchURL",
        &["until go", "say two", "say three"].map(str::to_owned),
    );
    until("the first job to run", || {
        let function = &daemon.status().functions[0];
        function.running == 1 && function.queued == [0, 2, 0]
    });
    until("the job to have run for a while", || {
        daemon.pool("fetchURL").members[0].jobs[0].running > Duration::from_millis(300)
    });

    let status = daemon.status();
    assert_eq!(status.server.pid, daemon.pid());
    let function = &status.functions[0];
    assert_eq!((function.name.as_str(), function.workers), ("fetchURL", 1));
    let pool = &status.pools[0];
    assert_eq!((pool.pool.min, pool.pool.max, pool.queued), (1, 1, 2));
    assert_eq!(
        (pool.pool.state, pool.pool.restarts),
        (PoolState::Running, 0)
    );
    assert!(pool.pool.reason.contains("max"), "{}", pool.pool.reason);
    let member = &pool.members[0];
    assert_eq!(member.process.pid, Some(pid));
    assert_eq!(member.process.state, ProcessState::Running);
    assert!(member.mapped);
    assert!(member.process.up > Duration::from_millis(300));
    assert!(member.cpu_percent.is_some());
    assert!(member.memory.unwrap() > 1 << 20);
    let handle = &member.jobs[0].handle;
    assert!(handle.starts_with("H:"), "{handle}");

    let text = daemon.run(&["status"]).out;
    for part in [
        "QUEUED",
        "RUNNING",
        "WORKERS",
        "fetchURL/1",
        &pid.to_string(),
        handle,
        "MiB",
    ] {
        assert!(text.contains(part), "no {part} in\n{text}");
    }
    let about = daemon.run(&["status", "nothing"]);
    assert_eq!(about.code, 1, "{about:?}");

    daemon.home.write("go", "");
    until("all to be done", || {
        daemon.status().functions[0].completed == 3
    });
    assert_eq!(daemon.pool("fetchURL").members[0].jobs_done, 3);
}

#[test]
fn a_worker_behind_a_shell_and_one_with_children_are_shown_with_their_jobs() {
    let daemon = Daemon::start(
        r#"
functions:
  shell: {cmd: "php worker.php; true", shell: true}
  quoted: {cmd: "sh -c 'php worker.php; true'"}
  forks: {cmd: "php worker.php 2"}
"#,
    );
    for pool in ["shell", "quoted", "forks"] {
        let members = daemon.ready(pool, 1);
        assert!(members[0].mapped, "{pool}");
    }
    until("both children to register", || {
        let functions = daemon.status().functions;
        functions
            .iter()
            .any(|function| function.name == "forks" && function.workers == 2)
    });
    let jobs: Vec<_> = ["shell", "quoted", "forks", "forks"]
        .iter()
        .map(|name| daemon.submit(&["-f", name, "until go"]))
        .collect();
    until("each to be shown with its jobs", || {
        let count = |pool: &str| daemon.pool(pool).members[0].jobs.len();
        [count("shell"), count("quoted"), count("forks")] == [1, 1, 2]
    });
    assert!(daemon.status().other_workers.is_empty());
    daemon.home.write("go", "");
    for job in jobs {
        assert_eq!(finish(job).code, 0);
    }
}

#[test]
fn the_examples_serve_as_they_are() {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
    let pool = |name: &str, command: &str| {
        format!("  {name}: {{cmd: {command}, cwd: {examples}, functions: [reverse, {name}]}}\n")
    };
    let file = format!(
        "functions:\n{}{}",
        pool("php", "php php/worker.php"),
        pool("perl", "perl perl/worker.pl"),
    );
    let daemon = Daemon::start(&file);
    for name in ["php", "perl"] {
        assert!(daemon.ready(name, 1)[0].mapped, "{name}");
        until("its other functions to be registered", || {
            let functions = daemon.status().functions;
            functions
                .iter()
                .any(|function| function.name == "reverse" && function.workers == 2)
                || name == "php"
        });
    }
    let reversed = daemon.result("reverse", "abc");
    assert_eq!((reversed.code, reversed.out.as_str()), (0, "cba"));
}

#[test]
fn logs_follow_every_worker_with_its_slot() {
    let daemon = Daemon::start("fetchURL: {cmd: php worker.php, min: 2, max: 2}\n");
    daemon.ready("fetchURL", 2);
    let command = daemon.home.gearpool(&["logs", "-f", "fetchURL"]);
    let logs = Running::start("gearpool logs", &command, b"");
    let jobs: Vec<_> = ["one", "two"]
        .iter()
        .map(|name| {
            let other = if *name == "one" { "two" } else { "one" };
            // neither ends before the other has begun, so that two workers have them
            let steps = format!("say job {name};note {name};until seen-{other};say end of {name}");
            daemon.submit(&["-f", "fetchURL", &steps])
        })
        .collect();
    until("both jobs to have begun", || daemon.home.notes().len() == 2);
    daemon.home.write("seen-one", "");
    daemon.home.write("seen-two", "");
    for job in jobs {
        assert_eq!(finish(job).code, 0);
    }
    until("all lines to be followed", || {
        logs.output().lines().count() >= 4
    });
    let output = logs.output();
    for name in ["one", "two"] {
        let slot = |text: &str| -> char {
            let line = output.lines().find(|line| line.ends_with(text)).unwrap();
            let rest = line
                .strip_prefix("fetchURL/")
                .unwrap_or_else(|| panic!("{line:?}"));
            rest.chars().next().unwrap()
        };
        assert_eq!(
            slot(&format!("job {name}")),
            slot(&format!("end of {name}")),
            "{output}"
        );
    }
    let one = daemon.run(&["logs", "fetchURL/1"]).out;
    assert_eq!(one, daemon.home.read("state/logs/fetchURL/1.log"));
    assert_eq!(one.lines().count(), 2);
}

#[test]
fn a_pool_is_explained_in_sentences_and_in_json() {
    let daemon = Daemon::start("fetchURL: {cmd: php worker.php, min: 1, max: 4}\n");
    daemon.ready("fetchURL", 1);
    let before = daemon.run(&["explain", "fetchURL"]);
    let says = "fetchURL should have 1 of 1..4 processes: at min.\nIt has 1 running, 0 starting and 0 draining; 0 jobs wait.\nNo job has ended yet";
    assert!(before.out.starts_with(says), "{before:?}");

    let jobs: Vec<_> = (0..40).map(|job| format!("note {job};sleep 50")).collect();
    daemon.queue("fetchURL", &jobs);
    until("the jobs to be done", || {
        daemon.home.notes().len() == jobs.len()
    });
    until("their wait and what was decided to be told", || {
        let told = daemon.run(&["explain", "fetchURL"]).out;
        told.contains("\nOf the last 40 jobs of fetchURL, half waited less than ")
            && told.contains("\nLately:\n")
            && told.contains("  1 → ")
    });
    let json = daemon.run(&["explain", "fetchURL", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!(json["name"], "fetchURL");
    assert!(json["scale"]["service"].as_f64().unwrap() >= 0.05, "{json}");

    let refused = daemon.run(&["explain", "fetchUrl"]);
    assert_eq!(refused.code, 1);
    assert_eq!(
        refused.err,
        "gearpool: there is no pool \"fetchUrl\"; did you mean \"fetchURL\"?\n"
    );
}

#[test]
fn a_pool_is_shown_with_its_functions_and_told_which_it_does_not_have() {
    let daemon = Daemon::start(
        "functions:
  all: {cmd: php worker.php, functions: [one, two], env: {FUNCTION: two}}
  wrong: {cmd: php worker.php, env: {FUNCTION: right}, start_timeout: 1s}
",
    );
    daemon.ready("all", 1);
    let shown = daemon.run(&["status", "all"]).out;
    assert!(shown.contains("\ntwo "), "{shown}");
    until("the other one to be said", || {
        let last = daemon.pool("wrong").pool.last_exit.unwrap_or_default();
        last == "did not register within 1 s, but right, which has to stand under \"functions\" then"
    });
}
