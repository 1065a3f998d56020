//! The life of a process: how much memory it may take, what its end is called, how it is replaced, and when the daemon ends with it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use gearpool::pools::view::PoolState;
use gearpool::sys::process;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Daemon, Home, pids, until};
use crate::sweep::eventually;

#[test]
fn a_process_that_takes_too_much_memory_is_replaced_between_two_jobs() {
    let file = r#"f: {cmd: "php worker.php; true", shell: true, max_memory: 100MiB}"#;
    let daemon = Daemon::start(file);
    // a shell is not much; what it has started counts
    let before = pids(&daemon.ready("f", 1));
    let small = daemon.result("f", "grow 20");
    assert_eq!(small.code, 0, "{small:?}");
    let large = daemon.submit(&["-f", "f", "grow 150;until go;note whole"]);
    until("it to be told", || {
        daemon.log().contains("more than max_memory")
    });
    until("its successor to be there before it goes", || {
        daemon.pool("f").members.len() == 2
    });
    daemon.home.write("go", "");
    assert_eq!(crate::support::finish(large).code, 0);
    assert_eq!(daemon.home.notes(), ["whole"]);
    until("the large one to be gone", || {
        let members = daemon.ready("f", 1);
        !pids(&members).contains(&before[0])
    });
    let log = daemon.log();
    assert!(log.contains("max_memory reached"), "{log}");
    assert!(!log.contains("signal KILL"), "{log}");
    assert_eq!(daemon.pool("f").pool.restarts, 0);
}

#[test]
fn the_status_shows_what_max_memory_is_compared_with() {
    let home = Home::new("f: {cmd: sh start.sh, max_memory: 900MiB}\n");
    // in a session of its own, which the resident memory of the process's session says nothing of
    home.write(
        "start.sh",
        "setsid php -r '$kept = str_repeat(\"x\", 80 << 20); sleep(1000);' & exec php worker.php",
    );
    let daemon = Daemon::start_in(home, &[]);
    daemon.ready("f", 1);
    until("all of it to be shown", || {
        daemon.pool("f").members[0].memory > Some(80 << 20)
    });
}

/// A group of processes that gets no more than so many bytes of memory, of whichever version the machine has.
struct Cramped(PathBuf);

impl Cramped {
    fn new(bytes: u64) -> Option<Cramped> {
        let kinds = [
            ("/sys/fs/cgroup", "memory.max"),
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
        ];
        kinds.into_iter().find_map(|(root, limit)| {
            let folder = tempfile::Builder::new()
                .prefix("gearpool-test-")
                .tempdir_in(Path::new(root))
                .ok()?;
            // a plain folder, or a group without the memory controller, has no such file
            let is_one = folder.path().join(limit).exists()
                && fs::write(folder.path().join(limit), bytes.to_string()).is_ok();
            is_one.then(|| Cramped(folder.keep()))
        })
    }
}

impl Drop for Cramped {
    fn drop(&mut self) {
        let is_gone = eventually(|| fs::remove_dir(&self.0).is_ok());
        assert!(is_gone || thread::panicking(), "the group is not empty");
    }
}

#[test]
fn the_kernels_kill_for_want_of_memory_is_called_that() {
    let Some(cramped) = Cramped::new(24 << 20) else {
        eprintln!("no group with a limit on memory can be made here");
        return;
    };
    let home = Home::new("f: {cmd: sh start.sh}\n");
    home.write(
        "start.sh",
        &format!(
            "echo $$ > {}/cgroup.procs; echo about to; exec php -d memory_limit=-1 -r 'str_repeat(\"x\", 400 << 20);'",
            cramped.0.display()
        ),
    );
    let daemon = Daemon::start_in(home, &["--cgroup", "off"]);
    until("the pool to fail", || {
        daemon.pool("f").pool.state == PoolState::Failing
    });
    let pool = daemon.pool("f").pool;
    assert_eq!(
        pool.last_exit.as_deref(),
        Some("signal KILL: out of memory")
    );
    let status = daemon.run(&["status"]).out;
    for part in ["FAILING", "signal KILL: out of memory", "about to"] {
        assert!(status.contains(part), "{status}");
    }
    let events = daemon.run(&["logs", "--events", "f/1"]).out;
    assert!(events.contains("out of memory"), "{events}");
    assert_eq!(daemon.run(&["stop", "f"]).code, 0);
    drop(daemon);
}

#[test]
fn a_kill_by_hand_is_not() {
    let daemon = Daemon::start("f: {cmd: php worker.php}\n");
    let before = pids(&daemon.ready("f", 1));
    kill(Pid::from_raw(before[0].cast_signed()), Signal::SIGKILL).unwrap();
    until("it to be noticed", || {
        daemon.pool("f").pool.last_exit.is_some()
    });
    let last = daemon.pool("f").pool.last_exit;
    assert_eq!(last.as_deref(), Some("signal KILL"));
}

#[test]
fn a_rolling_restart_never_has_fewer_registered_workers_than_the_pools_size() {
    let daemon = Daemon::start("f: {cmd: php worker.php, count: 4}\n");
    let before = pids(&daemon.ready("f", 4));
    let port = daemon.port.to_string();
    let is_over = AtomicBool::new(false);
    let registered = || -> u64 {
        let status = daemon.run(&["admin", "-p", &port, "--status"]).out;
        let line = status.lines().find_map(|line| line.strip_prefix("f\t"));
        let last = line.and_then(|line| line.rsplit('\t').next());
        last.unwrap_or("0").parse().unwrap()
    };
    let seen = thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut seen = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                seen.push(registered());
            }
            seen
        });
        assert_eq!(daemon.run(&["restart", "f"]).code, 0);
        until("all of them to be new", || {
            let members = daemon.pool("f").members;
            members.len() == 4 && !pids(&members).iter().any(|pid| before.contains(pid))
        });
        is_over.store(true, Ordering::Relaxed);
        watcher.join().unwrap()
    });
    eprintln!("registered during the restart: {seen:?}");
    assert!(
        seen.iter().all(|&count| (4..=5).contains(&count)),
        "{seen:?}"
    );
    // one at a time, each with its successor there first
    let log = daemon.log();
    let moves: Vec<_> = log
        .lines()
        .skip_while(|line| !line.contains("restarting"))
        .filter_map(|line| {
            let word = ["started, pid", "ended after"];
            word.into_iter().find(|word| line.contains(word))
        })
        .collect();
    assert_eq!(moves.len(), 8, "{log}");
    let mut more = 0_i32;
    for step in moves {
        more += if step.starts_with("started") { 1 } else { -1 };
        assert!((0..=1).contains(&more), "{log}");
    }
}

#[test]
fn the_daemon_ends_with_a_pool_that_does_not_work() {
    let mut daemon = Daemon::start(
        r#"
server: {exit_on_failure: true}
functions:
  good: {cmd: php worker.php}
  bad: {cmd: "sleep 1; echo no database >&2; exit 7", shell: true}
  told: {cmd: "false", min: 0, exit_on_failure: false}
"#,
    );
    daemon.ready("good", 1);
    let job = daemon.submit(&["-f", "good", "until go;note whole"]);
    until("the daemon to shut down", || {
        daemon.status().server.shutting_down
    });
    daemon.home.write("go", "");
    assert_eq!(crate::support::finish(job).code, 0);
    assert_eq!(daemon.end().0, 1);
    assert_eq!(daemon.home.notes(), ["whole"]);
    let log = daemon.log();
    assert!(
        log.contains(
            "ended by exit_on_failure: bad: its processes keep dying; the last one: exit 7"
        ),
        "{log}"
    );
}

#[test]
fn the_daemon_ends_with_a_process_that_is_not_started_again() {
    let mut daemon = Daemon::start(
        r#"
functions:
  once: {cmd: "sleep 1; exit 3", shell: true, restart: never, exit_on_failure: true}
  done: {cmd: "true", restart: never, exit_on_failure: true}
"#,
    );
    assert_eq!(daemon.end().0, 1);
    let log = daemon.log();
    assert!(
        log.contains("once: a process has ended and is not started again; the last one: exit 3"),
        "{log}"
    );
}

#[test]
fn the_daemon_ends_with_a_pool_whose_check_lets_it_start_nothing() {
    let mut daemon = Daemon::start(
        r#"
server: {exit_on_failure: true}
functions:
  good: {cmd: php worker.php}
  bad: {cmd: php worker.php, check: "until [ -e go ]; do sleep 0.02; done; exit 4", shell: true}
"#,
    );
    daemon.ready("good", 1);
    daemon.home.write("go", "");
    assert_eq!(daemon.end().0, 1);
    let log = daemon.log();
    assert!(
        log.contains(
            "ended by exit_on_failure: bad: its check failed, and none of its processes runs"
        ),
        "{log}"
    );
}

/// As process 1 of a container: it reaps what it has not started, leaves it alone otherwise, and ends when it is told to.
#[test]
fn as_process_1() {
    let may = Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc", "true"])
        .stderr(Stdio::null())
        .status();
    if !may.is_ok_and(|status| status.success()) {
        eprintln!("no namespace of processes can be made here");
        return;
    }
    let home = Home::new("f: {cmd: php worker.php}\n");
    let words = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
    let command = home.serve_by(&words);
    let mut daemon = Daemon::start_as(home, command);
    let before = daemon.ready("f", 1);
    assert_eq!(daemon.status().server.pid, 1);
    let [init] = process::children(daemon.pid()).unwrap()[..] else {
        panic!("unshare has one child");
    };
    let script = format!(
        "cd {}; (while [ ! -e go ]; do sleep 0.01; done; echo orphan > lived) &",
        daemon.home.path("").display()
    );
    let orphan = Command::new("nsenter")
        .args(["--target", &init.to_string(), "--pid", "--mount", "--"])
        .args(["sh", "-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(orphan.success());
    let orphans = || {
        let children = process::children(init).unwrap().into_iter();
        children
            .filter(|&pid| process::name(pid).is_some_and(|name| name == "sh"))
            .collect::<Vec<_>>()
    };
    until("the orphan to have come to it", || orphans().len() == 1);
    let orphan = orphans()[0];
    // the end of a worker is none of its business
    assert_eq!(daemon.result("f", "die now").code, 0);
    daemon.ready("f", 1);
    assert_ne!(pids(&daemon.ready("f", 1)), pids(&before));
    assert!(process::one(orphan).is_some_and(|process| !process.ended));
    daemon.home.write("go", "");
    until("it to be done", || !daemon.home.read("lived").is_empty());
    until("it to be reaped", || process::one(orphan).is_none());

    kill(Pid::from_raw(init.cast_signed()), Signal::SIGHUP).unwrap();
    kill(Pid::from_raw(init.cast_signed()), Signal::SIGTERM).unwrap();
    assert_eq!(daemon.end().0, 0);
    let log = daemon.log();
    assert!(
        log.contains("shutting down") && log.contains("ended"),
        "{log}"
    );
}
