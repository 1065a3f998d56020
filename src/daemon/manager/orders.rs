//! What the operator asks for over the control socket.

use super::*;
use crate::config::MAX_PROCESSES;
use crate::pools::view::{PoolState, PoolView};

impl Manager {
    pub(super) fn control(&mut self, control: Control) {
        if !matches!(control, Control::Status(_) | Control::Upgrade { .. }) {
            self.ordered = self.parts.hub.now();
        }
        match control {
            Control::Status(reply) => self.status(reply),
            Control::Plan { file, reply } => answer(reply, self.plan(file.as_deref())),
            Control::Reload(reply) => {
                let applied = self.reload();
                self.answer_checked(applied, reply);
            }
            Control::Scale {
                pool,
                min,
                max,
                reply,
            } => {
                if i128::from(max) > MAX_PROCESSES {
                    let text =
                        format!("{max} are too many: a pool has at most {MAX_PROCESSES} processes");
                    return answer(reply, Err(text));
                }
                let done = match min == max {
                    true => format!(
                        "{pool}: kept at {min} until the file changes it, or `gearpool start {pool}`"
                    ),
                    false => format!(
                        "{pool}: kept between {min} and {max} until the file changes it, or `gearpool start {pool}`"
                    ),
                };
                self.order(
                    Event::Scale {
                        pool: pool.clone(),
                        min,
                        max,
                    },
                    &pool,
                    done,
                    reply,
                );
            }
            Control::Start { pool, reply } => {
                let done = format!("{pool}: as the file says");
                self.check_again(&pool);
                self.order(Event::Start { pool: pool.clone() }, &pool, done, reply);
            }
            Control::Stop { pool, reply } => {
                let done = format!("{pool}: stopping; running jobs are finished first");
                self.order(Event::Stop { pool: pool.clone() }, &pool, done, reply);
            }
            Control::Restart { pool, slot, reply } => {
                let done = match slot {
                    None => format!(
                        "{pool}: restarting one process after the other, each when its job is done"
                    ),
                    Some(Slot(slot)) => format!("{pool}/{slot}: restarting when its job is done"),
                };
                let views = self.supervisor.view(self.parts.hub.now());
                let is_stopped =
                    |view: &PoolView| view.name == pool && view.state == PoolState::Stopped;
                if views.iter().any(is_stopped) {
                    let text =
                        format!("{pool} is stopped by hand; `gearpool start {pool}` starts it");
                    return answer(reply, Err(text));
                }
                if let Some(slot) = slot
                    && !self
                        .crew
                        .iter()
                        .any(|(_, member)| member.pool.name == pool && member.slot == slot)
                {
                    return answer(
                        reply,
                        Err(format!(
                            "there is no process {pool}/{}; `gearpool status {pool}` lists them",
                            slot.0
                        )),
                    );
                }
                let wanted = self.parts.file.as_ref().and_then(|file| file.wanted(&pool));
                match wanted.filter(|pool| pool.check.is_some()).cloned() {
                    Some(checked) => self.restart_checked(checked, slot, done, reply),
                    None => {
                        let event = Event::Restart {
                            pool: pool.clone(),
                            slot,
                        };
                        self.order(event, &pool, done, reply);
                    }
                }
            }
            Control::Upgrade(reply) => self.upgrade(Some(reply)),
            Control::Jobs {
                function,
                limit,
                failed,
                reply,
            } => {
                // whoever asked may have gone
                let _ = reply.send(self.list_jobs(function.as_deref(), limit, failed));
            }
            Control::Job { handle, reply } => {
                // likewise
                let _ = reply.send(self.show_job(&handle));
            }
            Control::CancelJob { handle, reply } => answer(reply, self.cancel_job(&handle)),
            Control::RetryJobs { which, reply } => answer(reply, self.retry_jobs(which)),
            Control::DiscardJobs { which, reply } => answer(reply, self.discard_jobs(which)),
            Control::Pause { function, reply } => answer(reply, self.pause(&function)),
            Control::Resume { function, reply } => answer(reply, self.resume(&function)),
            Control::ShutDown { how, reply } => {
                self.shut_down(how);
                answer(reply, Ok("shutting down".to_owned()));
            }
        }
    }

    /// Passes an order to the supervisor, if there is such a pool.
    pub(super) fn order(&mut self, event: Event, pool: &str, done: String, reply: Reply) {
        let pools = self.pools();
        if !pools.iter().any(|known| known.name == pool) {
            let names: Vec<_> = pools.iter().map(|pool| pool.name.as_str()).collect();
            let known = match names.is_empty() {
                true => "this gearpool has no pools".to_owned(),
                false => format!("there are {}", names.join(", ")),
            };
            return answer(reply, Err(format!("there is no pool {pool:?}; {known}")));
        }
        tracing::info!("{done}");
        self.sample_first();
        self.events.push_back(event);
        answer(reply, Ok(done));
    }

    pub(super) fn status(&mut self, reply: oneshot::Sender<crate::status::Status>) {
        // the answer includes what this very call has been told of
        self.work_off();
        let sources = Sources {
            hub: &self.parts.hub,
            crew: &self.crew,
            file: self.parts.file.as_ref(),
            logs: &self.parts.logs,
            weights: &self.weights,
            is_shutting_down: self.ending.is_some(),
        };
        let pools = self.supervisor.view(self.parts.hub.now());
        let status = self.parts.snapshooter.take(&sources, pools);
        // whoever asked may have gone
        let _ = reply.send(status);
    }
}

pub(super) fn answer(reply: Reply, answer: Result<String, String>) {
    // whoever asked may have gone
    let _ = reply.send(answer);
}
