//! Workers without a library: `run:` pools, and `gearpool work` beside them.

use crate::running::Running;
use crate::support::{Daemon, until};

#[test]
fn a_command_a_job() {
    let daemon = Daemon::start(
        r#"
functions:
  upper: {run: "tr a-z A-Z", min: 2, max: 2}
  picky: {run: "read line; echo got $line; echo complaint >&2; test $line = good", shell: true}
  note: {run: "cat >> notes", shell: true, min: 0, max: 3}
"#,
    );
    daemon.ready("upper", 2);
    daemon.ready("picky", 1);
    let upper = daemon.result("upper", "hello");
    assert_eq!((upper.code, upper.out.as_str()), (0, "HELLO"), "{upper:?}");
    let good = daemon.result("picky", "good\n");
    assert_eq!(
        (good.code, good.out.as_str()),
        (0, "got good\n"),
        "{good:?}"
    );
    let bad = daemon.result("picky", "bad\n");
    assert_eq!(bad.code, 1, "{bad:?}");
    assert_eq!(bad.out, "got bad\n");
    until("the complaints to be logged", || {
        let log = daemon.home.read("state/logs/picky/1.log");
        log.matches("complaint").count() == 2
    });

    // in the background, and nobody there to do it before it comes
    assert!(daemon.pool("note").members.is_empty());
    daemon.queue("note", &["one".to_owned()]);
    until("the job to be done", || daemon.home.read("notes") == "one");
}

#[test]
fn a_worker_that_was_started_elsewhere_is_shown_and_served() {
    let daemon = Daemon::start("f: {cmd: php worker.php}\n");
    daemon.ready("f", 1);
    let port = daemon.port.to_string();
    let work = daemon
        .home
        .gearpool(&["work", "-p", &port, "-f", "reverse", "--", "rev"]);
    let work = Running::start("gearpool work", &work, b"");
    until("it to register", || {
        let others = daemon.status().other_workers;
        others.len() == 1 && others[0].functions == ["reverse"]
    });
    let reverse = daemon.result("reverse", "abc\n");
    assert_eq!((reverse.code, reverse.out.as_str()), (0, "cba\n"));
    drop(work);
    until("it to be gone", || daemon.status().other_workers.is_empty());
}
