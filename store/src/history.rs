//! The readable side of a store: the index behind a lock, values wherever they are kept, watches.
//!
//! One writer at a time calls [`History::publish`]; everybody else reads. Values are read outside the lock, so a record
//! may be compacted away between finding and reading it: a read of the newest state then looks again, a read of an
//! older revision answers `Compacted`.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::SystemTime;

use bytes::Bytes;
use timonel_api::Revision;
use tokio::sync::watch;

use crate::draft::{Batch, Change, Verdict};
use crate::index::{Index, Version};
use crate::position::Position;
use crate::traits::{Entry, Event, Page, Range, StoreError, WatchItem};
use crate::watch::{Hub, Subscription};

/// How many revisions a resuming watch reads at a time.
const REPLAY_CHUNK: usize = 128;

/// Where values are kept.
pub(crate) trait Values: Send + Sync + 'static {
    /// Reads the value of a record; `None` if there is no such record (any more).
    fn read(&self, key: &str, position: Position) -> Result<Option<Bytes>, StoreError>;
}

/// See the module.
pub(crate) struct History {
    state: RwLock<State>,
    values: Box<dyn Values>,
    /// The newest published revision. Set after the events have been handed to every watcher.
    pub(crate) published: watch::Sender<Revision>,
    /// Counts the calls that ask all watches to say how far they are.
    pub(crate) asked: watch::Sender<u64>,
}

struct State {
    index: Index,
    hub: Hub,
    ended: Option<StoreError>,
}

/// One revision, ready for the watchers and for the index.
struct Revised {
    item: WatchItem,
    changes: Vec<(Arc<str>, Version, u64)>,
}

/// What a resuming watch gets next.
pub(crate) enum Replay {
    /// The past, in order, up to and including the last item's revision.
    Items(Vec<WatchItem>),
    /// There is no more past; everything from here on comes through the subscription.
    Live(Subscription),
}

impl History {
    pub(crate) fn new(index: Index, values: Box<dyn Values>, buffer: usize) -> Arc<Self> {
        let current = index.current();
        Arc::new(Self {
            state: RwLock::new(State {
                index,
                hub: Hub::new(buffer),
                ended: None,
            }),
            values,
            published: watch::Sender::new(current),
            asked: watch::Sender::new(0),
        })
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the index. Nothing slow belongs into `look`.
    pub(crate) fn index<T>(&self, look: impl FnOnce(&Index) -> T) -> T {
        look(&self.read().index)
    }

    /// Says why the store has ended, if it has.
    pub(crate) fn ended(&self) -> Option<StoreError> {
        self.read().ended.clone()
    }

    pub(crate) fn get(&self, key: &str, at: Option<Revision>) -> Result<Option<Entry>, StoreError> {
        let mut missing = None;
        loop {
            let (found, asked) = {
                let state = self.read();
                state.open()?;
                let asked = state.index.resolve(at)?;
                (state.index.at(key, asked), asked)
            };
            let Some((key, version)) = found else { return Ok(None) };
            if let Some(entry) = self.entry(&key, version)? {
                return Ok(Some(entry));
            }
            self.vanished(&key, version, at.map(|_| asked), &mut missing)?;
        }
    }

    pub(crate) fn range(&self, range: &Range) -> Result<Page, StoreError> {
        let mut missing = None;
        'again: loop {
            let selection = {
                let state = self.read();
                state.open()?;
                state
                    .index
                    .select(&range.prefix, range.after.as_deref(), range.limit, range.at)?
            };
            let mut entries = Vec::with_capacity(selection.found.len());
            for (key, version) in selection.found {
                match self.entry(&key, version) {
                    Ok(Some(entry)) => entries.push(entry),
                    Ok(None) => {
                        let asked = range.at.map(|_| selection.revision);
                        match self.vanished(&key, version, asked, &mut missing) {
                            Ok(()) => continue 'again,
                            Err(StoreError::Damaged { .. }) => {}
                            Err(error) => return Err(error),
                        }
                    }
                    // Whoever verified the checksum has reported it.
                    Err(StoreError::Damaged { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            return Ok(Page {
                revision: selection.revision,
                entries,
                remaining: selection.remaining,
            });
        }
    }

    fn entry(&self, key: &Arc<str>, version: Version) -> Result<Option<Entry>, StoreError> {
        let value = self.values.read(key, version.position)?;
        Ok(value.map(|value| entry(key, version, value)))
    }

    /// Says what a missing record means: compacted since it was looked up (look again, `Ok`), or lost.
    fn vanished(
        &self,
        key: &str,
        version: Version,
        asked: Option<Revision>,
        missing: &mut Option<Position>,
    ) -> Result<(), StoreError> {
        if let Some(asked) = asked {
            self.index(|index| index.resolve(Some(asked)))?;
        }
        let lost = StoreError::Damaged {
            key: key.to_owned(),
            revision: version.position.revision,
        };
        if asked.is_some() || missing.replace(version.position) == Some(version.position) {
            tracing::error!(key, revision = %version.position.revision, "the record of an indexed revision is missing");
            return Err(lost);
        }
        Ok(())
    }

    /// Makes a durable batch visible: first to readers, then to watchers, in revision order.
    pub(crate) fn publish(&self, batch: Batch) {
        let revisions = self.with_events(batch.changes);
        let mut state = self.write();
        for Revised { item, changes } in revisions {
            state.index.add(item.revision, batch.time, changes);
            state.hub.send(&item);
        }
        let current = state.index.current();
        self.published.send_replace(current);
    }

    /// Groups changes by revision and reads what each replaced.
    fn with_events(&self, changes: Vec<Change>) -> Vec<Revised> {
        let mut fresh: HashMap<Position, Bytes> = HashMap::new();
        let mut grouped: Vec<Revised> = Vec::new();
        for Change {
            key,
            version,
            value,
            previous,
        } in changes
        {
            let previous = previous.and_then(|previous| match fresh.get(&previous.position) {
                Some(value) => Some(entry(&key, previous, value.clone())),
                None => self.entry(&key, previous).ok().flatten(),
            });
            if let Some(value) = &value {
                fresh.insert(version.position, value.clone());
            }
            let bytes = key.len() as u64 + value.as_ref().map_or(0, |value| value.len() as u64);
            let revision = version.position.revision;
            let event = Event {
                revision,
                key: Arc::clone(&key),
                entry: value.map(|value| entry(&key, version, value)),
                previous,
            };
            if grouped.last().is_none_or(|last| last.item.revision != revision) {
                grouped.push(Revised {
                    item: WatchItem {
                        revision,
                        events: Vec::new(),
                    },
                    changes: Vec::new(),
                });
            }
            if let Some(last) = grouped.last_mut() {
                last.item.events.push(event);
                last.changes.push((key, version, bytes));
            }
        }
        grouped
    }

    /// Turns a verdict into the answer of `commit`.
    pub(crate) fn answer(&self, verdict: Verdict) -> Result<Revision, StoreError> {
        match verdict {
            Verdict::Done(revision) => Ok(revision),
            Verdict::Invalid(reason) => Err(Verdict::invalid(reason)),
            Verdict::Conflict { key, seen } => {
                let actual = match self.get(&key, Some(seen)) {
                    Err(StoreError::Compacted { .. }) => self.get(&key, None)?,
                    other => other?,
                };
                Err(StoreError::Conflict {
                    key,
                    actual: actual.map(Box::new),
                })
            }
        }
    }

    /// Forgets history in the index and returns the records that may now be deleted.
    pub(crate) fn compact(&self, revision: Revision) -> Result<Vec<Position>, StoreError> {
        self.write().index.compact(revision)
    }

    /// Checks that a watch may start after `after`.
    pub(crate) fn may_watch(&self, after: Revision) -> Result<(), StoreError> {
        let state = self.read();
        state.open()?;
        state.index.resolve(Some(after)).map(drop)
    }

    /// Returns the next piece of the past after `last`, or subscribes where there is none left.
    pub(crate) fn replay(&self, prefix: &str, last: Revision) -> Result<Replay, StoreError> {
        struct Past {
            revision: Revision,
            changes: Vec<(Arc<str>, Version, Option<Version>)>,
        }
        let past: Vec<Past> = {
            let state = self.read();
            state.open()?;
            if last < state.index.oldest() {
                return Err(StoreError::Lagged { at: last });
            }
            let index = &state.index;
            let past = index.log_after(last, REPLAY_CHUNK).map(|logged| Past {
                revision: logged.revision,
                changes: logged
                    .keys
                    .iter()
                    .filter(|key| key.starts_with(prefix))
                    .filter_map(|key| {
                        let version = index.written_by(key, logged.revision)?;
                        Some((Arc::clone(key), version, index.before(key, version.position)))
                    })
                    .collect(),
            });
            past.collect()
        };
        if past.is_empty() {
            let mut state = self.write();
            state.open()?;
            if state.index.current() != last && state.index.log_after(last, 1).next().is_some() {
                drop(state);
                return self.replay(prefix, last);
            }
            return Ok(Replay::Live(state.hub.subscribe(prefix)));
        }
        let end = past.len() - 1;
        let mut items = Vec::new();
        for (at, Past { revision, changes }) in past.into_iter().enumerate() {
            let mut events = Vec::with_capacity(changes.len());
            for (key, version, previous) in changes {
                let entry = match version.live {
                    false => None,
                    true => match self.entry(&key, version) {
                        // Compacted while we were reading: there would be a gap.
                        Ok(None) => return Err(StoreError::Lagged { at: last }),
                        read => read?,
                    },
                };
                let previous = previous.and_then(|previous| self.entry(&key, previous).ok().flatten());
                events.push(Event {
                    revision,
                    key,
                    entry,
                    previous,
                });
            }
            if !events.is_empty() || at == end {
                items.push(WatchItem { revision, events });
            }
        }
        Ok(Replay::Items(items))
    }

    /// Ends all watches with `reason`. With `Closed` readers are refused too; after a failed write they go on.
    pub(crate) fn end(&self, reason: &StoreError) {
        let mut state = self.write();
        if *reason == StoreError::Closed {
            state.ended = Some(reason.clone());
        }
        state.hub.end(reason);
    }

    /// Takes the index out of a history that has ended, for the next life of an in-memory store.
    pub(crate) fn take_index(&self) -> Index {
        let mut state = self.write();
        let current = state.index.current();
        std::mem::replace(&mut state.index, Index::starting_at(current))
    }

    pub(crate) fn time_of(&self, revision: Revision) -> Option<SystemTime> {
        self.index(|index| index.time_of(revision))
    }

    pub(crate) fn revision_at(&self, time: SystemTime) -> Option<Revision> {
        self.index(|index| index.revision_at(time))
    }

    pub(crate) fn request_progress(&self) {
        self.asked.send_modify(|count| *count += 1);
    }
}

impl State {
    fn open(&self) -> Result<(), StoreError> {
        self.ended.clone().map_or(Ok(()), Err)
    }
}

fn entry(key: &Arc<str>, version: Version, value: Bytes) -> Entry {
    Entry {
        key: Arc::clone(key),
        value,
        create_revision: version.create_revision,
        mod_revision: version.position.revision,
        version: version.version,
    }
}
