//! Another program in the daemon's place: what crosses to it, as one value with a version.
//!
//! The process stays, with its id, its children, its lock and its descriptors; all that is in its memory is written to a file without a
//! name, which the next program is given by the number of its descriptor. What is in the value by number (sockets, pipes, the lock) is
//! open there.
//!
//! The value is read by names, so that a field which is added with `#[serde(default)]` does not keep an older daemon from being
//! upgraded. What changes the meaning of a field, or what is said to the guardian, which stays the old program, is a new [`VERSION`].
//! The next program is asked whether it can read the value before anything is stopped for it.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Seek as _, Write as _};
use std::os::fd::RawFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use super::crew::Crew;
use super::listener::ListenerState;
use super::logs::PipeState;
use super::manager::{Begun, Heritage, Losses};
use super::peer::PeerState;
use crate::config::Pool;
use crate::jobs;
use crate::pools::{ProcId, Supervisor};
use crate::sys::cgroup::Group;
use crate::sys::handover::{self, Mapped};

/// What the value means. Another version cannot be taken over from, nor handed over to.
pub const VERSION: u32 = 2;

/// The first word of the file, and of the answer to the question whether it can be read.
const NAME: &str = "gearpool-handover";

/// The file, for the moment in which it has a name.
const FILE: &str = "handover";

/// What stands before the value, and can be read whatever its version is.
#[derive(Debug, Serialize, Deserialize)]
struct Head {
    name: String,
    version: u32,
    /// The version of the program.
    program: String,
}

/// Everything that crosses. To be written it borrows; read, it owns what is in it.
#[derive(Serialize, Deserialize)]
pub(super) struct State<'a> {
    /// When the time of the pure modules begins, by the machine's clock.
    pub(super) start: Duration,
    /// Since when no connection is served, by the same clock.
    pub(super) stopped: Duration,
    /// How often there was an upgrade, with this one.
    pub(super) upgrades: u64,
    /// The limit of descriptors that the processes get.
    pub(super) descriptor_limit: Option<u64>,
    /// The marker of our processes.
    pub(super) instance: Cow<'a, str>,
    pub(super) listeners: Cow<'a, [ListenerState]>,
    /// The control socket, by its number.
    pub(super) control: RawFd,
    pub(super) folder: FolderState,
    /// Where our process id stands.
    pub(super) pid_file: Cow<'a, Option<PathBuf>>,
    pub(super) guardian: Option<GuardianState>,
    pub(super) server: jobs::State<'a>,
    pub(super) peers: Vec<PeerState<'a>>,
    /// Those that may not have read everything yet, and are nobody any more to the job server.
    pub(super) leaving: Vec<PeerState<'a>>,
    pub(super) supervisor: Cow<'a, Supervisor>,
    pub(super) crew: Cow<'a, Crew>,
    pub(super) losses: Cow<'a, Losses>,
    /// The control groups of processes, where they have some.
    pub(super) groups: Cow<'a, HashMap<ProcId, Group>>,
    /// The processes that KILL was sent to.
    pub(super) killed: Cow<'a, HashSet<ProcId>>,
    /// The pools that are in force, where there is a file.
    pub(super) in_force: Option<Cow<'a, [Arc<Pool>]>>,
    /// Those whose check has failed.
    pub(super) unfit: Cow<'a, BTreeSet<String>>,
    /// The checks that are not through.
    pub(super) checks: Vec<Begun>,
    pub(super) heritage: Cow<'a, Heritage>,
    pub(super) pipes: Cow<'a, [PipeState]>,
    /// Bytes of the processes' output that could not be written.
    pub(super) logs_dropped: u64,
}

/// The state folder and its lock.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FolderState {
    pub(super) path: PathBuf,
    /// The lock, by its number.
    pub(super) lock: RawFd,
    pub(super) is_temporary: bool,
}

/// The guardian.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct GuardianState {
    /// Our end of its pipe, by its number.
    pub(super) pipe: RawFd,
    pub(super) pid: u32,
}

impl State<'_> {
    /// The descriptors that cross.
    pub(super) fn descriptors(&self) -> Vec<RawFd> {
        let mut all = vec![self.control, self.folder.lock];
        all.extend(self.listeners.iter().map(|it| it.descriptor));
        all.extend(self.guardian.map(|it| it.pipe));
        let peers = self.peers.iter().chain(&self.leaving);
        all.extend(peers.map(|it| it.descriptor));
        all.extend(self.pipes.iter().map(PipeState::descriptor));
        all
    }

    /// Writes it, into a file in this folder that has no name and goes with its descriptors.
    pub(super) fn write(&self, folder: &Path) -> anyhow::Result<File> {
        let path = folder.join(FILE);
        // what an attempt has left that was cut short
        let _ = std::fs::remove_file(&path);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            // the workloads are in it
            .mode(0o600)
            .open(&path);
        let file = file.with_context(|| format!("cannot create {}", path.display()))?;
        let _ = std::fs::remove_file(&path);
        let head = Head {
            name: NAME.to_owned(),
            version: VERSION,
            program: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let mut writer = BufWriter::with_capacity(1 << 20, &file);
        let written = rmp_serde::encode::write_named(&mut writer, &head)
            .and_then(|()| rmp_serde::encode::write_named(&mut writer, self))
            .map_err(anyhow::Error::new)
            .and_then(|()| Ok(writer.flush()?));
        written
            .with_context(|| format!("cannot write the daemon's state to {}", folder.display()))?;
        drop(writer);
        (&file).rewind()?;
        Ok(file)
    }
}

/// What another program has handed over, and that program's version.
pub struct Received {
    pub(super) state: State<'static>,
    pub(super) from: String,
}

/// Reads what is open under this number.
///
/// # Errors
/// What keeps this program from going on with it.
pub fn receive(descriptor: RawFd) -> anyhow::Result<Received> {
    let file = handover::adopt(descriptor).context("there is nothing to take over")?;
    let value = Mapped::of(&File::from(file)).context("what was handed over cannot be read")?;
    let mut reader = rmp_serde::Deserializer::from_read_ref(&*value);
    let head = Head::deserialize(&mut reader).context("what was handed over makes no sense")?;
    anyhow::ensure!(head.name == NAME, "what was handed over makes no sense");
    anyhow::ensure!(
        head.version == VERSION,
        "gearpool {} hands over version {} of its state, and this one, gearpool {}, takes version {VERSION} alone; restart the daemon instead",
        head.program,
        head.version,
        env!("CARGO_PKG_VERSION"),
    );
    let state = State::deserialize(&mut reader).with_context(|| {
        format!(
            "gearpool {} cannot read what gearpool {} hands over; restart the daemon instead",
            env!("CARGO_PKG_VERSION"),
            head.program
        )
    })?;
    Ok(Received {
        state,
        from: head.program,
    })
}

/// What a program says that can go on with what it was shown.
pub fn consent() -> String {
    format!("{NAME} {VERSION} {}\n", env!("CARGO_PKG_VERSION"))
}

/// The version of the program that has said this, if it consents.
pub(super) fn consents(said: &str) -> Option<&str> {
    let mut words = said.split_whitespace();
    let is_ours = words.next() == Some(NAME) && words.next()?.parse() == Ok(VERSION);
    is_ours.then(|| words.next())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consent_is_understood() {
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(consents(&consent()), Some(version));
        for said in ["", "gearpool 0.1.0", "gearpool-handover 0 0.1.0"] {
            assert_eq!(consents(said), None, "{said}");
        }
    }
}
