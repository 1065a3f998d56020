//! All pools: events in, actions out.
//!
//! [`Supervisor::handle`] gives an event to the pool that it concerns and then reconciles: every pool that something has happened to,
//! or for which a deadline has come, takes one step, and then processes are started as far as the machine has room, first for `min`,
//! then for demand, then as replacements.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::ZonedDateTime;
use serde::{Deserialize, Serialize};

use super::crew::{Crew, Daemon, Ending, Need, Share, Turn, Waiting};
use super::event::{Action, Caps, Event, PoolLoad, Pressure, ProcId, Stop};
use super::jitter::Jitter;
use super::share;
use super::view::PoolView;
use crate::config::Pool;
use crate::time::Time;

/// So many processes may be starting at once on the machine. Starting is what costs: interpreters load, databases are connected to.
const STARTING_AT_ONCE: u32 = 16;

/// The supervision of all pools.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Supervisor {
    jitter: Jitter,
    caps: Caps,
    pressure: Pressure,
    /// What the clock on the wall showed last. The shell shows it again before anything else.
    #[serde(skip)]
    clock: Option<ZonedDateTime>,
    /// In the order of the file; pools that were removed and have processes left are at the end.
    crews: Vec<Crew>,
    by_name: BTreeMap<String, usize>,
    by_proc: BTreeMap<ProcId, usize>,
    last_proc: ProcId,
    stop: Option<Stop>,
    finished: bool,
}

/// What the machine has room for.
struct Room {
    starting: u32,
    live: u32,
    max: Option<u32>,
    /// How many processes pools lack to their `min`: demand does not take their places.
    reserved: u32,
}

impl Supervisor {
    /// A supervisor with no pools. `seed` decides the jitter.
    pub fn new(seed: u64) -> Supervisor {
        Supervisor {
            jitter: Jitter::new(seed),
            caps: Caps::default(),
            pressure: Pressure::default(),
            clock: None,
            crews: Vec::new(),
            by_name: BTreeMap::new(),
            by_proc: BTreeMap::new(),
            last_proc: ProcId(0),
            stop: None,
            finished: false,
        }
    }

    /// Takes what happened and returns what to do, in order. Times may not go back.
    #[must_use = "an action that is not carried out is one that the supervisor waits for"]
    pub fn handle(&mut self, now: Time, event: Event) -> Vec<Action> {
        let mut out = Vec::new();
        self.hear(now, event, &mut out);
        self.reconcile(now, &mut out);
        self.forget_gone();
        if self.stop.is_some() && self.by_proc.is_empty() && !self.finished {
            self.finished = true;
            out.push(Action::Finished);
        }
        out
    }

    /// When [`Event::Tick`] has to come at the latest.
    pub fn next_deadline(&self) -> Option<Time> {
        self.crews.iter().filter_map(|crew| crew.due).min()
    }

    /// The pools as they are now, in the order of the file.
    pub fn view(&self, now: Time) -> Vec<PoolView> {
        let daemon = self.daemon();
        self.crews
            .iter()
            .map(|crew| crew.view(daemon, now))
            .collect()
    }

    /// How many processes a pool could have: its part of the jobs that others could do too. 0 for one that takes none now.
    pub fn weight(&self, pool: &str) -> u32 {
        let crew = self.by_name.get(pool).and_then(|&it| self.crews.get(it));
        crew.map_or(0, Crew::weight)
    }

    fn daemon(&self) -> Daemon {
        match self.stop {
            Some(_) => Daemon::ShuttingDown,
            None => Daemon::Up,
        }
    }

    fn hear(&mut self, now: Time, event: Event, out: &mut Vec<Action>) {
        let turn = &mut Turn {
            now,
            pressure: self.pressure,
            jitter: &mut self.jitter,
            out,
        };
        let crews = &mut self.crews;
        let (by_proc, by_name) = (&mut self.by_proc, &self.by_name);
        match event {
            Event::Configured(pools, caps) => self.configure(now, pools, caps, out),
            Event::Spawned { proc, pid } => {
                if let Some(crew) = at(crews, by_proc.get(&proc)) {
                    crew.spawned(proc, pid, turn);
                }
            }
            Event::SpawnFailed { proc, error } => {
                if let Some(crew) = at(crews, by_proc.remove(&proc).as_ref()) {
                    crew.ended(proc, Ending::NeverStarted(error), turn);
                }
            }
            Event::Registered { proc } => {
                if let Some(crew) = at(crews, by_proc.get(&proc)) {
                    crew.registered(proc, now);
                }
            }
            Event::Parked { proc } => {
                if let Some(crew) = at(crews, by_proc.get(&proc)) {
                    crew.parked(proc, turn);
                }
            }
            Event::Cancelled { proc } => {
                if let Some(crew) = at(crews, by_proc.get(&proc)) {
                    crew.cancelled(proc, turn);
                }
            }
            Event::Overdue { proc, job } => {
                if let Some(crew) = at(crews, by_proc.get(&proc)) {
                    crew.overdue(proc, &job, turn);
                }
            }
            Event::Worked { proc } => {
                if let Some(crew) = at(crews, by_proc.get(&proc)) {
                    crew.worked(proc);
                }
            }
            Event::Ended { proc } => {
                if let Some(crew) = at(crews, by_proc.get(&proc)) {
                    crew.ended_first(proc, now);
                }
            }
            Event::Exited {
                proc,
                status,
                last_lines,
            } => {
                if let Some(crew) = at(crews, by_proc.remove(&proc).as_ref()) {
                    crew.ended(proc, Ending::Exited(status, last_lines), turn);
                }
            }
            Event::Sampled(loads) => self.sampled(now, &loads),
            Event::Weighed(weights) => {
                for (proc, bytes) in weights {
                    if let Some(crew) = at(crews, by_proc.get(&proc)) {
                        crew.weighed(proc, bytes);
                    }
                }
            }
            Event::Clock(clock) => {
                for crew in crews {
                    crew.clock(&clock, turn);
                }
                self.clock = Some(clock);
            }
            Event::Checked { pool, failure } => {
                if let Some(crew) = at(crews, by_name.get(&pool)) {
                    crew.checked(failure);
                }
            }
            Event::CodeChanged { pool, what } => {
                if let Some(crew) = at(crews, by_name.get(&pool)) {
                    crew.code_changed(what, turn);
                }
            }
            Event::Pressed(pressure) => self.pressure = pressure,
            Event::Scale { pool, min, max } => {
                if let Some(crew) = at(crews, by_name.get(&pool)) {
                    crew.scale(min, max);
                }
            }
            Event::Restart { pool, slot } => {
                if let Some(crew) = at(crews, by_name.get(&pool)) {
                    crew.restart(slot);
                }
            }
            Event::Stop { pool } => {
                if let Some(crew) = at(crews, by_name.get(&pool)) {
                    crew.stop();
                }
            }
            Event::Start { pool } => {
                if let Some(crew) = at(crews, by_name.get(&pool)) {
                    crew.start();
                }
            }
            Event::ShutDown(stop) => self.shut_down(now, stop, out),
            Event::Tick => {}
        }
    }

    fn configure(&mut self, now: Time, pools: Vec<Arc<Pool>>, caps: Caps, out: &mut Vec<Action>) {
        let turn = &mut Turn {
            now,
            pressure: self.pressure,
            jitter: &mut self.jitter,
            out,
        };
        self.caps = caps;
        let mut before: BTreeMap<String, Crew> = std::mem::take(&mut self.crews)
            .into_iter()
            .map(|crew| (crew.name().to_owned(), crew))
            .collect();
        for pool in pools {
            let crew = match before.remove(&pool.name) {
                Some(mut crew) => {
                    crew.configure(pool, turn);
                    crew
                }
                None => Crew::new(pool),
            };
            self.crews.push(crew);
        }
        for (_, mut crew) in before {
            crew.remove();
            self.crews.push(crew);
        }
        if let Some(clock) = &self.clock {
            for crew in &mut self.crews {
                crew.clock(clock, turn);
            }
        }
        self.index();
    }

    fn sampled(&mut self, now: Time, loads: &[PoolLoad]) {
        for load in loads {
            if let Some(crew) = at(&mut self.crews, self.by_name.get(&load.pool)) {
                crew.sampled(now, load);
            }
        }
    }

    /// A second wish to end is a stronger one: it is taken at its word if that is harder than what is under way, and if it is the
    /// same, as the next harder. A softer one comes too late.
    fn shut_down(&mut self, now: Time, stop: Stop, out: &mut Vec<Action>) {
        let stop = match (self.stop, stop) {
            (None, stop) => stop,
            (Some(Stop::WhenIdle), Stop::WhenIdle | Stop::Gracefully) => Stop::Gracefully,
            (Some(Stop::Gracefully), Stop::Gracefully) | (Some(_), Stop::AtOnce) => Stop::AtOnce,
            (Some(Stop::Gracefully | Stop::AtOnce), _) => return,
        };
        self.stop = Some(stop);
        let turn = &mut Turn {
            now,
            pressure: self.pressure,
            jitter: &mut self.jitter,
            out,
        };
        for crew in &mut self.crews {
            crew.shut_down(stop, turn);
        }
    }

    fn reconcile(&mut self, now: Time, out: &mut Vec<Action>) {
        let daemon = self.daemon();
        let turn = &mut Turn {
            now,
            pressure: self.pressure,
            jitter: &mut self.jitter,
            out,
        };
        let touched: Vec<usize> = (0..)
            .zip(&self.crews)
            .filter(|(_, crew)| {
                crew.dirty
                    || crew.waiting != Waiting::Nothing
                    || crew.is_short()
                    || crew.due.is_some_and(|due| due <= now)
            })
            .map(|(index, _)| index)
            .collect();
        for &index in &touched {
            if let Some(crew) = self.crews.get_mut(index) {
                crew.step(daemon, turn);
            }
        }
        share_out(self.caps, &mut self.crews, turn);
        let mut room = Room::new(self.caps, &self.crews);
        for need in [Need::Min, Need::Growth, Need::Replacement] {
            for &index in &touched {
                let Some(crew) = self.crews.get_mut(index) else {
                    continue;
                };
                while crew.wants(need, now) {
                    crew.waiting = room.take(need);
                    if crew.waiting != Waiting::Nothing {
                        break;
                    }
                    self.last_proc.0 += 1;
                    self.by_proc.insert(self.last_proc, index);
                    crew.spawn(self.last_proc, turn);
                }
                let full = matches!(crew.waiting, Waiting::Cap(_));
                if full && need == Need::Replacement && crew.wants(need, now) {
                    crew.make_room(turn);
                }
            }
        }
        for &index in &touched {
            if let Some(crew) = self.crews.get_mut(index) {
                crew.settle(now);
            }
        }
        #[cfg(debug_assertions)]
        self.recount(&touched);
    }

    fn forget_gone(&mut self) {
        if self.crews.iter().any(Crew::is_gone) {
            self.crews.retain(|crew| !crew.is_gone());
            self.index();
        }
    }

    fn index(&mut self) {
        self.by_name.clear();
        self.by_proc.clear();
        for (index, crew) in self.crews.iter().enumerate() {
            self.by_name.insert(crew.name().to_owned(), index);
            self.by_proc.extend(crew.procs().map(|proc| (proc, index)));
        }
    }

    /// Counts what has been touched anew and compares.
    #[cfg(debug_assertions)]
    fn recount(&self, touched: &[usize]) {
        for &index in touched {
            let crew = &self.crews[index];
            assert_eq!(crew.counts(), crew.count(), "pool {}", crew.name());
            for proc in crew.procs() {
                assert_eq!(self.by_proc.get(&proc), Some(&index), "{proc:?}");
            }
        }
        let live: u32 = self.crews.iter().map(|crew| crew.counts().live).sum();
        assert_eq!(live as usize, self.by_proc.len());
    }
}

/// Where the pools want more than the machine may have, each gets its fair share, and those that have more make way: first with what
/// they only keep, then with processes whose job has ended.
fn share_out(caps: Caps, crews: &mut [Crew], turn: &mut Turn<'_>) {
    let Some(cap) = caps.max_processes else {
        for crew in crews {
            crew.allow(None);
        }
        return;
    };
    let claims: Vec<_> = crews.iter().map(Crew::claim).collect();
    let shares = share::fair(&claims, cap);
    let scarce = claims.iter().map(|claim| claim.want).sum::<u32>() > cap;
    let live: u32 = crews.iter().map(|crew| crew.counts().live).sum();
    let serving: u32 = crews.iter().map(|crew| crew.counts().serving).sum();
    let missing = |(crew, &n): (&Crew, &u32)| n.saturating_sub(crew.counts().serving);
    let short: u32 = crews.iter().zip(&shares).map(missing).sum();
    let free = cap.saturating_sub(live);
    for (crew, &n) in crews.iter_mut().zip(&shares) {
        // what a pool would only keep is not started: another would soon take it away again
        let n = match scarce || short > free {
            true => n,
            false => n.max(crew.counts().serving),
        };
        crew.allow(Some(Share { n, of: cap }));
    }
    // what is leaving already will be room
    let mut coming = free + (live - serving);
    let mut richest: Vec<_> = crews.iter_mut().zip(shares).collect();
    richest.sort_by_key(|(crew, n)| std::cmp::Reverse(crew.counts().serving.saturating_sub(*n)));
    for busy in [false, true] {
        for (crew, n) in &mut richest {
            if coming < short {
                coming += crew.make_way(short - coming, *n, busy, turn);
            }
        }
    }
}

impl Room {
    fn new(caps: Caps, crews: &[Crew]) -> Room {
        let sum = |count: fn(&Crew) -> u32| crews.iter().map(count).sum();
        Room {
            starting: sum(|crew| crew.counts().starting),
            live: sum(|crew| crew.counts().live),
            max: caps.max_processes,
            reserved: sum(Crew::unmet_min),
        }
    }

    /// Takes a place for a process, or says what there is to wait for.
    fn take(&mut self, need: Need) -> Waiting {
        let reserved = match need {
            Need::Min => 0,
            Need::Growth | Need::Replacement => self.reserved,
        };
        if let Some(max) = self.max
            && self.live + reserved >= max
        {
            return Waiting::Cap(max);
        }
        if self.starting >= STARTING_AT_ONCE {
            return Waiting::Starts;
        }
        if need == Need::Min {
            self.reserved = self.reserved.saturating_sub(1);
        }
        self.starting += 1;
        self.live += 1;
        Waiting::Nothing
    }
}

fn at<'a>(crews: &'a mut [Crew], index: Option<&usize>) -> Option<&'a mut Crew> {
    crews.get_mut(*index?)
}

#[cfg(test)]
#[path = "supervisor_tests.rs"]
mod tests;
