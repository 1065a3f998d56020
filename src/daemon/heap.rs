//! After a long queue has been worked off, its memory is the machine's again.

use std::io;
use std::thread;
use std::time::Duration;

use crate::sys::heap::{self, Memory};

/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(5);

/// What may be resident without being used: giving it back holds up who allocates for some milliseconds, and it is soon wanted again.
const SPARE: u64 = 32 << 20;

/// Starts the thread that gives memory back, for the daemon's whole life.
///
/// # Errors
/// No thread.
pub(super) fn start() -> io::Result<()> {
    let thread = thread::Builder::new().name("memory".to_owned());
    thread.spawn(|| {
        // what stays resident whatever is given back: code, stacks, half-used pages
        let mut floor = 0;
        loop {
            // what is used is counted block by block, which is for nothing where there is not so much at all
            if heap::resident().is_some_and(|resident| resident > floor + SPARE) {
                let Some(before) = heap::now() else { return };
                if is_worth_it(before, floor) {
                    heap::give_back();
                    let Some(after) = heap::now() else { return };
                    floor = after.resident.saturating_sub(after.used);
                    let given = before.resident.saturating_sub(after.resident) >> 20;
                    tracing::debug!("{given} MiB of memory given back");
                }
            }
            thread::sleep(EVERY);
        }
    })?;
    Ok(())
}

fn is_worth_it(memory: Memory, floor: u64) -> bool {
    let unused = memory.resident.saturating_sub(memory.used);
    unused > floor + SPARE.max(memory.used / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_is_kept() {
        const MIB: u64 = 1 << 20;
        let worth = |resident: u64, used: u64, floor: u64| {
            let memory = Memory {
                resident: resident * MIB,
                used: used * MIB,
            };
            is_worth_it(memory, floor * MIB)
        };
        assert!(!worth(40, 10, 0));
        assert!(worth(43, 10, 0));
        assert!(!worth(43, 10, 5));
        // beside much that is used, more may lie about
        assert!(!worth(1400, 1000, 0));
        assert!(worth(1600, 1000, 0));
        assert!(!worth(10, 20, 0));
    }
}
