//! The jobs by number, which is the last part of their handle.
//!
//! Numbers are given in order and most jobs go in about the order in which they came, so that the living ones are a range with few
//! gaps: an array of four bytes a number, without a hash. A job that outlives thousands of later ones, because it waits for its time
//! or runs long, would hold the range open for ever; it moves to a map.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::FixedState;
use serde::{Deserialize, Serialize};

use super::job::{JobKey, NOBODY};

/// The range may have this many numbers more than there are jobs, and as many again as there are jobs.
const SLACK: usize = 1 << 12;

/// Which job has a number.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Numbers {
    /// The number of the first of `recent`.
    first: u64,
    /// By number; [`NOBODY`] is one whose job is gone.
    recent: VecDeque<JobKey>,
    /// The jobs with lower numbers than `recent`'s.
    old: HashMap<u64, JobKey, FixedState>,
    jobs: usize,
}

impl Numbers {
    /// No job yet; the next one's number is `first`.
    pub(super) fn new(first: u64) -> Numbers {
        Numbers {
            first,
            recent: VecDeque::new(),
            old: HashMap::default(),
            jobs: 0,
        }
    }

    /// The number that the next job will have.
    pub(super) fn next(&self) -> u64 {
        self.first + self.recent.len() as u64
    }

    /// Gives the next number to a job.
    pub(super) fn push(&mut self, job: JobKey) {
        self.recent.push_back(job);
        self.jobs += 1;
        while self.recent.len() > SLACK + 2 * self.jobs {
            self.age();
        }
    }

    /// Gives a number back to a job that had it before.
    pub(super) fn restore(&mut self, number: u64, job: JobKey) {
        self.jobs += 1;
        match number.checked_sub(self.first) {
            Some(at) => self.recent[at as usize] = job,
            None => drop(self.old.insert(number, job)),
        }
    }

    pub(super) fn find(&self, number: u64) -> Option<JobKey> {
        match number.checked_sub(self.first) {
            Some(at) => {
                let at = usize::try_from(at).ok()?;
                let found = self.recent.get(at).copied();
                found.filter(|&job| job != NOBODY)
            }
            None => self.old.get(&number).copied(),
        }
    }

    /// The job with this number is gone.
    pub(super) fn remove(&mut self, number: u64) {
        self.jobs -= 1;
        let Some(at) = number.checked_sub(self.first) else {
            self.old.remove(&number);
            return;
        };
        self.recent[at as usize] = NOBODY;
        while self.recent.front() == Some(&NOBODY) {
            self.age();
        }
    }

    /// How many jobs have a number.
    pub(super) fn len(&self) -> usize {
        self.jobs
    }

    /// Gives memory back, for there is no job left.
    pub(super) fn shrink(&mut self) {
        self.recent.shrink_to(SLACK);
        self.old.shrink_to_fit();
    }

    /// Takes the first number out of the range.
    fn age(&mut self) {
        if let Some(job) = self.recent.pop_front() {
            if job != NOBODY {
                self.old.insert(self.first, job);
            }
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers are found while their jobs live, in whichever of the two places, and the range stays in proportion to the jobs.
    #[test]
    fn one_old_job_does_not_hold_the_range_open() {
        let mut numbers = Numbers::new(7);
        numbers.push(0);
        for job in 1..100_000_u32 {
            let number = numbers.next();
            assert_eq!(number, 7 + u64::from(job));
            numbers.push(job);
            assert_eq!(numbers.find(number), Some(job));
            assert_eq!(numbers.find(number + 1), None);
            assert_eq!(numbers.find(7), Some(0), "the old one is found still");
            // every thousandth job stays
            if job % 1000 != 0 {
                numbers.remove(number);
                assert_eq!(numbers.find(number), None);
            }
        }
        for job in (1000..100_000_u32).step_by(1000) {
            assert_eq!(numbers.find(7 + u64::from(job)), Some(job));
        }
        // one that has gone comes back, be it from before the range or in it
        for gone in [7 + 1, 7 + 99_999] {
            assert_eq!(numbers.find(gone), None);
            numbers.restore(gone, 5);
            assert_eq!(numbers.find(gone), Some(5));
            numbers.remove(gone);
            assert_eq!(numbers.find(gone), None);
        }
        assert!(numbers.recent.len() <= SLACK + 2 * numbers.jobs + 1);
        for job in (0..100_000).step_by(1000) {
            numbers.remove(7 + job);
        }
        numbers.shrink();
        assert_eq!((numbers.recent.len(), numbers.old.len()), (0, 0));
        assert_eq!(numbers.next(), 7 + 100_000);
        assert_eq!(numbers.find(6), None);
    }
}
