//! The threads of the connections, stopped between two of their tasks' steps: what a task knows then stands still, and nothing is half
//! done.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

/// The threads stand still as long as this lives.
#[derive(Debug)]
pub(super) struct Quiet {
    _until: Vec<mpsc::Sender<()>>,
}

impl Quiet {
    /// Stops the threads. `None` when one of them does not come to a stop within `limit`; then they go on.
    pub(super) fn begin(threads: &[Handle], limit: Duration) -> Option<Quiet> {
        let (stops, stopped) = mpsc::channel();
        let mut all = Vec::new();
        for thread in threads {
            let (goes_on, until) = mpsc::channel::<()>();
            let stops = stops.clone();
            thread.spawn(async move {
                // whoever waits may have given up
                let _ = stops.send(());
                // the thread waits, not the task: none of its other tasks runs meanwhile
                let _ = until.recv();
            });
            all.push(goes_on);
        }
        let deadline = Instant::now() + limit;
        for _ in threads {
            let left = deadline.saturating_duration_since(Instant::now());
            stopped.recv_timeout(left).ok()?;
        }
        Some(Quiet { _until: all })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn nothing_moves_while_it_lasts_and_everything_after() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let handle = runtime.handle().clone();
        std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
        let count = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&count);
        handle.spawn(async move {
            loop {
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
        let limit = Duration::from_secs(30);
        for _ in 0..3 {
            let quiet = Quiet::begin(std::slice::from_ref(&handle), limit).unwrap();
            let before = count.load(Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(20));
            assert_eq!(count.load(Ordering::Relaxed), before);
            drop(quiet);
            let begin = Instant::now();
            while count.load(Ordering::Relaxed) == before {
                assert!(begin.elapsed() < limit, "it goes on");
                std::thread::yield_now();
            }
        }
    }
}
