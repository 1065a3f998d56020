//! The `server:` section of a file, for the clients that look for its daemon.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Failure;
use crate::config::{Listen, Server};

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

/// What the file says of its daemon, with its paths joined to the file's folder. The pools are not looked at: a client finds the
/// daemon of a file that has become wrong meanwhile.
///
/// # Errors
/// A file that cannot be read, or is no YAML.
pub fn read(path: &Path) -> Result<Server, Failure> {
    let usage = |error: String| Failure::Usage(format!("{}: {error}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| usage(error.to_string()))?;
    let file: File = serde_saphyr::from_str(&text).map_err(|error| usage(error.to_string()))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let join = |path: PathBuf| folder.join(path);
    let addresses = match file.server.listen {
        None => Vec::new(),
        Some(Addresses::One(one)) => vec![one],
        Some(Addresses::Many(many)) => many,
    };
    Ok(Server {
        listen: addresses.iter().filter_map(|text| tcp(text)).collect(),
        state_dir: file.server.state_dir.map(join),
        log_dir: file.server.log_dir.map(join),
        max_processes: None,
    })
}

/// Only the port matters here, and only of an address that has one.
fn tcp(text: &str) -> Option<Listen> {
    let (host, port) = text.rsplit_once(':')?;
    Some(Listen::Tcp(host.to_owned(), port.parse().ok()?))
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
        let server = read(&path).unwrap();
        assert_eq!(server.state_dir, Some(folder.path().join("state")));
        assert_eq!(server.listen, [Listen::Tcp("0.0.0.0".to_owned(), 4731)]);
        fs::write(&path, "fetchURL: {cmd: php fetch.php}").unwrap();
        assert_eq!(read(&path).unwrap(), Server::default());
        let missing = read(Path::new("/nowhere/workers.yaml")).unwrap_err();
        assert_eq!(missing.exit_code(), 2);
    }
}
