//! The workers whose code goes on after a job's result was sent, in five manners, and what became of their jobs.
//!
//! `tests/drain.rs` has them run by Gearpool; `benches/drain` by others too.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::process::Command;

/// The kinds of workers, each with a function of that name.
pub(crate) const KINDS: [&str; 5] = ["php", "php_flag", "perl", "python", "c"];

/// How a worker of a kind is started in a folder that has been [`prepare`]d.
pub(crate) fn command(kind: &str) -> String {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tests/venv/bin/python");
    match kind {
        "php" => "php worker.php php".to_owned(),
        "php_flag" => "php worker.php php_flag flag".to_owned(),
        "perl" => "perl worker.pl perl".to_owned(),
        "python" => format!("{} worker.py python", python.display()),
        _ => "./worker c".to_owned(),
    }
}

/// Puts the workers into a folder.
pub(crate) fn prepare(folder: &Path) {
    for (name, text) in [
        ("worker.php", include_str!("worker.php")),
        ("worker.pl", include_str!("worker.pl")),
        ("worker.py", include_str!("worker.py")),
        ("worker.c", include_str!("worker.c")),
    ] {
        fs::write(folder.join(name), text).unwrap();
    }
    let compiled = Command::new("cc")
        .args(["-O1", "-o", "worker", "worker.c", "-lgearman"])
        .current_dir(folder)
        .status()
        .unwrap();
    assert!(compiled.success(), "the worker in C: {compiled}");
}

/// The workloads of jobs, for the workers of each kind: a job's number, and how many milliseconds it takes. `below` draws a number that
/// is less than its argument.
pub(crate) fn draw(
    jobs: Range<usize>,
    mut below: impl FnMut(u64) -> u64,
) -> BTreeMap<&'static str, Vec<String>> {
    let mut queues = BTreeMap::<_, Vec<String>>::new();
    for job in jobs {
        let takes = 50 + below(451);
        let kind = KINDS[below(KINDS.len() as u64) as usize];
        queues
            .entry(kind)
            .or_default()
            .push(format!("{job} {takes}"));
    }
    queues
}

/// How far each job came, and how often.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) begun: BTreeMap<usize, u32>,
    pub(crate) ended: BTreeMap<usize, u32>,
    pub(crate) tails: BTreeMap<usize, u32>,
}

impl Tally {
    pub(crate) fn read(folder: &Path) -> Tally {
        let mut tally = Tally::default();
        for line in fs::read_to_string(folder.join("notes"))
            .unwrap_or_default()
            .lines()
        {
            let (verb, number) = line.split_once(' ').unwrap();
            let counts = match verb {
                "begin" => &mut tally.begun,
                "end" => &mut tally.ended,
                "tail" => &mut tally.tails,
                _ => panic!("a line that nobody writes: {line:?}"),
            };
            *counts.entry(number.parse().unwrap()).or_default() += 1;
        }
        tally
    }

    /// Those of the first `jobs` that were never done, those that were begun more than once, and those that were done and whose
    /// worker was ended within what it does afterwards.
    pub(crate) fn faults(&self, jobs: usize) -> Faults {
        let of = |counts: &BTreeMap<usize, u32>, job| counts.get(&job).copied().unwrap_or_default();
        let all = |fits: &dyn Fn(usize) -> bool| (0..jobs).filter(|&job| fits(job)).collect();
        Faults {
            lost: all(&|job| of(&self.ended, job) == 0),
            repeated: all(&|job| of(&self.begun, job) > 1),
            cut: all(&|job| of(&self.tails, job) < of(&self.ended, job)),
        }
    }
}

/// What went wrong, by the jobs' numbers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    pub(crate) lost: Vec<usize>,
    pub(crate) repeated: Vec<usize>,
    pub(crate) cut: Vec<usize>,
}
