//! The operating system: the only place of `unsafe` and of nix.

pub mod net;
