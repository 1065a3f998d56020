//! GearmanManager's ini file: one pool for its workers that do everything, and one for each function that has workers of its own.
//!
//! GearmanManager loads a function's code from `<worker_dir>/<function>.php` into processes that it forks. Here the same files are
//! loaded by a small worker, `examples/php/manager_worker.php`, which is given the folders and the functions that it is to register.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::ini::{Section, Sections};
use super::translation::{Pool, Translation};

const MAIN: &str = "GearmanManager";

/// The worker that loads such files.
const WORKER: &str = "manager_worker.php";

/// Lists the PHP files of a folder, without the ending.
type List<'a> = &'a dyn Fn(&Path) -> io::Result<Vec<String>>;

/// Whether this is a file of GearmanManager's.
pub(super) fn is_one(ini: &Sections) -> bool {
    ini.contains_key(MAIN)
}

/// One function, and how many workers it has for itself.
struct Function<'a> {
    name: String,
    section: Option<&'a Section>,
    is_dedicated: bool,
}

/// Translates it. Relative folders are taken from `folder`, `list` tells which functions there are.
pub(super) fn translate(ini: &Sections, folder: &Path, list: List<'_>) -> Translation {
    let mut all = Translation::default();
    let nothing = Section::new();
    let main = ini.get(MAIN).unwrap_or(&nothing);
    let word = |key: &str| {
        main.get(key)
            .map(|value| unquoted(value))
            .filter(|value| !value.is_empty())
    };
    let number = |key: &str| word(key).and_then(|value| value.parse::<u32>().ok());

    let dirs: Vec<PathBuf> = word("worker_dir")
        .unwrap_or("./workers")
        .split(',')
        .map(|dir| folder.join(dir.trim()).components().collect())
        .collect();
    let names = functions(
        &dirs,
        list,
        (word("include"), word("exclude")),
        ini,
        &mut all.notes,
    );
    let functions: Vec<Function<'_>> = names
        .into_iter()
        .map(|name| {
            let section = ini.get(&name);
            let is_dedicated = section
                .and_then(|section| section.get("dedicated_only"))
                .is_some_and(|value| is_true(unquoted(value)));
            Function {
                name,
                section,
                is_dedicated,
            }
        })
        .collect();

    let command = |names: &[&str]| {
        let mut words = vec!["php".to_owned(), WORKER.to_owned()];
        let prefix = word("prefix").map(|prefix| format!("--prefix={prefix}"));
        words.extend(prefix);
        let dirs: Vec<_> = dirs.iter().map(|dir| dir.to_string_lossy()).collect();
        words.push(dirs.join(","));
        words.extend(names.iter().map(|&name| name.to_owned()));
        json!(words)
    };
    let common = |pool: &mut Pool| {
        if let Some(lifetime) = number("max_worker_lifetime") {
            pool.set("max_lifetime", format!("{lifetime}s"));
        }
        if let Some(runs) = number("max_runs_per_worker").filter(|&runs| runs > 0) {
            pool.set("max_jobs", runs);
        }
        if let Some(user) = word("user") {
            pool.set("user", user);
        }
        if word("auto_update").is_some_and(is_true) {
            let globs = dirs.iter().map(|dir| dir.join("*.php"));
            let globs: Vec<_> = globs
                .map(|glob| glob.to_string_lossy().into_owned())
                .collect();
            pool.set("watch", json!(globs));
        }
    };

    let every = number("count").unwrap_or(0);
    let shared: Vec<&str> = functions
        .iter()
        .filter(|function| !function.is_dedicated)
        .map(|function| function.name.as_str())
        .collect();
    if every > 0 && !shared.is_empty() {
        let mut pool = Pool::new("all");
        pool.set("cmd", command(&shared));
        pool.set("functions", json!(shared));
        pool.set("count", every);
        common(&mut pool);
        all.pools.push(pool);
    }
    for function in &functions {
        let own = |key: &str| {
            let value = function.section.and_then(|section| section.get(key))?;
            unquoted(value).parse::<u32>().ok()
        };
        let for_all = if function.is_dedicated { 0 } else { every };
        // `count` is how many can do it in all, `dedicated_count` how many do nothing else; one at least can do it
        let dedicated = own("dedicated_count")
            .or(number("dedicated_count"))
            .unwrap_or(0);
        let wanted = own("count").unwrap_or(0).max(for_all + dedicated).max(1);
        if wanted > for_all {
            let mut pool = Pool::new(&function.name);
            pool.set("cmd", command(&[&function.name]));
            pool.set("count", wanted - for_all);
            common(&mut pool);
            for (key, value) in function.section.into_iter().flatten() {
                match key.as_str() {
                    "count" | "dedicated_count" | "dedicated_only" => {}
                    "timeout" => match unquoted(value).parse::<u32>() {
                        Ok(0) => {}
                        Ok(seconds) => {
                            pool.set("timeout", format!("{seconds}s"));
                            if for_all > 0 {
                                pool.note(format!(
                                    "timeout={value} is a limit of these processes; those of \"all\" do the function too, see {WORKER} --timeout"
                                ));
                            }
                        }
                        Err(_) => pool.note(format!("timeout is no number: {value}")),
                    },
                    other => pool.note(format!("{other}={value} has no equivalent")),
                }
            }
            all.pools.push(pool);
        }
    }
    all.notes.insert(
        0,
        format!(
            "the commands load the files of worker_dir with {WORKER}, from gearpool's examples/php: put it beside this file, or its path into the commands"
        ),
    );
    for (key, value) in main {
        match key.as_str() {
            "worker_dir" | "include" | "exclude" | "count" | "dedicated_count" | "prefix" | "user"
            | "max_worker_lifetime" | "max_runs_per_worker" | "auto_update" => {}
            "host" => all.notes.push(format!(
                "host={value} is left out: the workers connect to gearpool; the clients have to, too"
            )),
            "log_file" | "pid_file" | "daemon" | "verbose" => all.notes.push(format!(
                "{key} is left out: see `gearpool serve --help`; the workers' output is in a log for each"
            )),
            other => all.notes.push(format!("{other}={value} has no equivalent")),
        }
    }
    all
}

/// The functions: the files of the folders that include and exclude let through, then the sections that name others.
fn functions(
    dirs: &[PathBuf],
    list: List<'_>,
    (include, exclude): (Option<&str>, Option<&str>),
    ini: &Sections,
    notes: &mut Vec<String>,
) -> Vec<String> {
    let named = |text: Option<&str>| -> Vec<String> {
        text.filter(|text| *text != "*")
            .map(|text| text.split(',').map(|name| name.trim().to_owned()).collect())
            .unwrap_or_default()
    };
    let (include, exclude) = (named(include), named(exclude));
    let mut names = Vec::new();
    for dir in dirs {
        match list(dir) {
            Ok(files) => names.extend(files),
            Err(error) => notes.push(format!(
                "{}: cannot be listed ({error}), so only the functions that have a section are here",
                dir.display()
            )),
        }
    }
    names.retain(|name| (include.is_empty() || include.contains(name)) && !exclude.contains(name));
    for section in ini.keys().filter(|section| *section != MAIN) {
        if !names.contains(section) && !exclude.contains(section) {
            names.push(section.clone());
        }
    }
    names
}

fn unquoted(value: &str) -> &str {
    let value = value.trim();
    value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'))
        .unwrap_or(value)
}

fn is_true(value: &str) -> bool {
    ["1", "true", "yes", "on"].contains(&value.to_ascii_lowercase().as_str())
}
