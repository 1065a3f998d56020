//! `gearpool serve`: run the job server and the pools, in the foreground.

pub(super) mod gearmand;
mod refused;

use std::fmt::Display;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::thread::available_parallelism;
use std::time::Duration;

use clap::ArgAction;

use self::refused::Refused;
use super::ssl::SslArgs;
use super::{Failure, absolute, terminal};
use crate::config::units::parse_size;
use crate::config::{Address, DEFAULT_PORT, ServerLimits};
use crate::daemon::listener::{Keepalive, SocketOptions};
use crate::daemon::log::{LogTarget, Verbosity};
use crate::daemon::settings::{
    ControlGroups, CoreDumps, Ground, LoadGuard, LoadedFile, Program, Settings,
};
use crate::daemon::{self, file, paths};
use crate::jobs::Options;
use crate::sys::{handover, net};

/// What gearmand falls back to as well, where a port is asked for in the environment.
const PORT_VARIABLE: &str = "GEARMAND_PORT";

/// More threads than this gain nothing: the job server itself is one.
const MAX_THREADS: usize = 64;

/// With fewer descriptors there is no room for its own, let alone for connections.
const MIN_DESCRIPTORS: u64 = 64;

const EXAMPLES: &str = "\
Examples:
  gearpool serve                          a job server on 127.0.0.1:4730, as gearmand is
  gearpool serve -c workers.yaml          the same, and the pools of the file
  gearpool serve -L 0.0.0.0 -p 4731 -vvv  for other machines, showing every packet

The file is read again when it changes, on SIGHUP and by `gearpool reload`.
SIGTERM and Ctrl-C let running jobs finish within their pool's stop_timeout; a second one ends at once.
SIGUSR1 ends when all running jobs have ended.
SIGUSR2 is what `gearpool upgrade` does: the program's file, which may be another version, goes on with everything.

All flags of gearmand are taken. A copy of this program or a link to it by the name gearmand takes them with no command before
them, and has gearmand's defaults: it listens on all addresses and logs to /var/log/gearmand.log.";

const LIMITS: &str = "What clients and workers may take (see also server.limits of the file)";

/// Run the job server, and the pools of a configuration file, in the foreground.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ServeArgs {
    /// The YAML file of functions; without one this is a plain job server
    #[arg(short, long, value_name = "FILE", env = "GEARPOOL_CONFIG")]
    config: Option<PathBuf>,
    /// The address to listen on, or unix:/path; may be given more than once [default: 127.0.0.1; as gearmand all addresses]
    #[arg(short = 'L', long, value_name = "ADDRESS")]
    listen: Vec<String>,
    /// The port to listen on [default: 4730] [env: GEARMAND_PORT]
    #[arg(short, long, value_name = "PORT")]
    port: Option<String>,
    /// Say more: -v connections and functions, -vv jobs, -vvv every packet
    #[arg(short = 'v', action = ArgAction::Count)]
    v: u8,
    /// How much to say, in gearmand's words: FATAL, ALERT, CRITICAL, ERROR, WARNING, NOTICE, INFO, DEBUG [default: NOTICE; as gearmand without -c ERROR]
    #[arg(long, value_name = "LEVEL", num_args = 0..=1, default_missing_value = "INFO", ignore_case = true,
          value_parser = ["FATAL", "ALERT", "CRITICAL", "ERROR", "WARNING", "NOTICE", "INFO", "DEBUG"])]
    verbose: Option<String>,
    /// Go to the background; the command returns once the server listens, or says why it does not
    #[arg(short, long)]
    daemon: bool,
    /// Write the process id to this file; it is removed in the end [default: none; as gearmand /var/gearmand.pid if that can be]
    #[arg(short = 'P', long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Where the daemon's own log goes: a file, `stderr` or `none` [default: stderr; as gearmand /var/log/gearmand.log]
    #[arg(short, long, value_name = "FILE")]
    log_file: Option<PathBuf>,
    /// Log to syslog instead
    #[arg(long)]
    syslog: bool,
    /// The user to become once the sockets are bound
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// A job whose workers have vanished this many times has failed, whatever "attempts" its pool has; 0 and -1 are no limit but that
    /// [default: 0]
    #[arg(short, long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(-1..=i64::from(u32::MAX)))]
    job_retries: Option<i64>,
    /// Without effect: functions always take turns
    #[arg(short = 'R', long)]
    round_robin: bool,
    /// How many sleeping workers to wake for a job, at least; enough for all jobs are woken anyway [default: 1]
    #[arg(short, long, value_name = "N")]
    worker_wakeup: Option<u32>,
    /// How many threads serve connections, 64 at most; 0 is one a processor [default: 1]
    #[arg(short, long, value_name = "N")]
    threads: Option<u16>,
    /// How many connections may wait to be accepted [default: 1024]
    #[arg(short, long, value_name = "N")]
    backlog: Option<i32>,
    /// The most descriptors, RLIMIT_NOFILE, of which each connection is one; the hard limit when not given
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(MIN_DESCRIPTORS..))]
    file_descriptors: Option<u64>,
    /// The most connections at once [default: what the limit of descriptors leaves, less 4096 or a quarter]
    #[arg(long, value_name = "N", help_heading = LIMITS)]
    max_connections: Option<usize>,
    /// The longest packet [default: 64MiB]
    #[arg(long, value_name = "SIZE", help_heading = LIMITS, value_parser = size)]
    max_packet: Option<u64>,
    /// What may wait for one peer that does not read, before it is cut off [default: 128MiB]
    #[arg(long, value_name = "SIZE", help_heading = LIMITS, value_parser = size)]
    max_mailbox: Option<u64>,
    /// What is kept for all peers that do not read or have sent half a packet [default: a quarter of the memory]
    #[arg(long, value_name = "SIZE", help_heading = LIMITS, value_parser = size)]
    max_buffers: Option<u64>,
    /// What all jobs may take, past which a new one is refused [default: half of the memory]
    #[arg(long, value_name = "SIZE", help_heading = LIMITS, value_parser = size)]
    max_queued: Option<u64>,
    /// How many jobs a function may have, unless `maxqueue` says otherwise [default: any number]
    #[arg(long, value_name = "N", help_heading = LIMITS)]
    max_queue: Option<u32>,
    /// Probe silent TCP connections
    #[arg(long)]
    keepalive: bool,
    /// Seconds of silence before the first probe, with --keepalive; -1 is the system's value
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    keepalive_idle: Option<i32>,
    /// Seconds between probes, with --keepalive; -1 is the system's value
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    keepalive_interval: Option<i32>,
    /// Probes without an answer before a connection is dropped, with --keepalive; -1 is the system's value
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    keepalive_count: Option<i32>,
    /// The first part of job handles [default: H]
    #[arg(long, value_name = "PREFIX")]
    job_handle_prefix: Option<String>,
    /// The second part of job handles [default: this machine's name]
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    /// Send WORK_EXCEPTION to clients that did not ask for it too
    #[arg(long)]
    exceptions: bool,
    /// Without effect: the tables grow by themselves
    #[arg(long, value_name = "N")]
    hashtable_buckets: Option<u32>,
    /// Write a core dump if the server crashes
    #[arg(long)]
    coredump: bool,
    /// A file of more of these flags, as gearmand has it; the command line wins [default: none; as gearmand /etc/gearmand.conf]
    #[arg(long, value_name = "FILE")]
    config_file: Option<PathBuf>,
    /// Without effect: the port of a protocol that is not there
    #[arg(long, value_name = "PORT", hide = true)]
    http_port: Option<String>,
    #[command(flatten)]
    refused: Refused,
    /// The folder of the lock, the control socket and the logs [default: /var/lib/gearpool for root, else ~/.local/state/gearpool]
    #[arg(long, value_name = "DIR", env = "GEARPOOL_STATE_DIR")]
    state_dir: Option<PathBuf>,
    /// Whether pools stay as they are while the machine is short of processors or memory
    #[arg(long, value_name = "on|off", value_enum, default_value_t = LoadGuard::On, env = "GEARPOOL_LOAD_GUARD")]
    load_guard: LoadGuard,
    /// Where each process of a pool gets a control group: auto (the daemon's own, if it was delegated), off, or a folder of version 2
    #[arg(
        long,
        value_name = "auto|off|DIR",
        default_value = "auto",
        env = "GEARPOOL_CGROUP"
    )]
    cgroup: ControlGroups,
    #[command(flatten)]
    ssl: SslArgs,
    /// Only look whether the command line is right, and end with 0 or 1
    #[arg(long, hide = true)]
    check_args: bool,
    /// Whose name and defaults it has.
    #[arg(skip)]
    program: Program,
}

impl ServeArgs {
    /// Runs the daemon until it is told to end.
    ///
    /// # Errors
    /// A [`Failure`] for what kept it from starting.
    pub fn run(self) -> Result<u8, Failure> {
        let program = self.program;
        self.serve().map_err(|failure| match (program, failure) {
            // gearmand knows no other exit code than 1
            (Program::Gearmand, Failure::Usage(text)) => Failure::Failed(anyhow::anyhow!(text)),
            (_, failure) => failure,
        })
    }

    fn serve(self) -> Result<u8, Failure> {
        let args = match gearmand::flag_file(self.config_file.as_deref(), self.program)? {
            Some(file) => self.or(file),
            None => self,
        };
        let received = handover::received().map(daemon::handover::receive);
        let settings = args.settings()?;
        match (received.transpose()?, args.check_args) {
            (Some(_), true) => {
                daemon::rehearse(&settings)?;
                terminal::print(&daemon::handover::consent())?;
            }
            (None, true) => {}
            (Some(received), false) => daemon::take_over(settings, received)?,
            (None, false) => daemon::run(settings)?,
        }
        Ok(0)
    }

    /// These flags, and a flag file's where they are silent.
    fn or(self, file: ServeArgs) -> ServeArgs {
        ServeArgs {
            load_guard: self.load_guard,
            cgroup: self.cgroup,
            config: self.config.or(file.config),
            listen: match self.listen.is_empty() {
                true => file.listen,
                false => self.listen,
            },
            port: self.port.or(file.port),
            v: self.v.max(file.v),
            verbose: self.verbose.or(file.verbose),
            daemon: self.daemon || file.daemon,
            pid_file: self.pid_file.or(file.pid_file),
            log_file: self.log_file.or(file.log_file),
            syslog: self.syslog || file.syslog,
            user: self.user.or(file.user),
            job_retries: self.job_retries.or(file.job_retries),
            round_robin: self.round_robin || file.round_robin,
            worker_wakeup: self.worker_wakeup.or(file.worker_wakeup),
            threads: self.threads.or(file.threads),
            backlog: self.backlog.or(file.backlog),
            file_descriptors: self.file_descriptors.or(file.file_descriptors),
            max_connections: self.max_connections.or(file.max_connections),
            max_packet: self.max_packet.or(file.max_packet),
            max_mailbox: self.max_mailbox.or(file.max_mailbox),
            max_buffers: self.max_buffers.or(file.max_buffers),
            max_queued: self.max_queued.or(file.max_queued),
            max_queue: self.max_queue.or(file.max_queue),
            keepalive: self.keepalive || file.keepalive,
            keepalive_idle: self.keepalive_idle.or(file.keepalive_idle),
            keepalive_interval: self.keepalive_interval.or(file.keepalive_interval),
            keepalive_count: self.keepalive_count.or(file.keepalive_count),
            job_handle_prefix: self.job_handle_prefix.or(file.job_handle_prefix),
            hostname: self.hostname.or(file.hostname),
            exceptions: self.exceptions || file.exceptions,
            hashtable_buckets: self.hashtable_buckets.or(file.hashtable_buckets),
            coredump: self.coredump || file.coredump,
            config_file: self.config_file,
            http_port: self.http_port.or(file.http_port),
            refused: self.refused.or(file.refused),
            state_dir: self.state_dir.or(file.state_dir),
            ssl: self.ssl.or(file.ssl),
            check_args: self.check_args || file.check_args,
            program: self.program,
        }
    }

    fn settings(&self) -> Result<Settings, Failure> {
        self.refused.check()?;
        let file = self.config.as_deref().map(load).transpose()?;
        let server = file
            .as_ref()
            .map(|file| file.config.server.clone())
            .unwrap_or_default();
        let listen = self.listen(&server.listen)?;
        let port = listen.iter().find_map(Address::port);
        let speech = self.ssl.speech(listen, file.as_ref())?;
        let state_dir = absolute(paths::state_dir(self.state_dir.as_deref(), &server, port))?;
        Ok(Settings {
            program: self.program,
            load_guard: self.load_guard,
            groups: self.cgroup.clone(),
            listen: speech.listen,
            has_default_listen: self.listen.is_empty()
                && self.port()?.is_none()
                && server.listen.is_empty(),
            tls: speech.tls,
            pem_files: speech.pem_files,
            limits: self.limits().or(server.limits),
            sockets: SocketOptions {
                backlog: self.backlog.unwrap_or(1024),
                keepalive: self.keepalive.then(|| Keepalive {
                    idle: seconds(self.keepalive_idle),
                    interval: seconds(self.keepalive_interval),
                    count: self
                        .keepalive_count
                        .and_then(|count| u32::try_from(count).ok()),
                }),
            },
            threads: match self.threads.unwrap_or(1) {
                0 => available_parallelism()
                    .map_or(1, usize::from)
                    .min(MAX_THREADS),
                count => usize::from(count).min(MAX_THREADS),
            },
            descriptors: self.file_descriptors,
            core_dumps: match self.coredump {
                true => CoreDumps::Written,
                false => CoreDumps::AsTheyWere,
            },
            log: self.log_target(&state_dir)?,
            log_dir: server.log_dir,
            has_default_state_dir: self.state_dir.is_none() && server.state_dir.is_none(),
            state_dir,
            config: file,
            verbosity: self.verbosity(),
            ground: match self.daemon {
                true => Ground::Background,
                false => Ground::Foreground,
            },
            pid_file: self.pid_file.clone(),
            // a script's empty variable names nobody
            user: self.user.clone().filter(|user| !user.is_empty()),
            jobs: Options {
                handle_prefix: self.handle_prefix(),
                job_retries: self
                    .job_retries
                    .and_then(|count| u32::try_from(count).ok())
                    .unwrap_or(0),
                exceptions: self.exceptions,
                wakeup: self.worker_wakeup.unwrap_or(1),
                ..Options::default()
            },
        })
    }

    /// What the flags say of what peers may take.
    fn limits(&self) -> ServerLimits {
        ServerLimits {
            connections: self.max_connections,
            packet_size: self.max_packet,
            mailbox: self.max_mailbox,
            buffers: self.max_buffers,
            queued_bytes: self.max_queued,
            queue_length: self.max_queue,
        }
    }

    /// What the flags say, else what the file says, else the default. A port alone changes the port of the default.
    fn listen(&self, file: &[Address]) -> Result<Vec<Address>, Failure> {
        let said = self.port()?;
        if self.listen.is_empty() && said.is_none() && !file.is_empty() {
            return Ok(file.to_vec());
        }
        let port = said.unwrap_or(DEFAULT_PORT);
        if !self.listen.is_empty() {
            let addresses = self.listen.iter();
            return addresses
                .map(|address| listen_address(address, port))
                .collect();
        }
        Ok(match self.program {
            Program::Gearpool => vec![Address::local(port)],
            Program::Gearmand => gearmand::EVERYWHERE
                .into_iter()
                .filter(|address| address.is_ipv4() || net::has_ipv6())
                .map(|address| Address::Tcp(address.to_string(), port))
                .collect(),
        })
    }

    /// An empty one is as good as none, as a script's empty variable is.
    fn port(&self) -> Result<Option<u16>, Failure> {
        let (from, text) = match &self.port {
            Some(text) => ("--port", text.clone()),
            None => (
                PORT_VARIABLE,
                std::env::var(PORT_VARIABLE).unwrap_or_default(),
            ),
        };
        match text.parse() {
            Ok(port) => Ok(Some(port)),
            Err(_) if text.is_empty() => Ok(None),
            Err(_) => Err(Failure::Usage(format!(
                "{from}: a port is a number up to 65535, not {text:?}"
            ))),
        }
    }

    /// Where there is no terminal to write to, a file in the state folder is as good as gearmand's own default.
    fn log_target(&self, state_dir: &Path) -> Result<LogTarget, Failure> {
        if self.syslog {
            return Ok(LogTarget::Syslog);
        }
        Ok(match &self.log_file {
            None if self.program == Program::Gearmand => LogTarget::File(gearmand::LOG_FILE.into()),
            None if self.daemon => LogTarget::File(state_dir.join("gearpool.log")),
            None => LogTarget::Stderr,
            Some(path) if path.as_os_str() == "stderr" => LogTarget::Stderr,
            Some(path) if path.as_os_str() == "none" => LogTarget::Nowhere,
            Some(path) => LogTarget::File(absolute(path.clone())?),
        })
    }

    fn handle_prefix(&self) -> String {
        let host = self.hostname.clone().unwrap_or_else(net::host_name);
        format!(
            "{}:{host}",
            self.job_handle_prefix.as_deref().unwrap_or("H")
        )
    }

    fn verbosity(&self) -> Verbosity {
        let said = match self
            .verbose
            .as_deref()
            .map(str::to_ascii_uppercase)
            .as_deref()
        {
            Some("FATAL" | "ALERT" | "CRITICAL" | "ERROR") => Verbosity::Errors,
            Some("WARNING") => Verbosity::Warnings,
            Some("INFO") => Verbosity::Connections,
            Some("DEBUG") => Verbosity::Packets,
            Some(_) => Verbosity::Usual,
            // gearmand's default is ERROR; what pools do is something that it does not know
            None if self.program == Program::Gearmand && self.config.is_none() => Verbosity::Errors,
            None => Verbosity::Usual,
        };
        let counted = match self.v {
            0 => return said,
            1 => Verbosity::Connections,
            2 => Verbosity::Jobs,
            _ => Verbosity::Packets,
        };
        said.max(counted)
    }
}

/// gearmand's `-L` is an address without a port, which may be IPv6 without brackets.
fn listen_address(address: &str, port: u16) -> Result<Address, Failure> {
    if address.parse::<IpAddr>().is_ok() || !address.contains(':') {
        return Ok(Address::Tcp(address.to_owned(), port));
    }
    let usage = |error: &dyn Display| Failure::Usage(format!("--listen {address}: {error}"));
    match Address::parse(address, Some(port)) {
        Ok(Address::Tls(..)) => Err(usage(&"TLS takes server.tls in the file, or --ssl")),
        Ok(address) => Ok(address),
        Err(error) => Err(usage(&error)),
    }
}

/// `64MiB` and the like, as the file has them.
fn size(text: &str) -> Result<u64, String> {
    parse_size(text).ok_or_else(|| "a size like 64MiB, 512k or 1G is wanted".to_owned())
}

/// gearmand's -1 is the system's value, and so is nothing.
fn seconds(count: Option<i32>) -> Option<Duration> {
    count
        .and_then(|count| u64::try_from(count).ok())
        .map(Duration::from_secs)
}

fn load(path: &Path) -> Result<LoadedFile, Failure> {
    let path = absolute(path.to_owned())?;
    file::read(&path).map_err(|error| Failure::Usage(error.to_string()))
}
