//! Whole files: what they mean, every message, hostile ones, and the example that users start from.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "one test measures how long a hostile file takes"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

const EXAMPLE: &str = include_str!("../../workers.example.yaml");

fn env(name: &str) -> Option<String> {
    (name == "HOME").then(|| "/home/me".to_owned())
}

fn read(text: &str) -> Config {
    match parse(text, "workers.yaml", &env) {
        Ok(config) => config,
        Err(problems) => panic!("{problems}\n\n{text}"),
    }
}

fn said(text: &str) -> String {
    match parse(text, "w", &env) {
        Ok(config) => panic!("this was read as {config:#?}\n\n{text}"),
        Err(problems) => problems.to_string(),
    }
}

/// The only pool of a file.
fn pool(text: &str) -> Pool {
    let config = read(text);
    assert_eq!(config.pools.len(), 1);
    config.pools[0].clone()
}

fn exec(words: &[&str]) -> Command {
    Command::Exec(words.iter().map(|word| (*word).to_owned()).collect())
}

#[test]
fn one_line_is_a_whole_file() {
    for text in [
        r#"fetchURL: {cmd: "php fetch.php", min: 2, max: 30}"#,
        r#"fetchURL: <cmd: "php fetch.php", min: 2, max: 30>"#,
        "functions:\n  fetchURL:\n    cmd: php fetch.php\n    min: 2\n    max: '30'\n",
        "\u{feff}functions:\r\n  fetchURL: <cmd: php fetch.php, min: 2, max: 30> # here\r\nserver:\r\n",
        "defaults: {min: 2, max: 30}\nfunctions: {fetchURL: php fetch.php}",
        "functions: {fetchURL: {cmd: [php, fetch.php], max: 30}}\ndefaults: {min: 2}",
    ] {
        let expected = Pool {
            min: 2,
            max: 30,
            ..Pool::new("fetchURL", exec(&["php", "fetch.php"]))
        };
        assert_eq!(pool(text), expected, "{text}");
    }
}

#[test]
fn every_option() {
    let text = r#"
server:
  listen: ["127.0.0.1:4730", "[::1]:4730", 4731, "unix:/run/gearpool.sock"]
  tls: {listen: ["0.0.0.0", "tls://[::1]:99", 4732], cert: a.crt, key: a.key, client_ca: ca.crt}
  state_dir: state
  log_dir: /var/log/gearpool
  max_processes: 200
  exit_on_failure: true
  limits: {connections: 20000, packet_size: 1MiB, mailbox: 2M, buffers: 1G, queued_bytes: 4GiB, queue_length: 0}
functions:
  a:
    cmd: "a ${HOME} {slot}"
    min: 0
    max: 9
    functions: [b, c]
    cwd: /srv
    env: {A: 1.10, B: no, C: 022, D:, E: "x y"}
    env_file: .env
    user: www-data
    group: 33
    umask: 027
    nice: -5
    limits: {nofile: 4096, nproc: unlimited, core: 0, address_space: 512MiB, cpu: 1h, data: max, fsize: {soft: 1M, hard: 1G}}
    no_new_privileges: true
    max_memory: 256MiB
    exit_on_failure: no
    max_jobs: 1000
    max_lifetime: 12h
    start_timeout: 500ms
    stop_signal: sigusr1
    stop_timeout: 0
    restart: on-failure
    priority: 5
    scale: {target_wait: 250ms, service_level: 99, down_after: 1m30s, step: 4, schedule: [{cron: "0 8 * * mon-fri", for: 2h, min: 9}, {cron: "@daily", max: 20}]}
    check: "php -l a.php"
    check_timeout: 5s
    watch: ["src/**/*.php", .env]
    log: {file: 'l/{pool}-{slot}', stderr: 'e/{pool}-{slot}', max_size: 1G, keep: 0, compress: on, format: json, timestamps: yes, max_line: 64k}
"#;
    let config = read(text);
    assert_eq!(
        config.server,
        Server {
            listen: vec![
                Address::Tcp("127.0.0.1".into(), 4730),
                Address::Tcp("::1".into(), 4730),
                Address::Tcp("127.0.0.1".into(), 4731),
                Address::Unix("/run/gearpool.sock".into()),
            ],
            tls: Some(Tls {
                listen: vec![
                    Address::Tls("0.0.0.0".into(), 4731),
                    Address::Tls("::1".into(), 99),
                    Address::Tls("127.0.0.1".into(), 4732),
                ],
                files: PemFiles {
                    cert: "a.crt".into(),
                    key: "a.key".into(),
                    client_ca: Some("ca.crt".into()),
                },
                places: PemPlaces {
                    cert: Place {
                        line: 4,
                        column: 60,
                    },
                    key: Place {
                        line: 4,
                        column: 72,
                    },
                    client_ca: Place {
                        line: 4,
                        column: 90,
                    },
                },
            }),
            state_dir: Some("state".into()),
            log_dir: Some("/var/log/gearpool".into()),
            max_processes: Some(200),
            exit_on_failure: true,
            limits: ServerLimits {
                connections: Some(20_000),
                packet_size: Some(1 << 20),
                mailbox: Some(2 << 20),
                buffers: Some(1 << 30),
                queued_bytes: Some(4 << 30),
                queue_length: Some(0),
            },
        }
    );
    let vars = [
        ("A", "1.10"),
        ("B", "no"),
        ("C", "022"),
        ("D", ""),
        ("E", "x y"),
    ];
    let expected = Pool {
        functions: vec!["b".into(), "c".into()],
        min: 0,
        max: 9,
        cwd: Some(PathBuf::from("/srv")),
        env: vars
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        env_file: Some(PathBuf::from(".env")),
        user: Some("www-data".into()),
        group: Some("33".into()),
        umask: Some(0o27),
        nice: Some(-5),
        limits: Limits(BTreeMap::from([
            (Resource::Nofile, Limit::of(4096)),
            (Resource::Nproc, Limit::of(Limit::UNLIMITED)),
            (Resource::Core, Limit::of(0)),
            (Resource::AddressSpace, Limit::of(512 << 20)),
            (Resource::Cpu, Limit::of(3600)),
            (
                Resource::Data,
                Limit {
                    soft: None,
                    hard: None,
                },
            ),
            (
                Resource::Fsize,
                Limit {
                    soft: Some(1 << 20),
                    hard: Some(1 << 30),
                },
            ),
        ])),
        no_new_privileges: true,
        max_memory: Some(256 << 20),
        exit_on_failure: false,
        max_jobs: Some(1000),
        max_lifetime: Some(Duration::from_secs(12 * 3600)),
        start_timeout: Duration::from_millis(500),
        stop_signal: Signal::Usr1,
        stop_timeout: Duration::ZERO,
        restart: Restart::OnFailure,
        check: Some(exec(&["php", "-l", "a.php"])),
        check_timeout: Duration::from_secs(5),
        watch: Watch {
            folder: "/srv".into(),
            globs: vec!["src/**/*.php".into(), ".env".into()],
        },
        priority: 5,
        scale: Scale {
            target_wait: Some(Duration::from_millis(250)),
            down_after: Some(Duration::from_secs(90)),
            service_level: 99,
            step: Some(4),
            schedule: vec![
                Rush {
                    cron: "0 8 * * mon-fri".parse().unwrap(),
                    lasts: Duration::from_secs(7200),
                    min: Some(9),
                    max: None,
                },
                Rush {
                    cron: "@daily".parse().unwrap(),
                    lasts: Duration::from_secs(3600),
                    min: None,
                    max: Some(20),
                },
            ],
            off: false,
        },
        log: Log {
            file: Some("l/{pool}-{slot}".to_owned()),
            stderr: Stderr::File("e/{pool}-{slot}".to_owned()),
            max_size: 1 << 30,
            keep: 0,
            compress: true,
            format: LogFormat::Json,
            timestamps: true,
            max_line: 64 << 10,
        },
        ..Pool::new("a", exec(&["a", "/home/me", "{slot}"]))
    };
    assert_eq!(config.pools["a"], expected);

    // The same options as defaults, where all of them may be.
    let (_, options) = text.split_once("    min: 0\n").unwrap();
    let options = options.replace("    functions: [b, c]\n", "");
    let text = format!(
        "functions: {{a: {{cmd: 'a ${{HOME}} {{slot}}', functions: [b, c]}}}}\ndefaults:\n    min: 0\n{options}"
    );
    assert_eq!(pool(&text), expected);
}

#[test]
fn how_many() {
    for (text, bounds) in [
        ("a: x", (1, 1)),
        ("a: {cmd: x, min: 3}", (3, 3)),
        ("a: {cmd: x, min: 0}", (0, 1)),
        ("a: {cmd: x, max: 5}", (1, 5)),
        ("a: {cmd: x, min: 2, max: 5}", (2, 5)),
        ("a: {cmd: x, count: 4}", (4, 4)),
        ("defaults: {count: 4}\nfunctions: {a: x}", (4, 4)),
        (
            "defaults: {count: 4}\nfunctions: {a: {cmd: x, max: 9}}",
            (4, 9),
        ),
        (
            "defaults: {min: 2, max: 9}\nfunctions: {a: {cmd: x, count: 1}}",
            (1, 1),
        ),
        (
            "defaults: {min: 2, max: 9}\nfunctions: {a: {cmd: x, min: 0}}",
            (0, 9),
        ),
        (
            "defaults: {max: 9}\nfunctions: {a: {cmd: x, min: 3}}",
            (3, 9),
        ),
    ] {
        let pool = pool(text);
        assert_eq!((pool.min, pool.max), bounds, "{text}");
    }
}

#[test]
fn what_is_started() {
    let run = |word: &str| Command::Run(vec![word.to_owned()]);
    for (text, command) in [
        ("a: php x.php", exec(&["php", "x.php"])),
        ("a: yes", exec(&["yes"])),
        (
            "a: {cmd: [sleep, 1.0, '', ' ', \"$x | ${HOME}\"]}",
            exec(&["sleep", "1.0", "", " ", "$x | /home/me"]),
        ),
        ("a: {run: rev}", run("rev")),
        (
            "a: {cmd: \"a | b $HOME $$ ${X}\\n\", shell: true}",
            Command::Shell("a | b $HOME $$ ${X}".into()),
        ),
        (
            "a: {run: a; b, shell: on}",
            Command::RunShell("a; b".into()),
        ),
        (
            "a:\n  run: |\n    a\n    b: <cmd: c>\n  shell: true",
            Command::RunShell("a\nb: <cmd: c>".into()),
        ),
        (
            "a:\n  cmd: >\n    php\n    x.php\n",
            exec(&["php", "x.php"]),
        ),
        (
            "defaults: {shell: true}\nfunctions: {a: a | b}",
            Command::Shell("a | b".into()),
        ),
        (
            "defaults: {shell: true}\nfunctions: {a: {cmd: [a, b]}}",
            exec(&["a", "b"]),
        ),
        (
            "defaults: {shell: true}\nfunctions: {a: {cmd: a b, shell: false}}",
            exec(&["a", "b"]),
        ),
    ] {
        assert_eq!(pool(text).command, command, "{text}");
    }
}

#[test]
fn defaults_are_merged_key_by_key() {
    let config = read(
        "
defaults:
  env: {A: 1, B: 2}
  limits: {nofile: 10, core: 0}
  log: {keep: 9}
functions:
  a: {cmd: x, env: {B: 3, C: 4}, limits: {nofile: 20}, log: {max_size: 1M}}
  b: x
",
    );
    let (a, b) = (&config.pools["a"], &config.pools["b"]);
    let shown: Vec<_> = a
        .env
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    assert_eq!(shown, ["A=1", "B=3", "C=4"]);
    let limits = |pool: &Pool| -> Vec<_> {
        let limits = pool.limits.0.iter();
        limits.map(|(it, limit)| (it.name(), limit.hard)).collect()
    };
    assert_eq!(limits(a), [("nofile", Some(20)), ("core", Some(0))]);
    assert_eq!((a.log.keep, a.log.max_size), (9, 1 << 20));
    assert_eq!(b.env.len(), 2);
    assert_eq!(limits(b)[0], ("nofile", Some(10)));
}

#[test]
fn aliases_and_merge_keys() {
    let config = read(
        "functions:\n  a: &a {cmd: x, max: 3, env: &env {A: 1}}\n  b: {<<: *a, max: 4}\n  c: {run: y, env: *env}\n",
    );
    assert_eq!(config.pools["b"].command, exec(&["x"]));
    assert_eq!((config.pools["a"].max, config.pools["b"].max), (3, 4));
    assert_eq!(config.pools["c"].env["A"], "1");
}

#[test]
fn a_file_without_pools() {
    for text in [
        "server: {listen: 4730}",
        "server:\nfunctions:\ndefaults:\n",
        "functions: {}",
    ] {
        assert!(read(text).pools.is_empty());
    }
}

#[test]
fn pools_keep_the_files_order() {
    let config = read("c: x\na: x\nb: x\n");
    assert_eq!(config.pools.keys().collect::<Vec<_>>(), ["c", "a", "b"]);
}

fn files<'a>(files: &[(&'a str, &'a str)]) -> Vec<Source<'a>> {
    let sources = files.iter().map(|&(file, text)| Source {
        file,
        folder: std::path::Path::new(file).parent().unwrap(),
        text,
    });
    sources.collect()
}

#[test]
fn included_files() {
    let main = "include: [conf.d/*.yaml, more.yaml]\ndefaults: {cwd: app, max: 9}\nserver: {state_dir: s}\nfunctions: {a: x}";
    let sources = files(&[
        ("etc/workers.yaml", main),
        (
            "etc/conf.d/b.yaml",
            "defaults: {env_file: .env, min: 2}\nfunctions: {b: {cmd: x, log: {file: 'l/{slot}'}}, c: x}",
        ),
        ("etc/conf.d/empty.yaml", "# nothing yet"),
        ("etc/more.yaml", "d: <cmd: x, cwd: own, watch: '*.php'>\n"),
    ]);
    let found = includes(&sources[0], &env);
    let patterns: Vec<_> = found
        .iter()
        .map(|(pattern, place)| (pattern.as_str(), place.column))
        .collect();
    assert_eq!(patterns, [("conf.d/*.yaml", 11), ("more.yaml", 26)]);
    let config = parse_files(&sources, &env).unwrap();
    assert_eq!(
        config.pools.keys().collect::<Vec<_>>(),
        ["a", "b", "c", "d"]
    );
    assert_eq!(config.server.state_dir, Some("etc/s".into()));
    let pool = |name: &str| &config.pools[name];
    // the defaults are those of the main file, with the file's own over them; paths begin where they are written
    assert_eq!(
        (pool("a").min, pool("b").min, pool("b").max, pool("d").min),
        (1, 2, 9, 1)
    );
    assert_eq!(pool("b").cwd, Some("etc/app".into()));
    assert_eq!(pool("c").env_file, Some("etc/conf.d/.env".into()));
    assert_eq!((&pool("a").env_file, &pool("d").env_file), (&None, &None));
    assert_eq!(pool("b").log.file.as_deref(), Some("etc/conf.d/l/{slot}"));
    assert_eq!(pool("d").watch.folder, PathBuf::from("etc/own"));
    assert_eq!(pool("a").watch.folder, PathBuf::from("etc/app"));
}

#[test]
fn problems_name_their_file() {
    let sources = files(&[
        (
            "w.yaml",
            "include: c/*\ndefaults: {min: 5, scale: {schedule: [{cron: '@daily', max: 3}]}}\nfunctions: {a: x, b: {maxx: 1}}",
        ),
        ("c/2.yaml", "a: x\nc: {cmd: x, nice: 99}"),
        (
            "c/1.yaml",
            "server: {}\ninclude: d\nfunctions: {c: x, d: {cmd: x, min: 9, max: 8}}",
        ),
        ("c/3.yaml", "defaults: {max: 2}\nfunctions: {e: x}"),
        ("c/4.yaml", "e: [x"),
    ]);
    let problems = parse_files(&sources, &env).unwrap_err();
    insta::assert_snapshot!(problems.to_string());
}

#[test]
fn variables_anywhere() {
    let config = read(
        "
server: {listen: '127.0.0.1:${PORT:-4731}', state_dir: '${HOME}/state', max_processes: '${MOST:-7}'}
defaults: {cwd: '${HOME}/app', env: {H: '${HOME}', D: '$$HOME $HOME ${NONE:-x y}'}}
functions:
  a: {cmd: x, min: '${MIN:-2}', max: 5, user: '${USR:-me}', start_timeout: '${T:-5s}', restart: '${R:-never}', functions: ['${P:-p}-f']}
  b: {cmd: 'echo ${HOME} $HOME', shell: true, scale: {schedule: [{cron: '${C:-@daily}', max: 9}]}}
",
    );
    assert_eq!(
        config.server.listen,
        [Address::Tcp("127.0.0.1".into(), 4731)]
    );
    assert_eq!(config.server.state_dir, Some("/home/me/state".into()));
    assert_eq!(config.server.max_processes, Some(7));
    let a = &config.pools["a"];
    assert_eq!(a.cwd, Some("/home/me/app".into()));
    assert_eq!(
        (a.env["H"].as_str(), a.env["D"].as_str()),
        ("/home/me", "$HOME $HOME x y")
    );
    assert_eq!(
        (a.min, a.user.as_deref(), a.start_timeout),
        (2, Some("me"), Duration::from_secs(5))
    );
    assert_eq!(
        (a.restart, &a.functions[..]),
        (Restart::Never, &["p-f".to_owned()][..])
    );
    let b = &config.pools["b"];
    assert_eq!(b.command, Command::Shell("echo ${HOME} $HOME".into()));
    assert_eq!(b.scale.schedule[0].cron.to_string(), "@daily");
}

/// Every message, in one table to read through.
#[test]
fn messages() {
    let files = [
        // Nothing to read.
        "",
        "# nothing\n",
        "{}",
        "just a text",
        "[a]",
        "---\na: x\n---\nb: x\n",
        // No YAML.
        "a: b: c",
        "a: {cmd: x",
        "a:\n\tcmd: x",
        "a: {cmd: 'x}",
        "server:\n  listen: [::1]:4730\n",
        "a: *b",
        "a: @x",
        "a: !php x",
        "a: &a [*a]",
        // The top of the file.
        "server: {}\nfunction: {a: x}\n",
        "server: {}\nfetchURL: {cmd: x}\n",
        "server: {}\ninclude: conf.d/*.yaml\nwhatever: 1\n",
        "include: []",
        "funtions: {a: x}",
        "pools:\n  a: x\n",
        "functions: {a: x}\nfunctions: {b: x}\n",
        "functions: [a]",
        "functions: {a: x, a: y}",
        "[a, b]: x",
        "~: x",
        // The server.
        "server: 4730",
        "server: {listen: [], state_dir: '', log_dir: [x], max_processes: 0}",
        "server: {listen: '::1:4730', http: 80, lisen: x, port: 1}",
        "server: {listen: [1, 1, host:x, {a: 1}]}",
        "server: {listen: [unix:/a, unix:/a, '*:1']}",
        "server: {listen: tls://a}",
        "server: {tls: 4731}",
        "server: {tls: {}}",
        "server: {tls: {certificate: a, key: []}}",
        "server: {tls: {cert: a, key: b, listen: [unix:/a, a, tls://a, a:b], ciphers: all}}",
        "server: {ssl: {cert: a, key: b}}",
        // Names.
        "a/b: x\n..: x\n-a: x\n'a b': x\n'': x\n\"a\\tb\": x\n\"a\\u0001\": x\n\"a\\0\": x\n",
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa: x",
        "a: {cmd: x, functions: ['b c', '', b, b, [d]]}",
        "a: {cmd: x, functions: []}\nb: {cmd: x, functions: {c: d}}\n",
        // What is started.
        "a:",
        "a: [x, y]",
        "a: {}",
        "a: {max: 1}",
        "a: {cmd: x, run: y}",
        "a: {cmd:}",
        "a: {cmd: ''}",
        "a: {cmd: {x: y}}",
        "a: {cmd: []}\nb: {cmd: ['', x]}\nc: {cmd: [x, [y]]}\n",
        "a: {cmd: x, shell: maybe}",
        "a: {cmd: [x], shell: true}",
        "a: \"x\\0y\"",
        "a: x | y",
        "a: {run: x ${HOME}}",
        "a: {run: '$HOME ${NONE} ${NONE2:-x}'}",
        "a: {cmd: [x, '${NONE}', y]}",
        // How many.
        "a: {cmd: x, min: -1, max: 0}",
        "a: {cmd: x, max: many}",
        "a: {cmd: x, max: 1.5}\nb: {cmd: x, max: [1]}\nc: {cmd: x, max: 100001}\nd: {cmd: x, max:}\n",
        "a: {cmd: x, min: 5, max: 2}",
        "a: {cmd: x, count: 2, max: 2}",
        "defaults: {max: 2}\nfunctions: {a: {cmd: x, min: 5}}",
        "defaults: {min: 5}\nfunctions: {a: {cmd: x, max: 2}}",
        "defaults: {min: 5, max: 2}",
        // The other options.
        "defaults: {cmd: x, run: x, functions: [x]}",
        "a: {cmd: x, maxx: 1, drain_timeout: 5, target_wait: 1s, zzz: 1}",
        "a: {cmd: x, cwd:, env: [A=1], env_file: '', user: [], group: ' '}",
        "a: {cmd: x, env: {'A=B': 1, '': 2, C: [1], D: \"\\0\"}}",
        "a: {cmd: x, umask: 9, nice: 20, max_jobs: 0, max_lifetime: 0}",
        "a: {cmd: x, start_timeout: 0, stop_timeout: -1, stop_signal: STOP, restart: no}",
        "a: {cmd: x, limits: {nofile: 0, nproc: x, core: x, address_space: 1k, cpu: 1ms, rss: 1, fsize: {soft: 2, hard: 1}, stack: {softly: 1}}}",
        "a: {cmd: x, max_memory: 1k, no_new_privileges: maybe, exit_on_failure: 1}",
        "server: {exit_on_failure: 1}\nfunctions: {a: x}",
        "a: {cmd: x, scale: {target_wait: soon, down_after: 1y, headroom: 1}, log: 5}",
        "a: {cmd: x, scale: {schedule: daily}}\nb: {cmd: x, scale: {schedule: [daily, {}, {cron: 0 8 * *, until: 3, min: x}]}}\n",
        "a: {cmd: x, max: 4, scale: {schedule: [{cron: '@daily', for: 1s, min: 2}, {cron: '@daily', for: 40d, min: 5}, {cron: '@daily', max: 0}]}}",
        "defaults: {scale: {schedule: [{cron: '@daily', min: 3}]}}\nfunctions: {a: x, b: {cmd: x, max: 3}, c: {cmd: x, scale: off}, d: {cmd: x, scale: {schedule: [{cron: '@daily', min: 3, max: 2}]}}}",
        "a: {cmd: x, log: {max_size: 1, keep: -1, timestamps: 1, max_line: 1G, file: x, format: xml, compress: 9, stderr: apart, sizes: 1}}",
        "defaults: {log: {file: 'a/{slot}', stderr: 'a'}}\nfunctions: {a: x}",
        "a: {cmd: x, log: {file: 'a/{slot}', stderr: 'a/{slot}'}}",
        "a: {cmd: x, log: {file: 'a/{slot}'}}\nb: {cmd: x, log: {stderr: 'a/{slot}'}}",
        "a: {cmd: x, check: 'php -l x | y', watch: []}\nb: {cmd: x, check: [], watch: '[a'}\nc: {cmd: x, watch: {a: b}, check: {a: b}}",
        "defaults: {check: 'php -l', shell: yes}\nfunctions: {a: x, b: {cmd: x, check: ''}}",
        "a: {cmd: x, cwd: '${NONE}/x', env: {A: '${NONE', B: '${HOME} ${N-x}'}, min: '${HOME}', watch: ['${NONE}']}",
        "include: '[a'\nfunctions: {}",
        "include: {a: b}\nfunctions: {}",
        "include: ['', '${NONE}']\nfunctions: {}",
        // All at once, in the file's order; what an alias repeats is said once.
        "b: {cmd: x | y, maxx: 1}\na: &a {cmd: x, nice: 99}\nc: *a\nd: <cmd: é, mim: 1>\n",
    ];
    let mut table = String::new();
    for text in files {
        let shown = text.trim_end().replace('\n', "\n  ");
        let problems = said(text).replace('\n', "\n    ");
        table.push_str(&format!("  {shown}\n    {problems}\n"));
    }
    insta::assert_snapshot!(table);
}

#[test]
fn a_problem_has_its_own_line() {
    let problems = parse("a: {cmd: \"x\\n|\", \"m\\nx\": \"\\e\"}", "a\tb", &env).unwrap_err();
    assert_eq!(
        problems.to_string().lines().count(),
        problems.problems.len()
    );
}

#[test]
fn hostile_files_are_refused_quickly() {
    let deep_block: String = (0..500)
        .map(|depth| format!("{}a:\n", " ".repeat(depth)))
        .collect();
    let mut bomb = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
    for level in 1..12 {
        let items = vec![format!("*a{}", level - 1); 9].join(",");
        bomb.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }
    let merges: String = (1..200)
        .map(|level| {
            format!(
                "a{level}: &a{level} {{<<: [*a{0}, *a{0}], cmd: x}}\n",
                level - 1
            )
        })
        .collect();
    let mut table = String::new();
    for (name, text) in [
        ("flow nesting", "[".repeat(100_000)),
        ("block nesting", deep_block),
        ("dashes", "- ".repeat(100_000)),
        ("alias bomb", bomb),
        ("merge bomb", format!("a0: &a0 {{cmd: x}}\n{merges}")),
        ("many values", "- b\n".repeat(100_000)),
        ("huge", "# comment\n".repeat(200_000)),
        ("quotes", "'".repeat(100_001)),
        (
            "one key",
            format!("functions: {{a: {{{}: 1}}}}", "x".repeat(900)),
        ),
        (
            "one value",
            format!("a: {{cmd: x, max: {}}}", "9".repeat(500_000)),
        ),
    ] {
        let start = Instant::now();
        let problems = said(&text);
        let took = start.elapsed();
        assert!(took < Duration::from_secs(20), "{name} took {took:?}");
        let first = problems.lines().next().unwrap();
        table.push_str(&format!("{name}: {first}\n"));
    }
    insta::assert_snapshot!(table);
}

/// A commented-out option of the example: `#max: 4` at any depth. Prose has a space after the `#`.
fn is_option(line: &str) -> bool {
    let mut characters = line.trim_start().chars();
    characters.next() == Some('#') && characters.next().is_some_and(|c| !c.is_whitespace())
}

fn uncommented(line: &str) -> String {
    if is_option(line) {
        line.replacen('#', "", 1)
    } else {
        line.to_owned()
    }
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn read_example(text: &str) -> Config {
    // Its own defaults must do: no variable is set.
    match parse(text, "workers.example.yaml", &|_| None) {
        Ok(config) => config,
        Err(problems) => panic!("{problems}"),
    }
}

#[test]
fn the_example_needs_nothing_but_a_shell() {
    let config = read_example(EXAMPLE);
    assert_eq!(
        config.pools.keys().collect::<Vec<_>>(),
        ["reverse", "wordcount", "sleepy"]
    );
    for pool in config.pools.values() {
        assert!(pool.command.runs_per_job(), "{}", pool.name);
        assert_eq!(pool.user, None);
    }
}

#[test]
fn every_option_of_the_example_is_right() {
    let all: Vec<String> = EXAMPLE.lines().map(uncommented).collect();
    let config = read_example(&all.join("\n"));
    assert!(config.pools.len() > 3);
    assert_eq!(config.pools["everything"].umask, Some(0o27));
    assert_eq!(
        config.pools["php"].command,
        exec(&["php", "examples/php/worker.php"])
    );
}

#[test]
fn each_option_of_the_example_can_be_used_alone() {
    let lines: Vec<&str> = EXAMPLE.lines().collect();
    let mut blocks = 0;
    let mut at = 0;
    while at < lines.len() {
        if !is_option(lines[at]) {
            at += 1;
            continue;
        }
        // The option, and what is indented under it.
        let below = lines[at + 1..]
            .iter()
            .take_while(|line| line.trim().is_empty() || indent(line) > indent(lines[at]))
            .count();
        let end = at + 1 + below;
        let text: Vec<String> = lines
            .iter()
            .enumerate()
            .map(|(n, line)| {
                if (at..end).contains(&n) {
                    uncommented(line)
                } else {
                    (*line).to_owned()
                }
            })
            .collect();
        read_example(&text.join("\n"));
        blocks += 1;
        at = end;
    }
    assert!(blocks >= 10, "only {blocks} options were found");
}

#[test]
fn the_example_shows_every_key() {
    let text: String = EXAMPLE
        .lines()
        .map(|line| uncommented(line) + "\n")
        .collect();
    let mut shown = Vec::new();
    keys_of(&tree::read(&text, "w").unwrap(), &mut shown);
    for section in keys::ALL {
        for key in section.known {
            assert!(
                shown.iter().any(|shown| shown == key),
                "{key} of {} is not in workers.example.yaml",
                section.name
            );
        }
    }
}

fn keys_of(node: &tree::Node, keys: &mut Vec<String>) {
    if let tree::Value::List(nodes) = &node.value {
        for node in nodes {
            keys_of(node, keys);
        }
    }
    if let tree::Value::Map(pairs) = &node.value {
        for (key, value) in pairs {
            if let tree::Value::Scalar(key) = &key.value {
                keys.push(key.clone());
            }
            keys_of(value, keys);
        }
    }
}

/// The table of keys and the code that reads them name the same keys.
#[test]
fn every_key_of_the_table_is_read() {
    let nested = |section: &str, key: &str| match section {
        "the top of the file" => format!("server: {{}}\n{key}: []"),
        "\"server\"" => format!("server: {{{key}: {{}}}}"),
        "a function" => format!("defaults: {{{key}: 5}}"),
        "the \"limits\" of \"server\"" => format!("server: {{limits: {{{key}: []}}}}"),
        "\"tls\"" => format!("server: {{tls: {{{key}: []}}}}"),
        "\"limits\"" => format!("defaults: {{limits: {{{key}: []}}}}"),
        "a limit" => format!("defaults: {{limits: {{nofile: {{{key}: []}}}}}}"),
        "\"scale\"" => format!("defaults: {{scale: {{{key}: []}}}}"),
        "an entry of \"schedule\"" => {
            format!("defaults: {{scale: {{schedule: [{{{key}: []}}]}}}}")
        }
        "\"log\"" => format!("defaults: {{log: {{{key}: []}}}}"),
        other => panic!("{other}"),
    };
    for section in keys::ALL {
        for key in section.known {
            let text = nested(section.name, key);
            if let Err(problems) = parse(&text, "w", &env) {
                let problems = problems.to_string();
                let unknown = ["unknown key", "belongs under", "not in this version"];
                assert!(
                    !unknown.iter().any(|part| problems.contains(part)),
                    "{problems}"
                );
            }
        }
        for key in section.later {
            let problems = said(&nested(section.name, key));
            assert!(
                problems.ends_with("is not in this version of gearpool"),
                "{problems}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_text_panics(text in "(?s)[a-z0-9 :{}\\[\\]<>,\"'#&*!|>%@$\n\t-]{0,80}|.{0,80}") {
        let _ = parse(&text, "w", &env);
    }

    /// One edit of a good file is read, or refused at a place within the file.
    #[test]
    fn no_edit_panics(
        at in 0..EXAMPLE.len(),
        length in 0_usize..40,
        with in "[a-z0-9 :{}\\[\\]<>,\"'#&*!|>$\n\té-]{0,12}",
    ) {
        let all: String = EXAMPLE.lines().map(|line| uncommented(line) + "\n").collect();
        let boundary = |mut at: usize| {
            at = at.min(all.len());
            while !all.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let (start, end) = (boundary(at), boundary(at + length));
        let text = format!("{}{with}{}", &all[..start], &all[end..]);
        if let Err(problems) = parse(&text, "w", &env) {
            prop_assert!(!problems.problems.is_empty());
            let lines = text.lines().count() as u64;
            for problem in &problems.problems {
                prop_assert!((1..=lines + 1).contains(&problem.line), "{}", problem.message);
                prop_assert!(problem.column >= 1);
                prop_assert!(!problem.message.contains('\n'));
            }
        }
    }
}
