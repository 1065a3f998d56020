//! Checks that run while the program is replaced begin anew.

use std::fs;

use gearpool::pools::view::PoolState;

use crate::running::Running;
use crate::stage::Stage;
use crate::support::{finish, pids, until};

/// A pool whose check says its process id, and passes once there is a file.
fn file(version: u32) -> String {
    format!(
        "f: {{cmd: php worker.php, min: 2, env: {{VERSION: '{version}'}}, check: [sh, -c, 'echo $$$$ >> checks; until [ -e pass ]; do sleep 0.01; done']}}\n"
    )
}

/// The process of the check that was begun after so many others.
fn check(stage: &Stage, before: usize) -> u32 {
    let mut pid = None;
    until("a check to begin", || {
        let checks = fs::read_to_string(stage.home.path("checks")).unwrap_or_default();
        pid = checks.lines().nth(before).map(|it| it.parse().unwrap());
        pid.is_some()
    });
    pid.unwrap()
}

fn upgrade_during(stage: &Stage, before: usize) {
    let old = check(stage, before);
    stage.upgrade();
    let new = check(stage, before + 1);
    assert_ne!(old, new);
    until("the first check to be gone", || {
        !fs::exists(format!("/proc/{old}")).unwrap()
    });
}

#[test]
fn a_first_start_waits_for_its_check_as_before() {
    let stage = Stage::start(&file(1));
    upgrade_during(&stage, 0);
    upgrade_during(&stage, 1);
    assert!(stage.pool("f").members.is_empty());
    stage.home.write("pass", "");
    stage.ready("f", 2);
    assert_eq!(stage.pool("f").pool.state, PoolState::Running);
    stage.upgrade();
    assert_eq!(stage.home.read("checks").lines().count(), 3);
}

#[test]
fn a_restart_and_a_new_file_wait_and_who_has_asked_is_told() {
    let stage = Stage::start(&file(1));
    stage.home.write("pass", "");
    let first = pids(&stage.ready("f", 2));
    fs::remove_file(stage.home.path("pass")).unwrap();

    let restart = stage.home.gearpool(&["restart", "f"]);
    let asks = Running::start("gearpool restart", &restart, b"");
    upgrade_during(&stage, 1);
    let told = finish(asks);
    assert_eq!(told.code, 1, "{told:?}");
    assert!(
        told.err
            .contains("f: an upgrade has come in between, and the check begins anew"),
        "{told:?}"
    );
    assert_eq!(pids(&stage.ready("f", 2)), first);
    stage.home.write("pass", "");
    until("all processes to be new", || {
        let now = pids(&stage.ready("f", 2));
        now.iter().all(|pid| !first.contains(pid))
    });
    let second = pids(&stage.ready("f", 2));
    fs::remove_file(stage.home.path("pass")).unwrap();

    stage.home.replace("workers.yaml", &file(2));
    upgrade_during(&stage, 3);
    assert_eq!(pids(&stage.ready("f", 2)), second);
    assert!(stage.result("f", "show VERSION").out.ends_with(" 1"));
    stage.home.write("pass", "");
    until("all processes to be new", || {
        let now = pids(&stage.ready("f", 2));
        now.iter().all(|pid| !second.contains(pid))
    });
    assert!(stage.result("f", "show VERSION").out.ends_with(" 2"));
}
