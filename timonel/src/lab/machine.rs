//! What runs in a machine: its units, and the configuration that they are given.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::LabError;
use super::boot::{self, BIN, IMAGES};
use super::state::{Role, write_private};
use super::supervisor::{self, Unit};

/// What the host tells a machine, once, before its first boot and again when it changes.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub(crate) struct Orders {
    /// What the machine is for.
    pub(crate) role: Role,
    /// Its address.
    pub(crate) address: std::net::Ipv4Addr,
    /// The server's address.
    pub(crate) server: std::net::Ipv4Addr,
    /// What nodes join with.
    pub(crate) token: String,
    /// Short control-plane timings.
    pub(crate) lab_timings: bool,
    /// The store's engine.
    pub(crate) store_engine: String,
}

/// Where the orders lie, within the machine.
pub(crate) const ORDERS: &str = "/var/lib/timonel/lab-orders.json";
/// The cluster's certificate, which the host puts there when the server has made it.
pub(crate) const CLUSTER_CA: &str = "/var/lib/timonel/agent/ca.crt";
/// Says that the archives have been imported.
pub(crate) const IMPORTED: &str = "/run/timonel/images-imported";

/// Process 1: furnishes the machine and supervises its units.
pub(crate) fn init(name: &str) -> Result<(), LabError> {
    boot::furnish(name)?;
    let path = Path::new(ORDERS);
    let text = fs::read(path).map_err(LabError::io("read", path))?;
    let orders: Orders = serde_json::from_slice(&text).map_err(|e| LabError::io("parse", path)(e.into()))?;
    let units = match orders.role {
        Role::Server => server_units(&orders),
        Role::Node => node_units(name, &orders)?,
    };
    supervisor::run(units)
}

fn server_units(orders: &Orders) -> Vec<Unit> {
    let program = format!("{BIN}/timonel");
    let address = orders.address.to_string();
    let mut command = vec![
        program.as_str(),
        "server",
        "--data-dir=/var/lib/timonel/server",
        "--bind-address=0.0.0.0",
        "--secure-port=6443",
        "--advertise-address",
        &address,
        "--bootstrap-token",
        &orders.token,
        "--store-engine",
        &orders.store_engine,
    ];
    if orders.lab_timings {
        command.push("--lab-timings");
    }
    vec![Unit::service("server", &command)]
}

fn node_units(name: &str, orders: &Orders) -> Result<Vec<Unit>, LabError> {
    let program = format!("{BIN}/timonel");
    let config = Path::new("/etc/containerd/timonel.toml");
    if let Some(folder) = config.parent() {
        fs::create_dir_all(folder).map_err(LabError::io("create", folder))?;
    }
    fs::write(config, CONTAINERD).map_err(LabError::io("write", config))?;
    let (address, server) = (orders.address.to_string(), format!("https://{}:6443", orders.server));
    let mut agent = vec![
        program.as_str(),
        "agent",
        "--server",
        &server,
        "--token",
        &orders.token,
        "--certificate-authority",
        CLUSTER_CA,
        "--node-name",
        name,
        "--node-ip",
        &address,
        "--data-dir=/var/lib/timonel/agent",
    ];
    if orders.lab_timings {
        agent.push("--lab-timings");
    }
    Ok(vec![
        Unit::service(
            "containerd",
            &["/usr/bin/containerd", "--config", "/etc/containerd/timonel.toml"],
        ),
        Unit::service("images", &[&program, "lab", "import"]).oneshot(),
        Unit::service("agent", &agent).needs(CLUSTER_CA).needs(IMPORTED),
    ])
}

/// One-shot within a node: imports every archive that this disk has not seen in its present form.
pub(crate) fn import() -> Result<(), LabError> {
    let seen_at = Path::new("/var/lib/timonel/images-seen.json");
    let mut seen: std::collections::BTreeMap<String, (u64, i64)> = fs::read(seen_at)
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default();
    let socket = Path::new("/run/containerd/containerd.sock");
    if !super::wait_until(Duration::from_secs(60), || {
        std::os::unix::net::UnixStream::connect(socket).is_ok()
    }) {
        return Err(LabError::Deadline {
            what: "containerd to listen".to_owned(),
        });
    }
    let folder = Path::new(IMAGES);
    let mut archives: Vec<_> = fs::read_dir(folder)
        .map_err(LabError::io("list", folder))?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    archives.retain(|path| path.extension().is_some_and(|e| e == "tar"));
    archives.sort();
    for path in archives {
        use std::os::unix::fs::MetadataExt;
        let meta = fs::metadata(&path).map_err(LabError::io("read", &path))?;
        let (key, mark) = (path.display().to_string(), (meta.size(), meta.mtime()));
        if seen.get(&key) == Some(&mark) {
            continue;
        }
        let output = Command::new("ctr")
            .args(["--namespace", "k8s.io", "images", "import"])
            .arg(&path)
            .output()
            .map_err(LabError::io("import", &path))?;
        if !output.status.success() {
            let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(LabError::Import { archive: path, reason });
        }
        seen.insert(key, mark);
        let text = serde_json::to_vec(&seen).map_err(|e| LabError::io("render", seen_at)(e.into()))?;
        write_private(seen_at, &text)?;
    }
    fs::write(IMPORTED, "").map_err(LabError::io("write", Path::new(IMPORTED)))
}

/// containerd's configuration: CRI only, our pause image, Debian's place for CNI plugins.
///
/// `restrict_oom_score_adj`: a machine may lack the capability to make a process harder to kill than itself.
/// Registries are not configured: the lab has no way out, and a pull is refused at once by a network without routes.
const CONTAINERD: &str = r#"version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing",
]

[grpc]
  address = "/run/containerd/containerd.sock"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "timonel.dev/pause:1.0"
  restrict_oom_score_adj = true
  tolerate_missing_hugetlb_controller = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
"#;
