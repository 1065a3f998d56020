//! A network that is cut: the other end has gone without a word, and no packet will say so.

use std::process::{Child, Command, Stdio};

use crate::support::{Daemon, Home, until};

/// Runs the command in the namespace of a process.
fn in_network_of(pid: u32, words: &[&str]) -> Command {
    let mut command = Command::new("nsenter");
    command
        .arg(format!("--net=/proc/{pid}/ns/net"))
        .args(words)
        .stdin(Stdio::null());
    command
}

fn succeeds(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // it may have ended
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_jobs_of_a_worker_behind_a_cut_cable_go_back() {
    let namespaces = Command::new("unshare").args(["--net", "true"]).output();
    if !namespaces.is_ok_and(|output| output.status.success()) {
        println!("not tried: network namespaces are not permitted here, root may make them");
        return;
    }
    let home = Home::new("functions: {}\n");
    let serve = home.serve(&["-L", "10.77.0.1", "-p", "4730", "--keepalive"]);
    let mut command = Command::new("unshare");
    let cable = "ip link set lo up && ip link add ours type veth peer name theirs \
        && ip addr add 10.77.0.1/24 dev ours && ip link set ours up && exec \"$@\"";
    command.args(["--net", "sh", "-c", cable, "sh"]);
    command.arg(serve.get_program()).args(serve.get_args());
    command.args(["--keepalive-idle=1", "--keepalive-interval=1"]);
    command.arg("--keepalive-count=2");
    for (name, value) in serve.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command.current_dir(serve.get_current_dir().unwrap());
    let daemon = Daemon::start_as(home, command);

    let mut far = Command::new("unshare");
    far.args(["--net", "sleep", "600"]);
    let far = Killed(far.spawn().unwrap());
    let away = far.0.id();
    let net = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    until("the other network", || net(away) != net(std::process::id()));
    let there = away.to_string();
    succeeds(&mut in_network_of(
        daemon.pid(),
        &["ip", "link", "set", "theirs", "netns", &there],
    ));
    for words in [
        "ip addr add 10.77.0.2/24 dev theirs",
        "ip link set theirs up",
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        succeeds(&mut in_network_of(away, &words));
    }

    let gearpool = env!("CARGO_BIN_EXE_gearpool");
    let work = [
        gearpool,
        "work",
        "-h",
        "10.77.0.1:4730",
        "-f",
        "f",
        "--",
        "sleep",
        "600",
    ];
    let worker = Killed(in_network_of(away, &work).spawn().unwrap());
    let submit = [gearpool, "submit", "-h", "10.77.0.1:4730", "-b", "f", "x"];
    succeeds(&mut in_network_of(daemon.pid(), &submit));
    let is = |workers: u64, running: u64, queued: u64| {
        daemon.status().functions.iter().any(|it| {
            it.workers == workers
                && it.running == running
                && it.queued.iter().sum::<u64>() == queued
        })
    };
    until("the worker to have the job", || is(1, 1, 0));
    succeeds(&mut in_network_of(
        away,
        &["ip", "link", "set", "theirs", "down"],
    ));
    until("the job to be back and the worker gone", || is(0, 0, 1));
    drop((worker, far));
}
