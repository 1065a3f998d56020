#![expect(unsafe_code, reason = "timerfd_create(2) and timerfd_settime(2)")]
//! A timer that wakes its thread once, when it is due.
//!
//! tokio's own wakes it two or three times on the way to a deadline a second ahead, for its wheel, which is nearly all that an idle
//! daemon would do.

use std::future::pending;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::ptr;
use std::time::{Duration, Instant};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A timer for one deadline after the other.
#[derive(Debug)]
pub struct Alarm {
    timer: AsyncFd<OwnedFd>,
    set: Option<Instant>,
}

impl Alarm {
    /// One that is not set. Within a tokio runtime.
    ///
    /// # Errors
    /// Those of timerfd_create(2).
    pub fn new() -> io::Result<Alarm> {
        let flags = libc::TFD_CLOEXEC | libc::TFD_NONBLOCK;
        // SAFETY: numbers; the kernel has just opened it for us; it is open for as long as it is registered
        let timer = unsafe {
            let timer = libc::timerfd_create(libc::CLOCK_MONOTONIC, flags);
            if timer == -1 {
                return Err(io::Error::last_os_error());
            }
            let timer = OwnedFd::from_raw_fd(timer);
            AsyncFd::register_with_interest(timer, Interest::READABLE)?
        };
        Ok(Alarm { timer, set: None })
    }

    /// Waits for a deadline; for ever when there is none. Cancel safe.
    pub async fn wait(&mut self, deadline: Option<Instant>) {
        let Some(deadline) = deadline else {
            return pending().await;
        };
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            if self.set != Some(deadline) {
                self.arm(left);
                self.set = Some(deadline);
            }
            match self.timer.readable().await {
                Ok(mut rung) => rung.clear_ready(),
                Err(_) => return,
            }
            // it may have rung for an earlier one, and what it counts is of no interest: to set it anew empties it
            self.set = None;
        }
    }

    fn arm(&self, left: Duration) {
        let timer = libc::itimerspec {
            it_interval: libc::timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: libc::timespec {
                tv_sec: libc::time_t::try_from(left.as_secs()).unwrap_or(libc::time_t::MAX),
                tv_nsec: left.subsec_nanos().into(),
            },
        };
        // SAFETY: it reads a value that outlives the call. No such value is refused
        unsafe {
            libc::timerfd_settime(self.timer.as_raw_fd(), 0, &raw const timer, ptr::null_mut())
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_rings_when_it_is_due() {
        let mut alarm = Alarm::new().unwrap();
        let begin = Instant::now();
        let far = begin + Duration::from_secs(1000);
        // given up for an earlier one, and that for a later one
        for millis in [30, 10, 20] {
            let soon = tokio::time::timeout(Duration::from_millis(1), alarm.wait(Some(far)));
            assert!(soon.await.is_err());
            let at = Instant::now() + Duration::from_millis(millis);
            alarm.wait(Some(at)).await;
            assert!(Instant::now() >= at);
        }
        alarm.wait(Some(begin)).await;
        let never = tokio::time::timeout(Duration::from_millis(5), alarm.wait(None));
        assert!(never.await.is_err());
    }
}
