//! The `timonel` binary: a cluster's parts, together or each alone, and a lab to run them in.
//!
//! ```text
//! args -> run -+- server        API server + scheduler + controllers    control_plane
//!              +- agent         kubelet + service proxy + DNS           agent
//!              +- apiserver, scheduler, controller-manager, kubelet, proxy, dns: each alone
//!              +- lab           machines of namespaces on this host
//!              +- image         container images on the lab's nodes
//!              +- secrets       the keys that Secrets are encrypted with
//! ```

pub mod access;
mod agent;
pub mod args;
mod build;
mod control_plane;
mod desk;
pub mod lab;
mod process;
pub mod secrets;

use std::io::{IsTerminal, Write};
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
    match carry_out(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Server(args) => process::run(|shutdown| control_plane::server(*args, shutdown)),
        Command::Agent(args) => process::run(|shutdown| agent::agent(*args, shutdown)),
        Command::Apiserver(args) => process::run(|shutdown| control_plane::apiserver(*args, shutdown)),
        Command::Scheduler(args) => process::run(|shutdown| control_plane::scheduler(args, shutdown)),
        Command::ControllerManager(args) => process::run(|shutdown| control_plane::controller_manager(args, shutdown)),
        Command::Kubelet(args) => process::run(|shutdown| agent::kubelet(args, shutdown)),
        Command::Proxy(args) => process::run(|shutdown| agent::proxy(args, shutdown)),
        Command::Dns(args) => process::run(|shutdown| agent::dns(args, shutdown)),
        Command::Lab { command } => Ok(lab::run(command)?),
        Command::Image { command } => Ok(lab::image(command)?),
        Command::Secrets { command } => secrets::run(command),
        Command::Version => Ok(writeln!(std::io::stdout(), "{}", build::line())?),
    }
}
