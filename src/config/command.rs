//! `cmd` and `run`: from the file's text to the words that are executed.
//!
//! Without `shell: true` no shell sees the text, so what only a shell would understand is refused instead of being passed on as a word.
//! Quotes, backslashes and `${NAME}` mean what they mean to sh(1); `$$` is a literal `$`. With `shell: true` the text is the shell's
//! alone, every `$` included: it has the daemon's environment and the pool's `env`.

use std::fmt::{self, Display};
use std::iter::Peekable;
use std::str::Chars;

use super::schema::Command;

/// The variables that `${NAME}` stands for.
pub(super) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Command {
    /// What is executed for a process of `pool` in `slot`: the program and its arguments, `{pool}` and `{slot}` filled in, `sh -c` put
    /// before a shell's text. Of a `run` these are the words for each job, which `gearpool work` executes.
    ///
    /// In a shell's text the pool's name is quoted where it needs to be, so `{pool}` should stand outside quotes there.
    pub fn words(&self, pool: &str, slot: u32) -> Vec<String> {
        let slot = slot.to_string();
        match self {
            Command::Exec(words) | Command::Run(words) => {
                words.iter().map(|word| fill(word, pool, &slot)).collect()
            }
            Command::Shell(text) | Command::RunShell(text) => {
                let quoted = shlex::try_quote(pool).unwrap_or_default();
                vec![
                    "/bin/sh".to_owned(),
                    "-c".to_owned(),
                    fill(text, &quoted, &slot),
                ]
            }
        }
    }

    /// Whether this is executed once for each job, by `gearpool work`, and is no worker itself.
    pub fn runs_per_job(&self) -> bool {
        matches!(self, Command::Run(_) | Command::RunShell(_))
    }
}

/// In one pass, so that a pool named `{slot}` stays that.
pub(super) fn fill(text: &str, pool: &str, slot: &str) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('{') {
        filled.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("{pool}") {
            filled.push_str(pool);
            rest = after;
        } else if let Some(after) = rest.strip_prefix("{slot}") {
            filled.push_str(slot);
            rest = after;
        } else {
            filled.push('{');
            rest = &rest[1..];
        }
    }
    filled.push_str(rest);
    filled
}

/// One line, as it could be typed into a shell; `{pool}` and `{slot}` as in the file.
impl Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::Exec(words) | Command::Run(words) => {
                for (at, word) in words.iter().enumerate() {
                    let separator = if at == 0 { "" } else { " " };
                    let shown = if word.contains(['{', '}']) && !word.contains(char::is_whitespace)
                    {
                        // Braces mean nothing to sh(1) by themselves, and the quotes would hide the placeholder.
                        word.into()
                    } else {
                        shlex::try_quote(word).unwrap_or_default()
                    };
                    write!(f, "{separator}{}", shown.replace('\n', " "))?;
                }
                Ok(())
            }
            Command::Shell(text) | Command::RunShell(text) => {
                f.write_str(&text.trim().replace('\n', "; "))
            }
        }
    }
}

/// Splits a command into words as a shell would.
///
/// # Errors
/// All that is wrong with it, each to be read after the key's name.
pub(super) fn split(text: &str, env: Env<'_>) -> Result<Vec<String>, Vec<String>> {
    // A block scalar ends in a line break. Spaces are the splitter's business: the last may be escaped.
    let text = text.trim_end_matches(['\n', '\r']);
    let mut splitter = Splitter {
        env,
        rest: text.chars().peekable(),
        words: Vec::new(),
        word: None,
        problems: Vec::new(),
    };
    if let Some((name, _)) = text.split_once('=').filter(|(name, _)| is_name(name)) {
        splitter.problems.push(format!(
            "begins with the assignment \"{name}=\", which takes a shell: put {name} under \"env\", or add \"shell: true\""
        ));
    }
    if let Err(Stop) = splitter.run() {
        return Err(splitter.problems);
    }
    let words = splitter.words;
    if let Some(word) = words
        .first()
        .filter(|word| SHELL_WORDS.contains(&word.as_str()))
    {
        splitter.problems.push(format!(
            "begins with \"{word}\", which is a shell's own word: add \"shell: true\"{}",
            if word == "cd" { ", or use \"cwd\"" } else { "" }
        ));
    }
    if words.first().is_none_or(String::is_empty) && splitter.problems.is_empty() {
        splitter.problems.push("names no program".to_owned());
    }
    if splitter.problems.is_empty() {
        Ok(words)
    } else {
        Err(splitter.problems)
    }
}

/// Puts the variables into one word of a list. The rest of it is taken as it is: a list is how shell text is passed on on purpose.
///
/// # Errors
/// All that is wrong with it, each to be read after the key's name.
pub(super) fn substitute(word: &str, env: Env<'_>) -> Result<String, Vec<String>> {
    let mut rest = word.chars().peekable();
    let mut filled = String::new();
    let mut problems = Vec::new();
    while let Some(character) = rest.next() {
        match (character, rest.peek()) {
            ('$', Some('$')) => {
                rest.next();
                filled.push('$');
            }
            ('$', Some('{')) => match variable(&mut rest, env) {
                Ok(Value::Set(value) | Value::Default(value)) => filled.push_str(&value),
                Err(problem) => problems.push(problem),
            },
            _ => filled.push(character),
        }
    }
    if problems.is_empty() {
        Ok(filled)
    } else {
        Err(problems)
    }
}

/// Words that no program has for its name, and that a command copied from a script begins with.
const SHELL_WORDS: [&str; 17] = [
    "!", ".", ":", "{", "case", "cd", "eval", "exec", "export", "for", "if", "set", "source",
    "trap", "ulimit", "umask", "while",
];

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// What a variable stands for.
enum Value {
    /// What is in the environment.
    Set(String),
    /// What the file says for when nothing is.
    Default(String),
}

/// Reads `{NAME}` or `{NAME:-default}`, from its brace on.
fn variable(rest: &mut Peekable<Chars<'_>>, env: Env<'_>) -> Result<Value, String> {
    rest.next();
    let mut inner = String::new();
    loop {
        match rest.next() {
            Some('}') => break,
            Some(character) => inner.push(character),
            None => return Err("has a \"${\" that no \"}\" closes".to_owned()),
        }
    }
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner.as_str(), None),
    };
    if !is_name(name) || default.is_some_and(|default| default.contains("${")) {
        return Err(format!(
            "has ${{{inner}}}, which is neither ${{NAME}} nor ${{NAME:-default}}"
        ));
    }
    match (
        env(name).filter(|value| default.is_none() || !value.is_empty()),
        default,
    ) {
        (Some(value), _) if value.contains('\0') => {
            Err(format!("has ${{{name}}}, whose value holds a NUL"))
        }
        (Some(value), _) => Ok(Value::Set(value)),
        (None, Some(default)) => Ok(Value::Default(default.to_owned())),
        (None, None) => Err(format!(
            "needs ${{{name}}}, which is not in the environment: set it, or write ${{{name}:-default}}"
        )),
    }
}

/// The rest of the text cannot be understood; the reason is among the problems.
struct Stop;

/// Walks once over a command.
struct Splitter<'a> {
    env: Env<'a>,
    rest: Peekable<Chars<'a>>,
    words: Vec<String>,
    /// The word so far; `None` between words, so that `''` is a word and a space is none.
    word: Option<String>,
    problems: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Quoting {
    Bare,
    Double,
}

impl Splitter<'_> {
    fn run(&mut self) -> Result<(), Stop> {
        while let Some(character) = self.rest.next() {
            match character {
                ' ' | '\t' => self.end_word(),
                '\n' | '\r' => return self.shell_only("a line break"),
                '\'' => self.single_quoted()?,
                '"' => self.double_quoted()?,
                '\\' => match self.rest.next() {
                    Some('\n') => {}
                    Some(escaped) => self.push(escaped),
                    None => return self.stop("ends in a backslash".to_owned()),
                },
                '$' => self.dollar(Quoting::Bare)?,
                '#' | '~' if self.word.is_none() => {
                    return self.shell_only(&format!("\"{character}\""));
                }
                '|' | '&' | '<' | '>' | ';' if self.rest.peek() == Some(&character) => {
                    return self.shell_only(&format!("\"{character}{character}\""));
                }
                '|' | '&' | ';' | '<' | '>' | '(' | ')' | '`' | '*' | '?' | '[' => {
                    return self.shell_only(&format!("\"{character}\""));
                }
                character => self.push(character),
            }
        }
        self.end_word();
        Ok(())
    }

    fn push(&mut self, character: char) {
        self.word.get_or_insert_default().push(character);
    }

    fn end_word(&mut self) {
        self.words.extend(self.word.take());
    }

    fn stop(&mut self, problem: String) -> Result<(), Stop> {
        self.problems.push(problem);
        Err(Stop)
    }

    fn shell_only(&mut self, what: &str) -> Result<(), Stop> {
        self.stop(format!(
            "has {what}, which takes a shell: add \"shell: true\", or put it in single quotes"
        ))
    }

    fn single_quoted(&mut self) -> Result<(), Stop> {
        self.word.get_or_insert_default();
        loop {
            match self.rest.next() {
                Some('\'') => return Ok(()),
                Some(character) => self.push(character),
                None => return self.stop("has a ' that is never closed".to_owned()),
            }
        }
    }

    fn double_quoted(&mut self) -> Result<(), Stop> {
        self.word.get_or_insert_default();
        loop {
            match self.rest.next() {
                Some('"') => return Ok(()),
                Some('\\') => match self.rest.peek().copied() {
                    Some('\n') => {
                        self.rest.next();
                    }
                    Some(escaped @ ('$' | '`' | '"' | '\\')) => {
                        self.rest.next();
                        self.push(escaped);
                    }
                    _ => self.push('\\'),
                },
                Some('$') => self.dollar(Quoting::Double)?,
                Some('`') => {
                    return self.stop(
                        "has \"`\", which takes a shell: add \"shell: true\", or write \\`"
                            .to_owned(),
                    );
                }
                Some(character) => self.push(character),
                None => return self.stop("has a \" that is never closed".to_owned()),
            }
        }
    }

    fn value(&mut self, value: &str, quoting: Quoting) {
        for character in value.chars() {
            if quoting == Quoting::Bare && character.is_ascii_whitespace() {
                self.end_word();
            } else {
                self.push(character);
            }
        }
    }

    /// A default outside quotes, which may have its own: `${OPTIONS:-"two words"}`.
    fn default(&mut self, text: &str) -> Result<(), Stop> {
        let mut quote = None;
        for character in text.chars() {
            match (quote, character) {
                (None, '\'' | '"') => {
                    quote = Some(character);
                    self.word.get_or_insert_default();
                }
                (Some(open), _) if open == character => quote = None,
                (None, _) if character.is_ascii_whitespace() => self.end_word(),
                _ => self.push(character),
            }
        }
        match quote {
            None => Ok(()),
            Some(open) => self.stop(format!("has a {open} in a default that is never closed")),
        }
    }

    /// What follows a `$`. A value keeps its spaces in double quotes and is split at them outside, as in a shell.
    fn dollar(&mut self, quoting: Quoting) -> Result<(), Stop> {
        match self.rest.peek().copied() {
            Some('$') => {
                self.rest.next();
                self.push('$');
            }
            Some('{') => match variable(&mut self.rest, self.env) {
                Ok(Value::Set(value)) => self.value(&value, quoting),
                Ok(Value::Default(text)) if quoting == Quoting::Bare => self.default(&text)?,
                Ok(Value::Default(text)) => self.value(&text, quoting),
                Err(problem) => self.problems.push(problem),
            },
            Some('(') => return self.shell_only("\"$(\""),
            Some(first) if first.is_ascii_alphabetic() || first == '_' => {
                let mut name = String::new();
                while let Some(next) = self
                    .rest
                    .next_if(|next| next.is_ascii_alphanumeric() || *next == '_')
                {
                    name.push(next);
                }
                self.problems.push(format!(
                    "has ${name}: write ${{{name}}} for the variable, $${name} for the text, or add \"shell: true\""
                ));
            }
            Some(special) if special.is_ascii_digit() || "?@*#!-".contains(special) => {
                return self.shell_only(&format!("\"${special}\""));
            }
            _ => self.push('$'),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn env(name: &str) -> Option<String> {
        match name {
            "PHP" => Some("php -d x=1".to_owned()),
            "EMPTY" => Some(String::new()),
            "ODD" => Some("a|b 'c' {slot}".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn words() {
        for (text, words) in [
            ("php fetch.php", &["php", "fetch.php"][..]),
            ("  rev  ", &["rev"]),
            ("a 'b c' \"d e\" f\\ g ''", &["a", "b c", "d e", "f g", ""]),
            ("a'b'\"c\"d", &["abcd"]),
            (r#"a "b\"c\\d\e\$f""#, &["a", r#"b"c\d\e$f"#]),
            (
                "php -r 'echo $argv[1] | 2;'",
                &["php", "-r", "echo $argv[1] | 2;"],
            ),
            (
                "a 'b*' \"c?\" \\* x=y a#b a~b",
                &["a", "b*", "c?", "*", "x=y", "a#b", "a~b"],
            ),
            ("${PHP} x", &["php", "-d", "x=1", "x"]),
            ("\"${PHP}\" x", &["php -d x=1", "x"]),
            ("a '${PHP}'", &["a", "${PHP}"]),
            ("a ${EMPTY} b \"${EMPTY}\"", &["a", "b", ""]),
            (
                "a ${EMPTY:-d} ${NONE:-e f} \"${NONE:-}\"",
                &["a", "d", "e", "f", ""],
            ),
            (
                "a ${NONE:-\"b c\" 'd'e} ${NONE:-''} \"${NONE:-it's}\"",
                &["a", "b c", "de", "", "it's"],
            ),
            ("a ${ODD}", &["a", "a|b", "'c'", "{slot}"]),
            (
                "a $$x $${PHP} $ \"$\" 5$",
                &["a", "$x", "${PHP}", "$", "$", "5$"],
            ),
            (
                "a {pool} --n={slot} {x}",
                &["a", "{pool}", "--n={slot}", "{x}"],
            ),
            ("a \\\n b", &["a", "b"]),
        ] {
            assert_eq!(split(text, &env).unwrap(), words, "{text}");
        }
    }

    #[test]
    fn no_words() {
        let mut said = String::new();
        for text in [
            "",
            "''",
            "a | b",
            "a && b",
            "a > b 2>&1",
            "(a)",
            "a; b",
            "a *.php",
            "a b?",
            "a [bc]",
            "a ~/b",
            "a # b",
            "a `b`",
            "a \"`b`\"",
            "a $(b)",
            "a \"$(b)\"",
            "a $1",
            "a $HOME \"$USER\" ${NONE} ${NONE2}",
            "a 'b",
            "a \"b",
            "a \\",
            "a ${b",
            "a ${b-c}",
            "a ${b:-${c}}",
            "a ${}",
            "X=1 a",
            "cd /x",
            "exec a",
            "a\nb",
        ] {
            let problems = split(text, &env).unwrap_err().join("\n    ");
            said.push_str(&format!("{text:?}\n    {problems}\n"));
        }
        insta::assert_snapshot!(said);
    }

    #[test]
    fn a_word_of_a_list() {
        for (word, filled) in [
            ("echo $x | y", "echo $x | y"),
            ("${PHP}", "php -d x=1"),
            ("$$ $${PHP} ${NONE:-a b}", "$ ${PHP} a b"),
            ("$", "$"),
        ] {
            assert_eq!(substitute(word, &env).unwrap(), filled);
        }
        assert_eq!(substitute("${A} ${B", &env).unwrap_err().len(), 2);
    }

    #[test]
    fn what_is_executed() {
        let exec = Command::Exec(vec!["a".into(), "{pool}/{slot}".into(), "{ {slot}".into()]);
        assert_eq!(exec.words("{slot}", 3), ["a", "{slot}/3", "{ 3"]);
        let shell = Command::RunShell("echo {pool} {slot} $x".into());
        assert_eq!(
            shell.words("App\\Mail", 0),
            ["/bin/sh", "-c", r#"echo "App\\Mail" 0 $x"#]
        );
        assert_eq!(shell.words("mail", 0)[2], "echo mail 0 $x");
        assert!(shell.runs_per_job() && !exec.runs_per_job());
    }

    #[test]
    fn shown_on_one_line() {
        let exec = Command::Exec(vec!["php".into(), "a b".into(), "--n={slot}".into()]);
        assert_eq!(exec.to_string(), "php 'a b' --n={slot}");
        assert_eq!(Command::Shell("a\nb\n".into()).to_string(), "a; b");
    }

    proptest! {
        /// Where no shell is needed, the words are those that shlex finds.
        #[test]
        fn the_words_are_the_shells(text in "[a-z '\"\\\\{}=-]{1,30}") {
            let ours = split(&text, &env);
            if let Ok(ours) = ours {
                prop_assert_eq!(Some(ours), shlex::split(&text));
            }
        }

        #[test]
        fn no_text_panics(text in "[$}{:a-z'\"\\\\ -]{0,30}|.*") {
            let _ = split(&text, &env);
            let _ = substitute(&text, &env);
        }
    }
}
