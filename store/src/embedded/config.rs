//! What an embedded store is told when it is opened.

use std::path::PathBuf;
use std::time::Duration;

use crate::clock::CommitClock;
use crate::engine::Engine;

/// How to open an embedded store.
#[derive(Clone, Debug)]
pub struct EmbeddedConfig {
    /// The folder. Made if it is not there; it belongs to the store alone.
    pub dir: PathBuf,
    /// Fixed when the folder is made; opening it with the other is an error.
    pub engine: Engine,
    /// How much history to keep for resuming watches and for looking back.
    pub retention: Retention,
    /// Raise it where values are read from disk too often. The values that are read a lot live in the API server's cache.
    pub cache_bytes: usize,
    /// Writes are refused when the file system has less room than this, so that there is room left to clean up.
    pub reserve_bytes: u64,
    /// A watcher which is more than so many revisions behind is ended.
    pub watch_buffer: usize,
    /// The time that commits are noted with.
    pub clock: CommitClock,
}

/// How much history is kept. Both budgets hold; what is over either is compacted. The newest state is always kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Raise it to look further back.
    pub time: Duration,
    /// Lower it on small disks. Counts the keys and values written since the history's start.
    pub bytes: u64,
}

impl Default for Retention {
    fn default() -> Self {
        // Upstream compacts every five minutes; exercises want to look back over a lesson.
        Self {
            time: Duration::from_secs(2 * 3600),
            bytes: 256 * 1024 * 1024,
        }
    }
}

impl EmbeddedConfig {
    /// Returns the defaults for a folder.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            engine: Engine::default(),
            retention: Retention::default(),
            cache_bytes: 32 * 1024 * 1024,
            reserve_bytes: 64 * 1024 * 1024,
            watch_buffer: 8192,
            clock: CommitClock::system(),
        }
    }

    /// Chooses the engine.
    #[must_use]
    pub fn engine(mut self, engine: Engine) -> Self {
        self.engine = engine;
        self
    }
}
