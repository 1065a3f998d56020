//! The state folder and its lock: one daemon a folder.
//!
//! The lock is flock(2), which the system drops with the process however it ends: a file left behind by a crash locks nobody out.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::mkdtemp;

use super::reason;

/// The locked state folder. Dropping it unlocks.
#[derive(Debug)]
pub struct StateFolder {
    path: PathBuf,
    is_temporary: bool,
    lock: File,
}

/// Why the state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// It cannot be created, or nothing can be created in it.
    #[error(
        "state folder {} cannot be written: {}; set server.state_dir or --state-dir",
        path.display(),
        reason(error)
    )]
    Unwritable {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
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
        let unwritable = |error| LockError::Unwritable {
            path: path.to_owned(),
            error,
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
            Err(TryLockError::Error(error)) => return Err(unwritable(error)),
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(unwritable)?;
        Ok(StateFolder {
            path: path.to_owned(),
            is_temporary: false,
            lock: file,
        })
    }

    /// A folder for this process alone, which goes with the value: for a server that needs one for little more than its control socket
    /// and has nowhere to put it.
    ///
    /// # Errors
    /// [`LockError`], when there is no room for temporary files either.
    pub fn temporary() -> Result<StateFolder, LockError> {
        let template = std::env::temp_dir().join("gearpool.XXXXXX");
        let path = mkdtemp(&template).map_err(|errno| LockError::Unwritable {
            path: template,
            error: errno.into(),
        })?;
        let mut folder = StateFolder::lock(&path)?;
        folder.is_temporary = true;
        Ok(folder)
    }

    /// The folder that the program before this one in this process has locked, by its open lock.
    pub fn adopt(path: PathBuf, lock: OwnedFd, is_temporary: bool) -> StateFolder {
        StateFolder {
            path,
            is_temporary,
            lock: lock.into(),
        }
    }

    /// The number of the lock's descriptor.
    pub fn descriptor(&self) -> RawFd {
        self.lock.as_raw_fd()
    }

    /// Whether it goes with the value.
    pub fn is_temporary(&self) -> bool {
        self.is_temporary
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for StateFolder {
    fn drop(&mut self) {
        if self.is_temporary {
            // somebody may have tidied up before us
            let _ = std::fs::remove_dir_all(&self.path);
        }
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
    fn a_temporary_one_goes_with_its_holder() {
        let folder = StateFolder::temporary().unwrap();
        let path = folder.path().to_owned();
        assert!(path.join("lock").is_file());
        assert!(StateFolder::lock(&path).is_err());
        drop(folder);
        assert!(!path.exists());
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
