//! A job server on a port of its own.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use super::running::{Running, poll};

const START: Duration = Duration::from_secs(20);

/// Which job server the tests run against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Implementation {
    /// Ours.
    Gearpool,
    /// Debian's, with `GEARPOOL_TEST_SERVER=gearmand`: it shows that a test asks for no more than clients are used to.
    Gearmand,
}

/// A job server that is running.
pub(crate) struct Server {
    implementation: Implementation,
    port: u16,
    _running: Running,
    _state: tempfile::TempDir,
}

impl Server {
    /// Starts one, and waits until it takes connections.
    pub(crate) fn start() -> Server {
        let implementation = match std::env::var("GEARPOOL_TEST_SERVER").as_deref() {
            Err(_) | Ok("gearpool") => Implementation::Gearpool,
            Ok("gearmand") => Implementation::Gearmand,
            Ok(other) => panic!("GEARPOOL_TEST_SERVER is gearpool or gearmand, not {other}"),
        };
        // The port is free when the system names it, and somebody else's connection may have it a moment later: then a
        // server cannot start, and the next port is tried.
        for _ in 0..5 {
            if let Some(server) = Server::start_on(implementation, free_port()) {
                return server;
            }
        }
        panic!("five ports in a row were taken");
    }

    fn start_on(implementation: Implementation, port: u16) -> Option<Server> {
        let state = tempfile::tempdir().unwrap();
        let mut command = match implementation {
            Implementation::Gearpool => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_gearpool"));
                command.arg("serve").arg("--state-dir").arg(state.path());
                command
            }
            Implementation::Gearmand => {
                let mut command = Command::new("gearmand");
                command.arg("--log-file=stderr");
                command
            }
        };
        command.args(["-L", "127.0.0.1", "-p", &port.to_string()]);

        let mut running = Running::start("the job server", &command, b"");
        let listens = poll("the job server to listen", START, || {
            if running.ended().is_some() {
                return Some(false);
            }
            TcpStream::connect((Ipv4Addr::LOCALHOST, port))
                .ok()
                .map(|_| true)
        });
        if !listens {
            let output = running.output();
            assert!(
                output.to_lowercase().contains("in use"),
                "the job server ended at once:\n{output}"
            );
            return None;
        }
        Some(Server {
            implementation,
            port,
            _running: running,
            _state: state,
        })
    }

    /// Which one it is.
    pub(crate) fn implementation(&self) -> Implementation {
        self.implementation
    }

    /// Where it listens, on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Tells a client or worker where it is, in the variables that Gearpool gives its own workers.
    pub(crate) fn tell(&self, command: &mut Command) {
        command
            .env("GEARMAN_HOST", "127.0.0.1")
            .env("GEARMAN_PORT", self.port.to_string())
            .env("GEARMAN_SERVER", format!("127.0.0.1:{}", self.port));
    }

    /// How many workers a function has, from the admin command `status`.
    pub(crate) fn workers(&self, function: &str) -> u64 {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream.write_all(b"status\n").unwrap();
        for line in BufReader::new(stream).lines() {
            let line = line.unwrap();
            let fields: Vec<&str> = line.split('\t').collect();
            match fields[..] {
                ["."] => break,
                [name, _, _, workers] if name == function => return workers.parse().unwrap(),
                _ => {}
            }
        }
        0
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}
