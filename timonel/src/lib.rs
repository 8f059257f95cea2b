//! The `timonel` binary: a cluster's parts, together or each alone, and a lab to run them in.
//!
//! ```text
//! args -> run -+- lab        machines of namespaces on this host
//!              +- image      container images on the lab's nodes
//! ```

pub mod args;
pub mod lab;

use std::io::IsTerminal;
use std::process::ExitCode;

use args::Command;

/// Carries out a command; an error is printed with its causes.
pub fn run(command: Command) -> ExitCode {
    let _ = tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info")),
        )
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
    let done = match command {
        Command::Lab { command } => lab::run(command).map_err(anyhow::Error::from),
        Command::Image { command } => lab::image(command).map_err(anyhow::Error::from),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
