//! `gearpool` under the name `gearmand`: gearmand's flags with no command before them, its defaults and its exit codes.
//!
//! What is said here about gearmand was seen on Debian's 1.1.20; `tests/gearmand_flags.rs` runs both and compares.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::Path;
use std::process::exit;

use clap::{CommandFactory as _, FromArgMatches as _, Parser};

use super::ServeArgs;
use crate::cli::Failure;
use crate::daemon::settings::Program;

/// The flag file that is read when there is one and no other is named.
const FLAG_FILE: &str = "/etc/gearmand.conf";

/// Where the log goes when nothing is said, also in the foreground.
pub(super) const LOG_FILE: &str = "/var/log/gearmand.log";

/// Every address of this machine. The second is for a machine that has IPv6.
pub(super) const EVERYWHERE: [IpAddr; 2] = [
    IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
    IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
];

/// What gearmand says of itself comes first, for scripts that ask.
const VERSION: &str = concat!("1.1.20 - gearpool ", env!("CARGO_PKG_VERSION"));

const EXAMPLES: &str = "\
This is Gearpool under gearmand's name: it takes gearmand's flags, listens on all addresses, writes /var/gearmand.pid and
/var/log/gearmand.log where it may, and reads /etc/gearmand.conf. With -c FILE it also starts the workers; see `gearpool --help`.

SIGTERM and SIGINT stop it, SIGUSR1 stops it when the running jobs have ended, SIGHUP opens the log anew.";

/// A Gearman job server that takes gearmand's place.
#[derive(Debug, Parser)]
#[command(name = "gearmand")]
struct Gearmand {
    #[command(flatten)]
    serve: ServeArgs,
}

fn command() -> clap::Command {
    Gearmand::command().version(VERSION).after_help(EXAMPLES)
}

/// Reads the command line, and ends the program where that is wrong or asks for help: with 1, where our own commands end with 2.
pub(in crate::cli) fn parse(words: Vec<OsString>) -> ServeArgs {
    let matches = command().try_get_matches_from(words);
    match matches.and_then(|matches| Gearmand::from_arg_matches(&matches)) {
        Ok(Gearmand { serve }) => ServeArgs {
            program: Program::Gearmand,
            ..serve
        },
        Err(error) => {
            // nobody may be reading, which changes nothing
            let _ = error.print();
            exit(i32::from(error.use_stderr()))
        }
    }
}

/// The flags of a flag file: `named`, or gearmand's own if there is one.
///
/// # Errors
/// [`Failure::Usage`]: a file that cannot be read, or that says what the command line could not.
pub(super) fn flag_file(
    named: Option<&Path>,
    program: Program,
) -> Result<Option<ServeArgs>, Failure> {
    let path = match (named, program) {
        (Some(path), _) => path,
        (None, Program::Gearmand) => Path::new(FLAG_FILE),
        (None, Program::Gearpool) => return Ok(None),
    };
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if named.is_none() && error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            let path = path.display();
            return Err(Failure::Usage(format!("--config-file {path}: {error}")));
        }
    };
    let usage = |text: &str| Failure::Usage(format!("--config-file {}: {text}", path.display()));
    let words = words(&text).ok_or_else(|| usage("a quote is not closed"))?;
    let matches =
        command().try_get_matches_from([OsString::from("gearmand")].into_iter().chain(words));
    let read = matches.and_then(|matches| Gearmand::from_arg_matches(&matches));
    match read {
        Ok(Gearmand { serve }) if serve.config_file.is_some() => {
            Err(usage("a flag file does not name another"))
        }
        Ok(Gearmand { serve }) => Ok(Some(serve)),
        Err(error) => {
            let text = error.render().to_string();
            let first = text.lines().next().unwrap_or_default();
            let first = first.trim_start_matches("error: ");
            Err(usage(&format!(
                "{first}; it holds flags as on the command line, like --port=4730"
            )))
        }
    }
}

/// gearmand splits the file at blanks and line ends. Quotes and comments are ours.
fn words(text: &str) -> Option<Vec<OsString>> {
    let lines = text.lines().map(str::trim_start);
    let mut words = Vec::new();
    for line in lines.filter(|line| !line.starts_with('#')) {
        words.extend(shlex::split(line)?.into_iter().map(OsString::from));
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_sound() {
        command().debug_assert();
        assert!(VERSION.starts_with(crate::proto::admin::GEARMAND_VERSION));
    }

    #[test]
    fn a_flag_file_is_a_command_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gearmand.conf");
        let read = |text: &str| {
            fs::write(&path, text).unwrap();
            flag_file(Some(&path), Program::Gearpool).map(Option::unwrap)
        };
        let flags = read("# ours\n--port=4731 -R\n  --listen '127.0.0.1' # the first\n\n").unwrap();
        assert_eq!(flags.port.as_deref(), Some("4731"));
        assert!(flags.round_robin);
        assert_eq!(flags.listen, ["127.0.0.1"]);
        for (text, part) in [
            (
                "port=4731",
                "unexpected argument 'port=4731' found; it holds",
            ),
            ("--listen 'a", "a quote is not closed"),
            ("--config-file=b", "does not name another"),
            ("--nosuch", "unexpected argument '--nosuch'"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        let missing = Some(folder.path().join("none"));
        assert!(flag_file(missing.as_deref(), Program::Gearmand).is_err());
        assert!(flag_file(None, Program::Gearpool).unwrap().is_none());
    }
}
