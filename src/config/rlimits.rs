//! `limits:` of a pool: what its processes may have of the system, setrlimit(2).

use std::time::Duration;

use super::keys;
use super::read::{Entry, Reader};
use super::schema::{Limit, Limits, Resource};
use super::tree::Value;

/// Reads the section into what was said before.
pub(super) fn read(reader: &mut Reader<'_>, limits: &mut Limits, section: Entry<'_>) {
    let entries = reader.entries(section, "{nofile: 4096}");
    for entry in entries.unwrap_or_default() {
        match Resource::ALL.into_iter().find(|it| it.name() == entry.key) {
            Some(resource) => {
                if let Some(limit) = limit(reader, resource, entry) {
                    limits.0.insert(resource, limit);
                }
            }
            None => {
                let message = keys::LIMITS.unknown(entry.key);
                reader.problem(entry.key_place, message);
            }
        }
    }
}

/// One value for both, `max` for as much as the daemon may have, or `{soft: …, hard: …}`.
fn limit(reader: &mut Reader<'_>, resource: Resource, entry: Entry<'_>) -> Option<Limit> {
    let mut limit = Limit {
        soft: None,
        hard: None,
    };
    match &entry.node.value {
        Value::Map(pairs) => {
            for entry in reader.pairs(pairs) {
                match entry.key {
                    "soft" => limit.soft = amount(reader, resource, entry),
                    "hard" => limit.hard = amount(reader, resource, entry),
                    key => {
                        let message = keys::LIMIT.unknown(key);
                        reader.problem(entry.key_place, message);
                    }
                }
            }
            if limit.hard.is_some_and(|hard| limit.soft > Some(hard)) {
                let message = format!("\"{}\": soft is more than hard", entry.key);
                reader.problem(entry.place(), message);
                return None;
            }
            Some(limit)
        }
        Value::Scalar(text) if text.trim() == "max" => Some(limit),
        Value::Null | Value::Scalar(_) | Value::List(_) => {
            amount(reader, resource, entry).map(Limit::of)
        }
    }
}

fn amount(reader: &mut Reader<'_>, resource: Resource, entry: Entry<'_>) -> Option<u64> {
    const COUNT: i128 = 1_000_000_000;
    if matches!(&entry.node.value, Value::Scalar(text) if text.trim() == "unlimited") {
        return Some(Limit::UNLIMITED);
    }
    match resource {
        Resource::Nofile | Resource::Nproc => reader.integer(entry, 1..=COUNT),
        Resource::Cpu => {
            let time = reader.duration(entry, Duration::from_secs(1));
            time.map(|time| time.as_secs())
        }
        Resource::AddressSpace | Resource::Data | Resource::Stack => {
            reader.size(entry, 1 << 20..=u64::MAX)
        }
        Resource::Core | Resource::Fsize | Resource::Memlock => reader.size(entry, 0..=u64::MAX),
    }
}
