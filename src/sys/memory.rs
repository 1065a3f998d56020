//! How much memory there is for us.

use std::fs;
use std::path::{Path, PathBuf};

use nix::unistd::{SysconfVar, sysconf};

/// How many bytes a page of memory has.
pub(super) fn page() -> u64 {
    let bytes = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    bytes.and_then(|it| u64::try_from(it).ok()).unwrap_or(4096)
}

/// Bytes: the machine's memory, or the limit of a control group that we are in where that is less, cgroups(7), `memory.max`.
pub fn limit() -> u64 {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = kilobytes(&meminfo, "MemTotal:").unwrap_or(0);
    limited_groups()
        .map(|(_, limit)| limit)
        .fold(total, u64::min)
}

/// The control groups with a limit on memory that we are in, the innermost first: the folder of each, and its limit in bytes.
pub(super) fn limited_groups() -> impl Iterator<Item = (PathBuf, u64)> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    let root = Path::new("/sys/fs/cgroup");
    let own = root.join(group.unwrap_or_default());
    let folders: Vec<PathBuf> = own
        .ancestors()
        .take_while(|group| group.starts_with(root))
        .map(Path::to_owned)
        .collect();
    folders.into_iter().filter_map(|group| {
        let limit = number(&group.join("memory.max"))?;
        Some((group, limit))
    })
}

/// A line of proc_meminfo(5), in bytes.
pub(super) fn kilobytes(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes << 10)
}

/// A file of one number. "max" is none.
pub(super) fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}
