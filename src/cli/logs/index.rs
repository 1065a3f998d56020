//! What the indexes know of the processes: when they started and ended, and which jobs they had.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};

use serde::Serialize;

use super::files::{SlotLog, Stream, generations};
use super::lines::Form;
use crate::daemon::logs::index::{Event, What};
use crate::status::words::printable;

/// What happened to a slot.
#[derive(Serialize)]
struct Object<'a> {
    pool: &'a str,
    slot: u32,
    #[serde(flatten)]
    event: &'a Event,
}

/// The last so many things that happened to a slot, a line each, with their times. What a file says again of an older one is left out.
pub(super) fn last_events(
    log: &SlotLog,
    count: usize,
    form: Form,
) -> io::Result<VecDeque<(String, String)>> {
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
            let line = match form {
                Form::Text(_) => format!("{} {name} {}\n", event.time, words(&event.what)),
                Form::Json => {
                    let (pool, slot) = (&log.pool, log.slot);
                    serde_json::to_string(&Object {
                        pool,
                        slot,
                        event: &event,
                    })? + "\n"
                }
            };
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
