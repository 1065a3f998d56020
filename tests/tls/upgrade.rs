//! Connections with TLS go on in another program, whatever they are in the middle of.

use std::io::{ErrorKind, Read, Write};

use gearpool::proto::{Grab, Mode, Priority, Request, Response};
use rustls::crypto::ring;
use rustls::{AlertDescription, CipherSuite, Error, SupportedCipherSuite};

use crate::clients::{gear, s_client};
use crate::peer::{Peer, VERSIONS, config, config_with, tcp};
use crate::pki::Site;
use crate::running::Running;
use crate::support::{finish, until};

const UPGRADES: usize = 3;

impl Site {
    fn upgrade(&self) {
        let upgraded = self.daemon.run(&["upgrade"]);
        assert_eq!(upgraded.code, 0, "{upgraded:?}");
    }

    /// How many connections there have been.
    fn connected(&self) -> usize {
        self.daemon.log().matches(" connected peer=").count()
    }

    fn running(&self, function: &str) -> u64 {
        let functions = self.daemon.status().functions.into_iter();
        let named = functions.filter(|it| it.name == function);
        named.map(|it| it.running).sum()
    }
}

/// Those that a server with a key for ECDSA agrees to; with RSA they differ in the handshake alone.
fn suites() -> Vec<SupportedCipherSuite> {
    let all = ring::ALL_CIPHER_SUITES.iter().copied();
    let of_rsa = [
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ];
    all.filter(|it| !of_rsa.contains(&it.suite())).collect()
}

#[test]
fn every_cipher_goes_on_at_half_a_record() {
    let site = Site::open();
    let data: Vec<u8> = (0..70_000_u32).map(|at| (at % 251) as u8).collect();
    let suites = suites();
    assert_eq!(suites.len(), 6);
    let mut peers: Vec<_> = suites
        .iter()
        .map(|&suite| Peer::connect(site.address, &config_with(&site.authority, suite)))
        .collect();
    for peer in &mut peers {
        peer.echo(b"before").unwrap();
    }
    let connected = site.connected();
    for round in 0..UPGRADES {
        let rests: Vec<_> = peers
            .iter_mut()
            .map(|peer| {
                let request = Request::EchoReq { data: &data };
                let mut records = peer.records(&request);
                // in a header, in the first record, in the last one
                let cut = [3, 500, records.len() - 9][round];
                peer.write_part(&records[..cut]);
                records.split_off(cut)
            })
            .collect();
        site.upgrade();
        for (peer, rest) in peers.iter_mut().zip(rests) {
            peer.0.sock.write_all(&rest).unwrap();
            peer.expect(&Response::EchoRes { data: &data }).unwrap();
            // TLS 1.2 has no such thing
            if peer.0.conn.refresh_traffic_keys().is_ok() {
                peer.echo(b"with other keys").unwrap();
            }
            peer.echo(b"after").unwrap();
        }
    }
    for mut peer in peers {
        peer.0.conn.send_close_notify();
        peer.0.flush().unwrap();
        assert_eq!(peer.0.read(&mut [0]).unwrap(), 0, "its end is answered");
    }
    assert_eq!(site.connected(), connected, "nobody had to connect again");
    assert!(!site.daemon.log().contains("TLS makes no sense"));
}

#[test]
fn jobs_sleepers_and_slow_readers_notice_nothing() {
    let site = Site::open();
    let data: Vec<u8> = (0..12 << 20).map(|at: u32| (at % 241) as u8).collect();
    for version in VERSIONS {
        let config = config(&site.authority, None, &[version]);
        let connect = || Peer::connect(site.address, &config);
        let (mut client, mut worker, mut sleeper) = (connect(), connect(), connect());
        let (mut slow, mut leaving) = (connect(), connect());
        let able = Request::CanDo { function: b"f" };
        for peer in [&mut worker, &mut sleeper] {
            peer.send(&able).unwrap();
        }
        let submit = |workload| Request::SubmitJob {
            priority: Priority::Normal,
            mode: Mode::Foreground,
            function: b"f",
            unique: b"",
            workload,
        };
        client.send(&submit(b"first")).unwrap();
        let first = client.handle();
        worker.send(&Request::GrabJob(Grab::Plain)).unwrap();
        let assigned = |handle| Response::JobAssign {
            handle,
            function: b"f",
            workload: b"first",
        };
        worker.expect(&assigned(&first)).unwrap();
        sleeper.send(&Request::PreSleep).unwrap();
        // what is sent to these fills their sockets
        for peer in [&mut slow, &mut leaving] {
            peer.send(&Request::EchoReq { data: &data }).unwrap();
        }
        leaving.0.conn.send_close_notify();
        leaving.0.flush().unwrap();
        let connections = || site.daemon.status().server.connections;
        // the pool's own worker is one of them
        until("the one that leaves to be none any more", || {
            site.daemon.ready("rev", 1);
            connections() == 5
        });
        for peer in [&mut slow, &mut leaving] {
            peer.0.read_exact(&mut [0; 12]).unwrap();
        }
        let connected = site.connected();
        for _ in 0..UPGRADES {
            site.upgrade();
        }

        let finish = |handle| Request::WorkComplete {
            handle,
            data: b"done",
        };
        let finished = |handle| Response::WorkComplete {
            handle,
            data: b"done",
        };
        worker.send(&finish(&first)).unwrap();
        client.expect(&finished(&first)).unwrap();
        client.send(&submit(b"first")).unwrap();
        let second = client.handle();
        sleeper.expect(&Response::Noop).unwrap();
        sleeper.send(&Request::GrabJob(Grab::Plain)).unwrap();
        sleeper.expect(&assigned(&second)).unwrap();
        sleeper.send(&finish(&second)).unwrap();
        client.expect(&finished(&second)).unwrap();
        for peer in [&mut slow, &mut leaving] {
            let mut rest = vec![0; data.len()];
            peer.0.read_exact(&mut rest).unwrap();
            assert!(rest == data, "what comes is what was sent");
        }
        assert_eq!(leaving.0.read(&mut [0]).unwrap(), 0, "and then it ends");
        slow.echo(b"still there").unwrap();
        assert_eq!(site.connected(), connected, "nobody had to connect again");
    }
}

/// Python's gear speaks TLS 1.2, openssl what it is told to.
#[test]
fn other_peoples_clients_and_workers_notice_nothing() {
    let site = Site::closed();
    let worker = Running::start("gear's worker", &gear(&site, "worker"), b"");
    until("gear's worker", || site.has_worker("patiently"));
    let go = site.path("go");
    let client = Running::start("gear's client", &gear(&site, "patient"), go.as_bytes());
    until("its job", || site.running("patiently") == 1);
    let consoles = ["-tls1_2", "-tls1_3"].map(|version| {
        let script = format!(
            "(echo version; until [ -e {go} ]; do sleep 0.01; done; echo status) | {}",
            s_client(&site, version)
        );
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &script]);
        Running::start("openssl s_client", &shell, b"")
    });
    until("their answers", || {
        consoles.iter().all(|it| it.output().contains("OK "))
    });
    let connected = site.connected();
    for _ in 0..UPGRADES {
        site.upgrade();
    }
    assert_eq!(site.running("patiently"), 1);
    site.daemon.home.write("go", "");
    let client = finish(client);
    assert_eq!((client.code, &*client.out), (0, &*go), "{}", client.err);
    until("their other answers", || {
        let all = consoles.iter();
        all.map(Running::output)
            .all(|it| it.contains("patiently\t0\t0\t1\n"))
    });
    assert!(site.has_worker("patiently"), "{}", worker.output());
    assert_eq!(site.connected(), connected, "nobody had to connect again");
}

#[test]
fn nonsense_after_an_upgrade_is_refused_and_said() {
    let site = Site::open();
    for version in VERSIONS {
        let mut peer = Peer::connect(site.address, &config(&site.authority, None, &[version]));
        peer.echo(b"hello").unwrap();
        let address = peer.0.sock.local_addr().unwrap();
        site.upgrade();
        let request = Request::EchoReq { data: b"changed" };
        let mut records = peer.records(&request);
        *records.last_mut().unwrap() ^= 1;
        peer.0.sock.write_all(&records).unwrap();
        let error = peer.0.read(&mut [0]).unwrap_err();
        let said = error.get_ref().and_then(|error| error.downcast_ref());
        let mac = Error::AlertReceived(AlertDescription::BadRecordMac);
        assert_eq!(said, Some(&mac), "{error}");
        let line = format!("whose TLS makes no sense peer={address}");
        until(&line, || site.daemon.log().contains(&line));
    }
}

/// It has no connection yet, and is waited for no longer than half a second.
#[test]
fn who_does_not_end_its_handshake_is_cut() {
    let site = Site::open();
    let mut silent = tcp(site.address);
    silent.write_all(&[0x16, 3, 1, 2]).unwrap();
    let mut peer = Peer::connect(site.address, &config(&site.authority, None, &VERSIONS));
    peer.echo(b"before").unwrap();
    site.upgrade();
    match silent.read(&mut [0]) {
        Ok(count) => assert_eq!(count, 0),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
    peer.echo(b"after").unwrap();
}
