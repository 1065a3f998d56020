//! What a script does: start processes, and TERM those that are to go; KILL ten seconds later, as supervisord has it.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::FIRST;
use crate::manager::{Manager, Server};
use crate::work::{self, KINDS};

/// How long it is waited for an end after TERM.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Plain {
    server: Server,
    workers: Vec<(String, Child)>,
    killed: usize,
}

impl Plain {
    pub(crate) fn start(mut server: Server) -> Plain {
        server.start(&[]);
        let mut manager = Plain {
            server,
            workers: Vec::new(),
            killed: 0,
        };
        for kind in KINDS {
            manager.add(kind, FIRST as usize);
        }
        manager
    }

    fn add(&mut self, kind: &str, n: usize) {
        let command = work::command(kind);
        let words = command.split(' ');
        for _ in 0..n {
            let child = Command::new(words.clone().next().unwrap_or_default())
                .args(words.clone().skip(1))
                .envs(self.server.environment())
                .current_dir(self.server.folder())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            self.workers.push((kind.to_owned(), child));
        }
    }

    /// The latest come first to go.
    fn remove(&mut self, kind: &str, n: usize) {
        let mut going = Vec::new();
        for _ in 0..n {
            let of_kind = |(it, _): &(String, Child)| it == kind;
            if let Some(place) = self.workers.iter().rposition(of_kind) {
                going.push(self.workers.remove(place).1);
            }
        }
        for child in &going {
            kill(pid(child), Signal::SIGTERM).unwrap();
        }
        let start = Instant::now();
        for mut child in going {
            while child.try_wait().unwrap().is_none() {
                if start.elapsed() > PATIENCE {
                    self.killed += 1;
                    child.kill().unwrap();
                    child.wait().unwrap();
                    break;
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(child.id().cast_signed())
}

impl Manager for Plain {
    fn server(&self) -> &Server {
        &self.server
    }

    fn operate(&mut self, kind: &str, scale: Option<u32>) {
        let there = self.workers.iter().filter(|(it, _)| it == kind).count();
        let wanted = scale.map_or(there, |n| n as usize);
        match scale {
            Some(_) => self.remove(kind, there.saturating_sub(wanted)),
            None => self.remove(kind, there),
        }
        let there = self.workers.iter().filter(|(it, _)| it == kind).count();
        self.add(kind, wanted.saturating_sub(there));
    }

    fn end(mut self: Box<Self>) -> usize {
        self.server.stop();
        self.killed
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        for (_, child) in &mut self.workers {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
