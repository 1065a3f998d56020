//! The lines of the admin protocol, and the answers that do not depend on the queue.

/// A line of admin text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admin<'a> {
    /// Functions with what is queued and running, and who can do them.
    Status,
    /// Every connection and what it can do.
    Workers,
    /// The version that clients compare with gearmand's.
    Version,
    /// A blank line: nothing to answer.
    Blank,
    /// Not a command of ours: its first word.
    Unknown(&'a [u8]),
}

impl<'a> Admin<'a> {
    /// Reads a line, without its line end. Words are split on blanks, case does not matter.
    pub fn parse(line: &'a [u8]) -> Admin<'a> {
        let mut words = line
            .split(u8::is_ascii_whitespace)
            .filter(|word| !word.is_empty());
        let Some(first) = words.next() else {
            return Admin::Blank;
        };
        match first.to_ascii_lowercase().as_slice() {
            b"status" => Admin::Status,
            b"workers" => Admin::Workers,
            b"version" => Admin::Version,
            _ => Admin::Unknown(first),
        }
    }
}

/// The release of gearmand whose behaviour we answer to; scripts compare the text of `version` with it.
pub const GEARMAND_VERSION: &str = "1.1.20";

/// The answer to a command that is not known.
pub fn unknown_command(out: &mut Vec<u8>, word: &[u8]) {
    out.extend_from_slice(b"ERR UNKNOWN_COMMAND Unknown+server+command");
    out.extend_from_slice(word);
    out.extend_from_slice(b"\r\n");
}
