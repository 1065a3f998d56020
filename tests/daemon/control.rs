//! An operator's commands.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use gearpool::pools::view::PoolState;

use crate::running::Running;
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

    let wrong = daemon.run(&["scale", "f", "4000000000"]);
    assert_eq!(wrong.code, 1);
    assert!(wrong.err.contains("at most 100000"), "{wrong:?}");
    let wrong = daemon.run(&["scale", "g", "3"]);
    assert_eq!(wrong.code, 1);
    assert!(wrong.err.contains("there is no pool \"g\""), "{wrong:?}");
}

#[test]
fn several_pools_in_one_order() {
    let pool = |name: &str| format!("{name}: {{cmd: php worker.php}}\n");
    let daemon = Daemon::start(&["a", "b", "c"].map(pool).concat());
    let now = || ["a", "b", "c"].map(|name| pids(&daemon.ready(name, 1)));
    let before = now();
    let all = daemon.run(&["restart"]);
    assert_eq!((all.code, all.out.lines().count()), (0, 3), "{all:?}");
    until("all to be replaced", || {
        now().iter().zip(&before).all(|(now, before)| now != before)
    });
    // one that is refused keeps none of the others
    let stopped = daemon.run(&["stop", "a", "nobody", "b", "--json"]);
    assert_eq!(stopped.code, 1);
    assert!(
        stopped.err.contains("there is no pool \"nobody\""),
        "{stopped:?}"
    );
    assert!(stopped.out.contains("a: stopping") && stopped.out.contains("b: stopping"));
    let empty = |name: &str| daemon.pool(name).members.is_empty();
    until("both to have stopped", || empty("a") && empty("b"));
    // what is stopped is not restarted, and says so
    let refused = daemon.run(&["restart", "a"]);
    assert_eq!(refused.code, 1);
    assert!(
        refused.err.contains("`gearpool start a` starts it"),
        "{refused:?}"
    );
    let rest = daemon.run(&["restart"]);
    assert_eq!((rest.code, rest.out.lines().count()), (0, 1), "{rest:?}");
    // a size is a wish for processes
    says(&daemon, &["scale", "a", "2"]);
    daemon.ready("a", 2);
    says(&daemon, &["start", "a", "b"]);
    daemon.ready("a", 1);
    daemon.ready("b", 1);
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
    let home = Home::new("functions: {}\n");
    for words in [
        &["status"][..],
        &["status", "--json"],
        &["scale", "f", "3"],
        &["start", "f"],
        &["stop", "f"],
        &["restart", "f"],
        &["pause", "f"],
        &["resume", "f"],
        &["jobs"],
        &["jobs", "failed"],
        &["jobs", "show", "H:x:1"],
        &["jobs", "retry", "--all"],
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

/// One line of admin text by whatever stream, and the answer's first line.
fn line(mut stream: impl Read + Write, text: &str) -> String {
    stream.write_all(format!("{text}\n").as_bytes()).unwrap();
    let mut answer = String::new();
    BufReader::new(stream).read_line(&mut answer).unwrap();
    answer.trim_end().to_owned()
}

#[test]
fn a_cancelled_job_takes_its_process_along_and_no_other() {
    let daemon = Daemon::start("f: {cmd: php worker.php, min: 2, max: 2}\n");
    let before = pids(&daemon.ready("f", 2));
    let [cancelled, kept] = ["until never", "until go"].map(|job| daemon.submit(&["-f", "f", job]));
    until("both jobs to run", || {
        daemon.status().functions[0].running == 2
    });
    let member = |job: &str| {
        let members = daemon.pool("f").members;
        let found = members
            .into_iter()
            .find(|member| member.jobs.iter().any(|running| running.handle == job));
        found.unwrap().process.pid.unwrap()
    };
    let handles = line(daemon.connect(), "show jobs");
    let handle = handles.split('\t').next().unwrap();
    let (doomed, other) = (member(handle), before.iter().copied());
    let other = other.filter(|&pid| pid != doomed).collect::<Vec<_>>();
    assert_eq!(
        line(daemon.connect(), &format!("cancel job {handle}")),
        "OK"
    );
    until("the process to be replaced", || {
        let now = pids(&daemon.pool("f").members);
        now.len() == 2 && !now.contains(&doomed) && now.contains(&other[0])
    });
    daemon.home.write("go", "");
    daemon.home.write("never", "");
    let codes = [cancelled, kept].map(|job| finish(job).code);
    // which of the two was the first in the list is not said
    assert_eq!(
        codes.iter().filter(|&&code| code == 1).count(),
        1,
        "{codes:?}"
    );
    assert_eq!(
        codes.iter().filter(|&&code| code == 0).count(),
        1,
        "{codes:?}"
    );
}

#[test]
fn shutdown_by_text_is_for_those_on_a_unix_socket() {
    let home = Home::new("functions: {}\n");
    let path = home.path("socket");
    let listen = format!("--listen=unix:{}", path.display());
    let mut daemon = Daemon::start_in(home, &[&listen]);
    assert!(line(daemon.connect(), "shutdown").starts_with("ERR UNKNOWN_COMMAND"));
    let mut work = daemon.home.gearpool(&["work", "-p"]);
    let script = format!(
        "until [ -e {} ]; do sleep 0.02; done; echo done",
        daemon.home.path("go").display()
    );
    work.arg(daemon.port.to_string())
        .args(["-f", "f", "--", "sh", "-c", &script]);
    let _worker = Running::start("gearpool work", &work, b"");
    let job = daemon.submit(&["-f", "f", "x"]);
    until("the job to run", || {
        let functions = daemon.status().functions;
        functions.iter().any(|function| function.running == 1)
    });
    assert_eq!(
        line(UnixStream::connect(&path).unwrap(), "shutdown graceful"),
        "OK"
    );
    until("nobody to be let in any more", || {
        TcpStream::connect(("127.0.0.1", daemon.port)).is_err()
    });
    // the running job ends as it likes
    daemon.home.write("go", "");
    let job = finish(job);
    assert_eq!((job.code, job.out.as_str()), (0, "done\n"), "{job:?}");
    assert_eq!(daemon.end().0, 0);
}
