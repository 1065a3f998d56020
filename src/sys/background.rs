//! Going to the background, as `-d` asks: the old way of daemon(3).

use std::io;

/// Leaves the terminal: the caller returns as a child of init, in a session of its own, in the root folder, with /dev/null for its
/// standard streams. Call it before any thread is started.
///
/// # Errors
/// Those of fork(2) and setsid(2).
pub fn detach() -> io::Result<()> {
    nix::unistd::daemon(false, false)?;
    Ok(())
}
