//! Every order of events of a small world, tried once each.

use std::collections::{HashSet, VecDeque};
use std::fmt::Debug;
use std::hash::Hash;

/// A world that is small enough for that.
pub(crate) trait World: Clone {
    type Event: Copy + Debug;
    type Harm: Copy + Debug;

    /// All that may happen next.
    fn events(&self) -> Vec<Self::Event>;

    /// Lets it happen; what must never come of it is returned.
    fn happen(&mut self, event: Self::Event) -> Option<Self::Harm>;

    /// What is wrong with the state as it is.
    fn harm(&self, next: &[Self::Event]) -> Option<Self::Harm>;

    /// The same key means the same future.
    fn key(&self) -> impl Hash + Eq + use<Self>;
}

/// How many states there are, and the first harm with the shortest way to it.
pub(crate) struct Found<W: World> {
    pub(crate) states: usize,
    pub(crate) harm: Option<(W::Harm, Vec<W::Event>)>,
}

/// Goes through every order of events, the shortest first, and stops at the first harm.
pub(crate) fn search<W: World>(start: W) -> Found<W> {
    let mut known = HashSet::from([start.key()]);
    // where each state came from, for the account of what happened
    let mut steps: Vec<(usize, Option<W::Event>)> = vec![(0, None)];
    let mut todo = VecDeque::from([(0, start)]);
    let account = |steps: &[(usize, Option<W::Event>)], mut at: usize, last: Option<W::Event>| {
        let mut way: Vec<W::Event> = last.into_iter().collect();
        while let (before, Some(event)) = steps[at] {
            way.push(event);
            at = before;
        }
        way.reverse();
        way
    };
    while let Some((at, state)) = todo.pop_front() {
        let events = state.events();
        if let Some(harm) = state.harm(&events) {
            return Found {
                states: known.len(),
                harm: Some((harm, account(&steps, at, None))),
            };
        }
        for event in events {
            let mut next = state.clone();
            if let Some(harm) = next.happen(event) {
                return Found {
                    states: known.len(),
                    harm: Some((harm, account(&steps, at, Some(event)))),
                };
            }
            if known.insert(next.key()) {
                steps.push((at, Some(event)));
                todo.push_back((steps.len() - 1, next));
            }
        }
    }
    Found {
        states: known.len(),
        harm: None,
    }
}
