//! The system's log, syslog(3).

use std::ffi::CStr;

use nix::syslog::{Facility, LogFlags, Priority, Severity, openlog, syslog};

/// How grave a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gravity {
    /// Something failed.
    Error,
    /// Something may.
    Warning,
    /// Somebody should know.
    Info,
    /// Somebody may want to know.
    Debug,
}

/// Opens it under a program's name, for the whole process.
pub fn open(name: &'static CStr) {
    // it fails for a name that it has not got only
    let _ = openlog(
        Some(name),
        LogFlags::LOG_PID | LogFlags::LOG_NDELAY,
        Facility::LOG_DAEMON,
    );
}

/// Writes a line. Where no system logger listens it is lost, as syslog(3) has it.
pub fn write(gravity: Gravity, line: &str) {
    let severity = match gravity {
        Gravity::Error => Severity::LOG_ERR,
        Gravity::Warning => Severity::LOG_WARNING,
        Gravity::Info => Severity::LOG_INFO,
        Gravity::Debug => Severity::LOG_DEBUG,
    };
    // a line with a NUL in it is not to be had
    let _ = syslog(Priority::new(severity, Facility::LOG_DAEMON), line);
}
