//! Storage engines, seen as what the store needs of them: one ordered tree, atomic durable batches, reads.
//!
//! The interface is this small so that the choice can be measured again (decision 0001).

mod redb;
mod sled;

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

pub use self::redb::RedbRecords;
pub use self::sled::SledRecords;
use crate::position::Position;

/// How often and how long an opening waits for a lock: two seconds in all.
const LOCK_TRIES: u32 = 40;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Which engine keeps the records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Engine {
    /// A copy-on-write B-tree in one file. The default: it lost nothing in any power cut.
    #[default]
    Redb,
    /// A log-structured tree. Faster for a single writer, but it needs precautions and now and then a snapshot after a power cut.
    Sled,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Redb => "redb",
            Self::Sled => "sled",
        })
    }
}

impl FromStr for Engine {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name {
            "redb" => Ok(Self::Redb),
            "sled" => Ok(Self::Sled),
            other => Err(format!("unknown store engine {other:?}, expected redb or sled")),
        }
    }
}

/// The engine could not do something. Whatever it was, nothing may be acknowledged after it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{engine} could not {act}: {reason}")]
pub struct EngineError {
    /// Which engine.
    pub engine: Engine,
    /// What it was doing.
    pub act: &'static str,
    /// In its words.
    pub reason: String,
}

impl EngineError {
    /// Says whether another process has the files open. Both engines tell only in words.
    fn is_locked(&self) -> bool {
        self.reason.contains("could not acquire lock") || self.reason.contains("already open")
    }
}

/// One atomic change of the records.
#[derive(Clone, Debug, Default)]
pub struct Writes {
    /// New records.
    pub puts: Vec<(Position, Vec<u8>)>,
    /// Records that are no longer needed. Deleting what is not there is no error.
    pub deletes: Vec<Position>,
}

/// An engine that keeps records in the order of their positions.
///
/// One thread writes; any number read at the same time.
pub trait Records: Send + Sync + 'static {
    /// Carries out a batch, wholly or not at all, and returns after it is on disk.
    ///
    /// *Errors:* after any, the caller must assume nothing about what is on disk and write no more.
    fn apply(&self, writes: Writes) -> Result<(), EngineError>;

    /// Reads one record.
    fn get(&self, position: Position) -> Result<Option<Vec<u8>>, EngineError>;

    /// Shows every record from `from` on, in order. Only called while nobody writes.
    fn scan(&self, from: Position, each: &mut dyn FnMut(Position, &[u8])) -> Result<(), EngineError>;
}

/// Opens an engine's files in `dir`, making them if they are not there. Panics of the engine become errors.
pub(crate) fn open(engine: Engine, dir: &Path, cache_bytes: usize) -> Result<Arc<dyn Records>, EngineError> {
    let mut tries = 0;
    loop {
        match open_once(engine, dir, cache_bytes) {
            // A process that was killed a moment ago, or a child that is being forked from it, may still hold the lock.
            Err(error) if error.is_locked() && tries < LOCK_TRIES => {
                tries += 1;
                std::thread::sleep(LOCK_PAUSE);
            }
            opened => return opened,
        }
    }
}

fn open_once(engine: Engine, dir: &Path, cache_bytes: usize) -> Result<Arc<dyn Records>, EngineError> {
    guarded(engine, "open its files", || match engine {
        Engine::Redb => Ok(Arc::new(RedbRecords::open(&dir.join("history.redb"), cache_bytes)?) as Arc<dyn Records>),
        Engine::Sled => Ok(Arc::new(SledRecords::open(&dir.join("sled"), cache_bytes)?) as Arc<dyn Records>),
    })
}

/// Runs an engine's code and turns a panic into an error.
pub(crate) fn guarded<T>(
    engine: Engine,
    act: &'static str,
    run: impl FnOnce() -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let reason = panic
            .downcast_ref::<&str>()
            .map(ToString::to_string)
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "it panicked".to_owned());
        Err(EngineError {
            engine,
            act,
            reason: format!("panic: {reason}"),
        })
    })
}
