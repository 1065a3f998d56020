//! The load guard: whether the machine bears one more process.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::event::Pressure;

/// Above this, per cent of the last ten seconds in which something waited for a processor, pools do not grow.
const CPU_LIMIT: f64 = 60.0;

/// The same for memory, where idle processes are stopped as well.
const MEMORY_LIMIT: f64 = 20.0;

/// The load average per core that stands for the limit of the processor where the kernel has no PSI.
const LOAD_LIMIT: f64 = 4.0;

/// What is left to the rest of the machine: a tenth of its memory, at most so much.
const RESERVE: u64 = 1 << 30;

/// What keeps a pool from growing.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Held {
    Cpu {
        percent: f64,
    },
    Load {
        per_core: f64,
    },
    MemoryPressure {
        percent: f64,
    },
    Memory {
        available: u64,
        each: u64,
        reserve: u64,
    },
}

/// How many more processes of `each` bytes may be started while `starting` are on the way, and what holds the pool when none may.
/// `None` is no limit.
pub(super) fn room(pressure: &Pressure, each: Option<u64>, starting: u32) -> Option<(u32, Held)> {
    let over = |value: Option<f64>, limit: f64| value.filter(|&value| value > limit);
    if let Some(percent) = over(pressure.memory, MEMORY_LIMIT) {
        return Some((0, Held::MemoryPressure { percent }));
    }
    if let Some(percent) = over(pressure.cpu, CPU_LIMIT) {
        return Some((0, Held::Cpu { percent }));
    }
    if pressure.cpu.is_none()
        && let Some(per_core) = over(pressure.load_per_core, LOAD_LIMIT)
    {
        return Some((0, Held::Load { per_core }));
    }
    let (available, each) = (pressure.available?, each.filter(|&each| each > 0)?);
    let reserve = pressure
        .total
        .map_or(RESERVE, |total| total / 10)
        .min(RESERVE);
    let fit = available.saturating_sub(reserve) / each;
    let more = u32::try_from(fit)
        .unwrap_or(u32::MAX)
        .saturating_sub(starting);
    Some((
        more,
        Held::Memory {
            available,
            each,
            reserve,
        },
    ))
}

/// Whether what is idle is to go at once.
pub(super) fn is_short_of_memory(pressure: &Pressure) -> bool {
    pressure
        .memory
        .is_some_and(|percent| percent > MEMORY_LIMIT)
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Held::Cpu { percent } => write!(
                f,
                "held: something waited for a processor in {percent:.0} % of the last 10 s, limit {CPU_LIMIT} %"
            ),
            Held::Load { per_core } => {
                write!(f, "held: load {per_core:.1} per core, limit {LOAD_LIMIT}")
            }
            Held::MemoryPressure { percent } => write!(
                f,
                "held: something waited for memory in {percent:.0} % of the last 10 s, limit {MEMORY_LIMIT} %"
            ),
            Held::Memory {
                available,
                each,
                reserve,
            } => write!(
                f,
                "held: memory {} available, a process takes {}, reserve {}",
                Bytes(available),
                Bytes(each),
                Bytes(reserve)
            ),
        }
    }
}

/// "1.2 GiB", "400 MiB"
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const GIB: f64 = (1_u64 << 30) as f64;
        const MIB: f64 = (1_u64 << 20) as f64;
        let bytes = self.0 as f64;
        if bytes < GIB {
            return write!(f, "{:.0} MiB", bytes / MIB);
        }
        let text = format!("{:.1}", bytes / GIB);
        write!(f, "{} GiB", text.trim_end_matches(".0"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;
    const MIB: u64 = 1 << 20;

    #[test]
    fn what_holds_a_pool() {
        let calm = Pressure {
            cpu: Some(59.0),
            memory: Some(19.0),
            load_per_core: Some(50.0),
            available: Some(8 * GIB),
            total: Some(64 * GIB),
        };
        let cases = [
            (
                Pressure {
                    cpu: Some(73.4),
                    ..calm
                },
                0,
                "held: something waited for a processor in 73 % of the last 10 s, limit 60 %",
            ),
            (
                Pressure { cpu: None, ..calm },
                0,
                "held: load 50.0 per core, limit 4",
            ),
            (
                Pressure {
                    memory: Some(21.0),
                    ..calm
                },
                0,
                "held: something waited for memory in 21 % of the last 10 s, limit 20 %",
            ),
            (
                Pressure {
                    available: Some(1229 * MIB),
                    ..calm
                },
                0,
                "held: memory 1.2 GiB available, a process takes 400 MiB, reserve 1 GiB",
            ),
            (
                calm,
                16,
                "held: memory 8 GiB available, a process takes 400 MiB, reserve 1 GiB",
            ),
        ];
        for (pressure, more, text) in cases {
            let (n, held) = room(&pressure, Some(400 * MIB), 1).unwrap();
            assert_eq!((n, held.to_string().as_str()), (more, text));
        }
        // nothing is known
        assert_eq!(room(&Pressure::default(), Some(MIB), 0), None);
        assert_eq!(room(&calm, None, 0), None);
    }
}
