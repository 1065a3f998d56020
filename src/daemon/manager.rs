//! The owner of the processes: one loop that turns everything that happens into events for the supervisor, and carries out what it
//! answers.
//!
//! Every source is one variant of [`Happening`]; one synchronous handler takes it. The supervisor decides, the job server is asked
//! through the hub, and nothing else starts, signals or counts processes.

mod checks;
mod connections;
mod jobs;
mod machine;
mod orders;
mod processes;
mod reload;
mod sample;
mod service;
mod sweep;
mod upgrade;
mod weigh;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

pub(super) use self::checks::Begun;
use self::checks::Checks;
pub(super) use self::jobs::Losses;
use self::service::Told;
use self::upgrade::Upgrade;
pub(super) use self::upgrade::{Ground, Left};
use super::code::CodeWatch;
use super::control::{Control, Reply};
use super::crew::{Crew, Member, MemberService, Registration};
use super::demand;
use super::file::{self, ConfigFile, Reading};
use super::hub::{Hub, Signal as HubSignal};
use super::log::Log;
use super::logs::{Capture, Logs, Marks, Source, index};
use super::peer::Origin;
use super::snapshot::{Snapshooter, Sources};
use super::spawn::Surroundings;
use super::tls::Certificates;
use super::watch::FileWatch;
use crate::config::{PemFiles, Pool};
use crate::jobs::{ConnId, JobServer, Notice};
use crate::pools::{
    Action, Event, ExitStatus, Level, Plan, ProcId, Slot, Stop, Supervisor, Tell, Unfit,
};
use crate::proto::admin::Ending;
use crate::sys::cgroup::{Group, Groups};
use crate::sys::child::{self, Child, Exit, Spec};
use crate::sys::guardian::Guardian;
use crate::sys::pressure::Gauge;
use crate::sys::systemd::Notifier;
use crate::sys::{peer, signal};
use crate::time::Time;
use crate::tls::{self, Identity};
pub(super) use sweep::Heritage;
use sweep::Sweep;
use weigh::OutOfMemory;

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
    Ended {
        proc: ProcId,
        status: ExitStatus,
        capture: Capture,
    },
    /// Nothing is left of it, and its output has been written.
    Exited {
        proc: ProcId,
        status: ExitStatus,
        last_lines: Vec<String>,
    },
    /// A child has ended, perhaps one that nobody here has started.
    Child,
    /// Something has changed in the folder of the configuration file.
    FileTouched,
    /// A pool's check has ended: `None` when it passed.
    Checked {
        pool: String,
        number: u64,
        pid: Option<u32>,
        failure: Option<Unfit>,
    },
    /// Files of a pool's code have changed, such as this one.
    CodeChanged { pool: String, what: String },
    /// SIGHUP.
    Reload,
    /// SIGTERM, SIGINT, SIGUSR1.
    ShutDown(Stop),
    /// SIGUSR2.
    Upgrade,
    /// The program that is to take this one's place has said whether it can: its version, or why not.
    Consented(Result<String, String>),
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
    /// What tells of its changes, where the system does.
    pub(super) file_watch: Option<FileWatch>,
    pub(super) logs: Logs,
    pub(super) log: Log,
    /// Nobody for a plain job server, which starts no process and gets no file later.
    pub(super) guardian: Option<Guardian>,
    pub(super) certificates: Arc<Certificates>,
    /// The files of the flags, where TLS is not the configuration file's matter.
    pub(super) pem_files: Option<PemFiles>,
    pub(super) surroundings: Surroundings,
    /// Who wants to know how the service is.
    pub(super) notifier: Notifier,
    pub(super) snapshooter: Snapshooter,
    pub(super) happenings: mpsc::UnboundedSender<Happening>,
    pub(super) seed: u64,
    /// What tells how the machine is, where that matters.
    pub(super) gauge: Option<Gauge>,
    pub(super) ground: Ground,
    /// Which children are orphans.
    pub(super) heritage: Heritage,
    /// Where each process gets a control group, if that may be.
    pub(super) groups: Option<Groups>,
}

/// The owner of the processes.
pub(super) struct Manager {
    parts: Parts,
    supervisor: Supervisor,
    crew: Crew,
    /// Where what happens to each process is marked in the index of its log.
    marks: HashMap<ProcId, Marks>,
    /// The control groups of those that have one.
    groups: HashMap<ProcId, Group>,
    /// Those that were sent KILL.
    killed: HashSet<ProcId>,
    /// Processes that have ended, until nothing is left of them.
    sweeps: BTreeMap<ProcId, Sweep>,
    /// When orphans are looked for, because one may have ended.
    reap_at: Option<Time>,
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
    /// The pool that the daemon ends for, and why, if it does not end because it was told to.
    given_up: Option<String>,
    /// How often the kernel has killed something for want of memory.
    oom: OutOfMemory,
    /// When processes were weighed last, and what came of it, for those whose pool has `max_memory`.
    weighed: Time,
    weights: HashMap<ProcId, u64>,
    checks: Checks,
    /// The pools that were in force when this program took over, until it has compared the file with them.
    left: Option<Vec<Arc<Pool>>>,
    /// When systemd expects a word, and what it was told last of how we are.
    word_at: Option<Time>,
    told: Told,
    /// What tells of changes of the pools' code, once a pool wants to know.
    code: Option<CodeWatch>,
    /// How the daemon ends, once it does.
    ending: Option<Stop>,
    /// All processes of ours have ended.
    is_finished: bool,
    /// How many processes have been reaped and not been heard of yet.
    reaped: Arc<AtomicUsize>,
    upgrade: Option<Upgrade>,
    /// When the last order was taken.
    ordered: Time,
}

impl Manager {
    /// A manager that has not started anything.
    pub(super) fn new(parts: Parts) -> Manager {
        Manager {
            supervisor: Supervisor::new(parts.seed),
            parts,
            crew: Crew::default(),
            marks: HashMap::new(),
            groups: HashMap::new(),
            killed: HashSet::new(),
            sweeps: BTreeMap::new(),
            // of what has ended before nobody will tell
            reap_at: Some(Time::ZERO),
            losses: Losses::default(),
            events: VecDeque::new(),
            sample_at: None,
            sampled: Time::ZERO,
            gauged: Time::ZERO,
            read_at: None,
            listening: Vec::new(),
            given_up: None,
            oom: OutOfMemory::default(),
            weighed: Time::ZERO,
            weights: HashMap::new(),
            checks: Checks::default(),
            left: None,
            word_at: None,
            told: Told::default(),
            code: None,
            ending: None,
            is_finished: false,
            reaped: Arc::default(),
            upgrade: None,
            ordered: Time::ZERO,
        }
    }

    /// Starts the pools of the file. `listening` are the tasks that accept connections, which are ended when no more are wanted.
    pub(super) fn start(&mut self, listening: Vec<AbortHandle>) {
        self.listening = listening;
        self.follow_file();
        match (self.left.take(), &mut self.parts.file) {
            (Some(in_force), Some(file)) => {
                let reading = file.go_on_from(in_force);
                // what came of it has been logged
                let _ = self.apply(reading);
                self.check_left();
            }
            _ => {
                self.configure();
                self.check_new();
            }
        }
        self.work_off();
        self.say_ready();
    }

    /// When something is due.
    pub(super) fn next_deadline(&self) -> Option<Time> {
        [
            self.supervisor.next_deadline(),
            self.sample_at,
            self.read_at,
            self.upgrades_at(),
            self.sweeps.values().map(|sweep| sweep.look_at).min(),
            self.reap_at,
            self.word_at,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Whether the file is read in a moment.
    pub(super) fn is_to_read(&self) -> bool {
        self.read_at.is_some()
    }

    /// Takes everything that has happened since the last call.
    pub(super) fn handle(&mut self, happenings: impl Iterator<Item = Happening>) -> Flow {
        let mut registered = Vec::new();
        for happening in happenings {
            match happening {
                Happening::Hub(HubSignal::Notice(notice)) => self.notice(notice, &mut registered),
                Happening::Hub(HubSignal::Demand) => self.sample_soon(),
                Happening::Control(control) => self.control(control),
                Happening::Ended {
                    proc,
                    status,
                    capture,
                } => self.ended(proc, status, capture),
                Happening::Child => self.child_ended(),
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
                Happening::Checked {
                    pool,
                    number,
                    pid,
                    failure,
                } => self.checked(&pool, number, pid, failure),
                Happening::CodeChanged { pool, what } => self.code_changed(pool, what),
                Happening::Reload => {
                    self.parts.log.reopen();
                    if self.parts.file.is_some() || self.parts.pem_files.is_some() {
                        // what came of it has been logged
                        let _ = self.reload();
                    }
                }
                Happening::ShutDown(stop) => self.shut_down(stop),
                Happening::Upgrade => self.upgrade(None),
                Happening::Consented(answer) => self.consented(answer),
                Happening::Deadline => {}
            }
        }
        self.adopt(registered);
        let now = self.parts.hub.now();
        let looks = self.sweeps.values().map(|sweep| sweep.look_at);
        if looks.chain(self.reap_at).any(|at| at <= now) {
            self.sweep();
        }
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
                    self.follow_file();
                    // what came of it has been logged
                    let _ = self.apply(reading);
                }
                None => {}
            }
        }
        self.say_alive(now);
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
                Event::Parked { proc }
                    if !self.asks(proc, |it, server, _| it.is_parked(server)) =>
                {
                    continue;
                }
                Event::Cancelled { proc } if !self.asks(proc, Member::works_for_nobody) => continue,
                Event::Overdue { proc, .. } if !self.asks(proc, Member::is_overdue) => continue,
                _ => {}
            }
            let now = self.parts.hub.now();
            for action in self.supervisor.handle(now, event) {
                self.carry_out(action);
            }
        }
    }

    /// Asks the job server about a process, which may be gone.
    fn asks(&self, proc: ProcId, ask: impl FnOnce(&Member, &mut JobServer, Time) -> bool) -> bool {
        let member = self.crew.get(proc);
        member.is_some_and(|it| self.parts.hub.with(|server, now| ask(it, server, now)))
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Spawn { proc, slot, pool } => self.spawn(proc, slot, &pool),
            Action::Quiesce { proc } => {
                if let Some(member) = self.crew.get_mut(proc) {
                    self.parts
                        .hub
                        .with(|server, now| member.quiesce(server, now));
                    self.events.push_back(Event::Parked { proc });
                }
            }
            Action::Unquiesce { proc } => {
                if let Some(member) = self.crew.get_mut(proc) {
                    self.parts
                        .hub
                        .with(|server, now| member.unquiesce(server, now));
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
                self.sweep_hard(proc);
                self.killed.insert(proc);
                if let Some(group) = self.groups.get(&proc) {
                    // older kernels cannot, and have the group of processes
                    let _ = group.kill();
                }
            }
            Action::Renew { pool } => self.renew(&pool),
            Action::Tell(tell) => say(&tell),
            Action::GiveUp { pool, reason } => {
                tracing::error!("{pool}: {reason}; exit_on_failure is set: the daemon ends");
                self.given_up.get_or_insert(format!("{pool}: {reason}"));
                self.shut_down(Stop::Gracefully);
            }
            Action::Finished => self.is_finished = true,
        }
    }

    fn shut_down(&mut self, stop: Stop) {
        if self.ending.is_none() {
            tracing::info!("shutting down");
            self.parts.hub.with(|server, _| server.end_service());
            self.end_checks();
            self.parts.notifier.stopping();
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

    /// Ends the guardian, and with it whatever is left of the processes. Returns why it did not end because it was told to.
    pub(super) fn finish(self) -> Option<String> {
        self.sweep_rest();
        if let Some(guardian) = self.parts.guardian
            && let Err(error) = guardian.finish()
        {
            tracing::error!(%error, "processes may be left behind");
        }
        self.given_up
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
