//! The store's folder: which engine it belongs to, files that are either whole or not there.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::engine::{Engine, EngineError};

const MARKER: &str = "ENGINE";
const WORDS: &str = "timonel-store 1";

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder could not be made or read.
    #[error("cannot use {path}")]
    Folder {
        /// The folder or file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It was made with another engine. Move it with a snapshot.
    #[error(
        "{dir} holds a {found} store and was opened as {asked}; take a snapshot with {found} and restore it with {asked}"
    )]
    WrongEngine {
        /// The folder.
        dir: PathBuf,
        /// What it holds.
        found: Engine,
        /// What was asked for.
        asked: Engine,
    },
    /// The marker is unreadable or of a later version.
    #[error("{dir} is not a store that this version knows: its marker says {found:?}")]
    Unknown {
        /// The folder.
        dir: PathBuf,
        /// The marker.
        found: String,
    },
    /// A restore needs a folder that is not there yet.
    #[error("{dir} exists already")]
    Exists {
        /// The folder.
        dir: PathBuf,
    },
    /// The snapshot is not whole.
    #[error("{path} is not a whole snapshot: {reason}")]
    Snapshot {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The engine refuses its files. Restore the last snapshot.
    #[error("the engine cannot open its files; restore the last snapshot")]
    Engine(#[from] EngineError),
    /// The writer's thread could not be started.
    #[error("cannot start the writer")]
    Writer(#[source] io::Error),
}

pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    let path = path.to_owned();
    move |source| OpenError::Folder { path, source }
}

/// Makes the folder if needed, and makes sure that it belongs to this engine.
pub(crate) fn claim(dir: &Path, engine: Engine) -> Result<(), OpenError> {
    fs::create_dir_all(dir).map_err(at(dir))?;
    match marked(dir)? {
        Some(found) if found == engine => Ok(()),
        Some(found) => Err(OpenError::WrongEngine {
            dir: dir.to_owned(),
            found,
            asked: engine,
        }),
        None => {
            let path = dir.join(MARKER);
            write_whole(&path, |file| writeln!(file, "{WORDS} {engine}")).map_err(at(&path))
        }
    }
}

/// Returns the engine that the folder was made with.
pub(crate) fn marked(dir: &Path) -> Result<Option<Engine>, OpenError> {
    let path = dir.join(MARKER);
    let text = match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(at(&path))?,
    };
    let found = text
        .trim()
        .strip_prefix(WORDS)
        .and_then(|name| name.trim().parse().ok());
    found.map(Some).ok_or_else(|| OpenError::Unknown {
        dir: dir.to_owned(),
        found: text,
    })
}

/// Writes a file so that after a power cut it is there whole or not at all.
pub(crate) fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut io::BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    let temporary = PathBuf::from(name);
    let mut file = io::BufWriter::new(File::create(&temporary)?);
    write(&mut file)?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_parent(path)
}

/// Makes a rename or a new file durable.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    File::open(parent)?.sync_all()
}
