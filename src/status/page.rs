//! PURE. Lines of text in their colours, for a terminal of a known width.
//!
//! What is to be shown is laid out here first, as lines of cells, and only then becomes text with escape sequences, or the cells of a
//! screen (`gearpool top`): so both show the same. Widths are those that a terminal gives the characters, not bytes.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::grid::Grid;

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
pub enum Paint {
    /// As the terminal has it.
    Plain,
    /// Less important than the rest.
    Dim,
    /// A title.
    Bold,
    /// As it should be.
    Good,
    /// Not as usual, or made so by hand.
    Warn,
    /// Wrong.
    Bad,
    /// Wrong, and the first thing to look at.
    Alarm,
}

/// A text and its colour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Printable, without a line feed.
    pub text: String,
    /// Its colour.
    pub paint: Paint,
}

/// Texts side by side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// From the left.
    pub cells: Vec<Cell>,
}

/// Lines, one under the other.
#[derive(Clone, Debug)]
pub struct Page {
    width: Option<usize>,
    lines: Vec<Line>,
}

/// Between two texts of a line.
pub(super) const GAP: usize = 2;

impl Cell {
    /// A text in a colour.
    pub fn new(text: impl Into<String>, paint: Paint) -> Cell {
        Cell {
            text: text.into(),
            paint,
        }
    }

    /// A text in none.
    pub fn plain(text: impl Into<String>) -> Cell {
        Cell::new(text, Paint::Plain)
    }
}

impl Line {
    pub(super) fn push(&mut self, cell: Cell) {
        self.cells.push(cell);
    }

    pub(super) fn space(&mut self, columns: usize) {
        if columns > 0 {
            self.push(Cell::plain(" ".repeat(columns)));
        }
    }

    fn text(&self, colour: Colour, out: &mut String) {
        for Cell { text, paint } in &self.cells {
            let code = match paint {
                Paint::Plain => None,
                Paint::Dim => Some("2"),
                Paint::Bold => Some("1"),
                Paint::Good => Some("32"),
                Paint::Warn => Some("33"),
                Paint::Bad => Some("1;31"),
                Paint::Alarm => Some("1;37;41"),
            };
            match (colour, code) {
                (Colour::On, Some(code)) if !text.is_empty() => {
                    out.push_str(&format!("\x1b[{code}m{text}\x1b[0m"));
                }
                _ => out.push_str(text),
            }
        }
        out.push('\n');
    }
}

impl Page {
    /// An empty one, `width` columns wide; with `None` no line is broken or cut.
    pub fn new(width: Option<usize>) -> Page {
        Page {
            width,
            lines: Vec::new(),
        }
    }

    /// Its lines.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// All of it as text, each line with its line feed.
    pub fn text(&self, colour: Colour) -> String {
        let mut out = String::new();
        for line in &self.lines {
            line.text(colour, &mut out);
        }
        out
    }

    pub(super) fn push(&mut self, line: Line) {
        self.lines.push(line);
    }

    pub(super) fn blank(&mut self) {
        self.push(Line::default());
    }

    /// A grid with its titles.
    pub(super) fn grid(&mut self, grid: &Grid) {
        let (titles, rows) = grid.lines(self.width);
        self.push(titles);
        self.lines.extend(rows);
    }

    /// The titles of a grid, and its rows, to be put in place one by one.
    pub(super) fn rows(&self, grid: &Grid) -> (Line, Vec<Line>) {
        grid.lines(self.width)
    }

    /// The cells one after another, two spaces between them, on as many lines as they need.
    pub(super) fn flow(&mut self, cells: &[Cell], indent: usize) {
        let mut line = Line::default();
        let mut used = 0;
        for cell in cells {
            let width = cell.text.width();
            let fits = self.width.is_none_or(|all| used + GAP + width <= all);
            if used == 0 {
                used = width;
            } else if fits {
                line.space(GAP);
                used += GAP + width;
            } else {
                self.lines.push(std::mem::take(&mut line));
                line.space(indent);
                used = indent + width;
            }
            line.push(cell.clone());
        }
        self.push(line);
    }

    /// A sentence, each of its lines indented and broken between words.
    pub fn sentence(&mut self, text: &str, indent: usize, paint: Paint) {
        let mut part = String::new();
        for word in text.split_whitespace() {
            let longer = indent + part.width() + 1 + word.width();
            if !part.is_empty() && self.width.is_some_and(|all| longer > all) {
                self.part(&" ".repeat(indent), &mut part, paint);
            }
            if !part.is_empty() {
                part.push(' ');
            }
            part.push_str(word);
        }
        if !part.is_empty() {
            self.part(&" ".repeat(indent), &mut part, paint);
        }
    }

    /// A line as it is, with its spaces, broken where the terminal ends. Each part stands after the prefix.
    pub fn verbatim(&mut self, text: &str, prefix: &str, paint: Paint) {
        let room = self
            .width
            .map(|all| all.saturating_sub(prefix.width()).max(1));
        let mut part = String::new();
        let mut used = 0;
        for c in text.chars() {
            let width = c.width().unwrap_or(0);
            if room.is_some_and(|room| used + width > room) && !part.is_empty() {
                self.part(prefix, &mut part, paint);
                used = 0;
            }
            part.push(c);
            used += width;
        }
        self.part(prefix, &mut part, paint);
    }

    /// A line of a text that may go on, which leaves nothing of it in `part`.
    fn part(&mut self, prefix: &str, part: &mut String, paint: Paint) {
        let mut line = Line::default();
        if !prefix.is_empty() {
            line.push(Cell::plain(prefix));
        }
        line.push(Cell::new(std::mem::take(part), paint));
        self.push(line);
    }
}
