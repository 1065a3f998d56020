//! The pure modules that the way of a job goes through, without the rest of the daemon.

#[path = "../../src/jobs/mod.rs"]
pub mod jobs;
#[path = "../../src/proto/mod.rs"]
pub mod proto;
#[path = "../../src/time.rs"]
pub mod time;
