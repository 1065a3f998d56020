//! The daemon: tokio around the two state machines.

pub mod conn;
pub mod control;
pub mod hub;
pub mod listener;
pub mod log;
pub mod logs;
pub mod paths;
pub mod peer;
mod run;
pub mod settings;
mod trace;

pub use run::run;
