//! The command line.

use clap::Parser;

use crate::lab::{ImageCommand, LabCommand};

/// A Kubernetes-compatible orchestrator.
#[derive(Debug, Parser)]
#[command(name = "timonel", version, about, propagate_version = true)]
pub enum Command {
    /// Runs a cluster of several machines on this one.
    Lab {
        /// What to do.
        #[command(subcommand)]
        command: LabCommand,
    },
    /// Works with container images.
    Image {
        /// What to do.
        #[command(subcommand)]
        command: ImageCommand,
    },
}
