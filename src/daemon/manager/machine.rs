//! Looking at the machine for the supervisor: what keeps pools from growing.

use super::{Manager, SAMPLE_IDLE};
use crate::pools::{Event, PoolLoad, Pressure};
use crate::sys::pressure;
use crate::time::Time;

/// The memory of so many processes stands for that of a pool.
const MEASURED: usize = 4;

impl Manager {
    /// Looks at the machine, and at the memory of the pools that may grow.
    pub(super) fn gauge(&mut self, now: Time, loads: &mut [PoolLoad]) {
        let Some(gauge) = &self.parts.gauge else {
            return;
        };
        if now.since(self.gauged) < SAMPLE_IDLE && self.gauged != Time::ZERO {
            return;
        }
        self.gauged = now;
        let read = gauge.read();
        self.events.push_back(Event::Pressed(Pressure {
            cpu: read.cpu,
            memory: read.memory,
            load_per_core: read.load_per_core,
            available: read.available,
            total: read.total,
        }));
        for load in loads.iter_mut().filter(|load| load.queued > 0) {
            let pids = load.processes.iter().rev().take(MEASURED);
            let pids = pids.filter_map(|process| Some(self.crew.get(process.proc)?.pid));
            let sizes: Vec<u64> = pids.filter_map(pressure::resident).collect();
            load.memory = sizes.iter().sum::<u64>().checked_div(sizes.len() as u64);
        }
    }
}
