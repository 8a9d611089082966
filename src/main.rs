//! The `tideline` command.
fn main() {}
