//! What is measured: a daemon that keeps processes running.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use crate::workers::{Record, Told, What, now};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Gearpool,
    Supervisord,
    /// This benchmark: starts them, and starts one again when waitpid(2) tells of its end. It does nothing else.
    Floor,
}

/// What is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    /// The worker in C.
    Light,
    /// The same, one of which writes as fast as it goes.
    Loud,
    Php,
}

pub(crate) struct Contestant {
    kind: Kind,
    child: Child,
    folder: PathBuf,
    pub(crate) told: Told,
    /// The first processes, in the order in which they began.
    pub(crate) pids: Vec<i32>,
    pub(crate) up: Up,
}

/// How long it took until all processes ran.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Up {
    pub(crate) begun: Duration,
    /// Until the daemon's own status said that all are registered.
    pub(crate) registered: Option<Duration>,
}

/// What a daemon has used so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Used {
    pub(crate) cpu: Duration,
    pub(crate) wakeups: u64,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Gearpool => "gearpool",
            Kind::Supervisord => "supervisord",
            Kind::Floor => "floor",
        }
    }
}

impl Contestant {
    /// Starts a daemon with so many processes, and waits until they run.
    pub(crate) fn start(
        kind: Kind,
        folder: &Path,
        worker: &Path,
        sort: Sort,
        count: usize,
    ) -> Contestant {
        let fifo = folder.join("fifo");
        let told = Told::on(&fifo);
        let mode = match (kind, sort) {
            (Kind::Gearpool, _) => "gearman",
            (Kind::Supervisord | Kind::Floor, _) => "idle",
        };
        let command = |mode: &str| match sort {
            Sort::Php => {
                let source =
                    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/manager/worker.php");
                format!("php {} {}", source.display(), fifo.display())
            }
            Sort::Light | Sort::Loud => format!("{} {} {mode}", worker.display(), fifo.display()),
        };
        let loud = (sort == Sort::Loud).then(|| command("loud"));
        let mut starting = match kind {
            Kind::Gearpool => gearpool(folder, &command(mode), loud.as_deref(), count),
            Kind::Supervisord => supervisord(folder, &command(mode), loud.as_deref(), count),
            Kind::Floor => {
                let mut it = Command::new(std::env::current_exe().unwrap());
                it.arg("--floor").arg(count.to_string());
                it.args(command(mode).split(' '));
                it
            }
        };
        starting
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let begin = now();
        let child = starting.spawn().unwrap_or_else(|error| {
            panic!(
                "{} cannot be started: {error}; Debian: apt install supervisor",
                kind.name()
            )
        });
        let mut it = Contestant {
            kind,
            child,
            folder: folder.to_owned(),
            told,
            pids: Vec::new(),
            up: Up {
                begun: Duration::ZERO,
                registered: None,
            },
        };
        let count = count + usize::from(sort == Sort::Loud);
        let records = it.told.take(What::Begun, count);
        it.up.begun = last(&records) - begin;
        it.pids = records.iter().map(|record| record.pid).collect();
        if kind == Kind::Gearpool {
            it.await_registered(count);
            it.up.registered = Some(now() - begin);
        }
        it
    }

    /// Waits until the daemon knows so many registered processes.
    pub(crate) fn await_registered(&self, count: usize) {
        let begin = Instant::now();
        while self.registered() != count {
            assert!(begin.elapsed().as_secs() < 60, "they do not register");
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    fn registered(&self) -> usize {
        let Some(text) = self.ask() else { return 0 };
        text.matches(r#""state":"running","up""#).count()
    }

    /// The status, over the control socket and without a client's own start.
    pub(crate) fn ask(&self) -> Option<String> {
        let mut socket = UnixStream::connect(self.folder.join("state/control.sock")).ok()?;
        socket
            .write_all(b"GET /status HTTP/1.1\r\nhost: gearpool\r\nconnection: close\r\n\r\n")
            .ok()?;
        let mut text = String::new();
        socket.read_to_string(&mut text).ok()?;
        Some(text)
    }

    /// Its own status command, from its start to its end.
    pub(crate) fn status(&self) -> Duration {
        let mut command = match self.kind {
            Kind::Gearpool => {
                let mut it = Command::new(env!("CARGO_BIN_EXE_gearpool"));
                it.args(["status", "--state-dir"])
                    .arg(self.folder.join("state"));
                it
            }
            Kind::Supervisord | Kind::Floor => {
                let mut it = Command::new("supervisorctl");
                it.arg("-c")
                    .arg(self.folder.join("supervisord.conf"))
                    .arg("status");
                it
            }
        };
        let begin = Instant::now();
        let output = command.output().unwrap();
        let took = begin.elapsed();
        let text = String::from_utf8_lossy(&output.stdout);
        let shown = text
            .lines()
            .filter(|line| line.to_lowercase().contains("running"))
            .count();
        assert!(
            shown >= 200,
            "{text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        took
    }

    /// Has the loud one begin.
    pub(crate) fn make_noise(&self) {
        std::fs::write(self.folder.join("fifo.loud"), "").unwrap();
    }

    pub(crate) fn used(&self) -> Used {
        let clock = ClockId::pid_cpu_clock_id(self.pid()).unwrap();
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let wakeups = tasks.filter_map(|task| {
            let text = std::fs::read_to_string(task.ok()?.path().join("status")).ok()?;
            field(&text, "voluntary_ctxt_switches:")
        });
        Used {
            cpu: clock_gettime(clock).unwrap().into(),
            wakeups: wakeups.sum(),
        }
    }

    /// Resident, and its share of what is resident (PSS), in MB.
    pub(crate) fn memory(&self) -> (f64, f64) {
        let text =
            std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id())).unwrap();
        let megabytes = |name| field(&text, name).unwrap() as f64 * 1024.0 / 1e6;
        (megabytes("Rss:"), megabytes("Pss:"))
    }

    /// How many descriptors it has, of pipes and of all sorts.
    pub(crate) fn descriptors(&self) -> (usize, usize) {
        let entries = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap();
        let links: Vec<_> = entries
            .filter_map(|it| std::fs::read_link(it.ok()?.path()).ok())
            .collect();
        let pipes = links
            .iter()
            .filter(|it| it.to_string_lossy().starts_with("pipe:"));
        (pipes.count(), links.len())
    }

    /// Has a daemon stop its processes and end.
    pub(crate) fn stop(mut self) -> Duration {
        let begin = Instant::now();
        kill(self.pid(), Signal::SIGTERM).unwrap();
        self.child.wait().unwrap();
        begin.elapsed()
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Where the job server listens.
    pub(crate) fn address(&self) -> String {
        let text = self.ask().unwrap();
        let (_, listen) = text.split_once(r#""listen":[""#).unwrap();
        listen.split('"').next().unwrap().to_owned()
    }
}

impl Drop for Contestant {
    fn drop(&mut self) {
        // Not with KILL, after which nobody would end the processes of the other two.
        let _ = kill(self.pid(), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}

/// A pool of `count`, and a loud one.
fn gearpool(folder: &Path, command: &str, loud: Option<&str>, count: usize) -> Command {
    let mut file = format!("bench: {{cmd: '{command}', count: {count}}}\n");
    if let Some(loud) = loud {
        file += &format!("loud: {{cmd: '{loud}', functions: [bench]}}\n");
    }
    // In a folder of its own, which is watched.
    let config = folder.join("config");
    std::fs::create_dir(&config).unwrap();
    std::fs::write(config.join("workers.yaml"), file).unwrap();
    let mut it = Command::new(env!("CARGO_BIN_EXE_gearpool"));
    it.args(["serve", "-L", "127.0.0.1", "-p", "0", "--log-file", "none"]);
    it.arg("--state-dir").arg(folder.join("state"));
    it.arg("-c").arg(config.join("workers.yaml"));
    it
}

/// The same, with what a file of supervisord usually has.
fn supervisord(folder: &Path, command: &str, loud: Option<&str>, count: usize) -> Command {
    let dir = folder.display();
    let mut file = format!(
        "[supervisord]\nnodaemon=true\nlogfile={dir}/supervisord.log\npidfile={dir}/pid\nchildlogdir={dir}\nminfds=4096\n\
         [unix_http_server]\nfile={dir}/sock\n\
         [rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n\
         [supervisorctl]\nserverurl=unix://{dir}/sock\n\
         [program:bench]\ncommand={command}\nnumprocs={count}\nprocess_name=%(process_num)03d\nredirect_stderr=true\n"
    );
    if let Some(loud) = loud {
        file += &format!("[program:loud]\ncommand={loud}\nredirect_stderr=true\n");
    }
    std::fs::write(folder.join("supervisord.conf"), file).unwrap();
    let mut it = Command::new("supervisord");
    it.arg("-c").arg(folder.join("supervisord.conf"));
    it
}

/// `--floor COUNT COMMAND…`
pub(crate) fn floor(words: &[String]) {
    let count: usize = words[0].parse().unwrap();
    let awaited = SigSet::from_iter([Signal::SIGCHLD, Signal::SIGTERM]);
    awaited.thread_block().unwrap();
    let spawn = || {
        let child = Command::new(&words[1])
            .args(&words[2..])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        let child = child.unwrap();
        (Pid::from_raw(child.id().cast_signed()), child)
    };
    let mut children: HashMap<Pid, Child> = (0..count).map(|_| spawn()).collect();
    while awaited.wait().unwrap() != Signal::SIGTERM {
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG))
            && let Some(pid) = status.pid()
        {
            children.remove(&pid);
            children.extend([spawn()]);
        }
    }
    for &pid in children.keys() {
        // They have the blocked signals of this one.
        kill(pid, Signal::SIGKILL).unwrap();
    }
    while waitpid(None, None).is_ok() {}
}

pub(crate) fn last(records: &[Record]) -> Duration {
    records.iter().map(|record| record.at).max().unwrap()
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}
