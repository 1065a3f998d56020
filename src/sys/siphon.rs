#![expect(unsafe_code, reason = "splice(2), without a library's type for it")]
//! From a pipe into a file without a copy in between: the kernel passes the pages on.
//!
//! They go through a pipe of our own. So the first step, of which the caller may have to know exactly when it was, waits for nothing;
//! the second one waits for the disk.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::ptr;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::pipe;

/// The pipe in between, empty whenever nobody uses it.
#[derive(Debug)]
pub struct Siphon {
    reader: File,
    writer: OwnedFd,
}

impl Siphon {
    /// One that takes so many bytes at once, or fewer where the system does not let us have that much.
    ///
    /// # Errors
    /// Those of pipe(2).
    pub fn new(bytes: i32) -> io::Result<Siphon> {
        let (reader, writer) = io::pipe()?;
        // a smaller one takes less at once
        let _ = pipe::enlarge(writer.as_fd(), bytes);
        Ok(Siphon {
            reader: File::from(OwnedFd::from(reader)),
            writer: writer.into(),
        })
    }

    /// Takes what is in a pipe, and returns how much that was: 0 at its end, `WouldBlock` when it is empty.
    ///
    /// # Errors
    /// Those of splice(2).
    pub fn fill(&self, from: BorrowedFd<'_>, at_most: usize) -> io::Result<usize> {
        splice(from, self.writer.as_fd(), at_most)
    }

    /// Appends what was taken to a file that was opened for appending. Returns how much of it; an error when that is not all: the rest
    /// is then still to be had from [`Siphon::rest`].
    pub fn pour(&self, file: &mut File, length: usize) -> (usize, io::Result<()>) {
        let mut poured = 0;
        let mut pour = || {
            // splice(2) refuses a file that is open for appending, whoever else writes to it
            fcntl(&*file, FcntlArg::F_SETFL(OFlag::empty()))?;
            file.seek(SeekFrom::End(0))?;
            while poured < length {
                match splice(self.reader.as_fd(), file.as_fd(), length - poured)? {
                    0 => return Err(io::ErrorKind::WriteZero.into()),
                    more => poured += more,
                }
            }
            Ok(())
        };
        let result = pour();
        let again = fcntl(&*file, FcntlArg::F_SETFL(OFlag::O_APPEND));
        (poured, result.and(again.map(drop).map_err(io::Error::from)))
    }

    /// Reads what is left, `into.len()` bytes.
    ///
    /// # Errors
    /// Those of read(2).
    pub fn rest(&mut self, into: &mut [u8]) -> io::Result<()> {
        self.reader.read_exact(into)
    }
}

fn splice(from: BorrowedFd<'_>, to: BorrowedFd<'_>, length: usize) -> io::Result<usize> {
    loop {
        // SAFETY: open descriptors, and no offsets
        let moved = unsafe {
            libc::splice(
                from.as_raw_fd(),
                ptr::null_mut(),
                to.as_raw_fd(),
                ptr::null_mut(),
                length,
                libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK,
            )
        };
        if let Ok(moved) = usize::try_from(moved) {
            return Ok(moved);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn what_a_pipe_has_is_appended() {
        let (reader, mut writer) = io::pipe().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, "before\n").unwrap();
        let open = || {
            std::fs::OpenOptions::new()
                .append(true)
                .open(&path)
                .unwrap()
        };
        let mut file = open();
        let siphon = Siphon::new(1 << 18).unwrap();
        writer.write_all(b"one\ntwo\nthree\n").unwrap();
        assert_eq!(siphon.fill(reader.as_fd(), 8).unwrap(), 8);
        // whoever else appends meanwhile
        open().write_all(b"other\n").unwrap();
        let (poured, result) = siphon.pour(&mut file, 8);
        assert_eq!((poured, result.is_ok()), (8, true));
        open().write_all(b"other\n").unwrap();
        file.write_all(b"own\n").unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "before\nother\none\ntwo\nother\nown\n"
        );
        assert_eq!(siphon.fill(reader.as_fd(), 100).unwrap(), 6);
    }

    #[test]
    fn what_cannot_be_written_is_left() {
        let (reader, mut writer) = io::pipe().unwrap();
        let mut siphon = Siphon::new(1 << 18).unwrap();
        writer.write_all(b"lost?\n").unwrap();
        siphon.fill(reader.as_fd(), 100).unwrap();
        let mut full = std::fs::OpenOptions::new()
            .append(true)
            .open("/dev/full")
            .unwrap();
        let (poured, result) = siphon.pour(&mut full, 6);
        assert_eq!((poured, result.is_err()), (0, true));
        let mut rest = [0; 6];
        siphon.rest(&mut rest).unwrap();
        assert_eq!(&rest, b"lost?\n");
        drop(writer);
        assert_eq!(siphon.fill(reader.as_fd(), 100).unwrap(), 0);
    }
}
