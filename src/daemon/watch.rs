//! Tells when the configuration file may have changed.
//!
//! Editors and config maps put a new file in the old one's place, so the folder is watched, and the reader compares contents.

use std::path::Path;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// Watches the folder of a file until it is dropped.
pub(super) struct FileWatch {
    _watcher: RecommendedWatcher,
}

impl FileWatch {
    /// Begins. Something in the folder has changed whenever `changed` receives; a receiver that is behind misses nothing by it.
    ///
    /// # Errors
    /// Those of inotify(7).
    pub(super) fn start(file: &Path, changed: mpsc::Sender<()>) -> notify::Result<FileWatch> {
        let folder = match file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let mut watcher =
            notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
                if event.is_ok_and(|event| !event.kind.is_access()) {
                    // full is as good as sent
                    let _ = changed.try_send(());
                }
            })?;
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        Ok(FileWatch { _watcher: watcher })
    }
}
