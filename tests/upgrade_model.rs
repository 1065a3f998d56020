//! A job server that is written, read and gone on with at any moment says what one says that goes on by itself, byte for byte.
//!
//! Two servers are told the same; one of them is replaced again and again. `PROPTEST_CASES=10000` tries more.

use std::time::Duration;

use gearpool::jobs::{ConnId, JobServer, Newcomers, Notice, Options, Peer, Policy, Reach};
use gearpool::proto::{Decoded, Grab, Mode, Priority, Request, decode};
use gearpool::time::Time;
use proptest::prelude::*;

const CONNS: usize = 4;
const FUNCTIONS: [&[u8]; 3] = [b"a", b"b", b"c"];
const UNIQUES: [&[u8]; 4] = [b"", b"u", b"v", b"-"];
const LISTS: [&str; 6] = [
    "status",
    "prioritystatus",
    "workers",
    "show jobs",
    "show unique jobs",
    "maxqueue a 3 2 1",
];

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    /// A connection sends this.
    Send(usize, Vec<u8>),
    Reconnect(usize),
    Quiesce(usize),
    Unquiesce(usize),
    Refuse(usize),
    Admit(usize),
    Trace(usize),
    /// Its jobs have a limit.
    Limit(usize, u64),
    Pause(usize),
    Resume(usize),
    /// A job that is set aside, if it is, is done again, or discarded.
    Retry(u64),
    Discard(u64),
    Pass(u64),
    Upgrade,
}

fn packet() -> impl Strategy<Value = Vec<u8>> {
    let function = || (0..FUNCTIONS.len()).prop_map(|at| FUNCTIONS[at]);
    let unique = || (0..UNIQUES.len()).prop_map(|at| UNIQUES[at]);
    let handle = || (1..24u64).prop_map(|number| format!("H:test:{number}").into_bytes());
    let encoded = |request: Request<'_>| {
        let mut bytes = Vec::new();
        request.encode(&mut bytes);
        bytes
    };
    let priority = prop_oneof![
        Just(Priority::High),
        Just(Priority::Normal),
        Just(Priority::Low)
    ];
    let mode = || prop_oneof![Just(Mode::Foreground), Just(Mode::Background)];
    let grab = prop_oneof![Just(Grab::Plain), Just(Grab::Uniq), Just(Grab::All)];
    prop_oneof![
        8 => (priority, mode(), function(), unique()).prop_map(move |(priority, mode, function, unique)| {
            encoded(Request::SubmitJob { priority, mode, function, unique, workload: b"w" })
        }),
        1 => (mode(), function(), unique()).prop_map(move |(mode, function, unique)| {
            encoded(Request::SubmitReduceJob { mode, function, unique, reducer: b"r", workload: b"\0\xff" })
        }),
        1 => (function(), unique(), 0..4u64).prop_map(move |(function, unique, seconds)| {
            let epoch = (1_000_000 + seconds).to_string().into_bytes();
            encoded(Request::SubmitJobEpoch { function, unique, epoch: &epoch, workload: b"w" })
        }),
        4 => function().prop_map(move |function| encoded(Request::CanDo { function })),
        1 => function().prop_map(move |function| encoded(Request::CanDoTimeout { function, timeout: b"1" })),
        1 => function().prop_map(move |function| encoded(Request::CantDo { function })),
        1 => Just(encoded(Request::ResetAbilities)),
        6 => grab.prop_map(move |grab| encoded(Request::GrabJob(grab))),
        4 => Just(encoded(Request::PreSleep)),
        4 => handle().prop_map(move |handle| encoded(Request::WorkComplete { handle: &handle, data: b"d" })),
        2 => handle().prop_map(move |handle| encoded(Request::WorkFail { handle: &handle })),
        2 => handle().prop_map(move |handle| encoded(Request::WorkException { handle: &handle, data: b"e" })),
        1 => handle().prop_map(move |handle| {
            encoded(Request::WorkStatus { handle: &handle, numerator: b"1", denominator: b"2" })
        }),
        1 => handle().prop_map(move |handle| encoded(Request::GetStatus { handle: &handle })),
        1 => unique().prop_map(move |unique| encoded(Request::GetStatusUnique { unique })),
        1 => Just(encoded(Request::OptionReq { option: b"exceptions" })),
        1 => Just(encoded(Request::SetClientId { id: b"me" })),
        2 => (0..LISTS.len()).prop_map(|at| format!("{}\n", LISTS[at]).into_bytes()),
        1 => handle().prop_map(|handle| [b"cancel job ", &*handle, b"\n"].concat()),
        1 => function().prop_map(|function| [b"drop function ", function, b"\n"].concat()),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let who = 0..CONNS;
    prop_oneof![
        40 => (who.clone(), packet()).prop_map(|(who, bytes)| Step::Send(who, bytes)),
        2 => who.clone().prop_map(Step::Reconnect),
        1 => who.clone().prop_map(Step::Quiesce),
        1 => who.clone().prop_map(Step::Unquiesce),
        1 => who.clone().prop_map(Step::Refuse),
        3 => who.clone().prop_map(Step::Admit),
        1 => who.clone().prop_map(Step::Trace),
        2 => (who, 1..3u64).prop_map(|(who, seconds)| Step::Limit(who, seconds)),
        1 => (0..FUNCTIONS.len()).prop_map(Step::Pause),
        2 => (0..FUNCTIONS.len()).prop_map(Step::Resume),
        2 => (1..24u64).prop_map(Step::Retry),
        1 => (1..24u64).prop_map(Step::Discard),
        3 => prop_oneof![Just(10), Just(60), Just(1000)].prop_map(Step::Pass),
        8 => Just(Step::Upgrade),
    ]
}

/// What a server says in a step, with the connections by their number in the order in which they came.
type Said = (Vec<(usize, Vec<Vec<u8>>)>, Vec<String>, Option<Time>);

struct Twin {
    server: JobServer,
    /// In the order in which they came.
    all: Vec<ConnId>,
    current: Vec<ConnId>,
}

impl Twin {
    fn new(options: Options) -> Twin {
        let mut server = JobServer::new(options);
        let policy = Policy {
            attempts: 2,
            retries: 1,
            retry_delay: Duration::from_secs(1),
        };
        server.govern([("a", policy)].into_iter());
        let mut twin = Twin {
            server,
            all: Vec::new(),
            current: Vec::new(),
        };
        for who in 0..CONNS {
            let id = twin.connect(Time::ZERO, who);
            twin.current.push(id);
        }
        twin
    }

    fn connect(&mut self, now: Time, who: usize) -> ConnId {
        let reach = if who == 0 {
            Reach::Local
        } else {
            Reach::Network
        };
        let peer = Peer {
            descriptor: who as i32,
            address: "10.0.0.1".to_owned(),
            reach,
        };
        let id = self.server.connect(now, peer);
        self.all.push(id);
        id
    }

    fn step(&mut self, now: Time, step: &Step) {
        match step {
            Step::Send(who, bytes) => match decode(bytes) {
                Ok(Decoded::Frame(frame, _)) => {
                    let conn = self.current[*who];
                    self.server.receive(now, conn, frame);
                    while self.server.go_on(conn) {}
                }
                other => unreachable!("it is a frame: {other:?}"),
            },
            Step::Reconnect(who) => {
                self.server.disconnect(now, self.current[*who]);
                self.current[*who] = self.connect(now, *who);
            }
            Step::Quiesce(who) => self.server.quiesce(now, self.current[*who]),
            Step::Unquiesce(who) => self.server.unquiesce(now, self.current[*who]),
            Step::Refuse(who) => self.server.refuse(now, self.current[*who]),
            Step::Admit(who) => self.server.admit(now, self.current[*who]),
            Step::Trace(who) => self.server.trace(self.current[*who]),
            Step::Limit(who, seconds) => {
                let limit = Some(Duration::from_secs(*seconds));
                self.server.limit(self.current[*who], limit);
            }
            Step::Pause(function) => _ = self.server.pause(FUNCTIONS[*function]),
            Step::Resume(function) => _ = self.server.resume(now, FUNCTIONS[*function]),
            Step::Retry(number) => {
                // most of them are not set aside
                let _ = self
                    .server
                    .retry(now, format!("H:test:{number}").as_bytes());
            }
            Step::Discard(number) => {
                self.server.discard(format!("H:test:{number}").as_bytes());
            }
            Step::Pass(_) => self.server.tick(now),
            Step::Upgrade => {}
        }
    }

    fn said(&mut self) -> Said {
        self.server.assert_invariants();
        let deadline = self.server.next_deadline();
        let all = &self.all;
        let place = |conn: &ConnId| all.iter().position(|it| it == conn).expect("it came");
        let out = self.server.outbox();
        let mut sends = Vec::new();
        for (conn, bytes) in out.sends() {
            // a list is in the order of the table, in which places are used again in any order
            let mut lines: Vec<_> = match bytes.first() {
                Some(0) | None => vec![bytes.to_vec()],
                Some(_) => bytes
                    .split(|&byte| byte == b'\n')
                    .map(<[u8]>::to_vec)
                    .collect(),
            };
            lines.sort();
            sends.push((place(&conn), lines));
        }
        let mut others = Vec::new();
        others.extend(
            out.closes()
                .iter()
                .map(|conn| format!("close {}", place(conn))),
        );
        for notice in out.notices() {
            others.push(match notice {
                Notice::Registered { conn, function } => {
                    format!("{} registered {function:?}", place(conn))
                }
                Notice::Parked(conn) => format!("{} parked", place(conn)),
                Notice::Worked(conn) => format!("{} worked", place(conn)),
                Notice::Cancelled(conn) => format!("{} cancelled", place(conn)),
                Notice::Overdue { conn, handle } => {
                    format!("{} overdue {handle:?}", place(conn))
                }
                Notice::Lost {
                    conn,
                    handle,
                    attempts,
                    of,
                    is_set_aside,
                } => format!(
                    "{} lost {handle:?} {attempts} {of} {is_set_aside}",
                    place(conn)
                ),
                Notice::Failed { conn, handle } => format!("{} failed {handle:?}", place(conn)),
                Notice::Closed(conn) => format!("{} closed", place(conn)),
                Notice::ShutDown(ending) => format!("{ending:?}"),
            });
        }
        for mark in out.marks() {
            others.push(format!(
                "{} {:?} {:?}",
                place(&mark.conn),
                mark.edge,
                mark.handle
            ));
        }
        others.push(format!("{}", out.demand()));
        out.clear();
        others.push(format!("{:?} set aside", self.server.failed_count()));
        (sends, others, deadline)
    }
}

fn options(newcomers: Newcomers) -> Options {
    Options {
        handle_prefix: "H:test".to_owned(),
        epoch: 1_000_000,
        newcomers,
        ..Options::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn one_that_is_replaced_says_what_the_other_says(
        newcomers in prop_oneof![Just(Newcomers::Served), Just(Newcomers::Held)],
        steps in prop::collection::vec(step(), 0..150),
    ) {
        let (mut stays, mut moves) = (Twin::new(options(newcomers)), Twin::new(options(newcomers)));
        let mut now = Time::ZERO;
        for step in &steps {
            if let Step::Pass(millis) = step {
                now = now + Duration::from_millis(*millis);
            }
            if let Step::Upgrade = step {
                let state = rmp_serde::to_vec_named(&moves.server.state()).expect("it is written");
                let state = rmp_serde::from_slice(&state).expect("it is read");
                // the names of the first one's time and handles are in its state
                let fresh = Options { handle_prefix: "H:other".to_owned(), epoch: 5, seed: 3, ..options(newcomers) };
                moves.server = JobServer::restore(state, fresh);
            }
            stays.step(now, step);
            moves.step(now, step);
            prop_assert_eq!(stays.said(), moves.said(), "after {:?}", step);
        }
    }
}
