//! When a pool may start a process after one has died young.
//!
//! A process that lived a healthy life (see `process.rs`) is replaced at once, whatever ended it. One that died young makes its pool
//! wait, 0.5 s at first and doubling to 30 s, measured from the exit. [`FAILING_AFTER`] such deaths with no healthy process between
//! them make the pool *failing*: it starts one probe at a time, until a process proves healthy.
//!
//! The wait is the pool's and not the slot's: what kills a process young (a broken command, a missing database) kills its
//! neighbours too. Deaths in one volley lengthen the wait once.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::jitter::Jitter;
use crate::time::Time;

/// The first wait.
pub(super) const FIRST: Duration = Duration::from_millis(500);
/// The longest.
pub(super) const LONGEST: Duration = Duration::from_secs(30);
/// So many young deaths in a row make a pool failing.
pub(super) const FAILING_AFTER: u32 = 3;

/// How a young process died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Death {
    /// Before it had registered, or it could not be started at all.
    Unregistered,
    /// Within a second of it.
    Registered,
}

/// A pool's record of young deaths.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Restarts {
    in_a_row: u32,
    /// How many of those had registered.
    registered: u32,
    /// How often the wait has been lengthened.
    level: u32,
    until: Time,
}

impl Restarts {
    /// A process died young; true if that makes the pool failing.
    pub(super) fn died_young(&mut self, death: Death, now: Time, jitter: &mut Jitter) -> bool {
        self.in_a_row += 1;
        self.registered += u32::from(death == Death::Registered);
        if self.level == 0 || self.until <= now {
            self.level += 1;
        }
        let doubled = FIRST.saturating_mul(1 << (self.level - 1).min(10));
        // only ever shorter, so that the documented longest wait is the longest
        let wait = jitter.stretch(doubled.min(LONGEST), 0.9, 1.0);
        self.until = self.until.max(now + wait);
        self.in_a_row == FAILING_AFTER
    }

    /// A process proved healthy, or an operator wants a fresh try; true if the pool was failing.
    pub(super) fn forgive(&mut self) -> bool {
        let failing = self.is_failing();
        *self = Restarts::default();
        failing
    }

    /// Whether processes keep dying.
    pub(super) const fn is_failing(&self) -> bool {
        self.in_a_row >= FAILING_AFTER
    }

    /// Whether the last thing known of new processes is that they die.
    pub(super) const fn is_in_doubt(&self) -> bool {
        self.in_a_row > 0
    }

    /// Until when no process is started, if that is still ahead.
    pub(super) fn waits_until(&self, now: Time) -> Option<Time> {
        (self.level > 0 && self.until > now).then_some(self.until)
    }

    /// "failing: 5 starts died before registering, next try in 8 s"
    pub(super) fn reason(&self, now: Time) -> String {
        let died = match self.registered {
            0 => format!("{} starts died before registering", self.in_a_row),
            _ => format!(
                "{} processes in a row died within a second of registering or before",
                self.in_a_row
            ),
        };
        match self.waits_until(now) {
            Some(at) => format!(
                "failing: {died}, next try in {} s",
                at.since(now).as_secs_f64().ceil()
            ),
            None => format!("failing: {died}, trying again now"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    #[test]
    fn the_wait_doubles_to_thirty_seconds_with_jitter() {
        let mut restarts = Restarts::default();
        let mut jitter = Jitter::new(1);
        let mut now = at(0);
        for full in [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0] {
            restarts.died_young(Death::Unregistered, now, &mut jitter);
            let until = restarts.waits_until(now).unwrap();
            let wait = until.since(now).as_secs_f64();
            assert!((full * 0.9..=full).contains(&wait), "{wait} for {full}");
            now = until;
            assert_eq!(restarts.waits_until(now), None);
        }
    }

    #[test]
    fn a_volley_lengthens_the_wait_once() {
        let mut restarts = Restarts::default();
        let mut jitter = Jitter::new(1);
        let failing: Vec<bool> = (0..16)
            .map(|i| restarts.died_young(Death::Unregistered, at(i), &mut jitter))
            .collect();
        assert_eq!(failing.iter().filter(|&&became| became).count(), 1);
        assert!(restarts.waits_until(at(16)).unwrap() <= at(516));
        assert_eq!(
            restarts.reason(at(16)),
            "failing: 16 starts died before registering, next try in 1 s"
        );
    }

    #[test]
    fn a_healthy_process_wipes_the_record() {
        let mut restarts = Restarts::default();
        let mut jitter = Jitter::new(1);
        assert!(!restarts.forgive());
        for _ in 0..FAILING_AFTER {
            restarts.died_young(Death::Registered, at(0), &mut jitter);
        }
        assert!(restarts.is_failing());
        assert!(restarts.forgive());
        assert_eq!(restarts.waits_until(at(0)), None);
    }
}
