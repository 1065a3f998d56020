//! Lines of the log that peers cause, at a pace that fills no disk: of each kind a few a minute, and then how many were left out.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// So many lines of a kind a minute.
const LINES: u32 = 10;

const MINUTE: u64 = 60;

/// How many lines of one kind were written, and left out, in a minute.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Which minute, by the clock; if that is turned back, a few lines more or less are said.
    minute: AtomicU64,
    lines: AtomicU32,
}

/// Whether a line is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It is, after so many that were not.
    Say {
        /// How many of an earlier minute.
        omitted: u32,
    },
    /// It is, and it is the last one of this minute.
    SayLast,
    /// It is not.
    Omit,
}

impl Pace {
    pub(super) const fn new() -> Pace {
        Pace {
            minute: AtomicU64::new(0),
            lines: AtomicU32::new(0),
        }
    }

    /// A line of this kind has come up, now.
    pub(super) fn turn(&self) -> Turn {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        self.turn_at(now.unwrap_or_default())
    }

    fn turn_at(&self, now: Duration) -> Turn {
        let minute = now.as_secs() / MINUTE;
        let mut omitted = 0;
        if self.minute.swap(minute, Ordering::Relaxed) != minute {
            omitted = self.lines.swap(0, Ordering::Relaxed).saturating_sub(LINES);
        }
        match self.lines.fetch_add(1, Ordering::Relaxed) + 1 {
            LINES => Turn::SayLast,
            line if line < LINES => Turn::Say { omitted },
            _ => Turn::Omit,
        }
    }
}

/// Writes a line that peers cause, at this place's own pace: as `tracing`'s macros, with the level in front.
macro_rules! said {
    ($level:ident, $($rest:tt)+) => {{
        static PACE: $crate::daemon::pace::Pace = $crate::daemon::pace::Pace::new();
        match PACE.turn() {
            $crate::daemon::pace::Turn::Say { omitted: 0 } => tracing::$level!($($rest)+),
            $crate::daemon::pace::Turn::Say { omitted } => {
                tracing::$level!("{omitted} lines like the following were left out");
                tracing::$level!($($rest)+);
            }
            $crate::daemon::pace::Turn::SayLast => {
                tracing::$level!($($rest)+);
                tracing::$level!("more lines like this one are left out until the minute ends");
            }
            $crate::daemon::pace::Turn::Omit => {}
        }
    }};
}
pub(super) use said;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_lines_a_minute_and_the_number_of_the_others() {
        let pace = Pace::new();
        let at = Duration::from_secs;
        let say = Turn::Say { omitted: 0 };
        let first: Vec<_> = (0..25)
            .map(|second| pace.turn_at(at(600 + second)))
            .collect();
        assert!(first[..9].iter().all(|&turn| turn == say));
        assert_eq!(first[9], Turn::SayLast);
        assert!(first[10..].iter().all(|&turn| turn == Turn::Omit));
        assert_eq!(pace.turn_at(at(660)), Turn::Say { omitted: 15 });
        assert_eq!(pace.turn_at(at(661)), say);
    }
}
