//! One pipe of a process, read to its end.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::net::unix::pipe::Receiver;
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep, timeout_at};

use super::file::{FileState, Place, Shared, SlotFile};
use super::index::{Exit, What};
use super::layout::{About, Layout};
use super::marks::{Mark, Stream, StreamState};
use super::tail::{self, Tail};
use crate::config::Log;
use crate::sys::pipe;
use crate::sys::siphon::Siphon;

/// How long a pipe is still read after its process has been reaped. What the process itself wrote is there at once; a grandchild may
/// hold the pipe open for ever.
const AFTER_THE_END: Duration = Duration::from_millis(500);

/// What is read at once, at most. More than this is slower: it is out of the processor's cache before it has been written.
pub(super) const BUFFER: usize = 256 << 10;

/// What a pipe holds by itself on Linux, pipe(7). One that is found that full has a writer who waits for us.
const USUAL: usize = 64 << 10;

/// What such a pipe is made to hold: each turn then takes several times as much. With more than this it is out of the processor's cache
/// before it has been written, and only for those that need it: an ordinary user may have 64 MiB in pipes altogether.
const LOUD: i32 = 256 << 10;

/// How often one pipe is read before the others get their turn.
const READS_A_TURN: u32 = 8;

/// A pipe into which little comes all the time, a line a write, is left alone for so long: to wake for each line costs several times
/// what writing it does. Not if it may be half full by then, for nobody is to wait for us.
const PAUSE: Duration = Duration::from_millis(1);

/// A pipe to be read.
pub(super) struct Order {
    pub(super) place: Place,
    pub(super) config: Log,
    pub(super) about: About,
    pub(super) pipe: Arc<Receiver>,
    pub(super) stream: Arc<Stream>,
    pub(super) begin: Begin,
    pub(super) ended: oneshot::Receiver<Ended>,
}

/// Where reading begins.
pub(super) enum Begin {
    /// With a new process.
    Process,
    /// Where another program in this process's place stopped.
    Resumed(Box<Read>),
}

/// What was read of a pipe and is not, or not only, in its log: what another program needs to go on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Read {
    file: FileState,
    layout: Layout,
    tail: Tail,
    is_loud: bool,
    holds: usize,
}

/// A pipe as it stands, for another program to go on with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PipeState {
    /// The pipe, by its number.
    pub(super) descriptor: RawFd,
    pub(super) place: Place,
    pub(super) config: Log,
    pub(super) about: About,
    pub(super) stream: StreamState,
    pub(super) read: Read,
}

impl PipeState {
    /// The process at its other end.
    pub fn pid(&self) -> u32 {
        self.about.pid
    }

    /// The pipe, by its number.
    pub fn descriptor(&self) -> RawFd {
        self.descriptor
    }
}

/// How the process has ended, and where its last lines go.
pub(super) type Ended = (Exit, oneshot::Sender<Vec<String>>);

/// What all pipes share: filled and emptied without a pause in between.
pub(super) struct Buffers {
    bytes: Vec<u8>,
    marks: Vec<Mark>,
    /// From the first loud pipe on.
    siphon: Option<Siphon>,
}

impl Buffers {
    pub(super) fn new() -> Buffers {
        Buffers {
            bytes: vec![0; BUFFER],
            marks: Vec::new(),
            siphon: None,
        }
    }
}

/// A process's pipe and where it goes.
pub(super) struct Pipe {
    about: About,
    pipe: Arc<Receiver>,
    stream: Arc<Stream>,
    file: SlotFile,
    layout: Layout,
    tail: Tail,
    buffers: Rc<RefCell<Buffers>>,
    is_loud: bool,
    /// How much the pipe holds.
    holds: usize,
    /// Whether its bytes may be passed on without being looked at, as far as the file is concerned.
    may_siphon: bool,
    /// Whether some were since the tail has seen any.
    has_siphoned: bool,
    /// How many bytes have come since the last look at the clock, and when that was.
    came: usize,
    looked: Instant,
}

/// What a turn of reading came to.
enum Turn {
    /// There may be more.
    Read,
    /// There is nothing now.
    Empty,
    /// There will be no more.
    Over,
}

/// Reads a pipe until it is over.
pub(super) async fn follow(it: Rc<RefCell<Pipe>>, mut ended: oneshot::Receiver<Ended>) {
    let asked = tokio::select! {
        // First, so that a grandchild that never stops writing does not keep it from being heard.
        biased;
        asked = &mut ended => {
            if asked.is_ok() {
                let limit = Instant::now() + AFTER_THE_END;
                let _ = timeout_at(limit, read_until_over(&it)).await;
            } else {
                read_until_over(&it).await;
            }
            asked
        }
        () = read_until_over(&it) => ended.await,
    };
    it.borrow_mut().end(asked.ok());
}

/// Cancel safe: it pauses only between a write and the next read. Nothing is borrowed in a pause.
async fn read_until_over(it: &RefCell<Pipe>) {
    let pipe = Arc::clone(&it.borrow().pipe);
    loop {
        let turn = it.borrow_mut().read_a_turn();
        match turn {
            Turn::Read => yield_now().await,
            Turn::Empty if it.borrow_mut().is_dribbling() => sleep(PAUSE).await,
            Turn::Empty if pipe.readable().await.is_ok() => {}
            Turn::Empty | Turn::Over => return,
        }
    }
}

impl Pipe {
    /// Opens the file.
    pub(super) fn open(
        order: Order,
        buffers: Rc<RefCell<Buffers>>,
        shared: Shared,
    ) -> (Pipe, oneshot::Receiver<Ended>) {
        let Order {
            place,
            config,
            about,
            pipe,
            stream,
            begin,
            ended,
        } = order;
        let read = match begin {
            Begin::Process => {
                let mut file = SlotFile::open(place, config.clone(), shared);
                file.note(SystemTime::now(), What::Start { pid: about.pid });
                let layout = Layout::new(&config, about.clone());
                (file, layout, Tail::default(), false, USUAL)
            }
            Begin::Resumed(read) => {
                let Read {
                    file,
                    layout,
                    tail,
                    is_loud,
                    holds,
                } = *read;
                let file = SlotFile::resume(place, config, shared, file);
                (file, layout, tail, is_loud, holds)
            }
        };
        let (file, layout, tail, is_loud, holds) = read;
        let pipe = Pipe {
            about,
            pipe,
            stream,
            file,
            layout,
            tail,
            buffers,
            is_loud,
            holds,
            may_siphon: true,
            has_siphoned: false,
            came: 0,
            looked: Instant::now(),
        };
        (pipe, ended)
    }

    /// Where it stands.
    pub(super) fn state(&self) -> PipeState {
        let Pipe {
            about,
            pipe,
            stream,
            file,
            layout,
            tail,
            // empty between two turns
            buffers: _,
            is_loud,
            holds,
            // found out again
            may_siphon: _,
            // false between two turns
            has_siphoned: _,
            came: _,
            looked: _,
        } = self;
        PipeState {
            descriptor: pipe.as_fd().as_raw_fd(),
            place: file.place().clone(),
            config: file.config().clone(),
            about: about.clone(),
            stream: stream.state(),
            read: Read {
                file: file.state(),
                layout: layout.clone(),
                tail: tail.clone(),
                is_loud: *is_loud,
                holds: *holds,
            },
        }
    }

    /// Whether little comes, again and again.
    fn is_dribbling(&mut self) -> bool {
        let now = Instant::now();
        let passed = now - std::mem::replace(&mut self.looked, now);
        let came = std::mem::take(&mut self.came);
        // a timer may be late by as much again
        let by_then = came as u128 * (3 * PAUSE).as_nanos() / passed.as_nanos().max(1);
        if came == 0 || passed >= 3 * PAUSE {
            return false;
        }
        if by_then >= self.holds as u128 / 2 {
            self.enlarge();
        }
        by_then < self.holds as u128 / 2
    }

    fn enlarge(&mut self) {
        if !std::mem::replace(&mut self.is_loud, true) {
            // where it cannot be, its writer waits more often
            self.holds = pipe::enlarge(self.pipe.as_fd(), LOUD).unwrap_or(USUAL);
        }
    }

    fn read_a_turn(&mut self) -> Turn {
        let buffers = Rc::clone(&self.buffers);
        let mut buffers = buffers.borrow_mut();
        let turn = self.read_some(&mut buffers);
        self.catch_up(&mut buffers.bytes);
        turn
    }

    fn read_some(&mut self, buffers: &mut Buffers) -> Turn {
        for _ in 0..READS_A_TURN {
            if self.is_loud && self.may_siphon && self.siphon(buffers) {
                continue;
            }
            let Buffers { bytes, marks, .. } = buffers;
            self.catch_up(bytes);
            match self.stream.read(&self.pipe, bytes, marks) {
                Ok((_, 0)) => return Turn::Over,
                Ok((before, length)) => {
                    self.came += length;
                    self.take(&bytes[..length], before, marks);
                    if length >= USUAL {
                        self.enlarge();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Turn::Empty,
                Err(_) => return Turn::Over,
            }
        }
        Turn::Read
    }

    /// Passes on what is in the pipe without looking at it, where nothing is to be done about it: it is much, it fits into the file, its
    /// lines are written as they come and nothing has happened in between. Returns whether there was such.
    fn siphon(&mut self, buffers: &mut Buffers) -> bool {
        if pipe::waiting(self.pipe.as_fd()) < USUAL {
            return false;
        }
        self.file.look();
        let (Some(file), Some(line)) = (self.file.room(), self.layout.room()) else {
            return false;
        };
        // the last line is begun at least: there is to be room for its end
        let most = file.saturating_sub(USUAL).min(line).min(BUFFER);
        if most < USUAL {
            return false;
        }
        if buffers.siphon.is_none() {
            buffers.siphon = Siphon::new(LOUD).ok();
        }
        let Some(siphon) = &mut buffers.siphon else {
            return false;
        };
        let Some((before, length)) = self.stream.siphon(&self.pipe, siphon, most) else {
            return false;
        };
        let (poured, result) = self.file.pour(siphon, length);
        self.has_siphoned = true;
        self.came += length;
        self.layout.pass(poured, self.file.last_line(poured));
        if result.is_err() {
            self.may_siphon = false;
            let left = &mut buffers.bytes[..length - poured];
            // It is there, in memory of ours.
            if siphon.rest(left).is_ok() {
                self.catch_up(&mut []);
                self.take(left, before + poured as u64, &mut buffers.marks);
            }
        }
        true
    }

    /// Shows the tail the end of what was passed on without looking.
    fn catch_up(&mut self, buffer: &mut [u8]) {
        if std::mem::take(&mut self.has_siphoned) {
            self.tail.skip();
            let length = tail::KEPT.min(buffer.len());
            let end = &mut buffer[..length];
            if self.file.read_end(end).is_ok() {
                self.tail.push(end);
            }
        }
    }

    /// Writes what was read after `before` bytes, and the marks where they belong.
    fn take(&mut self, chunk: &[u8], before: u64, marks: &mut Vec<Mark>) {
        let now = SystemTime::now();
        self.file.look();
        let mut done = 0;
        for mark in marks.drain(..) {
            let at = usize::try_from(mark.after.saturating_sub(before)).unwrap_or(usize::MAX);
            let at = at.clamp(done, chunk.len());
            self.write(&chunk[done..at], now);
            self.note(mark);
            done = at;
        }
        self.write(&chunk[done..], now);
        self.tail.push(chunk);
    }

    fn write(&mut self, chunk: &[u8], now: SystemTime) {
        if !chunk.is_empty() {
            let job = self.file.index().job().map(str::to_owned);
            let file = &mut self.file;
            let append = |bytes: &[u8]| file.append(bytes);
            self.layout.lay_out(chunk, now, job.as_deref(), append);
        }
    }

    fn note(&mut self, mark: Mark) {
        self.finish_line(mark.time);
        self.file.note(mark.time, mark.what);
    }

    fn finish_line(&mut self, now: SystemTime) {
        let line = self.layout.finish(now, self.file.index().job());
        self.file.append(&line);
    }

    fn end(&mut self, ended: Option<Ended>) {
        for mark in self.stream.rest() {
            self.note(mark);
        }
        let now = SystemTime::now();
        self.finish_line(now);
        if let Some((exit, lines)) = ended {
            self.file.note(now, What::Exit(exit));
            // Whoever asked may have gone.
            let _ = lines.send(self.tail.lines());
        }
    }
}
