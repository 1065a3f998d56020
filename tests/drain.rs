//! Nothing is cut, with real workers in PHP, Perl, Python and C: while their pools are scaled, restarted and reloaded at random, every
//! job is done exactly once, and so is what each worker does for 100 ms after its result was sent. The exhaustive model is in
//! `drain_model.rs`; what others lose is counted by `cargo bench --bench drain`.
//!
//! `GEARPOOL_DRAIN=full` is 2,000 jobs and 50 operations; `GEARPOOL_DRAIN_SEED=7` another order of them.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

#[path = "sim/random.rs"]
#[expect(dead_code, reason = "it is made for a simulation")]
mod random;
#[path = "support/running.rs"]
mod running;
#[path = "support/daemon.rs"]
#[expect(dead_code, reason = "it is made for more tests than there are here")]
mod support;
#[path = "drain/work.rs"]
mod work;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Instant;

use nix::sys::signal::Signal;

use random::Random;
use support::{Daemon, Home, until};
use work::{Faults, KINDS, Tally};

/// What a pool's part of the file says; a reload changes it.
#[derive(Clone, Copy)]
struct InFile {
    max: u64,
    version: u32,
}

fn file(pools: &[InFile; KINDS.len()]) -> String {
    let mut text = String::new();
    for (kind, InFile { max, version }) in KINDS.iter().zip(pools) {
        let cmd = work::command(kind);
        writeln!(
            text,
            "{kind}: {{cmd: '{cmd}', min: 1, max: {max}, env: {{VERSION: '{version}'}}, scale: {{down_after: 1s}}}}"
        )
        .unwrap();
    }
    text
}

/// The things that an operator does, in random order, none much more often than another.
#[derive(Default)]
struct Bag(Vec<u32>);

impl Bag {
    fn draw(&mut self, random: &mut Random) -> u32 {
        if self.0.is_empty() {
            self.0.extend(0..6);
        }
        self.0
            .swap_remove(random.below(self.0.len() as u64) as usize)
    }
}

/// Does one of them to a pool, and says which.
fn operate(
    which: u32,
    random: &mut Random,
    daemon: &Daemon,
    pools: &mut [InFile; KINDS.len()],
) -> &'static str {
    let index = random.below(KINDS.len() as u64) as usize;
    let pool = KINDS[index];
    let run = |words: &[&str]| {
        let ended = daemon.run(words);
        assert_eq!(ended.code, 0, "{words:?}: {ended:?}");
    };
    match which {
        0 => {
            let n = 1 + random.below(6);
            run(&["scale", pool, &n.to_string()]);
            "scale N"
        }
        1 => {
            let min = 1 + random.below(3);
            let max = min + random.below(5);
            run(&["scale", pool, &format!("{min}..{max}")]);
            "scale MIN..MAX"
        }
        2 => {
            run(&["restart", pool]);
            "restart POOL"
        }
        3 => {
            let members = daemon.pool(pool).members;
            let slots: Vec<u32> = members.iter().map(|it| it.process.slot.0).collect();
            run(&["restart", &format!("{pool}/{}", random.any(&slots))]);
            "restart POOL/SLOT"
        }
        4 => {
            pools[index].max = 1 + random.below(6);
            daemon.home.replace("workers.yaml", &file(pools));
            run(&["reload"]);
            "reload, max"
        }
        _ => {
            for pool in pools.iter_mut().filter(|_| random.percent(50)) {
                pool.version += 1;
            }
            daemon.home.replace("workers.yaml", &file(pools));
            run(&["reload"]);
            "reload, env"
        }
    }
}

#[test]
fn every_job_is_done_once_and_nothing_after_it_is_cut() {
    let variable = |name| std::env::var(name).ok();
    let (jobs, operations) = match variable("GEARPOOL_DRAIN").as_deref() {
        Some("full") => (2000, 50),
        _ => (300, 12),
    };
    let seed = variable("GEARPOOL_DRAIN_SEED").map_or(1, |seed| seed.parse().unwrap());
    let mut random = Random::new(seed);

    let mut pools = [InFile { max: 4, version: 0 }; KINDS.len()];
    let home = Home::new(&file(&pools));
    work::prepare(&home.path(""));
    let mut daemon = Daemon::start_in(home, &[]);
    for kind in KINDS {
        daemon.ready(kind, 1);
    }

    let began = Instant::now();
    let mut done = BTreeMap::<&str, u32>::new();
    let mut most = 0;
    let mut submitted = 0;
    let mut bag = Bag::default();
    for operation in 0..operations {
        let next = jobs * (operation + 1) / operations;
        for (kind, workloads) in work::draw(submitted..next, |n| random.below(n)) {
            daemon.queue(kind, &workloads);
        }
        // sometimes in the thick of it, sometimes when hardly anything is left to do
        let share = random.below(100) as usize;
        let enough = submitted + (next - submitted) * share / 100;
        submitted = next;
        until("some jobs to be done", || {
            Tally::read(&daemon.home.path("")).ended.len() >= enough
        });
        let which = bag.draw(&mut random);
        *done
            .entry(operate(which, &mut random, &daemon, &mut pools))
            .or_default() += 1;
        let status = daemon.status();
        most = most.max(status.pools.iter().map(|pool| pool.members.len()).sum());
    }
    until("all jobs to have been taken", || {
        Tally::read(&daemon.home.path("")).begun.len() == jobs
    });
    for pool in daemon.status().pools {
        assert_eq!(pool.pool.restarts, 0, "{}", pool.pool.name);
    }
    // the last ones are under way
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.end().0, 0);
    let took = began.elapsed();

    let log = daemon.log();
    let ended = log
        .lines()
        .filter(|line| line.contains(": ended after "))
        .count();
    eprintln!(
        "seed {seed}: {jobs} jobs in {took:.1?}, {most} processes at most, {ended} ended; {done:?}"
    );
    let faults = Tally::read(&daemon.home.path("")).faults(jobs);
    assert_eq!(faults, Faults::default());
    for bad in ["signal KILL", "ended by itself"] {
        let line = log.lines().find(|line| line.contains(bad));
        assert_eq!(line, None);
    }
    assert!(
        ended > operations,
        "{ended} processes ended: nothing was drained"
    );
}
