//! The image archives that every node has.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::LabError;
use super::progress::{Progress, say};
use super::state::{Home, Role, State};

/// Copies every archive of `from` into the lab, where it is new or changed.
pub(crate) fn collect(home: &Home, from: Option<&Path>) -> Result<(), LabError> {
    let folder = match from {
        Some(folder) => folder.to_owned(),
        None => default_folder()?,
    };
    let mut found = false;
    for entry in fs::read_dir(&folder).map_err(LabError::io("list", &folder))?.flatten() {
        if entry.path().extension().is_some_and(|e| e == "tar") {
            copy(home, &entry.path())?;
            found = true;
        }
    }
    if found {
        Ok(())
    } else {
        Err(LabError::NoImages { folder })
    }
}

/// Finds the archives that were built with this program.
fn default_folder() -> Result<PathBuf, LabError> {
    let beside = std::env::current_exe()
        .ok()
        .and_then(|exe| exe.parent().map(Path::to_owned))
        .map(|folder| [folder.join("images"), folder.join("../images")]);
    let candidates = beside.into_iter().flatten().chain([PathBuf::from("target/images")]);
    let mut last = PathBuf::from("target/images");
    for folder in candidates {
        if folder.is_dir() {
            return Ok(folder);
        }
        last = folder;
    }
    Err(LabError::NoImages { folder: last })
}

/// Copies one archive into the lab; returns its place there.
fn copy(home: &Home, archive: &Path) -> Result<PathBuf, LabError> {
    let name = archive.file_name().ok_or_else(|| LabError::NoImages {
        folder: archive.to_owned(),
    })?;
    let to = home.images().join(name);
    let meta = fs::metadata(archive).map_err(LabError::io("read", archive))?;
    let modified = meta.modified().map_err(LabError::io("read", archive))?;
    if fs::metadata(&to).is_ok_and(|old| old.len() == meta.len() && old.modified().is_ok_and(|m| m == modified)) {
        return Ok(to);
    }
    let new = to.with_extension("new");
    fs::copy(archive, &new).map_err(LabError::io("copy", archive))?;
    fs::File::options()
        .write(true)
        .open(&new)
        .and_then(|file| file.set_modified(modified))
        .map_err(LabError::io("date", &new))?;
    fs::rename(&new, &to).map_err(LabError::io("rename", &to))?;
    Ok(to)
}

/// `timonel image load`.
pub(crate) fn load(archives: &[PathBuf]) -> Result<(), LabError> {
    let home = Home::default();
    let _lock = home.lock()?;
    let state = home.require()?;
    let progress = Progress::start();
    for archive in archives {
        let copied = copy(&home, archive)?;
        for (name, node) in state.machines.iter().filter(|(_, m)| m.role == Role::Node) {
            let Some(process) = node.running().filter(|_| !node.frozen) else {
                continue;
            };
            progress.step(format!("loading {} on {name}", archive.display()));
            import_on(process.pid, &copied)?;
        }
    }
    drop(progress);
    report(&state, archives);
    Ok(())
}

fn report(state: &State, archives: &[PathBuf]) {
    let nodes = state
        .machines
        .values()
        .filter(|m| m.role == Role::Node && m.running().is_some() && !m.frozen)
        .count();
    for archive in archives {
        say(&format!("{} is on {nodes} nodes", archive.display()));
    }
}

/// Imports an archive that lies in the lab's folder on one node.
fn import_on(pid: i32, archive: &Path) -> Result<(), LabError> {
    let inside = Path::new(super::boot::IMAGES).join(archive.file_name().unwrap_or_default());
    let output = Command::new("nsenter")
        .args([
            "--all",
            "--target",
            &pid.to_string(),
            "ctr",
            "--namespace",
            "k8s.io",
            "images",
            "import",
        ])
        .arg(inside)
        .output()
        .map_err(LabError::io("import", archive))?;
    if output.status.success() {
        Ok(())
    } else {
        let reason = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(LabError::Import {
            archive: archive.to_owned(),
            reason,
        })
    }
}
