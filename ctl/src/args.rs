//! The command line: kubectl's verbs and flags.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::commands;
use crate::output::Format;

/// Controls a Timonel cluster (or any Kubernetes cluster).
#[derive(Debug, Parser)]
#[command(
    name = "timonctl",
    version,
    disable_version_flag = true,
    infer_subcommands = false,
    max_term_width = 120
)]
pub struct Cli {
    #[command(flatten)]
    pub(crate) connection: Connection,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which server, as whom, in which namespace.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct Connection {
    /// The kubeconfig file; $KUBECONFIG or ~/.kube/config without.
    #[arg(long, global = true)]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context to use.
    #[arg(long, global = true)]
    pub(crate) context: Option<String>,
    /// The kubeconfig's cluster to use.
    #[arg(long, global = true)]
    pub(crate) cluster: Option<String>,
    /// The kubeconfig's user to use. (Not global: `create rolebinding --user` means another one.)
    #[arg(long)]
    pub(crate) user: Option<String>,
    /// The namespace to act in.
    #[arg(short, long, global = true)]
    pub(crate) namespace: Option<String>,
    /// The server's address and port.
    #[arg(short, long, global = true)]
    pub(crate) server: Option<String>,
    /// A bearer token to authenticate with.
    #[arg(long, global = true)]
    pub(crate) token: Option<String>,
    /// The user to act as.
    #[arg(long = "as", global = true, value_name = "USER")]
    pub(crate) impersonate: Option<String>,
    /// A group to act as; may be repeated.
    #[arg(long = "as-group", global = true, value_name = "GROUP")]
    pub(crate) impersonate_groups: Vec<String>,
    /// How long one request may take, for example 30s; 0 is without limit.
    #[arg(long, global = true, value_parser = duration)]
    pub(crate) request_timeout: Option<Duration>,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Display one or many resources
    Get(commands::get::Get),
    /// Show details of objects
    Describe(commands::describe::Describe),
    /// Tell what a kind's fields mean
    Explain(commands::explain::Explain),
    /// Wait until something is true of objects
    Wait(commands::wait::Wait),
    /// List what happened
    Events(commands::events::Events),
    /// Look into what you may do
    #[command(subcommand)]
    Auth(commands::auth::Auth),
    /// Look at and change kubeconfig files
    #[command(subcommand)]
    Config(commands::config::Config),
    /// Change the taints of nodes
    Taint(commands::taint::Taint),
    /// Apply a configuration to objects by file
    Apply(commands::apply::Apply),
    /// Put images on nodes
    Image(commands::image::Image),
    /// Mark nodes as unschedulable
    Cordon(commands::nodes::Nodes),
    /// Mark nodes as schedulable
    Uncordon(commands::nodes::Nodes),
    /// Empty nodes: evict their pods
    Drain(commands::nodes::Drain),
    /// Print the logs of containers
    Logs(commands::logs::Logs),
    /// Create objects from files or from flags
    Create(commands::create::Create),
    /// Run an image in a pod
    Run(commands::run::Run),
    /// Make a service for what is there
    Expose(commands::expose::Expose),
    /// Make an autoscaler for what is there
    Autoscale(commands::expose::Autoscale),
    /// Replace objects by those in files
    Replace(commands::replace::Replace),
    /// Change objects in an editor
    Edit(commands::edit::Edit),
    /// Show what apply would change
    Diff(commands::edit::Diff),
    /// Decide on certificate signing requests
    #[command(subcommand)]
    Certificate(commands::replace::Certificate),
    /// Show how much nodes or pods use
    #[command(subcommand)]
    Top(commands::top::Top),
    /// Run a command in a container
    Exec(commands::exec::Exec),
    /// Attach to a process that is already running inside a container
    Attach(commands::exec::Attach),
    /// Change fields of an object
    Patch(commands::patch::Patch),
    /// Tell where the scheduler would put pods, and why, without creating them
    Plan(commands::plan::Plan),
    /// Tell why a pod is as it is: the scheduler's verdicts, what its containers wait for, who holds on to it
    Why(commands::why::Why),
    /// Change one feature of objects
    #[command(subcommand)]
    Set(commands::patch::Set),
    /// Look at and steer rollouts
    #[command(subcommand)]
    Rollout(commands::rollout::Rollout),
    /// Delete resources by file, by type and name, or by label selector
    Delete(commands::delete::Delete),
    /// Update the labels of objects
    Label(commands::metadata::Metadata),
    /// Update the annotations of objects
    Annotate(commands::metadata::Metadata),
    /// Set how many replicas a Deployment, ReplicaSet or StatefulSet has
    Scale(commands::scale::Scale),
    /// Print the resource types that the server has
    ApiResources(commands::cluster::ApiResources),
    /// Print the API groups and versions that the server has
    ApiVersions,
    /// Tell where the control plane is
    ClusterInfo,
    /// Print the versions of timonctl and of the server
    Version(commands::cluster::Version),
}

/// Reads `30s`, `5m`, `1h30m`, or whole seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let (mut total, mut number) = (Duration::ZERO, String::new());
    let mut chars = text.chars().peekable();
    let wrong = || format!("invalid duration {text:?}: write for example 30s, 5m or 1h30m");
    while let Some(c) = chars.next() {
        if c.is_ascii_digit() || c == '.' {
            number.push(c);
            continue;
        }
        let unit = match c {
            'h' => 3600.0,
            'm' if chars.peek() == Some(&'s') => {
                chars.next();
                0.001
            }
            'm' => 60.0,
            's' => 1.0,
            _ => return Err(wrong()),
        };
        let amount: f64 = number.parse().map_err(|_| wrong())?;
        total += Duration::try_from_secs_f64(amount * unit).map_err(|_| wrong())?;
        number.clear();
    }
    if number.is_empty() && !text.is_empty() {
        Ok(total)
    } else {
        Err(wrong())
    }
}

/// `-o`, for commands that print what they changed.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Output {
    /// Output format: wide, yaml, json, name, jsonpath=..., custom-columns=...
    #[arg(short, long)]
    pub(crate) output: Option<Format>,
}

/// `-l` and `--field-selector`.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Selectors {
    /// Label selector, for example app=web,tier!=db
    #[arg(short = 'l', long)]
    pub(crate) selector: Option<String>,
    /// Field selector, for example spec.nodeName=node-1
    #[arg(long)]
    pub(crate) field_selector: Option<String>,
}

/// `-f` and `--recursive`.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Files {
    /// File, folder or - that holds the objects; may be repeated
    #[arg(short, long, value_name = "FILE")]
    pub(crate) filename: Vec<PathBuf>,
    /// Look into the folders below, too
    #[arg(short = 'R', long)]
    pub(crate) recursive: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_are_gos() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert!(duration("5 apples").is_err());
    }
}
