//! The servers that are measured: how each is started, when it is ready, what CPU it has used, how it ends.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use nix::sys::signal::{Signal, kill};
use nix::time::ClockId;
use nix::unistd::{Pid, geteuid};

const GEARMAND: &str = "/usr/sbin/gearmand";
const GEARPOOL: &str = env!("CARGO_BIN_EXE_gearpool");

/// How long a server may take to listen, and to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server that can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Contestant {
    /// Debian's job server.
    Gearmand,
    /// Ours.
    Gearpool,
    /// The do-nothing server of this benchmark.
    Floor,
}

impl fmt::Display for Contestant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Contestant::Gearmand => "gearmand",
            Contestant::Gearpool => "gearpool",
            Contestant::Floor => "floor",
        })
    }
}

impl Contestant {
    /// Whether it can run here.
    ///
    /// # Errors
    /// Says what is missing and how to get it.
    pub(crate) fn check(self) -> Result<()> {
        match self {
            Contestant::Gearmand => ensure!(
                Path::new(GEARMAND).exists(),
                "there is no {GEARMAND}: install the Debian package gearman-job-server, or choose others with --server"
            ),
            Contestant::Gearpool => ensure!(
                quiet(Command::new(GEARPOOL).args(["serve", "--help"]))?.success(),
                "{GEARPOOL} has no `serve` command yet: choose others with --server"
            ),
            Contestant::Floor => {}
        }
        Ok(())
    }

    fn command(self, port: u16, state: &Path) -> Result<Command> {
        let mut command;
        match self {
            Contestant::Gearmand => {
                command = Command::new(GEARMAND);
                command.args(["--listen=127.0.0.1", "--log-file=none"]);
                command.arg(format!("--port={port}"));
                if geteuid().is_root() {
                    command.args(["-u", "root"]);
                }
            }
            Contestant::Gearpool => {
                command = Command::new(GEARPOOL);
                command.args(["serve", "-L", "127.0.0.1", "-p", &port.to_string()]);
                command.args(["--log-file", "none"]);
                command.arg("--state-dir").arg(state);
            }
            Contestant::Floor => {
                command = Command::new(std::env::current_exe()?);
                command.args(["--floor-server", &port.to_string()]);
            }
        }
        Ok(command)
    }
}

/// A server that runs. It is killed when this is dropped.
pub(crate) struct Running {
    child: Child,
    address: SocketAddr,
    cpu: ClockId,
    /// The server's directory, gone with it.
    _state: tempfile::TempDir,
}

impl Running {
    /// Starts a fresh server on a free port and waits until it accepts. `under` is a command to run it with, such as `strace`, in
    /// front of its own.
    pub(crate) fn start(contestant: Contestant, under: &[String]) -> Result<Running> {
        let state = tempfile::tempdir()?;
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut command = contestant.command(address.port(), state.path())?;
        if let [tool, arguments @ ..] = under {
            let mut outer = Command::new(tool);
            outer.args(arguments).arg(command.get_program());
            outer.args(command.get_args());
            command = outer;
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {contestant}"))?;
        let give_up = Instant::now() + PATIENCE;
        while TcpStream::connect(address).is_err() {
            if let Some(status) = child.try_wait()? {
                bail!("{contestant} did not start: {status}");
            }
            if Instant::now() > give_up {
                child.kill()?;
                bail!("{contestant} does not listen on {address}");
            }
            thread::sleep(Duration::from_millis(2));
        }
        let cpu = ClockId::pid_cpu_clock_id(Pid::from_raw(child.id() as i32))?;
        Ok(Running {
            child,
            address,
            cpu,
            _state: state,
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The CPU time, user and system, that all its threads, also ended ones, have used so far, in the scheduler's nanoseconds. Waits
    /// until it has come to rest, so that work left over from before does not count as work of later.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let mut seen = self.cpu.now()?;
        let mut still = 0;
        let give_up = Instant::now() + PATIENCE;
        while still < 3 {
            ensure!(
                Instant::now() < give_up,
                "the server does not come to rest after the load has ended"
            );
            thread::sleep(Duration::from_millis(2));
            let now = self.cpu.now()?;
            still = if now == seen { still + 1 } else { 0 };
            seen = now;
        }
        Ok(seen.into())
    }

    /// Asks it to end, and waits for it.
    pub(crate) fn stop(mut self) -> Result<()> {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM)?;
        let give_up = Instant::now() + PATIENCE;
        while self.child.try_wait()?.is_none() && Instant::now() < give_up {
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // fails only when it has ended already, which is what is wanted
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn quiet(command: &mut Command) -> Result<ExitStatus> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null());
    Ok(command.stderr(Stdio::null()).status()?)
}
