//! What is wrong with a file: every problem, each with its place.

use std::fmt::{self, Display};

/// One problem, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// From 1.
    pub line: u64,
    /// In characters, from 1.
    pub column: u64,
    /// What is wrong and what to write instead, on one line, without a full stop.
    pub message: String,
}

/// All problems of a file, in the file's order; never none. Shown as one line each: `workers.yaml:12:5: unknown key "maxx", …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    /// How the messages name the file.
    pub file: String,
    /// Sorted by place.
    pub problems: Vec<Problem>,
}

impl Problems {
    /// Sorts them. The same problem reached twice, through a YAML alias, is said once.
    pub(super) fn new(file: &str, mut problems: Vec<Problem>) -> Problems {
        problems.sort();
        problems.dedup();
        Problems {
            file: file.to_owned(),
            problems,
        }
    }
}

impl Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            let Problem {
                line,
                column,
                message,
            } = problem;
            let separator = if at == 0 { "" } else { "\n" };
            write!(f, "{separator}{}:{line}:{column}: {message}", self.file)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// A text from the file as a message quotes it: in quotes, on one line, and not all of it when it is long.
pub(super) fn quote(text: &str) -> String {
    const SHOWN: usize = 60;
    let mut quoted = String::from("\"");
    for (at, character) in text.chars().enumerate() {
        if at == SHOWN {
            quoted.push('…');
            break;
        }
        if character.is_control() {
            quoted.extend(character.escape_default());
        } else {
            quoted.push(character);
        }
    }
    quoted.push('"');
    quoted
}
