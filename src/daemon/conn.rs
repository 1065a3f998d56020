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

/// Serves a connection until it ends. `early` is what has been read of it already.
pub async fn serve(
    hub: Arc<Hub>,
    peer: Arc<Peer>,
    socket: ReadHalf,
    wire: Wire,
    early: Vec<u8>,
    place: Place,
) {
    let mut conn = Conn {
        share: hub.bounds().share(),
        hub,
        peer,
        socket,
        wire,
        partial: early,
        need: 1,
        touched: Touched::default(),
    };
    conn.read_all().await;
    conn.hub.disconnect(&conn.peer, &mut conn.touched);
    // a peer that has only closed its own direction still gets what it asked for
    let _ = tokio::time::timeout(LINGER, conn.say_goodbye()).await;
    tracing::debug!(peer = %conn.peer.address, "disconnected");
    drop(place);
}

struct Conn {
    hub: Arc<Hub>,
    peer: Arc<Peer>,
    socket: ReadHalf,
    wire: Wire,
    /// The beginning of a frame whose end has not come yet.
    partial: Vec<u8>,
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
        if self.wire == Wire::Tls
            && (matches!(self.take_partial(), Next::End) || matches!(self.decrypt(&[]), Next::End))
        {
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
        if self.partial.len() <= SMALL {
            return poll_fn(|cx| self.poll_read(cx)).await;
        }
        let read = tokio::time::timeout(STALLED, poll_fn(|cx| self.poll_read(cx))).await;
        read.unwrap_or_else(|_| {
            said!(warn, peer = %self.peer.address, bytes = self.partial.len(), "closing a connection whose peer has sent half a packet and then nothing");
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
            let incoming = self.peer.decrypt(bytes, plain);
            let next = match plain.as_slice() {
                [] => Next::Read,
                plain => self.take(plain),
            };
            match incoming {
                Incoming::Open => next,
                Incoming::Ended => Next::End,
            }
        })
    }

    #[inline]
    fn take(&mut self, bytes: &[u8]) -> Next {
        if bytes.is_empty() {
            return Next::End;
        }
        if self.partial.is_empty() {
            return match self.hub.receive(&self.peer, bytes, &mut self.touched) {
                Received::Used { used, need } => {
                    self.partial.extend_from_slice(&bytes[used..]);
                    self.need = need;
                    self.account()
                }
                Received::EndOfTurn { used } => {
                    self.partial.extend_from_slice(&bytes[used..]);
                    self.need = 0;
                    Next::Read
                }
                Received::Hopeless => Next::End,
            };
        }
        self.partial.extend_from_slice(bytes);
        self.take_partial()
    }

    /// Counts what is kept of a frame that is not whole, and ends the connection if all such have too much. It grows with what has
    /// come, whatever length was declared.
    fn account(&mut self) -> Next {
        if self.share.hold(self.partial.len()) {
            return Next::Read;
        }
        said!(warn, peer = %self.peer.address, bytes = self.partial.len(), limit = "buffers", "closing a connection whose peer sends half a packet");
        Next::End
    }

    fn take_partial(&mut self) -> Next {
        if self.partial.len() < self.need {
            return self.account();
        }
        match self
            .hub
            .receive(&self.peer, &self.partial, &mut self.touched)
        {
            Received::Used { used, need } => {
                self.partial.drain(..used);
                self.partial.shrink_to(READ.min(self.partial.len()));
                self.need = need;
                self.account()
            }
            Received::EndOfTurn { used } => {
                self.partial.drain(..used);
                self.need = 0;
                Next::Read
            }
            Received::Hopeless => Next::End,
        }
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
