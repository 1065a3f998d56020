//! PURE. Jobs as the text of `gearpool jobs`.

use super::grid::{Column, Grid, Side};
use super::page::{Cell, Look, Page, Paint};
use super::words::{bytes, count, duration, printable};
pub use crate::jobs::view::{JobList, JobState, JobView};

/// The jobs that are queued or running, a line each.
pub fn list(list: &JobList, look: Look) -> String {
    let mut page = Page::new(look.width);
    if list.jobs.is_empty() {
        page.sentence("no job is queued or running", 0, Paint::Dim);
        return page.text(look.colour);
    }
    let mut grid = Grid::new(
        0,
        vec![
            Column::new("JOB", Side::Left, 0),
            Column::new("FUNCTION", Side::Left, 0),
            Column::new("STATE", Side::Left, 0),
            Column::new("FOR", Side::Right, 1),
            Column::new("PRIORITY", Side::Left, 4),
            Column::new("ATTEMPTS", Side::Right, 2),
            Column::new("SIZE", Side::Right, 3),
            Column::new("WORKER", Side::Left, 0),
        ],
    );
    for job in &list.jobs {
        let (state, paint) = state(job);
        grid.push(vec![
            Cell::plain(printable(&job.handle)),
            Cell::plain(printable(&job.function)),
            Cell::new(state, paint),
            Cell::plain(duration(job.since)),
            Cell::plain(job.priority.clone()),
            tries(job),
            Cell::plain(bytes(job.workload_bytes)),
            Cell::plain(printable(job.worker.as_deref().unwrap_or_default())),
        ]);
    }
    page.grid(&grid);
    more(list, &mut page);
    page.text(look.colour)
}

/// The jobs that are set aside, a line each.
pub fn failed(list: &JobList, look: Look) -> String {
    let mut page = Page::new(look.width);
    if list.jobs.is_empty() {
        page.sentence("no job is set aside as failed", 0, Paint::Dim);
    } else {
        let mut grid = Grid::new(
            0,
            vec![
                Column::new("JOB", Side::Left, 0),
                Column::new("FUNCTION", Side::Left, 0),
                Column::new("AGO", Side::Right, 0),
                Column::new("WORKER", Side::Left, 1),
                Column::new("ENDED", Side::Left, 2),
                Column::new("REASON", Side::Left, 0),
            ],
        );
        for job in &list.jobs {
            grid.push(vec![
                Cell::plain(printable(&job.handle)),
                Cell::plain(printable(&job.function)),
                Cell::plain(duration(job.since)),
                Cell::plain(printable(job.worker.as_deref().unwrap_or_default())),
                Cell::plain(printable(job.exit.as_deref().unwrap_or_default())),
                Cell::plain(printable(job.reason.as_deref().unwrap_or_default())),
            ]);
        }
        page.grid(&grid);
        more(list, &mut page);
    }
    if list.discarded > 0 {
        let text = format!(
            "{} had to go, for there is room for so many only",
            count(list.discarded, "older one", "older ones")
        );
        page.sentence(&text, 0, Paint::Warn);
    }
    page.text(look.colour)
}

/// All that is known of a job.
pub fn show(job: &JobView, look: Look) -> String {
    let (state, paint) = state(job);
    let kind = match job.background {
        true => "background",
        false => "foreground",
    };
    let parts = [
        Cell::new(printable(&job.handle), Paint::Bold),
        Cell::plain(printable(&job.function)),
        Cell::new(state, paint),
        Cell::plain(match job.state {
            JobState::Failed => format!("{} ago", duration(job.since)),
            _ => format!("for {}", duration(job.since)),
        }),
        Cell::plain(format!("{} priority", job.priority)),
        Cell::plain(kind),
    ];
    let mut page = Page::new(look.width);
    page.flow(&parts, 2);
    let mut say = |title: &str, text: &str| {
        let text = format!("{title}: {}", printable(text));
        page.sentence(&text, 2, Paint::Plain);
    };
    if let Some(reason) = &job.reason {
        say("reason", reason);
    }
    if let Some(worker) = &job.worker {
        let ended = job
            .exit
            .as_deref()
            .map(|exit| format!(", ended with {exit}"));
        say("worker", &format!("{worker}{}", ended.unwrap_or_default()));
    }
    let of = |number: u32, of: u32| match of {
        0 => number.to_string(),
        of => format!("{number} of {of}"),
    };
    if job.attempts > 0 || job.state == JobState::Failed {
        say("attempts", &of(job.attempts, job.attempts_allowed));
    }
    if job.failures > 0 {
        let retries = count(job.retries_allowed.into(), "retry", "retries");
        say("failures", &format!("{}, with {retries}", job.failures));
    }
    if job.progress != (0, 0) {
        say(
            "progress",
            &format!("{} of {}", job.progress.0, job.progress.1),
        );
    }
    if job.clients > 0 {
        say("waited for by", &count(job.clients, "client", "clients"));
    }
    if !job.unique.is_empty() {
        say("unique", &job.unique);
    }
    if let Some(workload) = &job.workload {
        let shown = match workload.len() as u64 >= job.workload_bytes {
            true => workload.clone(),
            false => format!("{workload}…"),
        };
        say(
            "workload",
            &format!("{}: {shown}", bytes(job.workload_bytes)),
        );
    }
    if !job.last_lines.is_empty() {
        page.sentence("its process wrote last:", 2, Paint::Plain);
        for line in &job.last_lines {
            page.verbatim(&printable(line), "    | ", Paint::Dim);
        }
    }
    page.text(look.colour)
}

fn state(job: &JobView) -> (String, Paint) {
    match job.state {
        JobState::Running => ("running".to_owned(), Paint::Good),
        JobState::Waiting => ("waiting".to_owned(), Paint::Plain),
        JobState::Held => ("held".to_owned(), Paint::Warn),
        JobState::Later => {
            let due = duration(job.due_in.unwrap_or_default());
            match job.failures {
                0 => (format!("in {due}"), Paint::Plain),
                _ => (format!("retry in {due}"), Paint::Warn),
            }
        }
        JobState::Failed => ("FAILED".to_owned(), Paint::Bad),
    }
}

/// How many processes it has taken down, and how often it has failed, as far as it has.
fn tries(job: &JobView) -> Cell {
    let text = match (job.attempts, job.failures) {
        (0, 0) => String::new(),
        (attempts, 0) => format!("{attempts} lost"),
        (0, failures) => format!("{failures} failed"),
        (attempts, failures) => format!("{attempts} lost, {failures} failed"),
    };
    Cell::new(text, Paint::Warn)
}

fn more(list: &JobList, page: &mut Page) {
    let hidden = list.total.saturating_sub(list.jobs.len() as u64);
    if hidden > 0 {
        let text = format!("… and {hidden} more; -n shows more of them");
        page.sentence(&text, 0, Paint::Dim);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use insta::assert_snapshot;

    use super::*;
    use crate::status::Colour;

    const PIPE: Look = Look {
        width: None,
        colour: Colour::Off,
    };

    fn job(number: u64, state: JobState) -> JobView {
        JobView {
            handle: format!("H:web1:{number}"),
            function: "fetchURL".to_owned(),
            state,
            since: Duration::from_secs(12),
            due_in: None,
            priority: "normal".to_owned(),
            background: true,
            clients: 0,
            unique: String::new(),
            workload_bytes: 2048,
            workload: None,
            attempts: 0,
            attempts_allowed: 3,
            failures: 0,
            retries_allowed: 2,
            progress: (0, 0),
            worker: None,
            reason: None,
            exit: None,
            last_lines: Vec::new(),
            conn: None,
        }
    }

    #[test]
    fn a_list() {
        let running = JobView {
            worker: Some("fetchURL/3 pid 811".to_owned()),
            attempts: 1,
            ..job(7, JobState::Running)
        };
        let again = JobView {
            failures: 1,
            due_in: Some(Duration::from_secs(4)),
            ..job(5, JobState::Later)
        };
        let all = JobList {
            jobs: vec![running, job(8, JobState::Waiting), again],
            total: 1000,
            discarded: 0,
        };
        assert_snapshot!(list(&all, PIPE), @r"
        JOB       FUNCTION  STATE          FOR  PRIORITY  ATTEMPTS   SIZE  WORKER
        H:web1:7  fetchURL  running       12 s  normal      1 lost  2 KiB  fetchURL/3 pid 811
        H:web1:8  fetchURL  waiting       12 s  normal              2 KiB
        H:web1:5  fetchURL  retry in 4 s  12 s  normal    1 failed  2 KiB
        … and 997 more; -n shows more of them
        ");
        assert_snapshot!(list(&JobList::default(), PIPE), @"no job is queued or running");
    }

    #[test]
    fn what_is_set_aside() {
        let job = JobView {
            attempts: 3,
            reason: Some("its worker was gone before it had ended, 3 times".to_owned()),
            worker: Some("fetchURL/2 pid 812".to_owned()),
            exit: Some("signal SEGV".to_owned()),
            last_lines: vec!["reading \u{7}".to_owned(), "oops".to_owned()],
            workload: Some("http://example.com/".to_owned()),
            unique: "u1".to_owned(),
            ..job(7, JobState::Failed)
        };
        assert_snapshot!(show(&job, PIPE), @r"
        H:web1:7  fetchURL  FAILED  12 s ago  normal priority  background
          reason: its worker was gone before it had ended, 3 times
          worker: fetchURL/2 pid 812, ended with signal SEGV
          attempts: 3 of 3
          unique: u1
          workload: 2 KiB: http://example.com/…
          its process wrote last:
            | reading \x07
            | oops
        ");
        let all = JobList {
            jobs: vec![job],
            total: 1,
            discarded: 2,
        };
        assert_snapshot!(failed(&all, PIPE), @r"
        JOB       FUNCTION   AGO  WORKER              ENDED        REASON
        H:web1:7  fetchURL  12 s  fetchURL/2 pid 812  signal SEGV  its worker was gone before it had ended, 3 times
        2 older ones had to go, for there is room for so many only
        ");
    }
}
