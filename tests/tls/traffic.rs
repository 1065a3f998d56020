//! What goes over a connection, and how it ends.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use gearpool::proto::{Request, Response};
use nix::sys::signal::Signal;

use crate::peer::{Peer, VERSIONS, config, encoded};
use crate::pki::Site;
use crate::support::until;

const MEBIBYTE: usize = 1 << 20;

/// Bytes that are nowhere the same.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn small_and_large_packets() {
    let site = Site::open();
    let data = noise(MEBIBYTE);
    for version in VERSIONS {
        let mut peer = Peer::connect(site.address, &config(&site.authority, None, &[version]));
        for length in [0, 1, 16_383, 16_384, 16_385, 70_000, MEBIBYTE] {
            peer.echo(&data[..length]).unwrap();
        }
    }
}

/// Every byte of the handshake and of what follows in a segment of its own, and records that end anywhere in a packet.
#[test]
fn byte_by_byte() {
    let site = Site::open();
    for version in VERSIONS {
        let mut peer = Peer::connect(site.address, &config(&site.authority, None, &[version]));
        let (session, stream) = (&mut peer.0.conn, &mut peer.0.sock);
        for chunk in encoded(&Request::EchoReq { data: b"in pieces" }).chunks(5) {
            session.writer().write_all(chunk).unwrap();
            while session.is_handshaking() || session.wants_write() {
                trickle(session, stream);
                if session.is_handshaking() && !session.wants_write() {
                    session.read_tls(stream).unwrap();
                    session.process_new_packets().unwrap();
                }
            }
        }
        peer.expect(&Response::EchoRes { data: b"in pieces" })
            .unwrap();
    }
}

fn trickle(session: &mut rustls::ClientConnection, stream: &mut TcpStream) {
    let mut bytes = Vec::new();
    while session.wants_write() {
        session.write_tls(&mut bytes).unwrap();
    }
    for byte in bytes {
        stream.write_all(&[byte]).unwrap();
    }
}

/// The last message of the handshake, a job and the end of the stream in one segment: all of it counts.
#[test]
fn a_client_that_says_everything_at_once_and_goes() {
    let site = Site::start(crate::pki::SECTION);
    let config = config(&site.authority, None, &VERSIONS);
    let mut peer = Peer::connect(site.address, &config);
    let (session, stream) = (&mut peer.0.conn, &mut peer.0.sock);
    session.write_tls(stream).unwrap();
    let mut last = Vec::new();
    while session.is_handshaking() {
        session.read_tls(stream).unwrap();
        session.process_new_packets().unwrap();
    }
    let submit = b"\0REQ\0\0\0\x12\0\0\0\x08quick\0u\0".to_vec();
    session.writer().write_all(&submit).unwrap();
    session.send_close_notify();
    while session.wants_write() {
        session.write_tls(&mut last).unwrap();
    }
    stream.write_all(&last).unwrap();
    let mut answer = Vec::new();
    peer.0.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"\0RES\0\0\0\x08"), "{answer:?}");
    until("the job to be queued", || {
        let status = site.daemon.status();
        status
            .functions
            .iter()
            .any(|function| function.name == "quick")
    });
}

/// More than sockets hold waits for a peer that does not read; others are served meanwhile, and nothing is lost.
#[test]
fn a_slow_reader() {
    const PACKETS: usize = 24;
    let site = Site::open();
    let config = config(&site.authority, None, &VERSIONS);
    let data = noise(MEBIBYTE);
    let mut slow = Peer::connect(site.address, &config);
    for _ in 0..PACKETS {
        slow.send(&Request::EchoReq { data: &data }).unwrap();
    }
    let mut other = Peer::connect(site.address, &config);
    other.echo(&data).unwrap();
    for _ in 0..PACKETS {
        slow.expect(&Response::EchoRes { data: &data }).unwrap();
    }
    slow.echo(b"still there").unwrap();
}

#[test]
fn the_end_is_said_and_understood() {
    let mut site = Site::open();
    let config = config(&site.authority, None, &VERSIONS);
    // a peer that has said its end still gets what it asked for, and the server's own end
    let mut polite = Peer::connect(site.address, &config);
    polite.send(&Request::EchoReq { data: b"last" }).unwrap();
    polite.0.conn.send_close_notify();
    polite.0.flush().unwrap();
    polite.expect(&Response::EchoRes { data: b"last" }).unwrap();
    assert_eq!(polite.0.read(&mut [0]).unwrap(), 0);

    // one that just goes, in the middle of a record
    let mut rude = Peer::connect(site.address, &config);
    rude.echo(b"hello").unwrap();
    let address = rude.0.sock.local_addr().unwrap();
    let mut record = Vec::new();
    let packet = encoded(&Request::EchoReq { data: b"cut" });
    rude.0.conn.writer().write_all(&packet).unwrap();
    rude.0.conn.write_tls(&mut record).unwrap();
    rude.0.sock.write_all(&record[..record.len() - 3]).unwrap();
    rude.0.sock.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rude.0.read(&mut [0]).unwrap(), 0);
    let disconnected = format!("disconnected peer={address}");
    until(&disconnected, || site.daemon.log().contains(&disconnected));

    // and one that breaks a record
    let mut broken = Peer::connect(site.address, &config);
    broken.echo(b"hello").unwrap();
    broken.0.sock.write_all(&[0x17, 3, 3, 0, 32]).unwrap();
    broken.0.sock.write_all(&[0; 32]).unwrap();
    broken.0.read(&mut [0]).unwrap_err();
    until("its end to be logged", || {
        site.daemon.log().contains("whose TLS makes no sense")
    });
    polite = Peer::connect(site.address, &config);
    polite.echo(b"all is well").unwrap();
    // the daemon's own end is one too
    site.daemon.signal(Signal::SIGTERM);
    assert_eq!(polite.0.read(&mut [0]).unwrap(), 0);
    assert_eq!(site.daemon.end().0, 0);
}

#[test]
fn connections_that_come_and_go_leave_nothing() {
    let site = Site::open();
    let config = config(&site.authority, None, &VERSIONS);
    Peer::connect(site.address, &config).echo(b"hello").unwrap();
    let before = site.daemon.descriptors();
    for number in 0..150 {
        // with and without a goodbye, and some before they have said anything
        let mut peer = Peer::connect(site.address, &config);
        if number % 3 == 0 {
            continue;
        }
        peer.echo(b"hello").unwrap();
        if number % 3 == 1 {
            peer.0.conn.send_close_notify();
            peer.0.flush().unwrap();
        }
    }
    until("the descriptors to be closed", || {
        site.daemon.descriptors() <= before
    });
}
