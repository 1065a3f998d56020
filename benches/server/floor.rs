//! The floor: a server that exchanges the same packets and does nothing else. What it costs is the price of the system calls and of
//! TCP, which no job server on epoll can go below without batching more.
//!
//! It keeps no job: a background job is a number that is counted down, and a foreground job's handle *is* its client's place in
//! the list of connections.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Context, Result};
use gearpool::proto::{Kind, Request, Response};
use nix::sys::epoll::EpollTimeout;

use crate::load::{FUNCTION, WORKLOAD};
use crate::wire::{Outboxes, Wire};

/// In front of the eight digits of a handle, which name the waiting client or, all nines, nobody.
const PREFIX: &[u8] = b"H:floor:";
const NOBODY: usize = 99_999_999;

struct Floor {
    background: usize,
    foreground: VecDeque<usize>,
    asleep: Vec<usize>,
    created: Canned,
    assign: Canned,
}

/// A packet made once, of which only the handle's digits change.
struct Canned {
    bytes: Vec<u8>,
    digits: usize,
}

impl Canned {
    fn new(response: Response<'_>) -> Canned {
        let mut bytes = Vec::new();
        response.encode(&mut bytes);
        Canned {
            bytes,
            digits: 12 + PREFIX.len(),
        }
    }

    fn append(&mut self, client: usize, out: &mut Vec<u8>) {
        let mut rest = client;
        for digit in self.bytes[self.digits..][..8].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        out.extend_from_slice(&self.bytes);
    }
}

/// Serves on `port` until it is killed.
pub(crate) fn serve(port: u16) -> Result<()> {
    let mut wire = Wire::listening(TcpListener::bind((Ipv4Addr::LOCALHOST, port))?)?;
    let handle = [PREFIX, b"00000000"].concat();
    let mut floor = Floor {
        background: 0,
        foreground: VecDeque::new(),
        asleep: Vec::new(),
        created: Canned::new(Response::JobCreated { handle: &handle }),
        assign: Canned::new(Response::JobAssign {
            handle: &handle,
            function: FUNCTION,
            workload: &WORKLOAD,
        }),
    };
    loop {
        wire.turn(EpollTimeout::NONE, &mut |at, kind, body, out| {
            floor.answer(at, kind, body, out)
        })?;
    }
}

impl Floor {
    fn answer(&mut self, at: usize, kind: Kind, body: &[u8], out: &mut Outboxes) -> Result<()> {
        match kind {
            Kind::SubmitJobBg => {
                self.background += 1;
                self.created.append(NOBODY, out.to(at));
                self.wake(out);
            }
            Kind::SubmitJob => {
                self.foreground.push_back(at);
                self.created.append(at, out.to(at));
                self.wake(out);
            }
            Kind::GrabJob => {
                if let Some(client) = self.foreground.pop_front() {
                    self.assign.append(client, out.to(at));
                } else if self.background > 0 {
                    self.background -= 1;
                    self.assign.append(NOBODY, out.to(at));
                } else {
                    Response::NoJob.encode(out.to(at));
                }
            }
            Kind::PreSleep if self.foreground.is_empty() && self.background == 0 => {
                self.asleep.push(at);
            }
            Kind::PreSleep => Response::Noop.encode(out.to(at)),
            Kind::WorkComplete => {
                let Request::WorkComplete { handle, data } = Request::parse(kind as u32, body)?
                else {
                    return Ok(());
                };
                let client = client(handle).context("a handle that was not given out")?;
                if client != NOBODY {
                    Response::WorkComplete { handle, data }.encode(out.to(client));
                }
            }
            Kind::EchoReq => Response::EchoRes { data: body }.encode(out.to(at)),
            _ => {}
        }
        Ok(())
    }

    fn wake(&mut self, out: &mut Outboxes) {
        if let Some(worker) = self.asleep.pop() {
            Response::Noop.encode(out.to(worker));
        }
    }
}

fn client(handle: &[u8]) -> Option<usize> {
    std::str::from_utf8(handle.strip_prefix(PREFIX)?)
        .ok()?
        .parse()
        .ok()
}
