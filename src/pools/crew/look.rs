//! How a pool looks: its snapshot, and why it has its size.

use std::time::Duration;

use super::{ByHand, Crew, Daemon, Share, Waiting, Why};
use crate::config::Command;
use crate::pools::scale;
use crate::pools::view::{DecisionView, PoolState, PoolView, ProcessState, ProcessView, ScaleView};
use crate::time::Time;

impl Crew {
    pub(in crate::pools) fn view(&self, daemon: Daemon, now: Time) -> PoolView {
        let gone_because = self.gone_because(daemon);
        let failing = self.restarts.is_failing() || self.is_lost();
        let (min, max) = self.wanted_bounds();
        PoolView {
            name: self.pool.name.clone(),
            command: line(&self.pool.command),
            functions: self.pool.functions.clone(),
            min,
            max,
            target: self.target.n,
            reason: self.reason(gone_because, now),
            state: match gone_because {
                Some(Why::Stopped) => PoolState::Stopped,
                Some(_) => PoolState::Leaving,
                None if failing || self.fitness.is_failing() => PoolState::Failing,
                None => PoolState::Running,
            },
            by_hand: match &self.by_hand {
                ByHand { stopped: true, .. } => Some("stopped by hand".to_owned()),
                ByHand {
                    bounds: Some(_), ..
                } => Some("scaled by hand".to_owned()),
                ByHand { .. } => None,
            },
            restarts: self.restart_count,
            last_exit: self.last_exit.clone(),
            last_lines: match failing {
                true => self.last_lines.clone(),
                false => Vec::new(),
            },
            check: self.fitness.view(),
            scale: self.scale_view(now),
            processes: self.process_views(now),
        }
    }

    pub(super) fn reason(&self, gone_because: Option<Why>, now: Time) -> String {
        if let Some(why) = gone_because {
            return why.text().to_owned();
        }
        let mut reason = match (self.waiting, self.by_hand.bounds) {
            _ if self.restarts.is_failing() => self.restarts.reason(now),
            _ if self.wanted_bounds().1 > 0 && self.bounds().1 == 0 => return self.over(),
            _ if self.share.is_some_and(|share| share.n < self.want) => {
                let Share { n, of } = self.share.unwrap_or(Share { n: 0, of: 0 });
                format!("held at {n}: its share of max_processes {of}, raise it to start more")
            }
            (Waiting::Cap(cap), _) => {
                format!("held: max_processes {cap} is reached, raise it to start more")
            }
            (_, Some((min, max))) if min == max => format!("held at {min} by hand"),
            _ if let Some(held) = self.held => held.to_string(),
            _ => self.target.reason.to_string(),
        };
        if let (Some(rush), None) = (&self.rush, self.by_hand.bounds) {
            reason.push_str(&format!("; {rush}"));
        }
        if let Some(unrest) = self.unrest.words(now) {
            reason.push_str(&format!("; {unrest}"));
        }
        if !self.done.is_empty() {
            reason.push_str(&format!("; {}", self.over()));
        }
        let leaving = self.counts.live - self.counts.serving;
        if leaving > 0 && self.waits_for_room() {
            let which = match leaving {
                1 => "the one that is leaving".to_owned(),
                _ => format!("one of the {leaving} that are leaving"),
            };
            reason.push_str(&format!("; the next starts when {which} has ended"));
        }
        reason
    }

    /// "2 ended and are not started again (restart: never), the last one: exit 3"
    fn over(&self) -> String {
        let ended = match self.done.len() {
            1 => "1 ended and is".to_owned(),
            count => format!("{count} ended and are"),
        };
        let rule = self.pool.restart.name();
        let mut text = format!("{ended} not started again (restart: {rule})");
        // one that fails says it apart
        if let (Some(last), false) = (&self.last_exit, self.is_lost()) {
            text.push_str(&format!(", the last one: {last}"));
        }
        text
    }

    fn scale_view(&self, now: Time) -> ScaleView {
        let counts = self.counts;
        ScaleView {
            wants: self.want,
            running: counts.registered,
            starting: counts.starting,
            draining: counts.live - counts.serving,
            arrivals: self.past.arrivals(),
            service: self.past.service(),
            startup: self.past.startup(),
            target_wait: scale::target_wait(
                self.pool.scale.target_wait,
                self.past.service().map(|it| it.as_secs_f64()),
            ),
            hold: self.past.hold(),
            decisions: self
                .decisions
                .iter()
                .map(|it| DecisionView {
                    ago: now.since(it.at),
                    from: it.from,
                    to: it.to,
                    reason: it.reason.clone(),
                })
                .collect(),
        }
    }

    fn process_views(&self, now: Time) -> Vec<ProcessView> {
        let mut views: Vec<ProcessView> =
            self.members.iter().map(|member| member.view(now)).collect();
        if let Some(until) = self.restarts.waits_until(now) {
            let waiting = self.vacant.iter().take(self.missing() as usize);
            views.extend(waiting.map(|&slot| ProcessView {
                proc: 0,
                slot,
                pid: None,
                state: ProcessState::Backoff,
                up: Duration::ZERO,
                leaving_because: None,
                next_start_in: Some(until.since(now)),
            }));
        }
        views.sort_by_key(|view| view.slot);
        views
    }
}

/// A command on one line, as it could be typed.
fn line(command: &Command) -> String {
    match command {
        Command::Shell(line) | Command::RunShell(line) => line.clone(),
        Command::Exec(words) | Command::Run(words) => {
            shlex::try_join(words.iter().map(String::as_str)).unwrap_or_else(|_| words.join(" "))
        }
    }
}
