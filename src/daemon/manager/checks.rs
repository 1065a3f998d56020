//! The pools' `check`: run before something new is started, and what follows when it passes or does not.
//!
//! A pool whose file starts something else is put in force when its check has passed, and until then the one before it is. A new pool
//! is in force at once and starts nothing meanwhile. A restart, by hand or for changed code, waits as well.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;

use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;

use super::orders::answer;
use super::processes::status_of;
use super::reload::Applied;
use super::*;
use crate::daemon::code::CodeWatch;
use crate::daemon::logs::tail::Tail;

/// So many run at once.
const AT_ONCE: usize = 4;

/// The checks that run or wait to, and who waits for them.
#[derive(Default)]
pub(super) struct Checks {
    runs: BTreeMap<String, Run>,
    queue: VecDeque<String>,
    /// The pools whose last one has failed.
    unfit: BTreeSet<String>,
    askers: Vec<Asker>,
    last: u64,
    /// Those that were not through when this program took over, until they begin anew.
    left: Vec<Begun>,
}

/// A check that was not through when another program took over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::daemon) struct Begun {
    pool: String,
    restart: Option<Restart>,
    pid: Option<u32>,
}

/// What is restarted when a check passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Restart {
    All,
    One(Slot),
}

/// A pool's check.
struct Run {
    /// Which of all, so that the end of one that was given up means nothing.
    number: u64,
    /// What passes or does not.
    pool: Arc<Pool>,
    restart: Option<Restart>,
    pid: Option<u32>,
}

/// Who wants to know what comes of some checks.
struct Asker {
    open: BTreeSet<String>,
    done: String,
    failures: Vec<String>,
    reply: Reply,
}

impl Checks {
    pub(super) fn unfit(&self) -> &BTreeSet<String> {
        &self.unfit
    }

    /// These have failed before, and those were not through.
    pub(super) fn remember(&mut self, unfit: BTreeSet<String>, left: Vec<Begun>) {
        (self.unfit, self.left) = (unfit, left);
    }

    /// Those that are not through.
    pub(super) fn begun(&self) -> Vec<Begun> {
        let begun = self.runs.iter().map(|(pool, run)| Begun {
            pool: pool.clone(),
            restart: run.restart,
            pid: run.pid,
        });
        begun.collect()
    }
}

impl Manager {
    /// Another program is to take over, with which the connections of those go who wait for checks. Returns whether there was anybody to
    /// be told.
    pub(super) fn put_off_askers(&mut self) -> bool {
        let askers = std::mem::take(&mut self.checks.askers);
        let is_anybody = !askers.is_empty();
        for asker in askers {
            let pools = asker.open.into_iter().collect::<Vec<_>>().join(", ");
            let text = format!(
                "{pools}: an upgrade has come in between, and the check begins anew; the log says what comes of it"
            );
            answer(asker.reply, Err(text));
        }
        is_anybody
    }

    /// Begins those anew that the program before this one was in the middle of. What the file has new is being checked already.
    pub(super) fn check_left(&mut self) {
        for Begun { pool, restart, pid } in std::mem::take(&mut self.checks.left) {
            if let Some(pid) = pid {
                // nobody has reaped it: it is reaped with what others have left
                let _ = signal::kill_group(pid);
                self.forget(pid);
            }
            let file = self.parts.file.as_ref();
            match file.and_then(|file| file.wanted(&pool)).cloned() {
                Some(wanted) if wanted.check.is_some() => {
                    if restart.is_some() || !self.checks.runs.contains_key(&pool) {
                        self.check(wanted, restart);
                    }
                }
                _ => self.restart(pool, restart),
            }
        }
    }

    fn restart(&mut self, pool: String, restart: Option<Restart>) {
        if let Some(restart) = restart {
            let slot = match restart {
                Restart::All => None,
                Restart::One(slot) => Some(slot),
            };
            self.events.push_back(Event::Restart { pool, slot });
        }
    }

    /// The guardian need not end it any more.
    fn forget(&self, pid: u32) {
        if let Some(guardian) = &self.parts.guardian
            && let Err(error) = guardian.forget(pid)
        {
            tracing::debug!(%error, "the guardian does not answer");
        }
    }

    /// Checks the pools of the first file.
    pub(super) fn check_new(&mut self) {
        for pool in self.pools().to_vec() {
            if pool.check.is_some() {
                self.check(pool, None);
            }
        }
    }

    /// Checks what a new file asks for, and again what has failed before. Returns the pools.
    pub(super) fn check_changed(&mut self, mut wanted: Vec<Arc<Pool>>) -> BTreeSet<String> {
        for name in self.checks.unfit.clone() {
            let known = wanted.iter().any(|pool| pool.name == name);
            let pool = self.parts.file.as_ref().and_then(|file| file.wanted(&name));
            match pool.filter(|pool| pool.check.is_some()) {
                Some(pool) if !known => wanted.push(Arc::clone(pool)),
                Some(_) => {}
                None => drop(self.checks.unfit.remove(&name)),
            }
        }
        // what the file does not have so any more, and nothing in its place
        let file = self.parts.file.as_ref();
        let old = self.checks.runs.values().map(|run| &run.pool);
        let old: Vec<_> = old
            .filter(|pool| file.and_then(|file| file.wanted(&pool.name)) != Some(*pool))
            .filter(|pool| wanted.iter().all(|next| next.name != pool.name))
            .map(|pool| pool.name.clone())
            .collect();
        for name in old {
            self.give_up(&name);
            self.settle(&name, None);
        }
        let names = wanted.iter().map(|pool| pool.name.clone()).collect();
        for pool in wanted {
            self.check(pool, None);
        }
        names
    }

    /// Checks a pool again that has failed before.
    pub(super) fn check_again(&mut self, name: &str) {
        if self.checks.unfit.contains(name)
            && let Some(pool) = self.parts.file.as_ref().and_then(|file| file.wanted(name))
        {
            self.check(Arc::clone(pool), None);
        }
    }

    /// Restarts a pool when its check has passed.
    pub(super) fn restart_checked(
        &mut self,
        pool: Arc<Pool>,
        slot: Option<Slot>,
        done: String,
        reply: Reply,
    ) {
        let open = BTreeSet::from([pool.name.clone()]);
        tracing::info!("{}: restarting when its check has passed", pool.name);
        self.check(pool, Some(slot.map_or(Restart::All, Restart::One)));
        let answer = Ok(done);
        self.answer_checked(Applied { answer, open }, reply);
    }

    /// Answers when all checks have ended.
    pub(super) fn answer_checked(&mut self, applied: Applied, reply: Reply) {
        match applied {
            Applied {
                answer: Ok(done),
                open,
            } if !open.is_empty() => self.checks.askers.push(Asker {
                open,
                done,
                failures: Vec::new(),
                reply,
            }),
            Applied { answer: it, .. } => answer(reply, it),
        }
    }

    /// Checks a pool. One that runs for it already may have seen what was there before, and is given up.
    fn check(&mut self, pool: Arc<Pool>, restart: Option<Restart>) {
        let name = pool.name.clone();
        let before = self.give_up(&name);
        let restart = match (before.and_then(|run| run.restart), restart) {
            // two different ones are all
            (Some(one), Some(other)) if one != other => Some(Restart::All),
            (one, other) => other.or(one),
        };
        self.checks.last += 1;
        let number = self.checks.last;
        let run = Run {
            number,
            pool,
            restart,
            pid: None,
        };
        self.checks.runs.insert(name.clone(), run);
        self.checks.queue.push_back(name);
        self.start_checks();
    }

    fn give_up(&mut self, name: &str) -> Option<Run> {
        let run = self.checks.runs.remove(name)?;
        self.checks.queue.retain(|queued| queued != name);
        if let Some(pid) = run.pid {
            // it may have ended
            let _ = signal::kill_group(pid);
        }
        Some(run)
    }

    fn start_checks(&mut self) {
        loop {
            let running = self.checks.runs.values().filter(|run| run.pid.is_some());
            if running.count() >= AT_ONCE {
                return;
            }
            let Some(name) = self.checks.queue.pop_front() else {
                return;
            };
            self.start_check(&name);
        }
    }

    fn start_check(&mut self, name: &str) {
        let Some(run) = self.checks.runs.get(name) else {
            return;
        };
        let (number, pool) = (run.number, Arc::clone(&run.pool));
        let happenings = self.parts.happenings.clone();
        let ended = move |pool: &Pool, pid, failure| {
            let pool = pool.name.clone();
            // the manager ends last
            let _ = happenings.send(Happening::Checked {
                pool,
                number,
                pid,
                failure,
            });
        };
        let spec = self.parts.surroundings.describe_check(&pool);
        let started = match spec.map_err(|error| error.to_string()) {
            Ok(None) => return ended(&pool, None, None),
            Ok(Some(spec)) => child::spawn(&spec).map_err(|error| error.to_string()),
            Err(error) => Err(error),
        };
        let child = match started {
            Ok(child) => child,
            Err(text) => {
                let lines = Vec::new();
                return ended(&pool, None, Some(Unfit { text, lines }));
            }
        };
        let pid = child.pid;
        self.watch_over(pid);
        if let Some(run) = self.checks.runs.get_mut(name) {
            run.pid = Some(pid);
        }
        tokio::spawn(async move {
            let failure = outcome(child, &pool).await;
            // what it has left behind goes with it
            let _ = signal::kill_group(pid);
            ended(&pool, Some(pid), failure);
        });
    }

    /// A check has ended.
    pub(super) fn checked(
        &mut self,
        name: &str,
        number: u64,
        pid: Option<u32>,
        failure: Option<Unfit>,
    ) {
        if let Some(pid) = pid {
            self.forget(pid);
        }
        let is_current = |run: &Run| run.number == number;
        let is_current = self.checks.runs.get(name).is_some_and(is_current);
        if self.ending.is_none()
            && is_current
            && let Some(run) = self.checks.runs.remove(name)
        {
            self.judge(run, failure);
        }
        self.start_checks();
    }

    fn judge(&mut self, run: Run, failure: Option<Unfit>) {
        let name = &run.pool.name;
        let said = failure.as_ref().map(|failure| {
            let is_up = self
                .crew
                .iter()
                .any(|(_, member)| member.pool.name == *name);
            let what = match is_up {
                true => "check failed, the processes from before go on",
                false => "check failed, nothing is started before it passes",
            };
            let mut text = format!("{name}: {what}: {}", failure.text);
            for line in &failure.lines {
                text.push_str(&format!("\n  | {line}"));
            }
            text
        });
        let pool = name.clone();
        match &said {
            Some(said) => {
                for line in said.lines() {
                    tracing::error!("{line}");
                }
                self.checks.unfit.insert(pool.clone());
                self.events.push_back(Event::Checked { pool, failure });
            }
            None => {
                tracing::info!("{name}: check passed");
                self.checks.unfit.remove(name);
                self.sample_first();
                let file = self.parts.file.as_mut();
                let is_new = file.is_some_and(|file| file.put(&run.pool));
                if is_new {
                    self.configure();
                }
                // before the first processes are started, which it does not mean; and what is new replaces all of them by itself
                self.restart(pool.clone(), run.restart.filter(|_| !is_new));
                self.events.push_back(Event::Checked { pool, failure });
            }
        }
        self.settle(&run.pool.name, said);
    }

    /// Tells those who wait for a pool's check.
    fn settle(&mut self, name: &str, failure: Option<String>) {
        for asker in &mut self.checks.askers {
            if asker.open.remove(name) {
                asker.failures.extend(failure.clone());
            }
        }
        let (waiting, done): (Vec<_>, Vec<_>) = std::mem::take(&mut self.checks.askers)
            .into_iter()
            .partition(|asker| !asker.open.is_empty());
        self.checks.askers = waiting;
        for asker in done {
            let result = match asker.failures.is_empty() {
                true => Ok(asker.done),
                false => Err(asker.failures.join("\n")),
            };
            answer(asker.reply, result);
        }
    }

    /// Watches the code of the pools as the file has them.
    pub(super) fn follow_code(&mut self) {
        let file = self.parts.file.as_ref();
        let pools = file.map(ConfigFile::all_wanted).unwrap_or_default();
        let watches = pools.iter().filter(|pool| !pool.watch.globs.is_empty());
        let watches: Vec<_> = watches
            .map(|pool| (pool.name.clone(), pool.watch.clone()))
            .collect();
        if self.code.is_none() && !watches.is_empty() {
            match CodeWatch::start(self.parts.happenings.clone()) {
                Ok(code) => self.code = Some(code),
                Err(error) => tracing::error!(%error, "\"watch\" does not work here"),
            }
        }
        if let Some(code) = &self.code {
            code.follow(watches);
        }
    }

    pub(super) fn code_changed(&mut self, pool: String, what: String) {
        if self.ending.is_none() {
            self.events.push_back(Event::CodeChanged { pool, what });
        }
    }

    /// Restarts a pool whose code has changed, when its check has passed.
    pub(super) fn renew(&mut self, name: &str) {
        if self.ending.is_some() {
            return;
        }
        let file = self.parts.file.as_ref();
        let wanted = file.and_then(|file| file.wanted(name));
        match wanted.filter(|pool| pool.check.is_some()).cloned() {
            Some(pool) => self.check(pool, Some(Restart::All)),
            None => {
                self.sample_first();
                self.restart(name.to_owned(), Some(Restart::All));
            }
        }
    }

    /// Ends them all, with the daemon.
    pub(super) fn end_checks(&mut self) {
        for name in self.checks.runs.keys().cloned().collect::<Vec<_>>() {
            self.give_up(&name);
        }
        // they hear that the daemon ends
        self.checks.askers.clear();
    }
}

/// Waits for the end of a check, with what it writes. `None` when it passed.
async fn outcome(child: Child, pool: &Pool) -> Option<Unfit> {
    let Child {
        pid,
        output,
        mut exit,
        ..
    } = child;
    let mut tail = Tail::default();
    let ended = async {
        let mut pipe = Receiver::from_owned_fd(output).ok();
        let mut buffer = [0; 4096];
        let status = loop {
            let read = async {
                match &mut pipe {
                    Some(pipe) => pipe.read(&mut buffer).await.unwrap_or(0),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                status = exit.wait() => break status,
                count = read => match count {
                    0 => pipe = None,
                    count => tail.push(&buffer[..count]),
                },
            }
        };
        // What it wrote last is in the pipe, whether or not tokio knows by now that there is something. One that it has started may
        // hold the other end for ever.
        let rest = pipe.and_then(|pipe| pipe.into_nonblocking_fd().ok());
        if let Some(mut rest) = rest.map(File::from) {
            while let Ok(count @ 1..) = rest.read(&mut buffer) {
                tail.push(&buffer[..count]);
            }
        }
        status
    };
    let command = pool.check.as_ref().map(ToString::to_string);
    let command = command.unwrap_or_default();
    let how = match tokio::time::timeout(pool.check_timeout, ended).await {
        Ok(Ok(status)) if status.success() => return None,
        Ok(Ok(status)) => status_of(&status).to_string(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => {
            // it may end this moment
            let _ = signal::kill_group(pid);
            format!(
                "has not ended within {}",
                crate::config::units::show_duration(pool.check_timeout)
            )
        }
    };
    Some(Unfit {
        text: format!("{command}: {how}"),
        lines: tail.lines(),
    })
}
