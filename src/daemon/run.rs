//! The daemon's life: everything that can fail is done before anything is promised, then threads, then the end in order.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::hub::Hub;
use super::listener::Listener;
use super::log::Log;
use super::settings::Settings;

/// Runs the daemon until it is told to end.
///
/// # Errors
/// What kept it from starting, in a sentence for the operator.
pub fn run(mut settings: Settings) -> anyhow::Result<()> {
    let mut listeners = Vec::new();
    for listen in &settings.listen {
        listeners.extend(Listener::bind(listen, settings.sockets)?);
    }
    let log = Log::start(&settings.log, settings.verbosity)?;

    settings.jobs.seed = rand::random();
    settings.jobs.epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let (signals, _inbox) = mpsc::unbounded_channel();
    let hub = Arc::new(Hub::new(settings.jobs.clone(), signals));

    let threads = Threads::start(settings.threads)?;
    for listener in listeners {
        tracing::info!("listening on {}", listener.address());
        let (hub, handles, sockets) = (Arc::clone(&hub), threads.handles.clone(), settings.sockets);
        threads.handles[0].spawn(async move { listener.accept(hub, handles, sockets).await });
    }
    {
        let hub = Arc::clone(&hub);
        threads.handles[0].spawn(async move { hub.run_timer().await });
    }

    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut term = signal(SignalKind::terminate())?;
        let mut int = signal(SignalKind::interrupt())?;
        let mut hup = signal(SignalKind::hangup())?;
        loop {
            tokio::select! {
                _ = term.recv() => return std::io::Result::Ok(()),
                _ = int.recv() => return Ok(()),
                _ = hup.recv() => log.reopen(),
            }
        }
    })?;
    Ok(())
}

/// The threads that serve connections, each with a runtime of its own: a connection stays on its thread, and no work is stolen.
struct Threads {
    handles: Vec<tokio::runtime::Handle>,
}

impl Threads {
    fn start(count: usize) -> std::io::Result<Threads> {
        let mut handles = Vec::new();
        for number in 0..count {
            let runtime: Runtime = Builder::new_current_thread().enable_all().build()?;
            handles.push(runtime.handle().clone());
            let name = format!("connections-{number}");
            std::thread::Builder::new()
                .name(name)
                .spawn(move || runtime.block_on(std::future::pending::<()>()))?;
        }
        Ok(Threads { handles })
    }
}
