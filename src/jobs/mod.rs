//! PURE. The job server: packets in, packets out.
//!
//! One [`JobServer`] holds the queue, the connections and who does what. It must never block, read a clock or know of processes:
//! the one thing that it is told about those is [`JobServer::quiesce`], and the one thing it says is [`Notice::Parked`].
//!
//! In reading order: [`server`] is the switch-board and what clients ask for; `submit` is how a job comes in, `calendar` the moment
//! that SUBMIT_JOB_SCHED means; `work` is a job's way through a worker's hands;
//! [`wake`] is who sleeps and who is woken; `text` and `listing` are what operators ask; `job`, `numbers`, `function` and [`conn`] are
//! the tables; [`outbox`] is the output; [`load`] is
//! the snapshot, [`view`] what is shown of single jobs. `policy` is what the operator says of jobs that do not end well, and `failed`
//! where those that had their chances are kept; `state` is all of it, for another one to go on with, and `row` a job in it.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod calendar;
mod check;
pub mod conn;
mod failed;
mod function;
mod job;
mod listing;
pub mod load;
mod numbers;
pub mod outbox;
mod policy;
mod row;
pub mod server;
mod state;
mod submit;
mod text;
pub mod view;
mod waits;
pub mod wake;
mod work;

pub use conn::{ConnId, MAX_ABILITIES, Reach};
pub use failed::{MAX_FAILED, MAX_FAILED_BYTES, RetryError};
pub use function::MAX_FUNCTIONS;
pub use outbox::{Edge, Mark, Notice, Outbox, Outcome};
pub use policy::{MAX_RETRY_DELAY, Policy};
pub use server::{JobServer, MAX_CLIENT_ID, MAX_FUNCTION, MAX_UNIQUE, Newcomers, Options, Peer};
pub use state::State;
pub use submit::MAX_WAITING;
