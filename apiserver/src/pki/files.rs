//! Where keys are kept: a private folder on disk, or memory.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// A key file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{act} {}", path.display())]
pub struct FileError {
    act: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl FileError {
    pub(super) fn new(act: &'static str, path: PathBuf, source: io::Error) -> Self {
        Self { act, path, source }
    }
}

/// Keeps files that only their owner may read.
#[derive(Clone, Debug)]
pub(super) struct Vault(Place);

#[derive(Clone)]
enum Place {
    Disk(PathBuf),
    Memory(Arc<Mutex<BTreeMap<String, String>>>),
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Disk(dir) => f.debug_tuple("Disk").field(dir).finish(),
            Self::Memory(_) => f.write_str("Memory"),
        }
    }
}

impl Vault {
    /// Opens `dir`, making it and its `pki` folder if need be.
    pub(super) fn on_disk(dir: &Path) -> Result<Self, FileError> {
        let pki = dir.join("pki");
        let failed = |source| FileError {
            act: "making the folder",
            path: pki.clone(),
            source,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&pki)
            .map_err(failed)?;
        fs::set_permissions(&pki, Permissions::from_mode(0o700)).map_err(failed)?;
        Ok(Self(Place::Disk(dir.to_owned())))
    }

    /// A folder that is there already.
    pub(super) fn existing(dir: &Path) -> Self {
        Self(Place::Disk(dir.to_owned()))
    }

    pub(super) fn in_memory() -> Self {
        Self(Place::Memory(Arc::default()))
    }

    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        match &self.0 {
            Place::Disk(dir) => Some(dir.join(name)),
            Place::Memory(_) => None,
        }
    }

    pub(super) fn read(&self, name: &str) -> Result<Option<String>, FileError> {
        match &self.0 {
            Place::Disk(dir) => match fs::read_to_string(dir.join(name)) {
                Ok(text) => Ok(Some(text)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                Err(source) => Err(FileError {
                    act: "reading",
                    path: dir.join(name),
                    source,
                }),
            },
            Place::Memory(files) => Ok(files.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()),
        }
    }

    /// Writes a whole file or nothing: a temporary file beside it, fsync, rename, fsync of the folder.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<(), FileError> {
        match &self.0 {
            Place::Disk(dir) => {
                let path = dir.join(name);
                if fs::read_to_string(&path).is_ok_and(|present| present == text) && is_private(&path) {
                    return Ok(());
                }
                write_atomically(&path, text).map_err(|source| FileError {
                    act: "writing",
                    path,
                    source,
                })
            }
            Place::Memory(files) => {
                files
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(name.to_owned(), text.to_owned());
                Ok(())
            }
        }
    }
}

fn is_private(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o077 == 0)
}

fn write_atomically(path: &Path, text: &str) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    // A leftover of a crash may have other permissions; `mode` counts only for files that `open` makes.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
