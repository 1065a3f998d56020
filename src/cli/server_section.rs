//! The `server:` section of a file, for the clients that look for its daemon.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Failure;
use crate::config::{Address, Server};
use crate::daemon::file::{self, FileError};

#[derive(Default, Deserialize)]
struct File {
    #[serde(default)]
    server: Section,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Section {
    listen: Option<Addresses>,
    state_dir: Option<PathBuf>,
    log_dir: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Addresses {
    One(String),
    Many(Vec<String>),
}

/// What the file says of its daemon, with its paths joined to the file's folder. A file that has become wrong meanwhile has a daemon
/// too, with the last right one in force, and is just when a person asks for the status: of such a file the section alone is read.
///
/// # Errors
/// A file that cannot be read, or whose section makes no sense.
pub(super) fn read(path: &Path) -> Result<Server, Failure> {
    match file::read(path) {
        Ok(read) => Ok(read.config.server),
        Err(FileError::Problems(problems)) => {
            section(path).ok_or_else(|| Failure::Usage(problems.to_string()))
        }
        Err(unreadable @ FileError::Read { .. }) => Err(Failure::Usage(unreadable.to_string())),
    }
}

/// The section of a file with problems, if they are elsewhere.
fn section(path: &Path) -> Option<Server> {
    let File { server } = serde_saphyr::from_str(&fs::read_to_string(path).ok()?).ok()?;
    let folder = std::path::absolute(path).ok()?.parent()?.to_owned();
    let addresses = match server.listen {
        None => Vec::new(),
        Some(Addresses::One(one)) => vec![one],
        Some(Addresses::Many(many)) => many,
    };
    Some(Server {
        listen: addresses.iter().filter_map(|text| tcp(text)).collect(),
        state_dir: server.state_dir.map(|path| folder.join(path)),
        log_dir: server.log_dir.map(|path| folder.join(path)),
        ..Server::default()
    })
}

/// Only the port matters here, and only of an address that has one.
fn tcp(text: &str) -> Option<Address> {
    let (host, port) = text.rsplit_once(':')?;
    Some(Address::Tcp(host.to_owned(), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_where_the_daemon_keeps_its_things() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("workers.yaml");
        let text = "server: {state_dir: state, listen: ['unix:/run/g.sock', '0.0.0.0:4731']}\n\
                    functions: {fetchURL: {cmd: php fetch.php, max: wrong}}\n";
        fs::write(&path, text).unwrap();
        assert_found(&path, folder.path());
        fs::write(&path, text.replace("wrong", "3")).unwrap();
        assert_found(&path, folder.path());
        fs::write(&path, "fetchURL: {cmd: php fetch.php}").unwrap();
        assert_eq!(read(&path).unwrap(), Server::default());
        for (path, text) in [(&path, "server: ["), (&folder.path().join("none"), "")] {
            if path.exists() {
                fs::write(path, text).unwrap();
            }
            assert_eq!(read(path).unwrap_err().exit_code(), 2);
        }
    }

    fn assert_found(file: &Path, folder: &Path) {
        let server = read(file).unwrap();
        assert_eq!(server.state_dir, Some(folder.join("state")));
        let port = |listen: &Address| matches!(listen, Address::Tcp(_, 4731));
        assert!(server.listen.iter().any(port), "{server:?}");
    }
}
