//! Rotated logs are compressed on a thread of their own, behind everything else that the machine has to do.
//!
//! The thread that writes only leaves a word, once a log however often that is rotated meanwhile. A log that is rotated faster than
//! this thread compresses loses its oldest files as always, compressed or not. Renaming is the one thing that both threads do: under
//! one lock, which is never held while anything is compressed.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::names::{being_compressed, compressed, older};
use crate::sys::priority;

/// The thread. A copy is another handle of it.
#[derive(Clone, Debug)]
pub(super) struct Gzip {
    orders: mpsc::Sender<PathBuf>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// The logs that the thread has been told of and has not begun with.
    told: Mutex<HashSet<PathBuf>>,
    /// Held while files get other names.
    names: Mutex<()>,
}

impl Gzip {
    /// # Errors
    /// No thread.
    pub(super) fn start() -> io::Result<Gzip> {
        let (orders, inbox) = mpsc::channel::<PathBuf>();
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        thread::Builder::new()
            .name("gearpool-gzip".to_owned())
            .spawn(move || {
                priority::step_back();
                for log in inbox {
                    lock(&of_thread.told).remove(&log);
                    if let Err(error) = of_thread.compress_older(&log) {
                        let path = log.display();
                        tracing::warn!(%path, %error, "a rotated log cannot be compressed, it stays as it is");
                    }
                }
            })?;
        Ok(Gzip { orders, shared })
    }

    /// This log has older files that are to be compressed.
    pub(super) fn compress(&self, log: &Path) {
        if lock(&self.shared.told).insert(log.to_owned()) {
            // The thread lives as long as this handle.
            let _ = self.orders.send(log.to_owned());
        }
    }

    /// To be held while a log's files get other names.
    pub(super) fn names(&self) -> MutexGuard<'_, ()> {
        lock(&self.shared.names)
    }
}

impl Shared {
    /// The youngest first: it stays longest.
    fn compress_older(&self, log: &Path) -> io::Result<()> {
        let mut age = 1;
        loop {
            let file = older(log, age);
            match File::open(&file) {
                Ok(opened) => {
                    self.compress(log, &opened)?;
                    // There may have been rotations meanwhile.
                    age = 1;
                }
                Err(_) if compressed(&file).exists() => age += 1,
                Err(_) => return Ok(()),
            }
        }
    }

    fn compress(&self, log: &Path, file: &File) -> io::Result<()> {
        let new = being_compressed(log);
        let written = write(file, &new);
        // It has another name by now, or none.
        let metadata = file.metadata()?;
        let _names = lock(&self.names);
        let is_it = |path: &PathBuf| {
            fs::metadata(path)
                .is_ok_and(|it| (it.dev(), it.ino()) == (metadata.dev(), metadata.ino()))
        };
        let there = |path: &PathBuf| path.exists() || compressed(path).exists();
        let mut names = (1..).map(|age| older(log, age)).take_while(there);
        match (written, names.find(is_it)) {
            (Ok(()), Some(name)) => {
                fs::rename(&new, compressed(&name))?;
                fs::remove_file(&name)
            }
            (written, _) => {
                let _ = fs::remove_file(&new);
                written
            }
        }
    }
}

fn write(file: &File, new: &Path) -> io::Result<()> {
    let metadata = file.metadata()?;
    let target = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(metadata.mode() & 0o777)
        .open(new)?;
    // The fastest setting: log lines shrink to a tenth with it, and the others take several times as long for a little more.
    let mut encoder = GzEncoder::new(BufWriter::new(target), Compression::fast());
    io::copy(&mut BufReader::with_capacity(64 << 10, file), &mut encoder)?;
    let mut target = encoder.finish()?;
    target.flush()?;
    // By which the files of a log are told apart when one has lost its name.
    target.get_ref().set_modified(metadata.modified()?)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
