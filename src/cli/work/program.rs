//! The command that a job runs: found once, started once a job.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::pin::pin;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::{Instant, sleep_until};

use crate::proto::frame::MAX_BODY;
use crate::sys;

/// The longest result, in bytes: with the handle and a NUL before it, a packet still holds it.
pub(super) const MAX_OUTPUT: usize = MAX_BODY - 1024;

/// How long the output may stay open after the command's end, held by something that it left behind.
const LEFT_OPEN: Duration = Duration::from_secs(2);

/// A job in hand.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) handle: Vec<u8>,
    pub(super) function: Vec<u8>,
    pub(super) unique: Vec<u8>,
    pub(super) workload: Vec<u8>,
}

/// What a job's command came to.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It ended, and this is what it printed.
    Ended(ExitStatus, Vec<u8>),
    /// It printed more than a result may have, and was killed.
    TooMuch,
    /// It was killed because the worker was told to stop now.
    Killed,
}

/// Whose signals a command gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Group {
    /// Its own: Ctrl-C in a terminal is for the worker alone, which lets the job finish.
    Own,
    /// The worker's: a pool that kills the worker's group means all of it.
    Workers,
}

/// A command line.
#[derive(Debug)]
pub(super) struct Program {
    words: Vec<OsString>,
    group: Group,
}

impl Program {
    /// A command line for a shell; several words have blanks between them.
    pub(super) fn shell(words: &[OsString]) -> Program {
        let line = words.join(OsStr::new(" "));
        Program::new(vec!["/bin/sh".into(), "-c".into(), line])
    }

    /// The command, which must be there.
    ///
    /// # Errors
    /// A sentence that says what is missing.
    pub(super) fn find(words: &[OsString]) -> Result<Program, String> {
        let name = words.first().map(OsString::as_os_str).unwrap_or_default();
        let shown = name.display();
        if name.as_bytes().contains(&b'/') {
            if !Path::new(name).exists() {
                return Err(format!("cannot run {shown}: there is no such file"));
            }
            if !is_executable(Path::new(name)) {
                return Err(format!("cannot run {shown}: it is not an executable file"));
            }
        } else {
            let path = env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
            let found = !name.is_empty()
                && env::split_paths(&path).any(|directory| is_executable(&directory.join(name)));
            if !found {
                let hint = match name.as_bytes().contains(&b' ') {
                    true => "; give its words one by one, or --shell for a shell's command line",
                    false => "",
                };
                return Err(format!(
                    "cannot run {shown}: there is no such command in PATH{hint}"
                ));
            }
        }
        Ok(Program::new(words.to_vec()))
    }

    fn new(words: Vec<OsString>) -> Program {
        let group = match env::var_os("GEARPOOL_POOL") {
            Some(_) => Group::Workers,
            None => Group::Own,
        };
        Program { words, group }
    }

    /// Runs the command for `job`, until it ends or `kill` does.
    ///
    /// # Errors
    /// It cannot be started, or its output cannot be read.
    pub(super) async fn run(
        &self,
        job: &Job,
        kill: impl Future<Output = ()>,
    ) -> io::Result<Outcome> {
        let mut child = self.command(job).spawn()?;
        let pid = child.id();
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let feed = async {
            if let Some(mut stdin) = stdin {
                // a command that does not want all of its input has a right to that
                let _ = stdin.write_all(&job.workload).await;
            }
        };
        let mut output = Vec::new();
        let mut status = None;
        let reading = async {
            match stdout {
                Some(stdout) => read(stdout, &mut output).await,
                None => Ok(Read::All),
            }
        };
        let why = {
            let (mut feed, mut reading, mut kill) = (pin!(feed), pin!(reading), pin!(kill));
            let (mut fed, mut all) = (false, false);
            let mut limit = Instant::now();
            loop {
                tokio::select! {
                    () = &mut feed, if !fed => fed = true,
                    read = &mut reading, if !all => match read? {
                        Read::All => all = true,
                        Read::TooMuch => break Some(Outcome::TooMuch),
                    },
                    ended = child.wait(), if status.is_none() => {
                        status = Some(ended?);
                        limit = Instant::now() + LEFT_OPEN;
                    }
                    () = sleep_until(limit), if status.is_some() => break None,
                    () = &mut kill => break Some(Outcome::Killed),
                }
                if all && status.is_some() {
                    break None;
                }
            }
        };
        match (why, status) {
            (None, Some(status)) => Ok(Outcome::Ended(status, output)),
            (why, _) => {
                if let Some(pid) = pid {
                    self.kill(pid);
                }
                child.wait().await?;
                Ok(why.unwrap_or(Outcome::Killed))
            }
        }
    }

    /// Whether a command's end was the work of a signal that was meant for the worker too.
    pub(super) fn shared_signal(&self, status: ExitStatus) -> bool {
        self.group == Group::Workers
            && matches!(status.signal(), Some(libc::SIGTERM | libc::SIGINT))
    }

    fn command(&self, job: &Job) -> Command {
        let mut words = self.words.iter();
        let mut command = Command::new(words.next().map(OsString::as_os_str).unwrap_or_default());
        command
            .args(words)
            .env("GEARMAN_JOB_HANDLE", OsStr::from_bytes(&job.handle))
            .env("GEARMAN_JOB_FUNCTION", OsStr::from_bytes(&job.function))
            .env("GEARMAN_JOB_UNIQUE", OsStr::from_bytes(&job.unique))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let command_line = command.as_std_mut();
        sys::lifetime::die_with_parent(command_line);
        if self.group == Group::Own {
            command_line.process_group(0);
        }
        command
    }

    fn kill(&self, pid: u32) {
        match self.group {
            Group::Own => {
                // a group of ours may always be signalled, and one that is gone is no error
                let _ = sys::signal::kill_group(pid);
            }
            Group::Workers => sys::signal::kill(pid),
        }
    }
}

fn is_executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

enum Read {
    All,
    TooMuch,
}

async fn read(stdout: impl AsyncRead + Unpin, output: &mut Vec<u8>) -> io::Result<Read> {
    let mut limited = stdout.take(MAX_OUTPUT as u64 + 1);
    limited.read_to_end(output).await?;
    Ok(match output.len() <= MAX_OUTPUT {
        true => Read::All,
        false => Read::TooMuch,
    })
}
