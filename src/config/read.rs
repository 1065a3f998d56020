//! Readers of one value each, which note what is wrong and go on.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::command::{self, Env};
use super::problem::{Problem, quote};
use super::tree::{Node, Place, Value};
use super::units::{parse_duration, parse_size, show_duration, show_size};

/// A key of a map with its value.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) key: &'a str,
    /// Where the key is.
    pub(super) key_place: Place,
    pub(super) node: &'a Node,
}

impl Entry<'_> {
    /// Where its value is; a missing value has no place but its key's.
    pub(super) fn place(&self) -> Place {
        match self.node.value {
            Value::Null => self.key_place,
            Value::Scalar(_) | Value::List(_) | Value::Map(_) => self.node.place,
        }
    }
}

/// A file, as it is read.
#[derive(Clone, Copy)]
pub(super) struct At<'a> {
    /// How the messages name it.
    pub(super) file: &'a str,
    /// Where relative paths in it begin.
    pub(super) folder: &'a Path,
}

/// The problems so far. A reader that returns `None` has added one.
pub(super) struct Reader<'r> {
    pub(super) problems: Vec<Problem>,
    /// The file that is being read.
    pub(super) at: At<'r>,
    /// What `${NAME}` stands for.
    pub(super) env: Env<'r>,
}

impl<'r> Reader<'r> {
    pub(super) fn new(at: At<'r>, env: Env<'r>) -> Reader<'r> {
        Reader {
            problems: Vec::new(),
            at,
            env,
        }
    }

    /// Notes a problem of the file that is being read.
    pub(super) fn problem(&mut self, place: Place, message: impl Into<String>) {
        self.problem_of(self.at.file, place, message);
    }

    /// Notes a problem of another file.
    pub(super) fn problem_of(&mut self, file: &str, place: Place, message: impl Into<String>) {
        self.problems.push(Problem {
            file: file.to_owned(),
            line: place.line,
            column: place.column,
            message: message.into(),
        });
    }

    /// Notes that a value is not what its key needs.
    fn wrong<T>(&mut self, entry: Entry<'_>, wanted: &str) -> Option<T> {
        let key = quote(entry.key);
        let message = match &entry.node.value {
            Value::Null => format!("{key} has no value, it must be {wanted}"),
            value => format!("{key} must be {wanted}, not {}", value.described()),
        };
        self.problem(entry.place(), message);
        None
    }

    /// The entries of a map, each key once; none where the value is left out, as when all of them are commented out.
    pub(super) fn entries<'a>(
        &mut self,
        entry: Entry<'a>,
        example: &str,
    ) -> Option<Vec<Entry<'a>>> {
        match &entry.node.value {
            Value::Null => Some(Vec::new()),
            Value::Map(pairs) => Some(self.pairs(pairs)),
            Value::Scalar(_) | Value::List(_) => {
                self.wrong(entry, &format!("a map, like {example}"))
            }
        }
    }

    /// The entries of a map, each key once.
    pub(super) fn pairs<'a>(&mut self, pairs: &'a [(Node, Node)]) -> Vec<Entry<'a>> {
        let mut first: BTreeMap<&str, Place> = BTreeMap::new();
        let mut entries = Vec::with_capacity(pairs.len());
        for (key, node) in pairs {
            let Value::Scalar(text) = &key.value else {
                let message = format!("a key must be a name, not {}", key.value.described());
                self.problem(key.place, message);
                continue;
            };
            if let Some(first) = first.get(text.as_str()) {
                let message = format!(
                    "{} is here twice, first in line {}",
                    quote(text),
                    first.line
                );
                self.problem(key.place, message);
                continue;
            }
            first.insert(text, key.place);
            entries.push(Entry {
                key: text,
                key_place: key.place,
                node,
            });
        }
        entries
    }

    /// Notes that a text is not what its key needs, as it reads with its variables put in.
    fn no_such<T>(&mut self, entry: Entry<'_>, wanted: &str, text: &str) -> Option<T> {
        let message = format!("{} must be {wanted}, not {}", quote(entry.key), quote(text));
        self.problem(entry.place(), message);
        None
    }

    /// A text with its variables put in.
    fn scalar<'a>(&mut self, entry: Entry<'a>, wanted: &str) -> Option<Cow<'a, str>> {
        match &entry.node.value {
            Value::Scalar(text) => self.fill(entry, text),
            Value::Null | Value::List(_) | Value::Map(_) => self.wrong(entry, wanted),
        }
    }

    /// Puts the values of `${NAME}` and `${NAME:-default}` into a text; `$$` is a `$`, and so is one that begins neither.
    pub(super) fn fill<'a>(&mut self, entry: Entry<'_>, text: &'a str) -> Option<Cow<'a, str>> {
        if !text.contains('$') {
            return Some(Cow::Borrowed(text));
        }
        match command::substitute(text, self.env) {
            Ok(filled) => Some(Cow::Owned(filled)),
            Err(problems) => {
                for problem in problems {
                    self.problem(entry.place(), format!("{} {problem}", quote(entry.key)));
                }
                None
            }
        }
    }

    /// A text that says something. No text of a configuration may hold a NUL: it would end there for the system.
    pub(super) fn text(&mut self, entry: Entry<'_>, wanted: &str) -> Option<String> {
        let text = self.scalar(entry, wanted)?;
        self.said(entry, wanted, &text)
    }

    /// The same, as it stands in the file: its dollars are for somebody else to read.
    pub(super) fn raw_text(&mut self, entry: Entry<'_>, wanted: &str) -> Option<String> {
        match &entry.node.value {
            Value::Scalar(text) => self.said(entry, wanted, text),
            Value::Null | Value::List(_) | Value::Map(_) => self.wrong(entry, wanted),
        }
    }

    fn said(&mut self, entry: Entry<'_>, wanted: &str, text: &str) -> Option<String> {
        if text.trim().is_empty() {
            self.problem(
                entry.place(),
                format!("{} is empty, it must be {wanted}", quote(entry.key)),
            );
            return None;
        }
        self.without_nul(entry, text)
    }

    fn without_nul(&mut self, entry: Entry<'_>, text: &str) -> Option<String> {
        if text.contains('\0') {
            let message = format!("{} holds a NUL, which no text here may", quote(entry.key));
            self.problem(entry.place(), message);
            return None;
        }
        Some(text.to_owned())
    }

    /// A file's or a folder's path. A relative one begins in the folder of the file that says it.
    pub(super) fn path(&mut self, entry: Entry<'_>) -> Option<PathBuf> {
        self.text(entry, "a path")
            .map(|path| self.at.folder.join(path))
    }

    /// A whole number within a range.
    pub(super) fn integer<T: TryFrom<i128>>(
        &mut self,
        entry: Entry<'_>,
        range: RangeInclusive<i128>,
    ) -> Option<T> {
        let wanted = format!("a whole number from {} to {}", range.start(), range.end());
        let text = self.scalar(entry, &wanted)?;
        let number = text.trim().parse::<i128>().ok();
        match number.filter(|number| range.contains(number)) {
            Some(number) => T::try_from(number).ok(),
            None => self.no_such(entry, &wanted, &text),
        }
    }

    /// A duration of at least `least`.
    pub(super) fn duration(&mut self, entry: Entry<'_>, least: Duration) -> Option<Duration> {
        let mut wanted = "a duration, like 30s, 500ms or 1m30s".to_owned();
        if !least.is_zero() {
            wanted.push_str(&format!(", of at least {}", show_duration(least)));
        }
        let text = self.scalar(entry, &wanted)?;
        match parse_duration(&text).filter(|duration| *duration >= least) {
            Some(duration) => Some(duration),
            None => self.no_such(entry, &wanted, &text),
        }
    }

    /// A size within a range, in bytes.
    pub(super) fn size(&mut self, entry: Entry<'_>, range: RangeInclusive<u64>) -> Option<u64> {
        let mut wanted = "a size, like 512k, 10MiB or 1G".to_owned();
        match (*range.start(), *range.end()) {
            (0, u64::MAX) => {}
            (least, u64::MAX) => wanted.push_str(&format!(", of at least {}", show_size(least))),
            (least, most) => {
                wanted.push_str(&format!(
                    ", from {} to {}",
                    show_size(least),
                    show_size(most)
                ));
            }
        }
        let text = self.scalar(entry, &wanted)?;
        match parse_size(&text).filter(|size| range.contains(size)) {
            Some(size) => Some(size),
            None => self.no_such(entry, &wanted, &text),
        }
    }

    /// `true` or `false`, in any of YAML's spellings.
    pub(super) fn truth(&mut self, entry: Entry<'_>) -> Option<bool> {
        const WANTED: &str = "true or false";
        let text = self.scalar(entry, WANTED)?;
        match text.trim().to_lowercase().as_str() {
            "true" | "yes" | "on" => Some(true),
            "false" | "no" | "off" => Some(false),
            _ => self.no_such(entry, WANTED, &text),
        }
    }

    /// One of a few words, in capitals or not.
    pub(super) fn choice<T: Copy>(&mut self, entry: Entry<'_>, choices: &[(&str, T)]) -> Option<T> {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        let wanted = match words.split_last() {
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
            None => return None,
        };
        let text = self.scalar(entry, &wanted)?;
        match choices
            .iter()
            .find(|(word, _)| word.eq_ignore_ascii_case(text.trim()))
        {
            Some((_, choice)) => Some(*choice),
            None => self.no_such(entry, &wanted, &text),
        }
    }

    /// One text, or a list of at least one, each with its own entry for the place.
    pub(super) fn one_or_more<'a>(
        &mut self,
        entry: Entry<'a>,
        wanted: &str,
    ) -> Option<Vec<Entry<'a>>> {
        match &entry.node.value {
            Value::Scalar(_) => Some(vec![entry]),
            Value::List(nodes) if !nodes.is_empty() => {
                Some(nodes.iter().map(|node| Entry { node, ..entry }).collect())
            }
            Value::List(_) => {
                let message = format!("{} is an empty list, it must be {wanted}", quote(entry.key));
                self.problem(entry.place(), message);
                None
            }
            Value::Null | Value::Map(_) => self.wrong(entry, wanted),
        }
    }

    /// Variables: names to texts. A name without a value is an empty text.
    pub(super) fn variables(&mut self, entry: Entry<'_>) -> Option<BTreeMap<String, String>> {
        let mut variables = BTreeMap::new();
        for variable in self.entries(entry, "{APP_ENV: production}")? {
            let name = variable.key;
            if name.is_empty() || name.contains(['=', '\0']) {
                let message = format!("{} is no name of a variable", quote(name));
                self.problem(variable.key_place, message);
                continue;
            }
            let value = match &variable.node.value {
                Value::Null => Some(String::new()),
                Value::Scalar(text) => {
                    let text = self.fill(variable, text);
                    text.and_then(|text| self.without_nul(variable, &text))
                }
                Value::List(_) | Value::Map(_) => self.wrong(variable, "a text"),
            };
            variables.extend(value.map(|value| (name.to_owned(), value)));
        }
        Some(variables)
    }
}

/// Keeps what was there when the value was no good.
pub(super) fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}
