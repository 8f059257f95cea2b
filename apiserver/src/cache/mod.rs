//! The watch caches: every object of every resource, fed by one watch on the store.
//!
//! ```text
//! store.watch("/registry/") --> feed --> ResourceCache (persistent map + ring of events) --> subscriptions
//!                                  \--> applied revision --> writers that wait to read their own writes
//! ```
//!
//! *Guarantees.* Events reach all caches in revision order. Once [`Caches::wait_for`] of a revision has returned, every cache
//! shows it. A watcher gets every event after its start once, in order, or is ended.

mod announced;
mod feed;
mod filter;
mod object;
mod progress;
mod resource;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bytes::Bytes;
use serde_json::Value;
use timonel_api::resources::ResourceInfo;
use timonel_api::{ObjectKey, Revision};
use timonel_store::{Entry, Store};

pub use announced::Announcing;
pub use feed::FeedError;
pub use filter::Filter;
pub use object::{Object, ObjectError, Shape, encode};
pub use resource::{CacheEvent, Objects, ResourceCache, Snapshot, Subscription, TooOld, Trigger};

use crate::encryption::ledger::Ledger;
use crate::encryption::{EncryptionError, Transformer};
use crate::error::ApiError;
use crate::reader::ObjectReader;
use crate::resources::{Strategy, strategy};
use announced::Announced;
use progress::Progress;

/// Where all objects are kept in the store.
pub const ROOT: &str = "/registry/";

/// Resources whose parsed objects stay in memory because authorization and admission read them at every request.
const KEEP_VALUES: &[&str] = &[
    "namespaces",
    "serviceaccounts",
    "resourcequotas",
    "limitranges",
    "nodes",
    "services",
    "roles.rbac.authorization.k8s.io",
    "rolebindings.rbac.authorization.k8s.io",
    "clusterroles.rbac.authorization.k8s.io",
    "clusterrolebindings.rbac.authorization.k8s.io",
    "priorityclasses.scheduling.k8s.io",
    "storageclasses.storage.k8s.io",
    "ingressclasses.networking.k8s.io",
    "runtimeclasses.node.k8s.io",
];

/// One stored resource: its facts, its cache and where it is kept.
pub struct Slot {
    /// Names and verbs.
    pub info: &'static ResourceInfo,
    /// `pods`, `deployments.apps`
    pub group_resource: String,
    /// What is particular to the kind.
    pub strategy: &'static dyn Strategy,
    /// Its objects.
    pub cache: ResourceCache,
    prefix: String,
    keep_values: bool,
}

impl Slot {
    /// A resource without objects; for what is stored, [`Caches`] makes and fills them.
    pub(crate) fn new(info: &'static ResourceInfo) -> Self {
        let group_resource = info.group_resource();
        Self {
            info,
            strategy: strategy(&group_resource),
            cache: ResourceCache::default(),
            prefix: format!("{ROOT}{}/{}/", segment(info.group), info.plural),
            keep_values: KEEP_VALUES.contains(&group_resource.as_str()),
            group_resource,
        }
    }

    /// What the store's keys of this resource start with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The store's key of an object.
    pub fn store_key(&self, key: &ObjectKey) -> String {
        if self.info.namespaced {
            format!("{}{}/{}", self.prefix, key.namespace, key.name)
        } else {
            format!("{}{}", self.prefix, key.name)
        }
    }
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slot")
            .field("resource", &self.group_resource)
            .finish_non_exhaustive()
    }
}

impl Shape for Slot {
    fn fields(&self, value: &Value) -> Vec<(&'static str, String)> {
        self.strategy.selectable_fields(value)
    }

    fn keep_values(&self) -> bool {
        self.keep_values
    }
}

/// The segment of a store key that stands for a group.
fn segment(group: &str) -> &str {
    if group.is_empty() { "core" } else { group }
}

/// All caches.
pub struct Caches {
    slots: BTreeMap<String, Arc<Slot>>,
    progress: Progress,
    announced: Arc<Announced>,
    transformer: Transformer,
    ledger: Ledger,
    /// The caches show everything that was there at the start.
    started: AtomicBool,
    store: Arc<dyn Store>,
}

impl std::fmt::Debug for Caches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caches")
            .field("applied", &self.applied())
            .finish_non_exhaustive()
    }
}

impl Caches {
    /// Makes the caches of all stored resources, still empty; [`Caches::start`] fills them.
    ///
    /// `transformer` seals what must not lie readable on the disk.
    pub fn new(store: Arc<dyn Store>, transformer: Transformer) -> Self {
        let slots = timonel_api::resources::all()
            .iter()
            .filter(|info| info.storage && !crate::registry::is_view(info))
            .map(|info| (info.group_resource(), Arc::new(Slot::new(info))))
            .collect();
        Self {
            slots,
            progress: Progress::default(),
            announced: Arc::default(),
            transformer,
            ledger: Ledger::default(),
            started: AtomicBool::new(false),
            store,
        }
    }

    /// Turns an object into what the store is to hold.
    pub fn seal(&self, slot: &Slot, store_key: &str, plain: Bytes) -> Result<Bytes, ApiError> {
        self.transformer
            .seal(&slot.group_resource, store_key, plain)
            .map_err(|error| ApiError::internal(error.to_string()))
    }

    /// Tells the feed what it will get from the store, for as long as the answer is kept.
    pub fn announce(&self, slot: &Slot, value: &Value, plain: &Bytes, sealed: &Bytes) -> Option<Announcing> {
        // Who reads the parsed values wants them parsed from what is stored.
        (!slot.keep_values).then(|| self.announced.announce(value, plain, sealed, slot))
    }

    /// Turns what the store holds into an object.
    pub fn unseal(&self, entry: &Entry, slot: &Slot) -> Result<Object, ObjectError> {
        if let Some(object) = self.announced.object(&entry.value, entry.mod_revision) {
            return object;
        }
        let plain = self
            .transformer
            .open(&entry.key, entry.value.clone())
            .map_err(ObjectError::Sealed)?;
        Object::from_stored(&plain, entry.mod_revision, slot)
    }

    /// Seals with the first of `keys` from now on.
    pub(crate) fn adopt_keys(&self, keys: &[crate::pki::EncryptionKey]) -> Result<(), EncryptionError> {
        self.transformer.adopt(keys)
    }

    /// The key that seals, and which key each sealed value lies under.
    pub(crate) fn sealing_key(&self) -> Option<String> {
        self.transformer.sealing_key()
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Whether a write is worth it although the object stays as it is: its value lies under an older key.
    pub(crate) fn is_stale(&self, slot: &Slot, key: &ObjectKey) -> bool {
        self.transformer.seals(&slot.group_resource)
            && self
                .ledger
                .is_stale(&slot.store_key(key), self.sealing_key().as_deref())
    }

    /// The error about an object that is in the store and cannot be read.
    pub(crate) fn unreadable(&self, slot: &Slot, key: &ObjectKey) -> Option<ApiError> {
        self.ledger.problem(&slot.store_key(key)).map(ApiError::internal)
    }

    /// The error about objects that cannot be read: the one of a name, or all of a namespace, or all, where these are empty.
    pub(crate) fn unreadable_within(&self, slot: &Slot, key: &ObjectKey) -> Option<ApiError> {
        if !key.name.is_empty() && !key.namespace.is_empty() {
            return self.unreadable(slot, key);
        }
        let mut prefix = slot.prefix().to_owned();
        if !key.namespace.is_empty() {
            prefix.push_str(&key.namespace);
            prefix.push('/');
        }
        let (problem, count) = self.ledger.problem_below(&prefix)?;
        Some(ApiError::internal(match count {
            1 => problem,
            more => format!("{problem} ({more} objects in all)"),
        }))
    }

    /// The store below.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Finds a resource by its group resource.
    pub fn slot(&self, group_resource: &str) -> Option<&Arc<Slot>> {
        self.slots.get(group_resource)
    }

    /// All stored resources.
    pub fn slots(&self) -> impl Iterator<Item = &Arc<Slot>> {
        self.slots.values()
    }

    /// Splits a store key into its resource and the object's key.
    fn locate(&self, store_key: &str) -> Option<(&Arc<Slot>, ObjectKey)> {
        let mut parts = store_key.strip_prefix(ROOT)?.splitn(3, '/');
        let (group, plural, rest) = (parts.next()?, parts.next()?, parts.next()?);
        let slot = if group == "core" {
            self.slots.get(plural)?
        } else {
            self.slots.get(&format!("{plural}.{group}"))?
        };
        let key = match rest.split_once('/') {
            Some((namespace, name)) => ObjectKey::new(namespace, name),
            None => ObjectKey::cluster(rest),
        };
        Some((slot, key))
    }

    /// The revision up to which all caches are complete.
    pub fn applied(&self) -> Revision {
        self.progress.revision()
    }

    /// Waits until all caches show `revision`.
    ///
    /// *Errors:* `Unavailable` when the feed has ended before.
    pub async fn wait_for(&self, revision: Revision) -> Result<(), ApiError> {
        let reached = self.progress.wait_for(revision).await;
        reached.map_err(|_| ApiError::Unavailable("the server is shutting down".to_owned()))
    }

    /// Whether the feed still runs.
    pub fn is_fed(&self) -> bool {
        !self.progress.ended()
    }

    /// Waits until the caches show everything that was acknowledged before this call.
    pub async fn catch_up(&self) -> Result<(), ApiError> {
        self.wait_for(self.store.current_revision()).await
    }
}

/// Reads the caches on behalf of authorization and admission.
impl ObjectReader for Caches {
    fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Arc<Value>> {
        let slot = self.slots.get(resource)?;
        Some(slot.cache.get(&ObjectKey::new(namespace, name))?.value())
    }

    fn list(&self, resource: &str, namespace: Option<&str>) -> Vec<Arc<Value>> {
        let Some(slot) = self.slots.get(resource) else {
            return Vec::new();
        };
        let objects = slot.cache.snapshot(Revision::ZERO).objects;
        let filter = Filter::in_namespace(namespace);
        filter.select(&objects).map(|object| object.value()).collect()
    }

    fn list_where(&self, resource: &str, namespace: Option<&str>, field: &str, value: &str) -> Vec<Arc<Value>> {
        let Some(slot) = self.slots.get(resource) else {
            return Vec::new();
        };
        let objects = slot.cache.snapshot(Revision::ZERO).objects;
        let filter = Filter::in_namespace(namespace);
        let matching = filter.select(&objects).filter(|object| {
            let known = object.fields.iter().find(|(name, _)| *name == field);
            known.is_none_or(|(_, present)| present == value)
        });
        matching.map(|object| object.value()).collect()
    }

    fn ready(&self) -> bool {
        self.applied() > Revision::ZERO
    }
}
