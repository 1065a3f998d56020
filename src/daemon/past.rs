//! What another program in this process has left besides its job server, until it is gone on with.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::conn::Begin;
use super::handover::{Received, State};
use super::hub::Hub;
use super::listener::Resumed;
use super::logs::PipeState;
use super::manager::{Left, Manager};
use super::peer::PeerState;
use crate::jobs;
use crate::status::UpgradeStatus;
use crate::sys::clock;

/// What is left, in the order in which it is needed.
pub(super) struct Past {
    from: String,
    stopped: Duration,
    pub(super) upgrades: u64,
    peers: Vec<PeerState<'static>>,
    leaving: Vec<PeerState<'static>>,
    left: Left,
    pipes: Vec<PipeState>,
    logs_dropped: u64,
}

impl Past {
    /// The job server as it was, the beginning of its time, and the rest.
    ///
    /// # Errors
    /// Those of the clock.
    pub(super) fn split(received: Received) -> io::Result<(jobs::State<'static>, Instant, Past)> {
        let Received { state, from } = received;
        let State {
            start,
            stopped,
            upgrades,
            server,
            peers,
            leaving,
            supervisor,
            crew,
            losses,
            groups,
            killed,
            in_force,
            unfit,
            checks,
            pipes,
            logs_dropped,
            // gone on with before there was a job server
            descriptor_limit: _,
            instance: _,
            listeners: _,
            control: _,
            folder: _,
            pid_file: _,
            guardian: _,
            heritage: _,
        } = state;
        let past = Past {
            from,
            stopped,
            upgrades,
            peers,
            leaving,
            left: Left {
                supervisor: supervisor.into_owned(),
                crew: crew.into_owned(),
                losses: losses.into_owned(),
                groups: groups.into_owned(),
                killed: killed.into_owned(),
                in_force: in_force.map(Cow::into_owned),
                unfit: unfit.into_owned(),
                checks,
            },
            pipes: pipes.into_owned(),
            logs_dropped,
        };
        Ok((server, clock::instant(start)?, past))
    }

    /// Goes on with the processes and the connections.
    ///
    /// # Errors
    /// Those of the clock.
    pub(super) fn resume(
        self,
        hub: &Arc<Hub>,
        threads: &[Handle],
        manager: &mut Manager,
    ) -> io::Result<()> {
        let processes = self.left.crew.iter().count();
        manager.take_up(self.left, self.pipes, self.logs_dropped)?;
        let known = adopt(hub, threads, self.peers);
        let leaving = adopt(hub, threads, self.leaving);
        let peers = |all: &[(Resumed, &Handle)]| -> Vec<_> {
            all.iter().map(|(it, _)| Arc::clone(&it.peer)).collect()
        };
        let (all, gone) = (peers(&known), peers(&leaving));
        manager.resume_traces(&all);
        // all of them are there before the first one is heard
        hub.resume(&all, &gone);
        for (begin, peers) in [(Begin::Take, known), (Begin::Leave, leaving)] {
            for (peer, thread) in peers {
                thread.spawn(peer.serve(Arc::clone(hub), begin));
            }
        }
        let silent = clock::now()?.saturating_sub(self.stopped);
        tracing::info!(
            "upgraded from gearpool {} to {}: {} connections and {processes} processes go on, after {} ms",
            self.from,
            env!("CARGO_PKG_VERSION"),
            all.len(),
            silent.as_millis()
        );
        manager.upgraded(UpgradeStatus {
            from: self.from,
            count: self.upgrades,
            silent,
        });
        Ok(())
    }
}

/// Takes sockets over, round the threads. One that is not there is as good as one whose peer has gone.
fn adopt<'a>(
    hub: &Hub,
    threads: &'a [Handle],
    states: Vec<PeerState<'_>>,
) -> Vec<(Resumed, &'a Handle)> {
    let mut resumed = Vec::new();
    for (state, thread) in states.into_iter().zip(threads.iter().cycle()) {
        let _on_its_thread = thread.enter();
        match Resumed::adopt(hub, state) {
            Ok(peer) => resumed.push((peer, thread)),
            Err(error) => tracing::error!(%error, "a connection was not handed over"),
        }
    }
    resumed
}
