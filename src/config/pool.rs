//! One entry of `functions:`, and `defaults:`, which has the same keys.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use indexmap::IndexMap;

use super::bounds::{self, Bounds};
use super::keys;
use super::log;
use super::problem::quote;
use super::program::{self, Purpose};
use super::read::{Entry, Reader, set};
use super::rlimits;
use super::schedule;
use super::schema::{Command, Pool, Restart, Signal, Watch};
use super::tree::{Place, Value};
use super::units::parse_umask;

/// More processes of one command than any machine runs; a number beyond it is a typing error.
pub const MAX_PROCESSES: i128 = 100_000;
/// In bytes. What the protocol's other implementations take as a name without trouble.
const MAX_NAME: usize = 64;

const RESTARTS: [(&str, Restart); 3] = [
    (Restart::Always.name(), Restart::Always),
    (Restart::OnFailure.name(), Restart::OnFailure),
    (Restart::Never.name(), Restart::Never),
];

/// A pool while it is read: it begins as the defaults, and each of its keys replaces what they said.
#[derive(Clone)]
pub(super) struct Draft {
    pool: Pool,
    shell: bool,
    bounds: Bounds,
    /// Where the entries of its schedule are.
    rushes: Vec<(String, Place)>,
}

impl Default for Draft {
    fn default() -> Draft {
        Draft {
            pool: Pool::new("", Command::Exec(Vec::new())),
            shell: false,
            bounds: Bounds::default(),
            rushes: Vec::new(),
        }
    }
}

impl Draft {
    /// Whether the daemon ends when a pool does not work that says nothing of it.
    pub(super) fn ends_the_daemon(&mut self, is_so: bool) {
        self.pool.exit_on_failure = is_so;
    }
}

/// The keys that take others into account, as they were met.
#[derive(Default)]
pub(super) struct Own<'a> {
    pub(super) cmd: Option<Entry<'a>>,
    pub(super) run: Option<Entry<'a>>,
    functions: Option<Entry<'a>>,
    pub(super) shell: Option<Entry<'a>>,
    check: Option<Entry<'a>>,
}

/// Reads the pools of a file, and of those that it includes.
pub(super) struct Pools<'a, 'r> {
    pub(super) reader: &'a mut Reader<'r>,
    /// What `defaults:` said.
    pub(super) defaults: Draft,
    /// Where each pool was found.
    pub(super) found: BTreeMap<String, (&'r str, Place)>,
}

impl Pools<'_, '_> {
    /// Reads `defaults:`. Those of an included file begin as those of the file that includes it.
    pub(super) fn read_defaults(&mut self, section: Entry<'_>) {
        let mut draft = Draft {
            bounds: Bounds::default(),
            ..self.defaults.clone()
        };
        let mut own = Own::default();
        for entry in self
            .reader
            .entries(section, "{stop_timeout: 1m}")
            .unwrap_or_default()
        {
            match entry.key {
                "cmd" | "run" | "functions" => {
                    let message = format!(
                        "{} belongs to one function, not to \"defaults\"",
                        quote(entry.key)
                    );
                    self.reader.problem(entry.key_place, message);
                }
                "shell" => {
                    own.shell = Some(entry);
                    self.read_option(&mut draft, entry);
                }
                "check" => own.check = Some(entry),
                _ => self.read_option(&mut draft, entry),
            }
        }
        self.check(&own, &mut draft);
        let before = self.defaults.bounds;
        bounds::check(self.reader, draft.bounds, before);
        draft.bounds = draft.bounds.or(before);
        self.defaults = draft;
    }

    /// Reads one entry of `functions:` into `pools`.
    pub(super) fn read_pool(&mut self, entry: Entry<'_>, pools: &mut IndexMap<String, Pool>) {
        let name = entry.key;
        let here = (self.reader.at.file, entry.key_place);
        match self.found.get(name).copied() {
            // twice in one file has been said
            Some((file, place)) if file != here.0 => {
                let message = format!("{} is in {file}:{} already", quote(name), place.line);
                self.reader.problem(entry.key_place, message);
            }
            Some(_) => {}
            None => drop(self.found.insert(name.to_owned(), here)),
        }
        if let Err(why) = check_pool_name(name) {
            let message = format!("{} cannot name a function: {why}", quote(name));
            self.reader.problem(entry.key_place, message);
        }
        let mut draft = self.defaults.clone();
        draft.pool.name = name.to_owned();
        draft.pool.functions = vec![name.to_owned()];
        draft.bounds = Bounds::default();
        let mut own = Own::default();
        match &entry.node.value {
            Value::Scalar(_) => own.cmd = Some(entry),
            Value::Map(pairs) => {
                for entry in self.reader.pairs(pairs) {
                    match entry.key {
                        "cmd" => own.cmd = Some(entry),
                        "run" => own.run = Some(entry),
                        "functions" => own.functions = Some(entry),
                        "check" => own.check = Some(entry),
                        "shell" => {
                            own.shell = Some(entry);
                            self.read_option(&mut draft, entry);
                        }
                        _ => self.read_option(&mut draft, entry),
                    }
                }
            }
            Value::Null => {}
            Value::List(_) => {
                let message = format!(
                    "{} must be a command, or a map like {{cmd: \"php fetch.php\", max: 4}}, not a list",
                    quote(name)
                );
                self.reader.problem(entry.place(), message);
                return;
            }
        }
        let command = program::of_pool(self.reader, entry, &own, draft.shell);
        self.check(&own, &mut draft);
        draft.pool.watch.folder = match &draft.pool.cwd {
            Some(cwd) => cwd.clone(),
            None => self.reader.at.folder.to_owned(),
        };
        if let Some(entry) = own.functions {
            draft.pool.functions = self.functions(entry);
        }
        let (min, max) = bounds::check(self.reader, draft.bounds, self.defaults.bounds);
        if let Some(command) = command {
            let pool = Pool {
                command,
                min,
                max,
                ..draft.pool
            };
            log::check(self.reader, entry, &pool, pools);
            schedule::check(self.reader, &pool, &draft.rushes);
            pools.insert(name.to_owned(), pool);
        }
    }

    /// Reads a key that a pool and `defaults` both may have.
    fn read_option(&mut self, draft: &mut Draft, entry: Entry<'_>) {
        const MILLISECOND: Duration = Duration::from_millis(1);
        let reader = &mut *self.reader;
        let Draft {
            pool,
            shell,
            bounds,
            rushes,
        } = draft;
        let place = entry.place();
        let placed = |count: Option<u32>| count.map(|count| (count, place));
        match entry.key {
            "shell" => set(shell, reader.truth(entry)),
            "min" => bounds.min = placed(reader.integer(entry, 0..=MAX_PROCESSES)),
            "max" => bounds.max = placed(reader.integer(entry, 1..=MAX_PROCESSES)),
            "count" => bounds.count = placed(reader.integer(entry, 1..=MAX_PROCESSES)),
            "cwd" => pool.cwd = reader.path(entry),
            "env" => pool.env.extend(reader.variables(entry).unwrap_or_default()),
            "env_file" => pool.env_file = reader.path(entry),
            "user" => pool.user = reader.text(entry, "a user's name or number"),
            "group" => pool.group = reader.text(entry, "a group's name or number"),
            "umask" => pool.umask = self.umask(entry),
            "nice" => pool.nice = reader.integer(entry, -20..=19),
            "limits" => rlimits::read(reader, &mut pool.limits, entry),
            "max_jobs" => pool.max_jobs = reader.integer(entry, 1..=1_000_000_000_000),
            "max_lifetime" => pool.max_lifetime = reader.duration(entry, Duration::from_secs(1)),
            "max_memory" => pool.max_memory = reader.size(entry, 1 << 20..=u64::MAX),
            "no_new_privileges" => set(&mut pool.no_new_privileges, reader.truth(entry)),
            "exit_on_failure" => set(&mut pool.exit_on_failure, reader.truth(entry)),
            "timeout" => pool.timeout = reader.duration(entry, MILLISECOND),
            "attempts" => set(&mut pool.attempts, reader.integer(entry, 0..=1000)),
            "retries" => set(&mut pool.retries, reader.integer(entry, 0..=1000)),
            "retry_delay" => set(
                &mut pool.retry_delay,
                reader.duration(entry, Duration::ZERO),
            ),
            "start_timeout" => set(&mut pool.start_timeout, reader.duration(entry, MILLISECOND)),
            "stop_signal" => set(&mut pool.stop_signal, self.signal(entry)),
            "stop_timeout" => set(
                &mut pool.stop_timeout,
                reader.duration(entry, Duration::ZERO),
            ),
            "restart" => set(&mut pool.restart, reader.choice(entry, &RESTARTS)),
            "priority" => set(&mut pool.priority, reader.integer(entry, 1..=1000)),
            "scale" if matches!(&entry.node.value, Value::Scalar(text) if text.trim() == "off") => {
                pool.scale.off = true;
                pool.scale.schedule.clear();
            }
            "scale" => {
                pool.scale.off = false;
                let example = "{target_wait: 500ms, down_after: 1m}, or off,";
                for entry in reader.entries(entry, example).unwrap_or_default() {
                    let scale = &mut pool.scale;
                    match entry.key {
                        "target_wait" => scale.target_wait = reader.duration(entry, MILLISECOND),
                        "service_level" => {
                            set(&mut scale.service_level, reader.integer(entry, 50..=99));
                        }
                        "down_after" => scale.down_after = reader.duration(entry, Duration::ZERO),
                        "schedule" => {
                            let read = schedule::read(reader, entry).unwrap_or_default();
                            let file = reader.at.file;
                            let read = read
                                .into_iter()
                                .map(|(rush, place)| (rush, (file.to_owned(), place)));
                            (scale.schedule, *rushes) = read.unzip();
                        }
                        "step" => scale.step = reader.integer(entry, 1..=1000),
                        key => reader.problem(entry.key_place, keys::SCALE.unknown(key)),
                    }
                }
            }
            "check_timeout" => set(&mut pool.check_timeout, reader.duration(entry, MILLISECOND)),
            "watch" => pool.watch.globs = globs(reader, entry),
            "log" => log::read(reader, pool, entry),
            key => reader.problem(entry.key_place, keys::POOL.unknown(key)),
        }
    }

    fn umask(&mut self, entry: Entry<'_>) -> Option<u32> {
        const WANTED: &str = "an octal mask up to 777, like 022";
        let text = self.reader.text(entry, WANTED)?;
        let mask = parse_umask(&text);
        if mask.is_none() {
            let message = format!("\"umask\" must be {WANTED}, not {}", quote(&text));
            self.reader.problem(entry.place(), message);
        }
        mask
    }

    fn signal(&mut self, entry: Entry<'_>) -> Option<Signal> {
        let names = Signal::ALL.map(Signal::name);
        let wanted = format!("one of {}", names.join(", "));
        let text = self.reader.text(entry, &wanted)?;
        let signal = text.trim().parse();
        if signal.is_err() {
            let message = format!("\"stop_signal\" must be {wanted}, not {}", quote(&text));
            self.reader.problem(entry.place(), message);
        }
        signal.ok()
    }

    /// What has to succeed before the pool's processes are started, if the file says so.
    fn check(&mut self, own: &Own<'_>, draft: &mut Draft) {
        if let Some(entry) = own.check {
            draft.pool.check =
                program::words(self.reader, entry, own, draft.shell, Purpose::Process);
        }
    }

    fn functions(&mut self, entry: Entry<'_>) -> Vec<String> {
        const WANTED: &str = "a list of names";
        let mut seen = BTreeSet::new();
        let mut functions = Vec::new();
        for entry in self.reader.one_or_more(entry, WANTED).unwrap_or_default() {
            let Value::Scalar(name) = &entry.node.value else {
                let message = format!(
                    "\"functions\" must be {WANTED}, {} is none",
                    entry.node.value.described()
                );
                self.reader.problem(entry.place(), message);
                continue;
            };
            let Some(name) = self.reader.fill(entry, name) else {
                continue;
            };
            if let Err(why) = check_function_name(&name) {
                let message = format!("{} cannot name a function: {why}", quote(&name));
                self.reader.problem(entry.place(), message);
            } else if !seen.insert(name.clone()) {
                let message = format!("{} is listed twice", quote(&name));
                self.reader.problem(entry.place(), message);
            } else {
                functions.push(name.into_owned());
            }
        }
        functions
    }
}

/// The patterns of `watch`.
fn globs(reader: &mut Reader<'_>, entry: Entry<'_>) -> Vec<String> {
    const WANTED: &str = "a pattern of file names, like src/**/*.php, or a list of them";
    let mut globs = Vec::new();
    for entry in reader.one_or_more(entry, WANTED).unwrap_or_default() {
        let Some(text) = reader.text(entry, WANTED) else {
            continue;
        };
        match Watch::pattern(std::path::Path::new(""), &text) {
            Ok(_) => globs.push(text),
            Err(error) => {
                let message = format!("{} is no pattern of file names: {error}", quote(&text));
                reader.problem(entry.place(), message);
            }
        }
    }
    globs
}

fn check_function_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        return Err("it is empty".to_owned());
    }
    if name.len() > MAX_NAME {
        return Err(format!(
            "it is {} bytes long, {MAX_NAME} is the most",
            name.len()
        ));
    }
    // The admin protocol separates columns by tabs and words by spaces, the binary one arguments by NUL.
    match name.chars().find(|c| c.is_whitespace() || c.is_control()) {
        Some(c) if c.is_whitespace() => Err("it has white space in it".to_owned()),
        Some(_) => Err("it has a control character in it".to_owned()),
        None => Ok(()),
    }
}

/// A pool's name is a folder's name too, and an argument of commands.
fn check_pool_name(name: &str) -> Result<(), String> {
    check_function_name(name)?;
    if name.contains('/') {
        return Err("it is the name of its log folder too, and has a \"/\" in it; name it otherwise and list the function under \"functions\"".to_owned());
    }
    if name == "." || name == ".." {
        return Err("it is the name of its log folder too".to_owned());
    }
    if name.starts_with('-') {
        return Err("it begins with \"-\", as a flag does".to_owned());
    }
    Ok(())
}
