//! The index beside a log: when a process started, was asked to stop and ended, and which bytes belong to which job. So the log itself
//! holds what the worker wrote and nothing else.
//!
//! One JSON object a line, `at` being an offset in the log beside it:
//!
//! ```text
//! {"at":0,"time":"2026-03-01T12:00:00.000Z","event":"start","pid":811}
//! {"at":0,"time":"2026-03-01T12:00:01.250Z","event":"begin","job":"H:web1:42"}
//! {"at":96,"time":"2026-03-01T12:00:02.010Z","event":"end","job":"H:web1:42","outcome":"complete"}
//! {"at":96,"time":"2026-03-01T12:00:09.000Z","event":"stop","signal":"SIGTERM"}
//! {"at":110,"time":"2026-03-01T12:00:09.020Z","event":"exit","signal":"SIGTERM"}
//! ```
//!
//! An `overdue` says that a job has run past its limit. A job that wrote nothing is not in it. What happened is written with the next output, or at the process's end. It is rotated with
//! the log, and a new one begins with what is still true, marked as `continued`; a `start` ends every job before it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::jobs::Outcome;

/// So many bytes of an index may be kept beside an empty log, which is never rotated.
const MAX_OF_NOTHING: u64 = 16 << 10;

/// A line of an index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// After so many bytes of the log.
    pub at: u64,
    /// When, in RFC 3339 to the millisecond.
    pub time: String,
    /// What.
    #[serde(flatten)]
    pub what: What,
    /// Whether it happened before this file was begun, and is said again so that the file can be read by itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub continued: bool,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum What {
    /// A process of the slot was started.
    Start {
        /// Its id.
        pid: u32,
    },
    /// It was asked to stop.
    Stop {
        /// The signal.
        signal: String,
    },
    /// It has ended.
    Exit(Exit),
    /// It was given a job.
    Begin {
        /// The job's handle.
        job: String,
    },
    /// It has had a job for longer than it may, and is killed for that.
    Overdue {
        /// The job's handle.
        job: String,
    },
    /// It has a job no longer.
    End {
        /// The job's handle.
        job: String,
        /// How that came.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        outcome: Option<Outcome>,
    },
}

/// How a process ended: with an exit status, or by a signal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<i32>,
    /// The signal's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
}

/// The index of the log that is being written.
#[derive(Debug)]
pub(super) struct Index {
    path: PathBuf,
    /// `None` while it cannot be written, and where there is none.
    file: Option<File>,
    /// Whether the last line may be without its end.
    is_torn: bool,
    /// The process that writes, while there is one.
    pid: Option<u32>,
    /// Its jobs, the latest last.
    jobs: Vec<String>,
    /// The one of them that it is killed for.
    overdue: Option<String>,
}

/// What an index knows of what is in its file, for another program to go on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct IndexState {
    is_torn: bool,
    pid: Option<u32>,
    jobs: Vec<String>,
    overdue: Option<String>,
}

impl Index {
    /// One that goes on where another stopped.
    pub(super) fn new(path: PathBuf, state: IndexState) -> Index {
        let IndexState {
            is_torn,
            pid,
            jobs,
            overdue,
        } = state;
        Index {
            path,
            file: None,
            is_torn,
            pid,
            jobs,
            overdue,
        }
    }

    /// Where it stands.
    pub(super) fn state(&self) -> IndexState {
        IndexState {
            is_torn: self.is_torn,
            pid: self.pid,
            jobs: self.jobs.clone(),
            overdue: self.overdue.clone(),
        }
    }

    /// The job that the process was given last, of those that it has.
    pub(super) fn job(&self) -> Option<&str> {
        self.jobs.last().map(String::as_str)
    }

    /// Goes on in the file in which it says already what is true.
    pub(super) fn go_on(&mut self) {
        self.file = self.open_file().ok();
    }

    fn open_file(&self) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o640)
            .open(&self.path)
    }

    /// Goes on in the file beside a log that now has `size` bytes. An index of what is no longer there is emptied.
    pub(super) fn open(&mut self, size: u64) {
        let emptied = self.open_file().and_then(|file| {
            if size == 0 && !is_of_nothing(&file)? {
                file.set_len(0)?;
            }
            Ok(file)
        });
        // Its disk is the log's own, which says so when it cannot be written.
        self.file = emptied.ok();
        self.restate(size);
    }

    /// Nothing is written any more until it is opened again.
    pub(super) fn close(&mut self) {
        self.file = None;
    }

    /// Something happened after `at` bytes of the log.
    pub(super) fn note(&mut self, at: u64, time: SystemTime, what: What) {
        match &what {
            What::Start { pid } => {
                self.pid = Some(*pid);
                self.jobs.clear();
            }
            What::Begin { job } => self.jobs.push(job.clone()),
            What::End { job, .. } => self.jobs.retain(|other| other != job),
            What::Exit(_) => {
                // the job server has seen its connection close later than this
                for job in self.jobs.clone() {
                    let outcome = match self.overdue.as_ref() == Some(&job) {
                        true => Outcome::Timeout,
                        false => Outcome::Lost,
                    };
                    let outcome = Some(outcome);
                    self.note(at, time, What::End { job, outcome });
                }
                self.pid = None;
                self.overdue = None;
            }
            What::Overdue { job } => self.overdue = Some(job.clone()),
            What::Stop { .. } => {}
        }
        if self.is_torn {
            return self.restate(at);
        }
        let mut line = Vec::new();
        event(&mut line, at, time, what, false);
        self.write(&line);
    }

    /// Says what is true.
    fn restate(&mut self, at: u64) {
        let Some(pid) = self.pid else { return };
        let time = SystemTime::now();
        let mut lines = Vec::new();
        if self.is_torn {
            lines.push(b'\n');
        }
        event(&mut lines, at, time, What::Start { pid }, true);
        for job in self.jobs.clone() {
            event(&mut lines, at, time, What::Begin { job }, true);
        }
        self.write(&lines);
    }

    fn write(&mut self, lines: &[u8]) {
        if let Some(file) = &mut self.file {
            self.is_torn = file.write_all(lines).is_err();
        }
    }
}

/// Whether an index is true of an empty log, and short: of processes that have come and gone without a word. To empty it for each would
/// be dear. What ext4(5) finds emptied and written to when it is closed, it puts on the disk (`auto_da_alloc`).
fn is_of_nothing(index: &File) -> io::Result<bool> {
    let mut lines = Vec::new();
    index.take(MAX_OF_NOTHING).read_to_end(&mut lines)?;
    // offsets do not go down
    let last = lines.trim_ascii_end().rsplit(|&byte| byte == b'\n').next();
    let last = last.and_then(|line| serde_json::from_slice::<Event>(line).ok());
    let is_whole = (lines.len() as u64) < MAX_OF_NOTHING && lines.ends_with(b"\n");
    Ok(lines.is_empty() || (is_whole && last.is_some_and(|event| event.at == 0)))
}

fn event(lines: &mut Vec<u8>, at: u64, time: SystemTime, what: What, continued: bool) {
    let time = humantime::format_rfc3339_millis(time).to_string();
    let event = Event {
        at,
        time,
        what,
        continued,
    };
    // Writing to memory does not fail, and no key of it is anything but a text.
    if serde_json::to_writer(&mut *lines, &event).is_ok() {
        lines.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1.log.index");
        let mut index = Index::new(path.clone(), IndexState::default());
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let job = || "H:\"web\":1".to_owned();
        index.open(0);
        index.note(0, at(0), What::Start { pid: 811 });
        index.note(5, at(1), What::Begin { job: job() });
        assert_eq!(index.job(), Some("H:\"web\":1"));
        index.note(
            90,
            at(2),
            What::End {
                job: job(),
                outcome: Some(Outcome::Lost),
            },
        );
        assert_eq!(index.job(), None);
        let exit = Exit {
            signal: Some("SIGKILL".to_owned()),
            ..Exit::default()
        };
        index.note(91, at(2), What::Begin { job: job() });
        index.note(92, at(3), What::Overdue { job: job() });
        index.note(99, at(3), What::Exit(exit.clone()));
        assert_eq!(index.job(), None);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                r#"{"at":0,"time":"1970-01-01T00:00:00.000Z","event":"start","pid":811}"#,
                r#"{"at":5,"time":"1970-01-01T00:00:01.000Z","event":"begin","job":"H:\"web\":1"}"#,
                r#"{"at":90,"time":"1970-01-01T00:00:02.000Z","event":"end","job":"H:\"web\":1","outcome":"lost"}"#,
                r#"{"at":91,"time":"1970-01-01T00:00:02.000Z","event":"begin","job":"H:\"web\":1"}"#,
                r#"{"at":92,"time":"1970-01-01T00:00:03.000Z","event":"overdue","job":"H:\"web\":1"}"#,
                r#"{"at":99,"time":"1970-01-01T00:00:03.000Z","event":"end","job":"H:\"web\":1","outcome":"timeout"}"#,
                r#"{"at":99,"time":"1970-01-01T00:00:03.000Z","event":"exit","signal":"SIGKILL"}"#,
            ]
        );
        let read: Event = serde_json::from_str(lines[6]).unwrap();
        assert_eq!(read.what, What::Exit(exit));
    }

    #[test]
    fn a_new_file_says_what_is_still_true() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1.log.index");
        let mut index = Index::new(path.clone(), IndexState::default());
        index.open(0);
        let now = SystemTime::now();
        index.note(0, now, What::Start { pid: 811 });
        for job in ["a", "b"] {
            index.note(
                5,
                now,
                What::Begin {
                    job: job.to_owned(),
                },
            );
        }
        index.note(
            7,
            now,
            What::End {
                job: "a".to_owned(),
                outcome: None,
            },
        );
        index.open(0);
        let text = std::fs::read_to_string(&path).unwrap();
        let events = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let events: Vec<Event> = events.collect();
        assert!(events.iter().all(|event| event.at == 0 && event.continued));
        let told: Vec<&What> = events.iter().map(|event| &event.what).collect();
        let b = "b".to_owned();
        assert_eq!(told, [&What::Start { pid: 811 }, &What::Begin { job: b }]);
    }

    #[test]
    fn who_has_written_nothing_empties_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1.log.index");
        let lines = || std::fs::read_to_string(&path).unwrap().lines().count();
        let come_and_go = |at| {
            let mut index = Index::new(path.clone(), IndexState::default());
            index.open(at);
            index.note(at, SystemTime::now(), What::Start { pid: 811 });
            index.note(at, SystemTime::now(), What::Exit(Exit::default()));
        };
        for times in 1..10 {
            come_and_go(0);
            assert_eq!(lines(), 2 * times);
        }
        // of a log that somebody has emptied since
        come_and_go(9);
        come_and_go(0);
        assert_eq!(lines(), 2);
        // a line that was cut off
        std::fs::write(&path, r#"{"at":0,"time":"x","event":"st"#).unwrap();
        come_and_go(0);
        assert_eq!(lines(), 2);
        // it does not grow for ever
        for _ in 0..200 {
            come_and_go(0);
            assert!(std::fs::metadata(&path).unwrap().len() < MAX_OF_NOTHING + 500);
        }
    }
}
