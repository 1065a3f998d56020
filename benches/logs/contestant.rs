//! What is measured: a daemon that starts the writers and keeps their output, rotated at 10 MiB with five old files kept.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use crate::WRITERS;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Gearpool,
    Supervisord,
    /// This benchmark: poll(2), read(2) and write(2) in a loop, and the renames of a rotation after a write, wherever a line ends.
    Floor,
}

pub(crate) struct Contestant {
    child: Child,
    folder: PathBuf,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Gearpool => "gearpool",
            Kind::Supervisord => "supervisord",
            Kind::Floor => "floor",
        }
    }

    /// The log of a writer, from 1.
    pub(crate) fn log(self, folder: &Path, slot: u32) -> PathBuf {
        match self {
            Kind::Gearpool => folder.join(format!("state/logs/w/{slot}.log")),
            Kind::Supervisord | Kind::Floor => folder.join(format!("w{slot}.log")),
        }
    }
}

impl Contestant {
    pub(crate) fn start(
        kind: Kind,
        folder: &Path,
        bytes: u64,
        write: usize,
        format: &str,
    ) -> Contestant {
        let own = std::env::current_exe().unwrap();
        let writer = format!(
            "{} --writer {} {bytes} {write}",
            own.display(),
            folder.display()
        );
        let mut command = match kind {
            Kind::Gearpool => {
                let format = match format {
                    "" => String::new(),
                    "timestamps" => ", timestamps: true".to_owned(),
                    other => format!(", format: {other}"),
                };
                let file = format!(
                    "w: {{cmd: '{writer}', count: {WRITERS}, restart: never, start_timeout: 1h, log: {{max_size: 10MiB, keep: 5{format}}}}}\n"
                );
                std::fs::write(folder.join("workers.yaml"), file).unwrap();
                let mut command = Command::new(env!("CARGO_BIN_EXE_gearpool"));
                command.args(["serve", "-L", "127.0.0.1", "-p", "0", "--state-dir"]);
                command
                    .arg(folder.join("state"))
                    .arg("-c")
                    .arg(folder.join("workers.yaml"));
                command
            }
            Kind::Floor => {
                let mut command = Command::new(&own);
                command.arg("--floor").arg(folder);
                command.args(writer.split(' '));
                command
            }
            Kind::Supervisord => {
                let dir = folder.display();
                let mut file = format!(
                    "[supervisord]\nnodaemon=true\nlogfile={dir}/supervisord.log\npidfile={dir}/pid\nchildlogdir={dir}\n"
                );
                for slot in 1..=WRITERS {
                    file += &format!(
                        "[program:w{slot}]\ncommand={writer}\nautorestart=false\nredirect_stderr=true\n\
                         stdout_logfile={dir}/w{slot}.log\nstdout_logfile_maxbytes=10MB\nstdout_logfile_backups=5\n"
                    );
                }
                std::fs::write(folder.join("supervisord.conf"), file).unwrap();
                let mut command = Command::new("supervisord");
                command.arg("-c").arg(folder.join("supervisord.conf"));
                command
            }
        };
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| {
            panic!(
                "{} cannot be started: {error}; Debian: apt install supervisor",
                kind.name()
            )
        });
        Contestant {
            child,
            folder: folder.to_owned(),
        }
    }

    /// The processor time of all of its threads.
    pub(crate) fn cpu(&self) -> Duration {
        let clock = ClockId::pid_cpu_clock_id(self.pid()).unwrap();
        clock_gettime(clock).unwrap().into()
    }

    /// The processor time once it has come to rest.
    pub(crate) fn settled(&self) -> Duration {
        let mut last = self.cpu();
        loop {
            std::thread::sleep(Duration::from_millis(200));
            let now = self.cpu();
            if now - last < Duration::from_millis(4) {
                return now;
            }
            last = now;
        }
    }

    /// In bytes.
    pub(crate) fn resident(&self) -> u64 {
        let path = format!("/proc/{}/statm", self.pid());
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let pages = text
            .split(' ')
            .nth(1)
            .and_then(|pages| pages.parse::<u64>().ok());
        pages.unwrap_or_default() * 4096
    }

    /// Lets the writers end, and then itself.
    pub(crate) fn stop(mut self) {
        std::fs::remove_file(self.folder.join("go")).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        kill(self.pid(), Signal::SIGTERM).unwrap();
        self.child.wait().unwrap();
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }
}

impl Drop for Contestant {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
