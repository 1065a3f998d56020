//! A job, and the table of all jobs with its two indexes: by number, and by unique.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::SeedableRandomState;
use foldhash::{SharedSeed, fast};
use hashbrown::HashTable;
use serde::{Deserialize, Serialize};
use slab::Slab;

use super::conn::ConnKey;
use super::numbers::Numbers;
use crate::proto::Priority;
use crate::time::Time;

/// A job's place in the table; used again after it is gone.
pub(super) type JobKey = u32;

/// Places for jobs that are kept when the last job is gone; a longer backlog gives its memory back.
const KEEP: usize = 1 << 12;

/// What a job takes besides what it was submitted with, in bytes: its row in the table, and its share of the indexes.
const OWN: u64 = 250;

/// No job.
pub(super) const NOBODY: JobKey = u32::MAX;

/// Where a job is. It is in exactly one of these places, or gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Place {
    /// In its function's lane, between these two.
    Lane { before: JobKey, after: JobKey },
    /// In a worker's hands.
    Worker {
        conn: ConnKey,
        since: Time,
        deadline: Option<Time>,
    },
    /// SUBMIT_JOB_EPOCH: waiting for its time.
    Later { due: Time },
}

/// What an upgrade hands over of it is in [`row`](super::row).
#[derive(Clone, Debug)]
pub(super) struct Job {
    /// The last part of its handle.
    pub(super) number: u64,
    pub(super) function: u32,
    pub(super) priority: Priority,
    pub(super) place: Place,
    /// Somebody submitted it in the background, so that it matters although nobody waits.
    pub(super) background: bool,
    /// An operator has given it up while it ran.
    pub(super) cancelled: bool,
    /// It has run past its limit, and its process is being stopped for that.
    pub(super) is_overdue: bool,
    /// How often it was lost with its worker.
    pub(super) lost: u16,
    /// How often a worker has said that it has failed.
    pub(super) failed: u16,
    pub(super) since: Time,
    pub(super) numerator: u64,
    pub(super) denominator: u64,
    pub(super) unique: Box<[u8]>,
    pub(super) workload: Box<[u8]>,
    pub(super) reducer: Option<Box<[u8]>>,
    /// Who waits for it: a connection stands here once a submission.
    pub(super) clients: Vec<ConnKey>,
}

impl Job {
    /// The bytes that it takes: what it was submitted with, and [`OWN`].
    pub(super) fn bytes(&self) -> u64 {
        let reducer = self.reducer.as_ref().map_or(0, |reducer| reducer.len());
        OWN + (self.unique.len() + self.workload.len() + reducer) as u64
    }

    /// What makes it the same job as another: its unique, where `-` means the workload. Empty is like no other.
    fn sameness(&self) -> &[u8] {
        sameness(&self.unique, &self.workload)
    }
}

fn sameness<'a>(unique: &'a [u8], workload: &'a [u8]) -> &'a [u8] {
    if unique == b"-" { workload } else { unique }
}

/// All jobs that are not gone.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Jobs {
    slots: Slab<Job>,
    numbers: Numbers,
    /// Made anew where it comes out of a [`State`](super::State).
    #[serde(skip)]
    by_unique: HashTable<JobKey>,
    /// Seeded by the shell, for uniques come from outside.
    #[serde(skip, default = "unseeded")]
    hash: SeedableRandomState,
    /// The sum of [`Job::bytes`].
    bytes: u64,
}

/// Any seed, until it has one.
fn unseeded() -> SeedableRandomState {
    SeedableRandomState::with_seed(0, SharedSeed::global_fixed())
}

impl Jobs {
    /// So many of them, to see whether such can be read. It is of no other use.
    pub(super) fn sample(&self, count: usize) -> Jobs {
        let mut sample = Jobs::new(0, 0);
        let some = self.slots.iter().take(count);
        sample.slots = some.map(|(key, job)| (key, job.clone())).collect();
        sample
    }

    /// These, with their index by unique: a seed is not handed on.
    pub(super) fn filed(self, seed: u64) -> Jobs {
        let Jobs {
            slots,
            numbers,
            by_unique: _,
            hash: _,
            bytes,
        } = self;
        let mut jobs = Jobs::new(seed, 0);
        let mut by_unique = HashTable::with_capacity(slots.len());
        let hash = |key: JobKey| {
            let job: &Job = &slots[key as usize];
            hash_of(&jobs.hash, job.function, job.sameness())
        };
        let keys = slots.iter().filter(|(_, job)| !job.unique.is_empty());
        for key in keys.map(|(key, _)| key as JobKey) {
            by_unique.insert_unique(hash(key), key, |&other| hash(other));
        }
        (jobs.slots, jobs.numbers, jobs.by_unique, jobs.bytes) = (slots, numbers, by_unique, bytes);
        jobs
    }

    pub(super) fn new(seed: u64, first: u64) -> Jobs {
        Jobs {
            slots: Slab::new(),
            numbers: Numbers::new(first),
            by_unique: HashTable::new(),
            hash: SeedableRandomState::with_seed(seed, SharedSeed::global_fixed()),
            bytes: 0,
        }
    }

    /// The job that a submission with this unique joins.
    pub(super) fn same(&self, function: u32, unique: &[u8], workload: &[u8]) -> Option<JobKey> {
        if unique.is_empty() {
            return None;
        }
        let sought = sameness(unique, workload);
        let found = self
            .by_unique
            .find(hash_of(&self.hash, function, sought), |&key| {
                let job = &self.slots[key as usize];
                job.function == function && job.sameness() == sought
            });
        found.copied()
    }

    /// Files a job under the next number, which is returned in the job.
    pub(super) fn insert(&mut self, mut job: Job) -> JobKey {
        job.number = self.numbers.next();
        let key = self.place(job);
        self.numbers.push(key);
        key
    }

    fn place(&mut self, job: Job) -> JobKey {
        self.bytes += job.bytes();
        let hash =
            (!job.unique.is_empty()).then(|| hash_of(&self.hash, job.function, job.sameness()));
        let key = self.slots.insert(job) as JobKey;
        if let Some(hash) = hash {
            let (slots, state) = (&self.slots, &self.hash);
            self.by_unique.insert_unique(hash, key, |&other| {
                let job = &slots[other as usize];
                hash_of(state, job.function, job.sameness())
            });
        }
        key
    }

    pub(super) fn remove(&mut self, key: JobKey) -> Job {
        let job = self.slots.remove(key as usize);
        self.bytes -= job.bytes();
        self.numbers.remove(job.number);
        unfile(&mut self.by_unique, &self.hash, key, &job);
        if self.slots.is_empty() && self.slots.capacity() > KEEP {
            self.slots.shrink_to_fit();
            self.numbers.shrink();
            self.by_unique.shrink_to(KEEP, |_| 0);
        }
        job
    }

    /// Files a job again under the number that it has, which is no other's.
    pub(super) fn restore(&mut self, job: Job) -> JobKey {
        let number = job.number;
        let key = self.place(job);
        self.numbers.restore(number, key);
        key
    }

    pub(super) fn by_number(&self, number: u64) -> Option<JobKey> {
        self.numbers.find(number)
    }

    /// How many there are, and how many of them the numbers know: the same.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.slots.len(), self.numbers.len())
    }

    /// Whether there is such a job and it waits in its lane.
    pub(super) fn is_queued(&self, key: JobKey) -> bool {
        self.slots
            .get(key as usize)
            .is_some_and(|job| matches!(job.place, Place::Lane { .. }))
    }

    /// The first job with this unique, whatever its function.
    pub(super) fn any_with_unique(
        &self,
        mut functions: impl Iterator<Item = u32>,
        unique: &[u8],
    ) -> Option<JobKey> {
        functions.find_map(|function| self.same(function, unique, unique))
    }

    /// Takes its unique from a job, so that no later submission joins it.
    pub(super) fn make_unlike_any(&mut self, key: JobKey) {
        let job = &mut self.slots[key as usize];
        unfile(&mut self.by_unique, &self.hash, key, job);
        self.bytes -= job.unique.len() as u64;
        job.unique = Box::default();
    }

    /// The bytes that all jobs take.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The job in this place of the table.
    pub(super) fn row(&self, row: u32) -> Option<&Job> {
        self.slots.get(row as usize)
    }

    /// No row is as high as this.
    pub(super) fn rows(&self) -> u32 {
        self.slots.capacity() as u32
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (JobKey, &Job)> {
        self.slots.iter().map(|(key, job)| (key as JobKey, job))
    }
}

/// Takes a job out of the index of uniques, if it is in it.
fn unfile(by_unique: &mut HashTable<JobKey>, state: &SeedableRandomState, key: JobKey, job: &Job) {
    if !job.unique.is_empty()
        && let Ok(entry) = by_unique
            .find_entry(hash_of(state, job.function, job.sameness()), |&other| {
                other == key
            })
    {
        entry.remove();
    }
}

fn hash_of(state: &SeedableRandomState, function: u32, unique: &[u8]) -> u64 {
    let mut hasher: fast::FoldHasher<'_> = state.build_hasher();
    hasher.write_u32(function);
    hasher.write(unique);
    hasher.finish()
}

impl std::ops::Index<JobKey> for Jobs {
    type Output = Job;

    fn index(&self, key: JobKey) -> &Job {
        &self.slots[key as usize]
    }
}

impl std::ops::IndexMut<JobKey> for Jobs {
    fn index_mut(&mut self, key: JobKey) -> &mut Job {
        &mut self.slots[key as usize]
    }
}
