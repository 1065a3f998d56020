//! The configuration file: read, compared with what is in force, kept when the new one is wrong.

mod includes;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use self::includes::Texts;
use super::settings::LoadedFile;
use super::watch::Folder;
use crate::config::{self, Config, Pool, Problem, Problems, Server, Tls};
use crate::pools::{Admission, Caps, Plan};
use crate::sys::reason;
use crate::tls::{self, Identity, Pem};

/// Why a configuration cannot be used, as the operator should read it.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read {path}: {}", reason(error))]
    Read {
        /// Which.
        path: String,
        /// read(2)'s.
        error: std::io::Error,
    },
    /// All of its problems.
    #[error("{0}")]
    Problems(config::Problems),
}

/// Reads a file, those that it includes, and the certificates that it names. Relative paths in it are relative to its folder.
///
/// # Errors
/// A [`FileError`]; for a file that can be read, with all of its problems.
pub fn read(path: &Path) -> Result<LoadedFile, FileError> {
    load(path, Texts::read(path)?)
}

fn load(path: &Path, texts: Texts) -> Result<LoadedFile, FileError> {
    let config = texts.parse(path)?;
    let tls = config.server.tls.as_ref();
    let tls = tls.map(|tls| identity(path, tls)).transpose()?;
    Ok(LoadedFile {
        path: path.to_owned(),
        texts,
        config,
        tls,
    })
}

/// What a file at `path` with this text says; its relative paths are taken from that file's folder. What it includes is left out.
///
/// # Errors
/// Every problem of the text.
pub fn parse(path: &Path, text: &str) -> Result<Config, FileError> {
    Texts::alone(text.to_owned()).parse(path)
}

/// What `${NAME}` stands for.
fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Where relative paths begin in a file.
fn folder(path: &Path) -> PathBuf {
    std::path::absolute(path)
        .ok()
        .and_then(|path| path.parent().map(Path::to_owned))
        .unwrap_or_default()
}

/// Reads the certificates. What is wrong with them is wrong where the file names them.
fn identity(path: &Path, tls: &Tls) -> Result<Identity, FileError> {
    tls::server(&tls.files).map_err(|problems| {
        let problems = problems.into_iter().map(|problem| {
            let place = match problem.pem {
                Pem::Cert => tls.places.cert,
                Pem::Key => tls.places.key,
                Pem::Ca => tls.places.client_ca,
            };
            Problem {
                file: path.display().to_string(),
                line: place.line,
                column: place.column,
                message: problem.message,
            }
        });
        let file = path.display().to_string();
        FileError::Problems(Problems::new(&[&file], problems.collect()))
    })
}

/// The file as it stands in the daemon.
pub(super) struct ConfigFile {
    path: PathBuf,
    /// What was read last, right or wrong.
    seen: Texts,
    server: Server,
    /// The pools that it has. What is in force is the same but for those whose check has not passed.
    wanted: Vec<Arc<Pool>>,
    pools: Vec<Arc<Pool>>,
    /// What is wrong with the file now.
    error: Option<String>,
}

/// What a new reading of the file came to.
pub(super) enum Reading {
    /// It says what it said before.
    Same,
    /// It is in force.
    New {
        /// With these changes.
        plan: Plan,
        /// But for the keys that take effect at the next start.
        later: Vec<&'static str>,
        /// What its `server.tls` names, as it is now.
        tls: Option<Identity>,
        /// And but for these pools, whose check has to pass.
        checks: Vec<Arc<Pool>>,
    },
    /// It is wrong; the old one stays in force.
    Wrong(String),
}

impl ConfigFile {
    pub(super) fn new(path: PathBuf, seen: Texts, config: Config) -> ConfigFile {
        let pools: Vec<_> = config.pools.into_values().map(Arc::new).collect();
        ConfigFile {
            wanted: pools.clone(),
            path,
            seen,
            server: config.server,
            pools,
            error: None,
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn pools(&self) -> &[Arc<Pool>] {
        &self.pools
    }

    /// The pool that the file has under a name, in force or not.
    pub(super) fn wanted(&self, name: &str) -> Option<&Arc<Pool>> {
        self.wanted.iter().find(|pool| pool.name == name)
    }

    /// All that the file has.
    pub(super) fn all_wanted(&self) -> &[Arc<Pool>] {
        &self.wanted
    }

    /// Puts a pool in force that has passed its check, if the file still has it so. Returns whether that changes something.
    pub(super) fn put(&mut self, pool: &Arc<Pool>) -> bool {
        let places = self.wanted.iter().zip(&mut self.pools);
        let place = places.into_iter().find(|(wanted, _)| *wanted == pool);
        place.is_some_and(|(wanted, in_force)| {
            let is_new = wanted != in_force;
            *in_force = Arc::clone(wanted);
            is_new
        })
    }

    pub(super) fn caps(&self) -> Caps {
        Caps {
            max_processes: self.server.max_processes,
        }
    }

    pub(super) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// For how long nobody has written to the file or to one that it includes: for ever, where that cannot be known or lies in the
    /// future.
    pub(super) fn age(&self) -> Duration {
        let all = std::iter::once(self.path.as_path()).chain(self.seen.included());
        let ages = all.filter_map(|path| {
            let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified());
            modified.ok()?.elapsed().ok()
        });
        ages.min().unwrap_or(Duration::MAX)
    }

    /// The folders in which something may come up that changes what this file says.
    pub(super) fn folders(&self) -> Vec<Folder> {
        self.seen.folders(&self.path)
    }

    /// What the file says, after these pools that a program before this one had in force.
    pub(super) fn go_on_from(&mut self, in_force: Vec<Arc<Pool>>) -> Reading {
        let pools = std::mem::replace(&mut self.pools, in_force);
        self.put_in_force(pools, Vec::new(), None)
    }

    fn put_in_force(
        &mut self,
        pools: Vec<Arc<Pool>>,
        later: Vec<&'static str>,
        tls: Option<Identity>,
    ) -> Reading {
        let plan = Plan::between(&self.pools, &pools);
        let Admission { in_force, to_check } = Admission::between(&self.pools, &pools);
        (self.pools, self.wanted) = (in_force, pools);
        Reading::New {
            plan,
            later,
            tls,
            checks: to_check,
        }
    }

    /// Reads the file again, because it may have changed.
    pub(super) fn read_if_changed(&mut self) -> Reading {
        match Texts::read(&self.path) {
            Ok(texts) if texts == self.seen => Reading::Same,
            // between an editor's removing the old file and writing the new one there is none: its writing is seen too
            Err(FileError::Read { error, .. }) if error.kind() == ErrorKind::NotFound => {
                Reading::Same
            }
            texts => self.judge(texts),
        }
    }

    /// Reads the file again, because somebody says so.
    pub(super) fn read(&mut self) -> Reading {
        self.judge(Texts::read(&self.path))
    }

    /// Puts a text in force, or says what is wrong with it. It is remembered: what is compared later has to be what was judged,
    /// though the file may change at any moment.
    fn judge(&mut self, texts: Result<Texts, FileError>) -> Reading {
        self.seen = texts.as_ref().ok().cloned().unwrap_or_default();
        match texts.and_then(|texts| load(&self.path, texts)) {
            Ok(LoadedFile { config, tls, .. }) => {
                let pools: Vec<_> = config.pools.into_values().map(Arc::new).collect();
                let later = fixed_at_the_start(&self.server, &config.server);
                (self.server, self.error) = (config.server, None);
                self.put_in_force(pools, later, tls)
            }
            Err(error) => {
                let error = error.to_string();
                self.error = Some(error.clone());
                Reading::Wrong(error)
            }
        }
    }
}

/// The keys of the `server` section that have changed and cannot, while the daemon runs.
fn fixed_at_the_start(old: &Server, new: &Server) -> Vec<&'static str> {
    let Server {
        listen,
        tls,
        state_dir,
        log_dir,
        max_processes: _,
        exit_on_failure: _,
        limits,
    } = new;
    let place = |tls: &Option<Tls>| tls.as_ref().map(|tls| tls.listen.clone());
    let (new_place, old_place) = (place(tls), place(&old.tls));
    let tls_key = match new_place.is_some() == old_place.is_some() {
        true => "server.tls.listen",
        false => "server.tls",
    };
    let keys = [
        ("server.listen", *listen == old.listen),
        (tls_key, new_place == old_place),
        ("server.state_dir", *state_dir == old.state_dir),
        ("server.log_dir", *log_dir == old.log_dir),
        ("server.limits", *limits == old.limits),
    ];
    let changed = keys.into_iter().filter(|(_, is_same)| !is_same);
    changed.map(|(key, _)| key).collect()
}
