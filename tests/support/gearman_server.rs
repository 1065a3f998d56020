//! A Gearman server of a test's own, and the commands that a test runs against it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::running::{self, poll};

/// Longer than anything here takes on a busy machine; reached only when something hangs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A port that nobody listens on.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// The server under the commands: our own, or gearmand for the tests of that name.
fn server_command(port: u16, state: &Path) -> Command {
    if env!("CARGO_CRATE_NAME") == "commands_gearmand" {
        let mut command = Command::new("/usr/sbin/gearmand");
        command
            .args(["--listen=127.0.0.1", "--log-file=none", "-u", "root"])
            .arg(format!("--port={port}"));
        return command;
    }
    let mut command = gearpool();
    command
        .args(["serve", "-L", "127.0.0.1", "-p"])
        .arg(port.to_string())
        .arg("--state-dir")
        .arg(state);
    command
}

/// A running server; its end is the end of the value.
pub(crate) struct Server {
    pub(crate) port: u16,
    _running: running::Running,
    /// Its folder, which goes with it: the default one would stay.
    _state: TempDir,
}

impl Server {
    pub(crate) fn start() -> Server {
        Server::start_on(free_port())
    }

    pub(crate) fn start_on(port: u16) -> Server {
        let state = tempfile::tempdir().unwrap();
        let command = server_command(port, state.path());
        let mut running = running::Running::start("the server", &command, b"");
        until("the server listens", || {
            assert!(running.ended().is_none(), "the server ended at once");
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Server {
            port,
            _running: running,
            _state: state,
        }
    }

    /// The answer to a line of admin text that is one line.
    pub(crate) fn ask(&self, line: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        writeln!(stream, "{line}").unwrap();
        let mut answer = Vec::new();
        let mut chunk = [0; 4096];
        while !answer.ends_with(b".\n") {
            let count = stream.read(&mut chunk).unwrap();
            assert!(count > 0, "the server ended within its answer");
            answer.extend_from_slice(&chunk[..count]);
        }
        String::from_utf8(answer).unwrap()
    }

    /// Queued and running jobs, running jobs, and workers of a function.
    pub(crate) fn status(&self, function: &str) -> [u32; 3] {
        let answer = self.ask("status");
        let fields = answer
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{function}\t")));
        let mut numbers = fields.unwrap_or("0\t0\t0").split('\t');
        [(); 3].map(|()| numbers.next().unwrap().parse().unwrap())
    }

    /// `gearpool COMMAND -p PORT`.
    pub(crate) fn gearpool(&self, command: &str) -> Command {
        let mut gearpool = gearpool();
        gearpool.args([command, "-p"]).arg(self.port.to_string());
        gearpool
    }

    /// The `gearman` tool.
    pub(crate) fn gearman(&self) -> Command {
        let mut gearman = Command::new("gearman");
        gearman.arg("-p").arg(self.port.to_string());
        gearman
    }
}

/// `gearpool`, with nothing of the test's own environment that it listens to.
pub(crate) fn gearpool() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gearpool"));
    for name in [
        "GEARMAN_SERVERS",
        "GEARMAN_SERVER",
        "GEARPOOL_CONFIG",
        "GEARMAND_PORT",
        "GEARPOOL_POOL",
        "GEARPOOL_SLOT",
    ] {
        command.env_remove(name);
    }
    command
}

/// Waits for a condition.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    poll(what, DEADLINE, || condition().then_some(()));
}

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code, or minus the signal.
    pub(crate) code: i32,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl Ended {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.out).unwrap()
    }
}

/// A command on its way. It is killed when the value ends.
pub(crate) struct Running(running::Running);

/// Starts a command with this standard input.
pub(crate) fn start(command: &mut Command, input: &[u8]) -> Running {
    let name = command.get_program().to_string_lossy().into_owned();
    Running(running::Running::start(&name, command, input))
}

impl Running {
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid().cast_signed()), signal).unwrap();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.child.id()
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn end(self) -> Ended {
        let finished = self.0.finish(DEADLINE).unwrap();
        let status = finished.status;
        Ended {
            code: status
                .code()
                .unwrap_or_else(|| -status.signal().unwrap_or_default()),
            out: finished.out,
            err: String::from_utf8(finished.err).unwrap(),
        }
    }
}

/// Runs a command to its end.
#[track_caller]
pub(crate) fn run(command: &mut Command, input: &[u8]) -> Ended {
    start(command, input).end()
}
