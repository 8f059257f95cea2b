//! The cgroups of pods and quality-of-service tiers, on version 1 and version 2.
//!
//! The runtime makes the containers' cgroups below the pod's. The kubelet makes the pod's, sets its limits and removes it.
//! What the machine does not let it set is logged and left: limits of single containers still hold.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::Pod;
use timonel_api::quantity::Quantity;

use crate::spec::resources;

const ROOT: &str = "/sys/fs/cgroup";

/// Hierarchies in which pods get cgroups: all of version 1, or the one of version 2.
fn hierarchies() -> Vec<PathBuf> {
    let root = Path::new(ROOT);
    if root.join("cgroup.controllers").exists() {
        return vec![root.to_owned()];
    }
    let entries = std::fs::read_dir(root).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.path())
        // Links such as `cpu,cpuacct` would be visited twice.
        .filter(|path| path.is_dir() && !path.is_symlink())
        .collect();
    found.sort();
    found
}

/// Makes a pod's cgroup with the sum of its containers' requests and limits.
pub(crate) async fn ensure(pod: &Pod, root: &str) {
    let parent = resources::cgroup_parent(root, pod);
    let requests = timonel_api::pod::requests(pod);
    let limits = timonel_api::pod::limits(pod);
    let shares = resources::shares(requests.get("cpu").map_or(0, Quantity::millis));
    let all_limited = |name: &str| {
        pod.spec.iter().flat_map(|spec| &spec.containers).all(|container| {
            let limits = container
                .resources
                .as_ref()
                .and_then(|resources| resources.limits.as_ref());
            limits.is_some_and(|limits| limits.contains_key(name))
        })
    };
    let quota = all_limited("cpu")
        .then(|| limits.get("cpu").map_or(0, Quantity::millis))
        .map(resources::quota);
    let memory = all_limited("memory").then(|| limits.get("memory").map_or(0, Quantity::value));
    let work = move || {
        for hierarchy in hierarchies() {
            let dir = hierarchy.join(parent.trim_start_matches('/'));
            if std::fs::create_dir_all(&dir).is_err() {
                continue;
            }
            let set = |file: &str, value: String| {
                let path = dir.join(file);
                if path.exists()
                    && let Err(error) = std::fs::write(&path, value)
                {
                    tracing::debug!(path = %path.display(), %error, "cannot set a cgroup value");
                }
            };
            set("cpu.shares", shares.to_string());
            if let Some(quota) = quota.filter(|quota| *quota > 0) {
                set("cpu.cfs_quota_us", quota.to_string());
                set("cpu.max", format!("{quota} 100000"));
            }
            if let Some(memory) = memory.filter(|memory| *memory > 0) {
                set("memory.limit_in_bytes", memory.to_string());
                set("memory.max", memory.to_string());
            }
        }
    };
    let _ = tokio::task::spawn_blocking(work).await;
}

/// Removes a pod's cgroup, which is empty by now.
pub(crate) async fn remove(parent: &str) {
    let parent = parent.trim_start_matches('/').to_owned();
    let work = move || {
        for hierarchy in hierarchies() {
            remove_tree(&hierarchy.join(&parent));
        }
    };
    let _ = tokio::task::spawn_blocking(work).await;
}

/// Cgroups are removed from the leaves up; files in them are not files.
fn remove_tree(dir: &Path) {
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    let _ = std::fs::remove_dir(dir);
}
