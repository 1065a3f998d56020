//! Certificates change while the daemon runs.

use nix::sys::signal::Signal;

use crate::peer::{Peer, VERSIONS, certificate, config};
use crate::pki::{POOL, SECTION, Site, WANTS_CLIENTS_CERTIFICATE, put};
use crate::support::{Daemon, finish, until};

/// What a connection of now is shown.
fn shown(site: &Site) -> rustls::pki_types::CertificateDer<'static> {
    let mut peer = Peer::connect(site.address, &config(&site.authority, None, &VERSIONS));
    peer.echo(b"hello").unwrap();
    peer.shown()
}

#[test]
fn new_connections_get_the_new_certificate_and_old_ones_live_on() {
    let site = Site::open();
    let first = site.authority.sign(&["localhost"]);
    site.renew(&first);
    let reload = site.daemon.run(&["reload"]);
    assert_eq!(reload.code, 0, "{reload:?}");
    let said = "new connections get what is in the certificate's files now";
    assert_eq!(reload.out.trim(), said);
    assert_eq!(site.daemon.run(&["reload"]).out.trim(), "nothing to change");

    let mut old = Peer::connect(site.address, &config(&site.authority, None, &VERSIONS));
    old.echo(b"before").unwrap();
    assert_eq!(old.shown(), certificate(&first.cert));

    // the text of the file is the same: only the signal says that there is something new
    let second = site.authority.sign(&["localhost"]);
    site.renew(&second);
    assert_eq!(shown(&site), certificate(&first.cert));
    site.daemon.signal(Signal::SIGHUP);
    until("the new certificate", || {
        shown(&site) == certificate(&second.cert)
    });
    old.echo(b"after").unwrap();
    assert_eq!(old.shown(), certificate(&first.cert));
    // no process was touched by any of it
    assert_eq!(site.daemon.pool("rev").pool.restarts, 0);
}

#[test]
fn a_broken_certificate_changes_nothing() {
    let site = Site::open();
    let before = shown(&site);
    let good = site.authority.sign(&["localhost"]);
    let other = site.authority.sign(&["localhost"]);
    let table = [
        (
            "server.crt",
            "no certificate",
            ":4:11: ",
            "server.crt holds no certificate; it must be a PEM file",
        ),
        (
            "server.key",
            "",
            ":5:10: ",
            "server.key holds no private key; it must be a PEM file",
        ),
        (
            "server.key",
            &other.key,
            ":5:10: ",
            "does not belong to the certificate in",
        ),
    ];
    for (name, text, place, part) in table {
        site.renew(&good);
        site.daemon.home.replace(name, text);
        let reload = site.daemon.run(&["reload"]);
        assert_eq!(reload.code, 1, "{reload:?}");
        let expected = [format!("workers.yaml{place}"), part.to_owned()];
        assert!(
            expected.iter().all(|part| reload.err.contains(part)),
            "{reload:?}"
        );
        assert!(
            site.daemon
                .status()
                .server
                .config_error
                .unwrap()
                .contains(part)
        );
        assert!(site.daemon.log().contains("the old one stays in force"));
        let check = site.daemon.run(&["check", "workers.yaml"]);
        assert_eq!(check.code, 2, "{check:?}");
        assert!(check.err.contains(part), "{check:?}");
        assert_eq!(shown(&site), before);
    }
    site.renew(&good);
    assert_eq!(site.daemon.run(&["reload"]).code, 0);
    assert_eq!(site.daemon.status().server.config_error, None);
    assert_eq!(shown(&site), certificate(&good.cert));
}

#[test]
fn saving_the_file_asks_clients_for_certificates_from_now_on() {
    let site = Site::open();
    let stranger = config(&site.authority, None, &VERSIONS);
    let mut old = Peer::connect(site.address, &stranger);
    old.echo(b"before").unwrap();
    let text = format!("{SECTION}{WANTS_CLIENTS_CERTIFICATE}{POOL}");
    site.daemon.home.replace("workers.yaml", &text);
    until("strangers to be refused", || {
        Peer::connect(site.address, &stranger)
            .echo(b"hello")
            .is_err()
    });
    let own = site.authority.sign(&[]);
    let known = config(&site.authority, Some(&own), &VERSIONS);
    Peer::connect(site.address, &known).echo(b"hello").unwrap();
    old.echo(b"after").unwrap();
}

#[test]
fn where_tls_is_spoken_changes_with_the_next_start() {
    let site = Site::open();
    for (text, key) in [
        (
            SECTION.replace("127.0.0.1:0", "127.0.0.1:1"),
            "server.tls.listen",
        ),
        ("server: {}\n".to_owned(), "server.tls"),
    ] {
        site.daemon
            .home
            .write("workers.yaml", &format!("{text}{POOL}"));
        let line = format!("{key} has changed; it takes effect when gearpool is started again");
        until(&line, || site.daemon.log().contains(&line));
        shown(&site);
    }
}

#[test]
fn a_daemon_does_not_start_with_a_broken_certificate() {
    let (home, authority) = Site::home(&format!("{SECTION}{WANTS_CLIENTS_CERTIFICATE}{POOL}"));
    put(&home, "server", &authority.sign(&["localhost"]));
    home.write("server.crt", "");
    home.write(
        "ca.crt",
        "-----BEGIN CERTIFICATE-----\n?\n-----END CERTIFICATE-----\n",
    );
    std::fs::remove_file(home.path("server.key")).unwrap();
    let serve = home.serve(&["-L", "127.0.0.1", "-p", "0"]);
    let ended = crate::support::ended(&serve, b"");
    assert_eq!(ended.code, 2, "{ended:?}");
    // all of them at once
    for part in [
        "workers.yaml:4:11: ",
        "server.crt holds no certificate",
        "workers.yaml:5:10: cannot read ",
        "server.key: no such file or directory",
        "workers.yaml:6:16: ",
        "ca.crt is no PEM file",
    ] {
        assert!(ended.err.contains(part), "{part}: {}", ended.err);
    }
    put(&home, "server", &authority.sign(&["localhost"]));
    home.write("ca.crt", &authority.pem);
    let daemon = Daemon::start_in(home, &[]);
    assert_eq!(finish(daemon.submit(&["rev", "abc"])).out.trim(), "cba");
}
