//! The file changes while the daemon runs.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use gearpool::pools::view::ProcessState;
use nix::sys::signal::Signal;

use crate::running::Running;
use crate::support::{Daemon, Home, finish, pids, until};

#[test]
fn a_function_is_added_and_one_with_a_running_job_is_removed() {
    let daemon = Daemon::start("old: {cmd: php worker.php}\n");
    daemon.ready("old", 1);
    let job = daemon.submit(&["-f", "old", "until go"]);
    until("the job to run", || {
        daemon.status().functions[0].running == 1
    });

    // by a rename, as careful editors do
    daemon
        .home
        .replace("workers.yaml", "new: {cmd: php worker.php, min: 2}\n");
    until("the new pool to be there", || {
        daemon
            .status()
            .pools
            .iter()
            .any(|pool| pool.pool.name == "new")
    });
    daemon.ready("new", 2);
    assert_eq!(daemon.result("new", "say hello").code, 0);
    let old = daemon.pool("old");
    assert_eq!(old.members[0].process.state, ProcessState::Draining);
    assert_eq!(old.members[0].jobs.len(), 1);

    daemon.home.write("go", "");
    let job = finish(job);
    assert_eq!(job.code, 0, "{job:?}");
    assert_eq!(
        job.out.trim().parse(),
        Ok(old.members[0].process.pid.unwrap())
    );
    until("the old pool to be gone", || {
        daemon.status().pools.len() == 1
    });
}

/// As a deployment may have it that writes a file twice.
#[test]
fn a_pool_that_comes_back_goes_on_with_its_processes() {
    let file = "f: {cmd: php worker.php, min: 2, stop_timeout: 1h}\n";
    let daemon = Daemon::start(file);
    let before = pids(&daemon.ready("f", 2));
    let jobs = [1, 2].map(|n| daemon.submit(&["-f", "f", &format!("until go;note {n}")]));
    until("the jobs to run", || {
        daemon.status().functions[0].running == 2
    });
    daemon.home.replace("workers.yaml", "functions: {}\n");
    let states = || {
        daemon
            .pool("f")
            .members
            .into_iter()
            .map(|it| it.process.state)
    };
    until("both to be leaving", || {
        states().all(|state| state == ProcessState::Draining)
    });
    daemon.home.replace("workers.yaml", file);
    assert_eq!(pids(&daemon.ready("f", 2)), before);
    daemon.home.write("go", "");
    for job in jobs {
        assert_eq!(finish(job).code, 0);
    }
    assert_eq!(daemon.result("f", "note 3").code, 0);
    assert_eq!(daemon.home.notes().len(), 3);
    assert_eq!(pids(&daemon.ready("f", 2)), before);

    // one that was stopped by hand comes back as a new one, and waits for the end of the old one
    let job = daemon.submit(&["-f", "f", "until late"]);
    until("the job to run", || {
        daemon.status().functions[0].running == 1
    });
    assert_eq!(daemon.run(&["stop", "f"]).code, 0);
    until("the idle one to be gone", || {
        daemon.pool("f").members.len() == 1
    });
    assert_eq!(daemon.run(&["start", "f"]).code, 0);
    until("the other one to be there again", || {
        daemon.pool("f").members.len() == 2
    });
    let waits = "; the next starts when the one that is leaving has ended";
    let reason = daemon.pool("f").pool.reason;
    assert!(reason.ends_with(waits), "{reason}");
    daemon.home.write("late", "");
    assert_eq!(finish(job).code, 0);
    daemon.ready("f", 2);
}

#[test]
fn another_size_restarts_nothing() {
    let daemon = Daemon::start("f: {cmd: php worker.php, min: 2, max: 3}\n");
    let before = pids(&daemon.ready("f", 2));

    daemon
        .home
        .write("workers.yaml", "f: {cmd: php worker.php, min: 2, max: 5}\n");
    until("the change to be seen", || daemon.pool("f").pool.max == 5);
    daemon
        .home
        .write("workers.yaml", "f: {cmd: php worker.php, min: 3, max: 5}\n");
    let checked = daemon.run(&["check", "workers.yaml"]);
    assert_eq!(checked.code, 0, "{checked:?}");
    daemon.signal(Signal::SIGHUP);
    let after = pids(&daemon.ready("f", 3));
    assert!(
        before.iter().all(|pid| after.contains(pid)),
        "{before:?} {after:?}"
    );
    assert_eq!(daemon.pool("f").pool.restarts, 0);
}

#[test]
fn another_environment_replaces_the_processes_new_before_old_and_no_job_is_lost() {
    let file = |version: u32| {
        format!("f: {{cmd: php worker.php, min: 2, max: 2, env: {{VERSION: \"{version}\"}}}}\n")
    };
    let daemon = Daemon::start(&file(1));
    let before = pids(&daemon.ready("f", 2));
    let checks_only = daemon.run(&["check", "workers.yaml"]);
    assert!(
        checks_only.out.contains("would change nothing"),
        "{checks_only:?}"
    );

    let is_over = AtomicBool::new(false);
    let versions = thread::scope(|scope| {
        let jobs = scope.spawn(|| {
            let mut versions = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let job = versions.len();
                let result = daemon.result("f", &format!("sleep 20;note {job};show VERSION"));
                assert_eq!(result.code, 0, "job {job}: {result:?}");
                versions.push(result.out.split_once(' ').unwrap().1.trim().to_owned());
            }
            versions
        });

        // without it a check that failed would leave the other thread at work
        let over = Over(&is_over);
        until("some jobs to be done", || daemon.home.notes().len() >= 3);
        daemon.home.write("workers.yaml", &file(2));
        let reloaded = daemon.run(&["reload"]);
        assert_eq!(reloaded.code, 0, "{reloaded:?}");
        until("all processes to be new", || {
            let status = daemon.status();
            assert!(
                status.functions[0].workers >= 2,
                "{:?}",
                status.functions[0]
            );
            let now = pids(&status.pools[0].members);
            now.len() == 2 && now.iter().all(|pid| !before.contains(pid))
        });
        let done = daemon.home.notes().len();
        until("some more jobs to be done", || {
            daemon.home.notes().len() >= done + 3
        });
        drop(over);
        jobs.join().unwrap()
    });

    let expected: Vec<_> = (0..versions.len()).map(|job| job.to_string()).collect();
    assert_eq!(daemon.home.notes(), expected);
    let first_new = versions.iter().position(|version| version == "2").unwrap();
    assert!(first_new > 0);
    let kinds: HashSet<_> = versions[first_new + 2..].iter().collect();
    assert_eq!(kinds.len(), 1, "{versions:?}");
    assert_eq!(daemon.pool("f").pool.restarts, 0);
}

/// Says that it is over when it ends, however that is.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_wrong_file_changes_nothing_and_is_told_everywhere() {
    let right = "functions:\n  f: {cmd: php worker.php, min: 2}\n";
    let daemon = Daemon::start(right);
    let before = pids(&daemon.ready("f", 2));

    daemon.home.write(
        "workers.yaml",
        "functions:\n  f: {cmd: php worker.php, mim: 2}\n  g: {cmd: php worker.php, min: 9, max: 3}\n",
    );
    until("the status to tell", || {
        daemon.status().server.config_error.is_some()
    });
    let error = daemon.status().server.config_error.unwrap();
    for part in ["workers.yaml:2:28", "workers.yaml:3:", "mim", "min"] {
        assert!(error.contains(part), "no {part} in\n{error}");
    }
    let log = daemon.log();
    for line in error.lines() {
        assert!(log.contains(line), "no {line} in\n{log}");
    }
    let shown = daemon.run(&["status"]);
    assert!(shown.out.contains("workers.yaml:2:28"), "{}", shown.out);
    let reload = daemon.run(&["reload"]);
    assert_eq!(reload.code, 1, "{reload:?}");
    assert!(reload.err.contains("workers.yaml:2:28"), "{reload:?}");
    let check = daemon.run(&["check", "workers.yaml"]);
    assert_eq!(check.code, 2, "{check:?}");
    assert!(check.err.contains("workers.yaml:2:28"), "{check:?}");

    daemon.home.write("workers.yaml", "f: {cmd: [\n");
    let reload = daemon.run(&["reload"]);
    assert_eq!(reload.code, 1, "{reload:?}");
    assert_eq!(pids(&daemon.ready("f", 2)), before);
    assert_eq!(daemon.result("f", "say hello").code, 0);

    daemon.home.write("workers.yaml", right);
    until("the status to have no error", || {
        daemon.status().server.config_error.is_none()
    });
    assert_eq!(pids(&daemon.ready("f", 2)), before);

    // an error that was corrected while it was being read must not stay
    for _ in 0..10 {
        daemon.home.write("workers.yaml", "f: {cmd: [\n");
        until("the error to be told", || {
            daemon.status().server.config_error.is_some()
        });
        daemon.home.write("workers.yaml", "f: {cmd: [1,\n");
        let reload = daemon.home.gearpool(&["reload"]);
        let reload = Running::start("gearpool reload", &reload, b"");
        daemon.home.write("workers.yaml", right);
        finish(reload);
        until("the error to be forgotten", || {
            daemon.status().server.config_error.is_none()
        });
    }
    assert_eq!(pids(&daemon.ready("f", 2)), before);
}

#[test]
fn a_file_that_is_gone_changes_nothing_until_it_is_back() {
    let daemon = Daemon::start("f: {cmd: php worker.php, max: 2}\n");
    let before = pids(&daemon.ready("f", 1));
    fs::remove_file(daemon.home.path("workers.yaml")).unwrap();
    let reload = daemon.run(&["reload"]);
    assert_eq!(reload.code, 1, "{reload:?}");
    assert!(reload.err.contains("cannot read"), "{reload:?}");
    assert_eq!(pids(&daemon.ready("f", 1)), before);
    daemon
        .home
        .replace("workers.yaml", "f: {cmd: php worker.php, max: 3}\n");
    until("it to be read", || daemon.pool("f").pool.max == 3);
    assert_eq!(daemon.status().server.config_error, None);
    assert_eq!(pids(&daemon.ready("f", 1)), before);
}

/// Puts a file with this `max` into the folder that the link `data` leads to from now on.
fn mount(home: &Home, max: u32) {
    let folder = format!("v{max}");
    fs::create_dir(home.path(&folder)).unwrap();
    let text = format!("f: {{cmd: php worker.php, max: {max}}}\n");
    home.write(&format!("{folder}/workers.yaml"), &text);
    symlink(folder, home.path("link")).unwrap();
    fs::rename(home.path("link"), home.path("data")).unwrap();
}

/// As an orchestrator mounts its files: the name is a link into a folder that is itself a link, which is replaced.
#[test]
fn a_file_behind_links_is_followed() {
    let home = Home::new("");
    mount(&home, 2);
    fs::remove_file(home.path("workers.yaml")).unwrap();
    symlink("data/workers.yaml", home.path("workers.yaml")).unwrap();
    let daemon = Daemon::start_in(home, &[]);
    daemon.ready("f", 1);
    mount(&daemon.home, 3);
    until("the new one to be read", || daemon.pool("f").pool.max == 3);
}

/// As where a file is kept in a deployment, and a link leads to it.
#[test]
fn a_file_that_a_link_leads_to_is_followed_where_it_is() {
    let home = Home::new("include: more.yaml\nfunctions: {f: {cmd: php worker.php}}\n");
    fs::create_dir(home.path("kept")).unwrap();
    fs::rename(home.path("workers.yaml"), home.path("kept/main.yaml")).unwrap();
    let more = |max: u32| format!("g: {{cmd: php worker.php, max: {max}}}\n");
    home.write("kept/more.yaml", &more(1));
    for (to, name) in [("main", "workers"), ("more", "more")] {
        symlink(
            format!("kept/{to}.yaml"),
            home.path(&format!("{name}.yaml")),
        )
        .unwrap();
    }
    let daemon = Daemon::start_in(home, &[]);
    daemon.ready("g", 1);
    daemon.home.replace("kept/more.yaml", &more(2));
    until("the included one to be read", || {
        daemon.pool("g").pool.max == 2
    });
    daemon.home.replace(
        "kept/main.yaml",
        "include: more.yaml\nfunctions: {f: {cmd: php worker.php, max: 3}}\n",
    );
    until("the file to be read", || daemon.pool("f").pool.max == 3);
    daemon.home.write("kept/more.yaml", &more(4));
    until("the included one to be read again", || {
        daemon.pool("g").pool.max == 4
    });
}

#[test]
fn check_says_what_a_reload_would_change() {
    let daemon = Daemon::start("f: {cmd: php worker.php, min: 1, max: 2}\n");
    let pid = pids(&daemon.ready("f", 1));
    daemon
        .home
        .write("other.yaml", "f: {cmd: php worker.php, min: 1, max: 7}\n");
    let other = daemon.run(&["check", "other.yaml"]);
    assert_eq!(other.code, 0, "{other:?}");
    assert!(other.out.contains("1 pool, 7 processes"), "{other:?}");
    assert!(other.out.contains("max 2 → 7"), "{other:?}");
    assert_eq!(pids(&daemon.ready("f", 1)), pid);
    assert_eq!(daemon.pool("f").pool.max, 2);
}
