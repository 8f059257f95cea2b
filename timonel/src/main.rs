//! timonel.
fn main() {}
