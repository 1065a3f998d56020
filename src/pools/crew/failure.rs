//! A pool whose processes keep dying: what the operator is told, and when the daemon does not go on without it.

use super::{Action, Crew, Level, Turn};

impl Crew {
    pub(super) fn tell_failing(&self, turn: &mut Turn<'_>) {
        let mut text = self.restarts.reason(turn.now);
        if let Some(last) = &self.last_exit {
            text.push_str(&format!("; the last one: {last}"));
        }
        if let Some(line) = self.last_lines.last() {
            text.push_str(&format!(", and its last line: {line}"));
        }
        let old = self
            .members
            .iter()
            .filter(|m| m.serves() && m.stale.is_some())
            .count();
        if old > 0 {
            text.push_str(&format!(
                "; the replacement stops here and the old processes are kept ({old})"
            ));
        }
        self.tell(Level::Error, None, text, turn.out);
    }

    /// Whether nothing of it is left but a process that ended badly and is, by `restart`, not started again.
    pub(super) fn is_lost(&self) -> bool {
        self.lost && self.counts.serving == 0
    }

    /// Has the daemon end when the pool has `exit_on_failure` and does not work: its processes keep dying and none is there that
    /// has registered, one has ended badly and is by `restart` not started again, or its check has failed before there was any.
    pub(super) fn give_up(&mut self, turn: &mut Turn<'_>) {
        let fails = self.restarts.is_failing() && self.counts.registered == 0;
        let unfit = self.fitness.is_failing();
        if !self.pool.exit_on_failure || self.gave_up || !(fails || self.lost || unfit) {
            return;
        }
        self.gave_up = true;
        let mut reason = match (unfit, fails) {
            (true, _) => "its check failed, and none of its processes runs".to_owned(),
            (false, true) => "its processes keep dying".to_owned(),
            (false, false) => "a process has ended and is not started again".to_owned(),
        };
        if let Some(last) = &self.last_exit {
            reason.push_str(&format!("; the last one: {last}"));
        }
        turn.out.push(Action::GiveUp {
            pool: self.pool.name.clone(),
            reason,
        });
    }
}
