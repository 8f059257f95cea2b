//! Admission: the chain that completes a request's object (mutate) and may refuse it (validate), after authorization and before the
//! store. One file per plugin, named as upstream names them; [`Admission::new`] lists them in upstream's order.
//!
//! ```text
//! decoded object --defaults--> mutate: every plugin --> Strategy's validation --> validate: every plugin --> Permit --> store
//! ```
//!
//! Plugins read watch caches and nothing else. What has to stay true until the write is in the store (a quota) is held by the
//! [`Permit`] that `validate` returns: keep it until the write is answered.
//!
//! Not here: webhooks and CEL policies, and upstream's plugins that are off by default.

mod certificates;
mod claim_resize;
mod default_ingress_class;
mod default_storage_class;
mod default_toleration_seconds;
mod limit_ranger;
mod namespace_lifecycle;
mod node_restriction;
mod pod_security;
mod priority;
mod resource_quota;
mod role_escalation;
mod runtime_class;
mod service_account;
mod storage_object_in_use;
mod taint_nodes;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::Value;
use timonel_api::resources::ResourceInfo;
use timonel_client::{Clock, Rng};

use crate::authz::Authorizer;
use crate::error::ApiError;
use crate::identity::UserInfo;
use crate::reader::ObjectReader;

pub use resource_quota::Permit;

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Makes an object, or posts to a subresource (`pods/binding`, `serviceaccounts/token`).
    Create,
    /// Changes one; patches and applies that find the object are updates.
    Update,
    /// Removes one.
    Delete,
    /// `pods/exec` and the like.
    Connect,
}

/// How many characters of warnings an answer carries, and how many of each where they are more; upstream's numbers.
const WARNINGS: usize = 4096;
const WARNING: usize = 256;

/// What is said about a request besides yes or no: warnings for the client, annotations for the audit log.
#[derive(Debug, Default)]
pub struct Notes {
    warnings: Mutex<Vec<String>>,
    annotations: Mutex<BTreeMap<String, String>>,
}

impl Notes {
    /// Adds a `Warning` header to the answer, once.
    pub fn warn(&self, warning: impl Into<String>) {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        let warning = warning.into();
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }

    /// Takes the warnings so far. Where they are too much for an answer's headers, each is cut short and the last are left out.
    pub fn take_warnings(&self) -> Vec<String> {
        let mut warnings = std::mem::take(&mut *self.warnings.lock().unwrap_or_else(PoisonError::into_inner));
        let length = |warning: &String| warning.chars().count();
        if warnings.iter().map(length).sum::<usize>() > WARNINGS {
            for warning in &mut warnings {
                *warning = warning.chars().take(WARNING).collect();
            }
            warnings.truncate(WARNINGS / WARNING);
        }
        warnings
    }

    /// Notes something in the audit log. `key` is qualified: `pod-security.kubernetes.io/audit-violations`.
    pub fn annotate(&self, key: impl Into<String>, value: impl Into<String>) {
        let mut annotations = self.annotations.lock().unwrap_or_else(PoisonError::into_inner);
        annotations.insert(key.into(), value.into());
    }

    /// What is to stand in the audit log.
    pub fn annotations(&self) -> BTreeMap<String, String> {
        self.annotations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// One request on its way to the store.
#[derive(Debug)]
pub struct AdmissionRequest<'a> {
    /// What it does.
    pub operation: Operation,
    /// To which resource.
    pub resource: &'static ResourceInfo,
    /// To which subresource: `status`, `token`.
    pub subresource: Option<&'a str>,
    /// Empty for cluster-scoped resources.
    pub namespace: &'a str,
    /// Empty where `generateName` has not yet been resolved.
    pub name: &'a str,
    /// Who asks.
    pub user: &'a UserInfo,
    /// The new object; none for deletions.
    pub object: Option<&'a mut Value>,
    /// The present object; none for creations.
    pub old: Option<&'a Value>,
    /// Nothing will be stored.
    pub dry_run: bool,
    /// The time of the request.
    pub now: Timestamp,
    /// Where plugins leave warnings and audit annotations.
    pub notes: &'a Notes,
}

impl AdmissionRequest<'_> {
    /// Says whether the request is about a resource itself or, with `subresource`, about that.
    fn is(&self, group: &str, plural: &str, subresource: Option<&str>) -> bool {
        self.resource.group == group && self.resource.plural == plural && self.subresource == subresource
    }

    fn creates(&self, group: &str, plural: &str) -> bool {
        self.operation == Operation::Create && self.is(group, plural, None)
    }

    /// The new object, or null.
    fn new_object(&self) -> &Value {
        self.object.as_deref().unwrap_or(&Value::Null)
    }

    /// The name that upstream's refusals give: the object's own, its `generateName`, or `Unknown`.
    fn subject(&self) -> &str {
        if !self.name.is_empty() {
            return self.name;
        }
        let metadata = &self.new_object()["metadata"];
        ["name", "generateName"]
            .iter()
            .find_map(|field| metadata[*field].as_str().filter(|text| !text.is_empty()))
            .unwrap_or("Unknown")
    }

    fn forbidden(&self, reason: impl Into<String>) -> ApiError {
        ApiError::forbidden(self.resource.group_resource(), self.subject(), reason)
    }
}

/// How the chain behaves.
#[derive(Clone, Debug)]
pub struct AdmissionConfig {
    /// How long pods stay on a node that is not ready: 300 in upstream, 5 in a lab that must show an eviction within half a minute.
    pub not_ready_toleration_seconds: i64,
    /// How long pods stay on a node that cannot be reached.
    pub unreachable_toleration_seconds: i64,
}

impl Default for AdmissionConfig {
    fn default() -> Self {
        Self {
            not_ready_toleration_seconds: 300,
            unreachable_toleration_seconds: 300,
        }
    }
}

/// What plugins may look at.
struct Context {
    config: AdmissionConfig,
    reader: Arc<dyn ObjectReader>,
    authorizer: Authorizer,
    rng: Arc<dyn Rng>,
}

/// One link of the chain.
trait Plugin: Send + Sync {
    /// Completes the object.
    fn mutate(&self, _request: &mut AdmissionRequest<'_>, _context: &Context) -> Result<(), ApiError> {
        Ok(())
    }

    /// Refuses what may not be.
    fn validate(&self, _request: &AdmissionRequest<'_>, _context: &Context) -> Result<(), ApiError> {
        Ok(())
    }
}

/// The chain.
pub struct Admission {
    plugins: Vec<Box<dyn Plugin>>,
    context: Context,
    quotas: resource_quota::ResourceQuota,
}

impl std::fmt::Debug for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admission")
            .field("config", &self.context.config)
            .finish_non_exhaustive()
    }
}

impl Admission {
    /// Makes the chain.
    pub fn new(
        config: AdmissionConfig,
        reader: Arc<dyn ObjectReader>,
        _clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Self {
        let plugins: Vec<Box<dyn Plugin>> = vec![
            Box::new(namespace_lifecycle::NamespaceLifecycle),
            Box::new(limit_ranger::LimitRanger),
            Box::new(service_account::ServiceAccount),
            Box::new(node_restriction::NodeRestriction),
            Box::new(taint_nodes::TaintNodesByCondition),
            Box::new(pod_security::PodSecurity),
            Box::new(priority::Priority),
            Box::new(default_toleration_seconds::DefaultTolerationSeconds),
            Box::new(default_storage_class::DefaultStorageClass),
            Box::new(storage_object_in_use::StorageObjectInUseProtection),
            Box::new(claim_resize::PersistentVolumeClaimResize),
            Box::new(runtime_class::RuntimeClass),
            Box::new(certificates::Certificates),
            Box::new(default_ingress_class::DefaultIngressClass),
            Box::new(role_escalation::RoleEscalation),
        ];
        Self {
            plugins,
            quotas: resource_quota::ResourceQuota::default(),
            context: Context {
                config,
                authorizer: Authorizer::new(Arc::clone(&reader)),
                reader,
                rng,
            },
        }
    }

    /// Lets every plugin complete the object; the first error ends the request.
    pub async fn mutate(&self, request: &mut AdmissionRequest<'_>) -> Result<(), ApiError> {
        for plugin in &self.plugins {
            plugin.mutate(request, &self.context)?;
        }
        Ok(())
    }

    /// Lets every plugin refuse; the first error ends the request. The permit must be kept until the write is answered.
    pub async fn validate(&self, request: &AdmissionRequest<'_>) -> Result<Permit, ApiError> {
        for plugin in &self.plugins {
            plugin.validate(request, &self.context)?;
        }
        self.quotas.admit(request, &self.context).await
    }
}

/// A field as text, empty where it is absent.
fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A list's items, none where it is absent.
fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The list in a field, made where it is absent.
fn list_mut(value: &mut Value) -> Option<&mut Vec<Value>> {
    if value.is_null() {
        *value = Value::Array(Vec::new());
    }
    value.as_array_mut()
}

#[cfg(test)]
mod tests;
