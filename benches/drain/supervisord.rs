//! supervisord: `numprocs` in its file and `supervisorctl update`, or `supervisorctl restart`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::manager::{Manager, Server};
use crate::work::{self, KINDS};
use crate::{DEADLINE, FIRST};

pub(crate) struct Supervisord {
    server: Server,
    counts: BTreeMap<&'static str, u32>,
    child: Child,
}

impl Supervisord {
    pub(crate) fn start(mut server: Server) -> Supervisord {
        server.start(&[]);
        let counts = KINDS.map(|kind| (kind, FIRST)).into();
        write_file(&server, &counts);
        let child = Command::new("supervisord")
            .args(["-c", "supervisord.conf"])
            .current_dir(server.folder())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("supervisord cannot be started: {error}; Debian: apt install supervisor")
            });
        let manager = Supervisord {
            server,
            counts,
            child,
        };
        let start = Instant::now();
        while !manager.control(&["pid"]) {
            assert!(start.elapsed() < DEADLINE, "supervisord does not answer");
        }
        manager
    }

    fn control(&self, words: &[&str]) -> bool {
        Command::new("supervisorctl")
            .args(["-c", "supervisord.conf"])
            .args(words)
            .current_dir(self.server.folder())
            .output()
            .unwrap()
            .status
            .success()
    }
}

/// Everything that is not said here is as supervisord has it: TERM, and KILL ten seconds later.
fn write_file(server: &Server, counts: &BTreeMap<&'static str, u32>) {
    let folder = server.folder().display();
    let environment: Vec<String> = server
        .environment()
        .iter()
        .map(|(name, value)| format!("{name}=\"{value}\""))
        .collect();
    let mut file = format!(
        "[supervisord]\nnodaemon=true\nlogfile={folder}/supervisord.log\npidfile={folder}/pid\nchildlogdir={folder}\n\
         [unix_http_server]\nfile={folder}/sock\n\
         [supervisorctl]\nserverurl=unix://{folder}/sock\n\
         [rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"
    );
    for (kind, n) in counts {
        writeln!(
            file,
            "[program:{kind}]\ncommand={}\nnumprocs={n}\nprocess_name=%(program_name)s-%(process_num)d\n\
             directory={folder}\nenvironment={}\nautorestart=true",
            work::command(kind),
            environment.join(",")
        )
        .unwrap();
    }
    std::fs::write(server.folder().join("supervisord.conf"), file).unwrap();
}

impl Manager for Supervisord {
    fn server(&self) -> &Server {
        &self.server
    }

    fn operate(&mut self, kind: &str, scale: Option<u32>) {
        match scale {
            Some(n) => {
                *self.counts.get_mut(kind).unwrap() = n;
                write_file(&self.server, &self.counts);
                self.control(&["update"]);
            }
            None => {
                self.control(&["restart", &format!("{kind}:*")]);
            }
        }
    }

    fn end(mut self: Box<Self>) -> usize {
        let log = self.server.folder().join("supervisord.log");
        let killed = std::fs::read_to_string(log).unwrap();
        let killed = killed.matches("with SIGKILL").count();
        self.server.stop();
        kill(
            Pid::from_raw(self.child.id().cast_signed()),
            Signal::SIGTERM,
        )
        .unwrap();
        self.child.wait().unwrap();
        killed
    }
}

impl Drop for Supervisord {
    fn drop(&mut self) {
        let _ = kill(
            Pid::from_raw(self.child.id().cast_signed()),
            Signal::SIGTERM,
        );
        let _ = self.child.wait();
    }
}
