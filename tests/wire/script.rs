//! The language of the transcripts, read into cases and steps.
//!
//! A file holds cases; each begins with `== <its name>` and has a server of its own. A line is one step:
//!
//! | line | meaning |
//! | --- | --- |
//! | `c1> SUBMIT_JOB_BG echo\|u1\|hello` | the connection sends a packet; a name that was not used before connects first |
//! | `c1> RES WORK_COMPLETE H:test:1\|x` | the same with the magic of a response |
//! | `c1> 4294967295 a\|b` | a packet whose type is given by its number |
//! | `c1> text status` | a line of admin text, ended by LF |
//! | `c1> raw \0REQ\0\0` | bytes as they are |
//! | `c1>> …` | held back, and sent in one segment with the connection's next step |
//! | `c1< JOB_CREATED H:test:1` | this packet, byte for byte, is the next thing that the connection gets |
//! | `c1< text echo\t0\t0\t1` | this line is; a `*` in it stands for one or more bytes that are no blanks |
//! | `c1< nothing` | nothing is left that the connection was sent |
//! | `c1 connects`, `c1 closes`, `c1 stops sending`, `c1 resets` | the connection; half-closed, and broken off by a RST |
//! | `c1 is closed` | the server has closed it |
//! | `@ +30s`, `@ +50ms`, `@ +2h5m` | the clock jumps, from deadline to deadline (in memory only) |
//! | `quiesce w1`, `unquiesce w1`, `refuse w1`, `admit w1` | what the owner of the process asks for (in memory only) |
//! | `w1 is parked`, `w1 is not parked` | whether the owner of the process has been told so (in memory only) |
//! | `demand`, `no demand` | whether the last step asked for more workers (in memory only) |
//! | `serve --job-retries=2` | flags of the server, before the first step |
//! | `in memory only: why`, `over TCP only: why`, `not gearmand: why` | where the case runs, before the first step |
//!
//! Arguments are split at `|`. Escapes: `\0 \n \r \t \\ \|`, `\x7f` for a byte, `\{a*70}` for 70 times an `a`. `#` opens a comment.

use std::time::Duration;

use gearpool::proto::{Kind, Magic};

/// One transcript.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) flags: Vec<String>,
    pub(crate) only: Option<Only>,
    /// Why Debian's gearmand does it otherwise.
    pub(crate) not_gearmand: Option<String>,
    pub(crate) steps: Vec<Step>,
}

/// The one place where a case makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Only {
    Memory,
    Tcp,
}

pub(crate) struct Step {
    pub(crate) line: usize,
    pub(crate) text: String,
    pub(crate) action: Action,
}

pub(crate) enum Action {
    Connect(String),
    Send {
        conn: String,
        what: Sent,
        /// Whether it goes out now, or with the next one.
        flush: bool,
    },
    Expect {
        conn: String,
        what: Expected,
    },
    Nothing(String),
    Close(String),
    Reset(String),
    StopSending(String),
    IsClosed(String),
    Advance(Duration),
    Quiesce(String),
    Unquiesce(String),
    Refuse(String),
    Admit(String),
    IsParked(String),
    IsNotParked(String),
    Demand(bool),
}

/// What a connection sends.
pub(crate) enum Sent {
    Packet {
        magic: Magic,
        kind: u32,
        arguments: Vec<Vec<u8>>,
    },
    Bytes(Vec<u8>),
}

/// What a connection is to get.
pub(crate) enum Expected {
    Packet {
        kind: Kind,
        arguments: Vec<Vec<u8>>,
    },
    /// With `*` as a wildcard.
    Text(Vec<u8>),
}

impl Case {
    /// Reads a file. Panics with the line's number: a transcript that cannot be read is a mistake in the test.
    pub(crate) fn parse(file: &str, text: &str) -> Vec<Case> {
        let mut cases: Vec<Case> = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let (number, line) = (at + 1, line.trim());
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(name) = line.strip_prefix("== ") {
                cases.push(Case {
                    name: name.to_owned(),
                    line: number,
                    flags: Vec::new(),
                    only: None,
                    not_gearmand: None,
                    steps: Vec::new(),
                });
                continue;
            }
            let case = cases
                .last_mut()
                .unwrap_or_else(|| panic!("{file}:{number}: a step before the first `== name`"));
            if !case.header(line) {
                let action =
                    Action::parse(line).unwrap_or_else(|why| panic!("{file}:{number}: {why}"));
                case.steps.push(Step {
                    line: number,
                    text: line.to_owned(),
                    action,
                });
            }
        }
        cases
    }

    /// Whether every step means something to a server on the other side of a socket.
    pub(crate) fn runs_over_tcp(&self) -> bool {
        let is_inside = |step: &Step| {
            matches!(
                step.action,
                Action::Advance(_)
                    | Action::Quiesce(_)
                    | Action::Unquiesce(_)
                    | Action::Refuse(_)
                    | Action::Admit(_)
                    | Action::IsParked(_)
                    | Action::IsNotParked(_)
                    | Action::Demand(_)
            )
        };
        self.only != Some(Only::Memory) && !self.steps.iter().any(is_inside)
    }

    fn header(&mut self, line: &str) -> bool {
        if let Some(flags) = line.strip_prefix("serve ") {
            self.flags
                .extend(flags.split_whitespace().map(str::to_owned));
        } else if line.starts_with("in memory only:") {
            self.only = Some(Only::Memory);
        } else if line.starts_with("over TCP only:") {
            self.only = Some(Only::Tcp);
        } else if let Some(why) = line.strip_prefix("not gearmand:") {
            self.not_gearmand = Some(why.trim().to_owned());
        } else {
            return false;
        }
        assert!(self.steps.is_empty(), "`{line}` stands before the steps");
        true
    }
}

impl Action {
    fn parse(line: &str) -> Result<Action, String> {
        let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.trim_start();
        if let Some(conn) = first.strip_suffix(">>") {
            return Action::send(conn, rest, false);
        }
        if let Some(conn) = first.strip_suffix('>') {
            return Action::send(conn, rest, true);
        }
        if let Some(conn) = first.strip_suffix('<') {
            return Action::expect(conn, rest);
        }
        let (conn, other) = (first.to_owned(), rest.to_owned());
        Ok(match (first, rest) {
            ("@", jump) => Action::Advance(duration(jump)?),
            ("quiesce", _) => Action::Quiesce(other),
            ("unquiesce", _) => Action::Unquiesce(other),
            ("refuse", _) => Action::Refuse(other),
            ("admit", _) => Action::Admit(other),
            ("demand", "") => Action::Demand(true),
            ("no", "demand") => Action::Demand(false),
            (_, "connects") => Action::Connect(conn),
            (_, "closes") => Action::Close(conn),
            (_, "resets") => Action::Reset(conn),
            (_, "stops sending") => Action::StopSending(conn),
            (_, "is closed") => Action::IsClosed(conn),
            (_, "is parked") => Action::IsParked(conn),
            (_, "is not parked") => Action::IsNotParked(conn),
            _ => return Err(format!("`{line}` is no step")),
        })
    }

    fn send(conn: &str, what: &str, flush: bool) -> Result<Action, String> {
        let (magic, what) = match what.strip_prefix("RES ") {
            Some(what) => (Magic::Response, what),
            None => (Magic::Request, what),
        };
        let (name, rest) = what.split_once(' ').unwrap_or((what, ""));
        let what = match name {
            "text" => {
                let mut line = unescape(rest)?;
                line.push(b'\n');
                Sent::Bytes(line)
            }
            "raw" => Sent::Bytes(unescape(rest)?),
            _ => Sent::Packet {
                magic,
                kind: match name.parse::<u32>() {
                    Ok(number) => number,
                    Err(_) => kind(name)? as u32,
                },
                arguments: arguments(rest)?,
            },
        };
        Ok(Action::Send {
            conn: conn.to_owned(),
            what,
            flush,
        })
    }

    fn expect(conn: &str, what: &str) -> Result<Action, String> {
        let (name, rest) = what.split_once(' ').unwrap_or((what, ""));
        let conn = conn.to_owned();
        Ok(match name {
            "nothing" => Action::Nothing(conn),
            "text" => Action::Expect {
                conn,
                what: Expected::Text(unescape(rest)?),
            },
            _ => Action::Expect {
                conn,
                what: Expected::Packet {
                    kind: kind(name)?,
                    arguments: arguments(rest)?,
                },
            },
        })
    }
}

fn kind(name: &str) -> Result<Kind, String> {
    let known = Kind::ALL.iter().find(|kind| kind.name() == name);
    known
        .copied()
        .ok_or_else(|| format!("there is no packet {name}"))
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no jump of the clock");
    let text = text.strip_prefix('+').ok_or_else(wrong)?;
    humantime::parse_duration(text).map_err(|_| wrong())
}

/// Splits at every `|` that has no backslash before it.
fn arguments(text: &str) -> Result<Vec<Vec<u8>>, String> {
    let mut pieces = vec![String::new()];
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        let piece = pieces.last_mut().ok_or("no piece")?;
        match letter {
            '|' => pieces.push(String::new()),
            '\\' => {
                piece.push('\\');
                piece.extend(letters.next());
            }
            other => piece.push(other),
        }
    }
    pieces.iter().map(|piece| unescape(piece)).collect()
}

fn unescape(text: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        match letters.next() {
            Some('0') => out.push(0),
            Some('n') => out.push(b'\n'),
            Some('r') => out.push(b'\r'),
            Some('t') => out.push(b'\t'),
            Some(same @ ('\\' | '|')) => out.push(same as u8),
            Some('x') => {
                let digits: String = letters.by_ref().take(2).collect();
                let byte = u8::from_str_radix(&digits, 16);
                out.push(byte.map_err(|_| format!("`\\x{digits}` is no byte"))?);
            }
            Some('{') => {
                let inside: String = letters.by_ref().take_while(|&l| l != '}').collect();
                let (what, times) = inside
                    .rsplit_once('*')
                    .ok_or("`\\{…}` is written `\\{a*70}`")?;
                let times: usize = times.parse().map_err(|_| format!("`{times}` times"))?;
                out.extend(unescape(what)?.repeat(times));
            }
            other => return Err(format!("`\\{other:?}` is no escape")),
        }
    }
    Ok(out)
}

/// Bytes as a transcript would write them.
pub(crate) fn escape(bytes: &[u8]) -> String {
    let mut out = String::new();
    for &byte in bytes {
        match byte {
            0 => out.push_str("\\0"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            b'\\' => out.push_str("\\\\"),
            b'|' => out.push_str("\\|"),
            0x20..=0x7e => out.push(byte as char),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out
}
