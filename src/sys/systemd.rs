#![expect(
    unsafe_code,
    reason = "taking over descriptors by their numbers, and leaving the variables that name them behind"
)]
//! What systemd says to a service and hears from it: sd_notify(3) and sd_listen_fds(3), without its library.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::time::{ClockId, clock_gettime};

/// The variables that are meant for the service, and for nothing that it starts: who obeyed them would speak for it.
pub const VARIABLES: [&str; 7] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_PID",
    "LISTEN_PIDFDID",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
];

/// The first descriptor that is passed.
const FIRST: RawFd = 3;

/// Who wants to know how the service is: systemd, or nobody.
#[derive(Debug, Default)]
pub struct Notifier {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// Whom the environment names. A name that is of no use is nobody's.
    pub fn from_env() -> Notifier {
        Notifier::new(|name| env::var_os(name))
    }

    fn new(var: impl Fn(&str) -> Option<OsString>) -> Notifier {
        let socket = var("NOTIFY_SOCKET").and_then(|name| {
            let address = address(&name).ok()?;
            let socket = UnixDatagram::unbound().ok()?;
            // whoever does not read must not hold the service up
            socket.set_nonblocking(true).ok()?;
            Some((socket, address))
        });
        let number = |name| var(name)?.to_str()?.parse::<u64>().ok();
        let is_ours = var("WATCHDOG_PID").is_none()
            || number("WATCHDOG_PID") == Some(u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|&micros| micros > 0 && is_ours);
        Notifier {
            watchdog: watchdog
                .filter(|_| socket.is_some())
                .map(Duration::from_micros),
            socket,
        }
    }

    /// Whether somebody listens.
    pub fn is_heard(&self) -> bool {
        self.socket.is_some()
    }

    /// Within which time a word is expected, again and again.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// The service works.
    pub fn ready(&self, status: &str) {
        self.say(&format!("READY=1\nSTATUS={}", line(status)));
    }

    /// It is reading its configuration again; [`Notifier::ready`] is the end of that.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from);
        let now = now.unwrap_or_default().as_micros();
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={now}"));
    }

    /// It is ending.
    pub fn stopping(&self) {
        self.say("STOPPING=1\nSTATUS=ending, when the running jobs have");
    }

    /// How it is, in a line.
    pub fn status(&self, status: &str) {
        self.say(&format!("STATUS={}", line(status)));
    }

    /// It has not hung.
    pub fn alive(&self) {
        self.say("WATCHDOG=1");
    }

    fn say(&self, text: &str) {
        if let Some((socket, address)) = &self.socket {
            // there is nobody to tell that nobody can be told
            let _ = socket.send_to_addr(text.as_bytes(), address);
        }
    }
}

/// A path, or a name in the abstract namespace with an `@` before it.
fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        [b'/', ..] => SocketAddr::from_pathname(name),
        _ => Err(io::ErrorKind::InvalidInput.into()),
    }
}

fn line(text: &str) -> String {
    text.replace('\n', "; ")
}

/// A socket that was passed to this process, with its name.
#[derive(Debug)]
pub struct Passed {
    /// `FileDescriptorName=` of the socket unit; "unknown" when nobody named it.
    pub name: String,
    /// The socket itself, close-on-exec.
    pub socket: OwnedFd,
}

/// Takes the sockets that were passed to this process, if any were. The variables that name them are gone afterwards: their numbers
/// mean something else from then on. To be called once, before any thread is started and anything is opened.
///
/// # Errors
/// A number that is no open descriptor.
pub fn passed() -> io::Result<Vec<Passed>> {
    let number = |name| env::var(name).ok()?.parse::<u32>().ok();
    let is_ours = number("LISTEN_PID") == Some(std::process::id());
    let count = number("LISTEN_FDS").filter(|_| is_ours).unwrap_or(0);
    let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
    for name in [
        "LISTEN_PID",
        "LISTEN_PIDFDID",
        "LISTEN_FDS",
        "LISTEN_FDNAMES",
    ] {
        // SAFETY: there is no other thread yet that could read the environment
        unsafe { env::remove_var(name) };
    }
    let mut names = names.split(':');
    let numbers = (FIRST..).take(usize::try_from(count).unwrap_or(0));
    let passed = numbers.map(|number| {
        // SAFETY: fcntl looks at a number, whatever it is
        let borrowed = unsafe { std::os::fd::BorrowedFd::borrow_raw(number) };
        fcntl(borrowed, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        // SAFETY: it is open, as has just been seen, and was passed to this process, which takes it once
        let socket = unsafe { OwnedFd::from_raw_fd(number) };
        let name = names.next().filter(|name| !name.is_empty());
        Ok(Passed {
            name: name.unwrap_or("unknown").to_owned(),
            socket,
        })
    });
    passed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env<'a>(variables: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<OsString> + 'a {
        move |wanted| {
            let found = variables.iter().find(|(name, _)| *name == wanted);
            found.map(|(_, value)| OsString::from(value))
        }
    }

    #[test]
    fn words_reach_a_path_and_an_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify").display().to_string();
        let name = format!("@gearpool-test-{}", std::process::id());
        for socket in [path, name] {
            let receiver = UnixDatagram::bind_addr(&address(socket.as_ref()).unwrap()).unwrap();
            let notifier = Notifier::new(env(&[("NOTIFY_SOCKET", &socket)]));
            assert!(notifier.is_heard());
            let heard = || {
                let mut buffer = [0; 256];
                let count = receiver.recv(&mut buffer).unwrap();
                String::from_utf8(buffer[..count].to_vec()).unwrap()
            };
            notifier.ready("two\nlines");
            assert_eq!(heard(), "READY=1\nSTATUS=two; lines");
            notifier.reloading();
            let text = heard();
            let micros = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
            assert!(micros.parse::<u64>().unwrap() > 0);
            notifier.alive();
            assert_eq!(heard(), "WATCHDOG=1");
        }
    }

    #[test]
    fn nobody_is_told_nothing() {
        for socket in ["", "relative", "@", "/nobody/listens/here"] {
            let notifier = Notifier::new(env(&[("NOTIFY_SOCKET", socket)]));
            notifier.ready("fine");
            notifier.stopping();
        }
        assert!(!Notifier::new(env(&[])).is_heard());
    }

    #[test]
    fn whose_watchdog_it_is() {
        let own = std::process::id().to_string();
        let of = |variables: &[(&str, &str)]| {
            let all = [&[("NOTIFY_SOCKET", "@x")], variables].concat();
            Notifier::new(env(&all)).watchdog()
        };
        let half = Some(Duration::from_millis(500));
        assert_eq!(of(&[("WATCHDOG_USEC", "500000")]), half);
        assert_eq!(
            of(&[("WATCHDOG_USEC", "500000"), ("WATCHDOG_PID", &own)]),
            half
        );
        assert_eq!(
            of(&[("WATCHDOG_USEC", "500000"), ("WATCHDOG_PID", "1")]),
            None
        );
        assert_eq!(of(&[("WATCHDOG_USEC", "0")]), None);
        assert_eq!(of(&[]), None);
        assert_eq!(
            Notifier::new(env(&[("WATCHDOG_USEC", "5")])).watchdog(),
            None
        );
    }
}
