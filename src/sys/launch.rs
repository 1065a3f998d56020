#![expect(
    unsafe_code,
    reason = "a child that borrows the parent's memory until it executes its program: clone(2) as vfork(2), and waitpid(2)"
)]
//! Starting a process at the same price however large the daemon is, and waiting for its end.
//!
//! fork(2) copies the tables of all memory: with a gigabyte of jobs that alone takes tens of milliseconds, and every page that the
//! daemon writes afterwards is copied too. So the child here is given none of its own, but borrows the daemon's until it executes its
//! program, while the thread that made it waits: `CLONE_VM | CLONE_VFORK`, as posix_spawn(3) does it, which cannot do what a worker
//! needs besides.
//!
//! Nor does it copy the table of descriptors, only to close thousands of connections one by one when it executes its program. It begins
//! with the daemon's own (`CLONE_FILES`) and takes the lowest few with it, among which is what it needs (`CLOSE_RANGE_UNSHARE`).
//!
//! The child writes to the daemon's memory whatever it writes to memory, on a stack of its own. All signals are blocked meanwhile, so
//! that no handler of the daemon runs in it.

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, OsString};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use libc::{c_char, c_int, c_void};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What the child may have on its stack. It makes some system calls and no more.
const STACK: usize = 64 << 10;

/// A file without a first line that names an interpreter is a shell script, execvp(3).
const SHELL: &CStr = c"/bin/sh";

/// Descriptors of low numbers, kept from the first start on: each child finds what becomes its 0, 1 and 2 there. They are `/dev/null` in
/// between.
static LOW: Mutex<Option<[File; 3]>> = Mutex::new(None);

/// What is executed.
pub(super) struct Program {
    path: CString,
    argv: Vec<CString>,
    env: Vec<CString>,
}

impl Program {
    /// # Errors
    /// A word with a zero byte.
    pub(super) fn new(
        path: &Path,
        argv: &[OsString],
        env: &[(OsString, OsString)],
    ) -> io::Result<Program> {
        let argv = argv.iter().map(|word| CString::new(word.as_bytes()));
        let env = env
            .iter()
            .map(|(name, value)| CString::new([name.as_bytes(), b"=", value.as_bytes()].concat()));
        Ok(Program {
            path: CString::new(path.as_os_str().as_bytes())?,
            argv: argv.collect::<Result<_, _>>()?,
            env: env.collect::<Result<_, _>>()?,
        })
    }
}

/// All that the child is given.
struct Orders<'a> {
    path: *const c_char,
    argv: *const *const c_char,
    /// For [`SHELL`].
    script: *const *const c_char,
    env: *const *const c_char,
    /// Whether the table of descriptors is still the daemon's.
    shares_descriptors: bool,
    /// [`LOW`], which become 0, 1 and 2.
    descriptors: [c_int; 3],
    prepare: &'a dyn Fn() -> io::Result<()>,
    /// What the child could not do. 0 while it could.
    failure: AtomicI32,
}

/// Starts a process whose descriptors 0, 1 and 2 are copies of these, of which the first is `/dev/null`. `prepare` runs in the child before the program is executed; an
/// error of it is returned here with its number unchanged. Returns when the program has been executed or has failed to.
///
/// # Safety
/// `prepare` must make system calls only, that affect the calling process alone: neither allocate, lock, nor write to memory that is not
/// its own. Note that setuid(2) and its kin are functions of the C library that act on all of the daemon's threads.
///
/// # Errors
/// Those of clone(2), execve(2) and `prepare`.
pub(super) unsafe fn launch(
    program: &Program,
    descriptors: [BorrowedFd<'_>; 3],
    prepare: &dyn Fn() -> io::Result<()>,
) -> io::Result<Exit> {
    let pointers = |first: &[&CStr], words: &[CString]| -> Vec<*const c_char> {
        let first = first.iter().map(|word| word.as_ptr());
        let words = words.iter().map(|word| word.as_ptr());
        first.chain(words).chain([ptr::null()]).collect()
    };
    let argv = pointers(&[], &program.argv);
    let script = pointers(
        &[SHELL, &program.path],
        program.argv.get(1..).unwrap_or_default(),
    );
    let env = pointers(&[], &program.env);
    let mut low = LOW.lock().unwrap_or_else(PoisonError::into_inner);
    let low = match &mut *low {
        Some(low) => low,
        none => {
            let nothing = || File::open("/dev/null");
            none.insert([nothing()?, nothing()?, nothing()?])
        }
    };
    put(descriptors.map(|it| it.as_raw_fd()), low)?;
    // SAFETY: numbers, and no such descriptor. Kernels before 5.9 do not know it, and old containers forbid it
    let shares_descriptors = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            libc::c_uint::MAX,
            libc::c_uint::MAX,
            0,
        ) == 0
    };
    let orders = Orders {
        shares_descriptors,
        path: program.path.as_ptr(),
        argv: argv.as_ptr(),
        script: script.as_ptr(),
        env: env.as_ptr(),
        descriptors: low.each_ref().map(AsRawFd::as_raw_fd),
        prepare,
        failure: AtomicI32::new(0),
    };
    let mut stack: Vec<MaybeUninit<u128>> = Vec::with_capacity(STACK / size_of::<u128>());
    let mut pidfd: c_int = -1;
    // SAFETY: the stack grows down from its end, which is aligned; the thread is suspended until the child has left this memory, so that
    // all that `orders` points to outlives it; and signals are blocked meanwhile
    let pid = unsafe {
        let mut all = MaybeUninit::uninit();
        let mut before = MaybeUninit::uninit();
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
        let top = stack.as_mut_ptr().add(stack.capacity());
        let mut flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD | libc::SIGCHLD;
        if shares_descriptors {
            flags |= libc::CLONE_FILES;
        }
        let pid = libc::clone(
            child,
            top.cast(),
            flags,
            (&raw const orders).cast_mut().cast(),
            &raw mut pidfd,
        );
        let error = io::Error::last_os_error();
        libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut());
        // else the pipes would never end
        let [nothing, ..] = descriptors.map(|it| it.as_raw_fd());
        let emptied = put([nothing; 3], low);
        if pid == -1 {
            return Err(error);
        }
        debug_assert!(emptied.is_ok(), "{emptied:?}");
        pid
    };
    // SAFETY: the kernel has just opened it for us; kernels before 5.2 do not know the flag and leave it
    let pidfd = (pidfd != -1).then(|| unsafe { OwnedFd::from_raw_fd(pidfd) });
    match orders.failure.load(Ordering::Acquire) {
        0 => Exit::of(pid, pidfd).inspect_err(|_| {
            // SAFETY: numbers
            unsafe { libc::kill(pid, libc::SIGKILL) };
            let _ = reap(pid, 0);
        }),
        code => {
            // it has ended, and is to leave nothing behind
            let _ = reap(pid, 0);
            Err(io::Error::from_raw_os_error(code))
        }
    }
}

/// Makes `low` copies of these.
fn put(descriptors: [c_int; 3], low: &[File; 3]) -> io::Result<()> {
    for (from, to) in descriptors.into_iter().zip(low) {
        // SAFETY: numbers; what `to` was is nobody else's
        if unsafe { libc::dup3(from, to.as_raw_fd(), libc::O_CLOEXEC) } == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// The child, from its first instruction. It does not return: what it left on the stack is nobody's.
extern "C" fn child(orders: *mut c_void) -> c_int {
    // SAFETY: `launch` keeps it until we are gone
    let orders = unsafe { &*orders.cast_const().cast::<Orders<'_>>() };
    let error = execute(orders);
    let code = error.raw_os_error().unwrap_or(libc::EIO);
    orders.failure.store(code, Ordering::Release);
    // SAFETY: it ends this process and runs nothing of the parent's
    unsafe { libc::_exit(127) }
}

/// Returns only when that failed.
fn execute(orders: &Orders<'_>) -> io::Error {
    if orders.shares_descriptors {
        let highest = orders.descriptors.into_iter().max();
        let first = highest.unwrap_or(libc::STDERR_FILENO) + 1;
        // SAFETY: numbers
        let own = unsafe {
            libc::syscall(
                libc::SYS_close_range,
                first,
                libc::c_uint::MAX,
                libc::CLOSE_RANGE_UNSHARE,
            )
        };
        if own == -1 {
            return io::Error::last_os_error();
        }
    }
    for (wanted, &descriptor) in (0..).zip(&orders.descriptors) {
        // SAFETY: numbers; the copy is not close-on-exec
        if unsafe { libc::dup2(descriptor, wanted) } == -1 {
            return io::Error::last_os_error();
        }
    }
    if let Err(error) = (orders.prepare)() {
        return error;
    }
    // SAFETY: strings and lists that `launch` keeps, each with its zero at the end
    unsafe {
        let mut none = MaybeUninit::uninit();
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
        libc::execve(orders.path, orders.argv, orders.env);
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ENOEXEC) {
            return error;
        }
        libc::execve(SHELL.as_ptr(), orders.script, orders.env);
        error
    }
}

/// The children that somebody here waits for, whom `orphans` must not reap.
static AWAITED: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// One of them, for as long as this is there.
#[derive(Debug)]
struct Awaited(u32);

impl Awaited {
    fn new(pid: u32) -> Awaited {
        awaited().insert(pid);
        Awaited(pid)
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        awaited().remove(&self.0);
    }
}

fn awaited() -> MutexGuard<'static, BTreeSet<u32>> {
    AWAITED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a child was started by [`spawn`](super::child::spawn), here or by the program before this one in this process, and its end has not been told yet.
pub fn is_awaited(pid: u32) -> bool {
    awaited().contains(&pid)
}

/// The end of a process, to be waited for. One that is dropped before is reaped when the daemon ends.
#[derive(Debug)]
pub struct Exit {
    pid: libc::pid_t,
    told_by: ToldBy,
    awaited: Option<Awaited>,
}

/// How one learns that it has ended.
#[derive(Debug)]
enum ToldBy {
    Descriptor(AsyncFd<OwnedFd>),
    /// SIGCHLD, which comes for any of them; on kernels without pidfd_open(2).
    Signal(Signal),
}

impl Exit {
    fn of(pid: libc::pid_t, pidfd: Option<OwnedFd>) -> io::Result<Exit> {
        let told_by = match pidfd {
            Some(pidfd) => {
                // SAFETY: it is open for as long as it is registered, and nobody else can close it
                let registered =
                    unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) };
                ToldBy::Descriptor(registered?)
            }
            None => ToldBy::Signal(signal(SignalKind::child())?),
        };
        Ok(Exit {
            pid,
            told_by,
            awaited: Some(Awaited::new(pid.cast_unsigned())),
        })
    }

    /// The end of a child that the program before this one in this process has started, and not reaped.
    ///
    /// # Errors
    /// Those of the runtime, which is out of descriptors.
    pub fn inherited(pid: u32) -> io::Result<Exit> {
        let pid = pid.cast_signed();
        // SAFETY: a system call on numbers
        let opened = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        let pidfd = c_int::try_from(opened).ok().filter(|&it| it >= 0);
        // SAFETY: it is new, and nobody else's
        Exit::of(pid, pidfd.map(|it| unsafe { OwnedFd::from_raw_fd(it) }))
    }

    /// The process's id.
    pub fn pid(&self) -> u32 {
        self.pid.cast_unsigned()
    }

    /// Waits until the process has ended and has been reaped, once. Cancel safe.
    ///
    /// # Errors
    /// None are known: the process is this one's child.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = reap(self.pid, libc::WNOHANG)? {
                // from now on its number may be another's
                self.awaited = None;
                return Ok(status);
            }
            match &mut self.told_by {
                ToldBy::Descriptor(pidfd) => _ = pidfd.readable().await?,
                ToldBy::Signal(signal) => _ = signal.recv().await,
            }
        }
    }
}

/// Takes the exit status, if it has ended.
fn reap(pid: libc::pid_t, options: c_int) -> io::Result<Option<ExitStatus>> {
    let mut status = 0;
    loop {
        // SAFETY: it writes one int, to a place that outlives the call
        match unsafe { libc::waitpid(pid, &raw mut status, options) } {
            0 => return Ok(None),
            -1 => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
            _ => return Ok(Some(ExitStatus::from_raw(status))),
        }
    }
}
