//! Looking at the job server for the supervisor.

use jiff::ZonedDateTime;

use super::*;

impl Manager {
    pub(super) fn sample_soon(&mut self) {
        if self.parts.file.is_some() {
            let earliest = (self.sampled + SAMPLE_LEAST).max(self.parts.hub.now());
            self.sample_at = Some(self.sample_at.map_or(earliest, |at| at.min(earliest)));
        }
    }

    /// Looks at the job server before an event at which the supervisor chooses processes to drain: with an old sample it would take
    /// a busy one for idle, and all else would wait for that one's job.
    pub(super) fn sample_first(&mut self) {
        let now = self.parts.hub.now();
        if now.since(self.sampled) >= SAMPLE_LEAST {
            self.sample(now);
        }
    }

    /// Tells the supervisor what time of day it is, where a pool has a schedule.
    pub(super) fn look_at_the_clock(&mut self) {
        let has_schedule = |pool: &Arc<Pool>| !pool.scale.schedule.is_empty();
        if self.pools().iter().any(has_schedule) {
            self.events.push_back(Event::Clock(ZonedDateTime::now()));
        }
    }

    /// Looks at the job server for the supervisor.
    pub(super) fn sample(&mut self, now: Time) {
        self.sampled = now;
        self.parts.hub.hear_demand();
        let pools = self.pools();
        let mut processes = Vec::with_capacity(self.crew.len());
        let functions = self.parts.hub.with(|server, now| {
            for (proc, member) in self.crew.iter() {
                let conns = member.conns.iter();
                let occupations = conns.filter_map(|&conn| server.occupation(conn));
                let load = demand::load_of(proc, occupations);
                processes.extend(load.map(|load| (member.pool.name.as_str(), load)));
            }
            let names = pools.iter().flat_map(|pool| &pool.functions);
            server.function_loads_of(now, names.map(String::as_str))
        });
        let mut loads = demand::loads(pools, &functions, processes, |pool| {
            self.supervisor.weight(&pool.name)
        });
        self.look_at_the_clock();
        self.gauge(now, &mut loads);
        self.weigh(now);
        self.say_status(now, &loads);
        let waits = loads.iter().any(|load| load.queued > 0);
        self.sample_at =
            (!loads.is_empty()).then(|| now + if waits { SAMPLE_BUSY } else { SAMPLE_IDLE });
        self.events.push_back(Event::Sampled(loads));
    }
}
