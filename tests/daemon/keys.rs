//! The keys of a pool, from the file to the process: whom it runs as and where, with what, and when it goes.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use gearpool::pools::view::PoolState;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Daemon, Home, finish, pids, until};

/// What a process says of itself.
const REPORT: &str = r#"
{
    echo "$(id -u) $(id -g) $(id -G)"
    echo "$(umask) $(nice) $(ulimit -n) $(ulimit -c) $(pwd)"
    echo "$HOME $USER $LOGNAME"
    grep NoNewPrivs /proc/self/status
    echo "$PLAIN,$QUOTED,$BOTH"
    echo done
} 2>&1
exec sleep 1000
"#;

/// The report of a pool's process, line by line.
fn report(daemon: &Daemon, pool: &str) -> Vec<String> {
    let log = format!("state/logs/{pool}/1.log");
    until("the report", || daemon.home.read(&log).ends_with("done\n"));
    daemon.home.read(&log).lines().map(str::to_owned).collect()
}

fn said(command: &str, words: &[&str]) -> String {
    let output = Command::new(command).args(words).output().unwrap().stdout;
    String::from_utf8(output).unwrap().trim_end().to_owned()
}

#[test]
fn a_process_has_what_its_pool_says() {
    let home = Home::new(
        r#"
defaults: {start_timeout: 1h, cwd: .}
functions:
  plain: {cmd: sh report.sh}
  other:
    cmd: sh ../report.sh
    cwd: sub
    umask: 027
    nice: 15
    limits: {nofile: 99, core: 0}
    no_new_privileges: true
    env_file: other.env
    env: {BOTH: 'of "env"'}
"#,
    );
    home.write("report.sh", REPORT);
    home.write(
        "other.env",
        "# a comment\nexport PLAIN=a b\nQUOTED=\" 'c' \"\nBOTH=of the file\n",
    );
    std::fs::create_dir(home.path("sub")).unwrap();
    let daemon = Daemon::start_in(home, &[]);

    let own = daemon.home.path("").canonicalize().unwrap();
    let plain = report(&daemon, "plain");
    assert!(plain[1].ends_with(&own.display().to_string()), "{plain:?}");
    assert_eq!(plain[3..5], ["NoNewPrivs:\t0", ",,"]);

    let other = report(&daemon, "other");
    let expected = format!("0027 15 99 0 {}", own.join("sub").display());
    assert_eq!(other[1], expected);
    assert_eq!(other[2], plain[2]);
    assert_eq!(other[3..5], ["NoNewPrivs:\t1", "a b, 'c' ,of \"env\""]);
}

/// Its groups are the user's and none of the daemon's.
#[test]
fn a_process_runs_as_its_pools_user_and_group() {
    if !nix::unistd::geteuid().is_root() {
        let daemon = Daemon::start("f: {cmd: sleep 1000, user: root}\n");
        until("it to be refused", || {
            daemon
                .pool("f")
                .pool
                .last_exit
                .is_some_and(|why| why.contains("only root can run workers as user \"root\""))
        });
        return;
    }
    let home = Home::new(
        r#"
defaults: {start_timeout: 1h}
functions:
  user: {cmd: sh report.sh, user: www-data}
  both: {cmd: sh report.sh, user: nobody, group: tty}
  group: {cmd: sh report.sh, group: tty}
  number: {cmd: sh report.sh, user: 54321, group: 54322}
  nobody: {cmd: sh report.sh, user: no-such-user}
"#,
    );
    std::fs::set_permissions(home.path(""), std::fs::Permissions::from_mode(0o755)).unwrap();
    home.write("report.sh", REPORT);
    let daemon = Daemon::start_in(home, &[]);
    let id = |flag: &str, user: &str| said("id", &[flag, user]);
    let sorted = |line: &str| {
        let mut numbers: Vec<u32> = line.split(' ').map(|it| it.parse().unwrap()).collect();
        numbers[2..].sort_unstable();
        numbers[2..].to_vec()
    };
    let groups_of = |user: &str, more: &[u32]| {
        let mut groups: Vec<u32> = id("-G", user)
            .split(' ')
            .map(|it| it.parse().unwrap())
            .collect();
        groups.extend(more);
        groups.sort_unstable();
        groups
    };

    let user = report(&daemon, "user");
    let ids = format!("{} {} ", id("-u", "www-data"), id("-g", "www-data"));
    assert!(user[0].starts_with(&ids), "{user:?}");
    assert_eq!(sorted(&user[0]), groups_of("www-data", &[]));
    assert!(user[2].ends_with(" www-data www-data"), "{user:?}");

    let both = report(&daemon, "both");
    assert!(
        both[0].starts_with(&format!("{} 5 ", id("-u", "nobody"))),
        "{both:?}"
    );
    assert_eq!(sorted(&both[0]), groups_of("nobody", &[5]));

    assert_eq!(report(&daemon, "group")[0], "0 5 5");

    // nobody knows its name or its home, and the daemon's are not its own
    let number = report(&daemon, "number");
    assert_eq!(sorted(&number[0]), [54321, 54322]);
    assert!(number[0].starts_with("54321 54322 "), "{number:?}");
    assert_eq!(number[2], "/  ");

    until("the unknown user to be told of", || {
        daemon.pool("nobody").pool.state == PoolState::Failing
    });
    let status = daemon.run(&["status", "nobody"]).out;
    let why = "could not be started: there is no user \"no-such-user\" on this machine";
    assert!(status.contains(why), "{status}");
}

#[test]
fn a_process_is_asked_to_stop_by_its_pools_signal() {
    let daemon = Daemon::start(
        r#"
functions:
  int: {cmd: "trap 'echo INT came; exit 5' INT; php worker.php & wait", shell: true, stop_signal: INT}
  kill: {cmd: php worker.php stubborn, stop_signal: KILL}
  deaf: {cmd: "trap '' TERM; php worker.php & while :; do wait; done", shell: true, stop_timeout: 0}
"#,
    );
    for (pool, end) in [
        ("int", "exit 5"),
        ("kill", "signal KILL"),
        ("deaf", "signal KILL"),
    ] {
        daemon.ready(pool, 1);
        assert_eq!(daemon.run(&["stop", pool]).code, 0);
        until("it to have ended", || daemon.pool(pool).members.is_empty());
        let log = daemon.log();
        assert!(log.contains(&format!("stopped by hand: {end}")), "{log}");
    }
    assert_eq!(daemon.home.read("state/logs/int/1.log"), "INT came\n");
}

#[test]
fn a_process_past_its_lifetime_is_replaced_when_its_job_is_done() {
    let daemon = Daemon::start("f: {cmd: php worker.php, max_lifetime: 1s}\n");
    let old = pids(&daemon.ready("f", 1))[0];
    let job = daemon.submit(&["-f", "f", "until go;note whole"]);
    until("it to be on its way out", || {
        let members = daemon.pool("f").members;
        let old = members
            .iter()
            .find(|it| it.process.pid == Some(old))
            .unwrap();
        let why = old.process.leaving_because.as_deref();
        if why == Some("max_lifetime reached") {
            // a tenth less at most, so that they do not all go at once
            assert!(old.process.up >= Duration::from_millis(900), "{old:?}");
            assert_eq!(old.jobs.len(), 1);
            assert!(
                members.len() > 1,
                "its successor is there first: {members:?}"
            );
        }
        why.is_some()
    });
    daemon.home.write("go", "");
    assert_eq!(finish(job).out, old.to_string());
    assert_eq!(daemon.home.notes(), ["whole"]);
    until("it to be gone", || {
        !pids(&daemon.pool("f").members).contains(&old)
    });
    assert_eq!(daemon.pool("f").pool.restarts, 0);
}

#[test]
fn whether_a_process_is_started_again_is_its_pools_to_say() {
    let daemon = Daemon::start(
        r#"
functions:
  good: {cmd: "true", restart: on-failure}
  once: {cmd: "echo oops; exit 3", shell: true, restart: never}
  again: {cmd: php worker.php, restart: on-failure}
"#,
    );
    let pid = pids(&daemon.ready("again", 1))[0];
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).unwrap();
    until("the killed one to be started again", || {
        daemon.pool("again").pool.restarts == 1
    });
    daemon.ready("again", 1);

    let is_over = |name: &str| {
        let pool = daemon.pool(name);
        pool.members.is_empty() && pool.pool.last_exit.is_some()
    };
    for pool in ["good", "once"] {
        until("it to have ended", || is_over(pool));
    }
    let (good, once) = (daemon.pool("good").pool, daemon.pool("once").pool);
    assert_eq!(good.state, PoolState::Running);
    assert_eq!(
        good.reason,
        "1 ended and is not started again (restart: on-failure), the last one: exit 0"
    );
    assert_eq!(once.state, PoolState::Failing);
    let status = daemon.run(&["status", "once"]).out;
    for part in [
        "once  FAILING  0 of 0 processes (1..1)",
        "1 ended and is not started again (restart: never)",
        "the last process ended with exit 3; its last lines:\n    | oops\n",
    ] {
        assert!(status.contains(part), "no {part:?} in\n{status}");
    }
    let log = daemon.log();
    assert!(
        log.contains("exit 3; it is not started again (restart: never)"),
        "{log}"
    );

    // until somebody asks for it
    assert_eq!(daemon.run(&["start", "once"]).code, 0);
    until("it to have run twice", || {
        daemon.home.read("state/logs/once/1.log") == "oops\noops\n"
    });
    assert_eq!(good.restarts + once.restarts, 0);
}

#[test]
fn lines_have_their_time_and_are_broken_where_the_pool_says() {
    let daemon = Daemon::start(
        r#"
f:
  cmd: "head -c 200 /dev/zero | tr '\\0' x; echo; echo end; exec sleep 1000"
  shell: true
  start_timeout: 1h
  log: {timestamps: true, max_line: 80}
"#,
    );
    let log = || daemon.home.read("state/logs/f/1.log");
    until("its lines", || log().ends_with(" end\n"));
    let log = log();
    let lines: Vec<_> = log
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .collect();
    for (time, _) in &lines {
        assert!(humantime::parse_rfc3339(time).is_ok(), "{log}");
    }
    let lengths: Vec<_> = lines.iter().map(|(_, text)| text.len()).collect();
    assert_eq!(lengths, [80, 80, 40, 3], "{log}");
}
