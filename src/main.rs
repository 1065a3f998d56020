//! Command line to daemon or client command.
fn main() {}
