//! What the workers write, from the pipe to `gearpool logs`.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, PipeReader};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Stdio;

use gearpool::sys::pipe;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Daemon, Home, pids, until};

/// Waits until all that was queued is done.
fn done(daemon: &Daemon, function: &str, completed: u64) {
    until("all jobs to be done", || {
        let status = daemon.status();
        let load = status.functions.iter().find(|load| load.name == function);
        load.is_some_and(|load| load.completed == completed)
    });
}

/// Queues jobs and returns their handles.
fn queue(daemon: &Daemon, function: &str, workloads: &[String]) -> Vec<String> {
    let command = daemon.submit_command(&["-b", "-N", "-f", function]);
    let ended = crate::support::ended(&command, workloads.join("\n").as_bytes());
    assert_eq!(ended.code, 0, "{ended:?}");
    ended.out.lines().map(str::to_owned).collect()
}

#[test]
fn each_job_has_its_own_lines_and_no_others() {
    let mut daemon = Daemon::start(
        "f: {cmd: php worker.php, min: 2, log: {max_size: 4k, keep: 1000, compress: true}}\n",
    );
    daemon.ready("f", 2);
    let lines = |n: usize| -> Vec<String> {
        let long = "x".repeat(n * 37 % 90);
        (0..n % 5)
            .map(|line| format!("{n} {line} {long}"))
            .collect()
    };
    let workloads: Vec<String> = (0..400)
        .map(|n| {
            lines(n)
                .iter()
                .map(|line| format!("say {line};"))
                .collect::<String>()
                + "sleep 0"
        })
        .collect();
    let handles = queue(&daemon, "f", &workloads);
    assert_eq!(handles.len(), 400);
    done(&daemon, "f", 400);

    let folder = daemon.home.path("state/logs/f");
    until("old files to be compressed", || {
        let names = names(&folder);
        let old = |name: &&String| name.contains(".log.") && !name.ends_with(".index");
        names.iter().filter(old).count() > 5
            && names.iter().filter(old).all(|name| name.ends_with(".gz"))
    });
    let check = |daemon: &Daemon, n: usize| {
        let ended = daemon.run(&["logs", "--job", &handles[n]]);
        let expected: String = lines(n).iter().map(|line| format!("{line}\n")).collect();
        assert_eq!(ended.out, expected, "job {n}, {}: {ended:?}", handles[n]);
        assert_eq!(ended.code, i32::from(expected.is_empty()), "{ended:?}");
    };
    for n in (0..400).step_by(7) {
        check(&daemon, n);
    }
    // The files alone say it too.
    daemon.signal(Signal::SIGKILL);
    daemon.end();
    for n in (3..400).step_by(49) {
        check(&daemon, n);
    }
    let unknown = daemon.run(&["logs", "--job", "H:nowhere:1"]);
    assert_eq!(unknown.code, 1);
    assert!(
        unknown
            .err
            .contains("there are no lines of job H:nowhere:1"),
        "{unknown:?}"
    );
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn a_running_job_is_shown_and_the_last_words_of_a_killed_one_are_its_own() {
    let daemon = Daemon::start("f: {cmd: php worker.php}\n");
    let pid = pids(&daemon.ready("f", 1))[0];
    let waits = "say before;until never;say after".to_owned();
    let handle = queue(&daemon, "f", &[waits]).remove(0);
    until("the job's first line", || {
        daemon.run(&["logs", "--job", &handle]).out == "before\n"
    });
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).unwrap();
    // It is given to the next process, which writes the same and waits too.
    until("the next process's line", || {
        daemon.run(&["logs", "--job", &handle]).out == "before\nbefore\n"
    });
    daemon.home.write("never", "");
    done(&daemon, "f", 1);
    until("its last line", || {
        daemon.run(&["logs", "--job", &handle]).out == "before\nbefore\nafter\n"
    });
    let object = |line: &str| {
        format!(r#"{{"pool":"f","slot":1,"stream":"output","job":"{handle}","line":"{line}"}}"#)
            + "\n"
    };
    let objects = ["before", "before", "after"].map(object).concat();
    assert_eq!(
        daemon.run(&["logs", "--json", "--job", &handle]).out,
        objects
    );
    let last = r#"{"pool":"f","slot":1,"stream":"output","line":"after"}"#;
    assert_eq!(
        daemon.run(&["logs", "--json", "-n", "1"]).out,
        format!("{last}\n")
    );
    let first = daemon
        .run(&["logs", "--json", "--events", "-n", "100", "f/1"])
        .out;
    let first: serde_json::Value = serde_json::from_str(first.lines().next().unwrap()).unwrap();
    assert_eq!((&first["pool"], &first["slot"]), (&"f".into(), &1.into()));
    assert_eq!(
        (&first["event"], &first["pid"]),
        (&"start".into(), &pid.into())
    );
    assert_eq!(daemon.run(&["stop", "f"]).code, 0);
    let events = || {
        let ended = daemon.run(&["logs", "--events", "-n", "100", "f"]);
        assert_eq!(ended.code, 0, "{ended:?}");
        let words = ended
            .out
            .lines()
            .map(|line| line.split_once(" f/1 ").unwrap().1.to_owned());
        words.collect::<Vec<_>>()
    };
    until("the process to be stopped", || {
        events().last().unwrap().starts_with("exit by SIGTERM")
    });
    let (begin, end) = (format!("begin {handle}"), format!("end {handle} complete"));
    let events = events();
    assert_eq!(events[0], format!("start pid {pid}"));
    assert_eq!(events[1], begin);
    let killed = events
        .iter()
        .position(|event| event == "exit by SIGKILL")
        .unwrap();
    assert!(killed <= 3, "{events:?}");
    assert!(events[killed + 1].starts_with("start pid "));
    assert_eq!(
        events[killed + 2..],
        [
            begin,
            end,
            "stop SIGTERM".to_owned(),
            "exit by SIGTERM".to_owned()
        ]
    );
}

#[test]
fn json_has_the_job_of_every_line() {
    let daemon = Daemon::start("f: {cmd: php worker.php, log: {format: json}}\n");
    let pid = pids(&daemon.ready("f", 1))[0];
    let workloads: Vec<String> = (0..50)
        .map(|n| format!("say {n} \"a\";say {n} b"))
        .collect();
    let handles = queue(&daemon, "f", &workloads);
    done(&daemon, "f", 50);
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    until("all lines", || {
        found.clear();
        for line in daemon.home.read("state/logs/f/1.log").lines() {
            let object: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(
                (
                    &object["pool"],
                    &object["slot"],
                    &object["pid"],
                    &object["stream"]
                ),
                (&"f".into(), &1.into(), &pid.into(), &"output".into())
            );
            let text = |key: &str| object[key].as_str().unwrap().to_owned();
            found.entry(text("job")).or_default().push(text("line"));
        }
        found.values().map(Vec::len).sum::<usize>() == 100
    });
    for (n, handle) in handles.iter().enumerate() {
        assert_eq!(found[handle], [format!("{n} \"a\""), format!("{n} b")]);
    }
}

#[test]
fn own_files_and_standard_error_apart_are_found() {
    let script = "echo out $GEARPOOL_SLOT; echo err $GEARPOOL_SLOT >&2; exec sleep 1000";
    let file = format!(
        "a: {{cmd: '{script}', shell: true, min: 2, log: {{file: 'own/{{pool}}-{{slot}}.txt', stderr: separate}}}}\n\
         b: {{cmd: '{script}', shell: true, min: 2}}\n"
    );
    let daemon = Daemon::start(&file);
    until("all to have written", || {
        daemon.home.read("own/a-2.err.txt") == "err 2\n"
            && daemon.home.read("own/a-1.txt") == "out 1\n"
            && daemon.home.read("state/logs/b/2.log") == "out 2\nerr 2\n"
    });
    let shown = daemon.run(&["logs", "a"]);
    assert_eq!(
        shown.out,
        "a/1 | out 1\na/1 stderr | err 1\na/2 | out 2\na/2 stderr | err 2\n"
    );
    assert_eq!(daemon.run(&["logs", "b/2"]).out, "out 2\nerr 2\n");

    // One descriptor a worker, two with standard error apart: 2 + 2 · 2 pipes are read, and as many pidfds at most.
    let pipes: Vec<_> = fs::read_dir(format!("/proc/{}/fd", daemon.pid()))
        .unwrap()
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter(|target| target.to_string_lossy().starts_with("pipe:"))
        .collect();
    let workers_ends: Vec<_> = pids(&daemon.pool("a").members)
        .into_iter()
        .chain(pids(&daemon.pool("b").members))
        .flat_map(|pid| [1, 2].map(|fd| fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap()))
        .collect();
    let held = pipes
        .iter()
        .filter(|pipe| workers_ends.contains(pipe))
        .count();
    assert_eq!(held, 6, "{pipes:?}");
}

#[test]
fn a_full_disk_is_said_once_and_the_workers_go_on() {
    let home = Home::new("f: {cmd: php worker.php, min: 2}\n");
    let disk = home.path("disk");
    fs::create_dir(&disk).unwrap();
    // A disk of its own, in a mount namespace that ends with the daemon.
    let mount = format!(
        "mount -t tmpfs -o size=64k none {0} && exec \"$@\"",
        disk.display()
    );
    home.write(
        "workers.yaml",
        "server: {log_dir: disk/logs}\nfunctions: {f: {cmd: php worker.php, min: 2}}\n",
    );
    let words = [
        "unshare",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        &mount,
        "sh",
    ];
    let command = home.serve_by(&words);
    let daemon = Daemon::start_as(home, command);
    daemon.ready("f", 2);
    let inside = Path::new("/proc")
        .join(daemon.pid().to_string())
        .join("root")
        .join(disk.strip_prefix("/").unwrap());
    fs::write(inside.join("filler"), vec![b'x'; 32 << 10]).unwrap();
    let loud = format!("say {}", "y".repeat(1000));
    queue(&daemon, "f", &vec![loud; 200]);
    done(&daemon, "f", 200);
    let server = daemon.status().server;
    assert!(
        server.logs_failing > 0 && server.logs_dropped > 100_000,
        "{server:?}"
    );
    let table = daemon.run(&["status"]).out;
    assert!(table.contains("cannot be written"), "{table}");
    let said = "a worker's log cannot be written";
    assert_eq!(daemon.log().matches(said).count(), 1, "{}", daemon.log());
    assert!(daemon.log().contains("No space left on device"));

    fs::remove_file(inside.join("filler")).unwrap();
    let again: Vec<_> = (0..40).map(|n| format!("say again {n}")).collect();
    let handles = queue(&daemon, "f", &again);
    done(&daemon, "f", 240);
    daemon.ready("f", 2);
    until("the logs to be written again", || {
        let texts = [1, 2]
            .map(|slot| fs::read_to_string(inside.join(format!("logs/f/{slot}.log"))).unwrap());
        (0..40).all(|n| {
            texts
                .iter()
                .any(|text| text.lines().any(|line| line == format!("again {n}")))
        })
    });
    // The indexes were full too, and say again what is true.
    let (slot, at) = [1, 2]
        .into_iter()
        .find_map(|slot| {
            let index =
                fs::read_to_string(inside.join(format!("logs/f/{slot}.log.index"))).unwrap();
            let event = index
                .lines()
                .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
            let mut begun = event.filter(|event| event["job"] == handles[39].as_str());
            Some((slot, begun.next()?["at"].as_u64().unwrap()))
        })
        .unwrap();
    let log = fs::read(inside.join(format!("logs/f/{slot}.log"))).unwrap();
    assert!(log[at as usize..].starts_with(b"again 39\n"));
}

#[test]
fn a_log_folder_that_is_removed_is_made_again() {
    let daemon = Daemon::start("f: {cmd: php worker.php}\n");
    daemon.ready("f", 1);
    daemon.result("f", "say one");
    // the result may be there before the line is
    until("the first line", || {
        daemon.home.read("state/logs/f/1.log") == "one\n"
    });
    fs::remove_dir_all(daemon.home.path("state/logs")).unwrap();
    let handle = queue(&daemon, "f", &["say two".to_owned()]).remove(0);
    until("the next line", || {
        daemon.home.read("state/logs/f/1.log") == "two\n"
    });
    assert_eq!(daemon.run(&["logs", "--job", &handle]).out, "two\n");
    assert_eq!(daemon.status().server.logs_dropped, 0);
}

/// A daemon whose standard output, where the lines of `loud` go, is a pipe of ours.
fn with_a_pipe() -> (Daemon, PipeReader) {
    let home = Home::new(
        r#"
functions:
  loud: {cmd: php worker.php, stop_timeout: 200ms, log: {file: /dev/stdout, format: json}}
  other: {cmd: php worker.php}
"#,
    );
    let (reader, writer) = std::io::pipe().unwrap();
    let mut command = home.serve(&["-L", "127.0.0.1", "-p", "0"]);
    command.stdin(Stdio::null()).stdout(writer);
    let daemon = Daemon::start_with(home, command);
    daemon.ready("loud", 1);
    daemon.ready("other", 1);
    (daemon, reader)
}

#[test]
fn standard_output_that_nobody_reads_holds_up_no_other_process_and_not_the_end() {
    let (mut daemon, reader) = with_a_pipe();
    // more than all pipes on the way hold
    daemon.queue("loud", &vec![format!("say {}", "x".repeat(20_000)); 40]);
    until("the pipe to be full", || {
        pipe::waiting(reader.as_fd()) > 60_000
    });
    let before = pids(&daemon.ready("other", 1))[0];
    kill(Pid::from_raw(before.cast_signed()), Signal::SIGKILL).unwrap();
    until("the other one's successor", || {
        pids(&daemon.pool("other").members)
            .iter()
            .any(|&pid| pid != before)
    });
    daemon.ready("other", 1);
    assert_eq!(daemon.result("other", "sleep 0").code, 0);
    let told = "other/1: the last of its output is not written yet";
    assert!(daemon.log().contains(told), "{}", daemon.log());
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.end().0, 0);
}

#[test]
fn standard_output_whose_reader_has_gone_is_said_and_the_workers_go_on() {
    let (daemon, reader) = with_a_pipe();
    assert_eq!(daemon.result("loud", "say one").code, 0);
    let mut lines = BufReader::new(reader);
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&line["pool"], &line["line"]),
        (&"loud".into(), &"one".into())
    );
    drop(lines);
    daemon.queue("loud", &vec![format!("say {}", "x".repeat(20_000)); 40]);
    done(&daemon, "loud", 41);
    let server = daemon.status().server;
    assert_eq!(server.logs_failing, 1);
    assert!(server.logs_dropped > 100_000, "{server:?}");
}

/// Such as a terminal that was stopped with Ctrl-S.
#[test]
fn a_daemon_whose_own_log_nobody_reads_goes_on() {
    let home = Home::new("f: {cmd: php worker.php}\n");
    let fifo = home.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    // so that the daemon finds a reader when it opens it
    let both = OpenOptions::new().read(true).write(true).open(&fifo);
    let command = home.serve_by(&["sh", "-c", "exec \"$@\" -vvv 2>fifo", "sh"]);
    let mut daemon = Daemon::start_as(home, command);
    let mut reader = BufReader::new(File::open(&fifo).unwrap());
    drop(both);
    daemon.ready("f", 1);
    daemon.queue("f", &vec!["sleep 0".to_owned(); 500]);
    done(&daemon, "f", 500);

    let mut line = String::new();
    while pipe::waiting(reader.get_ref().as_fd()) > 0 {
        reader.read_line(&mut line).unwrap();
    }
    // with the room come lines again
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.end().0, 0);
    let rest: Vec<_> = reader.lines().map(Result::unwrap).collect();
    let told = "lines are left out here, for nobody has read this";
    assert!(rest.iter().any(|line| line.ends_with(told)), "{rest:?}");
    assert!(rest.last().unwrap().ends_with("ended"), "{rest:?}");
}
