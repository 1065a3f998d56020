//! What systemd is told: that we are there, how we are, and that this loop has not hung.

use super::*;
use crate::pools::PoolLoad;

/// How often at most it is told how we are.
const PACE: Duration = Duration::from_secs(5);

/// What it was told last.
#[derive(Debug, Default)]
pub(super) struct Told {
    status: String,
    at: Time,
}

impl Manager {
    /// Tells that we work, at the start and after a reload.
    pub(super) fn say_ready(&mut self) {
        if !self.parts.notifier.is_heard() {
            return;
        }
        if self.told.status.is_empty() {
            self.told.status = self.summary(&[]);
        }
        self.parts.notifier.ready(&self.told.status);
        self.say_alive(self.parts.hub.now());
    }

    /// Tells that we have not hung, twice as often as has to be. It is this loop's business, so that a loop that hangs is noticed.
    pub(super) fn say_alive(&mut self, now: Time) {
        let Some(within) = self.parts.notifier.watchdog() else {
            return;
        };
        if self.word_at.is_none_or(|at| at <= now) {
            self.parts.notifier.alive();
            self.word_at = Some(now + within / 2);
        }
    }

    /// Tells how we are, when that has changed.
    pub(super) fn say_status(&mut self, now: Time, loads: &[PoolLoad]) {
        let is_new = self.told.at == Time::ZERO;
        let is_soon = !is_new && now.since(self.told.at) < PACE;
        // once it is ending, that is how it is
        if !self.parts.notifier.is_heard() || is_soon || self.ending.is_some() {
            return;
        }
        let status = self.summary(loads);
        if status != self.told.status {
            self.parts.notifier.status(&status);
            self.told = Told { status, at: now };
        }
    }

    fn summary(&self, loads: &[PoolLoad]) -> String {
        let count = |number: u64, one: &str, more: &str| match number {
            1 => format!("1 {one}"),
            number => format!("{number} {more}"),
        };
        let Some(file) = &self.parts.file else {
            return "serving jobs".to_owned();
        };
        let processes = self.crew.iter().count() as u64;
        let busy = loads.iter().flat_map(|load| &load.processes);
        let busy = busy.filter(|load| load.busy_since.is_some()).count() as u64;
        let queued = loads.iter().map(|load| load.queued).sum();
        let mut text = format!(
            "{}, {}, {busy} busy, {}",
            count(file.pools().len() as u64, "pool", "pools"),
            count(processes, "process", "processes"),
            count(queued, "job waits", "jobs wait")
        );
        if file.error().is_some() {
            text.push_str("; the configuration file is wrong, an older one is in force");
        }
        text
    }
}
