//! The daemon: tokio around the two state machines.

mod code;
pub mod conn;
pub mod control;
mod crew;
mod demand;
pub mod file;
pub mod handover;
mod heap;
pub mod hub;
pub mod limits;
pub mod listener;
pub mod log;
pub mod logs;
mod manager;
mod pace;
mod past;
pub mod paths;
pub mod peer;
mod quiet;
mod run;
pub mod settings;
mod snapshot;
mod sources;
mod spawn;
pub mod tls;
mod trace;
mod watch;

pub use run::{rehearse, run, take_over};
