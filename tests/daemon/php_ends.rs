//! PHP code that ends its process within a job. The extension then says WORK_EXCEPTION "Unable to add worker function" and closes: nobody
//! is left waiting, and no other job is lost.

use gearpool::jobs::view::JobList;

use crate::support::{Daemon, Home, until};

const WORKER: &str = r#"<?php
$worker = new GearmanWorker();
$worker->addServer(getenv("GEARMAN_HOST"), (int) getenv("GEARMAN_PORT"));
$worker->addFunction("f", function (GearmanJob $job): string {
    $workload = $job->workload();
    file_put_contents("notes", "$workload\n", FILE_APPEND | LOCK_EX);
    switch (explode(" ", $workload)[0]) {
        case "throw":
            throw new RuntimeException("nobody catches this");
        case "exit":
            exit(3);
        case "fatal":
            no_such_function();
        case "memory":
            ini_set("memory_limit", "4M");
            return str_repeat("x", 64 << 20);
    }
    return "done $workload";
});
while ($worker->work());
"#;

const ENDS: [&str; 4] = ["throw", "exit", "fatal", "memory"];

fn daemon() -> Daemon {
    let home = Home::new("f: {cmd: php ends.php, min: 2, max: 2}\n");
    home.write("ends.php", WORKER);
    let daemon = Daemon::start_in(home, &[]);
    daemon.ready("f", 2);
    daemon
}

#[test]
fn a_client_that_waits_is_told() {
    let daemon = daemon();
    for end in ENDS {
        let ended = daemon.result("f", end);
        assert_eq!(ended.code, 1, "{end}: {ended:?}");
        let good = daemon.result("f", "well");
        assert_eq!(
            (good.code, good.out.as_str()),
            (0, "done well"),
            "after {end}: {good:?}"
        );
    }
    let attempts = |what: &str| {
        daemon
            .home
            .notes()
            .iter()
            .filter(|note| *note == what)
            .count()
    };
    assert_eq!(attempts("well"), ENDS.len());
    for end in ENDS {
        eprintln!("{end}: {} times", attempts(end));
        assert!((1..=3).contains(&attempts(end)), "{end}");
    }
}

#[test]
fn the_jobs_behind_one_in_the_background_are_done() {
    let daemon = daemon();
    let mut workloads = Vec::new();
    for (number, end) in ENDS.iter().enumerate() {
        workloads.push((*end).to_owned());
        workloads.extend((0..5).map(|job| format!("job {number}{job}")));
    }
    daemon.queue("f", &workloads);
    until("the queue to be empty", || {
        let status = daemon.status();
        let function = status
            .functions
            .iter()
            .find(|function| function.name == "f")
            .unwrap();
        function.queued.iter().sum::<u64>() + function.running == 0
    });
    let notes = daemon.home.notes();
    for workload in &workloads {
        let times = notes.iter().filter(|note| *note == workload).count();
        match workload.starts_with("job") {
            true => assert_eq!(times, 1, "{workload} in {notes:?}"),
            false => assert!((1..=3).contains(&times), "{workload} in {notes:?}"),
        }
    }
}

#[test]
fn one_that_nobody_waits_for_is_tried_again_and_set_aside_with_what_php_said() {
    let home = Home::new("f: {cmd: php ends.php, min: 2, max: 2, retries: 1, retry_delay: 50ms}\n");
    home.write("ends.php", WORKER);
    let daemon = Daemon::start_in(home, &[]);
    daemon.ready("f", 2);
    daemon.queue("f", &["throw".to_owned()]);
    let mut handle = String::new();
    until("it to be set aside with its process's end", || {
        let failed = daemon.run(&["jobs", "failed", "--json"]);
        let failed: JobList = serde_json::from_str(&failed.out).unwrap();
        let job = failed.jobs.into_iter().next();
        job.is_some_and(|job| {
            handle = job.handle;
            job.exit.is_some()
        })
    });
    assert_eq!(daemon.home.notes(), ["throw", "throw"]);
    let shown = daemon.run(&["jobs", "show", &handle]).out;
    for part in [
        "it failed twice, the last time with: ",
        "ended with exit 255",
        "nobody catches this",
    ] {
        assert!(shown.contains(part), "no {part} in\n{shown}");
    }
}
