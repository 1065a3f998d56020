//! A transcript against the pure job server: the clock is a value, and the invariants are counted after every step.

use std::collections::VecDeque;
use std::time::Duration;

use gearpool::jobs::{ConnId, JobServer, Newcomers, Notice, Options, Peer, Reach};
use gearpool::proto::{Decoded, decode};
use gearpool::time::Time;

use crate::script::Case;
use crate::world::{Inside, World, take_frame};

/// Unix seconds when a server in memory starts.
const EPOCH: u64 = 1_000_000_000;

/// How a segment is cut before it reaches the decoder.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Split {
    Whole,
    EachByte,
    /// In two, where it is long enough.
    At(usize),
}

pub(crate) struct Memory {
    server: JobServer,
    now: Time,
    split: Split,
    peers: Vec<MemoryPeer>,
    notices: VecDeque<Notice>,
    demand: bool,
    /// How far away the peers of this case are.
    reach: Reach,
}

struct MemoryPeer {
    id: ConnId,
    /// What it has sent and the server has not understood yet.
    sent: Vec<u8>,
    /// What it was sent and has not looked at yet.
    got: Vec<u8>,
    is_closed: bool,
}

impl Memory {
    pub(crate) fn new(case: &Case, split: Split) -> Memory {
        let mut options = Options {
            handle_prefix: "H:test".to_owned(),
            epoch: EPOCH,
            ..Options::default()
        };
        let mut reach = Reach::Network;
        for flag in &case.flags {
            match flag.split_once('=') {
                // no flag of the command's: the peers come by a Unix socket
                None if flag == "--unix" => reach = Reach::Local,
                Some(("--max-queue", number)) => {
                    options.max_queue = number.parse().expect("a number of jobs");
                }
                Some(("--max-queued-bytes", number)) => {
                    options.max_queued_bytes = number.parse().expect("a number of bytes");
                }
                None if flag == "--exceptions" => options.exceptions = true,
                // no flag of the command's: what it sets when it has pools
                None if flag == "--hold-newcomers" => options.newcomers = Newcomers::Held,
                Some(("--job-retries", number)) => {
                    options.job_retries = number.parse().expect("a number of retries");
                }
                Some(("--worker-wakeup", number)) => {
                    options.wakeup = number.parse().expect("a number of workers");
                }
                Some(("--job-handle-prefix", prefix)) => options.handle_prefix = prefix.to_owned(),
                _ => panic!("{}: `serve {flag}` is not known in memory", case.name),
            }
        }
        let mut server = JobServer::new(options);
        // over TCP there is one more connection, which asks what the case does not; so that both list the same, here too
        let control = Peer {
            descriptor: 30,
            address: "127.0.0.1".to_owned(),
            ..Peer::default()
        };
        server.connect(Time::ZERO, control);
        Memory {
            server,
            now: Time::ZERO,
            split,
            peers: Vec::new(),
            notices: VecDeque::new(),
            demand: false,
            reach,
        }
    }

    fn feed(&mut self, conn: usize, bytes: &[u8]) {
        let MemoryPeer {
            id,
            sent,
            is_closed,
            ..
        } = &mut self.peers[conn];
        sent.extend_from_slice(bytes);
        while !*is_closed {
            match decode(sent) {
                Ok(Decoded::Frame(frame, length)) => {
                    self.server.receive(self.now, *id, frame);
                    sent.drain(..length);
                }
                Ok(Decoded::Incomplete(needed)) => {
                    assert!(needed > sent.len(), "more is needed than there is");
                    break;
                }
                Err(why) => {
                    self.server.reject(*id, why);
                    break;
                }
            }
            *is_closed = self.server.outbox().closes().contains(id);
        }
        self.carry_out();
    }

    /// What the shell does with the output.
    fn carry_out(&mut self) {
        self.server.assert_invariants();
        let out = self.server.outbox();
        for (conn, bytes) in out.sends() {
            // a peer that is gone gets nothing, and may be sent something all the same
            if let Some(peer) = self.peers.iter_mut().find(|peer| peer.id == conn) {
                peer.got.extend_from_slice(bytes);
            }
        }
        self.notices.extend(out.notices().iter().cloned());
        self.demand |= out.demand();
        let closes = out.closes().to_vec();
        out.clear();
        for conn in closes {
            if let Some(peer) = self.peers.iter_mut().find(|peer| peer.id == conn) {
                peer.is_closed = true;
            }
            self.server.disconnect(self.now, conn);
            self.carry_out();
        }
    }

    /// Goes to a moment, stopping wherever something is due on the way.
    fn advance(&mut self, jump: Duration) -> Result<(), String> {
        self.demand = false;
        let end = self.now + jump;
        while let Some(due) = self.server.next_deadline().filter(|&due| due <= end) {
            self.now = self.now.max(due);
            self.server.tick(self.now);
            self.carry_out();
            if self
                .server
                .next_deadline()
                .is_some_and(|due| due <= self.now)
            {
                return Err("what was due is still due after the tick".to_owned());
            }
        }
        self.now = end;
        self.server.tick(end);
        self.carry_out();
        Ok(())
    }

    fn owner_asks(
        &mut self,
        conn: usize,
        ask: fn(&mut JobServer, Time, ConnId),
    ) -> Result<(), String> {
        self.demand = false;
        ask(&mut self.server, self.now, self.peers[conn].id);
        self.carry_out();
        Ok(())
    }

    /// The connections that were said to be parked, where the transcript did not look.
    pub(crate) fn unclaimed(&self) -> usize {
        let is_parked = |notice: &&Notice| matches!(notice, Notice::Parked(_));
        self.notices.iter().filter(is_parked).count()
    }

    /// Takes the notice, if it has come.
    fn was_parked(&mut self, conn: usize) -> bool {
        let sought = Notice::Parked(self.peers[conn].id);
        let at = self.notices.iter().position(|notice| *notice == sought);
        at.is_some_and(|at| self.notices.remove(at).is_some())
    }
}

impl World for Memory {
    fn connect(&mut self) {
        let peer = Peer {
            descriptor: 31 + self.peers.len() as i32,
            address: "127.0.0.1".to_owned(),
            reach: self.reach,
        };
        let id = self.server.connect(self.now, peer);
        self.peers.push(MemoryPeer {
            id,
            sent: Vec::new(),
            got: Vec::new(),
            is_closed: false,
        });
    }

    fn send(&mut self, conn: usize, bytes: &[u8]) {
        self.demand = false;
        match self.split {
            Split::Whole => self.feed(conn, bytes),
            Split::EachByte => bytes.iter().for_each(|&byte| self.feed(conn, &[byte])),
            Split::At(at) => {
                let (head, tail) = bytes.split_at(at.min(bytes.len()));
                self.feed(conn, head);
                self.feed(conn, tail);
            }
        }
    }

    fn next(&mut self, conn: usize) -> Option<Vec<u8>> {
        take_frame(&mut self.peers[conn].got)
    }

    fn pending(&mut self, conn: usize) -> Option<Vec<u8>> {
        self.next(conn)
    }

    fn close(&mut self, conn: usize) {
        self.demand = false;
        self.server.disconnect(self.now, self.peers[conn].id);
        self.carry_out();
    }

    fn reset(&mut self, conn: usize) {
        self.close(conn);
    }

    fn stop_sending(&mut self, _conn: usize) {
        panic!("a half-close is the business of whoever reads the socket");
    }

    fn is_closed(&mut self, conn: usize) -> bool {
        self.peers[conn].is_closed
    }

    fn inside(&mut self, what: Inside) -> Result<(), String> {
        match what {
            Inside::Advance(jump) => self.advance(jump),
            Inside::Quiesce(conn) => self.owner_asks(conn, JobServer::quiesce),
            Inside::Unquiesce(conn) => self.owner_asks(conn, JobServer::unquiesce),
            Inside::Refuse(conn) => self.owner_asks(conn, JobServer::refuse),
            Inside::Admit(conn) => self.owner_asks(conn, JobServer::admit),
            Inside::IsParked(conn) if self.was_parked(conn) => Ok(()),
            Inside::IsParked(_) => Err("nobody was told so".to_owned()),
            Inside::IsNotParked(conn) if self.was_parked(conn) => {
                Err("it was said that it is".to_owned())
            }
            Inside::IsNotParked(_) => Ok(()),
            Inside::Demand(expected) if self.demand == expected => Ok(()),
            Inside::Demand(_) => Err(format!("the last step's demand was {}", self.demand)),
        }
    }
}
