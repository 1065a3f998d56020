//! Real processes: what a worker finds when it starts, and what is said when it does not.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use gearpool::config::{Limit, Limits, Resource, Signal};
use gearpool::sys::child::{Child, Spec, spawn};
use gearpool::sys::signal::{kill_group, signal_group};
use gearpool::sys::user::resolve;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

const LONG: Duration = Duration::from_secs(20);

fn spec(argv: &[&str]) -> Spec {
    Spec {
        argv: argv.iter().map(OsString::from).collect(),
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        ..Spec::default()
    }
}

fn shell(script: &str) -> Spec {
    spec(&["sh", "-c", script])
}

/// Everything that the process wrote, and its exit status.
async fn run(spec: &Spec) -> (String, std::process::ExitStatus) {
    let Child {
        output, mut exit, ..
    } = spawn(spec).unwrap();
    let mut text = String::new();
    let mut output = Receiver::from_owned_fd(output).unwrap();
    tokio::time::timeout(LONG, output.read_to_string(&mut text))
        .await
        .unwrap()
        .unwrap();
    let status = tokio::time::timeout(LONG, exit.wait()).await.unwrap();
    (text, status.unwrap())
}

async fn output(spec: &Spec) -> String {
    run(spec).await.0
}

/// Makes an executable file, by way of another process: a file that was written here may be open in a child that another test forks at
/// that moment, and is then "busy" and cannot be executed.
fn write_program(path: &Path, text: &str) {
    let written = Command::new("sh")
        .args(["-c", "printf %s \"$2\" > \"$1\" && chmod 755 \"$1\"", "sh"])
        .arg(path)
        .arg(text)
        .status()
        .unwrap();
    assert!(written.success());
}

fn refusal(spec: &Spec) -> String {
    spawn(spec).unwrap_err().to_string()
}

#[tokio::test]
async fn stdout_and_stderr_are_one_pipe_in_the_order_written() {
    let script = "for i in 1 2 3; do echo out $i; echo err $i >&2; done; exit 3";
    let (text, status) = run(&shell(script)).await;
    assert_eq!(text, "out 1\nerr 1\nout 2\nerr 2\nout 3\nerr 3\n");
    assert_eq!(status.code(), Some(3));
}

#[tokio::test]
async fn a_session_and_group_of_its_own_and_no_input() {
    let script = "cat; echo $$ $(cut -d' ' -f5,6 /proc/$$/stat)";
    let child = spawn(&shell(script)).unwrap();
    let mut text = String::new();
    Receiver::from_owned_fd(child.output)
        .unwrap()
        .read_to_string(&mut text)
        .await
        .unwrap();
    assert_eq!(text, format!("{0} {0} {0}\n", child.pid));
}

#[tokio::test]
async fn no_descriptor_of_the_daemon_is_left_open() {
    // Without close-on-exec, as a careless parent of the daemon may leave one.
    let file = fs::File::open("/dev/null").unwrap();
    let leaked = nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_DUPFD(50)).unwrap();
    let listed = output(&shell("ls /proc/$$/fd; true")).await;
    nix::unistd::close(leaked).unwrap();
    assert_eq!(listed, "0\n1\n2\n");
}

#[tokio::test]
async fn signals_are_as_in_a_new_terminal() {
    // The test harness itself ignores SIGPIPE, as every Rust program does.
    let own = fs::read_to_string("/proc/self/status").unwrap();
    assert!(own.contains("1000\nSigCgt"), "{own}");
    let worker = output(&spec(&["cat", "/proc/self/status"])).await;
    for mask in ["SigIgn:\t", "SigBlk:\t"] {
        let (_, rest) = worker.split_once(mask).unwrap();
        let signals = u64::from_str_radix(&rest[..16], 16).unwrap();
        // 32 and 33 are the C library's own, which lets nobody change them.
        assert_eq!(signals & !(0b11 << 31), 0, "{mask}{signals:x}");
    }
}

#[tokio::test]
async fn the_environment_is_the_given_one_alone() {
    let mut spec = spec(&["env"]);
    spec.env.push(("GREETING".into(), "grüß Gott".into()));
    let mut lines: Vec<String> = output(&spec).await.lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["GREETING=grüß Gott", "PATH=/usr/bin:/bin"]);
}

#[tokio::test]
async fn directory_mask_priority_and_limits() {
    let folder = tempfile::tempdir().unwrap();
    let mut spec = shell(
        "pwd; umask; nice; ulimit -n; ulimit -c; ulimit -t; ulimit -v; ulimit -d; ulimit -Hd; ulimit -s; ulimit -f; ulimit -l",
    );
    spec.cwd = Some(folder.path().to_owned());
    spec.umask = Some(0o027);
    spec.nice = Some(7);
    let soft = |soft| Limit {
        soft: Some(soft),
        hard: Some(1 << 30),
    };
    spec.limits = Limits(
        [
            (Resource::Nofile, Limit::of(77)),
            (Resource::Core, Limit::of(0)),
            (Resource::Cpu, Limit::of(60)),
            (Resource::AddressSpace, Limit::of(1 << 30)),
            (Resource::Data, soft(1 << 29)),
            (Resource::Stack, Limit::of(4 << 20)),
            (Resource::Fsize, Limit::of(5 << 20)),
            (Resource::Memlock, Limit::of(64 << 10)),
        ]
        .into(),
    );
    assert_eq!(
        output(&spec).await,
        format!(
            "{}\n0027\n7\n77\n0\n60\n1048576\n524288\n1048576\n4096\n10240\n64\n",
            folder.path().display()
        )
    );
    // as much as the daemon itself may have
    let mut spec = shell("ulimit -Sn; ulimit -Hn");
    let most = Limit {
        soft: None,
        hard: None,
    };
    spec.limits = Limits([(Resource::Nofile, most)].into());
    let (_, hard) =
        nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
    assert_eq!(output(&spec).await, format!("{hard}\n{hard}\n"));
}

#[tokio::test]
async fn no_new_privileges() {
    let told = |text: String| {
        let line = text.lines().find(|line| line.starts_with("NoNewPrivs:"));
        line.map(str::to_owned)
    };
    let mut spec = spec(&["cat", "/proc/self/status"]);
    assert_eq!(told(output(&spec).await).unwrap(), "NoNewPrivs:\t0");
    spec.no_new_privileges = true;
    if nix::unistd::geteuid().is_root() {
        spec.ids = resolve(Some("nobody"), None).unwrap();
    }
    assert_eq!(told(output(&spec).await).unwrap(), "NoNewPrivs:\t1");
}

#[tokio::test]
async fn another_user_with_all_of_its_groups() {
    if !nix::unistd::geteuid().is_root() {
        // Only root can become somebody else; that this is said is tested beside `resolve`.
        return;
    }
    let mut spec = shell("id -un; id -gn; id -G; grep Cap[EP] /proc/self/status");
    spec.ids = resolve(Some("nobody"), Some("tty")).unwrap();
    let none = "0000000000000000";
    assert_eq!(
        output(&spec).await,
        format!("nobody\ntty\n5 65534\nCapPrm:\t{none}\nCapEff:\t{none}\n")
    );
}

#[tokio::test]
async fn the_tie_to_the_daemon_survives_the_change_of_user() {
    let script = "import ctypes\n\
        number = ctypes.c_int()\n\
        ctypes.CDLL(None).prctl(2, ctypes.byref(number))\n\
        print(number.value)";
    let mut spec = spec(&["python3", "-c", script]);
    if nix::unistd::geteuid().is_root() {
        spec.ids = resolve(Some("nobody"), None).unwrap();
    }
    assert_eq!(output(&spec).await, "9\n");
}

#[tokio::test]
async fn a_program_beside_the_worker_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("work.sh");
    write_program(&script, "#!/bin/sh\necho $0\n");
    let mut by_path = spec(&["./work.sh"]);
    by_path.cwd = Some(folder.path().to_owned());
    assert_eq!(output(&by_path).await, "./work.sh\n");
    let mut by_name = spec(&["work.sh"]);
    by_name.env = vec![("PATH".into(), folder.path().into())];
    assert_eq!(output(&by_name).await, format!("{}\n", script.display()));
}

#[tokio::test]
async fn what_is_wrong_with_the_program_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain");
    fs::write(&plain, "#!/bin/sh\n").unwrap();
    let orphan = folder.path().join("orphan");
    write_program(&orphan, "#!/no/such/interpreter\n");
    let shown = |path: &Path| path.display().to_string();

    assert_eq!(
        refusal(&spec(&["phpp", "fetch.php"])),
        "cannot start \"phpp fetch.php\": no command \"phpp\" in PATH"
    );
    assert_eq!(
        refusal(&spec(&["./nothing", "x"])),
        "cannot start \"./nothing x\": ./nothing does not exist"
    );
    let forbidden = format!("{}: permission denied (is it executable?)", shown(&plain));
    assert_eq!(
        refusal(&spec(&[&shown(&plain)])),
        format!("cannot start \"{}\": {forbidden}", shown(&plain))
    );
    let mut in_path = spec(&["plain"]);
    in_path.env = vec![("PATH".into(), folder.path().into())];
    assert_eq!(
        refusal(&in_path),
        format!("cannot start \"plain\": {forbidden}")
    );
    assert_eq!(
        refusal(&spec(&[&shown(&orphan)])),
        format!(
            "cannot start \"{0}\": the interpreter that {0} names in its first line does not exist",
            shown(&orphan)
        )
    );
    assert!(refusal(&spec(&["true", "a\0b"])).starts_with("cannot start \"true a"));
}

#[tokio::test]
async fn what_is_wrong_with_its_surroundings_is_named() {
    let mut lost = spec(&["true"]);
    lost.cwd = Some("/no/such/folder".into());
    assert_eq!(
        refusal(&lost),
        "working directory /no/such/folder does not exist"
    );
    lost.cwd = Some("/etc/passwd".into());
    assert_eq!(
        refusal(&lost),
        "working directory /etc/passwd: not a directory"
    );
    assert_eq!(
        refusal(&spec(&["/etc"])),
        "cannot start \"/etc\": /etc is a folder"
    );
    let mut greedy = spec(&["true"]);
    greedy.limits = Limits([(Resource::Nofile, Limit::of(u64::MAX - 1))].into());
    assert_eq!(
        refusal(&greedy),
        "cannot start \"true\": cannot set limit nofile to 18446744073709551614 \
         (only root may raise a hard limit): operation not permitted"
    );
}

#[tokio::test]
async fn a_signal_reaches_the_worker() {
    let script = "trap 'echo bye; exit 4' TERM; echo ready; while :; do sleep 0.01; done";
    let Child {
        pid,
        output,
        mut exit,
        ..
    } = spawn(&shell(script)).unwrap();
    let mut output = Receiver::from_owned_fd(output).unwrap();
    let mut ready = [0; 6];
    output.read_exact(&mut ready).await.unwrap();
    signal_group(pid, Signal::Term).unwrap();
    let status = tokio::time::timeout(LONG, exit.wait()).await.unwrap();
    assert_eq!(status.unwrap().code(), Some(4));
    let mut rest = String::new();
    output.read_to_string(&mut rest).await.unwrap();
    assert!(rest.ends_with("bye\n"), "{rest}");
    signal_group(pid, Signal::Term).unwrap();
}

#[tokio::test]
async fn children_that_a_worker_left_are_killed_with_its_group() {
    let script = "trap '' TERM; (sleep 1000 & sleep 1000 &) ; echo ready; exit 0";
    let Child {
        pid,
        output,
        mut exit,
        ..
    } = spawn(&shell(script)).unwrap();
    assert!(exit.wait().await.unwrap().success());
    kill_group(pid).unwrap();
    // The pipe ends when the last of them is gone.
    let mut text = String::new();
    let mut output = Receiver::from_owned_fd(output).unwrap();
    tokio::time::timeout(LONG, output.read_to_string(&mut text))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(text, "ready\n");
}

#[tokio::test]
async fn the_ending_signal_is_told() {
    let Child { pid, mut exit, .. } = spawn(&spec(&["sleep", "1000"])).unwrap();
    kill_group(pid).unwrap();
    assert_eq!(exit.wait().await.unwrap().signal(), Some(9));
}
