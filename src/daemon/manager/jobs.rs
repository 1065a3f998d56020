//! Jobs as the operator sees them: what holds for those of each function, what a process has taken down with it, and the orders of
//! `gearpool jobs`, `pause` and `resume`.

use serde::{Deserialize, Serialize};

use super::super::control::Which;
use super::super::pace::said;
use super::*;
use crate::jobs::Policy;
use crate::jobs::view::{JobList, JobView};

/// A worker that has said that its job failed, and whose process ends within this time, has ended because of that: PHP's does so when
/// an exception is not caught.
const SOON: Duration = Duration::from_secs(1);

/// A connection that was lost with a job, and whose process ends within this time, was lost because of that.
const REAPED: Duration = Duration::from_secs(5);

/// Jobs that were set aside with their worker, and processes that have ended: each is told of to the other, whichever comes first.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(in crate::daemon) struct Losses {
    /// The jobs that a process that has not been reaped had.
    waiting: HashMap<ProcId, Vec<Waiting>>,
    /// How the processes ended whose connections have not been seen to close.
    ended: HashMap<ConnId, Arc<Obituary>>,
}

/// A job that its process's end says more of.
#[derive(Clone, Serialize, Deserialize)]
struct Waiting {
    handle: Box<[u8]>,
    /// If that comes until then.
    until: Time,
}

/// How a process ended.
#[derive(Serialize, Deserialize)]
struct Obituary {
    worker: String,
    exit: String,
    last_lines: Vec<String>,
}

impl Losses {
    /// A connection is gone: nothing more is lost with it.
    pub(super) fn closed(&mut self, conn: ConnId) {
        self.ended.remove(&conn);
    }
}

impl Manager {
    /// Tells the job server what the file says of jobs.
    pub(super) fn govern(&mut self) {
        let pools = self.pools();
        let policies = pools.iter().flat_map(|pool| {
            let policy = Policy {
                attempts: pool.attempts,
                retries: pool.retries,
                retry_delay: pool.retry_delay,
            };
            pool.functions.iter().map(move |it| (it.as_str(), policy))
        });
        let limits: Vec<_> = self
            .crew
            .iter()
            .map(|(proc, member)| (self.limit_of(proc), &member.conns))
            .collect();
        self.parts.hub.with(|server, _| {
            server.govern(policies);
            for (limit, conns) in limits {
                for &conn in conns {
                    server.limit(conn, limit);
                }
            }
        });
    }

    /// How long a job may take in this process: what its pool says now, or said last.
    pub(super) fn limit_of(&self, proc: ProcId) -> Option<Duration> {
        let was = &self.crew.get(proc)?.pool;
        let is = self.pools().iter().find(|pool| pool.name == was.name);
        is.unwrap_or(was).timeout
    }

    /// A job was lost with its worker.
    pub(super) fn lost(
        &mut self,
        conn: ConnId,
        handle: &[u8],
        (attempts, of): (u32, u32),
        is_set_aside: bool,
    ) {
        let job = String::from_utf8_lossy(handle);
        let owner = self.crew.owner(conn);
        let obituary = self.losses.ended.get(&conn).map(Arc::clone);
        let worker = match (owner, &obituary) {
            (Some(proc), _) => self.name_of(proc),
            (None, Some(it)) => Some(it.worker.clone()),
            (None, None) => None,
        };
        let shown = worker.as_deref().unwrap_or("its worker");
        match (is_set_aside, of) {
            (true, _) => said!(
                warn,
                "job {job} is set aside as failed: {shown} has not ended it, attempt {attempts} of {of}; see `gearpool jobs show {job}`"
            ),
            (false, 0) => said!(info, "job {job} goes to another: {shown} has not ended it"),
            (false, _) => said!(
                warn,
                "job {job} goes to another: {shown} has not ended it, attempt {attempts} of {of}"
            ),
        }
        if let (true, Some(worker)) = (is_set_aside, worker) {
            self.parts.hub.with(|server, _| match &obituary {
                Some(it) => {
                    server.tell_how_it_was_lost(handle, &worker, Some(&it.exit), &it.last_lines);
                }
                None => server.tell_how_it_was_lost(handle, &worker, None, &[]),
            });
            if let Some(proc) = owner {
                self.await_end(proc, handle, REAPED);
            }
        }
    }

    /// A background job has failed for the last time.
    pub(super) fn failed(&mut self, conn: ConnId, handle: &[u8]) {
        let job = String::from_utf8_lossy(handle);
        said!(
            warn,
            "job {job} is set aside as failed: it has no retry left; see `gearpool jobs show {job}`"
        );
        let Some(proc) = self.crew.owner(conn) else {
            return;
        };
        if let Some(worker) = self.name_of(proc) {
            self.parts.hub.with(|server, _| {
                server.tell_how_it_was_lost(handle, &worker, None, &[]);
            });
            self.await_end(proc, handle, SOON);
        }
    }

    /// A job is to be told of the end of a process, if that comes soon.
    fn await_end(&mut self, proc: ProcId, handle: &[u8], soon: Duration) {
        let now = self.parts.hub.now();
        let waiting = self.losses.waiting.entry(proc).or_default();
        waiting.retain(|it| it.until > now);
        waiting.push(Waiting {
            handle: handle.into(),
            until: now + soon,
        });
    }

    /// A process has ended: the jobs that it took down say how.
    pub(super) fn bury(
        &mut self,
        proc: ProcId,
        member: &Member,
        status: ExitStatus,
        last_lines: &[String],
    ) {
        let obituary = Arc::new(Obituary {
            worker: name(member),
            exit: status.to_string(),
            last_lines: last_lines.to_vec(),
        });
        let jobs = self.losses.waiting.remove(&proc).unwrap_or_default();
        self.parts.hub.with(|server, now| {
            for job in jobs.into_iter().filter(|it| it.until > now) {
                let Obituary { worker, exit, .. } = &*obituary;
                server.tell_how_it_was_lost(&job.handle, worker, Some(exit), last_lines);
            }
        });
        // none of these has been seen to close; `Closed` comes for each
        for &conn in &member.conns {
            self.losses.ended.insert(conn, Arc::clone(&obituary));
            // something that it has left behind may hold the other end open, and with it a job
            self.parts.hub.close(conn);
        }
    }

    fn name_of(&self, proc: ProcId) -> Option<String> {
        self.crew.get(proc).map(name)
    }

    pub(super) fn list_jobs(&self, function: Option<&str>, limit: usize, failed: bool) -> JobList {
        let mut list = self.parts.hub.with(|server, now| match failed {
            true => server.failed_list(now, function, limit),
            false => server.job_list(now, function, limit),
        });
        for job in &mut list.jobs {
            self.name_worker(job);
        }
        list
    }

    pub(super) fn show_job(&self, handle: &str) -> Option<JobView> {
        let shown = self
            .parts
            .hub
            .with(|server, now| server.show(now, handle.as_bytes()));
        shown.map(|mut job| {
            self.name_worker(&mut job);
            job
        })
    }

    fn name_worker(&self, job: &mut JobView) {
        let owner = job.conn.and_then(|conn| self.crew.owner(conn));
        if let Some(name) = owner.and_then(|proc| self.name_of(proc)) {
            job.worker = Some(name);
        }
    }

    pub(super) fn cancel_job(&self, handle: &str) -> Result<String, String> {
        let (was, is_failed) = self.parts.hub.with(|server, now| {
            let is_failed = server
                .show(now, handle.as_bytes())
                .is_some_and(|job| job.state == crate::jobs::view::JobState::Failed);
            (server.cancel(handle.as_bytes()), is_failed)
        });
        match (was, is_failed) {
            (true, _) => {
                tracing::info!("{handle}: cancelled");
                Ok(format!("{handle}: cancelled"))
            }
            (false, true) => Err(format!(
                "{handle} is set aside as failed; `gearpool jobs discard {handle}` discards it"
            )),
            (false, false) => Err(format!("there is no job {handle}; it may have ended")),
        }
    }

    pub(super) fn retry_jobs(&self, which: Which) -> Result<String, String> {
        let (mut done, mut refused) = (0_u64, Vec::new());
        let handles = self.handles(&which);
        self.parts.hub.with(|server, now| {
            for handle in &handles {
                match server.retry(now, handle.as_bytes()) {
                    Ok(()) => done += 1,
                    Err(error) => refused.push(error.to_string()),
                }
            }
        });
        match (which, refused.as_slice()) {
            (Which::One(handle), []) => Ok(format!("{handle}: queued again")),
            (Which::One(_), _) => Err(refused.join("\n")),
            (Which::All(_), []) => Ok(format!("{} queued again", jobs(done))),
            (Which::All(_), _) => Err(format!(
                "{} queued again, not these:\n{}",
                jobs(done),
                refused.join("\n")
            )),
        }
    }

    pub(super) fn discard_jobs(&self, which: Which) -> Result<String, String> {
        let mut done = 0;
        let handles = self.handles(&which);
        self.parts.hub.with(|server, _| {
            for handle in &handles {
                done += u64::from(server.discard(handle.as_bytes()));
            }
        });
        match which {
            Which::One(handle) if done == 0 => Err(format!(
                "no job {handle} is set aside; `gearpool jobs failed` lists those that are"
            )),
            Which::One(handle) => Ok(format!("{handle}: discarded")),
            Which::All(_) => Ok(format!("{} discarded", jobs(done))),
        }
    }

    fn handles(&self, which: &Which) -> Vec<String> {
        match which {
            Which::One(handle) => vec![handle.clone()],
            Which::All(function) => self
                .parts
                .hub
                .with(|server, _| server.failed_handles(function.as_deref())),
        }
    }

    pub(super) fn pause(&mut self, function: &str) -> Result<String, String> {
        let name = function.as_bytes();
        let is_a_pools = self.pools().iter().any(|pool| does(pool, function));
        let is_new = self
            .parts
            .hub
            .with(|server, _| (is_a_pools || server.knows(name)).then(|| server.pause(name)));
        let is_new = is_new.ok_or_else(|| {
            format!("no function is named {function:?}; `gearpool status` lists them")
        })?;
        if !is_new {
            return Ok(format!("{function}: is held already"));
        }
        let done = match is_a_pools {
            true => format!(
                "{function}: held; its jobs wait until `gearpool resume {function}`, or until the file changes its pool"
            ),
            false => {
                format!("{function}: held; its jobs wait until `gearpool resume {function}`")
            }
        };
        tracing::info!("{done}");
        self.sample_soon();
        Ok(done)
    }

    pub(super) fn resume(&mut self, function: &str) -> Result<String, String> {
        let was_held = self
            .parts
            .hub
            .with(|server, now| server.resume(now, function.as_bytes()));
        if !was_held {
            return Err(format!("{function} is not held"));
        }
        let done = format!("{function}: its jobs are given out again");
        tracing::info!("{done}");
        self.sample_soon();
        Ok(done)
    }

    /// Resumes what was held by hand and whose pool the file has changed.
    pub(super) fn resume_changed(&mut self, plan: &Plan) {
        let changed = plan.scaled.iter().chain(&plan.rolled).map(|(name, _)| name);
        let changed: Vec<&String> = changed.chain(&plan.removed).collect();
        // the file itself has the new pools by now, which may have other functions
        let paused: Vec<String> = self.parts.hub.with(|server, _| {
            let names = server.paused().map(String::from_utf8_lossy);
            names.map(|name| name.into_owned()).collect()
        });
        let views = self.supervisor.view(self.parts.hub.now());
        for function in paused {
            let is_changed = views
                .iter()
                .any(|pool| changed.contains(&&pool.name) && pool.functions.contains(&function));
            if is_changed {
                let was = self
                    .parts
                    .hub
                    .with(|server, now| server.resume(now, function.as_bytes()));
                if was {
                    tracing::info!(
                        "{function}: the file has changed its pool, so its jobs are given out again"
                    );
                }
            }
        }
    }
}

fn name(member: &Member) -> String {
    format!("{}/{} pid {}", member.pool.name, member.slot.0, member.pid)
}

fn does(pool: &Pool, function: &str) -> bool {
    pool.functions.iter().any(|name| name == function)
}

/// "1 job", "2 jobs"
fn jobs(count: u64) -> String {
    crate::status::words::count(count, "job", "jobs")
}
