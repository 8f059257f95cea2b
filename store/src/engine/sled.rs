//! sled 0.34: one tree, one writer, and the precautions that made it survive power cuts when measured.
//!
//! - `flush` is `sync_file_range`, not fsync: every batch is followed by an fdatasync of sled's `db` file through a
//!   descriptor of our own.
//! - Values above a page go to `blobs/`, which is never synced and leaks: records are cut into chunks below 4 KiB.
//! - A `snap.*.generating` left by a crash makes every later open fail: it is removed first.
//! - Opening may panic after a power cut: the caller runs it guarded, and the answer is to restore a snapshot.
//!
//! Key: position (12 bytes) and chunk number u32. The first chunk starts with the record's length u32.

use std::fs::File;
use std::io;
use std::path::Path;

use super::{Engine, EngineError, Records, Writes};
use crate::position::Position;
use crate::record::number32;

/// What fits into one of sled's pages beside its own head.
const CHUNK: usize = 3840;

/// Records in a sled tree.
pub struct SledRecords {
    tree: sled::Db,
    file: File,
}

fn failed<E: std::fmt::Display>(act: &'static str) -> impl FnOnce(E) -> EngineError {
    move |error| EngineError {
        engine: Engine::Sled,
        act,
        reason: error.to_string(),
    }
}

impl SledRecords {
    /// Opens or makes the folder.
    pub fn open(dir: &Path, cache_bytes: usize) -> Result<Self, EngineError> {
        remove_half_made_snapshots(dir).map_err(failed("clear what a crash left"))?;
        let tree = sled::Config::new()
            .path(dir)
            .cache_capacity(cache_bytes as u64)
            // We flush each batch ourselves; a thread that flushes now and then only disturbs.
            .flush_every_ms(None)
            .open()
            .map_err(failed("open its folder"))?;
        let file = File::open(dir.join("db")).map_err(failed("open its db file"))?;
        let records = Self { tree, file };
        records.sync().map_err(failed("make its folder durable"))?;
        File::open(dir)
            .and_then(|dir| dir.sync_all())
            .map_err(failed("make its folder durable"))?;
        Ok(records)
    }

    fn sync(&self) -> Result<(), sled::Error> {
        self.tree.flush()?;
        self.file.sync_data()?;
        Ok(())
    }

    fn chunk_key(position: Position, chunk: u32) -> [u8; 16] {
        let mut key = [0; 16];
        key[..12].copy_from_slice(&position.to_bytes());
        key[12..].copy_from_slice(&chunk.to_be_bytes());
        key
    }
}

/// Returns how many chunks a record of `len` bytes has, its length included.
fn chunks(len: usize) -> u32 {
    u32::try_from((len + 4).div_ceil(CHUNK)).unwrap_or(u32::MAX)
}

fn remove_half_made_snapshots(dir: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "generating") {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

impl Records for SledRecords {
    fn apply(&self, writes: Writes) -> Result<(), EngineError> {
        let mut batch = sled::Batch::default();
        for position in &writes.deletes {
            let first = self
                .tree
                .get(Self::chunk_key(*position, 0))
                .map_err(failed("read a record"))?;
            let count = first.map_or(0, |first| chunks(number32(&first, 0) as usize));
            for chunk in 0..count {
                batch.remove(&Self::chunk_key(*position, chunk));
            }
        }
        for (position, record) in &writes.puts {
            let mut whole = Vec::with_capacity(record.len() + 4);
            whole.extend_from_slice(&u32::try_from(record.len()).unwrap_or(u32::MAX).to_be_bytes());
            whole.extend_from_slice(record);
            for (chunk, part) in (0..).zip(whole.chunks(CHUNK)) {
                batch.insert(&Self::chunk_key(*position, chunk), part);
            }
        }
        self.tree.apply_batch(batch).map_err(failed("write a batch"))?;
        self.sync().map_err(failed("make a batch durable"))
    }

    fn get(&self, position: Position) -> Result<Option<Vec<u8>>, EngineError> {
        let read = |chunk| {
            self.tree
                .get(Self::chunk_key(position, chunk))
                .map_err(failed("read a record"))
        };
        let Some(first) = read(0)? else { return Ok(None) };
        let mut record = first.get(4..).unwrap_or_default().to_vec();
        for chunk in 1..chunks(number32(&first, 0) as usize) {
            // A missing chunk leaves the record short, which its checksum tells.
            record.extend_from_slice(&read(chunk)?.unwrap_or_default());
        }
        Ok(Some(record))
    }

    fn scan(&self, from: Position, each: &mut dyn FnMut(Position, &[u8])) -> Result<(), EngineError> {
        let mut open: Option<(Position, Vec<u8>)> = None;
        for item in self.tree.range(Self::chunk_key(from, 0)..) {
            let (key, part) = item.map_err(failed("read its records"))?;
            let Some((position, chunk)) = key.split_at_checked(12) else {
                continue;
            };
            let Some(position) = Position::from_bytes(position) else {
                continue;
            };
            let part = if number32(chunk, 0) == 0 {
                part.get(4..).unwrap_or_default()
            } else {
                &part
            };
            match &mut open {
                Some((at, record)) if *at == position => record.extend_from_slice(part),
                _ => {
                    if let Some((at, record)) = open.replace((position, part.to_vec())) {
                        each(at, &record);
                    }
                }
            }
        }
        if let Some((at, record)) = open {
            each(at, &record);
        }
        Ok(())
    }
}
