//! Assembles the one snapshot, from the supervisor, the job server and the system.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::crew::{Crew, Registration};
use super::file::ConfigFile;
use super::hub::Hub;
use super::logs::Logs;
use crate::jobs::load::{ConnLoad, RunningJob};
use crate::pools::ProcId;
use crate::pools::view::{PoolView, ProcessView};
use crate::status::{
    JobStatus, MemberStatus, PoolStatus, ServerStatus, Status, UpgradeStatus, WorkerStatus,
};
use crate::sys::usage::{self, Usage};
use crate::time::Time;

/// A reading of CPU time is compared with one at least this much older.
const CPU_SPAN: Duration = Duration::from_millis(200);

/// Where the parts of a snapshot come from.
pub(super) struct Sources<'a> {
    pub(super) hub: &'a Arc<Hub>,
    pub(super) crew: &'a Crew,
    pub(super) file: Option<&'a ConfigFile>,
    pub(super) logs: &'a Logs,
    /// The memory of processes that have been weighed, in bytes.
    pub(super) weights: &'a HashMap<ProcId, u64>,
    pub(super) is_shutting_down: bool,
}

/// What stays the same, and what was read last of what is shown as a rate.
pub(super) struct Snapshooter {
    listen: Vec<String>,
    state_dir: String,
    log_dir: String,
    readings: HashMap<ProcId, CpuReading>,
    upgrade: Option<UpgradeStatus>,
}

/// A process's CPU time at a moment.
#[derive(Clone, Copy)]
struct CpuReading {
    at: Time,
    used: Duration,
    percent: f32,
}

impl Snapshooter {
    pub(super) fn new(listen: Vec<String>, state_dir: String, log_dir: String) -> Snapshooter {
        Snapshooter {
            listen,
            state_dir,
            log_dir,
            readings: HashMap::new(),
            upgrade: None,
        }
    }

    /// This is the upgrade by which this program has come.
    pub(super) fn upgraded(&mut self, upgrade: UpgradeStatus) {
        self.upgrade = Some(upgrade);
    }

    pub(super) fn take(&mut self, sources: &Sources<'_>, pools: Vec<PoolView>) -> Status {
        let (now, functions, workers, connections, failed, paused) =
            sources.hub.with(|server, now| {
                let paused = server.paused().map(String::from_utf8_lossy);
                (
                    now,
                    server.function_loads(now),
                    server.worker_loads(),
                    server.connections() as u64,
                    server.failed_count(),
                    paused.map(Cow::into_owned).collect::<Vec<String>>(),
                )
            });
        let mut owned: HashMap<Option<ProcId>, Vec<ConnLoad>> = HashMap::new();
        for load in workers {
            owned
                .entry(sources.crew.owner(load.conn))
                .or_default()
                .push(load);
        }
        let others = owned.remove(&None).unwrap_or_default();
        let usages = Snapshooter::usages(sources);
        let pools = pools.into_iter().map(|mut pool| {
            let processes = std::mem::take(&mut pool.processes);
            let members = processes.into_iter().map(|process| {
                let proc = ProcId(process.proc);
                let own = owned.remove(&Some(proc)).unwrap_or_default();
                self.member(now, sources.crew, process, &own, usages.get(&proc))
            });
            let members: Vec<_> = members.collect();
            let queued = functions
                .iter()
                .filter(|load| pool.functions.contains(&load.name));
            let is_its = |function: &&String| pool.functions.contains(*function);
            PoolStatus {
                paused: paused.iter().filter(is_its).cloned().collect(),
                queued: queued.flat_map(|load| load.queued).sum(),
                pool,
                members,
            }
        });
        let pools: Vec<_> = pools.collect();
        self.readings
            .retain(|proc, _| sources.crew.get(*proc).is_some());
        Status {
            server: ServerStatus {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pid: std::process::id(),
                up: now.since_start(),
                listen: self.listen.clone(),
                state_dir: self.state_dir.clone(),
                log_dir: self.log_dir.clone(),
                config: sources.file.map(|file| file.path().display().to_string()),
                config_error: sources.file.and_then(ConfigFile::error).map(str::to_owned),
                logs_failing: sources.logs.troubled(),
                logs_dropped: sources.logs.dropped(),
                shutting_down: sources.is_shutting_down,
                connections,
                upgrade: self.upgrade.clone(),
                failed_jobs: failed.0,
                failed_jobs_discarded: failed.1,
            },
            functions,
            pools,
            other_workers: others.into_iter().map(|load| other(now, load)).collect(),
        }
    }

    fn member(
        &mut self,
        now: Time,
        crew: &Crew,
        process: ProcessView,
        conns: &[ConnLoad],
        usage: Option<&Usage>,
    ) -> MemberStatus {
        let proc = ProcId(process.proc);
        let member = crew.get(proc);
        MemberStatus {
            mapped: member.is_some_and(|member| member.registration == Registration::Mapped),
            cpu_percent: usage.map(|usage| self.cpu_percent(now, proc, process.up, usage.cpu)),
            memory: usage.map(|usage| usage.memory),
            jobs: conns
                .iter()
                .flat_map(|load| &load.jobs)
                .map(|job| running(now, job))
                .collect(),
            jobs_done: conns.iter().map(|load| load.jobs_done).sum(),
            process,
        }
    }

    /// Per cent of one core since the last reading, of the whole life at the first.
    fn cpu_percent(&mut self, now: Time, proc: ProcId, up: Duration, used: Duration) -> f32 {
        let share = |used: Duration, span: Duration| match span.is_zero() {
            true => 0.0,
            false => (used.as_secs_f64() / span.as_secs_f64() * 100.0) as f32,
        };
        let percent = match self.readings.get(&proc) {
            Some(last) if now.since(last.at) < CPU_SPAN => return last.percent,
            Some(last) => share(used.saturating_sub(last.used), now.since(last.at)),
            None => share(used, up),
        };
        self.readings.insert(
            proc,
            CpuReading {
                at: now,
                used,
                percent,
            },
        );
        percent
    }

    /// What every process of the crew uses, together with what it has started in its session.
    fn usages(sources: &Sources<'_>) -> HashMap<ProcId, Usage> {
        let crew = sources.crew;
        if crew.iter().next().is_none() {
            return HashMap::new();
        }
        let by_session = usage::by_session(|session| crew.led_by(session).is_some());
        let usages = by_session.into_iter().filter_map(|(session, mut usage)| {
            let proc = crew.led_by(session)?;
            // what `max_memory` is compared with, not another number
            usage.memory = *sources.weights.get(&proc).unwrap_or(&usage.memory);
            Some((proc, usage))
        });
        usages.collect()
    }
}

fn other(now: Time, load: ConnLoad) -> WorkerStatus {
    WorkerStatus {
        jobs: load.jobs.iter().map(|job| running(now, job)).collect(),
        peer: load.peer,
        client_id: load.client_id,
        functions: load.functions,
    }
}

fn running(now: Time, job: &RunningJob) -> JobStatus {
    JobStatus {
        handle: job.handle.clone(),
        function: job.function.clone(),
        running: now.since(job.since),
    }
}
