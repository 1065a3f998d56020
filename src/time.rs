//! Time as a value.
//!
//! The pure modules never read a clock: the shell reads it and passes a [`Time`] in. A test or the simulation makes its own.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A moment, as the nanoseconds since the daemon started: half the size of a [`Duration`], for each job has some. What is later than
/// the 584 years that fit is that late.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Time(u64);

impl Time {
    /// The daemon's start.
    pub const ZERO: Time = Time(0);

    /// The moment `since_start` after the daemon's start.
    pub const fn new(since_start: Duration) -> Time {
        Time(nanos(since_start))
    }

    /// The moment `millis` milliseconds after the daemon's start.
    pub const fn from_millis(millis: u64) -> Time {
        Time(nanos(Duration::from_millis(millis)))
    }

    /// How long after the daemon's start this is.
    pub const fn since_start(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    /// How long ago `earlier` was; zero when it lies ahead.
    pub const fn since(self, earlier: Time) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

const fn nanos(duration: Duration) -> u64 {
    let nanos = duration.as_nanos();
    if nanos > u64::MAX as u128 {
        u64::MAX
    } else {
        nanos as u64
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Time").field(&self.since_start()).finish()
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    fn add(self, later: Duration) -> Time {
        Time(self.0.saturating_add(nanos(later)))
    }
}

impl Sub<Duration> for Time {
    type Output = Time;

    fn sub(self, earlier: Duration) -> Time {
        Time(self.0.saturating_sub(nanos(earlier)))
    }
}

/// Durations in JSON: a number of seconds.
pub mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes seconds, to the millisecond.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(round(*duration))
    }

    /// Reads seconds.
    ///
    /// # Errors
    /// Those of the deserializer, and a number that is no duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        Duration::try_from_secs_f64(seconds).map_err(serde::de::Error::custom)
    }

    fn round(duration: Duration) -> f64 {
        (duration.as_secs_f64() * 1e3).round() / 1e3
    }

    /// The same for a duration that may be missing.
    pub mod option {
        use super::{Deserialize, Deserializer, Duration, Serializer, round};

        /// Writes seconds or null.
        ///
        /// # Errors
        /// Those of the serializer.
        pub fn serialize<S: Serializer>(
            duration: &Option<Duration>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match duration {
                Some(duration) => serializer.serialize_some(&round(*duration)),
                None => serializer.serialize_none(),
            }
        }

        /// Reads seconds or null.
        ///
        /// # Errors
        /// Those of the deserializer, and a number that is no duration.
        pub fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<Duration>, D::Error> {
            match Option::<f64>::deserialize(deserializer)? {
                Some(seconds) => Duration::try_from_secs_f64(seconds)
                    .map(Some)
                    .map_err(serde::de::Error::custom),
                None => Ok(None),
            }
        }
    }
}
