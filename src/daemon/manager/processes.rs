//! Starting processes, signalling them, and what is known of one when it ends.

use super::*;

impl Manager {
    pub(super) fn spawn(&mut self, proc: ProcId, slot: Slot, pool: &Arc<Pool>) {
        let spec = self.parts.surroundings.describe(pool, slot);
        let started = spec
            .map_err(|error| error.to_string())
            .and_then(|spec| child::spawn(&spec).map_err(|error| error.to_string()));
        let Child {
            pid,
            output,
            errors,
            mut exit,
        } = match started {
            Ok(child) => child,
            Err(error) => {
                self.events.push_back(Event::SpawnFailed { proc, error });
                return;
            }
        };
        self.watch_over(pid);
        let capture = self.parts.logs.capture(Source {
            pool: pool.name.clone(),
            slot: slot.0,
            pid,
            config: pool.log.clone(),
            output,
            errors,
        });
        self.marks.insert(proc, capture.marks());
        let happenings = self.parts.happenings.clone();
        tokio::spawn(async move {
            let status = exit.wait().await;
            // what the process has left behind in its group goes with it
            let _ = signal::kill_group(pid);
            let status = status.map_or(ExitStatus::Code(-1), |status| status_of(&status));
            let last_lines = capture.ended(exit_of(status)).await;
            // the manager ends last
            let _ = happenings.send(Happening::Exited {
                proc,
                status,
                last_lines,
            });
        });
        self.crew.join(proc, Arc::clone(pool), slot, pid);
        self.events.push_back(Event::Spawned { proc, pid });
    }

    /// Tells the guardian of a new process; a new guardian of all of them, when somebody has killed the old one.
    pub(super) fn watch_over(&mut self, pid: u32) {
        let Some(watching) = &mut self.parts.guardian else {
            return;
        };
        let told = watching.watch(pid).or_else(|error| {
            if error.kind() != ErrorKind::BrokenPipe {
                return Err(error);
            }
            tracing::warn!("the guardian was killed; starting another");
            let guardian = Guardian::start(&self.parts.surroundings.instance)?;
            for (_, member) in self.crew.iter() {
                guardian.watch(member.pid)?;
            }
            guardian.watch(pid)?;
            // reaps the dead one, which has nothing left to say
            let _ = std::mem::replace(watching, guardian).finish();
            Ok(())
        });
        if let Err(error) = told {
            tracing::warn!(%error, pid, "the guardian does not answer; a kill -9 of the daemon may leave this process's children behind");
        }
    }

    pub(super) fn signal(&self, proc: ProcId, send: impl FnOnce(u32) -> std::io::Result<()>) {
        let Some(member) = self.crew.get(proc) else {
            return;
        };
        if let Err(error) = send(member.pid) {
            tracing::error!(%error, pool = member.pool.name, slot = member.slot.0, pid = member.pid, "cannot signal the process");
        }
    }

    pub(super) fn exited(&mut self, proc: ProcId, status: ExitStatus, last_lines: Vec<String>) {
        self.marks.remove(&proc);
        if let Some(member) = self.crew.leave(proc) {
            if let Some(guardian) = &self.parts.guardian
                && let Err(error) = guardian.forget(member.pid)
            {
                tracing::debug!(%error, "the guardian does not answer");
            }
            self.bury(proc, &member, status, &last_lines);
        }
        self.events.push_back(Event::Exited {
            proc,
            status,
            last_lines,
        });
    }

    /// Whether a process runs cancelled jobs and no others, so that stopping it cuts nothing that anybody wants. If so it is given no
    /// more under the same lock: a worker may be about to end such a job, and to ask for another.
    pub(super) fn works_for_nobody(&self, proc: ProcId) -> bool {
        let member = self.crew.get(proc);
        // what a process that was only guessed does may be on connections that are not known
        let known = member.filter(|member| member.registration != Registration::Guessed);
        known.is_some_and(|member| {
            self.parts.hub.with(|server, now| {
                let is_so = server.works_for_nobody(&member.conns);
                for &conn in member.conns.iter().filter(|_| is_so) {
                    server.quiesce(now, conn);
                }
                is_so
            })
        })
    }

    /// Whether a quiesced process has nothing left to do: all of its connections are parked now, or it never had any and has not
    /// registered, so that nothing can have been given to it. Asked of the job server itself, since a notice may be old news.
    pub(super) fn is_parked(&self, proc: ProcId) -> bool {
        self.crew.get(proc).is_some_and(|member| {
            member.service != MemberService::Open
                && member.registration != Registration::Guessed
                && self
                    .parts
                    .hub
                    .with(|server, _| member.conns.iter().all(|&conn| server.is_parked(conn)))
        })
    }
}

pub(super) fn status_of(status: &std::process::ExitStatus) -> ExitStatus {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => ExitStatus::Code(code),
        (None, signal) => ExitStatus::Signal(signal.unwrap_or_default()),
    }
}

/// As the index of a log says it.
pub(super) fn exit_of(status: ExitStatus) -> Exit {
    match status {
        ExitStatus::Code(status) => Exit {
            status: Some(status),
            signal: None,
        },
        ExitStatus::Signal(number) => Exit {
            status: None,
            signal: Some(signal::name(number)),
        },
    }
}
