//! Sockets and descriptors, as far as tokio does not do it.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::OnceLock;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{MsgFlags, send};

/// The soft limit that the daemon was started with: see [`inherited_descriptor_limit`].
static INHERITED: OnceLock<u64> = OnceLock::new();

/// Sends what the socket takes without waiting, and without a SIGPIPE when the peer is gone.
///
/// # Errors
/// `WouldBlock` when it takes nothing now; otherwise the connection is over.
pub fn send_now(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    loop {
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        match send(socket.as_raw_fd(), bytes, flags) {
            Ok(sent) => return Ok(sent),
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Says to the peer that nothing more will come, shutdown(2); what it sends can still be read.
pub fn end_writing(socket: BorrowedFd<'_>) {
    // the peer may be gone already, which is what was wanted
    let _ = nix::sys::socket::shutdown(socket.as_raw_fd(), nix::sys::socket::Shutdown::Write);
}

/// Whether this machine has IPv6 at all: a kernel may be without it, or have it switched off.
pub fn has_ipv6() -> bool {
    std::net::TcpListener::bind((std::net::Ipv6Addr::UNSPECIFIED, 0)).is_ok()
}

/// This machine's name, gethostname(2).
pub fn host_name() -> String {
    let name = nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok());
    name.filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}

/// Raises this process's limit of open descriptors as far as it may go, and returns what it is then.
pub fn raise_descriptor_limit() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return 1024;
    };
    INHERITED.get_or_init(|| soft);
    match setrlimit(Resource::RLIMIT_NOFILE, hard, hard) {
        Ok(()) => hard,
        Err(_) => soft,
    }
}

/// Sets the limit of open descriptors to `limit`, the hard one too where that has to grow, and returns it.
///
/// # Errors
/// EPERM, when only root could set it so high.
pub fn set_descriptor_limit(limit: u64) -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    INHERITED.get_or_init(|| soft);
    setrlimit(Resource::RLIMIT_NOFILE, limit, hard.max(limit))?;
    Ok(limit)
}

/// The soft limit of open descriptors from before the daemon changed its own. Workers get this one: a program that uses select(2)
/// breaks on descriptors past 1023, and others loop over all there might be.
pub fn inherited_descriptor_limit() -> Option<u64> {
    INHERITED.get().copied()
}

/// The soft limit from before is this one: the program before this one in this process has changed it already.
pub fn remember_descriptor_limit(limit: u64) {
    // before anybody has asked for it
    let _ = INHERITED.set(limit);
}

/// How many descriptors this process has open.
pub fn open_descriptors() -> u64 {
    // One of them is the one that the folder is read with.
    fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count().saturating_sub(1) as u64)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn sending_never_waits() {
        let (socket, mut peer) = UnixStream::pair().unwrap();
        let chunk = [b'x'; 65536];
        let mut sent = 0;
        let full = loop {
            match send_now(socket.as_fd(), &chunk) {
                Ok(bytes) => sent += bytes,
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        peer.read_exact(&mut vec![0; sent]).unwrap();
        drop(peer);
        let gone = send_now(socket.as_fd(), b"x").unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn descriptors_are_counted() {
        assert!(raise_descriptor_limit() >= open_descriptors());
        assert!(open_descriptors() >= 3);
        assert!(inherited_descriptor_limit().is_some());
    }
}
