//! A connection, as the job server sees it: a client, a worker, or both.

use std::collections::HashMap;
use std::time::Duration;

use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};
use slab::Slab;

use super::job::JobKey;
use super::listing::Listing;
use super::server::Peer;
use crate::proto::Grab;
use crate::time::Time;

/// One connection, never used twice in the daemon's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConnId(pub u64);

/// So many functions may be registered by one connection: all of them are looked at for each job that it asks for.
pub const MAX_ABILITIES: usize = 1000;

/// So many jobs that a connection has ended with WORK_EXCEPTION are remembered.
pub(super) const MAX_EXCEPTED: usize = 16;

/// A connection's place in the table; used again after it is gone.
pub(super) type ConnKey = u32;

/// What a NOOP that was sent says of the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Ticket {
    /// None is out.
    None,
    /// A NOOP with this number is out, and a job counts on the worker to come.
    Out(u64),
    /// It did not come in time: jobs no longer count on it.
    Late,
}

/// Whether a connection may be given jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Service {
    /// Yes.
    Open,
    /// Not before the owner of the processes has said whose it is. A request for a job that it has made meanwhile is kept, and
    /// answered then.
    Held { asked: Option<Grab> },
    /// No; the owner of its process waits until it is parked. `told` when that has been said.
    Quiesced { told: bool },
    /// No, and a request for one is answered with an ERROR, which ends the loops of workers that ignore everything else.
    Refused,
}

/// How far away a peer may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reach {
    /// It came by a Unix socket: who may open that is a matter of the file system.
    Local,
    /// It came by the network.
    #[default]
    Network,
}

/// What a worker has registered.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Ability {
    pub(super) function: u32,
    /// CAN_DO_TIMEOUT: how long a job may take.
    pub(super) timeout: Option<Duration>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Conn {
    pub(super) id: ConnId,
    /// What `workers` shows first; the descriptor, as gearmand does.
    pub(super) descriptor: i32,
    pub(super) peer: String,
    pub(super) reach: Reach,
    #[serde(with = "serde_bytes")]
    pub(super) client_id: Box<[u8]>,
    /// The `exceptions` option.
    pub(super) exceptions: bool,

    /// In the order of registration.
    pub(super) abilities: Vec<Ability>,
    /// Where the round over the abilities goes on.
    pub(super) turn: usize,
    /// The jobs that it runs, the oldest first.
    pub(super) held: Vec<JobKey>,
    /// The jobs that it ended with WORK_EXCEPTION, the last [`MAX_EXCEPTED`]: the WORK_FAIL that some libraries send after it is no
    /// error.
    pub(super) excepted: Vec<u64>,
    /// Its place among the sleepers, while PRE_SLEEP is in force.
    pub(super) asleep: Option<u64>,
    pub(super) ticket: Ticket,
    pub(super) service: Service,
    /// Whether it has asked for a job, or gone to sleep, since the last one that it had: none of the worker's code is left to run.
    pub(super) settled: bool,
    /// Whether each job that it is given or loses is told: those of our own processes, for the index of their logs.
    pub(super) traced: bool,
    /// How long a job may take, as its pool says.
    pub(super) limit: Option<Duration>,
    pub(super) jobs_done: u64,
    pub(super) idle_since: Time,

    /// The jobs whose result it waits for, and how many submissions of each.
    pub(super) waits: HashMap<JobKey, u32, FixedState>,
    /// The list that it has asked for and has not got to the end.
    pub(super) listing: Option<Listing>,
}

/// All connections.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Conns {
    slots: Slab<Conn>,
    /// Counts connections, so that a number in a late message never means a newer one.
    opened: u64,
}

impl Conns {
    pub(super) fn open(
        &mut self,
        now: Time,
        peer: Peer,
        exceptions: bool,
        service: Service,
    ) -> ConnId {
        let entry = self.slots.vacant_entry();
        self.opened += 1;
        let id = ConnId(self.opened << 32 | entry.key() as u64);
        entry.insert(Conn {
            id,
            descriptor: peer.descriptor,
            peer: peer.address,
            reach: peer.reach,
            client_id: (*b"-").into(),
            exceptions,
            abilities: Vec::new(),
            turn: 0,
            held: Vec::new(),
            excepted: Vec::new(),
            asleep: None,
            ticket: Ticket::None,
            service,
            settled: false,
            traced: false,
            limit: None,
            jobs_done: 0,
            idle_since: now,
            waits: HashMap::default(),
            listing: None,
        });
        id
    }

    /// The place of a connection, unless it is gone.
    pub(super) fn key(&self, id: ConnId) -> Option<ConnKey> {
        let key = id.0 as ConnKey;
        self.slots
            .get(key as usize)
            .filter(|conn| conn.id == id)
            .map(|_| key)
    }

    pub(super) fn remove(&mut self, key: ConnKey) -> Conn {
        self.slots.remove(key as usize)
    }

    /// No key is as high as this.
    pub(super) fn rows(&self) -> u32 {
        self.slots.capacity() as u32
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Conn> {
        self.slots.iter().map(|(_, conn)| conn)
    }

    pub(super) fn get(&self, key: ConnKey) -> Option<&Conn> {
        self.slots.get(key as usize)
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }
}

impl std::ops::Index<ConnKey> for Conns {
    type Output = Conn;

    fn index(&self, key: ConnKey) -> &Conn {
        &self.slots[key as usize]
    }
}

impl std::ops::IndexMut<ConnKey> for Conns {
    fn index_mut(&mut self, key: ConnKey) -> &mut Conn {
        &mut self.slots[key as usize]
    }
}
