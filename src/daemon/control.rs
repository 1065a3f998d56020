//! What an operator may ask of the manager, as values on a channel.
//!
//! Whoever takes orders (the control API, the admin protocol, signals) sends these; the manager's loop carries them out and answers each
//! with a sentence. Nobody else touches the pools.

use std::path::PathBuf;

use tokio::sync::oneshot;

use crate::jobs::view::{JobList, JobView};
use crate::pools::{Slot, Stop};
use crate::status::Status;

/// Where the manager's answer goes: a sentence for the operator, of what was done or of why it was not. Whoever asked may have
/// gone meanwhile, so a failed send means nothing.
pub type Reply = oneshot::Sender<Result<String, String>>;

/// Which of the jobs that are set aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The one with this handle.
    One(String),
    /// All, or all of a function.
    All(Option<String>),
}

/// An order, with the place for its answer.
#[derive(Debug)]
pub enum Control {
    /// Take a snapshot.
    Status(oneshot::Sender<Status>),
    /// Read the file again and apply the differences; answered with the plan, or with all of the file's problems.
    Reload(Reply),
    /// Say what putting this file in force would change, or all of its problems, and change nothing. No lines when it is nothing.
    Plan {
        /// The file; the daemon's own when none is named.
        file: Option<PathBuf>,
        /// Where the answer goes.
        reply: Reply,
    },
    /// Keep a pool between two sizes until the file changes it.
    Scale {
        /// The pool.
        pool: String,
        /// At least so many processes.
        min: u32,
        /// At most so many; not less than `min`.
        max: u32,
        /// Where the answer goes.
        reply: Reply,
    },
    /// Undo `Stop` or `Scale`.
    Start {
        /// The pool.
        pool: String,
        /// Where the answer goes.
        reply: Reply,
    },
    /// Drain a pool's processes and start none until `Start`.
    Stop {
        /// The pool.
        pool: String,
        /// Where the answer goes.
        reply: Reply,
    },
    /// Replace a pool's processes, or the one in a slot: new before old, each drained.
    Restart {
        /// The pool.
        pool: String,
        /// One slot; `None` is all of them.
        slot: Option<Slot>,
        /// Where the answer goes.
        reply: Reply,
    },
    /// Execute the program's file anew, which takes over everything. Answered only when nothing comes of it: otherwise the answer's
    /// connection goes with this program.
    Upgrade(Reply),
    /// List jobs.
    Jobs {
        /// Only this function's.
        function: Option<String>,
        /// No more than this.
        limit: usize,
        /// Those that are set aside, and not those that are queued or running.
        failed: bool,
        /// Where the list goes.
        reply: oneshot::Sender<JobList>,
    },
    /// Show one job, set aside or not.
    Job {
        /// Its handle.
        handle: String,
        /// Where it goes, if there is one.
        reply: oneshot::Sender<Option<JobView>>,
    },
    /// Give up a job that is queued or running.
    CancelJob {
        /// Its handle.
        handle: String,
        /// Where the answer goes.
        reply: Reply,
    },
    /// Have jobs that are set aside done again.
    RetryJobs {
        /// Which.
        which: Which,
        /// Where the answer goes.
        reply: Reply,
    },
    /// Discard jobs that are set aside.
    DiscardJobs {
        /// Which.
        which: Which,
        /// Where the answer goes.
        reply: Reply,
    },
    /// Give nobody a job of a function until `Resume`, or until the file changes a pool of it.
    Pause {
        /// The function.
        function: String,
        /// Where the answer goes.
        reply: Reply,
    },
    /// Undo `Pause`.
    Resume {
        /// The function.
        function: String,
        /// Where the answer goes.
        reply: Reply,
    },
    /// Drain everything and end.
    ShutDown {
        /// How long the jobs may take.
        how: Stop,
        /// Where the answer goes: at once, not when the daemon has ended.
        reply: Reply,
    },
}
