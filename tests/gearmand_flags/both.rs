//! gearmand and Gearpool beside each other.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::running::{Running, poll};

/// Longer than anything here takes on a busy machine; reached only when something hangs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// What has come of a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// The server listens.
    Listens,
    /// The command has ended with this code, minus a signal's number.
    Ends(i32),
}

/// Both servers, started with the same arguments in folders of their own.
pub(crate) struct Both {
    pub(crate) gearmand: Server,
    pub(crate) gearpool: Server,
}

impl Both {
    pub(crate) fn start(arguments: &str) -> Both {
        Both::start_in(arguments, |_| {})
    }

    /// The same in folders and with commands that are prepared.
    pub(crate) fn start_in(arguments: &str, prepare: impl Fn(&mut Prepared)) -> Both {
        Both {
            gearmand: Server::start(Path::new("/usr/sbin/gearmand"), arguments, &prepare),
            gearpool: Server::start(
                Path::new(env!("CARGO_BIN_EXE_gearpool")),
                arguments,
                &prepare,
            ),
        }
    }

    pub(crate) fn each(&mut self) -> [&mut Server; 2] {
        [&mut self.gearmand, &mut self.gearpool]
    }
}

/// A server that is about to be started.
pub(crate) struct Prepared {
    pub(crate) folder: PathBuf,
    pub(crate) port: u16,
    pub(crate) command: Command,
}

pub(crate) struct Server {
    folder: TempDir,
    pub(crate) port: u16,
    arguments: Vec<String>,
    running: Running,
}

impl Server {
    fn start(program: &Path, arguments: &str, prepare: &impl Fn(&mut Prepared)) -> Server {
        let folder = tempfile::tempdir().unwrap();
        // whoever it becomes has to write there
        fs::set_permissions(
            folder.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o777),
        )
        .unwrap();
        let link = folder.path().join("gearmand");
        symlink(program, &link).unwrap();
        let (port, other) = (free_port(), free_port());
        let arguments: Vec<String> = arguments
            .replace("{port}", &port.to_string())
            .replace("{other}", &other.to_string())
            .replace("{uid}", &nix::unistd::getuid().to_string())
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        let mut command = Command::new(&link);
        command
            .args(&arguments)
            .current_dir(folder.path())
            .env_remove("GEARMAND_PORT")
            .env_remove("GEARPOOL_CONFIG")
            .env("GEARPOOL_STATE_DIR", folder.path().join("state"));
        // the default is the whole machine's
        let says_where = |flag: &str| arguments.iter().any(|word| word.starts_with(flag));
        if !says_where("--pid-file") && !says_where("-P") {
            command.arg("--pid-file=server.pid");
        }
        let mut prepared = Prepared {
            folder: folder.path().to_owned(),
            port,
            command,
        };
        prepare(&mut prepared);
        let running = Running::start("the server", &prepared.command, b"");
        Server {
            folder,
            port,
            arguments,
            running,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.path(name)).ok()
    }

    pub(crate) fn output(&self) -> String {
        self.running.output()
    }

    /// Waits until it listens or has ended.
    pub(crate) fn outcome(&mut self) -> Start {
        let what = format!("gearmand {:?} to listen or to end", self.arguments);
        poll(&what, DEADLINE, || match self.running.ended() {
            Some(status) => Some(Start::Ends(code(status))),
            // one that is about to end may still have the port
            None => self.answers().then_some(Start::Listens),
        })
    }

    fn answers(&self) -> bool {
        let Some(mut stream) = self.connect() else {
            return false;
        };
        let mut answer = [0; 3];
        stream.write_all(b"version\n").is_ok()
            && stream.read_exact(&mut answer).is_ok()
            && answer == *b"OK "
    }

    /// Its exit code, or minus the signal that ended it.
    pub(crate) fn end(&mut self) -> i32 {
        poll("the server to end", DEADLINE, || self.ended())
    }

    pub(crate) fn ended(&mut self) -> Option<i32> {
        self.running.ended().map(code)
    }

    pub(crate) fn connect(&self) -> Option<TcpStream> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok()?;
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        Some(stream)
    }

    /// The first line of the answer to a line.
    pub(crate) fn ask(&self, line: &str) -> String {
        let mut stream = self.connect().unwrap();
        writeln!(stream, "{line}").unwrap();
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer).unwrap();
        answer
    }

    /// The process that answers.
    pub(crate) fn pid(&self) -> i32 {
        let answer = self.ask("getpid");
        answer.trim().strip_prefix("OK ").unwrap().parse().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // one that has gone to the background has left the group that ends with `running`
        for name in ["server.pid", "daemon.pid"] {
            let pid = self.read(name).and_then(|text| text.trim().parse().ok());
            if let Some(pid) = pid.filter(|pid| is_ours(*pid, self.folder.path())) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
    }
}

fn is_ours(pid: i32, folder: &Path) -> bool {
    fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == folder)
}

fn code(status: std::process::ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| -status.signal().unwrap_or_default())
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    listener.local_addr().unwrap().port()
}
