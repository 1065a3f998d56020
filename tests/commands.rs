//! `gearpool submit` and `gearpool work` against a real server, with the `gearman` tool and a PHP worker at the other end.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

#[path = "support/gearman_server.rs"]
mod gearman_server;
#[path = "support/running.rs"]
mod running;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use gearman_server::{DEADLINE, Running, Server, free_port, gearpool, run, start, until};
use gearpool::proto::{Decoded, Frame, Kind, Response, decode};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// `gearpool work -f FUNCTION -- sh -c SCRIPT`.
fn worker(server: &Server, function: &str, script: &str) -> Running {
    let mut work = server.gearpool("work");
    work.args(["-f", function, "--", "sh", "-c", script]);
    start(&mut work, b"")
}

/// A file that a worker's script writes and a test waits for.
struct Note {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

impl Note {
    fn new() -> Note {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("note");
        Note {
            _directory: directory,
            path,
        }
    }

    fn name(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// The first line, when it is there.
    #[track_caller]
    fn line(&self) -> String {
        let mut line = String::new();
        until("the note is written", || {
            let text = fs::read_to_string(&self.path).unwrap_or_default();
            match text.split_once('\n') {
                Some((first, _)) => {
                    line = first.to_owned();
                    true
                }
                None => false,
            }
        });
        line
    }
}

fn is_alive(pid: i32) -> bool {
    // a zombie is dead, but answers to kill
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => !stat.contains(") Z "),
        Err(_) => false,
    }
}

#[test]
fn a_job_and_its_result() {
    let server = Server::start();
    let _worker = worker(&server, "wc", "wc -c");
    let given = run(server.gearpool("submit").args(["wc", "hello", "w2"]), b"");
    assert_eq!((given.code, given.text()), (0, "5\n2\n"), "{}", given.err);
    let read = run(
        server.gearpool("submit").args(["-f", "wc"]),
        b"line\nline\n",
    );
    assert_eq!((read.code, read.text()), (0, "10\n"), "{}", read.err);
    let empty = run(server.gearpool("submit").args(["-s", "wc"]), b"line\n");
    assert_eq!((empty.code, empty.text()), (0, "0\n"), "{}", empty.err);
}

#[test]
fn a_line_is_a_job() {
    let server = Server::start();
    let _one = worker(&server, "wc", "wc -c");
    let lines = run(server.gearpool("submit").args(["-n", "wc"]), b"a\nbb\nccc");
    assert_eq!((lines.code, lines.text()), (0, "2\n3\n3\n"));
    let stripped = run(server.gearpool("submit").args(["-N", "wc"]), b"a\nbb\nccc");
    assert_eq!((stripped.code, stripped.text()), (0, "1\n2\n3\n"));
    let none = run(server.gearpool("submit").args(["-N", "wc"]), b"");
    assert_eq!((none.code, none.text()), (0, ""));
}

#[test]
fn many_lines_go_over_one_connection_at_once() {
    let server = Server::start();
    let input: String = (0..10_000).map(|n| format!("{n}\n")).collect();
    let start = Instant::now();
    let queued = run(
        server.gearpool("submit").args(["-b", "-N", "later"]),
        input.as_bytes(),
    );
    assert_eq!(queued.code, 0, "{}", queued.err);
    assert_eq!(queued.text().lines().count(), 10_000);
    assert!(queued.text().lines().all(|line| line.starts_with("H:")));
    assert_eq!(server.status("later"), [10_000, 0, 0]);
    // a round trip a job would take longer even on an idle machine
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "{:?}",
        start.elapsed()
    );
}

#[test]
fn several_functions_and_prefixes() {
    let server = Server::start();
    let _one = worker(&server, "wc", "wc -c");
    let _two = worker(&server, "twice", "cat; cat; echo; echo end");
    let both = run(
        server
            .gearpool("submit")
            .args(["-P", "-f", "wc", "-f", "twice", "abc"]),
        b"",
    );
    let mut lines: Vec<_> = both.text().lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["twice: abc", "twice: end", "wc: 3"]);
}

#[test]
fn a_failed_job() {
    let server = Server::start();
    let worker = worker(&server, "bad", "echo part; echo why >&2; exit 3");
    let failed = run(server.gearpool("submit").args(["bad", "x"]), b"");
    assert_eq!((failed.code, failed.text()), (1, "part\n"));
    assert!(failed.err.contains(" of bad failed"), "{}", failed.err);
    let json = run(server.gearpool("submit").args(["--json", "bad", "x"]), b"");
    let object: serde_json::Value = serde_json::from_str(json.text()).unwrap();
    assert_eq!((json.code, &object["status"]), (1, &"failed".into()));
    assert_eq!(object["result"], "part\n");
    worker.signal(Signal::SIGTERM);
    let ended = worker.end();
    assert_eq!(ended.code, 0);
    assert!(ended.err.contains("why\n"), "{}", ended.err);
    assert!(
        ended.err.contains("of bad failed: exit status: 3"),
        "{}",
        ended.err
    );
}

#[test]
fn json_objects() {
    let server = Server::start();
    let _worker = worker(&server, "echo", "cat");
    let _binary = worker(&server, "ff", r"printf '\377'");
    let json = |args: &[&str]| {
        let ended = run(server.gearpool("submit").arg("--json").args(args), b"");
        assert_eq!(ended.code, 0, "{}", ended.err);
        serde_json::from_str::<serde_json::Value>(ended.text()).unwrap()
    };
    let text = json(&["-u", "key", "echo", "hello"]);
    assert_eq!(text["status"], "completed");
    assert_eq!(text["result"], "hello");
    assert_eq!(text["unique"], "key");
    assert!(text["handle"].as_str().unwrap().starts_with("H:"));
    assert_eq!(json(&["ff", ""])["result_base64"], "/w==");
    let queued = json(&["-b", "never", "x"]);
    assert_eq!(queued["status"], "queued");
    assert_eq!(queued["unique"], serde_json::Value::Null);
}

#[test]
fn submits_with_one_unique_share_a_job_and_each_gets_its_result() {
    let server = Server::start();
    let submit = start(
        server
            .gearpool("submit")
            .args(["--json", "-u", "same", "sum", "1", "2", "3"]),
        b"",
    );
    until("they are one job", || server.status("sum") == [1, 0, 0]);
    let _worker = worker(&server, "sum", "wc -c");
    let ended = submit.end();
    assert_eq!(ended.code, 0, "{}", ended.err);
    let lines: Vec<serde_json::Value> = ended
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 3);
    for (line, number) in lines.iter().zip(1..) {
        assert_eq!(
            (&line["job"], &line["result"]),
            (&number.into(), &"1\n".into())
        );
        assert_eq!(line["handle"], lines[0]["handle"]);
    }
}

#[test]
fn priorities() {
    let server = Server::start();
    let note = Note::new();
    for (flag, name) in [("-L", "low"), ("-b", "normal"), ("-I", "high")] {
        let queued = run(
            server.gearpool("submit").args(["-b"]).args(
                // the plain one has no flag of its own
                [flag, "order", name].iter().skip(usize::from(flag == "-b")),
            ),
            b"",
        );
        assert_eq!(queued.code, 0, "{}", queued.err);
    }
    let mut work = server.gearpool("work");
    work.args(["-f", "order", "-n", "3", "--shell", "--"])
        .arg(format!("cat >> {0}; echo >> {0}", note.name()));
    let ended = run(&mut work, b"");
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(
        fs::read_to_string(&note.path).unwrap(),
        "high\nnormal\nlow\n"
    );
    assert_eq!(server.status("order")[0], 0);
}

#[test]
fn no_server() {
    let port = free_port();
    for command in [
        &["submit", "f", "x"][..],
        &["submit", "-b", "f", "x"],
        &["admin", "--status"],
    ] {
        let ended = run(
            gearpool()
                .args(command)
                .env("GEARMAN_SERVERS", format!("127.0.0.1:{port}")),
            b"",
        );
        assert_eq!(ended.code, 3);
        assert_eq!(
            ended.err,
            format!(
                "gearpool: cannot connect to 127.0.0.1:{port}: connection refused; is a Gearman server running there?\n"
            )
        );
    }
}

#[test]
fn the_address_is_a_flag_or_in_the_environment() {
    let server = Server::start();
    let dead = free_port();
    let live = format!("127.0.0.1:{}", server.port);
    let port = server.port.to_string();
    type Environment<'a> = &'a [(&'a str, &'a str)];
    let variables: [(&[&str], Environment<'_>); 6] = [
        (&["-h", &live], &[]),
        (&["--server", "127.0.0.1", "--port", &port], &[]),
        (&["-p", &port], &[("GEARMAN_SERVERS", "127.0.0.1:1")]),
        (&[], &[("GEARMAN_SERVER", &live)]),
        (
            &[],
            &[("GEARMAN_SERVERS", &live), ("GEARMAN_SERVER", "no:1")],
        ),
        // the first that answers
        (&["-h", &format!("127.0.0.1:{dead},{live}")], &[]),
    ];
    for (flags, environment) in variables {
        let mut submit = gearpool();
        submit.args(["submit", "-b", "f", "x"]).args(flags);
        let ended = run(submit.envs(environment.iter().copied()), b"");
        assert_eq!(ended.code, 0, "{flags:?} {environment:?} {}", ended.err);
    }
    assert_eq!(server.status("f"), [6, 0, 0]);
}

#[test]
fn wrong_command_lines() {
    let table: &[(&[&str], &str)] = &[
        (&["submit"], "which function?"),
        (&["submit", "-h", "web1:x", "f", "w"], "a port is a number"),
        (&["submit", "-n", "f", "w"], "standard input"),
        (&["submit", "-I", "-L", "f", "w"], "cannot be used with"),
        (&["admin"], "<--status|"),
        (&["admin", "--drop-function", "a b"], "takes one word here"),
        (&["admin", "--cancel-job", ""], "takes one word here"),
        (&["work", "-f", "f"], "<COMMAND>"),
        (&["work", "--", "cat"], "--function"),
        (
            &["work", "-f", "f", "--", "no-such-command"],
            "no such command in PATH",
        ),
        (&["work", "-f", "f", "--", "wc -c"], "--shell"),
        (&["work", "-f", "f", "--", "/no/such/file"], "no such file"),
        (
            &["work", "-f", "f", "--", "/etc/passwd"],
            "not an executable",
        ),
        (&["work", "-f", "f", "--", "/etc/"], "not an executable"),
    ];
    for (args, part) in table {
        let ended = run(gearpool().args(*args), b"");
        assert_eq!(ended.code, 2, "{args:?}");
        assert!(ended.err.contains(part), "{args:?}: {}", ended.err);
    }
}

#[test]
fn a_server_that_goes_away_within_a_job() {
    let server = Server::start();
    let submit = start(server.gearpool("submit").args(["never", "x", "y"]), b"");
    until("the jobs are queued", || server.status("never")[0] == 2);
    drop(server);
    let ended = submit.end();
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("2 jobs have not ended"), "{}", ended.err);
}

/// A peer that takes one connection and answers it with a function of the test.
fn peer(answer: impl FnOnce(TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || answer(listener.accept().unwrap().0));
    port
}

#[test]
fn a_peer_that_is_no_gearman_server() {
    let greetings: [&[u8]; 3] = [b"SSH-2.0-x\r\n", b"\0XYZ\0\0\0\0\0\0\0\0", b""];
    for greeting in greetings {
        let port = peer(move |mut stream| {
            stream.write_all(greeting).unwrap();
        });
        let mut submit = gearpool();
        submit.args(["submit", "-p", &port.to_string(), "f", "x"]);
        let ended = run(&mut submit, b"");
        assert_eq!(ended.code, 3, "{}", ended.err);
    }
}

/// Answers each packet of a worker with what `answers` says, until the worker closes.
fn converse(mut stream: TcpStream, answers: impl Fn(Kind, &mut Vec<u8>)) {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let (mut buffer, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        while let Ok(Decoded::Frame(Frame::Packet { kind, .. }, taken)) = decode(&buffer) {
            let mut out = Vec::new();
            answers(Kind::from_number(kind).unwrap(), &mut out);
            stream.write_all(&out).unwrap();
            buffer.drain(..taken);
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return,
            Ok(count) => buffer.extend_from_slice(&chunk[..count]),
        }
    }
}

#[test]
fn a_server_that_drains_the_worker() {
    let port = peer(|stream| {
        converse(stream, |kind, out| match kind {
            Kind::GrabJobUniq => Response::Error {
                code: b"draining",
                text: b"no more jobs for this worker",
            }
            .encode(out),
            Kind::SetClientId | Kind::CanDo => {}
            other => panic!("{other:?}"),
        });
    });
    let mut work = gearpool();
    work.args(["work", "-p", &port.to_string(), "-f", "f", "--", "cat"]);
    let ended = run(&mut work, b"");
    assert_eq!(ended.code, 0, "{}", ended.err);
}

#[test]
fn a_server_that_refuses_the_worker() {
    let port = peer(|stream| {
        converse(stream, |kind, out| {
            if kind == Kind::CanDo {
                Response::Error {
                    code: b"ARGUMENT_TOO_LARGE",
                    text: b"the name is too long",
                }
                .encode(out);
            }
        });
    });
    let mut work = gearpool();
    work.args(["work", "-p", &port.to_string(), "-f", "f", "--", "cat"]);
    let ended = run(&mut work, b"");
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("the name is too long"), "{}", ended.err);
}

#[test]
fn the_job_is_in_the_commands_environment() {
    let server = Server::start();
    let mut work = server.gearpool("work");
    work.args(["-f", "a", "-f", "b", "--shell", "--"])
        .arg("echo $GEARMAN_JOB_FUNCTION $GEARMAN_JOB_UNIQUE $GEARMAN_JOB_HANDLE");
    let _worker = start(&mut work, b"");
    for function in ["a", "b"] {
        let mut submit = server.gearpool("submit");
        let ended = run(submit.args(["-u", "key", "-s", function]), b"");
        let expected = format!("{function} key H:");
        assert!(ended.text().starts_with(&expected), "{}", ended.text());
    }
}

#[test]
fn big_workloads_and_results() {
    let server = Server::start();
    let _echo = worker(&server, "echo", "cat");
    let _deaf = worker(&server, "deaf", "exec <&-; echo done");
    let bytes: Vec<u8> = (0..20 << 20).map(|n: u32| (n >> 3) as u8).collect();
    let echoed = run(server.gearpool("submit").arg("echo"), &bytes);
    assert_eq!(echoed.code, 0, "{}", echoed.err);
    assert!(echoed.out == bytes, "20 MiB come back as they went");
    let deaf = run(server.gearpool("submit").arg("deaf"), &bytes);
    assert_eq!((deaf.code, deaf.text()), (0, "done\n"), "{}", deaf.err);
}

#[test]
fn a_result_that_is_too_big_fails_the_job() {
    let server = Server::start();
    let _worker = worker(&server, "endless", "exec cat /dev/zero");
    let ended = run(server.gearpool("submit").args(["-s", "endless"]), b"");
    assert_eq!((ended.code, ended.text()), (1, ""));
    assert!(ended.err.contains("output is longer"), "{}", ended.err);
}

#[test]
fn what_a_command_leaves_behind_does_not_hold_its_job() {
    let server = Server::start();
    let _worker = worker(&server, "fork", "sleep 1000 & echo $!");
    let ended = run(server.gearpool("submit").args(["-s", "fork"]), b"");
    assert_eq!(ended.code, 0, "{}", ended.err);
    let left: i32 = ended.text().trim().parse().unwrap();
    kill(Pid::from_raw(left), Signal::SIGKILL).unwrap();
}

#[test]
fn an_idle_worker_ends_at_once() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let server = Server::start();
        let worker = worker(&server, "idle", "cat");
        until("it is registered", || server.status("idle")[2] == 1);
        let start = Instant::now();
        worker.signal(signal);
        let ended = worker.end();
        assert_eq!((ended.code, &ended.err[..]), (0, ""));
        assert!(start.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn a_worker_without_a_server_waits_and_ends_when_it_is_told() {
    let port = free_port();
    let mut work = gearpool();
    work.args([
        "work",
        "-p",
        &port.to_string(),
        "-f",
        "wc",
        "--",
        "wc",
        "-c",
    ]);
    let worker = start(&mut work, b"");
    let server = Server::start_on(port);
    let ended = run(server.gearpool("submit").args(["wc", "abc"]), b"");
    assert_eq!((ended.code, ended.text()), (0, "3\n"));
    drop(server);
    worker.signal(Signal::SIGTERM);
    assert_eq!(worker.end().code, 0);
}

#[test]
fn a_busy_worker_finishes_its_job() {
    let server = Server::start();
    let (started, go) = (Note::new(), Note::new());
    let script = format!(
        "echo $$ > {}; until test -e {}; do sleep 0.02; done; echo result",
        started.name(),
        go.name()
    );
    let worker = worker(&server, "slow", &script);
    let submit = start(server.gearpool("submit").args(["-s", "slow"]), b"");
    started.line();
    worker.signal(Signal::SIGTERM);
    fs::write(&go.path, "").unwrap();
    let ended = submit.end();
    assert_eq!((ended.code, ended.text()), (0, "result\n"), "{}", ended.err);
    assert_eq!(worker.end().code, 0);
}

#[test]
fn a_second_signal_kills_the_command_and_the_job_goes_to_another() {
    let server = Server::start();
    let note = Note::new();
    let script = format!("sleep 1000 & echo $! > {}; wait", note.name());
    let first = worker(&server, "slow", &script);
    let submit = start(server.gearpool("submit").args(["-s", "slow"]), b"");
    let grandchild: i32 = note.line().parse().unwrap();
    first.signal(Signal::SIGINT);
    first.signal(Signal::SIGTERM);
    let ended = first.end();
    assert_eq!(ended.code, 1, "{}", ended.err);
    until("the group is dead", || !is_alive(grandchild));
    let _second = worker(&server, "slow", "echo second");
    let ended = submit.end();
    assert_eq!((ended.code, ended.text()), (0, "second\n"));
}

#[test]
fn a_command_does_not_outlive_its_worker() {
    let server = Server::start();
    let note = Note::new();
    let script = format!("echo $$ > {}; exec sleep 1000", note.name());
    let worker = worker(&server, "slow", &script);
    let _submit = start(server.gearpool("submit").args(["-s", "slow"]), b"");
    let command: i32 = note.line().parse().unwrap();
    assert!(is_alive(command));
    worker.signal(Signal::SIGKILL);
    worker.end();
    until("the command is dead", || !is_alive(command));
}

/// In a pool, the command is in the worker's process group, and a signal to the group ends both.
#[test]
fn a_pools_signal_gives_the_job_back() {
    let server = Server::start();
    let note = Note::new();
    let mut work = server.gearpool("work");
    work.args(["-f", "slow", "--", "sh", "-c"])
        .arg(format!("echo $$ > {}; sleep 1000", note.name()))
        .envs([("GEARPOOL_POOL", "slow"), ("GEARPOOL_SLOT", "3")]);
    let first = start(&mut work, b"");
    let submit = start(server.gearpool("submit").args(["-s", "slow"]), b"");
    note.line();
    let group = Pid::from_raw(first.pid() as i32);
    nix::sys::signal::killpg(group, Signal::SIGTERM).unwrap();
    let ended = first.end();
    assert!(ended.err.contains("gives it to another"), "{}", ended.err);
    let _second = worker(&server, "slow", "echo second");
    let ended = submit.end();
    assert_eq!((ended.code, ended.text()), (0, "second\n"));
}

#[test]
fn a_worker_connects_again_and_says_so() {
    let server = Server::start();
    let port = server.port;
    let (started, go) = (Note::new(), Note::new());
    let script = format!(
        "echo $$ > {}; until test -e {}; do sleep 0.02; done; echo result",
        started.name(),
        go.name()
    );
    let worker = worker(&server, "slow", &script);
    let lost = start(server.gearpool("submit").args(["-s", "slow"]), b"");
    started.line();
    drop(server);
    assert_eq!(lost.end().code, 1);
    let server = Server::start_on(port);
    fs::write(&go.path, "").unwrap();
    let ended = run(server.gearpool("submit").args(["-s", "slow"]), b"");
    assert_eq!((ended.code, ended.text()), (0, "result\n"), "{}", ended.err);
    worker.signal(Signal::SIGTERM);
    let ended = worker.end();
    assert_eq!(ended.code, 0);
    for part in [
        "nobody is there to take its result",
        "closed the connection; connecting again",
        "connected to 127.0.0.1",
    ] {
        assert!(ended.err.contains(part), "{part}: {}", ended.err);
    }
}

#[test]
fn one_worker_for_two_servers() {
    let (one, two) = (Server::start(), Server::start());
    let mut work = gearpool();
    work.args(["work", "-f", "wc", "-n", "4", "--", "wc", "-c"])
        .env(
            "GEARMAN_SERVERS",
            format!("127.0.0.1:{},127.0.0.1:{}", one.port, two.port),
        );
    let worker = start(&mut work, b"");
    for server in [&one, &two, &two, &one] {
        let ended = run(server.gearpool("submit").args(["wc", "ab"]), b"");
        assert_eq!((ended.code, ended.text()), (0, "2\n"));
    }
    assert_eq!(worker.end().code, 0);
}

#[test]
fn the_gearman_tool_as_client() {
    let server = Server::start();
    let _wc = worker(&server, "wc", "wc -c");
    let _bad = worker(&server, "bad", "echo part; exit 1");
    let _upper = worker(&server, "upper", "tr a-z A-Z");
    let wc = run(server.gearman().args(["-f", "wc", "hello"]), b"");
    assert_eq!((wc.code, wc.text()), (0, "5\n"));
    let bad = run(server.gearman().args(["-f", "bad", "x"]), b"");
    assert_eq!((bad.code, bad.text()), (1, "part\n"));
    let lines = run(server.gearman().args(["-f", "upper", "-n"]), b"a\nb\n");
    assert_eq!((lines.code, lines.text()), (0, "A\nB\n"));
}

#[test]
fn the_gearman_tool_as_worker() {
    let server = Server::start();
    let tool = |args: &[&str]| start(server.gearman().arg("-w").args(args), b"");
    let _wc = tool(&["-f", "wc", "--", "wc", "-c"]);
    let _lines = tool(&["-n", "-f", "lines", "--", "cat"]);
    let _bad = tool(&["-f", "bad", "--", "false"]);
    let submit = |function: &str, input: &[u8]| {
        let ended = run(server.gearpool("submit").arg(function), input);
        (ended.code, ended.text().to_owned())
    };
    assert_eq!(submit("wc", b"hello"), (0, "5\n".to_owned()));
    // one line, for the tool sends each line again with all that follow it
    assert_eq!(submit("lines", b"a\n"), (0, "a\n".to_owned()));
    assert_eq!(submit("bad", b"x").0, 1);
}

const PHP_WORKER: &str = r#"
$worker = new GearmanWorker();
$worker->addServer("127.0.0.1", (int) $argv[1]);
$worker->addFunction("talk", function (GearmanJob $job) {
    $job->sendStatus(1, 2);
    $job->sendData("part ");
    $job->sendWarning("careful");
    return "end";
});
$worker->addFunction("throw", function (GearmanJob $job) { $job->sendException("no disk"); });
while ($worker->work());
"#;

#[test]
fn a_php_worker_with_data_warnings_and_exceptions() {
    let server = Server::start();
    let mut php = std::process::Command::new("php");
    php.args(["-r", PHP_WORKER, "--", &server.port.to_string()]);
    let _php = start(&mut php, b"");
    let talk = run(server.gearpool("submit").args(["talk", "x"]), b"");
    assert_eq!((talk.code, talk.text()), (0, "part end"), "{}", talk.err);
    assert_eq!(talk.err, "careful\n");
    let thrown = run(server.gearpool("submit").args(["throw", "x"]), b"");
    assert_eq!(thrown.code, 1);
    assert!(
        thrown.err.contains("ended in an exception: no disk"),
        "{}",
        thrown.err
    );
}

#[test]
fn every_command_has_help_with_examples() {
    for command in ["submit", "work", "admin"] {
        let short = run(gearpool().args([command, "-H"]), b"");
        let long = run(gearpool().args([command, "--help"]), b"");
        assert_eq!((short.code, long.code), (0, 0));
        assert!(long.text().contains("Examples:"));
        assert!(short.text().len() < long.text().len());
    }
}
