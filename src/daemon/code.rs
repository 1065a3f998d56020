//! `watch`: tells when files of the workers' code have changed, on a thread of its own.
//!
//! What inotify(7) tells is only a hint. When nothing more has come for a moment, the files that the patterns find are compared with
//! those of before, by size, inode and the time of their last change. So an editor's way of saving, a checkout of a thousand files or
//! a queue of events that has run over are all the same one change, and what comes out as it was is none.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use glob::{MatchOptions, Pattern};
use notify::EventKind;
use notify::event::{CreateKind, ModifyKind, RemoveKind};
use tokio::sync::mpsc::UnboundedSender;

use super::manager::Happening;
use super::watch::{Folder, Folders, behind, folder_behind, is_scratch};
use crate::config::Watch;

/// How long nothing may have changed before the files are looked at.
const QUIET: Duration = Duration::from_millis(200);

/// They are looked at after this, though something changes all the time.
const PATIENCE: Duration = Duration::from_secs(5);

/// So many files of a pool are compared; a pattern that finds more has found something else.
const MOST: usize = 100_000;

/// What begins with a dot has to be named so, and a `*` stays within its folder.
const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// The thread that watches. It ends with this value.
pub(super) struct CodeWatch {
    messages: Sender<Message>,
}

enum Message {
    Follow(Vec<(String, Watch)>),
    Event(notify::Result<notify::Event>),
    End,
}

impl CodeWatch {
    /// Starts the thread, which watches nothing yet. [`Happening::CodeChanged`] is what it tells.
    ///
    /// # Errors
    /// Those of inotify(7), and of a system that has no room for a thread.
    pub(super) fn start(happenings: UnboundedSender<Happening>) -> anyhow::Result<CodeWatch> {
        let (messages, inbox) = mpsc::channel();
        let events = messages.clone();
        let watcher = notify::recommended_watcher(move |event| {
            // the thread may have ended
            let _ = events.send(Message::Event(event));
        })?;
        let mut codes = Codes {
            folders: Folders::new(watcher),
            pools: BTreeMap::new(),
            happenings,
        };
        std::thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || codes.run(&inbox))?;
        Ok(CodeWatch { messages })
    }

    /// Watches the files of these pools, and no others.
    pub(super) fn follow(&self, watches: Vec<(String, Watch)>) {
        // the thread ends last
        let _ = self.messages.send(Message::Follow(watches));
    }
}

impl Drop for CodeWatch {
    fn drop(&mut self) {
        // it has ended already
        let _ = self.messages.send(Message::End);
    }
}

/// All that is watched.
struct Codes {
    folders: Folders,
    pools: BTreeMap<String, Code>,
    happenings: UnboundedSender<Happening>,
}

/// The code of a pool.
struct Code {
    watch: Watch,
    patterns: Vec<Pattern>,
    /// The files as they were last.
    files: Files,
    /// What is behind those that are symbolic links.
    behind: BTreeSet<PathBuf>,
    /// When the first and the last event came that may mean a change.
    touched: Option<(Instant, Instant)>,
}

type Files = BTreeMap<PathBuf, Print>;

/// What is different of a file that has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Print {
    size: u64,
    inode: u64,
    changed: (i64, i64),
}

impl Codes {
    fn run(&mut self, inbox: &mpsc::Receiver<Message>) {
        loop {
            let due = self.pools.values().filter_map(Code::due).min();
            let message = match due {
                Some(due) => inbox.recv_timeout(due.saturating_duration_since(Instant::now())),
                None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match message {
                Ok(Message::Follow(watches)) => self.follow(watches),
                Ok(Message::Event(event)) => self.hear(event),
                Ok(Message::End) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.look(Instant::now());
        }
    }

    fn follow(&mut self, watches: Vec<(String, Watch)>) {
        let mut before = std::mem::take(&mut self.pools);
        for (name, watch) in watches {
            let known = before.remove(&name).filter(|code| code.watch == watch);
            let code = known.unwrap_or_else(|| Code::new(watch));
            self.pools.insert(name, code);
        }
        self.follow_folders();
    }

    fn follow_folders(&mut self) {
        let patterns = self.pools.values().flat_map(|code| &code.patterns);
        let folders = patterns.map(|pattern| Folder::of(Path::new(pattern.as_str())));
        let behind = self.pools.values().flat_map(|code| &code.behind);
        let behind = behind.filter_map(|file| folder_behind(file));
        let folders = folders.chain(behind).collect();
        if let Err(error) = self.folders.follow(folders) {
            tracing::warn!(%error, "not all files of \"watch\" can be watched; use `gearpool restart` after a change");
        }
    }

    fn hear(&mut self, event: notify::Result<notify::Event>) {
        let now = Instant::now();
        let (all, event) = match event {
            Ok(event) => (event.need_rescan(), event),
            // of which file is not known
            Err(_) => (true, notify::Event::default()),
        };
        if event.kind.is_access() {
            return;
        }
        for code in self.pools.values_mut() {
            if all
                || event
                    .paths
                    .iter()
                    .any(|path| code.concerns(path, event.kind))
            {
                let first = code.touched.map_or(now, |(first, _)| first);
                code.touched = Some((first, now));
            }
        }
    }

    /// Compares what has been touched and is quiet now.
    fn look(&mut self, now: Instant) {
        let is_due = |code: &Code| code.due().is_some_and(|due| due <= now);
        if !self.pools.values().any(is_due) {
            return;
        }
        // folders may have come, or be others by now
        self.follow_folders();
        for (name, code) in &mut self.pools {
            if !is_due(code) {
                continue;
            }
            code.touched = None;
            let files = files(&code.patterns);
            let what = difference(&code.files, &files);
            let behind = behind_all(&files);
            if code.behind != behind {
                // what changes there before it is watched
                code.touched = Some((now, now));
            }
            (code.files, code.behind) = (files, behind);
            if let Some(what) = what {
                let pool = name.clone();
                // the manager ends last
                let _ = self.happenings.send(Happening::CodeChanged { pool, what });
            }
        }
    }
}

impl Code {
    fn new(watch: Watch) -> Code {
        let patterns = watch.globs.iter();
        // they have been tried when the file was read
        let patterns = patterns.filter_map(|glob| Watch::pattern(&watch.folder, glob).ok());
        let patterns: Vec<_> = patterns.collect();
        let files = files(&patterns);
        Code {
            behind: behind_all(&files),
            files,
            patterns,
            watch,
            touched: None,
        }
    }

    fn due(&self) -> Option<Instant> {
        let (first, last) = self.touched?;
        Some((first + PATIENCE).min(last + QUIET))
    }

    /// Whether an event may be about one of its files: about one itself, or about a folder, which may bring or take some.
    fn concerns(&self, path: &Path, kind: EventKind) -> bool {
        let may_be_folder = match kind {
            EventKind::Create(CreateKind::File) | EventKind::Remove(RemoveKind::File) => false,
            EventKind::Create(_) => path.is_dir() || path.is_symlink(),
            EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) => true,
            _ => false,
        };
        may_be_folder || self.finds(path) || self.behind.contains(path)
    }

    fn finds(&self, path: &Path) -> bool {
        let finds = |pattern: &Pattern| pattern.matches_path_with(path, OPTIONS);
        !is_scratch(path) && self.patterns.iter().any(finds)
    }
}

/// The files that the patterns find.
fn files(patterns: &[Pattern]) -> Files {
    let found = patterns
        .iter()
        .filter_map(|pattern| glob::glob_with(pattern.as_str(), OPTIONS).ok())
        .flat_map(Iterator::flatten)
        .filter(|path| !is_scratch(path));
    let mut files = Files::new();
    for path in found {
        // one that has just gone is none
        let Ok(metadata) = std::fs::metadata(&path) else {
            continue;
        };
        if !metadata.is_file() {
            continue;
        }
        if files.len() == MOST {
            tracing::warn!(
                "\"watch\" finds more than {MOST} files, such as {}; those beyond are not watched",
                path.display()
            );
            break;
        }
        let print = Print {
            size: metadata.size(),
            inode: metadata.ino(),
            changed: (metadata.mtime(), metadata.mtime_nsec()),
        };
        files.insert(path, print);
    }
    files
}

/// What is behind those files that are symbolic links.
fn behind_all(files: &Files) -> BTreeSet<PathBuf> {
    files.keys().flat_map(|file| behind(file)).collect()
}

/// What has changed, in a few words; `None` is nothing.
fn difference(before: &Files, now: &Files) -> Option<String> {
    let changed = now
        .iter()
        .filter(|(path, print)| before.get(*path) != Some(print));
    let gone = before.keys().filter(|path| !now.contains_key(*path));
    let mut all: Vec<&PathBuf> = changed.map(|(path, _)| path).chain(gone).collect();
    all.sort();
    let first = all.first()?;
    let first = match now.contains_key(*first) {
        true => format!("{} has changed", first.display()),
        false => format!("{} is gone", first.display()),
    };
    Some(match all.len() {
        1 => first,
        2 => format!("{first}, and another file"),
        more => format!("{first}, and {} more files", more - 1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn which_files_count() {
        let folder = Path::new("/srv/my [app]");
        let globs = ["*.php", "./src/**/*.php", ".env", "/etc/app/*"].map(str::to_owned);
        let code = Code::new(Watch {
            folder: folder.to_owned(),
            globs: globs.to_vec(),
        });
        for (path, counts) in [
            ("/srv/my [app]/a.php", true),
            ("/srv/my [app]/.a.php", false),
            ("/srv/my [app]/.a.php.swp", false),
            ("/srv/my [app]/a.php~", false),
            ("/srv/my [app]/#a.php", false),
            ("/srv/my [app]/lib/a.php", false),
            ("/srv/my [app]/src/a.php", true),
            ("/srv/my [app]/src/deep/er/a.php", true),
            ("/srv/my [app]/src/.git/a.php", false),
            ("/srv/my [app]/.env", true),
            ("/srv/my [app]/log/1.log", false),
            ("/etc/app/x.ini", true),
            ("/etc/app/4913", false),
            ("/etc/app/x.ini.tmp", false),
            ("/etc/app/deep/x.ini", false),
        ] {
            assert_eq!(code.finds(Path::new(path)), counts, "{path}");
        }
    }

    #[test]
    fn what_has_changed() {
        let print = |size| Print {
            size,
            inode: 1,
            changed: (0, 0),
        };
        let files = |files: &[(&str, u64)]| -> Files {
            let files = files.iter();
            files
                .map(|(path, size)| (PathBuf::from(path), print(*size)))
                .collect()
        };
        let before = files(&[("a", 1), ("b", 1), ("c", 1)]);
        for (now, what) in [
            (files(&[("a", 1), ("b", 1), ("c", 1)]), None),
            (
                files(&[("a", 1), ("b", 2), ("c", 1)]),
                Some("b has changed"),
            ),
            (files(&[("b", 1), ("c", 1)]), Some("a is gone")),
            (
                files(&[("a", 1), ("b", 1), ("c", 1), ("d", 1)]),
                Some("d has changed"),
            ),
            (
                files(&[("a", 2), ("c", 1)]),
                Some("a has changed, and another file"),
            ),
            (files(&[("x", 1)]), Some("a is gone, and 3 more files")),
        ] {
            assert_eq!(difference(&before, &now).as_deref(), what);
        }
    }
}
