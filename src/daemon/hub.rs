//! The one owner of the job server: a mutex, locked once for all that one read brought.
//!
//! What the core has to say goes into the peers' mailboxes *before* the lock is released, and is written to the sockets *after*: so
//! packets to one peer keep the core's order, and nobody waits for a socket under the lock. The task that has the data writes it, to
//! whichever peer it is for; a peer's own task is woken only when its socket is full.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, mpsc};

use super::limits::Bounds;
use super::peer::Peer;
use super::trace;
use crate::jobs::{self, ConnId, JobServer, Mark, Notice};
use crate::proto::{Decoded, decode_within};
use crate::time::Time;

/// A turn ends when there is so much to say, in bytes, for it is kept until then.
const TURN_SIZE: usize = 1 << 20;

/// A turn ends when it has taken so long, for everybody else waits until then.
const TURN_TIME: Duration = Duration::from_millis(5);

/// Frames between two looks at the clock.
const LOOK: u32 = 32;

/// No deadline is armed.
const NEVER: u64 = u64::MAX;

/// No timer is set for later than this: a client may ask for a second so far ahead that the clock has no name for it.
const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// What the hub tells the owner of the processes.
#[derive(Clone, Debug)]
pub enum Signal {
    /// Something about a connection.
    Notice(Notice),
    /// A job waits and nobody is on the way to take it. Sent once, until [`Hub::hear_demand`].
    Demand,
}

/// The job server and the mailboxes of its peers.
pub struct Hub {
    bounds: Arc<Bounds>,
    core: Mutex<Core>,
    /// Peers whose connection has ended and that may not have read everything yet.
    leaving: Mutex<HashMap<ConnId, Arc<Peer>, foldhash::fast::FixedState>>,
    /// How many connections have been accepted and are not known yet.
    arriving: Arc<AtomicUsize>,
    /// How many are in the middle of their TLS handshake.
    shaking: Arc<AtomicUsize>,
    start: Instant,
    signals: mpsc::UnboundedSender<Signal>,
    demand_is_told: AtomicBool,
    /// When the timer will look, in nanoseconds since the start.
    armed: AtomicU64,
    timer: Notify,
}

struct Core {
    server: JobServer,
    peers: HashMap<ConnId, Arc<Peer>, foldhash::fast::FixedState>,
}

/// Peers that something was put into the mailbox of; kept by each task, so that no call allocates.
#[derive(Default)]
pub struct Touched {
    written: Vec<Arc<Peer>>,
    marks: Vec<(Arc<Peer>, Mark)>,
}

/// What became of the bytes that a peer sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// So many bytes were used; the rest begins a frame of which at least `need` bytes are needed.
    Used {
        /// Bytes.
        used: usize,
        /// Bytes, of the frame that is not whole yet.
        need: usize,
    },
    /// So many bytes were used, and the peer's turn is over: the rest may have whole frames, or a long answer goes on. This is to be
    /// called again with the rest, after others.
    EndOfTurn {
        /// Bytes.
        used: usize,
    },
    /// The stream makes no sense: the peer has been told, and its connection is to be closed.
    Hopeless,
}

impl Hub {
    /// A hub of this job server, whose time begins at `start`; the peers that it knows are not there yet. What there is to tell about
    /// them goes to `signals`.
    pub fn new(
        server: JobServer,
        start: Instant,
        bounds: Arc<Bounds>,
        signals: mpsc::UnboundedSender<Signal>,
    ) -> Hub {
        Hub {
            bounds,
            core: Mutex::new(Core {
                server,
                peers: HashMap::default(),
            }),
            leaving: Mutex::default(),
            arriving: Arc::default(),
            shaking: Arc::default(),
            start,
            signals,
            demand_is_told: AtomicBool::new(false),
            armed: AtomicU64::new(NEVER),
            timer: Notify::new(),
        }
    }

    /// What peers may take, and have taken.
    pub fn bounds(&self) -> &Arc<Bounds> {
        &self.bounds
    }

    /// The moment, as the pure modules count.
    pub fn now(&self) -> Time {
        Time::new(self.start.elapsed())
    }

    /// When a moment of the pure modules comes.
    pub fn instant(&self, time: Time) -> Instant {
        self.start + time.since_start().min(FAR)
    }

    /// A peer has connected. `make` is given its number.
    pub fn connect(&self, from: jobs::Peer, make: impl FnOnce(ConnId) -> Arc<Peer>) -> Arc<Peer> {
        let now = self.now();
        let mut core = self.lock();
        let id = core.server.connect(now, from);
        let peer = make(id);
        core.peers.insert(id, Arc::clone(&peer));
        peer
    }

    /// A peer has sent these bytes.
    pub fn receive(&self, peer: &Peer, bytes: &[u8], touched: &mut Touched) -> Received {
        let now = self.now();
        let mut core = self.lock();
        let mut used = 0;
        let mut until_look = LOOK;
        let received = loop {
            if core.server.go_on(peer.id) || core.server.outbox().size() > TURN_SIZE {
                break Received::EndOfTurn { used };
            }
            until_look -= 1;
            if until_look == 0 {
                until_look = LOOK;
                if self.now().since(now) > TURN_TIME {
                    break Received::EndOfTurn { used };
                }
            }
            match decode_within(&bytes[used..], self.bounds.limits.packet_size) {
                Ok(Decoded::Frame(frame, length)) => {
                    trace::received(peer, &frame);
                    core.server.receive(now, peer.id, frame);
                    used += length;
                }
                Ok(Decoded::Incomplete(need)) => break Received::Used { used, need },
                Err(error) => {
                    tracing::debug!(peer = %peer.address, %error, "closing a connection that makes no sense");
                    core.server.reject(peer.id, error);
                    break Received::Hopeless;
                }
            }
        };
        self.deliver(core, touched);
        received
    }

    /// A peer has gone. It counts as leaving until it has [`left`](Hub::left).
    pub fn disconnect(&self, peer: &Arc<Peer>, touched: &mut Touched) {
        let now = self.now();
        self.leaving().insert(peer.id, Arc::clone(peer));
        let mut core = self.lock();
        core.server.disconnect(now, peer.id);
        self.deliver(core, touched);
    }

    /// A peer has read everything, or never will.
    pub fn left(&self, peer: &Peer) {
        self.leaving().remove(&peer.id);
    }

    /// A connection has been accepted, and is to be made known by a task of its own.
    pub(super) fn arrives(&self) -> Arriving {
        Arriving::one_of(&self.arriving)
    }

    /// The same, and what makes it known is the end of its TLS handshake.
    pub(super) fn shakes_hands(&self) -> Arriving {
        Arriving::one_of(&self.shaking)
    }

    /// How many have been accepted and are not known yet.
    pub(super) fn arriving(&self) -> usize {
        self.arriving.load(Ordering::Relaxed)
    }

    /// How many of those with TLS have been accepted and are not known yet.
    pub(super) fn shaking(&self) -> usize {
        self.shaking.load(Ordering::Relaxed)
    }

    /// Looks at the job server.
    pub(super) fn look<T>(&self, look: impl FnOnce(&JobServer) -> T) -> T {
        look(&self.lock().server)
    }

    /// All peers: those that the job server knows, and those that are leaving.
    pub(super) fn peers(&self) -> (Vec<Arc<Peer>>, Vec<Arc<Peer>>) {
        let known = self.lock().peers.values().cloned().collect();
        (known, self.leaving().values().cloned().collect())
    }

    /// These are the peers that the job server knows. It loses those of its connections that are not among them.
    pub(super) fn resume(&self, known: &[Arc<Peer>], leaving: &[Arc<Peer>]) {
        self.leaving()
            .extend(leaving.iter().map(|peer| (peer.id, Arc::clone(peer))));
        let lost: Vec<_> = {
            let mut core = self.lock();
            core.peers
                .extend(known.iter().map(|peer| (peer.id, Arc::clone(peer))));
            let Core { server, peers } = &*core;
            server
                .conns()
                .filter(|id| !peers.contains_key(id))
                .collect()
        };
        for conn in lost {
            self.with(|server, now| server.disconnect(now, conn));
        }
    }

    /// When the time of the pure modules begins.
    pub(super) fn start(&self) -> Instant {
        self.start
    }

    /// Does something with the job server, and delivers what comes of it.
    pub fn with<T>(&self, act: impl FnOnce(&mut JobServer, Time) -> T) -> T {
        let now = self.now();
        let mut core = self.lock();
        let result = act(&mut core.server, now);
        self.deliver(core, &mut Touched::default());
        result
    }

    /// The peer behind a connection, unless it is gone.
    pub fn peer(&self, conn: ConnId) -> Option<Arc<Peer>> {
        self.lock().peers.get(&conn).cloned()
    }

    /// Closes a connection, after what is in its mailbox.
    pub fn close(&self, conn: ConnId) {
        if let Some(peer) = self.peer(conn) {
            peer.close();
        }
    }

    /// The daemon ends: peers with TLS are told, so that they do not take it for a connection that somebody has cut.
    pub(super) fn say_goodbye(&self) {
        let peers: Vec<_> = self.lock().peers.values().cloned().collect();
        for peer in peers {
            peer.end_tls();
        }
    }

    /// From now on [`Signal::Demand`] is sent again.
    pub fn hear_demand(&self) {
        self.demand_is_told.store(false, Ordering::Release);
    }

    /// Does what is due when it is due, for ever.
    pub async fn run_timer(&self) {
        loop {
            let deadline = self.with(|server, now| {
                server.tick(now);
                server.next_deadline()
            });
            let nanos = deadline.map_or(NEVER, alarm);
            self.armed.store(nanos, Ordering::Release);
            // a deadline that came in between has seen the old alarm: look once more before sleeping
            let again = self.lock().server.next_deadline();
            if again != deadline {
                continue;
            }
            let earlier = self.timer.notified();
            match deadline {
                None => earlier.await,
                Some(time) => {
                    let sleep = tokio::time::sleep_until(self.instant(time).into());
                    tokio::select! {
                        () = sleep => {}
                        () = earlier => {}
                    }
                }
            }
        }
    }

    /// Moves what the core has to say into the mailboxes, unlocks, and writes the sockets.
    fn deliver(&self, mut core: MutexGuard<'_, Core>, touched: &mut Touched) {
        let Core { server, peers } = &mut *core;
        let deadline = server.next_deadline();
        let out = server.outbox();
        if !out.is_empty() {
            for (conn, bytes) in out.sends() {
                if let Some(peer) = peers.get(&conn) {
                    trace::sent(peer, bytes);
                    if peer.post(bytes) {
                        touched.written.push(Arc::clone(peer));
                    }
                }
            }
            for conn in out.closes() {
                if let Some(peer) = peers.get(conn) {
                    peer.close();
                }
            }
            for mark in out.marks() {
                if let Some(peer) = peers.get(&mark.conn) {
                    touched.marks.push((Arc::clone(peer), mark.clone()));
                }
            }
            for notice in out.notices() {
                if let Notice::Closed(conn) = notice {
                    peers.remove(conn);
                }
                // the manager ends last; when it has ended, nobody is left to be told
                let _ = self.signals.send(Signal::Notice(notice.clone()));
            }
            if out.demand() && !self.demand_is_told.swap(true, Ordering::AcqRel) {
                let _ = self.signals.send(Signal::Demand);
            }
            out.clear();
        }
        drop(core);
        // outside of the lock, because the pipe that is looked at may be busy; before the worker has got the job
        for (peer, mark) in touched.marks.drain(..) {
            peer.mark(&mark);
        }
        for peer in touched.written.drain(..) {
            peer.flush();
        }
        if let Some(deadline) = deadline {
            let nanos = alarm(deadline);
            if nanos < self.armed.load(Ordering::Acquire) {
                self.armed.store(nanos, Ordering::Release);
                self.timer.notify_one();
            }
        }
    }

    fn leaving(&self) -> MutexGuard<'_, HashMap<ConnId, Arc<Peer>, foldhash::fast::FixedState>> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A panic under the lock is a bug of ours; the daemon is built to abort on one, so a poisoned lock is never seen there.
    fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection between its being accepted and its being known.
pub(super) struct Arriving(Arc<AtomicUsize>);

impl Arriving {
    fn one_of(count: &Arc<AtomicUsize>) -> Arriving {
        count.fetch_add(1, Ordering::Relaxed);
        Arriving(Arc::clone(count))
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A deadline in nanoseconds since the start, for `armed`.
fn alarm(deadline: Time) -> u64 {
    deadline.since_start().min(FAR).as_nanos() as u64
}

/// How long a closed connection may take to be read empty by its peer.
pub const LINGER: Duration = Duration::from_secs(5);
