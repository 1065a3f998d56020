//! The memory of processes: whose pool has `max_memory`, and who died because there was none.

use super::*;
use crate::sys::{pressure, process};

/// Counts that are older than this say nothing of a process that has ended just now.
const OOM_WINDOW: Duration = Duration::from_secs(10);

/// KILL, signal(7).
const KILL: i32 = 9;

/// How often the kernel had killed something for want of memory, now and a while ago.
#[derive(Debug, Default)]
pub(super) struct OutOfMemory {
    before: u64,
    last: u64,
    read_at: Option<Time>,
}

impl OutOfMemory {
    fn look(&mut self, now: Time) {
        if self.read_at.is_none_or(|at| now.since(at) >= OOM_WINDOW) {
            let kills = pressure::oom_kills();
            self.before = self.read_at.map_or(kills, |_| self.last);
            self.last = kills;
            self.read_at = Some(now);
        }
    }

    /// Whether there was one since a while ago that stands for no other process yet.
    fn take(&mut self) -> bool {
        let kills = pressure::oom_kills();
        let is_new = kills > self.before;
        self.before += u64::from(is_new);
        self.last = self.last.max(self.before);
        is_new
    }
}

impl Manager {
    /// Measures the processes whose pool has `max_memory`, once a second.
    pub(super) fn weigh(&mut self, now: Time) {
        if now.since(self.weighed) < SAMPLE_IDLE && self.weighed != Time::ZERO {
            return;
        }
        self.weighed = now;
        self.oom.look(now);
        // the pools as they are in force: a member's own is that of its start
        let pools = self.pools().iter();
        let limits: HashMap<&str, u64> = pools
            .filter_map(|pool| Some((pool.name.as_str(), pool.max_memory?)))
            .collect();
        let mut weights = Vec::new();
        for (proc, member) in self.crew.iter() {
            let Some(&max) = limits.get(member.pool.name.as_str()) else {
                continue;
            };
            let counted = self.groups.get(&proc).and_then(Group::memory);
            weights.push((proc, counted.unwrap_or_else(|| memory(member.pid, max))));
        }
        if !weights.is_empty() {
            self.events.push_back(Event::Weighed(weights));
        }
    }

    /// KILL that was not sent from here may have been the kernel's, for want of memory.
    pub(super) fn name_the_end(&mut self, proc: ProcId, status: ExitStatus) -> ExitStatus {
        if status != ExitStatus::Signal(KILL) || self.killed.contains(&proc) {
            return status;
        }
        let is_so = match self.groups.get(&proc).and_then(Group::oom_kills) {
            Some(kills) => kills > 0,
            None => self.oom.take(),
        };
        match is_so {
            true => ExitStatus::OutOfMemory,
            false => status,
        }
    }
}

/// What a process takes with all that descends from it, in bytes. Resident memory is quick to read and counts what forked processes
/// share once for each; so only where that is too much it is taken apart.
fn memory(pid: u32, max: u64) -> u64 {
    let all = process::trees([pid]);
    let resident = |pid| pressure::resident(pid).unwrap_or(0);
    let sum: u64 = all.iter().map(|it| resident(it.pid)).sum();
    if sum <= max || all.len() < 2 {
        return sum;
    }
    let share = |pid| pressure::proportional(pid).unwrap_or_else(|| resident(pid));
    all.iter().map(|it| share(it.pid)).sum()
}
