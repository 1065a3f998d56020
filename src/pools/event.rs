//! What the supervisor hears and what it asks for.

use std::fmt;
use std::sync::Arc;

use jiff::ZonedDateTime;
use serde::{Deserialize, Serialize};

use crate::config::{Pool, Signal};
use crate::time::Time;

/// One process, never used twice in the daemon's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProcId(pub u64);

/// A process's place in its pool, from 1. No two live processes of a pool have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Slot(pub u32);

/// How a process ended, wait(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExitStatus {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// By KILL, from the kernel, which needed its memory.
    OutOfMemory,
}

/// What happened.
#[derive(Clone, Debug)]
#[expect(
    missing_docs,
    reason = "the fields are named for what they hold, and the variant says the rest"
)]
pub enum Event {
    /// The configuration is now this: at the start, and at every reload. Only differences are acted on.
    Configured(Vec<Arc<Pool>>, Caps),
    /// A process that was asked for has started.
    Spawned { proc: ProcId, pid: u32 },
    /// It could not be started: the reason, as the user should read it.
    SpawnFailed { proc: ProcId, error: String },
    /// A connection of the process registered one of its pool's functions.
    Registered { proc: ProcId },
    /// Every connection of a quiesced process is parked: no job, and nothing of the worker's code left to run. The shell checks that
    /// it still is when it passes this on: one that an `Unquiesce` has overtaken would have a later job cut.
    Parked { proc: ProcId },
    /// Whatever jobs the process runs were cancelled: what it does is for nobody. The shell checks that it still is so when it passes
    /// this on, and quiesces the process under the same lock.
    Cancelled { proc: ProcId },
    /// The process has a job that has run past its limit. The shell checks that it still is so when it passes this on; the process is
    /// given no more jobs meanwhile.
    Overdue { proc: ProcId, job: String },
    /// The process has ended its first job: it works, however short its life. Sent before `Exited` at the latest; the samples may
    /// come too late to say so of a worker that ends after each job.
    Worked { proc: ProcId },
    /// The process has ended, and something that it has started has not. `Exited` follows; until then nothing takes its place.
    Ended { proc: ProcId },
    /// The process ended and has been reaped, with the last lines that it wrote, and nothing is left of it.
    Exited {
        proc: ProcId,
        status: ExitStatus,
        last_lines: Vec<String>,
    },
    /// What the job server knows of the pools, sampled.
    Sampled(Vec<PoolLoad>),
    /// The memory of processes of pools with `max_memory`, with all that they have started, in bytes.
    Weighed(Vec<(ProcId, u64)>),
    /// What the clock on the wall shows, in the zone in which schedules are meant.
    Clock(ZonedDateTime),
    /// What came of a pool's check: `None` when it passed. A pool that is new starts nothing before.
    Checked {
        pool: String,
        failure: Option<Unfit>,
    },
    /// Files of a pool's code have changed, such as this one.
    CodeChanged { pool: String, what: String },
    /// How the machine is, sampled.
    Pressed(Pressure),
    /// Keep the pool between these two until the file changes it. `min == max` holds one number.
    Scale { pool: String, min: u32, max: u32 },
    /// Replace a pool's processes, or the one in a slot: new before old, each drained.
    Restart { pool: String, slot: Option<Slot> },
    /// Drain all of a pool's processes and start none until `Start`.
    Stop { pool: String },
    /// Undo `Stop` or `Scale`.
    Start { pool: String },
    /// Drain everything and end.
    ShutDown(Stop),
    /// A deadline has come, or the loop woke for another reason.
    Tick,
}

/// Why a pool's check did not pass.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unfit {
    /// The command and how it ended: "php -l fetch.php: exit 255".
    pub text: String,
    /// The last lines that it wrote.
    pub lines: Vec<String>,
}

/// How the daemon ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stop {
    /// Running jobs may finish within their pool's `stop_timeout`, then `stop_signal`, then KILL.
    Gracefully,
    /// Running jobs may finish, however long they take.
    WhenIdle,
    /// KILL everything.
    AtOnce,
}

/// Limits over all pools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caps {
    /// `server.max_processes`.
    pub max_processes: Option<u32>,
}

/// A pool as the job server sees it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PoolLoad {
    /// The pool.
    pub pool: String,
    /// Jobs of its functions that wait.
    pub queued: u64,
    /// Jobs of its functions that have ended since the daemon started, and the seconds that they ran in all.
    pub completed: u64,
    /// See `completed`.
    pub busy_seconds: f64,
    /// The sum of the squares of the seconds that each of those ran.
    pub busy_squares: f64,
    /// Jobs of its functions that have come since the daemon started.
    pub arrived: u64,
    /// The part of those that is meant for this pool, where others serve its functions too; `None` is all.
    pub share: Option<f64>,
    /// The resident memory of one of its processes with all that it has started, in bytes, on average.
    pub memory: Option<u64>,
    /// How long the oldest waiting job has waited.
    pub oldest_wait: std::time::Duration,
    /// Those of its processes whose connections are known.
    pub processes: Vec<ProcLoad>,
}

impl PoolLoad {
    /// The part of its functions' jobs that is meant for it.
    pub(super) fn share(&self) -> f64 {
        self.share.unwrap_or(1.0)
    }
}

/// How the machine is: what keeps pools from growing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Pressure {
    /// Per cent of the last ten seconds in which something waited for a processor: PSI, `some avg10`.
    pub cpu: Option<f64>,
    /// The same for memory.
    pub memory: Option<f64>,
    /// The load average of the last minute, per core; used where PSI is missing.
    pub load_per_core: Option<f64>,
    /// Bytes of memory that could be had without swapping, within the limit of the cgroup.
    pub available: Option<u64>,
    /// Bytes of memory in all, within that limit.
    pub total: Option<u64>,
}

/// A process as the job server sees it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcLoad {
    /// The process.
    pub proc: ProcId,
    /// When it got the job that it is running; the oldest, when it runs several.
    pub busy_since: Option<Time>,
    /// When it last ended a job, or registered.
    pub idle_since: Time,
    /// How many jobs it has ended.
    pub jobs_done: u64,
}

/// What to do. The shell carries these out in order.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    missing_docs,
    reason = "the fields are named for what they hold, and the variant says the rest"
)]
pub enum Action {
    /// Start a process; answered by `SpawnFailed`, or by `Spawned` and in the end by `Exited`.
    Spawn {
        proc: ProcId,
        slot: Slot,
        pool: Arc<Pool>,
    },
    /// Give the connections of this process no more jobs; answered by `Parked`, at once if they are.
    Quiesce { proc: ProcId },
    /// Undo that.
    Unquiesce { proc: ProcId },
    /// Send the process group this signal.
    Signal { proc: ProcId, signal: Signal },
    /// Close the connections of this process, and refuse jobs to new ones with an ERROR.
    Disconnect { proc: ProcId },
    /// Send KILL to the process group.
    Kill { proc: ProcId },
    /// The pool's code has changed: answered by `Restart`, when its check has passed.
    Renew { pool: String },
    /// Something to tell the operator, once.
    Tell(Tell),
    /// A pool with `exit_on_failure` does not work, for this reason: the daemon is to end, and to say so. Answered by `ShutDown`.
    GiveUp { pool: String, reason: String },
    /// Every process has ended after `ShutDown`.
    Finished,
}

/// What the daemon's log says about pools, as fields and a sentence.
#[derive(Clone, Debug, PartialEq)]
pub struct Tell {
    /// How loud.
    pub level: Level,
    /// The pool.
    pub pool: String,
    /// The slot, where one is meant.
    pub slot: Option<Slot>,
    /// The sentence, lowercase, without a full stop.
    pub text: String,
}

/// How loud a [`Tell`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Every process's coming and going.
    Info,
    /// A process ended that should not have.
    Warning,
    /// A pool does not work.
    Error,
}

impl fmt::Display for ExitStatus {
    /// "exit 1", "signal TERM", "signal KILL: out of memory"
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitStatus::Code(code) => write!(f, "exit {code}"),
            ExitStatus::Signal(number) => match signal_name(*number) {
                Some(name) => write!(f, "signal {name}"),
                None => write!(f, "signal {number}"),
            },
            ExitStatus::OutOfMemory => f.write_str("signal KILL: out of memory"),
        }
    }
}

/// signal(7), the numbers of Linux on x86 and ARM.
const fn signal_name(number: i32) -> Option<&'static str> {
    Some(match number {
        1 => "HUP",
        2 => "INT",
        3 => "QUIT",
        4 => "ILL",
        5 => "TRAP",
        6 => "ABRT",
        7 => "BUS",
        8 => "FPE",
        9 => "KILL",
        10 => "USR1",
        11 => "SEGV",
        12 => "USR2",
        13 => "PIPE",
        14 => "ALRM",
        15 => "TERM",
        24 => "XCPU",
        25 => "XFSZ",
        31 => "SYS",
        _ => return None,
    })
}
