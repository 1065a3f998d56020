#![expect(
    unsafe_code,
    reason = "how much a pipe holds is told by ioctl(2) alone, which has no safe form"
)]
//! What can be asked of a pipe, and done to it, from its reading end; whether its other end is there; and writing to one that has a name.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Whether someone can still read what is written to `fd`, without writing to it. A file and a terminal always have a reader.
pub fn has_reader(fd: BorrowedFd<'_>) -> bool {
    let mut polled = [PollFd::new(fd, PollFlags::empty())];
    // POLLERR is reported for a pipe without a reader whether it was asked for or not, poll(2).
    let gone = poll(&mut polled, PollTimeout::ZERO).is_ok()
        && polled[0]
            .revents()
            .is_some_and(|events| events.contains(PollFlags::POLLERR));
    !gone
}

/// Whether `fd` takes something within this time without its writer having to wait: 4096 bytes at least, where it is a pipe. A file always
/// does, and so does what nobody can read any more, with an error.
pub fn has_room(fd: BorrowedFd<'_>, within: Duration) -> bool {
    let mut polled = [PollFd::new(fd, PollFlags::POLLOUT)];
    let within = PollTimeout::try_from(within).unwrap_or(PollTimeout::MAX);
    // one that is interrupted has waited long enough
    poll(&mut polled, within).is_ok_and(|ready| ready > 0)
}

/// Opens a pipe, a terminal or another device, to write to it alone: who can read from a pipe too is its reader, and would not be told
/// that the others have gone. `/dev/stdout` and `/dev/stderr` are ours already; what is behind them may be a socket, which cannot be
/// opened. A named pipe that nobody reads is an error, not waited for.
///
/// # Errors
/// Those of open(2).
pub fn open_device(path: &Path) -> io::Result<File> {
    let ours = match path.to_str() {
        Some("/dev/stdout") => Some(io::stdout().as_fd().try_clone_to_owned()),
        Some("/dev/stderr") => Some(io::stderr().as_fd().try_clone_to_owned()),
        _ => None,
    };
    if let Some(ours) = ours {
        return ours.map(File::from);
    }
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    let flags = OFlag::from_bits_retain(fcntl(&file, FcntlArg::F_GETFL)?);
    fcntl(&file, FcntlArg::F_SETFL(flags - OFlag::O_NONBLOCK))?;
    Ok(file)
}

/// How many bytes are in a pipe.
pub fn waiting(pipe: BorrowedFd<'_>) -> usize {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int, to a place that outlives the call.
    let result = unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &raw mut count) };
    match result {
        -1 => 0,
        _ => usize::try_from(count).unwrap_or(0),
    }
}

/// Lets a pipe hold this many bytes, where the system lets us: pipe(7), `pipe-max-size` and `pipe-user-pages-soft`. Otherwise it stays
/// as it is, and `None` is returned.
pub fn enlarge(pipe: BorrowedFd<'_>, bytes: i32) -> Option<usize> {
    let holds = fcntl(pipe, FcntlArg::F_SETPIPE_SZ(bytes)).ok()?;
    usize::try_from(holds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_leaves_is_seen() {
        let (reader, writer) = std::io::pipe().unwrap();
        assert!(has_reader(writer.as_fd()));
        drop(reader);
        assert!(!has_reader(writer.as_fd()));
        let file = tempfile::tempfile().unwrap();
        assert!(has_reader(file.as_fd()));
    }

    #[test]
    fn a_named_pipe_is_written_to_alone() {
        use std::io::Write as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let unread = open_device(&path).unwrap_err();
        assert_eq!(unread.raw_os_error(), Some(libc::ENXIO));
        let reader = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&path)
            .unwrap();
        let mut writer = open_device(&path).unwrap();
        writer.write_all(b"x").unwrap();
        drop(reader);
        let gone = writer.write_all(b"x").unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn what_a_pipe_holds_is_counted() {
        use std::io::{Read as _, Write as _};
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        assert_eq!(waiting(reader.as_fd()), 0);
        assert!(enlarge(reader.as_fd(), 1 << 18).unwrap() >= 1 << 18);
        writer.write_all(&[b'x'; 100_000]).unwrap();
        assert_eq!(waiting(reader.as_fd()), 100_000);
        reader.read_exact(&mut [0; 99_999]).unwrap();
        assert_eq!(waiting(reader.as_fd()), 1);
    }
}
