//! From what a worker wrote to what stands in its log: nothing but a limit on the length of a line, the time before each, or an object
//! of JSON for each.

use std::borrow::Cow;
use std::time::SystemTime;

use memchr::{memchr, memrchr};
use serde::{Deserialize, Serialize};

use crate::config::{Log, LogFormat};

/// Lines that are made anew are made from so much of a chunk at once, so that the shortest of lines do not make much of it.
const PIECE: usize = 16 << 10;

/// A stream on its way to lines.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Layout {
    /// Longer lines are broken.
    longest: u64,
    style: Style,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Style {
    Text {
        timestamps: bool,
        /// How many bytes of the current line have come.
        column: u64,
    },
    Json {
        about: About,
        /// The line that has no end yet. An object is written only when it is whole.
        #[serde(with = "serde_bytes")]
        line: Vec<u8>,
    },
}

/// What all objects of a stream have in common.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct About {
    pub(super) pool: String,
    pub(super) slot: u32,
    pub(super) pid: u32,
    /// `stdout`, `stderr`, or `output` for both on one pipe.
    pub(super) stream: String,
}

/// A line in JSON; the order of the fields is the order in the file.
#[derive(Serialize)]
struct Line<'a> {
    time: &'a str,
    pool: &'a str,
    slot: u32,
    pid: u32,
    stream: &'a str,
    job: Option<&'a str>,
    line: &'a str,
}

impl Layout {
    pub(super) fn new(config: &Log, about: About) -> Layout {
        let style = match config.format {
            LogFormat::Text => Style::Text {
                timestamps: config.timestamps,
                column: 0,
            },
            LogFormat::Json => Style::Json {
                about,
                line: Vec::new(),
            },
        };
        Layout {
            longest: config.max_line.max(1),
            style,
        }
    }

    /// How many bytes may be written as they come; `None` where each line is made anew.
    pub(super) fn room(&self) -> Option<usize> {
        match self.style {
            Style::Text {
                timestamps: false,
                column,
            } => usize::try_from(self.longest.saturating_sub(column)).ok(),
            Style::Text { .. } | Style::Json { .. } => None,
        }
    }

    /// So many bytes were written as they came; `last_line` is how many of them stand after their last line end, where they have one.
    pub(super) fn pass(&mut self, length: usize, last_line: Option<usize>) {
        if let Style::Text { column, .. } = &mut self.style {
            *column = match last_line {
                Some(length) => length as u64,
                None => *column + length as u64,
            };
        }
    }

    /// Gives `write` what is to be appended for this part of the stream, which was read at `now` and belongs to `job`.
    pub(super) fn lay_out(
        &mut self,
        chunk: &[u8],
        now: SystemTime,
        job: Option<&str>,
        mut write: impl FnMut(&[u8]),
    ) {
        if let Style::Text {
            timestamps: false,
            column,
        } = &mut self.style
            && *column + chunk.len() as u64 <= self.longest
        {
            *column = match memrchr(b'\n', chunk) {
                Some(end) => (chunk.len() - end - 1) as u64,
                None => *column + chunk.len() as u64,
            };
            return write(chunk);
        }
        let time = humantime::format_rfc3339_millis(now).to_string();
        for piece in chunk.chunks(PIECE) {
            let lines = match &mut self.style {
                Style::Text { timestamps, column } => {
                    let stamp = if *timestamps { &*time } else { "" };
                    text(piece, stamp, column, self.longest)
                }
                Style::Json { about, line } => json(piece, &time, job, about, line, self.longest),
            };
            write(&lines);
        }
    }

    /// The line that has no end yet, where it cannot be written without one: before the job changes, and at the end of the process.
    pub(super) fn finish(&mut self, now: SystemTime, job: Option<&str>) -> Vec<u8> {
        let mut lines = Vec::new();
        if let Style::Json { about, line } = &mut self.style
            && !line.is_empty()
        {
            let time = humantime::format_rfc3339_millis(now).to_string();
            object(&mut lines, &time, job, about, line);
            line.clear();
        }
        lines
    }
}

/// Time before each line, long ones broken.
fn text(piece: &[u8], stamp: &str, column: &mut u64, longest: u64) -> Vec<u8> {
    let mut lines = Vec::with_capacity(piece.len() + stamp.len() + 1);
    let mut rest = piece;
    while let Some(&next) = rest.first() {
        if *column == longest {
            lines.push(b'\n');
            *column = 0;
            if next == b'\n' {
                rest = &rest[1..];
            }
            continue;
        }
        if *column == 0 && !stamp.is_empty() {
            lines.extend_from_slice(stamp.as_bytes());
            lines.push(b' ');
        }
        let room = usize::try_from(longest - *column).unwrap_or(usize::MAX);
        let window = &rest[..rest.len().min(room)];
        let taken = match memchr(b'\n', window) {
            Some(end) => {
                *column = 0;
                end + 1
            }
            None => {
                *column += window.len() as u64;
                window.len()
            }
        };
        lines.extend_from_slice(&rest[..taken]);
        rest = &rest[taken..];
    }
    lines
}

/// An object for each line that is whole, long ones broken into several.
fn json(
    piece: &[u8],
    time: &str,
    job: Option<&str>,
    about: &About,
    line: &mut Vec<u8>,
    longest: u64,
) -> Vec<u8> {
    let longest = usize::try_from(longest).unwrap_or(usize::MAX);
    let mut lines = Vec::with_capacity(2 * piece.len());
    let mut rest = piece;
    while let Some(&next) = rest.first() {
        if line.len() == longest {
            object(&mut lines, time, job, about, line);
            line.clear();
            if next == b'\n' {
                rest = &rest[1..];
            }
            continue;
        }
        let window = &rest[..rest.len().min(longest - line.len())];
        match memchr(b'\n', window) {
            Some(end) => {
                line.extend_from_slice(&window[..end]);
                rest = &rest[end + 1..];
                object(&mut lines, time, job, about, line);
                line.clear();
            }
            None => {
                line.extend_from_slice(window);
                rest = &rest[window.len()..];
            }
        }
    }
    line.shrink_to(PIECE);
    lines
}

/// Bytes that are no UTF-8 become U+FFFD, so that whatever comes is JSON.
fn object(lines: &mut Vec<u8>, time: &str, job: Option<&str>, about: &About, line: &[u8]) {
    let line: Cow<'_, str> = String::from_utf8_lossy(line);
    let object = Line {
        time,
        pool: &about.pool,
        slot: about.slot,
        pid: about.pid,
        stream: &about.stream,
        job,
        line: &line,
    };
    // Writing to memory does not fail.
    if serde_json::to_writer(&mut *lines, &object).is_ok() {
        lines.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn layout(config: &Log) -> Layout {
        let about = About {
            pool: "fetchURL".to_owned(),
            slot: 3,
            pid: 811,
            stream: "output".to_owned(),
        };
        Layout::new(config, about)
    }

    fn laid_out(layout: &mut Layout, chunk: &[u8], millis: u64, job: Option<&str>) -> String {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        let mut lines = Vec::new();
        layout.lay_out(chunk, now, job, |bytes| lines.extend_from_slice(bytes));
        String::from_utf8(lines).unwrap()
    }

    #[test]
    fn long_lines_are_broken() {
        let mut layout = layout(&Log {
            max_line: 4,
            ..Log::default()
        });
        let mut text = String::new();
        for chunk in ["1234\n12345\n\n12", "345678", "\n", "1234", "\n9"] {
            text += &laid_out(&mut layout, chunk.as_bytes(), 0, None);
        }
        assert_eq!(text, "1234\n1234\n5\n\n1234\n5678\n1234\n9");
    }

    #[test]
    fn times_stand_before_lines() {
        let mut layout = layout(&Log {
            timestamps: true,
            max_line: 6,
            ..Log::default()
        });
        let first = laid_out(&mut layout, b"one\ntw", 1_700_000_000_042, None);
        let second = laid_out(&mut layout, b"o\n\nlong line", 1_700_000_001_000, None);
        assert_eq!(
            first + &second,
            "2023-11-14T22:13:20.042Z one\n2023-11-14T22:13:20.042Z two\n\
             2023-11-14T22:13:21.000Z \n2023-11-14T22:13:21.000Z long l\n2023-11-14T22:13:21.000Z ine"
        );
    }

    #[test]
    fn objects_are_whole_and_right_whatever_comes() {
        let mut layout = layout(&Log {
            format: LogFormat::Json,
            max_line: 6,
            ..Log::default()
        });
        // a character in two chunks, a control character, a quote, no UTF-8, a line that is exactly as long as may be
        let mut text = laid_out(&mut layout, b"a \"\x01\nz\xc3", 0, Some("H:1"));
        text += &laid_out(&mut layout, b"\xa4\n\xff\n123456\n1234567", 1500, None);
        text += &String::from_utf8(layout.finish(SystemTime::UNIX_EPOCH, Some("H:2"))).unwrap();
        assert!(layout.finish(SystemTime::UNIX_EPOCH, None).is_empty());
        assert!(text.starts_with(
            r#"{"time":"1970-01-01T00:00:00.000Z","pool":"fetchURL","slot":3,"pid":811,"stream":"output","job":"H:1","line":"a \"\u0001"}"#
        ));
        let objects = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let objects: Vec<serde_json::Value> = objects.collect();
        let lines: Vec<_> = objects
            .iter()
            .map(|it| it["line"].as_str().unwrap())
            .collect();
        assert_eq!(
            lines,
            ["a \"\u{1}", "z\u{e4}", "\u{fffd}", "123456", "123456", "7"]
        );
        assert_eq!(objects[1]["job"], serde_json::Value::Null);
        assert_eq!(objects[5]["job"], "H:2");
    }

    #[test]
    fn a_line_that_ends_with_its_piece_is_one_line() {
        let mut layout = layout(&Log {
            format: LogFormat::Json,
            max_line: 4,
            ..Log::default()
        });
        let text =
            laid_out(&mut layout, b"1234", 0, None) + &laid_out(&mut layout, b"\n5\n", 0, None);
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let lines: Vec<serde_json::Value> = lines.collect();
        assert_eq!(lines.len(), 2, "{text}");
    }
}
