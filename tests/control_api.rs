//! The control API on a real socket, and the commands that use it: the real binary against a manager that answers by the book.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use gearpool::daemon::control::Control;
use gearpool::http;
use gearpool::jobs::load::FunctionLoad;
use gearpool::pools::view::{PoolState, PoolView, ScaleView};
use gearpool::status::{PoolStatus, ServerStatus, Status};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

/// A daemon's control socket with a made-up manager behind it, until it is dropped.
struct Daemon {
    state_dir: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

impl Daemon {
    fn start() -> Daemon {
        let state_dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let entered = runtime.enter();
        let listener = http::bind(state_dir.path()).unwrap();
        drop(entered);
        let (orders, received) = mpsc::channel(8);
        runtime.spawn(http::serve(listener, orders));
        runtime.spawn(manager(received, state_dir.path().to_owned()));
        Daemon { state_dir, runtime }
    }

    fn path(&self) -> &Path {
        self.state_dir.path()
    }

    fn gearpool(&self, args: &[&str]) -> Output {
        let mut command = gearpool(args);
        command.env("GEARPOOL_STATE_DIR", self.path());
        command.output().unwrap()
    }

    /// One request, written out, and the code and body of its answer.
    fn request(&self, head: &str, body: &str) -> (u16, serde_json::Value) {
        let text = format!(
            "{head} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let path = self.path().join("control.sock");
        self.runtime.block_on(async {
            let mut stream = UnixStream::connect(path).await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            let code = head.split(' ').nth(1).unwrap().parse().unwrap();
            (code, serde_json::from_str(body).unwrap())
        })
    }
}

async fn manager(mut orders: mpsc::Receiver<Control>, state_dir: std::path::PathBuf) {
    while let Some(order) = orders.recv().await {
        let on = |pool: &str, done: String| match pool {
            "fetchURL" | "mail/out ü" => Ok(done),
            "stuck" => Err("stuck is leaving; it is no longer in the file".to_owned()),
            _ => Err(format!("there is no pool \"{pool}\"")),
        };
        // Who asked may have gone.
        let _ = match order {
            Control::Status(reply) => reply.send(status(&state_dir)).map_err(|_| ()),
            Control::Reload(reply) => {
                let error = "workers.yaml:12:5: unknown key \"maxx\", did you mean \"max\"?";
                reply.send(Err(error.to_owned())).map_err(|_| ())
            }
            Control::Plan { reply, .. } => {
                reply.send(Ok("nothing changes".to_owned())).map_err(|_| ())
            }
            Control::Scale {
                pool,
                min,
                max,
                reply,
            } => {
                let done = format!("{pool} is held between {min} and {max} processes");
                reply.send(on(&pool, done)).map_err(|_| ())
            }
            Control::Start { pool, reply } => reply
                .send(on(&pool, format!("{pool} starts")))
                .map_err(|_| ()),
            Control::Stop { pool, reply } => reply
                .send(on(&pool, format!("{pool} drains")))
                .map_err(|_| ()),
            Control::Restart { pool, slot, reply } => {
                let done = format!("{pool} restarts {slot:?}");
                reply.send(on(&pool, done)).map_err(|_| ())
            }
            Control::Upgrade(reply) => reply
                .send(Err("the new program says no".to_owned()))
                .map_err(|_| ()),
            Control::Pause { function, reply } | Control::Resume { function, reply } => reply
                .send(on(&function, format!("{function} is held")))
                .map_err(|_| ()),
            // these have tests with a daemon
            Control::Jobs { .. }
            | Control::Job { .. }
            | Control::CancelJob { .. }
            | Control::RetryJobs { .. }
            | Control::DiscardJobs { .. } => Ok(()),
            // As a manager does that has ended: the answer never comes.
            Control::ShutDown { .. } => return,
        };
    }
}

fn status(state_dir: &Path) -> Status {
    let pool = |name: &str, state| PoolStatus {
        pool: PoolView {
            name: name.to_owned(),
            command: "php fetch.php".to_owned(),
            functions: vec![name.to_owned()],
            min: 2,
            max: 30,
            target: 2,
            reason: "min".to_owned(),
            state,
            by_hand: None,
            restarts: 0,
            last_exit: None,
            last_lines: Vec::new(),
            check: None,
            scale: ScaleView::default(),
            processes: Vec::new(),
        },
        queued: 0,
        paused: Vec::new(),
        members: Vec::new(),
    };
    Status {
        server: ServerStatus {
            version: "0.1.0".to_owned(),
            pid: 4711,
            up: Duration::from_secs(60),
            listen: vec!["127.0.0.1:4730".to_owned()],
            state_dir: state_dir.display().to_string(),
            log_dir: state_dir.join("elsewhere").display().to_string(),
            config: Some("workers.yaml".to_owned()),
            config_error: None,
            logs_failing: 0,
            logs_dropped: 0,
            shutting_down: false,
            upgrade: None,
            connections: 3,
            failed_jobs: 0,
            failed_jobs_discarded: 0,
        },
        functions: vec![FunctionLoad {
            name: "fetchURL".to_owned(),
            queued: [1, 2, 0],
            ..FunctionLoad::default()
        }],
        pools: vec![
            pool("fetchURL", PoolState::Running),
            pool("stuck", PoolState::Leaving),
        ],
        other_workers: Vec::new(),
    }
}

fn gearpool(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gearpool"));
    command.args(args).env_remove("GEARPOOL_STATE_DIR");
    command
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn every_answer_has_its_code() {
    let daemon = Daemon::start();
    let refused = |text: &str| serde_json::json!({ "error": text });
    let done = |text: &str| serde_json::json!({ "message": text });
    for (head, body, code, answer) in [
        (
            "POST /pools/fetchURL/start",
            "",
            200,
            done("fetchURL starts"),
        ),
        (
            "POST /pools/fetchURL/restart?slot=3",
            "",
            200,
            done("fetchURL restarts Some(Slot(3))"),
        ),
        (
            "POST /pools/mail%2Fout%20%C3%BC/stop",
            "",
            200,
            done("mail/out ü drains"),
        ),
        (
            "POST /pools/none/stop",
            "",
            404,
            refused("there is no pool \"none\""),
        ),
        (
            "POST /pools/stuck/stop",
            "",
            409,
            refused("stuck is leaving; it is no longer in the file"),
        ),
        (
            "POST /pools/fetchURL/scale",
            r#"{"min": 5, "max": 3}"#,
            400,
            refused("min 5 is more than max 3"),
        ),
        ("GET /nothing", "", 404, refused("there is no such path")),
        ("POST /upgrade", "", 409, refused("the new program says no")),
        (
            "POST /reload",
            "",
            422,
            refused("workers.yaml:12:5: unknown key \"maxx\", did you mean \"max\"?"),
        ),
    ] {
        assert_eq!(daemon.request(head, body), (code, answer), "{head}");
    }
    for (head, body, code) in [
        ("GET /status", "", 200),
        ("POST /status", "", 405),
        ("POST /pools/fetchURL/scale", "{", 400),
        ("POST /pools/fetchURL/scale", r#"{"min": 1}"#, 400),
        (
            "POST /pools/fetchURL/scale",
            r#"{"min": -1, "max": 3}"#,
            400,
        ),
        ("POST /pools/fetchURL/restart?slot=x", "", 400),
        ("GET /upgrade", "", 405),
        ("POST /pools/fetchURL/restart?slots=3", "", 400),
    ] {
        let (got, answer) = daemon.request(head, body);
        assert_eq!(got, code, "{head} {body}: {answer}");
        assert!(code == 200 || answer["error"].is_string(), "{answer}");
    }
}

#[test]
fn a_daemon_that_is_ending_says_so() {
    let state_dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let entered = runtime.enter();
    let listener = http::bind(state_dir.path()).unwrap();
    drop(entered);
    let (orders, received) = mpsc::channel(1);
    drop(received);
    runtime.spawn(http::serve(listener, orders));
    let mut command = gearpool(&["status", "--state-dir"]);
    let output = command.arg(state_dir.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output), "gearpool: the daemon is ending\n");
}

#[test]
fn status_is_a_table_or_json() {
    let daemon = Daemon::start();
    let table = stdout(&daemon.gearpool(&["status"]));
    assert!(table.contains("fetchURL       3"), "{table}");
    assert!(table.contains("1 high, 2 normal"), "{table}");
    assert!(!table.contains('\x1b'), "{table}");
    let json = stdout(&daemon.gearpool(&["status", "--json"]));
    let read: Status = serde_json::from_str(&json).unwrap();
    assert_eq!(read, status(daemon.path()));
    let one = stdout(&daemon.gearpool(&["status", "stuck", "--json"]));
    let one: Status = serde_json::from_str(&one).unwrap();
    assert!(one.functions.is_empty() && one.pools.len() == 1);
    let none = daemon.gearpool(&["status", "fetchurl"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(
        stderr(&none).contains("did you mean \"fetchURL\"?"),
        "{none:?}"
    );
}

#[test]
fn orders_print_what_was_done() {
    let daemon = Daemon::start();
    for (args, text) in [
        (
            &["scale", "fetchURL", "5..40"][..],
            "fetchURL is held between 5 and 40 processes\n",
        ),
        (
            &["scale", "fetchURL", "7"],
            "fetchURL is held between 7 and 7 processes\n",
        ),
        (&["start", "fetchURL"], "fetchURL starts\n"),
        (&["stop", "mail/out ü"], "mail/out ü drains\n"),
        (&["restart", "fetchURL"], "fetchURL restarts None\n"),
        (
            &["restart", "fetchURL/3"],
            "fetchURL restarts Some(Slot(3))\n",
        ),
        (
            &["start", "fetchURL", "--json"],
            "{\"message\":\"fetchURL starts\"}\n",
        ),
    ] {
        assert_eq!(stdout(&daemon.gearpool(args)), text, "{args:?}");
    }
    let refused = daemon.gearpool(&["stop", "none"]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(stderr(&refused), "gearpool: there is no pool \"none\"\n");
    let reload = daemon.gearpool(&["reload"]);
    assert_eq!(reload.status.code(), Some(1));
    assert!(stderr(&reload).contains("workers.yaml:12:5"), "{reload:?}");
}

#[test]
fn the_daemon_is_found_by_its_file() {
    let daemon = Daemon::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("workers.yaml");
    let text = format!("server: {{state_dir: {}}}\n", daemon.path().display());
    std::fs::write(&file, text).unwrap();
    let mut command = gearpool(&["status", "-c"]);
    let output = command.arg(&file).output().unwrap();
    assert!(stdout(&output).starts_with("gearpool 0.1.0  pid 4711"));
}

#[test]
fn without_a_daemon_it_says_where_it_looked() {
    let folder = tempfile::tempdir().unwrap();
    for args in [
        &["status"][..],
        &["status", "--watch"],
        &["scale", "fetchURL", "3"],
        &["reload", "--json"],
    ] {
        let mut command = gearpool(args);
        let output = command
            .arg("--state-dir")
            .arg(folder.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        let text = stderr(&output);
        let path = folder.path().display().to_string();
        assert!(
            text.contains(&path) && text.contains("gearpool serve"),
            "{text}"
        );
    }
    let socket = std::os::unix::net::UnixListener::bind(folder.path().join("control.sock"));
    drop(socket.unwrap());
    let mut command = gearpool(&["status", "--state-dir"]);
    let output = command.arg(folder.path()).output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(3),
        "a socket that a dead daemon left behind"
    );
}

#[test]
fn the_watch_goes_on_until_its_reader_leaves() {
    use std::io::{BufRead as _, BufReader};
    let daemon = Daemon::start();
    let mut command = gearpool(&["status", "--watch", "--json", "--state-dir"]);
    command
        .arg(daemon.path())
        .stdout(std::process::Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    for _ in 0..2 {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let read: Status = serde_json::from_str(&line).unwrap();
        assert_eq!(read, status(daemon.path()));
    }
    drop(reader);
    assert!(child.wait().unwrap().success());
}
