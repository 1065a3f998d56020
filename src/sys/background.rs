//! Going to the background, as `-d` asks: the old way of daemon(3).

use std::io;

/// Leaves the terminal: the caller returns as a child of init, in a session of its own, with /dev/null for its standard streams. It
/// stays in its folder, against the custom: a pool that names no folder runs in the daemon's, and `php fetch.php` should mean the same
/// file with and without `-d`. Call it before any thread is started.
///
/// # Errors
/// Those of fork(2) and setsid(2).
pub fn detach() -> io::Result<()> {
    nix::unistd::daemon(true, false)?;
    Ok(())
}
