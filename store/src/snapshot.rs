//! Snapshots: the newest state in one file, sorted by key and checksummed, that any engine can be restored from.
//!
//! ```text
//! "timonel snapshot 1\n"  revision u64  count u64
//! count times, by key:    position 12 bytes  length u32  record (see record.rs, with its own sums)
//! crc32c u32 of everything before
//! ```
//!
//! A restored store starts a good deal later than the snapshot ([`BUMP`]): revisions that were handed out between the
//! snapshot and the loss are never handed out again, and whoever resumes from one is told to list anew.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use timonel_api::Revision;

use crate::embedded::dir::{self, OpenError};
use crate::embedded::load::{self, Damage, Quarantine};
use crate::engine::{self, Engine, Writes};
use crate::history::History;
use crate::position::Position;
use crate::record::{self, Meta, number32, number64};
use crate::traits::{Range, StoreError};

const MAGIC: &[u8] = b"timonel snapshot 1\n";
/// How far the revision is moved by a restore: more than a store can write between two snapshots.
pub const BUMP: u64 = 1 << 30;
const RESTORE_BATCH: usize = 4 * 1024 * 1024;

/// Why a snapshot could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The state could not be read.
    #[error("cannot read the state")]
    Read(#[source] StoreError),
    /// The state has damaged records, which a snapshot would silently leave out.
    #[error("{count} records are damaged or missing; the snapshot would not be whole")]
    Incomplete {
        /// How many.
        count: usize,
    },
    /// The file could not be written.
    #[error("cannot write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The process is being shut down.
    #[error("stopped: {reason}")]
    Stopped {
        /// By what.
        reason: String,
    },
}

/// What `check` found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The engine that the folder belongs to.
    pub engine: Engine,
    /// The newest revision.
    pub current: Revision,
    /// The oldest that can be read.
    pub oldest: Revision,
    /// Keys in the index.
    pub keys: usize,
    /// Records on disk.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records that compaction has forgotten and the next opening deletes.
    pub garbage: usize,
    /// Records that are not whole.
    pub damaged: Vec<Damage>,
}

struct Summed<W> {
    inner: W,
    sum: u32,
}

impl<W: Write> Summed<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum = crc32c::crc32c_append(self.sum, bytes);
        self.inner.write_all(bytes)
    }
}

impl<R: Read> Summed<R> {
    fn take<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.inner.read_exact(bytes)?;
        self.sum = crc32c::crc32c_append(self.sum, bytes);
        Ok(())
    }
}

/// Writes the newest state. The caller keeps compacted records from being deleted meanwhile.
pub(crate) fn write(history: &History, file: &Path) -> Result<Revision, SnapshotError> {
    let selection = history
        .index(|index| index.select("", None, None, None))
        .map_err(SnapshotError::Read)?;
    let revision = selection.revision;
    // Pages of some hundred keys: the whole state is never in memory at once.
    let mut written = 0;
    let mut read = Ok(());
    let count = selection.found.len();
    drop(selection);
    dir::write_whole(file, |file| {
        let mut out = Summed { inner: file, sum: 0 };
        out.put(MAGIC)?;
        out.put(&revision.0.to_be_bytes())?;
        out.put(&(count as u64).to_be_bytes())?;
        let mut after = None;
        loop {
            let range = Range {
                prefix: String::new(),
                after: after.take(),
                limit: Some(256),
                at: Some(revision),
            };
            let page = match history.range(&range) {
                Ok(page) => page,
                Err(error) => {
                    read = Err(SnapshotError::Read(error));
                    return Err(io::Error::other("unreadable"));
                }
            };
            for entry in &page.entries {
                let Some((_, version)) = history.index(|index| index.at(&entry.key, revision)) else {
                    continue;
                };
                let time = history
                    .time_of(entry.mod_revision)
                    .unwrap_or(std::time::SystemTime::UNIX_EPOCH);
                let record = record::encode_parts(&entry.key, version, &entry.value, time);
                out.put(&version.position.to_bytes())?;
                out.put(&u32::try_from(record.len()).map_err(io::Error::other)?.to_be_bytes())?;
                out.put(&record)?;
                written += 1;
            }
            after = page.entries.last().map(|entry| entry.key.to_string());
            if page.remaining == 0 || after.is_none() {
                break;
            }
        }
        if written != count {
            read = Err(SnapshotError::Incomplete { count: count - written });
            return Err(io::Error::other("incomplete"));
        }
        let sum = out.sum;
        out.put(&sum.to_be_bytes())
    })
    .or_else(|source| {
        std::mem::replace(&mut read, Ok(()))?;
        Err(SnapshotError::Write {
            path: file.to_owned(),
            source,
        })
    })?;
    Ok(revision)
}

/// Makes a store in `dir`, which must not exist, from a snapshot, and returns the revision that it starts at.
///
/// It is made beside `dir` and renamed, so that it is there whole or not at all.
pub fn restore(file: &Path, dir: &Path, engine: Engine) -> Result<Revision, OpenError> {
    if dir.exists() {
        return Err(OpenError::Exists { dir: dir.to_owned() });
    }
    verify(file)?;
    let mut name = dir.as_os_str().to_owned();
    name.push(".restoring");
    let making = PathBuf::from(name);
    if making.exists() {
        fs::remove_dir_all(&making).map_err(dir::at(&making))?;
    }
    dir::claim(&making, engine)?;
    let current = {
        let records = engine::open(engine, &making, 16 * 1024 * 1024)?;
        let mut puts = Vec::new();
        let mut bytes = 0;
        let mut failed = Ok(());
        let revision = read(file, &mut |position, record| {
            bytes += record.len();
            puts.push((position, record));
            if bytes >= RESTORE_BATCH && failed.is_ok() {
                bytes = 0;
                failed = records.apply(Writes {
                    puts: std::mem::take(&mut puts),
                    deletes: Vec::new(),
                });
            }
        })?;
        failed?;
        let current = Revision(revision.0.saturating_add(BUMP));
        puts.push((
            Position::META,
            Meta {
                oldest: current,
                current,
            }
            .encode(),
        ));
        records.apply(Writes {
            puts,
            deletes: Vec::new(),
        })?;
        current
    };
    File::open(&making)
        .and_then(|folder| folder.sync_all())
        .map_err(dir::at(&making))?;
    fs::rename(&making, dir)
        .and_then(|()| dir::sync_parent(dir))
        .map_err(dir::at(dir))?;
    Ok(current)
}

/// Reads a whole snapshot and returns its revision, or says what is wrong with it.
pub fn verify(file: &Path) -> Result<Revision, OpenError> {
    read(file, &mut |_, _| {})
}

fn read(file: &Path, each: &mut dyn FnMut(Position, Vec<u8>)) -> Result<Revision, OpenError> {
    let bad = |reason: String| OpenError::Snapshot {
        path: file.to_owned(),
        reason,
    };
    let short = |error: io::Error| bad(error.to_string());
    let opened = File::open(file).map_err(dir::at(file))?;
    let mut input = Summed {
        inner: io::BufReader::new(opened),
        sum: 0,
    };
    let mut magic = [0; MAGIC.len()];
    input.fill(&mut magic).map_err(short)?;
    if magic != MAGIC {
        return Err(bad("it does not start as one".to_owned()));
    }
    let numbers: [u8; 16] = input.take().map_err(short)?;
    let (revision, count) = (number64(&numbers, 0), number64(&numbers, 8));
    let mut last = None;
    for _ in 0..count {
        let place: [u8; 16] = input.take().map_err(short)?;
        let position = Position::from_bytes(&place[..12]).unwrap_or_default();
        let len = number32(&place, 12) as usize;
        if len > crate::MAX_KEY + crate::MAX_VALUE + 64 {
            return Err(bad(format!("a record of {len} bytes")));
        }
        let mut bytes = vec![0; len];
        input.fill(&mut bytes).map_err(short)?;
        let head = record::head(position, &bytes).map_err(|corrupt| bad(corrupt.to_string()))?;
        head.value(&bytes).map_err(|corrupt| bad(corrupt.to_string()))?;
        if last.as_ref().is_some_and(|last| *last >= head.key) {
            return Err(bad(format!("key {} is out of order", head.key)));
        }
        last = Some(head.key);
        each(position, bytes);
    }
    let expected = input.sum;
    let sum: [u8; 4] = input.take().map_err(short)?;
    if sum != expected.to_be_bytes() {
        return Err(bad("its checksum is wrong".to_owned()));
    }
    Ok(Revision(revision))
}

/// Reads every record of a store that nobody has open, and reports.
pub fn check(dir: &Path) -> Result<Report, OpenError> {
    let engine = dir::marked(dir)?.ok_or_else(|| OpenError::Unknown {
        dir: dir.to_owned(),
        found: String::new(),
    })?;
    let records = engine::open(engine, dir, 16 * 1024 * 1024)?;
    let quarantine = Quarantine::new(dir.join("quarantine"));
    let loaded = engine::guarded(engine, "read its records", || load::load(records.as_ref(), &quarantine))?;
    Ok(Report {
        engine,
        current: loaded.index.current(),
        oldest: loaded.index.oldest(),
        keys: loaded.index.key_count(),
        records: loaded.records,
        bytes: loaded.bytes,
        garbage: loaded.garbage.len(),
        damaged: quarantine.found(),
    })
}
