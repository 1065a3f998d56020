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

/// Both end at once with 1: lines of arguments, in which `{port}` and `{other}` are free ports.
const FAIL: &[&str] = &[
    // a command line that is wrong
    "--nosuch",
    "extra",
    "-d --nosuch",
    "--pid-file",
    "--log-file=",
    "--pid=short.pid",
    "--verb=INFO",
    "--verbose=LOUD",
    "--threads=many",
    "-p abc --log-file=stderr",
    "-p {port} -p {other}",
    "-R -R --nosuch",
    "--check-args=1",
    "--check-args --nosuch",
    // what it cannot have
    "-p {port} -u nosuchuser --log-file=none",
    "-p {port} --pid-file=/nosuch/x.pid --log-file=none",
    "-p {port} -L nosuch.invalid --log-file=stderr",
    "-p {port} -f 10 --log-file=stderr",
    "-p {port} -q nosuch --log-file=stderr",
    "-p {port} -r nosuch --log-file=stderr",
    "--config-file=/nosuch",
];

/// Both only answer.
const ANSWER: &[&str] = &[
    "--check-args",
    "--check-args -p {port} -d",
    "--version",
    "-V",
    "--help",
    "-h",
];

/// Both listen.
const LISTEN: &[&str] = &[
    "-p {port} --log-file=log",
    "-p{port} -llog",
    "--port={port} --log-file log",
    "--port {port} -l /nosuch/log",
    "-L 127.0.0.1 -p {port} -l log",
    "--listen=localhost -p {port} -l log",
    "-p {port} -l log -b 10 -j 3 -R -t 4 -w 0 -f 200",
    "-p {port} -l log --backlog=0 --job-retries=-1 --round-robin --threads=0",
    "-p {port} -l log --worker-wakeup=300 --file-descriptors=200 --threads=20",
    "-p {port} -l log --exceptions --job-handle-prefix=X --hashtable-buckets=991",
    "-p {port} -l log --keepalive --keepalive-idle=-1 --keepalive-interval=5",
    "-p {port} -l log --keepalive-count=3",
    "-p {port} -l log --coredump",
    "-p {port} -l log -q builtin",
    "-p {port} -l log --queue-type=builtin",
    "-p {port} -l log --http-port=8080",
    "-p {port} -l log --verbose=INFO",
    "-p {port} -l log --verbose=DEBUG",
    "-p {port} --syslog",
];

/// gearmand refuses these, and Gearpool listens.
const MORE: &[&str] = &[
    // as in older versions and in every tutorial
    "-p {port} -l log -vvv",
    "-p {port} -l log --verbose",
    "-p {port} -l log --verbose=info",
    "-p={port} -l log",
    "-L 127.0.0.1 -L ::1 -p {port} -l log",
    "-p {port} -l log -u {uid}",
    // the host of a handle
    "-p {port} -l log --hostname=web1",
];

/// gearmand listens, and Gearpool refuses these.
const LESS: &[&str] = &[
    "-p {port} -l log -w -1",
    "-p {port} -l log -r http --http-port={other}",
    "-p {port} -l log -q libsqlite3 --libsqlite3-db=queue.db",
    "-p {port} -l log --mysql-host=db1",
    // no encryption without a certificate
    "-p {port} -l log --ssl",
];

/// Starts both, and sees whether they do what is expected of each.
fn start(arguments: &str, gearmand: Start, gearpool: Start) -> Both {
    let mut both = Both::start(arguments);
    for (name, server, expected) in [
        ("gearmand", &mut both.gearmand, gearmand),
        ("gearpool as gearmand", &mut both.gearpool, gearpool),
    ] {
        let outcome = server.outcome();
        let output = server.output();
        assert_eq!(outcome, expected, "{name} {arguments}\n{output}");
    }
    both
}

#[test]
fn the_same_arguments_come_to_the_same() {
    for (all, expected) in [
        (FAIL, Start::Ends(1)),
        (ANSWER, Start::Ends(0)),
        (LISTEN, Start::Listens),
    ] {
        for arguments in all {
            let both = start(arguments, expected, expected);
            let logs = [&both.gearmand, &both.gearpool].map(|server| server.path("log").exists());
            assert_eq!(logs[0], logs[1], "the log of {arguments}");
        }
    }
}

#[test]
fn what_is_different() {
    for arguments in MORE {
        start(arguments, Start::Ends(1), Start::Listens);
    }
    for arguments in LESS {
        start(arguments, Start::Listens, Start::Ends(1));
    }
    // help comes before what is wrong
    start("--version --nosuch", Start::Ends(1), Start::Ends(0));
}

/// Lines of arguments for a queue store, and how each is called in the sentence that refuses it.
const STORES: &[[&str; 2]] = &[
    ["-q libsqlite3", "--queue-type libsqlite3"],
    ["--queue-type=MySQL", "--queue-type MySQL"],
    [
        "-q libdrizzle --libdrizzle-db=some_db",
        "--queue-type libdrizzle",
    ],
    ["-q postgres", "--queue-type postgres"],
    ["-q redis", "--queue-type redis"],
    ["-q libmemcached", "--queue-type libmemcached"],
    ["-q tokyocabinet", "--queue-type tokyocabinet"],
    ["--mysql-host db1", "--mysql-host"],
    ["--libsqlite3-db=q.db", "--libsqlite3-db"],
    ["--libdrizzle-mysql", "--libdrizzle-mysql"],
    ["--redis-server=r", "--redis-server"],
    ["--libpq-conninfo=x", "--libpq-conninfo"],
    ["--libmemcached-servers=x", "--libmemcached-servers"],
    ["--store-queue-on-shutdown", "--store-queue-on-shutdown"],
];

#[test]
fn what_is_refused_is_refused_in_one_sentence() {
    let stores = STORES
        .iter()
        .map(|[arguments, name]| (*arguments, *name, "one queue, builtin"));
    let http = ("-r http", "--protocol http", "gearpool submit");
    for (arguments, name, part) in stores.chain([http]) {
        let mut both = Both::start(arguments);
        assert_eq!(both.gearpool.end(), 1, "{arguments}");
        let text = both.gearpool.output();
        assert_eq!(text.lines().count(), 1, "{arguments}: {text}");
        assert!(
            text.starts_with(&format!("gearpool: {name}: ")) && text.contains(part),
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
