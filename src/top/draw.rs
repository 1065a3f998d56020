//! The screen as cells: what [`Top`] knows, painted.

use ratatui::Frame;
use ratatui::layout::{Rect, Size};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line as Row, Span};
use ratatui::widgets::Clear;
use unicode_width::UnicodeWidthStr as _;

use super::{Mode, Note, Top};
use crate::http::{Bounds, Order};
use crate::pools::Slot;
use crate::status::explain::explain;
use crate::status::table::Table;
use crate::status::words::printable;
use crate::status::{Cell, Colour, Line, Page, Paint};

/// The lines at the bottom: a sentence, and the keys.
pub(super) const FOOT: usize = 2;

/// The keys of the table, with what they do; the first ones have room on any terminal.
const KEYS: &[(&str, &str)] = &[
    ("q", "quit"),
    ("?", "help"),
    ("+ - s", "scale"),
    ("r", "restart"),
    ("x", "stop"),
    ("a", "as in the file"),
    ("p", "pause"),
    ("l", "logs"),
    ("e", "explain"),
    ("⏎", "fold"),
    ("/", "filter"),
];

/// The keys of what is only read.
const READING: &[(&str, &str)] = &[
    ("Esc", "back"),
    ("↑ ↓ PgUp PgDn", "scroll"),
    ("End", "to the end"),
];

/// The keys of a text that is written.
const WRITING: &[(&str, &str)] = &[("⏎", "done"), ("Esc", "never mind")];

/// The keys of a question.
const ASKING: &[(&str, &str)] = &[("y", "yes"), ("any other key", "no")];

const HELP: &str = "\
The same as \"gearpool status\", anew each second. What a key does concerns the line that is marked: a function, a pool, or a process.

  ↑ ↓  k j          choose a line
  PgUp PgDn         a page up or down
  Home End  g G     the first, the last
  ⏎  ← →            hide a pool's processes, show them
  /                 show only what has a text in its name; Esc shows all

  + -               one process more, one fewer than there are to be
  s                 scale: hold the pool at a number, or between two
  a                 as in the file: undo scale and stop
  r                 restart the pool, or the one process: new before old, each when its job is done
  x                 stop the pool: its processes finish their jobs, its queue stays
  p                 pause the function's queue, or resume it: jobs come in and wait
  l                 logs: what the pool's processes write, or the one does
  e                 explain: why the pool has its size

  Ctrl-Z            back to the shell for a while; \"fg\" comes back
  q  Ctrl-C         quit

The same by command: gearpool scale, start, restart, stop, pause, resume, logs, explain. What was scaled, stopped or paused by hand \
stays so until the file changes it, or the daemon starts anew.";

/// Paints the screen.
pub fn draw(top: &Top, frame: &mut Frame<'_>, colour: Colour) {
    let brush = Brush {
        colour,
        stale: top.silent.is_some(),
    };
    let keys = match &top.mode {
        Mode::Table => KEYS,
        Mode::Confirm(_) => ASKING,
        Mode::Scale { .. } | Mode::Filter => WRITING,
        Mode::Log(_) | Mode::Explain { .. } | Mode::Help { .. } => READING,
    };
    let position = match &top.mode {
        Mode::Table | Mode::Confirm(_) | Mode::Scale { .. } | Mode::Filter => {
            brush.table(top, frame)
        }
        Mode::Log(log) => {
            let rows = log.rows(body(top.size));
            let rows: Vec<Line> = rows.iter().map(|row| plain(row)).collect();
            let place = name(&log.pool, log.slot);
            let title = match log.follows() {
                true => format!("{place}: what it writes, as it comes"),
                false => format!("{place}: what it wrote; End goes on to what comes"),
            };
            brush.read(&title, &rows, frame);
            match rows.is_empty() {
                true => "nothing yet".to_owned(),
                false => String::new(),
            }
        }
        Mode::Explain { pool, scroll } => {
            let title = format!("{}: why it has its size", printable(pool));
            brush.text(&title, *scroll, top, frame)
        }
        Mode::Help { scroll } => brush.text("gearpool top", *scroll, top, frame),
    };
    brush.foot(&said(top, position), keys, frame);
}

/// How many of the lines about the daemon are shown on so many rows.
pub(super) fn head(rows: usize, table: &Table) -> usize {
    table.head.min(rows / 2)
}

/// The room of what is only read: all but its title and the foot.
pub(super) fn body(size: Size) -> Size {
    let rows = usize::from(size.height).saturating_sub(1 + FOOT);
    Size::new(size.width, u16::try_from(rows).unwrap_or(u16::MAX))
}

/// The lines of what is read now; none where it is the table or a log.
pub(super) fn reading(top: &Top) -> Vec<Line> {
    let text = match &top.mode {
        Mode::Explain { pool, .. } => {
            let gone = || format!("{} is no pool any more.", printable(pool));
            explain(&top.status, pool).unwrap_or_else(gone)
        }
        Mode::Help { .. } => HELP.to_owned(),
        Mode::Table | Mode::Confirm(_) | Mode::Scale { .. } | Mode::Filter | Mode::Log(_) => {
            return Vec::new();
        }
    };
    broken(&text, top.size.width, Paint::Plain)
}

/// A text on a screen of this width: what is indented keeps its spaces, the rest is broken between words.
fn broken(text: &str, width: u16, paint: Paint) -> Vec<Line> {
    let mut page = Page::new(Some(width.into()));
    for line in text.lines() {
        match line.starts_with(' ') || line.is_empty() {
            true => page.verbatim(&printable(line), "", paint),
            false => page.sentence(&printable(line), 0, paint),
        }
    }
    page.lines().to_vec()
}

/// An order as it would be given on the command line.
pub(super) fn sentence(order: &Order) -> String {
    match order {
        Order::Reload => "reload".to_owned(),
        Order::Scale(pool, Bounds { min, max }) if min == max => {
            format!("scale {} {min}", printable(pool))
        }
        Order::Scale(pool, Bounds { min, max }) => {
            format!("scale {} {min}..{max}", printable(pool))
        }
        Order::Start(pool) => format!("start {}", printable(pool)),
        Order::Stop(pool) => format!("stop {}", printable(pool)),
        Order::Restart(pool, slot) => format!("restart {}", name(pool, *slot)),
        Order::Pause(function) => format!("pause {}", printable(function)),
        Order::Resume(function) => format!("resume {}", printable(function)),
    }
}

fn name(pool: &str, slot: Option<Slot>) -> String {
    let pool = printable(pool);
    slot.map_or(pool.clone(), |slot| format!("{pool}/{}", slot.0))
}

/// What is said at the bottom: a question before a trouble before an answer.
fn said(top: &Top, position: String) -> Cell {
    match (&top.mode, &top.silent, &top.note) {
        (Mode::Confirm(order), _, _) => {
            let meaning = match order {
                Order::Stop(_) => "its processes finish their jobs and end, and none is started",
                _ => "new before old, each when its job is done",
            };
            Cell::new(format!("{}? {meaning}", sentence(order)), Paint::Warn)
        }
        (Mode::Scale { .. }, _, Some(Note::Refused(error))) => Cell::new(error.clone(), Paint::Bad),
        (Mode::Scale { pool, text }, _, _) => {
            let pool = printable(pool);
            Cell::new(
                format!("{pool}: how many? N, or MIN..MAX: {text}█"),
                Paint::Warn,
            )
        }
        (Mode::Filter, _, _) => {
            let text = format!("only with this in its name: {}█", printable(&top.filter));
            Cell::new(text, Paint::Warn)
        }
        (_, Some(silent), _) => Cell::new(format!("{silent}; trying again"), Paint::Alarm),
        (_, None, Some(Note::Asked(sentence))) => Cell::new(format!("{sentence} …"), Paint::Dim),
        (_, None, Some(Note::Done(sentence))) => Cell::new(sentence.clone(), Paint::Good),
        (_, None, Some(Note::Refused(sentence))) => Cell::new(sentence.clone(), Paint::Bad),
        (_, None, None) => Cell::new(position, Paint::Dim),
    }
}

fn plain(text: &str) -> Line {
    let mut line = Line::default();
    line.cells.push(Cell::plain(text));
    line
}

/// How cells are coloured.
#[derive(Clone, Copy, Debug)]
struct Brush {
    colour: Colour,
    /// What is shown is not how it is now.
    stale: bool,
}

impl Brush {
    /// The snapshot, and where in it we are.
    fn table(self, top: &Top, frame: &mut Frame<'_>) -> String {
        let table = top.table();
        let rows = usize::from(top.size.height);
        let (about_daemon, lines) = table.page.lines().split_at(table.head);
        let head = head(rows, &table);
        for (row, line) in about_daemon[..head].iter().enumerate() {
            self.row(line, row, frame);
        }
        let room = top.room(&table);
        let marked = table
            .subjects
            .get(top.place)
            .map(|(line, _)| line - table.head);
        let shown = lines.iter().enumerate().skip(top.scroll).take(room);
        for (index, line) in shown {
            let row = head + index - top.scroll;
            self.row(line, row, frame);
            if marked == Some(index) {
                let area = self.area(row, frame);
                frame.buffer_mut().set_style(area, Modifier::REVERSED);
            }
        }
        let filter = match top.filter.is_empty() {
            true => String::new(),
            false => format!("  only \"{}\", Esc shows all", printable(&top.filter)),
        };
        let position = position(top.scroll, room, lines.len());
        format!("{position}{filter}").trim_start().to_owned()
    }

    /// A text that is scrolled, and where in it we are.
    fn text(self, title: &str, scroll: usize, top: &Top, frame: &mut Frame<'_>) -> String {
        let lines = reading(top);
        let room = usize::from(body(top.size).height);
        let scroll = scroll.min(lines.len().saturating_sub(room));
        self.read(title, &lines[scroll..], frame);
        position(scroll, room, lines.len())
    }

    /// A title, and as many of the lines as there is room for.
    fn read(self, title: &str, lines: &[Line], frame: &mut Frame<'_>) {
        let area = self.area(0, frame);
        frame.buffer_mut().set_style(area, Modifier::REVERSED);
        self.row(&plain(title), 0, frame);
        let room = usize::from(body(frame.area().as_size()).height);
        for (row, line) in lines.iter().take(room).enumerate() {
            self.row(line, row + 1, frame);
        }
    }

    /// The sentence, on more rows than one where it has to, and the keys.
    fn foot(self, said: &Cell, keys: &[(&str, &str)], frame: &mut Frame<'_>) {
        let bottom = usize::from(frame.area().height);
        let lines = broken(&said.text, frame.area().width, said.paint);
        let shown = lines.len().min(bottom.saturating_sub(1));
        for (row, line) in lines[..shown].iter().enumerate() {
            let row = bottom.saturating_sub(1 + shown) + row;
            frame.render_widget(Clear, self.area(row, frame));
            Brush {
                stale: false,
                ..self
            }
            .row(line, row, frame);
        }
        let mut line = Line::default();
        let mut used = 0;
        for (key, does) in keys {
            let does = format!(" {does}  ");
            used += key.width() + does.width();
            if used > usize::from(frame.area().width) {
                break;
            }
            line.cells.push(Cell::new(*key, Paint::Bold));
            line.cells.push(Cell::plain(does));
        }
        if bottom > 0 {
            self.row(&line, bottom - 1, frame);
        }
    }

    fn row(self, line: &Line, row: usize, frame: &mut Frame<'_>) {
        let spans = line.cells.iter();
        let spans: Vec<Span<'_>> = spans
            .map(|cell| Span::styled(cell.text.as_str(), self.style(cell.paint)))
            .collect();
        frame.render_widget(Row::from(spans), self.area(row, frame));
    }

    /// A row of the screen; an empty one where there is none.
    fn area(self, row: usize, frame: &Frame<'_>) -> Rect {
        let row = u16::try_from(row).unwrap_or(u16::MAX);
        Rect::new(0, row, frame.area().width, 1).intersection(frame.area())
    }

    fn style(self, paint: Paint) -> Style {
        let style = Style::new();
        match (self.colour, paint) {
            (Colour::On, _) if self.stale => style.add_modifier(Modifier::DIM),
            (_, Paint::Plain) => style,
            (_, Paint::Bold) => style.add_modifier(Modifier::BOLD),
            (Colour::On, Paint::Dim) => style.add_modifier(Modifier::DIM),
            (Colour::On, Paint::Good) => style.fg(Color::Green),
            (Colour::On, Paint::Warn) => style.fg(Color::Yellow),
            (Colour::On, Paint::Bad) => style.fg(Color::Red).add_modifier(Modifier::BOLD),
            (Colour::On, Paint::Alarm) => {
                let style = style.fg(Color::White).bg(Color::Red);
                style.add_modifier(Modifier::BOLD)
            }
            (Colour::Off, Paint::Alarm) => style.add_modifier(Modifier::REVERSED),
            (Colour::Off, Paint::Bad) => style.add_modifier(Modifier::BOLD),
            (Colour::Off, Paint::Dim | Paint::Good | Paint::Warn) => style,
        }
    }
}

/// `lines 21 to 40 of 215`; nothing when all are shown.
fn position(first: usize, room: usize, all: usize) -> String {
    match all > room {
        true => format!(
            "lines {} to {} of {all}",
            first + 1,
            (first + room).min(all)
        ),
        false => String::new(),
    }
}
