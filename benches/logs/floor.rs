//! The least that one could do in a loop of poll(2), read(2) and write(2).

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::WRITERS;

/// As much as a pipe holds.
const BUFFER: usize = 64 << 10;
const MOST: usize = 10 << 20;
const KEPT: u32 = 5;

struct Log {
    pipe: ChildStdout,
    path: PathBuf,
    file: File,
    size: usize,
}

/// `--floor FOLDER COMMAND…`: starts the writers, and writes what they write until they have ended.
pub(crate) fn write(words: &[String]) {
    let folder = Path::new(&words[0]);
    let mut logs: Vec<Log> = (1..=WRITERS)
        .map(|slot| {
            let mut command = Command::new(&words[1]);
            command.args(&words[2..]).stdout(Stdio::piped());
            let path = folder.join(format!("w{slot}.log"));
            Log {
                pipe: command.spawn().unwrap().stdout.unwrap(),
                file: File::create(&path).unwrap(),
                path,
                size: 0,
            }
        })
        .collect();
    let mut buffer = vec![0; BUFFER];
    while !logs.is_empty() {
        let polled = logs
            .iter()
            .map(|log| PollFd::new(log.pipe.as_fd(), PollFlags::POLLIN));
        let mut polled: Vec<_> = polled.collect();
        poll(&mut polled, PollTimeout::NONE).unwrap();
        let mut ready = polled
            .iter()
            .map(|it| it.any().unwrap_or(true))
            .collect::<Vec<_>>()
            .into_iter();
        logs.retain_mut(|log| !ready.next().unwrap_or(false) || log.move_some(&mut buffer));
    }
}

impl Log {
    /// Returns false at the end.
    fn move_some(&mut self, buffer: &mut [u8]) -> bool {
        let length = self.pipe.read(buffer).unwrap();
        self.file.write_all(&buffer[..length]).unwrap();
        self.size += length;
        if self.size > MOST {
            let older = |age: u32| match age {
                0 => self.path.clone(),
                _ => PathBuf::from(format!("{}.{age}", self.path.display())),
            };
            for age in (0..KEPT).rev() {
                // the first times there is none
                let _ = std::fs::rename(older(age), older(age + 1));
            }
            self.file = File::create(&self.path).unwrap();
            self.size = 0;
        }
        length > 0
    }
}
