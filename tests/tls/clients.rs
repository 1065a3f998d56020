//! Other people's clients and workers.

use std::process::Command;

use crate::pki::{POOL, SECTION, Site, WANTS_CLIENTS_CERTIFICATE};
use crate::running::{Running, poll};
use crate::support::{DEADLINE, Daemon, Ended, Home, finish, until};

impl Site {
    /// A command that is given the port, the authority, and the client's certificate and key.
    fn told(&self, program: &str, words: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(words)
            .arg(self.address.port().to_string())
            .args(["ca.crt", "client.crt", "client.key"].map(|name| self.path(name)));
        command
    }

    pub(crate) fn has_worker(&self, function: &str) -> bool {
        let functions = self.daemon.status().functions;
        let mut named = functions.iter().filter(|one| one.name == function);
        named.next().is_some_and(|function| function.workers > 0)
    }
}

fn run(command: &Command, input: &[u8]) -> Ended {
    let name = command.get_program().display().to_string();
    finish(Running::start(&name, command, input))
}

/// Python's gear in a role of the script's.
pub(crate) fn gear(site: &Site, role: &str) -> Command {
    let python = concat!(env!("CARGO_MANIFEST_DIR"), "/.tests/venv/bin/python");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls/gear_tls.py");
    site.told(python, &[script, role])
}

/// openssl's s_client as a shell takes it, for one version of TLS.
pub(crate) fn s_client(site: &Site, version: &str) -> String {
    format!(
        "openssl s_client {version} -quiet -verify_return_error -verify_hostname localhost -connect {} -CAfile {} -cert {} -key {}",
        site.address,
        site.path("ca.crt"),
        site.path("client.crt"),
        site.path("client.key"),
    )
}

#[test]
fn pythons_gear_as_client_and_worker() {
    let site = Site::closed();
    let _worker = Running::start("gear's worker", &gear(&site, "worker"), b"");
    until("gear's worker", || site.has_worker("backwards"));
    let job: String = ('a'..='z').cycle().take(1 << 20).collect();
    let client = run(&gear(&site, "client"), job.as_bytes());
    assert_eq!(client.code, 0, "{}", client.err);
    assert!(client.out == job.chars().rev().collect::<String>());
}

#[test]
fn openssls_s_client() {
    let site = Site::closed();
    for version in ["-tls1_2", "-tls1_3"] {
        let mut command = Command::new("sh");
        command.args(["-c", &s_client(&site, version)]);
        let client = Running::start("openssl s_client", &command, b"version\nstatus\n");
        until("the answers", || {
            let output = client.output();
            output.contains("OK ") && output.contains("rev\t0\t0\t1\n.\n")
        });
    }
}

/// libgearman as Debian builds it has no TLS: what it is asked for with `-S` it does not do, and does not say so.
#[test]
fn debians_gearman_tool_needs_a_tunnel() {
    let site = Site::closed();
    let port = site.address.port().to_string();
    let mut alone = Command::new("gearman");
    alone.args(["-S", "-h", "127.0.0.1", "-p", &port, "-f", "rev", "abc"]);
    let alone = run(&alone, b"");
    assert!(!alone.out.contains("cba"), "{alone:?}");
    until("its plain words to be refused", || {
        site.daemon.log().contains("it does not speak TLS")
    });

    let settings = format!(
        "foreground = yes\npid =\nsyslog = no\ndebug = info\n[gearman]\nclient = yes\naccept = 127.0.0.1:0\nconnect = {}\n\
         CAfile = {}\nverifyChain = yes\ncheckHost = localhost\ncert = {}\nkey = {}\n",
        site.address,
        site.path("ca.crt"),
        site.path("client.crt"),
        site.path("client.key"),
    );
    site.daemon.home.write("stunnel.conf", &settings);
    let mut command = Command::new("stunnel");
    command.arg(site.path("stunnel.conf"));
    let tunnel = Running::start("stunnel", &command, b"");
    let port = poll("stunnel to listen", DEADLINE, || {
        let output = tunnel.output();
        let (_, port) = output.split_once("bound to 127.0.0.1:")?;
        port.split_once('\n').map(|(port, _)| port.to_owned())
    });

    let mut worker = Command::new("gearman");
    worker.args([
        "-w",
        "-h",
        "127.0.0.1",
        "-p",
        &port,
        "-f",
        "count",
        "--",
        "wc",
        "-c",
    ]);
    let _worker = Running::start("the gearman tool's worker", &worker, b"");
    until("the worker in the tunnel", || site.has_worker("count"));
    let mut client = Command::new("gearman");
    client.args(["-h", "127.0.0.1", "-p", &port, "-f", "count"]);
    let client = run(&client, &[b'x'; 100_000]);
    assert_eq!(
        (client.code, client.out.trim()),
        (0, "100000"),
        "{client:?}"
    );
}

/// The commands of docs/tls.md, as they stand there but for the name.
#[test]
fn the_certificates_of_the_documentation() {
    let page = include_str!("../../docs/tls.md").replace("jobs.example.com", "localhost");
    let lines: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("    openssl "))
        .collect();
    assert_eq!(lines.len(), 3);
    let home = Home::new(&format!("{SECTION}{WANTS_CLIENTS_CERTIFICATE}{POOL}"));
    for line in lines {
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("openssl {line}")])
            .current_dir(home.path(""));
        let made = run(&command, b"");
        assert_eq!(made.code, 0, "{made:?}");
    }
    let daemon = Daemon::start_in(home, &[]);
    let listen = daemon.status().server.listen;
    let (_, port) = listen[1].rsplit_once(':').unwrap();
    let url = format!("tls://localhost:{port}");
    let words = [
        "submit",
        "-h",
        &url,
        "--tls-ca",
        "ca.crt",
        "--tls-cert",
        "client.crt",
    ];
    let job = daemon.run(&[&words[..], &["--tls-key", "client.key", "rev", "abc"]].concat());
    assert_eq!((job.code, job.out.trim()), (0, "cba"), "{job:?}");
}
