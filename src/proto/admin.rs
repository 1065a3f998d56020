//! The lines of the admin protocol, and the answers that do not depend on the queue.

/// A line of admin text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admin<'a> {
    /// Functions with what is queued and running, and who can do them.
    Status,
    /// Functions with what is queued, by priority.
    PriorityStatus,
    /// Every connection and what it can do.
    Workers,
    /// Every job.
    ShowJobs,
    /// The unique of every job.
    ShowUniqueJobs,
    /// `show` and something else.
    ShowOther,
    /// Gives up the job with this handle.
    CancelJob(&'a [u8]),
    /// `cancel` and something else.
    CancelOther,
    /// Names a function, so that it is listed.
    CreateFunction(&'a [u8]),
    /// Forgets a function that nobody uses.
    DropFunction(&'a [u8]),
    /// How many jobs a function may have when one of high, normal or low priority is submitted; 0 is no limit.
    MaxQueue(&'a [u8], [u32; 3]),
    /// Ends the daemon.
    ShutDown(Ending),
    /// The daemon's process id.
    Pid,
    /// How much the daemon logs, in gearmand's words.
    Verbose,
    /// The version that clients compare with gearmand's.
    Version,
    /// A blank line: nothing to answer.
    Blank,
    /// A command that lacks a word, or has another than it can: which command.
    Incomplete(&'static str),
    /// Not a command of ours: its first word.
    Unknown(&'a [u8]),
}

/// How `shutdown` ends the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Soon.
    Now,
    /// When the running jobs have ended.
    Graceful,
}

impl<'a> Admin<'a> {
    /// Reads a line, without its line end. Words are split on blanks, and on nothing else, for Perl's prefixes put a tab into
    /// function names; case does not matter.
    pub fn parse(line: &'a [u8]) -> Admin<'a> {
        let mut words = line
            .split(|&byte| byte == b' ')
            .filter(|word| !word.is_empty());
        let Some(first) = words.next() else {
            return Admin::Blank;
        };
        match first.to_ascii_lowercase().as_slice() {
            b"status" => Admin::Status,
            b"prioritystatus" => Admin::PriorityStatus,
            b"workers" => Admin::Workers,
            b"version" => Admin::Version,
            b"getpid" => Admin::Pid,
            b"verbose" => Admin::Verbose,
            b"show" => match (words.next(), words.next(), words.next()) {
                // gearmand's own answer to `show` alone
                (None, _, _) => Admin::Unknown(first),
                (Some(what), None, _) if is(what, b"jobs") => Admin::ShowJobs,
                (Some(what), Some(jobs), None) if is(what, b"unique") && is(jobs, b"jobs") => {
                    Admin::ShowUniqueJobs
                }
                (Some(_), _, _) => Admin::ShowOther,
            },
            b"cancel" => match (words.next(), words.next(), words.next()) {
                // gearmand's own answer to less
                (_, None, _) => Admin::Unknown(first),
                (Some(what), Some(handle), None) if is(what, b"job") => Admin::CancelJob(handle),
                (_, Some(_), _) => Admin::CancelOther,
            },
            b"create" => match function_name(words) {
                Some(name) => Admin::CreateFunction(name),
                None => Admin::Incomplete("create"),
            },
            b"drop" => match function_name(words) {
                Some(name) => Admin::DropFunction(name),
                None => Admin::Incomplete("drop"),
            },
            b"maxqueue" => match words.next().zip(limits(words)) {
                Some((name, limits)) => Admin::MaxQueue(name, limits),
                None => Admin::Incomplete("maxqueue"),
            },
            b"shutdown" => match (words.next(), words.next()) {
                (None, _) => Admin::ShutDown(Ending::Now),
                (Some(how), None) if is(how, b"graceful") => Admin::ShutDown(Ending::Graceful),
                (Some(_), _) => Admin::Incomplete("shutdown"),
            },
            _ => Admin::Unknown(first),
        }
    }
}

/// The release of gearmand whose behaviour we answer to; scripts compare the text of `version` with it.
pub const GEARMAND_VERSION: &str = "1.1.20";

/// `function NAME`, and nothing more.
fn function_name<'a>(mut words: impl Iterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
    match (words.next(), words.next(), words.next()) {
        (Some(what), Some(name), None) if is(what, b"function") => Some(name),
        _ => None,
    }
}

/// No limit at all, one for every priority, or those of high, normal and low in this order. What is less than 1 is none.
fn limits<'a>(words: impl Iterator<Item = &'a [u8]>) -> Option<[u32; 3]> {
    let given = words
        .map(|word| str::from_utf8(word).ok()?.parse::<i64>().ok())
        .map(|limit| limit.map(|limit| u32::try_from(limit.max(0)).unwrap_or(u32::MAX)))
        .collect::<Option<Vec<u32>>>()?;
    match given[..] {
        [] => Some([0; 3]),
        [all] => Some([all; 3]),
        [high, normal] => Some([high, normal, 0]),
        [high, normal, low] => Some([high, normal, low]),
        _ => None,
    }
}

fn is(word: &[u8], name: &[u8]) -> bool {
    word.eq_ignore_ascii_case(name)
}

/// The answer to a command that lacks a word.
pub fn incomplete(out: &mut Vec<u8>, command: &str) {
    out.extend_from_slice(
        b"ERR INVALID_ARGUMENTS An+incomplete+set+of+arguments+was+sent+to+this+command+",
    );
    out.extend_from_slice(command.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The answer to a command that is not known.
pub fn unknown_command(out: &mut Vec<u8>, word: &[u8]) {
    out.extend_from_slice(b"ERR UNKNOWN_COMMAND Unknown+server+command");
    out.extend_from_slice(word);
    out.extend_from_slice(b"\r\n");
}
