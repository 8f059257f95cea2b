//! Where a controller's keys come from.

use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use timonel_api::ObjectKey;

use crate::informer::{Change, Reader};
use crate::queue::Queue;

type AllKeys = Box<dyn Fn() -> Vec<ObjectKey> + Send>;
type Feed = Box<dyn FnOnce(Arc<Queue<ObjectKey>>, AllKeys) -> BoxFuture<'static, ()> + Send>;

/// One cache that a controller follows.
pub struct Source {
    synced: BoxFuture<'static, ()>,
    feed: Feed,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}

impl Source {
    /// Follows a cache; `concerns` names the keys that an object concerns.
    ///
    /// When an object changes, both its old and its new state are asked, so that a key that an object no longer
    /// concerns learns of that too.
    pub fn new<K, F>(reader: &Reader<K>, concerns: F) -> Self
    where
        K: Send + Sync + 'static,
        F: Fn(&K) -> Vec<ObjectKey> + Send + 'static,
    {
        Self::filtered(reader, |_, _| true, concerns)
    }

    /// Like [`Source::new`], for the changes only that `matters(old, new)` lets pass (`new` is `None` for a deletion).
    pub fn filtered<K, M, F>(reader: &Reader<K>, matters: M, concerns: F) -> Self
    where
        K: Send + Sync + 'static,
        M: Fn(Option<&K>, Option<&K>) -> bool + Send + 'static,
        F: Fn(&K) -> Vec<ObjectKey> + Send + 'static,
    {
        let (waits, reader) = (reader.clone(), reader.clone());
        Self {
            synced: Box::pin(async move { waits.wait_synced().await }),
            feed: Box::new(move |queue, all| {
                Box::pin(async move {
                    let mut changes = reader.changes();
                    loop {
                        let (change, old) = changes.next_with_old().await;
                        match change {
                            Change::Applied(new) => {
                                if matters(old.as_deref(), Some(&new)) {
                                    for key in old.as_deref().map(&concerns).unwrap_or_default() {
                                        queue.add(key);
                                    }
                                    for key in concerns(&new) {
                                        queue.add(key);
                                    }
                                }
                            }
                            Change::Deleted(last) => {
                                if matters(Some(&last), None) {
                                    for key in concerns(&last) {
                                        queue.add(key);
                                    }
                                }
                            }
                            Change::Resynced => {
                                for key in all() {
                                    queue.add(key);
                                }
                                for object in reader.list() {
                                    for key in concerns(&object) {
                                        queue.add(key);
                                    }
                                }
                            }
                        }
                    }
                })
            }),
        }
    }

    /// Follows a cache of the controller's own kind: an object concerns its own key.
    pub fn primary<K: kube::Resource + Send + Sync + 'static>(reader: &Reader<K>) -> Self {
        Self::new(reader, |object: &K| vec![key_of(object)])
    }

    /// Waits for the cache's first list without following it: for caches that are only looked into.
    pub fn looked_into<K: Send + Sync + 'static>(reader: &Reader<K>) -> Self {
        Self::filtered(reader, |_, _| false, |_| Vec::new())
    }

    pub(super) async fn synced(&mut self) {
        (&mut self.synced).await;
    }

    pub(super) fn feed(
        self,
        queue: Arc<Queue<ObjectKey>>,
        all: impl Fn() -> Vec<ObjectKey> + Send + 'static,
    ) -> BoxFuture<'static, ()> {
        (self.feed)(queue, Box::new(all))
    }
}

/// Returns an object's key.
pub fn key_of<K: kube::Resource>(object: &K) -> ObjectKey {
    let meta = object.meta();
    ObjectKey::new(
        meta.namespace.clone().unwrap_or_default(),
        meta.name.clone().unwrap_or_default(),
    )
}
