//! Time as a value.
//!
//! The pure modules never read a clock: the shell reads it and passes a [`Time`] in. A test or the simulation makes its own.

use std::ops::{Add, Sub};
use std::time::Duration;

/// A moment, as the time since the daemon started.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct Time(Duration);

impl Time {
    /// The daemon's start.
    pub const ZERO: Time = Time(Duration::ZERO);

    /// The moment `since_start` after the daemon's start.
    pub const fn new(since_start: Duration) -> Time {
        Time(since_start)
    }

    /// The moment `millis` milliseconds after the daemon's start.
    pub const fn from_millis(millis: u64) -> Time {
        Time(Duration::from_millis(millis))
    }

    /// How long after the daemon's start this is.
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// How long ago `earlier` was; zero when it lies ahead.
    pub const fn since(self, earlier: Time) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Time {
    type Output = Time;

    fn add(self, later: Duration) -> Time {
        Time(self.0.saturating_add(later))
    }
}

impl Sub<Duration> for Time {
    type Output = Time;

    fn sub(self, earlier: Duration) -> Time {
        Time(self.0.saturating_sub(earlier))
    }
}
