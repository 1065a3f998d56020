//! Where a server may be: on IPv6 and on a Unix socket too, for every command that speaks to one.

use crate::running::Running;
use crate::support::{Daemon, Home, ended, until};

#[test]
fn every_command_finds_a_server_on_ipv6_and_on_a_unix_socket() {
    let home = Home::new("f: {run: cat}\n");
    let socket = format!("unix:{}", home.path("gearman.sock").display());
    let daemon = Daemon::start_in(home, &["-L", "::1", "-L", &socket]);
    daemon.ready("f", 1);
    let listen = daemon.status().server.listen;
    let [v4, v6, unix] = listen.as_slice() else {
        panic!("three addresses in {listen:?}");
    };
    assert!(v6.starts_with("[::1]:"), "{v6}");
    assert_eq!(*unix, socket);

    for address in [v4, v6, unix] {
        let run = |command: &str, words: &[&str]| {
            let mut gearpool = daemon.home.gearpool(&[command, "-h", address]);
            gearpool.args(words);
            gearpool
        };
        let work = Running::start(
            "gearpool work",
            &run("work", &["-f", "up", "--", "tr", "a-z", "A-Z"]),
            b"",
        );
        until("the worker to register", || {
            daemon.status().other_workers.len() == 1
        });
        let submitted = ended(&run("submit", &["up", "hello"]), b"");
        assert_eq!(
            (submitted.code, submitted.out.as_str()),
            (0, "HELLO"),
            "{address} {submitted:?}"
        );
        let asked = ended(&run("admin", &["--status"]), b"");
        assert_eq!(asked.code, 0, "{address} {asked:?}");
        assert!(
            asked.out.contains("up\t0\t0\t1\n"),
            "{address} {}",
            asked.out
        );
        drop(work);
        until("the worker to be gone", || {
            daemon.status().other_workers.is_empty()
        });

        // the environment has the same forms
        let mut submit = daemon.home.gearpool(&["submit", "f", "x"]);
        submit.env("GEARMAN_SERVERS", address);
        assert_eq!(ended(&submit, b"").out, "x", "{address}");
    }

    // the port may be beside the address
    let (_, port) = v6.rsplit_once(':').unwrap();
    let mut asked = daemon.home.gearpool(&["admin", "-h", "::1", "-p", port]);
    asked.arg("--getpid");
    assert_eq!(ended(&asked, b"").out, format!("{}\n", daemon.pid()));
}

#[test]
fn a_server_is_ended_by_a_line_on_its_unix_socket_only() {
    let home = Home::new("f: {run: cat}\n");
    let socket = format!("unix:{}", home.path("gearman.sock").display());
    let mut daemon = Daemon::start_in(home, &["-L", &socket]);
    let port = daemon.port.to_string();
    let refused = daemon.run(&["admin", "-p", &port, "--shutdown"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused
            .err
            .contains("refuses \"shutdown\": UNKNOWN_COMMAND"),
        "{refused:?}"
    );
    let taken = daemon.run(&["admin", "-h", &socket, "--shutdown"]);
    assert_eq!((taken.code, taken.out.as_str()), (0, "OK\n"), "{taken:?}");
    assert_eq!(daemon.end().0, 0);
    let gone = daemon.run(&["admin", "-h", &socket, "--status"]);
    assert_eq!(gone.code, 3, "{gone:?}");
}

/// Its own workers are told of an address that leads there.
#[test]
fn a_pool_of_a_daemon_on_ipv6_alone() {
    let home = Home::new("server: {listen: '[::1]:0'}\nfunctions: {f: {run: cat}}\n");
    let command = home.serve(&[]);
    let daemon = Daemon::start_as(home, command);
    daemon.ready("f", 1);
    let address = daemon.status().server.listen[0].clone();
    let submitted = daemon.run(&["submit", "-h", &address, "f", "x"]);
    assert_eq!(
        (submitted.code, submitted.out.as_str()),
        (0, "x"),
        "{submitted:?}"
    );
}
