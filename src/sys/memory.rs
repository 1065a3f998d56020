//! How much memory there is for us.

use std::fs;
use std::path::Path;

/// Bytes: the machine's memory, or the limit of a control group that we are in where that is less, cgroups(7), `memory.max`.
pub fn limit() -> u64 {
    let total = sysinfo::System::new().map_or(0, |mut system| {
        system.refresh_memory();
        system.total_memory()
    });
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    let root = Path::new("/sys/fs/cgroup");
    let own = root.join(group.unwrap_or_default());
    own.ancestors()
        .take_while(|group| group.starts_with(root))
        .filter_map(|group| fs::read_to_string(group.join("memory.max")).ok())
        // "max" is none
        .filter_map(|limit| limit.trim().parse().ok())
        .fold(total, u64::min)
}
