//! How long a pool keeps what it has: the peak of the need over a window, and the length of that window, learned from the gaps
//! between the times that it was needed.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Time;

/// How long a peak is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Hold {
    /// At least, and no longer when nothing at all is needed any more.
    pub(super) least: Duration,
    /// At most, while the next lower need comes back within `least`. A process whose need comes and goes would otherwise be stopped
    /// and started again and again: this saves a quarter of the starts for a twentieth more of processes.
    pub(super) most: Duration,
}

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

    /// The highest that is kept, and how long ago it was needed.
    pub(super) fn highest(&mut self, now: Time, hold: Hold) -> (u32, Duration) {
        while self.fall_at(hold).is_some_and(|at| at <= now) {
            self.falling.pop_front();
        }
        match self.falling.front() {
            None => (0, Duration::ZERO),
            Some(&(_, n)) if self.falling.len() == 1 => (n, Duration::ZERO),
            Some(&(until, n)) => (n, now.since(until)),
        }
    }

    /// When the highest falls, if nothing happens until then.
    pub(super) fn fall_at(&self, hold: Hold) -> Option<Time> {
        let (&(until, _), &(next_until, next)) = (self.falling.front()?, self.falling.get(1)?);
        let holds_still = self.falling.len() == 2;
        Some(match (holds_still, next) {
            (true, 0) => until + hold.least,
            (true, _) => until + hold.most,
            (false, _) => (next_until + hold.least).min(until + hold.most),
        })
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

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_peak_holds_from_when_it_was_last_needed() {
        let mut peaks = Peaks::default();
        let hold = Hold {
            least: secs(30),
            most: secs(30),
        };
        let at = Time::from_millis;
        let mut peak = |millis, need| {
            peaks.push(at(millis), need);
            (peaks.highest(at(millis), hold).0, peaks.fall_at(hold))
        };
        assert_eq!(peak(0, 5), (5, None));
        // five were needed until ten seconds, not only at zero
        assert_eq!(peak(10_000, 2), (5, Some(at(40_000))));
        assert_eq!(peak(20_000, 3), (5, Some(at(40_000))));
        assert_eq!(peak(39_999, 0), (5, Some(at(40_000))));
        assert_eq!(peak(40_000, 0).0, 3);
        assert_eq!(peak(69_999, 0), (0, None));
        let none = Hold::default();
        peaks.push(at(69_999), 1);
        assert_eq!(peaks.highest(at(69_999), none).0, 1);
        peaks.push(at(69_999), 0);
        assert_eq!(peaks.highest(at(69_999), none).0, 0);
    }

    #[test]
    fn a_peak_is_kept_while_the_next_lower_need_comes_back() {
        let hold = Hold {
            least: secs(30),
            most: secs(90),
        };
        let at = |seconds: u64| Time::from_millis(seconds * 1000);
        let mut peaks = Peaks::default();
        peaks.push(at(0), 5);
        for second in (10..80).step_by(20) {
            peaks.push(at(second), 4);
            peaks.push(at(second + 10), 3);
            assert_eq!(peaks.highest(at(second + 10), hold).0, 5, "{second}");
        }
        // but not for ever
        assert_eq!(peaks.fall_at(hold), Some(at(100)));
        peaks.push(at(100), 4);
        assert_eq!(peaks.highest(at(100), hold), (4, Duration::ZERO));
        peaks.push(at(100), 3);
        assert_eq!(peaks.highest(at(101), hold), (4, secs(1)));
        // nothing comes back: the last one goes after the hold
        peaks.push(at(110), 1);
        peaks.push(at(120), 0);
        assert_eq!(peaks.highest(at(139), hold).0, 4);
        assert_eq!(peaks.highest(at(140), hold).0, 3);
        assert_eq!(peaks.highest(at(149), hold).0, 3);
        assert_eq!(peaks.highest(at(150), hold).0, 0);
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
