//! What `submit` prints of its jobs: text as it arrives, or one JSON object a job.

use std::io::{self, Write};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;

use crate::cli::terminal::say;

/// One job that was asked for.
#[derive(Debug)]
pub(super) struct Submission {
    /// Which one it is, from 1, in the order of the workloads.
    pub(super) number: u64,
    pub(super) function: String,
    pub(super) unique: String,
    /// The parts of the result, kept for JSON only.
    result: Vec<u8>,
    warnings: Vec<u8>,
}

impl Submission {
    pub(super) fn new(number: u64, function: String, unique: String) -> Submission {
        Submission {
            number,
            function,
            unique,
            result: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

/// How a job ended for its client.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome<'a> {
    /// In the background: the server has it.
    Queued,
    Completed,
    Failed,
    Exception(&'a [u8]),
    /// The server did not take it: its error's code and text.
    Refused(&'a [u8], &'a [u8]),
}

/// What it looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    /// Text, each line after its function's name.
    Prefixed,
    Json,
}

/// Prints what happens to the jobs, and remembers whether one failed.
#[derive(Debug)]
pub(super) struct Report<W> {
    format: Format,
    out: W,
    failed: bool,
}

impl<W: Write> Report<W> {
    pub(super) fn new(format: Format, out: W) -> Report<W> {
        Report {
            format,
            out,
            failed: false,
        }
    }

    /// Whether a job did not complete.
    pub(super) fn failed(&self) -> bool {
        self.failed
    }

    /// Lets out what is buffered.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// A part of a job's result.
    pub(super) fn data(&mut self, job: &mut Submission, data: &[u8]) -> io::Result<()> {
        match self.format {
            Format::Json => job.result.extend_from_slice(data),
            Format::Text => self.out.write_all(data)?,
            Format::Prefixed => {
                for line in data.split_inclusive(|&byte| byte == b'\n') {
                    write!(self.out, "{}: ", job.function)?;
                    self.out.write_all(line)?;
                }
            }
        }
        Ok(())
    }

    /// A warning of a job.
    pub(super) fn warning(&mut self, job: &mut Submission, data: &[u8]) {
        match self.format {
            Format::Json => job.warnings.extend_from_slice(data),
            Format::Text | Format::Prefixed => {
                let end = if data.ends_with(b"\n") { "" } else { "\n" };
                // as a command's own words, not as ours; when nobody reads them the results still count
                let _ = write!(io::stderr(), "{}{end}", String::from_utf8_lossy(data));
            }
        }
    }

    /// A job's end.
    pub(super) fn end(
        &mut self,
        job: Submission,
        handle: &[u8],
        outcome: Outcome<'_>,
    ) -> io::Result<()> {
        let handle = String::from_utf8_lossy(handle);
        match outcome {
            Outcome::Queued | Outcome::Completed => {}
            Outcome::Failed | Outcome::Exception(_) | Outcome::Refused(..) => self.failed = true,
        }
        if self.format == Format::Json {
            return writeln!(self.out, "{}", line(&job, &handle, outcome)?);
        }
        let function = &job.function;
        match outcome {
            Outcome::Queued => writeln!(self.out, "{handle}")?,
            Outcome::Completed => {}
            Outcome::Failed => say(format_args!("job {handle} of {function} failed")),
            Outcome::Exception(data) => say(format_args!(
                "job {handle} of {function} ended in an exception: {}",
                String::from_utf8_lossy(data).trim_end()
            )),
            Outcome::Refused(code, text) => say(format_args!(
                "the server refused job {} of {function}: {}",
                job.number,
                refusal(code, text)
            )),
        }
        Ok(())
    }
}

fn refusal(code: &[u8], text: &[u8]) -> String {
    format!("{}: {}", code.escape_ascii(), String::from_utf8_lossy(text))
}

/// The JSON object of a job. Bytes that are no UTF-8 stand in base64, under the name with `_base64` after it.
#[derive(Serialize)]
struct Line<'a> {
    job: u64,
    function: &'a str,
    handle: Option<&'a str>,
    unique: Option<&'a str>,
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exception: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exception_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    warnings: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    warnings_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result_base64: Option<String>,
}

fn line(job: &Submission, handle: &str, outcome: Outcome<'_>) -> serde_json::Result<String> {
    let (status, error, exception) = match outcome {
        Outcome::Queued => ("queued", None, None),
        Outcome::Completed => ("completed", None, None),
        Outcome::Failed => ("failed", None, None),
        Outcome::Exception(data) => ("exception", None, Some(data)),
        Outcome::Refused(code, text) => ("refused", Some(refusal(code, text)), None),
    };
    let result = match outcome {
        Outcome::Queued | Outcome::Refused(..) => None,
        Outcome::Completed | Outcome::Failed | Outcome::Exception(_) => Some(&job.result[..]),
    };
    let warnings = Some(&job.warnings[..]).filter(|warnings| !warnings.is_empty());
    let (exception, exception_base64) = text_or_base64(exception);
    let (warnings, warnings_base64) = text_or_base64(warnings);
    let (result, result_base64) = text_or_base64(result);
    serde_json::to_string(&Line {
        job: job.number,
        function: &job.function,
        handle: Some(handle).filter(|handle| !handle.is_empty()),
        unique: Some(&job.unique[..]).filter(|unique| !unique.is_empty()),
        status,
        error,
        exception,
        exception_base64,
        warnings,
        warnings_base64,
        result,
        result_base64,
    })
}

fn text_or_base64(bytes: Option<&[u8]>) -> (Option<String>, Option<String>) {
    match bytes.map(|bytes| (bytes, std::str::from_utf8(bytes))) {
        None => (None, None),
        Some((_, Ok(text))) => (Some(text.to_owned()), None),
        Some((bytes, Err(_))) => (None, Some(BASE64_STANDARD.encode(bytes))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(format: Format, outcome: Outcome<'_>, parts: &[&[u8]]) -> (String, bool) {
        let mut report = Report::new(format, Vec::new());
        let mut job = Submission::new(7, "resize".to_owned(), "u1".to_owned());
        for part in parts {
            report.data(&mut job, part).unwrap();
        }
        report.end(job, b"H:a:1", outcome).unwrap();
        let text = String::from_utf8(report.out).unwrap();
        (text, report.failed)
    }

    #[test]
    fn text() {
        let completed = |format, parts| printed(format, Outcome::Completed, parts);
        assert_eq!(
            completed(Format::Text, &[b"a", b"b\n"]),
            ("ab\n".into(), false)
        );
        assert_eq!(
            completed(Format::Prefixed, &[b"a\nb\n"]),
            ("resize: a\nresize: b\n".into(), false)
        );
        assert_eq!(
            printed(Format::Text, Outcome::Queued, &[]),
            ("H:a:1\n".into(), false)
        );
        assert_eq!(
            printed(Format::Text, Outcome::Failed, &[]),
            (String::new(), true)
        );
    }

    #[test]
    fn json() {
        let head = r#"{"job":7,"function":"resize","handle":"H:a:1","unique":"u1","#;
        let table: [(Outcome<'_>, &[&[u8]], &str, bool); 5] = [
            (Outcome::Queued, &[], r#""status":"queued"}"#, false),
            (
                Outcome::Completed,
                &[b"a", b"b"],
                r#""status":"completed","result":"ab"}"#,
                false,
            ),
            (
                Outcome::Completed,
                &[b"\xff"],
                r#""status":"completed","result_base64":"/w=="}"#,
                false,
            ),
            (
                Outcome::Exception(b"no disk"),
                &[],
                r#""status":"exception","exception":"no disk","result":""}"#,
                true,
            ),
            (
                Outcome::Refused(b"QUEUE_ERROR", b"Job queue is full"),
                &[],
                r#""status":"refused","error":"QUEUE_ERROR: Job queue is full"}"#,
                true,
            ),
        ];
        for (outcome, parts, tail, failed) in table {
            let (text, seen) = printed(Format::Json, outcome, parts);
            assert_eq!(text, format!("{head}{tail}\n"));
            assert_eq!((text.lines().count(), seen), (1, failed));
        }
    }
}
