//! The processes that write: this benchmark itself, started by whoever is measured.

use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Every line has so many bytes: a number, padding, and the line end.
const LINE: usize = 100;

/// How many lines a writer writes.
pub(crate) fn lines(bytes: u64) -> u64 {
    bytes / LINE as u64
}

/// `--writer FOLDER BYTES WRITE`: says that it is ready, waits for the file `go`, writes lines as fast as it can, and says when. `WRITE`
/// is how many bytes it writes at once; 0 is one line.
pub(crate) fn write(words: &[String]) {
    let folder = Path::new(&words[0]);
    let (bytes, at_once): (u64, usize) = (words[1].parse().unwrap(), words[2].parse().unwrap());
    let id = std::process::id();
    std::fs::write(folder.join(format!("ready.{id}")), "").unwrap();
    while !folder.join("go").exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let begin = now();
    let own = std::io::stdout().as_fd().try_clone_to_owned().unwrap();
    // Without the standard library's buffer, which would end the writes at line ends.
    let mut out = std::fs::File::from(own);
    let mut block = Vec::with_capacity(at_once + LINE);
    let mut line = format!("{:>1$}\n", "", LINE - 1).into_bytes();
    for number in 0..lines(bytes) {
        set_number(&mut line[..20], number);
        block.extend_from_slice(&line);
        // Not at the ends of lines.
        while block.len() >= at_once.max(LINE) {
            let length = at_once.max(LINE);
            out.write_all(&block[..length]).unwrap();
            block.drain(..length);
        }
    }
    out.write_all(&block).unwrap();
    let text = format!("{begin} {}", now());
    std::fs::write(folder.join(format!("done.{id}.new")), text).unwrap();
    std::fs::rename(
        folder.join(format!("done.{id}.new")),
        folder.join(format!("done.{id}")),
    )
    .unwrap();
    // Neither of the two is to start it again meanwhile.
    while folder.join("go").exists() {
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Formatting one would take longer than writing the line.
fn set_number(digits: &mut [u8], number: u64) {
    let mut left = number;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            return;
        }
    }
}

/// The number of a line that is whole.
pub(crate) fn number(line: &[u8]) -> Option<u64> {
    let is_whole = line.len() == LINE && line[LINE - 1] == b'\n';
    let text = std::str::from_utf8(line).ok().filter(|_| is_whole)?;
    text.trim().parse().ok()
}

pub(crate) fn files(folder: &Path, kind: &str) -> usize {
    named(folder, kind).len()
}

pub(crate) fn await_files(folder: &Path, kind: &str, count: u32) {
    let begin = std::time::Instant::now();
    while files(folder, kind) < count as usize {
        assert!(begin.elapsed().as_secs() < 30, "the writers do not start");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// From the first writer's first byte to the last one's last.
pub(crate) fn seconds(folder: &Path, count: u32) -> f64 {
    let texts = named(folder, "done")
        .into_iter()
        .map(|path| std::fs::read_to_string(path).unwrap());
    let times: Vec<(f64, f64)> = texts
        .map(|text| {
            let (begin, end) = text.split_once(' ').unwrap();
            (begin.parse().unwrap(), end.parse().unwrap())
        })
        .collect();
    assert_eq!(times.len(), count as usize);
    let first = times.iter().map(|time| time.0).fold(f64::MAX, f64::min);
    let last = times.iter().map(|time| time.1).fold(0.0, f64::max);
    last - first
}

fn named(folder: &Path, kind: &str) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy();
            name.starts_with(kind) && !name.ends_with(".new")
        })
        .collect()
}

fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64()
}
