//! Framing: where one packet or text line ends and the next begins.
//!
//! Incomplete input is not an error: [`decode`] says that more bytes are needed, and the caller keeps what it has.

use super::packet::Magic;

/// Bytes of a packet's header: magic, type, length.
pub const HEADER: usize = 12;

/// The longest packet body that is accepted, in bytes.
pub const MAX_BODY: usize = 64 << 20;

/// The longest line of admin text that is accepted, in bytes.
pub const MAX_LINE: usize = 8 << 10;

/// One thing that a peer sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A binary packet whose body is not looked at yet. `kind` may be a number that the protocol does not have.
    Packet {
        /// The side that it says it comes from.
        magic: Magic,
        /// The type's number.
        kind: u32,
        /// The arguments.
        body: &'a [u8],
    },
    /// A line of admin text, without its line end (LF or CRLF).
    Text(&'a [u8]),
}

/// The stream can no longer be followed; the connection has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A NUL that does not begin `\0REQ` or `\0RES`.
    #[error("the packet does not begin with \\0REQ or \\0RES")]
    Magic,
    /// A handshake or an alert of TLS. No line of text begins like one.
    #[error("TLS where the plain protocol is spoken")]
    Tls,
    /// A length above the limit. Nothing was allocated for it.
    #[error("the packet declares {0} bytes, more than are accepted")]
    TooLarge(usize),
    /// No line end within [`MAX_LINE`] bytes.
    #[error("a line of more than {MAX_LINE} bytes")]
    LineTooLong,
}

/// What stands at the head of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// A whole frame and the number of bytes that it took.
    Frame(Frame<'a>, usize),
    /// Not all there yet. At least this many bytes are needed in all, where that is known.
    Incomplete(usize),
}

/// Reads the frame at the head of `buffer`.
///
/// # Errors
/// A [`FrameError`], when no later byte can make sense of the stream.
pub fn decode(buffer: &[u8]) -> Result<Decoded<'_>, FrameError> {
    decode_within(buffer, MAX_BODY)
}

/// Reads the frame at the head of `buffer`, where a packet's body may have `limit` bytes.
///
/// # Errors
/// As [`decode`].
pub fn decode_within(buffer: &[u8], limit: usize) -> Result<Decoded<'_>, FrameError> {
    match buffer.first() {
        None => Ok(Decoded::Incomplete(1)),
        Some(0) => packet(buffer, limit),
        Some(_) => line(buffer),
    }
}

fn packet(buffer: &[u8], limit: usize) -> Result<Decoded<'_>, FrameError> {
    let seen = &buffer[..buffer.len().min(4)];
    let magic = if Magic::Request.bytes().starts_with(seen) {
        Magic::Request
    } else if Magic::Response.bytes().starts_with(seen) {
        Magic::Response
    } else {
        return Err(FrameError::Magic);
    };
    let Some((header, rest)) = buffer.split_at_checked(HEADER) else {
        return Ok(Decoded::Incomplete(HEADER));
    };
    let number = |at: usize| {
        u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let length = number(8) as usize;
    if length > limit {
        return Err(FrameError::TooLarge(length));
    }
    match rest.get(..length) {
        Some(body) => Ok(Decoded::Frame(
            Frame::Packet {
                magic,
                kind: number(4),
                body,
            },
            HEADER + length,
        )),
        None => Ok(Decoded::Incomplete(HEADER + length)),
    }
}

fn line(buffer: &[u8]) -> Result<Decoded<'_>, FrameError> {
    if let [0x15 | 0x16, 3, ..] = buffer {
        return Err(FrameError::Tls);
    }
    let window = &buffer[..buffer.len().min(MAX_LINE)];
    match window.iter().position(|&byte| byte == b'\n') {
        Some(end) => {
            let text = window[..end].strip_suffix(b"\r").unwrap_or(&window[..end]);
            Ok(Decoded::Frame(Frame::Text(text), end + 1))
        }
        None if buffer.len() >= MAX_LINE => Err(FrameError::LineTooLong),
        None => Ok(Decoded::Incomplete(buffer.len() + 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        let echo = b"\0REQ\0\0\0\x10\0\0\0\x02hi";
        assert_eq!(decode(b""), Ok(Decoded::Incomplete(1)));
        assert_eq!(decode(&echo[..1]), Ok(Decoded::Incomplete(HEADER)));
        assert_eq!(decode(&echo[..12]), Ok(Decoded::Incomplete(14)));
        let whole = Frame::Packet {
            magic: Magic::Request,
            kind: 16,
            body: b"hi",
        };
        assert_eq!(decode(echo), Ok(Decoded::Frame(whole, 14)));
        assert_eq!(
            decode(b"status\r\nx"),
            Ok(Decoded::Frame(Frame::Text(b"status"), 8))
        );
        assert_eq!(
            decode(b"status\n"),
            Ok(Decoded::Frame(Frame::Text(b"status"), 7))
        );
        assert_eq!(decode(b"stat"), Ok(Decoded::Incomplete(5)));
    }

    #[test]
    fn hopeless_streams() {
        assert_eq!(decode(b"\0X"), Err(FrameError::Magic));
        assert_eq!(decode(b"\0REX"), Err(FrameError::Magic));
        assert_eq!(
            decode(b"\0REQ\0\0\0\x07\x40\0\0\0"),
            Err(FrameError::TooLarge(1 << 30))
        );
        assert_eq!(decode(&[b'a'; MAX_LINE]), Err(FrameError::LineTooLong));
    }
}
