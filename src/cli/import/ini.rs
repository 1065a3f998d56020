//! Sections of keys and values, as Python's and PHP's parsers read them.

use configparser::ini::{Ini, IniDefault};
use indexmap::IndexMap;

/// A file: its sections in order, each with its keys in order. A key without a value has an empty one.
pub(super) type Sections = IndexMap<String, Section>;

/// One section.
pub(super) type Section = IndexMap<String, String>;

/// Reads a file.
///
/// # Errors
/// What is wrong with it, and where.
pub(super) fn read(text: &str) -> anyhow::Result<Sections> {
    let mut default = IniDefault::default();
    default.case_sensitive = true;
    default.multiline = true;
    // done here, for both programs want a blank before a comment that stands behind a value: `sh -c "a;b"` has none
    default.comment_symbols = Vec::new();
    default.inline_comment_symbols = Some(Vec::new());
    let plain: String = text
        .lines()
        .map(|line| format!("{}\n", without_comment(line)))
        .collect();
    let sections = Ini::new_from_defaults(default)
        .read(plain)
        .map_err(anyhow::Error::msg)?;
    let filled = |section: IndexMap<String, Option<String>>| {
        section
            .into_iter()
            .map(|(key, value)| (key, value.unwrap_or_default()))
            .collect()
    };
    Ok(sections
        .into_iter()
        .map(|(name, section)| (name, filled(section)))
        .collect())
}

fn without_comment(line: &str) -> &str {
    if line.trim_start().starts_with([';', '#']) {
        return "";
    }
    let begins = |(at, mark): (usize, &str)| {
        let before = line[..at].chars().next_back();
        (mark == ";" || mark == "#") && before.is_some_and(char::is_whitespace)
    };
    let comment = line
        .match_indices([';', '#'])
        .find(|&found| begins(found))
        .map_or(line.len(), |(at, _)| at);
    line[..comment].trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_lines_and_the_case_of_names() {
        let sections = read(
            "; first\n[Program:A]\nCommand = sh -c \"a;b\" ; said\n# all of it\nenvironment=A=\"1\",\n  B=\"2\"\nurl=http://x#y\n[empty]\n",
        )
        .unwrap();
        assert_eq!(
            sections.keys().collect::<Vec<_>>(),
            ["Program:A", "empty"],
            "{sections:?}"
        );
        let program = &sections["Program:A"];
        assert_eq!(program["Command"], "sh -c \"a;b\"");
        assert_eq!(
            program["environment"]
                .split_whitespace()
                .collect::<String>(),
            "A=\"1\",B=\"2\""
        );
        assert_eq!(program["url"], "http://x#y");
    }
}
