//! One slot's log as a stream of bytes: its last lines, then what comes, through every rotation.
//!
//! The file stays open, so what was written before a rename is read after it. When the name leads to another file, the one that is
//! open is read to its end, then every one that is younger, so that several rotations between two looks lose nothing either.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, ErrorKind, Read, Seek as _, SeekFrom};
use std::mem;
use std::ops::ControlFlow;
use std::path::PathBuf;

use super::files::{FileId, Generation, Packing, generations};

const BLOCK: u64 = 64 << 10;

/// A log, read up to some point.
#[derive(Debug)]
pub(super) struct Tail {
    path: PathBuf,
    /// The file that was the youngest at the last look; its cursor is where reading goes on.
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    id: FileId,
    file: File,
}

impl Tail {
    /// The log from its first byte: one that appears while it is watched.
    pub(super) fn from_start(path: PathBuf) -> Tail {
        Tail { path, open: None }
    }

    /// The log's last lines, out of the older files too when the youngest has too few; reading goes on after them.
    pub(super) fn last_lines(path: PathBuf, lines: usize) -> io::Result<(Tail, Vec<u8>)> {
        let mut parts: Vec<Vec<u8>> = Vec::new();
        let mut missing = lines;
        let mut open = None;
        for mut generation in generations(&path)? {
            let (part, found) = match generation.packing {
                Packing::Plain => last_lines(&mut generation.file, missing)?,
                Packing::Gzip => last_lines_of(generation.text(), missing)?,
            };
            missing -= found;
            parts.push(part);
            // The youngest comes first, and is never compressed.
            let Generation { id, file, .. } = generation;
            open.get_or_insert(Open { id, file });
            if missing == 0 {
                break;
            }
        }
        parts.reverse();
        Ok((Tail { path, open }, parts.concat()))
    }

    /// Gives `take` what has been written since the last time, until it breaks off.
    pub(super) fn read(
        &mut self,
        mut take: impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> io::Result<ControlFlow<()>> {
        if let Some(open) = &mut self.open
            && open.read(&mut take)?.is_break()
        {
            return Ok(ControlFlow::Break(()));
        }
        let there = match fs::metadata(&self.path) {
            Ok(there) => FileId::of(&there),
            // Between the two steps of a rotation, or removed: what is open is still written to.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(ControlFlow::Continue(()));
            }
            Err(error) => return Err(error),
        };
        if self.open.as_ref().is_some_and(|open| open.id == there) {
            return Ok(ControlFlow::Continue(()));
        }
        let mut files = generations(&self.path)?;
        if let Some(open) = &mut self.open {
            // Nothing is written to it any more, now that there is a younger one; the last read may have been just before that.
            if open.read(&mut take)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            files = younger(files, open.id, &open.file)?;
        }
        for generation in files.into_iter().rev() {
            let read = match generation.packing {
                Packing::Gzip => read_to_end(generation.text(), &mut take)?,
                Packing::Plain => {
                    let Generation { id, file, .. } = generation;
                    self.open.insert(Open { id, file }).read(&mut take)?
                }
            };
            if read.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Leaves out what has been written meanwhile.
    pub(super) fn skip(&mut self) -> io::Result<()> {
        (*self, _) = Tail::last_lines(mem::take(&mut self.path), 0)?;
        Ok(())
    }
}

impl Open {
    fn read(
        &mut self,
        take: &mut impl FnMut(&[u8]) -> ControlFlow<()>,
    ) -> io::Result<ControlFlow<()>> {
        // Someone emptied it in place: what is there now is new.
        if self.file.metadata()?.len() < self.file.stream_position()? {
            self.file.rewind()?;
        }
        read_to_end(&self.file, take)
    }
}

/// Those of a log's files that are younger than one which was open.
pub(super) fn younger(
    mut files: Vec<Generation>,
    id: FileId,
    open: &File,
) -> io::Result<Vec<Generation>> {
    match files.iter().position(|one| one.id == id) {
        Some(place) => files.truncate(place),
        None => {
            // It has been deleted, as the oldest or by a person. Of the others, those that were there before it have been read.
            let written = open.metadata()?.modified()?;
            // One that is as old and compressed is what has become of it.
            files.retain(|one| {
                let modified = one.file.metadata().and_then(|metadata| metadata.modified());
                modified.is_ok_and(|modified| match one.packing {
                    Packing::Plain => modified >= written,
                    Packing::Gzip => modified > written,
                })
            });
        }
    }
    Ok(files)
}

fn read_to_end(
    mut text: impl Read,
    take: &mut impl FnMut(&[u8]) -> ControlFlow<()>,
) -> io::Result<ControlFlow<()>> {
    let mut block = vec![0; BLOCK as usize];
    loop {
        match text.read(&mut block) {
            Ok(0) => return Ok(ControlFlow::Continue(())),
            Ok(length) => {
                if take(&block[..length]).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// The last so many lines of what can only be read forwards, and how many there were.
fn last_lines_of(text: impl Read, lines: usize) -> io::Result<(Vec<u8>, usize)> {
    let mut text = BufReader::new(text);
    let mut last = VecDeque::new();
    loop {
        let mut line = Vec::new();
        if text.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        if last.len() == lines {
            last.pop_front();
        }
        if lines > 0 {
            last.push_back(line);
        }
    }
    let found = last.len();
    Ok((last.into_iter().flatten().collect(), found))
}

/// The last so many lines of a file as it is now, how many there were, and the cursor after them. A line without its end is one too.
fn last_lines(file: &mut File, lines: usize) -> io::Result<(Vec<u8>, usize)> {
    let end = file.seek(SeekFrom::End(0))?;
    let mut start = end;
    // A line begins at the file's start, and after every line feed but the last byte.
    let mut found = 0;
    let mut block = Vec::new();
    'blocks: while start > 0 && lines > 0 {
        let from = start.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(from))?;
        block.resize((start - from) as usize, 0);
        file.read_exact(&mut block)?;
        for (index, byte) in block.iter().enumerate().rev() {
            let after = from + index as u64 + 1;
            if *byte == b'\n' && after < end {
                found += 1;
                if found == lines {
                    start = after;
                    break 'blocks;
                }
            }
        }
        start = from;
        if start == 0 {
            found += 1;
        }
    }
    let mut text = vec![0; (end - start) as usize];
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(&mut text)?;
    Ok((text, found))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::files::append;
    use super::*;

    /// As the daemon does it.
    fn rotate(path: &Path, keep: u32) {
        let old = |age: u32| PathBuf::from(format!("{}.{age}", path.display()));
        for age in (1..keep).rev() {
            let _ = fs::rename(old(age), old(age + 1));
        }
        fs::rename(path, old(1)).unwrap();
        File::create(path).unwrap();
    }

    fn new(tail: &mut Tail) -> String {
        let mut text = Vec::new();
        let read = tail.read(|bytes| {
            text.extend_from_slice(bytes);
            ControlFlow::Continue(())
        });
        assert!(read.unwrap().is_continue());
        String::from_utf8(text).unwrap()
    }

    fn log() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1.log");
        (folder, path)
    }

    #[test]
    fn the_last_lines_of_a_file() {
        let (_folder, path) = log();
        for (text, lines, last) in [
            ("", 3, ""),
            ("a\nb\nc\n", 2, "b\nc\n"),
            ("a\nb\nc", 2, "b\nc"),
            ("a\nb\nc\n", 9, "a\nb\nc\n"),
            ("a\nb\nc\n", 0, ""),
            ("\n\n\n", 2, "\n\n"),
            ("a", 1, "a"),
        ] {
            fs::write(&path, text).unwrap();
            let (_, bytes) = Tail::last_lines(path.clone(), lines).unwrap();
            assert_eq!(String::from_utf8(bytes).unwrap(), last, "{text:?} {lines}");
        }
        let line = format!("{}\n", "x".repeat(999));
        fs::write(&path, line.repeat(500)).unwrap();
        let (_, bytes) = Tail::last_lines(path, 200).unwrap();
        assert_eq!(bytes, line.repeat(200).as_bytes());
    }

    #[test]
    fn older_files_give_what_is_missing() {
        let (_folder, path) = log();
        append(&path, "1\n2\n");
        rotate(&path, 3);
        append(&path, "3\n4\n");
        rotate(&path, 3);
        append(&path, "5\n");
        let (mut tail, bytes) = Tail::last_lines(path.clone(), 4).unwrap();
        assert_eq!(bytes, b"2\n3\n4\n5\n");
        append(&path, "6\n");
        assert_eq!(new(&mut tail), "6\n");
        let (_, bytes) = Tail::last_lines(path, 100).unwrap();
        assert_eq!(bytes, b"1\n2\n3\n4\n5\n6\n");
    }

    #[test]
    fn rotations_between_two_looks_lose_nothing() {
        let (_folder, path) = log();
        append(&path, "old\n");
        let (mut tail, _) = Tail::last_lines(path.clone(), 0).unwrap();
        append(&path, "1\n");
        rotate(&path, 5);
        append(&path, "2\n");
        rotate(&path, 5);
        append(&path, "3\n");
        rotate(&path, 5);
        append(&path, "4\n");
        assert_eq!(new(&mut tail), "1\n2\n3\n4\n");
        assert_eq!(new(&mut tail), "");
        append(&path, "5\n");
        assert_eq!(new(&mut tail), "5\n");
    }

    #[test]
    fn a_file_that_was_dropped_as_the_oldest_is_still_read_to_its_end() {
        let (_folder, path) = log();
        append(&path, "old\n");
        let (mut tail, _) = Tail::last_lines(path.clone(), 0).unwrap();
        append(&path, "1\n");
        for number in 2..=4 {
            rotate(&path, 2);
            append(&path, &format!("{number}\n"));
        }
        assert_eq!(new(&mut tail), "1\n2\n3\n4\n");
    }

    #[test]
    fn who_breaks_off_can_go_on_or_skip_the_rest() {
        let (_folder, path) = log();
        let mut tail = Tail::from_start(path.clone());
        append(&path, &"x".repeat(3 * BLOCK as usize));
        let mut blocks = 0;
        let mut one = |_: &[u8]| {
            blocks += 1;
            ControlFlow::Break(())
        };
        assert!(tail.read(&mut one).unwrap().is_break());
        assert!(tail.read(&mut one).unwrap().is_break());
        assert_eq!(blocks, 2);
        assert_eq!(new(&mut tail).len(), BLOCK as usize);
        append(&path, "old\n");
        rotate(&path, 3);
        append(&path, "old\n");
        tail.skip().unwrap();
        append(&path, "new\n");
        assert_eq!(new(&mut tail), "new\n");
    }

    #[test]
    fn an_emptied_file_starts_again_and_a_removed_one_waits() {
        let (_folder, path) = log();
        append(&path, "old\n");
        let (mut tail, _) = Tail::last_lines(path.clone(), 0).unwrap();
        fs::write(&path, "1\n").unwrap();
        assert_eq!(new(&mut tail), "1\n");
        fs::remove_file(&path).unwrap();
        assert_eq!(new(&mut tail), "");
        append(&path, "2\n");
        assert_eq!(new(&mut tail), "2\n");
    }

    #[test]
    fn a_log_that_appears_is_read_from_its_first_byte() {
        let (_folder, path) = log();
        let mut tail = Tail::from_start(path.clone());
        assert_eq!(new(&mut tail), "");
        append(&path, "1\n");
        rotate(&path, 5);
        append(&path, "2\n");
        assert_eq!(new(&mut tail), "1\n2\n");
    }
}
