//! What is counted.

use gearpool_core::jobs::{ConnId, JobServer, Options, Peer};
use gearpool_core::proto::{Decoded, Grab, Mode, Priority, Request, decode};
use gearpool_core::time::Time;

use crate::counted;

/// Jobs of each case.
pub(crate) const JOBS: usize = 10_000;
/// Jobs that wait before a case with a backlog begins.
const BACKLOG: usize = 1_000_000;
const WORKLOAD: [u8; 64] = [b'x'; 64];
const RESULT: [u8; 16] = [b'y'; 16];

/// One line of the report.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) run: fn(),
}

/// All of them.
pub(crate) const CASES: &[Case] = &[
    Case {
        name: "submit",
        run: || submit(0, 1, false),
    },
    Case {
        name: "submit, unique",
        run: || submit(0, 1, true),
    },
    Case {
        name: "submit, 1,000,000 waiting",
        run: || submit(BACKLOG, 1, false),
    },
    Case {
        name: "submit, 1,000 functions",
        run: || submit(0, 1000, false),
    },
    Case {
        name: "drain",
        run: || drain(0, 1),
    },
    Case {
        name: "drain, 1,000,000 waiting",
        run: || drain(BACKLOG, 1),
    },
    Case {
        name: "drain, 1,000 functions",
        run: || drain(0, 1000),
    },
    Case {
        name: "foreground",
        run: || foreground(1),
    },
    Case {
        name: "foreground, 500 asleep",
        run: || foreground(500),
    },
];

/// Background jobs that nobody takes.
pub(crate) fn submit(backlog: usize, functions: usize, uniques: bool) {
    let mut it = Setup::new();
    let client = it.connect();
    let mut packets = Packets::default();
    for job in 0..functions + JOBS {
        let unique = match uniques {
            true => format!("c0ffee00-bead-4bed-8bad-{job:012x}"),
            false => String::new(),
        };
        packets.submit(Mode::Background, &name(job % functions), unique.as_bytes());
    }
    // each function is known before the count begins
    packets
        .iter()
        .take(functions)
        .for_each(|packet| it.say(client, packet));
    it.fill(client, backlog);
    counted(&mut || {
        packets
            .iter()
            .skip(functions)
            .for_each(|packet| it.say(client, packet))
    });
    assert_eq!(it.waiting(), (functions + backlog + JOBS) as u64);
}

/// A worker of one function takes jobs and ends them, WORK_COMPLETE and GRAB_JOB in one piece.
pub(crate) fn drain(more: usize, functions: usize) {
    let mut it = Setup::new();
    let client = it.connect();
    it.fill(client, JOBS + more);
    let mut others = Packets::default();
    (1..functions).for_each(|at| others.submit(Mode::Background, &name(at), b""));
    others.iter().for_each(|packet| it.say(client, packet));
    let worker = it.worker();
    let mut packets = Packets::default();
    (1..=JOBS).for_each(|number| packets.complete(number));
    it.say(worker, &encoded(Request::GrabJob(Grab::Plain)));
    counted(&mut || packets.iter().for_each(|packet| it.say(worker, packet)));
    assert_eq!(
        it.server.function_loads(Time::ZERO)[0].completed,
        JOBS as u64
    );
}

/// A client waits for each of its jobs; a worker is woken for it and goes to sleep again.
pub(crate) fn foreground(workers: usize) {
    let mut it = Setup::new();
    let client = it.connect();
    let [grab, sleep] = [Request::GrabJob(Grab::Plain), Request::PreSleep].map(encoded);
    let workers = Vec::from_iter((0..workers).map(|_| it.worker()));
    for &worker in &workers {
        it.say(worker, &sleep);
    }
    // the last one to go to sleep is woken first, each time
    let worker = workers[workers.len() - 1];
    let mut packets = Packets::default();
    packets.submit(Mode::Foreground, &name(0), b"");
    (1..=JOBS).for_each(|number| packets.complete(number));
    counted(&mut || {
        for number in 1..=JOBS {
            it.say(client, packets.at(0));
            it.say(worker, &grab);
            it.say(worker, packets.at(number));
            it.say(worker, &sleep);
        }
    });
    assert_eq!(
        it.server.function_loads(Time::ZERO)[0].completed,
        JOBS as u64
    );
}

/// A server whose output goes nowhere.
struct Setup {
    server: JobServer,
    now: u64,
    said: usize,
}

impl Setup {
    fn new() -> Setup {
        let server = JobServer::new(Options::default());
        let (now, said) = (0, 0);
        Setup { server, now, said }
    }

    fn connect(&mut self) -> ConnId {
        self.server.connect(Time::ZERO, Peer::default())
    }

    /// One that can do the first function.
    fn worker(&mut self) -> ConnId {
        let worker = self.connect();
        let function = &*name(0);
        self.say(worker, &encoded(Request::CanDo { function }));
        worker
    }

    /// Lets background jobs wait.
    fn fill(&mut self, client: ConnId, jobs: usize) {
        let mut packets = Packets::default();
        packets.submit(Mode::Background, &name(0), b"");
        (0..jobs).for_each(|_| self.say(client, packets.at(0)));
    }

    fn waiting(&self) -> u64 {
        let loads = self.server.function_loads(Time::ZERO);
        loads
            .iter()
            .map(|load| load.queued.iter().sum::<u64>())
            .sum()
    }

    /// What the hub does with what one read has brought.
    fn say(&mut self, conn: ConnId, mut bytes: &[u8]) {
        self.now += 1;
        while let Ok(Decoded::Frame(frame, length)) = decode(bytes) {
            self.server
                .receive(Time::from_millis(self.now), conn, frame);
            bytes = &bytes[length..];
        }
        let out = self.server.outbox();
        self.said += out.sends().map(|(_, bytes)| bytes.len()).sum::<usize>();
        out.clear();
    }
}

/// Packets made before the count begins.
#[derive(Default)]
struct Packets {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Packets {
    fn submit(&mut self, mode: Mode, function: &[u8], unique: &[u8]) {
        self.push(&encoded(Request::SubmitJob {
            priority: Priority::Normal,
            mode,
            function,
            unique,
            workload: &WORKLOAD,
        }));
    }

    /// The job with this number is done, and the next one wanted.
    fn complete(&mut self, number: usize) {
        let handle = format!("H:localhost:{number}");
        let mut both = encoded(Request::WorkComplete {
            handle: handle.as_bytes(),
            data: &RESULT,
        });
        Request::GrabJob(Grab::Plain).encode(&mut both);
        self.push(&both);
    }

    fn push(&mut self, packet: &[u8]) {
        self.bytes.extend_from_slice(packet);
        self.ends.push(self.bytes.len());
    }

    fn at(&self, at: usize) -> &[u8] {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[at]]
    }

    fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.ends.len()).map(|at| self.at(at))
    }
}

fn encoded(request: Request<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    request.encode(&mut bytes);
    bytes
}

fn name(function: usize) -> Vec<u8> {
    format!("bench_{function}").into_bytes()
}
