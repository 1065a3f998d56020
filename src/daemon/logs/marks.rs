//! Where in a process's output something happened.
//!
//! A pipe carries bytes and no moments. Whoever knows that a job begins or ends asks, at that moment, how many bytes the process has
//! written so far: those that were read, and those that are still in the pipe. What a worker wrote before its result is in the pipe
//! before its result is in the socket, and it writes nothing of its next job before it has got that. So the count is exact, however
//! far the thread that reads is behind, as long as the mark is set before the job is sent.

use std::collections::VecDeque;
use std::fmt::{self, Debug};
use std::io;
use std::os::fd::AsFd as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tokio::net::unix::pipe::Receiver;

use super::index::What;
use crate::jobs::Outcome;
use crate::sys::pipe;
use crate::sys::siphon::Siphon;

/// The marks of one process, in all of its pipes. A copy is another handle of the same.
#[derive(Clone)]
pub struct Marks(Arc<[Arc<Stream>]>);

/// One pipe: how far it has been read, and what happened in what has not been.
pub(super) struct Stream(Mutex<State>);

struct State {
    /// Gone once nobody reads it any more.
    pipe: Weak<Receiver>,
    /// How many bytes have been read.
    read: u64,
    /// In the order of the stream.
    waiting: VecDeque<Mark>,
}

/// How far a pipe has been read, for another program to go on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct StreamState {
    read: u64,
    waiting: VecDeque<Mark>,
}

/// Something that happened after so many bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Mark {
    pub(super) after: u64,
    pub(super) time: SystemTime,
    pub(super) what: What,
}

impl Marks {
    pub(super) fn new(streams: Vec<Arc<Stream>>) -> Marks {
        Marks(streams.into())
    }

    /// The process is given a job. To be called before the job is sent.
    pub fn begin(&self, handle: &[u8]) {
        self.set(What::Begin {
            job: String::from_utf8_lossy(handle).into_owned(),
        });
    }

    /// The process has had a job for longer than it may.
    pub fn overdue(&self, handle: &[u8]) {
        self.set(What::Overdue {
            job: String::from_utf8_lossy(handle).into_owned(),
        });
    }

    /// The process has a job no longer.
    pub fn end(&self, handle: &[u8], outcome: Outcome) {
        self.set(What::End {
            job: String::from_utf8_lossy(handle).into_owned(),
            outcome: Some(outcome),
        });
    }

    /// The process is asked to stop with a signal.
    pub fn stop(&self, signal: &str) {
        self.set(What::Stop {
            signal: signal.to_owned(),
        });
    }

    fn set(&self, what: What) {
        let time = SystemTime::now();
        for stream in &*self.0 {
            stream.set(time, what.clone());
        }
    }
}

impl Debug for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Marks").field(&self.0.len()).finish()
    }
}

impl Stream {
    pub(super) fn new(pipe: &Arc<Receiver>) -> Arc<Stream> {
        let nothing = StreamState {
            read: 0,
            waiting: VecDeque::new(),
        };
        Stream::resumed(pipe, nothing)
    }

    /// One that goes on where another stopped.
    pub(super) fn resumed(pipe: &Arc<Receiver>, state: StreamState) -> Arc<Stream> {
        let StreamState { read, waiting } = state;
        Arc::new(Stream(Mutex::new(State {
            pipe: Arc::downgrade(pipe),
            read,
            waiting,
        })))
    }

    /// Where it stands.
    pub(super) fn state(&self) -> StreamState {
        let state = self.lock();
        StreamState {
            read: state.read,
            waiting: state.waiting.clone(),
        }
    }

    fn set(&self, time: SystemTime, what: What) {
        let mut state = self.lock();
        let after = state.written();
        // A job in which nothing was written leaves no trace: so what waits here is never more than the jobs in hand.
        if let What::End { job, .. } = &what {
            let begun = state
                .waiting
                .iter()
                .rposition(|mark| matches!(&mark.what, What::Begin { job: begun } if begun == job));
            if let Some(begun) = begun.filter(|&begun| state.waiting[begun].after == after) {
                state.waiting.remove(begun);
                return;
            }
        }
        state.waiting.push_back(Mark { after, time, what });
    }

    /// Reads what the pipe has, and takes the marks that fall into it. Returns how many bytes were read before, and now. A mark at
    /// their very end is left for what comes after it.
    ///
    /// The lock is held while the bytes are copied, so that no mark counts them twice or not at all; the disk is not waited for.
    pub(super) fn read(
        &self,
        pipe: &Receiver,
        buffer: &mut [u8],
        marks: &mut Vec<Mark>,
    ) -> io::Result<(u64, usize)> {
        let mut state = self.lock();
        let length = pipe.try_read(buffer)?;
        let before = state.read;
        state.read += length as u64;
        while let Some(mark) = state.waiting.front()
            && mark.after < state.read
        {
            marks.extend(state.waiting.pop_front());
        }
        Ok((before, length))
    }

    /// Takes what the pipe has, `most` bytes at most, without a look at it. Returns how many bytes were taken before, and now. `None` when
    /// something has happened in what would be taken, or nothing is there.
    pub(super) fn siphon(
        &self,
        pipe: &Receiver,
        siphon: &Siphon,
        most: usize,
    ) -> Option<(u64, usize)> {
        let mut state = self.lock();
        let before = state.read;
        if state
            .waiting
            .front()
            .is_some_and(|mark| mark.after < before + most as u64)
        {
            return None;
        }
        let length = siphon.fill(pipe.as_fd(), most).ok()?;
        state.read += length as u64;
        (length > 0).then_some((before, length))
    }

    /// All marks that are left, once nothing more is read.
    pub(super) fn rest(&self) -> VecDeque<Mark> {
        std::mem::take(&mut self.lock().waiting)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// How many bytes the process has written.
    fn written(&self) -> u64 {
        let waiting = self
            .pipe
            .upgrade()
            .map_or(0, |it| pipe::waiting(it.as_fd()));
        self.read + waiting as u64
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[tokio::test]
    async fn a_mark_stands_between_what_was_written_before_and_after() {
        let (reader, mut writer) = io::pipe().unwrap();
        let pipe = Arc::new(Receiver::from_owned_fd(reader.into()).unwrap());
        let stream = Stream::new(&pipe);
        let marks = Marks::new(vec![Arc::clone(&stream)]);
        let mut buffer = [0; 4];
        let mut found = Vec::new();
        writer.write_all(b"one").unwrap();
        marks.begin(b"H:1");
        writer.write_all(b"two").unwrap();
        marks.end(b"H:1", Outcome::Complete);
        // in which nothing is written
        marks.begin(b"H:2");
        marks.end(b"H:2", Outcome::Fail);
        pipe.readable().await.unwrap();
        assert_eq!(stream.read(&pipe, &mut buffer, &mut found).unwrap(), (0, 4));
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].after, &found[0].what),
            (
                3,
                &What::Begin {
                    job: "H:1".to_owned()
                }
            )
        );
        assert_eq!(stream.read(&pipe, &mut buffer, &mut found).unwrap(), (4, 2));
        assert_eq!(found.len(), 1, "the end may still be followed by nothing");
        let rest = stream.rest();
        assert_eq!(rest.len(), 1);
        assert_eq!(
            (rest[0].after, &rest[0].what),
            (
                6,
                &What::End {
                    job: "H:1".to_owned(),
                    outcome: Some(Outcome::Complete),
                }
            )
        );
    }
}
