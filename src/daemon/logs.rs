//! The workers' output: from their pipes into one file a slot, rotated by size.
//!
//! All of it happens on one thread of its own, whose writes wait for the disk. A slow disk so fills the pipes and slows the workers,
//! and never the job server, which is on other threads. What a worker wrote is written as it was read, in the order read, and memory
//! stays the same however much that is: one buffer for all, and the last lines of each.
//!
//! A disk that is full or gone does not stop the workers: their output is then dropped, counted, and this is told once.

mod file;
mod tail;

use std::cell::RefCell;
use std::fs::DirBuilder;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use tokio::net::unix::pipe::Receiver;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinSet, LocalSet, yield_now};
use tokio::time::{Instant, timeout_at};

use self::file::SlotFile;
use self::tail::Tail;
use crate::config::Log;

/// How long a pipe is still read after its process has been reaped. What the process itself wrote is there at once; a grandchild may
/// hold the pipe open for ever.
const AFTER_THE_END: Duration = Duration::from_millis(500);

/// What is read at once, at most: more than a pipe holds.
const BUFFER: usize = 256 << 10;

/// How often one pipe is read before the others get their turn.
const READS_A_TURN: u32 = 8;

/// The thread that writes the logs. A copy is another handle of the same thread.
#[derive(Clone, Debug)]
pub struct Logs {
    folder: Arc<Path>,
    orders: mpsc::UnboundedSender<Order>,
    dropped: Arc<AtomicU64>,
}

/// The output of one process, being written.
#[derive(Debug)]
pub struct Capture {
    ended: oneshot::Sender<Ended>,
}

/// Where the last lines go once the process has ended.
type Ended = oneshot::Sender<Vec<String>>;

/// A pipe to be read.
#[derive(Debug)]
struct Order {
    path: PathBuf,
    config: Log,
    output: OwnedFd,
    ended: oneshot::Receiver<Ended>,
}

/// The log file of a slot. A pool's name is a folder: what would make it another one is written as in a URL.
pub fn log_file(folder: &Path, pool: &str, slot: u32) -> PathBuf {
    let mut name = pool
        .replace('%', "%25")
        .replace('/', "%2F")
        .replace('\0', "%00");
    if name.starts_with('.') {
        name.replace_range(..1, "%2E");
    }
    folder.join(name).join(format!("{slot}.log"))
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
        let dropped = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&dropped);
        thread::Builder::new()
            .name("gearpool-logs".to_owned())
            .spawn(move || LocalSet::new().block_on(&runtime, serve(inbox, counter)))?;
        Ok(Logs {
            folder: Arc::from(folder),
            orders,
            dropped,
        })
    }

    /// Writes what comes out of `output`, a non-blocking pipe, into the slot's file. No two processes have the same slot at the same
    /// time; the next one goes on in the same file.
    pub fn capture(&self, pool: &str, slot: u32, config: Log, output: OwnedFd) -> Capture {
        let (ended, asked) = oneshot::channel();
        let order = Order {
            path: log_file(&self.folder, pool, slot),
            config,
            output,
            ended: asked,
        };
        // The thread lives as long as this handle. Should it have panicked, the pipe is closed here and the worker notices.
        let _ = self.orders.send(order);
        Capture { ended }
    }

    /// The folder of the logs.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// How many bytes of output were dropped, because they could not be written, since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

impl Capture {
    /// The process has been reaped: takes what is left in the pipe, for half a second at most, closes it, and returns the last lines
    /// that the process wrote, 20 at most. A capture that is dropped instead is read until the pipe ends.
    pub async fn ended(self) -> Vec<String> {
        let (answer, lines) = oneshot::channel();
        match self.ended.send(answer) {
            Ok(()) => lines.await.unwrap_or_default(),
            Err(_) => Vec::new(),
        }
    }
}

/// The thread: a task for each pipe.
async fn serve(mut inbox: mpsc::UnboundedReceiver<Order>, dropped: Arc<AtomicU64>) {
    let buffer = Rc::new(RefCell::new(vec![0; BUFFER]));
    let mut pipes = JoinSet::new();
    loop {
        tokio::select! {
            order = inbox.recv() => match order {
                Some(order) => {
                    let (buffer, dropped) = (Rc::clone(&buffer), Arc::clone(&dropped));
                    pipes.spawn_local(async move { Pipe::follow(order, buffer, dropped).await });
                }
                None => break,
            },
            Some(_) = pipes.join_next() => {}
        }
    }
    while pipes.join_next().await.is_some() {}
}

/// A process's pipe and where it goes.
struct Pipe {
    output: Receiver,
    file: SlotFile,
    tail: Tail,
    /// Shared with all other pipes: filled and emptied without a pause in between.
    buffer: Rc<RefCell<Vec<u8>>>,
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

impl Pipe {
    async fn follow(order: Order, buffer: Rc<RefCell<Vec<u8>>>, dropped: Arc<AtomicU64>) {
        let Order {
            path,
            config,
            output,
            mut ended,
        } = order;
        let output = match Receiver::from_owned_fd(output) {
            Ok(output) => output,
            Err(error) => {
                let path = path.display();
                tracing::error!(%path, %error, "a worker's output cannot be read");
                return;
            }
        };
        let mut pipe = Pipe {
            output,
            file: SlotFile::open(path, config, dropped),
            tail: Tail::default(),
            buffer,
        };
        let asked = tokio::select! {
            // First, so that a grandchild that never stops writing does not keep it from being heard.
            biased;
            asked = &mut ended => {
                if asked.is_ok() {
                    let limit = Instant::now() + AFTER_THE_END;
                    let _ = timeout_at(limit, pipe.read_until_over()).await;
                } else {
                    pipe.read_until_over().await;
                }
                asked
            }
            () = pipe.read_until_over() => ended.await,
        };
        if let Ok(asked) = asked {
            let _ = asked.send(pipe.tail.lines());
        }
    }

    /// Cancel safe: it pauses only between a write and the next read.
    async fn read_until_over(&mut self) {
        loop {
            match self.read_a_turn() {
                Turn::Read => yield_now().await,
                Turn::Empty if self.output.readable().await.is_ok() => {}
                Turn::Empty | Turn::Over => return,
            }
        }
    }

    fn read_a_turn(&mut self) -> Turn {
        let mut buffer = self.buffer.borrow_mut();
        for _ in 0..READS_A_TURN {
            match self.output.try_read(&mut buffer) {
                Ok(0) => return Turn::Over,
                Ok(length) => {
                    let chunk = &buffer[..length];
                    self.file.write(chunk, SystemTime::now());
                    self.tail.push(chunk);
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return Turn::Empty,
                    io::ErrorKind::Interrupted => {}
                    _ => return Turn::Over,
                },
            }
        }
        Turn::Read
    }
}
