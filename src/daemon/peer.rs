//! A peer's mailbox: what is to be written to its socket, and who writes it.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::net::{tcp, unix};
use tokio::sync::Notify;

use super::logs::Marks;
use crate::jobs::{ConnId, Edge, Mark};
use crate::sys::net;

/// A peer that does not read has at most this many bytes kept for it; past it the connection is closed.
pub const MAX_MAILBOX: usize = 128 << 20;

/// A peer with more than this many bytes to read is not read from until it has caught up.
pub const BUSY_MAILBOX: usize = 64 << 20;

/// A mailbox's buffer is given back when it is larger than this and empty.
const KEEP: usize = 16 << 10;

/// One connected peer.
pub struct Peer {
    /// The core's number of the connection.
    pub id: ConnId,
    /// Where it comes from, for people.
    pub address: String,
    /// How the process behind it can be found.
    pub origin: Origin,
    socket: WriteHalf,
    mailbox: Mutex<Mailbox>,
    /// Rings for the peer's own task: the socket is full, or the connection is to be closed.
    bell: Notify,
    /// The output of its process, if that is one of ours.
    marks: OnceLock<Marks>,
}

/// Where a connection comes from, as far as it says who is behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Both ends of a TCP connection.
    Tcp {
        /// Ours.
        local: std::net::SocketAddr,
        /// Theirs.
        remote: std::net::SocketAddr,
    },
    /// A Unix socket, with the pid that the kernel gave, SO_PEERCRED in unix(7).
    Unix {
        /// The process that connected.
        pid: Option<u32>,
    },
}

/// The half of a socket that is written.
pub enum WriteHalf {
    /// TCP.
    Tcp(tcp::OwnedWriteHalf),
    /// A Unix socket.
    Unix(unix::OwnedWriteHalf),
}

#[derive(Default)]
struct Mailbox {
    bytes: Vec<u8>,
    /// So many of them have been written.
    written: usize,
    writer: Writer,
    is_closing: bool,
}

/// Who writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Writer {
    /// Whoever has put something in.
    #[default]
    Anyone,
    /// The peer's own task, because the socket was full.
    Task,
    /// Nobody: the socket is broken.
    Nobody,
}

impl Peer {
    /// A peer with an empty mailbox.
    pub fn new(id: ConnId, address: String, origin: Origin, socket: WriteHalf) -> Peer {
        Peer {
            id,
            address,
            origin,
            socket,
            mailbox: Mutex::default(),
            bell: Notify::new(),
            marks: OnceLock::new(),
        }
    }

    /// The jobs of this peer are marked in the output of its process.
    pub(super) fn trace(&self, marks: Marks) {
        // A connection does not change its process.
        let _ = self.marks.set(marks);
    }

    /// Marks that the process is given a job, or has it no longer. What is sent to it about that is still in the mailbox.
    pub(super) fn mark(&self, mark: &Mark) {
        if let Some(marks) = self.marks.get() {
            match mark.edge {
                Edge::Began => marks.begin(&mark.handle),
                Edge::Ended => marks.end(&mark.handle),
            }
        }
    }

    /// Puts bytes into the mailbox. Returns whether the caller has to [`flush`](Peer::flush): the first one to put something in does.
    pub(super) fn post(&self, bytes: &[u8]) -> bool {
        let mut mailbox = self.lock();
        match mailbox.writer {
            Writer::Nobody => false,
            Writer::Task | Writer::Anyone if mailbox.waiting() + bytes.len() > MAX_MAILBOX => {
                tracing::warn!(peer = %self.address, bytes = mailbox.waiting(), "closing a connection whose peer does not read");
                mailbox.break_off();
                self.bell.notify_one();
                false
            }
            Writer::Task => {
                mailbox.bytes.extend_from_slice(bytes);
                false
            }
            Writer::Anyone => {
                let is_first = mailbox.waiting() == 0;
                mailbox.bytes.extend_from_slice(bytes);
                is_first
            }
        }
    }

    /// Writes what the socket takes now; the rest is left to the peer's task.
    pub(super) fn flush(&self) {
        let mut mailbox = self.lock();
        if mailbox.writer != Writer::Anyone {
            return;
        }
        while mailbox.waiting() > 0 {
            match net::send_now(self.socket.as_fd(), &mailbox.bytes[mailbox.written..]) {
                Ok(count) => mailbox.advance(count),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    mailbox.writer = Writer::Task;
                    self.bell.notify_one();
                    return;
                }
                Err(_) => {
                    // the read side says the same in a moment, and ends the connection
                    mailbox.break_off();
                    self.bell.notify_one();
                    return;
                }
            }
        }
    }

    /// Closes the connection, after what is in the mailbox.
    pub fn close(&self) {
        self.lock().is_closing = true;
        self.bell.notify_one();
    }

    /// Waits for the bell.
    pub(super) async fn rung(&self) {
        self.bell.notified().await;
    }

    /// How the mailbox stands.
    pub(super) fn state(&self) -> MailboxState {
        let mailbox = self.lock();
        MailboxState {
            is_full: mailbox.writer == Writer::Task,
            is_closing: mailbox.is_closing,
            is_broken: mailbox.writer == Writer::Nobody,
            waiting: mailbox.waiting(),
        }
    }

    /// Waits until the socket takes something, and writes it. The peer's task calls this while the socket is full.
    ///
    /// # Errors
    /// Those of send(2).
    pub(super) async fn write_when_ready(&self) -> std::io::Result<()> {
        self.socket.writable().await?;
        let mut mailbox = self.lock();
        while mailbox.waiting() > 0 {
            match self.socket.try_write(&mailbox.bytes[mailbox.written..]) {
                Ok(count) => mailbox.advance(count),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => {
                    mailbox.break_off();
                    return Err(error);
                }
            }
        }
        if mailbox.writer == Writer::Task {
            mailbox.writer = Writer::Anyone;
        }
        Ok(())
    }

    /// Says that nothing more will come.
    pub(super) fn end_writing(&self) {
        net::end_writing(self.socket.as_fd());
    }

    fn lock(&self) -> MutexGuard<'_, Mailbox> {
        self.mailbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a mailbox stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct MailboxState {
    /// The socket takes nothing now: the task has to write.
    pub(super) is_full: bool,
    /// The connection is to be closed once the mailbox is empty.
    pub(super) is_closing: bool,
    /// The socket is broken.
    pub(super) is_broken: bool,
    /// Bytes that are not written yet.
    pub(super) waiting: usize,
}

impl Mailbox {
    fn waiting(&self) -> usize {
        self.bytes.len() - self.written
    }

    fn advance(&mut self, count: usize) {
        self.written += count;
        if self.written == self.bytes.len() {
            self.bytes.clear();
            self.bytes.shrink_to(KEEP);
            self.written = 0;
        }
    }

    fn break_off(&mut self) {
        *self = Mailbox {
            writer: Writer::Nobody,
            is_closing: true,
            ..Mailbox::default()
        };
    }
}

impl WriteHalf {
    async fn writable(&self) -> std::io::Result<()> {
        match self {
            WriteHalf::Tcp(half) => half.writable().await,
            WriteHalf::Unix(half) => half.writable().await,
        }
    }

    fn try_write(&self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            WriteHalf::Tcp(half) => half.try_write(bytes),
            WriteHalf::Unix(half) => half.try_write(bytes),
        }
    }
}

impl AsFd for WriteHalf {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            WriteHalf::Tcp(half) => half.as_ref().as_fd(),
            WriteHalf::Unix(half) => half.as_ref().as_fd(),
        }
    }
}
