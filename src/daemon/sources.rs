//! Everything that wakes the manager: signals, orders, the job server, its own tasks, the file, and the time.

use std::io;
use std::iter;
use std::time::Instant;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{Receiver, UnboundedReceiver};

use super::control::Control;
use super::hub;
use super::manager::Happening;
use super::settings::Program;
use crate::pools::Stop;
use crate::sys::alarm::Alarm;

/// How many happenings of a kind are taken at once at most.
const BATCH: usize = 1024;

/// Where they come from, through channels.
pub(super) struct Channels {
    /// From the control socket.
    pub(super) orders: Receiver<Control>,
    /// From the manager's own tasks.
    pub(super) own: UnboundedReceiver<Happening>,
    /// From the job server.
    pub(super) hub: UnboundedReceiver<hub::Signal>,
    /// From the folder of the file.
    pub(super) touched: Receiver<()>,
}

/// All of it.
pub(super) struct Sources {
    channels: Channels,
    term: Signal,
    int: Signal,
    usr1: Signal,
    usr2: Option<Signal>,
    hup: Signal,
    child: Signal,
    alarm: Alarm,
}

impl Sources {
    /// Listens from now on. All that this takes is open before the pools' processes take descriptors.
    ///
    /// # Errors
    /// A signal that cannot be listened to, or no timer.
    pub(super) fn new(channels: Channels, program: Program) -> io::Result<Sources> {
        Ok(Sources {
            channels,
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            usr1: signal(SignalKind::user_defined1())?,
            usr2: match program {
                Program::Gearpool => Some(signal(SignalKind::user_defined2())?),
                // which it does not listen to
                Program::Gearmand => None,
            },
            hup: signal(SignalKind::hangup())?,
            child: signal(SignalKind::child())?,
            alarm: Alarm::new()?,
        })
    }

    /// Waits until something happens, or until the deadline, and adds all that has happened by then to the batch. While the file is to
    /// be read anyway, whoever else writes in its folder need not wake us.
    pub(super) async fn wait(
        &mut self,
        deadline: Option<Instant>,
        is_to_read: bool,
        batch: &mut Vec<Happening>,
    ) {
        let mut signals = Vec::new();
        tokio::select! {
            biased;
            _ = self.term.recv() => batch.push(Happening::ShutDown(Stop::Gracefully)),
            _ = self.int.recv() => batch.push(Happening::ShutDown(Stop::Gracefully)),
            _ = self.usr1.recv() => batch.push(Happening::ShutDown(Stop::WhenIdle)),
            () = heard(self.usr2.as_mut()) => batch.push(Happening::Upgrade),
            _ = self.hup.recv() => batch.push(Happening::Reload),
            _ = self.child.recv() => batch.push(Happening::Child),
            Some(order) = self.channels.orders.recv() => batch.push(Happening::Control(order)),
            _ = self.channels.own.recv_many(batch, BATCH) => {}
            _ = self.channels.hub.recv_many(&mut signals, BATCH) => batch.extend(signals.drain(..).map(Happening::Hub)),
            Some(()) = self.channels.touched.recv(), if !is_to_read => batch.push(Happening::FileTouched),
            () = self.alarm.wait(deadline) => batch.push(Happening::Deadline),
        }
        // one that comes all the time does not keep the others waiting
        let orders = iter::from_fn(|| self.channels.orders.try_recv().ok());
        batch.extend(orders.take(BATCH).map(Happening::Control));
        self.hear(BATCH, batch);
    }

    /// What the daemon's own threads have told.
    pub(super) fn hear(&mut self, most: usize, batch: &mut Vec<Happening>) {
        let Channels { own, hub, .. } = &mut self.channels;
        batch.extend(iter::from_fn(|| own.try_recv().ok()).take(most));
        let signals = iter::from_fn(|| hub.try_recv().ok()).take(most);
        batch.extend(signals.map(Happening::Hub));
    }

    /// Whether nothing waits but signals, the file and the time.
    pub(super) fn is_empty(&self) -> bool {
        let Channels {
            orders, own, hub, ..
        } = &self.channels;
        orders.is_empty() && own.is_empty() && hub.is_empty()
    }
}

/// Waits for a signal, for ever where it is not listened to.
async fn heard(signal: Option<&mut Signal>) {
    match signal {
        Some(signal) => _ = signal.recv().await,
        None => std::future::pending().await,
    }
}
