//! `timonel lab`: a cluster of real machines on one, for exercises and for tests.
//!
//! Each machine is a set of namespaces (PID, network, mount, UTS, IPC, cgroup) with a disk, a network cable and a power
//! switch of its own. What runs in a node is what runs on a VM: containerd, and `timonel agent`.
//!
//! ```text
//! up, down          the whole lab: switch, server, nodes, kubeconfig
//! node              add remove kill start freeze thaw cut join restart shell
//!   |
//!   +- power        a machine on and off              boot, machine, supervisor: the inside of one
//!   +- network      its cable                         switch: the process that all cables lead to
//!   +- cgroup       its clock (freeze, thaw)
//!   +- control      its units (restart kubelet, containerd)
//! state, process    what is remembered between commands, and which process is meant
//! ```

mod args;
mod boot;
mod cgroup;
mod control;
mod down;
mod images;
mod machine;
mod network;
mod node;
mod power;
mod process;
mod progress;
mod ready;
mod state;
mod status;
mod supervisor;
mod switch;
mod up;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use args::{ImageCommand, LabCommand};

use tokio::time::Instant;

/// Why a lab command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// The lab changes namespaces, mounts and control groups.
    #[error("the lab needs root")]
    NotRoot,
    /// There is no lab.
    #[error("no lab is up; start one with: timonel lab up")]
    Down,
    /// No machine has that name.
    #[error("no machine is called {name:?}; see: timonel lab status")]
    NoSuchMachine {
        /// The name that was asked for.
        name: String,
    },
    /// A machine has that name already.
    #[error("a machine called {name:?} is there already")]
    MachineExists {
        /// The name that was asked for.
        name: String,
    },
    /// A machine's name is its node's name, hence a DNS label.
    #[error("{name:?} cannot name a machine: {reason}")]
    BadName {
        /// The name that was asked for.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The server cannot be removed.
    #[error("the server cannot be removed; take the lab down instead")]
    RemoveServer,
    /// The machine must run for that.
    #[error("machine {name} is powered off; start it with: timonel lab node start {name}")]
    PoweredOff {
        /// The machine.
        name: String,
    },
    /// A program that the lab needs is missing.
    #[error("{program} is missing; on Debian: apt-get install {package}")]
    MissingProgram {
        /// The program.
        program: &'static str,
        /// The Debian package that has it.
        package: &'static str,
    },
    /// No image archives are there.
    #[error("no image archives in {folder}; build them with: make images")]
    NoImages {
        /// Where they were looked for.
        folder: PathBuf,
    },
    /// An archive could not be imported.
    #[error("import {archive}: {reason}")]
    Import {
        /// The archive.
        archive: PathBuf,
        /// containerd's words.
        reason: String,
    },
    /// The host has no usable control groups.
    #[error("this host mounts no control groups that could freeze a machine")]
    NoCgroups,
    /// Something took too long.
    #[error("gave up waiting for {what}")]
    Deadline {
        /// What was waited for.
        what: String,
    },
    /// A file could not be worked with.
    #[error("{act} {path}")]
    Io {
        /// What was tried.
        act: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A system call failed.
    #[error("{act}")]
    System {
        /// What was tried.
        act: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The API's port cannot be listened on.
    #[error("listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why it failed.
        source: io::Error,
    },
    /// A network could not be set up.
    #[error("set up the network ({commands:?}): {reason}")]
    Network {
        /// What `ip` was told.
        commands: String,
        /// What `ip` said.
        reason: String,
    },
    /// A machine did not start.
    #[error("machine {name} did not start; its console: {console}")]
    Boot {
        /// The machine.
        name: String,
        /// The log that says why.
        console: PathBuf,
    },
    /// A machine refused an order.
    #[error("machine {name}: {reason}")]
    Refused {
        /// The machine.
        name: String,
        /// Its words.
        reason: String,
    },
    /// The API could not be reached or refused.
    #[error("{act}")]
    Api {
        /// What was tried.
        act: &'static str,
        /// Why it failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl LabError {
    /// Makes the error of a file operation.
    pub(crate) fn io(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { act, path, source }
    }
}

/// Looks again and again until `done` or the limit; says whether it was done.
pub(crate) fn wait_until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_millis(2);
    loop {
        if done() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(50));
    }
}

/// Carries out a lab command.
///
/// # Errors
/// As [`LabError`] says.
pub fn run(command: LabCommand) -> Result<(), LabError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(LabError::NotRoot);
    }
    match command {
        LabCommand::Up(options) => up::up(&options),
        LabCommand::Down { keep_disks } => down::down(keep_disks),
        LabCommand::Status { json } => status::print(json),
        LabCommand::Node { command } => node::run(command),
        LabCommand::Switch { api_port, target } => switch::run(api_port, target),
        LabCommand::Boot { name } => boot::boot(&name),
        LabCommand::Init { name } => machine::init(&name),
        LabCommand::Import => machine::import(),
    }
}

/// Carries out an image command.
///
/// # Errors
/// As [`LabError`] says.
pub fn image(command: ImageCommand) -> Result<(), LabError> {
    if !nix::unistd::geteuid().is_root() {
        return Err(LabError::NotRoot);
    }
    match command {
        ImageCommand::Load { archives } => images::load(&archives),
    }
}
