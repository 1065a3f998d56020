//! The files that a configuration file includes: found, and read with it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};

use super::{FileError, env, folder};
use crate::config::{self, Config, Place, Problem, Problems, Source};
use crate::daemon::watch::{Depth, Folder, behind, folder_behind, is_scratch};
use crate::sys::reason;

/// More files than anybody keeps apart; a pattern that finds more has found something else.
const MOST: usize = 1000;

/// Hidden files are an editor's more often than not, and a `*` stays within its folder.
const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// The texts of a file and of those that it includes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Texts {
    main: String,
    /// Path by path, in the order in which they are read.
    included: Vec<(PathBuf, String)>,
    /// Where to look for such files.
    patterns: Vec<PathBuf>,
    /// What is wrong with the including itself, and where the main file says it.
    problems: Vec<(Place, String)>,
}

impl Texts {
    /// A text that includes nothing.
    pub(super) fn alone(main: String) -> Texts {
        Texts {
            main,
            ..Texts::default()
        }
    }

    /// Reads a file, and those that it includes.
    ///
    /// # Errors
    /// When it cannot be read itself; what is wrong with others is said with the rest.
    pub(super) fn read(path: &Path) -> Result<Texts, FileError> {
        let main = std::fs::read_to_string(path).map_err(|error| FileError::Read {
            path: path.display().to_string(),
            error,
        })?;
        let shown = path.display().to_string();
        let within = folder(path);
        let source = Source {
            file: &shown,
            folder: &within,
            text: &main,
        };
        let wanted = config::includes(&source, &env);
        let mut texts = Texts::alone(main);
        let mut known = BTreeSet::from([identity(path)]);
        for (pattern, place) in wanted {
            // as the file is called, so that the messages are
            let folder = path.parent().unwrap_or(Path::new(""));
            let problem = texts.include(folder, &pattern, &mut known);
            texts.problems.extend(problem.err().map(|it| (place, it)));
        }
        Ok(texts)
    }

    /// Reads what a pattern finds, in the order of the names. A file that two of them find is read once, and the main file is none.
    fn include(
        &mut self,
        folder: &Path,
        pattern: &str,
        known: &mut BTreeSet<PathBuf>,
    ) -> Result<(), String> {
        let path = folder.join(pattern);
        self.patterns.push(path.clone());
        let found = match is_pattern(pattern) {
            false => vec![path],
            true => {
                let folder = Pattern::escape(&folder.to_string_lossy());
                let pattern = Path::new(&folder).join(pattern);
                let found = glob::glob_with(&pattern.to_string_lossy(), OPTIONS);
                let found = found.map_err(|error| error.to_string())?;
                // what cannot be looked into has nothing for us
                let found = found
                    .flatten()
                    .filter(|path| path.is_file() && !is_scratch(path));
                found.take(MOST + 1).collect()
            }
        };
        if found.len() > MOST {
            return Err(format!("\"{pattern}\" finds more than {MOST} files"));
        }
        for path in found {
            if !known.insert(identity(&path)) {
                continue;
            }
            let text = std::fs::read_to_string(&path)
                .map_err(|error| format!("cannot read {}: {}", path.display(), reason(&error)))?;
            self.included.push((path, text));
        }
        Ok(())
    }

    /// What they say, with the main file at `path`.
    ///
    /// # Errors
    /// Every problem of all of them.
    pub(super) fn parse(&self, path: &Path) -> Result<Config, FileError> {
        let files = std::iter::once((path, &self.main));
        let included = self
            .included
            .iter()
            .map(|(path, text)| (path.as_path(), text));
        let files: Vec<_> = files
            .chain(included)
            .map(|(path, text)| (path.display().to_string(), folder(path), text))
            .collect();
        let sources: Vec<_> = files
            .iter()
            .map(|(file, folder, text)| Source { file, folder, text })
            .collect();
        let read = config::parse_files(&sources, &env);
        if self.problems.is_empty() {
            return read.map_err(FileError::Problems);
        }
        let mut problems = read.err().map_or_else(Vec::new, |it| it.problems);
        problems.extend(self.problems.iter().map(|(place, message)| Problem {
            file: sources[0].file.to_owned(),
            line: place.line,
            column: place.column,
            message: message.clone(),
        }));
        let names: Vec<_> = sources.iter().map(|source| source.file).collect();
        Err(FileError::Problems(Problems::new(&names, problems)))
    }

    /// The paths of the files that were included.
    pub(super) fn included(&self) -> impl Iterator<Item = &Path> {
        self.included.iter().map(|(path, _)| path.as_path())
    }

    /// The folders in which a change may be one of these, with the main file at `path`.
    pub(super) fn folders(&self, path: &Path) -> Vec<Folder> {
        let main = Folder {
            path: folder(path),
            depth: Depth::Itself,
        };
        let patterns = self.patterns.iter().map(|pattern| Folder::of(pattern));
        let files = std::iter::once(path).chain(self.included());
        let behind = files.flat_map(behind);
        let behind = behind.filter_map(|file| folder_behind(&file));
        std::iter::once(main)
            .chain(patterns)
            .chain(behind)
            .collect()
    }
}

/// Whether a text means something else than the one file of that name.
fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '['])
}

impl Folder {
    /// The folder from which everything can be seen that a path or pattern may find.
    pub(in crate::daemon) fn of(pattern: &Path) -> Folder {
        let mut path = PathBuf::new();
        let mut parts = pattern.components().peekable();
        while let Some(part) = parts.next() {
            let name = literal(&part.as_os_str().to_string_lossy());
            let is_last = parts.peek().is_none();
            match name {
                Some(name) if !is_last => path.push(name),
                _ => {
                    let depth = match is_last && part.as_os_str() != "**" {
                        true => Depth::Itself,
                        false => Depth::All,
                    };
                    return Folder { path, depth };
                }
            }
        }
        Folder {
            path,
            depth: Depth::Itself,
        }
    }
}

/// The one name that a part of a pattern means, if it means one: `[*]` is a star.
fn literal(part: &str) -> Option<String> {
    const ESCAPES: [(&str, char, char); 4] = [
        ("[[]", '[', '\u{e000}'),
        ("[]]", ']', '\u{e001}'),
        ("[*]", '*', '\u{e002}'),
        ("[?]", '?', '\u{e003}'),
    ];
    let mut name = part.to_owned();
    for (escape, _, mark) in ESCAPES {
        name = name.replace(escape, &mark.to_string());
    }
    if is_pattern(&name) {
        return None;
    }
    for (_, meant, mark) in ESCAPES {
        name = name.replace(mark, &meant.to_string());
    }
    Some(name)
}

/// What a file is, whatever name it goes by.
fn identity(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_to_look() {
        for (pattern, path, depth) in [
            ("/etc/g/more.yaml", "/etc/g", Depth::Itself),
            ("/etc/g/conf.d/*.yaml", "/etc/g/conf.d", Depth::Itself),
            ("/srv/*/workers.yaml", "/srv", Depth::All),
            ("/srv/a[12]/b/*.php", "/srv", Depth::All),
            ("/srv/**/*.php", "/srv", Depth::All),
            ("/srv/**", "/srv", Depth::All),
            ("conf.d/?.yaml", "conf.d", Depth::Itself),
            ("x", "", Depth::Itself),
            ("/srv/my [[]app]/*.php", "/srv/my [app]", Depth::Itself),
            ("/srv/a[]][*]/x/**/y", "/srv/a]*/x", Depth::All),
        ] {
            let folder = Folder::of(Path::new(pattern));
            assert_eq!(
                (folder.path, folder.depth),
                (path.into(), depth),
                "{pattern}"
            );
        }
    }
}
