//! One pool as it is run: its intent beside its processes, and the step that brings them closer to it.
//!
//! Intent is the pool in the file and what an operator's command has set. State is the processes. Handlers of events only note what
//! happened (`happened`); [`Crew::step`] decides what follows from it for the processes that are there, and [`Crew::wants`] whether one more is
//! wanted. Whether there is room for it on the machine is decided above, in `supervisor.rs`.
//!
//! A process that is to be replaced, for whatever reason, is marked *stale* and otherwise left alone: it takes jobs until its
//! replacement has registered. So a reload, a restart, `max_jobs` and `max_lifetime` are one mechanism, the size of the pool never
//! dips, and a replacement that does not come up costs nothing.

mod counts;
mod failure;
mod fitness;
mod happened;
mod look;
mod rush;
mod size;
mod unrest;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(super) use self::counts::Counts;
use self::fitness::Fitness;
pub(super) use self::happened::Ending;
use self::rush::Rushing;
use self::unrest::Unrest;
use super::event::{Action, Level, Pressure, ProcId, Slot, Stop, Tell};
use super::guard::Held;
use super::jitter::Jitter;
use super::process::{Phase, Process, Why};
use super::restart::Restarts;
use super::scale::{Past, Reason, Seconds, Target};
use crate::config::Pool;
use crate::config::units::show_size;
use crate::time::Time;

/// How long after some processes were stopped for want of demand the next may be.
const SHED_EVERY: Duration = Duration::from_secs(1);

/// What every handler needs: the time, how the machine is, where actions go, and the jitter.
pub(super) struct Turn<'a> {
    pub(super) now: Time,
    pub(super) pressure: Pressure,
    pub(super) jitter: &'a mut Jitter,
    pub(super) out: &'a mut Vec<Action>,
}

/// Whether the daemon goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Daemon {
    Up,
    ShuttingDown,
}

/// What a process would be started for, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// The pool has less than its `min`.
    Min,
    /// Demand.
    Growth,
    /// A stale process waits for its replacement.
    Replacement,
}

/// Whether the file still has the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Place {
    InFile,
    Removed,
}

/// What an operator has set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct ByHand {
    bounds: Option<(u32, u32)>,
    stopped: bool,
}

/// One pool and its processes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Crew {
    pool: Arc<Pool>,
    place: Place,
    by_hand: ByHand,
    /// What its schedule has in force.
    rush: Option<Rushing>,
    /// What became of its check.
    fitness: Fitness,
    /// What became of changes of its code.
    #[serde(default)]
    unrest: Unrest,

    /// In the order of their start, which is that of their numbers.
    members: Vec<Process>,
    counts: Counts,
    /// Slots whose process ended by itself and is to be started again.
    vacant: BTreeSet<Slot>,
    /// Slots whose process ended by itself and is, by `restart`, not to be started again. They are missing from `min` and `max`
    /// until an operator or the file starts afresh.
    done: BTreeSet<Slot>,

    past: Past,
    queued: u64,
    oldest_wait: Duration,
    memory: Option<u64>,
    /// When it last grew because a job had waited long.
    late_at: Option<Time>,
    /// How many it wants now, of which the target is what it keeps, or may have.
    want: u32,
    /// Its fair share, while `max_processes` does not give every pool what it wants.
    share: Option<Share>,
    held: Option<Held>,
    decisions: VecDeque<Decision>,
    restarts: Restarts,
    restart_count: u64,
    last_exit: Option<String>,
    last_lines: Vec<String>,
    /// Whether a process ended badly that is not started again.
    lost: bool,
    /// Whether the daemon was told to end for it.
    gave_up: bool,

    target: Target,
    next_shed_at: Time,
    /// Whether it wanted a process and the machine had no room.
    pub(super) waiting: Waiting,
    /// Whether something has happened since the last step.
    pub(super) dirty: bool,
    /// When something will have to be done though nothing happens.
    pub(super) due: Option<Time>,
}

/// A change of the target.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Decision {
    at: Time,
    from: u32,
    to: u32,
    reason: String,
}

/// What a pool may have of a machine that has not enough for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Share {
    pub(super) n: u32,
    pub(super) of: u32,
}

/// What a pool waits for before it starts what it wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Waiting {
    Nothing,
    /// Others that are starting.
    Starts,
    /// `max_processes`.
    Cap(u32),
}

impl Crew {
    pub(super) fn new(pool: Arc<Pool>) -> Crew {
        Crew {
            place: Place::InFile,
            by_hand: ByHand::default(),
            rush: None,
            fitness: Fitness::of_new(&pool),
            unrest: Unrest::default(),
            members: Vec::new(),
            counts: Counts::default(),
            vacant: BTreeSet::new(),
            done: BTreeSet::new(),
            past: Past::default(),
            queued: 0,
            oldest_wait: Duration::ZERO,
            memory: None,
            late_at: None,
            want: 0,
            share: None,
            held: None,
            decisions: VecDeque::new(),
            restarts: Restarts::default(),
            restart_count: 0,
            last_exit: None,
            last_lines: Vec::new(),
            lost: false,
            gave_up: false,
            target: Target {
                n: 0,
                reason: Reason::AtMin,
            },
            next_shed_at: Time::ZERO,
            waiting: Waiting::Nothing,
            dirty: true,
            due: None,
            pool,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.pool.name
    }

    pub(super) const fn counts(&self) -> Counts {
        self.counts
    }

    pub(super) fn procs(&self) -> impl Iterator<Item = ProcId> + '_ {
        self.members.iter().map(|member| member.proc)
    }

    /// Whether nothing is left of a pool that was removed.
    pub(super) const fn is_gone(&self) -> bool {
        matches!(self.place, Place::Removed) && self.members.is_empty()
    }

    /// How many processes below its `min` it is.
    pub(super) fn unmet_min(&self) -> u32 {
        self.goal()
            .min(self.bounds().0)
            .saturating_sub(self.counts.serving)
    }

    // What an operator asked for.

    pub(super) fn scale(&mut self, min: u32, max: u32) {
        self.by_hand.bounds = Some((min, max.max(min)));
        self.start_afresh();
    }

    pub(super) fn restart(&mut self, slot: Option<Slot>) {
        if slot.is_none() {
            self.unrest.restarted();
        }
        for member in &mut self.members {
            if slot.is_none_or(|slot| slot == member.slot) {
                member.stale.get_or_insert(Why::Restart);
            }
        }
        self.start_afresh();
    }

    pub(super) fn stop(&mut self) {
        self.by_hand.stopped = true;
        self.start_afresh();
    }

    pub(super) fn start(&mut self) {
        self.by_hand = ByHand::default();
        self.start_afresh();
    }

    /// A command means that the operator has seen to what went wrong: no back-off, and slots that were done are filled again.
    fn start_afresh(&mut self) {
        self.dirty = true;
        self.done.clear();
        self.lost = false;
        self.restarts.forgive();
    }

    pub(super) fn shut_down(&mut self, stop: Stop, turn: &mut Turn<'_>) {
        self.dirty = true;
        for member in &mut self.members {
            match stop {
                Stop::WhenIdle => member.drain(Why::ShutDown, turn.now, turn.out),
                Stop::Gracefully => {
                    member.drain(Why::ShutDown, turn.now, turn.out);
                    member.bound(turn.now + member.pool.stop_timeout);
                }
                Stop::AtOnce => member.kill(Why::ShutDown, turn.out),
            }
        }
    }

    // What follows from it.

    /// Brings the processes that are there closer to what is wanted. It starts none.
    pub(super) fn step(&mut self, daemon: Daemon, turn: &mut Turn<'_>) {
        self.dirty = false;
        self.waiting = Waiting::Nothing;
        self.advance(turn);
        self.renew_held(turn);
        self.counts = self.count();
        let gone_because = self.gone_because(daemon);
        if gone_because.is_none() {
            self.give_up(turn);
        }
        (self.want, self.held) = (0, None);
        let before = self.target.n;
        self.target = match gone_because {
            Some(_) => Target {
                n: 0,
                reason: Reason::AtMin,
            },
            None if self.fitness.is_untried() => Target {
                n: 0,
                reason: Reason::Untried,
            },
            None => self.decide(turn),
        };
        match gone_because {
            Some(why) => {
                for member in &mut self.members {
                    member.drain(why, turn.now, turn.out);
                }
            }
            None => {
                self.undo_drains(turn);
                self.retire(turn);
                self.shed(turn);
            }
        }
        self.counts = self.count();
        self.note(before, turn.now);
        if self.missing() == 0 {
            self.vacant.clear();
        }
    }

    /// Whether it would start one if those that are leaving were gone.
    fn waits_for_room(&self) -> bool {
        self.missing() > 0 && self.counts.live >= self.bounds().1 + self.counts.replacing()
    }

    /// How many processes it should have and has not.
    fn missing(&self) -> u32 {
        self.goal().saturating_sub(self.counts.serving)
    }

    /// Its target, or its share of the machine.
    fn goal(&self) -> u32 {
        self.share
            .map_or(self.target.n, |share| share.n.min(self.target.n))
    }

    /// Whether it would start one more if its share were larger or the machine had room.
    pub(super) fn is_short(&self) -> bool {
        self.share.is_some() && self.target.n > self.counts.serving
    }

    /// What time alone does to each process.
    fn advance(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now;
        let mut recovered = false;
        let (mut hung, mut large) = (Vec::new(), Vec::new());
        for member in &mut self.members {
            member.advance(now, turn.out);
            if member.phase == Phase::Starting && member.registers_by() <= now {
                member.drain(Why::NotRegistered, now, turn.out);
                hung.push((member.slot, member.pool.start_timeout));
            }
            if !member.proved && member.healthy(now) && member.leaving() != Some(Why::NotRegistered)
            {
                member.proved = true;
                recovered |= member.stale.is_none() && self.restarts.forgive();
            }
            if member.phase == Phase::Running && member.stale.is_none() {
                member.stale = member.worn_out(now);
                if member.stale == Some(Why::MaxMemory) {
                    large.push((member.slot, member.memory));
                }
            }
        }
        for (slot, timeout) in hung {
            let text = format!(
                "has not registered {} within {}: it is stopped",
                self.pool.functions.join(" or "),
                Seconds(timeout)
            );
            self.tell(Level::Warning, Some(slot), text, turn.out);
        }
        for (slot, memory) in large {
            let text = format!(
                "takes {}, more than max_memory: it is replaced when its job is done",
                show_size(memory.unwrap_or_default())
            );
            self.tell(Level::Info, Some(slot), text, turn.out);
        }
        if recovered {
            self.tell(Level::Info, None, "works again".to_owned(), turn.out);
        }
    }

    fn gone_because(&self, daemon: Daemon) -> Option<Why> {
        match (daemon, self.place, self.by_hand.stopped) {
            (Daemon::ShuttingDown, _, _) => Some(Why::ShutDown),
            (Daemon::Up, Place::Removed, _) => Some(Why::Removed),
            (Daemon::Up, Place::InFile, true) => Some(Why::Stopped),
            (Daemon::Up, Place::InFile, false) => None,
        }
    }

    /// `min` and `max` in force.
    fn bounds(&self) -> (u32, u32) {
        let (min, max) = self.wanted_bounds();
        let done = self.done.len() as u32;
        (min.saturating_sub(done), max.saturating_sub(done))
    }

    /// A drain that is no longer wanted is cheaper to take back than a process is to start.
    fn undo_drains(&mut self, turn: &mut Turn<'_>) {
        let mut missing = self.missing();
        if missing == 0 {
            return;
        }
        for member in &mut self.members {
            if missing == 0 {
                break;
            }
            if member.drain_can_be_undone(turn.now) {
                member.undo_drain(turn.out);
                missing -= 1;
            }
        }
        self.counts = self.count();
    }

    /// Drains stale processes for which there is a replacement, or that are not needed any more.
    fn retire(&mut self, turn: &mut Turn<'_>) {
        let counts = self.counts;
        let spare = (counts.ready + counts.stale)
            .saturating_sub(self.target.n)
            .min(counts.stale);
        self.drain_first(spare, Why::ScaleDown, turn, |m| m.stale.is_some());
    }

    /// Drains what is beyond `max` at once, and what is beyond the target bit by bit, as long as it is idle.
    fn shed(&mut self, turn: &mut Turn<'_>) {
        // with the last stale one goes the excuse for one more, so it is looked at again
        while self.excess().0 > 0 {
            self.drain_first(self.excess().0, Why::ScaleDown, turn, |_| true);
        }
        let (_, beyond_target) = self.excess();
        if beyond_target == 0 || turn.now < self.next_shed_at {
            return;
        }
        let at_most = (self.counts.serving / 10).max(1).min(beyond_target);
        let shed = self.drain_first(at_most, Why::ScaleDown, turn, |m| m.idle_since().is_some());
        if shed > 0 {
            self.next_shed_at = turn.now + SHED_EVERY;
        }
    }

    /// How many processes there are beyond `max` and beyond the target, without a replacement that is coming up.
    fn excess(&self) -> (u32, u32) {
        let counts = self.counts;
        let coming = u32::from(counts.stale > 0 && counts.serving > counts.stale + counts.ready);
        let beyond = |n: u32| counts.serving.saturating_sub(n + coming);
        (beyond(self.bounds().1), beyond(self.target.n))
    }

    /// Drains up to `n` serving processes that fit, and says how many. Stale ones go first, then the idle by how long they have
    /// been, then those that are starting, the youngest first, and the busy ones last.
    fn drain_first(
        &mut self,
        n: u32,
        why: Why,
        turn: &mut Turn<'_>,
        fits: impl Fn(&Process) -> bool,
    ) -> u32 {
        if n == 0 {
            return 0;
        }
        let mut order: Vec<_> = self
            .members
            .iter()
            .enumerate()
            .filter(|(_, member)| member.serves() && fits(member))
            .map(|(index, member)| {
                let oldest_first = member.proc.0;
                let rank = match (member.idle_since(), member.phase) {
                    (Some(since), _) => (0, since, oldest_first),
                    (None, Phase::Starting) => (1, Time::ZERO, u64::MAX - oldest_first),
                    (None, _) => (2, Time::ZERO, oldest_first),
                };
                (member.stale.is_none(), rank, index)
            })
            .collect();
        order.sort_unstable();
        order.truncate(n as usize);
        for &(_, _, index) in &order {
            if let Some(member) = self.members.get_mut(index) {
                let why = member.stale.unwrap_or(why);
                member.drain(why, turn.now, turn.out);
            }
        }
        self.counts = self.count();
        order.len() as u32
    }

    /// Whether one more process is wanted for this.
    pub(super) fn wants(&self, need: Need, now: Time) -> bool {
        let counts = self.counts;
        let n = self.goal();
        let (min, max) = self.bounds();
        let starting_most = self.pool.scale.step.unwrap_or(u32::MAX);
        if n == 0
            || counts.live >= max + counts.replacing()
            || counts.hung > 0
            || counts.starting >= starting_most
            || (self.restarts.is_failing() && counts.unproved > 0)
            || self.restarts.waits_until(now).is_some()
        {
            return false;
        }
        match need {
            Need::Min => counts.serving < n.min(min),
            Need::Growth => counts.serving < n,
            Need::Replacement => {
                counts.stale > 0
                    && counts.serving >= n
                    && counts.serving == counts.ready + counts.stale
            }
        }
    }

    /// Starts one.
    pub(super) fn spawn(&mut self, proc: ProcId, turn: &mut Turn<'_>) {
        let slot = match self.vacant.pop_first() {
            Some(slot) => {
                self.restart_count += 1;
                slot
            }
            None => self.lowest_free_slot(),
        };
        self.members.push(Process {
            proc,
            slot,
            pool: Arc::clone(&self.pool),
            pid: None,
            started_at: turn.now,
            registered_at: None,
            ended_at: None,
            phase: Phase::Starting,
            stale: None,
            proved: false,
            load: None,
            memory: None,
            jobs_done: 0,
            lifetime_factor: turn.jitter.between(0.9, 1.1),
        });
        self.counts.live += 1;
        self.counts.serving += 1;
        self.counts.starting += 1;
        self.counts.unproved += 1;
        let n = self.counts.serving.min(self.target.n);
        if n > self.bounds().0 {
            self.past.grew(turn.now, n);
        }
        turn.out.push(Action::Spawn {
            proc,
            slot,
            pool: Arc::clone(&self.pool),
        });
    }

    fn lowest_free_slot(&self) -> Slot {
        let taken: BTreeSet<Slot> = self
            .members
            .iter()
            .map(|member| member.slot)
            .chain(self.done.iter().copied())
            .collect();
        let mut free = 1;
        for Slot(slot) in taken {
            if slot == free {
                free += 1;
            }
        }
        Slot(free)
    }

    /// A replacement is wanted and the machine has no room for it: a stale process goes first. This is the one case in which a
    /// pool gets smaller while it is replaced, and not when new processes are known to die.
    pub(super) fn make_room(&mut self, turn: &mut Turn<'_>) {
        let leaving = self.counts.live > self.counts.serving;
        if !leaving && !self.restarts.is_in_doubt() {
            self.drain_first(1, Why::Reload, turn, |m| m.stale.is_some());
        }
    }

    /// Notes when there will be something to do.
    pub(super) fn settle(&mut self, now: Time) {
        let processes = self.members.iter().filter_map(Process::due);
        let wants = self.missing() > 0 || self.counts.stale > 0;
        let restart = match wants {
            true => self.restarts.waits_until(now),
            false => None,
        };
        let (_, beyond_target) = self.excess();
        let shed = (beyond_target > 0 && self.members.iter().any(|m| m.idle_since().is_some()))
            .then_some(self.next_shed_at);
        // a pool that is on its way out does not look at demand
        let peak = match self.target.n {
            0 => None,
            _ => self.past.peak_falls_at(),
        };
        self.due = processes
            .chain(
                [restart, shed, peak, self.unrest.due()]
                    .into_iter()
                    .flatten(),
            )
            .min();
    }

    fn member(&mut self, proc: ProcId) -> Option<&mut Process> {
        self.dirty = true;
        let index = self
            .members
            .binary_search_by_key(&proc, |member| member.proc)
            .ok()?;
        self.members.get_mut(index)
    }

    fn tell(&self, level: Level, slot: Option<Slot>, text: String, out: &mut Vec<Action>) {
        out.push(Action::Tell(Tell {
            level,
            pool: self.pool.name.clone(),
            slot,
            text,
        }));
    }
}
