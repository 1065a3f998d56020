//! The control socket as a file: who may open it, and what to do about one that is already there.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

use crate::daemon::paths;

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The state folder cannot be used.
    #[error("cannot create the state folder {path}: {source}; name another with --state-dir")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another daemon answers there.
    #[error(
        "a gearpool already runs with the state folder {0}; stop it, or name another with --state-dir"
    )]
    Running(PathBuf),
    /// Something is in the socket's place that this daemon did not put there.
    #[error("{0} is there and is no socket; move it away")]
    Occupied(PathBuf),
    /// The address of a Unix socket is short, unix(7).
    #[error(
        "the path {0} is longer than the 107 bytes that a socket's may have; name a shorter state folder with --state-dir"
    )]
    TooLong(PathBuf),
    /// Anything else.
    #[error("cannot listen on {path}: {source}")]
    Listen {
        /// The socket.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Listens on the state folder's control socket (0600), after making the folder (0700) where it is missing. A socket that a dead
/// daemon left behind is replaced; the caller holds the state folder's lock, so no second daemon does the same meanwhile.
///
/// # Errors
/// A [`BindError`], with what to do about it.
pub fn bind(state_dir: &Path) -> Result<UnixListener, BindError> {
    let path = paths::control_socket(state_dir);
    if path.as_os_str().len() > 107 {
        return Err(BindError::TooLong(path));
    }
    let mut folder = DirBuilder::new();
    folder.recursive(true).mode(0o700);
    folder
        .create(state_dir)
        .map_err(|source| BindError::Folder {
            path: state_dir.to_owned(),
            source,
        })?;
    let listen = |source| BindError::Listen {
        path: path.clone(),
        source,
    };
    if let Ok(there) = fs::symlink_metadata(&path) {
        if !there.file_type().is_socket() {
            return Err(BindError::Occupied(path));
        }
        if std::os::unix::net::UnixStream::connect(&path).is_ok() {
            return Err(BindError::Running(state_dir.to_owned()));
        }
        fs::remove_file(&path).map_err(listen)?;
    }
    let listener = UnixListener::bind(&path).map_err(listen)?;
    // The folder may be older and open to others; the moment until this call is covered by the peer check.
    fs::set_permissions(&path, Permissions::from_mode(0o600)).map_err(listen)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn only_the_owner_may_open_it() {
        let parent = tempfile::tempdir().unwrap();
        let state = parent.path().join("deep/state");
        let _listener = bind(&state).unwrap();
        assert_eq!(mode(&state), 0o700);
        assert_eq!(mode(&state.join("control.sock")), 0o600);
    }

    #[tokio::test]
    async fn a_dead_daemons_socket_is_replaced_and_a_living_ones_is_not() {
        let state = tempfile::tempdir().unwrap();
        let first = bind(state.path()).unwrap();
        assert!(matches!(bind(state.path()), Err(BindError::Running(_))));
        drop(first);
        bind(state.path()).unwrap();
    }

    #[tokio::test]
    async fn what_is_no_socket_stays() {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join("control.sock");
        fs::write(&path, "mine").unwrap();
        assert!(matches!(bind(state.path()), Err(BindError::Occupied(_))));
        assert_eq!(fs::read_to_string(path).unwrap(), "mine");
    }

    #[tokio::test]
    async fn a_path_that_is_too_long_is_named() {
        let state = PathBuf::from("/tmp").join("x".repeat(120));
        assert!(matches!(bind(&state), Err(BindError::TooLong(_))));
    }
}
