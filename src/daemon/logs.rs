//! The workers' output: from their pipes into one file a slot, rotated by size.
//!
//! All of it happens on one thread of its own, whose writes wait for the disk. A slow disk so fills the pipes and slows the workers,
//! and never the job server, which is on other threads. What a worker wrote is written as it was read, in the order read, and memory
//! stays the same however much that is: one buffer for all, and the last lines of each.
//!
//! Beside each log is an [`index`] of whose lines are where. What happens to a process and its jobs is set as [`Marks`] by those who
//! know of it, without waiting for this thread.
//!
//! A disk that is full or gone does not stop the workers: their output is then dropped, counted, and this is told once.

mod file;
mod gzip;
mod health;
pub mod index;
mod layout;
mod marks;
pub mod names;
mod older;
mod pipe;
pub(super) mod tail;

use std::cell::RefCell;
use std::fs::DirBuilder;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::net::unix::pipe::Receiver;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinSet, LocalSet};

use self::file::{Place, Shared};
use self::gzip::Gzip;
use self::health::Health;
use self::index::Exit;
use self::layout::About;
pub use self::marks::Marks;
use self::marks::Stream;
pub use self::names::log_file;
pub use self::pipe::PipeState;
use self::pipe::{Begin, Buffers, Ended, Order, Pipe};
use crate::config::{Log, Stderr};

/// The thread that writes the logs. A copy is another handle of the same thread.
#[derive(Clone, Debug)]
pub struct Logs {
    folder: Arc<Path>,
    orders: mpsc::UnboundedSender<Word>,
    /// The thread's runtime, which waits for the pipes.
    runtime: Handle,
    health: Arc<Health>,
}

/// What the thread is told.
enum Word {
    /// Read this pipe.
    Read(Order),
    /// Say how all of them stand, and then stand still until the other end of `until` is gone.
    Stop {
        states: std::sync::mpsc::Sender<Vec<PipeState>>,
        until: std::sync::mpsc::Receiver<()>,
    },
}

/// The thread stands still as long as this lives: no byte is read, and none is written.
#[derive(Debug)]
pub struct Stopped {
    /// How each pipe stands.
    pub pipes: Vec<PipeState>,
    _until: std::sync::mpsc::Sender<()>,
}

/// A process whose output is to be written.
#[derive(Debug)]
pub struct Source {
    /// Its pool.
    pub pool: String,
    /// Its slot. No two processes have the same one at the same time; the next goes on in the same file.
    pub slot: u32,
    /// Its id.
    pub pid: u32,
    /// What becomes of it.
    pub config: Log,
    /// The non-blocking pipe of its output.
    pub output: OwnedFd,
    /// The one of its standard error, where that is apart.
    pub errors: Option<OwnedFd>,
}

/// The output of one process, being written.
#[derive(Debug)]
pub struct Capture {
    marks: Marks,
    /// One for each pipe.
    ended: Vec<oneshot::Sender<Ended>>,
}

impl Logs {
    /// Creates the folder, where it is missing, and starts the thread. It ends when the last handle is gone and every pipe has ended.
    ///
    /// # Errors
    /// A folder that cannot be created, or no thread.
    pub fn start(folder: &Path) -> io::Result<Logs> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(folder)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()?;
        let (orders, inbox) = mpsc::unbounded_channel();
        let handle = runtime.handle().clone();
        let health = Arc::new(Health::default());
        let shared = Shared {
            health: Arc::clone(&health),
            gzip: Gzip::start()?,
        };
        thread::Builder::new()
            .name("gearpool-logs".to_owned())
            .spawn(move || LocalSet::new().block_on(&runtime, serve(inbox, shared)))?;
        Ok(Logs {
            folder: Arc::from(folder),
            orders,
            runtime: handle,
            health,
        })
    }

    /// Writes what comes out of a process's pipes.
    pub fn capture(&self, source: Source) -> Capture {
        let log = log_file(&self.folder, &source.pool, source.slot);
        let pattern = |pattern: &String| Log::path(pattern, &source.pool, source.slot);
        let own = source.config.file.as_ref().map(pattern);
        let errors_own = match &source.config.stderr {
            Stderr::File(path) => Some(pattern(path)),
            Stderr::Together | Stderr::Separate => own.as_deref().map(names::errors_beside),
        };
        let errors_log = names::errors_beside(&log);
        let name = if source.errors.is_some() {
            "stdout"
        } else {
            "output"
        };
        let pipes = [
            Some((name, log, own, source.output)),
            source
                .errors
                .map(|it| ("stderr", errors_log, errors_own, it)),
        ];
        let (mut streams, mut ends) = (Vec::new(), Vec::new());
        for (stream_name, log, own, pipe) in pipes.into_iter().flatten() {
            let place = match own {
                Some(own) => Place {
                    path: own,
                    link: Some(log),
                },
                None => Place {
                    path: log,
                    link: None,
                },
            };
            let about = About {
                pool: source.pool.clone(),
                slot: source.slot,
                pid: source.pid,
                stream: stream_name.to_owned(),
            };
            let Some(pipe) = self.wait_for(pipe, &place) else {
                continue;
            };
            let stream = Stream::new(&pipe);
            let (ended, asked) = oneshot::channel();
            streams.push(Arc::clone(&stream));
            ends.push(ended);
            // The thread lives as long as this handle. Should it have panicked, the pipe is closed here and the worker notices.
            let _ = self.orders.send(Word::Read(Order {
                place,
                config: source.config.clone(),
                about,
                pipe,
                stream,
                begin: Begin::Process,
                ended: asked,
            }));
        }
        Capture {
            marks: Marks::new(streams),
            ended: ends,
        }
    }

    /// Goes on with the pipes of a process where another program in this process's place stopped; each comes with its pipe.
    pub(super) fn resume(&self, pipes: Vec<(PipeState, OwnedFd)>) -> Capture {
        let (mut streams, mut ends) = (Vec::new(), Vec::new());
        for (state, pipe) in pipes {
            let PipeState {
                descriptor: _,
                place,
                config,
                about,
                stream,
                read,
            } = state;
            let Some(pipe) = self.wait_for(pipe, &place) else {
                continue;
            };
            let stream = Stream::resumed(&pipe, stream);
            let (ended, asked) = oneshot::channel();
            streams.push(Arc::clone(&stream));
            ends.push(ended);
            let _ = self.orders.send(Word::Read(Order {
                place,
                config,
                about,
                pipe,
                stream,
                begin: Begin::Resumed(Box::new(read)),
                ended: asked,
            }));
        }
        Capture {
            marks: Marks::new(streams),
            ended: ends,
        }
    }

    fn wait_for(&self, pipe: OwnedFd, place: &Place) -> Option<Arc<Receiver>> {
        let _runtime = self.runtime.enter();
        match Receiver::from_owned_fd(pipe) {
            Ok(pipe) => Some(Arc::new(pipe)),
            Err(error) => {
                let path = place.path.display();
                tracing::error!(%path, %error, "a worker's output cannot be read");
                None
            }
        }
    }

    /// Stops the thread, once it is done with what it is writing. `None` when that takes longer than `limit`; then it goes on.
    pub(super) fn stop(&self, limit: Duration) -> Option<Stopped> {
        let (states, stopped) = std::sync::mpsc::channel();
        let (goes_on, until) = std::sync::mpsc::channel();
        self.orders.send(Word::Stop { states, until }).ok()?;
        let pipes = stopped.recv_timeout(limit).ok()?;
        Some(Stopped {
            pipes,
            _until: goes_on,
        })
    }

    /// So many bytes of output were dropped before this program took another one's place.
    pub(super) fn dropped_before(&self, bytes: u64) {
        self.health.drops(bytes);
    }

    /// The folder of the logs.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// How many bytes of output were dropped, because they could not be written, since the start.
    pub fn dropped(&self) -> u64 {
        self.health.dropped()
    }

    /// How many log files cannot be written now.
    pub fn troubled(&self) -> u64 {
        self.health.troubled()
    }
}

impl Capture {
    /// Where what happens to the process is marked.
    pub fn marks(&self) -> Marks {
        self.marks.clone()
    }

    /// The process has been reaped: takes what is left in its pipes, for half a second at most, closes them, and returns the last lines
    /// that the process wrote, 20 at most; those of its standard error where that is apart and not empty. A capture that is dropped
    /// instead is read until the pipes end.
    pub async fn ended(self, exit: Exit) -> Vec<String> {
        let mut answers = Vec::new();
        for ended in self.ended {
            let (answer, lines) = oneshot::channel();
            if ended.send((exit.clone(), answer)).is_ok() {
                answers.push(lines);
            }
        }
        let mut last = Vec::new();
        for lines in answers {
            let lines = lines.await.unwrap_or_default();
            if !lines.is_empty() {
                last = lines;
            }
        }
        last
    }
}

/// The thread: a task for each pipe.
async fn serve(mut inbox: mpsc::UnboundedReceiver<Word>, shared: Shared) {
    let buffers = Rc::new(RefCell::new(Buffers::new()));
    let mut tasks = JoinSet::new();
    let mut pipes: Vec<Weak<RefCell<Pipe>>> = Vec::new();
    loop {
        tokio::select! {
            word = inbox.recv() => match word {
                Some(Word::Read(order)) => {
                    let (pipe, ended) = Pipe::open(order, Rc::clone(&buffers), shared.clone());
                    let pipe = Rc::new(RefCell::new(pipe));
                    pipes.retain(|pipe| pipe.strong_count() > 0);
                    pipes.push(Rc::downgrade(&pipe));
                    tasks.spawn_local(pipe::follow(pipe, ended));
                }
                Some(Word::Stop { states, until }) => {
                    let pipes = pipes.iter().filter_map(Weak::upgrade);
                    let _ = states.send(pipes.map(|pipe| pipe.borrow().state()).collect());
                    // all pipes wait meanwhile, and so do their writers once those are full
                    let _ = until.recv();
                }
                None => break,
            },
            Some(_) = tasks.join_next() => {}
        }
    }
    while tasks.join_next().await.is_some() {}
}
