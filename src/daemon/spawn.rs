//! From a pool and a slot to a process: its command, its environment, whom it runs as.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use crate::config::{Address, Command, DEFAULT_PORT, Pool, Stderr};
use crate::pools::Slot;
use crate::sys::child::Spec;
use crate::sys::systemd;
use crate::sys::user::{self, ResolveError};

/// What every process is told about the daemon.
#[derive(Clone, Debug)]
pub(super) struct Surroundings {
    /// Where the job server can be reached: a host and a port, or a Unix socket.
    pub(super) server: Address,
    /// The marker by which the guardian knows our processes.
    pub(super) instance: String,
    /// This program, which runs the pools whose command is run once a job.
    pub(super) program: PathBuf,
}

/// Why a process could not be described.
#[derive(Debug, thiserror::Error)]
pub(super) enum DescribeError {
    /// The user or group.
    #[error(transparent)]
    User(#[from] ResolveError),
    /// The `env_file`.
    #[error("cannot read env_file {path}: {error}")]
    EnvFile {
        /// Which.
        path: String,
        /// read(2)'s.
        error: std::io::Error,
    },
    /// A line of it.
    #[error("{path}:{line}: not NAME=value")]
    EnvLine {
        /// Which file.
        path: String,
        /// Which line, from 1.
        line: usize,
    },
}

impl Surroundings {
    /// Where workers on this machine reach the job server: the first TCP address, a Unix socket where there is none; never TLS, which
    /// takes a certificate that no worker has been given. Each bound
    /// socket comes with the address that was asked for, and its port.
    pub(super) fn reachable<'a>(
        bound: impl Iterator<Item = (&'a Address, Option<u16>)> + Clone,
    ) -> Address {
        let plain = bound.filter(|(listen, _)| !listen.is_encrypted());
        let tcp = plain
            .clone()
            .find_map(|(listen, port)| match (listen, port) {
                (Address::Tcp(host, _), Some(port)) => Some(Address::Tcp(local_name(host), port)),
                (Address::Tcp(..) | Address::Tls(..) | Address::Unix(_), _) => None,
            });
        let unix = plain.map(|(listen, _)| listen.clone()).next();
        tcp.or(unix).unwrap_or_else(|| Address::local(DEFAULT_PORT))
    }

    /// Describes the process of a pool in a slot.
    ///
    /// # Errors
    /// A [`DescribeError`] for the operator.
    pub(super) fn describe(&self, pool: &Pool, slot: Slot) -> Result<Spec, DescribeError> {
        let words = pool.command.words(&pool.name, slot.0);
        let argv = match pool.command {
            Command::Exec(_) | Command::Shell(_) => words.into_iter().map(OsString::from).collect(),
            Command::Run(_) | Command::RunShell(_) => self.job_runner(pool, words),
        };
        let spec = self.surround(pool, Some(slot), argv)?;
        Ok(Spec {
            stderr_apart: pool.log.stderr != Stderr::Together,
            ..spec
        })
    }

    /// Describes the check of a pool, which runs as its processes do. `None` where there is none.
    ///
    /// # Errors
    /// A [`DescribeError`] for the operator.
    pub(super) fn describe_check(&self, pool: &Pool) -> Result<Option<Spec>, DescribeError> {
        let words = pool.check.as_ref().map(|check| check.words(&pool.name, 0));
        let argv = words.map(|words| words.into_iter().map(OsString::from).collect());
        argv.map(|argv| self.surround(pool, None, argv)).transpose()
    }

    fn surround(
        &self,
        pool: &Pool,
        slot: Option<Slot>,
        argv: Vec<OsString>,
    ) -> Result<Spec, DescribeError> {
        let ids = user::resolve(pool.user.as_deref(), pool.group.as_deref())?;
        let mut env: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
        env.retain(|name, _| !systemd::VARIABLES.iter().any(|other| name == other));
        if let (Some(ids), Some(_)) = (&ids, &pool.user) {
            for name in ["USER", "LOGNAME"] {
                // of a number nobody knows the name, and the daemon's would be wrong
                match &ids.name {
                    Some(user) => env.insert(name.into(), user.into()),
                    None => env.remove(OsStr::new(name)),
                };
            }
            let home = ids.home.clone().unwrap_or_else(|| "/".into());
            env.insert("HOME".into(), home.into());
        }
        if let Some(path) = &pool.env_file {
            env.extend(read_env_file(path)?);
        }
        env.extend(
            pool.env
                .iter()
                .map(|(name, value)| (name.into(), value.into())),
        );
        env.extend(
            self.variables(pool, slot)
                .map(|(name, value)| (name.into(), value.into())),
        );
        Ok(Spec {
            argv,
            env: env.into_iter().collect(),
            cwd: pool.cwd.clone(),
            ids,
            umask: pool.umask,
            nice: pool.nice,
            limits: pool.limits.clone(),
            no_new_privileges: pool.no_new_privileges,
            stderr_apart: false,
            group: None,
        })
    }

    fn variables(
        &self,
        pool: &Pool,
        slot: Option<Slot>,
    ) -> impl Iterator<Item = (&'static str, String)> {
        let (host, port) = match &self.server {
            Address::Tcp(host, port) => (Some(host.clone()), Some(port.to_string())),
            Address::Tls(..) | Address::Unix(_) => (None, None),
        };
        let all = [
            ("GEARMAN_HOST", host),
            ("GEARMAN_PORT", port),
            // the `gearman` tool's own. Not GEARMAN_SERVERS: libgearman adds those to what the worker's code adds, and every PHP
            // worker that names its server would then have two connections to the same one
            ("GEARMAN_SERVER", Some(self.server.to_string())),
            ("GEARPOOL_POOL", Some(pool.name.clone())),
            ("GEARPOOL_SLOT", slot.map(|slot| slot.0.to_string())),
            ("GEARPOOL_INSTANCE", Some(self.instance.clone())),
        ];
        all.into_iter()
            .filter_map(|(name, value)| value.map(|value| (name, value)))
    }

    /// `gearpool work -f F … -- COMMAND`.
    fn job_runner(&self, pool: &Pool, words: Vec<String>) -> Vec<OsString> {
        let mut argv = vec![self.program.clone().into_os_string(), "work".into()];
        argv.extend(["--server".into(), self.server.to_string().into()]);
        for function in &pool.functions {
            argv.push("-f".into());
            argv.push(function.into());
        }
        argv.push("--".into());
        argv.extend(words.into_iter().map(OsString::from));
        argv
    }
}

/// How a worker on this machine calls an address that the server listens on.
fn local_name(host: &str) -> String {
    match host {
        "0.0.0.0" | "" => "127.0.0.1".to_owned(),
        "::" => "::1".to_owned(),
        host => host.to_owned(),
    }
}

/// `NAME=value` a line; blank lines and those that begin with `#` say nothing, and quotes around a value are taken off.
fn read_env_file(path: &Path) -> Result<Vec<(OsString, OsString)>, DescribeError> {
    let shown = || path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| DescribeError::EnvFile {
        path: shown(),
        error,
    })?;
    let mut variables = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((name, value)) = line.split_once('=') else {
            return Err(DescribeError::EnvLine {
                path: shown(),
                line: at + 1,
            });
        };
        variables.push((name.trim().into(), unquote(value.trim()).into()));
    }
    Ok(variables)
}

fn unquote(value: &str) -> &str {
    let inside = |quote: char| {
        value
            .strip_prefix(quote)
            .and_then(|rest| rest.strip_suffix(quote))
    };
    inside('"').or_else(|| inside('\'')).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn env_files() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            file.path(),
            "# comment\n\nA=1\nexport B = \"two words\"\nC='x=y'\n",
        )
        .unwrap();
        let variables = read_env_file(file.path()).unwrap();
        let expected = [("A", "1"), ("B", "two words"), ("C", "x=y")];
        assert_eq!(
            variables,
            expected.map(|(name, value)| (name.into(), value.into()))
        );

        std::fs::write(file.path(), "A=1\nnonsense\n").unwrap();
        let error = read_env_file(file.path()).unwrap_err().to_string();
        assert!(error.ends_with(":2: not NAME=value"), "{error}");
    }
}
