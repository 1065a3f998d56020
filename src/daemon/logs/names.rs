//! The names of a slot's files. `gearpool logs` finds them by the same rules.
//!
//! | file | what it is |
//! | --- | --- |
//! | `3.log` | what slot 3 wrote; a symbolic link to it where `log.file` names another place |
//! | `3.err.log` | its standard error, with `log.stderr: separate` |
//! | `3.log.1`, `3.log.2`, … | older ones, the youngest first |
//! | `3.log.1.gz` | the same, compressed |
//! | `3.log.index`, `3.log.1.index` | the index of each |

use std::ffi::OsString;
use std::path::{Path, PathBuf};

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

/// The file of the standard error beside the one of the standard output: `3.err.log` for `3.log`.
pub fn errors_beside(log: &Path) -> PathBuf {
    let mut extension = OsString::from("err");
    if let Some(own) = log.extension() {
        extension.push(".");
        extension.push(own);
    }
    log.with_extension(extension)
}

/// The file that was written so many rotations ago; 0 is the one being written.
pub fn older(log: &Path, age: u32) -> PathBuf {
    match age {
        0 => log.to_owned(),
        age => with(log, &format!(".{age}")),
    }
}

/// The index of a log file, whichever its age.
pub fn index(file: &Path) -> PathBuf {
    with(file, ".index")
}

/// A log file once it is compressed.
pub fn compressed(file: &Path) -> PathBuf {
    with(file, ".gz")
}

/// What a file is compressed into, until that is whole.
pub fn being_compressed(log: &Path) -> PathBuf {
    with(log, ".gz.new")
}

fn with(path: &Path, end: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(end);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let log = Path::new("/l/p/3.log");
        assert_eq!(errors_beside(log), Path::new("/l/p/3.err.log"));
        assert_eq!(errors_beside(Path::new("/l/p-3")), Path::new("/l/p-3.err"));
        assert_eq!(older(log, 0), log);
        assert_eq!(index(&older(log, 2)), Path::new("/l/p/3.log.2.index"));
        assert_eq!(compressed(&older(log, 2)), Path::new("/l/p/3.log.2.gz"));
    }
}
