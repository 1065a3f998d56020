//! Gearpool's own pools.

use std::fmt::Write as _;

use crate::FIRST;
use crate::manager::{Manager, Server};
use crate::work::{self, KINDS};

pub(crate) struct Gearpool(Server);

impl Gearpool {
    pub(crate) fn start(mut server: Server) -> Gearpool {
        let mut file = String::new();
        for kind in KINDS {
            let cmd = work::command(kind);
            writeln!(file, "{kind}: {{cmd: '{cmd}', count: {FIRST}}}").unwrap();
        }
        std::fs::write(server.folder().join("workers.yaml"), file).unwrap();
        server.start(&["-c", "workers.yaml"]);
        Gearpool(server)
    }
}

impl Manager for Gearpool {
    fn server(&self) -> &Server {
        &self.0
    }

    fn operate(&mut self, kind: &str, scale: Option<u32>) {
        let done = match scale {
            Some(n) => self.0.run(&["scale", kind, &n.to_string()]),
            None => self.0.run(&["restart", kind]),
        };
        assert!(done, "an operation on {kind}");
    }

    fn end(mut self: Box<Self>) -> usize {
        self.0.stop();
        let log = std::fs::read_to_string(self.0.folder().join("daemon.log")).unwrap();
        log.matches("signal KILL").count()
    }
}
