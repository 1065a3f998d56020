//! One slot's log file: line ends, rotation, and what happens when it cannot be written.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use memchr::{memchr, memrchr};

use crate::config::Log;

/// A file, its older ones beside it (`1.log`, `1.log.1`, …), and where in a line it stands.
#[derive(Debug)]
pub(super) struct SlotFile {
    path: PathBuf,
    config: Log,
    /// `None` while it cannot be opened.
    file: Option<File>,
    /// How long the file is.
    size: u64,
    /// How many bytes of the worker's current line have come.
    column: u64,
    /// Whether the file ends with a line end, or is empty.
    at_line_start: bool,
    /// How many bytes were dropped since it could last be written, while it cannot.
    trouble: Option<u64>,
    /// Whether it was told that rotation fails.
    stuck: bool,
    /// Of all files.
    dropped: Arc<AtomicU64>,
}

impl SlotFile {
    /// Opens the file, or creates it, to go on at its end. A line that the process before left unfinished is ended first.
    pub(super) fn open(path: PathBuf, config: Log, dropped: Arc<AtomicU64>) -> SlotFile {
        let mut file = SlotFile {
            path,
            config,
            file: None,
            size: 0,
            column: 0,
            at_line_start: true,
            trouble: None,
            stuck: false,
            dropped,
        };
        if let Err(error) = file.reopen() {
            file.fail(&error, 0);
        }
        if !file.at_line_start {
            file.put(b"\n");
        }
        file
    }

    /// Writes what the worker wrote, read at `now`.
    pub(super) fn write(&mut self, chunk: &[u8], now: SystemTime) {
        let fits = self.column + chunk.len() as u64 <= self.config.max_line;
        if self.config.timestamps || !fits {
            let lines = self.lay_out(chunk, now);
            self.append(&lines);
            return;
        }
        self.column = match memrchr(b'\n', chunk) {
            Some(end) => (chunk.len() - end - 1) as u64,
            None => self.column + chunk.len() as u64,
        };
        self.append(chunk);
    }

    /// The slow way, line by line: time before each, long ones broken.
    fn lay_out(&mut self, chunk: &[u8], now: SystemTime) -> Vec<u8> {
        let longest = self.config.max_line.max(1);
        let stamp = match self.config.timestamps {
            true => format!("{} ", humantime::format_rfc3339_millis(now)),
            false => String::new(),
        };
        let mut lines = Vec::with_capacity(chunk.len() + stamp.len() + 1);
        let mut rest = chunk;
        while let Some(&next) = rest.first() {
            if self.column == longest {
                lines.push(b'\n');
                self.column = 0;
                if next == b'\n' {
                    rest = &rest[1..];
                }
                continue;
            }
            if self.column == 0 {
                lines.extend_from_slice(stamp.as_bytes());
            }
            let room = usize::try_from(longest - self.column).unwrap_or(usize::MAX);
            let window = &rest[..rest.len().min(room)];
            let taken = match memchr(b'\n', window) {
                Some(end) => {
                    self.column = 0;
                    end + 1
                }
                None => {
                    self.column += window.len() as u64;
                    window.len()
                }
            };
            lines.extend_from_slice(&rest[..taken]);
            rest = &rest[taken..];
        }
        lines
    }

    /// Writes in one piece what fits, and begins a new file at a line end otherwise. Only a line that is longer than a file may be makes
    /// a file longer.
    fn append(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = self.config.max_size.saturating_sub(self.size);
            let room = usize::try_from(room).unwrap_or(usize::MAX);
            if bytes.len() <= room || self.file.is_none() {
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
                    let path = self.path.display();
                    tracing::error!(%path, %error, "log cannot be rotated, it grows");
                }
                self.stuck = true;
                return self.put(bytes);
            }
            self.stuck = false;
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
            self.reopen()?;
        }
        let Some(file) = &mut self.file else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if self.trouble.is_some() && !self.at_line_start {
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
        if self.trouble.is_none() {
            let path = self.path.display();
            tracing::error!(%path, %error, "log cannot be written, the worker's output is dropped");
        }
        *self.trouble.get_or_insert(0) += lost;
        self.dropped.fetch_add(lost, Ordering::Relaxed);
    }

    fn recover(&mut self) {
        if let Some(bytes) = self.trouble.take() {
            let path = self.path.display();
            tracing::warn!(%path, bytes, "log can be written again, output was dropped");
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o750)
                .create(folder)?;
        }
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o640)
            .open(&self.path)?;
        self.size = file.metadata()?.len();
        self.at_line_start = match self.size.checked_sub(1) {
            Some(last) => {
                let mut byte = [0];
                file.read_exact_at(&mut byte, last)?;
                byte == *b"\n"
            }
            None => true,
        };
        self.file = Some(file);
        Ok(())
    }

    /// `1.log` → `1.log.1` → … → `1.log.<keep>`, and a new `1.log`.
    fn rotate(&mut self) -> io::Result<()> {
        let keep = self.config.keep;
        if keep == 0 {
            fs::remove_file(&self.path)?;
        } else {
            // Only up to the first gap: when a rename fails half way, trying again must not push the oldest out once more.
            let mut end = 1;
            while end < keep && self.older(end).exists() {
                end += 1;
            }
            for number in (1..end).rev() {
                fs::rename(self.older(number), self.older(number + 1))?;
            }
            fs::rename(&self.path, self.older(1))?;
        }
        // Those that an earlier configuration kept.
        let mut number = keep + 1;
        while fs::remove_file(self.older(number)).is_ok() {
            number += 1;
        }
        self.file = None;
        self.reopen()
    }

    fn older(&self, number: u32) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(format!(".{number}"));
        PathBuf::from(name)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::*;

    fn open(folder: &Path, config: Log) -> SlotFile {
        SlotFile::open(folder.join("pool/1.log"), config, Arc::default())
    }

    fn text(folder: &Path, name: &str) -> String {
        fs::read_to_string(folder.join("pool").join(name)).unwrap()
    }

    #[test]
    fn rotates_between_lines() {
        let folder = tempfile::tempdir().unwrap();
        let config = Log {
            max_size: 10,
            keep: 2,
            ..Log::default()
        };
        let mut file = open(folder.path(), config);
        // A chunk that holds many files, a line in several chunks, a line longer than a file.
        for chunk in [
            "one\ntwo\nthree\nfour\n",
            "fi",
            "ve",
            "\nsix\n",
            "much too long\nend\n",
        ] {
            file.write(chunk.as_bytes(), SystemTime::UNIX_EPOCH);
        }
        assert_eq!(text(folder.path(), "1.log"), "end\n");
        assert_eq!(text(folder.path(), "1.log.1"), "much too long\n");
        assert_eq!(text(folder.path(), "1.log.2"), "six\n");
        assert!(!folder.path().join("pool/1.log.3").exists());
    }

    #[test]
    fn keeping_fewer_removes_the_others() {
        let folder = tempfile::tempdir().unwrap();
        let config = |keep| Log {
            max_size: 4,
            keep,
            ..Log::default()
        };
        let mut file = open(folder.path(), config(5));
        file.write(
            b"1\n\n2\n\n3\n\n4\n\n5\n\n6\n\n7\n\n",
            SystemTime::UNIX_EPOCH,
        );
        assert!(folder.path().join("pool/1.log.5").exists());
        let mut file = open(folder.path(), config(1));
        file.write(b"8\n\n", SystemTime::UNIX_EPOCH);
        assert_eq!(text(folder.path(), "1.log"), "8\n\n");
        assert_eq!(text(folder.path(), "1.log.1"), "7\n\n");
        assert!(!folder.path().join("pool/1.log.2").exists());
        let mut file = open(folder.path(), config(0));
        file.write(b"9\n\n", SystemTime::UNIX_EPOCH);
        assert_eq!(text(folder.path(), "1.log"), "9\n\n");
        assert!(!folder.path().join("pool/1.log.1").exists());
    }

    #[test]
    fn the_next_process_begins_a_line() {
        let folder = tempfile::tempdir().unwrap();
        for words in ["unfinished", "whole\n", "again"] {
            let mut file = open(folder.path(), Log::default());
            file.write(words.as_bytes(), SystemTime::UNIX_EPOCH);
        }
        assert_eq!(text(folder.path(), "1.log"), "unfinished\nwhole\nagain");
    }

    #[test]
    fn long_lines_are_broken() {
        let folder = tempfile::tempdir().unwrap();
        let config = Log {
            max_line: 4,
            ..Log::default()
        };
        let mut file = open(folder.path(), config);
        for chunk in ["1234\n12345\n\n12", "345678", "\n", "1234", "\n9"] {
            file.write(chunk.as_bytes(), SystemTime::UNIX_EPOCH);
        }
        assert_eq!(
            text(folder.path(), "1.log"),
            "1234\n1234\n5\n\n1234\n5678\n1234\n9"
        );
    }

    #[test]
    fn times_stand_before_lines() {
        let folder = tempfile::tempdir().unwrap();
        let config = Log {
            timestamps: true,
            max_line: 6,
            ..Log::default()
        };
        let mut file = open(folder.path(), config);
        let at = |millis| SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        file.write(b"one\ntw", at(1_700_000_000_042));
        file.write(b"o\n\nlong line", at(1_700_000_001_000));
        assert_eq!(
            text(folder.path(), "1.log"),
            "2023-11-14T22:13:20.042Z one\n2023-11-14T22:13:20.042Z two\n\
             2023-11-14T22:13:21.000Z \n2023-11-14T22:13:21.000Z long l\n2023-11-14T22:13:21.000Z ine"
        );
    }

    #[test]
    fn a_file_that_cannot_be_written_is_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let blocked = folder.path().join("pool");
        fs::write(&blocked, "a file where the folder should be").unwrap();
        let mut file = open(folder.path(), Log::default());
        file.write(b"lost\n", SystemTime::UNIX_EPOCH);
        assert_eq!(file.dropped.load(Ordering::Relaxed), 5);
        assert_eq!(file.trouble, Some(5));
        fs::remove_file(&blocked).unwrap();
        file.write(b"kept\n", SystemTime::UNIX_EPOCH);
        assert_eq!(file.trouble, None);
        assert_eq!(text(folder.path(), "1.log"), "kept\n");
    }

    #[test]
    fn a_full_disk_drops_and_counts() {
        let mut file = SlotFile::open("/dev/full".into(), Log::default(), Arc::default());
        file.write(b"one\n", SystemTime::UNIX_EPOCH);
        file.write(b"two\n", SystemTime::UNIX_EPOCH);
        assert_eq!(file.dropped.load(Ordering::Relaxed), 8);
    }

    #[test]
    fn a_rotation_that_fails_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let config = Log {
            max_size: 4,
            keep: 1,
            ..Log::default()
        };
        // A folder cannot be replaced by a file.
        fs::create_dir_all(folder.path().join("pool/1.log.1/full")).unwrap();
        let mut file = open(folder.path(), config);
        for chunk in ["one\n", "two\n", "three\n"] {
            file.write(chunk.as_bytes(), SystemTime::UNIX_EPOCH);
        }
        assert_eq!(text(folder.path(), "1.log"), "one\ntwo\nthree\n");
        fs::remove_dir_all(folder.path().join("pool/1.log.1")).unwrap();
        file.write(b"four\n", SystemTime::UNIX_EPOCH);
        assert_eq!(text(folder.path(), "1.log.1"), "one\ntwo\nthree\n");
        assert_eq!(text(folder.path(), "1.log"), "four\n");
    }
}
