//! Where the logs are: `<log_dir>/<pool>/<slot>.log`, and beside each the older ones, `<slot>.log.1` being the youngest of them. The
//! rules are those of [`names`].

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use crate::daemon::logs::names;

/// A slot's log, or that of its standard error.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SlotLog {
    pub(super) pool: String,
    pub(super) slot: u32,
    pub(super) stream: Stream,
    pub(super) path: PathBuf,
}

/// What a log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stream {
    /// Standard output, and standard error where that is not apart.
    Output,
    /// Standard error.
    Errors,
}

/// A file that was open when its name was looked up, so that a rotation in between cannot swap it.
#[derive(Debug)]
pub(super) struct Generation {
    /// 0 is the one being written.
    pub(super) age: u32,
    pub(super) id: FileId,
    pub(super) file: File,
    pub(super) packing: Packing,
    /// Its index, where it has one.
    pub(super) index: Option<File>,
}

/// Whether a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Plain,
    Gzip,
}

impl Generation {
    /// How many bytes of text there are now, where that can be told without reading them.
    pub(super) fn size(&self) -> io::Result<Option<u64>> {
        match self.packing {
            Packing::Plain => Ok(Some(self.file.metadata()?.len())),
            Packing::Gzip => Ok(None),
        }
    }

    /// The same file once more, without its index.
    pub(super) fn try_clone(&self) -> io::Result<Generation> {
        Ok(Generation {
            age: self.age,
            id: self.id,
            file: self.file.try_clone()?,
            packing: self.packing,
            index: None,
        })
    }

    /// What was written, from its first byte.
    pub(super) fn text(&self) -> Box<dyn Read + '_> {
        match self.packing {
            Packing::Plain => Box::new(&self.file),
            Packing::Gzip => Box::new(MultiGzDecoder::new(&self.file)),
        }
    }
}

/// A file's identity while it is open: a rename keeps it. The default is none's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    pub(super) fn of(metadata: &fs::Metadata) -> FileId {
        FileId {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }
}

/// The pools that have a folder. Without a log folder there are none.
pub(super) fn pools(log_dir: &Path) -> io::Result<Vec<String>> {
    let mut pools = Vec::new();
    for entry in entries(log_dir)? {
        if let (Ok(name), true) = (entry.file_name().into_string(), entry.path().is_dir()) {
            pools.push(name);
        }
    }
    pools.sort();
    Ok(pools)
}

/// The logs of a pool's slots, by number. A slot whose file is being rotated at this moment is known by its older ones.
pub(super) fn slots(log_dir: &Path, pool: &str) -> io::Result<Vec<SlotLog>> {
    let folder = log_dir.join(pool);
    let mut slots: Vec<SlotLog> = Vec::new();
    for entry in entries(&folder)? {
        let name = entry.file_name();
        let Some((slot, stream, _)) = name.to_str().and_then(parse) else {
            continue;
        };
        let log = folder.join(format!("{slot}.log"));
        slots.push(SlotLog {
            pool: pool.to_owned(),
            slot,
            stream,
            path: match stream {
                Stream::Output => log,
                Stream::Errors => names::errors_beside(&log),
            },
        });
    }
    slots.sort();
    slots.dedup();
    Ok(slots)
}

/// A log's files, the one being written first. Renames may go on while the names are looked up, so it is done until two looks agree.
pub(super) fn generations(log: &Path) -> io::Result<Vec<Generation>> {
    let mut seen = look(log)?;
    for _ in 0..8 {
        let again = look(log)?;
        let same = |(a, b): (&Generation, &Generation)| a.age == b.age && a.id == b.id;
        let agree = seen.len() == again.len() && seen.iter().zip(&again).all(same);
        seen = again;
        if agree {
            break;
        }
    }
    Ok(seen)
}

fn look(log: &Path) -> io::Result<Vec<Generation>> {
    // Where `log.file` has it written elsewhere there is a link.
    let log = &fs::canonicalize(log).unwrap_or_else(|_| log.to_owned());
    let (Some(folder), Some(name)) = (log.parent(), log.file_name().and_then(|name| name.to_str()))
    else {
        return Ok(Vec::new());
    };
    let mut ages: Vec<u32> = entries(folder)?
        .iter()
        .filter_map(|entry| age(entry.file_name().to_str()?.strip_prefix(name)?))
        .collect();
    ages.sort_unstable();
    ages.dedup();
    let mut found: Vec<Generation> = Vec::new();
    for age in ages {
        let path = names::older(log, age);
        let (file, packing) = match File::open(&path) {
            Ok(file) => (file, Packing::Plain),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                match File::open(names::compressed(&path)) {
                    Ok(file) => (file, Packing::Gzip),
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    Err(error) => return Err(error),
                }
            }
            Err(error) => return Err(error),
        };
        let id = FileId::of(&file.metadata()?);
        // The one seen a moment ago under the younger name.
        if found.iter().all(|other| other.id != id) {
            found.push(Generation {
                age,
                id,
                file,
                packing,
                index: File::open(names::index(&path)).ok(),
            });
        }
    }
    Ok(found)
}

/// `3.log` is slot 3 and 0 rotations old, `3.log.2` two, and `3.err.log` its standard error.
fn parse(name: &str) -> Option<(u32, Stream, u32)> {
    let (slot, rest) = name.split_once('.')?;
    let (stream, rest) = match rest.strip_prefix("err.") {
        Some(rest) => (Stream::Errors, rest),
        None => (Stream::Output, rest),
    };
    Some((number(slot)?, stream, age(rest.strip_prefix("log")?)?))
}

/// How many rotations old a file is, by what its name has more than the log's.
fn age(end: &str) -> Option<u32> {
    match end.strip_prefix('.') {
        None => end.is_empty().then_some(0),
        Some(end) => number(end.strip_suffix(".gz").unwrap_or(end)),
    }
}

/// A number as it is written in a file's name: `+1` and `01` would be read back as another file.
fn number(text: &str) -> Option<u32> {
    let number: u32 = text.parse().ok()?;
    (number.to_string() == text && number > 0).then_some(number)
}

fn entries(folder: &Path) -> io::Result<Vec<fs::DirEntry>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.collect(),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Writes more of a log, as a worker's output comes.
#[cfg(test)]
pub(super) fn append(path: &Path, text: &str) {
    use std::io::Write as _;

    let mut options = fs::OpenOptions::new();
    let mut file = options.create(true).append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_logs_are_logs() {
        for (name, meaning) in [
            ("1.log", Some((1, Stream::Output, 0))),
            ("12.log.3", Some((12, Stream::Output, 3))),
            ("12.log.3.gz", Some((12, Stream::Output, 3))),
            ("12.err.log.3", Some((12, Stream::Errors, 3))),
            ("1.log.gz", None),
            ("1.log.gz.new", None),
            ("1.log.index", None),
            ("1.log.1.index", None),
            ("1.index", None),
            ("01.log", None),
            ("0.log", None),
            ("x.log", None),
            ("1.log.0", None),
            ("1.logs", None),
        ] {
            assert_eq!(parse(name), meaning, "{name}");
        }
    }

    #[test]
    fn slots_are_sorted_by_number() {
        let folder = tempfile::tempdir().unwrap();
        let pool = folder.path().join("fetchURL");
        fs::create_dir(&pool).unwrap();
        for name in ["10.log", "2.log", "2.log.1", "3.log.1", "2.index"] {
            fs::write(pool.join(name), name).unwrap();
        }
        let slots: Vec<u32> = slots(folder.path(), "fetchURL")
            .unwrap()
            .iter()
            .map(|log| log.slot)
            .collect();
        assert_eq!(slots, [2, 3, 10]);
        assert_eq!(pools(folder.path()).unwrap(), ["fetchURL"]);
        assert!(pools(&folder.path().join("none")).unwrap().is_empty());
        let ages: Vec<u32> = generations(&pool.join("2.log"))
            .unwrap()
            .iter()
            .map(|generation| generation.age)
            .collect();
        assert_eq!(ages, [0, 1]);
    }
}
