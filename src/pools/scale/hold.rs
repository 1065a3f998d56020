//! How long a pool keeps what it has: the peak of the need over a window, and the length of that window, learned from the gaps
//! between the times that it was needed.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Time;

/// The highest of the numbers that were in force in a window.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Peaks {
    /// The needs of the window that no later need has reached, falling: each until when it held, and the number. The last one holds
    /// still.
    falling: VecDeque<(Time, u32)>,
}

impl Peaks {
    /// From now on `need` is in force.
    pub(super) fn push(&mut self, now: Time, need: u32) {
        if let Some((until, _)) = self.falling.back_mut() {
            *until = now;
        }
        while self.falling.back().is_some_and(|&(_, n)| n <= need) {
            self.falling.pop_back();
        }
        self.falling.push_back((now, need));
    }

    /// The highest of the last `hold`.
    pub(super) fn highest(&mut self, now: Time, hold: Duration) -> u32 {
        while self.falling.len() > 1
            && self
                .falling
                .front()
                .is_some_and(|&(until, _)| until + hold <= now)
        {
            self.falling.pop_front();
        }
        self.falling.front().map_or(0, |&(_, n)| n)
    }

    /// When the highest falls out of the window, if nothing happens until then.
    pub(super) fn fall_at(&self, hold: Duration) -> Option<Time> {
        match self.falling.len() {
            0 | 1 => None,
            _ => self.falling.front().map(|&(until, _)| until + hold),
        }
    }
}

/// The holds that are tried, in seconds.
const GRID: [f64; 11] = [
    10.0, 15.0, 22.0, 33.0, 50.0, 75.0, 110.0, 170.0, 250.0, 380.0, 600.0,
];

/// So many gaps have to be known before anything is learned from them, and so many are remembered.
const ENOUGH: usize = 16;
const REMEMBERED: usize = 128;

/// A shorter gap is noise: the low-passed need that goes up and down around a number.
const SHORTEST: Duration = Duration::from_secs(5);

/// The hold that the pool's own rhythm recommends.
///
/// When the need falls below a number and later reaches it again, the time between is exactly how long a process kept for it would
/// have idled. A hold costs the idling that it allows, and one start for each gap that is longer.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Rhythm {
    level: u32,
    fell: BTreeMap<u32, Time>,
    gaps: VecDeque<f64>,
    best: Option<Duration>,
}

impl Rhythm {
    /// The need is `level` now; a start is worth `start_cost` seconds of idling.
    pub(super) fn follow(&mut self, now: Time, level: u32, start_cost: f64) {
        for left in level + 1..=self.level {
            self.fell.insert(left, now);
        }
        let mut is_new = false;
        for reached in self.level + 1..=level {
            if let Some(fell) = self.fell.remove(&reached)
                && now.since(fell) >= SHORTEST
            {
                if self.gaps.len() == REMEMBERED {
                    self.gaps.pop_front();
                }
                self.gaps.push_back(now.since(fell).as_secs_f64());
                is_new = true;
            }
        }
        self.level = level;
        if is_new && self.gaps.len() >= ENOUGH {
            self.learn(start_cost);
        }
    }

    /// The hold that was learned, once there was enough to learn from.
    pub(super) const fn hold(&self) -> Option<Duration> {
        self.best
    }

    /// The shortest hold within a tenth of the cheapest.
    fn learn(&mut self, start_cost: f64) {
        let costs = GRID.map(|hold| {
            let idled = |&gap: &f64| if gap > hold { hold + start_cost } else { gap };
            self.gaps.iter().map(idled).sum::<f64>()
        });
        let cheapest = costs.iter().copied().fold(f64::INFINITY, f64::min);
        self.best = GRID
            .iter()
            .zip(costs)
            .find(|&(_, cost)| cost <= 1.1 * cheapest)
            .map(|(&hold, _)| Duration::from_secs_f64(hold));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_holds_from_when_it_was_last_needed() {
        let mut peaks = Peaks::default();
        let hold = Duration::from_secs(30);
        let at = Time::from_millis;
        let mut peak = |millis, need| {
            peaks.push(at(millis), need);
            (peaks.highest(at(millis), hold), peaks.fall_at(hold))
        };
        assert_eq!(peak(0, 5), (5, None));
        // five were needed until ten seconds, not only at zero
        assert_eq!(peak(10_000, 2), (5, Some(at(40_000))));
        assert_eq!(peak(20_000, 3), (5, Some(at(40_000))));
        assert_eq!(peak(39_999, 0), (5, Some(at(40_000))));
        assert_eq!(peak(40_000, 0).0, 3);
        assert_eq!(peak(69_999, 0), (0, None));
        peaks.push(at(69_999), 1);
        assert_eq!(peaks.highest(at(69_999), Duration::ZERO), 1);
        peaks.push(at(69_999), 0);
        assert_eq!(peaks.highest(at(69_999), Duration::ZERO), 0);
    }

    #[test]
    fn a_rhythm_is_held_through_and_a_long_pause_is_not() {
        let learned = |pause: u64| {
            let mut rhythm = Rhythm::default();
            let mut now = Time::ZERO;
            for _ in 0..20 {
                rhythm.follow(now, 2, 60.0);
                now = now + Duration::from_secs(10);
                rhythm.follow(now, 0, 60.0);
                now = now + Duration::from_secs(pause);
            }
            rhythm.hold()
        };
        assert_eq!(learned(45), Some(Duration::from_secs(50)));
        // a start is cheaper than so much idling
        assert_eq!(learned(1000), Some(Duration::from_secs(10)));
        assert_eq!(learned(2), None);
    }
}
