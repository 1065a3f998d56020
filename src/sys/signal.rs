//! Signals to workers: always to the whole process group, since a worker may be a shell that started the real one.

use std::io;

use nix::errno::Errno;
use nix::sys::signal::{self, Signal as Number};
use nix::unistd::Pid;

use crate::config::Signal;

/// Sends `signal` to the process group that [`child::spawn`](super::child::spawn) made for the process `pid`. One that has ended
/// meanwhile is no error.
///
/// # Errors
/// EPERM, when every process of the group runs as another user.
pub fn signal_group(pid: u32, signal: Signal) -> io::Result<()> {
    let group = match i32::try_from(pid) {
        // Group 0 is the caller's own and 1 is every process there is: neither was ever spawned.
        Ok(pid) if pid > 1 => Pid::from_raw(pid),
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    };
    match signal::killpg(group, number(signal)) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// The system's own.
pub(super) fn number(signal: Signal) -> Number {
    match signal {
        Signal::Hup => Number::SIGHUP,
        Signal::Int => Number::SIGINT,
        Signal::Quit => Number::SIGQUIT,
        Signal::Term => Number::SIGTERM,
        Signal::Usr1 => Number::SIGUSR1,
        Signal::Usr2 => Number::SIGUSR2,
        Signal::Kill => Number::SIGKILL,
    }
}

/// Ends the process group of `pid` at once. Also right after `pid` itself was reaped, for the children that it left: while one of them
/// lives the system gives the number to nobody else.
///
/// # Errors
/// As [`signal_group`].
pub fn kill_group(pid: u32) -> io::Result<()> {
    signal_group(pid, Signal::Kill)
}

/// Ends one process of ours at once. One that is gone already is no error.
pub fn kill(pid: u32) {
    if let Ok(pid) = i32::try_from(pid) {
        // the only other answer than "gone" would be that it changed its user, and then nothing can be done
        let _ = signal::kill(Pid::from_raw(pid), Number::SIGKILL);
    }
}

/// Stops this program and whatever else its terminal's job is, as Ctrl-Z does, and returns when the shell has it go on.
///
/// # Errors
/// None that the system is known to give.
pub fn suspend() -> io::Result<()> {
    // 0 is the caller's own group: under `sudo`, say, the one in front has to stop too
    Ok(signal::kill(Pid::from_raw(0), Number::SIGTSTP)?)
}

/// Has the signals that the daemon listens to wait, in this thread and in those that it starts from now on: whatever is between two
/// programs must not be ended by one.
pub fn hold() {
    // the only error is a set that makes no sense
    let _ = heard().thread_block();
}

/// Takes them again, in this thread alone, and with them those that have waited.
pub fn release() {
    let _ = heard().thread_unblock();
}

fn heard() -> signal::SigSet {
    [
        Number::SIGHUP,
        Number::SIGINT,
        Number::SIGTERM,
        Number::SIGUSR1,
        Number::SIGUSR2,
    ]
    .into_iter()
    .collect()
}

/// A signal's name, `SIGKILL`; its number where it has none, as the real-time signals.
pub fn name(number: i32) -> String {
    match Number::try_from(number) {
        Ok(signal) => signal.as_str().to_owned(),
        Err(_) => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_mean_more_than_a_group_are_refused() {
        assert!(kill_group(0).is_err());
        assert!(kill_group(1).is_err());
        assert!(kill_group(u32::MAX).is_err());
    }

    #[test]
    fn a_group_that_is_gone_is_no_error() {
        assert!(kill_group(i32::MAX as u32).is_ok());
    }
}
