//! The form `fetchURL: <cmd: "php fetch.php", min: 2, max: 30>`, which people write and which is no YAML.
//!
//! Such a line becomes `fetchURL: {…}` before YAML is read. One byte takes one byte's place, so every line and column stays.

use std::borrow::Cow;

use super::keys;

/// Rewrites every line of that form. A line inside a block scalar (`run: |`) is text and stays.
pub(super) fn rewrite(text: &str) -> Cow<'_, str> {
    let mut brackets = Vec::new();
    let mut block: Option<usize> = None;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let body = line.trim_end();
        let indent = body.len() - body.trim_start_matches(' ').len();
        let inside = block.is_some_and(|outer| body.is_empty() || indent > outer);
        if !inside {
            block = opens_block(body).then_some(indent);
            if let Some((open, close)) = brackets_of(body) {
                brackets.extend([(start + open, "{"), (start + close, "}")]);
            }
        }
        start += line.len();
    }
    if brackets.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut rewritten = text.to_owned();
    for (at, brace) in brackets {
        rewritten.replace_range(at..=at, brace);
    }
    Cow::Owned(rewritten)
}

/// Whether a line ends in `|`, `>-` and the like, after a key or a dash.
fn opens_block(body: &str) -> bool {
    let body = body.split(" #").next().unwrap_or(body).trim_end();
    let header = body.rsplit([' ', '\t']).next().unwrap_or_default();
    let mut characters = header.chars();
    matches!(characters.next(), Some('|' | '>'))
        && characters.all(|c| c.is_ascii_digit() || c == '+' || c == '-')
        && body.len() > header.len()
}

/// Where the brackets of `name: <known_key: …>` are in a line.
fn brackets_of(body: &str) -> Option<(usize, usize)> {
    let open = body.find('<')?;
    let name = body[..open].trim();
    let name = name.strip_suffix(':')?;
    if name.is_empty() || name.starts_with(['#', '-']) {
        return None;
    }
    let first = body[open + 1..].split_once(':')?.0.trim();
    if !keys::POOL.known.contains(&first) && !keys::POOL.later.contains(&first) {
        return None;
    }
    let mut quote = None;
    let mut escaped = false;
    for (at, character) in body.char_indices().skip_while(|(at, _)| *at <= open) {
        match (quote, character) {
            (Some('"'), '\\') if !escaped => {
                escaped = true;
                continue;
            }
            (Some(open), close) if open == close && !escaped => quote = None,
            (None, '"' | '\'') => quote = Some(character),
            (None, '>') => {
                let rest = &body[at + 1..];
                if rest.trim().is_empty() || rest.trim_start().starts_with('#') {
                    return Some((open, at));
                }
            }
            _ => {}
        }
        escaped = false;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_line_form() {
        for (text, rewritten) in [
            (
                "fetchURL: <cmd: \"php fetch.php\", min: 2, max: 30>",
                "fetchURL: {cmd: \"php fetch.php\", min: 2, max: 30}",
            ),
            (
                "  a: < run: rev >  # four\r\n",
                "  a: { run: rev }  # four\r\n",
            ),
            (
                "'a b': <max: 1>\nb: <min: 1>\n",
                "'a b': {max: 1}\nb: {min: 1}\n",
            ),
            ("a: <cmd: 'x > y', max: 1>", "a: {cmd: 'x > y', max: 1}"),
            (
                "a: <cmd: \"x\\\"> y\", max: 1>",
                "a: {cmd: \"x\\\"> y\", max: 1}",
            ),
            ("é: <cmd: ü>", "é: {cmd: ü}"),
            ("a: <cmd: x, timeout: 3>", "a: {cmd: x, timeout: 3}"),
        ] {
            assert_eq!(rewrite(text), rewritten);
        }
    }

    #[test]
    fn everything_else_stays() {
        for text in [
            "a: {cmd: 'x <y>'}",
            "a: <other: x>",
            "a: <cmd: x",
            "a: <cmd>",
            "# a: <cmd: x>",
            "- a: <cmd: x>",
            "a: cat <cmd: x>",
            "a: <cmd: x> y",
            "a: <cmd: 'x>",
            "a:\n  run: |\n    b: <cmd: x>\n\n    c: <cmd: x>\n",
            "a: >-  # text\n  b: <cmd: x>\n",
        ] {
            assert_eq!(rewrite(text), text);
        }
        assert_eq!(
            rewrite("a: |\n  b: <cmd: x>\nc: <cmd: x>\n"),
            "a: |\n  b: <cmd: x>\nc: {cmd: x}\n"
        );
    }
}
