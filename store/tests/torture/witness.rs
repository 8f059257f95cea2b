//! Follows a store over its disasters, knowing only what its watches told.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _};
use timonel_api::Revision;
use timonel_store::{EmbeddedStore, Event, Range, Store};

/// What a watcher knows of a store of which it watches everything.
pub(crate) struct Witness {
    pub(crate) last: Revision,
    state: BTreeMap<String, (Bytes, Revision)>,
    /// Every event since the last call of `forget`.
    pub(crate) seen: BTreeMap<Revision, Vec<Event>>,
}

impl Witness {
    pub(crate) fn of_an_empty_store() -> Self {
        Self {
            last: Revision(1),
            state: BTreeMap::new(),
            seen: BTreeMap::new(),
        }
    }

    pub(crate) fn forget(&mut self) {
        self.seen.clear();
    }

    /// Resumes the watch and follows it to the present. Panics on a gap, a duplicate, or a state that differs from the store's.
    pub(crate) async fn catch_up(&mut self, store: &EmbeddedStore) {
        assert!(
            store.current_revision() >= self.last,
            "the store is at {}, I was at {}",
            store.current_revision(),
            self.last
        );
        let mut watch = store.watch("", self.last).await.unwrap();
        while let Some(item) = watch.next().now_or_never().flatten() {
            let item = item.unwrap();
            assert_eq!(item.revision, self.last.next(), "a gap or a duplicate");
            assert!(!item.events.is_empty());
            for event in &item.events {
                assert_eq!(event.revision, item.revision);
                let old = match &event.entry {
                    Some(entry) => self
                        .state
                        .insert(entry.key.to_string(), (entry.value.clone(), entry.mod_revision)),
                    None => self.state.remove(&*event.key),
                };
                let previous = event
                    .previous
                    .as_ref()
                    .map(|entry| (entry.value.clone(), entry.mod_revision));
                assert_eq!(previous, old, "what {} replaced at {}", event.key, event.revision);
            }
            self.last = item.revision;
            self.seen.insert(item.revision, item.events);
        }
        assert_eq!(self.last, store.current_revision());
        let page = store.range(Range::default()).await.unwrap();
        let listed: BTreeMap<_, _> = page
            .entries
            .into_iter()
            .map(|entry| (entry.key.to_string(), (entry.value, entry.mod_revision)))
            .collect();
        assert!(listed == self.state, "the state differs from its history");
        assert!(store.damaged().is_empty(), "{:?}", store.damaged());
    }
}
