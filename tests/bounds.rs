//! Nothing that comes from outside is without a bound, and nobody feels another's excess. Real daemon, real sockets.
//!
//! `GEARPOOL_BOUNDS=full` takes the numbers that a large site has: 10,000 idle workers, a million jobs, 100,000 connections that come
//! and go; and waits for the minute after which half a packet is given up.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

#[path = "bounds/floods.rs"]
mod floods;
#[path = "bounds/network.rs"]
mod network;
#[path = "bounds/peer.rs"]
mod peer;
#[path = "support/running.rs"]
mod running;
#[expect(dead_code, reason = "what the other tests of the daemon need")]
#[path = "support/daemon.rs"]
mod support;

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use gearpool::proto::Kind;
use peer::Peer;
use support::{Daemon, Home, until};

fn daemon(words: &[&str]) -> Daemon {
    Daemon::start_in(Home::new("functions: {}\n"), words)
}

/// The short number, or the one of a large site.
fn number(short: usize, full: usize) -> usize {
    match std::env::var("GEARPOOL_BOUNDS").as_deref() {
        Ok("full") => full,
        Ok(other) => panic!("GEARPOOL_BOUNDS is full or not set, not {other}"),
        Err(_) => short,
    }
}

/// The daemon's resident memory, in bytes.
fn memory(daemon: &Daemon) -> i64 {
    daemon.memory("VmRSS")
}

/// Somebody else's work goes on: a job in the foreground is done.
fn still_serves(daemon: &Daemon) {
    let mut worker = Peer::connect(daemon);
    worker.send(Kind::CanDo, b"echo");
    worker.echo(b"registered");
    let mut client = Peer::connect(daemon);
    client.send(Kind::SubmitJob, b"echo\0\0still there");
    let (kind, handle) = client.next();
    assert_eq!(kind, Kind::JobCreated);
    assert_eq!(worker.grab(), handle);
    let result = [handle.as_slice(), b"\0still there"].concat();
    worker.send(Kind::WorkComplete, &result);
    assert_eq!(client.next(), (Kind::WorkComplete, result));
}

#[test]
fn connections() {
    let daemon = daemon(&["--max-connections=3"]);
    let mut all: VecDeque<Peer> = (0..3).map(|_| Peer::connect(&daemon)).collect();
    for peer in &mut all {
        peer.echo(b"one of three");
    }
    for _ in 0..5 {
        let mut refused = Peer::connect(&daemon);
        let (kind, text) = refused.next();
        assert_eq!(kind, Kind::Error);
        assert!(text.starts_with(b"TOO_MANY_CONNECTIONS\0this server has 3 connections"));
        assert!(refused.has_ended());
    }
    all[0].echo(b"not felt by the others");
    // the operator's commands take no place
    assert_eq!(daemon.run(&["status"]).code, 0);
    drop(all.pop_front());
    until("a place to be free", || {
        Peer::connect(&daemon).try_echo(b"let in")
    });
    let said = |text: &str| daemon.log().matches(text).count();
    assert_eq!(
        said("the limit of connections is reached"),
        1,
        "{}",
        daemon.log()
    );
    assert_eq!(
        said("connections are accepted again"),
        1,
        "{}",
        daemon.log()
    );
}

#[test]
fn a_packet_and_the_memory_that_it_only_declares() {
    let daemon = daemon(&["--max-packet=1MiB"]);
    Peer::connect(&daemon).echo(&vec![b'x'; 1 << 20]);
    let mut peer = Peer::connect(&daemon);
    peer.header(Kind::EchoReq, (1 << 20) + 1);
    let (kind, text) = peer.next();
    assert_eq!(kind, Kind::Error);
    assert!(text.starts_with(b"INVALID_PACKET\0"), "{text:?}");
    assert!(peer.has_ended());

    let before = memory(&daemon);
    let mut waiting: Vec<Peer> = (0..200).map(|_| Peer::connect(&daemon)).collect();
    for peer in &mut waiting {
        peer.header(Kind::EchoReq, 1 << 20);
    }
    still_serves(&daemon);
    let grown = memory(&daemon) - before;
    assert!(grown < 20 << 20, "{grown} bytes for 200 headers");
}

#[test]
fn a_peer_that_does_not_read() {
    let daemon = daemon(&["--max-mailbox=1MiB"]);
    let before = memory(&daemon);
    let mut deaf = Peer::connect(&daemon);
    let mut sent = 0;
    // what the two sockets hold comes on top
    while sent < 256 << 20 && deaf.try_send(Kind::EchoReq, &[b'x'; 60_000]) {
        sent += 60_000;
    }
    until("it to be cut off, or not read from any more", || {
        daemon.log().contains("does not read") || memory(&daemon) - before < 16 << 20
    });
    still_serves(&daemon);
    drop(deaf);
    let worker = submit_to_a_deaf_client(&daemon);
    until("the client that reads nothing to be cut off", || {
        daemon.log().contains("limit=\"mailbox\"")
    });
    drop(worker);
    still_serves(&daemon);
    until("its memory to be given back", || {
        memory(&daemon) - before < 24 << 20
    });
}

/// A client waits for a job and reads nothing, while its worker sends data without end.
fn submit_to_a_deaf_client(daemon: &Daemon) -> Peer {
    let mut client = Peer::connect(daemon);
    client.send(Kind::SubmitJob, b"f\0\0x");
    let mut worker = Peer::connect(daemon);
    worker.send(Kind::CanDo, b"f");
    let handle = worker.grab();
    std::mem::forget(client);
    let data = [handle.as_slice(), b"\0", &[b'x'; 60_000]].concat();
    for _ in 0..1_000 {
        worker.send(Kind::WorkData, &data);
    }
    worker
}

#[test]
fn all_peers_that_send_half_a_packet() {
    let daemon = daemon(&["--max-buffers=1MiB"]);
    let half = vec![b'x'; 100_000];
    let mut peers: Vec<Peer> = (0..20).map(|_| Peer::connect(&daemon)).collect();
    for peer in &mut peers {
        peer.header(Kind::EchoReq, 10 << 20);
        peer.raw(&half);
    }
    // 16 KiB of each do not count: so 12 fit
    let cut_off = peers
        .iter_mut()
        .filter_map(|peer| peer.has_ended_soon().then_some(()));
    assert_eq!(cut_off.count(), 8);
    assert!(
        daemon.log().contains("sends half a packet"),
        "{}",
        daemon.log()
    );
    // who sends in small pieces does not feel it
    let mut other = Peer::connect(&daemon);
    other.header(Kind::EchoReq, 16_000);
    other.raw(&half[..8_000]);
    still_serves(&daemon);
    other.raw(&half[..8_000]);
    assert_eq!(other.next().0, Kind::EchoRes);
    drop(peers);
    until("the room to be there again", || {
        let mut peer = Peer::connect(&daemon);
        peer.header(Kind::EchoReq, 500_000);
        peer.raw(&vec![b'x'; 400_000]);
        peer.raw_if_open(&vec![b'x'; 100_000]) && peer.try_next().is_some()
    });
}

#[test]
fn what_all_jobs_take() {
    let daemon = daemon(&["--max-queued=100k"]);
    let mut client = Peer::connect(&daemon);
    let workload = [b"f\0\0".as_slice(), &[b'x'; 9_000]].concat();
    let submit = |client: &mut Peer| {
        client.send(Kind::SubmitJobBg, &workload);
        client.next()
    };
    let mut taken = 0;
    let refusal = loop {
        match submit(&mut client) {
            (Kind::JobCreated, _) => taken += 1,
            (kind, text) => break (kind, text),
        }
    };
    assert_eq!(taken, 11);
    assert_eq!(refusal.0, Kind::Error);
    assert!(refusal.1.starts_with(b"QUEUE_ERROR\0the queued workloads"));
    let mut worker = Peer::connect(&daemon);
    worker.send(Kind::CanDo, b"f");
    let handle = worker.grab();
    worker.send(Kind::WorkComplete, &[&handle, b"\0".as_slice()].concat());
    worker.echo(b"done");
    assert_eq!(submit(&mut client).0, Kind::JobCreated);
    assert_eq!(submit(&mut client).0, Kind::Error);
}

#[test]
fn the_jobs_of_a_function_by_the_file() {
    let home = Home::new("server: {limits: {queue_length: 2}}\nfunctions: {}\n");
    let daemon = Daemon::start_in(home, &[]);
    let mut client = Peer::connect(&daemon);
    let mut kinds = Vec::new();
    for _ in 0..3 {
        client.send(Kind::SubmitJobBg, b"f\0\0x");
        kinds.push(client.next().0);
    }
    assert_eq!(kinds, [Kind::JobCreated, Kind::JobCreated, Kind::Error]);
}

#[test]
fn names() {
    let daemon = daemon(&[]);
    // what has a worker keeps its name
    let mut worker = Peer::connect(&daemon);
    worker.send(Kind::CanDo, b"echo");
    worker.echo(b"registered");
    let mut client = Peer::connect(&daemon);
    let mut bytes = Vec::new();
    // names that nobody needs give way to new ones
    for number in 1..=gearpool::jobs::MAX_FUNCTIONS + 2000 {
        peer::encode(Kind::CanDo, format!("f{number}").as_bytes(), &mut bytes);
        if bytes.len() > 1 << 20 {
            client.raw(&bytes);
            bytes.clear();
        }
        // one connection need not be able to do everything
        if number % 1000 == 999 {
            peer::encode(Kind::ResetAbilities, b"", &mut bytes);
        }
    }
    client.raw(&bytes);
    still_serves(&daemon);
    client.echo(b"registered");
    // those with a job or a worker do not
    let mut refused = None;
    let mut batch = 0;
    while refused.is_none() {
        assert!(batch <= gearpool::jobs::MAX_FUNCTIONS / 100);
        let numbers = batch * 100..(batch + 1) * 100;
        batch += 1;
        let mut bytes = Vec::new();
        for number in numbers.clone() {
            peer::encode(
                Kind::SubmitJobBg,
                format!("g{number}\0\0").as_bytes(),
                &mut bytes,
            );
        }
        client.raw(&bytes);
        let answers: Vec<_> = numbers.map(|_| client.next()).collect();
        refused = answers.into_iter().find(|(kind, _)| *kind == Kind::Error);
    }
    let named = batch * 100 + gearpool::jobs::MAX_ABILITIES + 200;
    assert!(named > gearpool::jobs::MAX_FUNCTIONS, "only {named}");
    let (_, text) = refused.unwrap();
    assert!(text.starts_with(b"QUEUE_ERROR\0this server has as many functions"));
    client.send(Kind::ResetAbilities, b"");
    for number in 1..=gearpool::jobs::MAX_ABILITIES + 1 {
        client.send(Kind::CanDo, format!("g{number}").as_bytes());
    }
    let (kind, text) = client.next();
    assert_eq!(kind, Kind::Error);
    assert!(text.starts_with(b"QUEUE_ERROR\0this connection has registered"));
    client.send(Kind::ResetAbilities, b"");
    client.send(Kind::SetClientId, &vec![b'i'; 1 << 20]);
    client.text("workers");
    let line = client.line();
    assert!(line.len() < 1000, "{} bytes", line.len());
    still_serves(&daemon);
}

#[test]
fn silent_peers_are_probed() {
    let daemon = daemon(&["--keepalive", "--keepalive-idle=30"]);
    let peer = Peer::connect(&daemon);
    let timer = |local: &str, remote: u16| {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let remote = format!(":{remote:04X}");
        let line = table.lines().find(|line| {
            let mut words = line.split_whitespace().skip(1);
            words.next().is_some_and(|word| word.ends_with(local))
                && words.next().is_some_and(|word| word.ends_with(&remote))
        });
        line.map(|line| line.split_whitespace().nth(5).unwrap().to_owned())
    };
    let local = format!(":{:04X}", daemon.port);
    // proc(5): timer_active 2 is the keepalive timer, when it is due in hundredths of a second
    until("the probe to be armed", || {
        timer(&local, peer.port()).is_some_and(|timer| {
            let (kind, due) = timer.split_once(':').unwrap();
            kind == "02" && u64::from_str_radix(due, 16).unwrap() <= 3000
        })
    });
}

#[test]
fn connections_that_come_and_go_leave_nothing() {
    let home = Home::new("functions: {}\n");
    let path = home.path("socket");
    let unix = format!("--listen=unix:{}", path.display());
    let daemon = Daemon::start_in(home, &[&unix, "--listen=[::1]:0"]);
    let status = daemon.status();
    let ipv6 = status
        .server
        .listen
        .iter()
        .find_map(|listen| listen.strip_prefix("[::1]:"));
    let ipv6: u16 = ipv6.unwrap().parse().unwrap();
    let churn = |count: usize| {
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..count / 9 {
                        come_and_go(daemon.connect());
                        come_and_go(TcpStream::connect(("::1", ipv6)).unwrap());
                        come_and_go(UnixStream::connect(&path).unwrap());
                    }
                });
            }
        });
        until("all to be gone", || {
            daemon.status().functions.iter().all(|it| it.workers == 0)
        });
    };
    churn(2_000);
    let (open, used) = (daemon.descriptors(), memory(&daemon));
    churn(number(12_000, 100_000));
    until("the descriptors to be closed", || {
        daemon.descriptors() <= open
    });
    let grown = memory(&daemon) - used;
    assert!(grown < 4 << 20, "{grown} bytes more");
}

/// Registers a function, sleeps, and is gone.
fn come_and_go(mut stream: impl Read + Write) {
    let mut bytes = Vec::new();
    peer::encode(Kind::CanDo, b"f", &mut bytes);
    peer::encode(Kind::PreSleep, b"", &mut bytes);
    peer::encode(Kind::EchoReq, b"", &mut bytes);
    stream.write_all(&bytes).unwrap();
    stream.read_exact(&mut [0; 12]).unwrap();
}

#[test]
fn idle_workers_and_a_long_queue_are_ordinary() {
    let daemon = daemon(&[]);
    still_serves(&daemon);
    let workers = number(2_000, 10_000);
    let before = memory(&daemon);
    let idle: Vec<Peer> = (0..workers)
        .map(|_| {
            let mut peer = Peer::connect(&daemon);
            peer.send(Kind::CanDo, b"idle");
            peer.send(Kind::PreSleep, b"");
            peer
        })
        .collect();
    until("all to sleep", || {
        daemon
            .status()
            .functions
            .iter()
            .any(|it| it.workers == workers as u64)
    });
    let each = (memory(&daemon) - before) / workers as i64;
    println!("{each} bytes a sleeping worker's connection");
    assert!(each <= 4096, "{each} bytes a connection");

    let jobs = number(100_000, 1_000_000);
    let before = memory(&daemon);
    let mut client = Peer::connect(&daemon);
    let (mut one, mut thousand) = (b"f\0\0".to_vec(), Vec::new());
    one.extend([b'w'; 64]);
    for _ in 0..1000 {
        peer::encode(Kind::SubmitJobBg, &one, &mut thousand);
    }
    for _ in 0..jobs / 1000 {
        client.raw(&thousand);
        for _ in 0..1000 {
            assert_eq!(client.next().0, Kind::JobCreated);
        }
    }
    let taken = memory(&daemon) - before;
    println!("{} bytes a queued job of 64", taken / jobs as i64);
    assert!(
        taken / jobs as i64 <= 250 + 64,
        "{} bytes a job",
        taken / jobs as i64
    );

    let mut worker = Peer::connect(&daemon);
    worker.send(Kind::CanDo, b"f");
    // a newcomer's first request waits until it is known whose process it is; from then on it may ask ahead
    let first = worker.grab();
    worker.send(Kind::WorkComplete, &[&first, b"\0".as_slice()].concat());
    let (mut grabs, mut ends) = (Vec::new(), Vec::new());
    (0..1000).for_each(|_| peer::encode(Kind::GrabJob, b"", &mut grabs));
    for _ in 0..jobs / 1000 {
        worker.raw(&grabs);
        ends.clear();
        for _ in 0..1000 {
            let (kind, body) = worker.next();
            if kind == Kind::NoJob {
                continue;
            }
            let handle = body.split(|&byte| byte == 0).next().unwrap();
            peer::encode(Kind::WorkComplete, &[handle, b"\0"].concat(), &mut ends);
        }
        worker.raw(&ends);
    }
    worker.echo(b"all done");
    until("most of the memory to be given back", || {
        // some tens of MiB are kept for what comes next
        memory(&daemon) - before < taken / 4 + (36 << 20)
    });
    drop(idle);
}

#[test]
fn more_connections_than_descriptors_are_not_promised() {
    let daemon = daemon(&["--file-descriptors=200", "--max-connections=1000"]);
    assert!(daemon.log().contains("fewer connections than wanted"));
    let mut all: Vec<Peer> = (0..150).map(|_| Peer::connect(&daemon)).collect();
    for peer in &mut all {
        peer.echo(b"one of 150");
    }
    assert_eq!(Peer::connect(&daemon).next().0, Kind::Error);
    assert_eq!(daemon.run(&["status"]).code, 0);
    assert!(!daemon.log().contains("cannot accept"), "{}", daemon.log());
}

#[test]
fn garbage_without_end() {
    let daemon = daemon(&[]);
    std::thread::scope(|scope| {
        for text in [
            b"\0REQ\0\0\x03\xe7\0\0\0\0".repeat(1000),
            b"frobnicate\n".repeat(1000),
            vec![b'a'; 60_000],
            b"\0XXX".repeat(1000),
        ] {
            let daemon = &daemon;
            scope.spawn(move || {
                let mut flood = Peer::connect(daemon);
                for _ in 0..200 {
                    if !flood.raw_if_open(&text) {
                        flood = Peer::connect(daemon);
                    }
                    flood.skip();
                }
            });
        }
        for _ in 0..50 {
            still_serves(&daemon);
        }
    });
    assert!(daemon.log().lines().count() < 50, "{}", daemon.log());
}
