//! `gearpool logs`: the real binary on files that the test writes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const DEADLINE: Duration = Duration::from_secs(20);

/// A state folder without a daemon.
struct State(tempfile::TempDir);

impl State {
    fn new() -> State {
        State(tempfile::tempdir().unwrap())
    }

    fn log(&self, pool: &str, slot: u32) -> PathBuf {
        let folder = self.0.path().join("logs").join(pool);
        fs::create_dir_all(&folder).unwrap();
        folder.join(format!("{slot}.log"))
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gearpool"));
        command.arg("logs").args(args);
        command.env("GEARPOOL_STATE_DIR", self.0.path());
        command
    }

    fn logs(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    fn follow(&self, args: &[&str]) -> Follow {
        let mut command = self.command(args);
        command
            .arg("-f")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines = read(child.stdout.take().unwrap());
        Follow { child, lines }
    }
}

/// A `logs -f` and the lines that it prints.
struct Follow {
    child: Child,
    lines: Receiver<String>,
}

impl Follow {
    #[track_caller]
    fn expect(&self, line: &str) {
        assert_eq!(self.lines.recv_timeout(DEADLINE).unwrap(), line);
    }

    fn interrupt(mut self) {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGINT).unwrap();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        assert!(self.lines.recv_timeout(DEADLINE).is_err(), "nothing more");
        let mut said = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut said)
            .unwrap();
        assert_eq!(said, "");
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(stdout: ChildStdout) -> Receiver<String> {
    let (send, lines) = channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            if send.send(line.unwrap()).is_err() {
                return;
            }
        }
    });
    lines
}

fn append(path: &Path, text: &str) {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn rotate(path: &Path) {
    let old = |age: u32| PathBuf::from(format!("{}.{age}", path.display()));
    for age in (1..5).rev() {
        let _ = fs::rename(old(age), old(age + 1));
    }
    fs::rename(path, old(1)).unwrap();
    File::create(path).unwrap();
}

fn stdout(output: &Output) -> &str {
    assert!(output.status.success(), "{output:?}");
    std::str::from_utf8(&output.stdout).unwrap()
}

fn failed(output: &Output) -> &str {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    std::str::from_utf8(&output.stderr).unwrap()
}

#[test]
fn the_last_lines_of_every_slot() {
    let state = State::new();
    let lines = |range: std::ops::RangeInclusive<u32>| -> String {
        range.map(|n| format!("line {n}\n")).collect()
    };
    append(&state.log("fetchURL", 1), &lines(1..=12));
    append(&state.log("fetchURL", 10), "ten");
    append(&state.log("sendEmail", 2), "mail\n");
    let text = stdout(&state.logs(&[])).to_owned();
    let shown: Vec<&str> = text.lines().collect();
    assert_eq!(shown.len(), 12);
    assert_eq!(shown[0], "fetchURL/1 | line 3");
    assert_eq!(
        shown[9..],
        [
            "fetchURL/1 | line 12",
            "fetchURL/10 | ten",
            "sendEmail/2 | mail"
        ]
    );
    let one = state.logs(&["-n", "2", "fetchURL/1"]);
    assert_eq!(stdout(&one), "line 11\nline 12\n");
    assert_eq!(stdout(&state.logs(&["fetchURL/10"])), "ten");
    assert_eq!(
        stdout(&state.logs(&["-n", "1", "sendEmail"])),
        "sendEmail/2 | mail\n"
    );
}

#[test]
fn a_pool_that_there_is_not_names_those_there_are() {
    let state = State::new();
    assert!(failed(&state.logs(&[])).contains("no worker has written"));
    append(&state.log("fetchURL", 1), "a\n");
    append(&state.log("sendEmail", 1), "a\n");
    assert!(failed(&state.logs(&["video"])).contains("there are fetchURL, sendEmail"));
    assert!(failed(&state.logs(&["fetchurl"])).contains("did you mean \"fetchURL\"?"));
    assert!(failed(&state.logs(&["fetchURL/7"])).contains("the slots with a log are: 1"));
    assert!(failed(&state.logs(&["../logs"])).contains("no pool"));
}

#[test]
fn follows_slots_that_come_later_and_rotations() {
    let state = State::new();
    let first = state.log("fetchURL", 1);
    append(&first, "old\n");
    let follow = state.follow(&["fetchURL"]);
    follow.expect("fetchURL/1 | old");
    append(&first, "new\n");
    follow.expect("fetchURL/1 | new");
    let later = state.log("fetchURL", 2);
    append(&later, "later\n");
    follow.expect("fetchURL/2 | later");
    append(&state.log("sendEmail", 1), "another pool's\n");
    // Lines and rotations without a pause: some fall between two looks, some do not.
    for number in 0..60 {
        append(&first, &format!("{number}\n"));
        if number % 7 == 6 {
            rotate(&first);
            thread::yield_now();
            // As many rotations as there are files kept must not happen between two looks.
            for number in number - 6..=number {
                follow.expect(&format!("fetchURL/1 | {number}"));
            }
        }
    }
    for number in 56..60 {
        follow.expect(&format!("fetchURL/1 | {number}"));
    }
    for number in 0..3 {
        append(&first, &format!("burst {number}\n"));
        rotate(&first);
    }
    append(&first, "unfinished");
    for number in 0..3 {
        follow.expect(&format!("fetchURL/1 | burst {number}"));
    }
    follow.expect("fetchURL/1 | unfinished");
    follow.interrupt();
}

#[test]
fn follows_all_pools_and_new_ones() {
    let state = State::new();
    append(&state.log("fetchURL", 1), "a\n");
    let follow = state.follow(&[]);
    follow.expect("fetchURL/1 | a");
    append(&state.log("sendEmail", 1), "b\n");
    follow.expect("sendEmail/1 | b");
    append(&state.log("fetchURL", 1), "c\n");
    follow.expect("fetchURL/1 | c");
    follow.interrupt();
}

#[test]
fn one_slot_is_followed_without_a_prefix() {
    let state = State::new();
    let log = state.log("fetchURL", 3);
    append(&log, "a\n");
    let follow = state.follow(&["fetchURL/3"]);
    follow.expect("a");
    append(&log, "b");
    append(&log, "c\n");
    follow.expect("bc");
    follow.interrupt();
}

#[test]
fn ends_when_its_reader_has_gone_even_while_nothing_is_written() {
    let state = State::new();
    append(&state.log("fetchURL", 1), "a\nb\n");
    let mut command = state.command(&["-f"]);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "fetchURL/1 | a\n");
    drop(reader);
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
    // And when there is much to write.
    append(&state.log("fetchURL", 1), &"x\n".repeat(200_000));
    let mut child = state
        .command(&["-n", "200000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
}
