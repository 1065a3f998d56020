//! The same tests with Debian's gearmand as the server: the commands work with any.

#[path = "commands.rs"]
mod commands;
