//! The daemon's own log: to standard error, to a file that can be opened anew, or nowhere.

mod stderr;

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use self::stderr::Stderr;
use super::trace;
use crate::sys::syslog::{self, Gravity};

/// Where the log goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard error.
    Stderr,
    /// A file, opened anew on SIGHUP.
    File(PathBuf),
    /// The system's log.
    Syslog,
    /// Nowhere.
    Nowhere,
}

impl fmt::Display for LogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LogTarget::Stderr => f.write_str("standard error"),
            LogTarget::File(path) => write!(f, "{}", path.display()),
            LogTarget::Syslog => f.write_str("syslog"),
            LogTarget::Nowhere => f.write_str("nowhere"),
        }
    }
}

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// What went wrong.
    Errors,
    /// And what may.
    Warnings,
    /// And the daemon's and the processes' coming and going. The default.
    Usual,
    /// And connections and registered functions, `-v`.
    Connections,
    /// And jobs, `-vv`.
    Jobs,
    /// And every packet, `-vvv`.
    Packets,
}

impl Verbosity {
    /// What gearmand calls it.
    pub fn gearmand_name(self) -> &'static str {
        match self {
            Verbosity::Errors => "ERROR",
            Verbosity::Warnings => "WARNING",
            Verbosity::Usual => "NOTICE",
            Verbosity::Connections => "INFO",
            Verbosity::Jobs | Verbosity::Packets => "DEBUG",
        }
    }
}

/// The log once it has been started.
#[derive(Clone)]
pub struct Log {
    file: Option<Arc<LogFile>>,
}

struct LogFile {
    path: PathBuf,
    file: Mutex<File>,
}

impl Log {
    /// Starts it, for the whole process.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn start(target: &LogTarget, verbosity: Verbosity) -> io::Result<Log> {
        let layer = tracing_subscriber::fmt::layer().with_target(false);
        let registry = tracing_subscriber::registry().with(filter(verbosity));
        match target {
            LogTarget::Stderr => {
                let has_colours = io::stderr().is_terminal()
                    && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
                registry
                    .with(layer.with_ansi(has_colours).with_writer(Stderr::default()))
                    .init();
                Ok(Log { file: None })
            }
            LogTarget::File(path) => {
                let file = Arc::new(LogFile {
                    path: path.clone(),
                    file: Mutex::new(open(path)?),
                });
                registry
                    .with(
                        layer
                            .with_ansi(false)
                            .with_writer(Writer(Arc::clone(&file))),
                    )
                    .init();
                Ok(Log { file: Some(file) })
            }
            LogTarget::Syslog => {
                syslog::open(c"gearpool");
                // the system's log has a time and a name for each line already
                let layer = layer.without_time().with_level(false).with_ansi(false);
                registry.with(layer.with_writer(Syslog)).init();
                Ok(Log { file: None })
            }
            LogTarget::Nowhere => Ok(Log { file: None }),
        }
    }

    /// Opens the file anew, after something like logrotate has renamed it.
    pub fn reopen(&self) {
        let Some(log) = &self.file else { return };
        match open(&log.path) {
            Ok(file) => *log.file.lock().unwrap_or_else(PoisonError::into_inner) = file,
            Err(error) => {
                tracing::error!(%error, path = %log.path.display(), "cannot open the log anew; going on with the old file")
            }
        }
    }
}

fn filter(verbosity: Verbosity) -> Targets {
    let ours = match verbosity {
        Verbosity::Errors => LevelFilter::ERROR,
        Verbosity::Warnings => LevelFilter::WARN,
        Verbosity::Usual => LevelFilter::INFO,
        Verbosity::Connections | Verbosity::Jobs | Verbosity::Packets => LevelFilter::DEBUG,
    };
    let targets = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("gearpool", ours);
    let shown = |from: Verbosity| {
        if verbosity >= from {
            LevelFilter::TRACE
        } else {
            ours
        }
    };
    targets
        .with_target(trace::MOVES, shown(Verbosity::Jobs))
        .with_target(trace::CHATTER, shown(Verbosity::Packets))
}

/// A log file, made where there is none.
pub(super) fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

struct Writer(Arc<LogFile>);

impl<'a> MakeWriter<'a> for Writer {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> LineWriter<'a> {
        LineWriter(&self.0.file)
    }
}

struct LineWriter<'a>(&'a Mutex<File>);

impl Write for LineWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Syslog;

impl<'a> MakeWriter<'a> for Syslog {
    type Writer = SyslogLine;

    fn make_writer(&'a self) -> SyslogLine {
        SyslogLine(Gravity::Info)
    }

    fn make_writer_for(&'a self, about: &Metadata<'_>) -> SyslogLine {
        SyslogLine(match *about.level() {
            Level::ERROR => Gravity::Error,
            Level::WARN => Gravity::Warning,
            Level::INFO => Gravity::Info,
            Level::DEBUG | Level::TRACE => Gravity::Debug,
        })
    }
}

/// A line's way to the system's log. It comes in one piece.
struct SyslogLine(Gravity);

impl Write for SyslogLine {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        syslog::write(self.0, String::from_utf8_lossy(bytes).trim());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
