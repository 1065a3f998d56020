//! What a job server is, as one value that can be written and read again: another one made of it goes on where this one stopped.
//!
//! It is the tables themselves, with their fields by name. A field that is added to one of them is therefore in it, and
//! `#[serde(default)]` is what lets an older value be read that has it not. Jobs alone are without names (`row`). Whatever else is changed in what the fields mean takes a
//! new version of what an upgrade hands over (`daemon::handover`).

use std::borrow::Cow;
use std::collections::{BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use super::conn::{ConnId, Conns};
use super::failed::Failed;
use super::function::Functions;
use super::job::Jobs;
use super::outbox::Outbox;
use super::server::{JobServer, Options};
use crate::time::Time;

/// Everything that a job server knows. To be written it borrows the server; read, it owns what is in it.
#[derive(Serialize, Deserialize)]
pub struct State<'a> {
    handle_prefix: Cow<'a, str>,
    epoch: u64,
    conns: Cow<'a, Conns>,
    functions: Cow<'a, Functions>,
    jobs: Cow<'a, Jobs>,
    failed: Cow<'a, Failed>,
    deadlines: Cow<'a, BTreeSet<(Time, u64)>>,
    later: Cow<'a, BTreeSet<(Time, u64)>>,
    tickets: Cow<'a, VecDeque<(Time, ConnId, u64)>>,
    count: u64,
    is_ending: bool,
}

impl JobServer {
    /// A state with so many jobs at most, to see whether another one can read it. To go on with, it is of no use.
    pub fn sample(&self, jobs: usize) -> State<'_> {
        State {
            jobs: Cow::Owned(self.jobs.sample(jobs)),
            ..self.state()
        }
    }

    /// What another one is to go on with. The outbox is no part of it: it has to be carried out before.
    pub fn state(&self) -> State<'_> {
        let JobServer {
            options,
            conns,
            functions,
            jobs,
            failed,
            deadlines,
            later,
            tickets,
            count,
            is_ending,
            out,
        } = self;
        debug_assert!(out.is_empty(), "what there is to say is said first");
        let Options {
            handle_prefix,
            epoch,
            // the next one has its own, from its own flags and file
            job_retries: _,
            exceptions: _,
            wakeup: _,
            seed: _,
            zone: _,
            first_number: _,
            max_queue: _,
            max_queued_bytes: _,
            newcomers: _,
            pid: _,
            verbosity: _,
        } = options;
        State {
            handle_prefix: Cow::Borrowed(handle_prefix),
            epoch: *epoch,
            conns: Cow::Borrowed(conns),
            functions: Cow::Borrowed(functions),
            jobs: Cow::Borrowed(jobs),
            failed: Cow::Borrowed(failed),
            deadlines: Cow::Borrowed(deadlines),
            later: Cow::Borrowed(later),
            tickets: Cow::Borrowed(tickets),
            count: *count,
            is_ending: *is_ending,
        }
    }

    /// A server that goes on where another one stopped. The first part of the handles and the epoch are that one's, for there are
    /// jobs whose handles and times are known to others; the rest of the options is the new one's.
    pub fn restore(state: State<'_>, options: Options) -> JobServer {
        let seed = options.seed;
        JobServer {
            options: Options {
                handle_prefix: state.handle_prefix.into_owned(),
                epoch: state.epoch,
                ..options
            },
            conns: state.conns.into_owned(),
            functions: state.functions.into_owned().filed(seed),
            jobs: state.jobs.into_owned().filed(seed),
            failed: state.failed.into_owned(),
            deadlines: state.deadlines.into_owned(),
            later: state.later.into_owned(),
            tickets: state.tickets.into_owned(),
            count: state.count,
            is_ending: state.is_ending,
            out: Outbox::default(),
        }
    }

    /// The connections that there are.
    pub fn conns(&self) -> impl Iterator<Item = ConnId> {
        self.conns.iter().map(|conn| conn.id)
    }
}
