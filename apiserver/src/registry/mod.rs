//! The generic registry: create, get, list, watch, update, patch, delete of every resource.
//!
//! ```text
//! body --decode, prune, default--> mutate --prepare--> validate --> admit --> Txn --store--> revision
//!                                                                                  \--> wait until the caches show it --> answer
//! ```
//!
//! *Guarantees.* A write is answered after it is durable and every cache shows it. No lock is held around a commit: concurrent
//! writes meet at the store's guards, and the loser looks again.

mod create;
mod decode;
mod delete;
mod fields;
mod list;
mod meta;
mod options;
mod patch;
mod services;
mod update;
mod view;
mod watch;

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;
use timonel_api::decode::Decoded;
use timonel_api::resources::{ResourceInfo, SubresourceInfo};
use timonel_api::{ObjectKey, Revision};
use timonel_client::{Clock, Rng};
use timonel_store::{Op, StoreError, Txn};

pub(crate) use crate::http::parse_delete_options;
pub use list::List;
pub(crate) use meta::{copy as meta_copy, static_map as meta_map, time as meta_time};
pub use options::{
    DeleteOptions, FieldValidation, ListOptions, PatchKind, Preconditions, Propagation, VersionMatch, WriteOptions,
};
pub(crate) use services::keep as keep_service_addresses;
pub(crate) use update::{Change, Scope};
pub(crate) use view::is_view;
pub use watch::{Frame, Watcher};

use crate::admission::{Notes, Permit};
use crate::cache::{Announcing, Caches, Object, Slot, encode};
use crate::config::Config;
use crate::error::ApiError;
use crate::identity::UserInfo;
use crate::security::Security;

/// Who asks, when, and what they are warned of.
#[derive(Debug)]
pub struct Caller {
    /// Who.
    pub user: UserInfo,
    /// When.
    pub now: Timestamp,
    /// The field manager where the request names none: the part of the user agent before the slash.
    pub agent: String,
    /// What is said to the client and to the audit log besides the answer.
    pub notes: Notes,
}

impl Caller {
    /// Somebody with a user agent.
    pub fn new(user: UserInfo, now: Timestamp, agent: &str) -> Self {
        let agent = agent.split('/').next().unwrap_or_default();
        Self {
            user,
            now,
            agent: agent.chars().filter(|c| !c.is_control()).take(128).collect(),
            notes: Notes::default(),
        }
    }

    /// Adds a `Warning` header to the answer.
    pub fn warn(&self, warning: impl Into<String>) {
        self.notes.warn(warning);
    }

    /// Takes the warnings so far.
    pub fn take_warnings(&self) -> Vec<String> {
        self.notes.take_warnings()
    }

    fn manager(&self, options: &WriteOptions) -> String {
        if !options.manager.is_empty() {
            return options.manager.clone();
        }
        if self.agent.is_empty() {
            "unknown".to_owned()
        } else {
            self.agent.clone()
        }
    }
}

/// What a request is about: a resource as it was addressed, and the stored resource behind it.
#[derive(Clone, Debug)]
pub struct Target {
    /// As addressed: `events` of `events.k8s.io`.
    pub info: &'static ResourceInfo,
    /// As stored: `events` of core.
    pub slot: Arc<Slot>,
    /// `status`, ...
    pub subresource: Option<&'static SubresourceInfo>,
    /// Empty for cluster-scoped resources and for all namespaces.
    pub namespace: String,
    /// Empty for collections.
    pub name: String,
}

impl Target {
    /// The object's key.
    pub fn key(&self) -> ObjectKey {
        ObjectKey::new(self.namespace.as_str(), self.name.as_str())
    }

    /// `pods`, `deployments.apps`, as addressed.
    pub fn group_resource(&self) -> String {
        self.info.group_resource()
    }

    /// `Pod`, `Deployment.apps`
    pub fn qualified_kind(&self) -> String {
        if self.info.group.is_empty() {
            self.info.kind.to_owned()
        } else {
            format!("{}.{}", self.info.kind, self.info.group)
        }
    }

    /// The subresource's name, if any.
    pub fn subresource_name(&self) -> Option<&'static str> {
        self.subresource.map(|subresource| subresource.name)
    }

    /// The object does not exist.
    pub fn not_found(&self) -> ApiError {
        ApiError::not_found(self.group_resource(), self.name.as_str())
    }

    /// The same resource, another object.
    #[must_use]
    pub fn with_name(&self, name: &str) -> Self {
        Self {
            name: name.to_owned(),
            ..self.clone()
        }
    }
}

/// An object in an answer.
#[derive(Clone, Debug)]
pub enum Answer {
    /// As it is stored.
    Stored(Arc<Object>),
    /// Made for this answer: another shape, a dry run, a status.
    Value(Value),
}

impl Answer {
    /// The JSON.
    pub fn bytes(&self) -> Bytes {
        match self {
            Self::Stored(object) => object.bytes().clone(),
            Self::Value(value) => serde_json::to_vec(value).unwrap_or_default().into(),
        }
    }

    /// The parsed object.
    pub fn value(&self) -> Arc<Value> {
        match self {
            Self::Stored(object) => object.value(),
            Self::Value(value) => Arc::new(value.clone()),
        }
    }
}

/// An object on its way to the store.
struct Put {
    store_key: String,
    bytes: Bytes,
    /// What the store gets.
    sealed: Bytes,
    /// While this lives, the caches need not read the object.
    _announcing: Option<Announcing>,
}

/// The generic registry.
#[derive(Debug)]
pub struct Registry {
    /// All objects.
    pub caches: Arc<Caches>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Random names.
    pub rng: Arc<dyn Rng>,
    /// The server's settings.
    pub config: Arc<Config>,
    /// Authorization and admission.
    pub security: Arc<Security>,
}

impl Registry {
    /// Resolves a resource.
    ///
    /// *Errors:* `NotImplemented` where upstream serves the resource from elsewhere than its store.
    pub fn target(
        &self,
        info: &'static ResourceInfo,
        subresource: Option<&'static SubresourceInfo>,
        namespace: &str,
        name: &str,
    ) -> Result<Target, ApiError> {
        let stored = view::stored_as(info);
        let slot = self
            .caches
            .slot(&stored)
            .ok_or_else(|| ApiError::not_implemented(format!("{} {}", info.group_resource(), info.kind)))?;
        Ok(Target {
            info,
            slot: slot.clone(),
            subresource,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        })
    }

    /// Reads the newest stored object.
    pub fn current(&self, target: &Target) -> Result<Arc<Object>, ApiError> {
        let unreadable = || self.caches.unreadable(&target.slot, &target.key());
        let found = target.slot.cache.get(&target.key());
        found.ok_or_else(|| unreadable().unwrap_or_else(|| target.not_found()))
    }

    /// Reads one object. An empty `resource_version` asks for the newest, `0` for any, others for one not older.
    pub async fn get(&self, target: &Target, resource_version: &str) -> Result<Answer, ApiError> {
        match resource_version {
            "" => self.caches.catch_up().await?,
            "0" => {}
            other => self.wait_not_older(list::parse_revision(other)?).await?,
        }
        Ok(view::outward(target, self.current(target)?))
    }

    /// Commits and waits until the caches show it.
    async fn commit(&self, txn: Txn) -> Result<Revision, StoreError> {
        let revision = self.caches.store().commit(txn).await?;
        // A feed that has ended is not the write's fault: it is durable.
        let _ = self.caches.wait_for(revision).await;
        Ok(revision)
    }

    /// Commits what a permit was given for. A write that has begun keeps the permit until the caches show it, even when whoever asked
    /// for it has gone: until then nobody else may count on the place that it takes.
    async fn commit_with(&self, txn: Txn, permit: Permit) -> Result<Revision, StoreError> {
        if !permit.holds() {
            return self.commit(txn).await;
        }
        let caches = self.caches.clone();
        let write = tokio::spawn(async move {
            let revision = caches.store().commit(txn).await?;
            let _ = caches.wait_for(revision).await;
            drop(permit);
            Ok(revision)
        });
        write.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Turns a value into what the store is to hold.
    fn put(&self, target: &Target, key: &ObjectKey, value: &Value) -> Result<Put, ApiError> {
        let bytes = encode(value).map_err(|error| ApiError::internal(error.to_string()))?;
        let store_key = target.slot.store_key(key);
        let sealed = self.caches.seal(&target.slot, &store_key, bytes.clone())?;
        let announcing = self.caches.announce(&target.slot, value, &bytes, &sealed);
        Ok(Put {
            store_key,
            bytes,
            sealed,
            _announcing: announcing,
        })
    }

    /// The object that a commit wrote: from the cache, which has read it, unless somebody has written it again since.
    fn written(target: &Target, key: &ObjectKey, bytes: &[u8], revision: Revision) -> Result<Arc<Object>, ApiError> {
        if let Some(object) = target.slot.cache.get(key)
            && object.revision == revision
        {
            return Ok(object);
        }
        Object::from_stored(bytes, revision, &*target.slot)
            .map(Arc::new)
            .map_err(|error| ApiError::internal(error.to_string()))
    }

    /// Deletes stored objects in one transaction, without ceremony: for expiry.
    pub async fn expire(&self, slot: &Slot, keys: &[ObjectKey]) -> Result<(), StoreError> {
        let ops = keys.iter().map(|key| Op::Delete(slot.store_key(key))).collect();
        self.commit(Txn {
            guards: Vec::new(),
            ops,
        })
        .await
        .map(|_| ())
    }
}

/// Checks and prunes a body of a kind that has no storage of its own.
pub(crate) fn accept_as(
    group: &str,
    version: &str,
    kind: &str,
    body: Decoded,
    options: &WriteOptions,
    caller: &Caller,
) -> Result<Value, ApiError> {
    let api_version = if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    };
    let expected = decode::Expected {
        api_version: &api_version,
        kind,
        schema: timonel_api::facts::schema_for(group, version, kind),
    };
    decode::accept(body, expected, options.validation, caller)
}

/// Patches a value of a kind that has no storage of its own.
#[expect(clippy::too_many_arguments, reason = "a kind, a patch and what it is applied with")]
pub(crate) fn apply_patch_as(
    group: &str,
    version: &str,
    kind: &str,
    patch_kind: PatchKind,
    body: &[u8],
    shown: &Value,
    options: &WriteOptions,
    caller: &Caller,
) -> Result<Value, ApiError> {
    let expected = decode::Expected {
        api_version: version,
        kind,
        schema: timonel_api::facts::schema_for(group, version, kind),
    };
    let value = if patch_kind == PatchKind::Apply {
        // Only `spec.replicas` of a Scale can be applied, and merging does that.
        let applied = timonel_api::decode::yaml(body).map_err(|error| ApiError::bad_request(error.to_string()))?;
        patch::apply_patch(PatchKind::Merge, &applied.value, body, shown, expected)?
    } else {
        let parsed = patch::parse(patch_kind, body)?;
        patch::apply_patch(patch_kind, &parsed, body, shown, expected)?
    };
    let body = Decoded {
        value,
        duplicates: Vec::new(),
    };
    accept_as(group, version, kind, body, options, caller)
}
