//! One entry of `functions:`, and `defaults:`, which has the same keys.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use indexmap::IndexMap;

use super::command;
use super::keys;
use super::log;
use super::problem::quote;
use super::read::{Entry, Reader};
use super::schedule;
use super::schema::{Command, Limit, Limits, Pool, Resource, Restart, Signal, Watch};
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

/// `min`, `max` and `count` as far as they were said, and where.
#[derive(Clone, Copy, Default)]
struct Bounds {
    min: Option<(u32, Place)>,
    max: Option<(u32, Place)>,
    count: Option<(u32, Place)>,
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
struct Own<'a> {
    cmd: Option<Entry<'a>>,
    run: Option<Entry<'a>>,
    functions: Option<Entry<'a>>,
    shell: Option<Entry<'a>>,
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
        self.bounds(draft.bounds, before);
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
        let command = self.command(entry, &own, draft.shell);
        self.check(&own, &mut draft);
        draft.pool.watch.folder = match &draft.pool.cwd {
            Some(cwd) => cwd.clone(),
            None => self.reader.at.folder.to_owned(),
        };
        if let Some(entry) = own.functions {
            draft.pool.functions = self.functions(entry);
        }
        let (min, max) = self.bounds(draft.bounds, self.defaults.bounds);
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
            "limits" => self.limits(&mut pool.limits, entry),
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

    fn limits(&mut self, limits: &mut Limits, section: Entry<'_>) {
        let entries = self.reader.entries(section, "{nofile: 4096}");
        for entry in entries.unwrap_or_default() {
            match Resource::ALL.into_iter().find(|it| it.name() == entry.key) {
                Some(resource) => {
                    if let Some(limit) = self.limit(resource, entry) {
                        limits.0.insert(resource, limit);
                    }
                }
                None => {
                    let message = keys::LIMITS.unknown(entry.key);
                    self.reader.problem(entry.key_place, message);
                }
            }
        }
    }

    /// One value for both, `max` for as much as the daemon may have, or `{soft: …, hard: …}`.
    fn limit(&mut self, resource: Resource, entry: Entry<'_>) -> Option<Limit> {
        let mut limit = Limit {
            soft: None,
            hard: None,
        };
        match &entry.node.value {
            Value::Map(pairs) => {
                for entry in self.reader.pairs(pairs) {
                    match entry.key {
                        "soft" => limit.soft = self.amount(resource, entry),
                        "hard" => limit.hard = self.amount(resource, entry),
                        key => {
                            let message = keys::LIMIT.unknown(key);
                            self.reader.problem(entry.key_place, message);
                        }
                    }
                }
                if limit.hard.is_some_and(|hard| limit.soft > Some(hard)) {
                    let message = format!("\"{}\": soft is more than hard", entry.key);
                    self.reader.problem(entry.place(), message);
                    return None;
                }
                Some(limit)
            }
            Value::Scalar(text) if text.trim() == "max" => Some(limit),
            Value::Null | Value::Scalar(_) | Value::List(_) => {
                self.amount(resource, entry).map(Limit::of)
            }
        }
    }

    fn amount(&mut self, resource: Resource, entry: Entry<'_>) -> Option<u64> {
        const COUNT: i128 = 1_000_000_000;
        let reader = &mut *self.reader;
        if matches!(&entry.node.value, Value::Scalar(text) if text.trim() == "unlimited") {
            return Some(Limit::UNLIMITED);
        }
        match resource {
            Resource::Nofile | Resource::Nproc => reader.integer(entry, 1..=COUNT),
            Resource::Cpu => {
                let time = reader.duration(entry, Duration::from_secs(1));
                time.map(|time| time.as_secs())
            }
            Resource::AddressSpace | Resource::Data | Resource::Stack => {
                reader.size(entry, 1 << 20..=u64::MAX)
            }
            Resource::Core | Resource::Fsize | Resource::Memlock => {
                reader.size(entry, 0..=u64::MAX)
            }
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

    /// What a pool starts, from its one of `cmd` and `run`.
    fn command(&mut self, pool: Entry<'_>, own: &Own<'_>, shell: bool) -> Option<Command> {
        let (entry, runs_per_job) = match (own.cmd, own.run) {
            (Some(_), Some(run)) => {
                let message = "\"run\" and \"cmd\" exclude each other: cmd is a Gearman worker, run is a command for each job";
                self.reader.problem(run.key_place, message);
                return None;
            }
            (None, None) => {
                let message = format!("{} needs a \"cmd\" or a \"run\"", quote(pool.key));
                self.reader.problem(pool.key_place, message);
                return None;
            }
            (Some(cmd), None) => (cmd, false),
            (None, Some(run)) => (run, true),
        };
        self.words(entry, own, shell, runs_per_job)
    }

    /// What has to succeed before the pool's processes are started, if the file says so.
    fn check(&mut self, own: &Own<'_>, draft: &mut Draft) {
        if let Some(entry) = own.check {
            draft.pool.check = self.words(entry, own, draft.shell, false);
        }
    }

    /// A command, from a text or from the list of its words.
    fn words(
        &mut self,
        entry: Entry<'_>,
        own: &Own<'_>,
        shell: bool,
        runs_per_job: bool,
    ) -> Option<Command> {
        const WANTED: &str = "a command, or the list of its words";
        match &entry.node.value {
            Value::List(nodes) if !nodes.is_empty() => {
                if let Some(shell) = own.shell.filter(|_| shell) {
                    let message = format!(
                        "\"shell\" takes {} as one text, not as a list",
                        quote(entry.key)
                    );
                    self.reader.problem(shell.key_place, message);
                }
                let words: Vec<Option<String>> = nodes
                    .iter()
                    .enumerate()
                    .map(|(at, node)| self.word(Entry { node, ..entry }, at))
                    .collect();
                let words = words.into_iter().collect::<Option<Vec<String>>>()?;
                Some(if runs_per_job {
                    Command::Run(words)
                } else {
                    Command::Exec(words)
                })
            }
            Value::List(_) => {
                let message = format!("{} is an empty list, it must be {WANTED}", quote(entry.key));
                self.reader.problem(entry.place(), message);
                None
            }
            Value::Null | Value::Scalar(_) | Value::Map(_) => {
                let text = self.reader.raw_text(entry, WANTED)?;
                if shell {
                    let text = text.trim().to_owned();
                    return Some(if runs_per_job {
                        Command::RunShell(text)
                    } else {
                        Command::Shell(text)
                    });
                }
                match command::split(&text, self.reader.env) {
                    Ok(words) if runs_per_job => Some(Command::Run(words)),
                    Ok(words) => Some(Command::Exec(words)),
                    Err(problems) => {
                        for problem in problems {
                            let message = format!("{} {problem}", quote(entry.key));
                            self.reader.problem(entry.place(), message);
                        }
                        None
                    }
                }
            }
        }
    }

    /// One word of a command that is a list. It may be empty, if it is not the program.
    fn word(&mut self, entry: Entry<'_>, at: usize) -> Option<String> {
        let text = match &entry.node.value {
            Value::Scalar(text) if at > 0 && text.trim().is_empty() => text.clone(),
            _ => self.reader.raw_text(entry, "a list of words")?,
        };
        self.reader.fill(entry, &text).map(Cow::into_owned)
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

    /// How many processes, at least and at most. What the pool says wins over what the defaults say, whichever of the three keys says it.
    fn bounds(&mut self, own: Bounds, defaults: Bounds) -> (u32, u32) {
        if let (Some((_, place)), true) = (own.count, own.min.or(own.max).is_some()) {
            let message = "\"count\" is \"min\" and \"max\" at once: write either it or them";
            self.reader.problem(place, message);
        }
        let own_min = own.count.or(own.min);
        let own_max = own.count.or(own.max);
        let min = own_min.or(defaults.count).or(defaults.min);
        let max = own_max.or(defaults.count).or(defaults.max);
        let from = |own: Option<_>| {
            if own.is_some() {
                ""
            } else {
                " of \"defaults\""
            }
        };
        match (min, max) {
            (Some((min, place)), Some((max, max_place))) if min > max => {
                // Where neither is said here, it has been reported of the defaults.
                if own_min.or(own_max).is_none() {
                    return (max, max);
                }
                // Where the pool itself says one of them, it is there that something has to change.
                let place = if own_min.is_some() { place } else { max_place };
                let message = format!(
                    "\"min\"{} is {min}, more than \"max\"{}, which is {max}",
                    from(own_min),
                    from(own_max)
                );
                self.reader.problem(place, message);
                (max, max)
            }
            (Some((min, _)), Some((max, _))) => (min, max),
            (Some((min, _)), None) => (min, min.max(1)),
            (None, Some((max, _))) => (1, max),
            (None, None) => (1, 1),
        }
    }
}

impl Bounds {
    /// What these say, else what those do, as a pool takes them.
    fn or(self, other: Bounds) -> Bounds {
        Bounds {
            min: self.count.or(self.min).or(other.count).or(other.min),
            max: self.count.or(self.max).or(other.count).or(other.max),
            count: None,
        }
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

/// Keeps what was there when the value was no good.
fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
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
