//! What peers are in the middle of.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gearpool::proto::{Grab, Kind, Mode, Priority, Request};

use crate::running::poll;
use crate::stage::{Stage, encoded, receive, send};
use crate::support::{DEADLINE, until};

const NO_POOL: &str = "server: {}\n";

fn submit<'a>(mode: Mode, workload: &'a [u8]) -> Request<'a> {
    Request::SubmitJob {
        priority: Priority::Normal,
        mode,
        function: b"f",
        unique: b"",
        workload,
    }
}

fn part(body: &[u8], at: usize) -> Vec<u8> {
    body.split(|&byte| byte == 0).nth(at).unwrap().to_vec()
}

fn begins(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
    stream.flush().unwrap();
}

#[test]
fn half_a_packet_a_sleeping_worker_and_a_job_in_hand() {
    let stage = Stage::start(NO_POOL);
    let (mut client, mut worker, mut sleeper) = (stage.connect(), stage.connect(), stage.connect());
    // one has a job, the other one sleeps
    send(&mut worker, &Request::CanDo { function: b"f" });
    send(
        &mut client,
        &Request::OptionReq {
            option: b"exceptions",
        },
    );
    assert_eq!(receive(&mut client).0, Kind::OptionRes);
    send(&mut client, &submit(Mode::Foreground, b"first"));
    let (kind, handle) = receive(&mut client);
    assert_eq!(kind, Kind::JobCreated);
    send(&mut worker, &Request::GrabJob(Grab::Uniq));
    let (kind, body) = receive(&mut worker);
    assert_eq!(
        (kind, part(&body, 0)),
        (Kind::JobAssignUniq, handle.clone())
    );
    send(&mut sleeper, &Request::SetClientId { id: b"sleeper" });
    send(&mut sleeper, &Request::CanDo { function: b"f" });
    send(&mut sleeper, &Request::PreSleep);
    until("both workers to be there", || {
        stage.status().functions[0].workers == 2
    });

    // half a packet before the first upgrade, a byte between two, the rest after the last
    let second = encoded(&submit(Mode::Foreground, b"second"));
    begins(&mut client, &second[..20]);
    stage.upgrade();
    begins(&mut client, &second[20..21]);
    stage.upgrade();
    begins(&mut client, &second[21..]);
    let (kind, second) = receive(&mut client);
    assert_eq!(kind, Kind::JobCreated);
    let number = |handle: &[u8]| -> u64 {
        let text = String::from_utf8(handle.to_vec()).unwrap();
        text.rsplit_once(':').unwrap().1.parse().unwrap()
    };
    assert_eq!(number(&second), number(&handle) + 1, "the handles go on");

    // the sleeper is woken for it
    assert_eq!(receive(&mut sleeper).0, Kind::Noop);
    send(&mut sleeper, &Request::GrabJob(Grab::Plain));
    let (kind, body) = receive(&mut sleeper);
    assert_eq!((kind, part(&body, 0)), (Kind::JobAssign, second.clone()));

    // and the first job ends as if nothing had been: its exception is still asked for
    stage.upgrade();
    let exception = Request::WorkException {
        handle: &handle,
        data: b"oh",
    };
    send(&mut worker, &exception);
    let (kind, body) = receive(&mut client);
    assert_eq!(
        (kind, part(&body, 1)),
        (Kind::WorkException, b"oh".to_vec())
    );
    send(
        &mut sleeper,
        &Request::WorkComplete {
            handle: &second,
            data: b"done",
        },
    );
    let (kind, body) = receive(&mut client);
    assert_eq!(
        (kind, part(&body, 1)),
        (Kind::WorkComplete, b"done".to_vec())
    );
    // both are idle, and known by their names
    let workers = stage.run(&["admin", "-p", &stage.port.to_string(), "--workers"]);
    assert!(workers.out.contains(" sleeper : f"), "{workers:?}");
}

#[test]
fn what_a_slow_reader_has_not_read_comes_whole() {
    let stage = Stage::start(NO_POOL);
    let data: Vec<u8> = (0..24 << 20)
        .map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let (mut slow, mut leaving) = (stage.connect(), stage.connect());
    for stream in [&mut slow, &mut leaving] {
        send(stream, &Request::EchoReq { data: &data });
    }
    // this one has nothing more to say, and its connection ends for the server
    leaving.shutdown(Shutdown::Write).unwrap();
    until("the one that leaves to be none any more", || {
        stage.status().server.connections == 1
    });
    for stream in [&mut slow, &mut leaving] {
        // a little of it, so that the server is in the middle
        let mut begin = vec![0; 12];
        stream.read_exact(&mut begin).unwrap();
    }
    stage.upgrade();
    stage.upgrade();
    for stream in [&mut slow, &mut leaving] {
        let mut rest = vec![0; data.len()];
        stream.read_exact(&mut rest).unwrap();
        assert!(rest == data, "what comes is what was sent");
    }
    assert_eq!(leaving.read(&mut [0]).unwrap(), 0, "and then it ends");
    send(
        &mut slow,
        &Request::EchoReq {
            data: b"still there",
        },
    );
    assert_eq!(receive(&mut slow).1, b"still there");
}

#[test]
fn jobs_wait_for_their_time_and_no_unix_socket_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("gearman.sock");
    let listen = format!("unix:{}", socket.display());
    let stage = Stage::start_with(NO_POOL, &["-L", &listen]);
    let mut local = UnixStream::connect(&socket).unwrap();
    local.set_read_timeout(Some(DEADLINE)).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let due = now + Duration::from_secs(3);
    let epoch = due.as_secs().to_string();
    let request = Request::SubmitJobEpoch {
        function: b"f",
        unique: b"u",
        epoch: epoch.as_bytes(),
        workload: b"later",
    };
    send(&mut local, &request);
    let (kind, handle) = receive(&mut local);
    assert_eq!(kind, Kind::JobCreated);
    stage.upgrade();
    // it is known, by its handle and by its unique
    send(&mut local, &submit(Mode::Background, b"other"));
    assert_eq!(receive(&mut local).0, Kind::JobCreated);
    send(&mut local, &Request::GetStatus { handle: &handle });
    assert_eq!(part(&receive(&mut local).1, 1), b"1");
    let mut another = UnixStream::connect(&socket).unwrap();
    another.set_read_timeout(Some(DEADLINE)).unwrap();
    send(&mut another, &request);
    assert_eq!(receive(&mut another), (Kind::JobCreated, handle.clone()));

    send(&mut another, &Request::CanDo { function: b"f" });
    stage.upgrade();
    let mut got = Vec::new();
    poll("both jobs", DEADLINE, || {
        send(&mut another, &Request::GrabJob(Grab::Plain));
        if let (Kind::JobAssign, body) = receive(&mut another) {
            let workload = part(&body, 2);
            if workload == b"later" {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
                assert!(now.as_secs() >= due.as_secs(), "not before its time");
            }
            send(
                &mut another,
                &Request::WorkComplete {
                    handle: &part(&body, 0),
                    data: b"",
                },
            );
            got.push(workload);
        }
        (got.len() == 2).then_some(())
    });
    assert_eq!(got, [b"other".to_vec(), b"later".to_vec()]);
}

/// Connections that are accepted while the daemon is between two programs are served by the next one.
#[test]
fn who_connects_meanwhile_is_served() {
    let stage = Stage::start_with(NO_POOL, &["-t", "3"]);
    let over = std::sync::atomic::AtomicBool::new(false);
    let served = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut served = 0;
                    while !over.load(std::sync::atomic::Ordering::Relaxed) {
                        let mut stream = stage.connect();
                        send(&mut stream, &Request::EchoReq { data: b"there?" });
                        match receive(&mut stream) {
                            (Kind::EchoRes, body) if body == b"there?" => served += 1,
                            other => panic!("{other:?}"),
                        }
                    }
                    served
                })
            })
            .collect();
        let end = End(&over);
        for _ in 0..10 {
            stage.upgrade();
        }
        drop(end);
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .sum::<u32>()
    });
    assert!(served > 30, "{served} connections");
    // nothing is left of them
    until("all connections to be gone", || {
        stage.status().server.connections == 0
    });
    let mut last = stage.connect();
    last.set_nonblocking(true).unwrap();
    let nothing = last.read(&mut [0]).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
}

/// Without it a check that failed would leave the other threads at work.
struct End<'a>(&'a std::sync::atomic::AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}
