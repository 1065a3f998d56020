//! A function: three lanes of waiting jobs, and the workers that sleep until there is one.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use foldhash::SharedSeed;
use foldhash::fast::SeedableRandomState;
use serde::{Deserialize, Serialize};
use slab::Slab;

use super::conn::ConnKey;
use super::job::{JobKey, Jobs, NOBODY, Place};
use super::policy::Policy;
use super::waits::Waits;
use crate::proto::Priority;

/// So many functions may have a name: whoever submits a job names one. It stays until it is dropped, or until there are so many and a
/// new one takes the place of one that nobody has to do with.
pub const MAX_FUNCTIONS: usize = 100_000;

/// So many functions are looked at for one whose place a new one may take: nobody makes the others wait by naming what there is no
/// room for.
const LOOKS: u32 = 16;

/// A queue of jobs; the links are in the jobs, so that one can leave from the middle.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Lane {
    head: JobKey,
    tail: JobKey,
    len: u64,
}

impl Default for Lane {
    fn default() -> Lane {
        Lane {
            head: NOBODY,
            tail: NOBODY,
            len: 0,
        }
    }
}

/// One function.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Function {
    #[serde(with = "serde_bytes")]
    pub(super) name: Box<[u8]>,
    lanes: [Lane; 3],
    pub(super) running: u64,
    /// Its jobs, wherever they are.
    pub(super) jobs: u64,
    /// `maxqueue`: no more jobs than this when one of high, normal or low priority is submitted; 0 is no limit.
    pub(super) max_queue: Option<[u32; 3]>,
    pub(super) policy: Policy,
    /// Its jobs are given to nobody.
    pub(super) is_paused: bool,
    /// Connections that registered it.
    pub(super) workers: u64,
    /// Those of them that are asleep and may be woken, the most recently parked last.
    pub(super) sleepers: BTreeMap<u64, ConnKey>,
    /// Those that were sent a NOOP and are expected to come.
    pub(super) expected: u64,
    pub(super) completed: u64,
    pub(super) busy: Duration,
    /// The sum of the squares of the seconds that each ended job ran.
    pub(super) busy_squares: f64,
    pub(super) waits: Waits,
}

impl Function {
    pub(super) fn queued(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.len).sum()
    }

    /// Nobody has to do with it, and nothing was set for it.
    fn is_forgettable(&self) -> bool {
        self.jobs == 0 && self.workers == 0 && self.max_queue.is_none()
    }

    pub(super) fn queued_by_priority(&self) -> [u64; 3] {
        self.lanes.map(|lane| lane.len)
    }

    /// The job at the head of a lane.
    pub(super) fn head(&self, priority: Priority) -> Option<JobKey> {
        let head = self.lanes[priority as usize].head;
        (head != NOBODY).then_some(head)
    }

    /// A lane's jobs from its head on.
    pub(super) fn waiting<'a>(
        &self,
        jobs: &'a Jobs,
        priority: Priority,
    ) -> impl Iterator<Item = JobKey> + 'a {
        std::iter::successors(self.head(priority), |&key| match jobs[key].place {
            Place::Lane { after, .. } if after != NOBODY => Some(after),
            _ => None,
        })
    }

    /// Puts a job at the end of its lane.
    pub(super) fn push_back(&mut self, jobs: &mut Jobs, key: JobKey) {
        let lane = &mut self.lanes[jobs[key].priority as usize];
        jobs[key].place = Place::Lane {
            before: lane.tail,
            after: NOBODY,
        };
        match lane.tail {
            NOBODY => lane.head = key,
            tail => link(jobs, tail, |_, after| *after = key),
        }
        lane.tail = key;
        lane.len += 1;
    }

    /// Puts a job back at the head of its lane.
    pub(super) fn push_front(&mut self, jobs: &mut Jobs, key: JobKey) {
        let lane = &mut self.lanes[jobs[key].priority as usize];
        jobs[key].place = Place::Lane {
            before: NOBODY,
            after: lane.head,
        };
        match lane.head {
            NOBODY => lane.tail = key,
            head => link(jobs, head, |before, _| *before = key),
        }
        lane.head = key;
        lane.len += 1;
    }

    /// Takes a job out of its lane, wherever it stands. The caller gives it its next place.
    pub(super) fn unlink(&mut self, jobs: &mut Jobs, key: JobKey) {
        let Place::Lane { before, after } = jobs[key].place else {
            unreachable!("only a job in a lane is taken out of it");
        };
        let lane = &mut self.lanes[jobs[key].priority as usize];
        match before {
            NOBODY => lane.head = after,
            before => link(jobs, before, |_, its_after| *its_after = after),
        }
        match after {
            NOBODY => lane.tail = before,
            after => link(jobs, after, |its_before, _| *its_before = before),
        }
        lane.len -= 1;
    }
}

fn link(jobs: &mut Jobs, key: JobKey, change: impl FnOnce(&mut JobKey, &mut JobKey)) {
    let Place::Lane { before, after } = &mut jobs[key].place else {
        unreachable!("a lane links jobs that are in it");
    };
    change(before, after);
}

/// Why a function is not dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DropError {
    /// There is none with this name.
    Unknown,
    /// It has jobs or workers.
    InUse,
}

/// All functions that were ever named and not dropped: `status` lists a function from the first time that somebody speaks of it.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Functions {
    all: Slab<Function>,
    /// Made anew where it comes out of a [`State`](super::State).
    #[serde(skip, default = "unfiled")]
    by_name: HashMap<Box<[u8]>, u32, SeedableRandomState>,
    /// By name, for those that are named later.
    policies: BTreeMap<Box<[u8]>, Policy>,
    paused: BTreeSet<Box<[u8]>>,
    /// Where the search for one that is not needed goes on.
    hand: u32,
}

/// No name is known, and the seed is as good as any.
fn unfiled() -> HashMap<Box<[u8]>, u32, SeedableRandomState> {
    HashMap::with_hasher(SeedableRandomState::with_seed(
        0,
        SharedSeed::global_fixed(),
    ))
}

impl Functions {
    pub(super) fn new(seed: u64) -> Functions {
        let hash = SeedableRandomState::with_seed(seed, SharedSeed::global_fixed());
        Functions {
            all: Slab::new(),
            by_name: HashMap::with_hasher(hash),
            policies: BTreeMap::new(),
            paused: BTreeSet::new(),
            hand: 0,
        }
    }

    /// These, with their index by name: a seed is not handed on.
    pub(super) fn filed(self, seed: u64) -> Functions {
        let Functions {
            all,
            by_name: _,
            hand,
            policies,
            paused,
        } = self;
        let mut by_name = Functions::new(seed).by_name;
        by_name.extend(all.iter().map(|(key, it)| (it.name.clone(), key as u32)));
        Functions {
            all,
            by_name,
            hand,
            policies,
            paused,
        }
    }

    /// The function with this name, made when it is new; `None` when there are [`MAX_FUNCTIONS`] others and none was found that could go.
    pub(super) fn named(&mut self, name: &[u8]) -> Option<u32> {
        if let Some(&key) = self.by_name.get(name) {
            return Some(key);
        }
        if self.all.len() == MAX_FUNCTIONS {
            self.make_room()?;
        }
        let key = self.all.insert(Function {
            name: name.into(),
            policy: self.policies.get(name).copied().unwrap_or_default(),
            is_paused: self.paused.contains(name),
            ..Function::default()
        }) as u32;
        self.by_name.insert(name.into(), key);
        Some(key)
    }

    /// What holds for functions of these names, and for no others.
    pub(super) fn govern(&mut self, policies: BTreeMap<Box<[u8]>, Policy>) {
        for (_, function) in &mut self.all {
            let policy = policies.get(&function.name);
            function.policy = policy.copied().unwrap_or_default();
        }
        self.policies = policies;
    }

    /// Holds the function with this name, or no longer. Returns whether that is new.
    pub(super) fn pause(&mut self, name: &[u8], is_paused: bool) -> bool {
        if let Some(key) = self.find(name) {
            self[key].is_paused = is_paused;
        }
        match is_paused {
            true => self.paused.insert(name.into()),
            false => self.paused.remove(name),
        }
    }

    pub(super) fn paused(&self) -> &BTreeSet<Box<[u8]>> {
        &self.paused
    }

    /// Forgets a function that nobody has to do with, the next one from where the last search ended.
    fn make_room(&mut self) -> Option<()> {
        for _ in 0..LOOKS {
            let row = self.hand;
            self.hand = (self.hand + 1) % MAX_FUNCTIONS as u32;
            if self.row(row).is_some_and(Function::is_forgettable) {
                let function = self.all.remove(row as usize);
                self.by_name.remove(&function.name);
                return Some(());
            }
        }
        None
    }

    pub(super) fn find(&self, name: &[u8]) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    /// Forgets a function, if nobody has to do with it.
    pub(super) fn drop(&mut self, name: &[u8]) -> Result<(), DropError> {
        let key = self.find(name).ok_or(DropError::Unknown)?;
        if self[key].workers > 0 || self[key].jobs > 0 {
            return Err(DropError::InUse);
        }
        self.by_name.remove(name);
        self.all.remove(key as usize);
        Ok(())
    }

    /// The function in this place of the table.
    pub(super) fn row(&self, row: u32) -> Option<&Function> {
        self.all.get(row as usize)
    }

    /// No row is as high as this.
    pub(super) fn rows(&self) -> u32 {
        self.all.capacity() as u32
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Function> {
        self.all.iter().map(|(_, function)| function)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = u32> {
        self.all.iter().map(|(key, _)| key as u32)
    }
}

impl std::ops::Index<u32> for Functions {
    type Output = Function;

    fn index(&self, key: u32) -> &Function {
        &self.all[key as usize]
    }
}

impl std::ops::IndexMut<u32> for Functions {
    fn index_mut(&mut self, key: u32) -> &mut Function {
        &mut self.all[key as usize]
    }
}
