//! From the tree to a [`Config`]: the file's sections, and the `server:` one.

use std::collections::BTreeMap;

use super::address::{Address, DEFAULT_PORT, DEFAULT_TLS_PORT};
use super::keys::{self, Section};
use super::pool::{Draft, Pools};
use super::problem::quote;
use super::read::{At, Entry, Reader};
use super::schema::{Config, PemFiles, PemPlaces, Server, ServerLimits, Tls};
use super::tree::{Node, Place, Value};

/// What the messages show when a file says nothing.
const EXAMPLE: &str = "fetchURL: {cmd: \"php fetch.php\", min: 2, max: 30}";

/// A file that includes others, or one of those.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Main,
    Included,
}

/// Checks a whole file, and those that it includes. What is wrong is with the reader afterwards.
pub(super) fn check<'r>(
    reader: &mut Reader<'r>,
    root: &Node,
    included: &[(At<'r>, Node)],
) -> Config {
    let mut config = Config::default();
    let mut pools = Pools {
        reader,
        defaults: Draft::default(),
        found: BTreeMap::new(),
    };
    file(&mut pools, root, Role::Main, &mut config);
    let defaults = pools.defaults.clone();
    for (at, root) in included {
        pools.reader.at = *at;
        pools.defaults = defaults.clone();
        file(&mut pools, root, Role::Included, &mut config);
    }
    config
}

/// The patterns of `include:`, as far as they are right, and where they stand.
pub(super) fn includes(reader: &mut Reader<'_>, root: &Node) -> Vec<(String, Place)> {
    let Value::Map(pairs) = &root.value else {
        return Vec::new();
    };
    let entries = reader.pairs(pairs);
    let entry = entries.into_iter().find(|entry| entry.key == "include");
    entry.map_or_else(Vec::new, |entry| include(reader, entry))
}

fn include(reader: &mut Reader<'_>, entry: Entry<'_>) -> Vec<(String, Place)> {
    const WANTED: &str = "a file, a pattern like conf.d/*.yaml, or a list of them";
    let mut patterns = Vec::new();
    for entry in reader.one_or_more(entry, WANTED).unwrap_or_default() {
        let Some(text) = reader.text(entry, WANTED) else {
            continue;
        };
        match glob::Pattern::new(&text) {
            Ok(_) => patterns.push((text, entry.place())),
            Err(error) => {
                let message = format!("{} is no pattern of file names: {error}", quote(&text));
                reader.problem(entry.place(), message);
            }
        }
    }
    patterns
}

fn file(pools: &mut Pools<'_, '_>, root: &Node, role: Role, config: &mut Config) {
    let reader = &mut *pools.reader;
    let pairs = match &root.value {
        Value::Map(pairs) if !pairs.is_empty() => pairs,
        // all of it may be commented out
        Value::Null | Value::Map(_) if role == Role::Included => return,
        Value::Null | Value::Map(_) => {
            let start = Place { line: 1, column: 1 };
            let message =
                format!("the file is empty: write a function and its command, like {EXAMPLE}");
            reader.problem(start, message);
            return;
        }
        value @ (Value::Scalar(_) | Value::List(_)) => {
            let message = format!(
                "the file must be a map of functions, like {EXAMPLE}, not {}",
                value.described()
            );
            reader.problem(root.place, message);
            return;
        }
    };
    let entries = reader.pairs(pairs);
    let sections = entries
        .iter()
        .any(|entry| keys::TOP.known.contains(&entry.key));
    if sections {
        // Every pool begins as the defaults, wherever in the file they are.
        // So they do what "server" says of them all.
        let section = entries.iter().find(|entry| entry.key == "server");
        if let Some(section) = section.filter(|_| role == Role::Main) {
            config.server = server(pools.reader, *section);
            pools
                .defaults
                .ends_the_daemon(config.server.exit_on_failure);
        }
        if let Some(defaults) = entries.iter().find(|entry| entry.key == "defaults") {
            pools.read_defaults(*defaults);
        }
        for entry in &entries {
            match entry.key {
                "server" | "include" if role == Role::Included => {
                    let message = format!(
                        "{} belongs in the file that includes this one",
                        quote(entry.key)
                    );
                    pools.reader.problem(entry.key_place, message);
                }
                "defaults" | "server" => {}
                "include" => drop(include(pools.reader, *entry)),
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
}

fn is_a_pool(node: &Node) -> bool {
    has_key(node, |key| key == "cmd" || key == "run")
}

pub(super) fn has_key(node: &Node, wanted: impl Fn(&str) -> bool) -> bool {
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

fn server(reader: &mut Reader<'_>, section: Entry<'_>) -> Server {
    let mut server = Server::default();
    let example = "{listen: \"127.0.0.1:4730\"}";
    for entry in reader.entries(section, example).unwrap_or_default() {
        match entry.key {
            "listen" => server.listen = listen(reader, entry, Wire::Plain),
            "tls" => server.tls = tls(reader, entry),
            "state_dir" => server.state_dir = reader.path(entry),
            "log_dir" => server.log_dir = reader.path(entry),
            "max_processes" => server.max_processes = reader.integer(entry, 1..=1_000_000),
            "exit_on_failure" => server.exit_on_failure = reader.truth(entry) == Some(true),
            "limits" => server.limits = limits(reader, entry),
            key => reader.problem(entry.key_place, keys::SERVER.unknown(key)),
        }
    }
    server
}

fn limits(reader: &mut Reader<'_>, section: Entry<'_>) -> ServerLimits {
    let mut limits = ServerLimits::default();
    for entry in reader
        .entries(section, "{connections: 20000}")
        .unwrap_or_default()
    {
        match entry.key {
            "connections" => limits.connections = reader.integer(entry, 1..=100_000_000),
            "packet_size" => limits.packet_size = reader.size(entry, 1 << 10..=1 << 31),
            "mailbox" => limits.mailbox = reader.size(entry, 1 << 10..=1 << 40),
            "buffers" => limits.buffers = reader.size(entry, 1 << 10..=1 << 50),
            "queued_bytes" => limits.queued_bytes = reader.size(entry, 1 << 10..=1 << 50),
            "queue_length" => limits.queue_length = reader.integer(entry, 0..=4_000_000_000),
            key => reader.problem(entry.key_place, keys::SERVER_LIMITS.unknown(key)),
        }
    }
    limits
}

/// What is spoken at the addresses of a list.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wire {
    Plain,
    Tls,
}

fn listen(reader: &mut Reader<'_>, entry: Entry<'_>, wire: Wire) -> Vec<Address> {
    let port = match wire {
        Wire::Plain => DEFAULT_PORT,
        Wire::Tls => DEFAULT_TLS_PORT,
    };
    let wanted = format!("an address, like 127.0.0.1:{port}, or a list of them");
    let mut addresses: Vec<Address> = Vec::new();
    for entry in reader.one_or_more(entry, &wanted).unwrap_or_default() {
        let Some(text) = reader.text(entry, &wanted) else {
            continue;
        };
        let address = match Address::parse(&text, Some(port)) {
            Ok(address) => address,
            Err(error) => {
                reader.problem(entry.place(), format!("\"listen\": {error}"));
                continue;
            }
        };
        let refusal = match (wire, &address) {
            (Wire::Plain, Address::Tls(..)) => Some("stands under \"tls\", in its \"listen\""),
            (Wire::Tls, Address::Unix(_)) => {
                Some("needs no TLS: nobody can listen in on a Unix socket")
            }
            (Wire::Plain | Wire::Tls, _) => None,
        };
        let address = match wire {
            Wire::Plain => address,
            Wire::Tls => address.encrypted(),
        };
        // Port 0 is whatever is free, twice if asked twice.
        let is_known = address.port() != Some(0) && addresses.contains(&address);
        match refusal.or(is_known.then_some("is listed twice")) {
            Some(refusal) => reader.problem(entry.place(), format!("{} {refusal}", quote(&text))),
            None => addresses.push(address),
        }
    }
    addresses
}

fn tls(reader: &mut Reader<'_>, section: Entry<'_>) -> Option<Tls> {
    let mut addresses = Vec::new();
    let (mut cert, mut key, mut client_ca) = (None, None, None);
    for entry in reader.entries(section, "{cert: server.crt, key: server.key}")? {
        let mut path = || reader.path(entry).map(|path| (path, entry.place()));
        match entry.key {
            "listen" => addresses = listen(reader, entry, Wire::Tls),
            "cert" => cert = path(),
            "key" => key = path(),
            "client_ca" => client_ca = path(),
            key => reader.problem(entry.key_place, keys::TLS.unknown(key)),
        }
    }
    for (key, what) in [
        ("cert", "the server's certificate"),
        ("key", "its private key"),
    ] {
        if !has_key(section.node, |other| other == key) {
            let message = format!("\"tls\" needs \"{key}\", the PEM file of {what}");
            reader.problem(section.key_place, message);
        }
    }
    if addresses.is_empty() {
        addresses.push(Address::local_tls());
    }
    let ((cert, cert_place), (key, key_place)) = (cert?, key?);
    let (client_ca, ca_place) = client_ca.unzip();
    Some(Tls {
        listen: addresses,
        files: PemFiles {
            cert,
            key,
            client_ca,
        },
        places: PemPlaces {
            cert: cert_place,
            key: key_place,
            client_ca: ca_place.unwrap_or(section.key_place),
        },
    })
}
