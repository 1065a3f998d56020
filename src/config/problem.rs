//! What is wrong with a file: every problem, each with its place.

use std::fmt::{self, Display};

/// One problem, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// How the messages name the file that has it.
    pub file: String,
    /// From 1.
    pub line: u64,
    /// In characters, from 1.
    pub column: u64,
    /// What is wrong and what to write instead, on one line, without a full stop.
    pub message: String,
}

/// All problems of a file and of those that it includes, in their order; never none. Shown as one line each: `workers.yaml:12:5: unknown key "maxx", …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    /// Sorted by file and place.
    pub problems: Vec<Problem>,
}

impl Problems {
    /// Sorts them, with the files in this order. The same problem reached twice, through a YAML alias, is said once.
    pub fn new(files: &[&str], mut problems: Vec<Problem>) -> Problems {
        let place = |file: &str| files.iter().position(|known| *known == file);
        problems.sort_by(|one, two| (place(&one.file), one).cmp(&(place(&two.file), two)));
        problems.dedup();
        Problems { problems }
    }
}

impl Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.problems.iter().enumerate() {
            let Problem {
                file,
                line,
                column,
                message,
            } = problem;
            let separator = if at == 0 { "" } else { "\n" };
            write!(f, "{separator}{file}:{line}:{column}: {message}")?;
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
