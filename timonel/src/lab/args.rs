//! The lab's command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

/// What to do with the lab.
#[derive(Debug, Subcommand)]
pub enum LabCommand {
    /// Starts the lab, or brings it to what the flags say; waits until every node is Ready.
    Up(UpOptions),
    /// Removes the lab: processes, namespaces, mounts, cables, control groups and disks.
    Down {
        /// Leave the machines' disks, so that the next `up` boots the same cluster.
        #[arg(long)]
        keep_disks: bool,
    },
    /// Shows the machines and what runs on them.
    Status {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Does something to one machine (`server` is one too).
    Node {
        /// What to do.
        #[command(subcommand)]
        command: NodeCommand,
    },
    /// The switch's process.
    #[command(hide = true)]
    Switch {
        /// Where to listen on the host's loopback.
        #[arg(long)]
        api_port: u16,
        /// Where to connect to within the lab.
        #[arg(long)]
        target: SocketAddr,
    },
    /// A machine's first stage.
    #[command(hide = true)]
    Boot {
        /// The machine.
        name: String,
    },
    /// A machine's process 1.
    #[command(hide = true)]
    Init {
        /// The machine.
        name: String,
    },
    /// Imports image archives within a node.
    #[command(hide = true)]
    Import,
}

/// How the lab should be.
#[derive(Debug, Args)]
pub struct UpOptions {
    /// How many nodes, called node-1, node-2 and so on; nodes that are there already stay.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub nodes: u8,
    /// Shorten the control plane's timings, so that the loss of a node plays out in 30 seconds instead of minutes.
    #[arg(long)]
    pub lab_timings: bool,
    /// The store's engine; taken when the lab is created.
    #[arg(long, default_value = "redb", value_parser = ["redb", "sled"])]
    pub store_engine: String,
    /// The port on 127.0.0.1 at which the API is reached.
    #[arg(long, default_value_t = 6443)]
    pub api_port: u16,
    /// Folder with the image archives; by default `images` beside the program, or `target/images`.
    #[arg(long)]
    pub images: Option<PathBuf>,
    /// Return once the machines run, before the nodes are Ready.
    #[arg(long)]
    pub no_wait: bool,
    /// Give up after so many seconds.
    #[arg(long, default_value_t = 180)]
    pub timeout: u64,
}

/// What to do to a machine.
#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// Adds a node.
    Add {
        /// Its name.
        name: String,
    },
    /// Takes a node out for good: its Node object, its machine and its disk.
    Remove {
        /// Its name.
        name: String,
    },
    /// Cuts the power: every process dies at once.
    Kill {
        /// The machine.
        name: String,
    },
    /// Boots a machine from its disk.
    Start {
        /// The machine.
        name: String,
    },
    /// Stops a machine's clock.
    Freeze {
        /// The machine.
        name: String,
    },
    /// Lets a frozen machine go on.
    Thaw {
        /// The machine.
        name: String,
    },
    /// Takes a machine's network cable out.
    Cut {
        /// The machine.
        name: String,
    },
    /// Puts a machine's network cable back.
    Join {
        /// The machine.
        name: String,
    },
    /// Restarts one program of a machine, as `systemctl restart` would; containers keep running.
    Restart {
        /// The machine.
        name: String,
        /// kubelet (the agent: kubelet, proxy and DNS), containerd, or server.
        #[arg(long)]
        unit: String,
        /// Kill it (SIGKILL) instead of asking it to end.
        #[arg(long)]
        crash: bool,
    },
    /// Stops one program of a machine and leaves it.
    Stop {
        /// The machine.
        name: String,
        /// kubelet, containerd, or server.
        #[arg(long)]
        unit: String,
    },
    /// Starts a program that was stopped.
    Resume {
        /// The machine.
        name: String,
        /// kubelet, containerd, or server.
        #[arg(long)]
        unit: String,
    },
    /// Runs a command (a shell, if none is given) inside a machine.
    Shell {
        /// The machine.
        name: String,
        /// The command.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
}

/// What to do with images.
#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Imports OCI archives on every node of the lab, now and on nodes that are added later.
    Load {
        /// The archives.
        #[arg(required = true)]
        archives: Vec<PathBuf>,
    },
}
