//! `scale.schedule:` of a pool: the hours at which it has other bounds than usual.

use std::time::Duration;

use super::keys;
use super::problem::quote;
use super::read::{Entry, Reader};
use super::schema::{Pool, Rush};
use super::tree::{Place, Value};

/// How long a rush is when the file does not say.
const HOUR: Duration = Duration::from_secs(3600);
/// Shorter than what cron counts in makes no sense.
const SHORTEST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(31 * 86_400);

/// Reads the list. Each rush comes with its place, for [`check`].
pub(super) fn read(reader: &mut Reader<'_>, entry: Entry<'_>) -> Option<Vec<(Rush, Place)>> {
    const WANTED: &str = "a list of rushes, like [{cron: \"0 8 * * mon-fri\", for: 2h, min: 10}]";
    let nodes = match &entry.node.value {
        Value::Null => return Some(Vec::new()),
        Value::List(nodes) => nodes,
        value @ (Value::Scalar(_) | Value::Map(_)) => {
            let message = format!("\"schedule\" must be {WANTED}, not {}", value.described());
            reader.problem(entry.place(), message);
            return None;
        }
    };
    let rushes = nodes.iter().map(|node| {
        let rush = rush(reader, Entry { node, ..entry })?;
        Some((rush, node.place))
    });
    // all of them, for their problems
    rushes.collect::<Vec<_>>().into_iter().collect()
}

fn rush(reader: &mut Reader<'_>, item: Entry<'_>) -> Option<Rush> {
    let (mut cron, mut lasts) = (None, HOUR);
    let (mut min, mut max) = (None, None);
    let mut is_right = true;
    let Value::Map(pairs) = &item.node.value else {
        let message = format!(
            "an entry of \"schedule\" must be a map, like {{cron: \"0 8 * * mon-fri\", min: 10}}, not {}",
            item.node.value.described()
        );
        reader.problem(item.node.place, message);
        return None;
    };
    for entry in reader.pairs(pairs) {
        match entry.key {
            "cron" => {
                let text = reader.text(entry, "five fields, like \"0 8 * * mon-fri\"")?;
                match text.parse() {
                    Ok(read) => cron = Some(read),
                    Err(error) => {
                        reader.problem(entry.place(), format!("\"cron\" {error}"));
                        is_right = false;
                    }
                }
            }
            "for" => match reader.duration(entry, SHORTEST) {
                Some(duration) if duration > LONGEST => {
                    let message = "\"for\" is at most 31d: a longer time is no rush, set \"min\"";
                    reader.problem(entry.place(), message);
                }
                duration => lasts = duration.unwrap_or(lasts),
            },
            "min" => min = reader.integer(entry, 0..=super::pool::MAX_PROCESSES),
            "max" => max = reader.integer(entry, 1..=super::pool::MAX_PROCESSES),
            key => reader.problem(entry.key_place, keys::RUSH.unknown(key)),
        }
    }
    if cron.is_none() && is_right {
        let message =
            "a rush needs \"cron\", the minutes at which it begins, like \"0 8 * * mon-fri\"";
        reader.problem(item.place(), message);
    }
    let said = |key| super::check::has_key(item.node, |other| other == key);
    if !said("min") && !said("max") {
        let message = "a rush needs \"min\" or \"max\", or nothing would be different";
        reader.problem(item.place(), message);
    }
    Some(Rush {
        cron: cron?,
        lasts,
        min,
        max,
    })
}

/// What a rush leaves out is the pool's own, and the two have to go together.
pub(super) fn check(reader: &mut Reader<'_>, pool: &Pool, places: &[(String, Place)]) {
    for (rush, (file, place)) in pool.scale.schedule.iter().zip(places) {
        let (min, max) = rush.bounds(pool);
        if min > max {
            let own = |said: Option<u32>| if said.is_some() { "" } else { " of the pool" };
            let message = format!(
                "\"min\"{} is {min} in the rush {} of {}, more than \"max\"{}, which is {max}",
                own(rush.min),
                quote(&rush.cron.to_string()),
                quote(&pool.name),
                own(rush.max)
            );
            reader.problem_of(file, *place, message);
        }
    }
}
