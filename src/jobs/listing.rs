//! Answers that may be long, such as `show jobs` of a million: they are written piece by piece, so that nobody else waits for all of
//! one, and no more of it is kept for its reader than a piece.

use serde::{Deserialize, Serialize};

use super::conn::ConnId;
use super::server::{Handle, JobServer};

/// A piece ends after the line that makes it this long, in bytes.
const PIECE: usize = 256 << 10;

/// What there is a list of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Of {
    /// `status`.
    Functions,
    /// `prioritystatus`.
    Priorities,
    /// `workers`.
    Connections,
    /// `show jobs`.
    Jobs,
    /// `show unique jobs`.
    Uniques,
}

/// A list that a connection has asked for, and where in the table it goes on. What comes into the table meanwhile may be in it or not.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Listing {
    of: Of,
    next: u32,
}

impl JobServer {
    /// Begins a list. If it is longer than a piece, [`JobServer::go_on`] writes the others.
    pub(super) fn list(&mut self, asking: ConnId, of: Of) {
        if let Some(key) = self.conns.key(asking) {
            self.conns[key].listing = Some(Listing { of, next: 0 });
            self.go_on(asking);
        }
    }

    /// Writes the next piece of the list that a connection has asked for. Returns whether that was not the last one; until then nothing
    /// else that the connection asks for should be looked at.
    pub fn go_on(&mut self, asking: ConnId) -> bool {
        let Some(key) = self.conns.key(asking) else {
            return false;
        };
        let Some(mut listing) = self.conns[key].listing.take() else {
            return false;
        };
        let rows = match listing.of {
            Of::Functions | Of::Priorities => self.functions.rows(),
            Of::Connections => self.conns.rows(),
            Of::Jobs | Of::Uniques => self.jobs.rows(),
        };
        let mut out = std::mem::take(&mut self.out);
        out.write(asking, |out| {
            let full = out.len() + PIECE;
            while listing.next < rows && out.len() < full {
                self.line(listing, out);
                listing.next += 1;
            }
            if listing.next >= rows {
                out.extend_from_slice(b".\n");
            }
        });
        self.out = out;
        let has_more = listing.next < rows;
        if has_more {
            self.conns[key].listing = Some(listing);
        }
        has_more
    }

    /// The line of a row, unless that is vacant.
    fn line(&self, Listing { of, next }: Listing, out: &mut Vec<u8>) {
        match of {
            Of::Functions => {
                let Some(function) = self.functions.row(next) else {
                    return;
                };
                let load = function.load();
                let total = load.queued.iter().sum::<u64>() + load.running;
                out.extend_from_slice(&function.name);
                out.extend_from_slice(
                    format!("\t{total}\t{}\t{}\n", load.running, load.workers).as_bytes(),
                );
            }
            Of::Priorities => {
                let Some(function) = self.functions.row(next) else {
                    return;
                };
                let [high, normal, low] = function.queued_by_priority();
                let workers = function.workers;
                out.extend_from_slice(&function.name);
                out.extend_from_slice(format!("\t{high}\t{normal}\t{low}\t{workers}\n").as_bytes());
            }
            Of::Connections => {
                let Some(conn) = self.conns.get(next) else {
                    return;
                };
                out.extend_from_slice(format!("{} {} ", conn.descriptor, conn.peer).as_bytes());
                out.extend_from_slice(&conn.client_id);
                out.extend_from_slice(b" :");
                for ability in &conn.abilities {
                    out.push(b' ');
                    out.extend_from_slice(&self.functions[ability.function].name);
                }
                out.push(b'\n');
            }
            Of::Jobs => {
                let Some(job) = self.jobs.row(next) else {
                    return;
                };
                let handle = Handle::new(&self.options.handle_prefix, job.number);
                // gearmand's third number says of a job that it is to be ignored
                let retries = job.lost.saturating_add(job.failed);
                let is_kept = u8::from(job.background);
                out.extend_from_slice(handle.bytes());
                out.extend_from_slice(format!("\t{retries}\t0\t{is_kept}\n").as_bytes());
            }
            Of::Uniques => {
                let Some(job) = self.jobs.row(next) else {
                    return;
                };
                out.extend_from_slice(&job.unique);
                out.push(b'\n');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Options, Peer};
    use super::*;
    use crate::proto::{Frame, Kind, Magic};
    use crate::time::Time;

    #[test]
    fn a_long_list_comes_in_pieces_and_others_are_served_in_between() {
        let mut server = JobServer::new(Options::default());
        let now = Time::ZERO;
        let asking = server.connect(now, Peer::default());
        for _ in 0..50_000 {
            let frame = Frame::Packet {
                magic: Magic::Request,
                kind: Kind::SubmitJobBg as u32,
                body: b"f\0\0x",
            };
            server.receive(now, asking, frame);
        }
        server.outbox().clear();

        let mut listed = Vec::new();
        server.receive(now, asking, Frame::Text(b"show jobs"));
        let mut pieces = 0;
        loop {
            for (conn, bytes) in server.outbox().sends() {
                assert_eq!(conn, asking);
                assert!(bytes.len() < PIECE + 100, "{} bytes", bytes.len());
                listed.extend_from_slice(bytes);
            }
            server.outbox().clear();
            pieces += 1;
            let other = server.connect(now, Peer::default());
            server.disconnect(now, other);
            server.outbox().clear();
            if listed.ends_with(b"\n.\n") {
                break;
            }
            server.go_on(asking);
        }
        assert!(pieces > 3, "{pieces} pieces");
        assert_eq!(listed.iter().filter(|&&byte| byte == b'\n').count(), 50_001);
        assert!(!server.go_on(asking));
    }

    #[test]
    fn what_is_asked_before_the_end_of_a_list_comes_after_it() {
        let mut server = JobServer::new(Options::default());
        let now = Time::ZERO;
        let asking = server.connect(now, Peer::default());
        for number in 0..30_000 {
            let name = format!("create function f{number}");
            server.receive(now, asking, Frame::Text(name.as_bytes()));
        }
        server.outbox().clear();
        server.receive(now, asking, Frame::Text(b"status"));
        server.receive(now, asking, Frame::Text(b"getpid"));
        let all: Vec<u8> = server
            .outbox()
            .sends()
            .flat_map(|(_, bytes)| bytes.iter().copied())
            .collect();
        assert!(all.ends_with(b"f29999\t0\t0\t0\n.\nOK 0\n"));
    }
}
