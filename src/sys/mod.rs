//! The operating system: the only place of `unsafe` and of nix.

pub mod lifetime;
pub mod net;

pub use lifetime::{die_with_parent, kill, kill_group};
