//! Debian's gearmand and Gearpool under gearmand's name, started with the same arguments: what a script sees of them is the same, but
//! for what is named here.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

#[path = "gearmand_flags/both.rs"]
mod both;
#[path = "gearmand_flags/debian.rs"]
mod debian;
#[path = "gearmand_flags/life.rs"]
mod life;
#[path = "support/running.rs"]
mod running;
#[path = "gearmand_flags/tools.rs"]
mod tools;

use both::{Both, Start};

/// A line of arguments, `{port}` and `{other}` being free ports, and what comes of it.
type Case = (&'static str, Start);

const SAME: &[Case] = &[
    // a command line that is wrong, or only asks
    ("--nosuch", Start::Ends(1)),
    ("extra", Start::Ends(1)),
    ("-d --nosuch", Start::Ends(1)),
    ("--pid-file", Start::Ends(1)),
    ("--log-file=", Start::Ends(1)),
    ("--pid=short.pid", Start::Ends(1)),
    ("--verb=INFO", Start::Ends(1)),
    ("--verbose=LOUD", Start::Ends(1)),
    ("--threads=many", Start::Ends(1)),
    ("-p abc --log-file=stderr", Start::Ends(1)),
    ("-p {port} -p {other}", Start::Ends(1)),
    ("-R -R --nosuch", Start::Ends(1)),
    ("--check-args=1", Start::Ends(1)),
    ("--check-args", Start::Ends(0)),
    ("--check-args -p {port} -d", Start::Ends(0)),
    ("--check-args --nosuch", Start::Ends(1)),
    ("--version", Start::Ends(0)),
    ("-V", Start::Ends(0)),
    ("--help", Start::Ends(0)),
    ("-h", Start::Ends(0)),
    // what it cannot have
    ("-p {port} -u nosuchuser --log-file=none", Start::Ends(1)),
    (
        "-p {port} --pid-file=/nosuch/x.pid --log-file=none",
        Start::Ends(1),
    ),
    (
        "-p {port} -L nosuch.invalid --log-file=stderr",
        Start::Ends(1),
    ),
    ("-p {port} -f 10 --log-file=stderr", Start::Ends(1)),
    ("-p {port} -q nosuch --log-file=stderr", Start::Ends(1)),
    ("-p {port} -r nosuch --log-file=stderr", Start::Ends(1)),
    ("--config-file=/nosuch", Start::Ends(1)),
    // what it has
    ("-p {port} --log-file=log", Start::Listens),
    ("-p{port} -llog", Start::Listens),
    ("--port={port} --log-file log", Start::Listens),
    ("--port {port} -l /nosuch/log", Start::Listens),
    ("-L 127.0.0.1 -p {port} -l log", Start::Listens),
    ("--listen=localhost -p {port} -l log", Start::Listens),
    (
        "-p {port} -l log -b 10 -j 3 -R -t 4 -w 0 -f 200",
        Start::Listens,
    ),
    (
        "-p {port} -l log --backlog=0 --job-retries=-1 --round-robin --threads=0",
        Start::Listens,
    ),
    (
        "-p {port} -l log --worker-wakeup=300 --file-descriptors=200 --threads=20",
        Start::Listens,
    ),
    (
        "-p {port} -l log --exceptions --job-handle-prefix=X --hashtable-buckets=991",
        Start::Listens,
    ),
    (
        "-p {port} -l log --keepalive --keepalive-idle=-1 --keepalive-interval=5",
        Start::Listens,
    ),
    ("-p {port} -l log --keepalive-count=3", Start::Listens),
    ("-p {port} -l log --coredump", Start::Listens),
    ("-p {port} -l log -q builtin", Start::Listens),
    ("-p {port} -l log --queue-type=builtin", Start::Listens),
    ("-p {port} -l log --http-port=8080", Start::Listens),
    ("-p {port} -l log --verbose=INFO", Start::Listens),
    ("-p {port} -l log --verbose=DEBUG", Start::Listens),
    ("-p {port} --syslog", Start::Listens),
];

/// What is another here, gearmand's first.
const DIFFERENT: &[(&str, &str, Start, Start)] = &[
    (
        "the -v of older versions and of every tutorial",
        "-p {port} -l log -vvv",
        Start::Ends(1),
        Start::Listens,
    ),
    (
        "a level is not needed",
        "-p {port} -l log --verbose",
        Start::Ends(1),
        Start::Listens,
    ),
    (
        "a level in small letters",
        "-p {port} -l log --verbose=info",
        Start::Ends(1),
        Start::Listens,
    ),
    (
        "an equals sign after a letter",
        "-p={port} -l log",
        Start::Ends(1),
        Start::Listens,
    ),
    (
        "several addresses",
        "-L 127.0.0.1 -L ::1 -p {port} -l log",
        Start::Ends(1),
        Start::Listens,
    ),
    (
        "a user's number",
        "-p {port} -l log -u {uid}",
        Start::Ends(1),
        Start::Listens,
    ),
    (
        "the host of a handle",
        "-p {port} -l log --hostname=web1",
        Start::Ends(1),
        Start::Listens,
    ),
    (
        "help comes before what is wrong",
        "--version --nosuch",
        Start::Ends(1),
        Start::Ends(0),
    ),
    (
        "a number below none",
        "-p {port} -l log -w -1",
        Start::Listens,
        Start::Ends(1),
    ),
    (
        "no HTTP on a Gearman port",
        "-p {port} -l log -r http --http-port={other}",
        Start::Listens,
        Start::Ends(1),
    ),
    (
        "no queue store",
        "-p {port} -l log -q libsqlite3 --libsqlite3-db=queue.db",
        Start::Listens,
        Start::Ends(1),
    ),
    (
        "no option of a queue store",
        "-p {port} -l log --mysql-host=db1",
        Start::Listens,
        Start::Ends(1),
    ),
    (
        "no encryption without a certificate",
        "-p {port} -l log --ssl",
        Start::Listens,
        Start::Ends(1),
    ),
];

#[test]
fn the_same_arguments_come_to_the_same() {
    for (arguments, expected) in SAME {
        let mut both = Both::start(arguments);
        assert_eq!(
            both.gearmand.outcome(),
            *expected,
            "gearmand {arguments}\n{}",
            both.gearmand.output()
        );
        assert_eq!(
            both.gearpool.outcome(),
            *expected,
            "gearpool as gearmand {arguments}\n{}",
            both.gearpool.output()
        );
        let logs = [&both.gearmand, &both.gearpool].map(|server| server.path("log").exists());
        assert_eq!(logs[0], logs[1], "the log of {arguments}");
    }
}

#[test]
fn what_is_different() {
    for (what, arguments, gearmand, gearpool) in DIFFERENT {
        let mut both = Both::start(arguments);
        assert_eq!(
            both.gearmand.outcome(),
            *gearmand,
            "{what}: gearmand {arguments}\n{}",
            both.gearmand.output()
        );
        assert_eq!(
            both.gearpool.outcome(),
            *gearpool,
            "{what}: {arguments}\n{}",
            both.gearpool.output()
        );
    }
}

#[test]
fn what_is_refused_is_refused_in_one_sentence() {
    for (arguments, flag, part) in [
        (
            "-q libsqlite3",
            "--queue-type libsqlite3: ",
            "one queue, builtin",
        ),
        (
            "--queue-type=MySQL",
            "--queue-type MySQL: ",
            "one queue, builtin",
        ),
        (
            "-q libdrizzle --libdrizzle-db=some_db",
            "--queue-type libdrizzle: ",
            "one queue",
        ),
        ("-q postgres", "--queue-type postgres: ", "one queue"),
        ("-q redis", "--queue-type redis: ", "one queue"),
        (
            "-q libmemcached",
            "--queue-type libmemcached: ",
            "one queue",
        ),
        (
            "-q tokyocabinet",
            "--queue-type tokyocabinet: ",
            "one queue",
        ),
        ("--mysql-host db1", "--mysql-host: ", "one queue"),
        ("--libsqlite3-db=q.db", "--libsqlite3-db: ", "one queue"),
        ("--libdrizzle-mysql", "--libdrizzle-mysql: ", "one queue"),
        ("--redis-server=r", "--redis-server: ", "one queue"),
        ("--libpq-conninfo=x", "--libpq-conninfo: ", "one queue"),
        (
            "--libmemcached-servers=x",
            "--libmemcached-servers: ",
            "one queue",
        ),
        (
            "--store-queue-on-shutdown",
            "--store-queue-on-shutdown: ",
            "one queue",
        ),
        ("-r http", "--protocol http: ", "gearpool submit"),
    ] {
        let mut both = Both::start(arguments);
        assert_eq!(both.gearpool.end(), 1, "{arguments}");
        let text = both.gearpool.output();
        assert_eq!(text.lines().count(), 1, "{arguments}: {text}");
        assert!(
            text.starts_with(&format!("gearpool: {flag}")) && text.contains(part),
            "{arguments}: {text}"
        );
    }
}

#[test]
fn help_lists_every_flag_of_gearmands() {
    let mut both = Both::start("--help");
    for server in both.each() {
        assert_eq!(server.end(), 0);
    }
    let [theirs, ours] = [&both.gearmand, &both.gearpool].map(|server| server.output());
    let long = |text: &str| -> Vec<String> {
        let words = text.split(|c: char| c.is_whitespace() || "[],".contains(c));
        let flags = words.filter(|word| word.starts_with("--") && word.len() > 2);
        flags
            .map(|flag| flag.trim_end_matches(['.', ';', ':']).to_owned())
            .collect()
    };
    let refused = [
        "--libmemcached",
        "--libsqlite3",
        "--store-queue",
        "--libpq",
        "--redis",
        "--mysql",
        "--protocol",
        "--http-port",
    ];
    let ours = long(&ours);
    for flag in long(&theirs) {
        if !refused.iter().any(|family| flag.starts_with(family)) {
            assert!(ours.contains(&flag), "{flag} is not in the help");
        }
    }
    assert!(both.gearpool.output().contains("Usage: gearmand [OPTIONS]"));
}
