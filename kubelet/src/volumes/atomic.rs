//! Files that change all at once: a timestamped folder, and a symbolic link `..data` that is moved over to it.
//!
//! A reader that follows `..data` sees the old content or the new, never a mixture. The layout is upstream's, so that
//! programs that watch `..data` work.

use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::{Component, Path, PathBuf};

use super::Payload;

const DATA: &str = "..data";
const DATA_NEW: &str = "..data_tmp";

/// Makes `dir` show exactly `files`; does nothing if it does already.
///
/// # Errors
/// When the file system refuses, or a path leads out of the folder.
pub(crate) fn write(dir: &Path, files: &Payload, group: Option<i64>) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o777))?;
    for path in files.keys() {
        let inside = Path::new(path)
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        if !inside || path.starts_with("..") {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("invalid path: {path}"),
            ));
        }
    }
    let old = std::fs::read_link(dir.join(DATA)).ok();
    if let Some(old) = &old
        && same(&dir.join(old), files)
    {
        return Ok(());
    }
    let fresh = fresh_name(dir)?;
    let target = dir.join(&fresh);
    for (path, (content, mode)) in files {
        let file = target.join(path);
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let mut mode = *mode;
        if group.is_some() {
            mode |= 0o440;
        }
        let mut options = std::fs::OpenOptions::new();
        let mut open = options.create(true).truncate(true).write(true).mode(mode).open(&file)?;
        io::Write::write_all(&mut open, content)?;
        // Whatever the umask took away.
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode))?;
        if let Some(gid) = group.and_then(|gid| u32::try_from(gid).ok()) {
            chown(&file, None, Some(gid))?;
        }
    }
    let temporary = dir.join(DATA_NEW);
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    symlink(&fresh, &temporary)?;
    std::fs::rename(&temporary, dir.join(DATA))?;
    visible_names(dir, files)?;
    if let Some(old) = old {
        std::fs::remove_dir_all(dir.join(old))?;
    }
    Ok(())
}

/// Links every top-level name through `..data`, and removes names that are no longer there.
fn visible_names(dir: &Path, files: &Payload) -> io::Result<()> {
    let wanted: std::collections::BTreeSet<&str> = files.keys().filter_map(|path| path.split('/').next()).collect();
    for name in &wanted {
        let link = dir.join(name);
        if std::fs::symlink_metadata(&link).is_err() {
            symlink(PathBuf::from(DATA).join(name), &link)?;
        }
    }
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && !wanted.contains(name.as_str()) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// A name that upstream would give: a timestamp, and something that makes it unique.
fn fresh_name(dir: &Path) -> io::Result<String> {
    let stamp = std::fs::metadata(dir)?;
    for count in 0..10_000 {
        let name = format!("..{}_{}.{count}", stamp.ctime(), stamp.ctime_nsec());
        match std::fs::create_dir(dir.join(&name)) {
            Ok(()) => {
                std::fs::set_permissions(dir.join(&name), std::fs::Permissions::from_mode(0o755))?;
                return Ok(name);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AlreadyExists,
        "no free name for a data folder",
    ))
}

fn same(dir: &Path, files: &Payload) -> bool {
    let mut count = 0;
    let mut stack = vec![dir.to_owned()];
    while let Some(next) = stack.pop() {
        let Ok(entries) = std::fs::read_dir(&next) else {
            return false;
        };
        for entry in entries.flatten() {
            let Ok(kind) = entry.file_type() else { return false };
            if kind.is_dir() {
                stack.push(entry.path());
            } else {
                count += 1;
            }
        }
    }
    count == files.len()
        && files
            .iter()
            .all(|(path, (content, _))| std::fs::read(dir.join(path)).is_ok_and(|known| known == *content))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), (text.as_bytes().to_vec(), 0o644)))
            .collect()
    }

    #[test]
    fn an_update_swaps_all_files_and_removes_those_that_went() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("volume");
        write(&at, &payload(&[("a", "1"), ("sub/b", "2")]), None).unwrap();
        assert_eq!(std::fs::read_to_string(at.join("sub/b")).unwrap(), "2");
        let first = std::fs::read_link(at.join(DATA)).unwrap();
        write(&at, &payload(&[("a", "1"), ("sub/b", "2")]), None).unwrap();
        assert_eq!(
            std::fs::read_link(at.join(DATA)).unwrap(),
            first,
            "nothing changed, nothing moves"
        );
        write(&at, &payload(&[("a", "3")]), None).unwrap();
        assert_eq!(std::fs::read_to_string(at.join("a")).unwrap(), "3");
        assert!(!at.join("sub").exists() && !at.join(first).exists());
    }

    #[test]
    fn a_path_that_leads_out_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(write(dir.path(), &payload(&[("../x", "1")]), None).is_err());
        assert!(write(dir.path(), &payload(&[("/x", "1")]), None).is_err());
    }
}
