//! Names of our own provisioners, and where folders of `local-path` volumes lie on a node.

/// Makes folders on the node that a claim's first consumer is sent to.
pub const LOCAL_PATH: &str = "timonel.dev/local-path";
/// Makes volumes that are folders of an NFS share.
pub const NFS: &str = "timonel.dev/nfs";
/// Below this folder of a node, and nowhere else, `local-path` volumes lie. A kubelet removes nothing outside of it.
pub const LOCAL_PATH_ROOT: &str = "/var/lib/timonel/local-path";

/// Returns the folder of a volume on its node: `<root>/<volume>_<namespace>_<claim>`, so that people find it.
pub fn local_path_folder(volume: &str, namespace: &str, claim: &str) -> String {
    format!("{LOCAL_PATH_ROOT}/{volume}_{namespace}_{claim}")
}

/// Tells whether a name is that of a folder directly below the root: one component that does not lead elsewhere.
pub fn is_folder_of_local_path(name: &str) -> bool {
    name.starts_with("pvc-") && name.len() <= 255 && !name.contains(['/', '\0'])
}
