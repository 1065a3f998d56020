//! `gearpool import`: the file of another program as one of ours.
//!
//! Each translator turns text into a [`Translation`]: the pools, and a sentence for everything that does not come along. What a
//! translator does not know it must say, never drop.

mod gearman_manager;
mod ini;
mod supervisord;
mod translation;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use self::translation::Translation;
use super::{Failure, terminal};
use crate::daemon::file;
use crate::sys::reason;

const EXAMPLES: &str = "\
The YAML goes to standard output, and what has no equivalent to standard error and, as comments, into the YAML.
A supervisord file is known by its [program:…] sections, one of GearmanManager by its [GearmanManager] section. What a supervisord
file includes comes with it.

Exit status: 0 done, 1 the result is not right yet (it is printed all the same, with what is wrong), 2 the file cannot be read.

Examples:
  gearpool import /etc/supervisor/conf.d/workers.conf > workers.yaml
  gearpool import /etc/supervisor/supervisord.conf > workers.yaml
  gearpool import /etc/gearman/config.ini > workers.yaml && gearpool check workers.yaml";

/// Turn a supervisord or GearmanManager file into a Gearpool file
///
/// Every [program:x] becomes a pool; so does every function of GearmanManager. What has no equivalent is listed.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct ImportArgs {
    /// The files
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl ImportArgs {
    /// Does it, and returns the exit code.
    ///
    /// # Errors
    /// A [`Failure`] when a file cannot be read or is of neither kind.
    pub fn run(self) -> Result<u8, Failure> {
        let mut whole = Translation::default();
        let mut known = BTreeSet::new();
        for path in &self.files {
            known.insert(path.canonicalize().unwrap_or_else(|_| path.clone()));
        }
        for path in &self.files {
            whole.append(translate(path, &mut known)?);
        }
        let yaml = whole.yaml();
        terminal::print(&yaml)?;
        for note in whole.all_notes() {
            eprintln!("gearpool: {note}");
        }
        // relative paths in it are relative to where it will stand, which nobody knows yet
        match file::parse(Path::new("workers.yaml"), &yaml) {
            Ok(_) => Ok(0),
            Err(problems) => Err(Failure::Failed(anyhow::anyhow!(
                "the result needs a change before it is right:\n{problems}"
            ))),
        }
    }
}

/// Translates a file, with those that it includes and that are not among the `known` ones.
fn translate(path: &Path, known: &mut BTreeSet<PathBuf>) -> Result<Translation, Failure> {
    let ini = read(path)?;
    let path = super::absolute(path.to_owned())?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    if gearman_manager::is_one(&ini) {
        Ok(gearman_manager::translate(&ini, folder, &|folder| {
            php_files(folder)
        }))
    } else if supervisord::is_one(&ini) {
        let mut all = supervisord::translate(&ini, folder);
        for pattern in supervisord::includes(&ini, folder) {
            let found = glob::glob(&pattern.to_string_lossy());
            let found = found.into_iter().flatten().flatten();
            let mut found = found.filter(|path| path.is_file()).peekable();
            if found.peek().is_none() {
                all.notes
                    .push(format!("[include] finds nothing by {}", pattern.display()));
            }
            for path in found {
                let identity = path.canonicalize().unwrap_or_else(|_| path.clone());
                if known.insert(identity) {
                    let folder = path.parent().unwrap_or(Path::new("/"));
                    all.append(supervisord::translate(&read(&path)?, folder));
                }
            }
        }
        supervisord::inherit(&ini, folder, &mut all);
        Ok(all)
    } else {
        Err(Failure::Usage(format!(
            "{}: neither a supervisord file, which has [program:…] sections, nor one of GearmanManager, which has a [GearmanManager] section",
            path.display()
        )))
    }
}

fn read(path: &Path) -> Result<ini::Sections, Failure> {
    let text = fs::read_to_string(path).map_err(|error| {
        Failure::Usage(format!(
            "cannot read {}: {}",
            path.display(),
            reason(&error)
        ))
    })?;
    ini::read(&text).map_err(|error| {
        Failure::Usage(format!("{} is not an ini file: {error:#}", path.display()))
    })
}

/// The names of the PHP files in a folder, sorted, without the ending.
fn php_files(folder: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "php")
            && let Some(name) = path.file_stem().and_then(|name| name.to_str())
        {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}
