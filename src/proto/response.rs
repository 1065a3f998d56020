//! What the server says to clients and workers.

use super::packet::{Kind, Magic};
use super::put;

/// An answer of the server, or a packet that it passes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the fields carry the protocol document's argument names"
)]
pub enum Response<'a> {
    Noop,
    NoJob,
    JobCreated {
        handle: &'a [u8],
    },
    JobAssign {
        handle: &'a [u8],
        function: &'a [u8],
        workload: &'a [u8],
    },
    JobAssignUniq {
        handle: &'a [u8],
        function: &'a [u8],
        unique: &'a [u8],
        workload: &'a [u8],
    },
    JobAssignAll {
        handle: &'a [u8],
        function: &'a [u8],
        unique: &'a [u8],
        reducer: &'a [u8],
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
    StatusRes {
        handle: &'a [u8],
        known: bool,
        running: bool,
        numerator: u64,
        denominator: u64,
    },
    StatusResUnique {
        unique: &'a [u8],
        known: bool,
        running: bool,
        numerator: u64,
        denominator: u64,
        clients: u64,
    },
    EchoRes {
        data: &'a [u8],
    },
    OptionRes {
        option: &'a [u8],
    },
    Error {
        code: &'a [u8],
        text: &'a [u8],
    },
}

/// A packet that is no response: a client says so and closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResponseError {
    /// A number without a meaning, or a packet that only a client or worker sends.
    #[error("packet {0} is not one that a server sends")]
    NotAResponse(u32),
    /// Fewer arguments than the type has, or a number that is none.
    #[error("a damaged {} packet", .0.name())]
    Damaged(Kind),
}

impl<'a> Response<'a> {
    /// Reads a packet's body.
    ///
    /// # Errors
    /// [`ResponseError`]; the peer is no Gearman server, or a broken one.
    pub fn parse(number: u32, body: &'a [u8]) -> Result<Response<'a>, ResponseError> {
        let kind = Kind::from_number(number).ok_or(ResponseError::NotAResponse(number))?;
        let mut arguments = body.splitn(kind.arguments().max(1), |&byte| byte == 0);
        let mut next = || arguments.next().ok_or(ResponseError::Damaged(kind));
        let number_of = |text: &[u8]| {
            let digits = std::str::from_utf8(text).map_err(|_| ResponseError::Damaged(kind))?;
            digits
                .trim()
                .parse::<u64>()
                .map_err(|_| ResponseError::Damaged(kind))
        };
        Ok(match kind {
            Kind::Noop => Response::Noop,
            Kind::NoJob => Response::NoJob,
            Kind::JobCreated => Response::JobCreated { handle: next()? },
            Kind::JobAssign => Response::JobAssign {
                handle: next()?,
                function: next()?,
                workload: next()?,
            },
            Kind::JobAssignUniq => Response::JobAssignUniq {
                handle: next()?,
                function: next()?,
                unique: next()?,
                workload: next()?,
            },
            Kind::JobAssignAll => Response::JobAssignAll {
                handle: next()?,
                function: next()?,
                unique: next()?,
                reducer: next()?,
                workload: next()?,
            },
            Kind::WorkStatus => Response::WorkStatus {
                handle: next()?,
                numerator: next()?,
                denominator: next()?,
            },
            Kind::WorkData => Response::WorkData {
                handle: next()?,
                data: next().unwrap_or_default(),
            },
            Kind::WorkWarning => Response::WorkWarning {
                handle: next()?,
                data: next().unwrap_or_default(),
            },
            Kind::WorkComplete => Response::WorkComplete {
                handle: next()?,
                data: next().unwrap_or_default(),
            },
            Kind::WorkException => Response::WorkException {
                handle: next()?,
                data: next().unwrap_or_default(),
            },
            // gearmand sends a NUL after the handle where it turns an exception into a failure
            Kind::WorkFail => Response::WorkFail {
                handle: next()?.split(|&byte| byte == 0).next().unwrap_or_default(),
            },
            Kind::StatusRes => Response::StatusRes {
                handle: next()?,
                known: number_of(next()?)? != 0,
                running: number_of(next()?)? != 0,
                numerator: number_of(next()?)?,
                denominator: number_of(next()?)?,
            },
            Kind::StatusResUnique => Response::StatusResUnique {
                unique: next()?,
                known: number_of(next()?)? != 0,
                running: number_of(next()?)? != 0,
                numerator: number_of(next()?)?,
                denominator: number_of(next()?)?,
                clients: number_of(next()?)?,
            },
            Kind::EchoRes => Response::EchoRes { data: next()? },
            Kind::OptionRes => Response::OptionRes { option: next()? },
            Kind::Error => Response::Error {
                code: next()?,
                text: next().unwrap_or_default(),
            },
            Kind::CanDo
            | Kind::CanDoTimeout
            | Kind::CantDo
            | Kind::ResetAbilities
            | Kind::PreSleep
            | Kind::GrabJob
            | Kind::GrabJobUniq
            | Kind::GrabJobAll
            | Kind::SubmitJob
            | Kind::SubmitJobHigh
            | Kind::SubmitJobLow
            | Kind::SubmitJobBg
            | Kind::SubmitJobHighBg
            | Kind::SubmitJobLowBg
            | Kind::SubmitReduceJob
            | Kind::SubmitReduceJobBackground
            | Kind::SubmitJobEpoch
            | Kind::SubmitJobSched
            | Kind::GetStatus
            | Kind::GetStatusUnique
            | Kind::EchoReq
            | Kind::OptionReq
            | Kind::SetClientId
            | Kind::AllYours => return Err(ResponseError::NotAResponse(number)),
        })
    }

    /// The packet's type.
    pub fn kind(&self) -> Kind {
        match self {
            Response::Noop => Kind::Noop,
            Response::NoJob => Kind::NoJob,
            Response::JobCreated { .. } => Kind::JobCreated,
            Response::JobAssign { .. } => Kind::JobAssign,
            Response::JobAssignUniq { .. } => Kind::JobAssignUniq,
            Response::JobAssignAll { .. } => Kind::JobAssignAll,
            Response::WorkStatus { .. } => Kind::WorkStatus,
            Response::WorkData { .. } => Kind::WorkData,
            Response::WorkWarning { .. } => Kind::WorkWarning,
            Response::WorkComplete { .. } => Kind::WorkComplete,
            Response::WorkException { .. } => Kind::WorkException,
            Response::WorkFail { .. } => Kind::WorkFail,
            Response::StatusRes { .. } => Kind::StatusRes,
            Response::StatusResUnique { .. } => Kind::StatusResUnique,
            Response::EchoRes { .. } => Kind::EchoRes,
            Response::OptionRes { .. } => Kind::OptionRes,
            Response::Error { .. } => Kind::Error,
        }
    }

    /// Appends the packet. No argument but the last may hold a NUL.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (magic, kind) = (Magic::Response, self.kind());
        match *self {
            Response::Noop | Response::NoJob => put(out, magic, kind, &[]),
            Response::JobCreated { handle } | Response::WorkFail { handle } => {
                put(out, magic, kind, &[handle])
            }
            Response::JobAssign {
                handle,
                function,
                workload,
            } => put(out, magic, kind, &[handle, function, workload]),
            Response::JobAssignUniq {
                handle,
                function,
                unique,
                workload,
            } => {
                put(out, magic, kind, &[handle, function, unique, workload]);
            }
            Response::JobAssignAll {
                handle,
                function,
                unique,
                reducer,
                workload,
            } => {
                put(
                    out,
                    magic,
                    kind,
                    &[handle, function, unique, reducer, workload],
                );
            }
            Response::WorkStatus {
                handle,
                numerator,
                denominator,
            } => {
                put(out, magic, kind, &[handle, numerator, denominator]);
            }
            Response::WorkData { handle, data }
            | Response::WorkWarning { handle, data }
            | Response::WorkComplete { handle, data }
            | Response::WorkException { handle, data } => put(out, magic, kind, &[handle, data]),
            Response::StatusRes {
                handle,
                known,
                running,
                numerator,
                denominator,
            } => {
                let rest = format!(
                    "{}\0{}\0{numerator}\0{denominator}",
                    known as u8, running as u8
                );
                put(out, magic, kind, &[handle, rest.as_bytes()]);
            }
            Response::StatusResUnique {
                unique,
                known,
                running,
                numerator,
                denominator,
                clients,
            } => {
                let rest = format!(
                    "{}\0{}\0{numerator}\0{denominator}\0{clients}",
                    known as u8, running as u8
                );
                put(out, magic, kind, &[unique, rest.as_bytes()]);
            }
            Response::EchoRes { data } => put(out, magic, kind, &[data]),
            Response::OptionRes { option } => put(out, magic, kind, &[option]),
            Response::Error { code, text } => put(out, magic, kind, &[code, text]),
        }
    }
}
