//! The owner of the processes: one loop that turns everything that happens into events for the supervisor, and carries out what it
//! answers.
//!
//! Every source is one variant of [`Happening`]; one synchronous handler takes it. The supervisor decides, the job server is asked
//! through the hub, and nothing else starts, signals or counts processes.

mod machine;

use std::collections::{HashMap, VecDeque};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

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

    fn spawn(&mut self, proc: ProcId, slot: Slot, pool: &Arc<Pool>) {
        let spec = self.parts.surroundings.describe(pool, slot);
        let started = spec
            .map_err(|error| error.to_string())
            .and_then(|spec| child::spawn(&spec).map_err(|error| error.to_string()));
        let Child {
            pid,
            output,
            errors,
            mut exit,
        } = match started {
            Ok(child) => child,
            Err(error) => {
                self.events.push_back(Event::SpawnFailed { proc, error });
                return;
            }
        };
        self.watch_over(pid);
        let capture = self.parts.logs.capture(Source {
            pool: pool.name.clone(),
            slot: slot.0,
            pid,
            config: pool.log.clone(),
            output,
            errors,
        });
        self.marks.insert(proc, capture.marks());
        let happenings = self.parts.happenings.clone();
        tokio::spawn(async move {
            let status = exit.wait().await;
            // what the process has left behind in its group goes with it
            let _ = signal::kill_group(pid);
            let status = status.map_or(ExitStatus::Code(-1), |status| status_of(&status));
            let last_lines = capture.ended(exit_of(status)).await;
            // the manager ends last
            let _ = happenings.send(Happening::Exited {
                proc,
                status,
                last_lines,
            });
        });
        self.crew.join(proc, Arc::clone(pool), slot, pid);
        self.events.push_back(Event::Spawned { proc, pid });
    }

    /// Tells the guardian of a new process; a new guardian of all of them, when somebody has killed the old one.
    fn watch_over(&mut self, pid: u32) {
        let Some(watching) = &mut self.parts.guardian else {
            return;
        };
        let told = watching.watch(pid).or_else(|error| {
            if error.kind() != ErrorKind::BrokenPipe {
                return Err(error);
            }
            tracing::warn!("the guardian was killed; starting another");
            let guardian = Guardian::start(&self.parts.surroundings.instance)?;
            for (_, member) in self.crew.iter() {
                guardian.watch(member.pid)?;
            }
            guardian.watch(pid)?;
            // reaps the dead one, which has nothing left to say
            let _ = std::mem::replace(watching, guardian).finish();
            Ok(())
        });
        if let Err(error) = told {
            tracing::warn!(%error, pid, "the guardian does not answer; a kill -9 of the daemon may leave this process's children behind");
        }
    }

    fn signal(&self, proc: ProcId, send: impl FnOnce(u32) -> std::io::Result<()>) {
        let Some(member) = self.crew.get(proc) else {
            return;
        };
        if let Err(error) = send(member.pid) {
            tracing::error!(%error, pool = member.pool.name, slot = member.slot.0, pid = member.pid, "cannot signal the process");
        }
    }

    fn exited(&mut self, proc: ProcId, status: ExitStatus, last_lines: Vec<String>) {
        self.marks.remove(&proc);
        if let Some(member) = self.crew.leave(proc)
            && let Some(guardian) = &self.parts.guardian
            && let Err(error) = guardian.forget(member.pid)
        {
            tracing::debug!(%error, "the guardian does not answer");
        }
        self.events.push_back(Event::Exited {
            proc,
            status,
            last_lines,
        });
    }

    fn notice(&mut self, notice: Notice, registered: &mut Vec<(ConnId, Box<[u8]>)>) {
        match notice {
            Notice::Registered { conn, function } => {
                if let Some(peer) = self.parts.hub.peer(conn) {
                    tracing::debug!(peer = %peer.address, function = %String::from_utf8_lossy(&function), "a worker registered");
                }
                registered.push((conn, function));
            }
            Notice::Worked(conn) => {
                // a connection may register and end a job before it has been looked at
                self.adopt(std::mem::take(registered));
                if let Some(proc) = self.crew.owner(conn) {
                    self.events.push_back(Event::Worked { proc });
                }
            }
            Notice::Parked(conn) => {
                if let Some(proc) = self.crew.owner(conn) {
                    self.events.push_back(Event::Parked { proc });
                }
            }
            Notice::Cancelled(conn) => {
                // a connection may register and take a job before it has been looked at
                self.adopt(std::mem::take(registered));
                if let Some(proc) = self.crew.owner(conn) {
                    self.events.push_back(Event::Cancelled { proc });
                }
            }
            Notice::ShutDown(Ending::Now) => self.shut_down(Stop::Gracefully),
            Notice::ShutDown(Ending::Graceful) => self.shut_down(Stop::WhenIdle),
            Notice::Closed(conn) => {
                registered.retain(|(other, _)| *other != conn);
                if let Some(proc) = self.crew.lose(conn) {
                    self.events.push_back(Event::Parked { proc });
                }
            }
        }
    }

    /// Whether a process runs cancelled jobs and no others, so that stopping it cuts nothing that anybody wants. If so it is given no
    /// more under the same lock: a worker may be about to end such a job, and to ask for another.
    fn works_for_nobody(&self, proc: ProcId) -> bool {
        let member = self.crew.get(proc);
        // what a process that was only guessed does may be on connections that are not known
        let known = member.filter(|member| member.registration != Registration::Guessed);
        known.is_some_and(|member| {
            self.parts.hub.with(|server, now| {
                let is_so = server.works_for_nobody(&member.conns);
                for &conn in member.conns.iter().filter(|_| is_so) {
                    server.quiesce(now, conn);
                }
                is_so
            })
        })
    }

    /// Whether a quiesced process has nothing left to do: all of its connections are parked now, or it never had any and has not
    /// registered, so that nothing can have been given to it. Asked of the job server itself, since a notice may be old news.
    fn is_parked(&self, proc: ProcId) -> bool {
        self.crew.get(proc).is_some_and(|member| {
            member.service != MemberService::Open
                && member.registration != Registration::Guessed
                && self
                    .parts
                    .hub
                    .with(|server, _| member.conns.iter().all(|&conn| server.is_parked(conn)))
        })
    }

    /// Finds the processes of connections that have registered functions.
    fn adopt(&mut self, registered: Vec<(ConnId, Box<[u8]>)>) {
        if registered.is_empty() {
            return;
        }
        let mut owners: HashMap<ConnId, Option<ProcId>> = HashMap::new();
        let leaders = self.crew.leader_pids();
        let mut unknown = Vec::new();
        for (conn, _) in &registered {
            if owners.contains_key(conn) {
                continue;
            }
            let owner = self.crew.owner(*conn);
            owners.insert(*conn, owner);
            if let (None, Some(peer)) = (owner, self.parts.hub.peer(*conn)) {
                match peer.origin {
                    Origin::Tcp { local, remote } => unknown.push((*conn, (local, remote))),
                    Origin::Unix { pid } => {
                        let leader = pid.and_then(|pid| peer::leader_of_pid(pid, &leaders));
                        owners.insert(*conn, leader.and_then(|pid| self.crew.led_by(pid)));
                    }
                }
            }
        }
        let pairs: Vec<_> = unknown.iter().map(|(_, pair)| *pair).collect();
        for ((conn, _), leader) in unknown.iter().zip(peer::leaders_of(&pairs, &leaders)) {
            owners.insert(*conn, leader.and_then(|pid| self.crew.led_by(pid)));
        }
        for (conn, function) in registered {
            self.register(conn, &function, owners.get(&conn).copied().flatten());
        }
        self.sample_soon();
    }

    fn register(&mut self, conn: ConnId, function: &[u8], owner: Option<ProcId>) {
        let registration = match owner {
            Some(_) => Registration::Mapped,
            None => Registration::Guessed,
        };
        if owner.is_none() {
            self.parts.hub.with(|server, now| server.admit(now, conn));
        }
        let Some(proc) = owner.or_else(|| self.guess(conn, function)) else {
            return;
        };
        if owner.is_some() && self.crew.owner(conn).is_none() {
            let service = self.crew.adopt(proc, conn);
            // before it is given its first job
            if let (Some(peer), Some(marks)) = (self.parts.hub.peer(conn), self.marks.get(&proc)) {
                peer.trace(marks.clone());
                self.parts.hub.with(|server, _| server.trace(conn));
            }
            match service {
                MemberService::Open => self.parts.hub.with(|server, now| server.admit(now, conn)),
                MemberService::Quiesced => {
                    self.parts.hub.with(|server, now| server.quiesce(now, conn))
                }
                MemberService::Refused => {
                    self.parts.hub.with(|server, now| server.refuse(now, conn))
                }
            }
        }
        let Some(member) = self.crew.get_mut(proc) else {
            return;
        };
        if member.registration == Registration::None && member.does(function) {
            member.registration = registration;
            self.sample_first();
            self.events.push_back(Event::Registered { proc });
        }
    }

    /// A connection from this machine belongs to whom the kernel says, or to nobody of ours. Of one that comes through an address
    /// translation nothing can be known; it is one of ours when one of ours is expected.
    fn guess(&self, conn: ConnId, function: &[u8]) -> Option<ProcId> {
        match self.parts.hub.peer(conn)?.origin {
            Origin::Tcp { remote, .. } if !remote.ip().to_canonical().is_loopback() => {
                self.crew.guess(function)
            }
            Origin::Tcp { .. } | Origin::Unix { .. } => None,
        }
    }

    fn sample_soon(&mut self) {
        if self.parts.file.is_some() {
            let earliest = (self.sampled + SAMPLE_LEAST).max(self.parts.hub.now());
            self.sample_at = Some(self.sample_at.map_or(earliest, |at| at.min(earliest)));
        }
    }

    /// Looks at the job server before an event at which the supervisor chooses processes to drain: with an old sample it would take
    /// a busy one for idle, and all else would wait for that one's job.
    fn sample_first(&mut self) {
        let now = self.parts.hub.now();
        if now.since(self.sampled) >= SAMPLE_LEAST {
            self.sample(now);
        }
    }

    /// Looks at the job server for the supervisor.
    fn sample(&mut self, now: Time) {
        self.sampled = now;
        self.parts.hub.hear_demand();
        let pools = self.pools();
        let (functions, occupations) = self.parts.hub.with(|server, now| {
            let of = |conn: &ConnId| server.occupation(*conn);
            let occupations: Vec<_> = self
                .crew
                .iter()
                .map(|(proc, member)| {
                    (
                        proc,
                        member,
                        member.conns.iter().filter_map(of).collect::<Vec<_>>(),
                    )
                })
                .collect();
            let names = pools.iter().flat_map(|pool| &pool.functions);
            let functions = server.function_loads_of(now, names.map(String::as_str));
            (functions, occupations)
        });
        let mut loads = demand::loads(pools, &functions, |pool| self.supervisor.weight(&pool.name));
        let places: HashMap<_, _> = (0..)
            .zip(pools)
            .map(|(place, pool)| (pool.name.as_str(), place))
            .collect();
        for (proc, member, occupations) in occupations {
            let Some(idle_since) = occupations.iter().map(|it| it.idle_since).max() else {
                continue;
            };
            let Some(load) = places
                .get(member.pool.name.as_str())
                .and_then(|&place: &usize| loads.get_mut(place))
            else {
                continue;
            };
            load.processes.push(ProcLoad {
                proc,
                busy_since: occupations.iter().filter_map(|it| it.busy_since).min(),
                idle_since,
                jobs_done: occupations.iter().map(|it| it.jobs_done).sum(),
            });
        }
        self.gauge(now, &mut loads);
        let waits = loads.iter().any(|load| load.queued > 0);
        self.sample_at =
            (!loads.is_empty()).then(|| now + if waits { SAMPLE_BUSY } else { SAMPLE_IDLE });
        self.events.push_back(Event::Sampled(loads));
    }

    fn configure(&mut self) {
        if let Some(file) = &self.parts.file {
            self.events
                .push_back(Event::Configured(file.pools().to_vec(), file.caps()));
            self.sample_soon();
        }
    }

    fn reload(&mut self) -> Result<String, String> {
        let renewed = self.parts.pem_files.as_ref().map(tls::server).transpose();
        let renewed = renewed.map_err(|problems| {
            let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
            for line in &lines {
                tracing::error!("{line}");
            }
            tracing::error!("TLS goes on with what it had");
            lines.join("\n")
        })?;
        let shown = renewed.map(|identity| self.show(identity).unwrap_or_else(nothing));
        if let Some(line) = &shown {
            tracing::info!("certificates: {line}");
        }
        match &mut self.parts.file {
            Some(file) => {
                let reading = file.read();
                self.apply(reading)
            }
            None => shown.ok_or_else(|| {
                "this gearpool was started without a configuration file; start it with -c FILE"
                    .to_owned()
            }),
        }
    }

    /// Shows a certificate to whoever connects from now on. Returns what there is to say about it.
    fn show(&self, identity: Identity) -> Option<String> {
        let is_new = self.parts.certificates.replace(identity);
        is_new.then(|| "new connections get what is in the certificate's files now".to_owned())
    }

    fn apply(&mut self, reading: Reading) -> Result<String, String> {
        match reading {
            Reading::Same => Ok("nothing has changed".to_owned()),
            Reading::New { plan, later, tls } => {
                self.sample_first();
                self.configure();
                let mut lines: Vec<_> = changes(&plan).lines().map(str::to_owned).collect();
                // flags win over the file for as long as the daemon runs
                if let (None, Some(identity)) = (&self.parts.pem_files, tls) {
                    lines.extend(self.show(identity));
                }
                lines.extend(later.iter().map(|key| {
                    format!("{key} has changed; it takes effect when gearpool is started again")
                }));
                if lines.is_empty() {
                    lines.push(nothing());
                }
                for line in &lines {
                    tracing::info!("configuration: {line}");
                }
                Ok(lines.join("\n"))
            }
            Reading::Wrong(error) => {
                for line in error.lines() {
                    tracing::error!("{line}");
                }
                tracing::error!("the configuration file is wrong; the old one stays in force");
                Err(error)
            }
        }
    }

    /// What putting a file in force would change.
    fn plan(&self, file: Option<&Path>) -> Result<String, String> {
        let own = self.parts.file.as_ref().map(ConfigFile::path);
        let Some(path) = file.or(own) else {
            return Err("this gearpool was started without a configuration file".to_owned());
        };
        let read = file::read(path).map_err(|error| error.to_string())?;
        let proposed: Vec<_> = read.config.pools.into_values().map(Arc::new).collect();
        Ok(changes(&Plan::between(self.pools(), &proposed)))
    }

    /// The pools that are in force.
    fn pools(&self) -> &[Arc<Pool>] {
        let file = self.parts.file.as_ref();
        file.map(ConfigFile::pools).unwrap_or_default()
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

    fn control(&mut self, control: Control) {
        match control {
            Control::Status(reply) => self.status(reply),
            Control::Plan { file, reply } => answer(reply, self.plan(file.as_deref())),
            Control::Reload(reply) => {
                let result = self.reload();
                answer(reply, result);
            }
            Control::Scale {
                pool,
                min,
                max,
                reply,
            } => {
                let done = match min == max {
                    true => format!(
                        "{pool}: kept at {min} until the file changes it, or `gearpool start {pool}`"
                    ),
                    false => format!(
                        "{pool}: kept between {min} and {max} until the file changes it, or `gearpool start {pool}`"
                    ),
                };
                self.order(
                    Event::Scale {
                        pool: pool.clone(),
                        min,
                        max,
                    },
                    &pool,
                    done,
                    reply,
                );
            }
            Control::Start { pool, reply } => {
                let done = format!("{pool}: as the file says");
                self.order(Event::Start { pool: pool.clone() }, &pool, done, reply);
            }
            Control::Stop { pool, reply } => {
                let done = format!("{pool}: stopping; running jobs are finished first");
                self.order(Event::Stop { pool: pool.clone() }, &pool, done, reply);
            }
            Control::Restart { pool, slot, reply } => {
                let done = match slot {
                    None => format!(
                        "{pool}: restarting one process after the other, each when its job is done"
                    ),
                    Some(Slot(slot)) => format!("{pool}/{slot}: restarting when its job is done"),
                };
                if let Some(slot) = slot
                    && !self
                        .crew
                        .iter()
                        .any(|(_, member)| member.pool.name == pool && member.slot == slot)
                {
                    return answer(
                        reply,
                        Err(format!(
                            "there is no process {pool}/{}; `gearpool status {pool}` lists them",
                            slot.0
                        )),
                    );
                }
                self.order(
                    Event::Restart {
                        pool: pool.clone(),
                        slot,
                    },
                    &pool,
                    done,
                    reply,
                );
            }
            Control::ShutDown { how, reply } => {
                self.shut_down(how);
                answer(reply, Ok("shutting down".to_owned()));
            }
        }
    }

    /// Passes an order to the supervisor, if there is such a pool.
    fn order(&mut self, event: Event, pool: &str, done: String, reply: Reply) {
        let pools = self.pools();
        if !pools.iter().any(|known| known.name == pool) {
            let names: Vec<_> = pools.iter().map(|pool| pool.name.as_str()).collect();
            let known = match names.is_empty() {
                true => "this gearpool has no pools".to_owned(),
                false => format!("there are {}", names.join(", ")),
            };
            return answer(reply, Err(format!("there is no pool {pool:?}; {known}")));
        }
        tracing::info!("{done}");
        self.sample_first();
        self.events.push_back(event);
        answer(reply, Ok(done));
    }

    fn status(&mut self, reply: oneshot::Sender<crate::status::Status>) {
        // the answer includes what this very call has been told of
        self.work_off();
        let sources = Sources {
            hub: &self.parts.hub,
            crew: &self.crew,
            file: self.parts.file.as_ref(),
            logs: &self.parts.logs,
            is_shutting_down: self.ending.is_some(),
        };
        let pools = self.supervisor.view(self.parts.hub.now());
        let status = self.parts.snapshooter.take(&sources, pools);
        // whoever asked may have gone
        let _ = reply.send(status);
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

fn answer(reply: Reply, answer: Result<String, String>) {
    // whoever asked may have gone
    let _ = reply.send(answer);
}

fn nothing() -> String {
    "nothing to change".to_owned()
}

/// A plan's lines. None for no changes: what that is called is for the one who asks.
fn changes(plan: &Plan) -> String {
    match plan.is_empty() {
        true => String::new(),
        false => plan.to_string(),
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

fn status_of(status: &std::process::ExitStatus) -> ExitStatus {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => ExitStatus::Code(code),
        (None, signal) => ExitStatus::Signal(signal.unwrap_or_default()),
    }
}

/// As the index of a log says it.
fn exit_of(status: ExitStatus) -> Exit {
    match status {
        ExitStatus::Code(status) => Exit {
            status: Some(status),
            signal: None,
        },
        ExitStatus::Signal(number) => Exit {
            status: None,
            signal: Some(signal::name(number)),
        },
    }
}
