//! `timonctl`: kubectl's verbs, flags and output, over the API alone.
//!
//! ```text
//! args (clap) --> commands/<verb> --> session (HTTPS, Status errors) --> output (table, yaml, json, name, jsonpath, columns)
//!                      |                   ^
//!                      +--> resolve (built-in table first, discovery where that does not know)
//!                      +--> manifests (files, folders, standard input)
//! ```
//!
//! Nothing here knows more of the server than kubectl does: every answer comes from the API.
#![expect(
    clippy::print_stdout,
    reason = "this is a command-line program; its output is its purpose"
)]

mod args;
mod commands;
mod describe;
mod error;
mod manifests;
mod output;
mod remote;
mod resolve;
mod session;
mod verdicts;

use std::process::ExitCode;

pub use args::Cli;
pub use error::Failure;

/// Carries out one command line. Failures are printed in kubectl's words.
pub async fn run(cli: Cli) -> ExitCode {
    match commands::dispatch(cli).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Exit(code)) => ExitCode::from(code),
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}
