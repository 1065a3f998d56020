//! PURE. Aligned columns for a terminal of a known width.
//!
//! Knows nothing of jobs and processes. Widths are those that a terminal gives the characters, not bytes. A line never gets longer than
//! the terminal: columns that matter least are left out, then the text is cut with `…`. Without a width (a pipe, a file) nothing is
//! ever cut.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::page::{Cell, GAP, Line, Paint};

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

/// So much of the last column is worth more than the columns that may be left out.
const LAST: usize = 20;
/// So much of the first one, a name, is left when all else has been tried.
const FIRST: usize = 12;

impl Column {
    pub(super) fn new(title: &'static str, side: Side, yields: u8) -> Column {
        Column {
            title,
            side,
            yields,
        }
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

    /// The titles, then each row.
    pub(super) fn lines(&self, width: Option<usize>) -> (Line, Vec<Line>) {
        let widths = self.fit(width);
        let titles: Vec<Cell> = self
            .columns
            .iter()
            .map(|column| Cell::new(column.title, Paint::Dim))
            .collect();
        let rows = self.rows.iter().map(|row| self.row(row, &widths));
        (self.row(&titles, &widths), rows.collect())
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

    fn row(&self, cells: &[Cell], widths: &[Option<usize>]) -> Line {
        let mut line = Line::default();
        let mut gap = self.indent;
        for ((cell, width), column) in cells.iter().zip(widths).zip(&self.columns) {
            let Some(width) = *width else { continue };
            let text = cut(&cell.text, width);
            let pad = width - text.width();
            let (before, after) = match column.side {
                Side::Right => (pad, 0),
                Side::Left => (0, pad),
            };
            // What stands after the last text of a line is left out, so that a gap is only written before the next one.
            if !text.is_empty() {
                line.space(gap + before);
                line.push(Cell::new(text, cell.paint));
                gap = 0;
            } else {
                gap += before;
            }
            gap += after + GAP;
        }
        line
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
    use super::super::page::{Colour, Page};
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
        let column = |title, yields| Column::new(title, Side::Left, yields);
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
            let mut page = Page::new(Some(width));
            page.grid(&grid);
            for line in page.text(Colour::Off).lines() {
                assert!(line.width() <= width, "{width}: {line}");
            }
        }
    }
}
