//! `log:` of a pool: where its processes' output goes and how it is kept.

use std::path::Path;

use indexmap::IndexMap;

use super::keys;
use super::problem::quote;
use super::read::{Entry, Reader, set};
use super::schema::{Log, LogFormat, Pool, Stderr};

const FORMATS: [(&str, LogFormat); 2] = [("text", LogFormat::Text), ("json", LogFormat::Json)];

/// Reads the section into the pool's `log`. A pool without a name is `defaults:`.
pub(super) fn read(reader: &mut Reader<'_>, pool: &mut Pool, section: Entry<'_>) {
    let example = "{max_size: 10MiB, keep: 5}";
    for entry in reader.entries(section, example).unwrap_or_default() {
        let log = &mut pool.log;
        match entry.key {
            "file" => log.file = pattern(reader, entry, pool.name.is_empty()),
            "stderr" => {
                const WANTED: &str = "together, separate or a path";
                match reader.text(entry, WANTED).as_deref().map(str::trim) {
                    Some("together") => log.stderr = Stderr::Together,
                    Some("separate") => log.stderr = Stderr::Separate,
                    Some(path) if path.contains('/') => {
                        let path = pattern(reader, entry, pool.name.is_empty());
                        log.stderr = path.map_or(Stderr::Separate, Stderr::File);
                    }
                    Some(other) => {
                        let message = format!("\"stderr\" must be {WANTED}, not {}", quote(other));
                        reader.problem(entry.place(), message);
                    }
                    None => {}
                }
            }
            "max_size" => set(&mut log.max_size, reader.size(entry, 4 << 10..=u64::MAX)),
            "keep" => set(&mut log.keep, reader.integer(entry, 0..=1000)),
            "compress" => set(&mut log.compress, reader.truth(entry)),
            "format" => set(&mut log.format, reader.choice(entry, &FORMATS)),
            "timestamps" => set(&mut log.timestamps, reader.truth(entry)),
            "max_line" => set(&mut log.max_line, reader.size(entry, 80..=16 << 20)),
            key => reader.problem(entry.key_place, keys::LOG.unknown(key)),
        }
    }
}

/// No two pools may write into one file: each would rotate it under the other.
pub(super) fn check(
    reader: &mut Reader<'_>,
    entry: Entry<'_>,
    pool: &Pool,
    others: &IndexMap<String, Pool>,
) {
    let own = files(pool);
    let shared = |files: &[String]| own.iter().find(|file| files.contains(file)).cloned();
    let twice = match &own[..] {
        [file, errors] if file == errors => Some(format!(
            "standard output and standard error of {} have the same file, {}; leave \"stderr\" out to have both in it",
            quote(&pool.name),
            quote(file)
        )),
        _ => others.values().find_map(|other| {
            shared(&files(other)).map(|file| {
                let (one, two) = (quote(&other.name), quote(&pool.name));
                format!(
                    "{one} and {two} have the same log file, {}; write {{pool}} into it",
                    quote(&file)
                )
            })
        }),
    };
    if let Some(message) = twice {
        reader.problem(entry.key_place, message);
    }
}

/// The files of a pool's first slot that are not the default ones. Devices may be shared.
fn files(pool: &Pool) -> Vec<String> {
    let errors = match &pool.log.stderr {
        Stderr::File(path) => Some(path),
        Stderr::Together | Stderr::Separate => None,
    };
    let all = pool.log.file.iter().chain(errors);
    all.filter(|path| !Log::is_device(Path::new(path)))
        .map(|path| Log::path(path, &pool.name, 1).display().to_string())
        .collect()
}

/// A path for every slot, and in `defaults:` for every pool.
fn pattern(reader: &mut Reader<'_>, entry: Entry<'_>, of_all_pools: bool) -> Option<String> {
    let text = reader.text(entry, "a path with {slot} in it")?;
    let missing = match (text.contains("{slot}"), text.contains("{pool}")) {
        _ if Log::is_device(Path::new(&text)) => None,
        (false, _) => Some("{slot}"),
        (true, false) if of_all_pools => Some("{pool}"),
        (true, _) => None,
    };
    if let Some(missing) = missing {
        let each = if missing == "{slot}" {
            "process"
        } else {
            "pool"
        };
        let message = format!(
            "{} needs {missing} in its path, so that each {each} has a file of its own; it is {}",
            quote(entry.key),
            quote(&text)
        );
        reader.problem(entry.place(), message);
        return None;
    }
    let path = reader.at.folder.join(text);
    Some(path.to_string_lossy().into_owned())
}
