//! How many processes a pool should have: what it wants, what the machine bears, and its share where others want some too.

use super::{Crew, Decision, Share, Turn, Why};
use crate::pools::guard;
use crate::pools::scale::{self, Demand, Reason, Target, Wishes};
use crate::pools::share::Claim;
use crate::time::Time;

/// So many changes of a pool's target are remembered.
const DECISIONS: usize = 20;

impl Crew {
    pub(super) fn wishes(&self) -> Wishes {
        let scale = &self.pool.scale;
        Wishes {
            max: self.bounds().1,
            target_wait: scale.target_wait,
            service_level: f64::from(scale.service_level) / 100.0,
            down_after: scale.down_after,
        }
    }

    pub(super) fn decide(&mut self, turn: &Turn<'_>) -> Target {
        let now = turn.now;
        let (min, max) = self.bounds();
        let wishes = self.wishes();
        let (peak, hold) = self.past.peak(now);
        let demand = Demand {
            busy: self.counts.busy,
            queued: self.queued,
            oldest_wait: self.oldest_wait,
            service: self.past.service(),
            arrivals: self.past.arrivals_now(),
            startup: self.past.startup(),
            reserve: self.past.reserve(),
            serving: self.counts.serving,
            ready: self.counts.registered,
            since_late: self.late_at.map(|at| now.since(at)),
            min,
            max,
            target_wait: wishes.target_wait,
            service_level: wishes.service_level,
            peak,
            hold,
        };
        self.past.needs(scale::need(&demand).n.min(max));
        let want = match self.pool.scale.off && self.by_hand.bounds.is_none() {
            true => Target {
                n: min,
                reason: Reason::Off,
            },
            false => scale::want(&demand),
        };
        self.want = want.n;
        if matches!(want.reason, Reason::Waited { .. }) && want.n > self.counts.serving {
            self.late_at = Some(now);
        }
        let short_of_memory = guard::is_short_of_memory(&turn.pressure);
        let mut target = match want.reason == Reason::Off || short_of_memory {
            true => want,
            false => scale::target(&demand, want),
        };
        let serving = self.counts.serving;
        if self.restarts.is_failing() {
            // not scaled up: what is there, and one probe where there is nothing
            target.n = target.n.min(min.max(serving).max(1));
        }
        if self.by_hand.bounds.is_none()
            && target.n > serving.max(min)
            && let Some((more, held)) =
                guard::room(&turn.pressure, self.memory, self.counts.starting)
            && serving.saturating_add(more) < target.n
        {
            target.n = min.max(serving.saturating_add(more));
            self.held = Some(held);
        }
        target
    }

    /// How many processes it could have, 0 while it can have none that works.
    pub(in crate::pools) fn weight(&self) -> u32 {
        let starts_none = self.by_hand.stopped || self.fitness.is_untried();
        match self.restarts.is_failing() || starts_none {
            true => self.counts.registered,
            false => self.bounds().1,
        }
    }

    /// What it asks of a machine that has not enough for all.
    pub(in crate::pools) fn claim(&self) -> Claim {
        Claim {
            min: match self.fitness.is_untried() {
                true => 0,
                false => self.bounds().0,
            },
            // with the smoothed need, or what one has no job for in this moment would go to and fro between the pools
            want: self.want.max(self.past.level()).min(self.target.n),
            weight: self.pool.priority,
        }
    }

    /// Its share, where there is not enough for all.
    pub(in crate::pools) fn allow(&mut self, share: Option<Share>) {
        self.share = share;
    }

    /// Drains up to `n` processes beyond `share`, for pools that are short: what is idle, or with `busy` also what has a job, at the
    /// job's end. `min` stays.
    pub(in crate::pools) fn make_way(
        &mut self,
        n: u32,
        share: u32,
        busy: bool,
        turn: &mut Turn<'_>,
    ) -> u32 {
        let keep = share.max(self.bounds().0);
        let n = n.min(self.counts.serving.saturating_sub(keep));
        self.drain_first(n, Why::ScaleDown, turn, |m| {
            m.idle_since().is_some() || (busy && m.busy())
        })
    }

    /// Notes a change of the target and why.
    pub(super) fn note(&mut self, from: u32, now: Time) {
        if from == self.target.n {
            return;
        }
        if self.decisions.len() == DECISIONS {
            self.decisions.pop_front();
        }
        let reason = self.reason(None, now);
        self.decisions.push_back(Decision {
            at: now,
            from,
            to: self.target.n,
            reason,
        });
    }
}
