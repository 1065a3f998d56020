//! Packets to and from a job server that a test has in its own hands.

use gearpool::jobs::{ConnId, JobServer};
use gearpool::proto::{Decoded, Frame, Kind, Mode, Priority, Request, decode};
use gearpool::time::Time;

/// The server reads a request of this connection.
pub(crate) fn tell(server: &mut JobServer, now: Time, conn: ConnId, request: &Request<'_>) {
    let mut bytes = Vec::new();
    request.encode(&mut bytes);
    match decode(&bytes) {
        Ok(Decoded::Frame(frame, _)) => server.receive(now, conn, frame),
        other => unreachable!("a request is a frame: {other:?}"),
    }
}

/// A job in the background, of which nothing matters but where it is queued.
pub(crate) fn background(priority: Priority, function: &str) -> Request<'_> {
    Request::SubmitJob {
        priority,
        mode: Mode::Background,
        function: function.as_bytes(),
        unique: b"",
        workload: b"",
    }
}

/// The packets of which these bytes of the server's consist: for each its kind and its first argument.
pub(crate) fn answers(mut bytes: &[u8]) -> impl Iterator<Item = (Kind, &[u8])> {
    std::iter::from_fn(move || {
        let Ok(Decoded::Frame(frame, length)) = decode(bytes) else {
            return None;
        };
        bytes = &bytes[length..];
        let Frame::Packet { kind, body, .. } = frame else {
            unreachable!("nobody asked for text");
        };
        let kind = Kind::from_number(kind).expect("a kind that there is");
        Some((kind, body.split(|&byte| byte == 0).next().unwrap_or(body)))
    })
}
