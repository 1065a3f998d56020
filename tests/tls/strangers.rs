//! Peers that speak something else, or nothing.

use std::io::{Read, Write};
use std::net::TcpStream;

use gearpool::proto::Request;
use rustls::version::TLS13;
use rustls::{AlertDescription, Error};

use crate::peer::{Peer, VERSIONS, config, encoded, tcp};
use crate::pki::Site;
use crate::support::until;

/// gearmand does a handshake where it accepts, and four of these keep everybody else out.
#[test]
fn silent_connections_hold_up_nobody_and_end() {
    let site = Site::closed();
    let mut silent: Vec<TcpStream> = (0..8).map(|_| tcp(site.address)).collect();
    // half of them begin a handshake
    for stream in &mut silent[4..] {
        stream.write_all(&[0x16, 3, 1, 2]).unwrap();
    }
    let own = site.authority.sign(&[]);
    let config = config(&site.authority, Some(&own), &VERSIONS);
    for _ in 0..4 {
        let mut peer = Peer::connect(site.address, &config);
        peer.echo(b"hello").unwrap();
    }
    let too_slow = "its handshake takes more than 10 s";
    assert!(!site.daemon.log().contains(too_slow));
    for mut stream in silent {
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }
    assert_eq!(site.daemon.log().matches(too_slow).count(), 8);
}

#[test]
fn plain_bytes_where_tls_is_spoken() {
    let site = Site::open();
    let packet = encoded(&Request::EchoReq { data: b"hello" });
    let words: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"status\n",
        &packet,
        &[0xff; 70_000],
        // the beginning of a ClientHello of DTLS 1.2, which rustls would wait for the rest of
        &[0x16, 0xfe, 0xfd, 0, 4, 1, 0, 0xff, 0xff],
    ];
    for bytes in words {
        let mut stream = tcp(site.address);
        let address = stream.local_addr().unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(answer.len() < 16, "{answer:?}");
        let line = format!("it does not speak TLS peer={address}");
        until(&line, || site.daemon.log().contains(&line));
    }
    assert!(!site.daemon.log().contains("WARN"));
    let mut peer = Peer::connect(site.address, &config(&site.authority, None, &VERSIONS));
    peer.echo(b"hello").unwrap();
}

/// Each of these costs the server more than the peer.
#[test]
fn who_renews_its_keys_and_says_nothing_else_is_cut_off() {
    let site = Site::open();
    let mut peer = Peer::connect(site.address, &config(&site.authority, None, &[&TLS13]));
    for _ in 0..2 {
        peer.echo(b"hello").unwrap();
        for _ in 0..32 {
            peer.0.conn.refresh_traffic_keys().unwrap();
            peer.0.flush().unwrap();
        }
    }
    peer.0.conn.refresh_traffic_keys().unwrap();
    peer.0.flush().unwrap();
    let error = peer.0.read(&mut [0]).unwrap_err();
    let said = error.get_ref().and_then(|error| error.downcast_ref());
    let unexpected = Error::AlertReceived(AlertDescription::UnexpectedMessage);
    assert_eq!(said, Some(&unexpected), "{error}");
    let mut other = Peer::connect(site.address, &config(&site.authority, None, &VERSIONS));
    other.echo(b"all is well").unwrap();
}

/// A connection whose handshake has not begun counts too, and one too many is told in a way that TLS understands.
#[test]
fn more_connections_than_the_limit() {
    let limits = format!("{}  limits: {{connections: 4}}\n", crate::pki::SECTION);
    let site = Site::start(&limits);
    let silent: Vec<TcpStream> = (0..4).map(|_| tcp(site.address)).collect();
    let config = config(&site.authority, None, &VERSIONS);
    let error = Peer::connect(site.address, &config)
        .echo(b"hello")
        .unwrap_err();
    let alert = error.get_ref().and_then(|error| error.downcast_ref());
    assert!(
        matches!(
            alert,
            Some(rustls::Error::AlertReceived(
                rustls::AlertDescription::InternalError
            ))
        ),
        "{error:?}"
    );
    drop(silent);
    until("the places to be free", || {
        Peer::connect(site.address, &config).echo(b"hello").is_ok()
    });
}

/// A client that speaks TLS to the plain port is told at once, whatever is in its hello.
#[test]
fn tls_where_gearman_is_spoken_plainly() {
    let site = Site::open();
    let plain = site.daemon.connect().peer_addr().unwrap();
    for version in VERSIONS {
        let mut peer = Peer::connect(plain, &config(&site.authority, None, &[version]));
        let error = peer.echo(b"hello").unwrap_err();
        let of_tls = error.get_ref().and_then(|error| error.downcast_ref());
        assert!(
            matches!(of_tls, Some(rustls::Error::InvalidMessage(_))),
            "{error:?}"
        );
    }
    assert!(
        site.daemon
            .log()
            .contains("TLS where the plain protocol is spoken")
    );
    assert_eq!(
        site.daemon.result("rev", "still here").out.trim(),
        "ereh llits"
    );
}
