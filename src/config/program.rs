//! What a pool starts, and what has to succeed before: a command, as a text or as the list of its words.

use std::borrow::Cow;

use super::command;
use super::pool::Own;
use super::problem::quote;
use super::read::{Entry, Reader};
use super::schema::Command;
use super::tree::Value;

/// What a command is for.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    /// It is one of the pool's processes, or checks what they run.
    Process,
    /// One of the pool's processes runs it for each job.
    EachJob,
}

impl Purpose {
    fn words(self, words: Vec<String>) -> Command {
        match self {
            Purpose::Process => Command::Exec(words),
            Purpose::EachJob => Command::Run(words),
        }
    }

    fn shell(self, text: String) -> Command {
        match self {
            Purpose::Process => Command::Shell(text),
            Purpose::EachJob => Command::RunShell(text),
        }
    }
}

/// What a pool starts, from its one of `cmd` and `run`.
pub(super) fn of_pool(
    reader: &mut Reader<'_>,
    pool: Entry<'_>,
    own: &Own<'_>,
    shell: bool,
) -> Option<Command> {
    let (entry, purpose) = match (own.cmd, own.run) {
        (Some(_), Some(run)) => {
            let message = "\"run\" and \"cmd\" exclude each other: cmd is a Gearman worker, run is a command for each job";
            reader.problem(run.key_place, message);
            return None;
        }
        (None, None) => {
            let message = format!("{} needs a \"cmd\" or a \"run\"", quote(pool.key));
            reader.problem(pool.key_place, message);
            return None;
        }
        (Some(cmd), None) => (cmd, Purpose::Process),
        (None, Some(run)) => (run, Purpose::EachJob),
    };
    words(reader, entry, own, shell, purpose)
}

/// A command, from a text or from the list of its words.
pub(super) fn words(
    reader: &mut Reader<'_>,
    entry: Entry<'_>,
    own: &Own<'_>,
    shell: bool,
    purpose: Purpose,
) -> Option<Command> {
    const WANTED: &str = "a command, or the list of its words";
    match &entry.node.value {
        Value::List(nodes) if !nodes.is_empty() => {
            if let Some(shell) = own.shell.filter(|_| shell) {
                let message = format!(
                    "\"shell\" takes {} as one text, not as a list",
                    quote(entry.key)
                );
                reader.problem(shell.key_place, message);
            }
            let words: Vec<Option<String>> = nodes
                .iter()
                .enumerate()
                .map(|(at, node)| word(reader, Entry { node, ..entry }, at))
                .collect();
            let words = words.into_iter().collect::<Option<Vec<String>>>()?;
            Some(purpose.words(words))
        }
        Value::List(_) => {
            let message = format!("{} is an empty list, it must be {WANTED}", quote(entry.key));
            reader.problem(entry.place(), message);
            None
        }
        Value::Null | Value::Scalar(_) | Value::Map(_) => {
            let text = reader.raw_text(entry, WANTED)?;
            if shell {
                return Some(purpose.shell(text.trim().to_owned()));
            }
            match command::split(&text, reader.env) {
                Ok(words) => Some(purpose.words(words)),
                Err(problems) => {
                    for problem in problems {
                        let message = format!("{} {problem}", quote(entry.key));
                        reader.problem(entry.place(), message);
                    }
                    None
                }
            }
        }
    }
}

/// One word of a command that is a list. It may be empty, if it is not the program.
fn word(reader: &mut Reader<'_>, entry: Entry<'_>, at: usize) -> Option<String> {
    let text = match &entry.node.value {
        Value::Scalar(text) if at > 0 && text.trim().is_empty() => text.clone(),
        _ => reader.raw_text(entry, "a list of words")?,
    };
    reader.fill(entry, &text).map(Cow::into_owned)
}
