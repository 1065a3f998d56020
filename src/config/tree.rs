//! YAML as a tree in which every node knows its place.
//!
//! The checks need all problems at once, so nothing is refused here but what is no YAML, or too much of it. Scalars keep the spelling
//! of the file (`022`, `1.10` and `no` are texts until a reader asks for a number or a yes), duplicate keys are all kept for the checks
//! to see, and an aliased node has the place where it is written.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::localizer::Localizer;
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Error, Location, RenderOptions, SnippetMode, Spanned, UserMessageFormatter};

use super::problem::Problem;

/// Room for thousands of pools.
const MAX_BYTES: usize = 1 << 20;
/// The deepest place that means anything is four levels down.
const MAX_DEPTH: usize = 24;
/// Scalars, lists and maps that are written.
const MAX_NODES: usize = 50_000;
/// Those, and their ends, that aliases repeat.
const MAX_REPEATED: usize = 20_000;

/// Where something is in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub line: u64,
    /// In characters, from 1.
    pub column: u64,
}

/// A value and where it is.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// What a node is. A scalar is its text, quoted or not: `max: "5"` means what `max: 5` does.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Scalar(String),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

impl Value {
    /// What a message calls it: "a list", or the text itself.
    pub(super) fn described(&self) -> String {
        match self {
            Value::Null => "nothing".to_owned(),
            Value::Scalar(text) => super::problem::quote(text),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        }
    }
}

/// Reads one YAML document. `file` is how the messages name it.
///
/// # Errors
/// The one problem for which it cannot be read.
pub(super) fn read(text: &str, file: &str) -> Result<Node, Problem> {
    if text.len() > MAX_BYTES {
        return Err(Problem {
            file: file.to_owned(),
            line: 1,
            column: 1,
            message: format!(
                "the file is {}, more than {} is no configuration",
                super::units::show_size(text.len() as u64),
                super::units::show_size(MAX_BYTES as u64)
            ),
        });
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            flow_nesting_limit: MAX_DEPTH,
            max_nodes: MAX_NODES,
            max_documents: 2,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_REPEATED,
            max_replay_stack_depth: MAX_DEPTH,
        },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options) {
        Ok(raw) => Ok(node(raw, text)),
        Err(error) => Err(problem(&error, file)),
    }
}

/// What serde gives: the node before its place is known.
enum Raw {
    Null,
    /// A number or a boolean, as YAML understood it; the file's own spelling replaces it.
    Token(String),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<Raw>, Spanned<Raw>)>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Raw, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Raw, E> {
        Ok(Raw::Token(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Raw, E> {
        Ok(Raw::Token(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Raw, E> {
        Ok(Raw::Token(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Raw, E> {
        Ok(Raw::Token(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Raw, E> {
        Ok(Raw::Token(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Raw, E> {
        Ok(Raw::Token(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Raw, E> {
        Ok(Raw::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Raw, E> {
        Ok(Raw::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}

/// Gives a node its place, and a number or a boolean its spelling back. As deep as the file, which `MAX_DEPTH` bounds.
fn node(raw: Spanned<Raw>, text: &str) -> Node {
    let value = match raw.value {
        Raw::Null => Value::Null,
        Raw::Token(value) => Value::Scalar(spelling(raw.defined, text).unwrap_or(value)),
        Raw::Text(value) => Value::Scalar(value),
        Raw::List(items) => Value::List(items.into_iter().map(|item| node(item, text)).collect()),
        Raw::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|(key, value)| (node(key, text), node(value, text)))
                .collect(),
        ),
    };
    Node {
        place: place(raw.defined),
        value,
    }
}

fn spelling(location: Location, text: &str) -> Option<String> {
    let span = location.span();
    let start = usize::try_from(span.byte_offset()?).ok()?;
    let length = usize::try_from(span.byte_len()?).ok()?;
    let written = text.get(start..start.checked_add(length)?)?.trim();
    (!written.is_empty()).then(|| written.trim_matches(['"', '\'']).to_owned())
}

/// An empty document has no location.
fn place(location: Location) -> Place {
    Place {
        line: location.line().max(1),
        column: location.column().max(1),
    }
}

/// What is most often behind some of the parser's sentences.
const HINTS: [(&str, &str); 6] = [
    (
        "did not find expected ',' or '}'",
        " (inside {…} a text with a bracket, a brace, a comma or quotes in it needs quotes)",
    ),
    (
        "recursion limit exceeded",
        " (too many brackets in brackets)",
    ),
    (
        "mapping values are not allowed",
        " (a text with \": \" in it needs quotes; else look at the indentation)",
    ),
    (
        "did not find expected key",
        " (a text that begins with \"[\" or \"{\" needs quotes; else look at the indentation)",
    ),
    (
        "reference to unknown value",
        " (a text that begins with \"*\" needs quotes)",
    ),
    (
        "unexpected character",
        " (a text that begins with it needs quotes)",
    ),
];

fn problem(error: &Error, file: &str) -> Problem {
    /// The place is said in front of the message already.
    struct NoPlace;
    impl Localizer for NoPlace {
        fn attach_location<'a>(
            &self,
            base: std::borrow::Cow<'a, str>,
            _: Location,
        ) -> std::borrow::Cow<'a, str> {
            base
        }
    }
    let place = error.location().map_or(Place { line: 1, column: 1 }, place);
    let mut error = error.without_snippet();
    // An error within an alias names both ends of it; the place where it is used is enough.
    while let Error::AliasError { error: within, .. } = error {
        error = within;
    }
    let message = match error {
        Error::MultipleDocuments { .. } => {
            "a second YAML document begins here, and a configuration is one: take \"---\" out"
                .to_owned()
        }
        Error::Budget { .. } => {
            format!(
                "the file nests deeper than {MAX_DEPTH} levels, or holds over {MAX_NODES} values"
            )
        }
        Error::AliasReplayLimitExceeded { .. } | Error::AliasReplayStackDepthExceeded { .. } => {
            format!("the YAML aliases here repeat over {MAX_REPEATED} values")
        }
        _ => {
            let formatter = UserMessageFormatter.with_localizer(&NoPlace);
            let mut options = RenderOptions::new(&formatter);
            options.snippets = SnippetMode::Off;
            let said = error.render_with_options(options);
            let said = said.lines().collect::<Vec<_>>().join(" ");
            let hint = HINTS
                .iter()
                .find(|(part, _)| said.contains(part))
                .map_or("", |(_, hint)| *hint);
            format!("not YAML: {said}{hint}")
        }
    };
    Problem {
        file: file.to_owned(),
        line: place.line,
        column: place.column,
        message,
    }
}
