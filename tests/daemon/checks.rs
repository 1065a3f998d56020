//! `check` and `watch`: what has to pass before something new is started, and what starts it.

use std::fs;
use std::process::Command;

use gearpool::pools::view::{PoolState, ProcessState};

use nix::sys::signal::Signal;

use crate::running::Running;
use crate::support::{Daemon, Home, finish, pids, until};

/// A pool whose code is `code.php`, read by PHP itself.
const FILE: &str = "f: {cmd: php code.php, min: 2, check: php -l code.php}\n";

const RIGHT: &str = "<?php require 'worker.php';\n";
const WRONG: &str = "<?php require 'worker.php'; if (\n";

fn home(file: &str, code: &str) -> Home {
    let home = Home::new(file);
    home.write("code.php", code);
    home
}

#[test]
fn a_restart_waits_for_its_check_and_leaves_everything_when_that_fails() {
    let daemon = Daemon::start_in(home(FILE, RIGHT), &[]);
    let before = pids(&daemon.ready("f", 2));

    daemon.home.write("code.php", WRONG);
    let refused = daemon.run(&["restart", "f"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    let says = "gearpool: f: check failed, the processes from before go on: php -l code.php: exit 255\n  | ";
    assert!(refused.err.starts_with(says), "{refused:?}");
    assert!(refused.err.contains("Unclosed"), "{refused:?}");
    assert_eq!(pids(&daemon.ready("f", 2)), before);
    let pool = daemon.pool("f").pool;
    assert_eq!(pool.state, PoolState::Running);
    let check = pool.check.unwrap();
    assert!(
        check.lines.iter().any(|line| line.contains("Unclosed")),
        "{check:?}"
    );
    let table = daemon.run(&["status"]).out;
    assert!(
        table.contains(
            "  check failed, the processes from before go on: php -l code.php: exit 255\n"
        ),
        "{table}"
    );
    assert!(
        daemon
            .run(&["explain", "f"])
            .out
            .contains("\nIts check failed, the processes from before go on")
    );
    let log = daemon.log();
    assert!(
        log.contains(
            "ERROR f: check failed, the processes from before go on: php -l code.php: exit 255"
        ),
        "{log}"
    );

    // a reload that replaces nothing looks again
    daemon.home.write("code.php", RIGHT);
    let reloaded = daemon.run(&["reload"]);
    assert_eq!(
        (reloaded.code, reloaded.out.as_str()),
        (0, "nothing to change\n"),
        "{reloaded:?}"
    );
    assert_eq!(daemon.pool("f").pool.check, None);
    assert_eq!(pids(&daemon.ready("f", 2)), before);
    let restarted = daemon.run(&["restart", "f"]);
    assert_eq!(restarted.code, 0, "{restarted:?}");
    until("all processes to be new", || {
        let now = pids(&daemon.ready("f", 2));
        now.iter().all(|pid| !before.contains(pid))
    });
}

#[test]
fn a_reload_puts_each_pool_in_force_when_its_own_check_has_passed() {
    let file = |version: u32, max: u32| {
        let pool = |name: &str, code: &str| {
            format!(
                "{name}: {{cmd: php {code}, check: php -l {code}, max: {max}, env: {{VERSION: '{version}', FUNCTION: {name}}}}}\n"
            )
        };
        pool("f", "code.php") + &pool("g", "worker.php")
    };
    let daemon = Daemon::start_in(home(&file(1, 2), RIGHT), &[]);
    let (f, g) = (pids(&daemon.ready("f", 1)), pids(&daemon.ready("g", 1)));

    daemon.home.write("code.php", WRONG);
    daemon.home.write("workers.yaml", &file(2, 3));
    let checked = daemon.run(&["check", "workers.yaml"]);
    assert!(
        checked
            .out
            .contains("roll    f  env changed, max 2 → 3, when its check has passed"),
        "{checked:?}"
    );
    let refused = daemon.run(&["reload"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.err.contains(
            "f: check failed, the processes from before go on: php -l code.php: exit 255"
        ),
        "{refused:?}"
    );
    until("the other pool to be replaced", || {
        pids(&daemon.ready("g", 1)) != g
    });
    assert!(daemon.result("g", "show VERSION").out.ends_with(" 2"));
    assert_eq!(
        (daemon.pool("f").pool.max, daemon.pool("g").pool.max),
        (2, 3)
    );
    assert_eq!(pids(&daemon.ready("f", 1)), f);
    assert!(daemon.result("f", "show VERSION").out.ends_with(" 1"));
    // what is in force is compared, not what the file said last
    let checked = daemon.run(&["check", "workers.yaml"]);
    assert!(
        checked
            .out
            .contains("roll    f  env changed, max 2 → 3, when its check has passed"),
        "{checked:?}"
    );
    assert!(!checked.out.contains("  g  "), "{checked:?}");

    daemon.home.write("code.php", RIGHT);
    let reloaded = daemon.run(&["reload"]);
    assert_eq!(reloaded.code, 0, "{reloaded:?}");
    until("the pool to be replaced", || {
        pids(&daemon.ready("f", 1)) != f
    });
    assert_eq!(daemon.pool("f").pool.max, 3);
    assert_eq!(daemon.pool("f").pool.check, None);
}

#[test]
fn a_first_start_that_does_not_pass_is_failing_until_a_file_changes() {
    let file = "f: {cmd: php code.php, check: php -l code.php, watch: '*.php'}\n";
    let daemon = Daemon::start_in(home(file, WRONG), &[]);
    until("the pool to be failing", || {
        daemon.pool("f").pool.state == PoolState::Failing
    });
    let pool = daemon.pool("f");
    assert_eq!(pool.members.len(), 0);
    assert_eq!(pool.pool.restarts, 0);
    let table = daemon.run(&["status"]).out;
    assert!(table.contains("f  FAILING  0 of 0 processes (1..1)\n  starts when its check has passed\n  check failed, nothing is started before it passes: php -l code.php: exit 255\n    | "), "{table}");
    daemon.home.replace("code.php", RIGHT);
    daemon.ready("f", 1);
    assert_eq!(daemon.pool("f").pool.state, PoolState::Running);
    let log = daemon.log();
    assert_eq!(log.matches("started, pid").count(), 1, "{log}");
    assert!(daemon.result("f", "sleep 1").code == 0);
}

#[test]
fn a_check_runs_as_its_pool_does() {
    let file = "f: {cmd: php worker.php, cwd: app, env: {A: b}, umask: 077, shell: false,
     check: [sh, -c, 'umask > ../seen; echo $A $GEARPOOL_POOL $GEARPOOL_SLOT. >> ../seen; pwd >> ../seen; sleep 600 &']}
";
    let home = Home::new(file);
    fs::create_dir(home.path("app")).unwrap();
    home.write("app/worker.php", include_str!("worker.php"));
    let daemon = Daemon::start_in(home, &[]);
    daemon.ready("f", 1);
    let seen = daemon.home.read("seen");
    let app = daemon.home.path("app");
    assert_eq!(
        seen,
        format!("0077\nb f .\n{}\n", app.canonicalize().unwrap().display())
    );
    // what it left behind has gone with it, and the daemon and its worker are what there is
    until("the check to be gone", || {
        let marked = daemon.home.marked();
        marked.iter().all(|pid| {
            !fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|it| it.contains("600"))
        })
    });

    let nothing = "f: {cmd: php worker.php, check: no-such-program-here, env: {A: c}, cwd: app}\n";
    daemon.home.write("workers.yaml", nothing);
    let refused = daemon.run(&["reload"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused
            .err
            .contains("no command \"no-such-program-here\" in PATH"),
        "{refused:?}"
    );
}

#[test]
fn a_check_that_hangs_is_ended_and_one_that_is_overtaken_is_given_up() {
    let waiting = "sh -c 'echo waiting; until [ -e go ]; do sleep 0.02; done'";
    let file = |version: u32| {
        format!(
            "f: {{cmd: php worker.php, check: \"{waiting}\", check_timeout: 2s, env: {{VERSION: '{version}'}}}}\n"
        )
    };
    let daemon = Daemon::start(&file(1));
    until("the check to be ended", || {
        daemon.pool("f").pool.check.is_some()
    });
    let check = daemon.pool("f").pool.check.unwrap();
    assert!(
        check.failed.ends_with("has not ended within 2s"),
        "{check:?}"
    );
    assert_eq!(check.lines, ["waiting"]);
    let sleeping = || daemon.home.marked().len();
    // the daemon alone
    until("what it has started to be gone", || sleeping() == 1);

    // the check of the file before the last one, and whoever waits for it, hear of the last
    daemon
        .home
        .write("workers.yaml", &file(2).replace("2s", "1h"));
    let reload = ["reload"];
    let first = Running::start("gearpool reload", &daemon.home.gearpool(&reload), b"");
    until("its check to run", || sleeping() > 1);
    daemon
        .home
        .write("workers.yaml", &file(3).replace("2s", "1h"));
    let second = Running::start("gearpool reload", &daemon.home.gearpool(&reload), b"");
    until("the second to be read", || {
        daemon.log().matches("env changed").count() == 2
    });
    assert_eq!(daemon.pool("f").members.len(), 0);
    daemon.home.write("go", "");
    let (first, second) = (finish(first), finish(second));
    assert_eq!((first.code, second.code), (0, 0), "{first:?} {second:?}");
    daemon.ready("f", 1);
    assert!(daemon.result("f", "show VERSION").out.ends_with(" 3"));
    assert_eq!(
        daemon.log().matches("f: check passed").count(),
        1,
        "{}",
        daemon.log()
    );

    // the end of the daemon waits for none
    fs::remove_file(daemon.home.path("go")).unwrap();
    let restart = Running::start(
        "gearpool restart",
        &daemon.home.gearpool(&["restart", "f"]),
        b"",
    );
    until("its check to run", || {
        daemon
            .log()
            .contains("f: restarting when its check has passed")
    });
    let mut daemon = daemon;
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.end().0, 0);
    assert_eq!(finish(restart).code, 1);
}

/// However soon after its last words it ends.
#[test]
fn the_last_words_of_a_check_are_always_told() {
    let file = "f: {cmd: php worker.php, min: 0, check: \"sh -c 'echo last words; exit 7'\"}\n";
    let daemon = Daemon::start(file);
    for _ in 0..30 {
        let refused = daemon.run(&["restart", "f"]);
        assert!(
            refused.err.ends_with(": exit 7\n  | last words\n"),
            "{refused:?}"
        );
    }
}

fn git(daemon: &Daemon, words: &[&str]) {
    let mut command = Command::new("git");
    let author = ["-c", "user.name=a", "-c", "user.email=a@example.com"];
    command
        .current_dir(daemon.home.path("app"))
        .args(author)
        .args(words);
    let output = command.output().unwrap();
    assert!(output.status.success(), "git {words:?}: {output:?}");
}

/// How often the pool has been restarted for its code.
fn restarts(daemon: &Daemon) -> usize {
    daemon
        .log()
        .matches("restarting one process after the other")
        .count()
}

#[test]
fn changed_code_is_one_rolling_restart_however_it_comes() {
    let file = "f: {cmd: php worker.php, cwd: app, watch: ['**/*.php', .env], min: 2}\n";
    let home = Home::new(file);
    fs::create_dir_all(home.path("app/src")).unwrap();
    home.write("app/worker.php", include_str!("worker.php"));
    let daemon = Daemon::start_in(home, &[]);
    let home = &daemon.home;
    let mut before = pids(&daemon.ready("f", 2));
    let mut count = 0;
    // the daemon stands still meanwhile, so that how long a change takes means nothing
    let mut restarted = |what: &str, change: &dyn Fn()| {
        daemon.signal(Signal::SIGSTOP);
        change();
        daemon.signal(Signal::SIGCONT);
        let mut now = Vec::new();
        until(
            &format!("the processes to be replaced after {what}"),
            || {
                let members = daemon.pool("f").members;
                let up = members
                    .iter()
                    .all(|it| it.process.state == ProcessState::Running);
                now = pids(&members);
                up && now.len() == 2 && now.iter().all(|pid| !before.contains(pid))
            },
        );
        before = now;
        count += 1;
        assert_eq!(restarts(&daemon), count, "{what}\n{}", daemon.log());
    };

    restarted("a new file", &|| home.write("app/src/new.php", "<?php\n"));
    restarted("an atomic save", &|| {
        home.replace("app/src/new.php", "<?php // saved by a careful editor\n");
    });
    // these are none, and would be seen with the next one
    home.write("app/src/.new.php.swp", "vim");
    home.write("app/src/new.php~", "backup");
    home.write("app/notes.txt", "no code");
    fs::create_dir(home.path("app/log")).unwrap();
    home.write("app/log/x.log", "no code");
    restarted("a file that is named", &|| home.write("app/.env", "A=1\n"));

    git(&daemon, &["init", "-q", "-b", "main"]);
    git(&daemon, &["add", "-A"]);
    git(&daemon, &["commit", "-q", "-m", "one"]);
    git(&daemon, &["checkout", "-q", "-b", "other"]);
    restarted("a lot of files in new folders", &|| {
        for number in 0..300 {
            let folder = home.path(&format!("app/src/deep{}/er", number % 7));
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(format!("{number}.php")), "<?php\n").unwrap();
        }
    });
    git(&daemon, &["add", "-A"]);
    git(&daemon, &["commit", "-q", "-m", "two"]);
    restarted("a checkout", &|| git(&daemon, &["checkout", "-q", "main"]));
    restarted("another", &|| git(&daemon, &["checkout", "-q", "other"]));
    restarted("a removal", &|| {
        fs::remove_file(home.path("app/src/deep3/er/3.php")).unwrap();
    });
    assert_eq!(daemon.pool("f").pool.restarts, 0);
}

#[test]
fn a_file_behind_links_is_code_too() {
    let home = Home::new("f: {cmd: php worker.php, cwd: app, watch: '*.php'}\n");
    fs::create_dir(home.path("app")).unwrap();
    fs::create_dir(home.path("shared")).unwrap();
    home.write("app/worker.php", include_str!("worker.php"));
    home.write("shared/real.php", "<?php\n");
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, home.path(name)).unwrap();
    link("real.php", "shared/named.php");
    link("../shared/named.php", "app/linked.php");
    let daemon = Daemon::start_in(home, &[]);
    let before = pids(&daemon.ready("f", 1));
    daemon.home.write("shared/real.php", "<?php // changed\n");
    until("the next process", || pids(&daemon.ready("f", 1)) != before);
    let log = daemon.log();
    assert!(log.contains("app/linked.php has changed"), "{log}");
}

#[test]
fn a_pool_that_writes_what_it_watches_is_told_of_and_held_off() {
    // its check does, before each restart, and is sooner done than a start
    let file = "f: {cmd: exec php worker.php, shell: true, min: 0, check: date >> own.php, watch: '*.php'}\n";
    let daemon = Daemon::start(file);
    let words = "own.php has changed, as after each of the last 8 restarts, so its processes may write what \"watch\" finds";
    until("the restart to wait", || {
        daemon.pool("f").pool.reason.contains(words)
    });
    assert!(restarts(&daemon) <= 8, "{}", daemon.log());
    let warning = "WARN f: the restart for changed files waits for 5 s: ";
    until("the log to tell", || daemon.log().contains(warning));
    // one by hand has the change, and whoever sees to the pattern need not wait
    let by_hand = daemon.run(&["restart", "f"]);
    assert_eq!(by_hand.code, 0, "{by_hand:?}");
    let file = file.replace("*.php", "worker.php");
    daemon.home.write("workers.yaml", &file);
    until("the pool to have nothing to tell", || {
        daemon.pool("f").pool.reason == "at min"
    });
}

#[test]
fn a_link_that_leads_to_another_release_is_changed_code() {
    let home = Home::new("f: {cmd: php worker.php, cwd: app/current, watch: '*.php'}\n");
    for release in ["1", "2"] {
        fs::create_dir_all(home.path("app").join(release)).unwrap();
        home.write(
            &format!("app/{release}/worker.php"),
            include_str!("worker.php"),
        );
    }
    let point = |home: &Home, release: &str| {
        std::os::unix::fs::symlink(release, home.path("app/next")).unwrap();
        fs::rename(home.path("app/next"), home.path("app/current")).unwrap();
    };
    point(&home, "1");
    let daemon = Daemon::start_in(home, &[]);
    let first = pids(&daemon.ready("f", 1));
    point(&daemon.home, "2");
    until("a process of the second release", || {
        pids(&daemon.ready("f", 1)) != first
    });
    let second = pids(&daemon.ready("f", 1));
    // and that is where it is watched now
    daemon.home.write("app/2/new.php", "<?php\n");
    until("the next process", || pids(&daemon.ready("f", 1)) != second);
}
