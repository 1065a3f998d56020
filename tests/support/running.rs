//! A child process whose output is kept, that has a deadline, and that is gone when the test is.

use std::fs::File;
use std::io::{Seek, Write};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// Asks `probe` until it has an answer.
///
/// # Panics
/// When it has none within `limit`, with `what` was waited for.
pub(crate) fn poll<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = probe() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {limit:?} for {what}");
        std::thread::sleep(Duration::from_millis(3));
    }
}

/// A process that was started.
pub(crate) struct Running {
    name: String,
    pub(crate) child: Child,
    out: File,
    err: File,
}

/// A process that has ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) out: Vec<u8>,
    pub(crate) err: Vec<u8>,
}

impl Running {
    /// Starts `command` with `input` as its standard input.
    ///
    /// Files stand in for pipes: nobody has to read or write at the right moment. The process leads a group of its own, which
    /// is killed with this value, and setpriv(1) has the kernel kill it if the test itself is killed.
    pub(crate) fn start(name: &str, command: &Command, input: &[u8]) -> Running {
        let mut stdin = tempfile::tempfile().unwrap();
        stdin.write_all(input).unwrap();
        stdin.rewind().unwrap();
        let out = tempfile::tempfile().unwrap();
        let err = tempfile::tempfile().unwrap();

        let mut guarded = Command::new("setpriv");
        guarded
            .args(["--pdeathsig", "KILL", "--"])
            .arg(command.get_program())
            .args(command.get_args())
            .stdin(Stdio::from(stdin))
            .stdout(Stdio::from(out.try_clone().unwrap()))
            .stderr(Stdio::from(err.try_clone().unwrap()))
            .process_group(0);
        for (variable, value) in command.get_envs() {
            match value {
                Some(value) => guarded.env(variable, value),
                None => guarded.env_remove(variable),
            };
        }
        if let Some(dir) = command.get_current_dir() {
            guarded.current_dir(dir);
        }

        let child = guarded
            .spawn()
            .unwrap_or_else(|error| panic!("{name} could not be started: {error}"));
        Running {
            name: name.to_owned(),
            child,
            out,
            err,
        }
    }

    /// What it has written so far, standard output before standard error.
    pub(crate) fn output(&self) -> String {
        let mut all = contents(&self.out);
        all.extend(contents(&self.err));
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Its exit status, once it has ended.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end; one that takes longer than `limit` is an error with what it wrote.
    pub(crate) fn finish(mut self, limit: Duration) -> Result<Finished, String> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended() {
                return Ok(Finished {
                    status,
                    out: contents(&self.out),
                    err: contents(&self.err),
                });
            }
            if Instant::now() > deadline {
                return Err(format!(
                    "still running after {limit:?}: {:?}",
                    self.output()
                ));
            }
            std::thread::sleep(Duration::from_millis(3));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It is not reaped yet, or nothing else could have taken its number since: the group is still its own.
        let group = Pid::from_raw(self.child.id().cast_signed());
        let _ = killpg(group, Signal::SIGKILL);
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- what {} wrote:\n{}", self.name, self.output());
        }
    }
}

/// A file from its start, whatever the writer's offset.
fn contents(file: &File) -> Vec<u8> {
    let length = file.metadata().unwrap().len();
    let mut bytes = vec![0; usize::try_from(length).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}
