//! supervisord's file: a pool for each `[program:x]`. Its keys and their defaults are in supervisord's manual, "Configuration File".

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::ini::{Section, Sections};
use super::translation::{Pool, Translation};

/// Whether this is a file of supervisord's.
pub(super) fn is_one(ini: &Sections) -> bool {
    ini.keys().any(|section| {
        ["program:", "group:", "fcgi-program:", "eventlistener:"]
            .iter()
            .any(|kind| section.starts_with(kind))
            || ["supervisord", "include", "supervisorctl"].contains(&section.as_str())
    })
}

/// Translates it. `folder` is what `%(here)s` stands for.
pub(super) fn translate(ini: &Sections, folder: &Path) -> Translation {
    let mut all = Translation::default();
    for (section, keys) in ini {
        match section.split_once(':') {
            Some(("program", name)) => {
                if let Some(pool) = program(name, keys, folder, &mut all.notes) {
                    all.pools.push(pool);
                }
            }
            Some((kind @ ("eventlistener" | "fcgi-program"), name)) => all.notes.push(format!(
                "[{kind}:{name}] is left out: gearpool runs workers of a job queue and has no such thing"
            )),
            Some(("group", name)) => all.notes.push(format!(
                "[group:{name}] is left out: start, stop and restart take several pools by their names"
            )),
            _ => match section.as_str() {
                // followed by who has the files
                "include" => {}
                "unix_http_server" | "inet_http_server" | "supervisorctl" => all.notes.push(format!(
                    "[{section}] is left out: the daemon's own commands find it by its folder, `server: {{state_dir: …}}`"
                )),
                "supervisord" => all.notes.push(
                    "[supervisord] has no other equivalent than environment, directory, umask and user of its programs: see `gearpool serve --help` for the pid file and the log".to_owned(),
                ),
                other if other.starts_with("rpcinterface:") => {}
                other => all.notes.push(format!("[{other}] is not a section that is known here")),
            },
        }
    }
    all
}

/// The patterns of the files that it includes, which look like it but for `[supervisord]` and `[include]`.
pub(super) fn includes(ini: &Sections, folder: &Path) -> Vec<PathBuf> {
    let files = ini.get("include").and_then(|include| include.get("files"));
    let patterns = files.map_or("", String::as_str).split_whitespace();
    patterns
        .map(|pattern| folder.join(expand(pattern, "1", folder)))
        .collect()
}

/// What every program has from `[supervisord]`, unless it says otherwise.
pub(super) fn inherit(ini: &Sections, folder: &Path, all: &mut Translation) {
    let nothing = Section::new();
    let main = ini.get("supervisord").unwrap_or(&nothing);
    for (key, ours) in [("user", "user"), ("umask", "umask"), ("directory", "cwd")] {
        let Some(value) = main.get(key) else { continue };
        let value = expand(&value.trim().replace('$', "$$"), "1", folder);
        for pool in &mut all.pools {
            pool.keys.entry(ours).or_insert_with(|| json!(value));
        }
    }
    let Some(text) = main.get("environment") else {
        return;
    };
    let text = expand(&text.trim().replace('$', "$$"), "1", folder);
    let Some(variables) = environment(&text) else {
        let note = format!("environment of [supervisord] cannot be read: {text}");
        return all.notes.push(note);
    };
    for pool in &mut all.pools {
        let env = pool.keys.entry("env").or_insert_with(|| json!({}));
        for (name, value) in &variables {
            if env.get(name).is_none() {
                env[name] = json!(value);
            }
        }
    }
}

/// One program; `None` when it is a job server, which is what Gearpool is itself.
fn program(name: &str, keys: &Section, folder: &Path, notes: &mut Vec<String>) -> Option<Pool> {
    let mut pool = Pool::new(name);
    let count = keys.get("numprocs").map_or("1", |count| count.trim());
    let expand = |text: &str| expand(text, count, folder);
    let command = keys.get("command").map_or("", String::as_str);
    let words: Vec<String> = match shlex::split(command) {
        Some(words) => words
            .iter()
            .map(|word| expand(&word.replace('$', "$$")))
            .collect(),
        None => {
            pool.note("the quotes in its command do not match");
            vec![command.to_owned()]
        }
    };
    let program = words.first().and_then(|word| Path::new(word).file_name());
    if program.is_some_and(|program| program == "gearmand") {
        notes.push(format!(
            "[program:{name}] is left out: gearpool is the job server itself, and takes gearmand's flags after `gearpool serve`"
        ));
        return None;
    }
    pool.set("cmd", command_value(&words));
    if program.is_some_and(|program| program == "gearman") {
        let functions = functions_of_the_tool(&words);
        if !functions.is_empty() {
            pool.set("functions", functions);
        }
    }

    // what it is unless the file says so: one that ends with status 0 stays down
    let mut restart = Some("on-failure");
    for (key, value) in keys {
        // a dollar is itself there, and begins a variable here
        let value = expand(&value.trim().replace('$', "$$"));
        match key.as_str() {
            "command" => {}
            "numprocs" => match value.parse::<u32>() {
                Ok(count) => pool.set("count", count),
                Err(_) => pool.note(format!("numprocs is no number: {value}")),
            },
            "process_name" if ["{pool}", "{pool}_{slot}", "{slot}"].contains(&value.as_str()) => {}
            "process_name" => pool.note("process_name: processes are called POOL/SLOT"),
            "numprocs_start" => pool.note("numprocs_start: slots count from their own first number"),
            "directory" => pool.set("cwd", value),
            "umask" => pool.set("umask", value),
            "user" => pool.set("user", value),
            "environment" => match environment(&value) {
                Some(variables) => pool.set("env", json!(variables)),
                None => pool.note(format!("environment cannot be read: {value}")),
            },
            "autostart" if is_false(&value) => {
                pool.note("autostart=false: it starts with the daemon here; `gearpool stop` keeps it down")
            }
            "autostart" => {}
            "autorestart" if is_false(&value) => restart = Some("never"),
            "autorestart" if is_true(&value) => restart = None,
            "autorestart" => {}
            "exitcodes" if value == "0" => {}
            "exitcodes" => pool.note(format!(
                "exitcodes={value}: `restart: on-failure` takes 0 alone for a good end"
            )),
            "startsecs" => pool.note(
                "startsecs: a process counts as started when it has registered its function, within start_timeout",
            ),
            "startretries" => pool.note(
                "startretries: a pool that keeps dying is tried again for ever, at growing intervals up to 30 s, and shown as failing",
            ),
            "stopsignal" => pool.set("stop_signal", value),
            "stopwaitsecs" => pool.set("stop_timeout", seconds(&value)),
            // the whole process group is signalled in any case
            "stopasgroup" | "killasgroup" => {}
            "priority" => pool.note("priority: the order of starting has no meaning for workers of a queue"),
            "stdout_logfile" if value.eq_ignore_ascii_case("AUTO") => {}
            "stdout_logfile" if is_log_file(&value) => log(&mut pool, "file", json!(device(&value))),
            "stdout_logfile" => pool.note(format!(
                "stdout_logfile={value}: the output is in <log_dir>/{name}/<slot>.log, and shown by `gearpool logs {name}`"
            )),
            "stdout_logfile_maxbytes" if value == "0" => {
                pool.note("stdout_logfile_maxbytes=0: a log always has a bound here, `log: {max_size: …}`")
            }
            "stdout_logfile_maxbytes" => log(&mut pool, "max_size", json!(value)),
            "stdout_logfile_backups" => match value.parse::<u32>() {
                Ok(keep) => log(&mut pool, "keep", json!(keep)),
                Err(_) => pool.note(format!("stdout_logfile_backups is no number: {value}")),
            },
            "redirect_stderr" if is_true(&value) => {}
            "redirect_stderr" => log_apart(&mut pool, "separate"),
            "stderr_logfile" if is_log_file(&value) => log_apart(&mut pool, device(&value)),
            "stderr_logfile" if value.eq_ignore_ascii_case("AUTO") => log_apart(&mut pool, "separate"),
            "stderr_logfile" => {
                log_apart(&mut pool, "separate");
                pool.note(format!(
                    "stderr_logfile={value}: it is beside the log of stdout, with .err.log at its end"
                ));
            }
            other => pool.note(format!("{other}={value} has no equivalent")),
        }
    }
    if let Some(restart) = restart {
        pool.set("restart", restart);
    }
    pool.notes.dedup();
    Some(pool)
}

fn log(pool: &mut Pool, key: &str, value: Value) {
    let log = pool.keys.entry("log").or_insert_with(|| json!({}));
    log[key] = value;
}

/// Where stderr goes; what names a file is worth more than what names none.
fn log_apart(pool: &mut Pool, place: &str) {
    let named = pool.keys.get("log").and_then(|log| log.get("stderr"));
    if place != "separate" || named.is_none() {
        log(pool, "stderr", json!(place));
    }
}

/// Whether it is a file of each process, or a device that all may share.
fn is_log_file(value: &str) -> bool {
    value.starts_with("/dev/") || (value.contains("{slot}") && value.contains('/'))
}

/// supervisord's file for its own standard output is a device of another name.
fn device(value: &str) -> &str {
    match value {
        "/dev/fd/1" => "/dev/stdout",
        "/dev/fd/2" => "/dev/stderr",
        other => other,
    }
}

/// As one line where nothing in it needs quotes, else as a list of words.
fn command_value(words: &[String]) -> Value {
    let is_plain = |word: &String| {
        !word.is_empty()
            && word
                .chars()
                .all(|c| c.is_alphanumeric() || "_./:=@%+,-{}".contains(c))
    };
    let is_assignment = words.first().is_some_and(|word| word.contains('='));
    match words.iter().all(is_plain) && !is_assignment {
        true => json!(words.join(" ")),
        false => json!(words),
    }
}

/// What `gearman -w` registers: its `-f` words.
fn functions_of_the_tool(words: &[String]) -> Vec<String> {
    let mut functions = Vec::new();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.strip_prefix("-f") {
            Some("") => functions.extend(words.next().cloned()),
            Some(name) => functions.push(name.to_owned()),
            None => {}
        }
    }
    functions
}

/// Python's `%(name)s`, as supervisord fills it in.
fn expand(text: &str, numprocs: &str, folder: &Path) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        expanded.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            expanded.push('%');
            rest = after;
            continue;
        }
        let named = rest
            .strip_prefix('(')
            .and_then(|inner| inner.split_once(')'));
        let Some((name, after)) = named else {
            expanded.push('%');
            continue;
        };
        // the conversion: `s`, `d`, `02d`
        let digits = after.trim_start_matches(|c: char| c.is_ascii_digit());
        let Some(after) = digits.strip_prefix(['s', 'd']) else {
            expanded.push('%');
            continue;
        };
        match name {
            "program_name" | "group_name" => expanded.push_str("{pool}"),
            "process_num" => expanded.push_str("{slot}"),
            "here" => expanded.push_str(&folder.to_string_lossy()),
            "host_node_name" => expanded.push_str("${HOSTNAME}"),
            "numprocs" => expanded.push_str(numprocs),
            _ => match name.strip_prefix("ENV_") {
                Some(variable) => expanded.push_str(&format!("${{{variable}}}")),
                None => expanded.push_str(&format!("%({name})s")),
            },
        }
        rest = after;
    }
    expanded.push_str(rest);
    expanded
}

/// `KEY="value",KEY2=value2`, where a value may hold commas in quotes.
fn environment(text: &str) -> Option<BTreeMap<String, String>> {
    // outside quotes a comma is a blank, so that each pair is one word
    let mut quote = None;
    let spaced: String = text
        .chars()
        .map(|c| match (quote, c) {
            (None, '"' | '\'') => {
                quote = Some(c);
                c
            }
            (Some(open), c) if c == open => {
                quote = None;
                c
            }
            (None, ',' | '\n') => ' ',
            (_, c) => c,
        })
        .collect();
    shlex::split(&spaced)?
        .into_iter()
        .map(|pair| {
            pair.split_once('=')
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
        })
        .collect()
}

fn seconds(value: &str) -> Value {
    match value.parse::<u64>() {
        Ok(seconds) => json!(format!("{seconds}s")),
        Err(_) => json!(value),
    }
}

fn is_true(value: &str) -> bool {
    ["true", "yes", "on", "1", "t", "y"].contains(&value.to_ascii_lowercase().as_str())
}

fn is_false(value: &str) -> bool {
    ["false", "no", "off", "0", "f", "n"].contains(&value.to_ascii_lowercase().as_str())
}
