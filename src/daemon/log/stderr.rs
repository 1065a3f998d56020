//! Our own log on standard error, which may be a pipe that nobody reads, or a terminal that somebody has stopped with Ctrl-S.
//!
//! That must not stop the daemon: after a moment lines are left out, and counted, until there is room again.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tracing_subscriber::fmt::MakeWriter;

use crate::sys::pipe;

/// How long somebody who reads may take to go on.
const PATIENCE: Duration = Duration::from_millis(100);

/// So much fits into a pipe that has room at all, pipe(7).
const PIECE: usize = 4096;

/// Standard error, and how many lines have been left out since the last one that was not.
#[derive(Default)]
pub(super) struct Stderr(Mutex<u64>);

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(&self.0)
    }
}

/// A line's way there. It comes in one piece.
pub(super) struct Line<'a>(&'a Mutex<u64>);

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut left_out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        write_patiently(&mut io::stderr().lock(), &mut left_out, bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Only the first line that finds no room is waited with.
fn write_patiently(
    to: &mut (impl Write + AsFd),
    left_out: &mut u64,
    line: &[u8],
) -> io::Result<()> {
    let patience = match *left_out {
        0 => PATIENCE,
        _ => Duration::ZERO,
    };
    if *left_out > 0 && pipe::has_room(to.as_fd(), patience) {
        writeln!(
            to,
            "{left_out} lines are left out here, for nobody has read this"
        )?;
        *left_out = 0;
    }
    for piece in line.chunks(PIECE) {
        if !pipe::has_room(to.as_fd(), patience) {
            *left_out += 1;
            break;
        }
        to.write_all(piece)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn what_does_not_fit_is_left_out_and_counted() {
        let (mut reader, mut writer) = io::pipe().unwrap();
        let mut left_out = 0;
        let line = |n: u32| format!("{n:1000}\n");
        let lines = 200;
        for n in 0..lines {
            write_patiently(&mut writer, &mut left_out, line(n).as_bytes()).unwrap();
        }
        let there = pipe::waiting(reader.as_fd());
        assert_eq!(there / 1001 + left_out as usize, lines as usize);
        assert!(left_out > 100, "{left_out}");
        reader.read_exact(&mut vec![0; there]).unwrap();
        let told = format!("{left_out} lines are left out here, for nobody has read this\n");
        write_patiently(&mut writer, &mut left_out, b"again\n").unwrap();
        drop(writer);
        let mut rest = String::new();
        reader.read_to_string(&mut rest).unwrap();
        assert_eq!((rest, left_out), (told + "again\n", 0));
    }
}
