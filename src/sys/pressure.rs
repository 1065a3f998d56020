//! How the machine is: what waits for its processors and its memory, and how much memory there is to have.

use std::fs;
use std::path::{Path, PathBuf};

use super::memory::{kilobytes, limited_groups, number, page};
use super::process;

/// How the machine is; `None` for what the system does not tell.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// PSI, `some avg10` of the processors.
    pub cpu: Option<f64>,
    /// PSI, `some avg10` of memory.
    pub memory: Option<f64>,
    /// The load average of a minute per core, where there is no PSI.
    pub load_per_core: Option<f64>,
    /// Bytes that could be had without swapping, within the control group's limit.
    pub available: Option<u64>,
    /// Bytes in all, within that limit.
    pub total: Option<u64>,
}

/// Reads the machine's pressure, again and again.
#[derive(Debug)]
pub struct Gauge {
    /// The folder of the innermost control group with a limit on memory, where it can be read.
    group: Option<PathBuf>,
    cores: f64,
}

impl Gauge {
    /// Looks for where to read.
    pub fn new() -> Gauge {
        let group = limited_groups().next().map(|(folder, _)| folder);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Gauge {
            group,
            cores: cores as f64,
        }
    }

    /// How the machine is now.
    pub fn read(&self) -> Reading {
        let cpu = stalled("/proc/pressure/cpu");
        let load = match cpu {
            Some(_) => None,
            None => fs::read_to_string("/proc/loadavg")
                .ok()
                .and_then(|text| text.split(' ').next()?.parse::<f64>().ok()),
        };
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let mut available = kilobytes(&meminfo, "MemAvailable:");
        let mut total = kilobytes(&meminfo, "MemTotal:");
        if let Some((limit, used)) = self.group.as_deref().and_then(limits) {
            let left = limit.saturating_sub(used);
            available = Some(available.map_or(left, |it| it.min(left)));
            total = Some(total.map_or(limit, |it| it.min(limit)));
        }
        Reading {
            cpu,
            memory: stalled("/proc/pressure/memory"),
            load_per_core: load.map(|load| load / self.cores),
            available,
            total,
        }
    }
}

impl Default for Gauge {
    fn default() -> Gauge {
        Gauge::new()
    }
}

/// The resident memory of a process, in bytes, proc_pid_statm(5).
pub fn resident(pid: u32) -> Option<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * page())
}

/// The same with memory that it shares with others counted in part, proc_pid_smaps(5). Takes a millisecond for a large process.
pub fn proportional(pid: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    kilobytes(&rollup, "Pss:")
}

/// How many processes the kernel has killed for want of memory, the machine's or a control group's, since the machine's start.
pub fn oom_kills() -> u64 {
    let stat = process::read("/proc/vmstat").unwrap_or_default();
    let line = stat.lines().find_map(|line| line.strip_prefix("oom_kill "));
    line.and_then(|kills| kills.parse().ok()).unwrap_or(0)
}

/// A control group's limit, and what of it could not be had by dropping caches.
fn limits(group: &Path) -> Option<(u64, u64)> {
    let limit = number(&group.join("memory.max"))?;
    let used = number(&group.join("memory.current"))?;
    let stat = fs::read_to_string(group.join("memory.stat")).unwrap_or_default();
    let cache = stat
        .lines()
        .find_map(|line| line.strip_prefix("inactive_file "))
        .and_then(|bytes| bytes.parse().ok())
        .unwrap_or(0);
    Some((limit, used.saturating_sub(cache)))
}

/// `some avg10` of a pressure file.
fn stalled(path: &str) -> Option<f64> {
    parse_stalled(&fs::read_to_string(path).ok()?)
}

fn parse_stalled(text: &str) -> Option<f64> {
    let some = text.lines().find(|line| line.starts_with("some "))?;
    let value = some.split(' ').find_map(|it| it.strip_prefix("avg10="))?;
    value.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_formats() {
        let psi = "some avg10=98.24 avg60=98.37 avg300=95.88 total=5482901551\n\
                   full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
        assert_eq!(parse_stalled(psi), Some(98.24));
        assert_eq!(parse_stalled(""), None);
        let meminfo = "MemTotal:        8025128 kB\nMemAvailable:    6283000 kB\n";
        assert_eq!(kilobytes(meminfo, "MemTotal:"), Some(8_025_128 << 10));
        assert_eq!(kilobytes(meminfo, "SwapTotal:"), None);
    }

    #[test]
    fn this_machine_tells() {
        let pressure = Gauge::new().read();
        assert!(pressure.available.unwrap() <= pressure.total.unwrap());
        assert!(pressure.cpu.is_some() || pressure.load_per_core.is_some());
        assert!(resident(std::process::id()).unwrap() > 100 << 10);
        assert!(proportional(std::process::id()).unwrap() > 100 << 10);
    }
}
