//! What the standard library does not do with processes: the only room with `unsafe`.

pub mod lifetime;

pub use lifetime::{die_with_parent, kill, kill_group};
