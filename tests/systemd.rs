//! What systemd says to the daemon and hears from it: over a real datagram socket, with sockets that are really passed.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

#[path = "support/running.rs"]
mod running;
#[path = "support/daemon.rs"]
#[expect(dead_code, reason = "what other tests need of it")]
mod support;

use support::{DEADLINE, Daemon, Home};

const FILE: &str = "f: {cmd: php worker.php, min: 2}\n";

/// What plays systemd.
struct Manager {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl Manager {
    fn at(address: &SocketAddr) -> Manager {
        let socket = UnixDatagram::bind_addr(address).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        Manager {
            socket,
            heard: Vec::new(),
        }
    }

    /// Listens until something has been said that fits, and returns it.
    fn hear(&mut self, what: &str, fits: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        let mut buffer = [0; 4096];
        loop {
            if let Ok(count) = self.socket.recv(&mut buffer) {
                let text = String::from_utf8(buffer[..count].to_vec()).unwrap();
                self.heard.push(text.clone());
                if fits(&text) {
                    return text;
                }
            }
            assert!(
                start.elapsed() < DEADLINE,
                "not heard: {what}, but {:?}",
                self.heard
            );
        }
    }
}

fn serve(home: &Home) -> Command {
    home.serve(&["-L", "127.0.0.1", "-p", "0"])
}

#[test]
fn a_service_says_how_it_is_from_its_start_to_its_end() {
    let home = Home::new(FILE);
    let path = home.path("notify");
    let mut systemd = Manager::at(&SocketAddr::from_pathname(&path).unwrap());
    let mut command = serve(&home);
    command
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "400000");
    let mut daemon = Daemon::start_as(home, command);
    let text = systemd.hear("ready", |text| text.starts_with("READY=1"));
    assert_eq!(
        text,
        "READY=1\nSTATUS=1 pool, 2 processes, 0 busy, 0 jobs wait"
    );
    daemon.ready("f", 2);
    let running = daemon.submit(&["-f", "f", "until go"]);
    systemd.hear("the job", |text| {
        text == "STATUS=1 pool, 2 processes, 1 busy, 0 jobs wait"
    });
    daemon.home.write("go", "");
    assert_eq!(support::finish(running).code, 0);

    // the loop that watches over the processes says that it does, whatever else happens
    systemd.heard.clear();
    for _ in 0..3 {
        systemd.hear("a sign of life", |text| text == "WATCHDOG=1");
    }

    // workers must not speak for the service
    let result = daemon
        .result(
            "f",
            "show NOTIFY_SOCKET;show WATCHDOG_USEC;show GEARPOOL_POOL",
        )
        .out;
    let words: Vec<_> = result.split_whitespace().skip(1).collect();
    assert_eq!(words, ["f"], "{result:?}");

    // another program in the same process is the same service
    let upgraded = daemon.run(&["upgrade"]);
    assert_eq!(upgraded.code, 0, "{upgraded:?}");
    systemd.hear("ready in another program", |text| {
        text.starts_with("READY=1")
    });
    systemd.hear("a sign of life of that", |text| text == "WATCHDOG=1");

    daemon.signal(Signal::SIGHUP);
    let text = systemd.hear("reloading", |text| text.starts_with("RELOADING=1"));
    let micros = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
    assert!(micros.parse::<u64>().unwrap() > 0, "{text}");
    systemd.hear("ready again", |text| text.starts_with("READY=1"));

    // a file that is wrong ends the reload as well
    daemon
        .home
        .write("workers.yaml", "f: {cmd: php worker.php, mni: 2}\n");
    daemon.signal(Signal::SIGHUP);
    systemd.hear("reloading", |text| text.starts_with("RELOADING=1"));
    systemd.hear("ready again", |text| text.starts_with("READY=1"));
    systemd.hear("the error", |text| {
        text.starts_with("STATUS=")
            && text.ends_with("the configuration file is wrong, an older one is in force")
    });

    daemon.signal(Signal::SIGTERM);
    systemd.hear("stopping", |text| text.starts_with("STOPPING=1"));
    assert_eq!(daemon.end().0, 0);
}

#[test]
fn an_abstract_socket_is_found() {
    let name = format!("gearpool-systemd-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
    let mut systemd = Manager::at(&address);
    let home = Home::new(FILE);
    let mut command = serve(&home);
    command.env("NOTIFY_SOCKET", format!("@{name}"));
    let daemon = Daemon::start_as(home, command);
    systemd.hear("ready", |text| text.starts_with("READY=1"));
    drop(daemon);
}

/// `gearpool serve` with these sockets as its descriptors 3 and 4, as systemd passes them.
fn activated(home: Home, names: &str, sockets: [OwnedFd; 2], words: &[&str]) -> Daemon {
    // taken over from what the shell was started with
    let script = "exec 3<&0 4<&1 </dev/null >/dev/null; LISTEN_PID=$$ LISTEN_FDS=2 exec \"$@\"";
    let mut command = in_shell(&home, script, &home.serve(words));
    let [first, second] = sockets;
    command
        .env("LISTEN_FDNAMES", names)
        .stdin(Stdio::from(first))
        .stdout(Stdio::from(second));
    Daemon::start_with(home, command)
}

/// A command as a shell's arguments, in the same environment.
fn in_shell(home: &Home, script: &str, command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", script, "sh"])
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(home.path(""));
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

#[test]
fn sockets_that_are_passed_are_listened_on() {
    let home = Home::new(FILE);
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = tcp.local_addr().unwrap();
    let path = home.path("socket");
    let unix = UnixListener::bind(&path).unwrap();
    // waits in the backlog, as one that comes while the service is started does
    let mut early = TcpStream::connect(own).unwrap();
    early.write_all(b"version\n").unwrap();

    let mut daemon = activated(home, "gearman:", [tcp.into(), unix.into()], &[]);
    assert_eq!(
        daemon.status().server.listen,
        [own.to_string(), format!("unix:{}", path.display())]
    );
    early.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut answer = [0; 3];
    early.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"OK ");

    // workers use it, and know nothing of where it comes from
    daemon.ready("f", 2);
    let shown = "show LISTEN_FDS;show LISTEN_FDNAMES;show LISTEN_PID;show GEARMAN_PORT";
    let result = daemon.result("f", shown).out;
    let words: Vec<_> = result.split_whitespace().skip(1).collect();
    assert_eq!(words, [own.port().to_string()], "{result:?}");

    let upgraded = daemon.run(&["upgrade"]);
    assert_eq!(upgraded.code, 0, "{upgraded:?}");
    assert_eq!(
        daemon.status().server.listen,
        [own.to_string(), format!("unix:{}", path.display())]
    );
    assert_eq!(daemon.result("f", "show LISTEN_FDS").code, 0);
    let by_path = daemon.run(&[
        "admin",
        "-h",
        &format!("unix:{}", path.display()),
        "--server-version",
    ]);
    assert_eq!(by_path.code, 0, "{by_path:?}");

    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.end().0, 0);
    assert!(path.exists(), "the path is not ours");
}

#[test]
fn what_the_file_names_is_bound_unless_it_is_passed() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = tcp.local_addr().unwrap();
    let file = format!(
        "server: {{listen: ['{own}', 'unix:/{{here}}/own']}}\nfunctions: {{f: {{cmd: php worker.php}}}}\n"
    );
    let home = Home::new("");
    let here = home.path("").display().to_string();
    home.write("workers.yaml", &file.replace("/{here}/", &here));
    let path = home.path("socket");
    let unix = UnixListener::bind(&path).unwrap();
    let listen = [
        own.to_string(),
        format!("unix:{}", path.display()),
        format!("unix:{}", home.path("own").display()),
    ];
    let daemon = activated(home, "a:b", [tcp.into(), unix.into()], &[]);
    assert_eq!(daemon.status().server.listen, listen);
    daemon.ready("f", 1);
}

#[test]
fn what_cannot_be_connected_to_is_refused_by_its_name() {
    let home = Home::new(FILE);
    let script = "exec 3</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=odd exec \"$@\"";
    let shell = in_shell(&home, script, &home.serve(&[]));
    let refused = support::ended(&shell, b"");
    assert_eq!(refused.code, 1, "{refused:?}");
    let says = "gearpool: cannot listen on the socket \"odd\" that was passed by systemd: it is no stream socket that listens\n";
    assert_eq!(refused.err, says);
}

/// systemd's own opinion of the units, where it is installed.
#[test]
fn the_units_are_right() {
    let Ok(version) = Command::new("systemd-analyze").arg("--version").output() else {
        eprintln!("systemd-analyze is not installed here");
        return;
    };
    assert!(version.status.success());
    let folder = tempfile::tempdir().unwrap();
    for unit in ["gearpool.service", "gearpool.socket"] {
        let text = std::fs::read_to_string(Path::new("packaging").join(unit)).unwrap();
        let program = env!("CARGO_BIN_EXE_gearpool");
        let text = text.replace("/usr/local/bin/gearpool", program);
        std::fs::write(folder.path().join(unit), text).unwrap();
    }
    let units = ["gearpool.service", "gearpool.socket"].map(|unit| folder.path().join(unit));
    let verified = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(&units)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&verified.stderr);
    // what it says of other units of the machine is not about these
    let ours: Vec<_> = said
        .lines()
        .filter(|line| line.contains("gearpool"))
        .collect();
    assert!(verified.status.success() && ours.is_empty(), "{said}");
}
