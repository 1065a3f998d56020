//! What workers write, as lines that can be scrolled.

use std::collections::VecDeque;

use ratatui::layout::Size;
use unicode_width::UnicodeWidthChar as _;

use super::Step;
use crate::pools::Slot;
use crate::status::words::printable;

/// So many lines are kept.
const KEPT: usize = 5_000;
/// So much of a line is, in bytes.
const LONGEST: usize = 16 << 10;
/// A tabulator's columns.
const TAB: &str = "    ";

/// The last lines of a pool's or a slot's output.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) pool: String,
    pub(super) slot: Option<Slot>,
    lines: VecDeque<String>,
    /// The last line, whose end has not come.
    rest: Vec<u8>,
    /// The first line that is shown; `None` follows what comes.
    at: Option<usize>,
}

impl Log {
    pub(super) fn new(pool: String, slot: Option<Slot>) -> Log {
        Log {
            pool,
            slot,
            lines: VecDeque::new(),
            rest: Vec::new(),
            at: None,
        }
    }

    /// Whether what comes is shown as it comes.
    pub(super) fn follows(&self) -> bool {
        self.at.is_none()
    }

    /// Takes more of what was written.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        // Of a flood, only what would be kept is looked at.
        if let Some(end) = memchr::memrchr_iter(b'\n', bytes).nth(KEPT) {
            bytes = &bytes[end + 1..];
            self.rest.clear();
        }
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let room = LONGEST.saturating_sub(self.rest.len());
            self.rest.extend_from_slice(&part[..part.len().min(room)]);
            if part.ends_with(b"\n") {
                let line = clean(&self.rest);
                self.rest.clear();
                self.lines.push_back(line);
            }
        }
        let excess = self.lines.len().saturating_sub(KEPT);
        self.lines.drain(..excess);
        self.at = self.at.map(|at| at.saturating_sub(excess));
    }

    /// Moves what is shown on a screen of this size.
    pub(super) fn scroll(&mut self, step: Step, size: Size) {
        let last = self.last_page(size);
        let mut at = self.at.unwrap_or(last);
        step.on(&mut at, size.height.into());
        self.at = (at < last).then_some(at);
    }

    /// The rows of a screen of this size.
    pub(super) fn rows(&self, size: Size) -> Vec<String> {
        let height = usize::from(size.height);
        let from = self.at.unwrap_or_else(|| self.last_page(size));
        let mut rows = Vec::new();
        for line in (from..self.count()).map(|index| self.line(index)) {
            rows.extend(broken(&line, size.width));
            if self.at.is_some() && rows.len() >= height {
                break;
            }
        }
        let excess = rows.len().saturating_sub(height);
        match self.at {
            Some(_) => rows.truncate(height),
            None => drop(rows.drain(..excess)),
        }
        rows
    }

    fn count(&self) -> usize {
        self.lines.len() + usize::from(!self.rest.is_empty())
    }

    fn line(&self, index: usize) -> String {
        let line = self.lines.get(index).cloned();
        line.unwrap_or_else(|| clean(&self.rest))
    }

    /// The first line of the page that has the last one at its bottom.
    fn last_page(&self, size: Size) -> usize {
        let mut room = usize::from(size.height);
        for index in (0..self.count()).rev() {
            let rows = broken(&self.line(index), size.width).len();
            if rows >= room {
                return index;
            }
            room -= rows;
        }
        0
    }
}

/// A line as it can be shown: without colours of its own, and what a terminal would do at a carriage return done.
fn clean(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end_matches(['\n', '\r']);
    let text = text.rsplit('\r').next().unwrap_or_default();
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("\x1b[") {
        plain.push_str(&rest[..start]);
        let sequence = &rest[start + 2..];
        // ECMA-48: parameters and intermediates, then one final byte
        let end = sequence.find(|c| matches!(c, '\x40'..='\x7e'));
        rest = end.map_or("", |end| &sequence[end + 1..]);
    }
    plain.push_str(rest);
    printable(&plain.replace('\t', TAB))
}

/// A line in as many rows as it takes.
fn broken(line: &str, width: u16) -> Vec<String> {
    let mut rows = vec![String::new()];
    let mut used = 0;
    for c in line.chars() {
        let columns = c.width().unwrap_or(0);
        if used + columns > usize::from(width) && used > 0 {
            rows.push(String::new());
            used = 0;
        }
        if let Some(row) = rows.last_mut() {
            row.push(c);
        }
        used += columns;
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Size = Size::new(10, 3);

    fn log(text: &str) -> Log {
        let mut log = Log::new("fetchURL".to_owned(), None);
        log.feed(text.as_bytes());
        log
    }

    #[test]
    fn the_last_lines_are_shown_as_they_come() {
        let mut log = log("1\n2\n3\n4");
        assert_eq!(log.rows(SMALL), ["2", "3", "4"]);
        log.feed(b"4\n5\n");
        assert_eq!(log.rows(SMALL), ["3", "44", "5"]);
        log.feed(b"a line of 20 columns\n");
        assert_eq!(log.rows(SMALL), ["5", "a line of ", "20 columns"]);
    }

    #[test]
    fn what_was_scrolled_to_stays_where_it_is() {
        let mut log = log("1\n2\n3\n4\n5\n");
        log.scroll(Step::Lines(-1), SMALL);
        assert!(!log.follows());
        assert_eq!(log.rows(SMALL), ["2", "3", "4"]);
        log.feed(b"6\n7\n");
        assert_eq!(log.rows(SMALL), ["2", "3", "4"]);
        log.scroll(Step::Pages(-1), SMALL);
        assert_eq!(log.rows(SMALL), ["1", "2", "3"]);
        log.scroll(Step::Last, SMALL);
        assert!(log.follows());
        log.feed(b"8\n");
        assert_eq!(log.rows(SMALL), ["6", "7", "8"]);
    }

    #[test]
    fn old_lines_go_and_what_is_shown_stays_right() {
        let mut log = log("first\n");
        log.feed("x\n".repeat(KEPT - 1).as_bytes());
        log.scroll(Step::First, SMALL);
        assert_eq!(log.rows(SMALL), ["first", "x", "x"]);
        log.feed(b"y\n");
        assert_eq!(log.rows(SMALL), ["x", "x", "x"]);
        log.feed("z\n".repeat(3 * KEPT).as_bytes());
        assert_eq!(log.count(), KEPT);
        assert_eq!(log.rows(SMALL), ["z", "z", "z"]);
    }

    #[test]
    fn a_line_without_an_end_takes_no_more_than_its_share_of_memory() {
        let mut log = log("");
        for _ in 0..100 {
            log.feed(&[b'x'; 1 << 10]);
        }
        assert_eq!(log.rest.len(), LONGEST);
    }

    #[test]
    fn nothing_that_a_terminal_obeys_is_left() {
        for (raw, text) in [
            ("\x1b[1;31mred\x1b[0m alert\n", "red alert"),
            ("10 %\r50 %\r100 %\r\n", "100 %"),
            ("a\tb", "a    b"),
            ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
            ("cut \x1b[3", "cut "),
            ("Äpfel \u{202e}", "Äpfel \\u{202e}"),
        ] {
            assert_eq!(clean(raw.as_bytes()), text);
        }
        assert_eq!(clean(b"\xff"), "\u{fffd}");
    }

    #[test]
    fn any_size_of_screen_will_do() {
        let mut log = log("日本語 and more\n\nx\n");
        for (width, height) in [(0, 0), (1, 1), (0, 5), (5, 0), (2, 2), (200, 200)] {
            let size = Size::new(width, height);
            log.scroll(Step::Lines(-1), size);
            assert!(log.rows(size).len() <= usize::from(height).max(1));
            log.scroll(Step::Last, size);
            log.rows(size);
        }
    }
}
