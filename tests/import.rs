//! `gearpool import` on files as they are in use, and what it wrote in use.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

#[path = "support/running.rs"]
mod running;
#[expect(dead_code, reason = "what the other tests of the daemon need")]
#[path = "support/daemon.rs"]
mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use support::{Daemon, Home};
use tempfile::TempDir;

/// Runs the command; its standard output, what it said, and its exit code.
fn import(folder: &Path, files: &[&str]) -> (String, String, i32) {
    let ran = Command::new(env!("CARGO_BIN_EXE_gearpool"))
        .arg("import")
        .args(files)
        .current_dir(folder)
        .output()
        .unwrap();
    (
        String::from_utf8(ran.stdout).unwrap(),
        String::from_utf8(ran.stderr).unwrap(),
        ran.status.code().unwrap(),
    )
}

/// The result without the folder that differs from run to run.
fn shown(folder: &Path, (yaml, said, code): (String, String, i32)) -> String {
    format!("{yaml}---- said\n{said}---- exit {code}\n")
        .replace(folder.to_str().unwrap(), "<folder>")
}

fn folder_with(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    folder
}

const SUPERVISORD: &str = r#"; the usual file
[unix_http_server]
file=/var/run/supervisor.sock

[supervisord]
logfile=/var/log/supervisor/supervisord.log
environment=SITE="one",ZONE="eu"
umask=027

[program:gearmand]
command=/usr/sbin/gearmand -L 127.0.0.1

[program:fetchURL]
command=/usr/bin/php %(here)s/fetch.php --slot=%(process_num)02d  ; the worker
process_name=%(program_name)s_%(process_num)02d
numprocs=30
directory=/srv/app
user=www-data
umask=022
autostart=true
autorestart=true
startsecs=5
stopsignal=INT
stopwaitsecs=60
stopasgroup=true
redirect_stderr=true
stdout_logfile=/var/log/fetch.log
stdout_logfile_maxbytes=50MB
stdout_logfile_backups=3
environment=APP_ENV="prod,eu",
    DEBUG=0,PRICE="5$",HOME=%(ENV_HOME)s

[program:mail]
stdout_logfile=/var/log/mail-%(process_num)02d.log
stderr_logfile=/var/log/mail.err
command=python3 send.py --from "Our Shop <shop@example.com>" --home %(ENV_HOME)s --price $5
priority=10

[program:resize]
command=gearman -w -f resize -f thumb convert - -resize 100x100 -
autorestart=false

[group:all]
programs=fetchURL,mail

[include]
files=conf.d/*.conf %(here)s/none/*.conf
"#;

#[test]
fn a_supervisord_file() {
    let folder = folder_with(&[
        ("app.conf", SUPERVISORD),
        (
            "conf.d/more.conf",
            "[program:more]\ncommand=php %(here)s/more.php\nenvironment=SITE=\"two\"\n",
        ),
    ]);
    insta::assert_snapshot!(shown(folder.path(), import(folder.path(), &["app.conf"])));
}

const GEARMAN_MANAGER: &str = r#"; ten do everything but Sum
[GearmanManager]
worker_dir=./workers
include=*
exclude=left_out
count=10
dedicated_count=1
max_worker_lifetime=3600
max_runs_per_worker=500
auto_update=1
host="10.0.0.5:4730"
log_file=/var/log/gearman-manager.log
[Sum]
dedicated_count=5
dedicated_only=1
timeout=20
[fetch_url]
count=15
priority=2
timeout=60
"#;

const FETCH: &str = "<?php\nfunction fetch_url($job, &$log) {\n  $log[] = 'looked at '.$job->workload();\n  return strrev($job->workload());\n}\n";
const SUM: &str = "<?php\nclass Sum {\n  public function run($job, &$log) {\n    return array_sum(explode(' ', $job->workload()));\n  }\n}\n";

fn manager_folder() -> TempDir {
    folder_with(&[
        ("config.ini", GEARMAN_MANAGER),
        ("workers/fetch_url.php", FETCH),
        ("workers/Sum.php", SUM),
        ("workers/left_out.php", "<?php\n"),
    ])
}

#[test]
fn a_gearman_manager_file() {
    let folder = manager_folder();
    insta::assert_snapshot!(shown(folder.path(), import(folder.path(), &["config.ini"])));
}

#[test]
fn several_files_are_one() {
    let folder = folder_with(&[
        ("a.conf", "[program:a]\ncommand=php a.php\n"),
        (
            "b.conf",
            "[program:b]\ncommand=php b.php\n[program:a]\ncommand=php other.php\n",
        ),
    ]);
    insta::assert_snapshot!(shown(
        folder.path(),
        import(folder.path(), &["a.conf", "b.conf"])
    ));
}

#[test]
fn files_that_are_none() {
    let folder = folder_with(&[
        ("other.ini", "[something]\na=1\n"),
        ("broken.conf", "[program:a\ncommand=x\n"),
        ("quotes.conf", "[program:a]\ncommand=php \"a.php\n"),
    ]);
    let all = ["other.ini", "broken.conf", "missing.conf", "quotes.conf"]
        .map(|file| shown(folder.path(), import(folder.path(), &[file])));
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn code_for_gearman_manager_runs_as_it_is() {
    let folder = manager_folder();
    let (yaml, said, code) = import(folder.path(), &["config.ini"]);
    assert_eq!(code, 0, "{said}");
    let worker = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/examples/php/manager_worker.php"
    );
    // ten processes of PHP do not start sooner than two
    let yaml = yaml
        .replace("manager_worker.php", worker)
        .replace("count: 10", "count: 1")
        .replace("count: 5", "count: 1");
    let daemon = Daemon::start_in(Home::new(&yaml), &[]);
    let done = ["fetch_url", "Sum"].map(|function| daemon.result(function, "1 2 39"));
    assert_eq!(done.map(|job| job.out), ["93 2 1", "42"]);
    let log = daemon.run(&["logs", "--job", &last_handle(&daemon)]);
    assert!(log.out.contains("(fetch_url) looked at x"), "{log:?}");
}

/// The handle of a job that has just been done in the background.
fn last_handle(daemon: &Daemon) -> String {
    let command = daemon.submit_command(&["-b", "-f", "fetch_url", "x"]);
    let queued = support::ended(&command, b"");
    let handle = queued.out.trim().to_owned();
    support::until("the job to be in the log", || {
        daemon
            .run(&["logs", "--job", &handle])
            .out
            .contains("looked at")
    });
    handle
}
