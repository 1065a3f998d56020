//! `gearpool serve`: run the job server and the pools, in the foreground.

use std::fmt::Display;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ArgAction;

use super::ssl::SslArgs;
use super::{Failure, absolute};
use crate::config::units::parse_size;
use crate::config::{Address, DEFAULT_PORT, ServerLimits};
use crate::daemon::listener::{Keepalive, SocketOptions};
use crate::daemon::log::{LogTarget, Verbosity};
use crate::daemon::settings::{Ground, LoadGuard, LoadedFile, Settings};
use crate::daemon::{self, file, paths};
use crate::jobs::Options;

const EXAMPLES: &str = "\
Examples:
  gearpool serve                          a job server on 127.0.0.1:4730, as gearmand is
  gearpool serve -c workers.yaml          the same, and the pools of the file
  gearpool serve -L 0.0.0.0 -p 4731 -vvv  for other machines, showing every packet

The file is read again when it changes, on SIGHUP and by `gearpool reload`.
SIGTERM and Ctrl-C let running jobs finish within their pool's stop_timeout; a second one ends at once.
SIGUSR1 ends when all running jobs have ended.";

const LIMITS: &str = "What clients and workers may take (see also server.limits of the file)";

/// Run the job server, and the pools of a configuration file, in the foreground.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ServeArgs {
    /// The YAML file of functions; without one this is a plain job server
    #[arg(short, long, value_name = "FILE", env = "GEARPOOL_CONFIG")]
    config: Option<PathBuf>,
    /// The address to listen on, or unix:/path; may be given more than once [default: 127.0.0.1]
    #[arg(short = 'L', long, value_name = "ADDRESS")]
    listen: Vec<String>,
    /// The port to listen on [default: 4730]
    #[arg(short, long, value_name = "PORT", env = "GEARMAND_PORT")]
    port: Option<u16>,
    /// Say more: -v connections and functions, -vv jobs, -vvv every packet
    #[arg(short = 'v', action = ArgAction::Count)]
    v: u8,
    /// How much to say, in gearmand's words: FATAL, ALERT, CRITICAL, ERROR, WARNING, NOTICE, INFO, DEBUG
    #[arg(long, value_name = "LEVEL", num_args = 0..=1, default_missing_value = "INFO", ignore_case = true,
          value_parser = ["FATAL", "ALERT", "CRITICAL", "ERROR", "WARNING", "NOTICE", "INFO", "DEBUG"])]
    verbose: Option<String>,
    /// Go to the background once the sockets are bound
    #[arg(short, long)]
    daemon: bool,
    /// Write the process id to this file; it is removed in the end
    #[arg(short = 'P', long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Where the daemon's own log goes: a file, `stderr` or `none` [default: stderr]
    #[arg(short, long, value_name = "FILE")]
    log_file: Option<PathBuf>,
    /// The user to become once the sockets are bound
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// A job whose workers have vanished this many times has failed; 0 is no limit
    #[arg(short, long, value_name = "N", default_value_t = 0)]
    job_retries: u32,
    /// Accepted for gearmand's sake: functions always take turns
    #[arg(short = 'R', long)]
    round_robin: bool,
    /// How many sleeping workers to wake for a job, at least
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    worker_wakeup: u32,
    /// How many threads serve connections
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: u16,
    /// How many connections may wait to be accepted
    #[arg(short, long, value_name = "N", default_value_t = 1024)]
    backlog: i32,
    /// The most descriptors, RLIMIT_NOFILE; the hard limit when not given
    #[arg(short, long, value_name = "N")]
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
    /// Seconds of silence before the first probe
    #[arg(long, value_name = "SECONDS", requires = "keepalive")]
    keepalive_idle: Option<u64>,
    /// Seconds between probes
    #[arg(long, value_name = "SECONDS", requires = "keepalive")]
    keepalive_interval: Option<u64>,
    /// Probes without an answer before a connection is dropped
    #[arg(long, value_name = "N", requires = "keepalive")]
    keepalive_count: Option<u32>,
    /// The first part of job handles [default: H]
    #[arg(
        long,
        value_name = "PREFIX",
        default_value = "H",
        hide_default_value = true
    )]
    job_handle_prefix: String,
    /// The second part of job handles [default: this machine's name]
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    /// Send WORK_EXCEPTION to clients that did not ask for it too
    #[arg(long)]
    exceptions: bool,
    /// The folder of the lock, the control socket and the logs [default: /var/lib/gearpool for root, else ~/.local/state/gearpool]
    #[arg(long, value_name = "DIR", env = "GEARPOOL_STATE_DIR")]
    state_dir: Option<PathBuf>,
    /// Whether pools stay as they are while the machine is short of processors or memory
    #[arg(long, value_name = "on|off", value_enum, default_value_t = LoadGuard::On, env = "GEARPOOL_LOAD_GUARD")]
    load_guard: LoadGuard,
    #[command(flatten)]
    ssl: SslArgs,
    /// Only look whether the command line is right
    #[arg(long, hide = true)]
    check_args: bool,
}

impl ServeArgs {
    /// Runs the daemon until it is told to end.
    ///
    /// # Errors
    /// A [`Failure`] for what kept it from starting.
    pub fn run(self) -> Result<u8, Failure> {
        let settings = self.settings()?;
        if self.check_args {
            return Ok(0);
        }
        daemon::run(settings)?;
        Ok(0)
    }

    fn settings(&self) -> Result<Settings, Failure> {
        let file = self.config.as_deref().map(load).transpose()?;
        let server = file
            .as_ref()
            .map(|file| file.config.server.clone())
            .unwrap_or_default();
        let listen = self.listen(&server.listen)?;
        let port = listen.iter().find_map(Address::port);
        let speech = self.ssl.speech(listen, file.as_ref())?;
        let state_dir = absolute(paths::state_dir(self.state_dir.as_deref(), &server, port))?;
        let log_dir = server
            .log_dir
            .unwrap_or_else(|| paths::default_log_dir(&state_dir));
        Ok(Settings {
            load_guard: self.load_guard,
            listen: speech.listen,
            tls: speech.tls,
            pem_files: speech.pem_files,
            limits: self.limits().or(server.limits),
            sockets: SocketOptions {
                backlog: self.backlog,
                keepalive: self.keepalive.then(|| Keepalive {
                    idle: self.keepalive_idle.map(Duration::from_secs),
                    interval: self.keepalive_interval.map(Duration::from_secs),
                    count: self.keepalive_count,
                }),
            },
            threads: usize::from(self.threads),
            descriptors: self.file_descriptors,
            config: file,
            log: self.log_target(&state_dir)?,
            log_dir,
            state_dir,
            verbosity: self.verbosity(),
            ground: match self.daemon {
                true => Ground::Background,
                false => Ground::Foreground,
            },
            pid_file: self.pid_file.clone(),
            user: self.user.clone(),
            jobs: Options {
                handle_prefix: self.handle_prefix(),
                job_retries: self.job_retries,
                exceptions: self.exceptions,
                wakeup: self.worker_wakeup,
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

    /// What the flags say, else what the file says, else the default. `-p` alone changes the port of the default.
    fn listen(&self, file: &[Address]) -> Result<Vec<Address>, Failure> {
        let port = self.port.unwrap_or(DEFAULT_PORT);
        if self.listen.is_empty() && self.port.is_none() && !file.is_empty() {
            return Ok(file.to_vec());
        }
        if self.listen.is_empty() {
            return Ok(vec![Address::local(port)]);
        }
        self.listen
            .iter()
            .map(|address| listen_address(address, port))
            .collect()
    }

    /// Where there is no terminal to write to, a file in the state folder is as good as gearmand's own default.
    fn log_target(&self, state_dir: &Path) -> Result<LogTarget, Failure> {
        Ok(match &self.log_file {
            None if self.daemon => LogTarget::File(state_dir.join("gearpool.log")),
            None => LogTarget::Stderr,
            Some(path) if path.as_os_str() == "stderr" => LogTarget::Stderr,
            Some(path) if path.as_os_str() == "none" => LogTarget::Nowhere,
            Some(path) => LogTarget::File(absolute(path.clone())?),
        })
    }

    fn handle_prefix(&self) -> String {
        let host = self
            .hostname
            .clone()
            .unwrap_or_else(crate::sys::net::host_name);
        format!("{}:{host}", self.job_handle_prefix)
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
            Some(_) | None => Verbosity::Usual,
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

fn load(path: &Path) -> Result<LoadedFile, Failure> {
    let path = absolute(path.to_owned())?;
    file::read(&path).map_err(|error| Failure::Usage(error.to_string()))
}
