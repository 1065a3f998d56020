//! What a command says beside its output.

use std::fmt::Display;
use std::io::{self, Write};

/// Writes a line to standard error. When nobody reads that any more, the command goes on without.
pub(super) fn say(text: impl Display) {
    let _ = writeln!(io::stderr(), "gearpool: {text}");
}
