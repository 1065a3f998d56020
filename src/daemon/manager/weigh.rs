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
    /// How many of them were in the control group of a process that has outlived them: children of its own.
    outlived: HashMap<ProcId, u64>,
}

impl OutOfMemory {
    /// Whether there have been more of them.
    fn look(&mut self, now: Time) -> bool {
        if self.read_at.is_some_and(|at| now.since(at) < OOM_WINDOW) {
            return false;
        }
        let kills = pressure::oom_kills();
        let is_more = self.read_at.is_none() || kills > self.last;
        self.before = self.read_at.map_or(kills, |_| self.last);
        self.last = kills;
        self.read_at = Some(now);
        is_more
    }

    /// Whether there was one since a while ago that stands for no other process yet.
    fn take(&mut self) -> bool {
        let kills = pressure::oom_kills();
        let is_new = kills > self.before;
        self.before += u64::from(is_new);
        self.last = self.last.max(self.before);
        is_new
    }

    /// Whether the end of a process by KILL was for want of memory. `in_group` is how many of its control group the kernel has killed
    /// in all; `None` if nobody counts.
    fn has_ended(&mut self, proc: ProcId, in_group: Option<u64>) -> bool {
        match in_group {
            Some(kills) => kills > self.outlived.get(&proc).copied().unwrap_or(0),
            None => self.take(),
        }
    }
}

impl Manager {
    /// Measures the processes whose pool has `max_memory`, once a second.
    pub(super) fn weigh(&mut self, now: Time) {
        if now.since(self.weighed) < SAMPLE_IDLE && self.weighed != Time::ZERO {
            return;
        }
        self.weighed = now;
        if self.oom.look(now) {
            self.oom.outlived = self.outlived();
        }
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
        self.weights = weights.iter().copied().collect();
        if !weights.is_empty() {
            self.events.push_back(Event::Weighed(weights));
        }
    }

    /// How many processes the kernel has killed in the groups of those that live.
    fn outlived(&self) -> HashMap<ProcId, u64> {
        let groups = self.groups.iter().filter_map(|(&proc, group)| {
            let kills = group.oom_kills().filter(|&kills| kills > 0)?;
            // read after the count: who lives now has outlived all of them
            let member = self.crew.get(proc)?;
            let lives = process::one(member.pid).is_some_and(|it| !it.ended);
            (lives && !self.sweeps.contains_key(&proc)).then_some((proc, kills))
        });
        groups.collect()
    }

    /// KILL that was not sent from here may have been the kernel's, for want of memory.
    pub(super) fn name_the_end(&mut self, proc: ProcId, status: ExitStatus) -> ExitStatus {
        if status != ExitStatus::Signal(KILL) || self.killed.contains(&proc) {
            return status;
        }
        let in_group = self.groups.get(&proc).and_then(Group::oom_kills);
        match self.oom.has_ended(proc, in_group) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_has_outlived_has_not_ended_it() {
        let mut oom = OutOfMemory {
            outlived: HashMap::from([(ProcId(1), 2)]),
            ..OutOfMemory::default()
        };
        assert!(!oom.has_ended(ProcId(1), Some(2)));
        assert!(oom.has_ended(ProcId(1), Some(3)));
        assert!(oom.has_ended(ProcId(2), Some(1)));
        assert!(!oom.has_ended(ProcId(2), Some(0)));
    }
}
