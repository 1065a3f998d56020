//! The shell around the two state machines: tasks, sockets, processes, files.

pub mod control;
pub mod paths;
