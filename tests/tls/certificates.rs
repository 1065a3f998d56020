//! Who is let in, in both versions of TLS.

use crate::peer::{Peer, VERSIONS, config};
use crate::pki::{Authority, Site};
use crate::support::until;

#[test]
fn a_server_that_asks_for_no_certificate() {
    let site = Site::open();
    for version in VERSIONS {
        let mut peer = Peer::connect(site.address, &config(&site.authority, None, &[version]));
        peer.echo(b"hello").unwrap();
        assert_eq!(peer.0.conn.protocol_version(), Some(version.version));
        let mut with_one = Peer::connect(
            site.address,
            &config(&site.authority, Some(&site.authority.sign(&[])), &[version]),
        );
        with_one.echo(b"hello").unwrap();
    }
}

#[test]
fn a_server_that_asks_for_one() {
    let site = Site::closed();
    // the one in disguise has the right name and the wrong key
    let stranger = Authority::new("a stranger's");
    let disguised = Authority::new("ours");
    let right = site.authority.sign(&["worker"]);
    let table = [
        (Some(&right), Ok(())),
        (None, Err("it shows no certificate")),
        (
            Some(&stranger.sign(&["worker"])),
            Err("its certificate is not signed by the CA that is trusted here"),
        ),
        (
            Some(&disguised.sign(&["worker"])),
            Err("its certificate is not signed by the CA that is trusted here"),
        ),
        (
            Some(&site.authority.sign_expired(&["worker"])),
            Err("its certificate has expired"),
        ),
    ];
    for version in VERSIONS {
        for (own, expected) in &table {
            let config = config(&site.authority, *own, &[version]);
            let mut peer = Peer::connect(site.address, &config);
            let answer = peer.echo(b"hello");
            match expected {
                Ok(()) => answer.unwrap(),
                Err(reason) => {
                    // the alert arrives whole, not a reset in its place
                    let error = answer.unwrap_err();
                    let alert = error.get_ref().and_then(|error| error.downcast_ref());
                    assert!(
                        matches!(alert, Some(rustls::Error::AlertReceived(_))),
                        "{reason}: {error:?}"
                    );
                    let port = peer.0.sock.local_addr().unwrap().port();
                    let line = format!("{reason} peer=127.0.0.1:{port}");
                    until(&line, || site.daemon.log().contains(&line));
                }
            }
        }
    }
    // none of them has got so far as to be a connection of the job server
    let log = site.daemon.log();
    let of_tls = log.lines().filter(|line| line.contains("ECHO_REQ")).count();
    assert_eq!(of_tls, 2, "{log}");
}

#[test]
fn a_session_is_not_taken_up_again() {
    let site = Site::closed();
    for version in VERSIONS {
        let config = config(&site.authority, Some(&site.authority.sign(&[])), &[version]);
        for _ in 0..2 {
            let mut peer = Peer::connect(site.address, &config);
            peer.echo(b"hello").unwrap();
            let kind = peer.0.conn.handshake_kind();
            assert_eq!(kind, Some(rustls::HandshakeKind::Full));
        }
    }
}
