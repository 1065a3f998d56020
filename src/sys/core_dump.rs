//! Core dumps, core(5).

use std::io;

use nix::sys::prctl::set_dumpable;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Lets the system write one when this process crashes, as far as its hard limit allows. Call it after a change of user, which takes
/// the permission away.
///
/// # Errors
/// Those of setrlimit(2) and prctl(2).
pub fn allow() -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_CORE)?;
    setrlimit(Resource::RLIMIT_CORE, hard, hard)?;
    set_dumpable(true)?;
    Ok(())
}
