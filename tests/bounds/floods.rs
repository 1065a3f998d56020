//! Those who ask without end, and much at once: others are served in between.

use gearpool::jobs::MAX_WAITING;
use gearpool::proto::Kind;

use crate::peer::{self, Peer};
use crate::support::{Daemon, until};
use crate::{daemon, memory, number, still_serves};

/// Background jobs of a function that nobody does.
fn submit(daemon: &Daemon, jobs: usize) {
    let mut client = Peer::connect(daemon);
    let mut thousand = Vec::new();
    for _ in 0..1000 {
        peer::encode(Kind::SubmitJobBg, b"f\0\0x", &mut thousand);
    }
    for _ in 0..jobs / 1000 {
        client.raw(&thousand);
        for _ in 0..1000 {
            assert_eq!(client.next().0, Kind::JobCreated);
        }
    }
}

fn count_lines(peer: &mut Peer) -> usize {
    (0..).find(|_| peer.line() == ".\n").unwrap()
}

#[test]
fn lists_of_everything() {
    let daemon = daemon(&[]);
    let jobs = number(50_000, 1_000_000);
    submit(&daemon, jobs);
    let mut all: Vec<Peer> = (0..number(500, 10_000))
        .map(|_| Peer::connect(&daemon))
        .collect();
    all.last_mut().unwrap().echo(b"all are in");
    let before = memory(&daemon);

    // each of these asks for more than a gigabyte, and reads nothing of it
    let question = "show jobs\nshow unique jobs\nworkers\n";
    let mut deaf: Vec<Peer> = (0..3).map(|_| Peer::connect(&daemon)).collect();
    for peer in &mut deaf {
        peer.raw(question.repeat(1500).as_bytes());
    }
    for _ in 0..20 {
        still_serves(&daemon);
    }
    let mut reader = Peer::connect(&daemon);
    for _ in 0..3 {
        reader.text("show jobs");
        reader.text("workers");
        assert_eq!(count_lines(&mut reader), jobs);
        assert!(count_lines(&mut reader) > all.len());
    }
    let grown = memory(&daemon) - before;
    // half a mailbox of each, and what a growing buffer has beyond that
    assert!(grown < 3 * (192 << 20), "{grown} bytes more");
    drop(deaf);
    until("it to be given back", || {
        memory(&daemon) - before < 32 << 20
    });
}

#[test]
fn one_job_that_everybody_waits_for() {
    let daemon = daemon(&["--max-mailbox=8MiB"]);
    let mut client = Peer::connect(&daemon);
    let mut bytes = Vec::new();
    for _ in 0..=MAX_WAITING {
        peer::encode(Kind::SubmitJob, b"f\0u\0x", &mut bytes);
    }
    client.raw(&bytes);
    for _ in 0..MAX_WAITING {
        assert_eq!(client.next().0, Kind::JobCreated);
    }
    assert_eq!(client.next().0, Kind::Error);
    let before = memory(&daemon);
    let mut worker = Peer::connect(&daemon);
    worker.send(Kind::CanDo, b"f");
    let handle = worker.grab();
    // to be sent 10,000 times, which would be 10 GB
    let data = [handle.as_slice(), b"\0", &[b'x'; 1 << 20]].concat();
    worker.send(Kind::WorkData, &data);
    worker.echo(b"done");
    still_serves(&daemon);
    assert!(client.try_next().is_none() || daemon.log().contains("does not read"));
    let grown = memory(&daemon) - before;
    assert!(grown < 64 << 20, "{grown} bytes more");
}

#[test]
fn half_a_packet_and_then_nothing() {
    let daemon = daemon(&[]);
    let half = |bytes: usize| {
        let mut peer = Peer::connect(&daemon);
        peer.header(Kind::EchoReq, 100_000);
        peer.raw(&vec![b'x'; bytes]);
        peer
    };
    let (mut large, mut small) = (half(50_000), half(1_000));
    for _ in 0..number(1, 150) {
        still_serves(&daemon);
        if large.has_ended_soon() {
            break;
        }
    }
    let is_closed = daemon.log().contains("and then nothing");
    assert_eq!(is_closed, number(0, 1) == 1, "{}", daemon.log());
    let rest = match is_closed {
        true => (&mut small, 99_000),
        false => (&mut large, 50_000),
    };
    rest.0.raw(&vec![b'x'; rest.1]);
    assert_eq!(rest.0.next().0, Kind::EchoRes, "slow is no fault");
}

#[test]
fn the_log_is_not_flooded() {
    let daemon = daemon(&["--max-buffers=1", "--max-connections=4"]);
    for _ in 0..200 {
        let mut half = Peer::connect(&daemon);
        half.header(Kind::EchoReq, 100_000);
        half.raw(&[b'x'; 50_000]);
        assert!(half.has_ended());
        // the limit of connections is reached and left again
        let all: Vec<Peer> = (0..6).map(|_| Peer::connect(&daemon)).collect();
        drop(all);
        until("room for the next", || {
            Peer::connect(&daemon).try_echo(b"in")
        });
    }
    let log = daemon.log();
    assert!(log.contains("sends half a packet") && log.contains("more lines like this one"));
    // ten a minute of each of the three kinds, should a minute end in between twice as many, and what belongs to them
    assert!(log.lines().count() < 90, "{log}");
}
