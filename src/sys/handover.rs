//! Another program in this process's place, execve(2), and what it is handed: open descriptors by their numbers, and a word in the
//! environment that says which one it has to read first.
//!
//! What survives is the process: its id, its children with their parent-death signal (which is tied to the thread that calls this, and
//! that is why it has to be the one that forked them), its lock, and every descriptor that is not close-on-exec. All threads end.
#![expect(
    unsafe_code,
    reason = "a descriptor that was inherited by its number has no owner yet, the environment is changed in place, and a file is looked at where the kernel has it"
)]

use std::ffi::{CString, OsStr, OsString, c_void};
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::Path;
use std::ptr::{self, NonNull};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::unistd::execve;

/// The variable with the number of the descriptor that the next program reads.
const VARIABLE: &str = "GEARPOOL_HANDOVER";

/// What this process was handed by the program that it was before, if that was another one. The word goes from the environment, so that
/// no child gets it. To be called before any thread is started.
pub fn received() -> Option<RawFd> {
    let number = std::env::var(VARIABLE).ok()?;
    // SAFETY: the caller has started no thread that could read the environment meanwhile.
    unsafe { std::env::remove_var(VARIABLE) };
    number.parse().ok()
}

/// What a child is told so that it finds the descriptor, which it inherits.
pub fn word(descriptor: RawFd) -> (OsString, OsString) {
    (VARIABLE.into(), descriptor.to_string().into())
}

/// Makes a descriptor that was handed over ours. To be called once for each number.
///
/// # Errors
/// EBADF, when there is none with this number.
pub fn adopt(descriptor: RawFd) -> io::Result<OwnedFd> {
    cross(descriptor, FdFlag::FD_CLOEXEC)?;
    // SAFETY: it is open, and the program that owned it is gone.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// What is in a file, where the kernel has it: it need not be in memory twice, and is not copied to be looked at.
#[derive(Debug)]
pub struct Mapped {
    start: NonNull<c_void>,
    length: usize,
}

impl Mapped {
    /// Looks at a file that nobody writes to any more.
    ///
    /// # Errors
    /// Those of mmap(2): it is empty, or no file.
    pub fn of(file: &File) -> io::Result<Mapped> {
        let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
        // read in one go, and in advance
        let flags = libc::MAP_PRIVATE | libc::MAP_POPULATE;
        // SAFETY: the kernel finds the place, where nothing else is.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                length,
                libc::PROT_READ,
                flags,
                file.as_raw_fd(),
                0,
            )
        };
        match NonNull::new(start) {
            Some(start) if start.as_ptr() != libc::MAP_FAILED => Ok(Mapped { start, length }),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Deref for Mapped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: it is mapped for as long as this lives, and nobody changes it: the file has no name, and whoever has written it is done.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().cast(), self.length) }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: it is ours, and no slice of it outlives it.
        unsafe { libc::munmap(self.start.as_ptr(), self.length) };
    }
}

/// Puts the program at `path` in this process's place. It gets the words and the environment, the word of [`received`], and these
/// descriptors. It does not return when that works.
pub fn execute(
    path: &Path,
    words: &[OsString],
    state: RawFd,
    descriptors: impl Iterator<Item = RawFd> + Clone,
) -> io::Error {
    let failed = try_to_execute(path, words, state, descriptors.clone());
    for descriptor in descriptors {
        // what is gone meanwhile needs no flag
        let _ = cross(descriptor, FdFlag::FD_CLOEXEC);
    }
    failed.err().unwrap_or_else(|| io::ErrorKind::Other.into())
}

fn try_to_execute(
    path: &Path,
    words: &[OsString],
    state: RawFd,
    descriptors: impl Iterator<Item = RawFd>,
) -> io::Result<()> {
    let text = |text: &OsStr| CString::new(text.as_bytes());
    let path = text(path.as_os_str())?;
    let words: Vec<_> = words
        .iter()
        .map(|word| text(word))
        .collect::<Result<_, _>>()?;
    let environment: Vec<_> = std::env::vars_os()
        .chain([word(state)])
        .map(|(name, value)| {
            let mut pair = name.into_vec();
            pair.push(b'=');
            pair.extend_from_slice(value.as_bytes());
            CString::new(pair)
        })
        .collect::<Result<_, _>>()?;
    for descriptor in descriptors {
        cross(descriptor, FdFlag::empty())?;
    }
    match execve(&path, &words, &environment)? {}
}

fn cross(descriptor: RawFd, flags: FdFlag) -> io::Result<()> {
    // SAFETY: it is only used for a call that says so when nothing is open under this number.
    let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
    fcntl(descriptor, FcntlArg::F_SETFD(flags))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::fd::IntoRawFd as _;

    use super::*;

    #[test]
    fn what_cannot_be_executed_leaves_everything_as_it_was() {
        let (reader, writer) = io::pipe().unwrap();
        let numbers = [reader.as_raw_fd(), writer.as_raw_fd()];
        let words = ["gearpool".into()];
        let error = execute(Path::new("/proc/self/stat"), &words, 3, numbers.into_iter());
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        for number in [&reader as &dyn std::os::fd::AsFd, &writer] {
            let flags = fcntl(number.as_fd(), FcntlArg::F_GETFD).unwrap();
            assert_eq!(FdFlag::from_bits_truncate(flags), FdFlag::FD_CLOEXEC);
        }
    }

    #[test]
    fn a_file_is_looked_at() {
        let mut file = tempfile::tempfile().unwrap();
        assert!(Mapped::of(&file).is_err(), "there is nothing");
        let bytes = [7; 5000];
        file.write_all(&bytes).unwrap();
        assert_eq!(Mapped::of(&file).unwrap()[..], bytes);
        let (reader, _writer) = io::pipe().unwrap();
        let pipe = File::from(OwnedFd::from(reader));
        assert!(Mapped::of(&pipe).is_err());
    }

    #[test]
    fn a_number_becomes_a_descriptor() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut writer: io::PipeWriter = adopt(writer.into_raw_fd()).unwrap().into();
        writer.write_all(b"x").unwrap();
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
        assert!(adopt(RawFd::MAX).is_err());
    }
}
