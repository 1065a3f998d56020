//! The processes that are started: what they are, and what they tell of themselves.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use nix::time::{ClockId, clock_gettime};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a process told: when it was, by the clock that all processes share.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record {
    pub(crate) pid: i32,
    pub(crate) what: What,
    pub(crate) at: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Begun,
    Registered,
}

/// The moment, by the clock of [`Record::at`].
pub(crate) fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap().into()
}

/// Builds the worker in C.
pub(crate) fn build(folder: &Path) -> PathBuf {
    let program = folder.join("worker");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/manager/worker.c");
    let built = Command::new("cc")
        .args(["-O2", "-static", "-o"])
        .arg(&program)
        .arg(source)
        .status();
    assert!(
        built.is_ok_and(|status| status.success()),
        "no C compiler that links statically: Debian: apt install gcc libc6-dev"
    );
    program
}

/// The pipe that the processes of one daemon tell on.
pub(crate) struct Told {
    records: Receiver<Record>,
}

impl Told {
    pub(crate) fn on(fifo: &Path) -> Told {
        nix::unistd::mkfifo(fifo, Mode::S_IRWXU).unwrap();
        // With a writer of its own, so that it does not end between two processes.
        let mut pipe = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(fifo)
            .unwrap();
        let (sender, records) = mpsc::channel();
        std::thread::spawn(move || {
            let mut record = [0; 16];
            while pipe.read_exact(&mut record).is_ok() {
                let number = |at: usize| i32::from_ne_bytes(record[at..at + 4].try_into().unwrap());
                let nanos = u64::from_ne_bytes(record[8..].try_into().unwrap());
                let record = Record {
                    pid: number(0),
                    what: match number(4) {
                        0 => What::Begun,
                        _ => What::Registered,
                    },
                    at: Duration::from_nanos(nanos),
                };
                if sender.send(record).is_err() {
                    return;
                }
            }
        });
        Told { records }
    }

    /// The next `count` that something has happened to, in the order told.
    pub(crate) fn take(&self, what: What, count: usize) -> Vec<Record> {
        let give_up = Instant::now() + PATIENCE;
        let mut taken = Vec::new();
        while taken.len() < count {
            let left = give_up.saturating_duration_since(Instant::now());
            let record = self.records.recv_timeout(left).unwrap_or_else(|_| {
                panic!("{} of {count} processes are {what:?}, no more", taken.len())
            });
            if record.what == what {
                taken.push(record);
            }
        }
        taken
    }

    /// Forgets what was told so far.
    pub(crate) fn forget(&self) {
        while self.records.try_recv().is_ok() {}
    }
}
