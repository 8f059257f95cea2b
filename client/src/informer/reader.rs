//! What subscribers see of an informer: the objects, the revision, and the changes.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use imbl::OrdMap;
use timonel_api::{ObjectKey, Revision};
use tokio::sync::{broadcast, watch};

/// How many changes a slow subscriber may lag behind before it is told to read the list again.
const FEED_CAPACITY: usize = 4096;

/// One change of an informer's copy.
#[derive(Clone, Debug)]
pub enum Change<K> {
    /// The object was added or modified.
    Applied(Arc<K>),
    /// The object is gone; this is its last known state.
    Deleted(Arc<K>),
    /// The list is whole again (first sync, or the subscriber lagged): read [`Reader::list`].
    Resynced,
}

/// A change together with what the copy held before it.
struct Entry<K> {
    change: Change<K>,
    old: Option<Arc<K>>,
}

impl<K> Clone for Entry<K> {
    fn clone(&self) -> Self {
        let change = match &self.change {
            Change::Applied(new) => Change::Applied(Arc::clone(new)),
            Change::Deleted(last) => Change::Deleted(Arc::clone(last)),
            Change::Resynced => Change::Resynced,
        };
        Self {
            change,
            old: self.old.clone(),
        }
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    revision: Revision,
    synced: bool,
}

struct Shared<K> {
    objects: RwLock<OrdMap<ObjectKey, Arc<K>>>,
    progress: watch::Sender<Progress>,
    feed: broadcast::Sender<Entry<K>>,
}

/// A cheap handle to an informer's copy of a resource.
pub struct Reader<K>(Arc<Shared<K>>);

impl<K> Clone for Reader<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K> fmt::Debug for Reader<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("progress", &*self.0.progress.borrow())
            .finish()
    }
}

impl<K> Default for Reader<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K> Reader<K> {
    /// Makes an empty copy that has not synced. Informers fill it; so do tests, through [`Reader::replace`].
    pub fn new() -> Self {
        Self(Arc::new(Shared {
            objects: RwLock::default(),
            progress: watch::Sender::default(),
            feed: broadcast::Sender::new(FEED_CAPACITY),
        }))
    }

    /// Returns the object with this key.
    pub fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.0
            .objects
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .cloned()
    }

    /// Returns every object, ordered by key.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.snapshot().values().cloned().collect()
    }

    /// Returns the objects of one namespace, ordered by name.
    pub fn list_in(&self, namespace: &str) -> Vec<Arc<K>> {
        let from = ObjectKey::new(namespace, "");
        let snapshot = self.snapshot();
        snapshot
            .range(from..)
            .take_while(|(key, _)| key.namespace == namespace)
            .map(|(_, object)| Arc::clone(object))
            .collect()
    }

    /// Returns the whole copy as it is now. Costs as much as cloning an `Arc`.
    pub fn snapshot(&self) -> OrdMap<ObjectKey, Arc<K>> {
        self.0.objects.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns how far in the history the copy is.
    pub fn revision(&self) -> Revision {
        self.0.progress.borrow().revision
    }

    /// Tells whether the first list has completed.
    pub fn has_synced(&self) -> bool {
        self.0.progress.borrow().synced
    }

    /// Waits for the first list to complete.
    ///
    /// *Cancel safety*: safe.
    pub async fn wait_synced(&self) {
        let mut progress = self.0.progress.subscribe();
        // The sender lives as long as this reader, so this cannot fail.
        let _ = progress.wait_for(|now| now.synced).await;
    }

    /// Waits until the copy has reached `revision`.
    ///
    /// *Cancel safety*: safe.
    pub async fn wait_revision(&self, revision: Revision) {
        let mut progress = self.0.progress.subscribe();
        let _ = progress.wait_for(|now| now.revision >= revision).await;
    }

    /// Subscribes to changes from now on. The first change is [`Change::Resynced`], now or when the first list completes.
    pub fn changes(&self) -> Changes<K> {
        // The lock keeps writers out between the two looks.
        let _objects = self.0.objects.read().unwrap_or_else(PoisonError::into_inner);
        Changes {
            greet: self.has_synced(),
            feed: self.0.feed.subscribe(),
            _keep: self.clone(),
        }
    }

    /// Applies one event: `object` at `key`, or its removal.
    pub(crate) fn set(&self, key: ObjectKey, object: Arc<K>, deleted: bool, revision: Revision) {
        let mut objects = self.0.objects.write().unwrap_or_else(PoisonError::into_inner);
        let old;
        let change;
        if deleted {
            old = objects.remove(&key);
            change = Change::Deleted(object);
        } else {
            old = objects.insert(key, Arc::clone(&object));
            change = Change::Applied(object);
        }
        let _ = self.0.feed.send(Entry { change, old });
        self.advance(revision, None);
    }

    /// Notes that the history has moved on without a change to the copy.
    pub(crate) fn bookmark(&self, revision: Revision) {
        self.advance(revision, None);
    }

    fn advance(&self, revision: Revision, synced: Option<bool>) {
        self.0.progress.send_modify(|progress| {
            progress.revision = progress.revision.max(revision);
            progress.synced = synced.unwrap_or(progress.synced);
        });
    }
}

impl<K> Reader<K> {
    /// Replaces the whole copy by a list taken at `revision`, and tells subscribers what that changed.
    ///
    /// `same` says whether two versions of an object are the same version.
    pub fn replace(&self, listed: OrdMap<ObjectKey, Arc<K>>, revision: Revision, same: impl Fn(&K, &K) -> bool) {
        let mut objects = self.0.objects.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *objects, listed.clone());
        if self.has_synced() {
            for (key, last) in &before {
                if !listed.contains_key(key) {
                    let change = Change::Deleted(Arc::clone(last));
                    let old = Some(Arc::clone(last));
                    let _ = self.0.feed.send(Entry { change, old });
                }
            }
            for (key, new) in &listed {
                let old = before.get(key).cloned();
                if old.as_ref().is_none_or(|old| !same(old, new)) {
                    let change = Change::Applied(Arc::clone(new));
                    let _ = self.0.feed.send(Entry { change, old });
                }
            }
        }
        let _ = self.0.feed.send(Entry {
            change: Change::Resynced,
            old: None,
        });
        self.advance(revision, Some(true));
    }
}

/// A subscription to an informer's changes.
pub struct Changes<K> {
    greet: bool,
    feed: broadcast::Receiver<Entry<K>>,
    _keep: Reader<K>,
}

impl<K> fmt::Debug for Changes<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Changes")
    }
}

impl<K> Changes<K> {
    /// Waits for the next change.
    ///
    /// *Cancel safety*: safe; no change is lost.
    pub async fn next(&mut self) -> Change<K> {
        self.next_with_old().await.0
    }

    /// Waits for the next change; also returns what the copy held under that key before.
    ///
    /// *Cancel safety*: safe; no change is lost.
    pub async fn next_with_old(&mut self) -> (Change<K>, Option<Arc<K>>) {
        if std::mem::take(&mut self.greet) {
            return (Change::Resynced, None);
        }
        match self.feed.recv().await {
            Ok(entry) => (entry.change, entry.old),
            Err(broadcast::error::RecvError::Lagged(_)) => {
                // Skip what is still buffered: the list that the subscriber now reads holds it all.
                self.feed = self.feed.resubscribe();
                (Change::Resynced, None)
            }
            // `_keep` holds the sender, so the feed cannot close.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// What a write must have led to in a copy before it may be planned on again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// The copy has reached this revision of its own resource.
    Reached(Revision),
    /// The object with this key and uid is gone or marked as being deleted.
    Leaving {
        /// The object's key.
        key: ObjectKey,
        /// The object's uid; another object may take the name.
        uid: String,
    },
}

/// A copy, of whatever type, that can be asked whether it has caught up.
#[async_trait]
pub trait Watermark: Send + Sync {
    /// Waits until the expectation holds.
    async fn wait(&self, expectation: &Expectation);
}

#[async_trait]
impl<K> Watermark for Reader<K>
where
    K: kube::Resource + Send + Sync + 'static,
{
    async fn wait(&self, expectation: &Expectation) {
        let mut progress = self.0.progress.subscribe();
        loop {
            // Looked at outside of the watch channel's lock, which writers take while they hold the objects' lock.
            let revision = progress.borrow_and_update().revision;
            let holds = match expectation {
                Expectation::Reached(expected) => revision >= *expected,
                Expectation::Leaving { key, uid } => self.get(key).is_none_or(|object| {
                    object.meta().uid.as_ref() != Some(uid) || object.meta().deletion_timestamp.is_some()
                }),
            };
            if holds || progress.changed().await.is_err() {
                return;
            }
        }
    }
}
