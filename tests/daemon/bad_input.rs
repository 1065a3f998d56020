//! What is wrong is said, and does not end what is right.

use std::io::{Read, Write};
use std::net::TcpListener;

use gearpool::pools::view::PoolState;
use gearpool::status::MemberStatus;

use crate::support::{Daemon, Home, ended, until};

#[test]
fn a_wrong_file_is_refused_at_the_start_with_all_of_its_problems() {
    let home = Home::new(
        "functions:\n  a: {cmd: php a.php, mni: 2}\n  b: {min: 2}\n  c: {cmd: php c.php, max: many}\n",
    );
    let ended = ended(&home.serve(&["-p", "0"]), b"");
    assert_eq!(ended.code, 2, "{ended:?}");
    for part in [
        "workers.yaml:2:23",
        "mni",
        "workers.yaml:3:",
        "cmd",
        "workers.yaml:4:",
        "many",
    ] {
        assert!(ended.err.contains(part), "no {part} in\n{}", ended.err);
    }
    let missing = crate::support::ended(&home.gearpool(&["serve", "-c", "absent.yaml"]), b"");
    assert_eq!(missing.code, 2, "{missing:?}");
    assert!(missing.err.contains("absent.yaml"), "{missing:?}");
}

#[test]
fn a_command_that_does_not_exist_fails_its_pool_alone() {
    let daemon = Daemon::start(
        "functions:\n  bad: {cmd: no-such-program --flag}\n  good: {cmd: php worker.php}\n",
    );
    daemon.ready("good", 1);
    until("the pool to fail", || {
        daemon.pool("bad").pool.state == PoolState::Failing
    });
    let text = daemon.run(&["status"]).out;
    assert!(
        text.contains("no command \"no-such-program\" in PATH"),
        "{text}"
    );
    assert!(
        daemon
            .log()
            .contains("no command \"no-such-program\" in PATH")
    );
    assert_eq!(daemon.result("good", "say hello").code, 0);
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let home = Home::new("f: {cmd: php worker.php}\n");
    let ended = ended(&home.serve(&["-p", &port]), b"");
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(
        ended.err.contains(&port) && ended.err.contains("in use"),
        "{ended:?}"
    );
    assert!(home.marked().is_empty());
}

#[test]
fn a_state_folder_that_cannot_be_written_is_named() {
    let home = Home::new("f: {cmd: php worker.php}\n");
    home.write("state", "a file in its place");
    let ended = ended(&home.serve(&["-p", "0"]), b"");
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("/state cannot be written"), "{ended:?}");
    assert!(home.marked().is_empty());
}

#[test]
fn a_second_daemon_on_the_same_state_folder_is_refused() {
    let daemon = Daemon::start("f: {cmd: php worker.php}\n");
    daemon.ready("f", 1);
    let second = ended(&daemon.home.serve(&["-p", "0"]), b"");
    assert_eq!(second.code, 1, "{second:?}");
    let pid = format!("(pid {})", daemon.pid());
    assert!(
        second.err.contains("another gearpool") && second.err.contains(&pid),
        "{second:?}"
    );
    assert_eq!(daemon.result("f", "say hello").code, 0);
}

#[test]
fn garbage_on_the_port_ends_its_own_connection_at_most() {
    let daemon = Daemon::start("f: {cmd: php worker.php}\n");
    daemon.ready("f", 1);
    let before = daemon.memory("VmRSS");

    // a header that announces 1 GiB, and the beginning of it
    let mut greedy = Vec::from(*b"\0REQ\0\0\0\x07\x40\0\0\0");
    greedy.extend_from_slice(&[b'x'; 100_000]);
    let noise: Vec<u8> = (0..200_000u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let inputs: [&[u8]; 6] = [
        &greedy,
        &noise,
        b"\0REQ\xff\xff\xff\xff\0\0\0\0",
        b"\0RES\0\0\0\x01\0\0\0\x04half",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        &[0; 4096],
    ];
    let held: Vec<_> = inputs
        .iter()
        .map(|input| {
            let mut stream = daemon.connect();
            // it may be closed before it has all been sent
            let _ = stream.write_all(input);
            stream
        })
        .collect();
    assert_eq!(daemon.result("f", "say hello").code, 0);
    for mut stream in held {
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    assert_eq!(daemon.result("f", "say hello").code, 0);
    let grown = daemon.memory("VmRSS") - before;
    assert!(grown < 32 << 20, "{grown} bytes more");
    assert_eq!(daemon.pool("f").pool.restarts, 0);
}

#[test]
fn an_http_request_gets_an_answer_and_hurts_nobody() {
    let daemon = Daemon::start("f: {cmd: php worker.php}\n");
    let mut stream = daemon.connect();
    stream
        .write_all(b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let mut chunk = [0; 1024];
    let count = stream.read(&mut chunk).unwrap();
    assert!(count > 0);
    daemon.ready("f", 1);
}

#[test]
fn the_most_verbose_log_shows_every_move() {
    let home = Home::new("f: {cmd: php worker.php}\n");
    let daemon = Daemon::start_in(home, &["-vvv"]);
    daemon.ready("f", 1);
    assert_eq!(daemon.result("f", "say hello").code, 0);
    for part in [
        "connected",
        "CAN_DO",
        "SUBMIT_JOB",
        "JOB_ASSIGN",
        "WORK_COMPLETE",
    ] {
        until(part, || daemon.log().contains(part));
    }
}

/// The daemon keeps some descriptors for itself, to say so.
#[test]
fn more_processes_than_descriptors_end_nothing() {
    let home = Home::new("f: {cmd: sleep 1000, count: 16, start_timeout: 1h}\n");
    let command = home.serve_by(&["prlimit", "--nofile=100:100"]);
    let daemon = Daemon::start_as(home, command);
    until("it to be told", || {
        let why = daemon.pool("f").pool.last_exit;
        why.is_some_and(|why| why.ends_with("cannot start \"sleep 1000\": too many open files"))
    });
    let serving = |member: &MemberStatus| member.process.pid.is_some();
    let count = daemon
        .pool("f")
        .members
        .iter()
        .filter(|it| serving(it))
        .count();
    assert!((3..16).contains(&count), "{count}");
    assert_eq!(daemon.run(&["scale", "f", "3"]).code, 0);
    until("the others to be gone", || {
        let pool = daemon.pool("f");
        pool.members.len() == 3 && pool.members.iter().all(serving)
    });
}
