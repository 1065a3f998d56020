//! What any bytes may be made of: the decoder, the whole job server and the reader of the configuration, each driven by a string of
//! bytes and checked on the way. `fuzz/` looks for strings that break a check, `tests/corpus.rs` tries the ones that it has kept.

use std::collections::BTreeMap;
use std::time::Duration;

use gearpool::jobs::{ConnId, JobServer, Newcomers, Options, Peer, Policy, Reach};
use gearpool::proto::admin::Admin;
use gearpool::proto::{Decoded, Frame, FrameError, Grab, Kind, Mode, Request, Response, decode};
use gearpool::time::Time;

/// A stream of bytes is read the same however it is cut, and whatever is read can be written again.
pub(crate) fn frames(bytes: &[u8]) {
    let whole = follow(std::iter::once(bytes));
    // the first bytes say where the cuts are, so that the search can move them
    let cut = 1 + usize::from(bytes.first().copied().unwrap_or_default());
    assert_eq!(follow(bytes.chunks(cut)), whole, "pieces of {cut}");
    assert_eq!(follow(bytes.chunks(1)), whole, "byte by byte");
    for frame in whole.iter().flatten() {
        read_again(frame);
    }
}

/// A frame: its kind and body, or a line.
type Seen = Result<(Option<u32>, Vec<u8>), FrameError>;

fn follow<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Seen> {
    let (mut buffer, mut seen) = (Vec::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match decode(&buffer) {
                Ok(Decoded::Frame(frame, taken)) => {
                    assert!(taken > 0 && taken <= buffer.len(), "more than there is");
                    seen.push(Ok(match frame {
                        Frame::Packet { kind, body, .. } => (Some(kind), body.to_vec()),
                        Frame::Text(line) => (None, line.to_vec()),
                    }));
                    buffer.drain(..taken);
                }
                Ok(Decoded::Incomplete(needed)) => {
                    assert!(needed > buffer.len(), "more is needed than there is");
                    break;
                }
                Err(why) => {
                    seen.push(Err(why));
                    return seen;
                }
            }
        }
    }
    seen
}

fn read_again((kind, body): &(Option<u32>, Vec<u8>)) {
    let Some(kind) = *kind else {
        Admin::parse(body);
        return;
    };
    let mut out = Vec::new();
    if let Ok(request) = Request::parse(kind, body) {
        request.encode(&mut out);
        let Ok(Decoded::Frame(Frame::Packet { kind, body, .. }, _)) = decode(&out) else {
            panic!("what is encoded is a packet");
        };
        assert_eq!(Request::parse(kind, body), Ok(request));
    }
    out.clear();
    if let Ok(response) = Response::parse(kind, body) {
        response.encode(&mut out);
        let Ok(Decoded::Frame(Frame::Packet { kind, body, .. }, _)) = decode(&out) else {
            panic!("what is encoded is a packet");
        };
        assert_eq!(Response::parse(kind, body), Ok(response));
    }
}

/// A configuration is one, or has problems; the words of each can be shown.
pub(crate) fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let env = |name: &str| (name != "MISSING").then(|| "value".to_owned());
    match gearpool::config::parse(text, "workers.yaml", &env) {
        Ok(config) => drop(format!("{config:?}")),
        Err(problems) => drop(problems.to_string()),
    }
}

const CONNS: usize = 4;

/// Strings longer than this find nothing that shorter ones do not, and take long.
const LONGEST: usize = 4096;

/// Several connections do what the bytes say; after each step everything is counted again, and every client has been told of the end
/// of its jobs at most as often as it waits for it.
pub(crate) fn server(bytes: &[u8]) {
    let mut bytes = Bytes(&bytes[..bytes.len().min(LONGEST)]);
    let mut world = World::new(bytes.next());
    while !bytes.0.is_empty() {
        let step = bytes.next();
        world.step(step & 15, usize::from(step >> 4) % CONNS, &mut bytes);
        world.hear();
    }
    world.settle();
}

/// The rest of the string; behind its end there are zeros.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn next(&mut self) -> u8 {
        let (&first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        first
    }

    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

struct Conn {
    id: ConnId,
    /// The beginning of a frame.
    buffer: Vec<u8>,
    /// How often it waits for the end of a job.
    waits: BTreeMap<Vec<u8>, u32>,
}

struct World {
    server: JobServer,
    now: Time,
    conns: Vec<Conn>,
    /// Handles that were given out.
    handles: Vec<Vec<u8>>,
    /// The connection that has just submitted in the foreground.
    submitting: Option<usize>,
}

impl World {
    fn new(options: u8) -> World {
        let bit = |at: u8| options >> at & 1 == 1;
        let mut server = JobServer::new(Options {
            handle_prefix: "H:f".to_owned(),
            job_retries: if bit(0) { 2 } else { 0 },
            exceptions: bit(1),
            wakeup: if bit(2) { 2 } else { 1 },
            newcomers: if bit(3) {
                Newcomers::Held
            } else {
                Newcomers::Served
            },
            max_queue: if bit(4) { 2 } else { 0 },
            max_queued_bytes: if bit(5) { 64 } else { 0 },
            epoch: 1_000_000_000,
            ..Options::default()
        });
        if bit(6) {
            let policy = Policy {
                attempts: 2,
                retries: 1,
                ..Policy::default()
            };
            server.govern([("f", policy)].into_iter());
        }
        let mut connect = || Conn {
            id: server.connect(Time::ZERO, Peer::default()),
            buffer: Vec::new(),
            waits: BTreeMap::new(),
        };
        let conns = (0..CONNS).map(|_| connect()).collect();
        World {
            server,
            now: Time::ZERO,
            conns,
            handles: Vec::new(),
            submitting: None,
        }
    }

    fn step(&mut self, what: u8, at: usize, bytes: &mut Bytes<'_>) {
        let id = self.conns[at].id;
        match what {
            0 => self.reconnect(at),
            1 => self.pass(bytes.next()),
            2 => self.server.quiesce(self.now, id),
            3 => self.server.unquiesce(self.now, id),
            4 => self.server.refuse(self.now, id),
            5 => self.server.admit(self.now, id),
            6 => {
                let count = usize::from(bytes.next());
                let sent = bytes.take(count);
                self.send(at, sent);
            }
            8 => self.order(at, bytes.next()),
            7 => {
                let line = self.line(bytes);
                self.send(at, &line);
            }
            _ => {
                let packet = self.packet(bytes);
                self.send(at, &packet);
            }
        }
    }

    /// What an operator, or the owner of the processes, does.
    fn order(&mut self, at: usize, what: u8) {
        let (id, which) = (self.conns[at].id, usize::from(what >> 3));
        let function: &[u8] = [b"f", b"g"][which % 2];
        match what & 7 {
            0 | 1 => drop(self.server.pause(function)),
            2 | 3 => drop(self.server.resume(self.now, function)),
            4 => {
                self.server.trace(id);
                self.server.limit(id, Some(Duration::from_millis(500)));
            }
            5 | 6 => drop(self.server.retry(self.now, &self.handle(which))),
            _ => drop(self.server.discard(&self.handle(which))),
        }
        let list = self.server.job_list(self.now, None, usize::MAX);
        assert_eq!(list.jobs.len() as u64, list.total, "all are listed");
        self.hear();
    }

    fn reconnect(&mut self, at: usize) {
        self.server.disconnect(self.now, self.conns[at].id);
        self.hear();
        let peer = Peer {
            reach: if at == 0 {
                Reach::Local
            } else {
                Reach::Network
            },
            ..Peer::default()
        };
        self.conns[at] = Conn {
            id: self.server.connect(self.now, peer),
            buffer: Vec::new(),
            waits: BTreeMap::new(),
        };
    }

    fn pass(&mut self, how_long: u8) {
        let millis = [1, 10, 49, 50, 51, 1000, 31_000, 3_600_000][usize::from(how_long % 8)];
        self.now = self.now + Duration::from_millis(millis);
        self.server.tick(self.now);
        let next = self.server.next_deadline();
        assert!(next.is_none_or(|next| next > self.now), "still due");
    }

    /// A line of admin text whose words are names that there are.
    fn line(&self, bytes: &mut Bytes<'_>) -> Vec<u8> {
        let words: [&[u8]; 20] = [
            b"status",
            b"workers",
            b"version",
            b"show",
            b"jobs",
            b"unique",
            b"cancel",
            b"job",
            b"create",
            b"drop",
            b"function",
            b"maxqueue",
            b"shutdown",
            b"graceful",
            b"prioritystatus",
            b"getpid",
            b"f",
            b"g",
            b"1",
            b"-1",
        ];
        let mut line = Vec::new();
        for _ in 0..1 + bytes.next() % 5 {
            let word = usize::from(bytes.next());
            match words.get(word) {
                Some(word) => line.extend_from_slice(word),
                None => line.extend_from_slice(&self.handle(word)),
            }
            line.push(b' ');
        }
        line.push(b'\n');
        line
    }

    fn handle(&self, which: usize) -> Vec<u8> {
        let known = self.handles.iter().rev().nth(which % 8);
        known.cloned().unwrap_or_else(|| b"H:f:7".to_vec())
    }

    /// A packet of any type, whose arguments are names that there are, or bytes.
    fn packet(&self, bytes: &mut Bytes<'_>) -> Vec<u8> {
        let kind = Kind::ALL[usize::from(bytes.next()) % Kind::ALL.len()];
        let mut arguments = Vec::new();
        for _ in 0..kind.arguments() {
            let what = bytes.next();
            arguments.push(match what & 7 {
                0 => Vec::new(),
                1 => b"f".to_vec(),
                2 => b"g".to_vec(),
                3 => b"-".to_vec(),
                4 => self.handle(usize::from(what >> 3)),
                5 => [
                    &b"1"[..],
                    b"7",
                    b"1000000001",
                    b"1000000090",
                    b"18446744073709551615",
                ][usize::from(what >> 3) % 5]
                    .to_vec(),
                6 => vec![b'u'; usize::from(what >> 3) * 8],
                _ => bytes.take(usize::from(what >> 3)).to_vec(),
            });
        }
        let body = arguments.join(&0);
        let mut packet = b"\0REQ".to_vec();
        packet.extend_from_slice(&(kind as u32).to_be_bytes());
        packet.extend_from_slice(&(body.len() as u32).to_be_bytes());
        packet.extend_from_slice(&body);
        packet
    }

    /// The server reads what is there, as the daemon does.
    fn send(&mut self, at: usize, sent: &[u8]) {
        let mut buffer = std::mem::take(&mut self.conns[at].buffer);
        buffer.extend_from_slice(sent);
        let mut used = 0;
        loop {
            match decode(&buffer[used..]) {
                Ok(Decoded::Frame(frame, length)) => {
                    used += length;
                    self.submitting = is_waited_for(&frame).then_some(at);
                    self.server.receive(self.now, self.conns[at].id, frame);
                    self.hear();
                }
                Ok(Decoded::Incomplete(_)) => break,
                Err(why) => {
                    self.server.reject(self.conns[at].id, why);
                    assert_eq!(self.server.outbox().closes(), [self.conns[at].id]);
                    self.hear();
                    return self.reconnect(at);
                }
            }
        }
        buffer.drain(..used);
        self.conns[at].buffer = buffer;
    }

    /// What the server says is packets and lines, and right.
    fn hear(&mut self) {
        self.server.assert_invariants();
        let submitting = self.submitting.take();
        let out = self.server.outbox();
        for (id, mut bytes) in out.sends() {
            let at = self.conns.iter().position(|conn| conn.id == id);
            let at = at.expect("nothing is sent to one that is gone");
            while !bytes.is_empty() {
                if bytes[0] != 0 {
                    let end = bytes.iter().position(|&byte| byte == b'\n');
                    bytes = &bytes[end.expect("a line has an end") + 1..];
                    continue;
                }
                let Ok(Decoded::Frame(Frame::Packet { kind, body, .. }, length)) = decode(bytes)
                else {
                    panic!("what the server sends is whole packets");
                };
                bytes = &bytes[length..];
                let conn = &mut self.conns[at];
                match Response::parse(kind, body).expect("the server sends responses") {
                    Response::JobCreated { handle } => {
                        self.handles.push(handle.to_vec());
                        if submitting == Some(at) {
                            *conn.waits.entry(handle.to_vec()).or_default() += 1;
                        }
                    }
                    Response::WorkComplete { handle, .. }
                    | Response::WorkFail { handle }
                    | Response::WorkException { handle, .. } => {
                        let left = conn.waits.get_mut(handle);
                        let left = left.expect("the end of a job that it waits for");
                        *left -= 1;
                        if *left == 0 {
                            conn.waits.remove(handle);
                        }
                    }
                    _ => {}
                }
            }
        }
        out.clear();
    }

    /// Those who wait stay, everybody else goes, and one worker does what is left: then nobody waits any more.
    fn settle(&mut self) {
        for function in [b"f", b"g"] {
            self.server.resume(self.now, function);
            self.hear();
        }
        for at in 0..CONNS {
            if self.conns[at].waits.is_empty() {
                self.reconnect(at);
            }
        }
        let names: Vec<String> = self
            .server
            .function_loads(self.now)
            .into_iter()
            .map(|load| load.name)
            .collect();
        // a year: no job waits for its time any more, but those that wait for ever
        for _ in 0..2 {
            self.now = self.now + Duration::from_secs(365 * 24 * 60 * 60);
            self.server.tick(self.now);
            self.hear();
        }
        // what hangs in the hands of one that waits itself is ended by it, and not as the end of half a packet that it has sent
        for at in 0..CONNS {
            self.conns[at].buffer.clear();
            let load = self.server.worker_load(self.conns[at].id);
            let load = load.expect("it is connected");
            for job in load.jobs {
                self.say(
                    at,
                    &Request::WorkFail {
                        handle: job.handle.as_bytes(),
                    },
                );
            }
        }
        self.conns.push(Conn {
            id: self.server.connect(self.now, Peer::default()),
            buffer: Vec::new(),
            waits: BTreeMap::new(),
        });
        let worker = CONNS;
        let id = self.conns[worker].id;
        self.server.admit(self.now, id);
        for name in names.iter().filter(|name| !name.contains('\u{fffd}')) {
            self.say(
                worker,
                &Request::CanDo {
                    function: name.as_bytes(),
                },
            );
        }
        loop {
            self.say(worker, &Request::GrabJob(Grab::Uniq));
            let load = self.server.worker_load(id).expect("it is connected");
            let Some(job) = load.jobs.first() else {
                break;
            };
            self.say(
                worker,
                &Request::WorkComplete {
                    handle: job.handle.as_bytes(),
                    data: b"",
                },
            );
        }
        for load in self.server.function_loads(self.now) {
            if !load.name.contains('\u{fffd}') {
                assert_eq!((load.queued, load.running), ([0; 3], 0), "{load:?}");
            }
        }
        if names.iter().all(|name| !name.contains('\u{fffd}')) {
            let waits: usize = self.conns.iter().map(|conn| conn.waits.len()).sum();
            let later = self.server.next_deadline().is_some();
            assert!(
                waits == 0 || later,
                "somebody waits, and nothing is left to be done"
            );
        }
    }

    fn say(&mut self, at: usize, request: &Request<'_>) {
        let mut bytes = Vec::new();
        request.encode(&mut bytes);
        self.send(at, &bytes);
    }
}

/// Whether a frame is a submission whose client waits.
fn is_waited_for(frame: &Frame<'_>) -> bool {
    let Frame::Packet { kind, body, .. } = frame else {
        return false;
    };
    matches!(
        Request::parse(*kind, body),
        Ok(Request::SubmitJob {
            mode: Mode::Foreground,
            ..
        } | Request::SubmitReduceJob {
            mode: Mode::Foreground,
            ..
        })
    )
}
