//! Who is called for a job, and how many, in the plain cases.

use std::time::Duration;

use gearpool::jobs::wake::TICKET;
use gearpool::jobs::{ConnId, JobServer, Peer};
use gearpool::proto::{Grab, Kind, Priority, Request};
use gearpool::time::Time;

use super::packets::{answers, background, tell};
use super::{State, setting};

/// A server, and workers of `f` that were parked one after the other.
fn parked(wakeup: u32, count: usize) -> (JobServer, ConnId, Vec<ConnId>) {
    let mut state = State::start(setting(|it| (it.workers, it.wakeup) = (&[], wakeup)));
    let mut workers = Vec::new();
    for _ in 0..count {
        let conn = state.server.connect(Time::ZERO, Peer::default());
        let function = b"f";
        state.tell(conn, &Request::CanDo { function });
        state.tell(conn, &Request::GrabJob(Grab::Plain));
        state.tell(conn, &Request::PreSleep);
        workers.push(conn);
    }
    state.server.outbox().clear();
    (state.server, state.client, workers)
}

fn called_by_submissions(
    server: &mut JobServer,
    now: Time,
    client: ConnId,
    count: usize,
) -> Vec<ConnId> {
    for _ in 0..count {
        tell(server, now, client, &background(Priority::Normal, "f"));
    }
    called(server)
}

fn called(server: &mut JobServer) -> Vec<ConnId> {
    let out = server.outbox();
    let is_called = |bytes| answers(bytes).map(|(kind, _)| kind).eq([Kind::Noop]);
    let called = out.sends().filter(|(_, bytes)| is_called(bytes));
    let called = called.map(|(conn, _)| conn).collect();
    out.clear();
    called
}

#[test]
fn as_many_are_called_as_there_are_jobs_the_last_parked_first() {
    let (mut server, client, workers) = parked(1, 5);
    let now = Time::ZERO;
    assert_eq!(
        called_by_submissions(&mut server, now, client, 3),
        [workers[4], workers[3], workers[2]]
    );
    // those three do not come: as many others as there are
    let late = now + TICKET;
    server.tick(late);
    assert_eq!(called(&mut server), [workers[1], workers[0]]);
    server.tick(late + TICKET);
    assert_eq!(called(&mut server), []);
}

#[test]
fn a_worker_that_takes_its_time_is_not_called_twice() {
    let (mut server, client, workers) = parked(1, 1);
    assert_eq!(
        called_by_submissions(&mut server, Time::ZERO, client, 1),
        [workers[0]]
    );
    server.tick(Time::ZERO + TICKET);
    assert_eq!(
        called_by_submissions(&mut server, Time::ZERO + TICKET, client, 2),
        []
    );
}

#[test]
fn a_ticket_is_good_for_its_time_and_no_longer() {
    let (mut server, client, workers) = parked(1, 2);
    called_by_submissions(&mut server, Time::ZERO, client, 1);
    assert_eq!(server.next_deadline(), Some(Time::ZERO + TICKET));
    server.tick(Time::ZERO + TICKET - Duration::from_nanos(1));
    assert_eq!(called(&mut server), []);
    server.tick(Time::ZERO + TICKET);
    assert_eq!(called(&mut server), [workers[0]]);
}

#[test]
fn wakeup_calls_more_than_there_are_jobs() {
    let (mut server, client, workers) = parked(3, 5);
    assert_eq!(
        called_by_submissions(&mut server, Time::ZERO, client, 1),
        [workers[4], workers[3], workers[2]]
    );
    // three are on their way, which is enough for three jobs
    assert_eq!(
        called_by_submissions(&mut server, Time::ZERO, client, 2),
        []
    );
    assert_eq!(
        called_by_submissions(&mut server, Time::ZERO, client, 1),
        [workers[1]]
    );
}
