//! What the lab remembers between two commands: its folder, its machines and which process each of them is.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::LabError;
use super::process::ProcRef;

/// Where the lab lives on the host.
pub(crate) const HOME: &str = "/var/lib/timonel/lab";

/// The machine that runs the control plane.
pub(crate) const SERVER: &str = "server";

/// What a machine is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// The control plane.
    Server,
    /// A node that runs pods.
    Node,
}

/// One machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// What it is for.
    pub(crate) role: Role,
    /// The last byte of its address.
    pub(crate) host: u8,
    /// Its process 1, where it was powered on last.
    pub(crate) process: Option<ProcRef>,
    /// Its network cable is out.
    #[serde(default)]
    pub(crate) cut: bool,
    /// Its clock stands still.
    #[serde(default)]
    pub(crate) frozen: bool,
}

impl Machine {
    /// Returns its address.
    pub(crate) fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, 210, 0, self.host)
    }

    /// Returns its process 1 if it runs.
    pub(crate) fn running(&self) -> Option<ProcRef> {
        self.process.filter(ProcRef::alive)
    }
}

/// The lab as it was left by the last command.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct State {
    /// The port on the host's loopback at which the API is reached.
    pub(crate) api_port: u16,
    /// Short control-plane timings.
    pub(crate) lab_timings: bool,
    /// The store's engine.
    pub(crate) store_engine: String,
    /// What nodes join with.
    pub(crate) token: String,
    /// The process that holds the switch's namespace and forwards the API's port.
    pub(crate) switch: Option<ProcRef>,
    /// The machines by name.
    pub(crate) machines: BTreeMap<String, Machine>,
}

impl State {
    /// Returns a machine by name.
    ///
    /// # Errors
    /// [`LabError::NoSuchMachine`].
    pub(crate) fn machine(&self, name: &str) -> Result<&Machine, LabError> {
        self.machines
            .get(name)
            .ok_or_else(|| LabError::NoSuchMachine { name: name.to_owned() })
    }

    /// Like [`Self::machine`], to change it.
    pub(crate) fn machine_mut(&mut self, name: &str) -> Result<&mut Machine, LabError> {
        self.machines
            .get_mut(name)
            .ok_or_else(|| LabError::NoSuchMachine { name: name.to_owned() })
    }

    /// Returns the lowest host byte that no machine has; nodes start at 11 so that `node-1` is 10.210.0.11.
    pub(crate) fn free_host(&self, wish: u8) -> u8 {
        let taken = |host| self.machines.values().any(|machine| machine.host == host);
        (wish..=250).chain(11..wish).find(|host| !taken(*host)).unwrap_or(250)
    }
}

/// The lab's folder.
#[derive(Clone, Debug)]
pub(crate) struct Home(PathBuf);

impl Default for Home {
    fn default() -> Self {
        Self(PathBuf::from(HOME))
    }
}

impl Home {
    /// The folder itself.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The folder of a machine: its disk and its console's log.
    pub(crate) fn machine(&self, name: &str) -> PathBuf {
        self.0.join("machines").join(name)
    }

    /// The archives that every node imports.
    pub(crate) fn images(&self) -> PathBuf {
        self.0.join("images")
    }

    /// The copy of this program that the machines run.
    pub(crate) fn bin(&self) -> PathBuf {
        self.0.join("bin")
    }

    /// The administrator's kubeconfig.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.0.join("admin.kubeconfig")
    }

    fn state_file(&self) -> PathBuf {
        self.0.join("state.json")
    }

    /// Keeps other commands out until the lock is dropped.
    ///
    /// # Errors
    /// When the lock file cannot be made.
    pub(crate) fn lock(&self) -> Result<Flock<fs::File>, LabError> {
        fs::create_dir_all(&self.0).map_err(LabError::io("create", &self.0))?;
        let path = self.0.join("lock");
        let file = fs::File::create(&path).map_err(LabError::io("create", &path))?;
        Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| LabError::io("lock", &path)(errno.into()))
    }

    /// Reads the state; none where no lab is up.
    ///
    /// # Errors
    /// When it is there but cannot be read.
    pub(crate) fn load(&self) -> Result<Option<State>, LabError> {
        let path = self.state_file();
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(Some)
                .map_err(|source| LabError::io("parse", &path)(source.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(LabError::io("read", &path)(error)),
        }
    }

    /// Reads the state of a lab that must be up.
    ///
    /// # Errors
    /// [`LabError::Down`] where there is none.
    pub(crate) fn require(&self) -> Result<State, LabError> {
        self.load()?.ok_or(LabError::Down)
    }

    /// Writes the state, whole or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(crate) fn save(&self, state: &State) -> Result<(), LabError> {
        let text = serde_json::to_vec_pretty(state).map_err(|source| LabError::io("render", &self.0)(source.into()))?;
        write_private(&self.state_file(), &text)
    }
}

/// Writes a file that only root reads, whole or not at all.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), LabError> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    fs::write(&new, bytes).map_err(LabError::io("write", &new))?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).map_err(LabError::io("protect", &new))?;
    fs::rename(&new, path).map_err(LabError::io("rename", path))
}
