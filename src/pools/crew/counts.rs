//! The processes of a pool, counted.

use serde::{Deserialize, Serialize};

use super::{Crew, Why};

/// How many there are of each sort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::pools) struct Counts {
    /// All that have not ended.
    pub(in crate::pools) live: u32,
    /// Not leaving.
    pub(in crate::pools) serving: u32,
    /// Serving, not registered yet.
    pub(in crate::pools) starting: u32,
    /// Serving, to be replaced.
    pub(super) stale: u32,
    /// Serving, not stale, and good enough to take the place of a stale one.
    pub(super) ready: u32,
    /// Serving, not stale, not yet known to be healthy.
    pub(super) unproved: u32,
    /// Registered and serving.
    pub(super) registered: u32,
    /// Serving, with a job.
    pub(super) busy: u32,
    /// Being stopped because they did not register.
    pub(super) hung: u32,
    /// Stale and leaving.
    pub(super) replaced: u32,
}

impl Counts {
    /// One above `max` while processes are replaced; those that drain count.
    pub(super) fn replacing(self) -> u32 {
        u32::from(self.stale + self.replaced > 0)
    }
}

impl Crew {
    /// Counts the processes anew.
    pub(in crate::pools) fn count(&self) -> Counts {
        let mut counts = Counts::default();
        let in_doubt = self.restarts.is_in_doubt();
        for member in &self.members {
            counts.live += 1;
            if let Some(why) = member.leaving() {
                counts.hung += u32::from(why == Why::NotRegistered);
                counts.replaced += u32::from(member.stale.is_some());
                continue;
            }
            let registered = member.registered_at.is_some();
            counts.serving += 1;
            counts.starting += u32::from(!registered);
            counts.registered += u32::from(registered);
            counts.busy += u32::from(member.busy());
            if member.stale.is_some() {
                counts.stale += 1;
            } else {
                counts.ready += u32::from(registered && (member.proved || !in_doubt));
                counts.unproved += u32::from(!member.proved);
            }
        }
        counts
    }
}
