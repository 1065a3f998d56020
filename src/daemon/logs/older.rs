//! The older files beside a log, each with its index: `1.log` → `1.log.1` → … → `1.log.<keep>`.
//!
//! Whoever calls this holds [`Gzip::names`](super::gzip::Gzip::names): the thread that compresses gives such files other names too.

use std::fs;
use std::io;
use std::path::Path;

use super::names;

/// Makes the log that was written until now an older one, so that its name is free. `keep` older ones stay, and none that an earlier
/// configuration kept.
///
/// # Errors
/// What keeps a file from getting its new name. Nothing is lost; trying again goes on from there.
pub(super) fn push(log: &Path, keep: u32) -> io::Result<()> {
    if keep == 0 {
        fs::remove_file(log)?;
        // The next one empties it in any case.
        let _ = fs::remove_file(names::index(log));
    } else {
        // Only up to the first gap: when a rename fails half way, trying again must not push the oldest out once more.
        let mut end = 1;
        while end < keep && is_there(log, end) {
            end += 1;
        }
        for age in (1..end).rev() {
            shift(log, age)?;
        }
        remove(log, 1);
        shift(log, 0)?;
    }
    let mut age = keep + 1;
    while remove(log, age) {
        age += 1;
    }
    Ok(())
}

fn is_there(log: &Path, age: u32) -> bool {
    let file = names::older(log, age);
    file.exists() || names::compressed(&file).exists()
}

/// Makes a file one rotation older, in place of what is there.
fn shift(log: &Path, age: u32) -> io::Result<()> {
    let (from, to) = (names::older(log, age), names::older(log, age + 1));
    if age > 0 {
        remove(log, age + 1);
    }
    if from.exists() {
        fs::rename(&from, &to)?;
    } else {
        fs::rename(names::compressed(&from), names::compressed(&to))?;
    }
    // There need not be one.
    let _ = fs::rename(names::index(&from), names::index(&to));
    Ok(())
}

/// Removes a file with its index. Returns whether there was one.
fn remove(log: &Path, age: u32) -> bool {
    let file = names::older(log, age);
    let plain = fs::remove_file(&file).is_ok();
    let compressed = fs::remove_file(names::compressed(&file)).is_ok();
    let _ = fs::remove_file(names::index(&file));
    plain || compressed
}
