//! timonctl.
fn main() {}
