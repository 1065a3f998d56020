//! Control groups of version 2, cgroups(7), where a folder of them is ours to use: each process of a pool gets one.
//!
//! A process cannot leave its group, and neither can what it starts. So everything that is left of a worker is found and ended for
//! certain, and the kernel counts its memory. Without a folder nothing here is used, and `orphans` does the same by descent.

#![expect(
    unsafe_code,
    reason = "getxattr(2), which the standard library does not have"
)]

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};
use serde::{Deserialize, Serialize};

use super::memory::number;

/// The mark of systemd.exec(5)'s `Delegate=`, which says that a folder is left to the service.
const DELEGATED: [&str; 2] = ["user.delegate", "trusted.delegate"];

/// A folder in which this process may make groups.
#[derive(Clone, Debug)]
pub struct Groups {
    folder: PathBuf,
    counts_memory: bool,
}

/// The group of one process and all that it starts.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Group {
    folder: PathBuf,
}

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the control group {}: {reason}", folder.display())]
pub struct GroupsError {
    folder: PathBuf,
    reason: String,
}

impl Groups {
    /// The group that this process is in, if the service manager or the container's engine has left it to us. A root process could
    /// write everywhere, into what belongs to the service manager too: being able to is not enough.
    pub fn delegated() -> Option<Groups> {
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let root = mount_point(&fs::read_to_string("/proc/self/mountinfo").ok()?)?;
        let mut folder = root.join(path);
        // where this process has gone to make room, before it was replaced by exec(2)
        if folder.ends_with(daemons_own()) {
            folder.pop();
        }
        // the root of the machine has no such file; that of a container, which looks the same by its path, has
        let is_containers = path.is_empty() && folder.join("cgroup.events").exists();
        if !is_containers && !is_marked(&folder) {
            return None;
        }
        Groups::within(&folder).ok()
    }

    /// The folder that was named for it.
    ///
    /// # Errors
    /// [`GroupsError`]: it is none, or may not be written.
    pub fn within(folder: &Path) -> Result<Groups, GroupsError> {
        let failed = |reason: String| GroupsError {
            folder: folder.to_owned(),
            reason,
        };
        if !folder.join("cgroup.procs").exists() || !folder.join("cgroup.controllers").exists() {
            return Err(failed("is none of version 2".to_owned()));
        }
        for path in [folder.to_owned(), folder.join("cgroup.procs")] {
            access(&path, AccessFlags::W_OK)
                .map_err(|errno| failed(super::reason(&errno.into())))?;
        }
        // of a daemon that was killed; those that are in use cannot be removed
        for old in subfolders(folder) {
            let _ = fs::remove_dir(old);
        }
        Ok(Groups {
            folder: folder.to_owned(),
            counts_memory: count_memory(folder),
        })
    }

    /// Where they are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether the kernel counts their memory.
    pub fn counts_memory(&self) -> bool {
        self.counts_memory
    }

    /// Those of the daemon `pid` in a folder, for one that was killed.
    pub fn left(folder: &Path, pid: u32) -> Vec<Group> {
        let all = subfolders(folder).into_iter();
        let its_own = all.filter(|folder| {
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            // not the one that it, and who survives it, may be in
            name.ends_with(&format!(".{pid}")) && name != format!("daemon.{pid}")
        });
        its_own.map(|folder| Group { folder }).collect()
    }

    /// A new group for the process of a pool in a slot, named so that `systemd-cgls` can be read, and so that another daemon with the
    /// same folder has another one.
    ///
    /// # Errors
    /// Those of mkdir(2).
    pub fn create(&self, pool: &str, slot: u32) -> io::Result<Group> {
        let name = format!("{pool}.{slot}.{}", std::process::id());
        let folder = self.folder.join(name);
        match fs::create_dir(&folder) {
            // what was left there could not be killed
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(Group { folder }),
        }
    }
}

impl Group {
    /// The file that a process enters by.
    pub fn entrance(&self) -> PathBuf {
        self.folder.join("cgroup.procs")
    }

    /// The processes in it and in the groups that they may have made below. None of them has ended.
    pub fn processes(&self) -> Vec<u32> {
        let mut all = Vec::new();
        let mut todo = vec![self.folder.clone()];
        while let Some(folder) = todo.pop() {
            let list = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
            all.extend(list.lines().flat_map(str::parse::<u32>));
            todo.extend(subfolders(&folder));
        }
        all
    }

    /// Kills everything in it, in one step before anything can fork.
    ///
    /// # Errors
    /// `NotFound` before Linux 5.14.
    pub fn kill(&self) -> io::Result<()> {
        fs::write(self.folder.join("cgroup.kill"), "1")
    }

    /// The memory of all in it, in bytes, without what the kernel only keeps of files; `None` if nobody counts.
    pub fn memory(&self) -> Option<u64> {
        let all = number(&self.folder.join("memory.current"))?;
        let stat = fs::read_to_string(self.folder.join("memory.stat")).ok()?;
        Some(all.saturating_sub(value(&stat, "active_file") + value(&stat, "inactive_file")))
    }

    /// How many of its processes the kernel has killed for want of memory; `None` if nobody counts.
    pub fn oom_kills(&self) -> Option<u64> {
        let events = fs::read_to_string(self.folder.join("memory.events")).ok()?;
        Some(value(&events, "oom_kill"))
    }

    /// Removes it, now that it is empty. One that is not stays, for the next start to remove.
    pub fn remove(self) {
        fn remove(folder: &Path) {
            for below in subfolders(folder) {
                remove(&below);
            }
            let _ = fs::remove_dir(folder);
        }
        remove(&self.folder);
    }
}

/// A line `NAME NUMBER` of the kernel's; 0 where there is none.
fn value(text: &str, name: &str) -> u64 {
    let values = text.lines().filter_map(|line| line.split_once(' '));
    let found = values.filter(|(known, _)| *known == name).map(|(_, it)| it);
    found.flat_map(str::parse).next().unwrap_or(0)
}

/// Has the kernel count the memory of the groups in a folder. A group in which others do so may hold no processes itself: this one
/// goes into one beside them.
fn count_memory(folder: &Path) -> bool {
    let says = |file: &str| {
        let text = fs::read_to_string(folder.join(file)).unwrap_or_default();
        text.split_whitespace().any(|name| name == "memory")
    };
    if says("cgroup.subtree_control") {
        return true;
    }
    if !says("cgroup.controllers") {
        return false;
    }
    let own = std::process::id().to_string();
    let inside = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    if inside.lines().any(|pid| pid == own) {
        let daemon = folder.join(daemons_own());
        // where it fails, so does the next step, which is the one that counts
        let _ = fs::create_dir(&daemon);
        let _ = fs::write(daemon.join("cgroup.procs"), "0");
    }
    fs::write(folder.join("cgroup.subtree_control"), "+memory").is_ok()
}

/// The name of the group that the daemon itself goes to.
fn daemons_own() -> String {
    format!("daemon.{}", std::process::id())
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// Where version 2 is mounted, proc_pid_mountinfo(5): `/sys/fs/cgroup`, or beside version 1 `/sys/fs/cgroup/unified`.
fn mount_point(mounts: &str) -> Option<PathBuf> {
    let mut lines = mounts.lines().filter_map(|line| line.split_once(" - "));
    let (place, _) = lines.find(|(_, kind)| kind.starts_with("cgroup2 "))?;
    place.split(' ').nth(4).map(PathBuf::from)
}

fn is_marked(folder: &Path) -> bool {
    let Ok(path) = CString::new(folder.as_os_str().as_bytes()) else {
        return false;
    };
    DELEGATED.into_iter().any(|name| {
        let Ok(name) = CString::new(name) else {
            return false;
        };
        let mut value = [0_u8; 8];
        // SAFETY: both names end with a zero, and the kernel writes no more than the length that it is told.
        let length = unsafe {
            libc::getxattr(
                path.as_ptr(),
                name.as_ptr(),
                value.as_mut_ptr().cast(),
                value.len(),
            )
        };
        length == 1 && value[0] == b'1'
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_formats() {
        let events = "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n";
        assert_eq!(value(events, "oom_kill"), 2);
        assert_eq!(value(events, "nothing"), 0);
        let mounts = "24 1 0:21 / /proc rw - proc proc rw\n\
                      42 31 0:37 / /sys/fs/cgroup/unified rw,relatime shared:5 - cgroup2 cgroup2 rw\n";
        let unified = Path::new("/sys/fs/cgroup/unified");
        assert_eq!(mount_point(mounts).as_deref(), Some(unified));
        assert_eq!(mount_point("24 1 0:21 / /proc rw - proc proc rw\n"), None);
    }

    #[test]
    fn a_folder_that_is_none_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = Groups::within(folder.path()).unwrap_err().to_string();
        assert!(error.ends_with("is none of version 2"), "{error}");
    }
}
