//! The processes of the pools, their output, and what the operator has set.

use std::fs;

use gearpool::pools::view::{PoolState, ProcessState};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::stage::Stage;
use crate::support::{finish, pids, until};

#[test]
fn processes_go_on_and_are_watched_over() {
    let stage = Stage::start("f: {cmd: php worker.php, min: 3, max: 6}\n");
    let before = pids(&stage.ready("f", 3));
    let job = stage.submit(&["-f", "f", "until go"]);
    until("the job to run", || {
        stage.status().functions[0].running == 1
    });
    stage.upgrade();
    stage.upgrade();
    let pool = stage.pool("f");
    assert_eq!(pids(&pool.members), before, "parents end, children do not");
    assert!(pool.members.iter().all(|member| member.mapped), "{pool:?}");
    assert_eq!(
        pool.members
            .iter()
            .map(|member| member.jobs.len())
            .sum::<usize>(),
        1
    );
    assert_eq!(pool.pool.restarts, 0);

    // one that the program before has started ends: it is seen how, and replaced
    let victim = pool
        .members
        .iter()
        .find(|member| member.jobs.is_empty())
        .unwrap();
    let slot = victim.process.slot;
    kill(
        Pid::from_raw(victim.process.pid.unwrap().cast_signed()),
        Signal::SIGKILL,
    )
    .unwrap();
    until("its replacement", || {
        let pool = stage.pool("f");
        let is_new = |member: &gearpool::status::MemberStatus| {
            member.process.slot == slot
                && member.process.state == ProcessState::Running
                && !before.contains(&member.process.pid.unwrap())
        };
        pool.members.iter().any(is_new)
    });
    let pool = stage.pool("f").pool;
    assert_eq!(
        (pool.restarts, pool.last_exit.as_deref()),
        (1, Some("signal KILL"))
    );

    // it has what the first ones have, and nothing more
    let variables = |pid: u32| {
        let text = fs::read(format!("/proc/{pid}/environ")).unwrap();
        let mut all: Vec<_> = text.split(|&byte| byte == 0).map(<[u8]>::to_vec).collect();
        all.retain(|it| !it.starts_with(b"GEARPOOL_SLOT"));
        all.sort();
        all
    };
    let limit = |pid: u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
        let line = text.lines().find(|line| line.starts_with("Max open files"));
        line.unwrap().to_owned()
    };
    let now = pids(&stage.ready("f", 3));
    let new = *now.iter().find(|pid| !before.contains(pid)).unwrap();
    let old = *now.iter().find(|pid| before.contains(pid)).unwrap();
    assert_eq!(variables(new), variables(old));
    assert_eq!(limit(new), limit(old));
    let open = |pid: u32| fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    assert!(open(new) <= open(old), "no descriptor of the daemon's");

    stage.home.write("go", "");
    assert_eq!(finish(job).code, 0);
}

#[test]
fn what_was_set_by_hand_and_what_was_learned_stays() {
    let stage = Stage::start(
        "f: {cmd: php worker.php, max: 6}\ng: {cmd: php worker.php}\nh: {cmd: \"false\"}\n",
    );
    stage.ready("f", 1);
    stage.ready("g", 1);
    assert_eq!(stage.run(&["scale", "f", "4"]).code, 0);
    assert_eq!(stage.run(&["stop", "g"]).code, 0);
    let before = pids(&stage.ready("f", 4));
    until("h to fail", || {
        stage.pool("h").pool.state == PoolState::Failing
    });
    let restarts = stage.pool("h").pool.restarts;
    stage.upgrade();
    assert_eq!(pids(&stage.ready("f", 4)), before);
    let f = stage.pool("f").pool;
    assert_eq!(f.by_hand.as_deref(), Some("scaled by hand"));
    assert!(!f.scale.decisions.is_empty(), "{f:?}");
    assert_eq!(stage.pool("g").pool.state, PoolState::Stopped);
    let h = stage.pool("h").pool;
    assert_eq!(h.state, PoolState::Failing, "{h:?}");
    assert!(h.restarts >= restarts, "{h:?}");
    assert_eq!(stage.run(&["start", "g"]).code, 0);
    stage.ready("g", 1);
    // and the file is watched as ever
    stage
        .home
        .replace("workers.yaml", "f: {cmd: php worker.php, min: 2}\n");
    stage.ready("f", 2);
    until("the others to go", || stage.status().pools.len() == 1);
}

/// What a process has started before the upgrade, in a session of its own, goes with it after that.
#[test]
fn orphans_are_found_as_before() {
    let stage = Stage::start(
        "f: {cmd: \"setsid sleep 1000 & echo $! > orphan; exec php worker.php\", shell: true}\n",
    );
    let before = stage.ready("f", 1);
    let orphan: u32 = stage.home.read("orphan").trim().parse().unwrap();
    let is_there = |pid| gearpool::sys::process::one(pid).is_some_and(|it| !it.ended);
    stage.upgrade();
    assert!(is_there(orphan));
    kill(
        Pid::from_raw(pids(&before)[0].cast_signed()),
        Signal::SIGKILL,
    )
    .unwrap();
    until("the orphan to be ended", || !is_there(orphan));
    until("its successor", || {
        let new = stage.home.read("orphan").trim().parse();
        new.is_ok_and(|new: u32| new != orphan && is_there(new))
    });
    stage.ready("f", 1);
}

#[test]
fn jobs_that_are_set_aside_or_held_stay() {
    let stage = Stage::start(
        "f: {cmd: php worker.php, attempts: 1, timeout: 1h}\ng: {cmd: php worker.php}\n",
    );
    stage.ready("f", 1);
    stage.ready("g", 1);
    assert_eq!(stage.run(&["pause", "g"]).code, 0);
    stage.queue("g", &["note held".to_owned()]);
    stage.queue("f", &["die died; note again".to_owned()]);
    until("a job to be set aside", || {
        stage.status().server.failed_jobs == 1
    });
    stage.upgrade();
    stage.upgrade();
    let failed = stage.run(&["jobs", "failed"]);
    assert!(failed.out.contains("signal KILL"), "{failed:?}");
    assert_eq!(stage.run(&["jobs", "retry", "--all"]).code, 0);
    until("it to be done after all", || {
        stage.home.notes() == ["again"]
    });
    assert_eq!(stage.status().server.failed_jobs, 0);
    assert_eq!(stage.run(&["resume", "g"]).code, 0);
    until("what was held to be done", || {
        stage.home.notes() == ["again", "held"]
    });
}

/// A line that is half written, whose job it is, and which output belongs to which job.
#[test]
fn not_a_byte_of_output_is_lost_or_torn() {
    let script =
        "printf begin; until [ -e go ]; do sleep 0.01; done; echo ' and end'; exec sleep 1000";
    let stage = Stage::start(&format!(
        "half: {{cmd: \"{script}\", shell: true, start_timeout: 1h}}\n\
         json: {{cmd: \"{script}\", shell: true, start_timeout: 1h, log: {{format: json}}}}\n\
         f: {{cmd: php worker.php}}\n"
    ));
    stage.ready("f", 1);
    until("the half line", || {
        stage.home.read("state/logs/half/1.log") == "begin"
    });
    let handle = {
        let job = stage.submit(&[
            "-f",
            "f",
            "-b",
            "say one; until two; say two; until three; say three",
        ]);
        finish(job).out.trim().to_owned()
    };
    let log = || stage.home.read("state/logs/f/1.log");
    until("the first line", || log() == "one\n");
    stage.upgrade();
    stage.home.write("two", "");
    until("the second line", || log() == "one\ntwo\n");
    stage.upgrade();
    stage.home.write("three", "");
    stage.home.write("go", "");
    until("the third line", || log() == "one\ntwo\nthree\n");
    until("the whole line", || {
        stage.home.read("state/logs/half/1.log") == "begin and end\n"
    });
    until("the whole line, in JSON", || {
        stage
            .home
            .read("state/logs/json/1.log")
            .contains("\"line\":\"begin and end\"")
    });
    assert_eq!(stage.home.read("state/logs/json/1.log").lines().count(), 1);
    until("the job to end", || {
        stage.status().functions[0].running == 0
    });
    assert_eq!(stage.result("f", "say other").code, 0);
    until("the other line", || log().ends_with("other\n"));
    let of_job = stage.run(&["logs", "--job", &handle, "f"]);
    assert_eq!(of_job.out, "one\ntwo\nthree\n", "{of_job:?}");
}

#[test]
fn the_lock_the_pid_file_and_the_background_stay() {
    let mut stage = Stage::start_with(
        "f: {cmd: php worker.php}\n",
        &["-P", "pid", "-l", "own.log"],
    );
    stage.ready("f", 1);
    stage.upgrade();
    assert_eq!(stage.home.read("pid").trim(), stage.pid().to_string());
    let second = stage.run(&["serve", "-p", "0"]);
    assert_ne!(second.code, 0);
    assert!(second.err.contains("another gearpool"), "{second:?}");
    assert!(
        stage
            .home
            .read("own.log")
            .contains("upgraded from gearpool")
    );
    stage.signal(Signal::SIGTERM);
    assert_eq!(stage.0.end().0, 0);
    assert!(!stage.home.path("pid").exists() && !stage.home.path("state/control.sock").exists());
}
