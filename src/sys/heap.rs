#![expect(unsafe_code, reason = "mallinfo2(3) and malloc_trim(3)")]
//! Memory that was freed, and is given back to the system.
//!
//! The allocator keeps the pages of what was freed, for what may come. After a day with a long queue that is all of its memory: a
//! freed job lies between others that are not, and only pages at the end of the heap go back by themselves.

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

#[cfg(test)]
mod tests {
    use super::*;

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
