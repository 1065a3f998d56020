//! What the three have in common: a job server in a folder, and what can be done to the workers.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::DEADLINE;

/// Who starts and stops the workers.
pub(crate) trait Manager {
    fn server(&self) -> &Server;

    /// Has so many processes of this kind from now on; with `None` replaces those that there are.
    fn operate(&mut self, kind: &str, scale: Option<u32>);

    /// Ends everything, and says how many workers had to be killed until now.
    fn end(self: Box<Self>) -> usize;
}

/// A job server: for the others it has no pools.
pub(crate) struct Server {
    folder: PathBuf,
    pub(crate) port: u16,
    child: Option<Child>,
}

impl Server {
    pub(crate) fn new(folder: &Path) -> Server {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        Server {
            folder: folder.to_owned(),
            port: free.local_addr().unwrap().port(),
            child: None,
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn start(&mut self, words: &[&str]) {
        let mut command = self.gearpool(&["serve", "-L", "127.0.0.1", "-p"]);
        command
            .arg(self.port.to_string())
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(self.folder.join("daemon.log")).unwrap());
        self.child = Some(command.spawn().unwrap());
        let start = Instant::now();
        while !self.run(&["status"]) {
            assert!(start.elapsed() < DEADLINE, "the server does not answer");
        }
    }

    pub(crate) fn run(&self, words: &[&str]) -> bool {
        self.gearpool(words).output().unwrap().status.success()
    }

    pub(crate) fn queue(&self, function: &str, workloads: &[String]) {
        let mut command = self.gearpool(&["submit", "-b", "-N", "-f", function, "-p"]);
        command.arg(self.port.to_string());
        let input = self.folder.join("jobs");
        std::fs::write(&input, workloads.join("\n")).unwrap();
        command.stdin(std::fs::File::open(input).unwrap());
        assert!(command.output().unwrap().status.success());
    }

    /// Where the workers find it.
    pub(crate) fn environment(&self) -> [(&'static str, String); 2] {
        [
            ("GEARMAN_HOST", "127.0.0.1".to_owned()),
            ("GEARMAN_PORT", self.port.to_string()),
        ]
    }

    pub(crate) fn stop(&mut self) {
        if let Some(child) = &mut self.child {
            kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).unwrap();
            child.wait().unwrap();
        }
        self.child = None;
    }

    fn gearpool(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gearpool"));
        command
            .args(words)
            .env("GEARPOOL_STATE_DIR", self.folder.join("state"))
            .env("GEARPOOL_LOAD_GUARD", "off")
            .current_dir(&self.folder);
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
