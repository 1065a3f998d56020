//! The system's table of processes, `/proc/<pid>/stat`.
//!
//! Read when a question comes up and never kept: a number from here may belong to another process a moment later.

use std::fs;

/// One line of the table, proc_pid_stat(5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its parent's id; 1 or a subreaper's once the parent has ended.
    pub parent: u32,
    /// Its process group.
    pub group: u32,
    /// Its session, which is the id of the process that called setsid(2).
    pub session: u32,
    /// Whether it has ended and only waits to be reaped.
    pub ended: bool,
}

/// All processes that this one may see. One that ends meanwhile is left out.
pub fn all() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(one)
        .collect()
}

/// The process `pid`, if it exists.
pub fn one(pid: u32) -> Option<Process> {
    parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// The second field is the program's name in parentheses and may itself hold spaces and parentheses: the last one closes it.
fn parse(stat: &[u8]) -> Option<Process> {
    let name_ends = stat.iter().rposition(|&byte| byte == b')')?;
    let pid = stat.split(|&byte| byte == b' ').next()?;
    let rest = std::str::from_utf8(stat.get(name_ends + 2..)?).ok()?;
    let mut fields = rest.split(' ');
    let state = fields.next()?;
    Some(Process {
        pid: std::str::from_utf8(pid).ok()?.parse().ok()?,
        parent: fields.next()?.parse().ok()?,
        group: fields.next()?.parse().ok()?,
        session: fields.next()?.parse().ok()?,
        ended: matches!(state, "Z" | "X" | "x"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_spaces_and_parentheses() {
        let read = parse(b"811 (a) b (c) Z 7 8 9 0 -1 4194560 1").unwrap();
        let expected = Process {
            pid: 811,
            parent: 7,
            group: 8,
            session: 9,
            ended: true,
        };
        assert_eq!(read, expected);
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"1 (init)"), None);
    }

    #[test]
    fn this_process_is_in_the_table() {
        let own = std::process::id();
        assert_eq!(one(own).unwrap().pid, own);
        assert!(all().iter().any(|process| process.pid == own));
    }
}
