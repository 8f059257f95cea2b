//! What an apply wrote, and into which caches it must come back.

use std::fmt;

use timonel_api::ObjectKey;

use crate::informer::{Expectation, Reader, Watermark};

/// The writes of one apply.
#[derive(Default)]
pub struct Writes(Vec<(Box<dyn Watermark>, Expectation)>);

impl fmt::Debug for Writes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(_, expectation)| expectation))
            .finish()
    }
}

impl Writes {
    /// Notes that `written` is what the server answered to a create, update or patch of an object that `cache` holds.
    pub fn wrote<K: kube::Resource + Send + Sync + 'static>(&mut self, cache: &Reader<K>, written: &K) {
        let revision = written
            .meta()
            .resource_version
            .as_deref()
            .and_then(|text| text.parse().ok());
        if let Some(revision) = revision {
            self.0.push((Box::new(cache.clone()), Expectation::Reached(revision)));
        }
    }

    /// Notes that the object with this key and uid was asked to be deleted.
    pub fn deleted<K>(&mut self, cache: &Reader<K>, key: ObjectKey, uid: impl Into<String>)
    where
        K: kube::Resource + Send + Sync + 'static,
    {
        let uid = uid.into();
        self.0
            .push((Box::new(cache.clone()), Expectation::Leaving { key, uid }));
    }

    /// Tells whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Waits until every cache has seen what was written to it.
    pub async fn caught_up(&self) {
        for (cache, expectation) in &self.0 {
            cache.wait(expectation).await;
        }
    }
}
