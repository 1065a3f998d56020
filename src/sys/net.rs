//! Sockets: what tokio does not do.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::sys::socket::{MsgFlags, send};

/// Writes to a socket what it takes now, send(2) with MSG_DONTWAIT: for a socket that another task reads.
///
/// # Errors
/// `WouldBlock` when it takes nothing, and those of send(2). A closed peer is an error, never a signal.
pub fn send_now(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    loop {
        match send(socket.as_raw_fd(), bytes, flags) {
            Err(nix::errno::Errno::EINTR) => {}
            result => return result.map_err(io::Error::from),
        }
    }
}

/// Says to the peer that nothing more will come, shutdown(2); what it sends can still be read.
pub fn end_writing(socket: BorrowedFd<'_>) {
    // the peer may be gone already, which is what was wanted
    let _ = nix::sys::socket::shutdown(socket.as_raw_fd(), nix::sys::socket::Shutdown::Write);
}

/// This machine's name, gethostname(2).
pub fn host_name() -> String {
    let name = nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok());
    name.filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}
