//! From the start to the end: pid file, log, signals, the background, the flag file, the port.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;
use std::thread;
use std::time::Duration;

use gearpool::proto::{Grab, Mode, Priority, Request};
use nix::sys::signal::Signal;

use crate::both::{Both, DEADLINE, Start};
use crate::running::poll;

#[test]
fn a_pid_file_is_written_and_removed() {
    // one that a crash has left behind holds nobody up
    let mut both = Both::start_in("-p {port} -l log -P daemon.pid", |prepared| {
        fs::write(prepared.folder.join("daemon.pid"), "99999999\n").unwrap();
    });
    for server in both.each() {
        assert_eq!(server.outcome(), Start::Listens, "{}", server.output());
        let pid = server.pid();
        assert_eq!(server.read("daemon.pid"), Some(format!("{pid}\n")));
        server.signal(Signal::SIGTERM);
        assert_eq!(server.end(), 0);
        assert_eq!(server.read("daemon.pid"), None);
        assert!(server.path("log").exists());
    }
}

#[test]
fn signals() {
    for (signal, code) in [
        (Signal::SIGTERM, Some(0)),
        (Signal::SIGINT, Some(0)),
        (Signal::SIGUSR1, Some(0)),
        (Signal::SIGHUP, None),
        (Signal::SIGPIPE, None),
        (Signal::SIGQUIT, Some(-3)),
        (Signal::SIGUSR2, Some(-12)),
    ] {
        let mut both = Both::start("-p {port} -l log");
        for server in both.each() {
            assert_eq!(server.outcome(), Start::Listens, "{}", server.output());
            fs::rename(server.path("log"), server.path("log.1")).unwrap();
            server.signal(signal);
            match code {
                Some(code) => assert_eq!(server.end(), code, "{signal}"),
                None => {
                    // it has been through its loop since the signal came
                    for _ in 0..10 {
                        assert!(server.ask("version").starts_with("OK 1.1.20"), "{signal}");
                    }
                    assert_eq!(server.ended(), None, "{signal}");
                }
            }
            if signal == Signal::SIGHUP {
                poll("the log to be opened anew", DEADLINE, || {
                    server.path("log").exists().then_some(())
                });
            }
        }
    }
}

/// SIGUSR1 is the graceful end: the job in hand is finished.
#[test]
fn the_graceful_end_waits_for_the_running_job() {
    let mut both = Both::start("-p {port} -l log");
    for server in both.each() {
        assert_eq!(server.outcome(), Start::Listens, "{}", server.output());
        let (mut worker, mut client) = (server.connect().unwrap(), server.connect().unwrap());
        let send = |stream: &mut std::net::TcpStream, requests: &[Request<'_>]| {
            let mut bytes = Vec::new();
            requests
                .iter()
                .for_each(|request| request.encode(&mut bytes));
            stream.write_all(&bytes).unwrap();
        };
        let submit = Request::SubmitJob {
            priority: Priority::Normal,
            mode: Mode::Foreground,
            function: b"f",
            unique: b"",
            workload: b"x",
        };
        send(&mut client, &[submit]);
        let mut header = [0; 12];
        client.read_exact(&mut header).unwrap();
        let mut handle = vec![0; header[11].into()];
        client.read_exact(&mut handle).unwrap();
        send(
            &mut worker,
            &[
                Request::CanDo { function: b"f" },
                Request::GrabJob(Grab::Plain),
            ],
        );
        let mut assigned = vec![0; 12 + handle.len() + 4];
        worker.read_exact(&mut assigned).unwrap();

        server.signal(Signal::SIGUSR1);
        for _ in 0..10 {
            send(&mut worker, &[Request::EchoReq { data: b"" }]);
            worker.read_exact(&mut header).unwrap();
            assert_eq!(server.ended(), None);
        }
        send(
            &mut worker,
            &[Request::WorkComplete {
                handle: &handle,
                data: b"y",
            }],
        );
        let mut completed = vec![0; 12 + handle.len() + 2];
        client.read_exact(&mut completed).unwrap();
        assert!(completed.ends_with(b"\0y"));
        drop((worker, client));
        assert_eq!(server.end(), 0);
    }
}

#[test]
fn the_background() {
    let mut both = Both::start("-d -p {port} -l log -P daemon.pid");
    for server in both.each() {
        assert_eq!(server.end(), 0, "{}", server.output());
        // gearmand returns first
        let pid = poll("the daemon to answer", DEADLINE, || {
            server.connect().map(|_| server.pid())
        });
        assert_eq!(server.read("daemon.pid"), Some(format!("{pid}\n")));
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .unwrap()
            .1
            .split_whitespace()
            .collect();
        assert_eq!(fields[3], pid.to_string(), "a session of its own");
        for descriptor in 0..3 {
            let stream = fs::read_link(format!("/proc/{pid}/fd/{descriptor}")).unwrap();
            assert_eq!(stream.to_str(), Some("/dev/null"));
        }
        server.signal(Signal::SIGTERM);
        poll("the pid file to be removed", DEADLINE, || {
            server.read("daemon.pid").is_none().then_some(())
        });
    }
}

/// Ours returns when it listens: a script may connect in the next line.
#[test]
fn the_background_command_returns_when_the_daemon_listens() {
    for _ in 0..5 {
        let mut both = Both::start("-d -p {port} -l log -P daemon.pid");
        assert_eq!(both.gearpool.end(), 0, "{}", both.gearpool.output());
        assert!(both.gearpool.connect().is_some());
    }
}

#[test]
fn the_background_command_says_what_kept_the_daemon_from_starting() {
    for arguments in [
        "-d -p {port} -l log -P /nosuch/x.pid",
        "-d -p {port} -l log -u nosuchuser",
    ] {
        let mut both = Both::start(arguments);
        for server in both.each() {
            assert_eq!(server.end(), 1, "{arguments}");
            assert!(server.output().contains("nosuch"), "{}", server.output());
        }
    }
}

#[test]
fn the_port_is_waited_for() {
    let mut held = Vec::new();
    for server in ["gearmand", "gearpool"] {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        held.push((server, listener));
    }
    let ports: Vec<u16> = held
        .iter()
        .map(|(_, listener)| listener.local_addr().unwrap().port())
        .collect();
    let mut both = Both::start_in("-l log -P daemon.pid", |prepared| {
        let is_gearpool = fs::read_link(prepared.folder.join("gearmand"))
            .unwrap()
            .ends_with("gearpool");
        prepared.port = ports[usize::from(is_gearpool)];
        prepared.command.arg(format!("--port={}", prepared.port));
    });
    both.gearmand.port = ports[0];
    both.gearpool.port = ports[1];
    // it is being waited for, whatever the machine's pace: neither has ended when it is free
    thread::sleep(Duration::from_millis(500));
    for server in both.each() {
        assert_eq!(server.ended(), None, "{}", server.output());
    }
    drop(held);
    for server in both.each() {
        poll("the server to answer", DEADLINE, || server.connect());
        assert!(server.pid() > 0);
    }
}

/// It takes them 22 and 20 s to give up.
#[test]
fn a_port_that_stays_in_use_is_an_error() {
    let held = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
    let port = held.local_addr().unwrap().port();
    let mut both = Both::start_in("-l stderr", |prepared| {
        prepared.command.arg(format!("--port={port}"));
    });
    for server in both.each() {
        assert_eq!(server.end(), 1, "{}", server.output());
        assert!(
            server.output().contains(&port.to_string()),
            "{}",
            server.output()
        );
    }
}

#[test]
fn the_flag_file() {
    let listens_on = |text: &str, arguments: &str, environment: Option<&str>| {
        let mut both = Both::start_in(arguments, |prepared| {
            let port = prepared.port.to_string();
            fs::write(prepared.folder.join("flags"), text.replace("{port}", &port)).unwrap();
            if let Some(text) = environment {
                prepared
                    .command
                    .env("GEARMAND_PORT", text.replace("{port}", &port));
            }
        });
        for server in both.each() {
            assert_eq!(
                server.outcome(),
                Start::Listens,
                "{text:?} {arguments} {environment:?}\n{}",
                server.output()
            );
        }
        both
    };
    listens_on(
        "--port={port}\n-R --log-file=log\n",
        "--config-file=flags",
        None,
    );
    listens_on(
        "--port {port}\r\n\r\n  --log-file\n log",
        "--config-file flags",
        Some("1"),
    );
    // the command line wins
    listens_on(
        "--port=1 --log-file=log",
        "--config-file=flags -p {port}",
        None,
    );
    // the environment where nothing is said, and nothing in it is nothing
    listens_on("", "-l log", Some("{port}"));
    listens_on("", "-l log -p {port}", Some("1"));
    listens_on("", "-l log -p {port}", Some(""));
    let both = listens_on("-L 127.0.0.1 -p {port}", "--config-file=flags -l log", None);
    assert!(!is_everywhere(both.gearmand.port) && !is_everywhere(both.gearpool.port));
}

#[test]
fn the_flag_file_says_no_nonsense() {
    let mut both = Both::start_in("--config-file=flags -l log", |prepared| {
        fs::write(prepared.folder.join("flags"), "--nosuch").unwrap();
    });
    for server in both.each() {
        assert_eq!(server.end(), 1);
    }
    // gearmand goes on without a word, and without the port that was meant
    let mut both = Both::start_in("--config-file=flags -p {port} -l log", |prepared| {
        fs::write(prepared.folder.join("flags"), "port=5000").unwrap();
    });
    assert_eq!(both.gearmand.outcome(), Start::Listens);
    assert_eq!(both.gearpool.end(), 1);
    assert!(
        both.gearpool.output().contains("like --port=4730"),
        "{}",
        both.gearpool.output()
    );
}

#[test]
fn it_listens_on_all_addresses() {
    let mut both = Both::start("-p {port} -l log");
    for server in both.each() {
        assert_eq!(server.outcome(), Start::Listens);
        assert!(is_everywhere(server.port));
    }
    let mut both = Both::start("-p {port} -l log -L localhost");
    for server in both.each() {
        assert_eq!(server.outcome(), Start::Listens);
        assert!(!is_everywhere(server.port));
    }
}

/// Whether somebody listens on a port at 0.0.0.0, proc_net(5).
fn is_everywhere(port: u16) -> bool {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let local = format!("00000000:{port:04X}");
    table.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next() == Some(local.as_str()) && fields.nth(1) == Some("0A")
    })
}

#[test]
fn the_level_is_what_gearadmin_says() {
    for (arguments, level) in [
        ("-p {port} -l log", "ERROR"),
        ("-p {port} -l log --verbose=WARNING", "WARNING"),
        ("-p {port} -l log --verbose=INFO", "INFO"),
        ("-p {port} -l log --verbose=DEBUG", "DEBUG"),
    ] {
        let mut both = Both::start(arguments);
        for server in both.each() {
            assert_eq!(server.outcome(), Start::Listens);
            let mut gearadmin = Command::new("gearadmin");
            gearadmin.args(["-p", &server.port.to_string(), "--server-verbose"]);
            let output = gearadmin.output().unwrap();
            assert_eq!(
                String::from_utf8(output.stdout).unwrap().trim(),
                level,
                "{arguments}"
            );
        }
    }
}

#[test]
fn the_version_names_the_gearmand_that_it_stands_for() {
    let mut both = Both::start("--version");
    for server in both.each() {
        assert_eq!(server.end(), 0);
        assert!(
            server.output().trim().starts_with("gearmand 1.1.20"),
            "{}",
            server.output()
        );
    }
}
