//! What a queued job costs, as the system counts it: the limits of the queue and of the machine are reckoned from this.

use gearpool::jobs::{JobServer, Options, Peer};
use gearpool::proto::{Decoded, Mode, Priority, Request, decode};
use gearpool::time::Time;

/// Just more than fit into a table of the index that is filled to seven eighths: it has doubled, which is its worst.
const JOBS: usize = 460_000;

/// Besides its workload, in bytes; what a job counts against the limit of queued bytes.
const OWN: usize = 250;

const WORKLOAD: [u8; 100] = [b'x'; 100];

/// The bytes of this process that are in memory.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("the kernel's figures");
    let pages = statm.split(' ').nth(1).expect("a second figure");
    pages.parse::<usize>().expect("a number") * 4096
}

// one test a process: another one's memory would be counted with it
#[test]
fn a_queued_job_takes_little_besides_its_workload() {
    let mut server = JobServer::new(Options::default());
    let conn = server.connect(Time::ZERO, Peer::default());
    let request = Request::SubmitJob {
        priority: Priority::Normal,
        mode: Mode::Background,
        function: b"f",
        unique: b"",
        workload: &WORKLOAD,
    };
    let mut bytes = Vec::new();
    request.encode(&mut bytes);
    let Ok(Decoded::Frame(frame, _)) = decode(&bytes) else {
        panic!("a request is a frame");
    };
    let before = resident();
    for _ in 0..JOBS {
        server.receive(Time::ZERO, conn, frame);
        server.outbox().clear();
    }
    let each = (resident() - before) / JOBS;
    println!(
        "{each} bytes a job, {} of them workload, at {JOBS} jobs",
        WORKLOAD.len()
    );
    assert!(each <= WORKLOAD.len() + OWN, "{each} bytes a job");
    let waiting = server.function_loads(Time::ZERO)[0].queued;
    assert_eq!(waiting, [0, JOBS as u64, 0]);
}
