//! The store on this machine's disk.

mod config;
pub(crate) mod dir;
pub(crate) mod load;
pub(crate) mod writer;

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use async_trait::async_trait;
use timonel_api::Revision;
use tokio::sync::{mpsc, oneshot, watch};

pub use self::config::{EmbeddedConfig, Retention};
pub use self::dir::OpenError;
pub use self::load::Damage;
use self::load::{Quarantine, RecordValues};
use self::writer::{Command, Writer};
use crate::engine::{self, Records};
use crate::history::History;
use crate::index::Index;
use crate::snapshot::{self, SnapshotError};
use crate::traits::{Entry, Page, Range, Store, StoreError, Txn, Watch};
use crate::watch::follow;

/// How many transactions may wait for the writer before `commit` waits to queue.
const QUEUE: usize = 1024;

/// A durable store in a folder. Clones are handles of the same store.
///
/// Keys and their revisions are in memory, values stay on disk behind the engine's cache.
/// [`Store::close`] lets go of the folder; a store that is dropped without it does so a moment later.
#[derive(Clone)]
pub struct EmbeddedStore {
    history: Arc<History>,
    commands: mpsc::Sender<Command>,
    quarantine: Arc<Quarantine>,
    failure: watch::Receiver<Option<StoreError>>,
    pins: Arc<RwLock<()>>,
}

impl EmbeddedStore {
    /// Opens or makes a store. Blocks while it reads every record once.
    pub fn open(config: EmbeddedConfig) -> Result<Self, OpenError> {
        dir::claim(&config.dir, config.engine)?;
        let records = engine::open(config.engine, &config.dir, config.cache_bytes)?;
        Self::with_records(config, records)
    }

    /// Opens a store on records kept by somebody else. `config.dir` still holds the quarantine and tells how full the disk is.
    pub fn with_records(config: EmbeddedConfig, records: Arc<dyn Records>) -> Result<Self, OpenError> {
        let quarantine = Arc::new(Quarantine::new(config.dir.join("quarantine")));
        let loaded = engine::guarded(config.engine, "read its records", || {
            load::load(records.as_ref(), &quarantine)
        })?;
        tracing::info!(
            dir = %config.dir.display(), engine = %config.engine, records = loaded.records, bytes = loaded.bytes,
            keys = loaded.index.key_count(), revision = %loaded.index.current(), "opened the store"
        );
        let shared = Arc::new(RwLock::new(Some(Arc::clone(&records))));
        let values = RecordValues {
            records: Arc::clone(&shared),
            quarantine: Arc::clone(&quarantine),
        };
        let looked = loaded.index.current();
        let history = History::new(loaded.index, Box::new(values), config.watch_buffer);
        let pins = Arc::new(RwLock::new(()));
        let (failure, failed) = watch::channel(None);
        let (commands, queue) = mpsc::channel(QUEUE);
        let writer = Writer {
            history: Arc::clone(&history),
            records,
            shared,
            pins: Arc::clone(&pins),
            engine: config.engine,
            dir: config.dir,
            reserve_bytes: config.reserve_bytes,
            retention: config.retention,
            clock: config.clock,
            garbage: loaded.garbage.into(),
            failure,
            last_apply: std::time::Duration::ZERO,
            looked,
        };
        std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run(queue))
            .map_err(OpenError::Writer)?;
        Ok(Self {
            history,
            commands,
            quarantine,
            failure: failed,
            pins,
        })
    }

    /// Returns the records that were found damaged since the store was opened.
    pub fn damaged(&self) -> Vec<Damage> {
        self.quarantine.found()
    }

    /// Waits until the engine fails and says how. The process should then stop.
    pub async fn failure(&self) -> StoreError {
        let mut failure = self.failure.clone();
        let failed = failure.wait_for(Option::is_some).await.map(|failed| failed.clone());
        match failed {
            Ok(Some(error)) => error,
            // Closed in good order: there is no failure to report.
            _ => std::future::pending().await,
        }
    }

    /// Writes the newest state to a file while the store is in use, and returns the revision that it shows.
    pub async fn snapshot(&self, file: &Path) -> Result<Revision, SnapshotError> {
        let (history, pins, file) = (Arc::clone(&self.history), Arc::clone(&self.pins), file.to_owned());
        let written = tokio::task::spawn_blocking(move || {
            let _pinned = pins.read().unwrap_or_else(PoisonError::into_inner);
            snapshot::write(&history, &file)
        });
        written.await.map_err(|error| SnapshotError::Stopped {
            reason: error.to_string(),
        })?
    }

    async fn ask<T>(&self, command: impl FnOnce(writer::Reply<T>) -> Command) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.commands
            .send(command(reply))
            .await
            .map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    fn current_revision(&self) -> Revision {
        self.history.index(Index::current)
    }

    fn oldest_revision(&self) -> Revision {
        self.history.index(Index::oldest)
    }

    async fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Entry>, StoreError> {
        self.history.get(key, at)
    }

    async fn range(&self, range: Range) -> Result<Page, StoreError> {
        let history = Arc::clone(&self.history);
        let listed = tokio::task::spawn_blocking(move || history.range(&range));
        listed.await.map_err(|error| StoreError::Engine {
            reason: error.to_string(),
        })?
    }

    async fn commit(&self, txn: Txn) -> Result<Revision, StoreError> {
        self.ask(|reply| Command::Commit(txn, reply)).await
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        self.history.may_watch(after)?;
        if let Some(failure) = self.failure.borrow().clone() {
            return Err(failure);
        }
        Ok(follow(&self.history, prefix, after))
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.ask(|reply| Command::Compact(revision, reply)).await
    }

    fn time_of(&self, revision: Revision) -> Option<SystemTime> {
        self.history.time_of(revision)
    }

    fn revision_at(&self, time: SystemTime) -> Option<Revision> {
        self.history.revision_at(time)
    }

    fn request_progress(&self) {
        self.history.request_progress();
    }

    async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.commands.send(Command::Close(reply)).await.is_ok() {
            // The writer answers before it ends, or has ended.
            let _ = closed.await;
        }
    }
}
