//! Opening: reads every record once, checks it and rebuilds the index.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use timonel_api::Revision;

use crate::engine::{EngineError, Records};
use crate::history::Values;
use crate::index::{Index, Version};
use crate::position::Position;
use crate::record::{self, Corrupt, Meta};
use crate::traits::StoreError;

/// A record that could not be read whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Where it is.
    pub position: Position,
    /// How far it can still be trusted.
    pub what: Corrupt,
}

/// The records that were found damaged. Each is copied to `quarantine/` and logged once; none is served.
#[derive(Debug)]
pub(crate) struct Quarantine {
    dir: PathBuf,
    found: Mutex<Vec<Damage>>,
}

/// What opening found.
pub(crate) struct Loaded {
    pub(crate) index: Index,
    /// Records that compaction has forgotten but not yet deleted.
    pub(crate) garbage: Vec<Position>,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
}

impl Quarantine {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            found: Mutex::default(),
        }
    }

    pub(crate) fn report(&self, position: Position, what: Corrupt, record: &[u8]) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if found.iter().any(|damage| damage.position == position) {
            return;
        }
        let file = self.dir.join(format!("{}-{}", position.revision, position.sub));
        tracing::error!(revision = %position.revision, sub = position.sub, %what, copy = %file.display(), "a record is damaged; the rest is served");
        let kept = std::fs::create_dir_all(&self.dir).and_then(|()| std::fs::write(&file, record));
        if let Err(error) = kept {
            tracing::warn!(%error, "cannot keep a copy of the damaged record");
        }
        found.push(Damage { position, what });
    }

    pub(crate) fn found(&self) -> Vec<Damage> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Reads all records in the order of history.
pub(crate) fn load(records: &dyn Records, quarantine: &Quarantine) -> Result<Loaded, EngineError> {
    let meta = records.get(Position::META)?;
    let note = meta.as_deref().and_then(Meta::decode);
    if let (Some(meta), None) = (&meta, note) {
        quarantine.report(Position::META, Corrupt::Head, meta);
    }
    let mut index = Index::starting_at(Revision(1));
    let (mut count, mut bytes) = (0, 0);
    let mut last = Revision(1);
    let mut group: Vec<(Arc<str>, Version, u64)> = Vec::new();
    let mut group_time = std::time::SystemTime::UNIX_EPOCH;
    records.scan(Position::FIRST, &mut |position, record| {
        count += 1;
        bytes += record.len() as u64;
        if position.revision != last && !group.is_empty() {
            index.add(last, group_time, std::mem::take(&mut group));
        }
        last = last.max(position.revision);
        let head = match record::head(position, record) {
            Ok(head) => head,
            Err(what) => return quarantine.report(position, what, record),
        };
        if let Err(what) = head.value(record) {
            // Its place in history is known: reading it answers `Damaged` instead of something older.
            quarantine.report(position, what, record);
        }
        let key = index
            .newest_key(&head.key)
            .unwrap_or_else(|| Arc::from(head.key.as_str()));
        group_time = head.time;
        group.push((key, head.version, record.len() as u64));
    })?;
    if !group.is_empty() {
        index.add(last, group_time, group);
    }
    index.advance(last);
    let mut garbage = Vec::new();
    if let Some(note) = note {
        index.advance(note.current);
        garbage = index.compact(note.oldest).unwrap_or_default();
    }
    Ok(Loaded {
        index,
        garbage,
        records: count,
        bytes,
    })
}

/// Values in an engine, each checked as it is read. `close` lets go of the engine even while watches still hold on to the history.
pub(crate) struct RecordValues {
    pub(crate) records: Arc<std::sync::RwLock<Option<Arc<dyn Records>>>>,
    pub(crate) quarantine: Arc<Quarantine>,
}

impl Values for RecordValues {
    fn read(&self, key: &str, position: Position) -> Result<Option<Bytes>, StoreError> {
        let records = self.records.read().unwrap_or_else(PoisonError::into_inner).clone();
        let records = records.ok_or(StoreError::Closed)?;
        let read = records.get(position).map_err(|error| StoreError::Engine {
            reason: error.to_string(),
        })?;
        let Some(record) = read else { return Ok(None) };
        match record::decode(position, record) {
            Ok((head, value)) if head.key == key => Ok(Some(value)),
            Ok(_) => Err(StoreError::Damaged {
                key: key.to_owned(),
                revision: position.revision,
            }),
            Err((what, record)) => {
                self.quarantine.report(position, what, &record);
                Err(StoreError::Damaged {
                    key: key.to_owned(),
                    revision: position.revision,
                })
            }
        }
    }
}
