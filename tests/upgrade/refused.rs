//! What keeps an upgrade from happening, and that nothing happens then.

use std::fs;
use std::io::Write;
use std::process::Command;

use gearpool::daemon::handover::VERSION;
use nix::sys::signal::Signal;

use crate::stage::Stage;
use crate::support::until;

const FILE: &str = "f: {cmd: php worker.php, min: 2}\n";

#[test]
fn a_program_that_cannot_go_on_is_not_executed() {
    let stage = Stage::start(FILE);
    let before = crate::support::pids(&stage.ready("f", 2));
    let job = stage.submit(&["-f", "f", "until go"]);
    until("the job to run", || {
        stage.status().functions[0].running == 1
    });
    let descriptors = stage.descriptors();
    let whole = fs::read(env!("CARGO_BIN_EXE_gearpool")).unwrap();

    let script = stage.refused_with(b"#!/bin/sh\necho gearpool 9.9.9\n", 0o755);
    assert!(
        script.err.contains("no gearpool that can go on"),
        "{script:?}"
    );
    let fails = stage.refused_with(b"#!/bin/sh\necho no such option >&2\nexit 2\n", 0o755);
    assert!(fails.err.contains("no such option"), "{fails:?}");
    let truncated = stage.refused_with(&whole[..1 << 20], 0o755);
    assert!(truncated.err.contains("gearpool: "), "{truncated:?}");
    let empty = stage.refused_with(b"", 0o755);
    assert!(empty.err.contains("gearpool: "), "{empty:?}");
    let forbidden = stage.refused_with(&whole, 0o644);
    assert!(forbidden.err.contains("permission denied"), "{forbidden:?}");
    let hangs = stage.refused_with(b"#!/bin/sh\nexec sleep 1000\n", 0o755);
    assert!(hangs.err.contains("does not say within"), "{hangs:?}");
    fs::remove_file(stage.home.path("gearpool")).unwrap();
    let missing = stage.run(&["upgrade"]);
    assert_eq!(missing.code, 1, "{missing:?}");
    assert!(missing.err.contains("no such file"), "{missing:?}");

    // the daemon is as it was
    assert_eq!(crate::support::pids(&stage.ready("f", 2)), before);
    until("no descriptor to be left", || {
        stage.descriptors() <= descriptors
    });
    stage.home.write("go", "");
    assert_eq!(crate::support::finish(job).code, 0);
    stage.upgrade();
    assert_eq!(crate::support::pids(&stage.ready("f", 2)), before);
}

/// A program that consents, and is none any more when it is executed: by then everything stands still.
#[test]
fn what_fails_in_the_last_moment_changes_nothing() {
    let stage = Stage::start(FILE);
    let before = crate::support::pids(&stage.ready("f", 2));
    let job = stage.submit(&["-f", "f", "say one; until go; say two"]);
    until("the job to run", || {
        stage.status().functions[0].running == 1
    });
    let descriptors = stage.descriptors();
    let consents = format!(
        "#!/bin/sh\necho gearpool-handover {VERSION} 9.9.9\n: > empty\nchmod +x empty\nmv empty gearpool\n"
    );
    for _ in 0..3 {
        let failed = stage.refused_with(consents.as_bytes(), 0o755);
        assert!(failed.err.contains("cannot execute"), "{failed:?}");
        assert!(failed.err.contains("exec format error"), "{failed:?}");
        assert_eq!(stage.result("f", "say between").code, 0);
    }
    until("no descriptor to be left", || {
        stage.descriptors() <= descriptors
    });
    stage.upgrade();
    stage.home.write("go", "");
    assert_eq!(crate::support::finish(job).code, 0);
    assert_eq!(crate::support::pids(&stage.ready("f", 2)), before);
    let logs = [1, 2].map(|slot| stage.home.read(&format!("state/logs/f/{slot}.log")));
    let lines: Vec<_> = logs.iter().flat_map(|log| log.lines()).collect();
    assert_eq!(lines.iter().filter(|&&line| line == "between").count(), 3);
    assert_eq!(lines.len(), 5, "{lines:?}");
}

#[test]
fn a_log_that_the_next_program_cannot_open_is_named() {
    let stage = Stage::start_with(FILE, &["-l", "logs/own.log"]);
    stage.ready("f", 2);
    fs::rename(stage.home.path("logs"), stage.home.path("away")).unwrap();
    let refused = stage.run(&["upgrade"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.err.contains("own.log"), "{refused:?}");
    fs::rename(stage.home.path("away"), stage.home.path("logs")).unwrap();
    stage.upgrade();
    stage.ready("f", 2);
}

#[test]
fn a_file_that_the_next_program_cannot_start_with_is_named() {
    let stage = Stage::start(FILE);
    stage.ready("f", 2);
    stage
        .home
        .replace("workers.yaml", "f: {cmd: php worker.php, mni: 2}\n");
    until("the daemon to have read it", || {
        stage.status().server.config_error.is_some()
    });
    let refused = stage.run(&["upgrade"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.err.contains("mni"), "{refused:?}");
    stage.home.replace("workers.yaml", FILE);
    stage.upgrade();
}

#[test]
fn a_signal_does_the_same_and_says_in_the_log_why_not() {
    let stage = Stage::start(FILE);
    stage.ready("f", 2);
    stage.signal(Signal::SIGUSR2);
    until("the upgrade", || stage.upgrades() == 1);
    fs::remove_file(stage.home.path("gearpool")).unwrap();
    stage.signal(Signal::SIGUSR2);
    until("the refusal", || stage.log().contains("no upgrade: "));
    stage.ready("f", 2);
}

#[test]
fn while_it_ends_it_stays_what_it_is() {
    let mut stage = Stage::start(FILE);
    stage.ready("f", 2);
    let job = stage.submit(&["-f", "f", "until go"]);
    until("the job to run", || {
        stage.status().functions[0].running == 1
    });
    stage.signal(Signal::SIGTERM);
    until("the end to begin", || stage.status().server.shutting_down);
    let refused = stage.run(&["upgrade"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.err.contains("shutting down"), "{refused:?}");
    stage.home.write("go", "");
    assert_eq!(crate::support::finish(job).code, 0);
    assert_eq!(stage.0.end().0, 0);
}

/// A program is asked with what it would get, on its standard input.
#[test]
fn another_version_of_what_is_handed_over_is_refused() {
    let asked = |head: &[u8]| {
        let mut shown = tempfile::tempfile().unwrap();
        shown.write_all(head).unwrap();
        let said = Command::new(env!("CARGO_BIN_EXE_gearpool"))
            .args(["serve", "--check-args"])
            .env("GEARPOOL_HANDOVER", "0")
            .stdin(shown)
            .output()
            .unwrap();
        assert_eq!(said.status.code(), Some(1), "{said:?}");
        assert!(said.stdout.is_empty(), "{said:?}");
        String::from_utf8(said.stderr).unwrap()
    };
    let head = |version: u32| {
        rmp_serde::to_vec_named(&std::collections::BTreeMap::from([
            ("name", Value::Text("gearpool-handover")),
            ("version", Value::Number(version)),
            ("program", Value::Text("9.8.7")),
        ]))
        .unwrap()
    };
    let other = asked(&head(VERSION + 1));
    assert!(
        other.contains("gearpool 9.8.7 hands over version"),
        "{other}"
    );
    let torn = asked(&head(VERSION));
    assert!(
        torn.contains("cannot read what gearpool 9.8.7 hands over"),
        "{torn}"
    );
    let nonsense = asked(b"nonsense");
    assert!(nonsense.contains("makes no sense"), "{nonsense}");
}

#[derive(serde::Serialize)]
#[serde(untagged)]
enum Value {
    Number(u32),
    Text(&'static str),
}
