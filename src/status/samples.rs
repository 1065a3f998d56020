//! Snapshots for the tests of what shows them.

use std::time::Duration;

use super::{JobStatus, MemberStatus, PoolStatus, ServerStatus, Status, WorkerStatus};
use crate::jobs::load::FunctionLoad;
use crate::pools::Slot;
use crate::pools::view::{PoolState, PoolView, ProcessState, ProcessView, ScaleView};

pub(crate) fn empty() -> Status {
    Status {
        server: ServerStatus {
            version: "0.1.0".to_owned(),
            pid: 4711,
            up: Duration::from_secs(11_520),
            listen: vec!["127.0.0.1:4730".to_owned()],
            state_dir: "/var/lib/gearpool".to_owned(),
            log_dir: "/var/lib/gearpool/logs".to_owned(),
            config: None,
            config_error: None,
            logs_failing: 0,
            logs_dropped: 0,
            shutting_down: false,
            upgrade: None,
            connections: 0,
            failed_jobs: 0,
            failed_jobs_discarded: 0,
        },
        functions: Vec::new(),
        pools: Vec::new(),
        other_workers: Vec::new(),
    }
}

pub(crate) fn function(name: &str, queued: [u64; 3], running: u64, workers: u64) -> FunctionLoad {
    FunctionLoad {
        name: name.to_owned(),
        queued,
        running,
        workers,
        oldest_wait: Duration::from_millis(460 * queued.iter().sum::<u64>()),
        ..FunctionLoad::default()
    }
}

pub(crate) fn pool(name: &str, members: Vec<MemberStatus>) -> PoolStatus {
    PoolStatus {
        paused: Vec::new(),
        pool: PoolView {
            name: name.to_owned(),
            command: format!("php {name}.php"),
            functions: vec![name.to_owned()],
            min: 2,
            max: 30,
            target: members.len() as u32,
            reason: "keeping 3: peak demand of the last 60 s".to_owned(),
            state: PoolState::Running,
            by_hand: None,
            restarts: 0,
            last_exit: None,
            last_lines: Vec::new(),
            check: None,
            scale: ScaleView::default(),
            processes: Vec::new(),
        },
        queued: 0,
        members,
    }
}

pub(crate) fn member(slot: u32, state: ProcessState) -> MemberStatus {
    MemberStatus {
        process: ProcessView {
            proc: u64::from(slot) + 100,
            slot: Slot(slot),
            pid: Some(810 + slot),
            state,
            up: Duration::from_secs(190 * u64::from(slot)),
            leaving_because: None,
            next_start_in: None,
        },
        mapped: true,
        cpu_percent: Some(2.4),
        memory: Some((47 + u64::from(slot)) << 20),
        jobs: Vec::new(),
        jobs_done: 120,
    }
}

pub(crate) fn job(handle: &str, function: &str, seconds: u64) -> JobStatus {
    JobStatus {
        handle: handle.to_owned(),
        function: function.to_owned(),
        running: Duration::from_secs(seconds),
    }
}

pub(crate) fn healthy() -> Status {
    let mut busy = member(1, ProcessState::Running);
    busy.jobs = vec![job("H:web1:42", "fetchURL", 12)];
    let mut leaving = member(3, ProcessState::Draining);
    leaving.process.leaving_because = Some("scale down".to_owned());
    leaving.jobs = vec![job("H:web1:37", "fetchURL", 71)];
    let mut fetch = pool(
        "fetchURL",
        vec![busy, member(2, ProcessState::Running), leaving],
    );
    fetch.pool.target = 2;
    fetch.pool.restarts = 3;
    fetch.pool.last_exit = Some("exit 1".to_owned());
    fetch.queued = 7;
    let mut starting = member(1, ProcessState::Starting);
    starting.cpu_percent = None;
    starting.memory = None;
    starting.jobs_done = 0;
    let mut unmapped = member(12, ProcessState::Running);
    unmapped.mapped = false;
    unmapped.jobs = vec![job("H:web1:50", "resize", 3), job("H:web1:51", "crop", 1)];
    let mut images = pool("images", vec![starting, unmapped]);
    images.pool.functions = vec!["resize".to_owned(), "crop".to_owned()];
    images.pool.by_hand = Some("scaled by hand".to_owned());
    images.pool.reason =
        "wants 12: 7 queued × 0.96 s would wait ~0.7 s on 10 processes, target 0.48 s".to_owned();
    let mut status = empty();
    status.server.config = Some("/etc/gearpool/workers.yaml".to_owned());
    status.server.connections = 58;
    status.functions = vec![
        function("crop", [0, 0, 0], 1, 1),
        function("fetchURL", [0, 7, 0], 2, 3),
        function("legacy\treport", [3, 1200, 1], 0, 0),
        function("resize", [2, 0, 0], 1, 1),
    ];
    status.pools = vec![fetch, images];
    status.other_workers = vec![WorkerStatus {
        peer: "10.0.0.5:53211".to_owned(),
        client_id: "-".to_owned(),
        functions: vec!["reverse".to_owned(), "crop".to_owned()],
        jobs: vec![job("H:web1:60", "crop", 4000)],
    }];
    status
}

pub(crate) fn failing() -> Status {
    let mut backoff = member(1, ProcessState::Backoff);
    backoff.process.pid = None;
    backoff.process.next_start_in = Some(Duration::from_secs(8));
    backoff.cpu_percent = None;
    backoff.memory = None;
    backoff.jobs_done = 0;
    let mut broken = pool("sendEmail", vec![backoff]);
    broken.pool.state = PoolState::Failing;
    broken.pool.reason = "failing: 5 starts died before registering, next try in 8 s".to_owned();
    broken.pool.restarts = 5;
    broken.pool.last_exit = Some("exit 255".to_owned());
    broken.pool.last_lines = vec![
        "PHP Fatal error:  Uncaught Error: Class \"GearmanWorker\" not found in send.php:3"
            .to_owned(),
        "\tthrown in \u{1b}[1msend.php\u{1b}[0m on line 3".to_owned(),
    ];
    let mut stopped = pool("video", Vec::new());
    stopped.pool.state = PoolState::Stopped;
    stopped.pool.target = 0;
    stopped.pool.by_hand = Some("stopped by hand".to_owned());
    stopped.pool.reason = "stopped by hand".to_owned();
    let mut status = healthy();
    status.other_workers.clear();
    status.functions = vec![function("sendEmail", [0, 1204, 0], 0, 0)];
    status.pools = vec![broken, stopped];
    status
}
