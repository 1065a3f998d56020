//! The admin lines that the job server answers.

use super::conn::{ConnId, Conns, Reach};
use super::function::{DropError, Functions};
use super::job::{Job, Place};
use super::listing::Of;
use super::outbox::Notice;
use super::server::{JobServer, MAX_FUNCTION};
use crate::proto::admin::{Admin, GEARMAND_VERSION, incomplete, unknown_command};

/// Answers one line.
pub(super) fn answer(server: &mut JobServer, asking: ConnId, line: &[u8]) {
    let admin = Admin::parse(line);
    let answered: &[u8] = match admin {
        Admin::CancelJob(handle) => match server.cancel(handle) {
            true => b"OK\r\n",
            false => b"ERR UNKNOWN_JOB\r\n",
        },
        Admin::CancelOther => b"ERR UNKNOWN_ERROR\r\n",
        Admin::CreateFunction(name) if name.len() <= MAX_FUNCTION => {
            match server.functions.named(name) {
                Some(_) => b"OK\r\n",
                None => b"ERR TOO_MANY_FUNCTIONS\r\n",
            }
        }
        Admin::DropFunction(name) => match server.functions.drop(name) {
            Ok(()) => b"OK\r\n",
            Err(DropError::Unknown) => b"ERR function not found\r\n",
            Err(DropError::InUse) => {
                b"ERR there are still connected workers or executing clients\r\n"
            }
        },
        Admin::MaxQueue(name, limits) if name.len() <= MAX_FUNCTION => {
            match server.functions.named(name) {
                Some(function) => {
                    server.functions[function].max_queue = Some(limits);
                    b"OK\r\n"
                }
                None => b"ERR TOO_MANY_FUNCTIONS\r\n",
            }
        }
        Admin::ShowOther => b"ERR UNKNOWN_SHOW_ARGUMENTS\r\n",
        Admin::ShutDown(ending) if server.reach(asking) == Some(Reach::Local) => {
            server.out.tell(Notice::ShutDown(ending));
            b"OK\r\n"
        }
        _ => return tell(server, asking, admin),
    };
    server
        .out
        .write(asking, |out| out.extend_from_slice(answered));
}

/// Answers what changes nothing.
fn tell(server: &mut JobServer, asking: ConnId, admin: Admin<'_>) {
    let JobServer {
        options,
        functions,
        conns,
        jobs,
        out,
        ..
    } = server;
    match admin {
        Admin::Blank => {}
        Admin::Status => server.list(asking, Of::Functions),
        Admin::PriorityStatus => server.list(asking, Of::Priorities),
        Admin::Workers => server.list(asking, Of::Connections),
        Admin::ShowJobs => server.list(asking, Of::Jobs),
        Admin::ShowUniqueJobs => server.list(asking, Of::Uniques),
        Admin::Jobs => out.write(asking, |out| {
            for (_, job) in jobs.iter() {
                write_job(out, functions, conns, job);
                out.extend_from_slice(format!("\t{}\n", job.clients.len()).as_bytes());
            }
            out.extend_from_slice(b".\n");
        }),
        Admin::Clients => out.write(asking, |out| {
            for conn in conns.iter() {
                out.extend_from_slice(conn.peer.as_bytes());
                out.push(b'\n');
                let mut waits: Vec<_> = conn.waits.keys().map(|&job| &jobs[job]).collect();
                waits.sort_unstable_by_key(|job| job.number);
                for job in waits {
                    out.push(b'\t');
                    write_job(out, functions, conns, job);
                    out.push(b'\n');
                }
            }
            out.extend_from_slice(b".\n");
        }),
        Admin::CreateFunction(_) => out.write(asking, |out| incomplete(out, "create")),
        Admin::MaxQueue(..) => out.write(asking, |out| incomplete(out, "maxqueue")),
        // one line of text from anybody on the network must not end a server: gearmand has given the command up for that
        Admin::ShutDown(_) => out.write(asking, |out| unknown_command(out, b"shutdown")),
        Admin::CancelJob(_) | Admin::CancelOther | Admin::DropFunction(_) | Admin::ShowOther => {
            unreachable!("answered before")
        }
        Admin::Pid => out.write(asking, |out| {
            out.extend_from_slice(format!("OK {}\n", options.pid).as_bytes());
        }),
        Admin::Verbose => out.write(asking, |out| {
            out.extend_from_slice(format!("OK {}\n", options.verbosity).as_bytes());
        }),
        Admin::Incomplete(command) => out.write(asking, |out| incomplete(out, command)),
        Admin::Version => out.write(asking, |out| {
            out.extend_from_slice(format!("OK {GEARMAND_VERSION}\n").as_bytes());
        }),
        Admin::Unknown(word) => out.write(asking, |out| unknown_command(out, word)),
    }
}

/// A job as Perl's server lists it: function, unique, and the address of its worker, which is `-` while it waits.
fn write_job(out: &mut Vec<u8>, functions: &Functions, conns: &Conns, job: &Job) {
    let worker = match job.place {
        Place::Worker { conn, .. } => &conns[conn].peer,
        Place::Lane { .. } | Place::Later { .. } => "-",
    };
    out.extend_from_slice(&functions[job.function].name);
    out.push(b'\t');
    out.extend_from_slice(&job.unique);
    out.push(b'\t');
    out.extend_from_slice(worker.as_bytes());
}
