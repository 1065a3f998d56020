//! What the job server knows of each pool, put together from what it knows of functions and connections: a function's jobs that several
//! pools could do are split among them, so that none is counted twice.
//!
//! The simulation puts it together by this file too.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::Pool;
use crate::jobs::load::{FunctionLoad, Occupation};
use crate::pools::{PoolLoad, ProcId, ProcLoad, share};

/// The loads of the pools, in their order. `processes` are those that have connections, each with the name of its pool. `weight` is how
/// many processes a pool could have, 0 for one that takes no jobs now.
pub(super) fn loads<'a>(
    pools: &[Arc<Pool>],
    functions: &[FunctionLoad],
    processes: impl IntoIterator<Item = (&'a str, ProcLoad)>,
    weight: impl Fn(&Pool) -> u32,
) -> Vec<PoolLoad> {
    let mut servers: HashMap<&str, Vec<usize>> = HashMap::new();
    for (place, pool) in pools.iter().enumerate() {
        for function in &pool.functions {
            servers.entry(function.as_str()).or_default().push(place);
        }
    }
    let mut loads: Vec<PoolLoad> = pools
        .iter()
        .map(|pool| PoolLoad {
            pool: pool.name.clone(),
            ..PoolLoad::default()
        })
        .collect();
    for function in functions {
        let Some(places) = servers.get(function.name.as_str()) else {
            continue;
        };
        // what is held does not need anybody
        let queued = match function.paused {
            true => 0,
            false => function.queued.iter().sum::<u64>(),
        };
        let weights: Vec<u32> = match places.len() {
            1 => vec![1],
            _ => places.iter().map(|&place| weight(&pools[place])).collect(),
        };
        let parts = share::split(queued, &weights);
        let total: u32 = weights.iter().sum();
        for ((&place, part), own) in places.iter().zip(parts).zip(weights) {
            let load = &mut loads[place];
            load.queued += part;
            load.completed += function.completed;
            load.busy_seconds += function.busy_seconds;
            load.busy_squares += function.busy_squares;
            // held jobs come when they are let go
            load.arrived += function.completed + function.running + queued;
            if part > 0 {
                load.oldest_wait = load.oldest_wait.max(function.oldest_wait);
            }
            if places.len() > 1 {
                // of several functions the smallest part: too few is put right by the jobs that wait, too many by nothing
                let share = f64::from(own) / f64::from(total.max(1));
                load.share = Some(load.share.map_or(share, |other| other.min(share)));
            }
        }
    }
    let places: HashMap<&str, usize> = pools.iter().map(|it| it.name.as_str()).zip(0..).collect();
    for (pool, process) in processes {
        // one of a pool that is not in the file any more counts nowhere
        if let Some(&place) = places.get(pool) {
            loads[place].processes.push(process);
        }
    }
    loads
}

/// What the connections of a process do together. `None` when it has none.
pub(super) fn load_of(
    proc: ProcId,
    occupations: impl Iterator<Item = Occupation>,
) -> Option<ProcLoad> {
    occupations
        .map(|it| ProcLoad {
            proc,
            busy_since: it.busy_since,
            idle_since: it.idle_since,
            jobs_done: it.jobs_done,
        })
        .reduce(|all, it| ProcLoad {
            proc,
            busy_since: [all.busy_since, it.busy_since].into_iter().flatten().min(),
            idle_since: all.idle_since.max(it.idle_since),
            jobs_done: all.jobs_done + it.jobs_done,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Command;

    fn pool(name: &str, functions: &[&str], max: u32) -> Arc<Pool> {
        Arc::new(Pool {
            functions: functions.iter().map(|&name| name.to_owned()).collect(),
            max,
            ..Pool::new(name, Command::Exec(vec!["x".to_owned()]))
        })
    }

    fn function(name: &str, queued: u64) -> FunctionLoad {
        FunctionLoad {
            name: name.to_owned(),
            queued: [0, queued, 0],
            completed: 100,
            ..FunctionLoad::default()
        }
    }

    #[test]
    fn what_is_held_needs_nobody() {
        let pools = [pool("a", &["f", "g"], 10)];
        let held = FunctionLoad {
            paused: true,
            oldest_wait: std::time::Duration::from_secs(60),
            ..function("f", 40)
        };
        let loads = loads(&pools, &[held, function("g", 5)], [], |pool| pool.max);
        assert_eq!(loads[0].queued, 5);
        assert_eq!(loads[0].arrived, 100 + 100 + 5);
        assert!(loads[0].oldest_wait.is_zero());
    }

    #[test]
    fn jobs_are_split_among_the_pools_that_serve_their_function() {
        let pools = [
            pool("a", &["f", "g"], 10),
            pool("b", &["f"], 30),
            pool("c", &["f", "h"], 20),
        ];
        let functions = [function("f", 40), function("g", 5), function("other", 9)];
        // c has been stopped
        let weight = |pool: &Pool| if pool.name == "c" { 0 } else { pool.max };
        let loads = loads(&pools, &functions, [], weight);
        let queued: Vec<_> = loads.iter().map(|load| load.queued).collect();
        assert_eq!(queued, [10 + 5, 30, 0]);
        let shares: Vec<_> = loads.iter().map(|load| load.share).collect();
        assert_eq!(shares, [Some(0.25), Some(0.75), Some(0.0)]);
        assert_eq!(loads[0].completed, 200);
    }
}
