//! What was written in one job: once, or as it comes.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};

use anyhow::{Context as _, anyhow};

use super::files::SlotLog;
use super::{LOOK, Logs, index, unreadable};
use crate::cli::Failure;
use crate::cli::client::Daemon;
use crate::cli::terminal::{self, Reader};
use crate::http::segment;
use crate::status::jobs::{JobState, JobView};

/// So many looks after its end may find nothing more of a job before there is nothing more.
const LAST_LOOKS: u32 = 5;

/// Lets through what has not been written before.
struct Rest<'a, W> {
    out: &'a mut W,
    before: u64,
    seen: u64,
}

impl<W: Write> Write for Rest<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let known = self.before.saturating_sub(self.seen);
        let known = usize::try_from(known).map_or(bytes.len(), |known| known.min(bytes.len()));
        self.out.write_all(&bytes[known..])?;
        self.seen += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

impl Logs {
    /// What was written in a job, to the byte, in the order in which slots were given it.
    pub(super) fn job(&self, job: &str) -> Result<u8, Failure> {
        let mut written = BTreeMap::new();
        if self.rest_of_job(job, &mut written)? == Reader::Gone || !written.is_empty() {
            return Ok(0);
        }
        Err(self.no_lines(job))
    }

    /// The same, and what comes, until the job has ended. One that has not begun is waited for.
    pub(super) async fn follow_job(&self, job: &str, daemon: &Daemon) -> Result<u8, Failure> {
        let mut written = BTreeMap::new();
        let mut looks_left = LAST_LOOKS;
        while looks_left > 0 {
            // before the files: what it wrote is there soon after its end
            let lives = lives(job, daemon).await;
            let before: u64 = written.values().sum();
            if self.rest_of_job(job, &mut written)? == Reader::Gone
                || terminal::asked() == Reader::Gone
            {
                return Ok(0);
            }
            let is_still = written.values().sum::<u64>() == before;
            looks_left = match lives || !is_still {
                true => LAST_LOOKS,
                false => looks_left - 1,
            };
            tokio::time::sleep(LOOK).await;
        }
        match written.is_empty() {
            true => Err(self.no_lines(job)),
            false => Ok(0),
        }
    }

    /// Writes what the slots have written in a job beyond what has been written already.
    fn rest_of_job(
        &self,
        job: &str,
        written: &mut BTreeMap<SlotLog, u64>,
    ) -> Result<Reader, Failure> {
        let mut had = Vec::new();
        for log in self.find().with_context(|| unreadable(&self.log_dir))? {
            let begun = index::first_begin(&log, job).with_context(|| unreadable(&log.path))?;
            had.extend(begun.map(|begun| (begun, log)));
        }
        had.sort();
        let mut out = BufWriter::new(io::stdout().lock());
        for (_, log) in had {
            let before = written.get(&log).copied().unwrap_or(0);
            let mut rest = Rest {
                out: &mut out,
                before,
                seen: 0,
            };
            let found = index::write_job(&log, job, &mut rest);
            let seen = rest.seen;
            match found {
                Ok(_) if seen > before => drop(written.insert(log, seen)),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return Ok(Reader::Gone);
                }
                Err(error) => return Err(Failure::Failed(error.into())),
            }
        }
        terminal::reader(out.flush())
    }

    fn no_lines(&self, job: &str) -> Failure {
        Failure::Failed(anyhow!(
            "there are no lines of job {job} in {}: it wrote none, or none yet, or they are rotated away, or its worker is not a process of this gearpool",
            self.log_dir.display()
        ))
    }
}

/// Whether a job is queued or running.
async fn lives(job: &str, daemon: &Daemon) -> bool {
    let path = format!("/jobs/{}", segment(job));
    let shown: Result<JobView, Failure> = daemon.get(&path).await;
    shown.is_ok_and(|job| job.state != JobState::Failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_before_is_left_out() {
        let mut out = Vec::new();
        let mut rest = Rest {
            out: &mut out,
            before: 5,
            seen: 0,
        };
        for bytes in [&b"abc"[..], b"defg", b"h"] {
            rest.write_all(bytes).unwrap();
        }
        assert_eq!(rest.seen, 8);
        assert_eq!(out, b"fgh");
    }
}
