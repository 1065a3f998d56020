//! Real clients and real workers, each with each, over one job server.
//!
//! `tests/run` installs the libraries that this needs. With `GEARPOOL_TEST_SERVER=gearmand` the same is run against Debian's
//! gearmand, less what it is known to do differently.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

#[path = "clients/library.rs"]
mod library;
mod support;

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::time::Duration;

use library::{ALL, Library};
use support::{Finished, Implementation, Running, Server, poll};

/// For one client's run, start included.
const CLIENT: Duration = Duration::from_secs(15);
/// For a worker to have registered, or to have done what is in its queue.
const WORKER: Duration = Duration::from_secs(30);

#[test]
fn a_php_worker_serves_every_client() {
    serves_every_client(Library::Php);
}

#[test]
fn a_perl_worker_serves_every_client() {
    serves_every_client(Library::Perl);
}

#[test]
fn a_python_gear_worker_serves_every_client() {
    serves_every_client(Library::Gear);
}

#[test]
fn a_python_gearman3_worker_serves_every_client() {
    serves_every_client(Library::Gearman3);
}

#[test]
fn a_node_worker_serves_every_client() {
    serves_every_client(Library::Node);
}

#[test]
fn a_worker_made_of_the_gearman_tool_serves_every_client() {
    serves_every_client(Library::Tool);
}

/// The tutorial's worker as it stands, but for the port, which it has as a number.
#[test]
fn the_worker_of_the_tutorial_fetches_what_it_is_asked_for() {
    let server = Server::start();
    let site = Site::start();

    let folder = tempfile::tempdir().unwrap();
    let tutorial = include_str!("../examples/php/fetch.php");
    let hard = r#"addServer("localhost", 4730)"#;
    assert!(tutorial.contains(hard), "the tutorial says {hard}");
    let here = format!(r#"addServer("localhost", {})"#, server.port());
    let script = folder.path().join("fetch.php");
    std::fs::write(&script, tutorial.replace(hard, &here)).unwrap();

    let mut command = Command::new("php");
    command.arg(&script);
    let mut running = Running::start("the worker", &command, b"");
    poll("the worker to register", WORKER, || {
        assert!(running.ended().is_none(), "the worker ended");
        (server.workers("fetchURL") > 0).then_some(())
    });

    let url = site.url();
    let workload = format!(r#"{{"url": "{url}"}}"#);
    let fetched = submit(&server, Library::Tool, &["fetchURL"], workload.as_bytes()).unwrap();
    assert!(fetched.status.success(), "{fetched:?}");
    assert_eq!(text(&fetched.out), Site::PAGE);
    let line = format!("fetched {url}, {} bytes\n", Site::PAGE.len());
    assert!(running.output().contains(&line), "{line}");

    let nowhere = r#"{"url": "http://127.0.0.1:1/"}"#;
    let failed = submit(&server, Library::Tool, &["fetchURL"], nowhere.as_bytes()).unwrap();
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
}

/// Debian's `gearadmin` with each of its options.
#[test]
fn gearadmin_asks_and_changes() {
    let server = Server::start();
    let ours = server.implementation() == Implementation::Gearpool;
    let admin = |option: &str| {
        let mut command = Command::new("gearadmin");
        command.args(["-h", "127.0.0.1", "-p", &server.port().to_string(), option]);
        let finished = Running::start("gearadmin", &command, b"").finish(CLIENT);
        let finished = finished.unwrap();
        text(&finished.out) + &text(&finished.err)
    };
    let submit = |arguments: &[&str]| {
        let finished = submit(&server, Library::Tool, arguments, b"x").unwrap();
        handle(&finished).unwrap()
    };
    let first = submit(&["-b", "-u", "u1", "f"]);
    let second = submit(&["-b", "-u", "u2", "f"]);
    let jobs = format!("{first}\t0\t0\t1\n{second}\t0\t0\t1\n.\n");
    assert_eq!(admin("--status"), "f\t2\t0\t0\n.\n");
    assert_eq!(admin("--priority-status"), "f\t0\t2\t0\t0\n.\n");
    assert_eq!(admin("--show-jobs"), jobs);
    let uniques = admin("--show-unique-jobs");
    assert!(
        ["u1\nu2\n.\n", "u2\nu1\n.\n"].contains(&uniques.as_str()),
        "{uniques}"
    );
    assert!(admin("--workers").ends_with(" 127.0.0.1 - :\n.\n"));
    assert!(admin("--server-version").starts_with("1.1.2"));
    assert!(admin("--getpid").trim_end().parse::<u32>().is_ok());
    assert!(admin("--server-verbose").ends_with('\n'));

    assert_eq!(admin(&format!("--cancel-job={first}")), "OK\n");
    assert!(admin("--cancel-job=H:nobody:1").contains("UNKNOWN_JOB"));
    assert_eq!(admin("--create-function=g"), "OK\n");
    assert_eq!(admin("--drop-function=g"), "OK\n");
    assert!(admin("--drop-function=h").contains("function not found"));
    if ours {
        // gearmand keeps what was cancelled, and forgets what waits when a function is dropped
        assert_eq!(admin("--show-jobs"), format!("{second}\t0\t0\t1\n.\n"));
        let refused = admin("--drop-function=f");
        assert!(
            refused.contains("there are still connected workers"),
            "{refused}"
        );
    }
}

/// A web site of one page, that ends with the test's process.
struct Site {
    port: u16,
}

impl Site {
    const PAGE: &str = "<h1>It works</h1>\n";

    fn start() -> Site {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let head = BufReader::new(&stream).lines();
                let end = head.map_while(Result::ok).find(|line| line.is_empty());
                assert!(end.is_some(), "a request has an empty line after its head");
                let length = Site::PAGE.len();
                let page = Site::PAGE;
                write!(
                    stream,
                    "HTTP/1.0 200 OK\r\nContent-Length: {length}\r\n\r\n{page}"
                )
                .unwrap();
            }
        });
        Site { port }
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }
}

/// What a client asks for, and sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Case {
    ReverseText,
    ReverseBytes,
    ReverseEmpty,
    ReverseMebibyte,
    Background,
    Progress,
    Fail,
    Exception,
}

const CASES: [Case; 8] = [
    Case::ReverseText,
    Case::ReverseBytes,
    Case::ReverseEmpty,
    Case::ReverseMebibyte,
    Case::Background,
    Case::Progress,
    Case::Fail,
    Case::Exception,
];

/// Runs every client against one worker, and says everything that went wrong.
fn serves_every_client(worker: Library) {
    let server = Server::start();
    let mut wrong = Vec::new();

    // Before there is a worker: jobs that wait, two submissions of each, which one unique makes one job.
    for (number, client) in ALL.into_iter().enumerate() {
        if let Err(problem) = submits_twice(&server, client, number) {
            wrong.push(format!("{client:?} client, unique: {problem}"));
        }
    }

    let mut command = worker.worker();
    server.tell(&mut command);
    let mut running = Running::start("the worker", &command, b"");
    poll("the worker to register", WORKER, || {
        assert!(running.ended().is_none(), "the worker ended");
        let all = ["reverse", "fail", "progress", "sleep"];
        all.iter()
            .all(|function| server.workers(function) > 0)
            .then_some(())
    });

    for (number, client) in ALL.into_iter().enumerate() {
        for case in CASES {
            if !applies(case, worker, client) || differs(case, &server, worker, client) {
                continue;
            }
            let pair = Pair {
                server: &server,
                worker: &running,
                worker_library: worker,
                client,
                number,
            };
            if let Err(problem) = pair.check(case) {
                wrong.push(format!("{client:?} client, {case:?}: {problem}"));
            }
        }
    }

    for (number, client) in ALL.into_iter().enumerate() {
        let line = waiting_line(number);
        poll(&format!("{line:?} in the worker's output"), WORKER, || {
            running.output().contains(&line).then_some(())
        });
        let times = running.output().matches(&line).count();
        if times != 1 {
            wrong.push(format!("{client:?} client, unique: ran {times} times"));
        }
    }

    assert!(
        wrong.is_empty(),
        "with a {worker:?} worker:\n{}",
        wrong.join("\n")
    );
}

/// Whether both libraries have what the case is about.
fn applies(case: Case, worker: Library, client: Library) -> bool {
    match case {
        Case::ReverseEmpty => client.sends_empty(),
        Case::Exception => worker.raises(),
        Case::ReverseText
        | Case::ReverseBytes
        | Case::ReverseMebibyte
        | Case::Background
        | Case::Progress
        | Case::Fail => true,
    }
}

/// Whether gearmand is known to do it otherwise, so that the case says nothing about it.
fn differs(case: Case, server: &Server, worker: Library, client: Library) -> bool {
    match server.implementation() {
        Implementation::Gearpool => false,
        Implementation::Gearmand => match case {
            // It turns an exception into a failure with a stray NUL behind the handle, for which no client knows a job; and it
            // answers the failure that a Perl worker sends after its exception with an error, on which that worker dies.
            Case::Exception => !client.shows_exceptions() || worker == Library::Perl,
            // A Perl worker sends no NUL before an empty result, and gearmand waits for one.
            Case::ReverseEmpty => worker == Library::Perl,
            Case::ReverseText
            | Case::ReverseBytes
            | Case::ReverseMebibyte
            | Case::Background
            | Case::Progress
            | Case::Fail => false,
        },
    }
}

/// A client in front of a worker.
struct Pair<'a> {
    server: &'a Server,
    worker: &'a Running,
    worker_library: Library,
    client: Library,
    number: usize,
}

impl Pair<'_> {
    fn check(&self, case: Case) -> Result<(), String> {
        match case {
            Case::ReverseText => self.reverses(b"hello"),
            Case::ReverseBytes => self.reverses(&(0..=255).collect::<Vec<u8>>()),
            Case::ReverseEmpty => self.reverses(b""),
            Case::ReverseMebibyte => self.reverses(&noise(1 << 20)),
            Case::Background => self.runs_in_the_background(),
            Case::Progress => self.shows_progress(),
            Case::Fail => self.fails(),
            Case::Exception => self.raises(),
        }
    }

    fn reverses(&self, workload: &[u8]) -> Result<(), String> {
        let reversed: Vec<u8> = workload.iter().rev().copied().collect();
        let finished = self.submit(&["reverse"], workload)?;
        check(finished.status.success(), "exit 0", &finished)?;
        check(finished.out == reversed, "the workload reversed", &finished)
    }

    fn runs_in_the_background(&self) -> Result<(), String> {
        let milliseconds = (20 + self.number).to_string();
        let finished = self.submit(&["-b", "sleep"], milliseconds.as_bytes())?;
        check(finished.status.success(), "exit 0", &finished)?;
        check(handle(&finished).is_some(), "a handle", &finished)?;
        let line = format!("slept {milliseconds} ms");
        poll(&format!("{line:?} in the worker's output"), WORKER, || {
            self.worker.output().contains(&line).then_some(())
        });
        Ok(())
    }

    fn shows_progress(&self) -> Result<(), String> {
        let finished = self.submit(&["progress"], b"x")?;
        check(finished.status.success(), "exit 0", &finished)?;
        let steps = b"step 1\nstep 2\nstep 3\nstep 4\ndone";
        check(finished.out.starts_with(steps), "the steps", &finished)?;
        if self.worker_library.reports_progress() {
            let shown = match self.client {
                Library::Tool => text(&finished.out).contains("100% Complete"),
                Library::Php
                | Library::Perl
                | Library::Gear
                | Library::Gearman3
                | Library::Node => text(&finished.err).contains("progress 4/4"),
            };
            check(shown, "the last status", &finished)?;
        }
        Ok(())
    }

    fn fails(&self) -> Result<(), String> {
        let finished = self.submit(&["fail"], b"x")?;
        check(finished.status.code() == Some(1), "exit 1", &finished)?;
        check(finished.out.is_empty(), "no result", &finished)?;
        check(says_failed(&finished), "\"job failed\"", &finished)
    }

    fn raises(&self) -> Result<(), String> {
        let finished = self.submit(&["exception"], b"x")?;
        check(finished.status.code() == Some(1), "exit 1", &finished)?;
        check(finished.out.is_empty(), "no result", &finished)?;
        if self.client.shows_exceptions() {
            let shown = text(&finished.err).contains("it went wrong");
            check(shown, "what the exception says", &finished)
        } else {
            check(says_failed(&finished), "\"job failed\"", &finished)
        }
    }

    fn submit(&self, arguments: &[&str], workload: &[u8]) -> Result<Finished, String> {
        submit(self.server, self.client, arguments, workload)
    }
}

/// Two submissions with one unique and nobody there to run them: both get the same handle.
fn submits_twice(server: &Server, client: Library, number: usize) -> Result<(), String> {
    let unique = format!("unique-{number}");
    let workload = waiting(number).to_string();
    let mut handles = Vec::new();
    for _ in 0..2 {
        let arguments = ["-b", "-u", &unique, "sleep"];
        let finished = submit(server, client, &arguments, workload.as_bytes())?;
        check(finished.status.success(), "exit 0", &finished)?;
        handles.push(handle(&finished).ok_or_else(|| expected("a handle", &finished))?);
    }
    if handles[0] == handles[1] {
        Ok(())
    } else {
        Err(format!("two jobs, {handles:?}"))
    }
}

/// The milliseconds of the job that waits for a worker, different for each client.
fn waiting(number: usize) -> usize {
    10 + number
}

fn waiting_line(number: usize) -> String {
    format!("slept {} ms", waiting(number))
}

fn submit(
    server: &Server,
    client: Library,
    arguments: &[&str],
    workload: &[u8],
) -> Result<Finished, String> {
    let mut command = client.client();
    command.args(arguments);
    server.tell(&mut command);
    Running::start("the client", &command, workload).finish(CLIENT)
}

/// The handle that a background job got: the last word, without the server's address that Perl puts before it.
fn handle(finished: &Finished) -> Option<String> {
    let out = text(&finished.out);
    let word = out.split_whitespace().next_back()?;
    let handle = word.rsplit("//").next()?;
    handle.starts_with("H:").then(|| handle.to_owned())
}

fn says_failed(finished: &Finished) -> bool {
    text(&finished.err).to_lowercase().contains("job failed")
}

fn check(holds: bool, what: &str, finished: &Finished) -> Result<(), String> {
    if holds {
        Ok(())
    } else {
        Err(expected(what, finished))
    }
}

fn expected(what: impl fmt::Display, finished: &Finished) -> String {
    let short = |bytes: &[u8]| text(bytes).chars().take(400).collect::<String>();
    format!(
        "expected {what}, got {}, {} bytes {:?}, {:?}",
        finished.status,
        finished.out.len(),
        short(&finished.out),
        short(&finished.err)
    )
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Bytes without a pattern, the same ones every time.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_be_bytes()[0]
    })
    .take(length)
    .collect()
}
