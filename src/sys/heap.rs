#![expect(unsafe_code, reason = "mallinfo2(3), malloc_trim(3) and madvise(2)")]
//! Memory that is not needed any more, and is given back to the system.
//!
//! The allocator keeps the pages of what was freed, for what may come. After a day with a long queue that is all of its memory: a
//! freed job lies between others that are not, and only pages at the end of the heap go back by themselves.
//!
//! The system maps a program's code sixteen pages at a time, wherever one of them is run, and leaves it mapped: by the end of its start
//! nearly the whole program is.

use std::fs;
use std::ptr;

/// What this process has of the machine's memory, and what of it is used, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Resident, proc_pid_statm(5).
    pub resident: u64,
    /// Allocated and not freed.
    pub used: u64,
}

/// How it is now. `None` where the allocator does not say. Takes the longer the more lies about unused.
pub fn now() -> Option<Memory> {
    Some(Memory {
        resident: resident()?,
        used: used()?,
    })
}

/// [`Memory::resident`] alone.
pub fn resident() -> Option<u64> {
    super::pressure::resident(std::process::id())
}

#[cfg(target_env = "gnu")]
fn used() -> Option<u64> {
    // SAFETY: it takes nothing and returns numbers by value
    let info = unsafe { libc::mallinfo2() };
    Some((info.uordblks + info.hblkhd) as u64)
}

#[cfg(not(target_env = "gnu"))]
fn used() -> Option<u64> {
    None
}

/// Gives all pages back on which nothing is used.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes a number, and moves nothing that is used
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Lets go of all code, the program's and its libraries'. What is run again is mapped again, from the pages of the file that the system
/// keeps in any case, some tens of times a few microseconds. A debugger's breakpoints go with it.
pub fn let_go_of_code() {
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    for (from, to) in maps.lines().filter_map(code) {
        let place = ptr::with_exposed_provenance_mut(from);
        // SAFETY: what a mapping of a file holds that nobody could ever write to is what the file holds
        unsafe { libc::madvise(place, to - from, libc::MADV_DONTNEED) };
    }
}

/// From where to where code is mapped, by a line of proc_pid_maps(5).
fn code(line: &str) -> Option<(usize, usize)> {
    let mut words = line.split_ascii_whitespace();
    let (from, to) = words.next()?.split_once('-')?;
    let is_code = words.next()? == "r-xp" && words.nth(3)?.starts_with('/');
    let address = |text| usize::from_str_radix(text, 16).ok();
    is_code.then_some((address(from)?, address(to)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_comes_back_when_it_is_run() {
        let line = "55756068e000-557560e40000 r-xp 00291000 fe:00 10059887                   /usr/bin/gearpool";
        assert_eq!(code(line), Some((0x5575_6068_e000, 0x5575_60e4_0000)));
        // what the loader has written to, and what is no file's
        assert_eq!(code(&line.replace("r-xp", "r--p")), None);
        assert_eq!(code("7ffc-7ffd r-xp 00000000 00:00 0   [vdso]"), None);
        let mapped = || {
            let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
            let mut lines = smaps.lines();
            lines.find(|line| code(line).is_some()).unwrap();
            let resident = lines.find_map(|line| line.strip_prefix("Rss:")).unwrap();
            let kilobytes = resident.trim().strip_suffix("kB").unwrap().trim();
            kilobytes.parse::<u64>().unwrap()
        };
        let before = mapped();
        let_go_of_code();
        let after = mapped();
        assert!(after < before, "{before} {after}");
    }

    #[test]
    fn what_is_allocated_is_used_and_resident() {
        let before = now().unwrap();
        let held = vec![1_u8; 64 << 20];
        let full = now().unwrap();
        assert!(full.used >= before.used + (48 << 20), "{before:?} {full:?}");
        assert!(
            full.resident >= before.resident + (48 << 20),
            "{before:?} {full:?}"
        );
        drop(held);
        give_back();
        assert!(now().unwrap().resident < full.resident - (48 << 20));
    }
}
