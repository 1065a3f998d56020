//! Where the workloads come from: the command line, or standard input.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read};

use tokio::sync::mpsc;

use crate::proto::frame::MAX_BODY;

/// Lines that are read ahead of the jobs that they become.
const READ_AHEAD: usize = 64;

/// How standard input is cut into workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// All of it is one.
    Whole,
    /// Each line is one, with its line end.
    Lines,
    /// Each line is one, without its line end.
    Stripped,
}

/// The workloads, one after the other.
#[derive(Debug)]
pub(super) enum Source {
    Given(VecDeque<Vec<u8>>),
    Stdin(mpsc::Receiver<io::Result<Vec<u8>>>),
}

impl Source {
    /// Reads standard input in a thread of its own, for a read of a terminal or a pipe cannot be cancelled, and the end of the
    /// command must not wait for it.
    pub(super) fn stdin(cut: Cut) -> Source {
        let (sender, receiver) = mpsc::channel(READ_AHEAD);
        std::thread::spawn(move || {
            let mut input = io::stdin().lock();
            while let Some(workload) = read(&mut input, cut).transpose() {
                let end = cut == Cut::Whole || workload.is_err();
                if sender.blocking_send(workload).is_err() || end {
                    break;
                }
            }
        });
        Source::Stdin(receiver)
    }

    /// The next workload; `None` at the end.
    pub(super) async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        match self {
            Source::Given(workloads) => Ok(workloads.pop_front()),
            Source::Stdin(receiver) => receiver.recv().await.transpose(),
        }
    }
}

fn read(input: &mut impl BufRead, cut: Cut) -> io::Result<Option<Vec<u8>>> {
    let mut workload = Vec::new();
    let mut limited = input.take(MAX_BODY as u64 + 1);
    match cut {
        Cut::Whole => limited.read_to_end(&mut workload)?,
        Cut::Lines | Cut::Stripped => limited.read_until(b'\n', &mut workload)?,
    };
    if workload.len() > MAX_BODY {
        return Err(io::Error::other(format!(
            "a workload of more than {} MiB",
            MAX_BODY >> 20
        )));
    }
    if cut != Cut::Whole && workload.is_empty() {
        return Ok(None);
    }
    if cut == Cut::Stripped && workload.last() == Some(&b'\n') {
        workload.pop();
    }
    Ok(Some(workload))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts() {
        let all = |mut input: &[u8], cut| {
            let mut workloads = Vec::new();
            while let Some(workload) = read(&mut input, cut).unwrap() {
                workloads.push(String::from_utf8(workload).unwrap());
                if cut == Cut::Whole {
                    break;
                }
            }
            workloads
        };
        assert_eq!(all(b"a\n\nb", Cut::Whole), ["a\n\nb"]);
        assert_eq!(all(b"", Cut::Whole), [""]);
        assert_eq!(all(b"a\n\nb", Cut::Lines), ["a\n", "\n", "b"]);
        assert_eq!(all(b"a\n\nb\n", Cut::Stripped), ["a", "", "b"]);
        assert!(all(b"", Cut::Lines).is_empty());
    }
}
