//! What the server has promised about jobs, kept apart from the server: who was told of which handle, and how it ended.

use std::collections::BTreeMap;

use gearpool::jobs::Policy;

/// A job, by its handle.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    /// A background submission of it was acknowledged: it must end.
    background: bool,
    /// How many submissions of it were in the foreground.
    foreground: u32,
    /// How often it was given to a worker.
    runs: u32,
    /// How often it was lost with its worker, and that counts.
    lost: u32,
    /// How often its worker has said that it failed, and it was tried again or set aside for that.
    failed: u32,
    /// It has taken too many with it.
    set_aside: bool,
    /// Its worker ended it, and the server took that for its end.
    ended: bool,
    /// The operator ended it, and whatever its worker does with it is of no interest.
    cancelled: bool,
}

/// Every job that there ever was.
pub(crate) struct Ledger {
    jobs: BTreeMap<Vec<u8>, Entry>,
    /// `job_retries`, 0 where the function's policy holds.
    retries: u32,
    ended: u64,
    cancelled: u64,
}

impl Ledger {
    pub(crate) fn new(retries: u32) -> Ledger {
        Ledger {
            jobs: BTreeMap::new(),
            retries,
            ended: 0,
            cancelled: 0,
        }
    }

    /// JOB_CREATED is on its way.
    pub(crate) fn created(&mut self, handle: &[u8], background: bool) {
        let entry = self.jobs.entry(handle.to_vec()).or_default();
        assert!(
            !entry.ended && !entry.cancelled,
            "{} has ended, and a new submission joins it",
            text(handle)
        );
        entry.background |= background;
        entry.foreground += u32::from(!background);
    }

    /// JOB_ASSIGN is on its way.
    pub(crate) fn assigned(&mut self, handle: &[u8]) {
        let entry = self.entry(handle);
        assert!(
            !entry.ended && !entry.cancelled && !entry.set_aside,
            "{} is given out again",
            text(handle)
        );
        entry.runs += 1;
    }

    /// It was lost with its worker, as the server counts.
    pub(crate) fn lost(&mut self, handle: &[u8], policy: Policy, told: (u32, u32, bool)) {
        let most = match self.retries {
            0 => policy.attempts,
            retries => retries,
        };
        let entry = self.entry(handle);
        assert!(!entry.ended && !entry.set_aside, "{}", text(handle));
        entry.lost += 1;
        entry.set_aside = most > 0 && entry.lost >= most;
        assert_eq!(
            told,
            (entry.lost, most, entry.set_aside),
            "{}",
            text(handle)
        );
        assert!(entry.lost <= entry.runs, "{}", text(handle));
    }

    /// The worker that has it has failed at it.
    pub(crate) fn failed(&mut self, handle: &[u8], policy: Policy) {
        let entry = self.entry(handle);
        if entry.background && !entry.cancelled && entry.failed < policy.retries {
            entry.failed += 1;
            return;
        }
        self.ended(handle);
    }

    /// The worker that has it ends it.
    pub(crate) fn ended(&mut self, handle: &[u8]) {
        let entry = self.entry(handle);
        assert!(!entry.ended, "{} ends twice", text(handle));
        assert!(entry.runs > 0, "{} ends before it ran", text(handle));
        entry.ended = true;
        self.ended += 1;
    }

    /// The operator gives it up, if it is there: the server says whether it is.
    pub(crate) fn cancelled(&mut self, handle: &[u8]) {
        let entry = self.entry(handle);
        assert!(
            !entry.ended && !entry.cancelled,
            "{} is cancelled after its end",
            text(handle)
        );
        entry.cancelled = true;
        self.cancelled += 1;
    }

    pub(crate) fn is_cancelled(&self, handle: &[u8]) -> bool {
        self.jobs.get(handle).is_some_and(|entry| entry.cancelled)
    }

    /// The handle of some job, for workers that lie.
    pub(crate) fn nth(&self, n: u64) -> Option<&[u8]> {
        let at = n as usize % self.jobs.len().max(1);
        // the latest ones are the ones that may run
        self.jobs.keys().nth_back(at.min(8)).map(Vec::as_slice)
    }

    /// Nothing is under way any more: every background job has ended, by its worker or because it has taken too many with it.
    pub(crate) fn check_settled(&self) {
        for (handle, entry) in &self.jobs {
            assert!(
                !entry.background || entry.ended || entry.cancelled || entry.set_aside,
                "{} was acknowledged and is lost: {entry:?}",
                text(handle)
            );
        }
    }

    pub(crate) fn count_set_aside(&self) -> u64 {
        self.jobs.values().filter(|entry| entry.set_aside).count() as u64
    }

    pub(crate) fn count_retried(&self) -> u64 {
        self.jobs
            .values()
            .map(|entry| u64::from(entry.failed))
            .sum()
    }

    pub(crate) fn count_ended(&self) -> u64 {
        self.ended
    }

    pub(crate) fn count_cancelled(&self) -> u64 {
        self.cancelled
    }

    fn entry(&mut self, handle: &[u8]) -> &mut Entry {
        match self.jobs.get_mut(handle) {
            Some(entry) => entry,
            None => panic!("{} was never acknowledged", text(handle)),
        }
    }
}

pub(crate) fn text(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
