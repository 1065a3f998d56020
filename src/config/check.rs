//! From the tree to a [`Config`]: the file's sections, and the `server:` one.

use super::command::Env;
use super::keys::{self, Section};
use super::pool::{Draft, Pools};
use super::problem::{Problem, quote};
use super::read::{Entry, Reader};
use super::schema::{Config, Listen, Server};
use super::tree::{Node, Place, Value};

/// What the messages show when a file says nothing.
const EXAMPLE: &str = "fetchURL: {cmd: \"php fetch.php\", min: 2, max: 30}";

/// Checks a whole file.
///
/// # Errors
/// All problems, in no order.
pub(super) fn check(root: &Node, env: Env<'_>) -> Result<Config, Vec<Problem>> {
    let mut reader = Reader::default();
    let config = file(&mut reader, root, env);
    if reader.problems.is_empty() {
        Ok(config)
    } else {
        Err(reader.problems)
    }
}

fn file(reader: &mut Reader, root: &Node, env: Env<'_>) -> Config {
    let mut config = Config::default();
    let pairs = match &root.value {
        Value::Map(pairs) if !pairs.is_empty() => pairs,
        Value::Null | Value::Map(_) => {
            let start = Place { line: 1, column: 1 };
            let message =
                format!("the file is empty: write a function and its command, like {EXAMPLE}");
            reader.problem(start, message);
            return config;
        }
        value @ (Value::Scalar(_) | Value::List(_)) => {
            let message = format!(
                "the file must be a map of functions, like {EXAMPLE}, not {}",
                value.described()
            );
            reader.problem(root.place, message);
            return config;
        }
    };
    let entries = reader.pairs(pairs);
    let sections = entries
        .iter()
        .any(|entry| keys::TOP.known.contains(&entry.key));
    let mut pools = Pools {
        reader,
        env,
        defaults: Draft::default(),
    };
    if sections {
        // Every pool begins as the defaults, wherever in the file they are.
        if let Some(defaults) = entries.iter().find(|entry| entry.key == "defaults") {
            pools.read_defaults(*defaults);
        }
        for entry in &entries {
            match entry.key {
                "defaults" => {}
                "server" => config.server = server(pools.reader, *entry),
                "functions" => {
                    let example = "{resize: {cmd: \"php resize.php\", max: 4}}";
                    for entry in pools.reader.entries(*entry, example).unwrap_or_default() {
                        pools.read_pool(entry, &mut config.pools);
                    }
                }
                key => {
                    let message = if is_a_pool(entry.node) {
                        format!("{} must stand under \"functions\"", quote(key))
                    } else {
                        keys::TOP.unknown(key)
                    };
                    pools.reader.problem(entry.key_place, message);
                }
            }
        }
    } else {
        for entry in entries {
            if let Some(message) = misspelt_section(entry) {
                pools.reader.problem(entry.key_place, message);
            } else {
                pools.read_pool(entry, &mut config.pools);
            }
        }
    }
    config
}

fn is_a_pool(node: &Node) -> bool {
    has_key(node, |key| key == "cmd" || key == "run")
}

fn has_key(node: &Node, wanted: impl Fn(&str) -> bool) -> bool {
    let Value::Map(pairs) = &node.value else {
        return false;
    };
    pairs
        .iter()
        .any(|(key, _)| matches!(&key.value, Value::Scalar(key) if wanted(key)))
}

/// In a file without sections every key is a function. One that looks like a section and holds nothing that a function has is none.
fn misspelt_section(entry: Entry<'_>) -> Option<String> {
    let Section { later, .. } = keys::TOP;
    if later.contains(&entry.key) && !has_key(entry.node, |_| true) {
        return Some(keys::TOP.unknown(entry.key));
    }
    let meant = keys::TOP.nearest(entry.key)?;
    let of_a_pool = |key: &str| keys::POOL.known.contains(&key) || keys::POOL.later.contains(&key);
    let section = has_key(entry.node, |_| true) && !has_key(entry.node, of_a_pool);
    section.then(|| {
        format!(
            "unknown key {}, did you mean \"{meant}\"?",
            quote(entry.key)
        )
    })
}

fn server(reader: &mut Reader, section: Entry<'_>) -> Server {
    let mut server = Server::default();
    let example = "{listen: \"127.0.0.1:4730\"}";
    for entry in reader.entries(section, example).unwrap_or_default() {
        match entry.key {
            "listen" => server.listen = listen(reader, entry),
            "state_dir" => server.state_dir = reader.path(entry),
            "log_dir" => server.log_dir = reader.path(entry),
            "max_processes" => server.max_processes = reader.integer(entry, 1..=1_000_000),
            key => reader.problem(entry.key_place, keys::SERVER.unknown(key)),
        }
    }
    server
}

fn listen(reader: &mut Reader, entry: Entry<'_>) -> Vec<Listen> {
    const WANTED: &str = "an address, like 127.0.0.1:4730, or a list of them";
    let mut addresses: Vec<Listen> = Vec::new();
    for entry in reader.one_or_more(entry, WANTED).unwrap_or_default() {
        let Some(text) = reader.text(entry, WANTED) else {
            continue;
        };
        match text.parse::<Listen>() {
            // Port 0 is whatever is free, twice if asked twice.
            Ok(Listen::Tcp(host, port))
                if port != 0 && addresses.contains(&Listen::Tcp(host.clone(), port)) =>
            {
                reader.problem(entry.place(), format!("{} is listed twice", quote(&text)));
            }
            Ok(Listen::Unix(path)) if addresses.contains(&Listen::Unix(path.clone())) => {
                reader.problem(entry.place(), format!("{} is listed twice", quote(&text)));
            }
            Ok(address) => addresses.push(address),
            Err(error) => reader.problem(entry.place(), format!("\"listen\": {error}")),
        }
    }
    addresses
}
