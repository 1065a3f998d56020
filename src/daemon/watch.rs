//! Tells when files may have changed: the configuration's here, the workers' code in `code`.
//!
//! Editors and config maps put a new file in the old one's place, so folders are watched, and whoever is told compares.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::mpsc;

/// A folder to watch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    pub(super) depth: Depth,
}

/// How far a watch reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Depth {
    /// What is in the folder.
    Itself,
    /// What is in its folders too.
    All,
}

/// Watches the folders of the configuration until it is dropped.
pub(super) struct FileWatch {
    folders: Folders,
    changed: mpsc::Sender<()>,
}

impl FileWatch {
    /// Watches nothing yet. Something in one of the folders has changed whenever `changed` receives; a receiver that is behind misses
    /// nothing by it.
    ///
    /// # Errors
    /// Those of inotify(7).
    pub(super) fn new(changed: mpsc::Sender<()>) -> notify::Result<FileWatch> {
        let told = changed.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| !event.kind.is_access()) {
                // full is as good as sent
                let _ = told.try_send(());
            }
        })?;
        Ok(FileWatch {
            folders: Folders::new(watcher),
            changed,
        })
    }

    /// Watches these folders, and no others.
    ///
    /// # Errors
    /// The first of those of inotify(7); what can be watched is.
    pub(super) fn follow(&mut self, folders: Vec<Folder>) -> notify::Result<()> {
        let before = self.folders.watched.clone();
        let result = self.folders.follow(folders);
        if self.folders.watched != before {
            // what changed there before it was watched
            let _ = self.changed.try_send(());
        }
        result
    }
}

/// The folders that a watcher watches.
pub(super) struct Folders {
    watcher: RecommendedWatcher,
    watched: BTreeSet<Folder>,
}

impl Folders {
    pub(super) fn new(watcher: RecommendedWatcher) -> Folders {
        Folders {
            watcher,
            watched: BTreeSet::new(),
        }
    }

    /// Watches these, and no others. In place of one that is not there, the nearest that it would be in is watched; and where a
    /// symbolic link leads to one, the link is too, which a deployment points elsewhere.
    ///
    /// # Errors
    /// The first of those of inotify(7); what can be watched is.
    pub(super) fn follow(&mut self, folders: Vec<Folder>) -> notify::Result<()> {
        let mut wanted = BTreeSet::new();
        for folder in folders {
            let links = folder.path.ancestors().filter(|path| path.is_symlink());
            let beside = links.filter_map(Path::parent).map(existing);
            wanted.extend(beside.map(|path| Folder {
                path: path.to_owned(),
                depth: Depth::Itself,
            }));
            let path = existing(&folder.path);
            let depth = match path == folder.path {
                true => folder.depth,
                false => Depth::Itself,
            };
            wanted.insert(Folder {
                path: path.to_owned(),
                depth,
            });
        }
        // the same folder is watched once, as far as anybody needs
        let all: Vec<_> = wanted
            .iter()
            .filter(|it| it.depth == Depth::All)
            .cloned()
            .collect();
        wanted.retain(|it| it.depth == Depth::All || all.iter().all(|deep| deep.path != it.path));
        for gone in self.watched.difference(&wanted) {
            // it may have gone by itself
            let _ = self.watcher.unwatch(&gone.path);
        }
        let mut result = Ok(());
        // those that are watched too: another folder may have their name by now
        for folder in &wanted {
            let mode = match folder.depth {
                Depth::Itself => RecursiveMode::NonRecursive,
                Depth::All => RecursiveMode::Recursive,
            };
            result = result.and(self.watcher.watch(&folder.path, mode));
        }
        self.watched = wanted;
        result
    }
}

/// The folder, or the nearest one above it that is there.
fn existing(path: &Path) -> &Path {
    let found = path.ancestors().find(|path| path.is_dir());
    match found {
        Some(path) if !path.as_os_str().is_empty() => path,
        _ if path.is_absolute() => Path::new("/"),
        _ => Path::new("."),
    }
}

/// So many links are followed from one to the next, as by the kernel.
const MOST_LINKS: usize = 40;

/// Where a symbolic link leads, and on from there: what else has to be watched for a file to be. Nothing for a file itself.
pub(super) fn behind(file: &Path) -> Vec<PathBuf> {
    let mut behind: Vec<PathBuf> = Vec::new();
    let mut at = file.to_owned();
    while let (Ok(target), Some(folder)) = (at.read_link(), at.parent())
        && behind.len() < MOST_LINKS
    {
        at = folder.join(target);
        // a folder has to have the name by which it may be watched already
        if let (Some(folder), Some(name)) = (at.parent(), at.file_name())
            && at.components().any(|part| part == Component::ParentDir)
            && let Ok(folder) = folder.canonicalize()
        {
            at = folder.join(name);
        }
        behind.push(at.clone());
    }
    behind
}

/// The folder of a file that is behind a link.
pub(super) fn folder_behind(file: &Path) -> Option<Folder> {
    let path = file.parent()?.to_owned();
    let depth = Depth::Itself;
    Some(Folder { path, depth })
}

/// What an editor or a tool leaves beside a file while it works on it: vim's, emacs's, JetBrains's, and everybody's.
pub(super) fn is_scratch(path: &Path) -> bool {
    let Some(name) = path.file_name().map(|name| name.to_string_lossy()) else {
        return true;
    };
    let ends = [
        "~",
        ".swp",
        ".swo",
        ".swx",
        ".tmp",
        ".bak",
        "___jb_tmp___",
        "___jb_old___",
    ];
    ends.iter().any(|end| name.ends_with(end))
        || name.starts_with(".#")
        || name.starts_with('#')
        || name == "4913"
}
