//! What the job server has to say after a call: packets for peers, and notices for the owner of the processes.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::conn::ConnId;
use crate::proto::Response;
use crate::proto::admin::Ending;

/// Past this many bytes the buffer is given back after use.
const KEEP: usize = 256 << 10;

/// The output of one or more calls, in order. The shell empties it before it unlocks.
#[derive(Clone, Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    sends: Vec<(ConnId, Range<usize>)>,
    closes: Vec<ConnId>,
    notices: Vec<Notice>,
    marks: Vec<Mark>,
    demand: bool,
}

/// Which job a traced connection has, said at the moment when that changes. See [`JobServer::trace`](super::JobServer::trace).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The connection.
    pub conn: ConnId,
    /// What happened.
    pub edge: Edge,
    /// The job's handle.
    pub handle: Box<[u8]>,
}

/// A moment in a job's time in a worker's hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edge {
    /// The worker is given the job.
    Began,
    /// It has run past its limit, and the worker still has it.
    Overdue,
    /// The worker has it no longer.
    Ended(Outcome),
}

/// How a job's time in a worker's hands ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// WORK_COMPLETE.
    Complete,
    /// WORK_FAIL.
    Fail,
    /// WORK_EXCEPTION.
    Exception,
    /// The worker was gone, or is.
    Lost,
    /// It had run past its limit.
    Timeout,
}

impl Outcome {
    /// In one word, as the index of a log has it.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Complete => "complete",
            Outcome::Fail => "fail",
            Outcome::Exception => "exception",
            Outcome::Lost => "lost",
            Outcome::Timeout => "timeout",
        }
    }
}

/// What the owner of the worker processes is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// A connection can now do a function.
    Registered {
        /// The connection.
        conn: ConnId,
        /// The function's name.
        function: Box<[u8]>,
    },
    /// A quiesced connection has no job, and its worker has nothing left to do after the last one.
    Parked(ConnId),
    /// A connection has ended its first job.
    Worked(ConnId),
    /// A job that a connection runs was cancelled. Old news once its worker has ended it, so see
    /// [`works_for_nobody`](super::JobServer::works_for_nobody).
    Cancelled(ConnId),
    /// A job has run past its limit on a traced connection, which is given no more: its process is to be killed. Old news once the job
    /// has ended after all, so see [`is_overdue`](super::JobServer::is_overdue).
    Overdue {
        /// The connection.
        conn: ConnId,
        /// The job's handle.
        handle: Box<[u8]>,
    },
    /// A job was lost with its worker, and that counts. Comes before `Closed`, where the connection is gone.
    Lost {
        /// The connection of the worker.
        conn: ConnId,
        /// The job's handle.
        handle: Box<[u8]>,
        /// How often that has happened to it.
        attempts: u32,
        /// How often it may, 0 for no limit.
        of: u32,
        /// It was not to happen again: the job is set aside, and
        /// [`tell_how_it_was_lost`](super::JobServer::tell_how_it_was_lost) can say more of it.
        is_set_aside: bool,
    },
    /// A background job has failed, and has no retry left: it is set aside.
    Failed {
        /// The connection of the worker.
        conn: ConnId,
        /// The job's handle.
        handle: Box<[u8]>,
    },
    /// A connection is gone.
    Closed(ConnId),
    /// Somebody who may has asked the daemon to end.
    ShutDown(Ending),
}

impl Outbox {
    /// The bytes to be sent, in order; neighbours to the same peer are one piece.
    pub fn sends(&self) -> impl Iterator<Item = (ConnId, &[u8])> {
        self.sends
            .iter()
            .map(|(conn, range)| (*conn, &self.bytes[range.clone()]))
    }

    /// How many bytes are kept for that.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Connections to be closed after what is sent to them.
    pub fn closes(&self) -> &[ConnId] {
        &self.closes
    }

    /// What the owner of the processes is told, in order.
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// What happened to the jobs of traced connections, in order.
    pub fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// Whether a job waits that no worker is on its way to take: more processes may be wanted.
    pub fn demand(&self) -> bool {
        self.demand
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.sends.is_empty()
            && self.closes.is_empty()
            && self.notices.is_empty()
            && self.marks.is_empty()
            && !self.demand
    }

    /// Forgets everything, once it has been carried out.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEEP);
        self.sends.clear();
        self.closes.clear();
        self.notices.clear();
        self.marks.clear();
        self.demand = false;
    }

    pub(super) fn send(&mut self, to: ConnId, response: &Response<'_>) {
        self.write(to, |bytes| response.encode(bytes));
    }

    /// The same to several peers, kept once.
    pub(super) fn send_all(
        &mut self,
        to: impl IntoIterator<Item = ConnId>,
        response: &Response<'_>,
    ) {
        let mut to = to.into_iter();
        let Some(first) = to.next() else { return };
        let from = self.bytes.len();
        self.send(first, response);
        let range = from..self.bytes.len();
        self.sends.extend(to.map(|to| (to, range.clone())));
    }

    pub(super) fn write(&mut self, to: ConnId, write: impl FnOnce(&mut Vec<u8>)) {
        let from = self.bytes.len();
        write(&mut self.bytes);
        let end = self.bytes.len();
        match self.sends.last_mut() {
            Some((last, range)) if *last == to => range.end = end,
            _ => self.sends.push((to, from..end)),
        }
    }

    pub(super) fn close(&mut self, conn: ConnId) {
        self.closes.push(conn);
    }

    pub(super) fn tell(&mut self, notice: Notice) {
        self.notices.push(notice);
    }

    pub(super) fn mark(&mut self, mark: Mark) {
        self.marks.push(mark);
    }

    pub(super) fn want_workers(&mut self) {
        self.demand = true;
    }
}
