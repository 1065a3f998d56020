//! PURE. Supervision and scaling: which processes should exist, and what to do next about each.
//!
//! [`Supervisor::handle`] takes what happened and returns what to do; it starts nothing and reads no clock. Intent stands in the
//! configuration and the operator's commands, state in the processes, and only the reconcile step connects the two.
//!
//! Reading order: [`event`] (what goes in and out), `supervisor` (all pools), `crew` (one pool), `process` (one process), then
//! `scale` (how many), `guard` and [`share`] (what the machine has
//! room for), `restart` (when again) and [`plan`] (what a reload changes).

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod crew;
pub mod event;
mod guard;
mod jitter;
pub mod plan;
mod process;
mod restart;
mod scale;
pub mod share;
#[cfg(test)]
mod sim;
mod supervisor;
pub mod view;

pub use event::{
    Action, Caps, Event, ExitStatus, Level, PoolLoad, Pressure, ProcId, ProcLoad, Slot, Stop, Tell,
    Unfit,
};
pub use plan::{Admission, Change, Plan};
pub use supervisor::Supervisor;
