//! timonel: the server, the node agent, each component alone, and the lab.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    timonel::run(timonel::args::Command::parse())
}
