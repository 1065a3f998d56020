//! PURE. `gearpool top`: the status as a screen, with keys that give orders.
//!
//! [`Top`] hears of keys and of what the daemon says, and answers with what is to be done; [`draw()`] paints it. The lines are those of
//! [`table`], so that `top` and `status` show the same. The terminal, the daemon and the files belong to `cli::top`.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod draw;
mod log;
mod rates;

pub use draw::draw;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::Size;

use self::log::Log;
use self::rates::Rates;
use crate::http::{Bounds, Order};
use crate::pools::Slot;
use crate::status::table::{Subject, Table, View, table};
use crate::status::{PoolStatus, Status};

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// The user has pressed a key.
    Key(KeyEvent),
    /// The terminal has another size.
    Resized(Size),
    /// The daemon says how all is.
    Status(Box<Status>),
    /// The daemon does not say it, and why.
    Silent(String),
    /// An order was carried out, or not: the daemon's sentence.
    Answered(Result<String, String>),
    /// Workers wrote this, which follows what came before.
    Written(Vec<u8>),
    /// Their output cannot be read, and why.
    Unreadable(String),
    /// The terminal is gone, or somebody wants us to end.
    Ended,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Have the daemon do something.
    Give(Order),
    /// Read the output of a pool's processes, or of one slot, from its last lines on.
    Follow(String, Option<Slot>),
    /// Stop reading it.
    Unfollow,
    /// Give the terminal back to the shell until it wants us to go on.
    Suspend,
    /// End.
    Quit,
}

/// The screen.
#[derive(Debug)]
pub struct Top {
    size: Size,
    status: Box<Status>,
    /// Why the daemon says nothing now.
    silent: Option<String>,
    rates: Rates,
    /// How the table is to be: the processes of these pools are hidden.
    view: View,
    /// Only what has this in its name is shown.
    filter: String,
    /// What the keys are about.
    selected: Option<Subject>,
    /// Its place among the subjects, for when it is gone.
    place: usize,
    /// The first line of the table's body that is shown.
    scroll: usize,
    mode: Mode,
    note: Option<Note>,
}

/// What the keys do.
#[derive(Debug)]
enum Mode {
    /// Choose what to give orders about.
    Table,
    /// Say yes or no.
    Confirm(Order),
    /// Write a pool's bounds.
    Scale { pool: String, text: String },
    /// Write what a name has to contain.
    Filter,
    /// Read what workers write.
    Log(Log),
    /// Read why a pool has its size.
    Explain { pool: String, scroll: usize },
    /// Read what the keys do.
    Help { scroll: usize },
}

/// A sentence at the bottom.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Note {
    /// An order is on its way.
    Asked(String),
    /// It was carried out.
    Done(String),
    /// It was not, or a key makes no sense here.
    Refused(String),
}

/// A step for a list that is scrolled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Lines(isize),
    Pages(isize),
    First,
    Last,
}

impl Top {
    /// A screen of this size, with what is known.
    pub fn new(size: Size, status: Box<Status>) -> Top {
        let mut rates = Rates::default();
        rates.of(&status);
        let mut top = Top {
            size,
            status,
            silent: None,
            rates,
            view: View {
                width: Some(size.width.into()),
                ..View::default()
            },
            filter: String::new(),
            selected: None,
            place: 0,
            scroll: 0,
            mode: Mode::Table,
            note: None,
        };
        top.settle();
        top
    }

    /// Takes what happened, and says what to do about it.
    pub fn handle(&mut self, event: Event) -> Option<Action> {
        let action = match event {
            Event::Key(key) => self.key(key),
            Event::Resized(size) => {
                self.size = size;
                self.view.width = Some(size.width.into());
                None
            }
            Event::Status(status) => {
                self.view.rates = self.rates.of(&status);
                self.status = status;
                self.silent = None;
                None
            }
            Event::Silent(why) => {
                self.silent = Some(why);
                None
            }
            Event::Answered(answer) => {
                self.note = Some(match answer {
                    Ok(sentence) => Note::Done(sentence),
                    Err(sentence) => Note::Refused(sentence),
                });
                None
            }
            Event::Written(bytes) => {
                if let Mode::Log(log) = &mut self.mode {
                    log.feed(&bytes);
                }
                None
            }
            Event::Unreadable(why) => {
                self.note = Some(Note::Refused(why));
                None
            }
            Event::Ended => Some(Action::Quit),
        };
        self.settle();
        action
    }

    /// Keeps the selection on something that there is, and in sight.
    fn settle(&mut self) {
        if matches!(self.mode, Mode::Log(_)) {
            // a flood of lines comes ten times a second, and the table is not in sight
            return;
        }
        let table = self.table();
        let subjects = &table.subjects;
        let found = subjects
            .iter()
            .position(|(_, it)| Some(it) == self.selected.as_ref());
        // What one comes for is the pools; without any, the functions.
        let first_pool = || {
            subjects
                .iter()
                .position(|(_, it)| matches!(it, Subject::Pool(_)))
        };
        let place = match (found, &self.selected) {
            (Some(place), _) => place,
            (None, Some(_)) if !matches!(self.mode, Mode::Filter) => {
                self.place.min(subjects.len().saturating_sub(1))
            }
            (None, _) => first_pool().unwrap_or(0),
        };
        self.place = place;
        self.selected = subjects.get(place).map(|(_, it)| it.clone());
        let lines = table.page.lines().len() - table.head;
        let room = self.room(&table);
        if let Some(&(line, _)) = subjects.get(place) {
            let line = line - table.head;
            // At the first one the lines above it, which are no subjects, come into sight too.
            let top = if place == 0 { 0 } else { line };
            self.scroll = self.scroll.min(top);
            self.scroll = self.scroll.max((line + 1).saturating_sub(room));
        }
        self.scroll = self.scroll.min(lines.saturating_sub(room));
    }

    /// The snapshot as lines, or as much of it as the filter lets through.
    fn table(&self) -> Table {
        if self.filter.is_empty() {
            return table(&self.status, &self.view);
        }
        let filter = self.filter.to_lowercase();
        let matches = |name: &String| name.to_lowercase().contains(&filter);
        let mut status = Status::clone(&self.status);
        status.functions.retain(|it| matches(&it.name));
        status
            .pools
            .retain(|it| matches(&it.pool.name) || it.pool.functions.iter().any(matches));
        status
            .other_workers
            .retain(|it| it.functions.iter().any(matches));
        table(&status, &self.view)
    }

    /// How many lines of the table's body can be seen.
    fn room(&self, table: &Table) -> usize {
        let rows = usize::from(self.size.height);
        rows.saturating_sub(draw::head(rows, table) + draw::FOOT)
    }

    fn key(&mut self, key: KeyEvent) -> Option<Action> {
        if key.kind == KeyEventKind::Release {
            return None;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            match key.code {
                KeyCode::Char('c') => return Some(Action::Quit),
                KeyCode::Char('z') => return Some(Action::Suspend),
                _ => {}
            }
        }
        // An answer stays until the next key.
        if !matches!(self.note, Some(Note::Asked(_))) {
            self.note = None;
        }
        match &mut self.mode {
            Mode::Table => self.on_table(key),
            Mode::Confirm(order) => {
                let order = order.clone();
                self.mode = Mode::Table;
                match key.code {
                    KeyCode::Char('y' | 'Y') => self.give(order),
                    _ => None,
                }
            }
            Mode::Scale { pool, text } => match key.code {
                KeyCode::Enter => match text.parse::<Bounds>() {
                    Ok(bounds) => {
                        let order = Order::Scale(pool.clone(), bounds);
                        self.mode = Mode::Table;
                        self.give(order)
                    }
                    Err(error) => self.refuse(error),
                },
                code => self.typed(code),
            },
            Mode::Filter => match key.code {
                KeyCode::Enter => {
                    self.mode = Mode::Table;
                    None
                }
                code => {
                    if code == KeyCode::Esc {
                        self.filter.clear();
                    }
                    self.typed(code)
                }
            },
            Mode::Log(log) => match (key.code, step(key)) {
                (KeyCode::Esc | KeyCode::Char('q' | 'l'), _) => {
                    self.mode = Mode::Table;
                    Some(Action::Unfollow)
                }
                (_, Some(step)) => {
                    log.scroll(step, draw::body(self.size));
                    None
                }
                (_, None) => None,
            },
            Mode::Explain { scroll, .. } | Mode::Help { scroll } => {
                match (key.code, step(key)) {
                    (KeyCode::Esc | KeyCode::Char('q' | 'e' | '?' | 'h'), _) => {
                        self.mode = Mode::Table;
                    }
                    (_, Some(step)) => {
                        let page = usize::from(draw::body(self.size).height);
                        let mut to = *scroll;
                        step.on(&mut to, page);
                        self.mode.scroll_to(to, draw::reading(self).len(), page);
                    }
                    (_, None) => {}
                }
                None
            }
        }
    }

    fn on_table(&mut self, key: KeyEvent) -> Option<Action> {
        if let Some(step) = step(key) {
            self.step(step);
            return None;
        }
        match key.code {
            KeyCode::Char('q') => return Some(Action::Quit),
            KeyCode::Char('?' | 'h') | KeyCode::F(1) => self.mode = Mode::Help { scroll: 0 },
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Enter | KeyCode::Char(' ') => self.fold(None),
            KeyCode::Left => self.fold(Some(true)),
            KeyCode::Right => self.fold(Some(false)),
            KeyCode::Char('+' | '=') => return self.scale_by(1),
            KeyCode::Char('-') => return self.scale_by(-1),
            KeyCode::Char(letter @ ('s' | 'a' | 'x' | 'r' | 'l' | 'e' | 'p')) => {
                return self.on_selected(letter);
            }
            _ => {}
        }
        None
    }

    /// A key that is about a pool, or about one of its processes or functions.
    fn on_selected(&mut self, letter: char) -> Option<Action> {
        let subject = self.selected.clone()?;
        if letter == 'p' {
            return self.pause(&subject);
        }
        let (pool, slot) = match self.pool_of(&subject) {
            Ok(it) => (it.pool.name.clone(), slot_of(&subject)),
            Err(sentence) => return self.refuse(sentence),
        };
        match letter {
            's' => {
                let text = String::new();
                self.mode = Mode::Scale { pool, text };
                None
            }
            'a' => self.give(Order::Start(pool)),
            'x' => self.confirm(Order::Stop(pool)),
            'r' => self.confirm(Order::Restart(pool, slot)),
            'l' => {
                self.mode = Mode::Log(Log::new(pool.clone(), slot));
                Some(Action::Follow(pool, slot))
            }
            'e' => {
                self.mode = Mode::Explain { pool, scroll: 0 };
                None
            }
            _ => None,
        }
    }

    /// The pool that a line has to do with.
    fn pool_of(&self, subject: &Subject) -> Result<&PoolStatus, String> {
        let pools = &self.status.pools;
        let named = |name: &str| pools.iter().find(|it| it.pool.name == name);
        match subject {
            Subject::Pool(name) | Subject::Process(name, _) => {
                named(name).ok_or_else(|| format!("{name} is no pool any more"))
            }
            Subject::Function(function) => {
                let mut serving = pools
                    .iter()
                    .filter(|it| it.pool.functions.contains(function));
                match (serving.next(), serving.next()) {
                    (Some(pool), None) => Ok(pool),
                    (None, _) => Err(format!("no pool serves {function}")),
                    (Some(_), Some(_)) => Err(format!(
                        "several pools serve {function}: choose one of them"
                    )),
                }
            }
            Subject::Worker(peer) => Err(format!(
                "the worker at {peer} was not started by Gearpool, which can do nothing about it"
            )),
        }
    }

    /// Holds a function's queue, or gives its jobs out again.
    fn pause(&mut self, subject: &Subject) -> Option<Action> {
        let function = match subject {
            Subject::Function(function) => Ok(function.clone()),
            other => self
                .pool_of(other)
                .and_then(|it| match &it.pool.functions[..] {
                    [function] => Ok(function.clone()),
                    several => Err(format!(
                        "{} serves {} functions: choose one of them",
                        it.pool.name,
                        several.len()
                    )),
                }),
        };
        let function = match function {
            Ok(function) => function,
            Err(sentence) => return self.refuse(sentence),
        };
        let mut loads = self.status.functions.iter();
        let is_paused = loads.any(|it| it.name == function && it.paused);
        self.give(match is_paused {
            true => Order::Resume(function),
            false => Order::Pause(function),
        })
    }

    /// One process more, or one fewer, than the pool is to have now.
    fn scale_by(&mut self, difference: i32) -> Option<Action> {
        let subject = self.selected.clone()?;
        let (pool, target) = match self.pool_of(&subject) {
            Ok(it) => (it.pool.name.clone(), it.pool.target),
            Err(sentence) => return self.refuse(sentence),
        };
        let target = target.saturating_add_signed(difference);
        // The next key counts from here, also before the daemon has answered.
        let mut pools = self.status.pools.iter_mut();
        if let Some(held) = pools.find(|it| it.pool.name == pool) {
            held.pool.target = target;
        }
        let bounds = Bounds {
            min: target,
            max: target,
        };
        self.give(Order::Scale(pool, bounds))
    }

    fn give(&mut self, order: Order) -> Option<Action> {
        self.note = Some(Note::Asked(draw::sentence(&order)));
        Some(Action::Give(order))
    }

    fn confirm(&mut self, order: Order) -> Option<Action> {
        self.mode = Mode::Confirm(order);
        None
    }

    fn refuse(&mut self, sentence: String) -> Option<Action> {
        self.note = Some(Note::Refused(sentence));
        None
    }

    /// A key for a text that is being written.
    fn typed(&mut self, code: KeyCode) -> Option<Action> {
        let text = match &mut self.mode {
            Mode::Scale { text, .. } => text,
            _ => &mut self.filter,
        };
        match code {
            KeyCode::Char(letter) if text.len() < LONGEST => text.push(letter),
            KeyCode::Backspace => {
                text.pop();
            }
            KeyCode::Esc => self.mode = Mode::Table,
            _ => {}
        }
        None
    }

    fn step(&mut self, step: Step) {
        let table = self.table();
        let mut place = self.place;
        step.on(&mut place, self.room(&table).max(1));
        place = place.min(table.subjects.len().saturating_sub(1));
        self.selected = table.subjects.get(place).map(|(_, it)| it.clone());
        self.place = place;
    }

    /// Hides the processes of the selected pool, or shows them; the other way round when it is not said.
    fn fold(&mut self, hide: Option<bool>) {
        let Some(Subject::Pool(pool) | Subject::Process(pool, _)) = self.selected.clone() else {
            return;
        };
        match hide.unwrap_or(!self.view.folded.contains(&pool)) {
            true => self.view.folded.insert(pool.clone()),
            false => self.view.folded.remove(&pool),
        };
        self.selected = Some(Subject::Pool(pool));
    }
}

/// A text that is written here is no longer, in bytes.
const LONGEST: usize = 64;

impl Mode {
    fn scroll_to(&mut self, to: usize, lines: usize, page: usize) {
        if let Mode::Explain { scroll, .. } | Mode::Help { scroll } = self {
            *scroll = to.min(lines.saturating_sub(page));
        }
    }
}

impl Step {
    /// Takes the step from `place`, on pages of so many lines. The end is for the caller to find.
    fn on(self, place: &mut usize, page: usize) {
        let page = isize::try_from(page).unwrap_or(isize::MAX);
        *place = match self {
            Step::Lines(lines) => place.saturating_add_signed(lines),
            Step::Pages(pages) => place.saturating_add_signed(pages.saturating_mul(page)),
            Step::First => 0,
            Step::Last => usize::MAX,
        };
    }
}

fn step(key: KeyEvent) -> Option<Step> {
    Some(match key.code {
        KeyCode::Up | KeyCode::Char('k') => Step::Lines(-1),
        KeyCode::Down | KeyCode::Char('j') => Step::Lines(1),
        KeyCode::PageUp => Step::Pages(-1),
        KeyCode::PageDown => Step::Pages(1),
        KeyCode::Home | KeyCode::Char('g') => Step::First,
        KeyCode::End | KeyCode::Char('G') => Step::Last,
        _ => return None,
    })
}

fn slot_of(subject: &Subject) -> Option<Slot> {
    match subject {
        Subject::Process(_, slot) => Some(*slot),
        Subject::Function(_) | Subject::Pool(_) | Subject::Worker(_) => None,
    }
}

#[cfg(test)]
mod tests;
