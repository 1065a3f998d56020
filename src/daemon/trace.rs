//! What `-vv` and `-vvv` show: jobs moving, and every packet. Costs one load of an atomic a packet when nobody looks.

use super::peer::Peer;
use crate::proto::{Decoded, Frame, Kind, Request, Response, decode};

/// The target of packets that say nothing of a job: only `-vvv` shows it.
pub(super) const CHATTER: &str = "gearpool::packets";

/// The target of packets that move jobs: `-vv` shows it.
pub(super) const MOVES: &str = "gearpool::jobs";

/// A peer has sent a frame.
pub(super) fn received(peer: &Peer, frame: &Frame<'_>) {
    if !tracing::enabled!(target: MOVES, tracing::Level::TRACE) {
        return;
    }
    let from = &peer.address;
    match *frame {
        Frame::Text(line) => tracing::trace!(target: CHATTER, %from, "{:?}", text(line)),
        Frame::Packet { kind, body, .. } => match Request::parse(kind, body) {
            Ok(request) => {
                let name = request.kind().name();
                match request {
                    Request::SubmitJob {
                        function, workload, ..
                    }
                    | Request::SubmitReduceJob {
                        function, workload, ..
                    }
                    | Request::SubmitJobEpoch {
                        function, workload, ..
                    }
                    | Request::SubmitJobSched {
                        function, workload, ..
                    } => {
                        tracing::trace!(target: MOVES, %from, function = %text(function), bytes = workload.len(), "{name}");
                    }
                    Request::WorkComplete { handle, data }
                    | Request::WorkException { handle, data } => {
                        tracing::trace!(target: MOVES, %from, handle = %text(handle), bytes = data.len(), "{name}");
                    }
                    Request::WorkFail { handle } | Request::WorkStatus { handle, .. } => {
                        tracing::trace!(target: MOVES, %from, handle = %text(handle), "{name}");
                    }
                    Request::WorkData { handle, data } | Request::WorkWarning { handle, data } => {
                        tracing::trace!(target: MOVES, %from, handle = %text(handle), bytes = data.len(), "{name}");
                    }
                    Request::CanDo { function }
                    | Request::CanDoTimeout { function, .. }
                    | Request::CantDo { function } => {
                        tracing::trace!(target: MOVES, %from, function = %text(function), "{name}");
                    }
                    Request::ResetAbilities
                    | Request::PreSleep
                    | Request::GrabJob(_)
                    | Request::GetStatus { .. }
                    | Request::GetStatusUnique { .. }
                    | Request::EchoReq { .. }
                    | Request::OptionReq { .. }
                    | Request::SetClientId { .. }
                    | Request::AllYours => tracing::trace!(target: CHATTER, %from, "{name}"),
                }
            }
            Err(error) => {
                tracing::trace!(target: CHATTER, %from, kind, %error, "a packet that is no request")
            }
        },
    }
}

/// The server has answered a peer with these packets.
pub(super) fn sent(peer: &Peer, mut bytes: &[u8]) {
    if !tracing::enabled!(target: MOVES, tracing::Level::TRACE) {
        return;
    }
    let to = &peer.address;
    while let Ok(Decoded::Frame(frame, length)) = decode(bytes) {
        bytes = &bytes[length..];
        let Frame::Packet { kind, body, .. } = frame else {
            continue;
        };
        let name = Kind::from_number(kind).map_or("?", Kind::name);
        match Response::parse(kind, body) {
            Ok(Response::JobCreated { handle }) => {
                tracing::trace!(target: MOVES, %to, handle = %text(handle), "{name}")
            }
            Ok(
                Response::JobAssign {
                    handle, function, ..
                }
                | Response::JobAssignUniq {
                    handle, function, ..
                }
                | Response::JobAssignAll {
                    handle, function, ..
                },
            ) => {
                tracing::trace!(target: MOVES, %to, handle = %text(handle), function = %text(function), "{name}")
            }
            Ok(Response::Error { code, text: why }) => {
                tracing::trace!(target: MOVES, %to, code = %text(code), why = %text(why), "{name}");
            }
            _ => tracing::trace!(target: CHATTER, %to, "{name}"),
        }
    }
}

fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
