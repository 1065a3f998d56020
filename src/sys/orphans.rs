//! Processes that came to us because their parent ended: what a worker has left behind, and as process 1 whatever the container leaves.
//!
//! A subreaper (prctl(2), `PR_SET_CHILD_SUBREAPER`) gets them in place of process 1. So whatever a worker starts, and however it hides,
//! with setsid(2) and two forks, is in the tree below this process until it ends, and our child once all between are gone.

#![expect(
    unsafe_code,
    reason = "pidfd_open(2) and pidfd_send_signal(2), which neither the standard library nor nix have"
)]

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;

use super::process::{self, Process};
use crate::config::Signal;

/// Has the kernel give this process the orphans among its descendants. After going to the background, which ends what was set before.
///
/// # Errors
/// None are known for kernels since 3.4.
pub fn inherit() -> std::io::Result<()> {
    Ok(nix::sys::prctl::set_child_subreaper(true)?)
}

/// Whether a child, whosever it is, has ended and not been reaped. Looks at each and is the quicker way to know that none has.
pub fn have_ended() -> bool {
    let looking = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    waitid(Id::All, looking).is_ok_and(|status| status != WaitStatus::StillAlive)
}

/// Reaps the child `pid` if it has ended; true when it is gone. Never of a child that somebody else waits for: its end would be lost.
pub fn reap(pid: u32) -> bool {
    let Ok(pid) = i32::try_from(pid) else {
        return true;
    };
    match waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::StillAlive) => false,
        Ok(_) | Err(Errno::ECHILD) => true,
        Err(_) => false,
    }
}

/// Sends a signal to this very process: if its number is another's meanwhile, to nobody. One that is gone is no error.
pub fn signal(process: &Process, signal: Signal) {
    let number = super::signal::number(signal) as i32;
    let Ok(pid) = i32::try_from(process.pid) else {
        return;
    };
    if pid <= 1 {
        return;
    }
    // SAFETY: a system call on numbers. What it returns is a new descriptor, close-on-exec, or -1.
    let opened = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let handle = match i32::try_from(opened) {
        // SAFETY: the descriptor is new and nobody else's.
        Ok(descriptor) if descriptor >= 0 => unsafe { OwnedFd::from_raw_fd(descriptor) },
        _ if Errno::last() == Errno::ENOSYS => {
            // before Linux 5.3: the number may have become another's between the two calls
            if is_still(process) {
                // SAFETY: a system call on numbers.
                unsafe { libc::kill(pid, number) };
            }
            return;
        }
        _ => return,
    };
    // what the descriptor is of cannot change any more
    if is_still(process) {
        // SAFETY: the descriptor is open, and a null pointer is "as kill(2) would".
        unsafe {
            libc::syscall(
                libc::SYS_pidfd_send_signal,
                handle.as_raw_fd(),
                number,
                std::ptr::null::<libc::siginfo_t>(),
                0,
            )
        };
    }
}

fn is_still(process: &Process) -> bool {
    process::one(process.pid).is_some_and(|now| now.started == process.started && !now.ended)
}
