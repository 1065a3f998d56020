//! Reads the sources, and says which line breaks a rule of the house: who may import whom, what a pure module must not name,
//! where unsafe code may stand, how long a file may be, what must not be left lying about.
//!
//! It reads words, not types: what a word cannot show is left to clippy (`clippy.toml`) and to the reader.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Who may import whom: a room of `src`, and the paths that it may name outside of itself. The rooms are in reading order.
const IMPORTS: &[(&str, &[&str])] = &[
    ("time", &[]),
    ("proto", &["time"]),
    ("jobs", &["time", "proto"]),
    ("config", &["time"]),
    ("pools", &["time", "config"]),
    (
        "status",
        &[
            "time",
            "jobs::load",
            "jobs::view",
            "pools::view",
            "pools::Slot",
        ],
    ),
    (
        "sys",
        &[
            "time",
            "config::Limit",
            "config::Limits",
            "config::Resource",
            "config::Signal",
        ],
    ),
    ("tls", &["config::PemFiles", "sys::reason"]),
    (
        "client",
        &["time", "proto", "config::Address", "sys::reason", "tls"],
    ),
    // The daemon starts the API, which knows the daemon's orders and folders and nothing else of it.
    (
        "daemon",
        &[
            "time", "proto", "jobs", "config", "pools", "status", "sys", "tls", "http",
        ],
    ),
    (
        "http",
        &[
            "time",
            "status",
            "pools::Slot",
            "daemon::control",
            "daemon::paths",
            "sys::user",
        ],
    ),
    (
        "top",
        &[
            "http::Bounds",
            "http::Order",
            "pools::view",
            "pools::Slot",
            "status",
        ],
    ),
    (
        "cli",
        &[
            "time",
            "proto",
            "jobs::Options",
            "config",
            "pools::plan",
            "pools::Slot",
            "status",
            "sys",
            "tls",
            "client",
            "daemon",
            "http",
            "top",
        ],
    ),
    ("main", &["cli", "sys::guardian"]),
    ("lib", &[]),
];

/// The rooms that read no clock, start nothing, log nothing and draw no random number.
const PURE: &[&str] = &["time", "proto", "jobs", "config", "pools", "status", "top"];

/// The line that has clippy watch over a pure room.
const DENY: &str = "#![deny(clippy::disallowed_methods, clippy::disallowed_types)]";

/// What a pure room must not name.
const IMPURE: &[&str] = &[
    "std::env",
    "std::fs",
    "std::io::stderr",
    "std::io::stdin",
    "std::io::stdout",
    "std::net",
    "std::os",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "anyhow",
    "axum",
    "clap",
    "hyper",
    "libc",
    "nix",
    "notify",
    "rand",
    "socket2",
    "tokio",
    "tracing",
];

/// Where unsafe code may stand.
const UNSAFE: &str = "sys";

/// How many lines a file may have.
const LONGEST: usize = 900;

#[test]
fn rooms_import_what_they_may() {
    let mut broken = Broken::default();
    for source in sources("src") {
        broken.imports(&source);
    }
    broken.report();
}

#[test]
fn pure_rooms_are_pure() {
    let mut broken = Broken::default();
    for source in sources("src") {
        broken.purity(&source);
    }
    broken.report();
}

#[test]
fn unsafe_code_stays_where_it_belongs() {
    let mut broken = Broken::default();
    for source in sources("src").iter().chain(&sources("tests")) {
        let allowed = source.path.starts_with("src") && source.room() == UNSAFE;
        for token in source.tokens.iter().filter(|token| token.text == "unsafe") {
            if !allowed {
                broken.add(source, token.line, "unsafe code stands in src/sys only");
            }
        }
    }
    broken.report();
}

#[test]
fn lints_are_expected_and_tests_are_run() {
    let mut broken = Broken::default();
    for source in sources("src").iter().chain(&sources("tests")) {
        for at in 0..source.tokens.len() {
            let line = source.tokens[at].line;
            let attribute = |name| {
                source.has(at, &["[", name]) && at > 0 && {
                    let before = &source.tokens[at - 1].text;
                    before == "#" || before == "!"
                }
            };
            if attribute("allow") {
                broken.add(source, line, "say #[expect(lint, reason = \"…\")]");
            }
            if attribute("ignore") {
                broken.add(source, line, "a test that does not run is no test");
            }
        }
    }
    broken.report();
}

#[test]
fn files_say_what_they_are_and_are_short() {
    let mut broken = Broken::default();
    for source in sources("src").iter().chain(&sources("tests")) {
        // The lints that a file lifts may stand before it.
        let opening = source.text.find("//! ").map(|at| &source.text[..at]);
        let lints = |opening: &str| opening.is_empty() || opening.starts_with("#![expect(");
        if !opening.is_some_and(lints) {
            broken.add(source, 1, "a file opens with //! and what it is");
        }
        let lines = source.text.lines().count();
        if lines > LONGEST {
            broken.add(
                source,
                LONGEST,
                "a file has 900 lines at most: split it by ideas",
            );
        }
    }
    broken.report();
}

#[test]
fn nothing_is_left_lying_about() {
    let mut broken = Broken::default();
    // Written apart, so that this file does not find itself.
    let marks = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
    ];
    let machines = [
        concat!("/", "work/"),
        concat!("/", "root/"),
        concat!("/", "tmp/bash"),
    ];
    for path in tracked() {
        let Ok(text) = std::fs::read_to_string(root().join(&path)) else {
            continue;
        };
        for (number, line) in text.lines().enumerate() {
            for mark in marks.iter().filter(|mark| line.contains(**mark)) {
                broken.at(
                    &path,
                    number + 1,
                    &format!("{mark}: do it, or leave it out"),
                );
            }
            for machine in machines.iter().filter(|machine| line.contains(**machine)) {
                broken.at(
                    &path,
                    number + 1,
                    &format!("{machine} is a path of one machine"),
                );
            }
        }
    }
    broken.report();
}

#[test]
fn the_reader_of_paths_reads_paths() {
    let source = Source::new(
        "src/jobs/server.rs".into(),
        r##"
        use crate::{proto::{self, frame::Frame as Packet}, time::Time};
        use super::{load::*, conn};
        use std::collections::BTreeMap;
        // use crate::comment;
        fn f<'a>(x: &'a str) -> char { let _ = "use crate::string;"; let _ = r#"crate::raw"#; 'x' }
        mod tests { use super::f; fn g() -> crate::sys::Child { super::super::hub::h::<u8>() } }
        "##
        .into(),
    );
    let read: Vec<String> = source
        .paths()
        .into_iter()
        .map(|path| path.segments.join("::"))
        .filter(|path| path.contains("::"))
        .collect();
    assert_eq!(
        read,
        [
            "crate::proto",
            "crate::proto::frame::Frame",
            "crate::time::Time",
            "crate::jobs::load",
            "crate::jobs::conn",
            "std::collections::BTreeMap",
            "crate::jobs::server::f",
            "crate::sys::Child",
            "crate::jobs::hub::h",
        ]
    );
}

/// What was found.
#[derive(Default)]
struct Broken(String);

impl Broken {
    fn add(&mut self, source: &Source, line: usize, rule: &str) {
        self.at(&source.path, line, rule);
    }

    fn at(&mut self, path: &Path, line: usize, rule: &str) {
        writeln!(self.0, "{}:{line}: {rule}", path.display()).unwrap();
    }

    fn report(self) {
        assert!(self.0.is_empty(), "\n{}", self.0);
    }

    fn imports(&mut self, source: &Source) {
        let room = source.room();
        let Some((_, allowed)) = IMPORTS.iter().find(|(name, _)| *name == room) else {
            self.add(source, 1, &format!("{room} has no line in tests/tidy.rs"));
            return;
        };
        for path in source.paths() {
            let [head, inner @ ..] = &path.segments[..] else {
                continue;
            };
            // The binary sees the library under its name.
            if head != "crate" && head != "gearpool" {
                continue;
            }
            let Some(target) = inner.first() else {
                continue;
            };
            let own = *target == room;
            let may = allowed.iter().any(|allowed| {
                let allowed: Vec<&str> = allowed.split("::").collect();
                inner.len() >= allowed.len() && inner.iter().zip(&allowed).all(|(a, b)| a == b)
            });
            if !own && !may {
                let named = inner.join("::");
                self.add(source, path.line, &format!("{room} may not import {named}"));
            }
        }
    }

    fn purity(&mut self, source: &Source) {
        let room = source.room();
        if !PURE.contains(&room.as_str()) {
            return;
        }
        let head = source.path == Path::new("src").join(format!("{room}.rs"))
            || source.path == Path::new("src").join(&room).join("mod.rs");
        if head && !source.text.lines().any(|line| line == DENY) {
            self.add(source, 1, &format!("the head of a pure room says {DENY}"));
        }
        // What a test measures or reads is no decision of the room.
        if source.path.ends_with("tests.rs") {
            return;
        }
        for path in source.paths() {
            let named = path.segments.join("::");
            for impure in IMPURE {
                let inside = named.strip_prefix(impure);
                if inside.is_some_and(|rest| rest.is_empty() || rest.starts_with("::")) {
                    self.add(
                        source,
                        path.line,
                        &format!("{room} is pure: it may not name {impure}"),
                    );
                }
            }
        }
    }
}

/// A source file, read into words.
struct Source {
    path: PathBuf,
    text: String,
    tokens: Vec<Token>,
}

/// A word or a sign; `::` is one sign.
struct Token {
    line: usize,
    text: String,
}

/// A path that is named in a file: `crate::…`, with `self` and `super` resolved, or one into another crate.
struct Named {
    line: usize,
    segments: Vec<String>,
}

impl Source {
    fn new(path: PathBuf, text: String) -> Source {
        let tokens = tokens(&text);
        Source { path, text, tokens }
    }

    /// The module of `src` that the file belongs to; `main` and `lib` stand for themselves.
    fn room(&self) -> String {
        self.module().into_iter().next().unwrap_or_else(|| {
            let stem = self.path.file_stem().unwrap();
            stem.to_str().unwrap().to_owned()
        })
    }

    /// The file's place in the tree of modules, `[]` for `main` and `lib`.
    fn module(&self) -> Vec<String> {
        let inside = self.path.strip_prefix("src").unwrap_or(&self.path);
        let mut module: Vec<String> = inside
            .with_extension("")
            .iter()
            .map(|part| part.to_str().unwrap().to_owned())
            .collect();
        let last = module.last().unwrap();
        if last == "mod" || (module.len() == 1 && (last == "main" || last == "lib")) {
            module.pop();
        }
        module
    }

    /// Whether these words stand at `at`.
    fn has(&self, at: usize, words: &[&str]) -> bool {
        self.tokens.len() >= at + words.len()
            && words
                .iter()
                .zip(&self.tokens[at..])
                .all(|(word, token)| token.text == *word)
    }

    /// Every path in the file.
    fn paths(&self) -> Vec<Named> {
        let mut found = Vec::new();
        let mut module = self.module();
        // The depths of braces at which `mod name {` was opened.
        let mut inline = Vec::new();
        let mut depth = 0_usize;
        let mut at = 0;
        while at < self.tokens.len() {
            let token = &self.tokens[at];
            match token.text.as_str() {
                "{" => depth += 1,
                "}" => {
                    depth = depth.saturating_sub(1);
                    if inline.last() == Some(&depth) {
                        inline.pop();
                        module.pop();
                    }
                }
                "mod" if self.tokens.get(at + 2).is_some_and(|t| t.text == "{") => {
                    module.push(self.tokens[at + 1].text.clone());
                    inline.push(depth);
                    at += 1;
                }
                "use" => {
                    at = self.tree(at + 1, &[], &module, &mut found);
                    continue;
                }
                word if is_word(word) && !self.follows_a_path(at) && self.has(at + 1, &["::"]) => {
                    at = self.tree(at, &[], &module, &mut found);
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
        found
    }

    /// Whether the word at `at` is not a path's first.
    fn follows_a_path(&self, at: usize) -> bool {
        at > 0 && matches!(self.tokens[at - 1].text.as_str(), "::" | ".")
    }

    /// Reads a path, or a tree of them in braces, and returns where it ends.
    fn tree(
        &self,
        mut at: usize,
        prefix: &[String],
        module: &[String],
        found: &mut Vec<Named>,
    ) -> usize {
        let line = self.tokens.get(at).map_or(0, |token| token.line);
        let mut segments = prefix.to_vec();
        if prefix.is_empty() && self.has(at, &["::"]) {
            at += 1;
        }
        while let Some(token) = self.tokens.get(at) {
            match token.text.as_str() {
                "{" => {
                    at += 1;
                    while at < self.tokens.len() && !self.has(at, &["}"]) {
                        at = self.tree(at, &segments, module, found);
                        // What is no path, as in `use a::{b as c}`, is passed over up to the next one.
                        while at < self.tokens.len()
                            && !self.has(at, &[","])
                            && !self.has(at, &["}"])
                        {
                            at += 1;
                        }
                        if self.has(at, &[","]) {
                            at += 1;
                        }
                    }
                    return at + 1;
                }
                "*" => {
                    at += 1;
                    break;
                }
                word if is_word(word) => {
                    segments.push(token.text.clone());
                    at += 1;
                }
                _ => break,
            }
            if self.has(at, &["::"]) {
                at += 1;
            } else {
                break;
            }
        }
        if let Some(segments) = resolve(&segments, module) {
            found.push(Named { line, segments });
        }
        at
    }
}

/// `self` and `super` at the start made into `crate::…`, and a `self` at the end left out.
fn resolve(segments: &[String], module: &[String]) -> Option<Vec<String>> {
    let mut rest = segments;
    let mut base: Option<Vec<String>> = None;
    while let Some((first, others)) = rest.split_first() {
        match first.as_str() {
            "self" => base = Some(base.unwrap_or_else(|| module.to_vec())),
            "super" => {
                let mut here = base.unwrap_or_else(|| module.to_vec());
                here.pop();
                base = Some(here);
            }
            _ => break,
        }
        rest = others;
    }
    let mut whole = match base {
        Some(base) => [vec!["crate".to_owned()], base].concat(),
        None => Vec::new(),
    };
    whole.extend(rest.iter().cloned());
    if whole.last().is_some_and(|last| last == "self") {
        whole.pop();
    }
    (!whole.is_empty()).then_some(whole)
}

fn is_word(text: &str) -> bool {
    text.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// The words and signs of a source, without its comments and with its strings empty.
fn tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let peek = |at: usize| chars.get(at).copied().unwrap_or('\0');
    let mut tokens = Vec::new();
    let mut line = 1;
    let mut at = 0;
    while at < chars.len() {
        let began = at;
        let here = line;
        let first = chars[at];
        if first.is_whitespace() {
            at += 1;
        } else if first == '/' && peek(at + 1) == '/' {
            while at < chars.len() && chars[at] != '\n' {
                at += 1;
            }
        } else if first == '/' && peek(at + 1) == '*' {
            let mut depth = 0;
            while at < chars.len() {
                match (chars[at], peek(at + 1)) {
                    ('/', '*') => (depth, at) = (depth + 1, at + 2),
                    ('*', '/') => (depth, at) = (depth - 1, at + 2),
                    _ => at += 1,
                }
                if depth == 0 {
                    break;
                }
            }
        } else if let Some(end) = raw_string(&chars, at) {
            at = end;
        } else if first == '"' {
            at = quoted(&chars, at, '"');
        } else if first == '\'' && (peek(at + 1) == '\\' || peek(at + 2) == '\'') {
            at = quoted(&chars, at, '\'');
        } else if is_word(&first.to_string()) {
            while peek(at).is_alphanumeric() || peek(at) == '_' {
                at += 1;
            }
            // The prefix of a byte or C string belongs to it.
            let word: String = chars[began..at].iter().collect();
            if !(peek(at) == '"' && matches!(word.as_str(), "b" | "c")) {
                tokens.push(Token { line, text: word });
            }
        } else {
            at += if first == ':' && peek(at + 1) == ':' {
                2
            } else {
                1
            };
            let text = chars[began..at].iter().collect();
            tokens.push(Token { line: here, text });
        }
        line += chars[began..at.min(chars.len())]
            .iter()
            .filter(|c| **c == '\n')
            .count();
    }
    tokens
}

/// Where the raw string that begins at `at` ends, if one does: `r"…"`, `br#"…"#`.
fn raw_string(chars: &[char], at: usize) -> Option<usize> {
    let mut open = at;
    if matches!(chars.get(open), Some('b' | 'c')) {
        open += 1;
    }
    if chars.get(open) != Some(&'r') {
        return None;
    }
    open += 1;
    let hashes = chars[open..].iter().take_while(|c| **c == '#').count();
    open += hashes;
    if chars.get(open) != Some(&'"') {
        return None;
    }
    let mut end = open + 1;
    while end < chars.len() {
        let closes = chars[end] == '"'
            && chars.len() > end + hashes
            && chars[end + 1..=end + hashes].iter().all(|c| *c == '#');
        if closes {
            return Some(end + 1 + hashes);
        }
        end += 1;
    }
    Some(end)
}

/// Where the string or character that begins at `at` ends.
fn quoted(chars: &[char], at: usize, quote: char) -> usize {
    let mut end = at + 1;
    while end < chars.len() && chars[end] != quote {
        end += if chars[end] == '\\' { 2 } else { 1 };
    }
    (end + 1).min(chars.len())
}

/// The Rust files under a folder, in order.
fn sources(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    walk(&root().join(folder), &mut found);
    found.sort();
    assert!(!found.is_empty(), "{folder} has no sources");
    found
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            Source::new(path.strip_prefix(root()).unwrap().to_owned(), text)
        })
        .collect()
}

/// The files that are the project's: neither built, nor installed, nor git's own.
fn tracked() -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(root(), &mut found);
    found.sort();
    found
        .into_iter()
        .map(|path| path.strip_prefix(root()).unwrap().to_owned())
        .collect()
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        let passed_over = ["target", ".git", ".tests", "node_modules", "__pycache__"];
        if passed_over.iter().any(|skipped| name == *skipped) {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            walk(&entry.path(), found);
        } else {
            found.push(entry.path());
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
