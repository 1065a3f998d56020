//! `gearpool logs`: what the workers wrote.
//!
//! Reads the files itself, so it works while no daemon runs; a running one is asked only where they are.

mod files;
mod index;
mod job;
mod lines;
mod part;
mod tail;

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use clap::Args;

use self::files::{SlotLog, Stream};
pub(super) use self::lines::Form;
use self::lines::{Lines, Prefix};
use self::tail::Tail;
use super::Failure;
use super::client::{DaemonArgs, block_on};
use super::nearest::nearest;
use super::pool_slot::PoolSlot;
use super::terminal::{self, Reader};
use crate::daemon::logs::names;

/// How often the files are looked at.
pub(super) const LOOK: Duration = Duration::from_millis(100);
/// So many bytes are written at once.
pub(super) const BURST: usize = 1 << 20;

/// Print what the workers wrote, and follow it
///
/// Each slot has a log of its own, standard output and standard error together unless the file says otherwise, which stays the same when
/// its process is replaced. With several logs each line begins with its slot; one slot's log is printed to the byte. It works without a
/// running daemon too.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gearpool logs                     the last 10 lines of every slot of every pool
  gearpool logs -f fetchURL         the same of one pool, and what comes, until Ctrl-C
  gearpool logs -n 200 fetchURL/3   the last 200 lines of slot 3
  gearpool logs --job H:web1:42     what the workers wrote while they ran that job
  gearpool logs -f --job H:web1:42  the same, and what comes until it has ended
  gearpool logs --events fetchURL   when its processes started and ended, and which jobs they wrote something in
  gearpool logs -f | grep -i error")]
pub struct LogsArgs {
    /// The pool, or one slot of it; all pools if it is missing
    #[arg(value_name = "POOL[/SLOT]")]
    which: Option<PoolSlot>,

    /// Go on with what is written from now on, by slots that come later too
    #[arg(short, long)]
    follow: bool,

    /// How many lines of each slot to begin with
    #[arg(short = 'n', long, value_name = "N", default_value_t = 10)]
    lines: usize,

    /// What was written while this job ran, older and compressed files too; by every slot that was given it. With -f also what comes,
    /// until it has ended
    #[arg(long, value_name = "HANDLE", conflicts_with_all = ["lines", "events"])]
    job: Option<String>,

    /// What happened to the processes and their jobs, in place of what they wrote
    #[arg(long, conflicts_with = "follow")]
    events: bool,

    /// Print a JSON object a line: pool, slot, stream and line, or with --events what happened and when
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    daemon: DaemonArgs,
}

/// What is known before the first file is read.
#[derive(Debug)]
struct Place {
    log_dir: PathBuf,
    /// The pools that a running daemon has; some may not have written anything yet.
    pools: Vec<String>,
}

/// All logs that were asked for.
#[derive(Debug)]
pub(super) struct Logs {
    log_dir: PathBuf,
    which: Option<PoolSlot>,
    form: Form,
    slots: BTreeMap<SlotLog, Slot>,
}

/// Where the logs go to.
pub(super) trait Sink {
    /// Takes what has been gathered, and empties it.
    ///
    /// # Errors
    /// What writing gives, but for the end of the reader.
    fn write(&mut self, out: &mut Vec<u8>) -> Result<Wants, Failure>;

    /// Takes a sentence that is not the workers'.
    fn say(&mut self, text: String);
}

/// What a [`Sink`] wants of what has been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    /// All of it.
    All,
    /// What is written from now on.
    Newest,
    /// No more.
    Nothing,
}

/// Standard output, and standard error.
#[derive(Debug)]
struct Printed;

#[derive(Debug)]
struct Slot {
    tail: Tail,
    lines: Lines,
    /// Whether the last look failed: what cannot be read is said once, not at every look.
    failed: bool,
}

impl LogsArgs {
    /// Prints the last lines, and follows.
    ///
    /// # Errors
    /// A pool or slot that there is not, or files that cannot be read.
    pub(super) fn run(self) -> Result<u8, Failure> {
        block_on(async {
            let place = self.place().await?;
            let missing = self.check(&place)?;
            let form = match self.json {
                true => Form::Json,
                false => Form::Text(terminal::look().colour),
            };
            let mut logs = Logs::new(place.log_dir, self.which, form);
            if let Some(job) = &self.job {
                if !self.follow {
                    return logs.job(job);
                }
                let daemon = self.daemon.locate()?;
                return tokio::select! {
                    biased;
                    _ = tokio::signal::ctrl_c() => Ok(0),
                    followed = logs.follow_job(job, &daemon) => followed,
                };
            }
            if self.events {
                return logs.events(self.lines);
            }
            let wants = logs.begin(self.lines, self.follow, &mut Printed)?;
            if let Some(missing) = missing {
                terminal::say(&missing);
            }
            if wants == Wants::Nothing || !self.follow {
                return Ok(0);
            }
            tokio::select! {
                // In this order: Ctrl-C is listened for before the first look, which does not pause.
                biased;
                _ = tokio::signal::ctrl_c() => Ok(0),
                followed = logs.follow() => followed,
            }
        })
    }

    /// Asks the daemon where the logs are and which pools there are; without one, the arguments say where.
    async fn place(&self) -> Result<Place, Failure> {
        let daemon = self.daemon.locate()?;
        Ok(match daemon.status().await {
            Ok(status) => Place {
                log_dir: PathBuf::from(status.server.log_dir),
                pools: status
                    .pools
                    .into_iter()
                    .map(|pool| pool.pool.name)
                    .collect(),
            },
            Err(_) => Place {
                log_dir: daemon.log_dir(),
                pools: Vec::new(),
            },
        })
    }

    /// Whether what was asked for is there. What may still come is no error: a sentence about it is returned.
    fn check(&self, place: &Place) -> Result<Option<String>, Failure> {
        let log_dir = &place.log_dir;
        let logged = files::pools(log_dir).with_context(|| unreadable(log_dir))?;
        let Some(PoolSlot { pool, slot }) = &self.which else {
            let none = logged
                .is_empty()
                .then(|| format!("no worker has written to {} yet", log_dir.display()));
            return match none {
                Some(none) if place.pools.is_empty() && !self.follow => {
                    Err(Failure::Failed(anyhow!(none)))
                }
                none => Ok(none),
            };
        };
        if !logged.contains(pool) && !place.pools.contains(pool) {
            let names = logged.iter().chain(&place.pools).map(String::as_str);
            let hint = nearest(pool, names);
            let log_dir = log_dir.display();
            return Err(Failure::Failed(anyhow!(
                "no pool \"{pool}\" has logs in {log_dir}{hint}"
            )));
        }
        let slots = files::slots(log_dir, pool).with_context(|| unreadable(log_dir))?;
        match slot {
            None if slots.is_empty() => Ok(Some(format!("{pool} has not written anything yet"))),
            Some(slot) if !slots.iter().any(|log| log.slot == *slot) => {
                let there: Vec<String> = slots.iter().map(|log| log.slot.to_string()).collect();
                let there = if there.is_empty() {
                    "none".to_owned()
                } else {
                    there.join(", ")
                };
                let text = format!(
                    "no process has written in {pool}/{slot} yet; the slots with a log are: {there}"
                );
                if self.follow {
                    Ok(Some(text))
                } else {
                    Err(Failure::Failed(anyhow!(text)))
                }
            }
            _ => Ok(None),
        }
    }
}

impl Logs {
    /// Those of a pool or a slot; all when it is not said.
    pub(super) fn new(log_dir: PathBuf, which: Option<PoolSlot>, form: Form) -> Logs {
        Logs {
            log_dir,
            which,
            form,
            slots: BTreeMap::new(),
        }
    }

    /// The last lines of every slot, one slot after the other.
    ///
    /// # Errors
    /// Files that cannot be read, and what the sink gives.
    pub(super) fn begin(
        &mut self,
        lines: usize,
        follow: bool,
        sink: &mut impl Sink,
    ) -> Result<Wants, Failure> {
        let now = Instant::now();
        let mut out = Vec::new();
        for log in self.find().with_context(|| unreadable(&self.log_dir))? {
            let context = || unreadable(&log.path);
            let (tail, text) = Tail::last_lines(log.path.clone(), lines).with_context(context)?;
            let mut slot = self.slot(&log, tail);
            slot.lines.feed(&text, now, &mut out);
            if !follow {
                slot.lines.finish(&mut out);
            }
            if sink.write(&mut out)? == Wants::Nothing {
                return Ok(Wants::Nothing);
            }
            self.slots.insert(log, slot);
        }
        Ok(Wants::All)
    }

    /// The last things that happened to each slot, by time.
    fn events(&self, count: usize) -> Result<u8, Failure> {
        let mut all = Vec::new();
        for log in self.find().with_context(|| unreadable(&self.log_dir))? {
            all.extend(
                index::last_events(&log, count, self.form)
                    .with_context(|| unreadable(&log.path))?,
            );
        }
        // A slot's own stay in their order where the times are the same.
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        let mut out: Vec<u8> = all
            .into_iter()
            .flat_map(|(_, line)| line.into_bytes())
            .collect();
        Printed.write(&mut out)?;
        Ok(0)
    }

    async fn follow(&mut self) -> Result<u8, Failure> {
        // Asked too while there is nothing to write: `logs -f | head` is to end with head.
        while self.look(&mut Printed)? != Wants::Nothing && terminal::asked() == Reader::There {
            tokio::time::sleep(LOOK).await;
        }
        Ok(0)
    }

    /// What is new in all logs, and all new logs.
    ///
    /// # Errors
    /// A folder that cannot be read, and what the sink gives; a file that cannot be read is said.
    pub(super) fn look(&mut self, sink: &mut impl Sink) -> Result<Wants, Failure> {
        for log in self.find().with_context(|| unreadable(&self.log_dir))? {
            if !self.slots.contains_key(&log) {
                let tail = Tail::from_start(log.path.clone());
                let slot = self.slot(&log, tail);
                self.slots.insert(log, slot);
            }
        }
        let now = Instant::now();
        let mut out = Vec::new();
        for (log, slot) in &mut self.slots {
            let Slot {
                tail,
                lines,
                failed,
            } = slot;
            // A burst goes out as it is read, so that it takes no memory of its own size.
            let mut written = Ok(Wants::All);
            let read = tail.read(|bytes| {
                lines.feed(bytes, now, &mut out);
                if out.len() >= BURST {
                    written = sink.write(&mut out);
                }
                match written {
                    Ok(Wants::All) => ControlFlow::Continue(()),
                    Ok(Wants::Newest | Wants::Nothing) | Err(_) => ControlFlow::Break(()),
                }
            });
            let read = match written? {
                Wants::All => {
                    lines.expire(now, &mut out);
                    if sink.write(&mut out)? == Wants::Nothing {
                        return Ok(Wants::Nothing);
                    }
                    read.map(|_| ())
                }
                Wants::Newest => {
                    lines.forget();
                    tail.skip()
                }
                Wants::Nothing => return Ok(Wants::Nothing),
            };
            match read {
                Ok(()) => *failed = false,
                Err(error) if !*failed => {
                    sink.say(format!("{}: {error}", unreadable(&log.path)));
                    *failed = true;
                }
                Err(_) => {}
            }
        }
        Ok(Wants::All)
    }

    fn find(&self) -> io::Result<Vec<SlotLog>> {
        let pools = match &self.which {
            Some(which) => vec![which.pool.clone()],
            None => files::pools(&self.log_dir)?,
        };
        let wanted = self.which.as_ref().and_then(|which| which.slot);
        let mut found = Vec::new();
        for pool in pools {
            let slots = files::slots(&self.log_dir, &pool)?;
            found.extend(
                slots
                    .into_iter()
                    .filter(|log| wanted.is_none_or(|slot| slot == log.slot)),
            );
        }
        Ok(found)
    }

    fn slot(&self, log: &SlotLog, tail: Tail) -> Slot {
        let is_alone = match &self.which {
            Some(PoolSlot { slot: Some(_), .. }) => !self.has_errors_apart(log),
            Some(PoolSlot { slot: None, .. }) | None => false,
        };
        let prefix = match self.form {
            Form::Text(_) if is_alone => Prefix::None,
            Form::Text(colour) => Prefix::slot(log, colour),
            Form::Json => Prefix::json(log, self.has_errors_apart(log), None),
        };
        Slot {
            tail,
            lines: Lines::new(prefix),
            failed: false,
        }
    }

    fn has_errors_apart(&self, log: &SlotLog) -> bool {
        log.stream == Stream::Errors || names::errors_beside(&log.path).exists()
    }
}

impl Sink for Printed {
    fn write(&mut self, out: &mut Vec<u8>) -> Result<Wants, Failure> {
        if out.is_empty() {
            return Ok(Wants::All);
        }
        let reader = terminal::print_bytes(out)?;
        out.clear();
        Ok(match reader {
            Reader::There => Wants::All,
            Reader::Gone => Wants::Nothing,
        })
    }

    fn say(&mut self, text: String) {
        terminal::say(text);
    }
}

fn unreadable(path: &Path) -> String {
    format!("cannot read {}", path.display())
}
