//! How authorization, admission and discovery read objects: from the watch caches, never from the store.

use std::sync::Arc;

use serde_json::Value;

/// Reads the newest objects. `resource` is `plural` for the core group and `plural.group` otherwise: `pods`, `roles.rbac.authorization.k8s.io`.
///
/// *Guarantees:* a write that was acknowledged is visible (the registry answers a write only after its cache has applied it).
pub trait ObjectReader: Send + Sync + 'static {
    /// Returns one object.
    fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>>;

    /// Returns all objects of a namespace, or of every namespace.
    fn list(&self, resource: &str, namespace: Option<&str>) -> Vec<Arc<Value>>;

    /// Returns at least those objects of [`ObjectReader::list`] whose selectable field has a value; cheaper where there are many others.
    fn list_where(&self, resource: &str, namespace: Option<&str>, _field: &str, _value: &str) -> Vec<Arc<Value>> {
        self.list(resource, namespace)
    }

    /// Says whether the caches have been filled; authorization fails closed until then.
    fn ready(&self) -> bool;
}
