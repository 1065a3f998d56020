//! PURE. The Gearman wire: bytes to packets and back.
//!
//! Nothing here knows what a job is, reads a socket or allocates on a peer's word. Read [`packet`] for the table, [`frame`] for
//! where a packet ends, then [`request`] and [`response`]; [`admin`] is the line protocol on the same port.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod admin;
pub mod frame;
pub mod packet;
pub mod request;
pub mod response;
#[cfg(test)]
mod tests;

pub use frame::{Decoded, Frame, FrameError, decode, decode_within};
pub use packet::{Kind, Magic};
pub use request::{Grab, Mode, Priority, Request, RequestError, Schedule};
pub use response::{Response, ResponseError};

/// Appends one packet: header, then the arguments with a NUL between them.
fn put(out: &mut Vec<u8>, magic: Magic, kind: Kind, arguments: &[&[u8]]) {
    let separators = arguments.len().saturating_sub(1);
    let length = arguments
        .iter()
        .map(|argument| argument.len())
        .sum::<usize>()
        + separators;
    debug_assert!(
        u32::try_from(length).is_ok(),
        "a packet longer than its length field can say"
    );
    debug_assert!(
        arguments
            .iter()
            .take(separators)
            .all(|argument| !argument.contains(&0)),
        "a NUL in an argument that is not the last would move the ones after it"
    );
    out.reserve(frame::HEADER + length);
    out.extend_from_slice(&magic.bytes());
    out.extend_from_slice(&(kind as u32).to_be_bytes());
    out.extend_from_slice(&(length as u32).to_be_bytes());
    for (at, argument) in arguments.iter().enumerate() {
        if at > 0 {
            out.push(0);
        }
        out.extend_from_slice(argument);
    }
}
