//! What Debian's package does with gearmand, done with ours: its init script and its unit's line, unchanged, with our program in the
//! place of /usr/sbin/gearmand. All of that is in a world of its own, unshare(1): no port, file or folder of this machine is touched.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;

use crate::both::DEADLINE;
use crate::running::Running;

/// Runs a script where `/usr/sbin/gearmand` is `program`, and where the folders that the package uses are new.
fn in_a_world_with(program: &Path, script: &str) -> String {
    let world = format!(
        r#"set -e
        ip link set lo up
        for folder in /run /var/lib /var/log/gearman-job-server; do mount -t tmpfs none $folder; done
        mkdir /var/lib/gearman
        chown gearman /var/log/gearman-job-server /var/lib/gearman
        mount --bind {} /usr/sbin/gearmand
        unset GEARPOOL_STATE_DIR GEARPOOL_CONFIG GEARMAND_PORT XDG_STATE_HOME
        export HOME=/var/lib/gearman
        cd /
        set +e
        {script}"#,
        program.display()
    );
    // a namespace of process ids too: with the script ends whatever it has started
    let mut command = Command::new("unshare");
    command.args([
        "--mount",
        "--net",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ]);
    command.args(["sh", "-c", &world]);
    let finished = Running::start("the script", &command, b"")
        .finish(DEADLINE)
        .unwrap();
    let text = String::from_utf8_lossy(&finished.out) + String::from_utf8_lossy(&finished.err);
    assert!(finished.status.success(), "{text}");
    text.into_owned()
}

fn both() -> [&'static Path; 2] {
    [
        Path::new("/usr/sbin/gearmand"),
        Path::new(env!("CARGO_BIN_EXE_gearpool")),
    ]
}

/// Only root can start a service.
fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[test]
fn the_init_script() {
    if !is_root() {
        return;
    }
    let script = r#"
        init=/etc/init.d/gearman-job-server
        wait_until() { for _ in $(seq 600); do if eval "$1"; then return; fi; sleep 0.1; done; echo "in vain: $1"; exit 1; }
        sh $init start; echo "started $?"
        wait_until 'gearadmin --getpid >/dev/null 2>&1'
        pid=$(cat /run/gearman/gearmand.pid)
        test $pid = $(gearadmin --getpid) && echo "the pid is right"
        ps -o user= -o args= -p $pid
        stat -c '%U' /run/gearman/gearmand.pid /var/log/gearman-job-server/gearmand.log
        sh $init status; echo "status $?"
        sh $init stop; echo "stopped $?"
        wait_until '! test -e /run/gearman/gearmand.pid'
        sh $init status; echo "status $?"
        wait_until '! pgrep gearmand >/dev/null'
        sh $init start; echo "started $?"
        wait_until 'gearadmin --getpid >/dev/null 2>&1'
        sh $init stop; echo "stopped $?""#;
    let [theirs, ours] = both().map(|program| in_a_world_with(program, script));
    assert_eq!(theirs, ours);
    assert!(ours.contains("the pid is right"), "{ours}");
    assert!(
        ours.contains("gearman  /usr/sbin/gearmand --pid-file"),
        "{ours}"
    );
}

/// systemd's part is played: the folder is made, the user is set, and the command's end is the readiness of `Type=forking`.
#[test]
fn the_units_line() {
    if !is_root() {
        return;
    }
    let unit = fs::read_to_string("/usr/lib/systemd/system/gearman-job-server.service").unwrap();
    let line = |key: &str| {
        unit.lines()
            .find_map(|line| line.strip_prefix(key))
            .unwrap()
    };
    let script = format!(
        r#"
        . /etc/default/gearman-job-server
        {prepare}
        setpriv --reuid {user} --regid {user} --clear-groups {start}; echo "started $?"
        for _ in $(seq 600); do gearadmin --status 2>/dev/null && break; sleep 0.1; done
        pid=$(cat {pid_file})
        test $pid = $(gearadmin --getpid) && echo "the pid is right"
        ps -o user= -o args= -p $pid
        kill $pid
        while test -e {pid_file}; do sleep 0.1; done
        ls /var/log/gearman-job-server"#,
        prepare = line("ExecStartPre="),
        user = line("User="),
        start = line("ExecStart="),
        pid_file = line("PIDFile="),
    );
    let [theirs, ours] = both().map(|program| in_a_world_with(program, &script));
    assert_eq!(theirs, ours);
    assert!(ours.contains("the pid is right"), "{ours}");
}

/// A user without a home and root's folders shut: the job server still starts, as gearmand does.
#[test]
fn a_user_who_may_write_nowhere() {
    if !is_root() {
        return;
    }
    let script = r#"
        setpriv --reuid nobody --regid nogroup --clear-groups env HOME=/nonexistent \
            /usr/sbin/gearmand -d --pid-file=/tmp/gearmand-$$.pid; echo "started $?"
        for _ in $(seq 600); do gearadmin --status 2>/dev/null && break; sleep 0.1; done
        kill $(gearadmin --getpid)
        while test -e /tmp/gearmand-$$.pid; do sleep 0.1; done"#;
    let script = format!("mount -t tmpfs none /tmp; chmod 1777 /tmp;{script}; ls -A /tmp");
    let outside = Path::new(env!("CARGO_BIN_EXE_gearpool"));
    let text = in_a_world_with(outside, &script);
    assert_eq!(text, "started 0\n.\n");
}

#[test]
fn the_default_files() {
    if !is_root() {
        return;
    }
    let script = r#"
        mount -t tmpfs none /var
        mkdir /var/log /var/lib
        mkdir /tmp/etc-$$ && cp -r /etc/nsswitch.conf /etc/hosts /etc/passwd /etc/group /etc/services /tmp/etc-$$ 2>/dev/null
        mount --bind /tmp/etc-$$ /etc
        echo '--port=4799 --verbose=INFO' > /etc/gearmand.conf
        gearmand &
        for _ in $(seq 600); do gearadmin -p 4799 --status 2>/dev/null && break; sleep 0.1; done
        test $(cat /var/gearmand.pid) = $(gearadmin -p 4799 --getpid) && echo "the pid is right"
        kill $(cat /var/gearmand.pid)
        wait
        test -s /var/log/gearmand.log && echo "the log is written"
        ls /var /var/log
        umount /etc; rm -r /tmp/etc-$$"#;
    let [theirs, ours] = both().map(|program| in_a_world_with(program, script));
    assert_eq!(theirs, ours.replace("gearpool-4799\n", ""));
    assert!(ours.contains("the pid is right"), "{ours}");
    assert!(ours.contains("the log is written"), "{ours}");
}

#[test]
fn the_systems_log() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let log = UnixDatagram::bind(path("log")).unwrap();
    log.set_read_timeout(Some(DEADLINE)).unwrap();
    fs::write(path("null"), "").unwrap();
    fs::write(path("urandom"), "").unwrap();
    // the socket of this test stands in for /dev/log
    let script = r#"
        for name in null urandom; do mount --bind /dev/$name $1/$name; done
        mount --rbind $1 /dev
        exec "$2" serve --syslog -p 0 --state-dir $1/state"#;
    let mut command = Command::new("unshare");
    command.args([
        "--map-root-user",
        "--mount",
        "--kill-child",
        "--fork",
        "sh",
        "-ec",
        script,
        "sh",
    ]);
    command
        .arg(folder.path())
        .arg(env!("CARGO_BIN_EXE_gearpool"));
    let daemon = Running::start("the daemon", &command, b"");
    let mut line = [0; 1024];
    let length = log.recv(&mut line).unwrap();
    drop(daemon);
    let line = String::from_utf8_lossy(&line[..length]);
    // daemon is facility 3, info is severity 6
    assert!(line.starts_with("<30>"), "{line}");
    assert!(line.contains(" gearpool["), "{line}");
    assert!(line.contains("listening on 127.0.0.1:"), "{line}");
}
