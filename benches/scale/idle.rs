//! What the real daemon costs with 200 pools of 20 processes that have nothing to do, or as many pools as it has descriptors for.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gearpool::pools::view::ProcessState;
use gearpool::status::Status;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

const POOLS: usize = 200;
const PROCESSES: usize = 20;

/// So many descriptors the daemon needs for a process, and beside them.
const DESCRIPTORS: usize = 5;
const OTHERS: usize = 64;

/// How long it is watched.
const WATCHED: Duration = Duration::from_secs(60);

/// How long the processes may take to come up.
const DEADLINE: Duration = Duration::from_secs(300);

pub(crate) fn measure() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let folder = folder.path();
    fs::write(folder.join("idle.c"), include_str!("idle.c")).expect("the folder is writable");
    let compiled = Command::new("cc")
        .args(["-Os", "-o", "idle", "idle.c"])
        .current_dir(folder)
        .status()
        .expect("there is a C compiler");
    assert!(compiled.success(), "the worker: {compiled}");
    let (_, limit) = getrlimit(Resource::RLIMIT_NOFILE).expect("there is a limit");
    let room = (limit as usize).saturating_sub(OTHERS) / (DESCRIPTORS * PROCESSES);
    let pools = POOLS.min(room);
    let mut file = String::new();
    for pool in 0..pools {
        let _ = writeln!(file, "p{pool}: {{cmd: ./idle p{pool}, count: {PROCESSES}}}");
    }
    fs::write(folder.join("workers.yaml"), file).expect("the folder is writable");

    let start = Instant::now();
    let daemon = gearpool(
        folder,
        &["serve", "-c", "workers.yaml", "-L", "127.0.0.1", "-p", "0"],
    )
    .stderr(fs::File::create(folder.join("daemon.log")).expect("the folder is writable"))
    .spawn()
    .expect("the daemon starts");
    let mut daemon = Daemon(daemon);
    loop {
        let status = gearpool(folder, &["status", "--json"])
            .stdout(Stdio::piped())
            .output()
            .expect("the command starts");
        let running = serde_json::from_slice::<Status>(&status.stdout).map_or(0, |status| {
            let members = status.pools.iter().flat_map(|pool| &pool.members);
            let states = members.map(|it| it.process.state);
            states.filter(|&it| it == ProcessState::Running).count()
        });
        if running == pools * PROCESSES {
            break;
        }
        assert!(
            start.elapsed() < DEADLINE,
            "{running} are up after {DEADLINE:?}"
        );
        std::thread::sleep(Duration::from_millis(500));
    }
    println!(
        "{pools} pools of {PROCESSES} processes were up after {:.1} s",
        start.elapsed().as_secs_f64()
    );
    // what follows from the start
    std::thread::sleep(Duration::from_secs(5));
    let (before, began) = (daemon.cpu(), Instant::now());
    std::thread::sleep(WATCHED);
    let used = (daemon.cpu() - before).as_secs_f64() / began.elapsed().as_secs_f64();
    println!(
        "idle they cost {:.3} % of a processor; the daemon has {} MiB of memory",
        used * 100.0,
        daemon.resident() >> 20
    );
    kill(daemon.pid(), Signal::SIGTERM).expect("it is there");
    let start = Instant::now();
    daemon.0.wait().expect("it ends");
    println!("stopped after {:.1} s", start.elapsed().as_secs_f64());
}

fn gearpool(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gearpool"));
    command
        .args(words)
        .env("GEARPOOL_STATE_DIR", folder.join("state"))
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}

/// One that does not outlive this program.
struct Daemon(Child);

impl Daemon {
    fn pid(&self) -> Pid {
        Pid::from_raw(self.0.id().cast_signed())
    }

    /// The processor time of all of its threads.
    fn cpu(&self) -> Duration {
        let clock = ClockId::pid_cpu_clock_id(self.pid()).expect("it is there");
        clock_gettime(clock).expect("it is there").into()
    }

    /// In bytes.
    fn resident(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/statm", self.0.id())).unwrap_or_default();
        let pages = text.split(' ').nth(1).and_then(|it| it.parse::<u64>().ok());
        pages.unwrap_or_default() * 4096
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
