//! Each rule of supervision, on a fake clock.

use std::time::Duration;

use super::*;
use crate::config::{Command, Restart, Signal};
use crate::pools::event::{ExitStatus, Level, ProcLoad, Slot};
use crate::pools::view::{PoolState, ProcessState};

/// A supervisor, the time, and what it has asked for since it was last looked at.
struct Stage {
    sup: Supervisor,
    now: Time,
    out: Vec<Action>,
}

fn pool(min: u32, max: u32) -> Pool {
    Pool {
        min,
        max,
        ..Pool::new("a", Command::Exec(vec!["worker".into()]))
    }
}

impl Stage {
    fn new(pools: &[Pool]) -> Stage {
        let mut stage = Stage {
            sup: Supervisor::new(1),
            now: Time::ZERO,
            out: Vec::new(),
        };
        stage.configure(pools);
        stage
    }

    /// With every process up, registered and healthy, and nothing left to look at.
    fn up(pools: &[Pool]) -> Stage {
        let mut stage = Stage::new(pools);
        stage.register_all();
        stage.pass(1.0);
        stage.register_all();
        stage.pass(1.0);
        stage.out.clear();
        stage
    }

    fn send(&mut self, event: Event) {
        let actions = self.sup.handle(self.now, event);
        self.out.extend(actions);
        if let Some(due) = self.sup.next_deadline() {
            assert!(due > self.now);
        }
    }

    fn configure(&mut self, pools: &[Pool]) {
        let pools = pools.iter().cloned().map(Arc::new).collect();
        self.send(Event::Configured(pools, Caps::default()));
    }

    /// Lets time pass, with a tick at each deadline.
    fn pass(&mut self, seconds: f64) {
        let until = self.now + Duration::from_secs_f64(seconds);
        while let Some(due) = self.sup.next_deadline().filter(|&due| due <= until) {
            self.now = due;
            self.send(Event::Tick);
        }
        self.now = until;
    }

    fn register(&mut self, proc: u64) {
        let proc = ProcId(proc);
        self.send(Event::Registered { proc });
    }

    fn register_all(&mut self) {
        for view in self.view().processes {
            if view.state == ProcessState::Starting {
                self.register(view.proc);
            }
        }
    }

    fn park(&mut self, proc: u64) {
        let proc = ProcId(proc);
        self.send(Event::Parked { proc });
    }

    fn exit(&mut self, proc: u64, code: i32) {
        self.send(Event::Exited {
            proc: ProcId(proc),
            status: ExitStatus::Code(code),
            last_lines: vec!["out of luck".into()],
        });
    }

    /// A sample of pool a: so many wait, and these have a job. The others are idle, the lower the number the longer.
    fn sample(&mut self, queued: u64, busy: &[u64]) {
        let processes = self
            .view()
            .processes
            .iter()
            .filter(|view| view.state != ProcessState::Backoff)
            .map(|view| ProcLoad {
                proc: ProcId(view.proc),
                busy_since: busy.contains(&view.proc).then_some(Time::ZERO),
                idle_since: Time::from_millis(view.proc),
                jobs_done: 0,
            })
            .collect();
        self.send(Event::Sampled(vec![PoolLoad {
            pool: "a".into(),
            queued,
            processes,
            ..PoolLoad::default()
        }]));
    }

    fn view(&self) -> PoolView {
        self.sup.view(self.now).swap_remove(0)
    }

    /// What was asked for since, a line each, without what is only told.
    fn asked(&mut self) -> Vec<String> {
        self.out
            .drain(..)
            .filter_map(|action| {
                Some(match action {
                    Action::Spawn { proc, slot, pool } => {
                        format!("spawn {} as {}/{}", proc.0, pool.name, slot.0)
                    }
                    Action::Quiesce { proc } => format!("quiesce {}", proc.0),
                    Action::Unquiesce { proc } => format!("unquiesce {}", proc.0),
                    Action::Signal { proc, signal } => format!("{signal:?} {}", proc.0),
                    Action::Disconnect { proc } => format!("disconnect {}", proc.0),
                    Action::Kill { proc } => format!("kill {}", proc.0),
                    Action::GiveUp { pool, reason } => format!("give up {pool}: {reason}"),
                    Action::Renew { pool } => format!("renew {pool}"),
                    Action::Finished => "finished".into(),
                    Action::Tell(_) => return None,
                })
            })
            .collect()
    }

    /// What was told since, from this level up.
    fn told(&mut self, levels: &[Level]) -> Vec<String> {
        self.out
            .drain(..)
            .filter_map(|action| match action {
                Action::Tell(tell) if levels.contains(&tell.level) => Some(tell.text),
                _ => None,
            })
            .collect()
    }

    fn slots(&self) -> Vec<(u32, ProcessState)> {
        let views = self.view().processes;
        views.iter().map(|v| (v.slot.0, v.state)).collect()
    }
}

const NOTHING: [&str; 0] = [];

// Starting.

#[test]
fn the_first_configuration_starts_min() {
    let mut stage = Stage::new(&[
        pool(2, 4),
        Pool {
            name: "b".into(),
            ..pool(0, 1)
        },
    ]);
    assert_eq!(stage.asked(), ["spawn 1 as a/1", "spawn 2 as a/2"]);
}

#[test]
fn at_most_sixteen_start_at_once_on_the_machine() {
    let mut stage = Stage::new(&[
        pool(12, 12),
        Pool {
            name: "b".into(),
            ..pool(12, 12)
        },
    ]);
    assert_eq!(stage.asked().len(), 16);
    stage.register(3);
    assert_eq!(stage.asked(), ["spawn 17 as b/5"]);
    stage.exit(1, 1);
    // its place among the starting goes to the other pool, as its own backs off
    assert_eq!(stage.asked(), ["spawn 18 as b/6"]);
}

#[test]
fn max_processes_gives_min_first_and_growth_what_is_left() {
    let pools = [
        pool(1, 9),
        Pool {
            name: "b".into(),
            ..pool(2, 2)
        },
    ];
    let mut stage = Stage::new(&[]);
    stage.send(Event::Configured(
        pools.into_iter().map(Arc::new).collect(),
        Caps {
            max_processes: Some(4),
        },
    ));
    stage.register(1);
    stage.sample(100, &[]);
    assert_eq!(
        stage.asked(),
        [
            "spawn 1 as a/1",
            "spawn 2 as b/1",
            "spawn 3 as b/2",
            "spawn 4 as a/2"
        ]
    );
    assert_eq!(
        stage.view().reason,
        "held at 2: its share of max_processes 4, raise it to start more"
    );
}

#[test]
fn a_process_that_does_not_register_in_time_is_stopped_and_counts_as_a_failed_start() {
    let mut stage = Stage::new(&[pool(1, 1)]);
    stage.asked();
    stage.pass(10.0);
    assert_eq!(
        stage.told(&[Level::Warning]),
        ["has not registered a within 10 s: it is stopped"]
    );
    // a sample that shows no job is enough: it has no code to finish
    stage.sample(0, &[]);
    assert_eq!(stage.asked(), ["Term 1"]);
    stage.pass(30.0);
    assert_eq!(stage.asked(), ["disconnect 1", "kill 1"]);
    stage.exit(1, 0);
    assert_eq!(stage.asked(), NOTHING);
    assert_eq!(
        stage.view().last_exit.unwrap(),
        "did not register within 10 s"
    );
    stage.pass(0.5);
    assert_eq!(stage.asked(), ["spawn 2 as a/1"]);
}

#[test]
fn one_that_hangs_with_a_job_of_another_function_is_not_cut() {
    let mut stage = Stage::new(&[pool(1, 1)]);
    stage.pass(9.0);
    stage.sample(0, &[1]);
    stage.pass(60.0);
    stage.sample(0, &[1]);
    assert_eq!(stage.asked(), ["spawn 1 as a/1", "quiesce 1"]);
    stage.park(1);
    assert_eq!(stage.asked(), ["Term 1"]);
}

// Dying.

#[test]
fn after_a_healthy_life_the_slot_is_filled_at_once() {
    let mut stage = Stage::up(&[pool(3, 3)]);
    stage.exit(2, 1);
    assert_eq!(stage.asked(), ["spawn 4 as a/2"]);
    let view = stage.view();
    assert_eq!(view.last_exit.unwrap(), "exit 1");
    assert_eq!((view.restarts, view.state), (1, PoolState::Running));
}

#[test]
fn a_process_that_did_a_job_has_lived_however_briefly() {
    let mut stage = Stage::new(&[pool(1, 1)]);
    for proc in 1..=20 {
        stage.register(proc);
        stage.send(Event::Worked { proc: ProcId(proc) });
        stage.exit(proc, 0);
    }
    assert_eq!(stage.asked().len(), 21);
    assert!(stage.told(&[Level::Warning, Level::Error]).is_empty());
}

#[test]
fn a_pool_whose_processes_keep_dying_fails_probes_alone_and_recovers() {
    let mut stage = Stage::new(&[pool(4, 30)]);
    // whether anything comes up is not known, so that demand starts nothing
    stage.sample(1000, &[]);
    assert_eq!(stage.asked().len(), 4);
    for proc in 1..=4 {
        stage.exit(proc, 1);
    }
    assert_eq!(
        stage.told(&[Level::Error]),
        [
            "failing: 3 starts died before registering, next try in 1 s; the last one: exit 1, and its last line: out of luck"
        ]
    );
    let view = stage.view();
    assert_eq!(view.state, PoolState::Failing);
    assert_eq!(view.last_lines, ["out of luck"]);
    assert_eq!(view.target, 4);
    assert_eq!(
        view.reason,
        "failing: 4 starts died before registering, next try in 1 s"
    );
    let backing_off = [1, 2, 3, 4].map(|slot| (slot, ProcessState::Backoff));
    assert_eq!(stage.slots(), backing_off);
    stage.pass(1.0);
    assert_eq!(stage.asked(), ["spawn 5 as a/1"]);
    stage.send(Event::SpawnFailed {
        proc: ProcId(5),
        error: "no such file: worker".into(),
    });
    let view = stage.view();
    assert_eq!(
        view.last_exit.unwrap(),
        "could not be started: no such file: worker"
    );
    stage.pass(1.0);
    assert_eq!(stage.asked(), ["spawn 6 as a/1"]);
    stage.register(6);
    assert_eq!(stage.asked(), NOTHING, "registered is not yet healthy");
    stage.pass(1.0);
    assert_eq!(stage.view().state, PoolState::Running);
    assert_eq!(stage.asked().len(), 4);
}

#[test]
fn a_crash_loop_starts_few() {
    let mut stage = Stage::new(&[pool(2, 30)]);
    stage.sample(1000, &[]);
    let mut starts = 0;
    while stage.now < Time::from_millis(300_000) {
        for action in std::mem::take(&mut stage.out) {
            if let Action::Spawn { proc, .. } = action {
                starts += 1;
                stage.exit(proc.0, 1);
            }
        }
        stage.pass(0.05);
        stage.sample(1000, &[]);
    }
    assert!(starts <= 25, "{starts} starts in five minutes");
}

#[test]
fn the_restart_policy_decides_whether_a_slot_is_filled_again() {
    for (restart, code, again) in [
        (Restart::Always, 0, true),
        (Restart::Always, 1, true),
        (Restart::OnFailure, 0, false),
        (Restart::OnFailure, 1, true),
        (Restart::Never, 0, false),
        (Restart::Never, 1, false),
    ] {
        let mut stage = Stage::up(&[Pool {
            restart,
            ..pool(2, 2)
        }]);
        stage.exit(1, code);
        stage.pass(5.0);
        stage.sample(50, &[2]);
        let asked = stage.asked();
        if again {
            assert_eq!(asked, ["spawn 3 as a/1"], "{restart:?} {code}");
        } else {
            assert_eq!(asked, NOTHING, "{restart:?} {code}");
            let PoolView { reason, state, .. } = stage.view();
            let last = format!(", the last one: exit {code}");
            assert!(reason.contains("; 1 ended and is not started again (restart: "));
            assert!(reason.ends_with(&last), "{reason}");
            assert_eq!(state, PoolState::Running, "one is left");
            stage.exit(2, code);
            let PoolView { reason, state, .. } = stage.view();
            assert!(reason.starts_with("2 ended and are not started again (restart: "));
            assert_eq!(reason.contains("the last one"), code == 0, "{reason}");
            assert_eq!(state == PoolState::Failing, code != 0, "{restart:?} {code}");
            stage.send(Event::Start { pool: "a".into() });
            assert_eq!(stage.asked(), ["spawn 3 as a/1", "spawn 4 as a/2"]);
            assert_eq!(stage.view().state, PoolState::Running);
        }
    }
}

#[test]
fn the_end_of_a_draining_process_is_no_crash() {
    let mut stage = Stage::up(&[pool(1, 2)]);
    stage.send(Event::Scale {
        pool: "a".into(),
        min: 0,
        max: 0,
    });
    stage.exit(1, 9);
    assert_eq!(stage.asked(), ["quiesce 1"]);
    assert_eq!(stage.view().last_exit, None);
}

// Scaling.

#[test]
fn min_zero_starts_with_the_first_job_and_ends_after_the_hold() {
    let mut stage = Stage::new(&[pool(0, 5)]);
    assert_eq!(stage.asked(), NOTHING);
    stage.sample(1, &[]);
    assert_eq!(stage.asked(), ["spawn 1 as a/1"]);
    stage.register(1);
    stage.sample(0, &[1]);
    stage.pass(5.0);
    // the need is smoothed over some seconds, so that it has to be one for a while before it is kept
    for _ in 0..25 {
        stage.sample(0, &[1]);
        stage.pass(1.0);
    }
    for _ in 0..25 {
        stage.sample(0, &[]);
        assert_eq!(
            stage.view().reason,
            "keeping 1: peak demand of the last 30 s"
        );
        assert_eq!(stage.asked(), NOTHING);
        stage.pass(1.0);
    }
    // what is smoothed falls some seconds after the need
    for _ in 0..20 {
        stage.sample(0, &[]);
        stage.pass(1.0);
    }
    assert_eq!(stage.asked(), ["quiesce 1"]);
    assert_eq!(
        (stage.view().target, stage.view().reason.as_str()),
        (0, "at min")
    );
}

#[test]
fn going_down_takes_the_longest_idle_one_a_second_and_leaves_the_busy() {
    let mut stage = Stage::up(&[pool(6, 6)]);
    stage.configure(&[Pool {
        scale: crate::config::Scale {
            down_after: Some(Duration::ZERO),
            ..Default::default()
        },
        ..pool(2, 6)
    }]);
    stage.sample(0, &[1, 2, 3, 5]);
    stage.sample(0, &[1, 2, 3]);
    assert_eq!(stage.asked(), ["quiesce 4"]);
    stage.sample(0, &[1, 2]);
    assert_eq!(stage.asked(), NOTHING);
    stage.pass(1.0);
    assert_eq!(stage.asked(), ["quiesce 3"]);
    stage.pass(5.0);
    assert_eq!(stage.asked(), ["quiesce 5", "quiesce 6"]);
    stage.pass(20.0);
    assert_eq!(stage.asked(), NOTHING);
}

#[test]
fn a_drain_that_is_not_wanted_any_more_is_undone_before_a_start() {
    let mut stage = Stage::up(&[pool(3, 3)]);
    stage.send(Event::Scale {
        pool: "a".into(),
        min: 1,
        max: 3,
    });
    stage.pass(40.0);
    stage.sample(0, &[]);
    stage.pass(3.0);
    stage.park(1);
    assert_eq!(stage.asked(), ["quiesce 1", "quiesce 2", "Term 1"]);
    stage.sample(2, &[3]);
    // two are missing: one is taken back, and the one that was signalled still counts against max
    assert_eq!(stage.asked(), ["unquiesce 2"]);
    stage.exit(1, 0);
    assert_eq!(stage.asked(), ["spawn 4 as a/1"]);
}

#[test]
fn a_pool_that_comes_back_into_the_file_goes_on_with_what_it_has() {
    let mut stage = Stage::up(&[pool(2, 2)]);
    stage.configure(&[]);
    stage.park(1);
    assert_eq!(stage.asked(), ["quiesce 1", "quiesce 2", "Term 1"]);
    stage.configure(&[pool(2, 2)]);
    // the one that was signalled still counts against max
    assert_eq!(stage.asked(), ["unquiesce 2"]);
    let waits = "at min; the next starts when the one that is leaving has ended";
    assert_eq!(stage.view().reason, waits);
    stage.exit(1, 0);
    assert_eq!(stage.asked(), ["spawn 3 as a/1"]);
    assert_eq!(stage.view().reason, "at min");
}

// Reloading.

#[test]
fn a_reload_touches_only_what_changed() {
    let b = Pool {
        name: "b".into(),
        ..pool(1, 1)
    };
    let mut stage = Stage::up(&[pool(2, 4), b.clone()]);
    let scaled = Pool {
        max: 9,
        stop_signal: Signal::Int,
        max_jobs: Some(5),
        ..pool(2, 4)
    };
    stage.configure(&[scaled, b]);
    assert_eq!(stage.asked(), NOTHING);
    stage.configure(&[pool(2, 4)]);
    assert_eq!(
        stage.asked(),
        ["quiesce 3"],
        "a pool that was removed is drained"
    );
    assert_eq!(stage.sup.view(stage.now)[1].state, PoolState::Leaving);
    stage.park(3);
    stage.exit(3, 0);
    assert_eq!(stage.sup.view(stage.now).len(), 1);
}

#[test]
fn a_new_stop_signal_holds_for_processes_that_run() {
    let mut stage = Stage::up(&[pool(1, 1)]);
    stage.configure(&[Pool {
        stop_signal: Signal::Quit,
        ..pool(1, 1)
    }]);
    stage.send(Event::Stop { pool: "a".into() });
    stage.park(1);
    assert_eq!(stage.asked(), ["quiesce 1", "Quit 1"]);
}

fn changed(min: u32, max: u32) -> Pool {
    Pool {
        command: Command::Exec(vec!["new".into()]),
        ..pool(min, max)
    }
}

#[test]
fn a_changed_command_replaces_one_by_one_new_before_old() {
    let mut stage = Stage::up(&[pool(2, 2)]);
    stage.configure(&[changed(2, 2)]);
    assert_eq!(stage.asked(), ["spawn 3 as a/3"]);
    stage.register(3);
    assert_eq!(stage.asked(), ["quiesce 1"]);
    stage.pass(3600.0);
    assert_eq!(stage.asked(), NOTHING, "a job takes as long as it takes");
    assert_eq!(
        stage.view().processes[0].leaving_because.as_deref(),
        Some("reload")
    );
    stage.park(1);
    stage.exit(1, 0);
    assert_eq!(stage.asked(), ["Term 1", "spawn 4 as a/1"]);
    stage.register(4);
    stage.park(2);
    stage.exit(2, 0);
    assert_eq!(stage.asked(), ["quiesce 2", "Term 2"]);
    assert_eq!(
        stage.slots(),
        [(1, ProcessState::Running), (3, ProcessState::Running)]
    );
}

#[test]
fn a_new_command_that_does_not_work_stops_the_roll_and_keeps_the_old() {
    let mut stage = Stage::up(&[pool(2, 2)]);
    stage.configure(&[changed(2, 2)]);
    for proc in 3..6 {
        assert_eq!(stage.asked(), [format!("spawn {proc} as a/3")]);
        stage.exit(proc, 127);
        if proc == 5 {
            let told = stage.told(&[Level::Error]);
            assert!(
                told[0]
                    .ends_with("; the replacement stops here and the old processes are kept (2)"),
                "{told:?}"
            );
        }
        stage.pass(3.0);
    }
    assert_eq!(
        stage.asked(),
        ["spawn 6 as a/3"],
        "a probe, in case it was the database"
    );
    stage.register(6);
    assert_eq!(stage.asked(), NOTHING, "not before it has proved healthy");
    stage.exit(6, 1);
    // back to what runs: nothing to replace any more
    stage.configure(&[pool(2, 2)]);
    stage.pass(100.0);
    assert_eq!(stage.asked(), NOTHING);
    assert_eq!(stage.view().state, PoolState::Running);
}

#[test]
fn under_a_full_max_processes_an_old_one_goes_first() {
    let caps = Caps {
        max_processes: Some(2),
    };
    let mut stage = Stage::up(&[pool(2, 2)]);
    stage.send(Event::Configured(vec![Arc::new(changed(2, 2))], caps));
    assert_eq!(stage.asked(), ["quiesce 1"]);
    stage.park(1);
    stage.exit(1, 0);
    assert_eq!(stage.asked(), ["Term 1", "spawn 3 as a/1"]);
    stage.register(3);
    assert_eq!(stage.asked(), ["quiesce 2"]);
}

#[test]
fn max_jobs_and_max_lifetime_replace_before_they_drain() {
    let mut stage = Stage::up(&[Pool {
        max_jobs: Some(1),
        ..pool(1, 1)
    }]);
    stage.send(Event::Worked { proc: ProcId(1) });
    stage.register(2);
    assert_eq!(stage.asked(), ["spawn 2 as a/2", "quiesce 1"]);
    assert_eq!(
        stage.view().processes[0].leaving_because.as_deref(),
        Some("max_jobs reached")
    );

    let lifetime = Some(Duration::from_secs(100));
    let mut stage = Stage::up(&[Pool {
        max_lifetime: lifetime,
        ..pool(2, 2)
    }]);
    stage.pass(87.0);
    assert_eq!(stage.asked(), NOTHING);
    stage.pass(21.1);
    assert_eq!(stage.asked(), ["spawn 3 as a/3"]);
    stage.register(3);
    assert_eq!(stage.asked(), ["quiesce 1"]);
}

// By hand.

#[test]
fn scaled_by_hand_holds_until_the_file_changes_the_pool() {
    let mut stage = Stage::up(&[pool(1, 2)]);
    stage.send(Event::Scale {
        pool: "a".into(),
        min: 3,
        max: 3,
    });
    assert_eq!(stage.asked(), ["spawn 2 as a/2", "spawn 3 as a/3"]);
    let view = stage.view();
    assert_eq!((view.min, view.max), (3, 3));
    assert_eq!(view.by_hand.as_deref(), Some("scaled by hand"));
    assert_eq!(view.reason, "held at 3 by hand");
    stage.register_all();
    stage.configure(&[pool(1, 2)]);
    assert_eq!(stage.asked(), NOTHING, "the pool is as it was in the file");
    stage.configure(&[pool(1, 1)]);
    assert_eq!(stage.asked().len(), 2);
    assert_eq!(stage.view().by_hand, None);
    stage.send(Event::Scale {
        pool: "nobody".into(),
        min: 3,
        max: 3,
    });
}

#[test]
fn beyond_max_the_busy_go_too_but_last_and_uncut() {
    let mut stage = Stage::up(&[pool(4, 4)]);
    stage.sample(0, &[1, 2, 3]);
    stage.send(Event::Scale {
        pool: "a".into(),
        min: 2,
        max: 2,
    });
    assert_eq!(stage.asked(), ["quiesce 4", "quiesce 1"]);
    stage.sample(0, &[1, 2, 3]);
    stage.pass(29.9);
    assert_eq!(stage.asked(), NOTHING);
    stage.pass(1.0);
    // idle since the sample after its quiesce, and it never parked
    assert_eq!(stage.asked(), ["Term 4", "disconnect 4"]);
}

#[test]
fn stop_drains_all_and_start_starts_again() {
    let mut stage = Stage::up(&[pool(2, 2)]);
    stage.send(Event::Stop { pool: "a".into() });
    assert_eq!(stage.asked(), ["quiesce 1", "quiesce 2"]);
    stage.sample(10, &[1]);
    assert_eq!(stage.asked(), NOTHING);
    let view = stage.view();
    assert_eq!((view.state, view.target), (PoolState::Stopped, 0));
    assert_eq!(view.by_hand.as_deref(), Some("stopped by hand"));
    stage.park(2);
    stage.exit(2, 0);
    stage.send(Event::Start { pool: "a".into() });
    // not the old one back: who stops and starts wants new ones
    assert_eq!(stage.asked(), ["Term 2", "spawn 3 as a/2"]);
}

#[test]
fn restart_replaces_one_slot_or_all() {
    let mut stage = Stage::up(&[pool(2, 2)]);
    stage.send(Event::Restart {
        pool: "a".into(),
        slot: Some(Slot(2)),
    });
    stage.register(3);
    stage.park(2);
    stage.exit(2, 0);
    assert_eq!(stage.asked(), ["spawn 3 as a/3", "quiesce 2", "Term 2"]);
    stage.send(Event::Restart {
        pool: "a".into(),
        slot: None,
    });
    stage.register(4);
    assert_eq!(stage.asked(), ["spawn 4 as a/2", "quiesce 1"]);
}

// Draining.

#[test]
fn a_process_that_is_starting_is_quiesced_too_and_never_forgotten() {
    let mut stage = Stage::new(&[pool(2, 2)]);
    stage.send(Event::Scale {
        pool: "a".into(),
        min: 1,
        max: 1,
    });
    assert_eq!(
        stage.asked(),
        ["spawn 1 as a/1", "spawn 2 as a/2", "quiesce 2"]
    );
    stage.send(Event::Spawned {
        proc: ProcId(2),
        pid: 2,
    });
    stage.park(2);
    assert_eq!(stage.asked(), ["quiesce 2", "Term 2"]);
}

// Shutting down.

#[test]
fn gracefully_gives_jobs_stop_timeout_then_the_signal_then_kill() {
    let mut stage = Stage::up(&[pool(2, 2)]);
    stage.send(Event::ShutDown(Stop::Gracefully));
    stage.sample(5, &[1]);
    stage.park(2);
    stage.exit(2, 0);
    assert_eq!(stage.asked(), ["quiesce 1", "quiesce 2", "Term 2"]);
    stage.pass(29.9);
    assert_eq!(stage.asked(), NOTHING);
    stage.pass(0.1);
    assert_eq!(stage.asked(), ["Term 1"]);
    stage.pass(30.0);
    assert_eq!(stage.asked(), ["disconnect 1", "kill 1"]);
    stage.exit(1, 9);
    stage.send(Event::Tick);
    assert_eq!(stage.asked(), ["finished"]);
}

#[test]
fn when_idle_waits_and_each_further_shutdown_is_harder() {
    let mut stage = Stage::up(&[pool(1, 1)]);
    stage.send(Event::ShutDown(Stop::WhenIdle));
    stage.sample(0, &[1]);
    stage.pass(7200.0);
    assert_eq!(stage.asked(), ["quiesce 1"]);
    stage.send(Event::ShutDown(Stop::WhenIdle));
    stage.pass(29.0);
    assert_eq!(stage.asked(), NOTHING);
    stage.send(Event::ShutDown(Stop::Gracefully));
    assert_eq!(stage.asked(), ["kill 1"]);
    stage.send(Event::ShutDown(Stop::WhenIdle));
    stage.send(Event::ShutDown(Stop::AtOnce));
    assert_eq!(stage.asked(), NOTHING);
    stage.exit(1, 9);
    assert_eq!(stage.asked(), ["finished"]);
}

#[test]
fn nothing_is_started_while_shutting_down_and_no_pools_are_finished_at_once() {
    let mut stage = Stage::up(&[pool(1, 1)]);
    stage.send(Event::ShutDown(Stop::AtOnce));
    stage.configure(&[pool(5, 5)]);
    stage.sample(10, &[]);
    assert_eq!(stage.asked(), ["kill 1"]);
    assert_eq!(stage.view().state, PoolState::Leaving);

    let mut stage = Stage::new(&[]);
    stage.send(Event::ShutDown(Stop::Gracefully));
    assert_eq!(stage.asked(), ["finished"]);
}

// Cost.

/// 200 pools of 20: a sample of everything is one pass over the processes, not one for each of them.
#[test]
fn a_sample_costs_one_pass() {
    let cost = |pools: usize, each: u32| {
        let pools: Vec<Arc<Pool>> = (0..pools)
            .map(|number| {
                Arc::new(Pool {
                    name: format!("p{number}"),
                    ..pool(each, each)
                })
            })
            .collect();
        let mut sup = Supervisor::new(1);
        let mut starting: Vec<ProcId> = Vec::new();
        let mut collect = |actions: Vec<Action>| {
            starting.extend(actions.into_iter().filter_map(|action| match action {
                Action::Spawn { proc, .. } => Some(proc),
                _ => None,
            }));
            starting.pop()
        };
        let mut next = collect(sup.handle(Time::ZERO, Event::Configured(pools, Caps::default())));
        let mut started = 0;
        while let Some(proc) = next {
            started += 1;
            next = collect(sup.handle(Time::ZERO, Event::Registered { proc }));
        }
        let loads: Vec<PoolLoad> = sup
            .view(Time::ZERO)
            .into_iter()
            .map(|view| PoolLoad {
                pool: view.name,
                processes: view
                    .processes
                    .iter()
                    .map(|process| ProcLoad {
                        proc: ProcId(process.proc),
                        busy_since: None,
                        idle_since: Time::ZERO,
                        jobs_done: 1,
                    })
                    .collect(),
                ..PoolLoad::default()
            })
            .collect();
        (sup, loads, started)
    };
    let (mut sup, loads, started) = cost(200, 20);
    assert_eq!(started, 4000);
    let actions = sup.handle(Time::from_millis(5000), Event::Sampled(loads));
    assert!(actions.is_empty());
}

#[test]
fn a_pool_that_fails_ends_the_daemon_if_it_is_to() {
    let mut failing = pool(1, 1);
    for exits in [false, true] {
        failing.exit_on_failure = exits;
        let mut stage = Stage::new(&[failing.clone()]);
        for proc in 1..=3 {
            stage.pass(4.0);
            stage.out.clear();
            stage.exit(proc, 7);
        }
        let given_up = "give up a: its processes keep dying; the last one: exit 7";
        let expected = if exits { &[given_up][..] } else { &[] };
        assert_eq!(stage.asked(), expected);
        // once
        stage.pass(4.0);
        stage.exit(4, 7);
        assert!(!stage.asked().iter().any(|line| line == given_up));
    }
}

#[test]
fn a_process_that_is_not_started_again_ends_the_daemon_if_it_failed() {
    let mut once = pool(2, 2);
    once.restart = Restart::Never;
    once.exit_on_failure = true;
    let mut stage = Stage::up(&[once]);
    stage.exit(1, 0);
    assert_eq!(stage.asked(), [""; 0]);
    stage.exit(2, 3);
    let why = "a process has ended and is not started again; the last one: exit 3";
    assert_eq!(stage.asked(), [format!("give up a: {why}")]);
}
