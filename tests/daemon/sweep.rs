//! What a worker leaves behind when it ends, and when its replacement may start.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gearpool::sys::process;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{DEADLINE, Daemon, Home, pids, until};

/// Each start notes what is alive of those that the start before has noted, and becomes the worker.
const START: &str = r#"
for file in stubborn hidden bare; do
    if [ -s $file ]; then
        if kill -0 "$(cat $file)" 2>/dev/null; then echo "$file alive" >> order; else echo "$file gone" >> order; fi
    fi
done
rm -f stubborn hidden bare
sh -c 'trap "" TERM HUP; echo $$ > stubborn; while :; do sleep 1000; done' &
(setsid sh -c 'trap "" TERM; echo $$ > hidden; while :; do sleep 1000; done' &)
[ -z "$1" ] || (env -i setsid sh -c 'echo $$ > bare; while :; do sleep 1000; done' &)
while [ ! -s stubborn ] || [ ! -s hidden ]; do sleep 0.01; done
exec php worker.php
"#;

fn home() -> Home {
    let home = Home::new("f: {cmd: sh start.sh, start_timeout: 60s}\n");
    home.write("start.sh", START);
    home
}

fn die(pid: u32) {
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).unwrap();
}

/// The number in a file, once it is there.
fn number(home: &Home, file: &str) -> u32 {
    until(file, || !home.read(file).trim().is_empty());
    home.read(file).trim().parse().unwrap()
}

fn is_there(pid: u32) -> bool {
    process::one(pid).is_some_and(|process| !process.ended)
}

#[test]
fn what_a_worker_leaves_is_gone_before_its_replacement_starts() {
    let daemon = Daemon::start_in(home(), &["--cgroup", "off"]);
    let before = pids(&daemon.ready("f", 1));
    let left = ["stubborn", "hidden"].map(|file| number(&daemon.home, file));
    let hidden = process::one(left[1]).unwrap();
    assert_eq!(hidden.parent, daemon.pid(), "{hidden:?}");
    assert_ne!(hidden.session, before[0]);

    die(before[0]);
    until("the next one to be ready", || {
        let members = daemon.pool("f").members;
        members.len() == 1 && members[0].mapped && members[0].process.pid != Some(before[0])
    });
    assert_eq!(daemon.home.read("order"), "stubborn gone\nhidden gone\n");
    assert!(!left.iter().any(|&pid| is_there(pid)));
    let log = daemon.log();
    assert!(
        log.contains("f/1: has left 4 processes behind, to which TERM is sent: "),
        "{log}"
    );
    assert!(log.contains("did not end on TERM and gets KILL: "), "{log}");
}

#[test]
fn what_is_asked_to_end_and_does_is_not_killed() {
    let home = Home::new("f: {cmd: sh start.sh}\n");
    let child =
        "trap 'echo polite >> notes; exit' TERM; echo $$ > child; while :; do sleep 0.01; done";
    home.write("child.sh", child);
    home.write(
        "start.sh",
        "setsid sh child.sh & while [ ! -s child ]; do sleep 0.01; done; exec php worker.php",
    );
    let daemon = Daemon::start_in(home, &["--cgroup", "off"]);
    let before = pids(&daemon.ready("f", 1));
    die(before[0]);
    until("the next one", || {
        daemon.log().matches("started, pid").count() == 2
    });
    assert_eq!(daemon.home.notes(), ["polite"]);
    let log = daemon.log();
    assert!(!log.contains("did not end on TERM"), "{log}");
}

#[test]
fn a_stopped_pool_leaves_nothing() {
    let daemon = Daemon::start_in(home(), &["--cgroup", "off"]);
    daemon.ready("f", 1);
    let left = ["stubborn", "hidden"].map(|file| number(&daemon.home, file));
    assert_eq!(daemon.run(&["stop", "f"]).code, 0);
    until("the pool to be empty", || {
        daemon.pool("f").members.is_empty()
    });
    assert!(!left.iter().any(|&pid| is_there(pid)));
}

/// Something that daemonizes again and again must not fill the table of processes with those that nobody reaps.
#[test]
fn orphans_are_reaped_while_the_worker_lives() {
    let home = Home::new("f: {cmd: sh start.sh}\n");
    home.write(
        "start.sh",
        "for i in 1 2 3 4 5; do (setsid sh -c 'echo $$ >> orphans' &); done; exec php worker.php",
    );
    let daemon = Daemon::start_in(home, &[]);
    daemon.ready("f", 1);
    until("all of them", || {
        daemon.home.read("orphans").lines().count() == 5
    });
    let orphans = daemon.home.read("orphans");
    for orphan in orphans.lines() {
        let pid = orphan.parse().unwrap();
        until("it to be reaped", || {
            process::one(pid).is_none_or(|process| process.parent != daemon.pid())
        });
    }
}

/// What lost its environment and its session belongs to nobody known; it goes with the daemon at the latest.
#[test]
fn the_end_of_the_daemon_is_the_end_of_all_that_came_to_it() {
    let home = Home::new("f: {cmd: sh start.sh all, start_timeout: 60s}\n");
    home.write("start.sh", START);
    let mut daemon = Daemon::start_in(home, &["--cgroup", "off"]);
    daemon.ready("f", 1);
    let bare = number(&daemon.home, "bare");
    assert!(is_there(bare));
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.end().0, 0);
    assert!(!is_there(bare));
}

/// Whether a condition comes true: for the end of a test that may be failing already.
pub(crate) fn eventually(mut condition: impl FnMut() -> bool) -> bool {
    let begin = Instant::now();
    loop {
        if condition() {
            return true;
        }
        if begin.elapsed() > DEADLINE {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A control group of version 2 for a test. `None` where none can be made: that takes root, or a group that was delegated, and Linux
/// with version 2 mounted.
struct Control(PathBuf);

impl Control {
    fn new() -> Option<Control> {
        let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
        let root = roots
            .into_iter()
            .find(|root| root.join("cgroup.controllers").exists())?;
        let folder = tempfile::Builder::new()
            .prefix("gearpool-test-")
            .tempdir_in(root)
            .ok()?
            .keep();
        Some(Control(folder))
    }

    fn groups(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.0).unwrap().flatten();
        let folders = entries.filter(|entry| entry.file_type().unwrap().is_dir());
        folders.map(|entry| entry.path()).collect()
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        let is_gone = eventually(|| {
            self.groups().iter().for_each(|group| {
                let _ = fs::remove_dir(group);
            });
            fs::remove_dir(&self.0).is_ok()
        });
        assert!(is_gone || std::thread::panicking(), "it is not empty");
    }
}

/// A daemon whose processes have control groups, where that can be.
fn in_a_control_group() -> Option<(Control, Daemon)> {
    let Some(control) = Control::new() else {
        eprintln!("no control group can be made here");
        return None;
    };
    let home = Home::new("f: {cmd: sh start.sh all, start_timeout: 60s}\n");
    home.write("start.sh", START);
    let folder = control.0.display().to_string();
    let daemon = Daemon::start_in(home, &["--cgroup", &folder]);
    Some((control, daemon))
}

#[test]
fn in_a_control_group_nothing_hides() {
    let Some((control, mut daemon)) = in_a_control_group() else {
        return;
    };
    let before = pids(&daemon.ready("f", 1));
    let left = ["stubborn", "hidden", "bare"].map(|file| number(&daemon.home, file));
    let groups = control.groups();
    let [group] = groups.as_slice() else {
        panic!("one group, not {groups:?}");
    };
    let name = group.file_name().unwrap().to_string_lossy().into_owned();
    assert_eq!(name, format!("f.1.{}", daemon.pid()));
    let inside = fs::read_to_string(group.join("cgroup.procs")).unwrap();
    for pid in left.iter().chain(&before) {
        assert!(
            inside.lines().any(|line| line == pid.to_string()),
            "{inside}"
        );
    }

    die(before[0]);
    until("the next one to be started", || {
        daemon.log().matches("started, pid").count() == 2
    });
    until("it to be ready", || {
        let members = daemon.pool("f").members;
        members.len() == 1 && members[0].mapped
    });
    assert_eq!(
        daemon.home.read("order"),
        "stubborn gone\nhidden gone\nbare gone\n"
    );
    assert!(!left.iter().any(|&pid| is_there(pid)));
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.end().0, 0);
    assert_eq!(control.groups(), [] as [PathBuf; 0]);
}

#[test]
fn a_killed_daemon_leaves_nothing_in_its_control_groups() {
    let Some((control, mut daemon)) = in_a_control_group() else {
        return;
    };
    daemon.ready("f", 1);
    let bare = number(&daemon.home, "bare");
    daemon.signal(Signal::SIGKILL);
    assert_eq!(daemon.end().0, -9);
    until("all to be gone", || !is_there(bare));
    until("its groups to be gone", || control.groups().is_empty());
}
