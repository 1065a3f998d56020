//! The daemon's life: everything that can fail is done before anything is promised; then the threads; then the end, in order.

use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use tokio::net::UnixListener;
use tokio::runtime::{Builder, Handle};
use tokio::sync::mpsc;

use super::file::ConfigFile;
use super::handover::{FolderState, Received};
use super::hub::Hub;
use super::limits::{Bounds, Limits};
use super::listener::{ListenError, Listener};
use super::log::{Log, LogTarget};
use super::logs::Logs;
use super::manager::{self, Flow, Heritage, Manager, Parts};
use super::past::Past;
use super::quiet::Quiet;
use super::settings::{ControlGroups, CoreDumps, Ground, LoadGuard, Program, Settings};
use super::snapshot::Snapshooter;
use super::sources::{Channels, Sources};
use super::spawn::Surroundings;
use super::tls::Certificates;
use super::watch::FileWatch;
use crate::config::Address;
use crate::http;
use crate::jobs::{JobServer, Newcomers, Options};
use crate::sys::background::{self, Starting};
use crate::sys::cgroup::Groups;
use crate::sys::guardian::{self, Guardian};
use crate::sys::lock::{LockError, StateFolder};
use crate::sys::pressure::Gauge;
use crate::sys::systemd::{self, Notifier};
use crate::sys::{clock, core_dump, handover, net, orphans, process, signal, user};

/// gearmand's own, when nobody names one.
const GEARMANDS_PID_FILE: &str = "/var/gearmand.pid";

/// How often a port or a folder is asked for that another server may be about to leave.
const AGAIN: Duration = Duration::from_millis(100);

/// From when the microseconds are counted that the numbers in handles begin with: 1 January 2026.
const FIRST_START: Duration = Duration::from_secs(1_767_225_600);

/// How long the connections' threads may take to stop for an upgrade, or for the end.
const STOP: Duration = Duration::from_secs(1);

/// Runs the daemon until it is told to end.
///
/// # Errors
/// What kept it from starting, in a sentence for the operator.
pub fn run(mut settings: Settings) -> anyhow::Result<()> {
    let pid_path = settings
        .pid_file
        .as_deref()
        .map(std::path::absolute)
        .transpose()?;
    let descriptors = limit_descriptors(&settings)?;
    let limits = Limits::new(settings.limits, descriptors);
    if let Some(name) = &settings.user {
        user::resolve(Some(name), None)?;
    }
    let deadline = Instant::now() + settings.program.patience();
    let passed = systemd::passed().context("cannot take the sockets that systemd passes")?;
    let passed: Vec<_> = passed
        .into_iter()
        .map(Listener::from_systemd)
        .collect::<Result<_, _>>()?;
    let bound = bind(&mut settings, passed, deadline)?;
    // the lock is taken by the process that keeps it
    let starting = match settings.ground {
        Ground::Background => Some(background::detach().context("cannot go to the background")?),
        Ground::Foreground => None,
    };
    if let Some(name) = &settings.user {
        if let Err(error) = user::hand_over(&settings.state_dir, name) {
            anyhow::bail!(
                "cannot give the state folder {} to {name}: {error}",
                settings.state_dir.display()
            );
        }
        user::become_user(name)?;
    }
    if settings.core_dumps == CoreDumps::Written {
        core_dump::allow().context("cannot have core dumps written")?;
    }
    let folder = state_folder(&settings, deadline)?;
    settings.state_dir = folder.path().to_owned();
    let log = start_log(&settings)?;
    if let Some(wanted) = settings.limits.connections
        && wanted > limits.connections
    {
        let connections = limits.connections;
        tracing::warn!(
            wanted,
            connections,
            "fewer connections than wanted: with the limit of descriptors, {descriptors}, no more of them leave enough for processes and logs"
        );
    }
    let pid_file = match pid_path {
        Some(path) => Some(PidFile::write(path)?),
        // nobody asked for that one, and not everybody may write there
        None if settings.program == Program::Gearmand => {
            PidFile::write(GEARMANDS_PID_FILE.into()).ok()
        }
        None => None,
    };
    let instance = format!("{:016x}", rand::random::<u64>());
    let heritage = Heritage::new();
    let groups = match settings.config {
        Some(_) => {
            succeed(&folder, &instance)?;
            orphans::inherit().context("cannot become a subreaper")?;
            control_groups(&settings)?
        }
        None => None,
    };
    let guardian = match settings.config {
        Some(_) => Some(
            Guardian::start(&instance, groups.as_ref())
                .context("cannot start the guardian process")?,
        ),
        None => None,
    };
    let held = Held {
        bound,
        folder,
        pid_file,
        control: None,
        instance,
        guardian,
        heritage,
        groups,
    };
    serve(settings, limits, held, log, starting, None)
}

/// Takes the place of the last daemon of this folder, which is gone, for its lock was free. Nothing that it has started is to run
/// beside what this one starts: who kills a daemon may have killed its guardian too.
fn succeed(folder: &StateFolder, instance: &str) -> anyhow::Result<()> {
    let file = super::paths::instance(folder.path());
    // there need not have been one
    let last = std::fs::read_to_string(&file).unwrap_or_default();
    let left = match *last.split_whitespace().collect::<Vec<_>>() {
        // the folder may be a copy of one whose daemon lives
        [last, pid, started] if !lives(pid, started) => guardian::kill_left(last),
        _ => 0,
    };
    if left > 0 {
        tracing::warn!(
            processes = left,
            "killed what the last daemon of this state folder had left behind"
        );
    }
    let pid = std::process::id();
    let started = process::one(pid).map_or(0, |process| process.started);
    std::fs::write(&file, format!("{instance} {pid} {started}\n"))
        .with_context(|| format!("cannot write {}", file.display()))
}

fn lives(pid: &str, started: &str) -> bool {
    let process = pid.parse().ok().and_then(process::one);
    process.is_some_and(|process| !process.ended && process.started.to_string() == started)
}

/// Goes on where another program in this process stopped, until the daemon is told to end.
///
/// # Errors
/// What of that program's cannot be gone on with. It has been asked before, so that is a bug.
pub fn take_over(mut settings: Settings, received: Received) -> anyhow::Result<()> {
    let state = &received.state;
    if let Some(limit) = state.descriptor_limit {
        net::remember_descriptor_limit(limit);
    }
    let limits = Limits::new(settings.limits, limit_descriptors(&settings)?);
    if settings.core_dumps == CoreDumps::Written {
        core_dump::allow().context("cannot have core dumps written")?;
    }
    let lock = handover::adopt(state.folder.lock)?;
    let folder = StateFolder::adopt(state.folder.path.clone(), lock, state.folder.is_temporary);
    settings.state_dir = folder.path().to_owned();
    let log = start_log(&settings)?;
    let mut bound = Vec::new();
    for it in state.listeners.iter() {
        bound.push((it.listen.clone(), Listener::adopt(it)?));
    }
    let groups = match settings.config {
        Some(_) => control_groups(&settings)?,
        None => None,
    };
    let guardian = state
        .guardian
        .map(|it| handover::adopt(it.pipe).map(|pipe| Guardian::adopt(pipe, it.pid)));
    let held = Held {
        bound,
        folder,
        pid_file: state.pid_file.clone().into_owned().map(PidFile),
        control: Some(handover::adopt(state.control)?.into()),
        instance: state.instance.clone().into_owned(),
        guardian: guardian.transpose()?,
        heritage: state.heritage.clone().into_owned(),
        groups,
    };
    serve(settings, limits, held, log, None, Some(received))
}

/// Tries what could keep [`take_over`] from it and is neither in the settings nor handed over.
///
/// # Errors
/// What would keep it.
pub fn rehearse(settings: &Settings) -> anyhow::Result<()> {
    match (&settings.log, settings.program) {
        (LogTarget::File(path), Program::Gearpool) => super::log::open(path)
            .map(drop)
            .with_context(|| format!("cannot open the log {}", settings.log)),
        _ => Ok(()),
    }
}

fn limit_descriptors(settings: &Settings) -> anyhow::Result<u64> {
    match settings.descriptors {
        Some(limit) => net::set_descriptor_limit(limit)
            .with_context(|| format!("cannot set the limit of descriptors to {limit}")),
        None => Ok(net::raise_descriptor_limit()),
    }
}

/// What the daemon has before it serves anybody: made, or taken over.
struct Held {
    bound: Vec<(Address, Listener)>,
    folder: StateFolder,
    pid_file: Option<PidFile>,
    /// The control socket, where it is not new.
    control: Option<std::os::unix::net::UnixListener>,
    instance: String,
    guardian: Option<Guardian>,
    heritage: Heritage,
    groups: Option<Groups>,
}

/// The control groups of the pools' processes, where we may have some.
fn control_groups(settings: &Settings) -> anyhow::Result<Option<Groups>> {
    let groups = match &settings.groups {
        ControlGroups::Off => None,
        ControlGroups::IfDelegated => Groups::delegated(),
        ControlGroups::Within(folder) => Some(Groups::within(folder)?),
    };
    if let Some(groups) = &groups {
        let memory = match groups.counts_memory() {
            true => "",
            false => ", which do not count memory",
        };
        tracing::info!(
            "a control group for each process, in {}{memory}",
            groups.folder().display()
        );
    }
    Ok(groups)
}

/// Everything between the start and the end.
fn serve(
    settings: Settings,
    limits: Limits,
    held: Held,
    log: Log,
    starting: Option<Starting>,
    before: Option<Received>,
) -> anyhow::Result<()> {
    let Held {
        bound,
        folder,
        pid_file,
        control,
        instance,
        guardian,
        heritage,
        groups,
    } = held;
    let addresses: Vec<String> = bound
        .iter()
        .map(|(_, listener)| listener.address())
        .collect();
    let sockets: Vec<PathBuf> = bound
        .iter()
        .filter_map(|(_, listener)| listener.path())
        .collect();
    let listeners = bound.iter().map(|(listen, it)| it.state(listen)).collect();
    let surroundings = Surroundings {
        server: Surroundings::reachable(
            bound
                .iter()
                .map(|(listen, listener)| (listen, listener.port())),
        ),
        instance,
        program: program(),
    };
    let options = job_options(&settings, limits);

    // all threads but this one leave the signals to it, and it takes them once it listens to them
    signal::hold();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (to_manager, own) = mpsc::unbounded_channel();
    let (to_hub, from_hub) = mpsc::unbounded_channel();
    let (server, start, past) = match before {
        Some(received) => {
            let (server, start, past) = Past::split(received)?;
            (JobServer::restore(server, options), start, Some(past))
        }
        None => (JobServer::new(options), Instant::now(), None),
    };
    let hub = Arc::new(Hub::new(server, start, Bounds::new(limits), to_hub));
    let certificates = Arc::new(Certificates::new(settings.tls));

    // from here on the manager's thread is this one, for the daemon's whole life: its children die with the thread that forks them
    runtime.block_on(async {
        let control_listener = match control {
            Some(control) => UnixListener::from_std(control)?,
            None => http::bind(&settings.state_dir)?,
        };
        let ground = manager::Ground {
            program: started_as().unwrap_or_else(program),
            words: std::env::args_os().collect(),
            listeners,
            control: control_listener.as_raw_fd(),
            folder: FolderState {
                path: folder.path().to_owned(),
                lock: folder.descriptor(),
                is_temporary: folder.is_temporary(),
            },
            pid_file: pid_file.as_ref().map(|file| file.0.clone()),
            upgrades: past.as_ref().map_or(0, |past| past.upgrades),
        };
        let (controls, orders) = mpsc::channel(64);
        let control_socket = super::paths::control_socket(&settings.state_dir);
        tokio::spawn(serve_control(control_listener, controls));

        let (touches, touched) = mpsc::channel(1);
        let file = settings
            .config
            .map(|file| ConfigFile::new(file.path, file.texts, file.config));
        let file_watch = file.as_ref().and_then(|_| watch(touches));
        let log_dir = settings
            .log_dir
            .unwrap_or_else(|| super::paths::default_log_dir(&settings.state_dir));
        let logs = Logs::start(&log_dir)
            .with_context(|| format!("cannot write the workers' logs to {}", log_dir.display()))?;
        let pools = file
            .as_ref()
            .map(|file| (file.path().display().to_string(), file.pools().len()));
        let mut manager = Manager::new(Parts {
            hub: Arc::clone(&hub),
            file,
            file_watch,
            logs,
            log,
            guardian,
            heritage,
            groups,
            certificates: Arc::clone(&certificates),
            pem_files: settings.pem_files,
            surroundings,
            notifier: Notifier::from_env(),
            snapshooter: Snapshooter::new(
                addresses.clone(),
                settings.state_dir.display().to_string(),
                log_dir.display().to_string(),
            ),
            happenings: to_manager,
            seed: rand::random(),
            gauge: (settings.load_guard == LoadGuard::On).then(Gauge::new),
            ground,
        });

        let mut sources = Sources::new(
            Channels {
                orders,
                own,
                hub: from_hub,
                touched,
            },
            settings.program,
        )?;

        let threads = start_threads(settings.threads)?;
        if let Some(past) = past {
            past.resume(&hub, &threads, &mut manager)?;
        }
        let mut listening = Vec::new();
        for (_, listener) in bound {
            let (hub, handles, sockets) = (Arc::clone(&hub), threads.clone(), settings.sockets);
            let certificates = Arc::clone(&certificates);
            let task = threads[0].spawn(async move {
                if let Err(error) = listener.accept(hub, handles, sockets, certificates).await {
                    tracing::error!(%error, "cannot accept connections");
                }
            });
            listening.push(task.abort_handle());
        }
        {
            let hub = Arc::clone(&hub);
            threads[0].spawn(async move { hub.run_timer().await });
        }
        tracing::info!(
            "gearpool {} listening on {}",
            env!("CARGO_PKG_VERSION"),
            addresses.join(", ")
        );
        match pools {
            Some((path, 1)) => tracing::info!("1 pool, from {path}"),
            Some((path, count)) => tracing::info!("{count} pools, from {path}"),
            None => tracing::info!("no configuration file: a plain job server, without pools"),
        }

        super::heap::start()?;
        signal::release();
        if let Some(starting) = starting {
            starting.ready().context("cannot leave the terminal")?;
        }
        manager.start(listening);
        look_after(&mut manager, &mut sources, &hub, &threads).await?;
        say_what_is_lost(&hub);
        // a result that has just come is in a mailbox, and is written in the same step of its task: none of them ends within one
        let _quiet = Quiet::begin(&threads, STOP);
        hub.say_goodbye();
        let given_up = manager.finish();
        for path in sockets.iter().chain([&control_socket]) {
            // somebody may have tidied up before us
            let _ = std::fs::remove_file(path);
        }
        tracing::info!("ended");
        match given_up {
            Some(reason) => Err(anyhow::anyhow!("ended by exit_on_failure: {reason}")),
            None => Ok(()),
        }
    })?;
    drop(pid_file);
    drop(folder);
    Ok(())
}

/// Has the manager take whatever happens, until the daemon has come to its end.
async fn look_after(
    manager: &mut Manager,
    sources: &mut Sources,
    hub: &Hub,
    threads: &[Handle],
) -> io::Result<()> {
    let mut batch = Vec::new();
    loop {
        let deadline = manager.next_deadline().map(|time| hub.instant(time));
        sources
            .wait(deadline, manager.is_to_read(), &mut batch)
            .await;
        if manager.handle(batch.drain(..)) == Flow::End {
            return Ok(());
        }
        // who is just giving an order is another task of this thread, and is not kept waiting either
        tokio::task::yield_now().await;
        if manager.wants_quiet() {
            let stopped = clock::now()?;
            let Some(_quiet) = Quiet::begin(threads, STOP) else {
                manager.look_again("the connections do not come to a stop");
                continue;
            };
            // what the threads have told is heard before they go on in another program
            sources.hear(usize::MAX, &mut batch);
            if manager.handle(batch.drain(..)) == Flow::End {
                return Ok(());
            }
            match sources.is_empty() {
                true => manager.execute(stopped),
                false => manager.look_again("the connections do not come to rest"),
            }
        }
    }
}

fn say_what_is_lost(hub: &Hub) {
    let waiting = hub.with(|server, now| {
        server
            .function_loads(now)
            .iter()
            .flat_map(|load| load.queued)
            .sum::<u64>()
    });
    if waiting > 0 {
        let jobs = if waiting == 1 { "job is" } else { "jobs are" };
        tracing::warn!("{waiting} waiting {jobs} given up: this version keeps the queue in memory");
    }
}

/// What holds for the job server in this run of the daemon.
fn job_options(settings: &Settings, limits: Limits) -> Options {
    let mut options = settings.jobs.clone();
    options.seed = rand::random();
    let unix = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    options.epoch = unix.as_secs();
    // the next start begins above what this one uses, unless this one takes more than a million jobs a second for all of its life
    let since_2026 = unix.saturating_sub(FIRST_START).as_micros();
    options.first_number = u64::try_from(since_2026).unwrap_or(0) + 1;
    options.zone = jiff::tz::TimeZone::system();
    options.max_queue = limits.queue_length;
    options.max_queued_bytes = limits.queued_bytes;
    options.pid = std::process::id();
    options.verbosity = settings.verbosity.gearmand_name();
    if settings.config.is_some() {
        // a process that is being stopped may just be connecting
        options.newcomers = Newcomers::Held;
    }
    options
}

/// A server that takes gearmand's place waits for a port: a script that restarts it does not wait for the end of the one before.
///
/// What has been passed to us is not bound again, and instead of the default it is enough.
fn bind(
    settings: &mut Settings,
    passed: Vec<(Address, Listener)>,
    deadline: Instant,
) -> Result<Vec<(Address, Listener)>, ListenError> {
    let is_plain = |(address, _): &(Address, Listener)| !address.is_encrypted();
    let makes_do = settings.has_default_listen && passed.iter().any(is_plain);
    settings.listen.retain(|listen| {
        let is_passed = passed.iter().any(|(_, passed)| passed.is_at(listen));
        !is_passed && (listen.is_encrypted() || !makes_do)
    });
    loop {
        match bind_once(settings) {
            Err(ListenError::InUse(_)) if Instant::now() < deadline => std::thread::sleep(AGAIN),
            Ok(bound) => return Ok(passed.into_iter().chain(bound).collect()),
            Err(error) => return Err(error),
        }
    }
}

fn bind_once(settings: &Settings) -> Result<Vec<(Address, Listener)>, ListenError> {
    let mut bound = Vec::new();
    for listen in &settings.listen {
        let listeners = Listener::bind(listen, settings.sockets)?;
        bound.extend(
            listeners
                .into_iter()
                .map(|listener| (listen.clone(), listener)),
        );
    }
    Ok(bound)
}

/// The state folder, which the server before may still have. A job server in gearmand's place needs none that anybody has named.
fn state_folder(settings: &Settings, deadline: Instant) -> Result<StateFolder, LockError> {
    let makes_do = settings.program == Program::Gearmand
        && settings.has_default_state_dir
        && settings.config.is_none();
    loop {
        match StateFolder::lock(&settings.state_dir) {
            Err(LockError::Taken { .. }) if Instant::now() < deadline => std::thread::sleep(AGAIN),
            Err(LockError::Unwritable { .. }) if makes_do => return StateFolder::temporary(),
            result => return result,
        }
    }
}

/// Starts the log. gearmand goes on without the file that it cannot open, and so does who takes its place.
fn start_log(settings: &Settings) -> anyhow::Result<Log> {
    let failure = match Log::start(&settings.log, settings.verbosity) {
        Ok(log) => return Ok(log),
        Err(error) => {
            anyhow::Error::new(error).context(format!("cannot open the log {}", settings.log))
        }
    };
    if settings.program == Program::Gearpool {
        return Err(failure);
    }
    let instead = match settings.ground {
        Ground::Foreground => LogTarget::Stderr,
        Ground::Background => LogTarget::File(settings.state_dir.join("gearpool.log")),
    };
    let log = Log::start(&instead, settings.verbosity)
        .with_context(|| format!("cannot open the log {instead}"))?;
    tracing::error!("{failure:#}; it goes to {instead}");
    Ok(log)
}

async fn serve_control(listener: UnixListener, controls: mpsc::Sender<super::control::Control>) {
    if let Err(error) = http::serve(listener, controls).await {
        tracing::error!(%error, "the control socket does not work; commands such as `gearpool status` will not");
    }
}

fn watch(touches: mpsc::Sender<()>) -> Option<FileWatch> {
    match FileWatch::new(touches) {
        Ok(watch) => Some(watch),
        Err(error) => {
            tracing::warn!(%error, "the configuration file cannot be watched; use `gearpool reload` after a change");
            None
        }
    }
}

/// The threads that serve connections, each with a runtime of its own: a connection stays on its thread, and no work is stolen.
fn start_threads(count: usize) -> io::Result<Vec<Handle>> {
    let mut handles = Vec::new();
    for number in 0..count {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        handles.push(runtime.handle().clone());
        let name = format!("connections-{number}");
        std::thread::Builder::new()
            .name(name)
            .spawn(move || runtime.block_on(std::future::pending::<()>()))?;
    }
    Ok(handles)
}

/// This program, by its path while that leads to it.
fn program() -> PathBuf {
    std::env::current_exe()
        .ok()
        .filter(|path| path.exists())
        .unwrap_or_else(|| PathBuf::from("/proc/self/exe"))
}

/// The name that this program was started by, where that leads to its file: it may be a link, which leads to another version tomorrow.
fn started_as() -> Option<PathBuf> {
    let word = PathBuf::from(std::env::args_os().next()?);
    let is_path = word.as_os_str().as_bytes().contains(&b'/');
    let path = std::path::absolute(word).ok().filter(|_| is_path)?;
    let file = |path: &Path| std::fs::metadata(path).map(|it| (it.dev(), it.ino())).ok();
    (file(&path)? == file(Path::new("/proc/self/exe"))?).then_some(path)
}

/// A file with our process id, removed in the end.
struct PidFile(PathBuf);

impl PidFile {
    fn write(path: PathBuf) -> anyhow::Result<PidFile> {
        std::fs::write(&path, PidFile::text())
            .with_context(|| format!("cannot write the pid file {}", path.display()))?;
        Ok(PidFile(path))
    }

    fn text() -> String {
        format!("{}\n", std::process::id())
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // another server may have put its own there meanwhile
        if std::fs::read_to_string(&self.0).is_ok_and(|text| text == PidFile::text()) {
            // somebody may have tidied up before us
            let _ = std::fs::remove_file(&self.0);
        }
    }
}

impl Program {
    /// How long it waits for what the server before it may still have. gearmand was seen to wait for 22 s.
    fn patience(self) -> Duration {
        match self {
            Program::Gearpool => Duration::ZERO,
            Program::Gearmand => Duration::from_secs(20),
        }
    }
}
