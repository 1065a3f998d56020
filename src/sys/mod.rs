//! The operating system: processes, signals, sockets, locks. The only place of `unsafe` and of nix.
//!
//! It does what it is told and keeps no state of its own but which children are waited for: which process should exist is decided in
//! `pools`, who waits for it is the daemon's. Nothing here may call `waitpid(-1)`, which would take the exit statuses that somebody
//! else waits for.
//!
//! [`child`] starts a worker, [`lifetime`] ties any other command to this process, [`signal`] ends it; [`orphans`] and [`cgroup`] get
//! hold of what it leaves, and [`guardian`] ends all of them when the daemon was killed. [`peer`] says which worker a connection
//! belongs to, by way of [`process`], the system's table of processes; [`pressure`] says how the machine is; [`systemd`] is told how
//! the service is, and passes it its sockets; [`handover`] puts another program in this process's place.

pub mod alarm;
pub mod background;
pub mod cgroup;
pub mod child;
pub mod clock;
pub mod core_dump;
pub mod guardian;
pub mod handover;
pub mod heap;
mod launch;
pub mod lifetime;
pub mod lock;
pub mod memory;
pub mod net;
pub mod orphans;
pub mod peer;
pub mod pipe;
pub mod pressure;
pub mod priority;
pub mod process;
pub mod signal;
pub mod siphon;
pub mod syslog;
pub mod systemd;
pub mod usage;
pub mod user;

use std::io;

use nix::errno::Errno;

/// The system's own words for an error, as they read in the middle of a sentence: "permission denied".
pub(crate) fn reason(error: &io::Error) -> String {
    let Some(code) = error.raw_os_error() else {
        return error.to_string();
    };
    let text = Errno::from_raw(code).desc();
    let mut letters = text.chars();
    match letters.next() {
        Some(first) => first.to_lowercase().chain(letters).collect(),
        None => format!("error {code}"),
    }
}
