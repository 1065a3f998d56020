//! One task a connection: reads, hands over, and ends. It writes only when its socket was full.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::{tcp, unix};

use super::hub::{Hub, LINGER, Received, Touched};
use super::limits::{Place, SMALL, Share};
use super::pace::said;
use super::peer::Peer;
use crate::tls::wire::Incoming;

/// A peer that has sent so much of a packet and then nothing for so long is closed: whoever waits for it holds what others need.
/// Less than [`SMALL`](super::limits::SMALL) may wait for ever, as with gearmand.
const STALLED: Duration = Duration::from_secs(60);

/// How much one read takes.
const READ: usize = 64 << 10;

thread_local! {
    /// What a read brings is handed over before the task waits again, so that all connections of a thread share this buffer and an
    /// idle one has none.
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ]);
    /// What one read meant, of a connection with TLS.
    static PLAIN: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The half of a socket that is read.
pub enum ReadHalf {
    /// TCP.
    Tcp(tcp::OwnedReadHalf),
    /// A Unix socket.
    Unix(unix::OwnedReadHalf),
}

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Gearman's protocol.
    Plain,
    /// The same in TLS; the peer has it.
    Tls,
}

/// What a connection's task begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// With what the peer sends.
    Read,
    /// With what has been read of it already, or with the rest of a long answer.
    Take,
    /// With its end: the job server does not know it any more.
    Leave,
}

/// Serves a connection until it ends.
pub async fn serve(
    hub: Arc<Hub>,
    peer: Arc<Peer>,
    socket: ReadHalf,
    wire: Wire,
    begin: Begin,
    place: Place,
) {
    let has_partial = !peer.partial().is_empty();
    let mut conn = Conn {
        share: hub.bounds().share(),
        has_partial,
        need: match begin {
            Begin::Read => 1,
            Begin::Take | Begin::Leave => 0,
        },
        hub,
        peer,
        socket,
        wire,
        incoming: Incoming::Open,
        touched: Touched::default(),
    };
    if begin != Begin::Leave {
        conn.read_all().await;
        conn.hub.disconnect(&conn.peer, &mut conn.touched);
    }
    // a peer that has only closed its own direction still gets what it asked for
    let _ = tokio::time::timeout(LINGER, conn.say_goodbye()).await;
    conn.hub.left(&conn.peer);
    tracing::debug!(peer = %conn.peer.address, "disconnected");
    drop(place);
}

struct Conn {
    hub: Arc<Hub>,
    peer: Arc<Peer>,
    socket: ReadHalf,
    wire: Wire,
    /// Whether more may come in TLS, whose end need not be the socket's.
    incoming: Incoming,
    /// Whether the beginning of a frame is there whose end has not come yet. It is in the peer, where it is found without this task.
    has_partial: bool,
    /// How many bytes of it are needed before it is worth looking again; 0 when that is worth it at once, after others had a turn.
    need: usize,
    /// What the peer takes of what all slow ones may: its part of a frame.
    share: Share,
    touched: Touched,
}

/// What a connection's task does next.
enum Next {
    Read,
    End,
}

impl Conn {
    async fn read_all(&mut self) {
        let peer = Arc::clone(&self.peer);
        // what came with the end of the handshake, or what is known of the end
        if self.wire == Wire::Tls && matches!(self.decrypt(&[]), Next::End) {
            return;
        }
        loop {
            let read = tokio::select! {
                biased;
                read = self.read() => read,
                () = peer.rung() => match self.attend().await {
                    Next::Read => continue,
                    Next::End => return,
                },
            };
            match read {
                Ok(Next::Read) => {}
                Ok(Next::End) | Err(_) => return,
            }
        }
    }

    /// The bell has rung: the socket is full or the connection is to be closed. Comes back when reading is all that is left to do.
    async fn attend(&mut self) -> Next {
        let peer = Arc::clone(&self.peer);
        loop {
            let state = peer.state();
            if state.is_broken || state.is_closing {
                return Next::End;
            }
            if !state.is_full {
                return Next::Read;
            }
            let written = match state.is_busy {
                true => peer.write_when_ready().await,
                false => tokio::select! {
                    written = peer.write_when_ready() => written,
                    read = self.read() => match read {
                        Ok(Next::Read) => Ok(()),
                        Ok(Next::End) | Err(_) => return Next::End,
                    },
                    () = peer.rung() => Ok(()),
                },
            };
            if written.is_err() {
                return Next::End;
            }
        }
    }

    /// Reads once, unless there are whole frames left, and hands over what came. It may be given up and called again.
    async fn read(&mut self) -> io::Result<Next> {
        if self.need == 0 {
            tokio::task::yield_now().await;
            return Ok(self.take_partial());
        }
        if self.incoming == Incoming::Ended {
            return Ok(Next::End);
        }
        if !self.has_partial || self.peer.partial().len() <= SMALL {
            return poll_fn(|cx| self.poll_read(cx)).await;
        }
        let read = tokio::time::timeout(STALLED, poll_fn(|cx| self.poll_read(cx))).await;
        read.unwrap_or_else(|_| {
            said!(warn, peer = %self.peer.address, bytes = self.peer.partial().len(), "closing a connection whose peer has sent half a packet and then nothing");
            Ok(Next::End)
        })
    }

    /// Reads once and hands over what came.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Next>> {
        BUFFER.with_borrow_mut(|buffer| {
            let mut into = ReadBuf::new(buffer);
            ready!(self.socket.poll_read(cx, &mut into))?;
            let bytes = into.filled();
            Poll::Ready(Ok(match self.wire {
                Wire::Plain => self.take(bytes),
                // the end without TLS's own: nothing is cut that could be mistaken for whole, since a frame has its length in front
                Wire::Tls if bytes.is_empty() => Next::End,
                Wire::Tls => self.decrypt(bytes),
            }))
        })
    }

    /// Writes what is left, and reads on until the peer has closed too: a socket closed with unread bytes is reset, and a reset
    /// can overtake the last answer.
    async fn say_goodbye(&mut self) {
        let peer = Arc::clone(&self.peer);
        for say_end in [Peer::end_tls, Peer::end_writing] {
            while !peer.state().is_empty {
                if peer.write_when_ready().await.is_err() {
                    return;
                }
            }
            say_end(&peer);
        }
        loop {
            let read = poll_fn(|cx| {
                BUFFER.with_borrow_mut(|buffer| {
                    let mut into = ReadBuf::new(buffer);
                    ready!(self.socket.poll_read(cx, &mut into))?;
                    Poll::Ready(io::Result::Ok(into.filled().len()))
                })
            });
            if !matches!(read.await, Ok(1..)) {
                return;
            }
        }
    }

    #[cold]
    fn decrypt(&mut self, bytes: &[u8]) -> Next {
        PLAIN.with_borrow_mut(|plain| {
            plain.clear();
            self.incoming = self.peer.decrypt(bytes, plain);
            match plain.as_slice() {
                [] => Next::Read,
                plain => self.take(plain),
            }
        })
    }

    #[inline]
    fn take(&mut self, bytes: &[u8]) -> Next {
        if bytes.is_empty() {
            return Next::End;
        }
        if !self.has_partial {
            return match self.hub.receive(&self.peer, bytes, &mut self.touched) {
                Received::Used { used, need } => {
                    self.need = need;
                    self.keep(&bytes[used..])
                }
                Received::EndOfTurn { used } => {
                    self.need = 0;
                    self.has_partial = used < bytes.len();
                    self.peer.partial().extend_from_slice(&bytes[used..]);
                    Next::Read
                }
                Received::Hopeless => Next::End,
            };
        }
        self.peer.partial().extend_from_slice(bytes);
        self.take_partial()
    }

    /// Keeps what is left of what was read, which is nothing as a rule.
    #[inline]
    fn keep(&mut self, rest: &[u8]) -> Next {
        if rest.is_empty() {
            return Next::Read;
        }
        self.has_partial = true;
        let peer = Arc::clone(&self.peer);
        let mut partial = peer.partial();
        partial.extend_from_slice(rest);
        self.account(partial.len())
    }

    /// Counts what is kept of a frame that is not whole, and ends the connection if all such have too much. It grows with what has
    /// come, whatever length was declared.
    fn account(&mut self, bytes: usize) -> Next {
        if self.share.hold(bytes) {
            return Next::Read;
        }
        said!(warn, peer = %self.peer.address, bytes, limit = "buffers", "closing a connection whose peer sends half a packet");
        Next::End
    }

    fn take_partial(&mut self) -> Next {
        let peer = Arc::clone(&self.peer);
        let mut partial = peer.partial();
        if partial.len() < self.need {
            return self.account(partial.len());
        }
        let next = match self.hub.receive(&peer, &partial, &mut self.touched) {
            Received::Used { used, need } => {
                partial.drain(..used);
                let kept = READ.min(partial.len());
                partial.shrink_to(kept);
                self.need = need;
                self.account(partial.len())
            }
            Received::EndOfTurn { used } => {
                partial.drain(..used);
                self.need = 0;
                Next::Read
            }
            Received::Hopeless => Next::End,
        };
        self.has_partial = !partial.is_empty();
        next
    }
}

impl ReadHalf {
    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self {
            ReadHalf::Tcp(half) => Pin::new(half).poll_read(cx, into),
            ReadHalf::Unix(half) => Pin::new(half).poll_read(cx, into),
        }
    }
}
