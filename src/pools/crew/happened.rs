//! What the crew is told: each handler notes what happened, and decides nothing that [`Crew::step`] could.

use std::sync::Arc;

use super::unrest::Unrest;
use super::{ByHand, Crew, Place, Turn, Why};
use crate::config::{Pool, Restart};
use crate::pools::event::{ExitStatus, Level, PoolLoad, ProcId, ProcLoad};
use crate::pools::plan::Change;
use crate::pools::restart::Death;
use crate::pools::scale::Seconds;
use crate::time::Time;

/// How a process ended.
pub(in crate::pools) enum Ending {
    Exited(ExitStatus, Vec<String>),
    NeverStarted(String),
}

impl Ending {
    fn text(&self) -> String {
        match self {
            Ending::Exited(status, _) => status.to_string(),
            Ending::NeverStarted(error) => format!("could not be started: {error}"),
        }
    }
}

impl Crew {
    /// The file has this pool, perhaps changed.
    pub(in crate::pools) fn configure(&mut self, pool: Arc<Pool>, turn: &mut Turn<'_>) {
        self.dirty = true;
        let change = Change::between(&self.pool, &pool);
        let back = std::mem::replace(&mut self.place, Place::InFile) == Place::Removed;
        if change.is_none() && !back {
            return;
        }
        if std::mem::take(&mut self.by_hand) != ByHand::default() {
            self.tell(
                Level::Info,
                None,
                "the file has changed this pool: what was set by hand is dropped".to_owned(),
                turn.out,
            );
        }
        if self.pool.watch != pool.watch {
            self.unrest = Unrest::default();
        }
        self.pool = pool;
        self.fitness.configured(&self.pool);
        self.done.clear();
        if !change.rolled.is_empty() {
            self.restarts.forgive();
        }
        for member in &mut self.members {
            if member.pool.starts_the_same(&self.pool) {
                member.pool = Arc::clone(&self.pool);
                if member.stale == Some(Why::Reload) {
                    member.stale = None;
                }
            } else {
                member.stale.get_or_insert(Why::Reload);
            }
        }
    }

    /// The file does not have this pool any more.
    pub(in crate::pools) fn remove(&mut self) {
        self.place = Place::Removed;
        self.dirty = true;
    }

    pub(in crate::pools) fn spawned(&mut self, proc: ProcId, pid: u32, turn: &mut Turn<'_>) {
        let Some(member) = self.member(proc) else {
            return;
        };
        member.spawned(pid, turn.out);
        let slot = member.slot;
        self.tell(
            Level::Info,
            Some(slot),
            format!("started, pid {pid}"),
            turn.out,
        );
    }

    pub(in crate::pools) fn registered(&mut self, proc: ProcId, now: Time) {
        let Some(member) = self.member(proc) else {
            return;
        };
        if member.registered(now) {
            let took = now.since(member.started_at);
            self.past.started(took);
        }
    }

    pub(in crate::pools) fn parked(&mut self, proc: ProcId, turn: &mut Turn<'_>) {
        if let Some(member) = self.member(proc) {
            member.parked(turn.now, turn.out);
        }
    }

    /// The job that it runs was cancelled: it is stopped, and replaced if it is needed.
    pub(in crate::pools) fn cancelled(&mut self, proc: ProcId, turn: &mut Turn<'_>) {
        self.dirty = true;
        if let Some(member) = self.member(proc) {
            member.interrupt(Why::Cancelled, turn.now, turn.out);
        }
    }

    pub(in crate::pools) fn weighed(&mut self, proc: ProcId, bytes: u64) {
        if let Some(member) = self.member(proc) {
            member.memory = Some(bytes);
        }
    }

    /// A job of its has run past its limit.
    pub(in crate::pools) fn overdue(&mut self, proc: ProcId, job: &str, turn: &mut Turn<'_>) {
        let Some(member) = self.member(proc) else {
            return;
        };
        member.cut(turn.now, turn.out);
        let slot = member.slot;
        let limit = match member.pool.timeout {
            Some(limit) => format!("its timeout of {}", Seconds(limit)),
            None => "its time limit".to_owned(),
        };
        let text = format!("job {job} has run past {limit}: its process is killed");
        self.tell(Level::Warning, Some(slot), text, turn.out);
    }

    pub(in crate::pools) fn worked(&mut self, proc: ProcId) {
        if let Some(member) = self.member(proc) {
            member.jobs_done = member.jobs_done.max(1);
        }
    }

    pub(in crate::pools) fn sampled(&mut self, now: Time, load: &PoolLoad) {
        self.dirty = true;
        self.queued = load.queued;
        self.oldest_wait = load.oldest_wait;
        self.memory = load.memory.or(self.memory);
        let wishes = self.wishes();
        self.past.sampled(now, load, wishes);
        // both by number: one pass
        let mut known: Vec<ProcLoad> = load.processes.clone();
        known.sort_unstable_by_key(|load| load.proc);
        let mut known = known.into_iter().peekable();
        for member in &mut self.members {
            while known.next_if(|load| load.proc < member.proc).is_some() {}
            let load = known.next_if(|load| load.proc == member.proc);
            member.sampled(now, load);
        }
    }

    /// It has ended itself, before what it has started.
    pub(in crate::pools) fn ended_first(&mut self, proc: ProcId, now: Time) {
        if let Some(member) = self.member(proc) {
            member.ended_at.get_or_insert(now);
        }
    }

    pub(in crate::pools) fn ended(&mut self, proc: ProcId, ending: Ending, turn: &mut Turn<'_>) {
        self.dirty = true;
        let Ok(index) = self.members.binary_search_by_key(&proc, |m| m.proc) else {
            return;
        };
        let member = self.members.remove(index);
        let up = Seconds(member.ended_at.unwrap_or(turn.now).since(member.started_at));
        let how = ending.text();
        if let Some(why) = member.leaving()
            && why != Why::NotRegistered
        {
            let text = format!("ended after {up}, {}: {how}", why.text());
            return self.tell(Level::Info, Some(member.slot), text, turn.out);
        }
        let hung = member.leaving().is_some();
        let healthy = !hung && (member.proved || member.healthy(turn.now));
        let success = matches!(ending, Ending::Exited(ExitStatus::Code(0), _));
        self.last_exit = Some(match hung {
            true => format!(
                "did not register within {}",
                Seconds(member.pool.start_timeout)
            ),
            false => how.clone(),
        });
        let mut ended = match &ending {
            Ending::Exited(..) => format!("ended by itself after {up}: {how}"),
            Ending::NeverStarted(_) => how,
        };
        self.last_lines = match ending {
            Ending::Exited(_, lines) => lines,
            Ending::NeverStarted(_) => Vec::new(),
        };
        // a replacement that dies must not make the pool smaller than the processes it was to replace
        let replacing = !healthy && self.members.iter().any(|m| m.serves() && m.stale.is_some());
        let again = match self.pool.restart {
            Restart::Always => true,
            Restart::OnFailure => !success || hung,
            Restart::Never => false,
        };
        if again || replacing {
            self.vacant.insert(member.slot);
        } else {
            self.done.insert(member.slot);
            self.lost |= !success;
            let rule = self.pool.restart.name();
            ended.push_str(&format!("; it is not started again (restart: {rule})"));
        }
        if !hung {
            let level = match success && healthy {
                true => Level::Info,
                false => Level::Warning,
            };
            self.tell(level, Some(member.slot), ended, turn.out);
        }
        // how an old process dies says nothing of the new ones
        if member.stale.is_some() {
            return;
        }
        if healthy {
            self.restarts.forgive();
            return;
        }
        let death = match member.registered_at {
            Some(_) => Death::Registered,
            None => Death::Unregistered,
        };
        if self.restarts.died_young(death, turn.now, turn.jitter) {
            self.tell_failing(turn);
        }
    }
}
