//! What another program's file comes to.

use indexmap::IndexMap;
use serde_json::Value;

/// The pools, and what could not be taken over.
#[derive(Debug, Default)]
pub(super) struct Translation {
    /// In the order of the file.
    pub(super) pools: Vec<Pool>,
    /// Of the whole file: a sentence each.
    pub(super) notes: Vec<String>,
}

/// One entry of `functions:`.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) name: String,
    /// Its keys, as the file is to have them.
    pub(super) keys: IndexMap<&'static str, Value>,
    /// What of it could not be taken over: a sentence each.
    pub(super) notes: Vec<String>,
}

impl Pool {
    pub(super) fn new(name: &str) -> Pool {
        Pool {
            name: name.to_owned(),
            keys: IndexMap::new(),
            notes: Vec::new(),
        }
    }

    pub(super) fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        self.keys.insert(key, value.into());
    }

    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }
}

impl Translation {
    /// Adds another file's. A pool's name is its own: a second one of the same name is left out and named.
    pub(super) fn append(&mut self, other: Translation) {
        for pool in other.pools {
            match self.pools.iter().any(|had| had.name == pool.name) {
                true => self.notes.push(format!(
                    "a second {} is left out: a pool's name stands once",
                    pool.name
                )),
                false => self.pools.push(pool),
            }
        }
        self.notes.extend(other.notes);
    }

    /// Every sentence, those about a pool with its name.
    pub(super) fn all_notes(&self) -> impl Iterator<Item = String> + '_ {
        let of_pools = self.pools.iter().flat_map(|pool| {
            pool.notes
                .iter()
                .map(|note| format!("{}: {note}", pool.name))
        });
        self.notes.iter().cloned().chain(of_pools)
    }

    /// The file.
    pub(super) fn yaml(&self) -> String {
        let mut yaml = String::from(
            "# Written by `gearpool import`. A pool's name is the function that its processes register, unless `functions:` says otherwise.\n\
             # `count: 10` keeps ten processes; `min: 2` and `max: 30` let the queue decide.\n",
        );
        for note in &self.notes {
            comment(&mut yaml, "", note);
        }
        yaml.push_str("\nfunctions:\n");
        for pool in &self.pools {
            yaml.push_str(&format!("  {}:\n", Value::from(pool.name.as_str())));
            for note in &pool.notes {
                comment(&mut yaml, "    ", note);
            }
            for (key, value) in &pool.keys {
                // JSON is YAML too, and quotes everything that might be read as something else
                yaml.push_str(&format!("    {key}: {value}\n"));
            }
        }
        if self.pools.is_empty() {
            yaml.push_str("  {}\n");
        }
        yaml
    }
}

fn comment(yaml: &mut String, indent: &str, note: &str) {
    for line in note.lines() {
        yaml.push_str(&format!("{indent}# {line}\n"));
    }
}
