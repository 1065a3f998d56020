//! Watched files that change again right after each restart for the change before. More likely than not the pool's own processes write
//! them, a log or a cache, and without an end to it they would be restarted for ever.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Action, Crew, Level, Seconds, Turn};
use crate::time::Time;

/// A change is soon after a restart, or after the start of a process, within this.
const SOON: Duration = Duration::from_secs(10);

/// So many changes in a row may come soon: who edits code saves more than once.
const LET_BE: u32 = 7;

/// How long the first restart after those waits; each further one twice as long.
const FIRST: Duration = Duration::from_secs(5);

/// The longest wait.
const LONGEST: Duration = Duration::from_secs(600);

/// What became of the latest changes of a pool's files.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Unrest {
    restarted_at: Option<Time>,
    /// How many changes came soon, one after the other.
    in_a_row: u32,
    held: Option<Held>,
}

/// A restart that waits.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Held {
    until: Time,
    what: String,
}

impl Unrest {
    /// When a restart that waits is due.
    pub(super) fn due(&self) -> Option<Time> {
        self.held.as_ref().map(|held| held.until)
    }

    /// Its processes are replaced for another reason, and so have the changed code.
    pub(super) fn restarted(&mut self) {
        self.held = None;
    }

    /// What there is to say in the status.
    pub(super) fn words(&self, now: Time) -> Option<String> {
        let Held { until, what } = self.held.as_ref()?;
        Some(format!(
            "the restart for changed files waits for {}: {what}, as after each of the last {} restarts, so its processes may write what \"watch\" finds",
            Seconds(until.since(now)),
            self.in_a_row
        ))
    }
}

impl Crew {
    /// Files of its code have changed.
    pub(in crate::pools) fn code_changed(&mut self, what: String, turn: &mut Turn<'_>) {
        self.dirty = true;
        let now = turn.now;
        if let Some(held) = &mut self.unrest.held {
            held.what = what;
            return;
        }
        let started = self.members.iter().map(|member| member.started_at).max();
        let latest = started.max(self.unrest.restarted_at);
        let is_soon = self.unrest.restarted_at.is_some()
            && latest.is_some_and(|latest| now.since(latest) < SOON);
        self.unrest.in_a_row = match is_soon {
            true => self.unrest.in_a_row + 1,
            false => 0,
        };
        let Some(more) = self.unrest.in_a_row.checked_sub(LET_BE + 1) else {
            return self.renew(&what, turn);
        };
        let wait = FIRST.saturating_mul(1 << more.min(16)).min(LONGEST);
        self.unrest.held = Some(Held {
            until: now + wait,
            what,
        });
        let words = self.unrest.words(now).unwrap_or_default();
        self.tell(Level::Warning, None, words, turn.out);
    }

    /// Restarts for a change that has waited long enough.
    pub(super) fn renew_held(&mut self, turn: &mut Turn<'_>) {
        let is_due = |held: &mut Held| held.until <= turn.now;
        if let Some(Held { what, .. }) = self.unrest.held.take_if(is_due) {
            self.renew(&what, turn);
        }
    }

    fn renew(&mut self, what: &str, turn: &mut Turn<'_>) {
        self.unrest.restarted_at = Some(turn.now);
        let text = format!("{what}: restarting one process after the other");
        self.tell(Level::Info, None, text, turn.out);
        let pool = self.pool.name.clone();
        turn.out.push(Action::Renew { pool });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::{Command, Pool};
    use crate::pools::{Caps, Event, Supervisor};

    /// Changes the code so long after each restart, and returns how long each change waited for its own.
    fn waits(after: Duration, changes: u32) -> Vec<u64> {
        let mut sup = Supervisor::new(1);
        let pool = Pool::new("a", Command::Exec(vec!["a".to_owned()]));
        let file = Event::Configured(vec![Arc::new(pool)], Caps::default());
        let mut now = Time::ZERO;
        let _ = sup.handle(now, file);
        let mut waits = Vec::new();
        for _ in 0..changes {
            now = now + after;
            let changed_at = now;
            let (pool, what) = ("a".to_owned(), "x has changed".to_owned());
            let mut actions = sup.handle(now, Event::CodeChanged { pool, what });
            let renews = |action: &Action| matches!(action, Action::Renew { .. });
            while !actions.iter().any(renews) {
                let words = sup.view(now).swap_remove(0).reason;
                assert!(words.contains("x has changed, as after each"), "{words}");
                now = sup.next_deadline().unwrap();
                actions = sup.handle(now, Event::Tick);
            }
            waits.push(now.since(changed_at).as_secs());
        }
        waits
    }

    #[test]
    fn a_pool_that_changes_its_own_files_is_restarted_ever_more_seldom() {
        assert_eq!(
            waits(Duration::from_millis(300), 16),
            [0, 0, 0, 0, 0, 0, 0, 0, 5, 10, 20, 40, 80, 160, 320, 600]
        );
        // who saves a file now and then gets a restart each time
        assert_eq!(waits(SOON, 14), [0; 14]);
    }
}
