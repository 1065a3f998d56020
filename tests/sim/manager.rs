//! What stands between the two machines, as `src/daemon/manager.rs` does it. Who owns which connection, what of it either machine is
//! told, and what a sample says is the daemon's own: [`Crew`] and [`demand`].

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use gearpool::config::Pool;
use gearpool::jobs::{ConnId, JobServer, Notice, Policy};
use gearpool::pools::{Action, Event, ExitStatus, ProcId, Slot, Stop, Supervisor};
use gearpool::time::Time;

use crate::crew::{Crew, Member, MemberService, Registration};
use crate::demand;
use crate::process::Cause;
use crate::world::{Happening, Owner, World, trace};

/// As the daemon's, but slower when it is idle: the world has more to do than to look at itself.
const SAMPLE_IDLE: Duration = Duration::from_secs(1);
const SAMPLE_BUSY: Duration = Duration::from_millis(100);
const SAMPLE_LEAST: Duration = Duration::from_millis(10);

/// What waits for the manager's next turn.
pub(crate) enum Tidings {
    Notice(Notice),
    Demand,
    Exited(ProcId, ExitStatus),
    Order(Event),
    /// The file is read, and is now this.
    Reload(Vec<Arc<Pool>>, gearpool::pools::Caps),
}

pub(crate) struct Manager {
    pub(crate) supervisor: Supervisor,
    crew: Crew,
    inbox: VecDeque<Tidings>,
    is_woken: bool,
    events: VecDeque<Event>,
    sample_at: Option<Time>,
    sampled: Time,
    demand_is_told: bool,
    /// Connections for which the server was told so.
    quiesced: BTreeSet<ConnId>,
}

impl Manager {
    pub(crate) fn new(seed: u64) -> Manager {
        Manager {
            supervisor: Supervisor::new(seed),
            crew: Crew::default(),
            inbox: VecDeque::new(),
            is_woken: false,
            events: VecDeque::new(),
            sample_at: None,
            sampled: Time::ZERO,
            demand_is_told: false,
            quiesced: BTreeSet::new(),
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<Time> {
        [self.supervisor.next_deadline(), self.sample_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether the server has not been told the contrary.
    pub(crate) fn may_be_given_a_job(&self, conn: ConnId) -> bool {
        !self.quiesced.contains(&conn)
    }

    fn sample_soon(&mut self, now: Time) {
        let earliest = (self.sampled + SAMPLE_LEAST).max(now);
        self.sample_at = Some(self.sample_at.map_or(earliest, |at| at.min(earliest)));
    }
}

impl World {
    pub(crate) fn notify(&mut self, notice: Notice) {
        self.tidings(Tidings::Notice(notice));
    }

    pub(crate) fn demand(&mut self) {
        if !std::mem::replace(&mut self.manager.demand_is_told, true) {
            self.tidings(Tidings::Demand);
        }
    }

    pub(crate) fn reaped(&mut self, proc: ProcId, status: ExitStatus) {
        self.tidings(Tidings::Exited(proc, status));
    }

    /// The manager is woken, which takes a moment; what comes meanwhile is in the same batch.
    pub(crate) fn tidings(&mut self, tidings: Tidings) {
        self.manager.inbox.push_back(tidings);
        if !std::mem::replace(&mut self.manager.is_woken, true) {
            let after = match self.random.percent(10) {
                true => self.random.millis(0, 30),
                false => self.random.millis(0, 1),
            };
            self.later(after, Happening::ManagerWakes);
        }
    }

    /// One turn.
    pub(crate) fn manage(&mut self) {
        self.manager.is_woken = false;
        let mut registered = Vec::new();
        while let Some(tidings) = self.manager.inbox.pop_front() {
            match tidings {
                Tidings::Notice(notice) => self.heed(notice, &mut registered),
                Tidings::Demand => self.manager.sample_soon(self.now),
                Tidings::Exited(proc, status) => {
                    self.manager.crew.leave(proc);
                    self.manager.events.push_back(Event::Exited {
                        proc,
                        status,
                        last_lines: vec!["last words".to_owned()],
                    });
                }
                Tidings::Order(event) => {
                    if let Event::ShutDown(_) = event {
                        self.server.end_service();
                    }
                    self.manager.events.push_back(event);
                }
                Tidings::Reload(file, caps) => {
                    (self.file, self.caps) = (file, caps);
                    let event = Event::Configured(self.file.clone(), caps);
                    self.manager.events.push_back(event);
                    self.govern();
                    self.manager.sample_soon(self.now);
                }
            }
        }
        self.adopt(registered);
        if self.manager.sample_at.is_some_and(|at| at <= self.now) {
            self.sample();
        }
        let due = self.manager.supervisor.next_deadline();
        if due.is_some_and(|at| at <= self.now) {
            self.manager.events.push_back(Event::Tick);
        }
        self.work_off();
    }

    fn work_off(&mut self) {
        while let Some(event) = self.manager.events.pop_front() {
            // an event before this one may have given the process jobs again
            match event {
                Event::Parked { proc }
                    if !self.asks(proc, |it, server, _| it.is_parked(server)) =>
                {
                    continue;
                }
                Event::Cancelled { proc } if !self.works_for_nobody(proc) => continue,
                Event::Overdue { proc, .. } if !self.asks(proc, Member::is_overdue) => continue,
                _ => {}
            }
            if let Event::Sampled(_) | Event::Tick = event {
            } else {
                trace!(self, "event {event:?}");
            }
            let parked = match event {
                Event::Parked { proc } => Some(proc),
                _ => None,
            };
            match &event {
                Event::Overdue { proc, .. } => {
                    if let Some(it) = self.procs.get_mut(proc) {
                        it.is_cut = true;
                    }
                }
                Event::Exited { proc, .. } | Event::SpawnFailed { proc, .. } => {
                    assert!(self.procs.remove(proc).is_some(), "{proc:?} ends twice");
                }
                Event::Configured(pools, caps) => {
                    self.caps_in_force = *caps;
                    for proc in self.procs.values_mut() {
                        if let Some(pool) = pools.iter().find(|it| it.name == proc.pool.name) {
                            proc.least_stop_timeout =
                                proc.least_stop_timeout.min(pool.stop_timeout);
                        }
                    }
                }
                Event::ShutDown(stop) => {
                    // a second wish to end is a stronger one
                    let harder = match (self.stopping, *stop) {
                        (Some((Stop::WhenIdle, _)), Stop::WhenIdle) => Stop::Gracefully,
                        (_, stop) => stop,
                    };
                    self.stopping = Some((harder, self.now));
                }
                _ => {}
            }
            let actions = self.manager.supervisor.handle(self.now, event);
            for action in actions {
                self.carry_out(action, parked);
            }
            let due = self.manager.supervisor.next_deadline();
            assert!(
                due.is_none_or(|due| due > self.now),
                "a deadline that has passed is still to come: {:#?}",
                self.manager.supervisor
            );
        }
    }

    fn carry_out(&mut self, action: Action, parked: Option<ProcId>) {
        // what is done about others in the same turn is done because their time has come
        let cause = |proc| match parked == Some(proc) {
            true => Cause::Parked,
            false => Cause::Deadline,
        };
        if let Action::Tell(tell) = &action {
            trace!(self, "    log: {} {:?} {}", tell.pool, tell.slot, tell.text);
        } else {
            trace!(self, "  action {action:?}");
        }
        match action {
            Action::Spawn { proc, slot, pool } => self.spawn_for_the_manager(proc, slot, pool),
            Action::Quiesce { proc } => {
                self.interleave();
                if let Some(member) = self.manager.crew.get_mut(proc) {
                    member.quiesce(&mut self.server, self.now);
                    self.manager.quiesced.extend(&member.conns);
                    self.manager.events.push_back(Event::Parked { proc });
                    self.deliver();
                }
            }
            Action::Unquiesce { proc } => {
                self.interleave();
                if let Some(member) = self.manager.crew.get_mut(proc) {
                    member.unquiesce(&mut self.server, self.now);
                    for conn in &member.conns {
                        self.manager.quiesced.remove(conn);
                    }
                    self.deliver();
                }
            }
            Action::Disconnect { proc } => {
                self.check_may_stop(proc);
                if let Some(member) = self.manager.crew.get_mut(proc) {
                    member.service = MemberService::Refused;
                    for conn in member.conns.clone() {
                        let after = self.random.millis(0, 1);
                        self.later(after, Happening::ServerCloses(conn));
                    }
                }
            }
            Action::Signal { proc, .. } => {
                self.check_may_stop(proc);
                self.signal(proc, cause(proc));
            }
            Action::Kill { proc } => {
                self.check_may_stop(proc);
                self.kill(proc, cause(proc));
            }
            Action::Tell(_) | Action::GiveUp { .. } | Action::Renew { .. } => {}
            Action::Finished => {
                assert!(!self.is_finished, "finished twice");
                assert!(self.procs.is_empty(), "finished with processes left");
                self.is_finished = true;
            }
        }
    }

    fn spawn_for_the_manager(&mut self, proc: ProcId, slot: Slot, pool: Arc<Pool>) {
        match self.spawn(proc, slot, &pool) {
            Ok(pid) => {
                self.manager.crew.join(proc, pool, slot, pid);
                self.manager.events.push_back(Event::Spawned { proc, pid });
            }
            Err(error) => {
                let event = Event::SpawnFailed { proc, error };
                self.manager.events.push_back(event);
            }
        }
    }

    fn heed(&mut self, notice: Notice, registered: &mut Vec<(ConnId, Box<[u8]>)>) {
        match &notice {
            Notice::Registered { conn, function } => registered.push((*conn, function.clone())),
            Notice::Worked(_) | Notice::Cancelled(_) | Notice::Overdue { .. } => {
                self.adopt(std::mem::take(registered));
            }
            Notice::Closed(conn) => registered.retain(|(other, _)| other != conn),
            // told to the log and to those jobs
            Notice::Lost { .. } | Notice::Failed { .. } => {}
            // nobody ends the daemon by text here
            Notice::Parked(_) | Notice::ShutDown(_) => {}
        }
        let event = self.manager.crew.heed(&notice);
        self.manager.events.extend(event);
    }

    /// What the file says of jobs, to the server.
    fn govern(&mut self) {
        self.policies.clear();
        for pool in &self.file {
            let policy = Policy {
                attempts: pool.attempts,
                retries: pool.retries,
                retry_delay: pool.retry_delay,
            };
            for function in &pool.functions {
                self.policies.entry(function.clone()).or_insert(policy);
            }
        }
        let policies = self
            .policies
            .iter()
            .map(|(name, policy)| (name.as_str(), *policy));
        self.server.govern(policies);
        for (_, member) in self.manager.crew.iter() {
            for &conn in &member.conns {
                let limit = limit_of(&self.file, &member.pool);
                self.server.limit(conn, limit);
            }
        }
    }

    fn asks(
        &mut self,
        proc: ProcId,
        ask: impl FnOnce(&Member, &mut JobServer, Time) -> bool,
    ) -> bool {
        let member = self.manager.crew.get(proc);
        let is_so = member.is_some_and(|it| ask(it, &mut self.server, self.now));
        self.deliver();
        is_so
    }

    /// Whether a process runs cancelled jobs only; then it is given no others.
    fn works_for_nobody(&mut self, proc: ProcId) -> bool {
        let is_so = self.asks(proc, Member::works_for_nobody);
        if let (true, Some(member)) = (is_so, self.manager.crew.get(proc)) {
            self.manager.quiesced.extend(&member.conns);
        }
        is_so
    }

    /// Finds the processes of connections that have registered functions.
    fn adopt(&mut self, registered: Vec<(ConnId, Box<[u8]>)>) {
        if registered.is_empty() {
            return;
        }
        for (conn, function) in registered {
            self.interleave();
            self.register(conn, &function);
        }
        self.manager.sample_soon(self.now);
    }

    /// What the kernel says of a connection: nothing, when its process has ended.
    fn owner_of(&self, conn: ConnId) -> Option<ProcId> {
        if let Some(proc) = self.manager.crew.owner(conn) {
            return Some(proc);
        }
        let stream = self.streams.get(&conn).filter(|it| it.is_held)?;
        match stream.owner {
            Owner::Proc(proc) => {
                let pid = self.procs.get(&proc)?.pid;
                self.manager.crew.led_by(pid)
            }
            Owner::Client(_) => None,
        }
    }

    fn register(&mut self, conn: ConnId, function: &[u8]) {
        let Some(proc) = self.owner_of(conn) else {
            self.server.admit(self.now, conn);
            return self.deliver();
        };
        if self.manager.crew.owner(conn).is_none() {
            let service = self.manager.crew.adopt(proc, conn);
            let pool = self.manager.crew.get(proc).map(|it| Arc::clone(&it.pool));
            let limit = pool.and_then(|pool| limit_of(&self.file, &pool));
            self.server.trace(conn);
            self.server.limit(conn, limit);
            if service != MemberService::Open {
                self.manager.quiesced.insert(conn);
            }
            service.begin(&mut self.server, self.now, conn);
            self.deliver();
        }
        let Some(member) = self.manager.crew.get_mut(proc) else {
            return;
        };
        if member.registration == Registration::None && member.does(function) {
            member.registration = Registration::Mapped;
            self.manager.events.push_back(Event::Registered { proc });
        }
    }

    /// Looks at the job server for the supervisor.
    fn sample(&mut self) {
        let now = self.now;
        self.manager.sampled = now;
        self.manager.demand_is_told = false;
        let functions = self.server.function_loads(now);
        let processes = self.manager.crew.iter().filter_map(|(proc, member)| {
            let conns = member.conns.iter();
            let occupations = conns.filter_map(|&conn| self.server.occupation(conn));
            let load = demand::load_of(proc, occupations)?;
            Some((member.pool.name.as_str(), load))
        });
        let weight = |pool: &Pool| self.manager.supervisor.weight(&pool.name);
        let loads = demand::loads(&self.file, &functions, processes, weight);
        let waits = loads.iter().any(|load| load.queued > 0);
        let pause = if waits { SAMPLE_BUSY } else { SAMPLE_IDLE };
        self.manager.sample_at = (!loads.is_empty()).then(|| now + pause);
        self.manager.events.push_back(Event::Sampled(loads));
    }
}

/// What a pool says now, or said last.
fn limit_of(file: &[Arc<Pool>], was: &Arc<Pool>) -> Option<Duration> {
    let is = file.iter().find(|pool| pool.name == was.name);
    is.unwrap_or(was).timeout
}
