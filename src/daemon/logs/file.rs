//! One slot's log file: line ends, when it is rotated, its index, and what happens when it cannot be written.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt as _, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use memchr::{memchr, memrchr};
use serde::{Deserialize, Serialize};

use super::gzip::Gzip;
use super::health::Health;
use super::index::{Index, IndexState, What};
use super::{names, older};
use crate::config::Log;
use crate::sys::pipe;
use crate::sys::siphon::Siphon;

/// Where a stream is written.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    /// Where `gearpool logs` looks for it, when that is another place: a symbolic link is kept there.
    pub(super) link: Option<PathBuf>,
}

/// What all files share.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) health: Arc<Health>,
    pub(super) gzip: Gzip,
}

/// A file, its older ones beside it (`1.log`, `1.log.1`, …), and where in a line it stands.
#[derive(Debug)]
pub(super) struct SlotFile {
    place: Place,
    config: Log,
    shared: Shared,
    /// `None` while it cannot be opened.
    file: Option<Open>,
    index: Index,
    /// How long the file is.
    size: u64,
    /// Whether the file ends with a line end, or is empty.
    at_line_start: bool,
    /// Whether it cannot be written.
    trouble: bool,
    /// Whether it was told that rotation fails.
    stuck: bool,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// The device and the inode.
    id: (u64, u64),
    /// Whether it is a file. A terminal, a pipe or a device is written to and neither rotated nor indexed.
    is_file: bool,
}

/// What is known of a file besides what is in it, for another program to go on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct FileState {
    /// The one that was open.
    id: Option<(u64, u64)>,
    trouble: bool,
    stuck: bool,
    index: IndexState,
}

impl SlotFile {
    /// Opens the file, or creates it, to go on at its end. A line that the process before left unfinished is ended first.
    pub(super) fn open(place: Place, config: Log, shared: Shared) -> SlotFile {
        let mut file = SlotFile::resume(place, config, shared, FileState::default());
        if !file.at_line_start {
            file.put(b"\n");
        }
        file
    }

    /// Goes on where another program stopped, in the middle of a line perhaps.
    pub(super) fn resume(place: Place, config: Log, shared: Shared, state: FileState) -> SlotFile {
        let FileState {
            id,
            trouble,
            stuck,
            index,
        } = state;
        if config.compress {
            // Those that were not done with when the daemon ended, or were not to be compressed then.
            shared.gzip.compress(&place.path);
        }
        if trouble {
            shared.health.fails_still();
        }
        let mut file = SlotFile {
            index: Index::new(names::index(&place.path), index),
            place,
            config,
            shared,
            file: None,
            size: 0,
            at_line_start: true,
            trouble,
            stuck,
        };
        if let Err(error) = file.reopen(id) {
            file.fail(&error, 0);
        }
        file
    }

    /// Where it stands.
    pub(super) fn state(&self) -> FileState {
        let SlotFile {
            place: _,
            config: _,
            shared: _,
            file,
            index,
            // seen when it is opened
            size: _,
            at_line_start: _,
            trouble,
            stuck,
        } = self;
        FileState {
            id: file.as_ref().map(|open| open.id),
            trouble: *trouble,
            stuck: *stuck,
            index: index.state(),
        }
    }

    /// Where it is.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// What becomes of it.
    pub(super) fn config(&self) -> &Log {
        &self.config
    }

    /// Whether the file is still where it was: one that was moved away or removed, by hand or by logrotate, is begun again, and so is
    /// its folder.
    pub(super) fn look(&mut self) {
        let Some(Open {
            id, is_file: true, ..
        }) = self.file
        else {
            return;
        };
        match fs::metadata(&self.place.path) {
            Ok(there) if id_of(&there) == id => {
                // Emptied in place.
                if there.len() < self.size {
                    self.size = there.len();
                    self.at_line_start = true;
                    self.index.open(self.size);
                }
            }
            Ok(_) => self.close(),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                self.close();
            }
            // What is open can still be written, as far as anybody knows.
            Err(_) => {}
        }
    }

    /// The index, to know whose lines come.
    pub(super) fn index(&self) -> &Index {
        &self.index
    }

    /// Something happened, after what has been written so far.
    pub(super) fn note(&mut self, time: SystemTime, what: What) {
        self.index.note(self.size, time, what);
    }

    /// Writes in one piece what fits, and begins a new file at a line end otherwise. A line whose beginning has been written is finished
    /// first, which may make the file longer.
    pub(super) fn append(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = self.config.max_size.saturating_sub(self.size);
            let room = usize::try_from(room).unwrap_or(usize::MAX);
            if bytes.len() <= room || !self.file.as_ref().is_some_and(|open| open.is_file) {
                return self.put(bytes);
            }
            let end = match memrchr(b'\n', &bytes[..room]) {
                Some(end) => end + 1,
                None if self.at_line_start && self.size > 0 => 0,
                None => match memchr(b'\n', &bytes[room..]) {
                    Some(end) => room + end + 1,
                    None => return self.put(bytes),
                },
            };
            self.put(&bytes[..end]);
            bytes = &bytes[end..];
            if bytes.is_empty() {
                return;
            }
            if let Err(error) = self.rotate() {
                if !self.stuck {
                    let path = self.place.path.display();
                    tracing::error!(%path, %error, "log cannot be rotated, it grows");
                }
                self.stuck = true;
                return self.put(bytes);
            }
            self.stuck = false;
        }
    }

    /// How many bytes fit into the file as it stands. `None` where more is to be done than to write them.
    pub(super) fn room(&self) -> Option<usize> {
        let is_well = !self.trouble && self.file.as_ref().is_some_and(|open| open.is_file);
        let room = self.config.max_size.saturating_sub(self.size);
        is_well.then(|| usize::try_from(room).unwrap_or(usize::MAX))
    }

    /// Writes what a siphon has taken, no more than there is [`SlotFile::room`] for. Returns how much was written, and an error when
    /// that is not all.
    pub(super) fn pour(&mut self, siphon: &Siphon, length: usize) -> (usize, io::Result<()>) {
        let Some(Open { file, .. }) = &mut self.file else {
            return (0, Err(io::ErrorKind::NotFound.into()));
        };
        let (poured, result) = siphon.pour(file, length);
        self.size += poured as u64;
        let mut byte = [0];
        if poured > 0 {
            let read = self.read_end(&mut byte);
            self.at_line_start = read.is_ok() && byte == *b"\n";
        }
        (poured, result)
    }

    /// How many of the last `length` bytes stand after their last line end; `None` when they have none.
    pub(super) fn last_line(&self, length: usize) -> Option<usize> {
        let file = &self.file.as_ref()?.file;
        let mut block = [0; 4096];
        let mut seen = 0;
        while seen < length {
            let block = &mut block[..(length - seen).min(4096)];
            let begin = self.size.checked_sub((seen + block.len()) as u64)?;
            file.read_exact_at(block, begin).ok()?;
            if let Some(end) = memrchr(b'\n', block) {
                return Some(seen + block.len() - end - 1);
            }
            seen += block.len();
        }
        None
    }

    /// Reads the file's end.
    pub(super) fn read_end(&self, into: &mut [u8]) -> io::Result<()> {
        match (&self.file, self.size.checked_sub(into.len() as u64)) {
            (Some(open), Some(begin)) => open.file.read_exact_at(into, begin),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        let mut written = 0;
        match self.try_put(bytes, &mut written) {
            Ok(()) => self.recover(),
            Err(error) => self.fail(&error, (bytes.len() - written) as u64),
        }
    }

    fn try_put(&mut self, bytes: &[u8], written: &mut usize) -> io::Result<()> {
        if self.file.is_none() {
            self.reopen(None)?;
        }
        let Some(Open { file, .. }) = &mut self.file else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if self.trouble && !self.at_line_start {
            // The rest of that line was dropped.
            file.write_all(b"\n")?;
            self.size += 1;
            self.at_line_start = true;
        }
        while *written < bytes.len() {
            match file.write(&bytes[*written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => {
                    *written += length;
                    self.size += length as u64;
                    self.at_line_start = bytes[*written - 1] == b'\n';
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn fail(&mut self, error: &io::Error, lost: u64) {
        self.shared.health.drops(lost);
        if !self.trouble {
            self.trouble = true;
            self.shared.health.fails(&self.place.path, error);
        }
    }

    fn recover(&mut self) {
        if std::mem::take(&mut self.trouble) {
            self.shared.health.recovers();
        }
    }

    fn close(&mut self) {
        self.file = None;
        self.index.close();
    }

    /// Opens the file. The index has said of the one with this `id` already what is true.
    fn reopen(&mut self, id: Option<(u64, u64)>) -> io::Result<()> {
        let path = &self.place.path;
        make_folder(path)?;
        if self.place.link.is_none() && fs::symlink_metadata(path).is_ok_and(|it| it.is_symlink()) {
            // Where an earlier configuration had it written.
            fs::remove_file(path)?;
        }
        let is_device = Log::is_device(path) || fs::metadata(path).is_ok_and(|it| !it.is_file());
        let file = match is_device {
            true => pipe::open_device(path)?,
            false => OpenOptions::new()
                .read(true)
                .append(true)
                .create(true)
                .mode(0o640)
                .open(path)?,
        };
        let metadata = file.metadata()?;
        // the daemon's own standard output may lead to a file, whose name it is not to change
        let is_file = metadata.is_file() && !is_device;
        self.size = if is_file { metadata.len() } else { 0 };
        self.at_line_start = match self.size.checked_sub(1) {
            Some(last) => {
                let mut byte = [0];
                file.read_exact_at(&mut byte, last)?;
                byte == *b"\n"
            }
            None => true,
        };
        self.file = Some(Open {
            file,
            id: id_of(&metadata),
            is_file,
        });
        match id == Some(id_of(&metadata)) {
            _ if !is_file => {}
            true => self.index.go_on(),
            false => self.index.open(self.size),
        }
        if let Some(link) = &self.place.link {
            lead(link, is_file.then_some(path))?;
        }
        Ok(())
    }

    /// Begins a new file, and makes the old one the first of the older ones.
    fn rotate(&mut self) -> io::Result<()> {
        self.index.close();
        let (log, gzip) = (&self.place.path, &self.shared.gzip);
        {
            let _names = gzip.names();
            older::push(log, self.config.keep)?;
        }
        if self.config.keep > 0 && self.config.compress {
            gzip.compress(log);
        }
        self.file = None;
        self.reopen(None)
    }
}

impl Drop for SlotFile {
    fn drop(&mut self) {
        self.recover();
    }
}

fn id_of(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

fn make_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => DirBuilder::new().recursive(true).mode(0o750).create(folder),
        None => Ok(()),
    }
}

/// Has `link` lead to `path`, or nowhere. What an earlier configuration had written there is kept under another name.
fn lead(link: &Path, path: Option<&PathBuf>) -> io::Result<()> {
    if let Ok(there) = fs::symlink_metadata(link) {
        if there.is_symlink() && fs::read_link(link).ok().as_ref() == path {
            return Ok(());
        }
        match there.is_symlink() {
            true => fs::remove_file(link)?,
            false => fs::rename(link, link.with_extension("log.before"))?,
        }
    }
    match path {
        Some(path) => {
            make_folder(link)?;
            symlink(std::path::absolute(path)?, link)
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn open(folder: &Path, config: Log) -> SlotFile {
        open_at(folder.join("pool/1.log"), config)
    }

    fn open_at(path: PathBuf, config: Log) -> SlotFile {
        let shared = Shared {
            health: Arc::default(),
            gzip: Gzip::start().unwrap(),
        };
        SlotFile::open(Place { path, link: None }, config, shared)
    }

    /// Rotated past so many bytes, with so many older files.
    fn small(max_size: u64, keep: u32) -> Log {
        Log {
            max_size,
            keep,
            ..Log::default()
        }
    }

    fn text(folder: &Path, name: &str) -> String {
        fs::read_to_string(folder.join("pool").join(name)).unwrap()
    }

    #[test]
    fn rotates_between_lines() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = open(folder.path(), small(10, 2));
        // A chunk that holds many files, a line in several chunks, a line longer than a file.
        for chunk in [
            "one\ntwo\nthree\nfour\n",
            "fi",
            "ve",
            "\nsix\n",
            "much too long\nend\n",
        ] {
            file.append(chunk.as_bytes());
        }
        assert_eq!(text(folder.path(), "1.log"), "end\n");
        assert_eq!(text(folder.path(), "1.log.1"), "much too long\n");
        assert_eq!(text(folder.path(), "1.log.2"), "six\n");
        assert!(!folder.path().join("pool/1.log.3").exists());
    }

    #[test]
    fn keeping_fewer_removes_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = open(folder.path(), small(4, 5));
        file.append(b"1\n\n2\n\n3\n\n4\n\n5\n\n6\n\n7\n\n");
        assert!(folder.path().join("pool/1.log.5").exists());
        let mut file = open(folder.path(), small(4, 1));
        file.append(b"8\n\n");
        assert_eq!(text(folder.path(), "1.log"), "8\n\n");
        assert_eq!(text(folder.path(), "1.log.1"), "7\n\n");
        assert!(!folder.path().join("pool/1.log.2").exists());
        let mut file = open(folder.path(), small(4, 0));
        file.append(b"9\n\n");
        assert_eq!(text(folder.path(), "1.log"), "9\n\n");
        assert!(!folder.path().join("pool/1.log.1").exists());
    }

    #[test]
    fn the_next_process_begins_a_line() {
        let folder = tempfile::tempdir().unwrap();
        for words in ["unfinished", "whole\n", "again"] {
            let mut file = open(folder.path(), Log::default());
            file.append(words.as_bytes());
        }
        assert_eq!(text(folder.path(), "1.log"), "unfinished\nwhole\nagain");
    }

    #[test]
    fn a_file_that_cannot_be_written_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let blocked = folder.path().join("pool");
        fs::write(&blocked, "a file where the folder should be").unwrap();
        let mut file = open(folder.path(), Log::default());
        file.append(b"lost\n");
        assert_eq!(file.shared.health.dropped(), 5);
        assert_eq!(file.shared.health.troubled(), 1);
        fs::remove_file(&blocked).unwrap();
        file.append(b"kept\n");
        assert_eq!(file.shared.health.troubled(), 0);
        assert_eq!(text(folder.path(), "1.log"), "kept\n");
    }

    #[test]
    fn a_full_disk_drops_and_counts() {
        let mut file = open_at("/dev/full".into(), Log::default());
        file.append(b"one\n");
        file.append(b"two\n");
        assert_eq!(file.shared.health.dropped(), 8);
    }

    #[test]
    fn what_is_under_dev_is_written_and_nothing_else() {
        let path = PathBuf::from(format!("/dev/shm/gearpool-test-{}.log", std::process::id()));
        let config = Log {
            max_size: 4,
            ..Log::default()
        };
        let mut file = open_at(path.clone(), config);
        file.note(SystemTime::now(), What::Start { pid: 1 });
        file.append(b"one\ntwo\n");
        file.append(b"three\n");
        let written = fs::read_to_string(&path).unwrap();
        let others = [names::older(&path, 1), names::index(&path)].map(|it| it.exists());
        fs::remove_file(&path).unwrap();
        assert_eq!(
            (written.as_str(), others),
            ("one\ntwo\nthree\n", [false; 2])
        );
    }

    #[test]
    fn a_rotation_that_fails_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        // A folder cannot be replaced by a file.
        fs::create_dir_all(folder.path().join("pool/1.log.1/full")).unwrap();
        let mut file = open(folder.path(), small(4, 1));
        for chunk in ["one\n", "two\n", "three\n"] {
            file.append(chunk.as_bytes());
        }
        assert_eq!(text(folder.path(), "1.log"), "one\ntwo\nthree\n");
        fs::remove_dir_all(folder.path().join("pool/1.log.1")).unwrap();
        file.append(b"four\n");
        assert_eq!(text(folder.path(), "1.log.1"), "one\ntwo\nthree\n");
        assert_eq!(text(folder.path(), "1.log"), "four\n");
    }

    #[test]
    fn what_was_moved_away_removed_or_emptied_is_begun_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pool/1.log");
        let mut file = open(folder.path(), Log::default());
        let mut write = |text: &str| {
            file.look();
            file.append(text.as_bytes());
        };
        write("one\n");
        fs::rename(&path, folder.path().join("pool/moved")).unwrap();
        write("two\n");
        assert_eq!(text(folder.path(), "moved"), "one\n");
        assert_eq!(text(folder.path(), "1.log"), "two\n");
        fs::remove_dir_all(folder.path().join("pool")).unwrap();
        write("three\n");
        assert_eq!(text(folder.path(), "1.log"), "three\n");
        fs::write(&path, "").unwrap();
        write("four\n");
        assert_eq!(text(folder.path(), "1.log"), "four\n");
        // a file where its folder was: there is nowhere to write to, which is counted
        fs::remove_dir_all(folder.path().join("pool")).unwrap();
        fs::write(folder.path().join("pool"), "").unwrap();
        write("five\n");
        fs::remove_file(folder.path().join("pool")).unwrap();
        write("six\n");
        assert_eq!(text(folder.path(), "1.log"), "six\n");
        assert_eq!(file.shared.health.dropped(), 5);
    }

    #[test]
    fn the_index_is_rotated_with_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = open(folder.path(), small(4, 2));
        let now = SystemTime::now();
        file.note(now, What::Start { pid: 1 });
        for number in 0..4 {
            let job = number.to_string();
            file.note(now, What::Begin { job: job.clone() });
            file.append(format!("{number}{number}{number}\n").as_bytes());
            file.note(now, What::End { job, outcome: None });
        }
        let at = |name: &str| -> Vec<u64> {
            let lines = text(folder.path(), name);
            let events = lines
                .lines()
                .map(|line| serde_json::from_str(line).unwrap());
            events
                .map(|event: super::super::index::Event| event.at)
                .collect()
        };
        // the start and the job again, its end where the file before it is full
        assert_eq!(at("1.log.index"), [0, 0, 4]);
        assert_eq!(at("1.log.1.index"), [0, 0, 4, 4]);
        assert_eq!(at("1.log.2.index"), [0, 0, 4, 4]);
        assert!(!folder.path().join("pool/1.log.3.index").exists());
    }

    #[test]
    fn compressed_files_are_rotated_too() {
        use std::io::Read as _;
        let folder = tempfile::tempdir().unwrap();
        let config = Log {
            compress: true,
            ..small(4, 3)
        };
        let mut file = open(folder.path(), config);
        let older = |age: u32| folder.path().join(format!("pool/1.log.{age}.gz"));
        for number in 0..5 {
            file.append(format!("{number}{number}{number}\n").as_bytes());
            let begin = std::time::Instant::now();
            while number > 0 && (!older(1).exists() || folder.path().join("pool/1.log.1").exists())
            {
                assert!(begin.elapsed().as_secs() < 20);
                std::thread::yield_now();
            }
        }
        for (age, line) in [(1, "333\n"), (2, "222\n"), (3, "111\n")] {
            let mut text = String::new();
            let file = File::open(older(age)).unwrap();
            flate2::read::GzDecoder::new(file)
                .read_to_string(&mut text)
                .unwrap();
            assert_eq!(text, line);
        }
        assert!(!older(4).exists());
        assert!(!folder.path().join("pool/1.log.gz.new").exists());
    }

    #[test]
    fn another_place_is_led_to_from_the_usual_one() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("logs/1.log");
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        fs::write(&link, "before\n").unwrap();
        let place = Place {
            path: folder.path().join("own/1.log"),
            link: Some(link.clone()),
        };
        let shared = open(folder.path(), Log::default()).shared.clone();
        let mut file = SlotFile::open(place, Log::default(), shared);
        file.append(b"own\n");
        assert_eq!(fs::read_to_string(&link).unwrap(), "own\n");
        let before = folder.path().join("logs/1.log.before");
        assert_eq!(fs::read_to_string(before).unwrap(), "before\n");
        // and back
        let mut file = open_at(link.clone(), Log::default());
        file.append(b"usual\n");
        assert_eq!(fs::read_to_string(&link).unwrap(), "usual\n");
    }
}
