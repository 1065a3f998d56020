//! The daemon's life: everything that can fail is done before anything is promised; then the threads; then the end, in order.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use tokio::net::UnixListener;
use tokio::runtime::{Builder, Handle};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::file::ConfigFile;
use super::hub::Hub;
use super::limits::{Bounds, Limits};
use super::listener::Listener;
use super::log::Log;
use super::logs::Logs;
use super::manager::{Flow, Happening, Manager, Parts};
use super::settings::{Ground, Settings};
use super::snapshot::Snapshooter;
use super::spawn::Surroundings;
use super::tls::Certificates;
use super::watch::FileWatch;
use crate::config::Address;
use crate::http;
use crate::jobs::Newcomers;
use crate::pools::Stop;
use crate::sys::guardian::Guardian;
use crate::sys::lock::StateFolder;
use crate::sys::{background, net, user};

/// The Unix second from which starts are counted in the numbers of handles, in 2026.
const FIRST_START: u64 = 1_767_225_600;

/// How many happenings are handled at once at most.
const BATCH: usize = 1024;

/// Runs the daemon until it is told to end.
///
/// # Errors
/// What kept it from starting, in a sentence for the operator.
pub fn run(settings: Settings) -> anyhow::Result<()> {
    let pid_path = settings
        .pid_file
        .as_deref()
        .map(std::path::absolute)
        .transpose()?;
    let descriptors = match settings.descriptors {
        Some(limit) => net::set_descriptor_limit(limit)
            .with_context(|| format!("cannot set the limit of descriptors to {limit}"))?,
        None => net::raise_descriptor_limit(),
    };
    let limits = Limits::new(settings.limits, descriptors);
    let bound = bind(&settings)?;
    // the lock is taken by the process that keeps it
    if settings.ground == Ground::Background {
        background::detach().context("cannot go to the background")?;
    }
    if let Some(name) = &settings.user {
        user::become_user(name)?;
    }
    let state = StateFolder::lock(&settings.state_dir)?;
    let log = Log::start(&settings.log, settings.verbosity)
        .with_context(|| format!("cannot open the log {:?}", settings.log))?;
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
    let pid_file = pid_path.map(PidFile::write).transpose()?;
    let instance = format!("{:016x}", rand::random::<u64>());
    let guardian = Guardian::start(&instance).context("cannot start the guardian process")?;

    let result = serve(settings, limits, bound, instance, guardian, log);
    drop(pid_file);
    drop(state);
    result
}

/// Everything between the start and the end.
fn serve(
    settings: Settings,
    limits: Limits,
    bound: Vec<(Address, Listener)>,
    instance: String,
    guardian: Guardian,
    log: Log,
) -> anyhow::Result<()> {
    let addresses: Vec<String> = bound
        .iter()
        .map(|(_, listener)| listener.address())
        .collect();
    let sockets: Vec<PathBuf> = bound
        .iter()
        .filter_map(|(_, listener)| listener.path())
        .collect();
    let surroundings = Surroundings {
        server: Surroundings::reachable(
            bound
                .iter()
                .map(|(listen, listener)| (listen, listener.port())),
        ),
        instance,
        program: program(),
    };
    let mut options = settings.jobs.clone();
    options.seed = rand::random();
    options.epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();

    // two seconds apart two starts have numbers that a million jobs a second do not bring together
    options.first_number = options.epoch.saturating_sub(FIRST_START) * 1_000_000 + 1;
    options.zone = jiff::tz::TimeZone::system();
    options.max_queue = limits.queue_length;
    options.max_queued_bytes = limits.queued_bytes;
    options.pid = std::process::id();
    options.verbosity = settings.verbosity.gearmand_name();
    if settings.config.is_some() {
        // a process that is being stopped may just be connecting
        options.newcomers = Newcomers::Held;
    }

    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (to_manager, mut inbox) = mpsc::unbounded_channel();
    let (to_hub, mut from_hub) = mpsc::unbounded_channel();
    let hub = Arc::new(Hub::new(options, Bounds::new(limits), to_hub));
    let certificates = Arc::new(Certificates::new(settings.tls));

    // from here on the manager's thread is this one, for the daemon's whole life: its children die with the thread that forks them
    runtime.block_on(async {
        let control_listener = http::bind(&settings.state_dir)?;
        let (controls, mut orders) = mpsc::channel(64);
        let control_socket = super::paths::control_socket(&settings.state_dir);
        tokio::spawn(serve_control(control_listener, controls));

        let (touches, mut touched) = mpsc::channel(1);
        let file = settings.config.map(|file| ConfigFile::new(file.path, file.text, file.config));
        let watch = file.as_ref().and_then(|file| watch(file.path(), touches));
        let log_dir = settings.log_dir.display().to_string();
        let logs = Logs::start(&settings.log_dir).with_context(|| format!("cannot write the workers' logs to {log_dir}"))?;
        let pools = file.as_ref().map(|file| (file.path().display().to_string(), file.pools().len()));
        let mut manager = Manager::new(Parts {
            hub: Arc::clone(&hub),
            file,
            logs,
            log,
            guardian,
            certificates: Arc::clone(&certificates),
            pem_files: settings.pem_files,
            surroundings,
            snapshooter: Snapshooter::new(addresses.clone(), settings.state_dir.display().to_string(), log_dir),
            happenings: to_manager,
            seed: rand::random(),
        });

        let mut term = signal(SignalKind::terminate())?;
        let mut int = signal(SignalKind::interrupt())?;
        let mut hup = signal(SignalKind::hangup())?;
        let mut usr1 = signal(SignalKind::user_defined1())?;

        let threads = start_threads(settings.threads)?;
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
        tracing::info!("gearpool {} listening on {}", env!("CARGO_PKG_VERSION"), addresses.join(", "));
        match pools {
            Some((path, 1)) => tracing::info!("1 pool, from {path}"),
            Some((path, count)) => tracing::info!("{count} pools, from {path}"),
            None => tracing::info!("no configuration file: a plain job server, without pools"),
        }

        manager.start(listening);
        let mut batch = Vec::new();
        loop {
            let deadline = manager.next_deadline().map(|time| hub.instant(time));
            let due = async {
                match deadline {
                    Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                    None => std::future::pending().await,
                }
            };
            let mut signals = Vec::new();
            tokio::select! {
                biased;
                _ = term.recv() => batch.push(Happening::ShutDown(Stop::Gracefully)),
                _ = int.recv() => batch.push(Happening::ShutDown(Stop::Gracefully)),
                _ = usr1.recv() => batch.push(Happening::ShutDown(Stop::WhenIdle)),
                _ = hup.recv() => batch.push(Happening::Reload),
                Some(order) = orders.recv() => batch.push(Happening::Control(order)),
                _ = inbox.recv_many(&mut batch, BATCH) => {}
                _ = from_hub.recv_many(&mut signals, BATCH) => batch.extend(signals.drain(..).map(Happening::Hub)),
                Some(()) = touched.recv() => batch.push(Happening::FileTouched),
                () = due => batch.push(Happening::Deadline),
            }
            if manager.handle(batch.drain(..)) == Flow::End {
                break;
            }
        }

        let waiting = hub.with(|server, now| server.function_loads(now).iter().flat_map(|load| load.queued).sum::<u64>());
        if waiting > 0 {
            let jobs = if waiting == 1 { "job is" } else { "jobs are" };
            tracing::warn!("{waiting} waiting {jobs} given up: this version keeps the queue in memory");
        }
        hub.say_goodbye();
        manager.finish();
        drop(watch);
        for path in sockets.iter().chain([&control_socket]) {
            // somebody may have tidied up before us
            let _ = std::fs::remove_file(path);
        }
        tracing::info!("ended");
        anyhow::Ok(())
    })
}

fn bind(settings: &Settings) -> anyhow::Result<Vec<(Address, Listener)>> {
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

async fn serve_control(listener: UnixListener, controls: mpsc::Sender<super::control::Control>) {
    if let Err(error) = http::serve(listener, controls).await {
        tracing::error!(%error, "the control socket does not work; commands such as `gearpool status` will not");
    }
}

fn watch(path: &Path, touches: mpsc::Sender<()>) -> Option<FileWatch> {
    match FileWatch::start(path, touches) {
        Ok(watch) => Some(watch),
        Err(error) => {
            tracing::warn!(%error, "the configuration file cannot be watched; use `gearpool reload` after a change");
            None
        }
    }
}

/// The threads that serve connections, each with a runtime of its own: a connection stays on its thread, and no work is stolen.
fn start_threads(count: usize) -> std::io::Result<Vec<Handle>> {
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

/// A file with our process id, removed in the end.
struct PidFile(PathBuf);

impl PidFile {
    fn write(path: PathBuf) -> anyhow::Result<PidFile> {
        std::fs::write(&path, format!("{}\n", std::process::id()))
            .with_context(|| format!("cannot write the pid file {}", path.display()))?;
        Ok(PidFile(path))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // somebody may have tidied up before us
        let _ = std::fs::remove_file(&self.0);
    }
}
