//! The clock that [`Instant`] reads, as a number: another program in this process's place reads the same.

use std::io;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// The number of this moment.
///
/// # Errors
/// None that Linux has.
pub fn now() -> io::Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_MONOTONIC)?.into())
}

/// The number of a moment that has passed.
///
/// # Errors
/// As [`now`].
pub fn number(instant: Instant) -> io::Result<Duration> {
    Ok(now()?.saturating_sub(instant.elapsed()))
}

/// The moment with this number; now, if it lies before the machine's start.
///
/// # Errors
/// As [`now`].
pub fn instant(number: Duration) -> io::Result<Instant> {
    let now = Instant::now();
    Ok(now
        .checked_sub(self::now()?.saturating_sub(number))
        .unwrap_or(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_has_a_number() {
        let before = Instant::now();
        let moment = instant(number(before).unwrap()).unwrap();
        let apart = moment.max(before) - moment.min(before);
        assert!(apart < Duration::from_secs(10), "{apart:?}");
        assert!(number(before).unwrap() <= now().unwrap());
    }
}
