//! PURE. Supervision and scaling: which processes should exist, and what to do next about each.
//!
//! [`Supervisor::handle`] takes what happened and returns what to do; it starts nothing and reads no clock. Intent stands in the
//! configuration and the operator's commands, state in the processes, and only the reconcile step connects the two.

pub mod event;
pub mod view;

pub use event::{
    Action, Caps, Event, ExitStatus, Level, PoolLoad, ProcId, ProcLoad, Slot, Stop, Tell,
};
