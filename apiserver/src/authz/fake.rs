//! A reader over objects in a map, for the tests of authentication, authorization and admission.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::reader::ObjectReader;

type Key = (String, String, String);

/// Holds objects; `with` adds them in a chain.
#[derive(Debug, Default)]
pub(crate) struct FakeReader(Mutex<BTreeMap<Key, Arc<Value>>>);

impl FakeReader {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds an object, read from its metadata, under a resource.
    pub(crate) fn with(self, resource: &str, object: Value) -> Self {
        self.put(resource, object);
        self
    }

    pub(crate) fn put(&self, resource: &str, object: Value) {
        let part = |name: &str| object["metadata"][name].as_str().unwrap_or_default().to_owned();
        let key = (resource.to_owned(), part("namespace"), part("name"));
        self.0.lock().unwrap().insert(key, Arc::new(object));
    }

    pub(crate) fn remove(&self, resource: &str, namespace: &str, name: &str) {
        let key = (resource.to_owned(), namespace.to_owned(), name.to_owned());
        self.0.lock().unwrap().remove(&key);
    }
}

impl ObjectReader for FakeReader {
    fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let key = (resource.to_owned(), namespace.to_owned(), name.to_owned());
        self.0.lock().unwrap().get(&key).cloned()
    }

    fn list(&self, resource: &str, namespace: Option<&str>) -> Vec<Arc<Value>> {
        let objects = self.0.lock().unwrap();
        let wanted = objects
            .iter()
            .filter(|((r, n, _), _)| r == resource && namespace.is_none_or(|namespace| n == namespace));
        wanted.map(|(_, object)| Arc::clone(object)).collect()
    }

    fn ready(&self) -> bool {
        true
    }
}
