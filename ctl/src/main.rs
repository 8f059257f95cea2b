//! `timonctl`: the command line of a Timonel cluster, with kubectl's verbs, flags and output.

use std::process::ExitCode;

use clap::Parser;
use timonctl::{Cli, run};

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // `timonctl get pods -w | head` ends with `head`, without a word, as kubectl does.
    sigpipe::reset();
    run(Cli::parse()).await
}
