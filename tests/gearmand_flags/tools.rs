//! `gearadmin`, the `gearman` tool and `gearpool admin` with each of their flags, against gearmand and against ours: what they print and
//! how they end is the same, but for what is named here.

use std::collections::HashMap;
use std::fs;
use std::process::Command;

use crate::both::{Both, DEADLINE, Server, Start};
use crate::running::{Running, poll};

/// How a command has ended: its exit code, standard output, standard error.
#[derive(Debug, PartialEq, Eq)]
struct Ended {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Both servers, listening.
fn both() -> Both {
    let mut both = Both::start("-p {port} -l log");
    for server in both.each() {
        assert_eq!(server.outcome(), Start::Listens, "{}", server.output());
    }
    both
}

fn tool(program: &str, server: &Server, words: &[&str]) -> Command {
    let mut command = Command::new(program);
    for name in ["GEARMAN_SERVERS", "GEARMAN_SERVER"] {
        command.env_remove(name);
    }
    if program.ends_with("gearpool") {
        command.arg("admin");
    }
    command.arg("-p").arg(server.port.to_string()).args(words);
    command.current_dir(server.path(""));
    command
}

/// Runs a command to its end. Handles are told apart by the order in which they come, and nothing else about them is kept.
struct Runner {
    handles: HashMap<String, usize>,
}

impl Runner {
    fn new() -> Runner {
        Runner {
            handles: HashMap::new(),
        }
    }

    fn run(&mut self, command: &Command, input: &str) -> Ended {
        let finished = Running::start("the tool", command, input.as_bytes())
            .finish(DEADLINE)
            .unwrap();
        Ended {
            code: finished.status.code(),
            out: self.plain(&finished.out),
            err: self.plain(&finished.err),
        }
    }

    fn plain(&mut self, bytes: &[u8]) -> String {
        let text = String::from_utf8_lossy(bytes);
        let mut plain = String::new();
        for piece in text.split_inclusive(|c: char| c.is_whitespace()) {
            let word = piece.trim_end();
            match word.starts_with("H:") && word.matches(':').count() == 2 {
                true => {
                    let next = self.handles.len() + 1;
                    let number = *self.handles.entry(word.to_owned()).or_insert(next);
                    plain.push_str(&piece.replace(word, &format!("H:{number}")));
                }
                // libgearman's errors end with its process's number
                false if word.starts_with("pid(") => plain.push_str("pid\n"),
                false => plain.push_str(piece),
            }
        }
        plain
    }

    /// The handle that is called so.
    fn handle(&self, number: usize) -> String {
        let mut known = self.handles.iter();
        known
            .find(|(_, known)| **known == number)
            .unwrap()
            .0
            .clone()
    }
}

/// A step: the program, its words, and what is another with ours, by name. `{1}` is the first handle.
enum Step {
    Same(&'static str),
    Different(&'static str, &'static str),
}

use Step::{Different, Same};

const GEARADMIN: &[Step] = &[
    Same("gearadmin --status"),
    Same("gearadmin --create-function f"),
    Same("gearadmin --create-function f"),
    Same("gearman -b -f g -u k -s"),
    Same("gearman -b -I -f g -u k2 -s"),
    Same("gearman -b -L -f h -u k3 -s"),
    Same("gearadmin --status"),
    Same("gearadmin --priority-status"),
    Same("gearadmin --show-jobs"),
    Same("gearadmin --show-unique-jobs"),
    Same("gearadmin --server-verbose"),
    Same("gearadmin --cancel-job H:nosuch:1"),
    Same("gearadmin --cancel-job {1}"),
    Same("gearadmin --drop-function f"),
    Same("gearadmin --drop-function nosuch"),
    Different(
        "a cancelled job is gone, and not listed as one to be ignored",
        "gearadmin --show-jobs",
    ),
    Different("a cancelled job is not counted", "gearadmin --status"),
    Different(
        "a function with waiting jobs is not forgotten with them",
        "gearadmin --drop-function h",
    ),
    Same("gearadmin --cancel-job {3}"),
    Different(
        "a word that is too much is told of",
        "gearadmin --create-function a_b --show-jobs",
    ),
    Same("gearadmin --nosuch"),
    Same("gearadmin"),
    Same("gearadmin extra"),
    Same("gearadmin --help"),
    Same("gearadmin --shutdown"),
    Same("gearadmin --create-function"),
];

fn compare(steps: &[Step]) {
    let both = both();
    let mut runners = [Runner::new(), Runner::new()];
    for step in steps {
        let (what, line) = match step {
            Same(line) => (None, *line),
            Different(what, line) => (Some(*what), *line),
        };
        let servers = [&both.gearmand, &both.gearpool];
        let mut ended = Vec::new();
        for (server, runner) in servers.into_iter().zip(&mut runners) {
            let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            for word in &mut words {
                if let Some(number) = word
                    .strip_prefix('{')
                    .and_then(|word| word.strip_suffix('}'))
                {
                    *word = runner.handle(number.parse().unwrap());
                }
            }
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let mut end = runner.run(&tool(words[0], server, &words[1..]), "");
            if line.ends_with("status") || line.contains("--show") {
                // gearmand's lists are in no order
                end.out = sorted(&end.out);
            }
            ended.push(end);
        }
        match what {
            None => assert_eq!(ended[0], ended[1], "{line}"),
            Some(what) => assert_ne!(ended[0], ended[1], "{what}: {line}"),
        }
    }
}

fn sorted(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

#[test]
fn gearadmin_with_each_of_its_options() {
    compare(GEARADMIN);
}

#[test]
fn gearadmin_names_the_process_the_version_and_the_connections() {
    let both = both();
    for server in [&both.gearmand, &both.gearpool] {
        let mut runner = Runner::new();
        let mut gearadmin = |words: &[&str]| {
            let ended = runner.run(&tool("gearadmin", server, words), "");
            assert_eq!((ended.code, ended.err.as_str()), (Some(0), ""), "{words:?}");
            ended.out
        };
        assert_eq!(gearadmin(&["--getpid"]), format!("{}\n", server.pid()));
        assert!(gearadmin(&["--server-version"]).starts_with("1.1.20"));
        let several = gearadmin(&["--getpid", "--server-version", "--status"]);
        assert_eq!(several.lines().count(), 3, "{several}");
        let _worker = Running::start(
            "a worker",
            &tool(
                "gearman",
                server,
                &["-w", "-f", "one", "-f", "two", "--", "cat"],
            ),
            b"",
        );
        poll("the worker to register", DEADLINE, || {
            let list = gearadmin(&["--workers"]);
            // its descriptor, its address, no client id, its functions: the last registered first with gearmand
            let shown =
                ["two one", "one two"].map(|functions| format!(" 127.0.0.1 - : {functions}\n"));
            let asking = list.matches(" 127.0.0.1 - :\n").count();
            assert!(list.ends_with(".\n"), "{list}");
            (shown.iter().any(|shown| list.contains(shown)) && asking == 1).then_some(())
        });
        assert!(gearadmin(&["--status"]).contains("one\t0\t0\t1\n"));
    }
}

/// What `gearpool admin` prints is what gearadmin prints, of either server.
#[test]
fn our_admin_prints_what_gearadmin_prints() {
    let both = both();
    let ours = env!("CARGO_BIN_EXE_gearpool");
    for server in [&both.gearmand, &both.gearpool] {
        let mut runner = Runner::new();
        for words in [
            &["-b", "-f", "f", "-u", "k", "-s"][..],
            &["-b", "-I", "-f", "f", "-u", "k2", "-s"],
        ] {
            assert_eq!(
                runner.run(&tool("gearman", server, words), "").code,
                Some(0)
            );
        }
        for flag in [
            "--status",
            "--priority-status",
            "--show-jobs",
            "--show-unique-jobs",
            "--getpid",
            "--server-version",
            "--server-verbose",
        ] {
            let theirs = runner.run(&tool("gearadmin", server, &[flag]), "");
            assert_eq!(
                runner.run(&tool(ours, server, &[flag]), ""),
                theirs,
                "{flag}"
            );
        }
        for words in [
            &["--create-function", "new"],
            &["--cancel-job", "H:none:1"],
            &["--drop-function", "none"],
            &["--drop-function", "new"],
        ] {
            let theirs = runner.run(&tool("gearadmin", server, words), "");
            // so that both meet the same
            if words == &["--drop-function", "new"] {
                runner.run(
                    &tool("gearadmin", server, &["--create-function", "new"]),
                    "",
                );
            }
            let ended = runner.run(&tool(ours, server, words), "");
            assert_eq!(ended.out, theirs.out, "{words:?}");
            // gearadmin ends with 0 whatever the server says
            assert_eq!(
                ended.code == Some(1),
                theirs.err.starts_with("Error: "),
                "{words:?} {theirs:?} {ended:?}"
            );
        }
        let json = |words: &[&str]| -> serde_json::Value {
            let ended = Runner::new().run(&tool(ours, server, words), "");
            assert_eq!(ended.code, Some(0), "{ended:?}");
            serde_json::from_str(&ended.out).unwrap()
        };
        let status = json(&["--status", "--json"]);
        let f = status
            .as_array()
            .unwrap()
            .iter()
            .find(|entry| entry["function"] == "f")
            .unwrap();
        assert_eq!(
            (&f["jobs"], &f["running"], &f["workers"]),
            (&2.into(), &0.into(), &0.into())
        );
        assert_eq!(json(&["--priority-status", "--json"])[0]["high"], 1);
        assert_eq!(
            json(&["--show-jobs", "--json"]).as_array().unwrap().len(),
            2
        );
        assert_eq!(json(&["--show-unique-jobs", "--json"])[0], "k");
        let workers = json(&["--workers", "--json"]);
        assert_eq!(workers[0]["address"], "127.0.0.1", "{workers}");
        assert_eq!(json(&["--getpid", "--json"]), server.pid());
    }
}

/// A function that a worker of the `gearman` tool serves, and how many jobs it does.
fn worker(server: &Server, words: &[&str]) -> Running {
    let running = Running::start("a worker", &tool("gearman", server, words), b"");
    let function = words[words.iter().position(|word| *word == "-f").unwrap() + 1];
    poll("the worker to register", DEADLINE, || {
        let mut runner = Runner::new();
        let status = runner
            .run(&tool("gearadmin", server, &["--status"]), "")
            .out;
        let mut lines = status
            .lines()
            .filter_map(|line| line.strip_prefix(function)?.strip_prefix('\t'));
        lines.any(|numbers| !numbers.ends_with("\t0")).then_some(())
    });
    running
}

#[test]
fn the_gearman_tool_with_each_of_its_client_flags() {
    let both = both();
    // words of the client, standard input
    let cases: &[(&[&str], &str)] = &[
        (&["-f", "count", "hello"], ""),
        (&["-f", "count", "one", "three", ""], ""),
        (&["-f", "count"], "from the input\n"),
        (&["-f", "count", "-s"], "not read\n"),
        (&["-f", "count", "-n"], "a\nbb\nccc"),
        (&["-f", "count", "-N"], "a\nbb\nccc"),
        (&["-f", "count", "-n"], ""),
        (&["-f", "count", "-f", "upper", "abc"], ""),
        (&["-P", "-f", "count", "-f", "upper", "abc", "d"], ""),
        (&["-I", "-f", "count", "high"], ""),
        (&["-L", "-f", "count", "low"], ""),
        (&["-u", "key", "-f", "count", "unique"], ""),
        (&["-v", "-f", "count", "x"], ""),
        (&["-i", "client.pid", "-f", "count", "x"], ""),
        (&["-t", "60000", "-f", "count", "x"], ""),
        (&["-t", "100", "-f", "nobody", "x"], ""),
        (&["-f", "bad", "x"], ""),
        (&["-f", "bad", "x", "y"], ""),
        (&["-f", "bad", "-f", "count", "x"], ""),
        (&["-f", "plain", "given back"], ""),
        (&["-f", "lines", "a b c"], ""),
        (&["-f", "stripped", "a b c"], ""),
        (&["-b", "-f", "later", "x"], ""),
        (&["-b", "-v", "-f", "later", "x"], ""),
        (&["-b", "-u", "same", "-f", "later", "x", "y"], ""),
        (&["-b", "-I", "-f", "later", "-s"], ""),
        (&["-b", "-L", "-f", "later", "-n"], "a\nb\n"),
        (&["-h", "127.0.0.1", "-f", "count", "x"], ""),
        (&["-H"], ""),
        (&["-f"], ""),
        (&["--nosuch"], ""),
        (&["x"], ""),
    ];
    let mut ended = [&both.gearmand, &both.gearpool].map(|server| {
        let _workers = [
            worker(server, &["-w", "-f", "count", "--", "wc", "-c"]),
            worker(
                server,
                &["-w", "-f", "upper", "--", "sh", "-c", "tr a-z A-Z; echo"],
            ),
            worker(
                server,
                &["-w", "-f", "bad", "--", "sh", "-c", "cat; echo; exit 3"],
            ),
            worker(server, &["-w", "-f", "plain"]),
            worker(server, &["-w", "-n", "-f", "lines", "--", "tr", " ", "\n"]),
            worker(
                server,
                &["-w", "-N", "-f", "stripped", "--", "tr", " ", "\n"],
            ),
        ];
        let mut runner = Runner::new();
        let ended: Vec<_> = cases
            .iter()
            .map(|(words, input)| runner.run(&tool("gearman", server, words), input))
            .collect();
        ended.into_iter()
    });
    for (words, _) in cases {
        let [theirs, ours] = ended.each_mut().map(|ended| ended.next().unwrap());
        // two functions have two workers, and the faster one is first
        let lines = |ended: &Ended| match words.iter().filter(|word| **word == "-f").count() {
            2 => sorted(&ended.out),
            _ => ended.out.clone(),
        };
        assert_eq!(lines(&theirs), lines(&ours), "gearman {words:?}");
        assert_eq!(
            (theirs.code, theirs.err),
            (ours.code, ours.err),
            "gearman {words:?}"
        );
    }
}

#[test]
fn the_gearman_tool_with_its_worker_flags() {
    let both = both();
    let ended = [&both.gearmand, &both.gearpool].map(|server| {
        let mut runner = Runner::new();
        // it ends after two jobs, leaves a pid file behind while it runs, and says what it does
        let two = worker(
            server,
            &[
                "-w",
                "-v",
                "-c",
                "2",
                "-i",
                "worker.pid",
                "-f",
                "two",
                "--",
                "cat",
            ],
        );
        assert!(
            fs::read_to_string(server.path("worker.pid"))
                .unwrap()
                .trim()
                .parse::<u32>()
                .is_ok()
        );
        let client = runner.run(&tool("gearman", server, &["-f", "two", "a", "b"]), "");
        assert_eq!((client.code, client.out.as_str()), (Some(0), "ab"));
        let two = two.finish(DEADLINE).unwrap();
        let out = runner.plain(&two.out);
        let err = runner.plain(&two.err);
        let left = server.path("worker.pid").exists();
        (two.status.code(), out, err, left)
    });
    let [theirs, ours] = ended;
    assert_eq!(theirs, ours);
}
