//! The end of the daemon: asked for, insisted on, and by KILL.

use std::fs;
use std::time::{Duration, Instant};

use gearpool::sys::process;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::running::Running;
use crate::support::{Daemon, Home, finish, pids, until};

#[test]
fn a_running_job_is_finished_and_no_other_begun() {
    let mut daemon = Daemon::start("f: {cmd: php worker.php, min: 1, max: 3, stop_timeout: 60s}\n");
    daemon.ready("f", 1);
    let job = daemon.submit(&["-f", "f", "until go;note done"]);
    until("the job to run", || {
        daemon.status().functions[0].running == 1
    });

    daemon.signal(Signal::SIGTERM);
    until("the daemon to shut down", || {
        daemon.status().server.shutting_down
    });
    let late = daemon.submit(&["-f", "f", "note late"]);
    until("the late job to be queued or refused", || {
        daemon.status().functions[0].queued == [0, 1, 0] || !late.output().is_empty()
    });
    daemon.home.write("go", "");
    let job = finish(job);
    assert_eq!(job.code, 0, "{job:?}");
    let (code, _) = daemon.end();
    assert_eq!(code, 0);
    assert_eq!(finish(late).code, 1);
    assert_eq!(daemon.home.notes(), ["done"]);
    assert_eq!(daemon.home.marked(), [0; 0]);
}

#[test]
fn asked_to_end_when_idle_it_waits_for_a_job_of_any_length() {
    let mut daemon =
        Daemon::start("f: {cmd: php worker.php, min: 1, max: 3, stop_timeout: 100ms}\n");
    daemon.ready("f", 1);
    let job = daemon.submit(&["-f", "f", "until go;note done"]);
    until("the job to run", || {
        daemon.status().functions[0].running == 1
    });
    daemon.signal(Signal::SIGUSR1);
    until("the daemon to shut down", || {
        daemon.status().server.shutting_down
    });
    until("more than the stop timeout to pass", || {
        let members = daemon.pool("f").members;
        members[0].jobs[0].running > Duration::from_millis(800)
    });
    daemon.home.write("go", "");
    let job = finish(job);
    assert_eq!(job.code, 0, "{job:?}");
    assert_eq!(daemon.end().0, 0);
    assert_eq!(daemon.home.notes(), ["done"]);
}

#[test]
fn past_its_stop_timeout_a_job_ends_with_its_whole_group() {
    let mut daemon = Daemon::start(
        r#"
functions:
  deaf: {cmd: "trap '' TERM; (sleep 1000; true) & exec php worker.php", shell: true, stop_timeout: 1s}
"#,
    );
    daemon.ready("deaf", 1);
    let job = daemon.submit(&["-f", "deaf", "until never"]);
    until("the job to run", || {
        daemon.status().functions[0].running == 1
    });
    assert!(daemon.home.marked().len() >= 3);
    let start = Instant::now();
    daemon.signal(Signal::SIGTERM);
    let (code, took) = daemon.end();
    eprintln!("ended after {took:?}");
    assert_eq!(code, 0);
    assert!(start.elapsed() > Duration::from_secs(1));
    assert!(took < Duration::from_secs(8), "{took:?}");
    assert_eq!(daemon.home.marked(), [0; 0]);
    assert_eq!(finish(job).code, 1);
}

#[test]
fn a_second_interrupt_ends_at_once() {
    let mut daemon = Daemon::start("f: {cmd: php worker.php, stop_timeout: 600s}\n");
    daemon.ready("f", 1);
    let job = daemon.submit(&["-f", "f", "until never"]);
    until("the job to run", || {
        daemon.status().functions[0].running == 1
    });
    daemon.signal(Signal::SIGINT);
    until("the daemon to shut down", || {
        daemon.status().server.shutting_down
    });
    assert_eq!(daemon.status().functions[0].running, 1);
    daemon.signal(Signal::SIGINT);
    let (code, took) = daemon.end();
    assert_eq!(code, 0);
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(daemon.home.marked(), [0; 0]);
    assert_eq!(finish(job).code, 1);
}

#[test]
fn a_killed_daemon_leaves_nothing_behind() {
    let mut daemon = Daemon::start(
        r#"
functions:
  plain: {cmd: php worker.php, min: 2}
  forks: {cmd: php worker.php 3}
  deaf:
    cmd: "trap '' TERM HUP; (trap '' TERM HUP; sleep 1000; true) & setsid sleep 1000 & exec php worker.php"
    shell: true
"#,
    );
    daemon.ready("plain", 2);
    daemon.ready("forks", 1);
    daemon.ready("deaf", 1);
    let job = daemon.submit(&["-f", "plain", "until never"]);
    until("the job to run", || {
        let functions = daemon.status().functions;
        functions.iter().any(|function| function.running == 1)
    });
    // the daemon, two, one with three, one with three
    until("all to be there", || daemon.home.marked().len() >= 11);
    daemon.signal(Signal::SIGKILL);
    let start = Instant::now();
    assert_eq!(daemon.end().0, -9);
    until("all to be gone", || daemon.home.marked().is_empty());
    eprintln!("all gone after {:?}", start.elapsed());
    assert_eq!(finish(job).code, 1);

    // the folder and the port are free again
    let again = daemon.home.run(&["status"]);
    assert_eq!(again.code, 3, "{again:?}");
}

/// Who kills everything that is called gearpool kills the guardian too: what is then left is gone before the next daemon starts anything.
#[test]
fn what_a_daemon_and_its_guardian_leave_is_ended_by_the_next_one() {
    let home = Home::new("f: {cmd: sh start.sh}\n");
    let hides = "trap '' TERM HUP; echo $$ > hidden; while :; do sleep 1000; done";
    home.write("hides.sh", hides);
    home.write("start.sh", "(setsid sh hides.sh &); exec php worker.php");
    let mut daemon = Daemon::start_in(home, &[]);
    daemon.ready("f", 1);
    let job = daemon.submit(&["-f", "f", "until never"]);
    until("the job to run", || {
        daemon.status().functions[0].running == 1
    });
    let hidden = || daemon.home.read("hidden").trim().parse::<u32>();
    until("the hidden one", || hidden().is_ok());
    let hidden = hidden().unwrap();
    // in the midst of its end
    daemon.signal(Signal::SIGTERM);
    until("the daemon to shut down", || {
        daemon.status().server.shutting_down
    });
    let guardian = guardian(&daemon).unwrap();
    kill(Pid::from_raw(guardian.cast_signed()), Signal::SIGKILL).unwrap();
    daemon.signal(Signal::SIGKILL);
    assert_eq!(daemon.end().0, -9);
    assert_eq!(finish(job).code, 1);
    assert!(daemon.home.marked().contains(&hidden));

    let serve = daemon.home.serve(&["-L", "127.0.0.1", "-p", "0"]);
    let mut next = Running::start("gearpool serve", &serve, b"");
    until("its worker", || {
        next.output().contains("f/1: started, pid ")
    });
    assert!(!daemon.home.marked().contains(&hidden));
    let log = next.output();
    let (before, _) = log.split_once("f/1: started").unwrap();
    let told = "killed what the last daemon of this state folder had left behind processes=";
    assert!(before.contains(told), "{log}");
    daemon.home.run(&["stop", "f"]);
    assert!(next.ended().is_none());
}

/// A copy of the state folder, for a trial beside it, ends nothing of a daemon that lives.
#[test]
fn a_daemon_that_lives_keeps_its_processes() {
    let daemon = Daemon::start("f: {cmd: php worker.php}\n");
    let before = pids(&daemon.ready("f", 1));
    let trial = Home::new("f: {cmd: php worker.php}\n");
    fs::create_dir(trial.path("state")).unwrap();
    trial.write("state/instance", &daemon.home.read("state/instance"));
    let trial = Daemon::start_in(trial, &[]);
    trial.ready("f", 1);
    assert!(!trial.log().contains("left behind"), "{}", trial.log());
    assert_eq!(pids(&daemon.ready("f", 1)), before);
    assert_eq!(daemon.result("f", "sleep 0").out, before[0].to_string());
}

/// The number in the handle of a background job.
fn number_of_a_job(daemon: &Daemon) -> u64 {
    let job = finish(daemon.submit(&["-b", "-f", "f", "x"]));
    let number = job.out.trim_end().rsplit(':').next().map(str::parse);
    number.unwrap().unwrap()
}

#[test]
fn the_next_daemon_uses_no_handle_again() {
    let mut daemon = Daemon::start("functions: {}\n");
    let before = [number_of_a_job(&daemon), number_of_a_job(&daemon)];
    assert_eq!(before[1], before[0] + 1);
    // at once, and by whatever end
    daemon.signal(Signal::SIGKILL);
    daemon.end();
    let again = Daemon::start("functions: {}\n");
    let after = number_of_a_job(&again);
    assert!(after > before[1], "{before:?}, then {after}");
    assert!(after.to_string().len() < 20, "{after}");
}

/// The guardian of a daemon: its child that is not marked as a worker.
fn guardian(daemon: &Daemon) -> Option<u32> {
    let is_guardian = |pid: u32| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|words| {
            words
                .split(|&byte| byte == 0)
                .any(|word| word == b"__guardian")
        })
    };
    let mut all = process::all().into_iter();
    all.find(|process| process.parent == daemon.pid() && !process.ended && is_guardian(process.pid))
        .map(|process| process.pid)
}

#[test]
fn a_killed_guardian_has_a_successor() {
    let mut daemon = Daemon::start("forks: {cmd: php worker.php 3, min: 1, max: 2}\n");
    daemon.ready("forks", 1);
    let first = guardian(&daemon).unwrap();
    kill(Pid::from_raw(first as i32), Signal::SIGKILL).unwrap();
    // the next start finds it gone
    assert_eq!(daemon.run(&["scale", "forks", "2"]).code, 0);
    daemon.ready("forks", 2);
    until("another guardian", || {
        guardian(&daemon).is_some_and(|second| second != first)
    });
    daemon.signal(Signal::SIGKILL);
    assert_eq!(daemon.end().0, -9);
    until("all to be gone", || daemon.home.marked().is_empty());
}
