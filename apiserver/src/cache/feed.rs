//! The one watch on the store that feeds all caches, in revision order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::StreamExt;
use timonel_api::{ObjectKey, Revision};
use timonel_store::{Entry, Range, StoreError};
use tokio_util::sync::CancellationToken;

use super::object::Object;
use super::resource::Objects;
use super::{Caches, ROOT, Slot};

type Changes = Vec<(ObjectKey, Option<Arc<Object>>)>;
/// An object of a resource, and what there is of it.
type Located<'a> = (&'a Arc<Slot>, ObjectKey, Option<Arc<Object>>);

/// How much history is replayed at the start, so that watchers of before a restart can resume.
const REPLAY: u64 = 2000;
/// How often the feed lets watchers run when one is about to fall behind.
const YIELDS: usize = 32;

/// Why the caches could not be filled.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The store could not be listed.
    #[error("cannot list the store")]
    List(#[source] StoreError),
    /// The store could not be watched.
    #[error("cannot watch the store")]
    Watch(#[source] StoreError),
}

impl Caches {
    /// Fills the caches, and keeps them fed from a task until `stop`.
    ///
    /// *Guarantees:* on return the caches show everything that was committed before the call.
    pub async fn start(self: &Arc<Self>, stop: CancellationToken) -> Result<(), FeedError> {
        let current = self.store.current_revision();
        let from = Revision(current.0.saturating_sub(REPLAY)).max(self.store.oldest_revision());
        let range = |at| Range {
            prefix: ROOT.to_owned(),
            at,
            ..Range::default()
        };
        let page = match self.store.range(range(Some(from))).await {
            Ok(page) => page,
            Err(_) => self.store.range(range(None)).await.map_err(FeedError::List)?,
        };
        let mut filled: BTreeMap<String, Objects> = BTreeMap::new();
        for entry in &page.entries {
            if let Some((slot, key, Some(object))) = self.object(entry) {
                filled
                    .entry(slot.group_resource.clone())
                    .or_default()
                    .insert(key, object);
            }
        }
        for slot in self.slots.values() {
            let objects = filled.remove(&slot.group_resource).unwrap_or_default();
            slot.cache.fill(page.revision, objects);
        }
        self.advance(page.revision);
        let watch = self.store.watch(ROOT, page.revision).await.map_err(FeedError::Watch)?;
        let caches = self.clone();
        tokio::spawn(async move { caches.run(watch, stop).await });
        // Errors mean that the feed ended already, which the first request will be told.
        let _ = self.wait_for(current).await;
        self.started.store(true, Ordering::Release);
        for problem in self.ledger.problems() {
            tracing::error!(problem, "an object cannot be read");
        }
        Ok(())
    }

    async fn run(self: Arc<Self>, mut watch: timonel_store::Watch, stop: CancellationToken) {
        loop {
            let item = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                item = watch.next() => item,
            };
            let problem = match item {
                Some(Ok(item)) => {
                    let changes = item.events.iter().map(|event| (&*event.key, event.entry.as_ref()));
                    let tight = self.change(item.revision, changes);
                    self.advance(item.revision);
                    for _ in 0..if tight { YIELDS } else { 0 } {
                        tokio::task::yield_now().await;
                    }
                    continue;
                }
                Some(Err(problem)) => problem,
                None => StoreError::Closed,
            };
            if problem == StoreError::Closed {
                break;
            }
            tracing::warn!(%problem, "the watch that feeds the caches was interrupted");
            match self.resume().await {
                Ok(resumed) => watch = resumed,
                Err(problem) => {
                    tracing::error!(%problem, "the caches cannot be fed any more");
                    break;
                }
            }
        }
        for slot in self.slots.values() {
            slot.cache.close();
        }
        self.progress.end();
    }

    /// Goes on from the last applied revision, over a fresh list where the history since then is gone.
    async fn resume(&self) -> Result<timonel_store::Watch, StoreError> {
        match self.store.watch(ROOT, self.applied()).await {
            Err(StoreError::Compacted { .. }) => {}
            other => return other,
        }
        let page = self
            .store
            .range(Range {
                prefix: ROOT.to_owned(),
                ..Range::default()
            })
            .await?;
        let mut changes: Vec<(Revision, Arc<str>, Option<&Entry>)> = Vec::new();
        let mut live: BTreeMap<&str, &Entry> = BTreeMap::new();
        for entry in &page.entries {
            live.insert(&entry.key, entry);
            let known = self.locate(&entry.key).and_then(|(slot, key)| slot.cache.get(&key));
            if known.is_none_or(|known| known.revision < entry.mod_revision) {
                changes.push((entry.mod_revision, entry.key.clone(), Some(entry)));
            }
        }
        for slot in self.slots.values() {
            for key in slot.cache.snapshot(Revision::ZERO).objects.keys() {
                let store_key = slot.store_key(key);
                if !live.contains_key(store_key.as_str()) {
                    changes.push((page.revision, store_key.into(), None));
                }
            }
        }
        changes.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        for (revision, key, entry) in changes {
            self.change(revision, [(&*key, entry)].into_iter());
        }
        self.advance(page.revision);
        self.store.watch(ROOT, page.revision).await
    }

    fn advance(&self, revision: Revision) {
        self.progress.advance(revision);
    }

    /// Applies the changes of one revision, each resource's together. Returns whether watchers should be let run.
    fn change<'a>(&self, revision: Revision, changes: impl Iterator<Item = (&'a str, Option<&'a Entry>)>) -> bool {
        let mut by_slot: BTreeMap<&str, (&Arc<Slot>, Changes)> = BTreeMap::new();
        for (store_key, entry) in changes {
            let change = match entry {
                None => {
                    self.ledger.forget(store_key);
                    self.locate(store_key).map(|(slot, key)| (slot, key, None))
                }
                Some(entry) => self.object(entry),
            };
            if let Some((slot, key, object)) = change {
                let (_, changes) = by_slot
                    .entry(&slot.group_resource)
                    .or_insert_with(|| (slot, Changes::new()));
                changes.push((key, object));
            }
        }
        let mut tight = false;
        for (slot, changes) in by_slot.into_values() {
            tight |= slot.cache.apply(revision, changes);
        }
        tight
    }

    /// Reads a stored object. One that cannot be read is none: an older version of it must not go on being served.
    fn object(&self, entry: &Entry) -> Option<Located<'_>> {
        let (slot, key) = self.locate(&entry.key)?;
        let read = self.unseal(entry, slot);
        let sealed = self.transformer.seals(&slot.group_resource);
        if sealed {
            let problem = read.as_ref().err().map(ToString::to_string);
            self.ledger.note(&entry.key, &entry.value, problem);
        }
        match read {
            Ok(object) => Some((slot, key, Some(Arc::new(object)))),
            Err(problem) => {
                // While history is replayed, versions that are superseded by now may need keys that are rightly gone.
                if !sealed || self.started.load(Ordering::Acquire) {
                    tracing::error!(key = %entry.key, %problem, "an object cannot be read");
                }
                Some((slot, key, None))
            }
        }
    }
}
