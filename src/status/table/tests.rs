//! What an operator sees, as snapshots.

use insta::assert_snapshot;
use unicode_width::UnicodeWidthStr;

use super::*;
use crate::status::Colour;
use crate::status::samples::{empty, failing, healthy, job, member, pool};

const PIPE: Look = Look {
    width: None,
    colour: Colour::Off,
};

fn narrow(width: usize) -> Look {
    Look {
        width: Some(width),
        colour: Colour::Off,
    }
}

#[test]
fn an_empty_server() {
    assert_snapshot!(render(&empty(), PIPE));
}

#[test]
fn healthy_pools() {
    assert_snapshot!(render(&healthy(), PIPE));
}

#[test]
fn healthy_pools_on_80_columns() {
    assert_snapshot!(render(&healthy(), narrow(80)));
}

#[test]
fn healthy_pools_on_48_columns() {
    assert_snapshot!(render(&healthy(), narrow(48)));
}

#[test]
fn a_failing_and_a_stopped_pool() {
    assert_snapshot!(render(&failing(), narrow(80)));
}

#[test]
fn a_failing_pool_in_colour() {
    let look = Look {
        width: Some(80),
        colour: Colour::On,
    };
    assert_snapshot!(render(&failing(), look).replace('\x1b', "␛"));
}

#[test]
fn a_file_that_was_not_taken_over() {
    let mut status = healthy();
    status.pools.truncate(1);
    status.other_workers.clear();
    status.server.shutting_down = true;
    status.server.config_error = Some(
        "workers.yaml:12:5: unknown key \"maxx\", did you mean \"max\"?\n\
         workers.yaml:14:10: min 5 is more than max 3"
            .to_owned(),
    );
    assert_snapshot!(render(&status, narrow(80)));
}

#[test]
fn logs_that_cannot_be_written() {
    let mut server = healthy().server;
    server.logs_failing = 2;
    server.logs_dropped = 3 << 20;
    let mut status = healthy();
    status.server = server.clone();
    let said = |status: &Status| {
        render(status, narrow(200))
            .lines()
            .nth(1)
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        said(&status),
        "LOGS: 2 files cannot be written, 3 MiB of the workers' output dropped; see the daemon's log"
    );
    status.server.logs_failing = 0;
    assert_eq!(
        said(&status),
        "logs: 3 MiB of the workers' output were dropped while they could not be written"
    );
}

#[test]
fn many_processes() {
    let mut members: Vec<MemberStatus> = (1..=120)
        .map(|slot| member(slot, ProcessState::Running))
        .collect();
    for busy in members.iter_mut().step_by(3) {
        busy.jobs = vec![job(&format!("H:web1:{}", busy.process.proc), "fetchURL", 5)];
    }
    let mut status = healthy();
    status.pools = vec![pool("fetchURL", members)];
    let text = render(&status, narrow(100));
    assert_eq!(
        text.lines()
            .filter(|line| line.contains("fetchURL/"))
            .count(),
        120
    );
    let ends: Vec<&str> = text
        .lines()
        .take(12)
        .chain(text.lines().skip(125))
        .collect();
    assert_snapshot!(ends.join("\n"));
}

#[test]
fn one_function() {
    let about = healthy().about("crop").unwrap();
    assert_snapshot!(render(&about, narrow(100)));
    assert_eq!(healthy().about("croq"), None);
}

#[test]
fn no_line_is_longer_than_the_terminal() {
    for status in [healthy(), failing(), empty()] {
        for width in 60..160 {
            for line in render(&status, narrow(width)).lines() {
                assert!(line.width() <= width, "{width}: {line}");
            }
        }
    }
}
