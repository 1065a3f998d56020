//! A peer's mailbox: what is to be written to its socket, and who writes it.
//!
//! What is in the mailbox is never encrypted; whoever writes the socket encrypts, a little ahead of what the socket takes.

use std::borrow::Cow;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, RawFd};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::net::{tcp, unix};
use tokio::sync::Notify;

use super::limits::Share;
use super::logs::Marks;
use super::pace::said;
use crate::jobs::{ConnId, Edge, Mark};
use crate::sys::net;
use crate::tls::Records;
use crate::tls::wire::Incoming;

/// A mailbox's buffer is given back when it is larger than this and empty.
const KEEP: usize = 16 << 10;

/// Mail from which on it is counted before anybody has tried to send it.
const LARGE: usize = 1 << 20;

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
    /// The beginning of a frame whose end has not come yet. It is the connection's task's, which locks it only when there is one.
    partial: Mutex<Vec<u8>>,
}

/// A connection by its socket, for another program to go on with it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PeerState<'a> {
    /// The core's number of the connection; it may be none of the core's any more.
    pub(super) id: ConnId,
    /// The socket, by its number.
    pub(super) descriptor: RawFd,
    address: Cow<'a, str>,
    pub(super) origin: Origin,
    /// What has come of a frame that is not whole.
    #[serde(with = "serde_bytes")]
    pub(super) partial: Vec<u8>,
    /// What is in the mailbox.
    #[serde(with = "serde_bytes")]
    mail: Vec<u8>,
    is_closing: bool,
    /// Its TLS, with what of it is under way.
    tls: Option<Box<Records>>,
}

/// Where a connection comes from, as far as it says who is behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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

struct Mailbox {
    bytes: Vec<u8>,
    /// So many of them have been written.
    written: usize,
    writer: Writer,
    is_closing: bool,
    /// The connection's TLS, if it speaks TLS.
    tls: Option<Box<Records>>,
    /// What the peer takes of what all slow ones may: the waiting bytes while its socket is full.
    share: Share,
}

/// Who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Writer {
    /// Whoever has put something in.
    Anyone,
    /// The peer's own task, because the socket was full.
    Task,
    /// Nobody: the socket is broken.
    Nobody,
}

impl Peer {
    /// A peer with an empty mailbox. With `tls` its handshake is done.
    pub fn new(
        id: ConnId,
        address: String,
        origin: Origin,
        socket: WriteHalf,
        tls: Option<Box<Records>>,
        share: Share,
    ) -> Peer {
        Peer {
            id,
            address,
            origin,
            socket,
            mailbox: Mutex::new(Mailbox {
                bytes: Vec::new(),
                written: 0,
                writer: Writer::Anyone,
                is_closing: false,
                tls,
                share,
            }),
            bell: Notify::new(),
            marks: OnceLock::new(),
            partial: Mutex::new(Vec::new()),
        }
    }

    /// A peer with which another program in this process's place has spoken. What is in its mailbox is its task's to write.
    pub(super) fn resume(state: PeerState<'_>, socket: WriteHalf, share: Share) -> Peer {
        let PeerState {
            id,
            descriptor: _,
            address,
            origin,
            partial,
            mail,
            is_closing,
            tls,
        } = state;
        let peer = Peer::new(id, address.into_owned(), origin, socket, tls, share);
        *peer.partial() = partial;
        {
            let mut mailbox = peer.lock();
            mailbox.is_closing = is_closing;
            mailbox.bytes = mail;
            if !mailbox.is_empty() {
                mailbox.writer = Writer::Task;
                peer.account(&mut mailbox);
            }
        }
        peer.bell.notify_one();
        peer
    }

    /// What another program needs to go on with it. `None` for one that is broken.
    pub(super) fn to_hand_over(&self) -> Option<PeerState<'_>> {
        let Peer {
            id,
            address,
            origin,
            socket,
            mailbox: _,
            // rung once it is gone on with
            bell: _,
            // found by its owner
            marks: _,
            partial: _,
        } = self;
        // not under the other lock, which its task takes after this one
        let partial = self.partial().clone();
        let mailbox = self.lock();
        let Mailbox {
            bytes,
            written,
            writer,
            is_closing,
            tls,
            // counted anew
            share: _,
        } = &*mailbox;
        // who else is to write finds out
        (*writer != Writer::Nobody).then(|| PeerState {
            id: *id,
            descriptor: socket.as_fd().as_raw_fd(),
            address: Cow::Borrowed(address),
            origin: *origin,
            partial,
            mail: bytes[*written..].to_vec(),
            is_closing: *is_closing,
            tls: tls.clone(),
        })
    }

    /// Whether it speaks TLS.
    pub(super) fn speaks_tls(&self) -> bool {
        self.lock().tls.is_some()
    }

    /// The beginning of a frame whose end has not come yet.
    pub(super) fn partial(&self) -> MutexGuard<'_, Vec<u8>> {
        self.partial.lock().unwrap_or_else(PoisonError::into_inner)
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
                Edge::Overdue => marks.overdue(&mark.handle),
                Edge::Ended(outcome) => marks.end(&mark.handle, outcome),
            }
        }
    }

    /// Puts bytes into the mailbox. Returns whether the caller has to [`flush`](Peer::flush): the first one to put something in does.
    pub(super) fn post(&self, bytes: &[u8]) -> bool {
        let mut mailbox = self.lock();
        match mailbox.writer {
            Writer::Nobody => false,
            Writer::Task | Writer::Anyone
                if mailbox.waiting() + bytes.len() > mailbox.share.limits().mailbox =>
            {
                self.cut_off(&mut mailbox, "mailbox");
                false
            }
            Writer::Task => {
                mailbox.bytes.extend_from_slice(bytes);
                self.account(&mut mailbox);
                false
            }
            Writer::Anyone => {
                let is_first = mailbox.waiting() == 0;
                mailbox.bytes.extend_from_slice(bytes);
                if bytes.len() > LARGE {
                    // many peers may be sent the same before the first has taken it
                    self.account(&mut mailbox);
                }
                is_first && mailbox.writer == Writer::Anyone
            }
        }
    }

    /// Writes what the socket takes now; the rest is left to the peer's task.
    pub(super) fn flush(&self) {
        self.write_now(&mut self.lock());
    }

    /// Counts what waits for a peer whose socket is full, and cuts it off if all of those have too much.
    fn account(&self, mailbox: &mut Mailbox) {
        let waiting = match mailbox.writer {
            Writer::Task => mailbox.waiting(),
            Writer::Anyone if mailbox.waiting() > LARGE => mailbox.waiting(),
            Writer::Anyone | Writer::Nobody => 0,
        };
        if !mailbox.share.hold(waiting) {
            self.cut_off(mailbox, "buffers");
        }
    }

    fn cut_off(&self, mailbox: &mut Mailbox, limit: &str) {
        said!(warn, peer = %self.address, bytes = mailbox.waiting(), limit, "closing a connection whose peer does not read");
        mailbox.break_off();
        self.bell.notify_one();
    }

    #[inline]
    fn write_now(&self, mailbox: &mut Mailbox) {
        if mailbox.writer != Writer::Anyone {
            return;
        }
        match mailbox.write(|bytes| net::send_now(self.socket.as_fd(), bytes)) {
            Ok(()) => self.account(mailbox),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                mailbox.writer = Writer::Task;
                self.bell.notify_one();
                self.account(mailbox);
            }
            Err(error) => {
                tracing::debug!(peer = %self.address, %error, "closing a connection that cannot be written to");
                // the read side says the same in a moment, and ends the connection
                mailbox.break_off();
                self.bell.notify_one();
            }
        }
    }

    /// Takes what the socket of a peer with TLS brought, and appends what it says to `plain`. An answer that TLS itself has to give is
    /// written.
    pub(super) fn decrypt(&self, bytes: &[u8], plain: &mut Vec<u8>) -> Incoming {
        let mut mailbox = self.lock();
        // a broken connection has lost its TLS
        let Some(tls) = &mut mailbox.tls else {
            return Incoming::Ended;
        };
        let received = tls.receive(bytes, plain);
        self.write_now(&mut mailbox);
        received.unwrap_or_else(|error| {
            tracing::debug!(peer = %self.address, %error, "closing a connection whose TLS makes no sense");
            Incoming::Ended
        })
    }

    /// Has TLS say that nothing more will come, if the mailbox is empty: what is in it would come too late.
    pub(super) fn end_tls(&self) {
        let mut mailbox = self.lock();
        if mailbox.waiting() == 0
            && let Some(tls) = &mut mailbox.tls
        {
            tls.end();
            self.write_now(&mut mailbox);
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
            is_empty: mailbox.is_empty(),
            is_busy: mailbox.waiting() > mailbox.share.limits().mailbox / 2,
        }
    }

    /// Waits until the socket takes something, and writes it. The peer's task calls this while the socket is full.
    ///
    /// # Errors
    /// Those of send(2).
    pub(super) async fn write_when_ready(&self) -> io::Result<()> {
        self.socket.writable().await?;
        let mut mailbox = self.lock();
        match mailbox.write(|bytes| self.socket.try_write(bytes)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.account(&mut mailbox);
                return Ok(());
            }
            Err(error) => {
                mailbox.break_off();
                return Err(error);
            }
        }
        if mailbox.writer == Writer::Task {
            mailbox.writer = Writer::Anyone;
            self.account(&mut mailbox);
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
    /// Nothing is left to write.
    pub(super) is_empty: bool,
    /// So much waits for it that nothing more is read from it until it has caught up.
    pub(super) is_busy: bool,
}

impl Mailbox {
    fn waiting(&self) -> usize {
        self.bytes.len() - self.written
    }

    fn is_empty(&self) -> bool {
        self.waiting() == 0 && self.tls.as_ref().is_none_or(|tls| !tls.wants_write())
    }

    /// Writes until nothing is left, or `send` takes no more.
    #[inline]
    fn write(&mut self, mut send: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<()> {
        if self.tls.is_some() {
            return self.write_encrypted(send);
        }
        while self.waiting() > 0 {
            let count = send(&self.bytes[self.written..])?;
            self.advance(count);
        }
        Ok(())
    }

    #[cold]
    fn write_encrypted(&mut self, send: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<()> {
        let Some(tls) = &mut self.tls else {
            return Ok(());
        };
        let mut taken = 0;
        let sent = tls.send(&self.bytes[self.written..], &mut taken, send);
        self.advance(taken);
        sent
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
        self.bytes = Vec::new();
        self.written = 0;
        self.writer = Writer::Nobody;
        self.is_closing = true;
        self.tls = None;
        // there is always room for nothing
        let _ = self.share.hold(0);
    }
}

impl WriteHalf {
    async fn writable(&self) -> io::Result<()> {
        match self {
            WriteHalf::Tcp(half) => half.writable().await,
            WriteHalf::Unix(half) => half.writable().await,
        }
    }

    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
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
