//! What a transcript runs against, and how its steps are carried out there.

use std::collections::HashMap;
use std::time::Duration;

use gearpool::proto::{Decoded, Frame, Kind, Magic, decode};

use crate::script::{Action, Case, Expected, Only, Sent, escape};

/// A server with connections, which are numbered in the order of [`World::connect`].
pub(crate) trait World {
    /// A new connection.
    fn connect(&mut self);
    /// Sends bytes in one segment, and returns when the server has dealt with them.
    fn send(&mut self, conn: usize, bytes: &[u8]);
    /// The next thing that the connection was sent, waiting for it where that makes sense.
    fn next(&mut self, conn: usize) -> Option<Vec<u8>>;
    /// The same, without waiting for what may come later.
    fn pending(&mut self, conn: usize) -> Option<Vec<u8>>;
    /// Ends a connection, and returns when the server knows it.
    fn close(&mut self, conn: usize);
    /// Breaks a connection off, and returns when the server knows it.
    fn reset(&mut self, conn: usize);
    /// Half-closes a connection.
    fn stop_sending(&mut self, conn: usize);
    /// Whether the server has closed it.
    fn is_closed(&mut self, conn: usize) -> bool;
    /// What only a server in memory can do, by connection.
    fn inside(&mut self, what: Inside) -> Result<(), String>;
}

/// A step that reaches into the server.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Inside {
    Advance(Duration),
    Quiesce(usize),
    Unquiesce(usize),
    Refuse(usize),
    Admit(usize),
    IsParked(usize),
    IsNotParked(usize),
    Demand(bool),
}

/// Runs a case; the error says which line went otherwise, and how.
pub(crate) fn run(file: &str, case: &Case, world: &mut impl World) -> Result<(), String> {
    let mut play = Play {
        names: HashMap::new(),
        held: HashMap::new(),
        handles: Handles::default(),
        open: Vec::new(),
    };
    let place = |line| format!("{file}:{line} ({})", case.name);
    for step in &case.steps {
        play.step(&step.action, world)
            .map_err(|why| format!("{}: `{}`: {why}", place(step.line), step.text))?;
    }
    let last = case.steps.last().map_or(case.line, |step| step.line);
    for (name, &conn) in &play.names {
        if let Some(more) = world.pending(conn).filter(|_| play.open[conn]) {
            return Err(format!(
                "{}: {name} was sent more than the case says: `{}`",
                place(last),
                show(&more)
            ));
        }
    }
    Ok(())
}

struct Play {
    names: HashMap<String, usize>,
    /// Bytes that go out with the connection's next step.
    held: HashMap<usize, Vec<u8>>,
    handles: Handles,
    open: Vec<bool>,
}

impl Play {
    fn step(&mut self, action: &Action, world: &mut impl World) -> Result<(), String> {
        match action {
            Action::Connect(conn) => {
                self.conn(conn, world);
            }
            Action::Send { conn, what, flush } => {
                let conn = self.conn(conn, world);
                let bytes = match what {
                    Sent::Packet {
                        magic,
                        kind,
                        arguments,
                    } => packet(*magic, *kind, &self.handles.real(arguments)),
                    Sent::Bytes(bytes) => self.handles.real_within(bytes),
                };
                let held = self.held.entry(conn).or_default();
                held.extend(bytes);
                if *flush {
                    world.send(conn, &std::mem::take(held));
                }
            }
            Action::Expect { conn, what } => {
                let conn = self.conn(conn, world);
                let got = world.next(conn).ok_or("nothing came")?;
                self.compare(what, &got)?;
            }
            Action::Nothing(conn) => {
                let conn = self.conn(conn, world);
                if let Some(got) = world.pending(conn) {
                    return Err(format!("got `{}`", show(&got)));
                }
            }
            Action::Close(conn) => {
                let conn = self.conn(conn, world);
                world.close(conn);
                self.open[conn] = false;
            }
            Action::Reset(conn) => {
                let conn = self.conn(conn, world);
                world.reset(conn);
                self.open[conn] = false;
            }
            Action::StopSending(conn) => {
                let conn = self.conn(conn, world);
                world.stop_sending(conn);
            }
            Action::IsClosed(conn) => {
                let conn = self.conn(conn, world);
                if !world.is_closed(conn) {
                    return Err("it is still open".to_owned());
                }
            }
            Action::Advance(jump) => world.inside(Inside::Advance(*jump))?,
            Action::Quiesce(conn) => world.inside(Inside::Quiesce(self.known(conn)?))?,
            Action::Unquiesce(conn) => world.inside(Inside::Unquiesce(self.known(conn)?))?,
            Action::Refuse(conn) => world.inside(Inside::Refuse(self.known(conn)?))?,
            Action::Admit(conn) => world.inside(Inside::Admit(self.known(conn)?))?,
            Action::IsParked(conn) => world.inside(Inside::IsParked(self.known(conn)?))?,
            Action::IsNotParked(conn) => world.inside(Inside::IsNotParked(self.known(conn)?))?,
            Action::Demand(is) => world.inside(Inside::Demand(*is))?,
        }
        Ok(())
    }

    fn known(&self, name: &str) -> Result<usize, String> {
        let conn = self.names.get(name).copied();
        conn.ok_or_else(|| format!("there is no connection {name}"))
    }

    fn conn(&mut self, name: &str, world: &mut impl World) -> usize {
        if let Some(&conn) = self.names.get(name) {
            return conn;
        }
        world.connect();
        self.open.push(true);
        self.names.insert(name.to_owned(), self.open.len() - 1);
        self.open.len() - 1
    }

    fn compare(&mut self, expected: &Expected, got: &[u8]) -> Result<(), String> {
        let is_same = match expected {
            Expected::Packet { kind, arguments } => {
                self.handles.bind(*kind, arguments, got);
                packet(Magic::Response, *kind as u32, &self.handles.real(arguments)) == got
            }
            Expected::Text(pattern) => {
                let line = got.strip_suffix(b"\n").unwrap_or(got);
                matches(pattern, line)
            }
        };
        if is_same {
            Ok(())
        } else {
            Err(format!("got `{}`", show(got)))
        }
    }
}

/// The handles of the file, `H:test:<n>`, and what the server calls them.
#[derive(Default)]
struct Handles {
    real: HashMap<Vec<u8>, Vec<u8>>,
}

impl Handles {
    const PREFIX: &'static [u8] = b"H:test:";

    fn real(&self, arguments: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let real = |argument: &Vec<u8>| self.real.get(argument).unwrap_or(argument).clone();
        arguments.iter().map(real).collect()
    }

    /// A line of text with the handles in it replaced. What has none, such as half a packet, stays as it is.
    fn real_within(&self, line: &[u8]) -> Vec<u8> {
        let mut words: Vec<Vec<u8>> = Vec::new();
        for word in line.split(|&byte| byte == b' ') {
            let (word, end) = word.split_at(word.strip_suffix(b"\n").unwrap_or(word).len());
            let real = self.real.get(word).map_or(word, Vec::as_slice);
            words.push([real, end].concat());
        }
        words.join(&b' ')
    }

    /// A handle that the file names for the first time means what came in its place.
    fn bind(&mut self, kind: Kind, expected: &[Vec<u8>], got: &[u8]) {
        let body = got.get(12..).unwrap_or_default();
        let mut came = body.splitn(kind.arguments().max(1), |&byte| byte == 0);
        for argument in expected {
            let Some(came) = came.next() else { return };
            let is_new = argument.starts_with(Handles::PREFIX)
                && came.starts_with(b"H:")
                && !self.real.contains_key(argument)
                && !self.real.values().any(|known| known == came);
            if is_new {
                self.real.insert(argument.clone(), came.to_vec());
            }
        }
    }
}

/// A packet of any type with any arguments, right or wrong.
fn packet(magic: Magic, kind: u32, arguments: &[Vec<u8>]) -> Vec<u8> {
    let body = arguments.join(&0);
    let length = u32::try_from(body.len()).expect("a transcript's packet is short");
    let mut out = magic.bytes().to_vec();
    out.extend(kind.to_be_bytes());
    out.extend(length.to_be_bytes());
    out.extend(body);
    out
}

/// Cuts the first frame off the buffer, if it is there in whole.
pub(crate) fn take_frame(buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
    // lines from the server are as long as they are: the limit is for those who send to it
    if buffer.first().is_some_and(|&byte| byte != 0) {
        let end = buffer.iter().position(|&byte| byte == b'\n')?;
        return Some(buffer.drain(..=end).collect());
    }
    match decode(buffer) {
        Ok(Decoded::Frame(_, length)) => Some(buffer.drain(..length).collect()),
        Ok(Decoded::Incomplete(needed)) => {
            assert!(needed > buffer.len(), "more is needed than there is");
            None
        }
        Err(why) => panic!("the server sent what is no frame: {why}"),
    }
}

/// A frame as a transcript would write it.
fn show(frame: &[u8]) -> String {
    const ENOUGH: usize = 300;
    let mut text = show_all(frame);
    if text.len() > ENOUGH {
        text.truncate(ENOUGH);
        text.push('…');
    }
    text
}

fn show_all(frame: &[u8]) -> String {
    match decode(frame) {
        Ok(Decoded::Frame(Frame::Packet { magic, kind, body }, _)) => {
            let (name, count) = match Kind::from_number(kind) {
                Some(kind) => (kind.name().to_owned(), kind.arguments()),
                None => (kind.to_string(), 1),
            };
            let arguments: Vec<_> = body
                .splitn(count.max(1), |&byte| byte == 0)
                .map(escape)
                .collect();
            let magic = match magic {
                Magic::Request => "REQ ",
                Magic::Response => "",
            };
            format!("{magic}{name} {}", arguments.join("|"))
                .trim_end()
                .to_owned()
        }
        _ => format!("text {}", escape(frame)),
    }
}

/// Whether a line is what the pattern says, where `*` is one or more bytes that are no blanks.
fn matches(pattern: &[u8], line: &[u8]) -> bool {
    match (pattern.split_first(), line.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), Some((byte, line))) if !byte.is_ascii_whitespace() => {
            matches(rest, line) || matches(pattern, line)
        }
        (Some((expected, pattern)), Some((byte, line))) if expected == byte => {
            matches(pattern, line)
        }
        _ => false,
    }
}

/// Whether the case belongs into this kind of world.
pub(crate) fn belongs(case: &Case, only: Only) -> bool {
    match only {
        Only::Memory => case.only != Some(Only::Tcp),
        Only::Tcp => case.runs_over_tcp(),
    }
}
