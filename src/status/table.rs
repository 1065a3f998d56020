//! PURE. The snapshot as the text of `gearpool status`.
//!
//! Says what is wrong before what is well: a file that was not taken over, a pool that fails, a queue that nobody works on. Every name
//! is made [`printable`] first.

use std::collections::{BTreeMap, BTreeSet};

use super::grid::{Column, Grid, Side};
use super::page::{Cell, Look, Page, Paint};
use super::words::{bytes, count, duration, printable};
use super::{JobStatus, MemberStatus, PoolStatus, ServerStatus, Status};
use crate::jobs::load::FunctionLoad;
use crate::pools::Slot;
use crate::pools::view::{PoolState, ProcessState};

/// The text of `gearpool status`.
pub fn render(status: &Status, look: Look) -> String {
    let view = View {
        width: look.width,
        ..View::default()
    };
    table(status, &view).page.text(look.colour)
}

/// How a [`Table`] is to be.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The terminal's columns; `None` where nothing is to be broken or cut.
    pub width: Option<usize>,
    /// The pools whose processes are left out.
    pub folded: BTreeSet<String>,
    /// How many jobs of a function have ended a second, by its name, where that is known.
    pub rates: BTreeMap<String, f64>,
}

/// A snapshot as lines, and what they are about.
#[derive(Clone, Debug)]
pub struct Table {
    /// The lines.
    pub page: Page,
    /// So many of them, from the first, are about the daemon.
    pub head: usize,
    /// The lines that begin with the name of something, and of what.
    pub subjects: Vec<(usize, Subject)>,
}

/// What a line of a [`Table`] is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A function, by its name.
    Function(String),
    /// A pool, by its name.
    Pool(String),
    /// A process, by its pool's name and its slot.
    Process(String, Slot),
    /// A worker that Gearpool did not start, by its address.
    Worker(String),
}

/// Lays out the snapshot.
pub fn table(status: &Status, view: &View) -> Table {
    let mut table = Table {
        page: Page::new(view.width),
        head: 0,
        subjects: Vec::new(),
    };
    server(&status.server, &mut table.page);
    table.head = table.page.lines().len();
    table.page.blank();
    functions(&status.functions, &view.rates, &mut table);
    if status.pools.is_empty() && status.server.config.is_none() {
        let text = "no pools: started with a file (gearpool serve -c workers.yaml), it runs the workers too";
        table.page.blank();
        table.page.sentence(text, 0, Paint::Dim);
    }
    pools(&status.pools, &view.folded, &mut table);
    if !status.other_workers.is_empty() {
        table.page.blank();
        other_workers(status, &mut table);
    }
    table
}

impl Table {
    /// The next line is about this.
    fn about(&mut self, subject: Subject) {
        self.subjects.push((self.page.lines().len(), subject));
    }
}

fn server(server: &ServerStatus, page: &mut Page) {
    let config = server.config.as_deref().unwrap_or("no config file");
    let mut parts = vec![
        Cell::new(format!("gearpool {}", server.version), Paint::Bold),
        Cell::plain(format!("pid {}", server.pid)),
        Cell::plain(format!("up {}", duration(server.up))),
        Cell::plain(format!("on {}", printable(&server.listen.join(", ")))),
        Cell::plain(printable(config)),
        Cell::plain(count(server.connections, "connection", "connections")),
    ];
    if server.shutting_down {
        parts.push(Cell::new("SHUTTING DOWN", Paint::Alarm));
    }
    page.flow(&parts, 2);
    if let Some(error) = &server.config_error {
        let title = "CONFIG ERROR: this file is not in force, an older one is";
        page.sentence(title, 0, Paint::Alarm);
        for line in error.lines() {
            page.verbatim(&printable(line), "  ", Paint::Bad);
        }
    }
    if server.failed_jobs > 0 {
        let jobs = count(server.failed_jobs, "job is", "jobs are");
        let text = format!("{jobs} set aside as failed: see \"gearpool jobs failed\"");
        page.sentence(&text, 0, Paint::Warn);
    }
    if server.logs_dropped > 0 || server.logs_failing > 0 {
        let dropped = bytes(server.logs_dropped);
        let (text, paint) = match server.logs_failing {
            0 => (
                format!(
                    "logs: {dropped} of the workers' output were dropped while they could not be written"
                ),
                Paint::Warn,
            ),
            failing => {
                let files = count(failing, "file", "files");
                let text = format!(
                    "LOGS: {files} cannot be written, {dropped} of the workers' output dropped; see the daemon's log"
                );
                (text, Paint::Alarm)
            }
        };
        page.sentence(&text, 0, paint);
    }
}

fn functions(functions: &[FunctionLoad], rates: &BTreeMap<String, f64>, table: &mut Table) {
    if functions.is_empty() {
        let text = "no functions: no worker has registered one, and no job has come";
        return table.page.sentence(text, 0, Paint::Dim);
    }
    let mut grid = Grid::new(
        0,
        vec![
            Column::new("FUNCTION", Side::Left, 0),
            Column::new("QUEUED", Side::Right, 0),
            Column::new("RUNNING", Side::Right, 0),
            Column::new("WORKERS", Side::Right, 0),
            Column::new("DONE/S", Side::Right, 2),
            Column::new("OLDEST WAIT", Side::Right, 1),
            Column::new("", Side::Left, 0),
        ],
    );
    for function in functions {
        let queued: u64 = function.queued.iter().sum();
        let (workers, note) = match (queued, function.workers) {
            _ if function.paused => {
                let text = "held by hand until \"gearpool resume\"";
                (Paint::Warn, text.to_owned())
            }
            (0, 0) => (Paint::Dim, String::new()),
            (_, 0) => (Paint::Bad, "no worker can do this".to_owned()),
            _ => (Paint::Plain, String::new()),
        };
        let notes = [note, priorities(function.queued)];
        let notes: Vec<String> = notes.into_iter().filter(|note| !note.is_empty()).collect();
        let wait = if queued > 0 {
            duration(function.oldest_wait)
        } else {
            String::new()
        };
        let rate = rates.get(&function.name);
        grid.push(vec![
            Cell::plain(printable(&function.name)),
            number(queued),
            number(function.running),
            Cell::new(function.workers.to_string(), workers),
            Cell::plain(rate.map(|rate| format!("{rate:.1}")).unwrap_or_default()),
            Cell::plain(wait),
            Cell::new(notes.join("; "), workers),
        ]);
    }
    let (titles, rows) = table.page.rows(&grid);
    table.page.push(titles);
    for (function, row) in functions.iter().zip(rows) {
        table.about(Subject::Function(function.name.clone()));
        table.page.push(row);
    }
}

/// `3 high, 1 low`; nothing when all jobs have the normal priority.
fn priorities([high, normal, low]: [u64; 3]) -> String {
    if high == 0 && low == 0 {
        return String::new();
    }
    let parts = [(high, "high"), (normal, "normal"), (low, "low")];
    let parts = parts.iter().filter(|(number, _)| *number > 0);
    let parts: Vec<String> = parts
        .map(|(number, name)| format!("{number} {name}"))
        .collect();
    parts.join(", ")
}

/// One grid for the processes of all pools, so that the columns of one stand under those of another.
fn pools(pools: &[PoolStatus], folded: &BTreeSet<String>, table: &mut Table) {
    let mut grid = Grid::new(
        2,
        vec![
            Column::new("PROCESS", Side::Left, 0),
            Column::new("PID", Side::Right, 5),
            Column::new("STATE", Side::Left, 0),
            Column::new("UP", Side::Right, 3),
            Column::new("CPU", Side::Right, 1),
            Column::new("MEMORY", Side::Right, 4),
            Column::new("DONE", Side::Right, 2),
            Column::new("JOB", Side::Left, 0),
        ],
    );
    let shown = |pool: &PoolStatus| match folded.contains(&pool.pool.name) {
        true => 0,
        false => pool.members.len(),
    };
    for pool in pools {
        for member in &pool.members[..shown(pool)] {
            grid.push(process(pool, member));
        }
    }
    let (titles, rows) = table.page.rows(&grid);
    let mut rows = rows.into_iter();
    for pool in pools {
        let name = &pool.pool.name;
        table.page.blank();
        table.about(Subject::Pool(name.clone()));
        headline(pool, &mut table.page);
        let members = &pool.members[..shown(pool)];
        if !members.is_empty() {
            table.page.push(titles.clone());
        }
        for (member, row) in members.iter().zip(&mut rows) {
            table.about(Subject::Process(name.clone(), member.process.slot));
            table.page.push(row);
        }
    }
}

fn headline(pool: &PoolStatus, page: &mut Page) {
    let PoolStatus { pool: view, .. } = pool;
    let (state, paint) = match view.state {
        PoolState::Running => ("running", Paint::Good),
        PoolState::Failing => ("FAILING", Paint::Bad),
        PoolState::Stopped => ("stopped", Paint::Warn),
        PoolState::Leaving => ("leaving", Paint::Warn),
    };
    let (mut staying, mut leaving) = (0_u32, 0_u64);
    for member in &pool.members {
        match member.process.state {
            ProcessState::Backoff => {}
            ProcessState::Starting | ProcessState::Running => staying += 1,
            ProcessState::Draining | ProcessState::Stopping | ProcessState::Killed => leaving += 1,
        }
    }
    let bounds = format!("{}..{}", view.min, view.max);
    let mut parts = vec![
        Cell::new(printable(&view.name), Paint::Bold),
        Cell::new(state, paint),
        Cell::plain(format!("{staying} of {} processes ({bounds})", view.target)),
    ];
    if leaving > 0 {
        parts.push(Cell::plain(format!("{leaving} leaving")));
    }
    if let Some(by_hand) = &view.by_hand {
        parts.push(Cell::new(printable(by_hand), Paint::Warn));
    }
    if !pool.paused.is_empty() {
        let held = match pool.pool.functions.len() {
            1 => "queue held by hand".to_owned(),
            _ => format!("held by hand: {}", printable(&pool.paused.join(", "))),
        };
        parts.push(Cell::new(held, Paint::Warn));
    }
    if pool.queued > 0 {
        parts.push(Cell::plain(format!("{} queued", pool.queued)));
    }
    if view.restarts > 0 {
        let last = match (&view.last_exit, view.state) {
            (Some(exit), PoolState::Running | PoolState::Stopped | PoolState::Leaving) => {
                format!(" (last: {})", printable(exit))
            }
            (None, _) | (_, PoolState::Failing) => String::new(),
        };
        let restarts = count(view.restarts, "restart", "restarts");
        parts.push(Cell::plain(restarts + &last));
    }
    page.flow(&parts, 2);
    match view.state {
        PoolState::Failing => {
            page.sentence(&printable(&view.reason), 2, Paint::Bad);
            let by_check = view.check.is_some() && view.last_exit.is_none();
            let exit = view.last_exit.as_deref().map(printable);
            let has_ended = exit
                .as_deref()
                .is_some_and(|exit| exit.starts_with("exit ") || exit.starts_with("signal "));
            let exit = exit.map(|exit| match has_ended {
                true => format!("the last process ended with {exit}"),
                false => format!("the last process {exit}"),
            });
            let said = match (exit, view.last_lines.is_empty()) {
                (Some(exit), true) if has_ended => format!("{exit} and wrote nothing"),
                (Some(exit), true) => exit,
                (Some(exit), false) => format!("{exit}; its last lines:"),
                (None, true) => String::new(),
                (None, false) => "its last lines:".to_owned(),
            };
            if !by_check {
                page.sentence(&said, 2, Paint::Plain);
            }
            for line in &view.last_lines {
                page.verbatim(&printable(line), "    | ", Paint::Dim);
            }
        }
        PoolState::Running | PoolState::Stopped | PoolState::Leaving => {
            if view.by_hand.as_ref() != Some(&view.reason) {
                page.sentence(&printable(&view.reason), 2, Paint::Dim);
            }
        }
    }
    if let Some(check) = &view.check {
        page.sentence(&printable(&check.failed), 2, Paint::Bad);
        for line in &check.lines {
            page.verbatim(&printable(line), "    | ", Paint::Dim);
        }
    }
}

fn process(pool: &PoolStatus, member: &MemberStatus) -> Vec<Cell> {
    let process = &member.process;
    let (state, paint) = match process.state {
        ProcessState::Backoff => ("backoff", Paint::Bad),
        ProcessState::Starting => ("starting", Paint::Warn),
        ProcessState::Running => ("running", Paint::Good),
        ProcessState::Draining => ("draining", Paint::Warn),
        ProcessState::Stopping => ("stopping", Paint::Warn),
        ProcessState::Killed => ("killed", Paint::Bad),
    };
    let lives = process.state != ProcessState::Backoff;
    let up = if lives {
        duration(process.up)
    } else {
        String::new()
    };
    let cpu = member.cpu_percent.map(|cpu| format!("{cpu:.0} %"));
    let several = pool.pool.functions.len() > 1;
    vec![
        Cell::plain(format!("{}/{}", printable(&pool.pool.name), process.slot.0)),
        Cell::plain(process.pid.map(|pid| pid.to_string()).unwrap_or_default()),
        Cell::new(state, paint),
        Cell::plain(up),
        Cell::plain(cpu.unwrap_or_default()),
        Cell::plain(member.memory.map(bytes).unwrap_or_default()),
        Cell::plain(member.jobs_done.to_string()),
        Cell::plain(doing(member, several)),
    ]
}

/// What a process does: its jobs, and what is special about it.
fn doing(member: &MemberStatus, with_functions: bool) -> String {
    let process = &member.process;
    let mut parts: Vec<String> = Vec::new();
    if !member.jobs.is_empty() {
        parts.push(jobs(&member.jobs, with_functions));
    }
    if let Some(why) = &process.leaving_because {
        parts.push(format!("({})", printable(why)));
    }
    if let Some(next) = process.next_start_in {
        parts.push(format!("(next start in {})", duration(next)));
    }
    match process.state {
        ProcessState::Running | ProcessState::Draining if !member.mapped => {
            parts.push("(unmapped: its connection is not known)".to_owned());
        }
        _ => {}
    }
    parts.join(" ")
}

/// `H:web1:42 12 s`, with the function before it where more than one is possible.
fn jobs(jobs: &[JobStatus], with_functions: bool) -> String {
    let one = |job: &JobStatus| {
        let handle = printable(&job.handle);
        let running = duration(job.running);
        if with_functions {
            format!("{} {handle} {running}", printable(&job.function))
        } else {
            format!("{handle} {running}")
        }
    };
    let jobs: Vec<String> = jobs.iter().map(one).collect();
    jobs.join(", ")
}

fn other_workers(status: &Status, table: &mut Table) {
    let mut grid = Grid::new(
        0,
        vec![
            Column::new("OTHER WORKER", Side::Left, 0),
            Column::new("CLIENT ID", Side::Left, 1),
            Column::new("JOB", Side::Left, 2),
            Column::new("FUNCTIONS", Side::Left, 0),
        ],
    );
    for worker in &status.other_workers {
        grid.push(vec![
            Cell::plain(printable(&worker.peer)),
            Cell::plain(printable(&worker.client_id)),
            Cell::plain(jobs(&worker.jobs, worker.functions.len() > 1)),
            Cell::plain(printable(&worker.functions.join(" "))),
        ]);
    }
    let (titles, rows) = table.page.rows(&grid);
    table.page.push(titles);
    for (worker, row) in status.other_workers.iter().zip(rows) {
        table.about(Subject::Worker(worker.peer.clone()));
        table.page.push(row);
    }
}

/// A count in its column; zero stands back.
fn number(number: u64) -> Cell {
    let paint = if number == 0 {
        Paint::Dim
    } else {
        Paint::Plain
    };
    Cell::new(number.to_string(), paint)
}

#[cfg(test)]
mod tests;
