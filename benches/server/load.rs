//! The load: raw clients and workers on one thread, and what one scenario of one round measured.
//!
//! Its bytes are made before the clock starts, for it shares the machine with the server.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use gearpool::proto::{Grab, Kind, Mode, Priority, Request};
use nix::sys::epoll::EpollTimeout;
use nix::time::ClockId;

use crate::contestant::Running;
use crate::wire::{SILENCE, Wire};

/// The function of every job.
pub(crate) const FUNCTION: &[u8] = b"bench";
/// The workload of every job.
pub(crate) const WORKLOAD: [u8; 64] = [b'x'; 64];
/// The result of every job.
const RESULT: [u8; 16] = [b'y'; 16];

/// Connections that submit background jobs.
const SUBMITTERS: usize = 4;
/// Jobs in one write of a submitter; it has two such writes in flight.
const BATCH: usize = 32;
/// Workers that drain the queue.
const DRAINERS: usize = 8;
/// Clients, and workers, of the foreground scenario.
const PAIRS: usize = 16;
/// Workers asleep in the last scenario.
const SLEEPERS: usize = 500;

/// Whether background jobs carry a unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Uniques {
    /// Empty, as the Perl, Node and Python libraries send it.
    Empty,
    /// 36 bytes, another for each job, as libgearman and PHP send it.
    Each,
}

/// What was measured.
pub(crate) struct Sample {
    /// Jobs that went through.
    pub(crate) jobs: usize,
    /// From the first byte sent to the last answer read.
    pub(crate) wall: Duration,
    /// The server's CPU time, until it came to rest.
    pub(crate) server: Duration,
    /// The load's own.
    pub(crate) load: Duration,
    /// From SUBMIT_JOB to WORK_COMPLETE, sorted, where a client waited.
    pub(crate) latencies: Vec<Duration>,
}

impl Sample {
    /// Runs `body`, which returns the latencies, against a server at rest.
    fn measure(
        server: &Running,
        jobs: usize,
        body: impl FnOnce() -> Result<Vec<Duration>>,
    ) -> Result<Sample> {
        let own = ClockId::CLOCK_PROCESS_CPUTIME_ID;
        let server_before = server.cpu()?;
        let load_before = Duration::from(own.now()?);
        let start = Instant::now();
        let mut latencies = body()?;
        let wall = start.elapsed();
        let load = Duration::from(own.now()?) - load_before;
        latencies.sort_unstable();
        Ok(Sample {
            jobs,
            wall,
            server: server.cpu()? - server_before,
            load,
            latencies,
        })
    }
}

/// Submits background jobs that no worker takes, pipelined, and waits for every JOB_CREATED.
pub(crate) fn submit(server: &Running, jobs: usize, uniques: Uniques) -> Result<Sample> {
    submit_to(server, jobs, uniques, 1)
}

/// The same, to so many functions in turn.
pub(crate) fn submit_to(
    server: &Running,
    jobs: usize,
    uniques: Uniques,
    functions: usize,
) -> Result<Sample> {
    let mut wire = Wire::dialing()?;
    let mut submitters = Vec::new();
    for number in 0..SUBMITTERS {
        wire.connect(server.address(), b"")?;
        // the remainder goes to the first ones
        let share = (jobs + SUBMITTERS - 1 - number) / SUBMITTERS;
        submitters.push(Submitter::new(number, share, uniques, functions));
    }
    Sample::measure(server, jobs, || {
        for (at, submitter) in submitters.iter_mut().enumerate() {
            submitter.send(2 * BATCH, wire.to(at));
        }
        wire.flush()?;
        let mut created = 0;
        while created < jobs {
            turn(&mut wire, &mut |at, kind, body, out| {
                ensure!(kind == Kind::JobCreated, unexpected(kind, body));
                created += 1;
                let submitter = &mut submitters[at];
                submitter.created += 1;
                if submitter.created % BATCH == 0 {
                    submitter.send(BATCH, out.to(at));
                }
                Ok(())
            })?;
        }
        Ok(Vec::new())
    })
}

struct Submitter {
    packets: Vec<u8>,
    /// Bytes of one packet.
    length: usize,
    sent: usize,
    created: usize,
}

impl Submitter {
    fn new(number: usize, jobs: usize, uniques: Uniques, functions: usize) -> Submitter {
        let mut packets = Vec::new();
        for job in 0..jobs {
            let unique = match uniques {
                Uniques::Empty => String::new(),
                Uniques::Each => format!("{number:08x}-bead-4bed-8bad-{job:012x}"),
            };
            // all of the same length, for a write is so many bytes
            let function = match functions {
                1 => FUNCTION.to_vec(),
                more => format!("bench{:05}", job % more).into_bytes(),
            };
            Request::SubmitJob {
                priority: Priority::Normal,
                mode: Mode::Background,
                function: &function,
                unique: unique.as_bytes(),
                workload: &WORKLOAD,
            }
            .encode(&mut packets);
        }
        Submitter {
            length: packets.len().checked_div(jobs).unwrap_or_default(),
            packets,
            sent: 0,
            created: 0,
        }
    }

    fn send(&mut self, jobs: usize, out: &mut Vec<u8>) {
        let end = self.packets.len().min(self.sent + jobs * self.length);
        out.extend_from_slice(&self.packets[self.sent..end]);
        self.sent = end;
    }
}

/// Works off a queue of `jobs` background jobs, until every worker has been told that there is none left.
pub(crate) fn drain(server: &Running, jobs: usize) -> Result<Sample> {
    let mut wire = Wire::dialing()?;
    let mut crew = Crew::connect(&mut wire, server, DRAINERS)?;
    Sample::measure(server, jobs, || {
        crew.start(&mut wire)?;
        ensure!(
            crew.done == jobs,
            "{} of {jobs} jobs came out of the queue",
            crew.done
        );
        Ok(Vec::new())
    })
}

/// Clients with one job in flight each, and as many workers.
pub(crate) fn foreground(server: &Running, jobs: usize) -> Result<Sample> {
    let mut wire = Wire::dialing()?;
    let mut crew = Crew::connect(&mut wire, server, PAIRS)?;
    crew.start(&mut wire)?;
    for _ in 0..PAIRS {
        wire.connect(server.address(), b"")?;
    }
    let packet = foreground_job();
    Sample::measure(server, jobs, || {
        let mut latencies = Vec::with_capacity(jobs);
        let mut sent = [Instant::now(); PAIRS];
        let mut left = jobs;
        for (client, sent) in sent.iter_mut().enumerate().take(jobs) {
            left -= 1;
            wire.to(PAIRS + client).extend_from_slice(&packet);
            *sent = Instant::now();
        }
        wire.flush()?;
        while latencies.len() < jobs {
            turn(&mut wire, &mut |at, kind, body, out| {
                match (at.checked_sub(PAIRS), kind) {
                    (None, _) => crew.answer(kind, body, out.to(at))?,
                    (Some(_), Kind::JobCreated) => {}
                    (Some(client), Kind::WorkComplete) => {
                        let now = Instant::now();
                        latencies.push(now - sent[client]);
                        if left > 0 {
                            left -= 1;
                            sent[client] = now;
                            out.to(at).extend_from_slice(&packet);
                        }
                    }
                    _ => bail!(unexpected(kind, body)),
                }
                Ok(())
            })?;
        }
        // the workers' last answers are paid for by these jobs too
        rest(&mut wire, &mut crew)?;
        Ok(latencies)
    })
}

/// One job at a time, while [`SLEEPERS`] workers are asleep.
pub(crate) fn sleepers(server: &Running, jobs: usize) -> Result<Sample> {
    let mut wire = Wire::dialing()?;
    let mut crew = Crew::connect(&mut wire, server, SLEEPERS)?;
    crew.start(&mut wire)?;
    let client = wire.connect(server.address(), b"")?;
    let packet = foreground_job();
    Sample::measure(server, jobs, || {
        let mut latencies = Vec::with_capacity(jobs);
        for _ in 0..jobs {
            wire.to(client).extend_from_slice(&packet);
            let sent = Instant::now();
            wire.flush()?;
            let before = latencies.len();
            while latencies.len() == before {
                turn(&mut wire, &mut |at, kind, body, out| {
                    match kind {
                        Kind::JobCreated => {}
                        Kind::WorkComplete => latencies.push(sent.elapsed()),
                        _ => crew.answer(kind, body, out.to(at))?,
                    }
                    Ok(())
                })?;
            }
            rest(&mut wire, &mut crew)?;
        }
        Ok(latencies)
    })
}

fn foreground_job() -> Vec<u8> {
    let mut packet = Vec::new();
    Request::SubmitJob {
        priority: Priority::Normal,
        mode: Mode::Foreground,
        function: FUNCTION,
        unique: b"",
        workload: &WORKLOAD,
    }
    .encode(&mut packet);
    packet
}

/// The workers: the first connections of a wire.
struct Crew {
    grab: Vec<u8>,
    sleep: Vec<u8>,
    size: usize,
    asleep: usize,
    done: usize,
}

impl Crew {
    fn connect(wire: &mut Wire, server: &Running, size: usize) -> Result<Crew> {
        let [mut hello, mut grab, mut sleep] = [const { Vec::new() }; 3];
        Request::CanDo { function: FUNCTION }.encode(&mut hello);
        Request::GrabJob(Grab::Plain).encode(&mut grab);
        Request::PreSleep.encode(&mut sleep);
        for _ in 0..size {
            wire.connect(server.address(), &hello)?;
        }
        Ok(Crew {
            grab,
            sleep,
            size,
            asleep: 0,
            done: 0,
        })
    }

    /// Sends every worker's first GRAB_JOB and works until all are asleep.
    fn start(&mut self, wire: &mut Wire) -> Result<()> {
        for at in 0..self.size {
            wire.to(at).extend_from_slice(&self.grab);
        }
        wire.flush()?;
        while self.asleep < self.size {
            turn(wire, &mut |at, kind, body, out| {
                self.answer(kind, body, out.to(at))
            })?;
        }
        Ok(())
    }

    fn answer(&mut self, kind: Kind, body: &[u8], out: &mut Vec<u8>) -> Result<()> {
        match kind {
            Kind::JobAssign => {
                let end = body.iter().position(|&byte| byte == 0);
                let handle = &body[..end.unwrap_or(body.len())];
                let data = &RESULT;
                Request::WorkComplete { handle, data }.encode(out);
                out.extend_from_slice(&self.grab);
                self.done += 1;
            }
            Kind::NoJob => {
                out.extend_from_slice(&self.sleep);
                self.asleep += 1;
            }
            Kind::Noop => {
                out.extend_from_slice(&self.grab);
                self.asleep -= 1;
            }
            _ => bail!(unexpected(kind, body)),
        }
        Ok(())
    }
}

/// Goes on until all workers are asleep and a millisecond has passed without a packet: a NOOP may still be on its way to a worker
/// that the load believes asleep.
fn rest(wire: &mut Wire, crew: &mut Crew) -> Result<()> {
    let give_up = Instant::now() + SILENCE;
    loop {
        let ready = wire.turn(EpollTimeout::from(1u8), &mut |at, kind, body, out| {
            crew.answer(kind, body, out.to(at))
        })?;
        if ready == 0 && crew.asleep == crew.size {
            return Ok(());
        }
        ensure!(
            Instant::now() < give_up,
            "the workers do not come to rest: {} of {} asleep",
            crew.asleep,
            crew.size
        );
    }
}

fn turn(
    wire: &mut Wire,
    handle: &mut impl FnMut(usize, Kind, &[u8], &mut crate::wire::Outboxes) -> Result<()>,
) -> Result<()> {
    let ready = wire.turn(EpollTimeout::try_from(SILENCE)?, handle)?;
    ensure!(
        ready > 0,
        "the server has said nothing for {} s",
        SILENCE.as_secs()
    );
    Ok(())
}

fn unexpected(kind: Kind, body: &[u8]) -> String {
    format!("unexpected {}: {}", kind.name(), body.escape_ascii())
}
