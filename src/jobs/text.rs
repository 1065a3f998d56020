//! The admin lines that the job server answers.

use super::conn::ConnId;
use super::server::JobServer;
use crate::proto::admin::{Admin, GEARMAND_VERSION, unknown_command};

/// Answers one line.
pub(super) fn answer(server: &mut JobServer, asking: ConnId, line: &[u8]) {
    let JobServer {
        functions,
        conns,
        out,
        ..
    } = server;
    match Admin::parse(line) {
        Admin::Blank => {}
        Admin::Status => out.write(asking, |out| {
            for function in functions.iter() {
                let load = function.load();
                let total = load.queued.iter().sum::<u64>() + load.running;
                out.extend_from_slice(&function.name);
                out.extend_from_slice(
                    format!("\t{total}\t{}\t{}\n", load.running, load.workers).as_bytes(),
                );
            }
            out.extend_from_slice(b".\n");
        }),
        Admin::Workers => out.write(asking, |out| {
            for conn in conns.iter() {
                out.extend_from_slice(format!("{} {} ", conn.descriptor, conn.peer).as_bytes());
                out.extend_from_slice(&conn.client_id);
                out.extend_from_slice(b" :");
                for ability in &conn.abilities {
                    out.push(b' ');
                    out.extend_from_slice(&functions[ability.function].name);
                }
                out.push(b'\n');
            }
            out.extend_from_slice(b".\n");
        }),
        Admin::Version => out.write(asking, |out| {
            out.extend_from_slice(format!("OK {GEARMAND_VERSION}\n").as_bytes());
        }),
        Admin::Unknown(word) => out.write(asking, |out| unknown_command(out, word)),
    }
}
