//! The world: a clock that jumps to whatever comes next, and byte streams between the server and its peers.
//!
//! After every call of the job server its invariants are counted anew, and what it said is compared with the [`Ledger`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use gearpool::config::Pool;
use gearpool::jobs::{ConnId, JobServer, MAX_UNIQUE, Newcomers, Notice, Options, Peer, Policy};
use gearpool::pools::{Caps, Event, ExitStatus, ProcId, Stop};
use gearpool::proto::{Decoded, Frame, Kind, Mode, Request, Response, decode};
use gearpool::time::Time;

use crate::client::{Client, ClientDeed};
use crate::ledger::{Ledger, text};
use crate::manager::{Manager, Tidings};
use crate::process::{Proc, ProcDeed, Worker};
use crate::random::Random;

/// Prints what happens when a single seed is replayed.
macro_rules! trace {
    ($world:expr, $($text:tt)*) => {
        if $world.is_traced {
            println!("{:>10.4} {}", $world.now.since_start().as_secs_f64(), format_args!($($text)*));
        }
    };
}
pub(crate) use trace;

/// What happens some time after it was brought about.
#[derive(Debug)]
pub(crate) enum Happening {
    /// Bytes of a peer reach the server.
    Up(ConnId, Vec<u8>),
    /// The server sees that a peer has closed.
    UpEnd(ConnId),
    /// Bytes of the server reach a peer.
    Down(ConnId, Vec<u8>),
    /// A peer sees that the server has closed.
    DownEnd(ConnId),
    /// The connection's task sees that it is to close.
    ServerCloses(ConnId),
    ManagerWakes,
    Reaped(ProcId, ExitStatus),
    Proc(ProcId, ProcDeed),
    /// A worker's own next step, unless it has got another one since.
    Step(ConnId, u64),
    Client(usize, ClientDeed),
    Operator,
    /// The operator cancels a job.
    Cancel,
    /// Another daemon goes on where this one stopped.
    Upgrade,
    /// The operator holds the queue of a function, or lets it go.
    Hold,
    /// Orders that reach the manager together.
    Orders(Vec<Event>),
}

/// Who has the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Proc(ProcId),
    Client(usize),
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) owner: Owner,
    /// When the last bytes that are under way arrive: later ones do not overtake them.
    up_at: Time,
    down_at: Time,
    /// The beginning of a frame whose end has not come yet.
    server_has: Vec<u8>,
    peer_has: Vec<u8>,
    pub(crate) is_served: bool,
    pub(crate) is_held: bool,
    /// The peer has closed its half, and reads on.
    is_half_closed: bool,
}

pub(crate) struct World {
    pub(crate) random: Random,
    /// Of its own, so that a seed means the same world whether jobs are cancelled or not, up to the first that is.
    pub(crate) cancels: Random,
    /// Likewise of what is said of jobs that do not end well.
    pub(crate) strict: Random,
    /// What is in force of that, by function.
    pub(crate) policies: BTreeMap<String, Policy>,
    pub(crate) held: BTreeSet<&'static str>,
    /// Jobs that have run past their limit, by handle.
    pub(crate) overdue: BTreeSet<Vec<u8>>,
    pub(crate) overdues: u64,
    pub(crate) now: Time,
    line: BTreeMap<(Time, u64), Happening>,
    number: u64,
    options: Options,
    pub(crate) server: JobServer,
    pub(crate) streams: BTreeMap<ConnId, Stream>,
    pub(crate) ledger: Ledger,
    pub(crate) manager: Manager,
    pub(crate) procs: BTreeMap<ProcId, Proc>,
    pub(crate) workers: BTreeMap<ConnId, Worker>,
    pub(crate) ever: BTreeSet<ProcId>,
    pub(crate) clients: Vec<Client>,
    pub(crate) file: Vec<Arc<Pool>>,
    pub(crate) caps: Caps,
    pub(crate) caps_in_force: Caps,
    pub(crate) faults: bool,
    pub(crate) stopping: Option<(Stop, Time)>,
    pub(crate) is_finished: bool,
    pub(crate) is_traced: bool,
    /// Peers do also what no library does. Other seeds play as they did when those with a name were found.
    pub(crate) is_wild: bool,
    /// Some jobs kill whatever process they are given to.
    pub(crate) is_poisoned: bool,
    pub(crate) steps: u64,
    pub(crate) upgrades: u64,
}

impl World {
    pub(crate) fn new(seed: u64, is_traced: bool) -> World {
        let mut random = Random::new(seed);
        let options = Options {
            job_retries: *random.any(&[0, 0, 4]),
            wakeup: *random.any(&[1, 1, 1, 3]),
            newcomers: Newcomers::Held,
            ..Options::default()
        };
        World {
            ledger: Ledger::new(options.job_retries),
            server: JobServer::new(options.clone()),
            options,
            manager: Manager::new(random.next()),
            random,
            cancels: Random::new(!seed),
            strict: Random::new(seed ^ 0x5eed),
            policies: BTreeMap::new(),
            held: BTreeSet::new(),
            overdue: BTreeSet::new(),
            overdues: 0,
            now: Time::ZERO,
            line: BTreeMap::new(),
            number: 0,
            streams: BTreeMap::new(),
            procs: BTreeMap::new(),
            workers: BTreeMap::new(),
            ever: BTreeSet::new(),
            clients: Vec::new(),
            file: Vec::new(),
            caps: Caps::default(),
            caps_in_force: Caps::default(),
            faults: true,
            stopping: None,
            is_finished: false,
            is_traced,
            is_wild: matches!(seed % 5, 0 | 2),
            is_poisoned: seed % 7 == 3,
            steps: 0,
            upgrades: 0,
        }
    }

    /// True now and then, as long as faults last, where peers do what no library does.
    pub(crate) fn mischief(&mut self, percent: u64) -> bool {
        self.is_wild && self.fault(percent)
    }

    /// True now and then, as long as faults last.
    pub(crate) fn fault(&mut self, percent: u64) -> bool {
        self.random.percent(percent) && self.faults
    }

    pub(crate) fn later(&mut self, after: Duration, happening: Happening) {
        self.at(self.now + after, happening);
    }

    fn at(&mut self, at: Time, happening: Happening) {
        self.number += 1;
        self.line.insert((at, self.number), happening);
    }

    /// Lets things happen until `until`, or until all has ended.
    pub(crate) fn run(&mut self, until: Time) {
        while !self.is_finished {
            let next = self.line.keys().next().map(|&(at, _)| at);
            let timer = self.server.next_deadline();
            let manager = self.manager.next_deadline();
            let Some(at) = [next, timer, manager].into_iter().flatten().min() else {
                break;
            };
            if at > until {
                break;
            }
            assert!(at >= self.now || next != Some(at), "time goes back");
            self.now = self.now.max(at);
            self.steps += 1;
            if next == Some(at) {
                let (_, happening) = self.line.pop_first().expect("it was there");
                self.happen(happening);
            } else if timer == Some(at) {
                trace!(self, "the server's timer");
                self.server.tick(self.now);
                self.deliver();
                let again = self.server.next_deadline();
                assert!(
                    again.is_none_or(|again| again > self.now),
                    "the server has not done what is due"
                );
            } else {
                self.manage();
            }
        }
        self.now = self.now.max(until);
    }

    /// Both machines are written, and read by those that take their places.
    fn upgrade(&mut self) {
        trace!(self, "upgrade");
        let both = (self.server.state(), &self.manager.supervisor);
        let state = rmp_serde::to_vec_named(&both).expect("it is written");
        let (server, supervisor) = rmp_serde::from_slice(&state).expect("it is read");
        self.server = JobServer::restore(server, self.options.clone());
        self.manager.supervisor = supervisor;
        self.server.assert_invariants();
        self.upgrades += 1;
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Up(conn, bytes) => self.server_reads(conn, &bytes),
            Happening::UpEnd(conn) => match self.streams.get(&conn) {
                // what it is to be told is sent before its connection is closed
                Some(stream) if stream.is_half_closed && stream.is_held => self.server_closes(conn),
                _ => self.server_loses(conn),
            },
            Happening::Down(conn, bytes) => self.peer_reads(conn, &bytes),
            Happening::DownEnd(conn) => self.peer_loses(conn),
            Happening::ServerCloses(conn) => self.server_closes(conn),
            Happening::ManagerWakes => self.manage(),
            Happening::Reaped(proc, status) => self.reaped(proc, status),
            Happening::Proc(proc, deed) => self.proc_does(proc, deed),
            Happening::Step(conn, epoch) => self.worker_steps(conn, epoch),
            Happening::Client(client, deed) => self.client_does(client, deed),
            Happening::Operator => self.operate(),
            Happening::Cancel => self.cancel(),
            Happening::Upgrade => self.upgrade(),
            Happening::Hold => self.hold(),
            Happening::Orders(orders) => {
                for order in orders {
                    self.tidings(Tidings::Order(order));
                }
            }
        }
    }

    /// Lets some of what is just arriving arrive now: the threads of the server do not wait for the manager to finish its turn.
    pub(crate) fn interleave(&mut self) {
        for _ in 0..self.random.below(3) {
            let soon = self.now + Duration::from_micros(300);
            let arriving = self
                .line
                .range(..=(soon, u64::MAX))
                .find(|(_, happening)| matches!(happening, Happening::Up(..)));
            let Some(&key) = arriving.map(|(key, _)| key) else {
                return;
            };
            if let Some(happening) = self.line.remove(&key) {
                self.happen(happening);
            }
        }
    }

    // Connections.

    pub(crate) fn connect(&mut self, owner: Owner) -> ConnId {
        let conn = self.server.connect(self.now, Peer::default());
        let stream = Stream {
            owner,
            up_at: self.now,
            down_at: self.now,
            server_has: Vec::new(),
            peer_has: Vec::new(),
            is_served: true,
            is_held: true,
            is_half_closed: false,
        };
        self.streams.insert(conn, stream);
        conn
    }

    /// A peer sends, all at once.
    pub(crate) fn say(&mut self, conn: ConnId, requests: &[Request<'_>]) {
        let mut bytes = Vec::new();
        for request in requests {
            request.encode(&mut bytes);
            trace!(self, "{conn:?} says {}", words(|out| request.encode(out)));
        }
        for (at, piece) in self.pieces(&bytes) {
            let stream = self.streams.get_mut(&conn).expect("a connection");
            stream.up_at = stream.up_at.max(at);
            let at = stream.up_at;
            self.at(at, Happening::Up(conn, piece));
        }
    }

    /// A peer closes, or is dead.
    pub(crate) fn hang_up(&mut self, conn: ConnId) {
        let latency = self.latency();
        let stream = self.streams.get_mut(&conn).expect("a connection");
        if std::mem::replace(&mut stream.is_held, false) {
            let at = stream.up_at.max(self.now + latency);
            self.at(at, Happening::UpEnd(conn));
        }
    }

    /// A peer will not send any more, and reads on.
    pub(crate) fn half_close(&mut self, conn: ConnId) {
        let latency = self.latency();
        let stream = self.streams.get_mut(&conn).expect("a connection");
        if !std::mem::replace(&mut stream.is_half_closed, true) {
            let at = stream.up_at.max(self.now + latency);
            self.at(at, Happening::UpEnd(conn));
        }
    }

    fn latency(&mut self) -> Duration {
        match self.fault(1) {
            true => self.random.millis(0, 200),
            false => self.random.millis(0, 2),
        }
    }

    /// Bytes as the network may bring them: in pieces, each some time later.
    fn pieces(&mut self, bytes: &[u8]) -> Vec<(Time, Vec<u8>)> {
        let mut pieces = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let at = match self.random.percent(15) {
                true => 1 + self.random.below(rest.len() as u64) as usize,
                false => rest.len(),
            };
            let (piece, tail) = rest.split_at(at);
            pieces.push((self.now + self.latency(), piece.to_vec()));
            rest = tail;
        }
        pieces
    }

    fn server_reads(&mut self, conn: ConnId, bytes: &[u8]) {
        let Some(stream) = self.streams.get_mut(&conn).filter(|it| it.is_served) else {
            return;
        };
        let mut buffer = std::mem::take(&mut stream.server_has);
        buffer.extend_from_slice(bytes);
        let mut used = 0;
        while let Ok(Decoded::Frame(frame, length)) = decode(&buffer[used..]) {
            used += length;
            self.server_takes(conn, frame);
        }
        buffer.drain(..used);
        if let Some(stream) = self.streams.get_mut(&conn) {
            stream.server_has = buffer;
        }
    }

    fn server_takes(&mut self, conn: ConnId, frame: Frame<'_>) {
        let Frame::Packet { kind, body, .. } = frame else {
            unreachable!("nobody sends text");
        };
        let request = Request::parse(kind, body).expect("what was sent");
        let mut submitted = None;
        match request {
            Request::WorkComplete { handle, .. }
            | Request::WorkFail { handle }
            | Request::WorkException { handle, .. } => {
                let load = self.server.worker_load(conn).expect("it is served");
                let mut jobs = load.jobs.iter();
                if let Some(job) = jobs.find(|job| job.handle.as_bytes() == handle) {
                    self.overdue.remove(handle);
                    match request {
                        Request::WorkComplete { .. } => self.ledger.ended(handle),
                        _ => self.ledger.failed(handle, self.policy(&job.function)),
                    }
                }
            }
            Request::SubmitJob { mode, unique, .. } if unique.len() <= MAX_UNIQUE => {
                submitted = Some(mode);
            }
            _ => {}
        }
        self.server.receive(self.now, conn, frame);
        if let Some(mode) = submitted {
            self.note_created(conn, mode);
        }
        self.deliver();
    }

    fn note_created(&mut self, conn: ConnId, mode: Mode) {
        let sends = self.server.outbox().sends();
        let to_it = sends.filter(|(to, _)| *to == conn);
        let mut created = Vec::new();
        for (_, bytes) in to_it {
            each_response(bytes, |response| {
                if let Response::JobCreated { handle } = response {
                    created.push(handle.to_vec());
                }
            });
        }
        assert_eq!(created.len(), 1, "a submission has one answer");
        self.ledger.created(&created[0], mode == Mode::Background);
    }

    fn server_closes(&mut self, conn: ConnId) {
        self.server_loses(conn);
        if let Some(stream) = self.streams.get(&conn) {
            let at = stream.down_at.max(self.now + Duration::from_micros(300));
            self.at(at, Happening::DownEnd(conn));
        }
    }

    fn server_loses(&mut self, conn: ConnId) {
        let Some(stream) = self.streams.get_mut(&conn) else {
            return;
        };
        if std::mem::replace(&mut stream.is_served, false) {
            trace!(self, "{conn:?} is closed, for the server");
            self.server.disconnect(self.now, conn);
            self.deliver();
        }
        self.forget_if_over(conn);
    }

    fn forget_if_over(&mut self, conn: ConnId) {
        if self
            .streams
            .get(&conn)
            .is_some_and(|it| !it.is_served && !it.is_held)
        {
            self.streams.remove(&conn);
        }
    }

    /// Carries out what the server has to say, as the hub does.
    pub(crate) fn deliver(&mut self) {
        let out = self.server.outbox();
        let sends: Vec<_> = out
            .sends()
            .map(|(conn, bytes)| (conn, bytes.to_vec()))
            .collect();
        let closes = out.closes().to_vec();
        let notices = out.notices().to_vec();
        let demand = out.demand();
        out.clear();
        for notice in &notices {
            self.keep_books(notice);
        }
        self.server.assert_invariants();
        let mut is_assigned = false;
        for (conn, bytes) in sends {
            each_response(&bytes, |response| {
                trace!(
                    self,
                    "{conn:?} is told {}",
                    words(|out| response.encode(out))
                );
                if let Response::JobAssign {
                    handle, function, ..
                }
                | Response::JobAssignUniq {
                    handle, function, ..
                }
                | Response::JobAssignAll {
                    handle, function, ..
                } = response
                {
                    is_assigned = true;
                    let function = String::from_utf8_lossy(function);
                    assert!(!self.held.contains(&*function), "{function} is held");
                    self.ledger.assigned(handle);
                    assert!(
                        self.manager.may_be_given_a_job(conn),
                        "{} is given to {conn:?}, which is being drained",
                        text(handle)
                    );
                }
            });
            for (at, piece) in self.pieces(&bytes) {
                let Some(stream) = self.streams.get_mut(&conn) else {
                    continue;
                };
                stream.down_at = stream.down_at.max(at);
                let at = stream.down_at;
                self.at(at, Happening::Down(conn, piece));
            }
        }
        if is_assigned {
            self.check_holders();
        }
        for conn in closes {
            self.later(Duration::ZERO, Happening::ServerCloses(conn));
        }
        for notice in notices {
            trace!(self, "notice {notice:?}");
            self.notify(notice);
        }
        if demand {
            self.demand();
        }
    }

    /// What holds for jobs of a function.
    pub(crate) fn policy(&self, function: &str) -> Policy {
        self.policies.get(function).copied().unwrap_or_default()
    }

    /// Compares what the server says of jobs that do not end well with what has happened.
    fn keep_books(&mut self, notice: &Notice) {
        match notice {
            Notice::Overdue { handle, .. } => {
                assert!(self.overdue.insert(handle.to_vec()), "it is told twice");
                self.overdues += 1;
            }
            Notice::Lost {
                conn,
                handle,
                attempts,
                of,
                is_set_aside,
            } => {
                let is_overdue = self.overdue.remove(&**handle);
                assert!(
                    is_overdue || self.manager.may_be_given_a_job(*conn),
                    "that {} was lost is our doing, and it counts",
                    text(handle)
                );
                let function = self
                    .server
                    .show(self.now, handle)
                    .expect("it is there")
                    .function;
                let policy = self.policy(&function);
                let told = (*attempts, *of, *is_set_aside);
                self.ledger.lost(handle, policy, told);
            }
            _ => {}
        }
    }

    /// At most one worker holds a job.
    fn check_holders(&self) {
        let mut held = BTreeSet::new();
        for load in self.server.worker_loads() {
            for job in load.jobs {
                assert!(
                    held.insert(job.handle.clone()),
                    "two workers have {}",
                    job.handle
                );
            }
        }
    }

    fn peer_reads(&mut self, conn: ConnId, bytes: &[u8]) {
        let Some(stream) = self.streams.get_mut(&conn).filter(|it| it.is_held) else {
            return;
        };
        let owner = stream.owner;
        let mut buffer = std::mem::take(&mut stream.peer_has);
        buffer.extend_from_slice(bytes);
        let used = each_response(&buffer, |response| match owner {
            Owner::Proc(_) => self.worker_hears(conn, response),
            Owner::Client(client) => self.client_hears(client, conn, response),
        });
        buffer.drain(..used);
        if let Some(stream) = self.streams.get_mut(&conn) {
            stream.peer_has = buffer;
        }
    }

    fn peer_loses(&mut self, conn: ConnId) {
        let Some(stream) = self.streams.get_mut(&conn) else {
            return;
        };
        if std::mem::replace(&mut stream.is_held, false) {
            match stream.owner {
                Owner::Proc(_) => self.worker_is_cut_off(conn),
                Owner::Client(client) => self.client_is_closed(client, conn),
            }
        }
        self.forget_if_over(conn);
    }
}

/// A packet as text: its name and its arguments.
fn words(encode: impl FnOnce(&mut Vec<u8>)) -> String {
    let mut bytes = Vec::new();
    encode(&mut bytes);
    match decode(&bytes) {
        Ok(Decoded::Frame(Frame::Packet { kind, body, .. }, _)) => {
            let name = Kind::from_number(kind).map_or("?", Kind::name);
            format!("{name} {}", text(body).replace('\0', "|"))
        }
        other => unreachable!("a packet is a frame: {other:?}"),
    }
}

/// Reads whole packets; returns how many bytes they took.
fn each_response(bytes: &[u8], mut take: impl FnMut(Response<'_>)) -> usize {
    let mut used = 0;
    while let Ok(Decoded::Frame(frame, length)) = decode(&bytes[used..]) {
        let Frame::Packet { kind, body, .. } = frame else {
            unreachable!("nobody asked for text");
        };
        take(Response::parse(kind, body).expect("a server's packet"));
        used += length;
    }
    used
}
