#![expect(
    unsafe_code,
    reason = "pre_exec: the guardian leaves the daemon's session before it is executed"
)]
//! The guardian: a small process that outlives the daemon by a moment and leaves no worker behind.
//!
//! `PR_SET_PDEATHSIG` ends the workers themselves when the daemon is killed with -9, but not what they started. So the daemon starts
//! its own program once more, as `gearpool __guardian`, and tells it over a pipe of each worker's session. The guardian sleeps in
//! read(2) until the pipe ends, which the kernel sees to however the daemon dies, and then kills until nothing is left. A normal
//! shutdown ends in the same way, by the same code.
//!
//! It finds processes by their session and process group, and those that left both by this instance's marker in their environment
//! ([`MARKER`]), and all of those in their control groups where they have some. It must hold nothing of the daemon's: no listener that would keep the port busy, no terminal, no folder.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, PipeWriter, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio, exit};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::cgroup::{Group, Groups};
use super::process;
use super::signal::kill_group;

/// The variable that every worker's environment must hold, with the instance's token.
pub const MARKER: &str = "GEARPOOL_INSTANCE";

/// The word that makes the program a guardian.
const ARGUMENT: &str = "__guardian";

/// How long the guardian tries: a process stuck in the kernel, on a dead network disk, takes no signal.
const PATIENCE: Duration = Duration::from_secs(10);

/// A word to the guardian: what, and a session's number, both in the machine's own order. Short enough for one write(2) to be whole.
type Record = [u8; 8];
const WATCH: u32 = 1;
const FORGET: u32 = 2;

/// The daemon's end of the pipe. When it is dropped, every watched process dies.
#[derive(Debug)]
pub struct Guardian {
    pipe: PipeWriter,
    pid: u32,
}

impl Guardian {
    /// Starts the guardian of the processes that have `GEARPOOL_INSTANCE=<token>` in their environment. Before anything else is
    /// opened or started, and after the daemon has gone to the background: its own end is what the guardian waits for.
    ///
    /// # Errors
    /// Those of fork and exec.
    pub fn start(token: &str, groups: Option<&Groups>) -> io::Result<Guardian> {
        let groups = groups.map(Groups::folder);
        Guardian::start_from(Path::new("/proc/self/exe"), token, groups)
    }

    /// The same from a given program, whose `main` begins with [`main`].
    ///
    /// # Errors
    /// Those of fork and exec.
    pub fn start_from(program: &Path, token: &str, groups: Option<&Path>) -> io::Result<Guardian> {
        let (input, pipe) = io::pipe()?;
        // A guardian that was stopped must not stop the daemon.
        fcntl(&pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let mut command = Command::new(program);
        command
            .arg0("gearpool")
            .args([ARGUMENT, token])
            .arg(std::process::id().to_string())
            .args(groups)
            .env_clear()
            .current_dir("/")
            .stdin(input)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // SAFETY: `leave` makes system calls on constants and neither allocates nor locks.
        unsafe {
            command.pre_exec(leave);
        }
        let process = command.spawn()?;
        Ok(Guardian {
            pipe,
            pid: process.id(),
        })
    }

    /// A guardian that the program before this one in this process has started, at the other end of its pipe.
    pub fn adopt(pipe: OwnedFd, pid: u32) -> Guardian {
        Guardian {
            pipe: pipe.into(),
            pid,
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The number of the pipe's end.
    pub fn descriptor(&self) -> RawFd {
        self.pipe.as_raw_fd()
    }

    /// A worker was started, `pid` its session.
    ///
    /// # Errors
    /// `BrokenPipe` when the guardian was killed: start another and tell it all. `WouldBlock` when it does not read. In both cases the
    /// worker still has its marker.
    pub fn watch(&self, pid: u32) -> io::Result<()> {
        self.tell(WATCH, pid)
    }

    /// A worker ended, was reaped, and its process group was killed: its number is free again.
    ///
    /// # Errors
    /// As [`Guardian::watch`].
    pub fn forget(&self, pid: u32) -> io::Result<()> {
        self.tell(FORGET, pid)
    }

    /// Kills whatever is left of the workers, and returns when it is gone. Blocks, for 10 s at most.
    ///
    /// # Errors
    /// Those of waitpid(2), and `TimedOut` when processes were left that could not be killed.
    pub fn finish(self) -> io::Result<()> {
        let Guardian { pipe, pid } = self;
        drop(pipe);
        let ended = loop {
            match waitpid(Pid::from_raw(pid.cast_signed()), None) {
                Err(Errno::EINTR) => {}
                ended => break ended?,
            }
        };
        match ended {
            WaitStatus::Exited(_, 0) => Ok(()),
            _ => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "some workers' processes could not be killed",
            )),
        }
    }

    fn tell(&self, what: u32, pid: u32) -> io::Result<()> {
        (&self.pipe).write_all(&record(what, pid))
    }
}

fn record(what: u32, pid: u32) -> Record {
    let mut record = [0; 8];
    record[..4].copy_from_slice(&what.to_ne_bytes());
    record[4..].copy_from_slice(&pid.to_ne_bytes());
    record
}

/// Runs in the child before exec. Ignored signals stay ignored through it, so that there is no moment in which a Ctrl-C, or a service
/// manager's TERM to all processes, ends the guardian before the daemon.
fn leave() -> io::Result<()> {
    // SAFETY: async-signal-safe system calls without pointers.
    unsafe {
        libc::setsid();
        for number in [
            libc::SIGINT,
            libc::SIGTERM,
            libc::SIGHUP,
            libc::SIGQUIT,
            libc::SIGUSR1,
            libc::SIGUSR2,
        ] {
            libc::signal(number, libc::SIG_IGN);
        }
        libc::syscall(
            libc::SYS_close_range,
            3,
            libc::c_uint::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        );
    }
    Ok(())
}

/// Kills what the daemon of this `token` has left that is still there, and says how many processes that were: its guardian was killed
/// together with it, or is still at it. Blocks, for 10 s at most.
pub fn kill_left(token: &str) -> usize {
    sweep(&BTreeSet::new(), marker(token).as_bytes(), &Vec::new).1
}

fn marker(token: &str) -> String {
    format!("{MARKER}={token}")
}

/// Becomes the guardian if that is what this process was started as, and then does not return. The first thing in `main`.
pub fn main() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().as_deref() != Some(OsStr::new(ARGUMENT)) {
        return;
    }
    let Some(token) = arguments.next().filter(|token| !token.is_empty()) else {
        exit(2);
    };
    // Started through a link, its name would be the link's.
    let _ = nix::sys::prctl::set_name(c"gearpool-guard");
    let marker = marker(&token.to_string_lossy());
    let daemon = arguments.next().and_then(|pid| pid.to_str()?.parse().ok());
    let groups = arguments.next().map(PathBuf::from);
    let sessions = listen(io::stdin().lock());
    let groups = || {
        let known = groups.as_deref().zip(daemon);
        known.map_or_else(Vec::new, |(folder, daemon)| Groups::left(folder, daemon))
    };
    let (swept, _) = sweep(&sessions, marker.as_bytes(), &groups);
    for group in groups() {
        group.remove();
    }
    exit(match swept {
        Swept::Clean => 0,
        Swept::Left => 1,
    });
}

/// Keeps the list of sessions until the pipe ends.
fn listen(mut pipe: impl Read) -> BTreeSet<u32> {
    let mut sessions = BTreeSet::new();
    let mut record = Record::default();
    // An error other than an interruption, which read_exact repeats, is an end too.
    while pipe.read_exact(&mut record).is_ok() {
        let [a, b, c, d, e, f, g, h] = record;
        let pid = u32::from_ne_bytes([e, f, g, h]);
        match u32::from_ne_bytes([a, b, c, d]) {
            WATCH if pid > 1 => _ = sessions.insert(pid),
            FORGET => _ = sessions.remove(&pid),
            _ => {}
        }
    }
    sessions
}

/// Whether anything is left.
enum Swept {
    Clean,
    Left,
}

/// Kills until two readings of the table find nothing: one alone may have passed a number that a process forked into behind it. Says
/// also how many there were at once, at most.
fn sweep(
    sessions: &BTreeSet<u32>,
    marker: &[u8],
    groups: &dyn Fn() -> Vec<Group>,
) -> (Swept, usize) {
    let begin = Instant::now();
    let mut pause = Duration::from_millis(2);
    let (mut clean, mut most) = (0, 0);
    loop {
        let found = kill_all(sessions, marker, &groups());
        most = most.max(found);
        clean = match found {
            0 => clean + 1,
            _ => 0,
        };
        if clean == 2 {
            return (Swept::Clean, most);
        }
        if begin.elapsed() > PATIENCE {
            return (Swept::Left, most);
        }
        thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}

/// One pass; how many processes it found.
fn kill_all(sessions: &BTreeSet<u32>, marker: &[u8], groups: &[Group]) -> usize {
    // A group's members die in one step, before one of them can fork.
    for &session in sessions {
        let _ = kill_group(session);
    }
    let own = std::process::id();
    let mut found = 0;
    for group in groups {
        found += group.processes().len();
        // where the kernel cannot, what has hidden from the rest stays
        let _ = group.kill();
    }
    for process in process::all() {
        if process.ended || process.pid <= 1 || process.pid == own {
            continue;
        }
        let ours = sessions.contains(&process.session)
            || sessions.contains(&process.group)
            || is_marked(process.pid, marker);
        if ours && let Ok(pid) = i32::try_from(process.pid) {
            found += 1;
            // One that cannot be killed, a set-user-id program of another user, is tried again until patience ends.
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    found
}

fn is_marked(pid: u32, marker: &[u8]) -> bool {
    process::has_in_environment(pid, &[marker])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_sessions() {
        let mut words = Vec::new();
        for word in [
            record(WATCH, 811),
            record(WATCH, 812),
            record(FORGET, 811),
            record(WATCH, 0),
            record(WATCH, 1),
            record(FORGET, 5),
            record(77, 9),
        ] {
            words.extend_from_slice(&word);
        }
        assert_eq!(listen(&words[..]), BTreeSet::from([812]));
        // Half a word: the daemon died in the middle.
        assert_eq!(listen(&words[..12]), BTreeSet::from([811]));
    }
}
