//! What a configuration is, after every default has been filled in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::address::Address;
use super::command::fill;
use super::cron::Cron;
use super::tree::Place;

/// A whole file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// The `server:` section.
    pub server: Server,
    /// The pools, in the order of the file.
    pub pools: IndexMap<String, Pool>,
}

/// The `server:` section. `None` is "not said": flags and the shell's defaults fill it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Server {
    /// Where the job server listens; empty is the default, `127.0.0.1:4730`.
    pub listen: Vec<Address>,
    /// Where and how TLS is spoken, besides.
    pub tls: Option<Tls>,
    /// Where the daemon keeps its lock, its control socket and its logs. Relative to the file.
    pub state_dir: Option<PathBuf>,
    /// Where the workers' output goes; `<state_dir>/logs` by default. Relative to the file.
    pub log_dir: Option<PathBuf>,
    /// No more processes than this in all pools together.
    pub max_processes: Option<u32>,
    /// What pools have that do not say whether the daemon ends when they do not work.
    pub exit_on_failure: bool,
    /// What peers may take.
    pub limits: ServerLimits,
}

/// `server.limits:`, what clients and workers may take of this machine; `None` is the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerLimits {
    /// Connections at once.
    pub connections: Option<usize>,
    /// The longest packet, in bytes.
    pub packet_size: Option<u64>,
    /// What waits for one peer that does not read, in bytes.
    pub mailbox: Option<u64>,
    /// What is kept for all peers that do not read, or send half a packet, in bytes.
    pub buffers: Option<u64>,
    /// What all jobs may take, in bytes.
    pub queued_bytes: Option<u64>,
    /// Jobs of one function.
    pub queue_length: Option<u32>,
}

impl ServerLimits {
    /// Takes what this does not say from `other`.
    pub fn or(self, other: ServerLimits) -> ServerLimits {
        ServerLimits {
            connections: self.connections.or(other.connections),
            packet_size: self.packet_size.or(other.packet_size),
            mailbox: self.mailbox.or(other.mailbox),
            buffers: self.buffers.or(other.buffers),
            queued_bytes: self.queued_bytes.or(other.queued_bytes),
            queue_length: self.queue_length.or(other.queue_length),
        }
    }
}

/// `server.tls:`, a listener of its own that speaks TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// Where it listens, each an [`Address::Tls`]. Never empty; `127.0.0.1:4731` unless said otherwise.
    pub listen: Vec<Address>,
    /// What it shows, and asks for.
    pub files: PemFiles,
    /// Where the file names them, for what is found wrong with them later.
    pub places: PemPlaces,
}

/// The PEM files of TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PemFiles {
    /// The server's certificate, and after it those between it and its CA. Relative to the file.
    pub cert: PathBuf,
    /// Its private key. Relative to the file.
    pub key: PathBuf,
    /// The CA that has to have signed the clients' certificates; without it none are asked for. Relative to the file.
    pub client_ca: Option<PathBuf>,
}

/// Where the file names its [`PemFiles`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields of PemFiles")]
pub struct PemPlaces {
    pub cert: Place,
    pub key: Place,
    pub client_ca: Place,
}

/// One entry of `functions:`, a pool of processes of one command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pool {
    /// The key.
    pub name: String,
    /// What is started.
    pub command: Command,
    /// The functions that its processes register; the pool's name unless said otherwise. Never empty.
    pub functions: Vec<String>,
    /// How many processes at least. With 0 the first starts when a job comes.
    pub min: u32,
    /// How many at most.
    pub max: u32,
    /// The working directory, absolute or relative to the file.
    pub cwd: Option<PathBuf>,
    /// Variables added to the daemon's environment.
    pub env: BTreeMap<String, String>,
    /// A file of `NAME=value` lines, read when a process starts; `env` wins over it. Relative to the file.
    pub env_file: Option<PathBuf>,
    /// The user to run as.
    pub user: Option<String>,
    /// The group to run as; the user's own when only a user is named.
    pub group: Option<String>,
    /// The file mode creation mask.
    pub umask: Option<u32>,
    /// The scheduling priority, -20 to 19.
    pub nice: Option<i32>,
    /// Resource limits.
    pub limits: Limits,
    /// Whether nothing that it executes may gain privileges, as by set-user-ID, PR_SET_NO_NEW_PRIVS(2const).
    pub no_new_privileges: bool,
    /// Drain and replace a process after this many jobs.
    pub max_jobs: Option<u64>,
    /// Drain and replace a process after this time.
    pub max_lifetime: Option<Duration>,
    /// Drain and replace a process that takes, with its children, more bytes of memory.
    pub max_memory: Option<u64>,
    /// How long a job may run before its process is killed for it.
    pub timeout: Option<Duration>,
    /// How many processes a job may take down before it is set aside as failed; 0 is no limit.
    pub attempts: u32,
    /// How often a background job that has failed is tried again.
    pub retries: u32,
    /// How long the first of those waits; each further one twice as long.
    pub retry_delay: Duration,
    /// How long a process may take to register one of its functions.
    pub start_timeout: Duration,
    /// How a process is asked to stop.
    pub stop_signal: Signal,
    /// How long a job may go on at shutdown, and how long a process may take to end after `stop_signal`.
    pub stop_timeout: Duration,
    /// Whether a process that ended by itself is started again.
    pub restart: Restart,
    /// Whether the daemon ends when this pool does not work.
    pub exit_on_failure: bool,
    /// What has to succeed before processes are started from a new file, or anew.
    pub check: Option<Command>,
    /// How long that may take.
    pub check_timeout: Duration,
    /// The files of its code: when one changes, its processes are replaced.
    pub watch: Watch,
    /// When the pool grows and shrinks.
    pub scale: Scale,
    /// Its weight where `server.max_processes` does not give every pool what it wants.
    pub priority: u32,
    /// Its log files.
    pub log: Log,
}

/// What a pool starts. `{pool}` and `{slot}` are still in the words: they are filled in when a process is started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// `cmd`: a worker, executed directly.
    Exec(Vec<String>),
    /// `cmd` with `shell: true`: a worker, executed by `sh -c`.
    Shell(String),
    /// `run`: a command for each job, the workload on its standard input, executed by `gearpool work`.
    Run(Vec<String>),
    /// `run` with `shell: true`: the same, executed by `sh -c`.
    RunShell(String),
}

/// The files of a pool's code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// Where relative patterns begin: the pool's `cwd`, or else the folder of the file.
    pub folder: PathBuf,
    /// Patterns of file names, as glob(7) has them, and `**` for any number of folders. Empty is no watching.
    pub globs: Vec<String>,
}

impl Watch {
    /// A pattern that begins in a folder, as a pattern of whole paths.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn pattern(folder: &Path, glob: &str) -> Result<glob::Pattern, glob::PatternError> {
        let folder = glob::Pattern::escape(&folder.to_string_lossy());
        // an absolute one stays as it is
        let whole = Path::new(&folder).join(glob);
        // "./x" is x
        let whole: PathBuf = whole.components().collect();
        glob::Pattern::new(&whole.to_string_lossy())
    }
}

/// When a process that ended by itself is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Restart {
    /// Whatever its exit status.
    Always,
    /// Unless it exited with 0.
    OnFailure,
    /// Not at all.
    Never,
}

impl Restart {
    /// As the file has it.
    pub const fn name(self) -> &'static str {
        match self {
            Restart::Always => "always",
            Restart::OnFailure => "on-failure",
            Restart::Never => "never",
        }
    }
}

/// A signal that may ask a process to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the signals' own names, signal(7)")]
pub enum Signal {
    Hup,
    Int,
    Quit,
    Term,
    Usr1,
    Usr2,
    Kill,
}

impl Signal {
    /// Every one, in signal(7)'s order of numbers.
    pub const ALL: [Signal; 7] = [
        Signal::Hup,
        Signal::Int,
        Signal::Quit,
        Signal::Kill,
        Signal::Usr1,
        Signal::Usr2,
        Signal::Term,
    ];

    /// Its name without SIG, as the file writes it: `TERM`.
    pub fn name(self) -> &'static str {
        match self {
            Signal::Hup => "HUP",
            Signal::Int => "INT",
            Signal::Quit => "QUIT",
            Signal::Term => "TERM",
            Signal::Usr1 => "USR1",
            Signal::Usr2 => "USR2",
            Signal::Kill => "KILL",
        }
    }
}

/// Reads `TERM` or `SIGTERM`, in capitals or not.
impl FromStr for Signal {
    type Err = NoSignal;

    fn from_str(text: &str) -> Result<Signal, NoSignal> {
        let name = text.to_ascii_uppercase();
        let name = name.strip_prefix("SIG").unwrap_or(&name);
        Signal::ALL
            .into_iter()
            .find(|signal| signal.name() == name)
            .ok_or(NoSignal)
    }
}

/// The text is no name of a [`Signal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no such signal")]
pub struct NoSignal;

/// What a process may use, setrlimit(2). What is not in it is as the daemon has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits(pub BTreeMap<Resource, Limit>);

/// Something that a process may use so much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Resource {
    /// RLIMIT_NOFILE, descriptors.
    Nofile,
    /// RLIMIT_NPROC, processes of the user.
    Nproc,
    /// RLIMIT_CORE, bytes of a core file.
    Core,
    /// RLIMIT_AS, bytes of address space.
    AddressSpace,
    /// RLIMIT_CPU, seconds.
    Cpu,
    /// RLIMIT_DATA, bytes of data and heap.
    Data,
    /// RLIMIT_STACK, bytes of stack.
    Stack,
    /// RLIMIT_FSIZE, bytes of a file that it writes.
    Fsize,
    /// RLIMIT_MEMLOCK, bytes of memory that is not swapped out.
    Memlock,
}

/// How much of it. [`Limit::UNLIMITED`] is a value too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// What is in force, which the process may raise up to `hard`; `None` is as much as that.
    pub soft: Option<u64>,
    /// The most that it may be; `None` leaves what the daemon has.
    pub hard: Option<u64>,
}

impl Resource {
    /// Every one.
    pub const ALL: [Resource; 9] = [
        Resource::Nofile,
        Resource::Nproc,
        Resource::Core,
        Resource::AddressSpace,
        Resource::Cpu,
        Resource::Data,
        Resource::Stack,
        Resource::Fsize,
        Resource::Memlock,
    ];

    /// Its key in the file.
    pub const fn name(self) -> &'static str {
        match self {
            Resource::Nofile => "nofile",
            Resource::Nproc => "nproc",
            Resource::Core => "core",
            Resource::AddressSpace => "address_space",
            Resource::Cpu => "cpu",
            Resource::Data => "data",
            Resource::Stack => "stack",
            Resource::Fsize => "fsize",
            Resource::Memlock => "memlock",
        }
    }
}

impl Limit {
    /// RLIM_INFINITY.
    pub const UNLIMITED: u64 = u64::MAX;

    /// So much and no more, not even if the process asks.
    pub const fn of(value: u64) -> Limit {
        Limit {
            soft: Some(value),
            hard: Some(value),
        }
    }
}

/// When a pool grows and shrinks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scale {
    /// `scale: off`: it has `min` processes, whatever waits.
    pub off: bool,
    /// How long a job should wait at most; learned from the jobs when not said.
    pub target_wait: Option<Duration>,
    /// The per cent of the jobs that are to wait no longer than that, where starting a process takes long.
    pub service_level: u32,
    /// How long the need must have been lower before processes are stopped; learned when not said.
    pub down_after: Option<Duration>,
    /// How many of its processes may be starting at once.
    pub step: Option<u32>,
    /// Known rushes, in the order of the file.
    pub schedule: Vec<Rush>,
}

/// A known rush: other bounds for some time.
///
/// It is in force from each minute that `cron` names, in the local time of the machine, for as long as `lasts`. Of several that are in
/// force the one that began last counts, and of those that began in the same minute the last in the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rush {
    /// When it begins.
    pub cron: Cron,
    /// How long it lasts, at most 31 days.
    pub lasts: Duration,
    /// How many processes at least; the pool's own `min` when not said.
    pub min: Option<u32>,
    /// How many at most; the pool's own `max` when not said.
    pub max: Option<u32>,
}

impl Rush {
    /// The bounds that `pool` has while this is in force.
    pub fn bounds(&self, pool: &Pool) -> (u32, u32) {
        (self.min.unwrap_or(pool.min), self.max.unwrap_or(pool.max))
    }
}

/// A pool's log files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// Where a slot's output goes: a path with `{pool}` and `{slot}` in it, absolute or relative to the file. `None` is
    /// `<log_dir>/<pool>/<slot>.log`.
    pub file: Option<String>,
    /// Where its standard error goes.
    pub stderr: Stderr,
    /// Rotate past this many bytes.
    pub max_size: u64,
    /// How many rotated files to keep.
    pub keep: u32,
    /// Whether rotated files are compressed, as gzip does.
    pub compress: bool,
    /// What a line looks like.
    pub format: LogFormat,
    /// Put the time before each line of text. JSON has it always.
    pub timestamps: bool,
    /// Break lines longer than this many bytes.
    pub max_line: u64,
}

/// Where a pool's standard error goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stderr {
    /// Into the file of its standard output, in the order written.
    #[default]
    Together,
    /// Into a file beside it: `3.err.log` for `3.log`.
    Separate,
    /// Into a file of its own, a path like [`Log::file`].
    File(String),
}

/// What a line of a log looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogFormat {
    /// As the worker wrote it.
    #[default]
    Text,
    /// A JSON object: time, pool, slot, pid, stream, job, line.
    Json,
}

impl Log {
    /// The path that a pattern of [`Log::file`] means for a slot.
    pub fn path(pattern: &str, pool: &str, slot: u32) -> PathBuf {
        PathBuf::from(fill(pattern, pool, &slot.to_string()))
    }

    /// Whether this is only written to, and neither rotated nor indexed, such as the daemon's own standard output.
    pub fn is_device(path: &Path) -> bool {
        path.starts_with("/dev")
    }
}

impl Default for Scale {
    fn default() -> Scale {
        Scale {
            off: false,
            target_wait: None,
            service_level: 95,
            down_after: None,
            step: None,
            schedule: Vec::new(),
        }
    }
}

impl Default for Log {
    fn default() -> Log {
        Log {
            file: None,
            stderr: Stderr::Together,
            max_size: 10 << 20,
            keep: 5,
            compress: false,
            format: LogFormat::Text,
            timestamps: false,
            max_line: 1 << 20,
        }
    }
}

impl Pool {
    /// A pool with every default, as `NAME: {cmd: …}` gives it.
    pub fn new(name: &str, command: Command) -> Pool {
        Pool {
            name: name.to_owned(),
            command,
            functions: vec![name.to_owned()],
            min: 1,
            max: 1,
            cwd: None,
            env: BTreeMap::new(),
            env_file: None,
            user: None,
            group: None,
            umask: None,
            nice: None,
            limits: Limits::default(),
            no_new_privileges: false,
            max_jobs: None,
            max_lifetime: None,
            max_memory: None,
            timeout: None,
            attempts: 3,
            retries: 0,
            retry_delay: Duration::from_secs(1),
            start_timeout: Duration::from_secs(10),
            stop_signal: Signal::Term,
            stop_timeout: Duration::from_secs(30),
            restart: Restart::Always,
            exit_on_failure: false,
            check: None,
            check_timeout: Duration::from_secs(30),
            watch: Watch::default(),
            scale: Scale::default(),
            priority: 1,
            log: Log::default(),
        }
    }

    /// Whether processes started from `other` are what this pool would start: if not, they have to be replaced.
    pub fn starts_the_same(&self, other: &Pool) -> bool {
        let neutral = |pool: &Pool| Pool {
            min: 0,
            max: 0,
            max_jobs: None,
            max_lifetime: None,
            max_memory: None,
            timeout: None,
            attempts: 0,
            retries: 0,
            retry_delay: Duration::ZERO,
            start_timeout: Duration::ZERO,
            stop_timeout: Duration::ZERO,
            stop_signal: Signal::Term,
            restart: Restart::Always,
            exit_on_failure: false,
            check: None,
            check_timeout: Duration::ZERO,
            watch: Watch::default(),
            scale: Scale::default(),
            priority: 1,
            ..pool.clone()
        };
        neutral(self) == neutral(other)
    }
}
