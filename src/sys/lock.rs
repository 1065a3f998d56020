//! The state folder and its lock: one daemon a folder.
//!
//! The lock is flock(2), which the system drops with the process however it ends: a file left behind by a crash locks nobody out.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::reason;

/// The locked state folder. Dropping it unlocks.
#[derive(Debug)]
pub struct StateFolder {
    path: PathBuf,
    _lock: File,
}

/// Why the state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// It cannot be created, or nothing can be created in it.
    #[error(
        "state folder {} cannot be written: {}; set server.state_dir or --state-dir",
        path.display(),
        reason(source)
    )]
    Unwritable {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another daemon has it.
    #[error(
        "another gearpool{} uses the state folder {}",
        pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default(),
        path.display()
    )]
    Taken {
        /// The folder.
        path: PathBuf,
        /// The other daemon, if it has already written its number.
        pid: Option<u32>,
    },
}

impl StateFolder {
    /// Creates the folder where it is missing (mode 0750: the workers' output may hold secrets) and locks it for this process.
    ///
    /// # Errors
    /// [`LockError`], each naming the folder.
    pub fn lock(path: &Path) -> Result<StateFolder, LockError> {
        let unwritable = |source| LockError::Unwritable {
            path: path.to_owned(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(path)
            .map_err(unwritable)?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o640)
            .open(path.join("lock"))
            .map_err(unwritable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // The number only helps the reader of the message, which stands without it.
                let _ = file.read_to_string(&mut pid);
                return Err(LockError::Taken {
                    path: path.to_owned(),
                    pid: pid.trim().parse().ok(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(unwritable(source)),
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(unwritable)?;
        Ok(StateFolder {
            path: path.to_owned(),
            _lock: file,
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn one_holder_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        let held = StateFolder::lock(&path).unwrap();
        let own = std::process::id();
        assert_eq!(
            StateFolder::lock(&path).unwrap_err().to_string(),
            format!(
                "another gearpool (pid {own}) uses the state folder {}",
                path.display()
            )
        );
        drop(held);
        fs::write(path.join("lock"), "99999999999 left by a crash").unwrap();
        assert_eq!(StateFolder::lock(&path).unwrap().path(), path);
        assert_eq!(
            fs::read_to_string(path.join("lock")).unwrap(),
            format!("{own}\n")
        );
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        assert_eq!(
            StateFolder::lock(Path::new("/proc/self/gearpool"))
                .unwrap_err()
                .to_string(),
            "state folder /proc/self/gearpool cannot be written: no such file or directory; \
             set server.state_dir or --state-dir"
        );
    }
}
