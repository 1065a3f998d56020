//! Real processes connect, and each connection is traced to the worker that it belongs to.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gearpool::sys::child::{self, Child, Spec};
use gearpool::sys::peer::{leader_of, leader_of_pid, leaders_of, peer_pid};
use gearpool::sys::signal::kill_group;
use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::time::{TimeVal, TimeValLike};

/// Connects, sends its number, and waits to be killed. `FAMILY HOST PORT FORKS`: so many children do the same.
const CLIENT: &str = r#"
import os, socket, sys, time
family, host, port, forks = sys.argv[1:]
def connect():
    s = socket.socket(getattr(socket, family))
    s.connect(host if family == "AF_UNIX" else (host, int(port)))
    s.sendall(b"%9d" % os.getpid())
    return s
for _ in range(int(forks)):
    if os.fork() == 0:
        s = connect()
        time.sleep(1000)
s = connect()
time.sleep(1000)
"#;

/// Workers that die with the test.
#[derive(Default)]
struct Workers(Vec<Child>);

impl Workers {
    fn start(&mut self, argv: &[&str]) -> u32 {
        let spec = Spec {
            argv: argv.iter().map(OsString::from).collect(),
            env: vec![("PATH".into(), "/usr/bin:/bin".into())],
            ..Spec::default()
        };
        let child = child::spawn(&spec).unwrap();
        let pid = child.pid;
        self.0.push(child);
        pid
    }

    fn leaders(&self) -> Vec<u32> {
        self.0.iter().map(|child| child.pid).collect()
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for child in &self.0 {
            kill_group(child.pid).unwrap();
        }
    }
}

/// A connection's two addresses, and the process that says it made it.
fn accept(listener: &TcpListener) -> (TcpStream, (SocketAddr, SocketAddr), u32) {
    let (mut stream, peer) = listener.accept().unwrap();
    let local = stream.local_addr().unwrap();
    let pid = read_pid(&mut stream);
    (stream, (local, peer), pid)
}

/// accept(2) gives up when no worker comes.
fn limit_waiting(listener: &impl AsFd) {
    let long = TimeVal::seconds(20);
    setsockopt(listener, ReceiveTimeout, &long).unwrap();
}

fn read_pid(stream: &mut impl Read) -> u32 {
    let mut text = [0; 9];
    stream.read_exact(&mut text).unwrap();
    String::from_utf8_lossy(&text).trim().parse().unwrap()
}

/// The test's runtime: a process is reaped by it.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn connections_of(listen: &str, family: &str, host: &str) {
    let runtime = runtime();
    let _inside = runtime.enter();
    let listener = TcpListener::bind((listen, 0)).unwrap();
    limit_waiting(&listener);
    let port = listener.local_addr().unwrap().port().to_string();
    let mut workers = Workers::default();
    let plain = ["python3", "-c", CLIENT, family, host, &port, "0"];
    let forking = ["python3", "-c", CLIENT, family, host, &port, "3"];
    // The shell stays: there is something for it to do afterwards.
    let wrapped = format!("python3 -c '{CLIENT}' {family} {host} {port} 1; exit 7");
    let first = workers.start(&plain);
    let second = workers.start(&forking);
    let third = workers.start(&["sh", "-c", &wrapped]);
    // And one whose child leaves the session, but descends from the worker all the same.
    let stray = format!("setsid python3 -c '{CLIENT}' {family} {host} {port} 0 & wait");
    let stray_leader = workers.start(&["sh", "-c", &stray]);
    let mut bystander = Command::new("python3")
        .args(&plain[1..])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();

    let accepted: Vec<_> = (0..9).map(|_| accept(&listener)).collect();
    let ends: Vec<_> = accepted.iter().map(|(_, ends, _)| *ends).collect();
    let leaders = workers.leaders();
    let owners = leaders_of(&ends, &leaders);
    let mut count = BTreeMap::new();
    for ((_, (local, peer), pid), owner) in accepted.iter().zip(&owners) {
        assert_eq!(leader_of(*local, *peer, &leaders), *owner);
        let expected = match *pid {
            pid if pid == bystander.id() => None,
            pid => leader_of_pid(pid, &leaders),
        };
        assert_eq!(*owner, expected, "pid {pid} of {leaders:?}");
        *count.entry(*owner).or_insert(0) += 1;
    }
    bystander.kill().unwrap();
    bystander.wait().unwrap();
    assert_eq!(count[&Some(first)], 1);
    assert_eq!(count[&Some(second)], 4);
    assert_eq!(count[&Some(third)], 2);
    assert_eq!(count[&Some(stray_leader)], 1);
    assert_eq!(count[&None], 1);
}

#[test]
fn ipv4() {
    connections_of("127.0.0.1", "AF_INET", "127.0.0.1");
}

#[test]
fn ipv6() {
    connections_of("::1", "AF_INET6", "::1");
}

#[test]
fn ipv4_to_an_ipv6_listener() {
    connections_of("::", "AF_INET", "127.0.0.1");
}

#[test]
fn mapped_addresses_on_both_sides() {
    connections_of("::", "AF_INET6", "::ffff:127.0.0.1");
}

#[test]
fn unix_sockets() {
    let runtime = runtime();
    let _inside = runtime.enter();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gearman.sock");
    let listener = UnixListener::bind(&path).unwrap();
    limit_waiting(&listener);
    let host = path.to_str().unwrap();
    let mut workers = Workers::default();
    let forking = ["python3", "-c", CLIENT, "AF_UNIX", host, "0", "1"];
    let first = workers.start(&forking);
    let second = workers.start(&forking);
    let mut bystander = Command::new("python3")
        .args(["-c", CLIENT, "AF_UNIX", host, "0", "0"])
        .spawn()
        .unwrap();
    let mut count = BTreeMap::new();
    for _ in 0..5 {
        let (mut stream, _) = listener.accept().unwrap();
        let pid = peer_pid(&stream).unwrap();
        assert_eq!(pid, read_pid(&mut stream));
        *count
            .entry(leader_of_pid(pid, &workers.leaders()))
            .or_insert(0) += 1;
    }
    bystander.kill().unwrap();
    bystander.wait().unwrap();
    let expected = BTreeMap::from([(Some(first), 2), (Some(second), 2), (None, 1)]);
    assert_eq!(count, expected);
}

#[test]
fn a_connection_that_is_gone_is_unknown() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (accepted, peer) = listener.accept().unwrap();
    let local = accepted.local_addr().unwrap();
    let own = std::process::id();
    assert_eq!(leader_of(local, peer, &[own]), Some(own));
    drop(client);
    // A child that another test forks at this moment still holds it until it executes its program.
    let begin = Instant::now();
    while leader_of(local, peer, &[own]).is_some() {
        assert!(begin.elapsed() < Duration::from_secs(20));
        std::thread::yield_now();
    }
    let elsewhere = "192.0.2.1:1234".parse().unwrap();
    assert_eq!(leader_of(local, elsewhere, &[own]), None);
    // What a worker looks like that has ended: its number is nobody's.
    assert_eq!(leader_of(local, peer, &[u32::MAX, 0]), None);
}
