//! What breaks gearmand 1.1.20, seen by trying, does not break ours: one test each.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use gearpool::proto::{Grab, Kind, Mode, Priority, Request, Response};

use crate::support::{Daemon, Home, until};

/// A job server without pools.
fn plain(words: &[&str]) -> Daemon {
    let home = Home::new("");
    let mut command = home.gearpool(&["serve", "-L", "127.0.0.1", "-p", "0"]);
    command.args(words);
    Daemon::start_as(home, command)
}

/// A client or a worker that says what it likes.
struct Peer(TcpStream);

impl Peer {
    fn new(daemon: &Daemon) -> Peer {
        Peer(daemon.connect())
    }

    fn send(&mut self, requests: &[Request<'_>]) {
        let mut bytes = Vec::new();
        requests
            .iter()
            .for_each(|request| request.encode(&mut bytes));
        self.0.write_all(&bytes).unwrap();
    }

    fn receive(&mut self) -> (u32, Vec<u8>) {
        let mut header = [0; 12];
        self.0.read_exact(&mut header).unwrap();
        let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
        let mut body = vec![0; number(8) as usize];
        self.0.read_exact(&mut body).unwrap();
        (number(4), body)
    }

    #[track_caller]
    fn expect(&mut self, expected: &Response<'_>) {
        let mut bytes = Vec::new();
        expected.encode(&mut bytes);
        let (kind, body) = self.receive();
        let shown = (kind, String::from_utf8_lossy(&body).into_owned());
        assert_eq!(
            (kind, &body[..]),
            (expected.kind() as u32, &bytes[12..]),
            "{shown:?}"
        );
    }

    /// Submits a job, and returns its handle.
    #[track_caller]
    fn submit(
        &mut self,
        priority: Priority,
        mode: Mode,
        unique: &[u8],
        workload: &[u8],
    ) -> Vec<u8> {
        self.send(&[Request::SubmitJob {
            priority,
            mode,
            function: b"f",
            unique,
            workload,
        }]);
        self.created()
    }

    #[track_caller]
    fn created(&mut self) -> Vec<u8> {
        let (kind, handle) = self.receive();
        assert_eq!(
            kind,
            Kind::JobCreated as u32,
            "{}",
            String::from_utf8_lossy(&handle)
        );
        handle
    }

    /// Asks for a job that is there.
    #[track_caller]
    fn grab(&mut self, handle: &[u8], workload: &[u8]) {
        self.send(&[Request::GrabJob(Grab::Plain)]);
        self.expect(&Response::JobAssign {
            handle,
            function: b"f",
            workload,
        });
    }

    /// The server has taken all that was sent before.
    #[track_caller]
    fn settle(&mut self) {
        self.send(&[Request::EchoReq { data: b"!" }]);
        self.expect(&Response::EchoRes { data: b"!" });
    }
}

/// A worker that can do `f`.
fn worker(daemon: &Daemon) -> Peer {
    let mut worker = Peer::new(daemon);
    worker.send(&[Request::CanDo { function: b"f" }]);
    worker.settle();
    worker
}

/// All jobs, running ones and workers of `f`.
fn counts(daemon: &Daemon) -> [u64; 3] {
    let status = daemon.run(&["admin", "-p", &daemon.port.to_string(), "--status"]);
    let line = status.out.lines().find_map(|line| line.strip_prefix("f\t"));
    let mut numbers = line.unwrap_or("0\t0\t0").split('\t');
    [(); 3].map(|()| numbers.next().unwrap().parse().unwrap())
}

fn connections(daemon: &Daemon) -> usize {
    let list = daemon.run(&["admin", "-p", &daemon.port.to_string(), "--workers"]);
    list.out.lines().filter(|line| *line != ".").count()
}

/// The time that the daemon has had on a processor, in seconds.
fn processor(daemon: &Daemon) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
    tasks
        .map(|task| {
            let line = fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap();
            let nanoseconds: f64 = line.split(' ').next().unwrap().parse().unwrap();
            nanoseconds / 1e9
        })
        .sum()
}

/// It ends gearmand.
#[test]
fn a_packet_of_type_ffffffff() {
    let daemon = plain(&[]);
    let mut peer = Peer::new(&daemon);
    peer.0.write_all(b"\0REQ\xff\xff\xff\xff\0\0\0\0").unwrap();
    peer.expect(&Response::Error {
        code: b"INVALID_COMMAND",
        text: b"Command not expected",
    });
    peer.settle();
    assert_eq!(counts(&daemon), [0, 0, 0]);
}

/// gearmand drops the job with the foreground client, though the background's was acknowledged.
#[test]
fn a_background_job_stays_when_a_foreground_client_that_joined_it_leaves() {
    for modes in [
        [Mode::Background, Mode::Foreground],
        [Mode::Foreground, Mode::Background],
    ] {
        let daemon = plain(&[]);
        let mut foreground = Peer::new(&daemon);
        let mut background = Peer::new(&daemon);
        let mut handles = Vec::new();
        for mode in modes {
            let client = match mode {
                Mode::Foreground => &mut foreground,
                Mode::Background => &mut background,
            };
            handles.push(client.submit(Priority::Normal, mode, b"same", b"x"));
        }
        assert_eq!(handles[0], handles[1]);
        drop(foreground);
        until("the client to be gone", || connections(&daemon) == 2);
        assert_eq!(counts(&daemon), [1, 0, 0], "{modes:?}");
        drop(background);
        until("the other one to be gone", || connections(&daemon) == 1);
        let mut worker = worker(&daemon);
        worker.grab(&handles[0], b"x");
        worker.send(&[Request::WorkComplete {
            handle: &handles[0],
            data: b"",
        }]);
        worker.settle();
        assert_eq!(counts(&daemon), [0, 0, 1]);
    }
}

/// With gearmand the finished job comes back, and 4294967295 are running.
#[test]
fn a_job_past_its_workers_time_leaves_no_ghost() {
    let daemon = plain(&[]);
    let mut client = Peer::new(&daemon);
    let handle = client.submit(Priority::Normal, Mode::Foreground, b"", b"x");
    let mut late = Peer::new(&daemon);
    late.send(&[Request::CanDoTimeout {
        function: b"f",
        timeout: b"1000",
    }]);
    late.settle();
    late.grab(&handle, b"x");
    let mut other = worker(&daemon);
    other.send(&[Request::PreSleep]);
    other.expect(&Response::Noop);
    other.grab(&handle, b"x");
    let done = |data| Request::WorkComplete {
        handle: &handle,
        data,
    };
    other.send(&[done(b"in time")]);
    client.expect(&Response::WorkComplete {
        handle: &handle,
        data: b"in time",
    });
    late.send(&[done(b"too late")]);
    late.expect(&Response::Error {
        code: b"JOB_NOT_FOUND",
        text: b"Job given in work result not found",
    });
    for worker in [&mut late, &mut other] {
        worker.send(&[Request::GrabJob(Grab::Plain)]);
        worker.expect(&Response::NoJob);
    }
    client.settle();
    assert_eq!(counts(&daemon), [0, 0, 2]);
}

/// gearmand looks at the head of the lane only.
#[test]
fn a_job_for_later_hides_no_low_job() {
    let daemon = plain(&[]);
    let mut client = Peer::new(&daemon);
    client.send(&[Request::SubmitJobEpoch {
        function: b"f",
        unique: b"later",
        epoch: b"4000000000",
        workload: b"later",
    }]);
    client.created();
    let low = client.submit(Priority::Low, Mode::Background, b"low", b"now");
    let mut worker = worker(&daemon);
    worker.grab(&low, b"now");
    worker.send(&[Request::GrabJob(Grab::Plain)]);
    worker.expect(&Response::NoJob);
}

/// gearmand then takes all of a processor, and says nothing.
#[test]
fn the_limit_of_descriptors() {
    let daemon = plain(&[]);
    Peer::new(&daemon).settle();
    let allow = |count: usize| {
        // the soft limit alone: raising the other takes a privilege
        let mut set = Command::new("prlimit");
        set.arg(format!("--nofile={count}:"));
        set.args(["--pid", &daemon.pid().to_string()]);
        assert!(set.status().unwrap().success());
    };
    allow(daemon.descriptors() + 10);
    let mut all: Vec<Peer> = (0..30).map(|_| Peer::new(&daemon)).collect();
    until("it to be told", || {
        daemon.log().contains("cannot accept connections")
    });

    let (start, before) = (Instant::now(), processor(&daemon));
    while start.elapsed() < Duration::from_secs(2) {
        // those who are in are served
        all[0].settle();
        std::thread::sleep(Duration::from_millis(20));
    }
    let (took, used) = (start.elapsed().as_secs_f64(), processor(&daemon) - before);
    eprintln!("at the limit {used:.3} s of {took:.3} s");
    assert!(used < took / 4.0, "{used} s of {took} s on a processor");
    let told = daemon.log().matches("cannot accept connections").count();
    assert_eq!(told, 1, "{}", daemon.log());

    all.drain(1..6);
    until("connections to be taken again", || {
        daemon.log().contains("accepted again")
    });
    allow(1000);
    for peer in &mut all {
        // all of them are in
        peer.settle();
    }
    Peer::new(&daemon).settle();
    assert_eq!(counts(&daemon), [0, 0, 0]);
}

/// gearmand keeps all of it, and for good.
#[test]
fn results_for_a_client_that_does_not_read() {
    const MEGABYTES: u64 = 196;
    /// The default of --max-mailbox.
    const MAILBOX: i64 = 128 << 20;
    let daemon = plain(&[]);
    let mut client = Peer::new(&daemon);
    let handle = client.submit(Priority::Normal, Mode::Foreground, b"", b"x");
    let mut worker = worker(&daemon);
    worker.grab(&handle, b"x");
    let before = daemon.memory("VmRSS");
    let part = vec![b'a'; 1_000_000];
    for _ in 0..MEGABYTES {
        worker.send(&[Request::WorkData {
            handle: &handle,
            data: &part,
        }]);
    }
    worker.settle();
    let peak = daemon.memory("VmHWM") - before;
    client.0.shutdown(std::net::Shutdown::Both).unwrap();
    until("the client to be gone", || connections(&daemon) == 2);
    let mut after = 0;
    until("the memory to be given back", || {
        after = daemon.memory("VmRSS") - before;
        after < 32 << 20
    });
    eprintln!("{before} bytes before, {peak} more at most, {after} more in the end");
    // the mailbox's bound, and as much again while it grows
    assert!(peak < 2 * MAILBOX, "{peak} bytes");
    worker.send(&[Request::WorkComplete {
        handle: &handle,
        data: b"",
    }]);
    worker.settle();
    assert_eq!(counts(&daemon), [0, 0, 1]);
}

/// gearmand allocates what a header announces.
#[test]
fn an_announced_length_takes_no_memory() {
    let daemon = plain(&[]);
    Peer::new(&daemon).settle();
    let before = daemon.memory("VmSize");
    let announced: Vec<_> = (0..50)
        .map(|_| {
            let mut peer = Peer::new(&daemon);
            // 60 MB are to come, and do not
            peer.0
                .write_all(b"\0REQ\0\0\0\x07\x03\x93\x87\0f\0")
                .unwrap();
            peer
        })
        .collect();
    until("all to be connected", || connections(&daemon) == 51);
    let more = daemon.memory("VmSize") - before;
    eprintln!("{more} bytes for 50 announcements of 60 MB");
    assert!(more < 60 << 20, "{more} bytes");
    drop(announced);
}

/// gearmand keeps 386 of 410 MB.
#[test]
fn memory_is_given_back_after_a_drain() {
    const JOBS: usize = 60_000;
    let daemon = plain(&[]);
    Peer::new(&daemon).settle();
    let before = daemon.memory("VmRSS");
    let workload = vec![b'w'; 2000];
    let mut client = Peer::new(&daemon);
    for _ in 0..JOBS / 1000 {
        let submit = Request::SubmitJob {
            priority: Priority::Normal,
            mode: Mode::Background,
            function: b"f",
            unique: b"",
            workload: &workload,
        };
        client.send(&vec![submit; 1000]);
        for _ in 0..1000 {
            client.created();
        }
    }
    let full = daemon.memory("VmRSS") - before;
    let mut worker = worker(&daemon);
    for _ in 0..JOBS / 1000 {
        worker.send(&[Request::GrabJob(Grab::Plain); 1000]);
        let mut handles = Vec::new();
        for _ in 0..1000 {
            let (kind, body) = worker.receive();
            assert_eq!(kind, Kind::JobAssign as u32);
            handles.push(body.split(|&byte| byte == 0).next().unwrap().to_vec());
        }
        let done: Vec<_> = handles
            .iter()
            .map(|handle| Request::WorkComplete { handle, data: b"" })
            .collect();
        worker.send(&done);
    }
    worker.settle();
    assert_eq!(counts(&daemon), [0, 0, 1]);
    let mut left = 0;
    until("the memory to be given back", || {
        left = daemon.memory("VmRSS") - before;
        left < full / 3
    });
    eprintln!("{full} bytes for {JOBS} jobs, {left} left");
}

/// As a browser or a health check sends it.
#[test]
fn an_http_request_on_the_port() {
    let daemon = plain(&[]);
    let mut client = Peer::new(&daemon);
    let handle = client.submit(Priority::Normal, Mode::Foreground, b"", b"x");
    for _ in 0..20 {
        let mut browser = daemon.connect();
        browser
            .write_all(b"GET /f HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n")
            .unwrap();
        browser.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        browser.read_to_string(&mut answer).unwrap();
        assert!(
            answer.lines().all(|line| line.starts_with("ERR ")),
            "{answer}"
        );
        assert_eq!(answer.lines().count(), 3, "{answer}");
    }
    let mut worker = worker(&daemon);
    worker.grab(&handle, b"x");
    client.settle();
}

/// The sqlite rows of all jobs without a unique go with the first that ends, and an empty workload keeps gearmand from its next start.
#[test]
fn empty_uniques_and_empty_workloads() {
    let daemon = plain(&[]);
    let mut client = Peer::new(&daemon);
    let handles: Vec<_> = (0..4)
        .map(|_| client.submit(Priority::Normal, Mode::Background, b"", b""))
        .collect();
    let mut worker = worker(&daemon);
    for (done, handle) in handles.iter().enumerate() {
        assert_eq!(counts(&daemon), [4 - done as u64, 0, 1]);
        worker.grab(handle, b"");
        worker.send(&[Request::WorkComplete { handle, data: b"" }]);
        worker.settle();
    }
    assert_eq!(counts(&daemon), [0, 0, 1]);
}

/// Four of them hold up gearmand's TLS clients.
#[test]
fn peers_that_say_nothing_hold_up_nobody() {
    let daemon = plain(&[]);
    let silent: Vec<_> = (0..64).map(|_| daemon.connect()).collect();
    until("all to be connected", || connections(&daemon) == 65);
    let mut client = Peer::new(&daemon);
    let handle = client.submit(Priority::High, Mode::Foreground, b"", b"x");
    worker(&daemon).grab(&handle, b"x");
    drop(silent);
}
