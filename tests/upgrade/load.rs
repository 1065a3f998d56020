//! Many upgrades while everybody is busy.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gearpool::proto::{Kind, Request};

use crate::library::Library;
use crate::running::Running;
use crate::stage::{Stage, receive, send};
use crate::support::{DEADLINE, pids, until};

const UPGRADES: usize = 12;

/// A client's or worker's command that speaks to this daemon.
fn speak(stage: &Stage, mut command: Command) -> Command {
    let port = stage.port.to_string();
    command
        .env("GEARMAN_HOST", "127.0.0.1")
        .env("GEARMAN_PORT", &port)
        .env("GEARMAN_SERVER", format!("127.0.0.1:{port}"));
    command
}

#[test]
fn nobody_notices_a_dozen_upgrades() {
    let stage = Stage::start("f: {cmd: php worker.php, min: 4, max: 4}\n");
    let before = pids(&stage.ready("f", 4));
    // workers that are nobody's process
    let workers: Vec<Running> = [Library::Gear, Library::Php, Library::Tool]
        .into_iter()
        .map(|library| Running::start("a worker", &speak(&stage, library.worker()), b""))
        .collect();
    let able = |function: &str| {
        let functions = stage.status().functions.into_iter();
        functions
            .filter(|it| it.name == function)
            .map(|it| it.workers)
            .sum::<u64>()
    };
    until("the workers to register", || able("reverse") == 3);

    // jobs for later, one a second
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let mut client = stage.connect();
    for after in 0..10 {
        let epoch = (now + 2 + after).to_string();
        let workload = format!("sleep 5; note later{after}");
        let request = Request::SubmitJobEpoch {
            function: b"f",
            unique: b"",
            epoch: epoch.as_bytes(),
            workload: workload.as_bytes(),
        };
        send(&mut client, &request);
        assert_eq!(receive(&mut client).0, Kind::JobCreated);
    }
    drop(client);

    let over = AtomicBool::new(false);
    let (queued, waited) = (AtomicU32::new(0), AtomicU32::new(0));
    let foreign = std::thread::scope(|scope| {
        // in the background, in the foreground through our own client, and through everybody else's
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let first = queued.load(Ordering::Relaxed);
                let jobs: Vec<_> = (first..first + 20)
                    .map(|job| format!("say begin{job}; sleep 3; say end{job}; note queued{job}"))
                    .collect();
                stage.queue("f", &jobs);
                queued.fetch_add(20, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let job = waited.fetch_add(1, Ordering::Relaxed);
                let result = stage.result("f", &format!("sleep 20; note waited{job}"));
                assert_eq!(result.code, 0, "{result:?}");
            }
        });
        // the commands find one program or the other
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let asked = stage.run(&["status"]);
                assert_eq!(asked.code, 0, "{asked:?}");
            }
        });
        let foreign: Vec<_> = [Library::Php, Library::Gear, Library::Tool, Library::Perl]
            .into_iter()
            .map(|library| {
                let (stage, over) = (&stage, &over);
                scope.spawn(move || {
                    let mut count = 0;
                    while !over.load(Ordering::Relaxed) {
                        for (function, workload, result) in [
                            ("reverse", "desrever", "reversed"),
                            ("sleep", "50", "slept 50 ms"),
                        ] {
                            let mut client = speak(stage, library.client());
                            client.arg(function);
                            let client = Running::start("a client", &client, workload.as_bytes());
                            let finished = client.finish(DEADLINE).unwrap();
                            assert!(finished.status.success(), "{library:?} {finished:?}");
                            let out = String::from_utf8_lossy(&finished.out);
                            assert_eq!(out.trim(), result, "{library:?}");
                            count += 1;
                        }
                    }
                    count
                })
            })
            .collect();

        let end = End(&over);
        until("some jobs to be done", || stage.home.notes().len() > 20);
        for _ in 0..UPGRADES {
            stage.upgrade();
        }
        let done = stage.home.notes().len();
        until("jobs to go on", || stage.home.notes().len() > done + 20);
        drop(end);
        foreign
            .into_iter()
            .map(|client| client.join().unwrap())
            .collect::<Vec<u32>>()
    });
    println!("jobs of other clients: {foreign:?}");
    assert!(foreign.iter().all(|&count| count > 0), "{foreign:?}");
    until("all jobs to be done", || {
        let status = stage.status();
        let is_over = |it: &gearpool::jobs::load::FunctionLoad| {
            it.running == 0 && it.queued.iter().sum::<u64>() == 0
        };
        let later = stage
            .home
            .notes()
            .iter()
            .filter(|it| it.starts_with("later"))
            .count();
        status.functions.iter().all(is_over) && later == 10
    });

    // every job once
    let mut notes = BTreeMap::new();
    for note in stage.home.notes() {
        *notes.entry(note).or_insert(0) += 1;
    }
    let (queued, waited) = (queued.into_inner(), waited.into_inner());
    let mut expected = BTreeMap::new();
    expected.extend((0..queued).map(|job| (format!("queued{job}"), 1)));
    expected.extend((0..waited).map(|job| (format!("waited{job}"), 1)));
    expected.extend((0..10).map(|job| (format!("later{job}"), 1)));
    println!("{queued} queued, {waited} waited for");
    assert_eq!(notes, expected);

    // by the same processes, and every line of theirs
    assert_eq!(pids(&stage.ready("f", 4)), before);
    assert_eq!(stage.pool("f").pool.restarts, 0);
    let mut lines = Vec::new();
    for slot in 1..=4 {
        lines.extend(
            stage
                .home
                .read(&format!("state/logs/f/{slot}.log"))
                .lines()
                .map(str::to_owned),
        );
    }
    lines.sort();
    let both = |job| [format!("begin{job}"), format!("end{job}")];
    let mut expected: Vec<_> = (0..queued).flat_map(both).collect();
    expected.sort();
    assert!(
        lines == expected,
        "{} lines, {} expected",
        lines.len(),
        expected.len()
    );

    // and nothing is left of the programs before
    assert_eq!(able("reverse"), 3, "the workers are still there");
    drop(workers);
    until("only our processes to be connected", || {
        stage.status().server.connections == 4
    });
    let descriptors = stage.descriptors();
    for _ in 0..3 {
        stage.upgrade();
    }
    until("as many descriptors as before", || {
        stage.descriptors() <= descriptors
    });
    assert_eq!(stage.upgrades(), UPGRADES as u64 + 3);
}

/// Without it a check that failed would leave the other threads at work.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
