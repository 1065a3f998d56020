//! The other end of a pipe.

use std::os::fd::BorrowedFd;

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

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

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
}
