//! PURE. Aligned columns for a terminal of a known width.
//!
//! Knows nothing of jobs and processes. Widths are those that a terminal gives the characters, not bytes; colour is added after
//! everything has been measured. A line never gets longer than the terminal: columns that matter least are left out, then the
//! text is cut with `…`. Without a width (a pipe, a file) nothing is ever cut.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// What the output goes to.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// The terminal's columns; `None` where there is no terminal, and nothing is cut.
    pub width: Option<usize>,
    /// Whether it understands colours.
    pub colour: Colour,
}

/// Whether escape sequences are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// They are.
    On,
    /// They are not: a pipe, a file, `NO_COLOR`.
    Off,
}

/// What a text is, for its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Paint {
    Plain,
    Dim,
    Bold,
    Good,
    Warn,
    Bad,
    Alarm,
}

/// A text and its colour.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub(super) text: String,
    pub(super) paint: Paint,
}

/// To which side a column's cells stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// One column of a [`Grid`].
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) title: &'static str,
    pub(super) side: Side,
    /// The order in which columns are left out when the terminal is too narrow, from 1; with 0 it stays.
    pub(super) yields: u8,
}

/// Rows of cells under titles. The last column takes what room is left.
#[derive(Debug)]
pub(super) struct Grid {
    indent: usize,
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

const GAP: usize = 2;
/// So much of the last column is worth more than the columns that may be left out.
const LAST: usize = 20;
/// So much of the first one, a name, is left when all else has been tried.
const FIRST: usize = 12;

impl Cell {
    pub(super) fn new(text: impl Into<String>, paint: Paint) -> Cell {
        Cell {
            text: text.into(),
            paint,
        }
    }

    pub(super) fn plain(text: impl Into<String>) -> Cell {
        Cell::new(text, Paint::Plain)
    }
}

impl Look {
    /// The text in its colour.
    pub(super) fn paint(self, text: &str, paint: Paint) -> String {
        let code = match paint {
            Paint::Plain => return text.to_owned(),
            Paint::Dim => "2",
            Paint::Bold => "1",
            Paint::Good => "32",
            Paint::Warn => "33",
            Paint::Bad => "1;31",
            Paint::Alarm => "1;37;41",
        };
        match self.colour {
            Colour::On if !text.is_empty() => format!("\x1b[{code}m{text}\x1b[0m"),
            _ => text.to_owned(),
        }
    }

    /// The cells one after another, two spaces between them, on as many lines as they need.
    pub(super) fn flow(self, cells: &[Cell], indent: usize) -> String {
        let mut out = String::new();
        let mut used = 0;
        for cell in cells {
            let width = cell.text.width();
            let fits = self.width.is_none_or(|all| used + GAP + width <= all);
            if used == 0 {
                used = width;
            } else if fits {
                out.push_str("  ");
                used += GAP + width;
            } else {
                out.push('\n');
                out.push_str(&" ".repeat(indent));
                used = indent + width;
            }
            out.push_str(&self.paint(&cell.text, cell.paint));
        }
        out.push('\n');
        out
    }

    /// A sentence, each of its lines indented and broken between words.
    pub(super) fn sentence(self, text: &str, indent: usize, paint: Paint) -> String {
        let mut out = String::new();
        let pad = " ".repeat(indent);
        let mut line = String::new();
        for word in text.split_whitespace() {
            let longer = indent + line.width() + 1 + word.width();
            if !line.is_empty() && self.width.is_some_and(|all| longer > all) {
                out.push_str(&format!("{pad}{}\n", self.paint(&line, paint)));
                line.clear();
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        if !line.is_empty() {
            out.push_str(&format!("{pad}{}\n", self.paint(&line, paint)));
        }
        out
    }

    /// A line as it is, with its spaces, broken where the terminal ends. Each part stands after the prefix.
    pub(super) fn verbatim(self, text: &str, prefix: &str, paint: Paint) -> String {
        let room = self
            .width
            .map(|all| all.saturating_sub(prefix.width()).max(1));
        let mut out = String::new();
        let mut part = String::new();
        let mut used = 0;
        for c in text.chars() {
            let width = c.width().unwrap_or(0);
            if room.is_some_and(|room| used + width > room) && !part.is_empty() {
                out.push_str(&format!("{prefix}{}\n", self.paint(&part, paint)));
                part.clear();
                used = 0;
            }
            part.push(c);
            used += width;
        }
        out.push_str(&format!("{prefix}{}\n", self.paint(&part, paint)));
        out
    }
}

impl Grid {
    pub(super) fn new(indent: usize, columns: Vec<Column>) -> Grid {
        Grid {
            indent,
            columns,
            rows: Vec::new(),
        }
    }

    /// Adds a row; it has a cell for each column.
    pub(super) fn push(&mut self, row: Vec<Cell>) {
        debug_assert_eq!(row.len(), self.columns.len(), "a cell for each column");
        self.rows.push(row);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The titles, then each row, every one a line with its line feed.
    pub(super) fn lines(&self, look: Look) -> (String, Vec<String>) {
        let widths = self.fit(look.width);
        let titles: Vec<Cell> = self
            .columns
            .iter()
            .map(|column| Cell::new(column.title, Paint::Dim))
            .collect();
        let rows = self.rows.iter().map(|row| self.row(row, &widths, look));
        (self.row(&titles, &widths, look), rows.collect())
    }

    /// The whole of it as one text.
    pub(super) fn text(&self, look: Look) -> String {
        let (titles, rows) = self.lines(look);
        titles + &rows.concat()
    }

    /// The width of each column, `None` for the ones left out: those without a single text, and those there is no room for.
    fn fit(&self, all: Option<usize>) -> Vec<Option<usize>> {
        let natural = |index: usize| {
            let cells = self.rows.iter().map(|row| row[index].text.width());
            match cells.max() {
                Some(0) => None,
                longest => Some(longest.unwrap_or(0).max(self.columns[index].title.width())),
            }
        };
        let mut widths: Vec<Option<usize>> = (0..self.columns.len()).map(natural).collect();
        let Some(all) = all else {
            return widths;
        };
        let needed = |widths: &[Option<usize>], last: usize| {
            let shown = widths.iter().flatten().count();
            let sum: usize = widths.iter().flatten().sum();
            let tail = widths.last().copied().flatten().unwrap_or(0);
            self.indent + sum - tail + tail.min(last) + GAP * shown.saturating_sub(1)
        };
        let mut order: Vec<usize> = (0..widths.len())
            .filter(|&index| self.columns[index].yields > 0)
            .collect();
        order.sort_by_key(|&index| self.columns[index].yields);
        for index in order {
            if needed(&widths, LAST) > all {
                widths[index] = None;
            }
        }
        let excess = needed(&widths, LAST).saturating_sub(all);
        if let Some(first) = widths.first_mut().and_then(Option::as_mut) {
            *first = first.saturating_sub(excess).max((*first).min(FIRST));
        }
        let excess = needed(&widths, usize::MAX).saturating_sub(all);
        if let Some(last) = widths.last_mut().and_then(Option::as_mut) {
            *last = last.saturating_sub(excess).max(1);
        }
        widths
    }

    fn row(&self, cells: &[Cell], widths: &[Option<usize>], look: Look) -> String {
        let mut out = " ".repeat(self.indent);
        let shown: Vec<_> = (cells.iter().zip(widths).zip(&self.columns))
            .filter_map(|((cell, width), column)| width.map(|width| (cell, width, column.side)))
            .collect();
        for (index, &(cell, width, side)) in shown.iter().enumerate() {
            let text = cut(&cell.text, width);
            let pad = " ".repeat(width - text.width());
            let painted = look.paint(&text, cell.paint);
            let last = index + 1 == shown.len();
            match side {
                Side::Right => out.push_str(&format!("{pad}{painted}")),
                Side::Left => out.push_str(&format!("{painted}{pad}")),
            }
            if !last {
                out.push_str("  ");
            }
        }
        let end = out.trim_end_matches(' ').len();
        out.truncate(end);
        out.push('\n');
        out
    }
}

/// The text in no more than `room` columns, the last of them `…` when something is missing.
fn cut(text: &str, room: usize) -> String {
    if text.width() <= room {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let width = c.width().unwrap_or(0);
        if used + width + 1 > room {
            break;
        }
        out.push(c);
        used += width;
    }
    if room > 0 {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_by_columns_and_not_by_bytes() {
        assert_eq!(cut("grüße", 5), "grüße");
        assert_eq!(cut("grüße!", 5), "grüß…");
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(cut("abc", 0), "");
    }

    #[test]
    fn no_line_is_longer_than_the_terminal() {
        let column = |title, yields| Column {
            title,
            side: Side::Left,
            yields,
        };
        let mut grid = Grid::new(
            2,
            vec![
                column("NAME", 0),
                column("A", 2),
                column("B", 1),
                column("LAST", 0),
            ],
        );
        grid.push(
            [
                "a name of some length",
                "aaaaaaaa",
                "bbbbbbbb",
                "and a last one that is much too long",
            ]
            .map(Cell::plain)
            .to_vec(),
        );
        for width in 20..100 {
            let look = Look {
                width: Some(width),
                colour: Colour::Off,
            };
            for line in grid.text(look).lines() {
                assert!(line.width() <= width, "{width}: {line}");
            }
        }
    }
}
