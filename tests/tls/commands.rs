//! Our own commands over TLS, and over the other kinds of addresses.

use crate::pki::{Authority, POOL, SECTION, Site, WANTS_CLIENTS_CERTIFICATE, put};
use crate::running::Running;
use crate::support::{Daemon, Ended, Home, ended, finish, until};

impl Site {
    /// `gearpool WORDS` in its folder.
    fn gearpool(&self, words: &[&str]) -> Ended {
        self.daemon.run(words)
    }
}

const CA: [&str; 2] = ["--tls-ca", "ca.crt"];
const OWN: [&str; 4] = ["--tls-cert", "client.crt", "--tls-key", "client.key"];

#[test]
fn submit_and_work() {
    let site = Site::closed();
    let url = site.url();
    let words = [
        &["work", "-h", &url][..],
        &CA,
        &OWN,
        &["-f", "count", "--", "wc", "-c"],
    ]
    .concat();
    let worker = Running::start("the worker", &site.daemon.home.gearpool(&words), b"");
    until("the worker", || {
        !site.daemon.status().other_workers.is_empty()
    });
    let words = [&["submit", "-h", &url][..], &CA, &OWN, &["-f", "count"]].concat();
    let job = ended(&site.daemon.home.gearpool(&words), &vec![b'x'; 1 << 20]);
    assert_eq!((job.code, job.out.trim()), (0, "1048576"), "{job:?}");
    drop(worker);

    // the same from the environment, in libgearman's words
    let mut command = site.daemon.home.gearpool(&["submit", "rev", "abc"]);
    command
        .env("GEARMAN_SERVERS", &url)
        .env("GEARMAND_CA_CERTIFICATE", "ca.crt")
        .env("GEARMAN_CLIENT_PEM", "client.crt")
        .env("GEARMAN_CLIENT_KEY", "client.key");
    let job = ended(&command, b"");
    assert_eq!((job.code, job.out.trim()), (0, "cba"), "{job:?}");
}

#[test]
fn refusals_are_plain() {
    let site = Site::closed();
    let home = &site.daemon.home;
    let stranger = Authority::new("a stranger's");
    home.write("other.crt", &stranger.pem);
    put(home, "strange", &stranger.sign(&[]));
    put(home, "old", &site.authority.sign_expired(&[]));
    let (url, plain) = (site.url(), site.daemon.port.to_string());
    let port = site.address.port();
    let named = format!("tls://[::1]:{port}");
    let on_plain = format!("tls://localhost:{plain}");
    let without_tls = format!("localhost:{port}");
    let table: [(&[&str], u8, &str); 13] = [
        (&[&url], 2, "needs --tls-ca FILE"),
        (
            &[&without_tls, "--tls-ca", "ca.crt"],
            2,
            "are for a server that is named with tls://",
        ),
        (
            &[&url, "--tls-ca", "ca.crt", "--tls-cert", "client.crt"],
            2,
            "belong together",
        ),
        (
            &[&url, "--tls-ca", "none"],
            2,
            "cannot read none: no such file",
        ),
        (
            &[&url, "--tls-ca", "client.key"],
            2,
            "client.key holds no certificate",
        ),
        (
            &[
                &url,
                "--tls-ca",
                "ca.crt",
                "--tls-cert",
                "client.crt",
                "--tls-key",
                "old.key",
            ],
            2,
            "the key in old.key does not belong to the certificate in client.crt",
        ),
        (
            &[&url, "--tls-ca", "other.crt"],
            3,
            "its certificate is not signed by the CA that is trusted here",
        ),
        (
            &[&on_plain, "--tls-ca", "ca.crt"],
            3,
            "it does not speak TLS",
        ),
        (&[&without_tls], 3, "TLS where the plain protocol is spoken"),
        (
            &[&url, "--tls-ca", "ca.crt"],
            3,
            "it wants a certificate of ours (--tls-cert and --tls-key)",
        ),
        (
            &[
                &url,
                "--tls-ca",
                "ca.crt",
                "--tls-cert",
                "strange.crt",
                "--tls-key",
                "strange.key",
            ],
            3,
            "it does not trust the CA that has signed our certificate",
        ),
        (
            &[
                &url,
                "--tls-ca",
                "ca.crt",
                "--tls-cert",
                "old.crt",
                "--tls-key",
                "old.key",
            ],
            3,
            "it says that our certificate has expired",
        ),
        (
            &[&named, "--tls-ca", "ca.crt"],
            3,
            "connection refused; is a Gearman server running there?",
        ),
    ];
    for (words, code, part) in table {
        let words = [&["submit", "-h"], words, &["rev", "abc"]].concat();
        let refused = site.gearpool(&words);
        assert_eq!(refused.code, i32::from(code), "{words:?}: {refused:?}");
        assert!(refused.err.contains(part), "{words:?}: {refused:?}");
        assert_eq!(refused.out, "");
    }
}

#[test]
fn a_name_that_the_certificate_does_not_have() {
    let site = Site::open();
    let table = [
        (
            site.authority.sign(&["jobs.example.com", "10.0.0.1"]),
            "its certificate is for jobs.example.com, 10.0.0.1, not for 127.0.0.1",
        ),
        (
            site.authority.sign(&[]),
            "its certificate has no subjectAltName, and needs one that says 127.0.0.1",
        ),
        (
            site.authority.sign_expired(&["127.0.0.1"]),
            "its certificate has expired",
        ),
    ];
    for (signed, part) in table {
        site.renew(&signed);
        assert_eq!(site.gearpool(&["reload"]).code, 0);
        let words = [
            "submit",
            "-h",
            &site.url(),
            "--tls-ca",
            "ca.crt",
            "rev",
            "abc",
        ];
        let refused = site.gearpool(&words);
        assert_eq!(refused.code, 3, "{refused:?}");
        assert!(refused.err.contains(part), "{part}: {refused:?}");
    }
}

/// The four addresses of a TLS connection are those of its socket: whose it is can be found out as without TLS.
#[test]
fn a_pools_worker_may_come_over_tls() {
    let pool = "functions:\n  far:\n    cmd: sh far.sh\n    max: 2\n";
    let (home, authority) = Site::home(&format!("{SECTION}{WANTS_CLIENTS_CERTIFICATE}{pool}"));
    home.write(
        "far.sh",
        &format!(
            "until [ -e port ]; do sleep 0.05; done\n\
             exec {} work -h tls://localhost:$(cat port) --tls-ca ca.crt --tls-cert client.crt --tls-key client.key -f far -- rev\n",
            env!("CARGO_BIN_EXE_gearpool")
        ),
    );
    let site = Site::of(Daemon::start_in(home, &[]), authority);
    site.daemon
        .home
        .write("new", &site.address.port().to_string());
    site.daemon
        .home
        .replace("port", &site.address.port().to_string());
    let members = site.daemon.ready("far", 1);
    assert!(members[0].mapped);
    assert_eq!(site.daemon.result("far", "abc").out.trim(), "cba");
}

#[test]
fn workers_of_a_daemon_with_tls_are_told_the_plain_address() {
    let site = Site::start(&format!(
        "{SECTION}{WANTS_CLIENTS_CERTIFICATE}functions:\n  env: {{run: 'echo $GEARMAN_HOST $GEARMAN_PORT $GEARMAN_SERVER', shell: true}}\n"
    ));
    let port = site.daemon.port;
    let said = site.daemon.result("env", "").out;
    assert_eq!(said.trim(), format!("127.0.0.1 {port} 127.0.0.1:{port}"));
}

#[test]
fn every_kind_of_address() {
    let home = Home::new("");
    let socket = home.path("gearman.sock").display().to_string();
    home.write(
        "workers.yaml",
        &format!("server: {{listen: ['127.0.0.1:0', '[::1]:0', 'unix:{socket}']}}\n{POOL}"),
    );
    let command = home.serve(&[]);
    let daemon = Daemon::start_as(home, command);
    let listen = daemon.status().server.listen;
    assert_eq!(listen.len(), 3);
    assert!(listen[1].starts_with("[::1]:"), "{listen:?}");
    assert_eq!(listen[2], format!("unix:{socket}"));
    let six = listen[1].rsplit_once(':').unwrap().1;
    let all: [&[&str]; 5] = [
        &[&listen[0]],
        &[&listen[1]],
        &[&listen[2]],
        // IPv6 as gearman's -h takes it, and a port alone
        &["::1", "-p", six],
        &[listen[0].rsplit_once(':').unwrap().1],
    ];
    for server in all {
        let words = [
            &["work", "-n", "1", "-h"],
            server,
            &["-f", "here", "--", "rev"],
        ]
        .concat();
        let worker = Running::start("the worker", &daemon.home.gearpool(&words), b"");
        let words = [&["submit", "-h"], server, &["here", "abc"]].concat();
        let job = daemon.run(&words);
        assert_eq!((job.code, job.out.trim()), (0, "cba"), "{words:?}: {job:?}");
        assert_eq!(finish(worker).code, 0);
    }
}
