//! Command line → daemon or a client command; an error → its sentence and exit code.

use std::process::ExitCode;

use gearpool::cli::{Cli, terminal};
use gearpool::sys::guardian;

fn main() -> ExitCode {
    guardian::main();
    match Cli::from_words(std::env::args_os()).run() {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            terminal::say(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}
