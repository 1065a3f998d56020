//! What clients and workers say to the server.
//!
//! [`Request::parse`] borrows from the packet's body; names, uniques and handles are bytes, for clients send bytes.

use serde::{Deserialize, Serialize};

use super::packet::{Kind, Magic};
use super::put;

/// A job's lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Priority {
    /// Before all others.
    High,
    /// What a plain submit means.
    Normal,
    /// After all others.
    Low,
}

/// Whether a client waits for the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The client waits; the job is worth nothing without it.
    Foreground,
    /// Nobody waits.
    Background,
}

/// How much a worker wants to know of the job that it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Grab {
    /// Handle, function, workload.
    Plain,
    /// The unique too.
    Uniq,
    /// The unique and the reducer.
    All,
}

/// A request of a client or a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the fields carry the protocol document's argument names"
)]
pub enum Request<'a> {
    CanDo {
        function: &'a [u8],
    },
    CanDoTimeout {
        function: &'a [u8],
        timeout: &'a [u8],
    },
    CantDo {
        function: &'a [u8],
    },
    ResetAbilities,
    PreSleep,
    GrabJob(Grab),
    SubmitJob {
        priority: Priority,
        mode: Mode,
        function: &'a [u8],
        unique: &'a [u8],
        workload: &'a [u8],
    },
    SubmitReduceJob {
        mode: Mode,
        function: &'a [u8],
        unique: &'a [u8],
        reducer: &'a [u8],
        workload: &'a [u8],
    },
    SubmitJobEpoch {
        function: &'a [u8],
        unique: &'a [u8],
        epoch: &'a [u8],
        workload: &'a [u8],
    },
    SubmitJobSched {
        function: &'a [u8],
        unique: &'a [u8],
        schedule: Schedule<'a>,
        workload: &'a [u8],
    },
    WorkStatus {
        handle: &'a [u8],
        numerator: &'a [u8],
        denominator: &'a [u8],
    },
    WorkData {
        handle: &'a [u8],
        data: &'a [u8],
    },
    WorkWarning {
        handle: &'a [u8],
        data: &'a [u8],
    },
    WorkComplete {
        handle: &'a [u8],
        data: &'a [u8],
    },
    WorkException {
        handle: &'a [u8],
        data: &'a [u8],
    },
    WorkFail {
        handle: &'a [u8],
    },
    GetStatus {
        handle: &'a [u8],
    },
    GetStatusUnique {
        unique: &'a [u8],
    },
    EchoReq {
        data: &'a [u8],
    },
    OptionReq {
        option: &'a [u8],
    },
    SetClientId {
        id: &'a [u8],
    },
    AllYours,
}

/// The date fields of SUBMIT_JOB_SCHED, as they were sent: each a number or empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the fields carry the protocol document's argument names"
)]
pub struct Schedule<'a> {
    pub minute: &'a [u8],
    pub hour: &'a [u8],
    pub day_of_month: &'a [u8],
    pub month: &'a [u8],
    pub day_of_week: &'a [u8],
}

/// A packet that is no request. The framing is intact, so the connection lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// A number without a meaning, or a packet that only a server sends.
    #[error("Command not expected")]
    NotExpected,
    /// Fewer arguments than the type has.
    #[error("{} needs {} arguments", .0.name(), .0.arguments())]
    MissingArguments(Kind),
}

/// Splits a body at its NULs. The last argument is whatever is left.
struct Arguments<'a> {
    kind: Kind,
    rest: Option<&'a [u8]>,
}

impl<'a> Arguments<'a> {
    fn next(&mut self) -> Result<&'a [u8], RequestError> {
        let rest = self.rest.ok_or(RequestError::MissingArguments(self.kind))?;
        match rest.iter().position(|&byte| byte == 0) {
            Some(end) => {
                self.rest = Some(&rest[end + 1..]);
                Ok(&rest[..end])
            }
            None => {
                self.rest = None;
                Ok(rest)
            }
        }
    }

    fn last(&mut self) -> Result<&'a [u8], RequestError> {
        self.rest
            .take()
            .ok_or(RequestError::MissingArguments(self.kind))
    }

    /// The last argument, where Perl's library leaves it out when it is empty.
    fn last_or_empty(&mut self) -> &'a [u8] {
        self.rest.take().unwrap_or_default()
    }
}

impl<'a> Request<'a> {
    /// Reads a packet's body.
    ///
    /// # Errors
    /// [`RequestError`], each of which is answered with an ERROR packet.
    pub fn parse(number: u32, body: &'a [u8]) -> Result<Request<'a>, RequestError> {
        let kind = Kind::from_number(number).ok_or(RequestError::NotExpected)?;
        let mut arguments = Arguments {
            kind,
            rest: Some(body),
        };
        let a = &mut arguments;
        Ok(match kind {
            Kind::CanDo => Request::CanDo {
                function: a.last()?,
            },
            Kind::CanDoTimeout => Request::CanDoTimeout {
                function: a.next()?,
                timeout: a.last()?,
            },
            Kind::CantDo => Request::CantDo {
                function: a.last()?,
            },
            Kind::ResetAbilities => Request::ResetAbilities,
            Kind::PreSleep => Request::PreSleep,
            Kind::GrabJob => Request::GrabJob(Grab::Plain),
            Kind::GrabJobUniq => Request::GrabJob(Grab::Uniq),
            Kind::GrabJobAll => Request::GrabJob(Grab::All),
            Kind::SubmitJob => submit(Priority::Normal, Mode::Foreground, a)?,
            Kind::SubmitJobHigh => submit(Priority::High, Mode::Foreground, a)?,
            Kind::SubmitJobLow => submit(Priority::Low, Mode::Foreground, a)?,
            Kind::SubmitJobBg => submit(Priority::Normal, Mode::Background, a)?,
            Kind::SubmitJobHighBg => submit(Priority::High, Mode::Background, a)?,
            Kind::SubmitJobLowBg => submit(Priority::Low, Mode::Background, a)?,
            Kind::SubmitReduceJob => reduce(Mode::Foreground, a)?,
            Kind::SubmitReduceJobBackground => reduce(Mode::Background, a)?,
            Kind::SubmitJobEpoch => Request::SubmitJobEpoch {
                function: a.next()?,
                unique: a.next()?,
                epoch: a.next()?,
                workload: a.last()?,
            },
            Kind::SubmitJobSched => Request::SubmitJobSched {
                function: a.next()?,
                unique: a.next()?,
                schedule: Schedule {
                    minute: a.next()?,
                    hour: a.next()?,
                    day_of_month: a.next()?,
                    month: a.next()?,
                    day_of_week: a.next()?,
                },
                workload: a.last()?,
            },
            Kind::WorkStatus => Request::WorkStatus {
                handle: a.next()?,
                numerator: a.next()?,
                denominator: a.last()?,
            },
            Kind::WorkData => Request::WorkData {
                handle: a.next()?,
                data: a.last_or_empty(),
            },
            Kind::WorkWarning => Request::WorkWarning {
                handle: a.next()?,
                data: a.last_or_empty(),
            },
            Kind::WorkComplete => Request::WorkComplete {
                handle: a.next()?,
                data: a.last_or_empty(),
            },
            Kind::WorkException => Request::WorkException {
                handle: a.next()?,
                data: a.last_or_empty(),
            },
            // `next`, for a stray NUL after the handle must not become a part of it
            Kind::WorkFail => Request::WorkFail { handle: a.next()? },
            Kind::GetStatus => Request::GetStatus { handle: a.next()? },
            Kind::GetStatusUnique => Request::GetStatusUnique { unique: a.next()? },
            Kind::EchoReq => Request::EchoReq { data: a.last()? },
            Kind::OptionReq => Request::OptionReq { option: a.last()? },
            Kind::SetClientId => Request::SetClientId { id: a.last()? },
            Kind::AllYours => Request::AllYours,
            Kind::Noop
            | Kind::JobCreated
            | Kind::NoJob
            | Kind::JobAssign
            | Kind::JobAssignUniq
            | Kind::JobAssignAll
            | Kind::EchoRes
            | Kind::Error
            | Kind::StatusRes
            | Kind::StatusResUnique
            | Kind::OptionRes => return Err(RequestError::NotExpected),
        })
    }

    /// The packet's type.
    pub fn kind(&self) -> Kind {
        match *self {
            Request::CanDo { .. } => Kind::CanDo,
            Request::CanDoTimeout { .. } => Kind::CanDoTimeout,
            Request::CantDo { .. } => Kind::CantDo,
            Request::ResetAbilities => Kind::ResetAbilities,
            Request::PreSleep => Kind::PreSleep,
            Request::GrabJob(Grab::Plain) => Kind::GrabJob,
            Request::GrabJob(Grab::Uniq) => Kind::GrabJobUniq,
            Request::GrabJob(Grab::All) => Kind::GrabJobAll,
            Request::SubmitJob { priority, mode, .. } => match (priority, mode) {
                (Priority::Normal, Mode::Foreground) => Kind::SubmitJob,
                (Priority::High, Mode::Foreground) => Kind::SubmitJobHigh,
                (Priority::Low, Mode::Foreground) => Kind::SubmitJobLow,
                (Priority::Normal, Mode::Background) => Kind::SubmitJobBg,
                (Priority::High, Mode::Background) => Kind::SubmitJobHighBg,
                (Priority::Low, Mode::Background) => Kind::SubmitJobLowBg,
            },
            Request::SubmitReduceJob {
                mode: Mode::Foreground,
                ..
            } => Kind::SubmitReduceJob,
            Request::SubmitReduceJob {
                mode: Mode::Background,
                ..
            } => Kind::SubmitReduceJobBackground,
            Request::SubmitJobEpoch { .. } => Kind::SubmitJobEpoch,
            Request::SubmitJobSched { .. } => Kind::SubmitJobSched,
            Request::WorkStatus { .. } => Kind::WorkStatus,
            Request::WorkData { .. } => Kind::WorkData,
            Request::WorkWarning { .. } => Kind::WorkWarning,
            Request::WorkComplete { .. } => Kind::WorkComplete,
            Request::WorkException { .. } => Kind::WorkException,
            Request::WorkFail { .. } => Kind::WorkFail,
            Request::GetStatus { .. } => Kind::GetStatus,
            Request::GetStatusUnique { .. } => Kind::GetStatusUnique,
            Request::EchoReq { .. } => Kind::EchoReq,
            Request::OptionReq { .. } => Kind::OptionReq,
            Request::SetClientId { .. } => Kind::SetClientId,
            Request::AllYours => Kind::AllYours,
        }
    }

    /// Appends the packet. No argument but the last may hold a NUL.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (magic, kind) = (Magic::Request, self.kind());
        match *self {
            Request::CanDo { function } | Request::CantDo { function } => {
                put(out, magic, kind, &[function])
            }
            Request::CanDoTimeout { function, timeout } => {
                put(out, magic, kind, &[function, timeout])
            }
            Request::ResetAbilities
            | Request::PreSleep
            | Request::GrabJob(_)
            | Request::AllYours => {
                put(out, magic, kind, &[]);
            }
            Request::SubmitJob {
                function,
                unique,
                workload,
                ..
            } => {
                put(out, magic, kind, &[function, unique, workload]);
            }
            // the fourth argument is the one that libgearman sends empty
            Request::SubmitReduceJob {
                function,
                unique,
                reducer,
                workload,
                ..
            } => {
                put(
                    out,
                    magic,
                    kind,
                    &[function, unique, reducer, b"", workload],
                );
            }
            Request::SubmitJobEpoch {
                function,
                unique,
                epoch,
                workload,
            } => {
                put(out, magic, kind, &[function, unique, epoch, workload]);
            }
            Request::SubmitJobSched {
                function,
                unique,
                schedule: s,
                workload,
            } => {
                let date = [s.minute, s.hour, s.day_of_month, s.month, s.day_of_week];
                put(
                    out,
                    magic,
                    kind,
                    &[
                        function, unique, date[0], date[1], date[2], date[3], date[4], workload,
                    ],
                );
            }
            Request::WorkStatus {
                handle,
                numerator,
                denominator,
            } => {
                put(out, magic, kind, &[handle, numerator, denominator]);
            }
            Request::WorkData { handle, data }
            | Request::WorkWarning { handle, data }
            | Request::WorkComplete { handle, data }
            | Request::WorkException { handle, data } => put(out, magic, kind, &[handle, data]),
            Request::WorkFail { handle } | Request::GetStatus { handle } => {
                put(out, magic, kind, &[handle])
            }
            Request::GetStatusUnique { unique } => put(out, magic, kind, &[unique]),
            Request::EchoReq { data } => put(out, magic, kind, &[data]),
            Request::OptionReq { option } => put(out, magic, kind, &[option]),
            Request::SetClientId { id } => put(out, magic, kind, &[id]),
        }
    }
}

fn submit<'a>(
    priority: Priority,
    mode: Mode,
    a: &mut Arguments<'a>,
) -> Result<Request<'a>, RequestError> {
    let (function, unique, workload) = (a.next()?, a.next()?, a.last()?);
    Ok(Request::SubmitJob {
        priority,
        mode,
        function,
        unique,
        workload,
    })
}

/// The document shows three arguments before the workload, libgearman sends four: a body with one NUL fewer is the document's.
fn reduce<'a>(mode: Mode, a: &mut Arguments<'a>) -> Result<Request<'a>, RequestError> {
    let (function, unique, reducer, rest) = (a.next()?, a.next()?, a.next()?, a.last()?);
    let workload = match rest.iter().position(|&byte| byte == 0) {
        Some(end) => &rest[end + 1..],
        None => rest,
    };
    Ok(Request::SubmitReduceJob {
        mode,
        function,
        unique,
        reducer,
        workload,
    })
}
