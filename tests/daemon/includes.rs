//! A configuration of several files, with variables, in the real daemon.

use std::fs;

use crate::support::{Daemon, Home, pids, until};

const MAIN: &str = "\
include: conf.d/*.yaml*
defaults: {stop_timeout: 5s, min: \"${GEARPOOL_TEST_MIN:-1}\"}
functions: {one: {cmd: php worker.php}}
";

fn home() -> Home {
    let home = Home::new(MAIN);
    fs::create_dir(home.path("conf.d")).unwrap();
    home
}

#[test]
fn files_come_and_change_and_go_while_the_daemon_runs() {
    let home = home();
    let two = |value: &str| {
        format!(
            "two: {{cmd: php worker.php, cwd: .., env: {{VALUE: '{value} ${{GEARPOOL_STATE_DIR}}'}}}}\n"
        )
    };
    home.write("conf.d/two.yaml", &two("a"));
    home.write("conf.d/.two.yaml.swp", "not: [yaml");
    home.write("conf.d/two.yaml~", "not: [yaml");
    let daemon = Daemon::start_in(home, &[]);
    let one = pids(&daemon.ready("one", 1));
    let before = pids(&daemon.ready("two", 1));
    let state = daemon.home.path("state").display().to_string();
    let result = daemon.result("two", "show VALUE").out;
    assert_eq!(result, format!("{} a {state}", before[0]));

    // a change of an included file
    daemon.home.replace("conf.d/two.yaml", &two("b"));
    until("the process to be another", || {
        pids(&daemon.ready("two", 1)) != before
    });
    let result = daemon.result("two", "show VALUE").out;
    assert!(result.ends_with(&format!(" b {state}")), "{result}");

    // a new file
    daemon.home.write(
        "conf.d/three.yaml",
        "three: {cmd: php worker.php, cwd: ..}\n",
    );
    until("the new pool", || daemon.status().pools.len() == 3);
    daemon.ready("three", 1);

    // one that is wrong changes nothing and says where
    daemon.home.write(
        "conf.d/wrong.yaml",
        "functions:\n  two: {cmd: php worker.php}\n  four: {cmd: x, mxa: 2}\n",
    );
    until("the error to be seen", || {
        daemon.status().server.config_error.is_some()
    });
    let error = daemon.status().server.config_error.unwrap();
    let place = |line: &str| {
        format!(
            "{}/conf.d/wrong.yaml:{line}",
            daemon.home.path("").display()
        )
        .replace("//", "/")
    };
    let expected = [
        format!(
            "{} \"two\" is in {}:1 already",
            place("2:3:"),
            place("").replace("wrong.yaml:", "two.yaml")
        ),
        format!(
            "{} unknown key \"mxa\", did you mean \"max\"?",
            place("3:18:")
        ),
    ];
    assert_eq!(error.lines().collect::<Vec<_>>(), expected);
    let checked = daemon.run(&["check", "workers.yaml"]);
    assert_eq!(checked.code, 2, "{checked:?}");
    let says = "gearpool: conf.d/wrong.yaml:2:3: \"two\" is in conf.d/two.yaml:1 already";
    assert!(checked.err.starts_with(says), "{checked:?}");
    assert_eq!(daemon.status().pools.len(), 3);

    // and one that goes takes its pool with it
    fs::remove_file(daemon.home.path("conf.d/wrong.yaml")).unwrap();
    fs::remove_file(daemon.home.path("conf.d/three.yaml")).unwrap();
    until("the pool to be gone", || daemon.status().pools.len() == 2);
    assert_eq!(daemon.status().server.config_error, None);
    assert_eq!(pids(&daemon.ready("one", 1)), one);
}

#[test]
fn a_folder_that_comes_later_is_seen_and_a_file_that_is_named_has_to_be_there() {
    let daemon = Daemon::start(MAIN);
    daemon.ready("one", 1);
    fs::create_dir(daemon.home.path("conf.d")).unwrap();
    daemon
        .home
        .write("conf.d/two.yaml", "two: {cmd: php worker.php, cwd: ..}\n");
    until("the new pool", || daemon.status().pools.len() == 2);
    daemon.ready("two", 1);

    daemon.home.write(
        "workers.yaml",
        &MAIN.replace("conf.d/*.yaml*", "[conf.d/*.yaml, more.yaml]"),
    );
    let reloaded = daemon.run(&["reload"]);
    assert_eq!(reloaded.code, 1, "{reloaded:?}");
    let says = "workers.yaml:1:26: cannot read ";
    assert!(
        reloaded.err.contains(says)
            && reloaded
                .err
                .ends_with("more.yaml: no such file or directory\n"),
        "{reloaded:?}"
    );
    daemon
        .home
        .write("more.yaml", "three: {cmd: php worker.php}\n");
    until("the file to be right", || daemon.status().pools.len() == 3);
}

#[test]
fn a_variable_that_is_not_there_is_said_with_its_place() {
    let home =
        Home::new("defaults: {cwd: .}\nfunctions:\n  a: {cmd: x, user: \"${NOBODY_SETS_THIS}\"}\n");
    let checked = home.run(&["check", "workers.yaml"]);
    assert_eq!(checked.code, 2);
    let says = "gearpool: workers.yaml:3:21: \"user\" needs ${NOBODY_SETS_THIS}, which is not in the environment: set it, or write ${NOBODY_SETS_THIS:-default}\n";
    assert_eq!(checked.err, says);
    let mut command = home.gearpool(&["check", "workers.yaml"]);
    command.env("NOBODY_SETS_THIS", "nobody");
    assert_eq!(crate::support::ended(&command, b"").code, 0);
}
