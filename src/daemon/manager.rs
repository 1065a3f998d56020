//! The owner of the processes: one loop that turns everything that happens into events for the supervisor, and carries out what it
//! answers.
//!
//! Every source is one variant of [`Happening`]; one synchronous handler takes it. The supervisor decides, the job server is asked
//! through the hub, and nothing else starts, signals or counts processes.

mod connections;
mod jobs;
mod machine;
mod orders;
mod processes;
mod reload;
mod sample;

use std::collections::{HashMap, VecDeque};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use self::jobs::Losses;
use super::control::{Control, Reply};
use super::crew::{Crew, MemberService, Registration};
use super::demand;
use super::file::{self, ConfigFile, Reading};
use super::hub::{Hub, Signal as HubSignal};
use super::log::Log;
use super::logs::index::Exit;
use super::logs::{Logs, Marks, Source};
use super::peer::Origin;
use super::snapshot::{Snapshooter, Sources};
use super::spawn::Surroundings;
use super::tls::Certificates;
use crate::config::{PemFiles, Pool};
use crate::jobs::{ConnId, Notice};
use crate::pools::{
    Action, Event, ExitStatus, Level, Plan, ProcId, ProcLoad, Slot, Stop, Supervisor, Tell,
};
use crate::proto::admin::Ending;
use crate::sys::child::{self, Child};
use crate::sys::guardian::Guardian;
use crate::sys::pressure::Gauge;
use crate::sys::{peer, signal};
use crate::time::Time;
use crate::tls::{self, Identity};

/// How often the job server is looked at when nothing happens.
const SAMPLE_IDLE: Duration = Duration::from_secs(1);

/// How often while jobs wait.
const SAMPLE_BUSY: Duration = Duration::from_millis(100);

/// Not more often than this, whatever happens.
const SAMPLE_LEAST: Duration = Duration::from_millis(10);

/// How long the configuration file has to be left alone before it is read: an editor writes more than once.
const SETTLE: Duration = Duration::from_millis(100);

/// Everything that can happen to the manager.
#[derive(Debug)]
pub(super) enum Happening {
    /// The job server has something to tell.
    Hub(HubSignal),
    /// Somebody wants something.
    Control(Control),
    /// A process has ended and has been reaped.
    Exited {
        proc: ProcId,
        status: ExitStatus,
        last_lines: Vec<String>,
    },
    /// Something has changed in the folder of the configuration file.
    FileTouched,
    /// SIGHUP.
    Reload,
    /// SIGTERM, SIGINT, SIGUSR1.
    ShutDown(Stop),
    /// A deadline has come.
    Deadline,
}

/// What the manager's loop does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// Wait for the next happening.
    Continue,
    /// All processes have ended, and the daemon ends.
    End,
}

/// What the manager is made of.
pub(super) struct Parts {
    pub(super) hub: Arc<Hub>,
    pub(super) file: Option<ConfigFile>,
    pub(super) logs: Logs,
    pub(super) log: Log,
    /// Nobody for a plain job server, which starts no process and gets no file later.
    pub(super) guardian: Option<Guardian>,
    pub(super) certificates: Arc<Certificates>,
    /// The files of the flags, where TLS is not the configuration file's matter.
    pub(super) pem_files: Option<PemFiles>,
    pub(super) surroundings: Surroundings,
    pub(super) snapshooter: Snapshooter,
    pub(super) happenings: mpsc::UnboundedSender<Happening>,
    pub(super) seed: u64,
    /// What tells how the machine is, where that matters.
    pub(super) gauge: Option<Gauge>,
}

/// The owner of the processes.
pub(super) struct Manager {
    parts: Parts,
    supervisor: Supervisor,
    crew: Crew,
    /// Where what happens to each process is marked in the index of its log.
    marks: HashMap<ProcId, Marks>,
    /// What the processes have taken down with them.
    losses: Losses,
    /// Events that carrying out an action brought, before the next happening is looked at.
    events: VecDeque<Event>,
    /// When the job server is looked at next, and when it was last.
    sample_at: Option<Time>,
    sampled: Time,
    /// When the machine was looked at last.
    gauged: Time,
    /// When the file is read, because it was touched.
    read_at: Option<Time>,
    /// The tasks that accept connections.
    listening: Vec<AbortHandle>,
    /// How the daemon ends, once it does.
    ending: Option<Stop>,
    /// All processes of ours have ended.
    is_finished: bool,
}

impl Manager {
    /// A manager that has not started anything.
    pub(super) fn new(parts: Parts) -> Manager {
        Manager {
            supervisor: Supervisor::new(parts.seed),
            parts,
            crew: Crew::default(),
            marks: HashMap::new(),
            losses: Losses::default(),
            events: VecDeque::new(),
            sample_at: None,
            sampled: Time::ZERO,
            gauged: Time::ZERO,
            read_at: None,
            listening: Vec::new(),
            ending: None,
            is_finished: false,
        }
    }

    /// Starts the pools of the file. `listening` are the tasks that accept connections, which are ended when no more are wanted.
    pub(super) fn start(&mut self, listening: Vec<AbortHandle>) {
        self.listening = listening;
        self.configure();
        self.work_off();
    }

    /// When something is due.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        [
            self.supervisor.next_deadline(),
            self.sample_at,
            self.read_at,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Takes everything that has happened since the last call.
    pub(super) fn handle(&mut self, happenings: impl Iterator<Item = Happening>) -> Flow {
        let mut registered = Vec::new();
        for happening in happenings {
            match happening {
                Happening::Hub(HubSignal::Notice(notice)) => self.notice(notice, &mut registered),
                Happening::Hub(HubSignal::Demand) => self.sample_soon(),
                Happening::Control(control) => self.control(control),
                Happening::Exited {
                    proc,
                    status,
                    last_lines,
                } => self.exited(proc, status, last_lines),
                // not put off by the next one: something else in the folder, such as a log, may be written to all the time
                Happening::FileTouched => {
                    let settled = self.parts.hub.now() + SETTLE;
                    self.read_at.get_or_insert(settled);
                }
                Happening::Reload => {
                    self.parts.log.reopen();
                    if self.parts.file.is_some() || self.parts.pem_files.is_some() {
                        // what came of it has been logged
                        let _ = self.reload();
                    }
                }
                Happening::ShutDown(stop) => self.shut_down(stop),
                Happening::Deadline => {}
            }
        }
        self.adopt(registered);
        self.do_due();
        self.work_off();
        self.flow()
    }

    /// The jobs of other people's workers are waited for only by SIGUSR1, as with gearmand.
    fn flow(&mut self) -> Flow {
        let waits = self.ending == Some(Stop::WhenIdle)
            && self.parts.hub.with(|server, _| server.running()) > 0;
        match (self.is_finished, waits) {
            (true, false) => Flow::End,
            (true, true) => {
                self.sample_at = Some(self.parts.hub.now() + SAMPLE_BUSY);
                Flow::Continue
            }
            (false, _) => Flow::Continue,
        }
    }

    fn do_due(&mut self) {
        let now = self.parts.hub.now();
        if self.read_at.is_some_and(|at| at <= now) {
            self.read_at = None;
            match &mut self.parts.file {
                // its half may be a file too, one that drops the other half's pools
                Some(file) if file.age() < SETTLE => self.read_at = Some(now + SETTLE),
                Some(file) => {
                    let reading = file.read_if_changed();
                    // what came of it has been logged
                    let _ = self.apply(reading);
                }
                None => {}
            }
        }
        if self.sample_at.is_some_and(|at| at <= now) {
            self.sample(now);
        }
        if self.supervisor.next_deadline().is_some_and(|at| at <= now) {
            self.events.push_back(Event::Tick);
        }
    }

    /// Gives the supervisor its events, and carries out what it answers, until there is nothing left.
    fn work_off(&mut self) {
        while let Some(event) = self.events.pop_front() {
            // they are put in whenever it may be so, and an event before them may have given the process jobs again
            match event {
                Event::Parked { proc } if !self.is_parked(proc) => continue,
                Event::Cancelled { proc } if !self.works_for_nobody(proc) => continue,
                Event::Overdue { proc, .. } if !self.is_overdue(proc) => continue,
                _ => {}
            }
            let now = self.parts.hub.now();
            for action in self.supervisor.handle(now, event) {
                self.carry_out(action);
            }
        }
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Spawn { proc, slot, pool } => self.spawn(proc, slot, &pool),
            Action::Quiesce { proc } => {
                if let Some(member) = self.crew.get_mut(proc) {
                    member.service = MemberService::Quiesced;
                    self.parts.hub.with(|server, now| {
                        for &conn in &member.conns {
                            server.quiesce(now, conn);
                        }
                    });
                    self.events.push_back(Event::Parked { proc });
                }
            }
            Action::Unquiesce { proc } => {
                if let Some(member) = self.crew.get_mut(proc) {
                    member.service = MemberService::Open;
                    self.parts.hub.with(|server, now| {
                        for &conn in &member.conns {
                            server.unquiesce(now, conn);
                        }
                    });
                }
            }
            Action::Disconnect { proc } => {
                if let Some(member) = self.crew.get_mut(proc) {
                    member.service = MemberService::Refused;
                    for &conn in &member.conns {
                        self.parts.hub.close(conn);
                    }
                }
            }
            Action::Signal { proc, signal } => {
                if let Some(marks) = self.marks.get(&proc) {
                    marks.stop(&format!("SIG{}", signal.name()));
                }
                self.signal(proc, |pid| signal::signal_group(pid, signal));
            }
            Action::Kill { proc } => {
                if let Some(marks) = self.marks.get(&proc) {
                    marks.stop("SIGKILL");
                }
                self.signal(proc, signal::kill_group);
            }
            Action::Tell(tell) => say(&tell),
            Action::Finished => self.is_finished = true,
        }
    }

    fn shut_down(&mut self, stop: Stop) {
        if self.ending.is_none() {
            tracing::info!("shutting down");
            self.parts.hub.with(|server, _| server.end_service());
        }
        if stop == Stop::WhenIdle {
            // what is running may take long: nobody is to start something new here meanwhile
            for task in self.listening.drain(..) {
                task.abort();
            }
        }
        self.ending = Some(stop);
        self.events.push_back(Event::ShutDown(stop));
    }

    /// Ends the guardian, and with it whatever is left of the processes.
    pub(super) fn finish(self) {
        if let Some(guardian) = self.parts.guardian
            && let Err(error) = guardian.finish()
        {
            tracing::error!(%error, "processes may be left behind");
        }
    }
}

fn say(tell: &Tell) {
    let name = match tell.slot {
        Some(Slot(slot)) => format!("{}/{slot}", tell.pool),
        None => tell.pool.clone(),
    };
    match tell.level {
        Level::Info => tracing::info!("{name}: {}", tell.text),
        Level::Warning => tracing::warn!("{name}: {}", tell.text),
        Level::Error => tracing::error!("{name}: {}", tell.text),
    }
}
