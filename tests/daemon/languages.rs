//! Jobs that do not end well, in the hands of workers in other languages than PHP.

use std::path::{Path, PathBuf};

use gearpool::jobs::view::JobList;

use crate::support::{Daemon, finish, until};

/// What `tests/run` has installed.
fn installed(path: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    assert!(path.exists(), "{} is missing: tests/run", path.display());
    path
}

fn failed(daemon: &Daemon) -> JobList {
    let ended = daemon.run(&["jobs", "failed", "--json"]);
    assert_eq!(ended.code, 0, "{ended:?}");
    serde_json::from_str(&ended.out).unwrap()
}

/// One that is stuck and one that kills its workers, in each pool at the same time: each is set aside when it has taken two processes,
/// with what the last one wrote, who waits is told, and the pool goes on.
#[test]
fn a_stuck_job_and_a_poisonous_one_are_set_aside() {
    let workers = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/daemon/languages");
    let python = installed(".tests/venv/bin/python");
    let modules = installed(".tests/node/node_modules");
    let pools = ["perl", "python", "node", "shell", "tool"];
    let daemon = Daemon::start(&format!(
        r#"
defaults:
  cwd: {workers}
  count: 2
  timeout: 500ms
  attempts: 2
  env: {{NODE_PATH: {modules}}}
functions:
  perl: {{cmd: perl worker.pl}}
  python: {{cmd: {python} worker.py}}
  node: {{cmd: node worker.js}}
  shell: {{run: sh job.sh}}
  tool: {{cmd: "gearman -h $GEARMAN_HOST -p $GEARMAN_PORT -w -f tool -- sh job.sh", shell: true}}
"#,
        modules = modules.display(),
        python = python.display(),
    ));
    for pool in pools {
        daemon.ready(pool, 2);
    }
    let reasons = [
        (
            "stuck",
            "it ran past its time limit, in the last of 2 attempts",
        ),
        ("die", "its worker was gone before it had ended, twice"),
    ];
    for (what, reason) in reasons {
        let clients = pools.map(|pool| daemon.submit(&["-f", pool, what]));
        for client in clients {
            let client = finish(client);
            assert_eq!(client.code, 1, "{client:?}");
            assert!(client.err.ends_with(" failed\n"), "{client:?}");
        }
        for pool in pools {
            let job = failed(&daemon).jobs.into_iter();
            let mut job =
                job.filter(|job| job.function == pool && job.reason.as_deref() == Some(reason));
            let handle = job
                .next()
                .unwrap_or_else(|| panic!("{what} in {pool}"))
                .handle;
            until("what its process wrote last", || {
                let shown = daemon.run(&["jobs", "show", &handle]).out;
                shown.contains(&format!("    | got {what}\n"))
            });
        }
    }
    for pool in pools {
        let good = daemon.result(pool, "well");
        assert_eq!((good.code, good.out.trim_end()), (0, "did well"), "{pool}");
    }
    assert_eq!(failed(&daemon).jobs.len(), 2 * pools.len());
}
