//! How many processes a pool has: `min`, `max`, and `count`, which is both.

use super::read::Reader;
use super::tree::Place;

/// `min`, `max` and `count` as far as they were said, and where.
#[derive(Clone, Copy, Default)]
pub(super) struct Bounds {
    pub(super) min: Option<(u32, Place)>,
    pub(super) max: Option<(u32, Place)>,
    pub(super) count: Option<(u32, Place)>,
}

impl Bounds {
    /// What these say, else what those do, as a pool takes them.
    pub(super) fn or(self, other: Bounds) -> Bounds {
        Bounds {
            min: self.count.or(self.min).or(other.count).or(other.min),
            max: self.count.or(self.max).or(other.count).or(other.max),
            count: None,
        }
    }
}

/// How many processes, at least and at most. What the pool says wins over what the defaults say, whichever of the three keys says it.
pub(super) fn check(reader: &mut Reader<'_>, own: Bounds, defaults: Bounds) -> (u32, u32) {
    if let (Some((_, place)), true) = (own.count, own.min.or(own.max).is_some()) {
        let message = "\"count\" is \"min\" and \"max\" at once: write either it or them";
        reader.problem(place, message);
    }
    let own_min = own.count.or(own.min);
    let own_max = own.count.or(own.max);
    let min = own_min.or(defaults.count).or(defaults.min);
    let max = own_max.or(defaults.count).or(defaults.max);
    let from = |own: Option<_>| {
        if own.is_some() {
            ""
        } else {
            " of \"defaults\""
        }
    };
    match (min, max) {
        (Some((min, place)), Some((max, max_place))) if min > max => {
            // Where neither is said here, it has been reported of the defaults.
            if own_min.or(own_max).is_none() {
                return (max, max);
            }
            // Where the pool itself says one of them, it is there that something has to change.
            let place = if own_min.is_some() { place } else { max_place };
            let message = format!(
                "\"min\"{} is {min}, more than \"max\"{}, which is {max}",
                from(own_min),
                from(own_max)
            );
            reader.problem(place, message);
            (max, max)
        }
        (Some((min, _)), Some((max, _))) => (min, max),
        (Some((min, _)), None) => (min, min.max(1)),
        (None, Some((max, _))) => (1, max),
        (None, None) => (1, 1),
    }
}
