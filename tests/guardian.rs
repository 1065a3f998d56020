//! Nothing that a worker started outlives the daemon, however the daemon ends. The daemon is this test program itself, started again.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use gearpool::config::Signal;
use gearpool::sys::child::{self, Child, Spec};
use gearpool::sys::guardian::{Guardian, MARKER};
use gearpool::sys::process::{self, Process};
use gearpool::sys::signal::{kill_group, signal_group};

const GEARPOOL: &str = env!("CARGO_BIN_EXE_gearpool");
const LONG: Duration = Duration::from_secs(20);

/// The variable that makes `the_daemon` one, and holds the token.
const ROLE: &str = "GEARPOOL_TEST_DAEMON";

/// Each waits for what it starts to be there before it says so.
const WORKERS: [&str; 5] = [
    // The worker itself.
    "trap '' TERM HUP INT; echo ready; exec sleep 1000",
    // Grandchildren in the worker's group, one without any environment.
    "trap '' TERM HUP INT; sleep 1000 & env -i sleep 1000 & echo ready; wait",
    // A grandchild in a session of its own, whose parent has gone.
    "trap '' TERM HUP INT; (setsid sleep 1000 &); echo ready; sleep 1000",
    // One that left the group, as a shell with job control starts its children.
    "exec python3 -c 'import os, time\n\
        if os.fork() == 0: os.setpgid(0, 0) or os.execvp(\"sleep\", [\"sleep\", \"1000\"])\n\
        print(\"ready\", flush=True)\n\
        time.sleep(1000)'",
    // Always a new one, each in a session of its own.
    "echo ready; exec setsid sh -c 'while :; do setsid sleep 1000 & sleep 0.01; done'",
];

fn worker(token: &str, script: &str) -> Spec {
    Spec {
        argv: ["sh", "-c", script].map(OsString::from).to_vec(),
        env: vec![
            ("PATH".into(), "/usr/bin:/bin".into()),
            (MARKER.into(), token.into()),
        ],
        ..Spec::default()
    }
}

/// The processes with the token in their environment, and those of the sessions.
fn left(token: &str, sessions: &[u32]) -> Vec<Process> {
    let marker = format!("{MARKER}={token}");
    process::all()
        .into_iter()
        .filter(|process| !process.ended)
        .filter(|process| {
            let environment = fs::read(format!("/proc/{}/environ", process.pid));
            sessions.contains(&process.session)
                || environment
                    .unwrap_or_default()
                    .split(|&byte| byte == 0)
                    .any(|entry| entry == marker.as_bytes())
        })
        .collect()
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < LONG, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// What a process has open, by descriptor.
fn open_files(pid: u32) -> Vec<String> {
    let mut files: Vec<(String, String)> = fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .flatten()
        .map(|entry| {
            let target = fs::read_link(entry.path()).unwrap_or_default();
            (
                entry.file_name().to_string_lossy().into_owned(),
                target.to_string_lossy().into_owned(),
            )
        })
        .collect();
    files.sort();
    files.into_iter().map(|(_, target)| target).collect()
}

fn first_line(output: OwnedFd) -> BufReader<fs::File> {
    let file = fs::File::from(output);
    nix::fcntl::fcntl(
        &file,
        nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::empty()),
    )
    .unwrap();
    let mut reader = BufReader::new(file);
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    reader
}

/// Not a test by itself: the daemon, when this program is started with [`ROLE`]. It prints the guardian's id and the workers', and
/// waits to be killed.
#[test]
fn the_daemon() {
    let Ok(token) = std::env::var(ROLE) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _inside = runtime.enter();
    let guardian = Guardian::start_from(Path::new(GEARPOOL), &token, None).unwrap();
    let mut outputs = Vec::new();
    let mut line = format!("started: {}", guardian.pid());
    for script in WORKERS {
        let Child { pid, output, .. } = child::spawn(&worker(&token, script)).unwrap();
        guardian.watch(pid).unwrap();
        outputs.push(first_line(output));
        line.push_str(&format!(" {pid}"));
    }
    println!("{line}");
    loop {
        thread::park();
    }
}

#[test]
fn a_daemon_killed_with_9_leaves_nothing() {
    let token = format!("killed-{}", std::process::id());
    let mut daemon = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_daemon", "--nocapture"])
        .env(ROLE, &token)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let started = BufReader::new(daemon.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok)
        .find_map(|line| Some(line.split_once("started: ")?.1.to_owned()))
        .unwrap();
    let mut pids = started.split(' ').map(|pid| pid.parse::<u32>().unwrap());
    let guardian = pids.next().unwrap();
    let sessions: Vec<u32> = pids.collect();
    assert_eq!(sessions.len(), WORKERS.len());
    eventually("the workers' children have started", || {
        left(&token, &sessions).len() > 12
    });

    daemon.kill().unwrap();
    daemon.wait().unwrap();
    eventually("the guardian has ended", || {
        process::one(guardian).is_none_or(|process| process.ended)
    });
    let left = left(&token, &sessions);
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_normal_end_leaves_nothing_either_and_touches_no_other() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _inside = runtime.enter();
    let token = format!("finished-{}", std::process::id());
    let guardian = Guardian::start_from(Path::new(GEARPOOL), &token, None).unwrap();
    let other_token = format!("{token}-other");
    let bystander = child::spawn(&worker(&other_token, "echo ready; exec sleep 1000")).unwrap();

    let script = "(setsid sleep 1000 &); echo ready; sleep 1000";
    let Child {
        pid,
        output,
        mut exit,
        ..
    } = child::spawn(&worker(&token, script)).unwrap();
    guardian.watch(pid).unwrap();
    let _output = first_line(output);
    eventually("the child has its own session", || {
        left(&token, &[]).iter().any(|one| one.session != pid)
    });
    kill_group(pid).unwrap();
    runtime.block_on(exit.wait()).unwrap();
    guardian.forget(pid).unwrap();
    assert_eq!(left(&token, &[]).len(), 1);

    guardian.finish().unwrap();
    assert_eq!(left(&token, &[]), []);
    assert_eq!(left(&other_token, &[]).len(), 1);
    kill_group(bystander.pid).unwrap();
}

#[test]
fn the_guardian_holds_nothing_and_heeds_no_polite_signal() {
    let token = format!("quiet-{}", std::process::id());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // Without close-on-exec, as something inherited would be.
    let leaked = nix::fcntl::fcntl(&listener, nix::fcntl::FcntlArg::F_DUPFD(60)).unwrap();
    let guardian = Guardian::start_from(Path::new(GEARPOOL), &token, None).unwrap();
    nix::unistd::close(leaked).unwrap();
    let pid = guardian.pid();

    // While the program is being loaded it opens and closes files of its own.
    let mut held = Vec::new();
    eventually("the guardian has only its pipe", || {
        held = open_files(pid);
        held.len() == 3
    });
    assert!(held[0].starts_with("pipe:"), "{held:?}");
    assert_eq!(held[1..], ["/dev/null", "/dev/null"]);
    let own = process::one(pid).unwrap();
    assert_eq!((own.session, own.group), (pid, pid));

    for signal in [Signal::Int, Signal::Term, Signal::Hup, Signal::Quit] {
        signal_group(pid, signal).unwrap();
    }
    // It still reads, and ends by the pipe alone, with success.
    guardian.watch(4_000_000).unwrap();
    guardian.finish().unwrap();
}

#[test]
fn a_guardian_that_was_killed_is_noticed() {
    let token = format!("lost-{}", std::process::id());
    let guardian = Guardian::start_from(Path::new(GEARPOOL), &token, None).unwrap();
    kill_group(guardian.pid()).unwrap();
    eventually("the pipe is broken", || {
        guardian
            .watch(4_000_000)
            .is_err_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    });
    assert!(guardian.finish().is_err());
}
