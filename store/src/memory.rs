//! The store in memory: what the simulation runs on, with a disk that survives crashes and loses what was not acknowledged.
//!
//! It has no threads and asks nobody for the time: on a paused current-thread runtime the same calls give the same history.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use timonel_api::Revision;

use crate::clock::CommitClock;
use crate::draft::Draft;
use crate::history::{History, Values};
use crate::index::Index;
use crate::position::Position;
use crate::traits::{Entry, Page, Range, Store, StoreError, Txn, Watch};
use crate::watch::follow;

/// How many revisions a watcher may be behind.
const BUFFER: usize = 8192;

/// What becomes of writes that were under way, unacknowledged, when the process died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unacknowledged {
    /// They never reached the disk.
    Lost,
    /// They reached the disk; only the answer was lost. Clients must bear both.
    Kept,
}

/// A store in memory. Clones are handles of the same store.
///
/// *Crashes.* [`MemoryStore::reopen`] is a restart of the process on the same disk.
#[derive(Clone)]
pub struct MemoryStore {
    history: Arc<History>,
    disk: Arc<Disk>,
    clock: CommitClock,
}

#[derive(Default)]
struct Disk {
    values: Mutex<BTreeMap<Position, Bytes>>,
    /// Serializes writers and holds what is on its way to the disk.
    writer: Mutex<Writer>,
}

#[derive(Default)]
struct Writer {
    pending: VecDeque<(u64, Txn)>,
    tickets: u64,
    latency: Duration,
    full: bool,
}

struct OnDisk(Arc<Disk>);

impl Values for OnDisk {
    fn read(&self, _key: &str, position: Position) -> Result<Option<Bytes>, StoreError> {
        Ok(lock(&self.0.values).get(&position).cloned())
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// Makes an empty store whose commits all carry the time 1970 (see [`MemoryStore::with_clock`]).
    pub fn new() -> Self {
        Self::with_clock(CommitClock::from_fn(|| SystemTime::UNIX_EPOCH))
    }

    /// Makes an empty store that notes the time of each commit by a clock.
    pub fn with_clock(clock: CommitClock) -> Self {
        Self::on(
            Arc::new(Disk::default()),
            Index::starting_at(Revision(1)),
            clock,
            BUFFER,
        )
    }

    /// Makes an empty store that ends a watcher which is more than `buffer` revisions behind.
    pub fn with_watch_buffer(buffer: usize) -> Self {
        let clock = CommitClock::from_fn(|| SystemTime::UNIX_EPOCH);
        Self::on(
            Arc::new(Disk::default()),
            Index::starting_at(Revision(1)),
            clock,
            buffer,
        )
    }

    fn on(disk: Arc<Disk>, index: Index, clock: CommitClock, buffer: usize) -> Self {
        let history = History::new(index, Box::new(OnDisk(Arc::clone(&disk))), buffer);
        Self { history, disk, clock }
    }

    /// Lets every commit take so long to become durable. A crash within that time finds it unacknowledged.
    pub fn set_latency(&self, latency: Duration) {
        lock(&self.disk.writer).latency = latency;
    }

    /// Lets the disk be full: writes are refused with `NoSpace`, reads go on.
    pub fn set_full(&self, full: bool) {
        lock(&self.disk.writer).full = full;
    }

    /// Crashes the process that uses this store, and starts it again on the same disk.
    ///
    /// Every handle from before answers `Closed` from now on and its watches end. What was acknowledged is there;
    /// what was under way is lost or kept, as told. Latency and fullness belong to the disk and stay.
    #[must_use]
    pub fn reopen(&self, unacknowledged: Unacknowledged) -> Self {
        let mut writer = lock(&self.disk.writer);
        let pending = std::mem::take(&mut writer.pending);
        if unacknowledged == Unacknowledged::Kept && self.history.ended().is_none() {
            for (_, txn) in pending {
                // Nobody is left to hear the answer.
                let _ = self.write_down(txn);
            }
        }
        self.history.end(&StoreError::Closed);
        let index = self.history.take_index();
        let disk = Disk {
            values: Mutex::new(std::mem::take(&mut *lock(&self.disk.values))),
            writer: Mutex::new(Writer {
                latency: writer.latency,
                full: writer.full,
                ..Writer::default()
            }),
        };
        Self::on(Arc::new(disk), index, self.clock.clone(), BUFFER)
    }

    /// Decides and applies one transaction. The caller holds the writer.
    fn write_down(&self, txn: Txn) -> Result<Revision, StoreError> {
        let (verdict, batch) = self.history.index(|index| {
            let mut draft = Draft::new(index);
            let verdict = draft.decide(txn);
            (verdict, draft.finish(self.clock.now()))
        });
        {
            let mut values = lock(&self.disk.values);
            for change in &batch.changes {
                if let Some(value) = &change.value {
                    values.insert(change.version.position, value.clone());
                }
            }
        }
        self.history.publish(batch);
        self.history.answer(verdict)
    }

    fn submit(&self, txn: &Txn) -> Result<(u64, Duration), StoreError> {
        if let Some(ended) = self.history.ended() {
            return Err(ended);
        }
        let mut writer = lock(&self.disk.writer);
        if writer.full && !txn.ops.is_empty() {
            return Err(StoreError::NoSpace);
        }
        writer.tickets += 1;
        let ticket = writer.tickets;
        writer.pending.push_back((ticket, txn.clone()));
        Ok((ticket, writer.latency))
    }

    fn settle(&self, ticket: u64) -> Result<Revision, StoreError> {
        let mut writer = lock(&self.disk.writer);
        let at = writer.pending.iter().position(|(waiting, _)| *waiting == ticket);
        let Some((_, txn)) = at.and_then(|at| writer.pending.remove(at)) else {
            // A crash took it.
            return Err(StoreError::Closed);
        };
        if let Some(ended) = self.history.ended() {
            return Err(ended);
        }
        self.write_down(txn)
    }
}

#[async_trait]
impl Store for MemoryStore {
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
        self.history.range(&range)
    }

    async fn commit(&self, txn: Txn) -> Result<Revision, StoreError> {
        let (ticket, latency) = self.submit(&txn)?;
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        self.settle(ticket)
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        self.history.may_watch(after)?;
        Ok(follow(&self.history, prefix, after))
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        let _writer = lock(&self.disk.writer);
        if let Some(ended) = self.history.ended() {
            return Err(ended);
        }
        let dead = self.history.compact(revision)?;
        let mut values = lock(&self.disk.values);
        for position in dead {
            values.remove(&position);
        }
        Ok(())
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
        let mut writer = lock(&self.disk.writer);
        writer.pending.clear();
        self.history.end(&StoreError::Closed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
