//! The API's orders about pools and functions, as its clients give them.

use serde_json::Value;

use super::Bounds;
use crate::pools::Slot;

/// What an operator has the daemon do. It answers with [`Done`](super::Done) or [`Refused`](super::Refused).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Read the file again, and apply what is different.
    Reload,
    /// Hold a pool at a number of processes, or between two.
    Scale(String, Bounds),
    /// Give a pool back to the file.
    Start(String),
    /// Have a pool's processes end, and start none.
    Stop(String),
    /// Replace a pool's processes, or the one in a slot.
    Restart(String, Option<Slot>),
    /// Hold a function's queue.
    Pause(String),
    /// Give its jobs out again.
    Resume(String),
}

impl Order {
    /// Where it is posted.
    pub fn path(&self) -> String {
        match self {
            Order::Reload => "/reload".to_owned(),
            Order::Scale(pool, _) => format!("/pools/{}/scale", segment(pool)),
            Order::Start(pool) => format!("/pools/{}/start", segment(pool)),
            Order::Stop(pool) => format!("/pools/{}/stop", segment(pool)),
            Order::Restart(pool, None) => format!("/pools/{}/restart", segment(pool)),
            Order::Restart(pool, Some(Slot(slot))) => {
                format!("/pools/{}/restart?slot={slot}", segment(pool))
            }
            Order::Pause(function) => format!("/functions/{}/pause", segment(function)),
            Order::Resume(function) => format!("/functions/{}/resume", segment(function)),
        }
    }

    /// What is posted, if it is anything.
    pub fn body(&self) -> Option<Value> {
        match self {
            Order::Scale(_, Bounds { min, max }) => {
                Some(serde_json::json!({ "min": min, "max": max }))
            }
            Order::Reload
            | Order::Start(_)
            | Order::Stop(_)
            | Order::Restart(..)
            | Order::Pause(_)
            | Order::Resume(_) => None,
        }
    }
}

/// A text as one segment of a path.
pub fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => {
                out.push(char::from(byte))
            }
            // The dot too: a segment of one or two of them would be taken for a way up.
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_in_paths() {
        assert_eq!(segment("fetchURL"), "fetchURL");
        assert_eq!(segment("a/b ü.?"), "a%2Fb%20%C3%BC%2E%3F");
        assert_eq!(segment(".."), "%2E%2E");
        let order = Order::Restart("mail/out".to_owned(), Some(Slot(3)));
        assert_eq!(order.path(), "/pools/mail%2Fout/restart?slot=3");
    }
}
