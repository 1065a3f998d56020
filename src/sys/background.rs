//! Going to the background, as `-d` asks: the command returns when the daemon is ready, or says why it is not.
#![expect(unsafe_code, reason = "fork(2)")]

use std::fs::File;
use std::io::{self, PipeWriter, Read, Write};
use std::process::exit;

use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, dup2_stderr, dup2_stdin, dup2_stdout, fork, setsid};

/// The daemon while somebody waits for it to be ready: what it says on standard error until then is seen, and if it ends before, the
/// command that started it ends with its exit code.
#[derive(Debug)]
pub struct Starting(PipeWriter);

/// Leaves the terminal: the caller goes on as a child in a session of its own, and the process that called waits until the child is
/// [`ready`](Starting::ready). It stays in its folder, against the custom: a pool that names no folder runs in the daemon's, and `php
/// fetch.php` should mean the same file with and without `-d`. Call it before any thread is started.
///
/// # Errors
/// Those of pipe(2), fork(2) and setsid(2).
pub fn detach() -> io::Result<Starting> {
    let (mut word, starting) = io::pipe()?;
    // SAFETY: no thread has been started, so that no lock is held in the child for ever
    match unsafe { fork() }? {
        ForkResult::Child => {
            setsid()?;
            Ok(Starting(starting))
        }
        ForkResult::Parent { child } => {
            drop(starting);
            if word.read_exact(&mut [0]).is_ok() {
                exit(0);
            }
            exit(match waitpid(child, None) {
                Ok(WaitStatus::Exited(_, code)) => code,
                _ => 1,
            })
        }
    }
}

impl Starting {
    /// Lets the waiting command return, and the terminal go.
    ///
    /// # Errors
    /// Those of opening /dev/null, and of dup2(2).
    pub fn ready(mut self) -> io::Result<()> {
        let null = File::options().read(true).write(true).open("/dev/null")?;
        dup2_stdin(&null)?;
        dup2_stdout(&null)?;
        dup2_stderr(&null)?;
        // nobody waits any more when that command was killed, which is no reason to end
        let _ = self.0.write_all(b"!");
        Ok(())
    }
}
