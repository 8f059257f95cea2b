//! Sub-paths of volumes, resolved by the kernel so that no symbolic link can lead out of the volume.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};

/// Makes `target` a bind mount of `sub` below `volume`; answers `target`.
///
/// The path is opened with `RESOLVE_BENEATH` and bound by its descriptor, so that swapping a folder for a link between the
/// check and the mount gains nothing.
pub(super) fn bind(volume: &Path, sub: &str, target: &Path, create: bool) -> Result<PathBuf, String> {
    let parts: Vec<&std::ffi::OsStr> = Path::new(sub)
        .components()
        .filter(|part| !matches!(part, Component::CurDir))
        .map(|part| match part {
            Component::Normal(name) => Ok(name),
            _ => Err(format!("subPath {sub:?} must be a relative path without '..'")),
        })
        .collect::<Result<_, _>>()?;
    let words = |what: &str, error: rustix::io::Errno| format!("{what} {sub:?}: {error}");
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = rustix::fs::openat(CWD, volume, flags | OFlags::DIRECTORY, Mode::empty())
        .map_err(|error| words("open volume of", error))?;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let path: PathBuf = parts.iter().collect();
    let open = |path: &Path| rustix::fs::openat2(root.as_fd(), path, flags, Mode::empty(), beneath);
    let found = match open(&path) {
        Ok(found) => found,
        Err(rustix::io::Errno::NOENT) if create => {
            make_folders(&root, &parts).map_err(|error| words("create", error))?;
            open(&path).map_err(|error| words("open", error))?
        }
        Err(error) => return Err(words("open", error)),
    };
    let is_dir = rustix::fs::fstat(&found).map_err(|error| words("stat", error))?.st_mode & libc_ifmt() == libc_ifdir();
    unmount(target);
    let parent = target.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(parent).map_err(|error| error.to_string())?;
    if is_dir {
        std::fs::create_dir_all(target).map_err(|error| error.to_string())?;
    } else if !target.exists() {
        std::fs::write(target, "").map_err(|error| error.to_string())?;
    }
    let source = format!("/proc/self/fd/{}", found.as_raw_fd());
    rustix::mount::mount_bind(source.as_str(), target).map_err(|error| words("bind", error))?;
    Ok(target.to_owned())
}

const fn libc_ifmt() -> u32 {
    0o170_000
}

const fn libc_ifdir() -> u32 {
    0o040_000
}

fn make_folders(root: &OwnedFd, parts: &[&std::ffi::OsStr]) -> Result<(), rustix::io::Errno> {
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY;
    let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let mut at: OwnedFd = root.try_clone().map_err(|_| rustix::io::Errno::MFILE)?;
    let mut walked = PathBuf::new();
    for part in parts {
        match rustix::fs::mkdirat(at.as_fd(), *part, Mode::from_raw_mode(0o750)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        walked.push(part);
        // From the root each time: BENEATH must hold for the whole way.
        at = rustix::fs::openat2(root.as_fd(), &walked, flags, Mode::empty(), beneath)?;
    }
    Ok(())
}

/// Unmounts whatever is mounted at a path, if anything is.
pub(super) fn unmount(target: &Path) {
    while rustix::mount::unmount(
        target,
        rustix::mount::UnmountFlags::DETACH | rustix::mount::UnmountFlags::NOFOLLOW,
    )
    .is_ok()
    {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_leads_out_of_the_volume_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path().join("volume");
        std::fs::create_dir(&volume).unwrap();
        std::os::unix::fs::symlink("/etc", volume.join("escape")).unwrap();
        let target = dir.path().join("target");
        assert!(bind(&volume, "escape", &target, true).is_err());
        assert!(bind(&volume, "escape/passwd", &target, false).is_err());
        assert!(bind(&volume, "../x", &target, true).is_err());
        assert!(bind(&volume, "/etc", &target, true).is_err());
        assert!(!target.exists());
    }
}
