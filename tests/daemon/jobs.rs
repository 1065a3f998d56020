//! Jobs that do not end well, and what an operator does with jobs.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use gearpool::jobs::view::{JobList, JobState, JobView};
use serde::de::DeserializeOwned;

use crate::running::{Running, poll};
use crate::support::{DEADLINE, Daemon, Home, finish, pids, until};

/// `gearpool WORDS --json`.
fn json<T: DeserializeOwned>(daemon: &Daemon, words: &[&str]) -> T {
    let words: Vec<&str> = words.iter().copied().chain(["--json"]).collect();
    let ended = daemon.run(&words);
    assert_eq!(ended.code, 0, "{words:?}: {ended:?}");
    serde_json::from_str(&ended.out).unwrap()
}

fn listed(daemon: &Daemon) -> Vec<JobView> {
    json::<JobList>(daemon, &["jobs"]).jobs
}

/// The one job that is set aside, once its process has been reaped.
fn set_aside(daemon: &Daemon) -> JobView {
    let job = poll("a job to be set aside", DEADLINE, || {
        json::<JobList>(daemon, &["jobs", "failed"]).jobs.pop()
    });
    poll("its process to have ended", DEADLINE, || {
        let shown: JobView = json(daemon, &["jobs", "show", &job.handle]);
        (shown.exit.is_some() || shown.failures > 0).then_some(shown)
    })
}

#[test]
fn a_job_that_runs_too_long_has_its_process_killed_and_is_set_aside_after_its_attempts() {
    let daemon = Daemon::start(
        "f: {cmd: php worker.php stubborn, min: 2, timeout: 400ms, attempts: 2, stop_timeout: 1m}\n",
    );
    let before = pids(&daemon.ready("f", 2));
    let stuck = daemon.result("f", "note begun;say stuck here;until never");
    assert_eq!(stuck.code, 1, "{stuck:?}");
    assert_eq!(daemon.home.notes(), ["begun", "begun"]);
    let job = set_aside(&daemon);
    assert_eq!((job.state, job.attempts), (JobState::Failed, 2));
    assert_eq!(job.exit.as_deref(), Some("signal KILL"));
    assert_eq!(job.last_lines, ["stuck here"]);
    let reason = job.reason.unwrap();
    assert!(reason.contains("ran past its time limit"), "{reason}");

    // the pool goes on, with two others
    assert_eq!(daemon.result("f", "note well").code, 0);
    let after = pids(&daemon.ready("f", 2));
    assert!(after.iter().all(|pid| !before.contains(pid)), "{after:?}");
    let log = daemon.log();
    let told = "has run past its timeout of 0.4 s: its process is killed";
    assert_eq!(log.matches(told).count(), 2, "{log}");
    assert!(log.contains("its job has run past its timeout: signal KILL"));
    assert!(log.contains(&format!("job {} is set aside as failed", job.handle)));
}

#[test]
fn one_that_can_end_in_time_after_the_signal_does() {
    let daemon = Daemon::start("f: {cmd: php worker.php stubborn, timeout: 300ms}\n");
    daemon.ready("f", 1);
    let job = daemon.submit(&["-f", "f", "until go;note done"]);
    until("it to be told to stop", || {
        daemon.log().contains("has run past its timeout")
    });
    daemon.home.write("go", "");
    let job = finish(job);
    assert_eq!(job.code, 0, "{job:?}");
    assert_eq!(daemon.home.notes(), ["done"]);
    assert!(
        json::<JobList>(&daemon, &["jobs", "failed"])
            .jobs
            .is_empty()
    );
    until("the next process", || {
        daemon.log().matches("started, pid").count() == 2
    });
}

/// A script that is stuck, deaf to TERM, with a child that is too: all of the group goes.
#[test]
fn what_a_stuck_job_has_started_is_killed_with_it() {
    let home = Home::new("f: {run: ./stuck.sh, timeout: 300ms, attempts: 1}\n");
    home.write(
        "stuck.sh",
        "#!/bin/sh\ntrap '' TERM\n(echo child $(exec sh -c 'echo $PPID') >> notes; sleep 1000; sleep 1000) &\n\
         echo parent $$ >> notes\nsleep 1000\nsleep 1000\n",
    );
    let path = home.path("stuck.sh");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    let daemon = Daemon::start_in(home, &[]);
    daemon.ready("f", 1);
    let stuck = daemon.result("f", "");
    assert_eq!(stuck.code, 1, "{stuck:?}");
    let notes = daemon.home.notes();
    assert_eq!(notes.len(), 2, "{notes:?}");
    until("both to be gone", || {
        let pids = notes.iter().map(|note| note.split(' ').nth(1).unwrap());
        let marked = daemon.home.marked();
        pids.map(|pid| pid.parse::<u32>().unwrap())
            .all(|pid| !marked.contains(&pid))
    });
}

#[test]
fn a_job_that_takes_down_three_processes_is_set_aside_and_can_be_retried() {
    let daemon = Daemon::start("f: {cmd: php worker.php, min: 3}\n");
    daemon.ready("f", 3);
    let poison = "note begun;say last words;die 1;die 2;die 3;note done";
    let client = daemon.result("f", poison);
    assert_eq!(client.code, 1, "{client:?}");
    assert_eq!(daemon.home.notes(), ["begun", "begun", "begun"]);
    let job = set_aside(&daemon);
    assert_eq!((job.attempts, job.attempts_allowed), (3, 3));
    assert_eq!(job.exit.as_deref(), Some("signal KILL"));
    assert_eq!(job.last_lines, ["last words"]);
    assert_eq!(job.workload.as_deref(), Some(poison));
    let worker = job.worker.clone().unwrap();
    assert!(
        worker.starts_with("f/") && worker.contains(" pid "),
        "{worker}"
    );
    let status = daemon.run(&["status"]).out;
    assert!(status.contains("1 job is set aside as failed"), "{status}");
    let shown = daemon.run(&["jobs", "show", &job.handle]).out;
    for part in [
        "FAILED",
        "its worker was gone before it had ended, 3 times",
        "signal KILL",
        "last words",
    ] {
        assert!(shown.contains(part), "no {part} in\n{shown}");
    }
    let log = daemon.log();
    for attempt in ["attempt 1 of 3", "attempt 2 of 3", "attempt 3 of 3"] {
        assert!(log.contains(attempt), "no {attempt} in\n{log}");
    }

    // what cannot be done says so
    let cancel = daemon.run(&["jobs", "cancel", &job.handle]);
    assert_eq!(cancel.code, 1);
    assert!(cancel.err.contains("jobs discard"), "{cancel:?}");
    for words in [["jobs", "retry", "H:nowhere:1"], ["jobs", "discard", "x"]] {
        let ended = daemon.run(&words);
        assert_eq!(ended.code, 1, "{ended:?}");
        assert!(ended.err.contains("gearpool jobs failed"), "{ended:?}");
    }

    let retry = daemon.run(&["jobs", "retry", &job.handle]);
    assert_eq!(retry.code, 0, "{retry:?}");
    until("the job to be done", || {
        daemon
            .home
            .notes()
            .last()
            .is_some_and(|note| note == "done")
    });
    assert!(
        json::<JobList>(&daemon, &["jobs", "failed"])
            .jobs
            .is_empty()
    );
}

#[test]
fn a_background_job_that_fails_is_tried_again_and_then_set_aside() {
    let daemon = Daemon::start("f: {cmd: php worker.php, retries: 2, retry_delay: 50ms}\n");
    daemon.ready("f", 1);
    // in the foreground the client sees to that itself
    assert_eq!(daemon.result("f", "note fore;fail").code, 1);
    daemon.queue("f", &["note back;fail".to_owned(), "note good".to_owned()]);
    let job = set_aside(&daemon);
    assert_eq!((job.failures, job.attempts), (3, 0));
    assert_eq!(job.reason.as_deref(), Some("it failed 3 times"));
    let mut notes = daemon.home.notes();
    notes.sort();
    assert_eq!(notes, ["back", "back", "back", "fore", "good"]);

    let all = daemon.run(&["jobs", "retry", "--all", "g"]);
    assert!(all.out.contains("0 jobs queued again"), "{all:?}");
    let all = daemon.run(&["jobs", "retry", "--all", "f"]);
    assert!(all.out.contains("1 job queued again"), "{all:?}");
    assert_eq!(set_aside(&daemon).handle, job.handle);
    assert_eq!(daemon.home.notes().len(), 8);
    let all = daemon.run(&["jobs", "discard", "--all"]);
    assert!(all.out.contains("1 job discarded"), "{all:?}");
    let none = daemon.run(&["jobs", "failed"]);
    assert!(none.out.contains("no job is set aside"), "{none:?}");
    let events = daemon.run(&["logs", "--events", "f"]);
    assert_eq!(events.code, 0, "{events:?}");
}

#[test]
fn a_job_that_waits_for_its_next_try_is_shown_and_can_be_cancelled() {
    let daemon = Daemon::start("f: {cmd: php worker.php, retries: 5, retry_delay: 1h}\n");
    daemon.ready("f", 1);
    daemon.queue("f", &["note once;fail".to_owned()]);
    let job = poll("the job to have failed", DEADLINE, || {
        listed(&daemon).pop().filter(|job| job.failures == 1)
    });
    assert_eq!(job.state, JobState::Later);
    assert!(job.due_in.unwrap() > Duration::from_secs(3500), "{job:?}");
    let shown = daemon.run(&["jobs"]).out;
    assert!(shown.contains("retry in "), "{shown}");
    assert_eq!(daemon.run(&["jobs", "cancel", &job.handle]).code, 0);
    assert!(listed(&daemon).is_empty());
    assert_eq!(daemon.home.notes(), ["once"]);
}

#[test]
fn jobs_are_listed_shown_and_cancelled() {
    let daemon = Daemon::start("f: {cmd: php worker.php}\n");
    daemon.ready("f", 1);
    let running = daemon.submit(&["-f", "f", "say hello;until go"]);
    until("the job to run", || {
        daemon.status().functions[0].running == 1
    });
    daemon.queue("f", &["note second".to_owned(), "note third".to_owned()]);
    daemon.queue("g", &["note never".to_owned()]);
    let jobs = listed(&daemon);
    let states: Vec<_> = jobs.iter().map(|job| job.state).collect();
    use JobState::{Running, Waiting};
    assert_eq!(states, [Running, Waiting, Waiting, Waiting]);
    let worker = jobs[0].worker.clone().unwrap();
    assert!(worker.starts_with("f/1 pid "), "{worker}");
    let list: JobList = json(&daemon, &["jobs", "list", "f", "-n", "2"]);
    assert_eq!((list.jobs.len(), list.total), (2, 3));
    let text = daemon.run(&["jobs", "list", "f", "-n", "2"]).out;
    assert!(text.contains("and 1 more"), "{text}");
    assert!(listed_of(&daemon, "nobody").is_empty());

    let first: JobView = json(&daemon, &["jobs", "show", &jobs[0].handle]);
    assert_eq!(first.workload.as_deref(), Some("say hello;until go"));
    assert_eq!((first.background, first.clients), (false, 1));
    assert_eq!(daemon.run(&["jobs", "cancel", &jobs[1].handle]).code, 0);
    // its process is stopped, and the client is told
    assert_eq!(daemon.run(&["jobs", "cancel", &jobs[0].handle]).code, 0);
    assert_eq!(finish(running).code, 1);
    until("the third to be done", || daemon.home.notes() == ["third"]);
    let gone = daemon.run(&["jobs", "show", &jobs[0].handle]);
    assert_eq!(gone.code, 1);
    assert!(gone.err.contains("there is no job"), "{gone:?}");
}

fn listed_of(daemon: &Daemon, function: &str) -> Vec<JobView> {
    json::<JobList>(daemon, &["jobs", "list", function]).jobs
}

#[test]
fn a_queue_is_held_until_it_is_resumed() {
    let daemon = Daemon::start(
        "f: {cmd: php worker.php, min: 1, max: 4}\ng: {cmd: php worker.php, min: 0, max: 2}\nh: {cmd: php worker.php, min: 0}\n",
    );
    daemon.ready("f", 1);
    let wrong = daemon.run(&["pause", "nobody"]);
    assert_eq!(wrong.code, 1);
    assert!(wrong.err.contains("no function is named"), "{wrong:?}");
    assert_eq!(daemon.run(&["resume", "f"]).code, 1);

    // a pool's function needs nobody to have named it
    for function in ["f", "g"] {
        let ended = daemon.run(&["pause", function]);
        assert_eq!(ended.code, 0, "{ended:?}");
    }
    let jobs: Vec<_> = (0..20).map(|job| format!("note f{job}")).collect();
    daemon.queue("f", &jobs);
    daemon.queue("g", &["note g".to_owned()]);
    // a pool that was empty too has grown for a later job
    assert_eq!(daemon.result("h", "say hello").code, 0);
    let status = daemon.status();
    let held = |name: &str| {
        let mut functions = status.functions.iter();
        functions.find(|it| it.name == name).unwrap().clone()
    };
    assert_eq!((held("f").queued, held("f").running), ([0, 20, 0], 0));
    assert!(held("f").paused && held("g").paused);
    assert_eq!(daemon.pool("f").members.len(), 1);
    assert_eq!(daemon.pool("g").members.len(), 0);
    assert_eq!(daemon.pool("g").paused, ["g"]);
    assert!(daemon.home.notes().is_empty());
    assert_eq!(listed(&daemon)[0].state, JobState::Held);
    let text = daemon.run(&["status"]).out;
    assert_eq!(text.matches("held by hand").count(), 4, "{text}");
    let text = daemon.run(&["explain", "g"]).out;
    assert!(text.contains("g held by hand"), "{text}");

    assert_eq!(daemon.run(&["resume", "f"]).code, 0);
    until("its jobs to be done", || daemon.home.notes().len() == 20);
    // the file changes the other
    let file = "f: {cmd: php worker.php, min: 1, max: 4}\ng: {cmd: php worker.php, min: 0, max: 3}\nh: {cmd: php worker.php, min: 0}\n";
    daemon.home.replace("workers.yaml", file);
    until("the last job to be done", || {
        daemon.home.notes().last().is_some_and(|note| note == "g")
    });
    assert!(daemon.pool("g").paused.is_empty());
    assert!(daemon.log().contains("g: the file has changed its pool"));
}

#[test]
fn the_file_changes_what_holds_for_jobs_without_a_restart() {
    let file = |keys: &str| format!("f: {{cmd: php worker.php, {keys}}}\n");
    let daemon = Daemon::start(&file("min: 1"));
    let before = pids(&daemon.ready("f", 1));
    daemon
        .home
        .replace("workers.yaml", &file("min: 1, timeout: 300ms, attempts: 1"));
    until("the file to be in force", || {
        daemon
            .log()
            .contains("timeout none → 0.3 s, attempts 3 → 1")
    });
    assert_eq!(pids(&daemon.ready("f", 1)), before);
    assert_eq!(daemon.result("f", "until never").code, 1);
    assert_eq!(set_aside(&daemon).attempts, 1);
}

#[test]
fn the_index_of_a_log_says_how_a_job_ended() {
    let daemon = Daemon::start("f: {cmd: php worker.php, min: 1, attempts: 1, timeout: 1s}\n");
    daemon.ready("f", 1);
    assert_eq!(daemon.result("f", "say good").code, 0);
    assert_eq!(daemon.result("f", "say bad;fail").code, 1);
    assert_eq!(daemon.result("f", "say slow;until never").code, 1);
    daemon.ready("f", 1);
    assert_eq!(daemon.result("f", "say dead;die 1").code, 1);
    let outcomes = || {
        let events = daemon.run(&["logs", "--events", "-n", "100", "f"]).out;
        let ends = events.lines().filter_map(|line| {
            let (_, end) = line.split_once(" end H:")?;
            Some(end.split(' ').nth(1).unwrap_or_default().to_owned())
        });
        ends.collect::<Vec<String>>()
    };
    until("all to be in the index", || outcomes().len() == 4);
    assert_eq!(outcomes(), ["complete", "fail", "timeout", "lost"]);
}

#[test]
fn a_job_is_followed_from_its_place_in_the_queue_to_its_end() {
    let daemon = Daemon::start("f: {cmd: php worker.php, min: 1}\n");
    daemon.ready("f", 1);
    let other = daemon.submit(&["-f", "f", "say other;until first"]);
    until("it to run", || daemon.status().functions[0].running == 1);
    let job = daemon.submit(&["-f", "f", "say one;until go;say two;die 1;say three"]);
    let handle = poll("the job to wait", DEADLINE, || {
        let jobs = listed(&daemon).into_iter();
        jobs.filter(|job| job.state == JobState::Waiting)
            .map(|job| job.handle)
            .next()
    });
    let command = daemon.home.gearpool(&["logs", "-f", "--job", &handle]);
    let follower = Running::start("gearpool logs", &command, b"");
    daemon.home.write("first", "");
    assert_eq!(finish(other).code, 0);
    until("its first line", || follower.output() == "one\n");
    daemon.home.write("go", "");
    assert_eq!(finish(job).code, 0);
    // killed once, it is done again from the start, by the next process
    assert_eq!(daemon.result("f", "say other").code, 0);
    let followed = finish(follower);
    assert_eq!(followed.code, 0, "{followed:?}");
    assert_eq!(followed.out, "one\ntwo\none\ntwo\nthree\n");
    let again = daemon.run(&["logs", "--job", &handle]);
    assert_eq!(again.out, followed.out);
    let nobody = daemon.run(&["logs", "-f", "--job", "H:nowhere:1"]);
    assert_eq!(nobody.code, 1, "{nobody:?}");
}
