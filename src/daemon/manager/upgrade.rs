//! Another program in the daemon's place: asked first whether it can go on with what there is, then executed.
//!
//! Up to the call that executes it nothing is given up: whatever fails, the daemon goes on, and says why.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::{AsRawFd as _, RawFd};
use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::Command;

use super::checks::Begun;
use super::orders::answer;
use super::*;
use crate::daemon::handover::{self, FolderState, GuardianState, State};
use crate::daemon::listener::ListenerState;
use crate::daemon::logs::PipeState;
use crate::daemon::peer::Peer;
use crate::status::UpgradeStatus;
use crate::sys;
use crate::sys::{clock, net};

/// So many jobs are in what the new program is asked with: they are all alike, and while they are written nobody is served.
const REHEARSED: usize = 1000;

/// How long the new program may take to say whether it can go on, and how much longer for so many bytes that it has to read.
const PATIENCE: Duration = Duration::from_secs(10);
const A_SECOND: u64 = 4 << 20;

/// How long a moment is looked for in which no connection is between being accepted and being known, and no process between being
/// reaped and being written off.
const WAIT: Duration = Duration::from_secs(5);

/// How long of that for one in which no connection is in the middle of its TLS handshake.
const HANDSHAKES: Duration = Duration::from_millis(500);

/// How soon it is looked for again.
const AGAIN: Duration = Duration::from_millis(2);

/// How long the answer to an order may be on its way.
const ANSWER: Duration = Duration::from_millis(20);

/// How long the thread of the logs may take for what it is writing.
const LOGS_STOP: Duration = Duration::from_secs(2);

/// What crosses and is not the manager's own.
pub(in crate::daemon) struct Ground {
    /// The program's file, as it was named when this one was started.
    pub(in crate::daemon) program: PathBuf,
    /// The command line.
    pub(in crate::daemon) words: Vec<OsString>,
    pub(in crate::daemon) listeners: Vec<ListenerState>,
    /// The control socket, by its number.
    pub(in crate::daemon) control: RawFd,
    pub(in crate::daemon) folder: FolderState,
    pub(in crate::daemon) pid_file: Option<PathBuf>,
    /// How many there were before.
    pub(in crate::daemon) upgrades: u64,
}

/// The processes that the program before this one has left, and what it knew of them.
pub(in crate::daemon) struct Left {
    pub(in crate::daemon) supervisor: Supervisor,
    pub(in crate::daemon) crew: Crew,
    pub(in crate::daemon) losses: Losses,
    pub(in crate::daemon) groups: HashMap<ProcId, Group>,
    pub(in crate::daemon) killed: HashSet<ProcId>,
    /// The pools that were in force, where there was a file.
    pub(in crate::daemon) in_force: Option<Vec<Arc<Pool>>>,
    /// Those whose check had failed.
    pub(in crate::daemon) unfit: BTreeSet<String>,
    pub(in crate::daemon) checks: Vec<Begun>,
}

/// An upgrade under way.
pub(super) struct Upgrade {
    /// Nobody, for a signal.
    reply: Option<Reply>,
    stage: Stage,
}

/// Which jobs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Jobs {
    /// Those for the question whether the new program can go on.
    Some,
    All,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The new program is asked.
    Asking,
    /// A quiet moment is looked for, at this time again, and no longer than until the other one.
    Waiting { at: Time, until: Time },
}

impl Manager {
    /// Begins an upgrade.
    pub(super) fn upgrade(&mut self, reply: Option<Reply>) {
        if self.upgrade.is_some() {
            return refuse(reply, "an upgrade is under way already");
        }
        if self.ending.is_some() {
            return refuse(reply, "the daemon is shutting down");
        }
        let ground = &self.parts.ground;
        let now = clock::now().unwrap_or_default();
        let logs = self.parts.logs.stop(LOGS_STOP);
        let pipes = logs.as_ref().map_or(&[][..], |logs| &logs.pipes);
        let rehearsal = self.write(pipes, now, Jobs::Some).map(|(file, _)| {
            let program = ground.program.clone();
            tracing::info!("upgrade: asking {} whether it can go on", program.display());
            ask(program, ground.words.clone(), file)
        });
        match rehearsal {
            Err(error) => refuse(reply, &format!("{error:#}")),
            Ok(asked) => {
                self.upgrade = Some(Upgrade {
                    reply,
                    stage: Stage::Asking,
                });
                let happenings = self.parts.happenings.clone();
                tokio::spawn(async move {
                    // the manager ends last
                    let _ = happenings.send(Happening::Consented(asked.await));
                });
            }
        }
    }

    /// The new program has said whether it can go on.
    pub(super) fn consented(&mut self, answer: Result<String, String>) {
        let Some(upgrade) = &mut self.upgrade else {
            return;
        };
        match answer {
            Ok(version) => {
                tracing::info!("upgrade: to gearpool {version}");
                let now = self.parts.hub.now();
                upgrade.stage = Stage::Waiting {
                    at: now,
                    until: now + WAIT,
                };
            }
            Err(error) => self.call_off(&error),
        }
    }

    /// When a quiet moment is looked for.
    pub(super) fn upgrades_at(&self) -> Option<Time> {
        self.upgrade.as_ref().and_then(|it| match it.stage {
            Stage::Asking => None,
            Stage::Waiting { at, .. } => Some(at),
        })
    }

    /// Whether a quiet moment is to be looked for now.
    pub(in crate::daemon) fn wants_quiet(&self) -> bool {
        let now = self.parts.hub.now();
        self.upgrades_at().is_some_and(|at| at <= now)
    }

    /// The threads stand still since a moment, and everything that they have told has been heard. If this moment will do, the new
    /// program is executed, and this does not return.
    pub(in crate::daemon) fn execute(&mut self, stopped: Duration) {
        let Some(Upgrade {
            stage: Stage::Waiting { until, .. },
            ..
        }) = self.upgrade
        else {
            return;
        };
        if let Some(ending) = self.ending {
            return self.call_off(&format!("the daemon is shutting down: {ending:?}"));
        }
        if self.parts.hub.arriving() > 0 {
            return self.look_again("connections come and go too fast");
        }
        if self.reaped() > 0 {
            let why = self.what_is_swept();
            return self.look_again(&why);
        }
        // whoever is in the middle of a handshake has no connection yet, and may never have one: it is cut then
        let patience = until + HANDSHAKES - WAIT;
        if self.parts.hub.shaking() > 0 && self.parts.hub.now() < patience {
            return self.look_again("connections with TLS come and go too fast");
        }
        if self.put_off_askers() {
            self.ordered = self.parts.hub.now();
        }
        if self.parts.hub.now().since(self.ordered) < ANSWER {
            return self.look_again("there are too many orders");
        }
        let Some(logs) = self.parts.logs.stop(LOGS_STOP) else {
            return self.look_again("the disk of the workers' logs is too slow");
        };
        let error = match self.write(&logs.pipes, stopped, Jobs::All) {
            Err(error) => format!("{error:#}"),
            Ok((file, descriptors)) => {
                let descriptors = descriptors.into_iter().chain([file.as_raw_fd()]);
                let ground = &self.parts.ground;
                sys::signal::hold();
                let error = sys::handover::execute(
                    &ground.program,
                    &ground.words,
                    file.as_raw_fd(),
                    descriptors,
                );
                sys::signal::release();
                let program = ground.program.display();
                format!("cannot execute {program}: {}", sys::reason(&error))
            }
        };
        self.call_off(&error);
    }

    /// Which ends of processes there is no moment between.
    fn what_is_swept(&self) -> String {
        let ended = self.sweeps.keys().find_map(|&proc| self.crew.get(proc));
        match ended {
            Some(member) => format!(
                "{}/{} has ended, and what it has left behind has not; try again when that is gone",
                member.pool.name, member.slot.0
            ),
            None => "processes end too fast".to_owned(),
        }
    }

    /// This moment will not do.
    pub(in crate::daemon) fn look_again(&mut self, why: &str) {
        let now = self.parts.hub.now();
        match &mut self.upgrade {
            Some(Upgrade {
                stage: Stage::Waiting { at, until },
                ..
            }) if now < *until => *at = now + AGAIN,
            _ => self.call_off(why),
        }
    }

    fn call_off(&mut self, why: &str) {
        if let Some(upgrade) = self.upgrade.take() {
            refuse(upgrade.reply, why);
        }
    }

    /// Writes everything that crosses, and says which descriptors do.
    fn write(
        &self,
        pipes: &[PipeState],
        stopped: Duration,
        jobs: Jobs,
    ) -> anyhow::Result<(File, Vec<RawFd>)> {
        let Manager {
            parts,
            supervisor,
            crew,
            // made with the pipes' new readers
            marks: _,
            // carried out before
            events: _,
            // the next one looks and reads at once
            sample_at: _,
            sampled: _,
            gauged: _,
            read_at: _,
            reap_at: _,
            groups,
            killed,
            // each of them counts as reaped
            sweeps: _,
            given_up: _,
            oom: _,
            weighed: _,
            weights: _,
            checks,
            // said again
            word_at: _,
            told: _,
            // followed again
            code: _,
            left: _,
            // its own tasks, of which there are others
            listening: _,
            // there is no upgrade then
            ending: _,
            is_finished: _,
            reaped: _,
            losses,
            upgrade: _,
            ordered: _,
        } = self;
        let Parts {
            hub,
            // read anew, and put in force as after a reload
            file,
            logs,
            log: _,
            guardian,
            certificates: _,
            pem_files: _,
            surroundings,
            // shown again after another look
            snapshooter: _,
            happenings: _,
            seed: _,
            gauge: _,
            ground,
            heritage,
            // found again, by the same rules
            groups: _,
            file_watch: _,
            notifier: _,
        } = parts;
        let (known, leaving) = hub.peers();
        let start = clock::number(hub.start())?;
        // before the hub is locked: a task that has part of a frame locks that first
        let peers = known.iter().filter_map(|it| it.to_hand_over()).collect();
        let leaving = leaving.iter().filter_map(|it| it.to_hand_over()).collect();
        hub.look(|server| {
            let state = State {
                start,
                stopped,
                upgrades: ground.upgrades + 1,
                descriptor_limit: net::inherited_descriptor_limit(),
                instance: (&surroundings.instance).into(),
                listeners: (&ground.listeners).into(),
                control: ground.control,
                folder: ground.folder.clone(),
                pid_file: Cow::Borrowed(&ground.pid_file),
                guardian: guardian.as_ref().map(|guardian| GuardianState {
                    pipe: guardian.descriptor(),
                    pid: guardian.pid(),
                }),
                server: match jobs {
                    Jobs::Some => server.sample(REHEARSED),
                    Jobs::All => server.state(),
                },
                peers,
                leaving,
                supervisor: Cow::Borrowed(supervisor),
                crew: Cow::Borrowed(crew),
                losses: Cow::Borrowed(losses),
                groups: Cow::Borrowed(groups),
                killed: Cow::Borrowed(killed),
                heritage: Cow::Borrowed(heritage),
                pipes: pipes.into(),
                in_force: file.as_ref().map(|file| Cow::Borrowed(file.pools())),
                unfit: Cow::Borrowed(checks.unfit()),
                checks: checks.begun(),
                logs_dropped: logs.dropped(),
            };
            let file = state.write(&ground.folder.path)?;
            Ok((file, state.descriptors()))
        })
    }

    /// Goes on with the processes that the program before this one has started.
    ///
    /// # Errors
    /// Those of waiting for them: no descriptor is left.
    pub(in crate::daemon) fn take_up(
        &mut self,
        left: Left,
        pipes: Vec<PipeState>,
        logs_dropped: u64,
    ) -> std::io::Result<()> {
        self.parts.logs.dropped_before(logs_dropped);
        let Left {
            supervisor,
            crew,
            losses,
            groups,
            killed,
            in_force,
            unfit,
            checks,
        } = left;
        (self.supervisor, self.crew, self.losses) = (supervisor, crew, losses);
        (self.groups, self.killed) = (groups, killed);
        self.left = in_force;
        self.checks.remember(unfit, checks);
        let mut of_pid: HashMap<u32, Vec<_>> = HashMap::new();
        for state in pipes {
            match sys::handover::adopt(state.descriptor()) {
                Ok(pipe) => of_pid.entry(state.pid()).or_default().push((state, pipe)),
                Err(error) => tracing::error!(%error, "a worker's output was not handed over"),
            }
        }
        let members: Vec<_> = self
            .crew
            .iter()
            .map(|(proc, member)| (proc, member.pid))
            .collect();
        for (proc, pid) in members {
            let pipes = of_pid.remove(&pid).unwrap_or_default();
            let capture = self.parts.logs.resume(pipes);
            self.wait_for(proc, Exit::inherited(pid)?, capture);
        }
        Ok(())
    }

    /// Goes on marking the jobs of the processes' connections.
    pub(in crate::daemon) fn resume_traces(&self, peers: &[Arc<Peer>]) {
        for peer in peers {
            let proc = self.crew.owner(peer.id);
            if let Some(marks) = proc.and_then(|proc| self.marks.get(&proc)) {
                peer.trace(marks.clone());
            }
        }
    }

    /// What the status says of the upgrade by which this program has come.
    pub(in crate::daemon) fn upgraded(&mut self, upgrade: UpgradeStatus) {
        self.parts.snapshooter.upgraded(upgrade);
    }
}

fn refuse(reply: Option<Reply>, why: &str) {
    tracing::error!("no upgrade: {why}");
    if let Some(reply) = reply {
        answer(reply, Err(why.to_owned()));
    }
}

/// Asks a program whether it can go on with this, started as it would be. Returns its version.
async fn ask(program: PathBuf, words: Vec<OsString>, state: File) -> Result<String, String> {
    let shown = program.display();
    let bytes = state.metadata().map_or(0, |state| state.len());
    let patience = PATIENCE + Duration::from_secs(bytes / A_SECOND);
    let mut command = Command::new(&program);
    if let Some((name, words)) = words.split_first() {
        command.arg0(name).args(words);
    }
    let (variable, number) = sys::handover::word(0);
    let asked = command
        .arg("--check-args")
        .env(variable, number)
        .stdin(Stdio::from(state))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .output();
    let said = match tokio::time::timeout(patience, asked).await {
        Err(_) => {
            let seconds = patience.as_secs();
            return Err(format!(
                "{shown} does not say within {seconds} s whether it can go on"
            ));
        }
        Ok(Err(error)) => return Err(format!("cannot execute {shown}: {}", sys::reason(&error))),
        Ok(Ok(said)) => said,
    };
    let text = String::from_utf8_lossy(&said.stdout);
    match handover::consents(&text) {
        Some(version) if said.status.success() => Ok(version.to_owned()),
        _ => {
            let errors = String::from_utf8_lossy(&said.stderr);
            let because = match errors.trim() {
                "" => "is no gearpool that can go on with what this one has",
                errors => errors,
            };
            Err(format!("{shown}: {because} ({})", said.status))
        }
    }
}
