//! gearmand's `--ssl`: TLS on all addresses, from flags alone.

use nix::sys::signal::Signal;

use crate::peer::{Peer, VERSIONS, certificate, config};
use crate::pki::{POOL, SECTION, Site};
use crate::support::{Daemon, ended, until};

const SSL: [&str; 7] = [
    "--ssl",
    "--ssl-certificate",
    "server.crt",
    "--ssl-key",
    "server.key",
    "--ssl-ca-file",
    "ca.crt",
];

#[test]
fn every_address_speaks_tls_and_a_signal_renews() {
    let (home, authority) = Site::home("");
    let words = [&["serve", "-L", "127.0.0.1", "-p", "0"][..], &SSL].concat();
    let command = home.gearpool(&words);
    let site = Site::of(Daemon::start_as(home, command), authority);
    let listen = site.daemon.status().server.listen;
    assert_eq!(listen, [site.url()]);
    let own = site.authority.sign(&[]);
    let known = config(&site.authority, Some(&own), &VERSIONS);
    Peer::connect(site.address, &known).echo(b"hello").unwrap();
    // gearmand reads the CA's file and then asks nobody for a certificate
    let stranger = config(&site.authority, None, &VERSIONS);
    Peer::connect(site.address, &stranger)
        .echo(b"hello")
        .unwrap_err();

    let renewed = site.authority.sign(&["localhost"]);
    site.renew(&renewed);
    site.daemon.signal(Signal::SIGHUP);
    until("the new certificate", || {
        let mut peer = Peer::connect(site.address, &known);
        peer.echo(b"hello").unwrap();
        peer.shown() == certificate(&renewed.cert)
    });
    let reload = site.daemon.run(&["reload"]);
    assert_eq!((reload.code, reload.out.trim()), (0, "nothing to change"));
    site.daemon.home.write("server.key", "");
    let reload = site.daemon.run(&["reload"]);
    assert_eq!(reload.code, 1);
    assert!(
        reload.err.contains("server.key holds no private key"),
        "{reload:?}"
    );
    Peer::connect(site.address, &known).echo(b"hello").unwrap();
}

#[test]
fn flags_that_do_not_go_together() {
    let (home, _authority) = Site::home(&format!("{SECTION}{POOL}"));
    home.write("pools.yaml", POOL);
    let with_file = |file| [&["-c", file][..], &SSL].concat();
    let table = [
        (
            vec!["--ssl"],
            "--ssl needs --ssl-certificate FILE and --ssl-key FILE",
        ),
        (vec!["--ssl-key", "server.key"], "--ssl"),
        (
            SSL[..4].iter().copied().chain(["none"]).collect(),
            "cannot read ",
        ),
        (
            with_file("workers.yaml"),
            "are two ways to the same; take one",
        ),
        (
            with_file("pools.yaml"),
            "take server.tls in the file instead, or add -L unix:/PATH",
        ),
        (
            vec!["-L", "tls://127.0.0.1"],
            "TLS takes server.tls in the file, or --ssl",
        ),
    ];
    for (words, part) in table {
        let words = [&["serve", "-p", "0", "--check-args"][..], &words].concat();
        let refused = ended(&home.gearpool(&words), b"");
        assert_eq!(refused.code, 2, "{words:?}: {refused:?}");
        assert!(refused.err.contains(part), "{words:?}: {refused:?}");
    }
    let socket = format!("unix:{}", home.path("plain.sock").display());
    let words = [
        &[
            "serve",
            "-p",
            "0",
            "--check-args",
            "-L",
            "127.0.0.1",
            "-L",
            &socket,
        ][..],
        &with_file("pools.yaml"),
    ]
    .concat();
    assert_eq!(ended(&home.gearpool(&words), b"").code, 0);
}
