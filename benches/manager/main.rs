//! What it takes to keep processes running: Gearpool beside supervisord and a floor, with the same processes.
//!
//!     cargo bench --bench manager -- [--quick] [--rounds N] [--only NAME] [--php]
//!
//! What is measured, and how to read it, is in `benches/README.md`.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]

mod contestant;
mod workers;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use contestant::{Contestant, Kind, Sort, last};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use workers::{What, now};

/// So many processes are the many.
const MANY: usize = 200;

/// And so many the few.
const FEW: usize = 30;

/// A process has lived well after this.
const HEALTHY: Duration = Duration::from_millis(2500);

/// So many are killed at once.
const VOLLEY: usize = 15;

struct Settings {
    rounds: usize,
    kills: usize,
    volleys: usize,
    idle: Duration,
    only: Option<String>,
    php: bool,
}

/// A figure and what was measured of it: one or several numbers a round.
struct Figure {
    name: &'static str,
    unit: &'static str,
    target: &'static str,
    values: Vec<(Kind, Vec<f64>)>,
}

#[derive(Default)]
struct Table(Vec<Figure>);

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "--floor") {
        return contestant::floor(&words[1..]);
    }
    let settings = settings(&words);
    println!("load average {}", load_average());
    let folder = tempfile::tempdir().unwrap();
    let worker = workers::build(folder.path());
    let kinds = [Kind::Gearpool, Kind::Supervisord, Kind::Floor];
    let kinds = kinds.into_iter().filter(|kind| {
        settings
            .only
            .as_ref()
            .is_none_or(|only| only == kind.name())
    });
    let kinds: Vec<Kind> = kinds.collect();
    let mut table = Table::default();
    for round in 1..=settings.rounds {
        for &kind in &kinds {
            eprintln!("round {round}: {}", kind.name());
            let mut round = Round {
                kind,
                worker: &worker,
                settings: &settings,
                table: &mut table,
            };
            round.few();
            round.many();
            match kind {
                Kind::Gearpool => {
                    round.loud();
                    round.beside_a_queue();
                }
                Kind::Supervisord => round.loud(),
                Kind::Floor => {}
            }
            if settings.php {
                round.php();
            }
        }
    }
    table.print();
    println!("\nload average {}", load_average());
}

fn settings(words: &[String]) -> Settings {
    let mut settings = Settings {
        rounds: 3,
        kills: 60,
        volleys: 5,
        idle: Duration::from_secs(20),
        only: None,
        php: false,
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().cloned().unwrap_or_default();
        match word.as_str() {
            "--quick" => {
                settings.rounds = 1;
                settings.idle = Duration::from_secs(5);
            }
            "--rounds" => settings.rounds = value().parse().unwrap(),
            "--only" => settings.only = Some(value()),
            "--php" => settings.php = true,
            // cargo's own
            "--bench" => {}
            other => panic!("unknown option {other}"),
        }
    }
    settings
}

/// One daemon in one round.
struct Round<'a> {
    kind: Kind,
    worker: &'a Path,
    settings: &'a Settings,
    table: &'a mut Table,
}

impl Round<'_> {
    fn start(&self, sort: Sort, count: usize) -> (tempfile::TempDir, Contestant) {
        let folder = tempfile::tempdir().unwrap();
        let it = Contestant::start(self.kind, folder.path(), self.worker, sort, count);
        (folder, it)
    }

    fn add(&mut self, name: &'static str, unit: &'static str, target: &'static str, value: f64) {
        self.table.add(self.kind, name, unit, target, value);
    }

    fn few(&mut self) {
        let (_folder, it) = self.start(Sort::Light, FEW);
        self.add("30 processes run after", "s", "", it.up.begun.as_secs_f64());
        if let Some(registered) = it.up.registered {
            self.add(
                "30 workers are registered after",
                "s",
                "0.35",
                registered.as_secs_f64(),
            );
        }
        it.stop();
    }

    fn many(&mut self) {
        let (_folder, it) = self.start(Sort::Light, MANY);
        self.add(
            "200 processes run after",
            "s",
            "",
            it.up.begun.as_secs_f64(),
        );
        if let Some(registered) = it.up.registered {
            self.add(
                "200 workers are registered after",
                "s",
                "0.7",
                registered.as_secs_f64(),
            );
        }
        self.add(
            "CPU of the daemon until then",
            "s",
            "",
            it.used().cpu.as_secs_f64(),
        );
        std::thread::sleep(HEALTHY);
        if self.kind != Kind::Floor {
            self.idle(&it);
            self.status(&it, "status command, 200 workers");
            if self.kind == Kind::Gearpool {
                for _ in 0..10 {
                    let begin = Instant::now();
                    it.ask().unwrap();
                    self.add(
                        "the same, the request alone",
                        "ms",
                        "10",
                        millis(begin.elapsed()),
                    );
                }
            }
        }
        let used = it.used();
        self.kills(
            &it,
            "a killed worker's replacement runs after",
            "4, at most 10",
        );
        let cpu = it.used().cpu - used.cpu;
        self.add(
            "CPU of the daemon for a replacement",
            "ms",
            "",
            millis(cpu) / self.settings.kills as f64,
        );
        let mut victims = it.pids[self.settings.kills..].chunks_exact(VOLLEY);
        for victims in victims.by_ref().take(self.settings.volleys) {
            it.told.forget();
            let begin = now();
            for &pid in victims {
                kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
            }
            let records = it.told.take(What::Begun, VOLLEY);
            self.add(
                "15 killed at once are all back after",
                "ms",
                "20",
                millis(last(&records) - begin),
            );
            self.rest(&it);
        }
        std::thread::sleep(HEALTHY);
        let stopped = it.stop();
        if self.kind != Kind::Floor {
            self.add(
                "200 idle workers are stopped after",
                "s",
                "0.3",
                stopped.as_secs_f64(),
            );
        }
    }

    fn kills(&mut self, it: &Contestant, name: &'static str, target: &'static str) {
        for &pid in &it.pids[..self.settings.kills.min(it.pids.len())] {
            it.told.forget();
            let begin = now();
            kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
            let records = it.told.take(What::Begun, 1);
            self.add(name, "ms", target, millis(last(&records) - begin));
            self.rest(it);
        }
    }

    /// Until the last replacement is an ordinary process, and the daemon is still.
    fn rest(&self, it: &Contestant) {
        if self.kind == Kind::Gearpool {
            it.told.take(What::Registered, 0);
        }
        std::thread::sleep(Duration::from_millis(30));
    }

    fn idle(&mut self, it: &Contestant) {
        let (begin, before) = (Instant::now(), it.used());
        std::thread::sleep(self.settings.idle);
        let (seconds, after) = (begin.elapsed().as_secs_f64(), it.used());
        let cpu = (after.cpu - before.cpu).as_secs_f64() / seconds;
        let wakeups = (after.wakeups - before.wakeups) as f64 / seconds;
        self.add(
            "200 idle workers, CPU of the daemon",
            "%",
            "0.06",
            cpu * 100.0,
        );
        self.add("200 idle workers, wake-ups a second", "", "2", wakeups);
        let (resident, share) = it.memory();
        self.add("200 idle workers, resident", "MB", "12", resident);
        self.add("200 idle workers, resident (PSS)", "MB", "", share);
        let (pipes, all) = it.descriptors();
        self.add("pipes a worker", "", "1", pipes as f64 / MANY as f64);
        self.add(
            "descriptors a worker, of all sorts",
            "",
            "",
            all as f64 / MANY as f64,
        );
    }

    fn status(&mut self, it: &Contestant, name: &'static str) {
        for _ in 0..10 {
            self.add(name, "ms", "10", millis(it.status()));
        }
    }

    fn loud(&mut self) {
        let (_folder, it) = self.start(Sort::Loud, MANY);
        it.make_noise();
        std::thread::sleep(HEALTHY);
        self.status(&it, "status command, while one writes at full speed");
        it.stop();
    }

    /// A daemon that holds half a gigabyte of jobs.
    fn beside_a_queue(&mut self) {
        let (_folder, it) = self.start(Sort::Light, MANY);
        fill(&it.address());
        std::thread::sleep(HEALTHY);
        self.kills(&it, "a replacement, beside a queue of 500 MB", "");
        it.stop();
    }

    fn php(&mut self) {
        for (count, name) in [
            (FEW, "30 PHP workers run after"),
            (MANY, "200 PHP workers run after"),
        ] {
            let (_folder, it) = self.start(Sort::Php, count);
            self.add(name, "s", "", it.up.begun.as_secs_f64());
            it.stop();
        }
    }
}

/// Queues jobs that nobody does.
fn fill(address: &str) {
    const JOBS: usize = 5000;
    const WORKLOAD: usize = 100_000;
    let mut socket = TcpStream::connect(address).unwrap();
    let mut packet = b"\0REQ\0\0\0\x12".to_vec();
    packet.extend((8 + WORKLOAD as u32).to_be_bytes());
    packet.extend(b"nobody\0\0");
    packet.resize(packet.len() + WORKLOAD, b'x');
    let mut answers = socket.try_clone().unwrap();
    let reader = std::thread::spawn(move || {
        let (mut created, mut buffer) = (0, [0; 1 << 16]);
        let mut seen = Vec::new();
        while created < JOBS {
            let length = answers.read(&mut buffer).unwrap();
            assert!(length > 0, "the server does not take the jobs");
            seen.extend_from_slice(&buffer[..length]);
            created = memchr::memmem::find_iter(&seen, b"\0RES\0\0\0\x08").count();
        }
    });
    for _ in 0..JOBS {
        socket.write_all(&packet).unwrap();
    }
    reader.join().unwrap();
}

impl Table {
    fn add(
        &mut self,
        kind: Kind,
        name: &'static str,
        unit: &'static str,
        target: &'static str,
        value: f64,
    ) {
        let place = self
            .0
            .iter()
            .position(|it| it.name == name)
            .unwrap_or_else(|| {
                self.0.push(Figure {
                    name,
                    unit,
                    target,
                    values: Vec::new(),
                });
                self.0.len() - 1
            });
        let figure = &mut self.0[place];
        match figure.values.iter_mut().find(|(of, _)| *of == kind) {
            Some((_, values)) => values.push(value),
            None => figure.values.push((kind, vec![value])),
        }
    }

    /// Each cell: the median, and the lowest and the highest.
    fn print(&self) {
        println!("\n| figure | target | gearpool | supervisord | floor |");
        println!("| --- | ---: | ---: | ---: | ---: |");
        for figure in &self.0 {
            let cell = |kind| {
                let values = figure.values.iter().find(|(of, _)| *of == kind);
                values.map_or_else(String::new, |(_, values)| spread(values))
            };
            let name = match figure.unit {
                "" => figure.name.to_owned(),
                unit => format!("{}, {unit}", figure.name),
            };
            let target = match figure.target {
                "" => String::new(),
                target => format!("≤ {target}"),
            };
            println!(
                "| {name} | {target} | {} | {} | {} |",
                cell(Kind::Gearpool),
                cell(Kind::Supervisord),
                cell(Kind::Floor)
            );
        }
    }
}

fn spread(values: &[f64]) -> String {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let (least, median, most) = (
        values[0],
        values[values.len() / 2],
        values[values.len() - 1],
    );
    format!("**{}** ({}…{})", short(median), short(least), short(most))
}

/// Three digits are enough.
fn short(value: f64) -> String {
    match value {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}
