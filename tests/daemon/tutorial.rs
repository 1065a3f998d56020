//! The tutorial as it stands: PHP workers that name `localhost` and port 4730 themselves, a PHP client, a page that is fetched.

use std::fs;
use std::process::Command;

use crate::running::Running;
use crate::support::{Daemon, Home, finish, until};

const WORKER: &str = include_str!("../../examples/php/fetch.php");
const CLIENT: &str = include_str!("queue.php");
const PAGE: &str = "a page of 24 characters.";

#[test]
fn the_file_of_one_line_fetches_a_page() {
    fetches("fetchURL: {cmd: \"php fetch.php\", min: 2, max: 30}\n");
}

#[test]
fn the_file_of_one_line_in_angle_brackets_fetches_a_page() {
    fetches("fetchURL: <cmd: \"php fetch.php\", min: 2, max: 30>\n");
}

#[test]
fn the_file_with_sections_fetches_a_page() {
    fetches("functions:\n  fetchURL: {cmd: \"php fetch.php\", min: 2, max: 30}\n");
}

fn fetches(file: &str) {
    let home = Home::new(file);
    home.write("queue.php", CLIENT);
    fs::create_dir(home.path("site")).unwrap();
    home.write("site/page.html", PAGE);
    let network = Network::find();
    let daemon = network.serve(home);
    let members = daemon.ready("fetchURL", 2);
    assert!(members.iter().all(|member| member.mapped), "{members:?}");

    let site_port = network.site_port();
    let mut site = Command::new("php");
    site.arg("-S")
        .arg(format!("127.0.0.1:{site_port}"))
        .arg("-t")
        .arg(daemon.home.path("site"));
    let site = Running::start("the site", &network.enter(&daemon, &site), b"");
    until("the site to be up", || site.output().contains("started"));

    let url = format!("http://127.0.0.1:{site_port}/page.html");
    let mut client = Command::new("php");
    client
        .arg(daemon.home.path("queue.php"))
        .arg(&url)
        .arg(daemon.port.to_string());
    let client = Running::start("the client", &network.enter(&daemon, &client), b"");
    assert_eq!(finish(client).code, 0);

    let printed = format!("fetched {url}, {} bytes\n", PAGE.len());
    until("what the worker prints to be in a log", || {
        let logs = [1, 2].map(|slot| daemon.home.read(&format!("state/logs/fetchURL/{slot}.log")));
        logs.contains(&printed)
    });
    until("the job to be counted as done", || {
        daemon.status().functions[0].completed == 1
    });
}

/// Where port 4730 is free for a daemon.
enum Network {
    /// A network namespace that the daemon has for itself.
    Own,
    /// This machine's network, where namespaces are not permitted: the port is another, and the worker a copy that names it.
    Shared { port: u16 },
}

impl Network {
    fn find() -> Network {
        let mut try_it = Command::new("unshare");
        try_it.args(["--net", "ip", "link", "set", "lo", "up"]);
        match try_it.output().is_ok_and(|output| output.status.success()) {
            true => Network::Own,
            false => Network::Shared { port: free_port() },
        }
    }

    /// Starts the daemon. Without flags it takes port 4730.
    fn serve(&self, home: Home) -> Daemon {
        match self {
            Network::Own => {
                home.write("fetch.php", WORKER);
                let serve = home.serve(&[]);
                let script = "ip link set lo up && exec \"$@\"";
                let command = within(&["unshare", "--net", "sh", "-c", script, "sh"], &serve);
                let daemon = Daemon::start_as(home, command);
                assert_eq!(daemon.port, 4730);
                daemon
            }
            Network::Shared { port } => {
                let port = port.to_string();
                home.write("fetch.php", &WORKER.replace("4730", &port));
                let serve = home.serve(&["-p", &port]);
                Daemon::start_as(home, serve)
            }
        }
    }

    /// The command where the daemon is.
    fn enter(&self, daemon: &Daemon, command: &Command) -> Command {
        match self {
            Network::Own => {
                let net = format!("--net=/proc/{}/ns/net", daemon.pid());
                within(&["nsenter", &net], command)
            }
            Network::Shared { .. } => within(&["env"], command),
        }
    }

    fn site_port(&self) -> u16 {
        match self {
            Network::Own => 8000,
            Network::Shared { .. } => free_port(),
        }
    }
}

/// A port that nobody listens on.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

/// `OUTER… COMMAND`, in the command's folder and environment.
fn within(outer: &[&str], command: &Command) -> Command {
    let mut whole = Command::new(outer[0]);
    whole
        .args(&outer[1..])
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => whole.env(name, value),
            None => whole.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        whole.current_dir(folder);
    }
    whole
}
