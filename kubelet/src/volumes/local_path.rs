//! Folders of `local-path` volumes: made when a pod first needs them, removed when the control plane asks for it.
//!
//! Nothing outside of [`LOCAL_PATH_ROOT`] is made or removed here, whatever a volume says.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use timonel_api::storage::{LOCAL_PATH_ROOT, is_folder_of_local_path};

/// Tells whether a path is that of a folder of a `local-path` volume.
pub fn is_below_root(path: &str) -> bool {
    let folder = path
        .strip_prefix(LOCAL_PATH_ROOT)
        .and_then(|rest| rest.strip_prefix('/'));
    folder.is_some_and(is_folder_of_local_path)
}

/// Makes a folder that every user of a container may write, as rancher's provisioner does; one that is there stays as it is.
pub(super) fn make(path: &str) -> Result<(), String> {
    let path = Path::new(path);
    if path.is_dir() {
        return Ok(());
    }
    std::fs::create_dir_all(path).map_err(|error| format!("create {}: {error}", path.display()))?;
    std::fs::set_permissions(path, Permissions::from_mode(0o777))
        .map_err(|error| format!("open up {}: {error}", path.display()))
}

/// Removes a folder below `root` with all that is in it; one that is not there is removed already. Links are removed, not followed.
///
/// # Errors
/// When the name is not that of such a folder, something is mounted below it, or it cannot be removed.
pub fn remove(root: &Path, folder: &str) -> Result<(), String> {
    if !is_folder_of_local_path(folder) {
        return Err(format!("{folder:?} is not the name of a local-path volume's folder"));
    }
    let path = root.join(folder);
    if super::tree::is_mounted_below(&path) {
        return Err(format!("something is mounted below {}", path.display()));
    }
    match std::fs::remove_dir_all(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("remove {}: {error}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_goes_with_what_is_in_it_and_what_links_lead_to_stays() {
        let root = tempfile::tempdir().unwrap();
        let (volume, other) = (
            root.path().join("pvc-1_demo_data"),
            root.path().join("pvc-2_demo_other"),
        );
        std::fs::create_dir_all(volume.join("deep/er")).unwrap();
        std::fs::create_dir_all(&other).unwrap();
        std::fs::write(other.join("kept"), "x").unwrap();
        std::os::unix::fs::symlink(&other, volume.join("deep/link")).unwrap();
        remove(root.path(), "pvc-1_demo_data").unwrap();
        assert!(!volume.exists());
        assert!(other.join("kept").exists());
        remove(root.path(), "pvc-1_demo_data").unwrap();
    }

    #[test]
    fn nothing_else_is_removed() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("mine")).unwrap();
        for name in ["mine", "..", "", "pvc-1/../mine", "/etc"] {
            assert!(remove(root.path(), name).is_err(), "{name}");
        }
        assert!(root.path().join("mine").exists());
    }

    #[test]
    fn only_folders_directly_below_the_root_are_ours() {
        assert!(is_below_root("/var/lib/timonel/local-path/pvc-1_demo_data"));
        for path in [
            "/var/lib/timonel/local-path",
            "/var/lib/timonel/local-path/pvc-1/x",
            "/var/lib/timonel/server",
        ] {
            assert!(!is_below_root(path), "{path}");
        }
    }
}
