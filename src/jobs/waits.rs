//! How long jobs waited until a worker got them: a histogram with two buckets an octave, from 64 µs to 19 hours, over the last minute
//! or two.
//!
//! It is counted into at every assignment, so counting is a comparison, a shift and an increment. What was counted is forgotten by
//! swapping halves: the older one covers a whole minute, the younger one the time since.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Time;

/// How long a half counts.
const HALF: Duration = Duration::from_secs(60);

/// Two an octave, thirty octaves.
const BUCKETS: usize = 60;

/// The bucket of 64 µs, the shortest that is told from nothing: 2 × log₂ of it.
const FIRST: u32 = 12;

/// The waits of one function's jobs, from their submission to their assignment, over the last minute or two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WaitLoad {
    /// How many there were.
    pub jobs: u64,
    /// Half of them waited no longer than this; like the others, exact to a fifth.
    #[serde(with = "crate::time::seconds")]
    pub p50: Duration,
    /// 95 of 100.
    #[serde(with = "crate::time::seconds")]
    pub p95: Duration,
    /// 99 of 100.
    #[serde(with = "crate::time::seconds")]
    pub p99: Duration,
}

/// The histogram of a function. It has no memory of its own until the first job is assigned, for a name alone is cheap to make up.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Waits(Option<Box<Halves>>);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Halves {
    since: Time,
    #[serde(with = "buckets")]
    younger: [u32; BUCKETS],
    #[serde(with = "buckets")]
    older: [u32; BUCKETS],
}

/// serde knows arrays up to 32.
mod buckets {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use super::BUCKETS;

    pub(super) fn serialize<S: Serializer>(
        buckets: &[u32; BUCKETS],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        buckets.as_slice().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<[u32; BUCKETS], D::Error> {
        let buckets = Vec::deserialize(deserializer)?;
        let count = |buckets: Vec<u32>| D::Error::invalid_length(buckets.len(), &"60 buckets");
        buckets.try_into().map_err(count)
    }
}

impl Waits {
    /// A job that waited since `since` was assigned.
    pub(super) fn count(&mut self, now: Time, since: Time) {
        let halves = self.0.get_or_insert_with(|| {
            Box::new(Halves {
                since: now,
                younger: [0; BUCKETS],
                older: [0; BUCKETS],
            })
        });
        if now.since(halves.since) >= HALF {
            halves.turn(now);
        }
        if let Some(count) = halves.younger.get_mut(bucket(now.since(since))) {
            *count = count.saturating_add(1);
        }
    }

    pub(super) fn load(&self, now: Time) -> WaitLoad {
        let Some(halves) = &self.0 else {
            return WaitLoad::default();
        };
        let age = now.since(halves.since);
        let mut counts = [0_u64; BUCKETS];
        for (i, count) in counts.iter_mut().enumerate() {
            // what `count` would have forgotten by now
            *count = match age {
                age if age >= HALF * 2 => 0,
                age if age >= HALF => u64::from(halves.younger[i]),
                _ => u64::from(halves.younger[i]) + u64::from(halves.older[i]),
            };
        }
        let jobs = counts.iter().sum();
        let at = |share: f64| percentile(&counts, jobs, share);
        WaitLoad {
            jobs,
            p50: at(0.50),
            p95: at(0.95),
            p99: at(0.99),
        }
    }
}

impl Halves {
    #[cold]
    fn turn(&mut self, now: Time) {
        self.older = match now.since(self.since) >= HALF * 2 {
            true => [0; BUCKETS],
            false => self.younger,
        };
        self.younger = [0; BUCKETS];
        self.since = now;
    }
}

/// The octave and, as its last bit, the half of the octave.
fn bucket(wait: Duration) -> usize {
    let micros = wait.as_micros() as u64 | 64;
    let octave = micros.ilog2();
    let half = (micros >> (octave - 1)) as u32 & 1;
    ((2 * octave + half - FIRST) as usize).min(BUCKETS - 1)
}

/// The middle of the bucket that holds the job of this rank.
fn percentile(counts: &[u64; BUCKETS], jobs: u64, share: f64) -> Duration {
    let rank = (jobs as f64 * share).ceil().max(1.0) as u64;
    let mut before = 0;
    for (i, &count) in counts.iter().enumerate() {
        before += count;
        if before >= rank {
            let index = i as u32 + FIRST;
            let octave = 1_u64 << (index / 2);
            let (from, wide) = match index % 2 {
                0 => (octave, octave / 2),
                _ => (octave + octave / 2, octave / 2),
            };
            return match i {
                // a worker was waiting for it
                0 => Duration::ZERO,
                _ => Duration::from_micros(from + wide / 2),
            };
        }
    }
    Duration::ZERO
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    #[test]
    fn percentiles_are_right_to_a_fifth() {
        let mut waits = Waits::default();
        assert_eq!(waits.load(at(0)), WaitLoad::default());
        for millis in 1..=1000 {
            waits.count(at(10_000), at(10_000 - millis));
        }
        let load = waits.load(at(10_000));
        assert_eq!(load.jobs, 1000);
        for (found, right) in [(load.p50, 0.5), (load.p95, 0.95), (load.p99, 0.99)] {
            let ratio = found.as_secs_f64() / right;
            assert!((0.8..1.25).contains(&ratio), "{found:?} for {right}");
        }
    }

    #[test]
    fn the_ends_have_buckets() {
        let mut waits = Waits::default();
        waits.count(at(0), at(0));
        assert_eq!(waits.load(at(0)).p99, Duration::ZERO);
        waits.count(Time::new(Duration::from_secs(1 << 30)), at(0));
        assert!(waits.load(Time::new(Duration::from_secs(1 << 30))).p99 > HALF);
    }

    #[test]
    fn what_is_old_is_forgotten() {
        let mut waits = Waits::default();
        waits.count(at(0), at(0));
        waits.count(at(61_000), at(0));
        assert_eq!(waits.load(at(61_000)).jobs, 2);
        assert_eq!(waits.load(at(121_500)).jobs, 1);
        assert_eq!(waits.load(at(200_000)).jobs, 0);
        waits.count(at(300_000), at(299_000));
        assert_eq!(waits.load(at(300_000)).jobs, 1);
    }
}
