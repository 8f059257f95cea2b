//! Folders on the node: emptyDir, hostPath, and taking everything down.

use std::os::unix::fs::{FileTypeExt, PermissionsExt, chown};
use std::path::Path;

use k8s_openapi::api::core::v1::HostPathVolumeSource;

fn io<T>(what: &str, path: &Path, result: std::io::Result<T>) -> Result<T, String> {
    result.map_err(|error| format!("{what} {}: {error}", path.display()))
}

/// Makes an emptyDir, in memory if asked; one that is there stays as it is.
pub(super) fn empty_dir(dir: &Path, memory: bool, size: Option<i64>, group: Option<i64>) -> Result<(), String> {
    let existed = dir.exists();
    io("create", dir, std::fs::create_dir_all(dir))?;
    if memory && !is_mounted(dir) {
        let options = size
            .filter(|size| *size > 0)
            .map_or_else(String::new, |size| format!("size={size}"));
        let options = std::ffi::CString::new(options).map_err(|error| error.to_string())?;
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", dir, "tmpfs", flags, options.as_c_str())
            .map_err(|error| format!("mount tmpfs at {}: {error}", dir.display()))?;
    } else if existed {
        return Ok(());
    }
    let mode = if group.is_some() { 0o2777 } else { 0o777 };
    if let Some(gid) = group.and_then(|gid| u32::try_from(gid).ok()) {
        io("change the group of", dir, chown(dir, None, Some(gid)))?;
    }
    io(
        "open up",
        dir,
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(mode)),
    )
}

/// Whether something is mounted at a path.
pub(super) fn is_mounted(path: &Path) -> bool {
    mount_points().iter().any(|point| point == path)
}

/// Whether something is mounted at a path or below it.
pub(super) fn is_mounted_below(path: &Path) -> bool {
    mount_points().iter().any(|point| point.starts_with(path))
}

/// All mount points, innermost last.
fn mount_points() -> Vec<std::path::PathBuf> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let unescape = |field: &str| {
        field
            .replace("\\040", " ")
            .replace("\\011", "\t")
            .replace("\\134", "\\")
    };
    text.lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|field| unescape(field).into())
        .collect()
}

/// Checks or makes what a hostPath volume names.
pub(super) fn host_path(source: &HostPathVolumeSource) -> Result<(), String> {
    let path = Path::new(&source.path);
    let kind = source.type_.as_deref().unwrap_or_default();
    let found = std::fs::metadata(path);
    match kind {
        "DirectoryOrCreate" if found.is_err() => {
            io("create", path, std::fs::create_dir_all(path))?;
            return io(
                "open",
                path,
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)),
            );
        }
        "FileOrCreate" if found.is_err() => {
            io("create", path, std::fs::write(path, ""))?;
            return io(
                "open",
                path,
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)),
            );
        }
        // Nothing is said: nothing is checked. The runtime makes a folder if there is nothing.
        "" => return Ok(()),
        _ => {}
    }
    let fits = found.is_ok_and(|meta| {
        let file = meta.file_type();
        match kind {
            "Directory" | "DirectoryOrCreate" => file.is_dir(),
            "File" | "FileOrCreate" => file.is_file(),
            "Socket" => file.is_socket(),
            "CharDevice" => file.is_char_device(),
            "BlockDevice" => file.is_block_device(),
            _ => false,
        }
    });
    let what = match kind {
        "Directory" | "DirectoryOrCreate" => "a directory",
        "File" | "FileOrCreate" => "a file",
        "Socket" => "a socket file",
        "CharDevice" => "a character device",
        "BlockDevice" => "a block device",
        other => return Err(format!("{other} is an invalid volume type")),
    };
    if fits {
        Ok(())
    } else {
        Err(format!("hostPath type check failed: {} is not {what}", source.path))
    }
}

/// Makes an empty file that every user of a container may write.
pub(super) fn touch(path: &Path) -> Result<(), String> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    io("create", parent, std::fs::create_dir_all(parent))?;
    if !path.exists() {
        io("create", path, std::fs::write(path, ""))?;
    }
    io(
        "open up",
        path,
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)),
    )
}

/// Unmounts everything below a folder and removes it. Never crosses into something that is still mounted.
pub(super) fn remove(dir: &Path) -> Result<(), String> {
    let mut below: Vec<_> = mount_points()
        .into_iter()
        .filter(|point| point.starts_with(dir))
        .collect();
    below.sort();
    for point in below.iter().rev() {
        super::subpath::unmount(point);
    }
    if mount_points().iter().any(|point| point.starts_with(dir)) {
        return Err(format!("something is still mounted below {}", dir.display()));
    }
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(format!("remove {}: {error}", dir.display())),
        _ => Ok(()),
    }
}
