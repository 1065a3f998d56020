//! What peers may take of this machine, and how much of it they have taken.
//!
//! Every limit has a name that the file, the flags and the log share. What one peer may have is looked at where it is given; what all
//! of them have together is counted here: places for connections, and bytes that are kept because a peer is slow to send or to read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::config::ServerLimits;
use crate::proto::frame::MAX_BODY;
use crate::sys::memory;

/// Descriptors that connections leave to the workers' pipes, the logs, the control socket and the like: a quarter of all, but no more
/// than this.
const DESCRIPTORS_KEPT: u64 = 4096;

/// So many bytes of each peer are not counted, so that whoever speaks in small packets does not feel those who hold all that there is.
pub(super) const SMALL: usize = 16 << 10;

/// The bytes that one peer may have waiting, when nothing else was said.
const MAILBOX: u64 = 128 << 20;

/// The limits in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// So many connections at once; a new one is told so and closed. No more than the limit of descriptors leaves.
    pub connections: usize,
    /// The longest body of a packet; a longer one is an ERROR and ends the connection.
    pub packet_size: usize,
    /// So many bytes are kept for a peer that does not read; past it the connection is closed.
    pub mailbox: usize,
    /// So many bytes are kept for all slow peers together, of packets that are not whole yet and of mail that is not read; the peer
    /// that goes past it is cut off.
    pub buffers: u64,
    /// The bytes that all jobs may take; past it a new one is refused with an ERROR.
    pub queued_bytes: u64,
    /// How many jobs a function may have, unless `maxqueue` says otherwise; 0 is no limit.
    pub queue_length: u32,
}

impl Limits {
    /// Fills in what was not said, from the limit of `descriptors` that is in force and from this machine's memory.
    pub fn new(wanted: ServerLimits, descriptors: u64) -> Limits {
        let kept = (descriptors / 4).min(DESCRIPTORS_KEPT);
        let most = usize::try_from(descriptors - kept).unwrap_or(usize::MAX);
        let memory = memory::limit();
        let bytes = |wanted: Option<u64>, default| {
            usize::try_from(wanted.unwrap_or(default)).unwrap_or(usize::MAX)
        };
        Limits {
            connections: wanted.connections.map_or(most, |wanted| wanted.min(most)),
            packet_size: bytes(wanted.packet_size, MAX_BODY as u64),
            mailbox: bytes(wanted.mailbox, MAILBOX),
            buffers: wanted.buffers.unwrap_or(memory / 4),
            queued_bytes: wanted.queued_bytes.unwrap_or(memory / 2),
            queue_length: wanted.queue_length.unwrap_or(0),
        }
    }
}

/// The limits, and what is taken.
#[derive(Debug)]
pub struct Bounds {
    /// The limits.
    pub limits: Limits,
    connections: AtomicUsize,
    buffers: AtomicU64,
}

impl Bounds {
    /// Nothing is taken.
    pub fn new(limits: Limits) -> Arc<Bounds> {
        Arc::new(Bounds {
            limits,
            connections: AtomicUsize::new(0),
            buffers: AtomicU64::new(0),
        })
    }

    /// A place for a connection, if there is one.
    pub fn place(self: &Arc<Bounds>) -> Option<Place> {
        let taken = self.connections.fetch_add(1, Ordering::Relaxed);
        // a place that is given back at once, where there was none
        let place = Place(Arc::clone(self));
        (taken < self.limits.connections).then_some(place)
    }

    /// The place of a connection that has had one, in the program before this one in this process.
    pub fn old_place(self: &Arc<Bounds>) -> Place {
        self.connections.fetch_add(1, Ordering::Relaxed);
        Place(Arc::clone(self))
    }

    /// A share of the buffers, empty so far.
    pub fn share(self: &Arc<Bounds>) -> Share {
        Share {
            bounds: Arc::clone(self),
            bytes: 0,
        }
    }
}

/// A connection's place among all.
#[derive(Debug)]
pub struct Place(Arc<Bounds>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The bytes that one peer has of what all slow peers may have.
#[derive(Debug)]
pub struct Share {
    bounds: Arc<Bounds>,
    bytes: u64,
}

impl Share {
    /// The limits.
    pub fn limits(&self) -> &Limits {
        &self.bounds.limits
    }

    /// So many bytes are kept now, of which `SMALL` are free. Returns whether there is room for them; when there is not, they are to be given up.
    #[must_use = "past the limit the bytes have to go"]
    pub fn hold(&mut self, bytes: usize) -> bool {
        let (before, now) = (self.bytes, bytes.saturating_sub(SMALL) as u64);
        if before == now {
            return true;
        }
        self.bytes = now;
        // what is given back may wrap around in between, and adds up in the end
        let change = now.wrapping_sub(before);
        let all = self.bounds.buffers.fetch_add(change, Ordering::Relaxed);
        now < before || all.wrapping_add(change) <= self.bounds.limits.buffers
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.bounds.buffers.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds() -> Arc<Bounds> {
        let wanted = ServerLimits {
            connections: Some(2),
            buffers: Some(100),
            ..ServerLimits::default()
        };
        Bounds::new(Limits::new(wanted, 1024))
    }

    #[test]
    fn places_are_given_back() {
        let bounds = bounds();
        let (first, second) = (bounds.place(), bounds.place());
        assert!(first.is_some() && second.is_some());
        assert!(bounds.place().is_none());
        drop(first);
        assert!(bounds.place().is_some(), "the refused one has taken none");
    }

    #[test]
    fn shares_add_up() {
        let bounds = bounds();
        let (mut one, mut other) = (bounds.share(), bounds.share());
        assert!(one.hold(SMALL + 60));
        assert!(!other.hold(SMALL + 60));
        assert!(other.hold(0));
        assert!(other.hold(SMALL + 40));
        assert!(bounds.share().hold(SMALL), "what is small does not count");
        assert!(one.hold(SMALL + 10));
        drop(one);
        assert!(other.hold(SMALL + 100));
        assert!(!other.hold(SMALL + 101));
    }

    #[test]
    fn defaults() {
        let with = |descriptors| Limits::new(ServerLimits::default(), descriptors);
        let limits = with(1024);
        assert_eq!(limits.connections, 768);
        let wanted = ServerLimits {
            connections: Some(10_000),
            ..ServerLimits::default()
        };
        assert_eq!(
            Limits::new(wanted, 1024).connections,
            768,
            "the others need theirs"
        );
        assert_eq!(with(1 << 20).connections, (1 << 20) - 4096);
        assert!(limits.queued_bytes > limits.buffers && limits.buffers > 0);
    }
}
