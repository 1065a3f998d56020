//! Standard output: how wide it is, whether it has colours, and what happens when nobody reads it any more.

use std::env;
use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;

use anyhow::Context as _;

use super::Failure;
use crate::status::{Colour, Look};
use crate::sys::pipe;

/// Whether what was printed can still be read by someone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// It can.
    There,
    /// The pipe is closed, as by `| head`: there is nothing left to do, and nothing to complain about.
    Gone,
}

/// How text should look on standard output. Colours go to a terminal only, unless `NO_COLOR` is set to something or it is a `dumb` one.
pub fn look() -> Look {
    let stdout = io::stdout();
    let is_set = |name: &str| env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
    let colour = if stdout.is_terminal() && !is_set("NO_COLOR") && !dumb {
        Colour::On
    } else {
        Colour::Off
    };
    Look {
        width: size().map(|(columns, _)| columns),
        colour,
    }
}

/// The columns and rows of the terminal that standard output is, if it is one.
pub fn size() -> Option<(usize, usize)> {
    let (width, height) = terminal_size::terminal_size_of(io::stdout())?;
    // A serial line may claim to have none.
    (width.0 > 0 && height.0 > 0).then_some((width.0.into(), height.0.into()))
}

/// Writes the text to standard output, all of it, now.
///
/// # Errors
/// What writing gives, but for a closed pipe.
pub fn print(text: &str) -> Result<Reader, Failure> {
    print_bytes(text.as_bytes())
}

/// The same with what may be no text: a function's name is bytes.
///
/// # Errors
/// Those of [`print()`].
pub fn print_bytes(bytes: &[u8]) -> Result<Reader, Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(bytes).and_then(|()| stdout.flush());
    reader(written)
}

/// What became of a write to standard output.
///
/// # Errors
/// What writing gave, but for a closed pipe.
pub fn reader(written: io::Result<()>) -> Result<Reader, Failure> {
    match written {
        Ok(()) => Ok(Reader::There),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(error).context("cannot write to standard output")?,
    }
}

/// Whether anyone still reads standard output, without writing to it.
pub fn asked() -> Reader {
    if pipe::has_reader(io::stdout().as_fd()) {
        Reader::There
    } else {
        Reader::Gone
    }
}

/// Says something on standard error that is no result. Nobody may be reading there either, which is no reason to end.
pub fn say(text: impl Display) {
    let _ = writeln!(io::stderr(), "gearpool: {text}");
}
