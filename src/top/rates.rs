//! How many jobs end a second, from what two snapshots count.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::status::Status;

/// Two snapshots have to lie so far apart.
const SPAN: Duration = Duration::from_millis(900);

/// What an earlier snapshot counted.
#[derive(Debug, Default)]
pub(super) struct Rates {
    at: Duration,
    completed: BTreeMap<String, u64>,
    last: BTreeMap<String, f64>,
}

impl Rates {
    /// The rate of each function now, as far as it is known.
    pub(super) fn of(&mut self, status: &Status) -> BTreeMap<String, f64> {
        let at = status.server.up;
        let is_first = self.completed.is_empty();
        // Another daemon counts from nothing.
        let began_anew = at < self.at;
        let span = at.saturating_sub(self.at);
        if is_first || began_anew || span >= SPAN {
            let counted = status.functions.iter();
            let completed: BTreeMap<String, u64> =
                counted.map(|it| (it.name.clone(), it.completed)).collect();
            self.last = BTreeMap::new();
            if !is_first && !began_anew {
                let rate = |(name, now): (&String, &u64)| {
                    let before = self.completed.get(name)?;
                    let ended = now.checked_sub(*before)?;
                    Some((name.clone(), ended as f64 / span.as_secs_f64()))
                };
                self.last = completed.iter().filter_map(rate).collect();
            }
            self.completed = completed;
            self.at = at;
        }
        self.last.clone()
    }
}
