//! timonel: the server, the node agent, each component alone, and the lab.

use std::process::ExitCode;

use clap::Parser;
use tikv_jemallocator::Jemalloc;

/// Objects come and go as many small pieces; the C library's allocator spends a third of a write's time on them.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    timonel::run(timonel::args::Command::parse())
}
