//! Whether the logs can be written, of all of them together: one full disk is told once, not by every worker.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counted by the thread that writes, read by whoever asks.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Bytes of output that could not be written, since the start.
    dropped: AtomicU64,
    /// How many files cannot be written now.
    troubled: AtomicU64,
}

impl Health {
    /// A file could be written and cannot any more.
    pub(super) fn fails(&self, path: &Path, error: &std::io::Error) {
        if self.troubled.fetch_add(1, Ordering::Relaxed) == 0 {
            let path = path.display();
            tracing::error!(%path, %error, "a worker's log cannot be written; output is dropped and counted until it can, the workers go on");
        }
    }

    /// A file could not be written before, which has been told.
    pub(super) fn fails_still(&self) {
        self.troubled.fetch_add(1, Ordering::Relaxed);
    }

    /// A file can be written again, or is not wanted any more.
    pub(super) fn recovers(&self) {
        if self.troubled.fetch_sub(1, Ordering::Relaxed) == 1 {
            let bytes = self.dropped();
            tracing::warn!(
                bytes,
                "the workers' logs can be written again; so many bytes were dropped since the start"
            );
        }
    }

    /// So many bytes were dropped.
    pub(super) fn drops(&self, bytes: u64) {
        self.dropped.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(super) fn troubled(&self) -> u64 {
        self.troubled.load(Ordering::Relaxed)
    }
}
