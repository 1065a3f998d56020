//! `gearpool serve` with a file of a test's own, and everything that a test asks it or does to it.
//!
//! The daemon gets its port from the system, and its state folder, its file and its workers' files are in a temporary folder. With
//! the value ends the daemon, by KILL, so that each test also sees whether anything outlives it.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use gearpool::status::{MemberStatus, PoolStatus, Status};
use gearpool::sys::process;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::running::{Running, poll};

/// Longer than anything here takes on a busy machine; reached only when something hangs.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// The variable that marks the daemon and everything that it starts.
const MARK: &str = "GEARPOOL_TEST_HOME";

/// Waits for a condition.
///
/// # Panics
/// When it does not come true.
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    poll(what, DEADLINE, || condition().then_some(()));
}

/// The folder of a daemon: its file `workers.yaml`, its state, and the worker of these tests.
pub(crate) struct Home {
    folder: TempDir,
}

impl Home {
    pub(crate) fn new(file: &str) -> Home {
        let folder = tempfile::tempdir().unwrap();
        let home = Home { folder };
        home.write("workers.yaml", file);
        home.write("worker.php", include_str!("../daemon/worker.php"));
        home
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file where it is.
    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Puts another file in the place of one, as careful editors do.
    pub(crate) fn replace(&self, name: &str, text: &str) {
        self.write("new", text);
        fs::rename(self.path("new"), self.path(name)).unwrap();
    }

    /// A file's text, empty while there is none.
    pub(crate) fn read(&self, name: &str) -> String {
        fs::read(self.path(name)).map_or_else(
            |_| String::new(),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    /// What jobs have noted, in order.
    pub(crate) fn notes(&self) -> Vec<String> {
        self.read("notes").lines().map(str::to_owned).collect()
    }

    /// `gearpool WORDS` for this folder's daemon.
    pub(crate) fn gearpool(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gearpool"));
        for name in [
            "GEARMAN_SERVERS",
            "GEARMAN_SERVER",
            "GEARMAND_PORT",
            "GEARPOOL_CONFIG",
        ] {
            command.env_remove(name);
        }
        command
            .args(words)
            .env("GEARPOOL_STATE_DIR", self.path("state"))
            // how busy the machine is must not decide a test
            .env("GEARPOOL_LOAD_GUARD", "off")
            .current_dir(self.folder.path());
        command
    }

    /// Runs `gearpool WORDS` to its end.
    pub(crate) fn run(&self, words: &[&str]) -> Ended {
        ended(&self.gearpool(words), b"")
    }

    /// `gearpool serve` as it would be started here, marked.
    pub(crate) fn serve(&self, words: &[&str]) -> Command {
        let mut command = self.gearpool(&["serve", "-c", "workers.yaml"]);
        command.args(words).env(MARK, self.folder.path());
        command
    }

    /// The same on a port of the system's, by way of another program, such as `prlimit`, whose words it comes after.
    pub(crate) fn serve_by(&self, words: &[&str]) -> Command {
        let serve = self.serve(&["-L", "127.0.0.1", "-p", "0"]);
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .arg(serve.get_program())
            .args(serve.get_args())
            .current_dir(self.folder.path());
        for (name, value) in serve.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }

    /// The daemon and whatever of what it has started is still there.
    pub(crate) fn marked(&self) -> Vec<u32> {
        let mark = format!("{MARK}={}", self.folder.path().display());
        let is_marked = |pid: u32| {
            fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
                environment
                    .split(|&byte| byte == 0)
                    .any(|entry| entry == mark.as_bytes())
            })
        };
        let all = process::all().into_iter();
        all.filter(|process| !process.ended && is_marked(process.pid))
            .map(|process| process.pid)
            .collect()
    }
}

/// A daemon that runs.
pub(crate) struct Daemon {
    pub(crate) home: Home,
    pub(crate) port: u16,
    child: Child,
}

impl Daemon {
    /// Starts one with this file, and waits until it answers.
    pub(crate) fn start(file: &str) -> Daemon {
        Daemon::start_in(Home::new(file), &[])
    }

    /// Starts one in this folder.
    pub(crate) fn start_in(home: Home, words: &[&str]) -> Daemon {
        let mut command = home.serve(&["-L", "127.0.0.1", "-p", "0"]);
        command.args(words);
        Daemon::start_as(home, command)
    }

    /// Starts one with a command made from [`Home::serve`].
    pub(crate) fn start_as(home: Home, mut command: Command) -> Daemon {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        Daemon::start_with(home, command)
    }

    /// The same with the standard input and output that the command has.
    pub(crate) fn start_with(home: Home, mut command: Command) -> Daemon {
        command.stderr(File::create(home.path("daemon.log")).unwrap());
        let child = command.spawn().unwrap();
        let mut daemon = Daemon {
            home,
            port: 0,
            child,
        };
        until("the daemon to answer", || {
            if let Some(status) = daemon.child.try_wait().unwrap() {
                panic!("the daemon ended at once with {status}");
            }
            daemon.home.run(&["status"]).code == 0
        });
        let status = daemon.status();
        let (_, port) = status.server.listen[0].rsplit_once(':').unwrap();
        daemon.port = port.parse().unwrap();
        daemon
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The size of its memory that a line of /proc/PID/status has, such as `VmRSS`, in bytes.
    pub(crate) fn memory(&self, name: &str) -> i64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let mut lines = status.lines().filter_map(|line| line.split_once(':'));
        let (_, size) = lines.find(|line| line.0 == name).unwrap();
        let kibibytes: i64 = size.trim_end_matches("kB").trim().parse().unwrap();
        kibibytes << 10
    }

    /// How many descriptors it has.
    pub(crate) fn descriptors(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.pid());
        fs::read_dir(folder).unwrap().count()
    }

    /// Its own log so far.
    pub(crate) fn log(&self) -> String {
        self.home.read("daemon.log")
    }

    /// `gearpool WORDS`, to its end.
    pub(crate) fn run(&self, words: &[&str]) -> Ended {
        self.home.run(words)
    }

    /// `gearpool status --json`.
    pub(crate) fn status(&self) -> Status {
        let ended = self.run(&["status", "--json"]);
        assert_eq!(ended.code, 0, "{ended:?}");
        serde_json::from_str(&ended.out).unwrap()
    }

    /// A pool, with its processes.
    pub(crate) fn pool(&self, name: &str) -> PoolStatus {
        let pools = self.status().pools.into_iter();
        let mut named = pools.filter(|pool| pool.pool.name == name);
        named
            .next()
            .unwrap_or_else(|| panic!("no pool {name} in the status"))
    }

    /// Waits until a pool has this many processes, all of which take jobs, and returns them.
    pub(crate) fn ready(&self, name: &str, count: usize) -> Vec<MemberStatus> {
        use gearpool::pools::view::ProcessState::Running;
        poll(
            &format!("{count} processes of {name} to be ready"),
            DEADLINE,
            || {
                let members = self.pool(name).members;
                let ready = members.iter().all(|member| member.process.state == Running);
                (ready && members.len() == count).then_some(members)
            },
        )
    }

    /// [`Daemon::submit_command`] on its way.
    pub(crate) fn submit(&self, words: &[&str]) -> Running {
        Running::start("gearpool submit", &self.submit_command(words), b"")
    }

    /// Submits one job in the foreground and waits for its end.
    pub(crate) fn result(&self, function: &str, workload: &str) -> Ended {
        ended(&self.submit_command(&["-f", function, workload]), b"")
    }

    /// Submits jobs in the background.
    pub(crate) fn queue(&self, function: &str, workloads: &[String]) {
        let lines = workloads.join("\n");
        let command = self.submit_command(&["-b", "-N", "-f", function]);
        let ended = ended(&command, lines.as_bytes());
        assert_eq!(ended.code, 0, "{ended:?}");
        assert_eq!(ended.out.lines().count(), workloads.len());
    }

    /// `gearpool submit -p PORT WORDS`.
    pub(crate) fn submit_command(&self, words: &[&str]) -> Command {
        let mut command = self.home.gearpool(&["submit", "-p"]);
        command.arg(self.port.to_string()).args(words);
        command
    }

    /// A connection to its port.
    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Waits for its end: its exit code, or minus the signal, and how long that took.
    pub(crate) fn end(&mut self) -> (i32, Duration) {
        let start = Instant::now();
        let status = poll("the daemon to end", DEADLINE, || {
            self.child.try_wait().unwrap()
        });
        (code(status), start.elapsed())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let start = Instant::now();
        let mut left = self.home.marked();
        while !left.is_empty() && start.elapsed() < DEADLINE {
            std::thread::sleep(Duration::from_millis(5));
            left = self.home.marked();
        }
        for &pid in &left {
            let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
        }
        if std::thread::panicking() {
            eprintln!("--- the daemon's log:\n{}", self.log());
        } else {
            assert!(left.is_empty(), "outlived the daemon: {left:?}");
        }
    }
}

/// What a command left behind.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The exit code, or minus the signal.
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs a command to its end.
pub(crate) fn ended(command: &Command, input: &[u8]) -> Ended {
    finish(Running::start("gearpool", command, input))
}

/// Waits for the end of a command.
pub(crate) fn finish(running: Running) -> Ended {
    let finished = running.finish(DEADLINE).unwrap();
    Ended {
        code: code(finished.status),
        out: String::from_utf8(finished.out).unwrap(),
        err: String::from_utf8(finished.err).unwrap(),
    }
}

fn code(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| -status.signal().unwrap_or_default())
}

/// The process ids of processes.
pub(crate) fn pids(members: &[MemberStatus]) -> Vec<u32> {
    members
        .iter()
        .filter_map(|member| member.process.pid)
        .collect()
}
