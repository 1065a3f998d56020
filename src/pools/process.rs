//! The life of a process: Starting → Running → Draining → Stopping → Killed → gone.
//!
//! Each step is one method that says what the shell has to do for it. Which process takes which step when is decided by its crew.
//! A process is never forgotten: whatever phase it is in, only its exit ends it.
//!
//! The drain is what keeps jobs whole (invariant 5): quiesce, wait until the process is parked, then signal. A process that takes no
//! notice of the signal has its connections closed after [`DISCONNECT_AFTER`] (a worker that is blocked in its library wakes up that
//! way), and is killed at `stop_timeout`.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::{Action, ProcId, ProcLoad, Slot};
use super::scale::Seconds;
use super::view::{ProcessState, ProcessView};
use crate::config::{Pool, Signal};
use crate::time::Time;

/// How long after the signal the connections are closed.
pub(super) const DISCONNECT_AFTER: Duration = Duration::from_millis(500);

/// The `stop_timeout` of a process that did not register, at most.
const HUNG_STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// How long after the signal a process is killed whose job has run past its limit: a stuck one does not listen.
pub(super) const OVERDUE_GRACE: Duration = Duration::from_secs(1);

/// How long a process must live after it registered to count as healthy. One job done counts too, however short the life:
/// workers that end after a single job are a known way to write them.
pub(super) const HEALTHY_AFTER: Duration = Duration::from_secs(1);

/// Why a process leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Why {
    /// Fewer are wanted.
    ScaleDown,
    /// What its pool starts has changed.
    Reload,
    /// An operator asked for a new one.
    Restart,
    /// An operator stopped its pool.
    Stopped,
    /// Its pool is not in the file any more.
    Removed,
    /// It has done `max_jobs`.
    MaxJobs,
    /// It is older than `max_lifetime`.
    MaxLifetime,
    /// It takes more than `max_memory`.
    MaxMemory,
    /// It did not register within `start_timeout`.
    NotRegistered,
    /// Its job was cancelled.
    Cancelled,
    /// Its job has run past its limit.
    Overdue,
    /// The daemon ends.
    ShutDown,
}

impl Why {
    /// As the status shows it.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Why::ScaleDown => "scale down",
            Why::Reload => "reload",
            Why::Restart => "restart",
            Why::Stopped => "stopped by hand",
            Why::Removed => "removed from the file",
            Why::MaxJobs => "max_jobs reached",
            Why::MaxLifetime => "max_lifetime reached",
            Why::MaxMemory => "max_memory reached",
            Why::NotRegistered => "did not register",
            Why::Cancelled => "its job was cancelled",
            Why::Overdue => "its job has run past its timeout",
            Why::ShutDown => "shutdown",
        }
    }
}

/// Where a process is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Phase {
    /// Asked for, has not registered.
    Starting,
    /// Registered, takes jobs.
    Running,
    /// Quiesced, not parked yet.
    Draining {
        why: Why,
        since: Time,
        /// Since when samples that were taken after the quiesce show no job.
        idle_from: Option<Time>,
        /// When it is signalled even if it has a job.
        deadline: Option<Time>,
    },
    /// Signalled.
    Stopping {
        why: Why,
        /// When its connections are closed; `None` once they are.
        disconnect_at: Option<Time>,
        kill_at: Time,
    },
    /// KILL is sent.
    Killed { why: Why },
}

/// One process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Process {
    pub(super) proc: ProcId,
    pub(super) slot: Slot,
    /// What it was started from, with the current `stop_signal` and such as long as it needs no replacement.
    pub(super) pool: Arc<Pool>,
    pub(super) pid: Option<u32>,
    pub(super) started_at: Time,
    pub(super) registered_at: Option<Time>,
    /// A function that it has registered and that is none of its pool's.
    #[serde(default)]
    pub(super) other: Option<String>,
    /// When it ended, if something that it has started has not.
    pub(super) ended_at: Option<Time>,
    pub(super) phase: Phase,
    /// Set when it is to be replaced: a new process is started first.
    pub(super) stale: Option<Why>,
    /// Whether its health has been noticed, which is what ends a back-off.
    pub(super) proved: bool,
    /// As last sampled; `None` while its connections are not known.
    pub(super) load: Option<ProcLoad>,
    /// The bytes of memory that it takes with its children, where that was measured.
    pub(super) memory: Option<u64>,
    /// Jobs that it has ended, as far as is known.
    pub(super) jobs_done: u64,
    /// Its own share of jitter on `max_lifetime`, so that processes started together are not replaced together.
    pub(super) lifetime_factor: f64,
}

impl Process {
    /// Whether it is on its way out.
    pub(super) const fn leaving(&self) -> Option<Why> {
        match self.phase {
            Phase::Starting | Phase::Running => None,
            Phase::Draining { why, .. } | Phase::Stopping { why, .. } | Phase::Killed { why } => {
                Some(why)
            }
        }
    }

    /// Whether it counts towards what the pool wants.
    pub(super) const fn serves(&self) -> bool {
        self.leaving().is_none()
    }

    /// Whether it has a job, as last sampled.
    pub(super) fn busy(&self) -> bool {
        self.load.is_some_and(|load| load.busy_since.is_some())
    }

    /// Since when it has had no job; `None` while it has one, has not registered, or its connections are not known.
    pub(super) fn idle_since(&self) -> Option<Time> {
        let load = self.load?;
        (self.phase == Phase::Running && load.busy_since.is_none()).then_some(load.idle_since)
    }

    /// Whether it has shown that its pool works.
    pub(super) fn healthy(&self, now: Time) -> bool {
        let until = self.ended_at.unwrap_or(now);
        self.registered_at
            .is_some_and(|at| self.jobs_done > 0 || until.since(at) >= HEALTHY_AFTER)
    }

    /// Whether `max_jobs`, `max_memory` or `max_lifetime` is reached.
    pub(super) fn worn_out(&self, now: Time) -> Option<Why> {
        if self.pool.max_jobs.is_some_and(|max| self.jobs_done >= max) {
            return Some(Why::MaxJobs);
        }
        if self.is_too_large() {
            return Some(Why::MaxMemory);
        }
        self.expires_at()
            .is_some_and(|at| at <= now)
            .then_some(Why::MaxLifetime)
    }

    fn is_too_large(&self) -> bool {
        let sizes = self.memory.zip(self.pool.max_memory);
        sizes.is_some_and(|(bytes, max)| bytes > max)
    }

    fn expires_at(&self) -> Option<Time> {
        let lifetime = self.pool.max_lifetime?;
        Some(self.started_at + lifetime.mul_f64(self.lifetime_factor))
    }

    /// When it must have registered.
    pub(super) fn registers_by(&self) -> Time {
        self.started_at + self.pool.start_timeout
    }

    /// It runs. What was asked of it before the shell had a process to do it to is asked again.
    pub(super) fn spawned(&mut self, pid: u32, out: &mut Vec<Action>) {
        self.pid = Some(pid);
        let proc = self.proc;
        match self.phase {
            Phase::Starting | Phase::Running => {}
            Phase::Draining { .. } => out.push(Action::Quiesce { proc }),
            Phase::Stopping { .. } => out.push(Action::Signal {
                proc,
                signal: self.pool.stop_signal,
            }),
            Phase::Killed { .. } => out.push(Action::Kill { proc }),
        }
    }

    /// It has registered; true the first time.
    pub(super) fn registered(&mut self, now: Time) -> bool {
        if self.phase == Phase::Starting {
            self.phase = Phase::Running;
        }
        let first = self.registered_at.is_none();
        self.registered_at.get_or_insert(now);
        first
    }

    /// How it has not registered: "within 10 s", and what it did instead.
    pub(super) fn unregistered(&self) -> String {
        let within = format!("within {}", Seconds(self.pool.start_timeout));
        match &self.other {
            Some(other) => {
                format!("{within}, but {other}, which has to stand under \"functions\" then")
            }
            None => within,
        }
    }

    /// What the job server knows of it now.
    pub(super) fn sampled(&mut self, now: Time, load: Option<ProcLoad>) {
        self.load = load;
        if let Some(load) = load {
            self.jobs_done = self.jobs_done.max(load.jobs_done);
        }
        let busy = self.busy();
        if let Phase::Draining { idle_from, .. } = &mut self.phase {
            if busy {
                *idle_from = None;
            } else {
                idle_from.get_or_insert(now);
            }
        }
    }

    /// Gives it no more jobs, and stops it when it is parked.
    pub(super) fn drain(&mut self, why: Why, now: Time, out: &mut Vec<Action>) {
        if self.serves() {
            self.phase = Phase::Draining {
                why,
                since: now,
                idle_from: None,
                deadline: None,
            };
            out.push(Action::Quiesce { proc: self.proc });
        } else if let Phase::Draining { why: reason, .. } = &mut self.phase
            && *reason == Why::ScaleDown
        {
            // the stronger reason, which is not taken back
            *reason = why;
        }
    }

    /// Whether its drain can still be taken back, as when fewer were wanted, or its pool was not in the file for a while. A process that
    /// is replaced must go, and one that an operator stopped is expected to be a new one when it comes back.
    pub(super) fn drain_can_be_undone(&self, now: Time) -> bool {
        let not_wanted = matches!(
            self.phase,
            Phase::Draining {
                why: Why::ScaleDown | Why::Removed,
                deadline: None,
                ..
            }
        );
        let in_time = self.registered_at.is_some() || self.registers_by() > now;
        not_wanted && in_time && self.stale.is_none() && self.worn_out(now).is_none()
    }

    /// Takes the drain back.
    pub(super) fn undo_drain(&mut self, out: &mut Vec<Action>) {
        self.phase = match self.registered_at {
            Some(_) => Phase::Running,
            None => Phase::Starting,
        };
        out.push(Action::Unquiesce { proc: self.proc });
    }

    /// It will get no job and has none: it may be signalled.
    pub(super) fn parked(&mut self, now: Time, out: &mut Vec<Action>) {
        if let Phase::Draining { why, .. } = self.phase {
            self.stop(why, now, out);
        }
    }

    /// Signals it although it has a job, which nobody wants any more.
    pub(super) fn interrupt(&mut self, why: Why, now: Time, out: &mut Vec<Action>) {
        if self.serves() || matches!(self.phase, Phase::Draining { .. }) {
            out.push(Action::Quiesce { proc: self.proc });
            self.stop(self.leaving().unwrap_or(why), now, out);
        }
    }

    /// Its job has run past its limit: signals it, and kills it soon if that does not help. Its connections are not closed before, for
    /// with them its job would go to another while it may still be at it.
    pub(super) fn cut(&mut self, now: Time, out: &mut Vec<Action>) {
        let soon = now + self.pool.stop_timeout.min(OVERDUE_GRACE);
        match self.phase {
            Phase::Killed { .. } => {}
            // it has had its signal
            Phase::Stopping { why, kill_at, .. } => {
                self.phase = Phase::Stopping {
                    why,
                    disconnect_at: None,
                    kill_at: kill_at.min(soon),
                };
            }
            Phase::Starting | Phase::Running | Phase::Draining { .. } => {
                out.push(Action::Quiesce { proc: self.proc });
                self.stop(Why::Overdue, now, out);
                if let Phase::Stopping {
                    disconnect_at,
                    kill_at,
                    ..
                } = &mut self.phase
                {
                    (*disconnect_at, *kill_at) = (None, soon);
                }
            }
        }
    }

    /// Signals it at `deadline` even if it has a job.
    pub(super) fn bound(&mut self, bound: Time) {
        if let Phase::Draining { deadline, .. } = &mut self.phase {
            *deadline = Some(deadline.map_or(bound, |earlier| earlier.min(bound)));
        }
    }

    /// Sends KILL, unless that was done.
    pub(super) fn kill(&mut self, otherwise: Why, out: &mut Vec<Action>) {
        if !matches!(self.phase, Phase::Killed { .. }) {
            self.phase = Phase::Killed {
                why: self.leaving().unwrap_or(otherwise),
            };
            out.push(Action::Kill { proc: self.proc });
        }
    }

    fn stop(&mut self, why: Why, now: Time, out: &mut Vec<Action>) {
        let proc = self.proc;
        let signal = self.pool.stop_signal;
        if signal == Signal::Kill {
            return self.kill(why, out);
        }
        self.phase = Phase::Stopping {
            why,
            disconnect_at: Some(now + DISCONNECT_AFTER),
            kill_at: now + self.stop_timeout(why),
        };
        out.push(Action::Signal { proc, signal });
    }

    /// How long it may take to end after the signal. One that has not registered has no job to finish, and its pool waits for its end.
    fn stop_timeout(&self, why: Why) -> Duration {
        match why {
            Why::NotRegistered => self.pool.stop_timeout.min(HUNG_STOP_TIMEOUT),
            _ => self.pool.stop_timeout,
        }
    }

    /// Does what is due of its drain.
    pub(super) fn advance(&mut self, now: Time, out: &mut Vec<Action>) {
        match self.phase {
            Phase::Draining { why, .. } => {
                if self.signalled_by().is_some_and(|at| at <= now) {
                    self.stop(why, now, out);
                }
            }
            Phase::Stopping { why, kill_at, .. } if kill_at <= now => self.kill(why, out),
            Phase::Stopping {
                why,
                disconnect_at: Some(at),
                kill_at,
            } if at <= now => {
                self.phase = Phase::Stopping {
                    why,
                    disconnect_at: None,
                    kill_at,
                };
                out.push(Action::Disconnect { proc: self.proc });
            }
            Phase::Starting | Phase::Running | Phase::Stopping { .. } | Phase::Killed { .. } => {}
        }
    }

    /// When a draining process is signalled without having parked.
    ///
    /// A sample from after the quiesce that shows no job means that it will never have one again, so nothing of a job is cut. It
    /// still gets `stop_timeout` for the worker's own code after its last job. One that never registered has no such code.
    fn signalled_by(&self) -> Option<Time> {
        let Phase::Draining {
            why,
            since,
            idle_from,
            deadline,
        } = self.phase
        else {
            return None;
        };
        let idle = idle_from.map(|from| match why {
            Why::NotRegistered => from,
            _ => from.max(since) + self.pool.stop_timeout,
        });
        [idle, deadline].into_iter().flatten().min()
    }

    /// When [`Process::advance`] or its crew has something to do about it.
    pub(super) fn due(&self) -> Option<Time> {
        match self.phase {
            Phase::Starting => Some(self.registers_by()),
            Phase::Running => {
                let health = match self.registered_at {
                    Some(at) if !self.proved && self.ended_at.is_none() => Some(at + HEALTHY_AFTER),
                    _ => None,
                };
                let wear = match self.stale {
                    None => self.expires_at(),
                    Some(_) => None,
                };
                [health, wear].into_iter().flatten().min()
            }
            Phase::Draining { .. } => self.signalled_by(),
            Phase::Stopping {
                disconnect_at,
                kill_at,
                ..
            } => Some(disconnect_at.map_or(kill_at, |at| at.min(kill_at))),
            Phase::Killed { .. } => None,
        }
    }

    /// As the status shows it.
    pub(super) fn view(&self, now: Time) -> ProcessView {
        ProcessView {
            proc: self.proc.0,
            slot: self.slot,
            pid: self.pid,
            state: match self.phase {
                Phase::Starting => ProcessState::Starting,
                Phase::Running => ProcessState::Running,
                Phase::Draining { .. } => ProcessState::Draining,
                Phase::Stopping { .. } => ProcessState::Stopping,
                Phase::Killed { .. } => ProcessState::Killed,
            },
            up: now.since(self.started_at),
            leaving_because: self.leaving().map(|why| why.text().to_owned()),
            next_start_in: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Command;

    fn process() -> Process {
        Process {
            proc: ProcId(1),
            slot: Slot(1),
            pool: Arc::new(Pool::new("a", Command::Exec(vec!["a".into()]))),
            pid: Some(1),
            started_at: Time::ZERO,
            registered_at: Some(Time::ZERO),
            other: None,
            ended_at: None,
            phase: Phase::Running,
            stale: None,
            proved: true,
            load: None,
            memory: None,
            jobs_done: 0,
            lifetime_factor: 1.0,
        }
    }

    fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    const SIGNAL: Action = Action::Signal {
        proc: ProcId(1),
        signal: Signal::Term,
    };

    fn load(busy_since: Option<Time>) -> Option<ProcLoad> {
        Some(ProcLoad {
            proc: ProcId(1),
            busy_since,
            idle_since: Time::ZERO,
            jobs_done: 0,
        })
    }

    /// Advances from deadline to deadline and notes what is done when, in milliseconds.
    fn play(process: &mut Process) -> Vec<(u128, Action)> {
        let mut played = Vec::new();
        while let Some(due) = process.due() {
            let mut out = Vec::new();
            process.advance(due, &mut out);
            assert!(!out.is_empty(), "a deadline passed and nothing was done");
            let millis = due.since_start().as_millis();
            played.extend(out.into_iter().map(|action| (millis, action)));
        }
        played
    }

    #[test]
    fn the_ladder_of_a_parked_process_is_signal_disconnect_kill() {
        let mut process = process();
        let mut out = Vec::new();
        process.drain(Why::ScaleDown, at(0), &mut out);
        process.parked(at(1000), &mut out);
        assert_eq!(out, [Action::Quiesce { proc: ProcId(1) }, SIGNAL]);
        assert_eq!(
            play(&mut process),
            [
                (1500, Action::Disconnect { proc: ProcId(1) }),
                (31_000, Action::Kill { proc: ProcId(1) }),
            ]
        );
    }

    #[test]
    fn one_that_did_not_register_is_not_waited_for_long() {
        let mut process = process();
        process.phase = Phase::Starting;
        process.registered_at = None;
        process.drain(Why::NotRegistered, at(0), &mut Vec::new());
        process.parked(at(0), &mut Vec::new());
        let last = play(&mut process).pop();
        assert_eq!(last, Some((2000, Action::Kill { proc: ProcId(1) })));
    }

    #[test]
    fn too_much_memory_is_a_reason_to_go() {
        let mut process = process();
        let max = |max| {
            let mut pool = Pool::new("a", Command::Exec(vec!["a".into()]));
            pool.max_memory = max;
            Arc::new(pool)
        };
        process.memory = Some(101);
        assert_eq!(process.worn_out(at(0)), None, "no max_memory");
        process.pool = max(Some(101));
        assert_eq!(process.worn_out(at(0)), None);
        process.pool = max(Some(100));
        assert_eq!(process.worn_out(at(0)), Some(Why::MaxMemory));
    }

    #[test]
    fn a_drain_has_no_limit_while_there_is_a_job() {
        let mut process = process();
        process.drain(Why::Reload, at(0), &mut Vec::new());
        assert_eq!(process.due(), None, "no sample yet: a job may be there");
        process.sampled(at(10), load(Some(at(5))));
        assert_eq!(process.due(), None);
        process.sampled(at(5000), load(None));
        assert_eq!(
            process.due(),
            Some(at(35_000)),
            "no job, and stop_timeout to park in"
        );
        process.sampled(at(6000), load(None));
        assert_eq!(process.due(), Some(at(35_000)));
    }

    #[test]
    fn a_bound_cuts_a_job_and_the_earlier_bound_wins() {
        let mut process = process();
        process.drain(Why::ShutDown, at(0), &mut Vec::new());
        process.sampled(at(10), load(Some(at(5))));
        process.bound(at(9000));
        process.bound(at(12_000));
        assert_eq!(play(&mut process)[0], (9000, SIGNAL));
    }

    #[test]
    fn what_was_asked_before_it_ran_is_asked_again() {
        let mut process = process();
        process.pid = None;
        process.kill(Why::ShutDown, &mut Vec::new());
        let mut out = Vec::new();
        process.spawned(7, &mut out);
        assert_eq!(out, [Action::Kill { proc: ProcId(1) }]);
    }

    #[test]
    fn only_a_drain_of_what_was_not_wanted_is_undone() {
        for (why, can_be) in [
            (Why::Restart, false),
            (Why::Stopped, false),
            (Why::ScaleDown, true),
            (Why::Removed, true),
        ] {
            let mut process = process();
            process.drain(why, at(0), &mut Vec::new());
            assert_eq!(process.drain_can_be_undone(at(1)), can_be, "{why:?}");
        }

        let mut process = self::process();
        process.registered_at = None;
        process.phase = Phase::Starting;
        process.drain(Why::ScaleDown, at(0), &mut Vec::new());
        assert!(process.drain_can_be_undone(at(1)));
        process.undo_drain(&mut Vec::new());
        assert_eq!(
            process.phase,
            Phase::Starting,
            "it has still to register in time"
        );
        process.drain(Why::ScaleDown, at(0), &mut Vec::new());
        process.parked(at(1), &mut Vec::new());
        assert!(!process.drain_can_be_undone(at(1)));
    }

    #[test]
    fn one_whose_job_is_overdue_is_killed_soon_and_keeps_its_connections_until_then() {
        let mut overdue = process();
        let mut out = Vec::new();
        overdue.cut(at(0), &mut out);
        let proc = ProcId(1);
        assert_eq!(out, [Action::Quiesce { proc }, SIGNAL]);
        assert_eq!(play(&mut overdue), [(1000, Action::Kill { proc })]);

        // one that has been asked to stop before
        for (asked, killed) in [(100, 1100), (29_900, 30_000)] {
            let mut stopping = process();
            stopping.drain(Why::ScaleDown, at(0), &mut Vec::new());
            stopping.parked(at(0), &mut Vec::new());
            let mut out = Vec::new();
            stopping.cut(at(asked), &mut out);
            assert_eq!(out, []);
            assert_eq!(play(&mut stopping), [(killed, Action::Kill { proc })]);
        }
    }

    #[test]
    fn health_is_a_second_of_life_or_a_job_and_never_without_registering() {
        let mut process = process();
        assert!(!process.healthy(at(999)));
        assert!(process.healthy(at(1000)));
        process.ended_at = Some(at(999));
        assert!(!process.healthy(at(2000)), "its children live on");
        process.jobs_done = 1;
        assert!(process.healthy(at(1)));
        process.registered_at = None;
        assert!(!process.healthy(at(5000)));
    }
}
