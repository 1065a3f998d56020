//! One slot's part of a job: what was written in it, then what comes, through every rotation. Of a log and its index only what is new is
//! read.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read, Seek as _, SeekFrom, Write};
use std::path::PathBuf;

use super::files::{FileId, Generation, Packing, generations};
use super::tail::younger;
use crate::daemon::logs::index::{Event, What};
use crate::daemon::logs::names;

/// A stretch of a file: from this byte on, and to that one, or to the end.
type Range = (u64, Option<u64>);

/// What a slot has written in a job, read up to some point.
#[derive(Debug)]
pub(super) struct Part {
    path: PathBuf,
    /// When the slot was first given the job, as far as its indexes go back.
    begun: Option<String>,
    /// The file that was the youngest at the last look.
    open: Option<Open>,
    /// What has been found and not been written.
    found: Vec<(Generation, Vec<Range>)>,
}

/// A file that may grow.
#[derive(Debug)]
struct Open {
    generation: Generation,
    reading: Reading,
}

/// How far an index has been read.
#[derive(Debug, Default)]
struct Reading {
    /// So many bytes of it.
    at: u64,
    /// The job runs, and what it wrote before this byte is known.
    from: Option<u64>,
    /// It is compressed and has been read: nothing more comes.
    is_whole: bool,
}

impl Part {
    pub(super) fn new(path: PathBuf) -> Part {
        Part {
            path,
            begun: None,
            open: None,
            found: Vec::new(),
        }
    }

    /// When the slot was given the job, if something was found that has not been written.
    pub(super) fn begun(&self) -> Option<&str> {
        self.begun.as_deref().filter(|_| !self.found.is_empty())
    }

    /// Looks for what has been written in the job since the last time.
    pub(super) fn look(&mut self, job: &str) -> io::Result<()> {
        self.read_open(job)?;
        let there = match fs::metadata(&self.path) {
            Ok(there) => FileId::of(&there),
            // Between the two steps of a rotation, or removed: what is open is still written to.
            Err(error) if error.kind() == ErrorKind::NotFound && self.open.is_some() => {
                return Ok(());
            }
            Err(error) if error.kind() == ErrorKind::NotFound => FileId::default(),
            Err(error) => return Err(error),
        };
        if self
            .open
            .as_ref()
            .is_some_and(|open| open.generation.id == there)
        {
            return Ok(());
        }
        let mut files = generations(&self.path)?;
        if let Some(open) = &self.open {
            files = younger(files, open.generation.id, &open.generation.file)?;
            // Nothing is written to it any more, now that there is a younger one; the last read may have been just before that.
            self.read_open(job)?;
        }
        for generation in files.into_iter().rev() {
            let runs = self
                .open
                .take()
                .is_some_and(|open| open.reading.from.is_some());
            self.open = Some(Open {
                generation,
                reading: Reading {
                    at: 0,
                    from: runs.then_some(0),
                    is_whole: false,
                },
            });
            self.read_open(job)?;
        }
        Ok(())
    }

    fn read_open(&mut self, job: &str) -> io::Result<()> {
        let Some(Open {
            generation,
            reading,
        }) = &mut self.open
        else {
            return Ok(());
        };
        if reading.is_whole {
            return Ok(());
        }
        if generation.index.is_none() && generation.age == 0 {
            // It may have come after the log, and a link leads to where both are.
            let path = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
            generation.index = File::open(names::index(&path)).ok();
        }
        // Before the index: what comes later may be another job's.
        let size = generation.size()?;
        let events = match &generation.index {
            Some(index) => new_events(index, &mut reading.at)?,
            None => Vec::new(),
        };
        reading.is_whole = generation.packing == Packing::Gzip;
        let ranges = reading.take(&events, size, job, &mut self.begun);
        if !ranges.is_empty() {
            self.found.push((generation.try_clone()?, ranges));
        }
        Ok(())
    }

    /// Writes what was found, and returns how many bytes that were.
    pub(super) fn write(&mut self, out: &mut impl Write) -> io::Result<u64> {
        let mut written = 0;
        for (generation, ranges) in self.found.drain(..) {
            written += write_ranges(&generation, &ranges, out)?;
        }
        Ok(written)
    }
}

impl Reading {
    /// The stretches of a file that belong to a job, by the new lines of its index and the size that it had before they were read.
    fn take(
        &mut self,
        events: &[Event],
        size: Option<u64>,
        job: &str,
        begun: &mut Option<String>,
    ) -> Vec<Range> {
        let mut ranges = Vec::new();
        for event in events {
            let begins = matches!(&event.what, What::Begin { job: begun } if begun == job);
            let ends = match &event.what {
                What::End { job: ended, .. } => ended == job,
                What::Start { .. } | What::Exit(_) => true,
                What::Begin { .. } | What::Overdue { .. } | What::Stop { .. } => false,
            };
            if begins {
                begun.get_or_insert_with(|| event.time.clone());
                self.from = self.from.or(Some(event.at));
            } else if ends && let Some(from) = self.from.take() {
                ranges.push((from, Some(event.at)));
            }
        }
        if let Some(from) = &mut self.from {
            let to = size.map(|size| size.max(*from));
            ranges.push((*from, to));
            *from = to.unwrap_or(*from);
        }
        ranges.retain(|&(from, to)| to.is_none_or(|to| from < to));
        ranges
    }
}

/// The lines from `at` on that have their end. One that cannot be read, because a full disk has cut it off, is left out.
fn new_events(mut index: &File, at: &mut u64) -> io::Result<Vec<Event>> {
    index.seek(SeekFrom::Start(*at))?;
    let mut lines = BufReader::new(index);
    let mut events = Vec::new();
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
        *at += line.len() as u64;
        events.extend(serde_json::from_slice::<Event>(&line));
        line.clear();
    }
    Ok(events)
}

/// Copies stretches that are in order. Returns how many bytes there were in them.
fn write_ranges(
    generation: &Generation,
    ranges: &[Range],
    out: &mut impl Write,
) -> io::Result<u64> {
    let mut text = generation.text();
    let (mut at, mut written) = (0, 0);
    for &(from, to) in ranges {
        match generation.packing {
            Packing::Plain => at = (&generation.file).seek(SeekFrom::Start(from))?,
            Packing::Gzip => {
                let skipped = from.saturating_sub(at);
                at += io::copy(&mut text.by_ref().take(skipped), &mut io::sink())?;
            }
        }
        let length = to.map_or(u64::MAX, |to| to - from);
        let copied = io::copy(&mut text.by_ref().take(length), out)?;
        at += copied;
        written += copied;
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::super::files::append;
    use super::*;

    fn event(at: u64, what: What) -> Event {
        Event {
            at,
            time: String::new(),
            what,
            continued: false,
        }
    }

    fn begin(at: u64, job: &str) -> Event {
        let job = job.to_owned();
        event(at, What::Begin { job })
    }

    fn end(at: u64) -> Event {
        let (job, outcome) = ("j".to_owned(), None);
        event(at, What::End { job, outcome })
    }

    fn start(at: u64) -> Event {
        event(at, What::Start { pid: 1 })
    }

    #[test]
    fn a_job_ends_with_itself_or_with_its_process() {
        let mut reading = Reading::default();
        let mut take = |events: &[Event], size| reading.take(events, Some(size), "j", &mut None);
        let events = [
            start(0),
            begin(5, "j"),
            begin(6, "k"),
            end(9),
            begin(20, "j"),
            start(30),
        ];
        assert_eq!(take(&events, 40), [(5, Some(9)), (20, Some(30))]);
        assert_eq!(take(&[end(40), begin(50, "j")], 52), [(50, Some(52))]);
        assert_eq!(take(&[], 52), []);
        assert_eq!(take(&[], 60), [(52, Some(60))]);
        assert_eq!(take(&[end(70)], 80), [(60, Some(70))]);
        assert_eq!(take(&[], 90), []);
    }

    #[test]
    fn every_byte_is_found_once_through_rotations() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("1.log");
        let write = |text: &str| append(&log, text);
        let mark = |event: Event| {
            let line = serde_json::to_string(&event).unwrap();
            append(&names::index(&log), &format!("{line}\n"));
        };
        let rotate = || {
            fs::rename(&log, names::older(&log, 1)).unwrap();
            fs::rename(names::index(&log), names::index(&names::older(&log, 1))).unwrap();
        };
        let mut part = Part::new(log.clone());
        let mut new = || {
            let mut out = Vec::new();
            part.look("j").unwrap();
            part.write(&mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(new(), "");
        write("before ");
        assert_eq!(new(), "");
        mark(begin(7, "j"));
        write("one ");
        assert_eq!(new(), "one ");
        assert_eq!(new(), "");
        // a line that is just being written
        append(&names::index(&log), "{\"at\":1");
        write("two ");
        assert_eq!(new(), "two ");
        append(
            &names::index(&log),
            "1,\"time\":\"\",\"event\":\"overdue\",\"job\":\"j\"}\n",
        );
        write("three ");
        rotate();
        write("four ");
        mark(start(0));
        mark(begin(0, "j"));
        assert_eq!(new(), "three four ");
        write("five ");
        mark(end(10));
        write("after");
        assert_eq!(new(), "five ");
        rotate();
        write("another");
        assert_eq!(new(), "");
    }
}
