//! `gearpool top` in a terminal (tmux), by its keys.

use std::path::{Path, PathBuf};
use std::process::Command;

use gearpool::pools::view::PoolState;
use nix::sys::signal::Signal;

use crate::running::Running;
use crate::support::{Daemon, Home, ended, pids, until};

const FILE: &str = "fetchURL: {cmd: php worker.php, min: 2, max: 30}\n";

/// A terminal with a shell in the folder of a daemon.
struct Terminal {
    socket: PathBuf,
    _server: Running,
}

impl Terminal {
    fn new(home: &Home) -> Terminal {
        let socket = home.path("tmux");
        let mut server = Command::new("tmux");
        server
            .args(["-D", "-f", "/dev/null", "-S"])
            .arg(&socket)
            .env("LC_ALL", "C.UTF-8");
        let terminal = Terminal {
            socket,
            _server: Running::start("tmux", &server, b""),
        };
        let path = std::env::var("PATH").unwrap();
        let binary = Path::new(env!("CARGO_BIN_EXE_gearpool"));
        let folder = binary.parent().unwrap().display();
        let shell = format!(
            "env -u NO_COLOR PS1='shell> ' PATH={folder}:{path} GEARPOOL_STATE_DIR={} bash --norc",
            home.path("state").display()
        );
        let words = ["new-session", "-d", "-x", "100", "-y", "30", &shell];
        until("the terminal to be there", || {
            ended(&terminal.tmux(&words), b"").code == 0
        });
        terminal.shows("shell>");
        terminal
    }

    fn tmux(&self, words: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        // not a server of its own, which would outlive the test, while ours is not there yet
        command.args(["-N", "-u", "-S"]).arg(&self.socket);
        command.args(words);
        command
    }

    fn does(&self, words: &[&str]) -> String {
        let ended = ended(&self.tmux(words), b"");
        assert_eq!(ended.code, 0, "{words:?}: {ended:?}");
        ended.out
    }

    /// Writes a line to the shell.
    fn types(&self, line: &str) {
        self.does(&["send-keys", "-l", line]);
        self.presses(&["Enter"]);
    }

    fn presses(&self, keys: &[&str]) {
        self.does(&[&["send-keys"], keys].concat());
    }

    fn screen(&self) -> String {
        self.does(&["capture-pane", "-p"])
    }

    /// Waits until the screen has this.
    fn shows(&self, text: &str) {
        self.comes_to(text, |screen| screen.contains(text));
    }

    fn comes_to(&self, what: &str, mut condition: impl FnMut(&str) -> bool) {
        let mut last = String::new();
        let waited = std::panic::AssertUnwindSafe(|| {
            until(what, || {
                last = self.screen();
                condition(&last)
            });
        });
        if let Err(panic) = std::panic::catch_unwind(waited) {
            eprintln!("the screen, when \"{what}\" was waited for:\n{last}");
            std::panic::resume_unwind(panic);
        }
    }
}

fn target(daemon: &Daemon) -> u32 {
    daemon.pool("fetchURL").pool.target
}

#[test]
fn keys_scale_restart_stop_and_pause() {
    let daemon = Daemon::start(FILE);
    let before = pids(&daemon.ready("fetchURL", 2));
    let terminal = Terminal::new(&daemon.home);
    terminal.types("gearpool top");
    terminal.shows("fetchURL/2");

    terminal.presses(&["+"]);
    terminal.shows("3 of 3 processes (3..3)  scaled by hand");
    terminal.presses(&["-"]);
    until("the target to be 2", || target(&daemon) == 2);
    terminal.presses(&["s"]);
    terminal.shows("how many?");
    terminal.presses(&["4", ".", ".", "6", "Enter"]);
    terminal.shows("fetchURL: kept between 4 and 6");
    daemon.ready("fetchURL", 4);
    terminal.presses(&["a"]);
    terminal.shows("fetchURL: as the file says");
    until("the file's bounds", || {
        daemon.pool("fetchURL").pool.max == 30
    });

    terminal.presses(&["r"]);
    terminal.shows("restart fetchURL? new before old");
    terminal.presses(&["y"]);
    until("other processes", || {
        let now = pids(&daemon.pool("fetchURL").members);
        now.len() >= 2 && before.iter().all(|pid| !now.contains(pid))
    });

    terminal.presses(&["p"]);
    terminal.shows("queue held by hand");
    daemon.queue("fetchURL", &["note held".to_owned()]);
    terminal.shows("1 queued");
    terminal.presses(&["p"]);
    until("the job to be done", || daemon.home.notes() == ["held"]);

    terminal.presses(&["x"]);
    terminal.shows("stop fetchURL?");
    terminal.presses(&["n"]);
    terminal.shows("q quit");
    assert_ne!(daemon.pool("fetchURL").pool.state, PoolState::Stopped);
    terminal.presses(&["x", "y"]);
    terminal.shows("stopped by hand");
    assert_eq!(daemon.pool("fetchURL").pool.state, PoolState::Stopped);
}

#[test]
fn logs_are_read_and_a_pool_is_explained() {
    let daemon = Daemon::start("fetchURL: {cmd: php worker.php, count: 2}\n");
    daemon.ready("fetchURL", 2);
    daemon.result("fetchURL", "say before");
    let terminal = Terminal::new(&daemon.home);
    terminal.types("gearpool top");
    terminal.shows("fetchURL/2");
    terminal.presses(&["l"]);
    terminal.comes_to("the last lines", |screen| {
        let is_line = |line: &str| line.starts_with("fetchURL/") && line.ends_with(" | before");
        screen.lines().any(is_line)
    });
    daemon.result("fetchURL", "say \x1b[31mafter");
    terminal.shows(" | after");
    let many: Vec<String> = (1..=100).map(|line| format!("say line {line}.")).collect();
    daemon.queue("fetchURL", &many);
    terminal.comes_to("more than a page of lines", |screen| {
        screen.contains(" | line ") && !screen.contains(" | before")
    });
    terminal.presses(&["Home"]);
    terminal.shows(" | before");
    terminal.presses(&["Escape"]);
    terminal.shows("FUNCTION");

    terminal.presses(&["e"]);
    terminal.shows("fetchURL should have 2 of 2..2 processes");
    terminal.presses(&["Escape"]);
    terminal.shows("FUNCTION");
    terminal.presses(&["?"]);
    terminal.shows("What a key does concerns the line that is marked");
}

#[test]
fn a_flood_of_output_leaves_the_keys_alone() {
    let daemon = Daemon::start("noise: {cmd: yes, count: 2, start_timeout: 1h}\n");
    let terminal = Terminal::new(&daemon.home);
    terminal.types("gearpool top");
    terminal.shows("noise/2");
    for _ in 0..3 {
        terminal.presses(&["l"]);
        terminal.comes_to("its lines", |screen| {
            screen.contains("as it comes") && screen.contains(" | y")
        });
        terminal.presses(&["PPage"]);
        terminal.shows("End goes on to what comes");
        terminal.presses(&["Escape"]);
        terminal.shows("no functions");
    }
}

#[test]
fn the_terminal_is_given_back() {
    let mut daemon = Daemon::start(FILE);
    daemon.ready("fetchURL", 2);
    let terminal = Terminal::new(&daemon.home);
    terminal.types("echo before; gearpool top; echo code $?");
    terminal.shows("fetchURL/2");
    assert!(!terminal.screen().contains("before"));

    // To the shell and back, and another size meanwhile.
    terminal.presses(&["C-z"]);
    terminal.shows("Stopped");
    terminal.shows("before");
    terminal.does(&["resize-window", "-x", "60", "-y", "20"]);
    terminal.types("fg; echo code $?");
    terminal.comes_to("the table on 60 columns", |screen| {
        screen.contains("fetchURL/2") && !screen.contains("Stopped") && !screen.contains("explain")
    });

    // Without a daemon it waits for one.
    daemon.signal(Signal::SIGTERM);
    daemon.end();
    terminal.shows("no gearpool runs");
    let words = ["-L", "127.0.0.1", "-p", "0"];
    let again = Running::start("gearpool", &daemon.home.serve(&words), b"");
    terminal.comes_to("the other daemon's table", |screen| {
        screen.contains("fetchURL/2") && !screen.contains("no gearpool runs")
    });
    terminal.presses(&["C-c"]);
    terminal.shows("code 0");
    terminal.types("stty -a | grep -o ' echo ' | tr -d ' '");
    terminal.shows("\necho\n");

    // A signal from elsewhere gives it back too.
    terminal.types("clear; timeout --foreground 1 gearpool top; echo code $?");
    terminal.shows("code 124");
    terminal.types("stty -a | grep -o ' echo ' | tr -d ' '");
    terminal.shows("\necho\n");
    drop(again);
}

#[test]
fn colours_are_left_out_where_nobody_wants_them() {
    let daemon = Daemon::start(FILE);
    daemon.ready("fetchURL", 2);
    let terminal = Terminal::new(&daemon.home);
    let colours = || terminal.does(&["capture-pane", "-p", "-e"]);
    terminal.types("gearpool top");
    terminal.shows("fetchURL/2");
    assert!(colours().contains("\x1b[38;5;2mrunning"), "{:?}", colours());
    terminal.presses(&["q"]);
    terminal.shows("shell>");
    terminal.types("clear; NO_COLOR=1 gearpool top");
    terminal.shows("fetchURL/2");
    let plain = colours();
    assert!(!plain.contains("\x1b[38;5;"), "{plain:?}");
}

#[test]
fn without_a_terminal_or_a_daemon_it_says_so() {
    let daemon = Daemon::start(FILE);
    let top = daemon.run(&["top"]);
    assert_eq!(top.code, 2);
    assert!(top.err.contains("gearpool status --watch"), "{}", top.err);
    let nobody = Home::new(FILE);
    let terminal = Terminal::new(&nobody);
    terminal.types("gearpool top; echo code $?");
    terminal.shows("no gearpool runs with the state folder");
    terminal.shows("code 3");
}
