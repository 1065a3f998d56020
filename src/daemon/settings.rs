//! Everything that `serve` was told, by flags and by the file, when it starts.

use std::path::PathBuf;

use super::listener::SocketOptions;
use super::log::{LogTarget, Verbosity};
use crate::config::{Config, Listen};

/// Everything that `serve` was told. Flags have won over the file already.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen. Never empty.
    pub listen: Vec<Listen>,
    /// How sockets are set up.
    pub sockets: SocketOptions,
    /// How many threads serve connections.
    pub threads: usize,
    /// The file, when there is one: its path and what it said.
    pub config: Option<(PathBuf, Config)>,
    /// The folder of the lock and of the control socket.
    pub state_dir: PathBuf,
    /// The folder of the workers' output.
    pub log_dir: PathBuf,
    /// Where the daemon's own log goes.
    pub log: LogTarget,
    /// How much it says.
    pub verbosity: Verbosity,
    /// Where to write the process id.
    pub pid_file: Option<PathBuf>,
    /// The user to become, once the sockets are bound.
    pub user: Option<String>,
    /// The job server's own options; `handle_prefix`, `seed` and `epoch` are filled in at the start.
    pub jobs: crate::jobs::Options,
}
