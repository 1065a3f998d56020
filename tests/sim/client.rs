//! Clients, who submit and leave as they like, and the operator.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use gearpool::config::{Command, Pool, Restart, Signal};
use gearpool::jobs::{ConnId, MAX_UNIQUE};
use gearpool::pools::{Caps, Event, Slot};
use gearpool::proto::{Mode, Priority, Request, Response};

use crate::ledger::text;
use crate::manager::Tidings;
use crate::world::{Happening, Owner, World, trace};

/// The pools.
pub(crate) const NAMES: [&str; 4] = ["a", "b", "c", "d"];

/// What they serve: each its own, and two of them one together.
pub(crate) const FUNCTIONS: [&str; 5] = ["a", "b", "c", "d", "shared"];

const UNIQUES: [&str; 6] = ["", "", "", "u", "v", "-"];

#[derive(Clone, Copy, Debug)]
pub(crate) enum ClientDeed {
    Connects,
    Submits,
    /// Half-closes its connection, and reads on.
    StopsSending,
    Leaves,
}

/// A client, and what it has been promised.
#[derive(Default)]
pub(crate) struct Client {
    conn: Option<ConnId>,
    /// It has half-closed its connection.
    is_silent: bool,
    /// Submissions whose JOB_CREATED has not come.
    asked: VecDeque<Mode>,
    /// How often it waits for the end of a job.
    waits: BTreeMap<Vec<u8>, u32>,
    /// Requests that have to be refused, and were not yet.
    wrongs: u32,
}

impl World {
    pub(crate) fn client_does(&mut self, at: usize, deed: ClientDeed) {
        let conn = self.clients[at].conn;
        match (deed, conn) {
            (ClientDeed::Connects, _) => {
                let conn = self.connect(Owner::Client(at));
                // what it has half-closed it may still hear of, and does not care
                self.clients[at] = Client::default();
                self.clients[at].conn = Some(conn);
                if self.random.percent(30) {
                    let option = b"exceptions";
                    self.say(conn, &[Request::OptionReq { option }]);
                }
            }
            (ClientDeed::Submits, Some(_)) if self.clients[at].is_silent => {}
            (ClientDeed::Submits, Some(conn)) => {
                let count = 1 + self.random.below(8);
                let function = *self.random.any(&FUNCTIONS);
                for _ in 0..count {
                    self.submit(at, conn, function);
                }
            }
            (ClientDeed::Leaves, Some(conn)) => {
                trace!(self, "client {at} leaves");
                self.clients[at] = Client::default();
                self.hang_up(conn);
            }
            (ClientDeed::StopsSending, Some(conn)) => {
                trace!(self, "client {at} stops sending");
                self.clients[at].is_silent = true;
                self.half_close(conn);
            }
            (ClientDeed::Submits | ClientDeed::StopsSending | ClientDeed::Leaves, None) => {}
        }
    }

    fn submit(&mut self, at: usize, conn: ConnId, function: &str) {
        let priorities = [Priority::High, Priority::Normal, Priority::Low];
        let mode = *self.random.any(&[Mode::Foreground, Mode::Background]);
        let workload = [b'0' + self.random.below(4) as u8];
        let request = Request::SubmitJob {
            priority: *self.random.any(&priorities),
            mode,
            function: function.as_bytes(),
            unique: self.random.any(&UNIQUES).as_bytes(),
            workload: &workload,
        };
        self.say(conn, &[request]);
        self.clients[at].asked.push_back(mode);
        if self.mischief(5) {
            self.do_wrong(at, conn);
        }
    }

    /// What has to be refused: a unique that is too long, or the end of a job that the client does not run.
    fn do_wrong(&mut self, at: usize, conn: ConnId) {
        let other = self.random.next();
        let other = self.ledger.nth(other).unwrap_or_default().to_vec();
        let (handle, data) = (&*other, b"stolen");
        let request = match self.random.below(3) {
            0 => Request::SubmitJob {
                priority: Priority::Normal,
                mode: Mode::Foreground,
                function: b"a",
                unique: &[b'u'; MAX_UNIQUE + 1],
                workload: b"",
            },
            1 => Request::WorkComplete { handle, data },
            _ => Request::WorkException { handle, data },
        };
        self.say(conn, &[request]);
        self.clients[at].wrongs += 1;
    }

    pub(crate) fn client_hears(&mut self, at: usize, conn: ConnId, response: Response<'_>) {
        let client = &mut self.clients[at];
        if client.conn != Some(conn) {
            return;
        }
        match response {
            Response::JobCreated { handle } => match client.asked.pop_front() {
                Some(Mode::Foreground) => *client.waits.entry(handle.to_vec()).or_default() += 1,
                Some(Mode::Background) => {}
                None => panic!("{} was not submitted", text(handle)),
            },
            Response::WorkComplete { handle, .. }
            | Response::WorkFail { handle }
            | Response::WorkException { handle, .. } => {
                let left = client.waits.get_mut(handle);
                let left = left.unwrap_or_else(|| {
                    panic!(
                        "client {at} is told of the end of {} once too often",
                        text(handle)
                    )
                });
                *left -= 1;
                if *left == 0 {
                    client.waits.remove(handle);
                }
            }
            Response::WorkData { handle, .. }
            | Response::WorkWarning { handle, .. }
            | Response::WorkStatus { handle, .. } => assert!(
                client.waits.contains_key(handle),
                "client {at} does not wait for {}",
                text(handle)
            ),
            Response::OptionRes { .. } => {}
            Response::Error { .. } if client.wrongs > 0 => client.wrongs -= 1,
            other => panic!("{other:?} is nothing for a client"),
        }
    }

    /// The server has closed the connection: only to somebody who sends no more, and not before all of it is answered.
    pub(crate) fn client_is_closed(&mut self, at: usize, conn: ConnId) {
        if self.clients[at].conn != Some(conn) {
            return;
        }
        let client = std::mem::take(&mut self.clients[at]);
        assert!(
            client.is_silent,
            "the server closes a connection that client {at} uses"
        );
        assert!(
            client.asked.is_empty() && client.wrongs == 0,
            "client {at} has half-closed its connection and is not answered"
        );
    }

    /// Everybody who is still there has heard of everything.
    pub(crate) fn check_clients(&self) {
        for (at, client) in self.clients.iter().enumerate() {
            assert!(
                client.asked.is_empty(),
                "client {at} has submitted and was not answered"
            );
            assert_eq!(client.wrongs, 0, "client {at} was not refused");
            let waits: Vec<_> = client.waits.keys().map(|handle| text(handle)).collect();
            assert!(waits.is_empty(), "client {at} still waits for {waits:?}");
        }
    }

    // The operator.

    fn any_pool(&mut self, name: &str) -> Pool {
        let is_broken = self.fault(20);
        let random = &mut self.random;
        let version = match is_broken {
            true => "broken".to_owned(),
            false => format!("v{}", random.below(3)),
        };
        let mut pool = Pool::new(name, Command::Exec(vec![version]));
        if name == "b" || name == "c" {
            pool.functions.push("shared".to_owned());
        }
        pool.min = random.below(4) as u32;
        pool.max = pool.min.max(1) + random.below(4) as u32;
        pool.stop_timeout = random.millis(500, 4000);
        pool.start_timeout = random.millis(400, 2000);
        pool.scale.down_after = Some(random.millis(0, 6000));
        pool.max_jobs = random.percent(20).then_some(10);
        pool.max_lifetime = random.percent(20).then_some(Duration::from_secs(10));
        pool.stop_signal = *random.any(&[Signal::Term, Signal::Term, Signal::Int, Signal::Kill]);
        pool.restart = *random.any(&[
            Restart::Always,
            Restart::Always,
            Restart::OnFailure,
            Restart::Never,
        ]);
        pool
    }

    /// What the file says of jobs that do not end well.
    fn make_strict(&mut self, mut pool: Pool) -> Pool {
        let random = &mut self.strict;
        let limit = random.millis(800, 3000);
        pool.timeout = random.percent(40).then_some(limit);
        pool.attempts = *random.any(&[0, 2, 3, 3]);
        pool.retries = *random.any(&[0, 0, 1, 3]);
        pool.retry_delay = *random.any(&[Duration::ZERO, Duration::from_millis(200)]);
        pool
    }

    /// Holds the queue of a function, or lets it go.
    pub(crate) fn hold(&mut self) {
        let function = *self.strict.any(&FUNCTIONS);
        if self.held.remove(function) {
            assert!(self.server.resume(self.now, function.as_bytes()));
        } else {
            self.held.insert(function);
            assert!(self.server.pause(function.as_bytes()));
        }
        self.deliver();
    }

    /// Lets all queues go.
    pub(crate) fn resume_all(&mut self) {
        for function in std::mem::take(&mut self.held) {
            assert!(self.server.resume(self.now, function.as_bytes()));
            self.deliver();
        }
    }

    pub(crate) fn reload(&mut self) {
        let mut pools = Vec::new();
        for name in NAMES {
            if self.random.percent(15) {
                continue;
            }
            let old = self.file.iter().find(|pool| pool.name == name).cloned();
            let pool = match old {
                Some(old) if self.random.percent(40) => old,
                Some(old) if self.random.percent(50) => Arc::new(Pool {
                    command: old.command.clone(),
                    ..self.any_pool(name)
                }),
                _ => Arc::new(self.any_pool(name)),
            };
            let pool = Arc::unwrap_or_clone(pool);
            let pool = Arc::new(self.make_strict(pool));
            pools.push(pool);
        }
        let capped = self.random.percent(30);
        let max_processes = capped.then(|| 3 + self.random.below(12) as u32);
        self.tidings(Tidings::Reload(pools, Caps { max_processes }));
    }

    /// A file with every pool and nothing wrong.
    pub(crate) fn mend_the_file(&mut self) {
        let mut pools = Vec::new();
        for name in NAMES {
            let old = self.file.iter().find(|pool| pool.name == name).cloned();
            let mut pool = match old {
                Some(old) => Arc::unwrap_or_clone(old),
                None => self.any_pool(name),
            };
            (pool.max_jobs, pool.max_lifetime) = (None, None);
            if pool.command == Command::Exec(vec!["broken".into()]) {
                pool.command = Command::Exec(vec!["mended".into()]);
            }
            pools.push(Arc::new(pool));
        }
        self.tidings(Tidings::Reload(pools, Caps::default()));
    }

    /// Gives up a job that runs, or else one that waits.
    pub(crate) fn cancel(&mut self) {
        let loads = self.server.worker_loads();
        let running: Vec<_> = loads.iter().flat_map(|load| &load.jobs).collect();
        let handle = match running.is_empty() || self.cancels.percent(20) {
            true => {
                let n = self.cancels.below(16);
                self.ledger.nth(n).map(<[u8]>::to_vec)
            }
            false => Some(self.cancels.any(&running).handle.clone().into_bytes()),
        };
        let Some(handle) = handle else {
            return;
        };
        if self.server.cancel(&handle) {
            trace!(self, "{} is cancelled", text(&handle));
            self.ledger.cancelled(&handle);
        }
        self.deliver();
    }

    /// An order, and now and then a job in the same moment: a worker is drained while its NOOP is on the way.
    pub(crate) fn operate(&mut self) {
        let name = *self.random.any(&NAMES);
        if self.random.percent(60) {
            let shared = (name == "b" || name == "c") && self.random.percent(50);
            let function = if shared { "shared" } else { name };
            let at = self.random.below(self.clients.len() as u64) as usize;
            if let Some(conn) = self.clients[at]
                .conn
                .filter(|_| !self.clients[at].is_silent)
            {
                for _ in 0..=self.random.below(2) {
                    self.submit(at, conn, function);
                }
            }
        }
        let pool = name.to_owned();
        let order = match self.random.below(8) {
            0 | 1 => return self.reload(),
            2 => {
                let min = self.random.below(5) as u32;
                let max = min + self.random.below(4) as u32;
                Event::Scale { pool, min, max }
            }
            3 => {
                let slot = self.random.percent(50);
                let slot = slot.then(|| Slot(1 + self.random.below(4) as u32));
                Event::Restart { pool, slot }
            }
            4 | 5 => {
                // down, and before much has come of it up again, and perhaps down after all, in one breath
                let held_at = |n: u32| Event::Scale {
                    pool: pool.clone(),
                    min: n,
                    max: n,
                };
                let n = 1 + self.random.below(4) as u32;
                let orders = match self.random.below(3) {
                    0 => vec![held_at(n)],
                    1 => vec![held_at(n), held_at(0)],
                    _ => vec![held_at(n), held_at(0), held_at(n)],
                };
                let after = self.random.millis(0, 60);
                self.later(after, Happening::Orders(orders));
                held_at(0)
            }
            6 => Event::Stop { pool },
            _ => Event::Start { pool },
        };
        self.tidings(Tidings::Order(order));
    }
}
