//! `gearpool import`: the file of another program as one of ours.
//!
//! Each translator turns text into a [`Translation`]: the pools, and a sentence for everything that does not come along. What a
//! translator does not know it must say, never drop.

mod gearman_manager;
mod ini;
mod supervisord;
mod translation;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use self::translation::Translation;
use super::{Failure, terminal};
use crate::daemon::file;

const EXAMPLES: &str = "\
The YAML goes to standard output, and what has no equivalent to standard error and, as comments, into the YAML.
A supervisord file is known by its [program:…] sections, one of GearmanManager by its [GearmanManager] section.

Exit status: 0 done, 1 the result is not right yet (it is printed all the same, with what is wrong), 2 the file cannot be read.

Examples:
  gearpool import /etc/supervisor/conf.d/workers.conf > workers.yaml
  gearpool import /etc/supervisor/conf.d/*.conf > workers.yaml
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
        for path in &self.files {
            whole.append(translate(path)?);
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

fn translate(path: &Path) -> Result<Translation, Failure> {
    let unread = |error: anyhow::Error| Failure::Usage(format!("{error:#}"));
    let text = fs::read_to_string(path)
        .with_context(|| format!("cannot read {}", path.display()))
        .map_err(unread)?;
    let ini = ini::read(&text)
        .with_context(|| format!("{} is not an ini file", path.display()))
        .map_err(unread)?;
    let path = std::path::absolute(path)
        .context("cannot tell the current folder")
        .map_err(unread)?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    if gearman_manager::is_one(&ini) {
        Ok(gearman_manager::translate(&ini, folder, &|folder| {
            php_files(folder)
        }))
    } else if supervisord::is_one(&ini) {
        Ok(supervisord::translate(&ini, folder))
    } else {
        Err(Failure::Usage(format!(
            "{}: neither a supervisord file, which has [program:…] sections, nor one of GearmanManager, which has a [GearmanManager] section",
            path.display()
        )))
    }
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
