//! The end of a process: nothing that it has started is left when another takes its place.
//!
//! The daemon is the subreaper of all that descends from it. So what a process has left is among the daemon's own children when it
//! has ended, or below them, and one look at the list of these says that nothing is left, which is nearly always so.

use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::processes::exit_of;
use super::*;
use crate::config::Signal;
use crate::daemon::logs::Capture;
use crate::sys::orphans;
use crate::sys::process::{self, Process};

/// How long what a process has left may take to end after TERM.
const GRACE: Duration = Duration::from_secs(1);

/// How long it is tried with KILL: a process that is stuck in the kernel takes no signal.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long the logs may take for the last of a process's output: a disk that is stuck is to hold up neither the next process nor the
/// daemon's end.
const WRITTEN_WITHIN: Duration = Duration::from_secs(2);

/// How often is looked while something is left. The end of one that has come to us is told besides.
const LOOK: Duration = Duration::from_millis(20);

/// A process that has ended, until nothing is left of it.
#[derive(Debug)]
pub(super) struct Sweep {
    status: ExitStatus,
    capture: Capture,
    /// When TERM gives way to KILL.
    kill_at: Time,
    /// Whom TERM was sent to, by id and start.
    asked: HashSet<(u32, u64)>,
    is_told: bool,
    pub(super) look_at: Time,
}

impl Manager {
    /// A process has ended and has been reaped.
    pub(super) fn ended(&mut self, proc: ProcId, status: ExitStatus, capture: Capture) {
        let now = self.parts.hub.now();
        let killed = self.killed.contains(&proc);
        let sweep = Sweep {
            status,
            capture,
            // who gave up on the process gives up on its children
            kill_at: if killed { now } else { now + GRACE },
            asked: HashSet::new(),
            is_told: false,
            look_at: now,
        };
        self.sweeps.insert(proc, sweep);
    }

    /// Some child has ended. It is one of a pool nearly always, whose end is told in this moment too and has all of them looked at; to
    /// list them for this besides would take a tenth of the time that a process's end and the next one's start take together.
    pub(super) fn child_ended(&mut self) {
        if orphans::have_ended() {
            let now = self.parts.hub.now();
            let at = match self.sweeps.is_empty() {
                true => now + LOOK,
                false => now,
            };
            self.reap_at = Some(self.reap_at.map_or(at, |known| known.min(at)));
        }
    }

    /// Reaps what has come to us and has ended, and looks after what ended processes have left.
    pub(super) fn sweep(&mut self) {
        self.reap_at = None;
        let orphans = self.reap();
        let now = self.parts.hub.now();
        for (proc, sweep) in std::mem::take(&mut self.sweeps) {
            match self.sweep_one(now, proc, sweep, &orphans) {
                Swept::Not(mut sweep) => {
                    // how long it has lived is not to be measured by how long this takes
                    if !std::mem::replace(&mut sweep.is_told, true) {
                        self.events.push_back(Event::Ended { proc });
                    }
                    self.sweeps.insert(proc, sweep);
                }
                Swept::Clean(sweep) => self.swept(proc, sweep),
            }
        }
    }

    /// What it has left is not waited for any longer.
    pub(super) fn sweep_hard(&mut self, proc: ProcId) {
        let now = self.parts.hub.now();
        if let Some(sweep) = self.sweeps.get_mut(&proc) {
            sweep.kill_at = sweep.kill_at.min(now);
            sweep.look_at = now;
        }
    }

    fn sweep_one(&self, now: Time, proc: ProcId, mut sweep: Sweep, orphans: &[Process]) -> Swept {
        let left = self.left_by(proc, orphans);
        let Some(member) = self.crew.get(proc).filter(|_| !left.is_empty()) else {
            return Swept::Clean(sweep);
        };
        let name = format!("{}/{}", member.pool.name, member.slot.0);
        if now >= sweep.kill_at + PATIENCE {
            tracing::error!(
                "{name}: {} cannot be killed and stays behind: {}",
                count(&left),
                names(&left)
            );
            return Swept::Clean(sweep);
        }
        if now >= sweep.kill_at {
            if !sweep.asked.is_empty() {
                tracing::warn!(
                    "{name}: {} did not end on TERM and gets KILL: {}",
                    count(&left),
                    names(&left)
                );
                sweep.asked.clear();
            }
            if let Some(group) = self.groups.get(&proc) {
                // older kernels cannot, and then each of them is killed by itself
                let _ = group.kill();
            }
            for process in &left {
                orphans::signal(process, Signal::Kill);
            }
        } else {
            let fresh = |process: &&Process| {
                !process.ended && !sweep.asked.contains(&(process.pid, process.started))
            };
            let fresh: Vec<Process> = left.iter().filter(fresh).copied().collect();
            if !fresh.is_empty() {
                tracing::info!(
                    "{name}: has left {} behind, to which TERM is sent: {}",
                    count(&fresh),
                    names(&fresh)
                );
            }
            for process in &fresh {
                orphans::signal(process, Signal::Term);
                sweep.asked.insert((process.pid, process.started));
            }
        }
        sweep.look_at = now + LOOK;
        Swept::Not(sweep)
    }

    /// Nothing is left: the rest of its output is written, and then it is told to the supervisor.
    fn swept(&mut self, proc: ProcId, sweep: Sweep) {
        let status = self.name_the_end(proc, sweep.status);
        if let Some(group) = self.groups.remove(&proc) {
            group.remove();
        }
        let happenings = self.parts.happenings.clone();
        let member = self.crew.get(proc);
        let name = member.map(|it| format!("{}/{}", it.pool.name, it.slot.0));
        tokio::spawn(async move {
            let ended = sweep.capture.ended(exit_of(status));
            let last_lines = timeout(WRITTEN_WITHIN, ended).await.unwrap_or_else(|_| {
                tracing::warn!(
                    "{}: the last of its output is not written yet, which is not waited for: the disk of the logs, or who reads them, is stuck",
                    name.unwrap_or_default()
                );
                Vec::new()
            });
            // the manager ends last
            let _ = happenings.send(Happening::Exited {
                proc,
                status,
                last_lines,
            });
        });
    }

    /// What is left of a process that has ended; also what has ended itself and is reaped in a moment.
    fn left_by(&self, proc: ProcId, orphans: &[Process]) -> Vec<Process> {
        let Some(member) = self.crew.get(proc) else {
            return Vec::new();
        };
        let in_group = self
            .groups
            .get(&proc)
            .into_iter()
            .flat_map(|group| group.processes());
        let mut left: Vec<Process> = in_group.filter_map(process::one).collect();
        if !orphans.is_empty() {
            let marks = [
                format!("GEARPOOL_INSTANCE={}", self.parts.surroundings.instance),
                format!("GEARPOOL_POOL={}", member.pool.name),
                format!("GEARPOOL_SLOT={}", member.slot.0),
            ];
            let marks: Vec<&[u8]> = marks.iter().map(String::as_bytes).collect();
            let its_own = orphans.iter().filter(|orphan| {
                orphan.session == member.pid
                    || orphan.group == member.pid
                    || process::has_in_environment(orphan.pid, &marks)
            });
            left.extend(process::trees(its_own.map(|orphan| orphan.pid)));
        }
        left.sort_by_key(|process| process.pid);
        left.dedup_by_key(|process| process.pid);
        left
    }

    /// The children that nobody here has started.
    fn orphans(&self) -> Vec<Process> {
        let guardian = self.parts.guardian.as_ref().map(Guardian::pid);
        let unknown = process::own_children().into_iter();
        let unknown =
            unknown.filter(|&pid| self.crew.led_by(pid).is_none() && !child::is_awaited(pid));
        unknown
            .filter(|&pid| Some(pid) != guardian)
            .filter_map(process::one)
            .filter(|process| self.parts.heritage.includes(process))
            .collect()
    }

    /// Reaps the orphans that have ended, and returns the others. One that has ended since the list was read may have left us a child
    /// that is not in it, so the list is right only when nobody had to be reaped.
    fn reap(&self) -> Vec<Process> {
        loop {
            let mut orphans = self.orphans();
            let before = orphans.len();
            orphans.retain(|orphan| !(orphan.ended && orphans::reap(orphan.pid)));
            if orphans.len() == before {
                return orphans;
            }
        }
    }

    /// Kills what is left when all processes have ended: what ran under another name than its process's all the time.
    pub(super) fn sweep_rest(&self) {
        let begin = std::time::Instant::now();
        loop {
            let rest = self.reap().into_iter();
            let rest: Vec<_> = rest.filter(|it| self.parts.heritage.ends(it)).collect();
            if rest.is_empty() || begin.elapsed() > GRACE {
                return;
            }
            for process in process::trees(rest.iter().map(|it| it.pid)) {
                orphans::signal(&process, Signal::Kill);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

enum Swept {
    Clean(Sweep),
    Not(Sweep),
}

/// Which of the unknown children are orphans: a library in this program may have started one, and waits for it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::daemon) struct Heritage {
    session: u32,
    is_init: bool,
    /// Children that were there before this program was, through exec(2).
    before: HashSet<u32>,
}

impl Heritage {
    /// To be made before anything is started.
    pub(in crate::daemon) fn new() -> Heritage {
        let own = std::process::id();
        Heritage {
            session: process::one(own).map_or(0, |process| process.session),
            is_init: own == 1,
            before: process::own_children().into_iter().collect(),
        }
    }

    /// Workers have sessions of their own, which their children can leave only for another new one. A session of another namespace
    /// is 0, whichever it is.
    fn includes(&self, process: &Process) -> bool {
        process.session != self.session
            || (self.is_init && process.session == 0)
            || self.before.contains(&process.pid)
    }

    /// Whether it goes with the daemon. What comes to process 1 need not be ours, and goes with the container.
    fn ends(&self, process: &Process) -> bool {
        !self.is_init && !self.before.contains(&process.pid)
    }
}

fn count(processes: &[Process]) -> String {
    match processes.len() {
        1 => "1 process".to_owned(),
        count => format!("{count} processes"),
    }
}

/// "sleep 811, php 812"
fn names(processes: &[Process]) -> String {
    const SHOWN: usize = 5;
    let mut names: Vec<String> = processes
        .iter()
        .take(SHOWN)
        .map(|it| format!("{} {}", process::name(it.pid).unwrap_or_default(), it.pid))
        .collect();
    if processes.len() > SHOWN {
        names.push("…".to_owned());
    }
    names.join(", ")
}
