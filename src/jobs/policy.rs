//! What the operator says of a function's jobs: how often one may be lost or fail, and whether any is given out.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::conn::ConnId;
use super::server::JobServer;
use crate::time::Time;

/// The wait before a retry doubles up to this, unless the first one is longer.
pub const MAX_RETRY_DELAY: Duration = Duration::from_secs(60 * 60);

/// What becomes of a function's jobs that do not end well. The default is Gearman's own: one that is lost with its worker is given to
/// another, however often, and one that fails is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// A job that was lost with its worker this often is set aside; 0 is no limit.
    pub attempts: u32,
    /// A background job that fails is done again this often, and then set aside; with 0 it is over when it fails.
    pub retries: u32,
    /// How long the first of those waits; each further one twice as long as the one before.
    pub retry_delay: Duration,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            attempts: 0,
            retries: 0,
            retry_delay: Duration::from_secs(1),
        }
    }
}

impl Policy {
    /// How long the retry after so many failures, at least one, waits.
    pub(super) fn delay(&self, failures: u16) -> Duration {
        let doubled = self
            .retry_delay
            .saturating_mul(1 << (failures.saturating_sub(1)).min(30));
        doubled.min(MAX_RETRY_DELAY.max(self.retry_delay))
    }
}

impl JobServer {
    /// What holds for functions of these names from now on; all others have the default.
    pub fn govern<'a>(&mut self, policies: impl Iterator<Item = (&'a str, Policy)>) {
        let mut named: BTreeMap<Box<[u8]>, Policy> = BTreeMap::new();
        for (name, policy) in policies {
            // the first pool that serves a function speaks for it
            named.entry(name.as_bytes().into()).or_insert(policy);
        }
        self.functions.govern(named);
    }

    /// How often a job of this function may be lost, 0 for no limit.
    pub(super) fn attempts(&self, function: u32) -> u32 {
        match self.options.job_retries {
            0 => self.functions[function].policy.attempts,
            retries => retries,
        }
    }

    /// How long jobs may take on this connection, from the next one on. Where the worker has a limit of its own, the shorter one holds.
    pub fn limit(&mut self, conn: ConnId, limit: Option<Duration>) {
        if let Some(key) = self.conns.key(conn) {
            self.conns[key].limit = limit;
        }
    }

    /// Gives nobody a job of this function until it is resumed; one that is running goes on, and new ones are accepted. Returns whether
    /// that is new. It holds for a function that nobody has named yet, and for one that is dropped and comes back.
    pub fn pause(&mut self, function: &[u8]) -> bool {
        self.functions.pause(function, true)
    }

    /// Gives out the jobs of a function again. Returns whether it was held.
    pub fn resume(&mut self, now: Time, function: &[u8]) -> bool {
        let was_held = self.functions.pause(function, false);
        if let Some(key) = self.functions.find(function) {
            self.wake(now, key);
        }
        was_held
    }

    /// The functions that are held, by name.
    pub fn paused(&self) -> impl Iterator<Item = &[u8]> {
        self.functions.paused().iter().map(|name| &**name)
    }

    /// Whether somebody has named this function, so that it is listed.
    pub fn knows(&self, function: &[u8]) -> bool {
        self.functions.find(function).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_to_an_hour() {
        let policy = Policy::default();
        let seconds: Vec<u64> = [1, 2, 3, 12, 13, u16::MAX]
            .into_iter()
            .map(|failures| policy.delay(failures).as_secs())
            .collect();
        assert_eq!(seconds, [1, 2, 4, 2048, 3600, 3600]);
        let slow = Policy {
            retry_delay: 2 * MAX_RETRY_DELAY,
            ..policy
        };
        assert_eq!(slow.delay(3), 2 * MAX_RETRY_DELAY);
        let at_once = Policy {
            retry_delay: Duration::ZERO,
            ..policy
        };
        assert_eq!(at_once.delay(9), Duration::ZERO);
    }
}
