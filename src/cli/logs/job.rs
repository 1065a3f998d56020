//! What was written in one job: once, or as it comes.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::time::Instant;

use anyhow::{Context as _, anyhow};

use super::files::SlotLog;
use super::lines::{Form, Lines, Prefix};
use super::part::Part;
use super::{LOOK, Logs, unreadable};
use crate::cli::Failure;
use crate::cli::client::Daemon;
use crate::cli::terminal::{self, Reader};
use crate::http::segment;
use crate::status::jobs::{JobState, JobView};

/// So many looks after its end may find nothing more of a job before there is nothing more.
const LAST_LOOKS: u32 = 5;

/// What a slot has written in a job, and how it is told.
struct Told {
    part: Part,
    lines: Lines,
}

/// Bytes on their way to an output, as lines.
struct Marked<'a, W> {
    lines: &'a mut Lines,
    out: W,
}

impl<W: Write> Write for Marked<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut lines = Vec::new();
        self.lines.feed(bytes, Instant::now(), &mut lines);
        self.out.write_all(&lines)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Writes the last lines, which have no end.
fn finish(parts: BTreeMap<SlotLog, Told>) -> Result<u8, Failure> {
    let mut out = Vec::new();
    for mut told in parts.into_values() {
        told.lines.finish(&mut out);
    }
    terminal::print_bytes(&out)?;
    Ok(0)
}

impl Logs {
    /// What was written in a job, to the byte, in the order in which slots were given it.
    pub(super) fn job(&self, job: &str) -> Result<u8, Failure> {
        let mut parts = BTreeMap::new();
        match self.rest_of_job(job, &mut parts)? {
            Some(0) => Err(self.no_lines(job)),
            Some(_) => finish(parts),
            None => Ok(0),
        }
    }

    /// The same, and what comes, until the job has ended. One that has not begun is waited for.
    pub(super) async fn follow_job(&self, job: &str, daemon: &Daemon) -> Result<u8, Failure> {
        let mut parts = BTreeMap::new();
        let mut has_written = false;
        let mut looks_left = LAST_LOOKS;
        while looks_left > 0 {
            // before the files: what it wrote is there soon after its end
            let lives = lives(job, daemon).await;
            let Some(written) = self.rest_of_job(job, &mut parts)? else {
                return Ok(0);
            };
            if terminal::asked() == Reader::Gone {
                return Ok(0);
            }
            has_written |= written > 0;
            looks_left = match lives || written > 0 {
                true => LAST_LOOKS,
                false => looks_left - 1,
            };
            tokio::time::sleep(LOOK).await;
        }
        match has_written {
            true => finish(parts),
            false => Err(self.no_lines(job)),
        }
    }

    /// Writes what the slots have written in a job since the last time, and returns how many bytes that were; `None` when nobody reads
    /// them any more.
    fn rest_of_job(
        &self,
        job: &str,
        parts: &mut BTreeMap<SlotLog, Told>,
    ) -> Result<Option<u64>, Failure> {
        for log in self.find().with_context(|| unreadable(&self.log_dir))? {
            let path = log.path.clone();
            let told = parts.entry(log).or_insert_with_key(|log| Told {
                part: Part::new(path.clone()),
                lines: Lines::new(match self.form {
                    Form::Text(_) => Prefix::None,
                    Form::Json => Prefix::json(log, self.has_errors_apart(log), Some(job)),
                }),
            });
            told.part.look(job).with_context(|| unreadable(&path))?;
        }
        let mut had: Vec<_> = parts
            .iter_mut()
            .filter_map(|(log, told)| Some((told.part.begun()?.to_owned(), log, told)))
            .collect();
        had.sort_by(|(one, log, _), (other, other_log, _)| (one, log).cmp(&(other, other_log)));
        let mut out = BufWriter::new(io::stdout().lock());
        let mut written = 0;
        for (_, _, Told { part, lines }) in had {
            match part.write(&mut Marked {
                lines,
                out: &mut out,
            }) {
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(None),
                Err(error) => return Err(Failure::Failed(error.into())),
            }
        }
        Ok(match terminal::reader(out.flush())? {
            Reader::There => Some(written),
            Reader::Gone => None,
        })
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
