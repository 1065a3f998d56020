//! Gearpool: a Gearman job server that is also the manager of the worker processes that serve it.
//!
//! The architecture page is written when the rooms stand.

pub mod cli;
pub mod client;
pub mod config;
pub mod daemon;
pub mod http;
pub mod jobs;
pub mod pools;
pub mod proto;
pub mod status;
pub mod sys;
pub mod time;
