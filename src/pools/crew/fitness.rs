//! What a pool's check has said of it.

use serde::{Deserialize, Serialize};

use super::Crew;
use crate::config::Pool;
use crate::pools::event::Unfit;
use crate::pools::view::CheckView;

/// Whether a pool may start processes, and what is wrong with what it should start next.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Fitness {
    /// It is new, and its check has not passed yet.
    untried: bool,
    failure: Option<Unfit>,
}

impl Fitness {
    pub(super) fn of_new(pool: &Pool) -> Fitness {
        Fitness {
            untried: pool.check.is_some(),
            failure: None,
        }
    }

    /// The file has changed the pool.
    pub(super) fn configured(&mut self, pool: &Pool) {
        if pool.check.is_none() {
            *self = Fitness::default();
        }
    }

    /// Whether nothing of it may be started.
    pub(super) fn is_untried(&self) -> bool {
        self.untried
    }

    /// Whether that is because its check has failed.
    pub(super) fn is_failing(&self) -> bool {
        self.untried && self.failure.is_some()
    }

    pub(super) fn view(&self) -> Option<CheckView> {
        let Unfit { text, lines } = self.failure.as_ref()?;
        let what = match self.untried {
            true => "check failed, nothing is started before it passes",
            false => "check failed, the processes from before go on",
        };
        Some(CheckView {
            failed: format!("{what}: {text}"),
            lines: lines.clone(),
        })
    }
}

impl Crew {
    /// What came of the check.
    pub(in crate::pools) fn checked(&mut self, failure: Option<Unfit>) {
        self.dirty = true;
        self.fitness = Fitness {
            untried: self.fitness.untried && failure.is_some(),
            failure,
        };
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::config::{Command, Pool};
    use crate::pools::event::Unfit;
    use crate::pools::view::PoolState;
    use crate::pools::{Action, Caps, Event, Supervisor};
    use crate::time::Time;

    /// A new pool starts nothing before its check has passed; one that runs goes on whatever comes of it.
    #[test]
    fn a_check_comes_first() {
        let mut sup = Supervisor::new(1);
        let exec = |word: &str| Command::Exec(vec![word.to_owned()]);
        let pool = Pool {
            min: 2,
            max: 2,
            check: Some(exec("check")),
            ..Pool::new("a", exec("a"))
        };
        let caps = Caps {
            max_processes: Some(3),
        };
        let other = Pool {
            min: 1,
            max: 9,
            ..Pool::new("b", exec("b"))
        };
        let file = |pool: &Pool| {
            let pools = [pool, &other].map(|pool| Arc::new(pool.clone()));
            Event::Configured(pools.to_vec(), caps)
        };
        let checked = |failure: Option<&str>| Event::Checked {
            pool: "a".to_owned(),
            failure: failure.map(|text| Unfit {
                text: text.to_owned(),
                lines: vec!["line".to_owned()],
            }),
        };
        let started = |actions: Vec<Action>| {
            let spawned = actions.iter().filter_map(|action| match action {
                Action::Spawn { pool, .. } => Some(pool.name.clone()),
                _ => None,
            });
            spawned.collect::<Vec<_>>()
        };
        let seen = |sup: &Supervisor| {
            let view = sup.view(Time::ZERO).swap_remove(0);
            (view.state, view.reason, view.check.map(|it| it.failed))
        };

        // its processes count for nothing meanwhile
        assert_eq!(started(sup.handle(Time::ZERO, file(&pool))), ["b"]);
        let waits = "starts when its check has passed".to_owned();
        assert_eq!(seen(&sup), (PoolState::Running, waits.clone(), None));
        assert_eq!(sup.weight("a"), 0);

        let none: [String; 0] = [];
        assert_eq!(
            started(sup.handle(Time::ZERO, checked(Some("check: exit 1")))),
            none
        );
        let failed = "check failed, nothing is started before it passes: check: exit 1".to_owned();
        assert_eq!(seen(&sup), (PoolState::Failing, waits, Some(failed)));

        assert_eq!(started(sup.handle(Time::ZERO, checked(None))), ["a", "a"]);
        assert_eq!(seen(&sup), (PoolState::Running, "at min".to_owned(), None));

        assert_eq!(
            started(sup.handle(Time::ZERO, checked(Some("check: exit 2")))),
            none
        );
        let failed = "check failed, the processes from before go on: check: exit 2".to_owned();
        let expected = (PoolState::Running, "at min".to_owned(), Some(failed));
        assert_eq!(seen(&sup), expected);

        // a file without a check has none that failed
        let unchecked = Pool {
            check: None,
            ..pool
        };
        assert_eq!(started(sup.handle(Time::ZERO, file(&unchecked))), none);
        assert_eq!(seen(&sup).2, None);
    }
}
