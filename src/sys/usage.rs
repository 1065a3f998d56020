//! What processes use: the processor time and the resident memory of whole sessions, from one reading of `/proc/<pid>/stat`.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::time::Duration;

use nix::unistd::{SysconfVar, sysconf};

use super::memory::page;
use super::process;

/// What the processes of a session use together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// User and system time of those that live, without their children's.
    pub cpu: Duration,
    /// Resident bytes.
    pub memory: u64,
}

/// A line is a few hundred bytes long, proc_pid_stat(5).
const LINE: usize = 2048;

/// The usage of each session, by the id of its leader. Sessions that `wanted` does not want are left out.
pub fn by_session(wanted: impl Fn(u32) -> bool) -> HashMap<u32, Usage> {
    let mut usages: HashMap<u32, Usage> = HashMap::new();
    let (tick, page) = (tick(), page());
    let mut line = [0; LINE];
    for pid in process::ids() {
        // most of a machine's processes are nobody's here, and reading what one uses takes thirty times as long as this
        if !process::session(pid).is_some_and(&wanted) {
            continue;
        }
        // one that ends meanwhile uses nothing
        let read =
            File::open(format!("/proc/{pid}/stat")).and_then(|mut file| file.read(&mut line));
        let Some(fields) = read.ok().and_then(|length| Fields::parse(&line[..length])) else {
            continue;
        };
        if wanted(fields.session) {
            let usage = usages.entry(fields.session).or_default();
            usage.cpu += tick * u32::try_from(fields.ticks).unwrap_or(u32::MAX);
            usage.memory += fields.pages * page;
        }
    }
    usages
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fields {
    session: u32,
    /// `utime` and `stime`.
    ticks: u64,
    /// `rss`.
    pages: u64,
}

impl Fields {
    fn parse(stat: &[u8]) -> Option<Fields> {
        let mut fields = process::fields(stat)?;
        let session = fields.nth(3)?.parse().ok()?;
        let user: u64 = fields.nth(7)?.parse().ok()?;
        let system: u64 = fields.next()?.parse().ok()?;
        // a negative number would be the kernel's rounding
        let pages: i64 = fields.nth(8)?.parse().ok()?;
        Some(Fields {
            session,
            ticks: user + system,
            pages: pages.max(0).cast_unsigned(),
        })
    }
}

/// How long a tick of `stat` is.
fn tick() -> Duration {
    let a_second = sysconf(SysconfVar::CLK_TCK).ok().flatten();
    Duration::from_secs(1)
        / a_second
            .and_then(|it| u32::try_from(it).ok())
            .unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_line() {
        let line = b"811 (a) b (c) S 7 8 9 0 -1 4194560 1 2 3 4 50 6 70 80 20 0 1 0 999 1000000 321 18446744073709551615 1";
        let fields = Fields::parse(line).unwrap();
        let expected = Fields {
            session: 9,
            ticks: 56,
            pages: 321,
        };
        assert_eq!(fields, expected);
        assert_eq!(Fields::parse(b"1 (init)"), None);
    }

    #[test]
    fn this_process_is_among_its_session() {
        let own = nix::unistd::getsid(None).unwrap().as_raw().cast_unsigned();
        let busy = std::time::Instant::now();
        while busy.elapsed() < Duration::from_millis(30) {}
        let usages = by_session(|session| session == own);
        assert_eq!(usages.len(), 1);
        assert!(usages[&own].memory > 100 << 10);
        assert!(usages[&own].cpu > Duration::ZERO);
        assert!(by_session(|_| false).is_empty());
    }
}
