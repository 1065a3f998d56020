//! Real processes write, and what they wrote stands in the files: all of it, in order, no line torn.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ffi::OsString;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use gearpool::config::{Log, LogFormat};
use gearpool::daemon::logs::{Capture, Logs, Source, index, log_file, names};
use gearpool::sys::child::{self, Child, Exit, Spec};
use gearpool::sys::signal::kill_group;

const LONG: Duration = Duration::from_secs(20);

fn start(argv: &[&str]) -> Child {
    child::spawn(&Spec {
        argv: argv.iter().map(OsString::from).collect(),
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        ..Spec::default()
    })
    .unwrap()
}

/// Has a process's output written.
fn capture(logs: &Logs, pool: &str, slot: u32, config: &Log, child: Child) -> (Capture, Exit, u32) {
    let capture = logs.capture(Source {
        pool: pool.to_owned(),
        slot,
        pid: child.pid,
        config: config.clone(),
        output: child.output,
        errors: child.errors,
    });
    (capture, child.exit, child.pid)
}

/// The last lines of a process that has ended.
async fn ended(capture: Capture) -> Vec<String> {
    let exit = index::Exit::default();
    tokio::time::timeout(LONG, capture.ended(exit))
        .await
        .unwrap()
}

/// Runs a command to its end, and returns the last lines.
async fn run(logs: &Logs, slot: u32, config: &Log, argv: &[&str]) -> Vec<String> {
    let (capture, mut exit, _) = capture(logs, "pool", slot, config, start(argv));
    exit.wait().await.unwrap();
    ended(capture).await
}

/// The files of a slot, the oldest first.
fn files(folder: &Path, slot: u32) -> Vec<Vec<u8>> {
    let newest = log_file(folder, "pool", slot);
    let older = (1..).map_while(|number| fs::read(format!("{}.{number}", newest.display())).ok());
    let mut files: Vec<_> = older.collect();
    files.reverse();
    files.push(fs::read(newest).unwrap());
    files
}

#[tokio::test]
async fn rotated_files_hold_everything_between_them() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::start(folder.path()).unwrap();
    // 300,000 lines of all lengths, from both descriptors, as fast as it goes: some at once, and more at once than a pipe holds, which
    // is passed on without being looked at where files are large.
    let script = "import os, sys\n\
        lines = [b'%d %s\\n' % (n, b'x' * (n * 7919 % 97)) for n in range(300000)]\n\
        most = int(sys.argv[1])\n\
        for at in range(0, len(lines), most):\n\
        \x20   os.write(1 + at % 2, b''.join(lines[at:at + most]))";
    let mut expected = String::new();
    for number in 0..300_000_usize {
        writeln!(expected, "{number} {}", "x".repeat(number * 7919 % 97)).unwrap();
    }
    let lines: Vec<&str> = expected.lines().collect();
    // What is written whole is read whole. A write of many lines may be read up to within one, which is then not torn: it has its end in
    // the file that it has begun in, whatever room there is.
    for (slot, size, at_once, torn) in [(1, 100_000, "37", 0), (2, 1 << 20, "9001", 110)] {
        let config = Log {
            max_size: size as u64,
            keep: 1000,
            ..Log::default()
        };
        let command = ["python3", "-c", script, at_once];
        let last = run(&logs, slot, &config, &command).await;
        let files = files(folder.path(), slot);
        let fewest = expected.len().div_ceil(size + torn);
        let most = expected.len().div_ceil(size - torn);
        assert!((fewest..=most).contains(&files.len()), "{}", files.len());
        for file in &files {
            assert!(file.len() <= size + torn, "{}", file.len());
            assert_eq!(file.last(), Some(&b'\n'));
        }
        assert!(files.concat() == expected.as_bytes());
        assert_eq!(last, lines[lines.len() - 20..]);
        assert_eq!(logs.dropped(), 0);
    }
}

#[tokio::test]
async fn a_huge_line_is_broken_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::start(folder.path()).unwrap();
    let script = "import sys; sys.stdout.write('y' * 5000000 + '\\nend\\n')";
    let config = Log {
        max_line: 65_536,
        ..Log::default()
    };
    let last = run(&logs, 1, &config, &["python3", "-c", script]).await;
    let text = files(folder.path(), 1).concat();
    let text = String::from_utf8(text).unwrap();
    assert!(text.lines().all(|line| line.len() <= 65_536));
    assert_eq!(text.matches('y').count(), 5_000_000);
    assert!(text.ends_with("y\nend\n"));
    assert_eq!(last.last().unwrap(), "end");
}

#[tokio::test]
async fn a_killed_writers_words_are_there_to_the_last() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::start(folder.path()).unwrap();
    let script = "i=0; while :; do i=$((i+1)); echo line $i; done";
    let path = log_file(folder.path(), "pool", 1);
    let child = start(&["sh", "-c", script]);
    let (capture, mut exit, pid) = capture(&logs, "pool", 1, &Log::default(), child);
    let begin = Instant::now();
    while fs::metadata(&path).map_or(0, |file| file.len()) < 10_000 {
        assert!(begin.elapsed() < LONG);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    kill_group(pid).unwrap();
    exit.wait().await.unwrap();
    let last = ended(capture).await;
    let text = fs::read_to_string(&path).unwrap();
    for (line, number) in text.lines().zip(1..) {
        assert_eq!(line, format!("line {number}"));
    }
    assert_eq!(text.lines().last(), last.last().map(String::as_str));

    // The next process of the slot goes on in the same file.
    let next = run(&logs, 1, &Log::default(), &["echo", "again"]).await;
    assert_eq!(next, ["again"]);
    let longer = fs::read_to_string(&path).unwrap();
    assert_eq!(longer, format!("{}\nagain\n", text.trim_end()));
}

#[tokio::test]
async fn a_grandchild_that_keeps_the_pipe_does_not_keep_the_slot() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::start(folder.path()).unwrap();
    // One that is silent, and one that never stops.
    for (slot, grandchild) in [(1, "sleep 1000"), (2, "yes")] {
        let script = format!("echo words; {grandchild} & exit 1");
        let config = Log {
            max_size: 1 << 20,
            keep: 1,
            ..Log::default()
        };
        let child = start(&["sh", "-c", &script]);
        let (capture, mut exit, pid) = capture(&logs, "pool", slot, &config, child);
        assert_eq!(exit.wait().await.unwrap().code(), Some(1));
        let begin = Instant::now();
        let last = ended(capture).await;
        assert!(begin.elapsed() < Duration::from_secs(5));
        match slot {
            1 => assert_eq!(last, ["words"]),
            _ => assert_eq!(last.last().unwrap(), "y"),
        }
        kill_group(pid).unwrap();
    }
}

#[tokio::test]
async fn many_at_once_do_not_mix_and_a_loud_one_starves_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::start(folder.path()).unwrap();
    let small = Log {
        max_size: 1 << 20,
        keep: 1,
        ..Log::default()
    };
    let loud = start(&["yes", "loud"]);
    let (_loud, _exit, pid) = capture(&logs, "loud", 1, &small, loud);
    let runs = (1..=20).map(|slot| {
        let (logs, small) = (logs.clone(), small.clone());
        tokio::spawn(async move {
            let script = format!("for i in $(seq 200); do echo slot {slot}; done");
            run(&logs, slot, &small, &["sh", "-c", &script]).await
        })
    });
    for (task, slot) in runs.collect::<Vec<_>>().into_iter().zip(1..) {
        let last = task.await.unwrap();
        let line = format!("slot {slot}");
        assert!(last.len() == 20 && last.iter().all(|words| *words == line));
        let text = files(folder.path(), slot).concat();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            format!("{line}\n").repeat(200)
        );
    }
    kill_group(pid).unwrap();
}

#[tokio::test]
async fn a_log_that_cannot_be_written_stops_no_worker() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::start(folder.path()).unwrap();
    fs::write(folder.path().join("pool"), "in the way").unwrap();
    let last = run(&logs, 1, &Log::default(), &["seq", "100000"]).await;
    assert_eq!(last.last().unwrap(), "100000");
    assert_eq!(logs.dropped(), 588_895);
}

#[test]
fn a_pools_name_is_always_a_folder_of_its_own() {
    let file = |pool| log_file(Path::new("/logs"), pool, 3);
    assert_eq!(file("fetchURL"), Path::new("/logs/fetchURL/3.log"));
    assert_eq!(file("Mail::send"), Path::new("/logs/Mail::send/3.log"));
    assert_eq!(file("a/b%c"), Path::new("/logs/a%2Fb%25c/3.log"));
    assert_eq!(file(".."), Path::new("/logs/%2E./3.log"));
}

/// The resident memory of this process, in bytes.
fn resident() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[tokio::test]
async fn memory_stays_the_same_whatever_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::start(folder.path()).unwrap();
    // GEARPOOL_LOGS_MEGABYTES=10000 is the long version.
    let megabytes = std::env::var("GEARPOOL_LOGS_MEGABYTES").unwrap_or_else(|_| "100".to_owned());
    let before = resident();
    // One endless line, and the shortest of lines, as text, with their times and as JSON: four writers at once.
    let texts = [
        Log::default(),
        Log {
            timestamps: true,
            ..Log::default()
        },
        Log {
            format: LogFormat::Json,
            max_line: 16 << 20,
            ..Log::default()
        },
        Log {
            format: LogFormat::Json,
            ..Log::default()
        },
    ];
    let scripts = [
        format!("head -c {megabytes}M /dev/zero"),
        format!(
            "yes '' | head -c {}K",
            megabytes.parse::<u64>().unwrap() * 40
        ),
        format!("head -c {megabytes}M /dev/zero | tr '\\0' y"),
        format!(
            "yes '' | head -c {}K",
            megabytes.parse::<u64>().unwrap() * 10
        ),
    ];
    let runs = texts.into_iter().zip(scripts).zip(1..);
    let runs = runs.map(|((mut config, script), slot)| {
        config.max_size = 1 << 20;
        config.keep = 1;
        let logs = logs.clone();
        tokio::spawn(async move {
            let (capture, mut exit, _) =
                capture(&logs, "pool", slot, &config, start(&["sh", "-c", &script]));
            exit.wait().await.unwrap();
            ended(capture).await
        })
    });
    let runs: Vec<_> = runs.collect();
    let mut most = 0;
    while !runs.iter().all(tokio::task::JoinHandle::is_finished) {
        most = most.max(resident());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for run in runs {
        run.await.unwrap();
    }
    let grown = most.saturating_sub(before) >> 20;
    eprintln!("memory grew by {grown} MiB");
    assert!(grown < 128, "memory grew by {grown} MiB");
    assert_eq!(logs.dropped(), 0);
}

#[tokio::test]
async fn compressed_files_hold_everything_between_them() {
    use std::io::Read as _;
    let folder = tempfile::tempdir().unwrap();
    let logs = Logs::start(folder.path()).unwrap();
    let config = Log {
        max_size: 50_000,
        keep: 1000,
        compress: true,
        ..Log::default()
    };
    run(&logs, 1, &config, &["seq", "1000000", "1200000"]).await;
    let log = log_file(folder.path(), "pool", 1);
    let plain = |age: u32| names::older(&log, age);
    let count = || {
        (1..)
            .take_while(|&age| plain(age).exists() || names::compressed(&plain(age)).exists())
            .count() as u32
    };
    let begin = Instant::now();
    while (1..=count()).any(|age| plain(age).exists()) {
        assert!(begin.elapsed() < LONG);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let count = count();
    assert_eq!(count, 200_001 * 8 / 50_000);
    let mut text = String::new();
    for age in (1..=count).rev() {
        let file = fs::File::open(names::compressed(&plain(age))).unwrap();
        let before = text.len();
        flate2::read::GzDecoder::new(file)
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text.len() - before, 50_000);
    }
    text += &fs::read_to_string(&log).unwrap();
    let expected: String = (1_000_000..=1_200_000)
        .map(|number| format!("{number}\n"))
        .collect();
    assert!(text == expected);
}
