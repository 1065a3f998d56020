//! Everything that `serve` was told, by flags and by the file, when it starts.

use std::path::PathBuf;

use super::file::Texts;
use super::listener::SocketOptions;
use super::log::{LogTarget, Verbosity};
use crate::config::{Address, Config, PemFiles, ServerLimits};
use crate::tls::Identity;

/// Everything that `serve` was told. Flags have won over the file already.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Under whose name it was started.
    pub program: Program,
    /// Where to listen. Never empty.
    pub listen: Vec<Address>,
    /// Whether nobody named an address; sockets that systemd passes are enough then.
    pub has_default_listen: bool,
    /// What is shown where TLS is spoken.
    pub tls: Option<Identity>,
    /// Where that comes from, when flags said it; otherwise it is the file's.
    pub pem_files: Option<PemFiles>,
    /// How sockets are set up.
    pub sockets: SocketOptions,
    /// How many threads serve connections.
    pub threads: usize,
    /// What peers may take.
    pub limits: ServerLimits,
    /// Whether pools are kept from growing while the machine is short of something.
    pub load_guard: LoadGuard,
    /// Where the pools' processes get control groups.
    pub groups: ControlGroups,
    /// RLIMIT_NOFILE; as high as it may go when not said.
    pub descriptors: Option<u64>,
    /// Whether a crash leaves a core dump.
    pub core_dumps: CoreDumps,
    /// The file, when there is one.
    pub config: Option<LoadedFile>,
    /// The folder of the lock and of the control socket.
    pub state_dir: PathBuf,
    /// Whether nobody named that folder.
    pub has_default_state_dir: bool,
    /// The folder of the workers' output, when the file names one.
    pub log_dir: Option<PathBuf>,
    /// Where the daemon's own log goes.
    pub log: LogTarget,
    /// How much it says.
    pub verbosity: Verbosity,
    /// Whether it leaves the terminal.
    pub ground: Ground,
    /// Where to write the process id.
    pub pid_file: Option<PathBuf>,
    /// The user to become, once the sockets are bound.
    pub user: Option<String>,
    /// The job server's own options; `seed`, `epoch`, `pid` and such are filled in at the start.
    pub jobs: crate::jobs::Options,
}

/// A configuration file that has been read, with the files that it names.
#[derive(Clone, Debug)]
pub struct LoadedFile {
    /// Where it stands.
    pub path: PathBuf,
    /// What it says, and what it includes.
    pub texts: Texts,
    /// What that means.
    pub config: Config,
    /// What its `server.tls` names.
    pub tls: Option<Identity>,
}

/// Whether pools are kept from growing while the machine is short of processors or of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LoadGuard {
    /// Yes.
    On,
    /// No: they grow to `max`.
    Off,
}

/// Where each process of a pool gets a control group of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlGroups {
    /// In the daemon's own, if the service manager has left that to it.
    IfDelegated,
    /// Nowhere.
    Off,
    /// In this one.
    Within(PathBuf),
}

impl std::str::FromStr for ControlGroups {
    type Err = String;

    fn from_str(text: &str) -> Result<ControlGroups, String> {
        match text {
            "auto" => Ok(ControlGroups::IfDelegated),
            "off" => Ok(ControlGroups::Off),
            path if path.starts_with('/') => Ok(ControlGroups::Within(path.into())),
            _ => Err("auto, off or the path of a folder below /sys/fs/cgroup is wanted".to_owned()),
        }
    }
}

/// Where the daemon runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// Where it was started.
    Foreground,
    /// On its own, daemon(7).
    Background,
}

/// Under whose name the daemon was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Program {
    /// Its own. What it cannot have as it was told is an error.
    #[default]
    Gearpool,
    /// gearmand's: it waits for a port that is in use, and makes do where gearmand does, without the log file that it cannot open.
    Gearmand,
}

/// What the system does when the daemon crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoreDumps {
    /// What it did before.
    AsTheyWere,
    /// It writes a core dump, as far as its hard limit lets it.
    Written,
}
