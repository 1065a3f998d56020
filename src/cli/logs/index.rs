//! What the indexes know: the lines of a job, and what happened to the processes.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read, Write};

use super::files::{SlotLog, Stream, generations};
use crate::daemon::logs::index::{Event, What};
use crate::status::words::printable;

/// A stretch of a file: from this byte on, and to that one, or to the end.
type Range = (u64, Option<u64>);

/// Writes what a slot wrote in a job, of all of its files. Returns whether there was anything.
pub(super) fn write_job(log: &SlotLog, job: &str, out: &mut impl Write) -> io::Result<bool> {
    let mut found = false;
    let mut has_job = false;
    for generation in generations(&log.path)?.iter().rev() {
        // before the index: what comes later may be another job's
        let size = generation.size()?;
        let events = generation.index.as_ref().map(events).transpose()?;
        let mut ranges = ranges(&events.unwrap_or_default(), job, &mut has_job);
        if let Some((from, to @ None)) = ranges.last_mut() {
            *to = size.map(|size| size.max(*from));
        }
        if !ranges.is_empty() {
            found |= write_ranges(generation.text(), &ranges, out)?;
        }
    }
    Ok(found)
}

/// When a slot was first given a job, as far as its indexes go back.
pub(super) fn first_begin(log: &SlotLog, job: &str) -> io::Result<Option<String>> {
    for generation in generations(&log.path)?.iter().rev() {
        let events = generation.index.as_ref().map(events).transpose()?;
        let begun = events
            .unwrap_or_default()
            .into_iter()
            .find(|event| matches!(&event.what, What::Begin { job: begun } if begun == job));
        if let Some(begun) = begun {
            return Ok(Some(begun.time));
        }
    }
    Ok(None)
}

/// The last so many things that happened to a slot, a line each, with their times. What a file says again of an older one is left out.
pub(super) fn last_events(log: &SlotLog, count: usize) -> io::Result<VecDeque<(String, String)>> {
    let mut last = VecDeque::new();
    if log.stream == Stream::Errors {
        // The same as of its standard output.
        return Ok(last);
    }
    let name = format!("{}/{}", printable(&log.pool), log.slot);
    for generation in generations(&log.path)?.iter().rev() {
        let events = generation.index.as_ref().map(events).transpose()?;
        for event in events.unwrap_or_default() {
            if event.continued || count == 0 {
                continue;
            }
            if last.len() == count {
                last.pop_front();
            }
            let line = format!("{} {name} {}\n", event.time, words(&event.what));
            last.push_back((event.time, line));
        }
    }
    Ok(last)
}

fn words(what: &What) -> String {
    match what {
        What::Start { pid } => format!("start pid {pid}"),
        What::Stop { signal } => format!("stop {}", printable(signal)),
        What::Exit(exit) => match (&exit.status, &exit.signal) {
            (_, Some(signal)) => format!("exit by {}", printable(signal)),
            (Some(status), None) => format!("exit status {status}"),
            (None, None) => "exit".to_owned(),
        },
        What::Begin { job } => format!("begin {}", printable(job)),
        What::Overdue { job } => format!("overdue {}", printable(job)),
        What::End { job, outcome } => {
            let outcome = outcome.map(|it| format!(" {}", it.word()));
            format!("end {}{}", printable(job), outcome.unwrap_or_default())
        }
    }
}

/// The lines that can be read: one that was cut off by a full disk, or is just being written, is left out.
fn events(mut index: &File) -> io::Result<Vec<Event>> {
    let mut lines = BufReader::new(&mut index);
    let mut events = Vec::new();
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 {
        events.extend(serde_json::from_slice::<Event>(&line));
        line.clear();
    }
    Ok(events)
}

/// The stretches of one file that belong to a job. `has_job` goes from a file to the next younger one.
fn ranges(events: &[Event], job: &str, has_job: &mut bool) -> Vec<Range> {
    let mut ranges = Vec::new();
    let mut from = has_job.then_some(0);
    for event in events {
        let begins = matches!(&event.what, What::Begin { job: begun } if begun == job);
        let ends = match &event.what {
            What::End { job: ended, .. } => ended == job,
            What::Start { .. } | What::Exit(_) => true,
            What::Begin { .. } | What::Overdue { .. } | What::Stop { .. } => false,
        };
        if begins {
            from = from.or(Some(event.at));
        } else if ends && let Some(begun) = from.take() {
            ranges.push((begun, Some(event.at)));
        }
    }
    *has_job = from.is_some();
    ranges.extend(from.map(|begun| (begun, None)));
    ranges.retain(|&(from, to)| to.is_none_or(|to| from < to));
    ranges
}

/// Copies stretches that are in order. Returns whether there was anything in them.
fn write_ranges(mut text: impl Read, ranges: &[Range], out: &mut impl Write) -> io::Result<bool> {
    let (mut at, mut found) = (0, false);
    for &(from, to) in ranges {
        let skipped = from.saturating_sub(at);
        at += io::copy(&mut text.by_ref().take(skipped), &mut io::sink())?;
        let length = to.map_or(u64::MAX, |to| to - from);
        let copied = io::copy(&mut text.by_ref().take(length), out)?;
        at += copied;
        found |= copied > 0;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(at: u64, what: What) -> Event {
        Event {
            at,
            time: String::new(),
            what,
            continued: false,
        }
    }

    #[test]
    fn a_job_ends_with_itself_or_with_its_process() {
        let begin = |at| {
            event(
                at,
                What::Begin {
                    job: "j".to_owned(),
                },
            )
        };
        let end = |at| {
            event(
                at,
                What::End {
                    job: "j".to_owned(),
                    outcome: None,
                },
            )
        };
        let other = |at| {
            event(
                at,
                What::Begin {
                    job: "k".to_owned(),
                },
            )
        };
        let start = |at| event(at, What::Start { pid: 1 });
        let mut has_job = false;
        let events = [
            start(0),
            begin(5),
            other(6),
            end(9),
            begin(20),
            start(30),
            end(40),
            begin(50),
        ];
        let found = ranges(&events, "j", &mut has_job);
        assert_eq!(found, [(5, Some(9)), (20, Some(30)), (50, None)]);
        assert!(has_job);
        // the next file: what was true before the rotation is said again
        assert_eq!(
            ranges(&[start(0), begin(0), end(7)], "j", &mut has_job),
            [(0, Some(7))]
        );
        assert!(!has_job);
        assert_eq!(ranges(&[], "j", &mut has_job), []);
    }

    #[test]
    fn stretches_are_copied_without_what_is_between() {
        let mut out = Vec::new();
        let ranges = [(2, Some(4)), (4, Some(5)), (7, None)];
        assert!(write_ranges(&b"0123456789"[..], &ranges, &mut out).unwrap());
        assert_eq!(out, b"234789");
        assert!(!write_ranges(&b"01"[..], &[(2, Some(9))], &mut out).unwrap());
    }
}
