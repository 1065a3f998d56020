//! The last lines that a process wrote, for whoever asks why it ended.

use serde::{Deserialize, Serialize};

/// How many lines are shown.
const LINES: usize = 20;

/// How many bytes they may have together.
pub(super) const KEPT: usize = 16 << 10;

/// The end of a process's output. It never holds more than twice [`KEPT`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(in crate::daemon) struct Tail {
    #[serde(with = "serde_bytes")]
    bytes: Vec<u8>,
    /// Whether `bytes` begins within a line, perhaps.
    cut: bool,
}

impl Tail {
    /// More output.
    pub(in crate::daemon) fn push(&mut self, chunk: &[u8]) {
        let skipped = chunk.len().saturating_sub(KEPT);
        if skipped > 0 {
            self.bytes.clear();
            self.cut = true;
        } else if self.bytes.len() + chunk.len() > 2 * KEPT {
            self.bytes.drain(..self.bytes.len() - KEPT);
            self.cut = true;
        }
        self.bytes.extend_from_slice(&chunk[skipped..]);
    }

    /// More output than is kept has passed by unseen.
    pub(super) fn skip(&mut self) {
        self.bytes.clear();
        self.cut = true;
    }

    /// The last lines, the oldest first. Bytes that are no UTF-8 are shown as U+FFFD.
    pub(in crate::daemon) fn lines(&self) -> Vec<String> {
        let kept = self.bytes.len().saturating_sub(KEPT);
        let mut text = &self.bytes[kept..];
        if (self.cut || kept > 0)
            && let Some(end) = memchr::memchr(b'\n', text)
            && end + 1 < text.len()
        {
            text = &text[end + 1..];
        }
        let text = String::from_utf8_lossy(text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..]
            .iter()
            .map(|line| (*line).to_owned())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail(chunks: &[&str]) -> Vec<String> {
        let mut tail = Tail::default();
        for chunk in chunks {
            tail.push(chunk.as_bytes());
        }
        tail.lines()
    }

    #[test]
    fn the_last_twenty() {
        assert_eq!(tail(&[]), Vec::<String>::new());
        assert_eq!(
            tail(&["one\r\ntw", "o\n\nthree"]),
            ["one", "two", "", "three"]
        );
        let many: String = (0..1000).map(|number| format!("{number}\n")).collect();
        let shown = tail(&[&many, "end\n"]);
        assert_eq!(shown.len(), LINES);
        assert_eq!(
            (&*shown[0], &*shown[18], &*shown[19]),
            ("981", "999", "end")
        );
    }

    #[test]
    fn memory_is_bounded_and_no_half_line_is_shown() {
        let mut tail = Tail::default();
        for number in 0..3000 {
            tail.push(format!("{number} {}\n", "x".repeat(2000)).as_bytes());
            assert!(tail.bytes.len() <= 2 * KEPT);
        }
        let shown = tail.lines();
        assert_eq!(shown.len(), 8);
        assert!(shown.iter().all(|line| line.len() == 2005), "{shown:?}");
        tail.push(&vec![b'y'; 5 * KEPT]);
        assert_eq!(tail.lines(), ["y".repeat(KEPT)]);
        tail.push(b"\nlast words\n");
        assert_eq!(tail.lines(), ["last words"]);
    }
}
