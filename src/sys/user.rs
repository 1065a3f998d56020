//! Names of users and groups → the numbers that a process runs with.
//!
//! Looked up when a process is started, in the parent: the name service may allocate, lock and open sockets, which is forbidden
//! between fork and exec.

use std::ffi::CString;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, lchown};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Group, Uid, User, geteuid, getgrouplist, getuid};

/// Whom a process runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids {
    /// The user.
    pub uid: u32,
    /// The primary group.
    pub gid: u32,
    /// All groups that it gets, the primary one among them.
    pub groups: Vec<u32>,
    /// The user's name, for `USER` and `LOGNAME`; `None` where only a number is known.
    pub name: Option<String>,
    /// The user's home, for `HOME`.
    pub home: Option<PathBuf>,
}

/// Why a process cannot run as that user or group.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ResolveError {
    /// Neither a known name nor a number.
    #[error("there is no user {0:?} on this machine")]
    NoUser(String),
    /// Neither a known name nor a number.
    #[error("there is no group {0:?} on this machine")]
    NoGroup(String),
    /// The daemon is not root, and the user is not its own.
    #[error("only root can run workers as user {0:?}")]
    OnlyRootUser(String),
    /// The daemon is not root, and the group is not its own.
    #[error("only root can run workers as group {0:?}")]
    OnlyRootGroup(String),
}

/// Looks up `user` and `group`, names or numbers. `None` when nothing has to change: nothing is asked for, or a daemon that is not
/// root is asked for what it is already.
///
/// # Errors
/// [`ResolveError`], each naming the user or group.
pub fn resolve(user: Option<&str>, group: Option<&str>) -> Result<Option<Ids>, ResolveError> {
    let own = Own {
        uid: getuid().as_raw(),
        gid: nix::unistd::getgid().as_raw(),
        root: geteuid().is_root(),
    };
    resolve_for(&own, user, group)
}

/// The user that this process acts as.
pub fn effective() -> u32 {
    geteuid().as_raw()
}

/// Makes this process run as a user for good, with the user's groups: what `-u` asks for, before any thread is started.
///
/// # Errors
/// A sentence: there is no such user, or only root may do that.
pub fn become_user(name: &str) -> Result<(), ResolveError> {
    let Some(ids) = resolve(Some(name), None)? else {
        return Ok(());
    };
    let refused = |_| ResolveError::OnlyRootUser(name.to_owned());
    let groups: Vec<Gid> = ids.groups.iter().map(|&gid| Gid::from_raw(gid)).collect();
    // the groups first: once the user is changed, nothing else may be
    nix::unistd::setgroups(&groups).map_err(refused)?;
    nix::unistd::setgid(Gid::from_raw(ids.gid)).map_err(refused)?;
    nix::unistd::setuid(Uid::from_raw(ids.uid)).map_err(refused)
}

/// Gives the state folder to the user that root is about to become: makes it where it is missing, and takes over what a daemon of
/// another user has left in it. A folder that is in use for something else, which has no `lock` in it, stays as it is.
///
/// # Errors
/// Those of mkdir(2) and chown(2).
pub fn hand_over(folder: &Path, name: &str) -> io::Result<()> {
    // of a user that cannot be, `become_user` will say why
    let Ok(Some(ids)) = resolve(Some(name), None) else {
        return Ok(());
    };
    let is_new = !folder.exists();
    if is_new {
        DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(folder)?;
    }
    if is_new || folder.join("lock").is_file() {
        give(folder, &ids)?;
    }
    Ok(())
}

fn give(path: &Path, ids: &Ids) -> io::Result<()> {
    let about = fs::symlink_metadata(path)?;
    if about.is_dir() {
        for entry in fs::read_dir(path)? {
            give(&entry?.path(), ids)?;
        }
    }
    match (about.uid(), about.gid()) == (ids.uid, ids.gid) {
        true => Ok(()),
        false => lchown(path, Some(ids.uid), Some(ids.gid)),
    }
}

/// What this process is.
struct Own {
    uid: u32,
    gid: u32,
    root: bool,
}

fn resolve_for(
    own: &Own,
    user: Option<&str>,
    group: Option<&str>,
) -> Result<Option<Ids>, ResolveError> {
    if user.is_none() && group.is_none() {
        return Ok(None);
    }
    let mut ids = match user {
        Some(name) => look_up_user(name)?,
        None => Ids {
            uid: own.uid,
            gid: own.gid,
            groups: vec![own.gid],
            name: None,
            home: None,
        },
    };
    if let Some(name) = group {
        let gid = look_up_group(name)?;
        if user.is_none() {
            ids.groups.clear();
        }
        ids.gid = gid;
        if !ids.groups.contains(&gid) {
            ids.groups.push(gid);
        }
    }
    if own.root {
        return Ok(Some(ids));
    }
    match (user, group) {
        (Some(user), _) if ids.uid != own.uid => Err(ResolveError::OnlyRootUser(user.to_owned())),
        (_, Some(group)) if ids.gid != own.gid => {
            Err(ResolveError::OnlyRootGroup(group.to_owned()))
        }
        _ => Ok(None),
    }
}

fn look_up_user(name: &str) -> Result<Ids, ResolveError> {
    let missing = || ResolveError::NoUser(name.to_owned());
    let number = name.parse::<u32>().ok();
    let known = match (User::from_name(name), number) {
        (Ok(Some(user)), _) => Some(user),
        (_, Some(uid)) => User::from_uid(Uid::from_raw(uid)).ok().flatten(),
        _ => return Err(missing()),
    };
    let Some(user) = known else {
        // A number without a name is common in containers. Its group has the same number there, or is given with `group`.
        let uid = number.ok_or_else(missing)?;
        return Ok(Ids {
            uid,
            gid: uid,
            groups: vec![uid],
            name: None,
            home: None,
        });
    };
    let groups = CString::new(user.name.as_str())
        .ok()
        .and_then(|name| getgrouplist(&name, user.gid).ok())
        .unwrap_or_else(|| vec![user.gid]);
    Ok(Ids {
        uid: user.uid.as_raw(),
        gid: user.gid.as_raw(),
        groups: groups.into_iter().map(Gid::as_raw).collect(),
        name: Some(user.name),
        home: Some(user.dir),
    })
}

fn look_up_group(name: &str) -> Result<u32, ResolveError> {
    match (Group::from_name(name), name.parse()) {
        (Ok(Some(group)), _) => Ok(group.gid.as_raw()),
        (_, Ok(gid)) => Ok(gid),
        _ => Err(ResolveError::NoGroup(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: Own = Own {
        uid: 0,
        gid: 0,
        root: true,
    };
    const NOBODY: Own = Own {
        uid: 65534,
        gid: 65534,
        root: false,
    };

    #[test]
    fn names_and_numbers() {
        let ids = resolve_for(&ROOT, Some("www-data"), None).unwrap().unwrap();
        assert_eq!((ids.uid, ids.gid), (33, 33));
        assert!(ids.groups.contains(&33));
        assert_eq!(ids.name.as_deref(), Some("www-data"));
        assert_eq!(resolve_for(&ROOT, Some("33"), None).unwrap().unwrap(), ids);
        let unnamed = resolve_for(&ROOT, Some("54321"), Some("tty")).unwrap();
        let unnamed = unnamed.unwrap();
        assert_eq!((unnamed.uid, unnamed.gid), (54321, 5));
        let group_only = resolve_for(&ROOT, None, Some("tty")).unwrap().unwrap();
        assert_eq!(
            (group_only.uid, group_only.gid, group_only.groups),
            (0, 5, vec![5])
        );
    }

    #[test]
    fn what_is_asked_for_already_changes_nothing() {
        assert_eq!(resolve_for(&ROOT, None, None), Ok(None));
        assert_eq!(resolve_for(&NOBODY, Some("nobody"), None), Ok(None));
        assert_eq!(resolve_for(&NOBODY, None, Some("nogroup")), Ok(None));
    }

    #[test]
    fn errors_name_the_user() {
        let text = |own, user, group| resolve_for(own, user, group).unwrap_err().to_string();
        assert_eq!(
            text(&NOBODY, Some("www-data"), None),
            "only root can run workers as user \"www-data\""
        );
        assert_eq!(
            text(&NOBODY, None, Some("tty")),
            "only root can run workers as group \"tty\""
        );
        assert_eq!(
            text(&ROOT, Some("no-such-user"), None),
            "there is no user \"no-such-user\" on this machine"
        );
        assert_eq!(
            text(&ROOT, None, Some("no-such-group")),
            "there is no group \"no-such-group\" on this machine"
        );
    }
}
