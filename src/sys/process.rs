//! The system's table of processes, `/proc/<pid>/stat`.
//!
//! Read when a question comes up and never kept: a number from here may belong to another process a moment later.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::str::SplitAsciiWhitespace;

use nix::unistd::{Pid, getsid};

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
    /// When it was started, in the kernel's ticks since the machine's start: with its id, this process and no other.
    pub started: u64,
}

/// All processes that this one may see. One that ends meanwhile is left out.
pub fn all() -> Vec<Process> {
    ids().filter_map(one).collect()
}

/// The ids of all processes that this one may see.
pub(super) fn ids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The session of the process `pid`, getsid(2). 0 for one of another namespace.
pub(super) fn session(pid: u32) -> Option<u32> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?);
    Some(getsid(Some(pid)).ok()?.as_raw().cast_unsigned())
}

/// The process `pid`, if it exists.
pub fn one(pid: u32) -> Option<Process> {
    parse(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// The children of the process `pid`, proc_tid_children(5), whichever of its threads they are of. `None` where the kernel does not
/// tell.
pub fn children(pid: u32) -> Option<Vec<u32>> {
    let mut all = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten() {
        match fs::read_to_string(thread.path().join("children")) {
            Ok(list) => all.extend(list.split_ascii_whitespace().flat_map(str::parse::<u32>)),
            // a thread that has just ended has none
            Err(_) if all.is_empty() && thread.file_name() == pid.to_string().as_str() => {
                return None;
            }
            Err(_) => {}
        }
    }
    Some(all)
}

/// The children of this process's main thread, to which the kernel gives the orphans too. Tens of microseconds.
pub fn own_children() -> Vec<u32> {
    let own = std::process::id();
    match read(&format!("/proc/{own}/task/{own}/children")) {
        Ok(list) => list.split_ascii_whitespace().flat_map(str::parse).collect(),
        Err(_) => {
            let all = all().into_iter();
            all.filter(|process| process.parent == own)
                .map(|process| process.pid)
                .collect()
        }
    }
}

/// A file of the kernel's, whose size it does not tell: in as few calls as may be, for some of them are asked for at every start.
pub(super) fn read(path: &str) -> io::Result<String> {
    let mut text = String::with_capacity(16 << 10);
    File::open(path)?.take(1 << 20).read_to_string(&mut text)?;
    Ok(text)
}

/// These processes, and what descends from them.
pub fn trees(roots: impl IntoIterator<Item = u32>) -> Vec<Process> {
    let mut table = None;
    let mut todo: Vec<u32> = roots.into_iter().collect();
    let mut found: Vec<Process> = Vec::new();
    while let Some(pid) = todo.pop() {
        if found.iter().any(|known| known.pid == pid) {
            continue;
        }
        let Some(process) = one(pid) else {
            continue;
        };
        found.push(process);
        match children(pid) {
            Some(children) => todo.extend(children),
            None => {
                let table: &Vec<Process> = table.get_or_insert_with(all);
                let children = table.iter().filter(|child| child.parent == pid);
                todo.extend(children.map(|child| child.pid));
            }
        }
    }
    found
}

/// Whether the process was started with all of these, `NAME=value`, in its environment. Unreadable is no: then it is another user's.
pub fn has_in_environment(pid: u32, entries: &[&[u8]]) -> bool {
    fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environment| {
        let all = environment.split(|&byte| byte == 0);
        entries
            .iter()
            .all(|entry| all.clone().any(|known| known == *entry))
    })
}

/// A program's name as the system has it, 15 bytes at most, comm(5).
pub fn name(pid: u32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim_end().to_owned())
}

/// The fields of a line from the third on, the state. The second one is the program's name in parentheses and may itself hold spaces and
/// parentheses: the last one closes it.
pub(super) fn fields(stat: &[u8]) -> Option<SplitAsciiWhitespace<'_>> {
    let name_ends = stat.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(stat.get(name_ends + 2..)?).ok()?;
    Some(rest.split_ascii_whitespace())
}

fn parse(stat: &[u8]) -> Option<Process> {
    let pid = stat.split(|&byte| byte == b' ').next()?;
    let mut fields = fields(stat)?;
    let state = fields.next()?;
    Some(Process {
        pid: std::str::from_utf8(pid).ok()?.parse().ok()?,
        parent: fields.next()?.parse().ok()?,
        group: fields.next()?.parse().ok()?,
        session: fields.next()?.parse().ok()?,
        ended: matches!(state, "Z" | "X" | "x"),
        // the 22nd field of all, 15 after the session
        started: fields.nth(15)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_spaces_and_parentheses() {
        let read =
            parse(b"811 (a) b (c) Z 7 8 9 0 -1 4194560 1 0 0 0 2 3 0 0 20 0 1 0 4711 5").unwrap();
        let expected = Process {
            pid: 811,
            parent: 7,
            group: 8,
            session: 9,
            ended: true,
            started: 4711,
        };
        assert_eq!(read, expected);
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"1 (init)"), None);
    }

    #[test]
    fn this_process_is_in_the_table() {
        let own = std::process::id();
        assert_eq!(one(own).unwrap().pid, own);
        assert_eq!(session(own), Some(one(own).unwrap().session));
        assert_eq!(session(u32::MAX), None);
        assert!(all().iter().any(|process| process.pid == own));
    }
}
