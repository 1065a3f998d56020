//! Starting processes, signalling them, and what is known of one when it ends.

use super::*;

impl Manager {
    pub(super) fn spawn(&mut self, proc: ProcId, slot: Slot, pool: &Arc<Pool>) {
        let group = self.group(pool, slot);
        let spec = self.parts.surroundings.describe(pool, slot);
        let started = spec.map_err(|error| error.to_string()).and_then(|spec| {
            let group = group.as_ref().map(Group::entrance);
            child::spawn(&Spec { group, ..spec }).map_err(|error| error.to_string())
        });
        let Child {
            pid,
            output,
            errors,
            exit,
        } = match started {
            Ok(child) => child,
            Err(error) => {
                if let Some(group) = group {
                    group.remove();
                }
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
        self.wait_for(proc, exit, capture);
        self.groups.extend(group.map(|group| (proc, group)));
        self.crew.join(proc, Arc::clone(pool), slot, pid);
        self.events.push_back(Event::Spawned { proc, pid });
    }

    /// Waits for the end of a process, and for the last of its output.
    pub(super) fn wait_for(&mut self, proc: ProcId, mut exit: Exit, capture: Capture) {
        self.marks.insert(proc, capture.marks());
        let (happenings, reaped) = (self.parts.happenings.clone(), Arc::clone(&self.reaped));
        tokio::spawn(async move {
            let status = exit.wait().await;
            reaped.fetch_add(1, Ordering::Relaxed);
            let status = status.map_or(ExitStatus::Code(-1), |status| status_of(&status));
            // the manager ends last
            let _ = happenings.send(Happening::Ended {
                proc,
                status,
                capture,
            });
        });
    }

    /// How many processes have been reaped and not been heard of yet.
    pub(super) fn reaped(&self) -> usize {
        self.reaped.load(Ordering::Relaxed)
    }

    /// A control group for a process, where there are such.
    fn group(&self, pool: &Pool, slot: Slot) -> Option<Group> {
        match self.parts.groups.as_ref()?.create(&pool.name, slot.0) {
            Ok(group) => Some(group),
            Err(error) => {
                tracing::warn!(%error, pool = pool.name, slot = slot.0, "no control group for the process");
                None
            }
        }
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
            let guardian = Guardian::start(
                &self.parts.surroundings.instance,
                self.parts.groups.as_ref(),
            )?;
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
        // the number of one that has ended may be another's
        let Some(member) = self
            .crew
            .get(proc)
            .filter(|_| !self.sweeps.contains_key(&proc))
        else {
            return;
        };
        if let Err(error) = send(member.pid) {
            tracing::error!(%error, pool = member.pool.name, slot = member.slot.0, pid = member.pid, "cannot signal the process");
        }
    }

    pub(super) fn exited(&mut self, proc: ProcId, status: ExitStatus, last_lines: Vec<String>) {
        self.reaped.fetch_sub(1, Ordering::Relaxed);
        self.marks.remove(&proc);
        self.killed.remove(&proc);
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
}

pub(super) fn status_of(status: &std::process::ExitStatus) -> ExitStatus {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => ExitStatus::Code(code),
        (None, signal) => ExitStatus::Signal(signal.unwrap_or_default()),
    }
}

/// As the index of a log says it.
pub(super) fn exit_of(status: ExitStatus) -> index::Exit {
    match status {
        ExitStatus::Code(status) => index::Exit {
            status: Some(status),
            signal: None,
        },
        ExitStatus::Signal(number) => index::Exit {
            status: None,
            signal: Some(signal::name(number)),
        },
        ExitStatus::OutOfMemory => index::Exit {
            status: None,
            signal: Some("SIGKILL: out of memory".to_owned()),
        },
    }
}
