//! What servers answer to lines of text, and how that is printed.

use anyhow::anyhow;
use serde_json::{Value, json};

/// What the answer to a question looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// A list: name, jobs, running, workers.
    Status,
    /// A list: name, high, normal, low, workers.
    PriorityStatus,
    /// A list: `37 127.0.0.1 id : f g`.
    Workers,
    /// A list: handle, retries, ignored, queued.
    Jobs,
    /// A list of uniques.
    Uniques,
    /// One line with a number.
    Number,
    /// One line with a word.
    Word,
    /// One line, `OK`.
    Done,
}

/// What the server has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It did what was asked. The lines are without their ends, a list's without its full stop.
    Given(Shape, Vec<Vec<u8>>),
    /// It did not, and this is why.
    Refused(String),
}

impl Shape {
    pub(super) fn is_list(self) -> bool {
        match self {
            Shape::Status
            | Shape::PriorityStatus
            | Shape::Workers
            | Shape::Jobs
            | Shape::Uniques => true,
            Shape::Number | Shape::Word | Shape::Done => false,
        }
    }

    /// Whether a line is the answer's last one.
    pub(super) fn ends_with(self, line: &[u8]) -> bool {
        !self.is_list() || line == b"."
    }
}

impl Answer {
    /// The refusal that a line is, `ERR CODE Text+with+plus+signs`. A list's line could look like one, but never its first: what
    /// follows a name is a tab.
    pub(super) fn refusal(line: &[u8], is_first: bool) -> Option<Answer> {
        let text = String::from_utf8_lossy(line);
        let why = text.strip_prefix("ERR ")?;
        (is_first && !why.contains('\t')).then(|| Answer::Refused(why.replace('+', " ")))
    }

    /// What gearadmin prints.
    pub(super) fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        if let Answer::Given(shape, lines) = self {
            for line in lines {
                text.extend_from_slice(match shape.is_list() {
                    true => line,
                    false => value(line),
                });
                text.push(b'\n');
            }
            if shape.is_list() {
                text.extend_from_slice(b".\n");
            }
        }
        text
    }

    /// One line of JSON.
    ///
    /// # Errors
    /// An answer that is not as the question's should be.
    pub(super) fn json(&self) -> anyhow::Result<String> {
        let value = match self {
            Answer::Refused(why) => Value::String(why.clone()),
            Answer::Given(shape, lines) => {
                let mut entries = Vec::new();
                for line in lines {
                    let line = String::from_utf8_lossy(match shape.is_list() {
                        true => line,
                        false => value(line),
                    });
                    let entry = entry(*shape, &line);
                    entries.push(entry.ok_or_else(|| {
                        anyhow!("the server's answer is not understood: {line:?}")
                    })?);
                }
                match shape.is_list() {
                    true => Value::Array(entries),
                    false => entries.pop().unwrap_or(Value::Null),
                }
            }
        };
        Ok(format!("{value}\n"))
    }
}

/// What follows the OK, or the OK itself. Perl's server answers a question without one.
fn value(line: &[u8]) -> &[u8] {
    line.strip_prefix(b"OK ").unwrap_or(line)
}

fn entry(shape: Shape, line: &str) -> Option<Value> {
    let fields = |names: &[&str]| {
        let mut numbers: Vec<u64> = Vec::new();
        // a name may have tabs in it, as the prefixes of Perl's clients have
        let mut rest = line;
        for _ in &names[1..] {
            let (before, number) = rest.rsplit_once('\t')?;
            numbers.push(number.parse().ok()?);
            rest = before;
        }
        let mut object = serde_json::Map::new();
        object.insert(names[0].to_owned(), rest.into());
        for (name, number) in names[1..].iter().zip(numbers.into_iter().rev()) {
            object.insert((*name).to_owned(), number.into());
        }
        Some(Value::Object(object))
    };
    match shape {
        Shape::Status => fields(&["function", "jobs", "running", "workers"]),
        Shape::PriorityStatus => fields(&["function", "high", "normal", "low", "workers"]),
        Shape::Jobs => fields(&["handle", "retries", "ignored", "queued"]),
        Shape::Workers => {
            // an IPv6 address may begin with colons, so it is taken first
            let mut words = line.splitn(3, ' ');
            let descriptor = words.next()?.parse::<i64>().ok()?;
            let address = words.next()?;
            let (client_id, functions) = words.next()?.split_once(" :")?;
            Some(json!({
                "descriptor": descriptor,
                "address": address,
                "client_id": client_id,
                "functions": functions.split(' ').filter(|name| !name.is_empty()).collect::<Vec<_>>(),
            }))
        }
        Shape::Number => line.parse::<u64>().ok().map(Value::from),
        Shape::Uniques | Shape::Word | Shape::Done => Some(line.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(shape: Shape, lines: &[&str]) -> Answer {
        Answer::Given(
            shape,
            lines.iter().map(|line| line.as_bytes().to_vec()).collect(),
        )
    }

    #[test]
    fn answers_as_text_and_as_json() {
        for (shape, lines, text, json) in [
            (
                Shape::Status,
                &["f\t2\t1\t0", "a\tb\t0\t0\t0"][..],
                "f\t2\t1\t0\na\tb\t0\t0\t0\n.\n",
                r#"[{"function":"f","jobs":2,"running":1,"workers":0},{"function":"a\tb","jobs":0,"running":0,"workers":0}]"#,
            ),
            (
                Shape::PriorityStatus,
                &["f\t1\t2\t3\t4"],
                "f\t1\t2\t3\t4\n.\n",
                r#"[{"function":"f","high":1,"low":3,"normal":2,"workers":4}]"#,
            ),
            (
                Shape::Workers,
                &["37 127.0.0.1 - :", "38 ::1 web 1 : f g"],
                "37 127.0.0.1 - :\n38 ::1 web 1 : f g\n.\n",
                r#"[{"address":"127.0.0.1","client_id":"-","descriptor":37,"functions":[]},{"address":"::1","client_id":"web 1","descriptor":38,"functions":["f","g"]}]"#,
            ),
            (
                Shape::Jobs,
                &["H:a:1\t0\t0\t1"],
                "H:a:1\t0\t0\t1\n.\n",
                r#"[{"handle":"H:a:1","ignored":0,"queued":1,"retries":0}]"#,
            ),
            (Shape::Uniques, &["k"], "k\n.\n", r#"["k"]"#),
            (Shape::Uniques, &[], ".\n", "[]"),
            (Shape::Number, &["OK 811"], "811\n", "811"),
            (Shape::Word, &["OK 1.1.20"], "1.1.20\n", "\"1.1.20\""),
            (Shape::Word, &["1.130"], "1.130\n", "\"1.130\""),
            (Shape::Done, &["OK"], "OK\n", "\"OK\""),
        ] {
            let answer = given(shape, lines);
            assert_eq!(String::from_utf8(answer.text()).unwrap(), text);
            assert_eq!(answer.json().unwrap().trim_end(), json);
        }
        assert!(given(Shape::Status, &["no numbers"]).json().is_err());
    }

    #[test]
    fn refusals() {
        let refusal = |line: &str| Answer::refusal(line.as_bytes(), true);
        assert_eq!(
            refusal("ERR UNKNOWN_COMMAND Unknown+server+command"),
            Some(Answer::Refused(
                "UNKNOWN_COMMAND Unknown server command".to_owned()
            ))
        );
        assert_eq!(refusal("ERR or\t0\t0\t0"), None);
        assert_eq!(Answer::refusal(b"ERR UNKNOWN_JOB", false), None);
    }
}
