//! The one writer: takes whatever is queued, makes it durable as one batch, publishes it, answers everybody.
//!
//! It runs on a thread of its own, for it spends its life in fsync. An engine error is final: this batch and every later
//! one is refused, for nobody knows what is on disk.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use timonel_api::Revision;
use tokio::sync::{mpsc, oneshot, watch};

use super::config::Retention;
use crate::clock::CommitClock;
use crate::draft::{Draft, Verdict};
use crate::engine::{Engine, Records, Writes, guarded};
use crate::history::History;
use crate::position::Position;
use crate::record::{self, Meta};
use crate::traits::{Op, StoreError, Txn};

/// A batch holds at most so many transactions or bytes, so that its first does not wait too long for its last.
const BATCH: usize = 512;
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// Compacted records that are deleted along with a batch, for the price of the fsync that it needs anyway.
const SWEEP: usize = 256;
/// Records that are deleted at once while there is nothing else to do.
const IDLE_SWEEP: usize = 2048;

/// How long the writer sleeps at a time while it waits for company.
const STEP: Duration = Duration::from_micros(150);

pub(crate) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the writer is asked to do.
pub(crate) enum Command {
    Commit(Txn, Reply<Revision>),
    Compact(Revision, Reply<()>),
    Close(oneshot::Sender<()>),
}

pub(crate) struct Writer {
    pub(crate) history: Arc<History>,
    pub(crate) records: Arc<dyn Records>,
    /// Shared with the readers; emptied on closing.
    pub(crate) shared: Arc<RwLock<Option<Arc<dyn Records>>>>,
    /// Held by whoever needs compacted records to stay for a moment.
    pub(crate) pins: Arc<RwLock<()>>,
    pub(crate) engine: Engine,
    pub(crate) dir: PathBuf,
    pub(crate) reserve_bytes: u64,
    pub(crate) retention: Retention,
    pub(crate) clock: CommitClock,
    pub(crate) garbage: VecDeque<Position>,
    pub(crate) failure: watch::Sender<Option<StoreError>>,
    /// How long the engine took for the last batch.
    pub(crate) last_apply: Duration,
    /// The revision at which the retention was looked at last.
    pub(crate) looked: Revision,
}

impl Writer {
    /// Works until it is told to close or nobody is left to ask.
    pub(crate) fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut closing = None;
        while let Some(command) = self.next(&mut commands) {
            let mut next = Some(command);
            while let Some(command) = next.take() {
                match command {
                    Command::Commit(txn, reply) => next = self.gather(txn, reply, &mut commands),
                    Command::Compact(revision, reply) => {
                        // Whoever asked may have gone; the work is done all the same.
                        let _ = reply.send(self.compact(revision));
                    }
                    Command::Close(reply) => closing = Some(reply),
                }
            }
            if closing.is_some() {
                break;
            }
        }
        self.history.end(&StoreError::Closed);
        commands.close();
        while let Ok(command) = commands.try_recv() {
            refuse(command);
        }
        self.shared.write().unwrap_or_else(PoisonError::into_inner).take();
        drop(self);
        if let Some(reply) = closing {
            let _ = reply.send(());
        }
    }

    /// Waits for the next command and sweeps meanwhile.
    fn next(&mut self, commands: &mut mpsc::Receiver<Command>) -> Option<Command> {
        while !self.garbage.is_empty() && self.failure.borrow().is_none() {
            match commands.try_recv() {
                Ok(command) => return Some(command),
                Err(mpsc::error::TryRecvError::Disconnected) => return None,
                Err(mpsc::error::TryRecvError::Empty) => {}
            }
            if !self.sweep() {
                break;
            }
        }
        commands.blocking_recv()
    }

    /// Commits a transaction together with those that wait behind it. Returns the command that ended the batch.
    fn gather(&mut self, txn: Txn, reply: Reply<Revision>, commands: &mut mpsc::Receiver<Command>) -> Option<Command> {
        let mut bytes = size(&txn);
        let mut queue = vec![(txn, reply)];
        let mut other = None;
        let (mut waited, mut before) = (Duration::ZERO, 0);
        while queue.len() < BATCH && bytes < BATCH_BYTES {
            match commands.try_recv() {
                Ok(Command::Commit(txn, reply)) => {
                    bytes += size(&txn);
                    queue.push((txn, reply));
                }
                Ok(command) => {
                    other = Some(command);
                    break;
                }
                Err(_) if self.linger(&mut waited, &mut before, queue.len()) => {}
                Err(_) => break,
            }
        }
        self.commit(queue);
        self.retain();
        other
    }

    /// Waits a little for those whom the last batch has just answered, so that many writers share one fsync instead of
    /// taking turns in two halves. Only while more keep coming, never for a lone writer, and never longer than a
    /// quarter of what the last fsync took.
    fn linger(&self, waited: &mut Duration, before: &mut usize, queued: usize) -> bool {
        if queued < 2 || queued == *before || *waited + STEP > self.last_apply / 4 {
            return false;
        }
        *before = queued;
        *waited += STEP;
        std::thread::sleep(STEP);
        true
    }

    fn commit(&mut self, queue: Vec<(Txn, Reply<Revision>)>) {
        if let Some(failure) = self.failed() {
            return queue
                .into_iter()
                .for_each(|(_, reply)| drop(reply.send(Err(failure.clone()))));
        }
        let full = self.nearly_full();
        let mut replies = Vec::with_capacity(queue.len());
        let time = self.clock.now();
        let batch = self.history.index(|index| {
            let mut draft = Draft::new(index);
            for (txn, reply) in queue {
                let verdict = if full && !txn.ops.is_empty() {
                    None
                } else {
                    Some(draft.decide(txn))
                };
                replies.push((verdict, reply));
            }
            draft.finish(time)
        });
        if !batch.changes.is_empty() {
            let puts = batch
                .changes
                .iter()
                .map(|change| (change.version.position, record::encode(change, time)));
            let writes = Writes {
                puts: puts.collect(),
                deletes: self.take_garbage(SWEEP),
            };
            if let Err(error) = self.apply(writes) {
                return replies
                    .into_iter()
                    .for_each(|(_, reply)| drop(reply.send(Err(error.clone()))));
            }
            self.history.publish(batch);
        }
        for (verdict, reply) in replies {
            let answer = verdict.map_or(Err(StoreError::NoSpace), |verdict: Verdict| {
                self.history.answer(verdict)
            });
            // A caller that has gone does not want to know.
            let _ = reply.send(answer);
        }
    }

    /// Writes to the engine, and stops the store for good if that fails.
    fn apply(&mut self, writes: Writes) -> Result<(), StoreError> {
        let records = &self.records;
        let started = tokio::time::Instant::now();
        let applied = guarded(self.engine, "write a batch", || records.apply(writes));
        self.last_apply = started.elapsed();
        applied.map_err(|error| {
            tracing::error!(%error, "the storage engine failed; no more writes are acknowledged");
            let error = StoreError::Engine {
                reason: error.to_string(),
            };
            self.failure.send_replace(Some(error.clone()));
            self.history.end(&error);
            error
        })
    }

    fn failed(&self) -> Option<StoreError> {
        self.failure.borrow().clone()
    }

    fn nearly_full(&self) -> bool {
        match rustix::fs::statvfs(&self.dir) {
            Ok(stat) => stat.f_bavail.saturating_mul(stat.f_frsize) < self.reserve_bytes,
            Err(error) => {
                tracing::warn!(%error, "cannot ask how full the disk is");
                false
            }
        }
    }

    fn compact(&mut self, revision: Revision) -> Result<(), StoreError> {
        if let Some(failure) = self.failed() {
            return Err(failure);
        }
        let (oldest, current) = self.history.index(|index| (index.oldest(), index.current()));
        if revision > current {
            return Err(StoreError::Future {
                asked: revision,
                current,
            });
        }
        if revision <= oldest {
            return Ok(());
        }
        // First the note: a crash after it deletes the rest on opening, a crash before it has compacted nothing.
        let note = Meta {
            oldest: revision,
            current,
        }
        .encode();
        self.apply(Writes {
            puts: vec![(Position::META, note)],
            deletes: Vec::new(),
        })?;
        self.garbage.extend(self.history.compact(revision)?);
        tracing::info!(%revision, records = self.garbage.len(), "compacted the history");
        Ok(())
    }

    /// Compacts what is over the budget, a tenth at a time so that it is not done after every batch.
    fn retain(&mut self) {
        const EVERY: u64 = 64;
        let now = self.clock.now();
        let Retention { time, bytes } = self.retention;
        let target = self.history.index(|index| {
            if index.current().0 < self.looked.0 + EVERY && index.log_bytes() <= bytes + bytes / 10 {
                return None;
            }
            self.looked = index.current();
            let slack = now.checked_sub(time + time / 10).unwrap_or(SystemTime::UNIX_EPOCH);
            index.over_budget(slack, bytes + bytes / 10)?;
            index.over_budget(now.checked_sub(time).unwrap_or(SystemTime::UNIX_EPOCH), bytes)
        });
        if let Some(target) = target
            && let Err(error) = self.compact(target)
        {
            tracing::warn!(%error, %target, "cannot compact the history");
        }
    }

    fn take_garbage(&mut self, limit: usize) -> Vec<Position> {
        if self.garbage.is_empty() || self.pins.try_write().is_err() {
            return Vec::new();
        }
        let count = self.garbage.len().min(limit);
        self.garbage.drain(..count).collect()
    }

    /// Deletes some compacted records; false if it cannot now.
    fn sweep(&mut self) -> bool {
        let deletes = self.take_garbage(IDLE_SWEEP);
        !deletes.is_empty()
            && self
                .apply(Writes {
                    puts: Vec::new(),
                    deletes,
                })
                .is_ok()
    }
}

fn size(txn: &Txn) -> usize {
    let op = |op: &Op| match op {
        Op::Put(key, value) => key.len() + value.len(),
        Op::Delete(key) => key.len(),
    };
    txn.ops.iter().map(op).sum()
}

fn refuse(command: Command) {
    match command {
        Command::Commit(_, reply) => drop(reply.send(Err(StoreError::Closed))),
        Command::Compact(_, reply) => drop(reply.send(Err(StoreError::Closed))),
        Command::Close(reply) => drop(reply.send(())),
    }
}
