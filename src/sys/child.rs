#![expect(
    unsafe_code,
    reason = "what a worker must be before it executes its program cannot be said in safe code"
)]
//! Starts a worker process: its own session, its output on one pipe, and no way to outlive the daemon.
//!
//! Everything is prepared before the child is there. Until it executes its program it runs in the daemon's own memory
//! (`launch`): only system calls are made there, on plain values, that affect the calling process alone.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::fs::{self, Metadata};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use libc::c_int;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::resource::getrlimit;
use nix::unistd::pipe2;

pub use super::launch::{Exit, is_awaited};
use super::launch::{Program, launch};
use super::user::Ids;
use super::{net, reason};
use crate::config::{Limit, Limits, Resource};

/// What to start. Nothing is looked up or filled in any more.
#[derive(Clone, Debug, Default)]
pub struct Spec {
    /// The command and its arguments; never empty. A first word without a slash is looked for in the `PATH` of `env`.
    pub argv: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// The working directory, absolute; the daemon's own where there is none.
    pub cwd: Option<PathBuf>,
    /// Whom it runs as, from [`resolve`](super::user::resolve); `None` changes nothing.
    pub ids: Option<Ids>,
    /// The file mode creation mask; `None` leaves the daemon's.
    pub umask: Option<u32>,
    /// The scheduling priority, -20 to 19; `None` leaves the daemon's.
    pub nice: Option<i32>,
    /// Resource limits.
    pub limits: Limits,
    /// Whether its stderr has a pipe of its own.
    pub stderr_apart: bool,
    /// The `cgroup.procs` of the control group that it begins in.
    pub group: Option<PathBuf>,
    /// Whether nothing that it executes may gain privileges.
    pub no_new_privileges: bool,
}

/// A process that has been started.
#[derive(Debug)]
pub struct Child {
    /// Its id, which is its process group's and its session's too.
    pub pid: u32,
    /// The read end of its stdout and stderr: non-blocking, close-on-exec.
    pub output: OwnedFd,
    /// The same of its stderr alone, where that was asked for.
    pub errors: Option<OwnedFd>,
    /// Its end.
    pub exit: Exit,
}

/// Why a process could not be started, as the user should read it.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// The first word is in no folder of `PATH`.
    #[error("cannot start \"{command}\": no command {program:?} in PATH")]
    NoCommand {
        /// The command line.
        command: String,
        /// Its first word.
        program: String,
    },
    /// The first word is a path, and there is nothing.
    #[error("cannot start \"{command}\": {program} does not exist")]
    NoFile {
        /// The command line.
        command: String,
        /// The path.
        program: String,
    },
    /// It is a script for something that is not installed, or a program whose loader is missing.
    #[error(
        "cannot start \"{command}\": the interpreter that {program} names in its first line does not exist"
    )]
    NoInterpreter {
        /// The command line.
        command: String,
        /// The script.
        program: String,
    },
    /// The first word is the path of a folder.
    #[error("cannot start \"{command}\": {program} is a folder")]
    Folder {
        /// The command line.
        command: String,
        /// The path.
        program: String,
    },
    /// It may not be executed by that user.
    #[error("cannot start \"{command}\": {program}: permission denied (is it executable?)")]
    NotExecutable {
        /// The command line.
        command: String,
        /// The file.
        program: String,
    },
    /// The working directory is not there.
    #[error("working directory {} does not exist", .0.display())]
    NoDirectory(PathBuf),
    /// The working directory cannot be entered.
    #[error("working directory {}: {reason}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A step before the program itself failed: a limit, the priority, the user.
    #[error("cannot start \"{command}\": cannot {what}: {reason}")]
    Step {
        /// The command line.
        command: String,
        /// What was tried.
        what: String,
        /// Why it failed.
        reason: String,
    },
    /// Anything else, with the system's own words.
    #[error("cannot start \"{command}\": {reason}")]
    Other {
        /// The command line.
        command: String,
        /// Why.
        reason: String,
    },
}

/// Starts a process: in a session and process group of its own, stdin `/dev/null`, stdout and stderr on one pipe or one each, default signal
/// dispositions, no other descriptor. It is killed when the daemon dies.
///
/// Call it from *one thread that lives as long as the daemon*, within a tokio runtime. The kernel ties `PR_SET_PDEATHSIG` to the
/// thread that forked: workers started from a pool of threads would be killed when their thread is retired. The call takes some tenths
/// of a millisecond, however large the daemon is, until the child has executed its program or failed to.
///
/// # Errors
/// [`SpawnError`]; nothing is left behind.
///
/// # Panics
/// Outside of a tokio runtime.
pub fn spawn(spec: &Spec) -> Result<Child, SpawnError> {
    let program = find_program(spec)?;
    let failed = |error: io::Error| explain(spec, &program, &error);
    let setup = Setup::prepare(spec).map_err(failed)?;

    let (output, input) = pipe().map_err(failed)?;
    let (errors, second) = match spec.stderr_apart {
        true => pipe().map(|(errors, second)| (Some(errors), Some(second))),
        false => Ok((None, None)),
    }
    .map_err(failed)?;
    let nothing = File::open("/dev/null").map_err(failed)?;
    let descriptors = [
        nothing.as_fd(),
        input.as_fd(),
        second.as_ref().unwrap_or(&input).as_fd(),
    ];
    let execution = Program::new(&program, &spec.argv, &spec.env).map_err(failed)?;
    // SAFETY: `apply` makes system calls on values prepared here, and those that change the user by themselves, not through the C library
    let exit = unsafe { launch(&execution, descriptors, &|| setup.apply()) }.map_err(failed)?;
    Ok(Child {
        pid: exit.pid(),
        output,
        errors,
        exit,
    })
}

/// Descriptors that processes leave to the daemon itself: for its commands, which say why no more are started, and for the logs.
const DESCRIPTORS_KEPT: RawFd = 32;

/// A pipe whose reading end does not wait. The flag belongs to that end alone: the worker's writes still wait for room.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    // A new descriptor has the lowest number that is free, so this says how many are taken.
    let (limit, _) = getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)?;
    if limit < (writer.as_raw_fd() + DESCRIPTORS_KEPT) as u64 {
        return Err(Errno::EMFILE.into());
    }
    fcntl(&reader, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok((reader, writer))
}

/// What the child does to itself, as plain values.
struct Setup {
    /// The daemon, to notice that it died before the child could ask to be told.
    parent: libc::pid_t,
    limits: Vec<(Resource, libc::rlimit)>,
    nice: Option<c_int>,
    umask: Option<libc::mode_t>,
    ids: Option<(libc::uid_t, libc::gid_t, Vec<libc::gid_t>)>,
    cwd: Option<CString>,
    group: Option<CString>,
    no_new_privileges: bool,
}

/// What can fail before the program is executed.
///
/// The parent is handed one number from there, an errno. The step travels in its upper half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Exec,
    Session,
    ControlGroup,
    Limit(Resource),
    Nice,
    Groups,
    Group,
    User,
    Directory,
    Privileges,
    Parent,
}

impl Step {
    /// All but the limits, whose numbers come after theirs.
    const ALL: [Step; 10] = [
        Step::Exec,
        Step::Session,
        Step::ControlGroup,
        Step::Nice,
        Step::Groups,
        Step::Group,
        Step::User,
        Step::Directory,
        Step::Privileges,
        Step::Parent,
    ];

    fn number(self) -> i32 {
        let place = match self {
            Step::Limit(resource) => {
                let place = Resource::ALL.iter().position(|&it| it == resource);
                place.map(|place| Step::ALL.len() + place)
            }
            step => Step::ALL.iter().position(|&it| it == step),
        };
        place.map_or(0, |place| place as i32)
    }

    fn from_number(number: i32) -> Option<Step> {
        let number = usize::try_from(number).ok()?;
        let resource = || {
            let resource = Resource::ALL.get(number.checked_sub(Step::ALL.len())?)?;
            Some(Step::Limit(*resource))
        };
        Step::ALL.get(number).copied().or_else(resource)
    }

    /// Success of a system call, or its errno with this step.
    fn check(self, result: c_int) -> io::Result<()> {
        if result != -1 {
            return Ok(());
        }
        Err(io::Error::from_raw_os_error(
            Errno::last_raw() | self.number() << 16,
        ))
    }

    /// The two halves of what [`Step::check`] made.
    fn split(error: &io::Error) -> (Step, io::Error) {
        let code = error.raw_os_error().unwrap_or(libc::EIO);
        (
            Step::from_number(code >> 16).unwrap_or(Step::Exec),
            io::Error::from_raw_os_error(code & 0xffff),
        )
    }
}

impl Setup {
    fn prepare(spec: &Spec) -> io::Result<Setup> {
        let cwd = match &spec.cwd {
            Some(path) => Some(CString::new(path.as_os_str().as_bytes())?),
            None => None,
        };
        let group = match &spec.group {
            Some(path) => Some(CString::new(path.as_os_str().as_bytes())?),
            None => None,
        };
        Ok(Setup {
            group,
            no_new_privileges: spec.no_new_privileges,
            parent: nix::unistd::getpid().as_raw(),
            limits: limits(&spec.limits),
            nice: spec.nice,
            umask: spec.umask,
            ids: spec
                .ids
                .as_ref()
                .map(|ids| (ids.uid, ids.gid, ids.groups.clone())),
            cwd,
        })
    }

    /// Runs in the child. The descriptors are in place; next the signal mask is emptied and the program executed.
    fn apply(&self) -> io::Result<()> {
        // SAFETY: system calls whose pointers are to values that live in `self` or on the stack.
        unsafe {
            Step::Session.check(libc::setsid())?;
            if let Some(group) = &self.group {
                let entrance = libc::open(group.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
                Step::ControlGroup.check(entrance)?;
                // itself, whatever its number is in this namespace
                let written = libc::write(entrance, c"0".as_ptr().cast(), 1);
                Step::ControlGroup.check(if written == 1 { 0 } else { -1 })?;
                libc::close(entrance);
            }
            // exec resets caught signals but keeps ignored ones, as nohup and the standard library's SIGPIPE leave them. Numbers that
            // cannot be changed, or that libc keeps for itself, answer EINVAL.
            for number in 1..=64 {
                libc::signal(number, libc::SIG_DFL);
            }
            // What the daemon inherited itself, from a shell or a service manager, was not opened close-on-exec. Kernels before 5.11
            // do not know the call.
            libc::syscall(
                libc::SYS_close_range,
                3,
                libc::c_uint::MAX,
                libc::CLOSE_RANGE_CLOEXEC,
            );
            for (resource, value) in &self.limits {
                let result = libc::setrlimit(number(*resource), value);
                Step::Limit(*resource).check(result)?;
            }
            if let Some(nice) = self.nice {
                Step::Nice.check(libc::setpriority(libc::PRIO_PROCESS, 0, nice))?;
            }
            if let Some(umask) = self.umask {
                libc::umask(umask);
            }
            if let Some((uid, gid, groups)) = &self.ids {
                // The C library's functions would change all threads of the daemon, whose memory this is.
                let result = libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr());
                Step::Groups.check(result as c_int)?;
                Step::Group.check(libc::syscall(libc::SYS_setgid, *gid) as c_int)?;
                Step::User.check(libc::syscall(libc::SYS_setuid, *uid) as c_int)?;
            }
            if let Some(cwd) = &self.cwd {
                Step::Directory.check(libc::chdir(cwd.as_ptr()))?;
            }
            if self.no_new_privileges {
                Step::Privileges.check(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
            }
            // After setuid, which clears it.
            Step::Parent.check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
            if libc::getppid() != self.parent {
                // The daemon died before the line above, and would not be heard of any more.
                libc::_exit(1);
            }
        }
        Ok(())
    }
}

/// The system's own number, setrlimit(2). Called between fork and exec.
const fn number(resource: Resource) -> libc::__rlimit_resource_t {
    match resource {
        Resource::Nofile => libc::RLIMIT_NOFILE,
        Resource::Nproc => libc::RLIMIT_NPROC,
        Resource::Core => libc::RLIMIT_CORE,
        Resource::AddressSpace => libc::RLIMIT_AS,
        Resource::Cpu => libc::RLIMIT_CPU,
        Resource::Data => libc::RLIMIT_DATA,
        Resource::Stack => libc::RLIMIT_STACK,
        Resource::Fsize => libc::RLIMIT_FSIZE,
        Resource::Memlock => libc::RLIMIT_MEMLOCK,
    }
}

fn limits(limits: &Limits) -> Vec<(Resource, libc::rlimit)> {
    let hard_of = |resource| {
        let mut own = libc::rlimit {
            rlim_cur: 0,
            rlim_max: libc::RLIM_INFINITY,
        };
        // SAFETY: the pointer is to a value on the stack.
        unsafe { libc::getrlimit(number(resource), &mut own) };
        own.rlim_max
    };
    let mut all: Vec<_> = limits
        .0
        .iter()
        .map(|(&resource, limit)| {
            let hard = limit.hard.unwrap_or_else(|| hard_of(resource));
            let soft = limit.soft.unwrap_or(hard);
            let value = libc::rlimit {
                rlim_cur: soft,
                rlim_max: hard,
            };
            (resource, value)
        })
        .collect();
    if !limits.0.contains_key(&Resource::Nofile)
        && let Some(soft) = net::inherited_descriptor_limit()
    {
        let hard = hard_of(Resource::Nofile);
        let restored = libc::rlimit {
            rlim_cur: soft.min(hard),
            rlim_max: hard,
        };
        all.push((Resource::Nofile, restored));
    }
    all
}

/// The file that the first word means. Looked for here and not by execvp(3), whose one ENOENT stands for four different mistakes.
fn find_program(spec: &Spec) -> Result<PathBuf, SpawnError> {
    let Some(first) = spec.argv.first() else {
        unreachable!("a command has a first word");
    };
    if first.as_bytes().contains(&b'/') {
        return Ok(PathBuf::from(first));
    }
    let path = spec
        .env
        .iter()
        .rev()
        .find(|(name, _)| name == "PATH")
        .map_or_else(
            || OsString::from("/usr/local/bin:/usr/bin:/bin"),
            |(_, value)| value.clone(),
        );
    let start = spec.cwd.as_deref().unwrap_or(Path::new(""));
    let mut forbidden = None;
    for folder in path.as_bytes().split(|&byte| byte == b':') {
        let folder = start.join(OsString::from_vec(folder.to_vec()));
        let candidate = folder.join(first);
        match fs::metadata(&candidate) {
            Ok(found) if is_executable(&found) => return Ok(absolute(candidate)),
            Ok(found) if found.is_file() => forbidden = Some(candidate),
            _ => {}
        }
    }
    Err(match forbidden {
        Some(program) => SpawnError::NotExecutable {
            command: command_line(spec),
            program: program.display().to_string(),
        },
        None => SpawnError::NoCommand {
            command: command_line(spec),
            program: first.to_string_lossy().into_owned(),
        },
    })
}

fn is_executable(file: &Metadata) -> bool {
    file.is_file() && file.permissions().mode() & 0o111 != 0
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// The command as it reads in a message.
fn command_line(spec: &Spec) -> String {
    const SHOWN: usize = 200;
    let words: Vec<_> = spec
        .argv
        .iter()
        .map(|word| word.to_string_lossy())
        .collect();
    let line = words.join(" ");
    match line.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn explain(spec: &Spec, program: &Path, error: &io::Error) -> SpawnError {
    let command = command_line(spec);
    let (step, cause) = Step::split(error);
    let why = reason(&cause);
    let failed_to = |what: String| SpawnError::Step {
        command: command_line(spec),
        what,
        reason: why.clone(),
    };
    match step {
        Step::Exec => explain_exec(spec, program, &cause, command),
        Step::Session => failed_to("begin a session".to_owned()),
        Step::ControlGroup => failed_to("enter its control group".to_owned()),
        Step::Limit(resource) => failed_to(describe_limit(resource, &spec.limits)),
        Step::Privileges => failed_to("give up new privileges".to_owned()),
        Step::Nice => failed_to(format!("set nice {}", spec.nice.unwrap_or_default())),
        Step::Groups | Step::Group | Step::User => {
            let ids = spec.ids.as_ref();
            let name = ids.map(|ids| match &ids.name {
                Some(name) => name.clone(),
                None => ids.uid.to_string(),
            });
            failed_to(format!("become user {:?}", name.unwrap_or_default()))
        }
        Step::Directory => {
            let path = spec.cwd.clone().unwrap_or_default();
            match cause.raw_os_error() {
                Some(libc::ENOENT) => SpawnError::NoDirectory(path),
                _ => SpawnError::Directory { path, reason: why },
            }
        }
        Step::Parent => failed_to("tie it to the daemon".to_owned()),
    }
}

fn explain_exec(spec: &Spec, program: &Path, cause: &io::Error, command: String) -> SpawnError {
    let shown = program.display().to_string();
    let file = spec.cwd.as_deref().unwrap_or(Path::new("")).join(program);
    match cause.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR) if fs::metadata(&file).is_err() => SpawnError::NoFile {
            command,
            program: shown,
        },
        Some(libc::ENOENT) => SpawnError::NoInterpreter {
            command,
            program: shown,
        },
        Some(libc::EACCES) if file.is_dir() => SpawnError::Folder {
            command,
            program: shown,
        },
        Some(libc::EACCES) => SpawnError::NotExecutable {
            command,
            program: shown,
        },
        _ => SpawnError::Other {
            command,
            reason: reason(cause),
        },
    }
}

fn describe_limit(resource: Resource, limits: &Limits) -> String {
    let name = resource.name();
    let Some(limit) = limits.0.get(&resource) else {
        return format!("restore limit {name}");
    };
    let value = match limit.hard.or(limit.soft) {
        None => "max".to_owned(),
        Some(Limit::UNLIMITED) => "unlimited".to_owned(),
        Some(value) => value.to_string(),
    };
    format!("set limit {name} to {value} (only root may raise a hard limit)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_travels_with_its_errno() {
        let limits = Resource::ALL.map(Step::Limit);
        for step in Step::ALL.into_iter().chain(limits) {
            let code = libc::EPERM | step.number() << 16;
            let (back, cause) = Step::split(&io::Error::from_raw_os_error(code));
            assert_eq!(back, step);
            assert_eq!(cause.raw_os_error(), Some(libc::EPERM));
        }
        assert_eq!(
            Step::Exec.number(),
            0,
            "exec's own errno comes without a step"
        );
    }

    #[test]
    fn a_long_command_is_shown_in_part() {
        let spec = Spec {
            argv: vec!["echo".into(), "ä".repeat(500).into()],
            ..Spec::default()
        };
        let line = command_line(&spec);
        assert_eq!(line.chars().count(), 201);
        assert!(line.starts_with("echo ää") && line.ends_with('…'));
    }
}
