//! A child that does not outlive its parent.
#![expect(
    unsafe_code,
    reason = "what a child does between fork and exec can only be said through `pre_exec`"
)]

use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::{getpid, getppid};

/// Has the kernel kill the child when the thread that starts it ends (`man 2 PR_SET_PDEATHSIG`): start it from one that lives as
/// long as the process. It reaches the child itself, not what the child starts.
pub fn die_with_parent(command: &mut Command) {
    let parent = getpid();
    let before_exec = move || {
        set_pdeathsig(Signal::SIGKILL)?;
        // the parent may have ended before the kernel was told
        if getppid() != parent {
            return Err(nix::Error::ESRCH.into());
        }
        Ok(())
    };
    // SAFETY: between fork and exec only prctl(2) and getppid(2) are called, which are async-signal-safe, and nothing is allocated:
    // both errors are an errno.
    unsafe { command.pre_exec(before_exec) };
}
