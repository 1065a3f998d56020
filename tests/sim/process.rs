//! Worker processes: they start, connect, work, tidy up after a job, and do everything wrong that processes do.

use std::sync::Arc;
use std::time::Duration;

use gearpool::config::{Command, Pool};
use gearpool::jobs::ConnId;
use gearpool::pools::{ExitStatus, ProcId, Slot, Stop};
use gearpool::proto::{Grab, Request, Response};

use crate::client::FUNCTIONS;
use crate::ledger::text;
use crate::world::{Happening, Owner, World, trace};

/// Why a process is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Because it is parked: nothing of it may be cut.
    Parked,
    /// Because it has had its time.
    Deadline,
}

/// What it does when it is sent its stopping signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnSignal {
    /// The default disposition.
    Dies,
    /// A handler sets a flag, which the loop looks at when its library comes back to it.
    SetsFlag,
    Ignores,
}

#[derive(Debug)]
pub(crate) struct Proc {
    pub(crate) pool: Arc<Pool>,
    slot: Slot,
    pub(crate) pid: u32,
    is_alive: bool,
    on_signal: OnSignal,
    /// Whether it ends when its connection is closed or its request is refused. If not, it connects again.
    minds_refusal: bool,
    lies: bool,
    /// Asks again after a while instead of going to sleep.
    polls: bool,
    /// Has CAN_DO_TIMEOUT.
    limits_jobs: bool,
    flag_is_set: bool,
    /// Why it was signalled.
    signalled: Option<Cause>,
    conns: Vec<ConnId>,
    /// It is killed because a job of its has run past its limit.
    pub(crate) is_cut: bool,
    /// The shortest `stop_timeout` that may be meant for it.
    pub(crate) least_stop_timeout: Duration,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum ProcDeed {
    Connects,
    Dies(ExitStatus),
    /// The signal takes effect on one that has no handler.
    DiesOfSignal(i32),
    /// Loses one of its connections, and makes another.
    Blinks,
}

/// One connection of a process, and the loop behind it.
#[derive(Debug)]
pub(crate) struct Worker {
    proc: ProcId,
    doing: Doing,
    handle: Vec<u8>,
    epoch: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    /// Waits for the answer to GRAB_JOB.
    Asking,
    Running,
    /// Has sent its answer and has code of its own left.
    Tail,
    Asleep,
    Pausing,
    /// For ever in its job, or deaf to its NOOP.
    Hung,
}

impl World {
    /// Starts a process, if the system has one.
    pub(crate) fn spawn(
        &mut self,
        proc: ProcId,
        slot: Slot,
        pool: &Arc<Pool>,
    ) -> Result<u32, String> {
        assert!(self.ever.insert(proc), "{proc:?} is used twice");
        assert!(self.stopping.is_none(), "a start while shutting down");
        let siblings = self.procs.values().filter(|it| it.pool.name == pool.name);
        let siblings: Vec<_> = siblings.map(|it| it.slot).collect();
        assert!(
            !siblings.contains(&slot),
            "{slot:?} of {} is taken",
            pool.name
        );
        let views = self.manager.supervisor.view(self.now);
        let view = views
            .iter()
            .find(|it| it.name == pool.name)
            .expect("a pool");
        assert!(
            siblings.len() <= view.max as usize,
            "{} has {} and more than one beyond {}",
            pool.name,
            siblings.len(),
            view.max
        );
        if let Some(max) = self.caps_in_force.max_processes {
            assert!(self.procs.len() < max as usize, "max_processes is {max}");
        }
        let pid = 1000 + proc.0 as u32;
        let on_signal = *self
            .random
            .any(&[OnSignal::Dies, OnSignal::Dies, OnSignal::SetsFlag]);
        let ignores = self.fault(10);
        let made = Proc {
            pool: Arc::clone(pool),
            slot,
            pid,
            is_alive: true,
            on_signal: if ignores {
                OnSignal::Ignores
            } else {
                on_signal
            },
            minds_refusal: !self.fault(15),
            lies: self.fault(10),
            polls: self.random.percent(10),
            limits_jobs: self.random.percent(10),
            flag_is_set: false,
            signalled: None,
            conns: Vec::new(),
            is_cut: false,
            least_stop_timeout: pool.stop_timeout,
        };
        self.procs.insert(proc, made);
        if self.fault(3) {
            return Err("no such file".to_owned());
        }
        let code = ExitStatus::Code(self.random.below(2) as i32);
        let is_broken = self.faults && pool.command == Command::Exec(vec!["broken".into()]);
        if is_broken || self.fault(5) {
            let after = self.random.millis(5, 200);
            self.later(after, Happening::Proc(proc, ProcDeed::Dies(code)));
        } else if !self.fault(4) {
            for _ in 0..*self.random.any(&[1, 1, 2]) {
                let after = self.random.millis(10, 250);
                self.later(after, Happening::Proc(proc, ProcDeed::Connects));
            }
        }
        if self.fault(12) {
            let after = self.random.millis(50, 10_000);
            self.later(after, Happening::Proc(proc, ProcDeed::Dies(code)));
        }
        if self.fault(5) {
            let after = self.random.millis(50, 10_000);
            self.later(after, Happening::Proc(proc, ProcDeed::Blinks));
        }
        Ok(pid)
    }

    pub(crate) fn proc_does(&mut self, proc: ProcId, deed: ProcDeed) {
        let Some(it) = self.procs.get(&proc).filter(|it| it.is_alive) else {
            return;
        };
        match deed {
            ProcDeed::Connects => self.worker_connects(proc),
            ProcDeed::Dies(status) => self.die(proc, status),
            ProcDeed::DiesOfSignal(number) => {
                if it.signalled == Some(Cause::Parked) && self.cuts_nothing_at_once() {
                    self.check_nothing_is_cut(proc);
                }
                self.die(proc, ExitStatus::Signal(number));
            }
            ProcDeed::Blinks => {
                if let Some(&conn) = it.conns.first() {
                    self.drop_worker(conn);
                    let after = self.random.millis(0, 300);
                    self.later(after, Happening::Proc(proc, ProcDeed::Connects));
                }
            }
        }
    }

    fn die(&mut self, proc: ProcId, status: ExitStatus) {
        trace!(self, "{proc:?} dies: {status}");
        let it = self.procs.get_mut(&proc).expect("a process");
        it.is_alive = false;
        for conn in it.conns.clone() {
            self.drop_worker(conn);
        }
        let after = self.random.millis(0, 8);
        self.later(after, Happening::Reaped(proc, status));
    }

    fn drop_worker(&mut self, conn: ConnId) {
        if let Some(worker) = self.workers.remove(&conn) {
            if let Some(proc) = self.procs.get_mut(&worker.proc) {
                proc.conns.retain(|&other| other != conn);
            }
            self.hang_up(conn);
        }
    }

    // Its loop.

    fn worker_connects(&mut self, proc: ProcId) {
        let conn = self.connect(Owner::Proc(proc));
        trace!(self, "{proc:?} connects as {conn:?}");
        let it = self.procs.get_mut(&proc).expect("a process");
        it.conns.push(conn);
        let (pool, limits, lies) = (Arc::clone(&it.pool), it.limits_jobs, it.lies);
        self.workers.insert(
            conn,
            Worker {
                proc,
                doing: Doing::Asking,
                handle: Vec::new(),
                epoch: 0,
            },
        );
        let mut functions: Vec<&str> = pool.functions.iter().map(String::as_str).collect();
        if lies && self.random.percent(30) {
            // another's function, and perhaps none of its own
            functions.truncate(self.random.below(2) as usize);
            functions.push(*self.random.any(&FUNCTIONS));
        }
        let requests = functions.into_iter().map(|function| match limits {
            true => Request::CanDoTimeout {
                function: function.as_bytes(),
                timeout: b"1",
            },
            false => Request::CanDo {
                function: function.as_bytes(),
            },
        });
        let mut requests: Vec<_> = requests.collect();
        requests.push(self.any_grab());
        self.say(conn, &requests);
    }

    fn any_grab(&mut self) -> Request<'static> {
        Request::GrabJob(*self.random.any(&[Grab::Plain, Grab::Uniq, Grab::All]))
    }

    fn ask(&mut self, conn: ConnId) {
        let grab = self.any_grab();
        self.go_on(conn, Doing::Asking, None);
        self.say(conn, &[grab]);
    }

    /// What the worker does now, and when it does its next step by itself.
    fn go_on(&mut self, conn: ConnId, doing: Doing, after: Option<Duration>) {
        let worker = self.workers.get_mut(&conn).expect("a worker");
        worker.doing = doing;
        worker.epoch += 1;
        let epoch = worker.epoch;
        if let Some(after) = after {
            self.later(after, Happening::Step(conn, epoch));
        }
    }

    pub(crate) fn worker_hears(&mut self, conn: ConnId, response: Response<'_>) {
        let Some(worker) = self.workers.get(&conn) else {
            return;
        };
        let proc = worker.proc;
        let (flag, polls, minds, lies) = {
            let it = &self.procs[&proc];
            (it.flag_is_set, it.polls, it.minds_refusal, it.lies)
        };
        match (response, worker.doing) {
            // it has asked too often, and does not want what it gets
            (
                Response::JobAssign { handle, .. }
                | Response::JobAssignUniq { handle, .. }
                | Response::JobAssignAll { handle, .. },
                doing,
            ) if lies && doing != Doing::Asking => {
                let handle = handle.to_vec();
                self.say(conn, &[Request::WorkFail { handle: &handle }]);
            }
            (Response::NoJob, doing) if lies && doing != Doing::Asking => {}
            (
                Response::JobAssign { handle, .. }
                | Response::JobAssignUniq { handle, .. }
                | Response::JobAssignAll { handle, .. },
                doing,
            ) => {
                assert_eq!(doing, Doing::Asking, "a job that was not asked for");
                self.workers.get_mut(&conn).expect("a worker").handle = handle.to_vec();
                if self.is_poisoned && self.faults && handle.ends_with(b"5") {
                    let after = self.strict.millis(1, 50);
                    let deed = ProcDeed::Dies(ExitStatus::Signal(11));
                    self.later(after, Happening::Proc(proc, deed));
                }
                if self.fault(2) {
                    return self.go_on(conn, Doing::Hung, None);
                }
                let takes = match self.fault(4) {
                    true => self.random.millis(1000, 8000),
                    false => self.random.millis(2, 500),
                };
                self.go_on(conn, Doing::Running, Some(takes));
            }
            (Response::NoJob, doing) => {
                assert_eq!(doing, Doing::Asking, "an answer that was not asked for");
                if flag {
                    return self.exit(proc);
                }
                if polls {
                    let pause = self.random.millis(100, 500);
                    return self.go_on(conn, Doing::Pausing, Some(pause));
                }
                self.say(conn, &[Request::PreSleep]);
                let deaf = self.fault(1);
                self.go_on(conn, if deaf { Doing::Hung } else { Doing::Asleep }, None);
            }
            (Response::Noop, Doing::Asleep) => match flag {
                true => self.exit(proc),
                false => self.ask(conn),
            },
            (Response::Noop, _) => {}
            (
                Response::Error {
                    code: b"draining", ..
                },
                Doing::Asking,
            ) => match minds || flag {
                true => self.exit(proc),
                false => {
                    let pause = self.random.millis(20, 200);
                    self.go_on(conn, Doing::Pausing, Some(pause));
                }
            },
            (Response::Error { .. }, _) => {}
            (other, _) => panic!("{other:?} is nothing for a worker"),
        }
    }

    /// The worker's own next step.
    pub(crate) fn worker_steps(&mut self, conn: ConnId, epoch: u64) {
        let worker = self.workers.get(&conn).filter(|it| it.epoch == epoch);
        let Some(worker) = worker else {
            return;
        };
        match worker.doing {
            Doing::Running => self.end_job(conn),
            Doing::Tail if self.procs[&worker.proc].flag_is_set => self.exit(worker.proc),
            Doing::Tail | Doing::Pausing => self.ask(conn),
            other => unreachable!("{other:?} does nothing by itself"),
        }
    }

    fn end_job(&mut self, conn: ConnId) {
        let worker = &self.workers[&conn];
        let handle = worker.handle.clone();
        let handle = handle.as_slice();
        let lies = self.procs[&worker.proc].lies;
        let data = b"result";
        let end = match self.random.below(8) {
            0 => Request::WorkFail { handle },
            1 => Request::WorkException { handle, data },
            _ => Request::WorkComplete { handle, data },
        };
        let mut requests = Vec::new();
        if self.random.percent(20) {
            requests.push(Request::WorkData { handle, data });
        }
        let other = self.random.next();
        let other = self.ledger.nth(other).unwrap_or_default().to_vec();
        if lies {
            match self.random.below(5) {
                0 => requests.push(end),
                1 => requests.push(Request::WorkComplete {
                    handle: &other,
                    data,
                }),
                2 => requests.push(Request::WorkFail { handle: &other }),
                3 => requests.push(Request::CanDo {
                    function: self.random.any(&FUNCTIONS).as_bytes(),
                }),
                _ => requests.push(Request::WorkComplete {
                    handle: b"H:nowhere:7",
                    data,
                }),
            }
        }
        let odd = odd_spelling(handle);
        let own = Arc::clone(&self.procs[&self.workers[&conn].proc].pool);
        if lies && self.is_wild {
            match self.random.below(8) {
                0 => requests.push(Request::WorkStatus {
                    handle: &other,
                    numerator: b"99",
                    denominator: b"-1",
                }),
                1 => requests.push(Request::WorkWarning {
                    handle: &other,
                    data,
                }),
                2 => requests.push(Request::WorkException {
                    handle: &other,
                    data,
                }),
                // what it sends after this comes too late
                3 => requests.extend([
                    Request::WorkException { handle, data },
                    Request::WorkStatus {
                        handle,
                        numerator: b"1",
                        denominator: b"2",
                    },
                    Request::WorkData { handle, data },
                ]),
                4 => requests.extend(own.functions.iter().map(|function| Request::CanDo {
                    function: function.as_bytes(),
                })),
                5 => requests.push(Request::WorkComplete { handle: &odd, data }),
                6 => requests.extend([Request::GrabJob(Grab::Plain); 4]),
                _ => requests.extend([Request::PreSleep; 2]),
            }
        }
        requests.push(end);
        self.say(conn, &requests);
        let tail = match self.random.percent(50) {
            true => self.random.millis(0, 60),
            false => Duration::ZERO,
        };
        self.go_on(conn, Doing::Tail, Some(tail));
    }

    fn exit(&mut self, proc: ProcId) {
        let after = self.random.millis(0, 60);
        let status = ExitStatus::Code(0);
        self.later(after, Happening::Proc(proc, ProcDeed::Dies(status)));
    }

    /// The server has closed a worker's connection.
    pub(crate) fn worker_is_cut_off(&mut self, conn: ConnId) {
        let Some(worker) = self.workers.remove(&conn) else {
            return;
        };
        let proc = worker.proc;
        trace!(self, "{proc:?} sees {conn:?} closed");
        let it = self.procs.get_mut(&proc).expect("a process");
        it.conns.retain(|&other| other != conn);
        if it.minds_refusal || it.flag_is_set {
            return self.exit(proc);
        }
        let after = self.random.millis(10, 300);
        self.later(after, Happening::Proc(proc, ProcDeed::Connects));
    }

    // How it is stopped.

    pub(crate) fn signal(&mut self, proc: ProcId, cause: Cause) {
        let it = self.procs.get_mut(&proc).expect("a process");
        it.signalled.get_or_insert(cause);
        match it.on_signal {
            OnSignal::Ignores => {}
            OnSignal::SetsFlag => it.flag_is_set = true,
            OnSignal::Dies => {
                let after = self.random.millis(0, 4);
                self.later(after, Happening::Proc(proc, ProcDeed::DiesOfSignal(15)));
            }
        }
    }

    pub(crate) fn kill(&mut self, proc: ProcId, cause: Cause) {
        let it = self.procs.get_mut(&proc).expect("a process");
        it.signalled.get_or_insert(cause);
        let after = self.random.millis(0, 10);
        self.later(after, Happening::Proc(proc, ProcDeed::DiesOfSignal(9)));
    }

    /// Whether a process that was signalled because it was parked has nothing else to fear.
    fn cuts_nothing_at_once(&self) -> bool {
        !matches!(self.stopping, Some((Stop::AtOnce, _)))
    }

    fn conns_of(&self, proc: ProcId) -> impl Iterator<Item = ConnId> + '_ {
        self.streams
            .iter()
            .filter(move |(_, it)| it.owner == Owner::Proc(proc) && it.is_held)
            .map(|(&conn, _)| conn)
    }

    /// A job that the process holds and somebody wants, as the server sees it.
    fn job_of(&self, proc: ProcId) -> Option<ConnId> {
        self.conns_of(proc).find(|&conn| {
            let jobs = self.server.worker_load(conn).map(|load| load.jobs);
            let mut jobs = jobs.into_iter().flatten();
            jobs.any(|job| !self.ledger.is_cancelled(job.handle.as_bytes()))
        })
    }

    /// No stopping signal for a process that holds a job, unless its deadline has passed.
    pub(crate) fn check_may_stop(&self, proc: ProcId) {
        let lives = |it: &&Proc| it.is_alive && !it.is_cut;
        let Some(it) = self.procs.get(&proc).filter(lives) else {
            return;
        };
        let Some(conn) = self.job_of(proc) else {
            return;
        };
        match self.stopping {
            Some((Stop::AtOnce, _)) => {}
            Some((Stop::Gracefully, since)) => assert!(
                self.now >= since + it.least_stop_timeout,
                "{proc:?} is stopped before its deadline, with a job on {conn:?}"
            ),
            Some((Stop::WhenIdle, _)) | None => {
                panic!("{proc:?} is stopped while it has a job on {conn:?}")
            }
        }
    }

    /// The signal that a parked process was sent takes effect.
    fn check_nothing_is_cut(&self, proc: ProcId) {
        if let Some(conn) = self.job_of(proc) {
            panic!("{proc:?} was parked when it was signalled, and dies with a job on {conn:?}");
        }
        // one that has asked for its next job before it was done with the last has said that it is done
        if self.is_wild && self.procs[&proc].lies {
            return;
        }
        for (conn, worker) in self.workers.iter().filter(|(_, it)| it.proc == proc) {
            assert!(
                !matches!(worker.doing, Doing::Running | Doing::Tail),
                "{proc:?} was parked when it was signalled, and dies on {conn:?} in {:?} after {}",
                worker.doing,
                text(&worker.handle)
            );
        }
    }

    /// The faults are over: what hangs goes on or ends.
    pub(crate) fn mend(&mut self) {
        let hung = self.workers.values().filter(|it| it.doing == Doing::Hung);
        // one that has lied about its functions goes on doing so
        let liars = self.procs.iter().filter(|(_, it)| it.lies);
        let ending = hung.map(|it| it.proc).chain(liars.map(|(&proc, _)| proc));
        let ending: Vec<_> = ending.collect();
        for proc in ending {
            let after = self.random.millis(0, 500);
            let status = ExitStatus::Signal(9);
            self.later(after, Happening::Proc(proc, ProcDeed::Dies(status)));
        }
    }

    pub(crate) fn is_alive(&self, proc: ProcId) -> bool {
        self.procs.get(&proc).is_some_and(|it| it.is_alive)
    }
}

/// The same number with a zero before it.
fn odd_spelling(handle: &[u8]) -> Vec<u8> {
    let digits = handle
        .iter()
        .rposition(|&byte| byte == b':')
        .map_or(0, |at| at + 1);
    [&handle[..digits], b"0", &handle[digits..]].concat()
}
