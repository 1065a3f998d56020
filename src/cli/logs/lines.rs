//! Streams of bytes as prefixed lines, on one output.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::files::{SlotLog, Stream};
use crate::status::Colour;
use crate::status::words::printable;

/// A line that has no end yet is shown all the same after this time: the last words of a process often have none.
const UNFINISHED: Duration = Duration::from_secs(1);
/// Longer lines are shown in parts.
const LONGEST: usize = 64 << 10;
/// Told apart on any background: cyan, yellow, green, magenta, blue, bright cyan.
const COLOURS: [&str; 6] = ["36", "33", "32", "35", "34", "96"];

/// How lines are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Form {
    /// By what stands in front of them, in colours or not.
    Text(Colour),
    /// Each is a JSON object.
    Json,
}

/// How the lines of one slot are marked.
#[derive(Clone, Debug)]
pub(super) enum Prefix {
    /// Not at all, to the last byte.
    None,
    /// With the slot.
    Slot {
        /// `fetchURL/3`
        name: String,
        /// In its colour or not.
        colour: Colour,
        /// The slot's number, for its colour.
        slot: u32,
    },
    /// As what they are in a JSON object.
    Json {
        /// Where they come from.
        log: SlotLog,
        /// What of it: `output` is standard output and standard error in one.
        stream: &'static str,
        /// The job that they were asked for by.
        job: Option<String>,
    },
}

/// A line as an object, with the names of the logs' own `format: json`.
#[derive(Serialize)]
struct Object<'a> {
    pool: &'a str,
    slot: u32,
    stream: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<&'a str>,
    line: Cow<'a, str>,
}

/// The lines of one slot.
#[derive(Debug)]
pub(super) struct Lines {
    prefix: Prefix,
    unfinished: Vec<u8>,
    since: Option<Instant>,
}

impl Prefix {
    pub(super) fn slot(log: &SlotLog, colour: Colour) -> Prefix {
        let stream = match log.stream {
            Stream::Output => "",
            Stream::Errors => " stderr",
        };
        Prefix::Slot {
            name: format!("{}/{}{stream}", printable(&log.pool), log.slot),
            colour,
            slot: log.slot,
        }
    }

    /// `has_errors_apart` is whether the slot's standard error has a log of its own.
    pub(super) fn json(log: &SlotLog, has_errors_apart: bool, job: Option<&str>) -> Prefix {
        Prefix::Json {
            log: log.clone(),
            stream: match (log.stream, has_errors_apart) {
                (Stream::Errors, _) => "stderr",
                (Stream::Output, true) => "stdout",
                (Stream::Output, false) => "output",
            },
            job: job.map(str::to_owned),
        }
    }
}

impl Lines {
    pub(super) fn new(prefix: Prefix) -> Lines {
        Lines {
            prefix,
            unfinished: Vec::new(),
            since: None,
        }
    }

    /// Takes bytes, and writes the lines that they finish to `out`.
    pub(super) fn feed(&mut self, bytes: &[u8], now: Instant, out: &mut Vec<u8>) {
        if matches!(self.prefix, Prefix::None) {
            out.extend_from_slice(bytes);
            return;
        }
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.unfinished.extend_from_slice(part);
            if part.ends_with(b"\n") || self.unfinished.len() >= LONGEST {
                self.finish(out);
            }
        }
        self.since = (!self.unfinished.is_empty()).then_some(now);
    }

    /// Writes a line that has waited long enough for its end.
    pub(super) fn expire(&mut self, now: Instant, out: &mut Vec<u8>) {
        if self
            .since
            .is_some_and(|since| now.duration_since(since) >= UNFINISHED)
        {
            self.finish(out);
        }
    }

    /// Drops what there is of a line: its end will not come.
    pub(super) fn forget(&mut self) {
        self.since = None;
        self.unfinished.clear();
    }

    /// Writes what there is, as a line.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        self.since = None;
        if self.unfinished.is_empty() {
            return;
        }
        match &self.prefix {
            // nothing is held back then
            Prefix::None => {}
            Prefix::Slot { name, colour, slot } => {
                match colour {
                    Colour::Off => out.extend_from_slice(format!("{name} | ").as_bytes()),
                    Colour::On => {
                        let code = COLOURS[*slot as usize % COLOURS.len()];
                        out.extend_from_slice(format!("\x1b[{code}m{name} |\x1b[0m ").as_bytes());
                    }
                }
                out.append(&mut self.unfinished);
                if out.last() != Some(&b'\n') {
                    out.push(b'\n');
                }
            }
            Prefix::Json { log, stream, job } => {
                let line = self.unfinished.strip_suffix(b"\n");
                let object = Object {
                    pool: &log.pool,
                    slot: log.slot,
                    stream,
                    job: job.as_deref(),
                    line: String::from_utf8_lossy(line.unwrap_or(&self.unfinished)),
                };
                // writing to memory does not fail
                if serde_json::to_writer(&mut *out, &object).is_ok() {
                    out.push(b'\n');
                }
                self.unfinished.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(pool: &str, slot: u32, colour: Colour) -> Prefix {
        let log = SlotLog {
            pool: pool.to_owned(),
            slot,
            stream: Stream::Output,
            path: Default::default(),
        };
        Prefix::slot(&log, colour)
    }

    fn text(out: &mut Vec<u8>) -> String {
        String::from_utf8(std::mem::take(out)).unwrap()
    }

    #[test]
    fn a_line_is_marked_when_it_is_whole() {
        let now = Instant::now();
        let mut lines = Lines::new(prefix("fetchURL", 3, Colour::Off));
        let mut out = Vec::new();
        lines.feed(b"a\nb", now, &mut out);
        assert_eq!(text(&mut out), "fetchURL/3 | a\n");
        lines.expire(now + UNFINISHED / 2, &mut out);
        lines.feed(b"c\n\n", now, &mut out);
        assert_eq!(text(&mut out), "fetchURL/3 | bc\nfetchURL/3 | \n");
        lines.feed(b"dying", now, &mut out);
        lines.expire(now + UNFINISHED, &mut out);
        assert_eq!(text(&mut out), "fetchURL/3 | dying\n");
        lines.finish(&mut out);
        assert_eq!(text(&mut out), "");
    }

    #[test]
    fn a_line_is_an_object_whatever_its_bytes_are() {
        let log = SlotLog {
            pool: "fetchURL".to_owned(),
            slot: 3,
            stream: Stream::Errors,
            path: Default::default(),
        };
        let mut lines = Lines::new(Prefix::json(&log, true, Some("H:1")));
        let mut out = Vec::new();
        lines.feed(b"say \"\xff\"\nlast", Instant::now(), &mut out);
        lines.finish(&mut out);
        assert_eq!(
            text(&mut out),
            "{\"pool\":\"fetchURL\",\"slot\":3,\"stream\":\"stderr\",\"job\":\"H:1\",\"line\":\"say \\\"\u{fffd}\\\"\"}\n\
             {\"pool\":\"fetchURL\",\"slot\":3,\"stream\":\"stderr\",\"job\":\"H:1\",\"line\":\"last\"}\n"
        );
    }

    #[test]
    fn without_a_prefix_every_byte_is_the_same() {
        let mut lines = Lines::new(Prefix::None);
        let mut out = Vec::new();
        lines.feed(b"a\nb\xff", Instant::now(), &mut out);
        lines.finish(&mut out);
        assert_eq!(out, b"a\nb\xff");
    }

    #[test]
    fn a_line_without_an_end_takes_no_more_than_its_share_of_memory() {
        let mut lines = Lines::new(prefix("p", 1, Colour::On));
        let mut out = Vec::new();
        lines.feed(&vec![b'x'; LONGEST], Instant::now(), &mut out);
        assert!(text(&mut out).starts_with("\x1b[33mp/1 |\x1b[0m xxx"));
        assert!(lines.unfinished.is_empty());
    }
}
