//! Gearpool: a Gearman job server that is also the manager of the worker processes that serve it.
//!
//! # Bird's eye view
//!
//! Two pure state machines, two owners, thin shells around them:
//!
//! ```text
//! data plane     jobs::JobServer     packets in → packets out    owner: daemon::hub, a mutex locked once a socket read
//! control plane  pools::Supervisor   events in  → actions out    owner: daemon::manager, one loop on the main thread
//! ```
//!
//! They do not know each other. The manager samples the job server (what waits, for how long, who is busy) and tells it one thing:
//! [`quiesce`](jobs::JobServer::quiesce), "give this connection no more jobs". The job server tells it one thing back:
//! [`Parked`](jobs::Notice::Parked), "this connection has no job, and nothing of its worker's code is left to run". Under the lock a
//! job is either assigned before the quiesce, and is waited for, or not at all: so a process can be stopped without cutting a job,
//! with workers that know nothing of Gearpool. That pair is why both live in one process. What is put together of one for the other is
//! in `daemon::crew` and `daemon::demand`, by which the simulation does it too.
//!
//! *Pure* means: no tokio, no files, sockets, processes, threads or environment, no clock, no random number, no log. The moment is an
//! argument ([`time::Time`]), the next deadline a return value, and what is to be done comes back as values that the shell carries
//! out. So both machines run in a seeded simulation, and every case of the protocol is a table or a transcript.
//!
//! # The way of a job
//!
//! A client's bytes are read by its task (`daemon::conn`), handed to `daemon::hub`, decoded by [`proto`], and taken by [`jobs`], all
//! under one lock. What the job server has to say goes into the mailboxes of the peers before the lock is released; the same task
//! then writes it, to whichever peer it is for. A worker is woken (`jobs::wake`), asks, and gets the job; its result takes the same
//! way back. A job that nobody is on the way to take rings for the manager, which samples, asks the supervisor, and starts a process.
//!
//! A job comes back when its worker is gone, and is counted. One that has taken too many with it, or has failed too often, leaves the
//! queue for `jobs::failed`, where the manager adds how the process ended; it waits there for the operator. A job past its time limit
//! stays in its worker's hands until the manager has killed the process: at no time do two have it.
//!
//! A connection with TLS is unknown to the job server until its handshake is done (`daemon::tls`), which happens in a task of its own.
//! From then on its mailbox holds plain bytes like any other; they are encrypted where they are written, and what comes is decrypted
//! where it is read (`daemon::peer`, [`tls::Records`]). rustls does the handshake alone: what it knows of a connection cannot be handed
//! over, and with its keys and their counts in our hands a connection with TLS is as good as any.
//!
//! # The way of a process
//!
//! [`pools::Supervisor`] says [`Spawn`](pools::Action::Spawn); `daemon::manager` starts it through [`sys::child`] on the main thread, its
//! output goes to `daemon::logs` on a thread of its own, and [`sys::guardian`] is told, which kills what is left when the daemon is
//! killed; what is left when both are, the next daemon of the same folder kills first. The daemon is the subreaper of all that descends
//! from it: when a process has ended, `daemon::manager` ends what it has left, and only then tells the supervisor, which may start the
//! next. When a connection registers a function, [`sys::peer`] finds out whose it is. To stop a process it is quiesced, then parked,
//! then signalled; later its connection is closed, and in the end it is killed with its whole group.
//!
//! What is to be started anew is checked before, where the file says how (`daemon::manager`): a pool's `check` is a process of the
//! daemon's too, and until it has passed the supervisor knows the pool as it was, or knows that a new one has to wait
//! ([`pools::Event::Checked`]). A changed file, a changed piece of code and an operator's restart all go that way.
//!
//! Its connections are traced ([`jobs::JobServer::trace`]): when one is given a job or loses it, the task that has that to send first
//! marks it ([`daemon::logs::Marks`]) at the byte which the process has written by then, and the log's index says so. The job
//! server pays a look at a flag for it, and the log's thread is not waited for.
//!
//! # The way of an upgrade
//!
//! Another program takes over in the same process ([`daemon::handover`]). It is asked first whether it can. Then the connections'
//! threads and the one of the logs are stopped between two steps of their tasks, so that everything stands still and nothing is half
//! done: `daemon::quiet`. What they have told is heard, and all that there is, the two machines, what each connection and each pipe is
//! in the middle of, is written as *one value with a version*; sockets, pipes and the lock are in it by their numbers. The main thread
//! executes the program, with the signals held back, and it makes everything from the value before the first task goes on
//! (`daemon::past`). Until that call nothing is given up, and whatever fails, the threads go on.
//!
//! # Code map, in reading order
//!
//! | room | what it is | may import |
//! | --- | --- | --- |
//! | [`time`] | time as a value | nothing |
//! | [`proto`] | PURE. The wire: packet table, frames, requests, responses, admin lines | – |
//! | [`jobs`] | PURE. The job server: queue, connections, wake-ups, snapshot | `proto` |
//! | [`config`] | PURE. The YAML file → [`config::Config`], or all of its problems | – |
//! | [`pools`] | PURE. Supervision and scaling: supervisor, crew, process, scale, share, guard, restart, plan, view | `config` |
//! | [`status`] | PURE. The one snapshot of everything, and its text | `jobs::load`, `jobs::view`, `pools::view` |
//! | [`sys`] | the operating system: the only `unsafe` and nix | `config`'s plain types |
//! | [`tls`] | TLS of both ends: PEM files, rustls, words | `config`'s plain types |
//! | [`client`] | a connection to any Gearman server, for our own commands | `proto`, `tls` |
//! | [`daemon`] | tokio: hub, connections, listeners, manager, logs, file, start and end | all of the above |
//! | [`http`] | the control API on a Unix socket | `daemon::control`, `status` |
//! | [`top`] | PURE. The screen of `gearpool top`: keys and snapshots in, orders and cells out | `status`, `http`'s orders |
//! | [`cli`] | one file a command | all |
//!
//! `jobs` never imports `pools`, nor `pools` `jobs`. `tests/tidy.rs` reads the sources and fails on an import that this table does not
//! allow.
//!
//! # Invariants
//!
//! 1. Same inputs, same outputs: a pure module reads no clock, starts nothing, logs nothing, draws no random number.
//! 2. A job is in exactly one place: a lane, a worker's hands, waiting for its time, set aside, or gone. At most one worker holds it.
//! 3. A foreground client gets exactly one terminal packet a job, whatever dies. A background job that was acknowledged is not lost
//!    while the daemon lives. (The queue is in memory: surviving the daemon's own death is not built yet.)
//! 4. The hub puts replies into mailboxes before it unlocks and writes sockets after, so packets to one peer keep the core's order.
//!    There is no `.await` under the lock.
//! 5. No process gets a stopping signal while it holds a job that somebody wants, unless its deadline has passed.
//! 6. Intent lives in the files and in the operator's commands, state in the processes; only the supervisor's step connects them.
//! 7. What comes from outside has a named bound: the operator's in [`daemon::limits::Limits`]; [`proto::frame::MAX_LINE`],
//!    [`jobs::MAX_UNIQUE`], [`jobs::MAX_FUNCTION`], [`jobs::MAX_FUNCTIONS`], [`jobs::MAX_ABILITIES`], [`jobs::MAX_WAITING`],
//!    [`jobs::MAX_CLIENT_ID`], [`jobs::MAX_FAILED`], [`jobs::MAX_FAILED_BYTES`], [`daemon::tls::HANDSHAKE_TIMEOUT`], [`tls::wire::MAX_CIPHERTEXT`]; the log's lines about peers are
//!    paced (`daemon::pace`); a pool's `max`, its log's `max_size`, its restarts' back-off. One peer's turn at the job server is bounded
//!    too (`daemon::hub`), and a list goes out in pieces ([`jobs::JobServer::go_on`]).
//! 8. What a state machine, a connection or a pipe remembers crosses with an upgrade: it is serialized with the field that holds it, or
//!    the field says why not.
//! 9. No job waits while somebody who could take it is left asleep, unless an operator holds its function ([`jobs::JobServer::assert_invariants`] checks it).
//!
//! # Threads
//!
//! The main thread runs the manager, forks all children, which die with the thread that forked them, takes the signals, and executes the
//! next program. `connections-N` each run a
//! runtime of their own; a connection stays on its thread. One thread writes the workers' logs, so that a slow disk slows the workers,
//! never the job server; another one compresses old ones, behind everything else. `watch` compares the files of the pools' code, where a
//! pool asks for it (`daemon::code`). `memory` gives back what a long queue has left. The
//! guardian is a process; a job server without a file has none.

pub mod time;

pub mod proto;

pub mod jobs;

pub mod config;

pub mod pools;

pub mod status;

pub mod sys;

pub mod tls;

pub mod client;

pub mod daemon;

pub mod http;

pub mod top;

pub mod cli;
