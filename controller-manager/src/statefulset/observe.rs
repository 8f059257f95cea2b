//! What a decision about one StatefulSet rests on.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use timonel_api::ObjectKey;

use super::{StatefulSets, claims, selector};
use crate::{claim, owner};

/// A StatefulSet, and what is its own or could be.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) set: Arc<StatefulSet>,
    /// Pods that it controls, and orphans that its selector matches, by name.
    pub(crate) pods: Vec<Arc<Pod>>,
    /// The claims of its pods, by name.
    pub(crate) claims: BTreeMap<String, Arc<PersistentVolumeClaim>>,
    /// Revisions that it controls, and orphans that its selector matches.
    pub(crate) revisions: Vec<Arc<ControllerRevision>>,
    /// Names of all other revisions in the namespace that begin with the set's name.
    pub(crate) taken: Vec<String>,
}

impl StatefulSets {
    pub(super) fn observe_now(&self, key: &ObjectKey) -> Option<Observed> {
        let caches = &self.context.caches;
        let set = caches.stateful_sets.get(key)?;
        let ours = claim::ours(&set.metadata, selector(&set).as_ref());
        let pods = caches.pods.list_in(&key.namespace);
        let pods = pods.into_iter().filter(|pod| ours(&pod.metadata)).collect();
        let (revisions, others): (Vec<_>, Vec<_>) = caches
            .revisions
            .list_in(&key.namespace)
            .into_iter()
            .partition(|revision| ours(&revision.metadata));
        let prefix = format!("{}-", key.name);
        let taken = others.iter().map(|other| owner::name(&other.metadata));
        let taken = taken
            .filter(|name| name.starts_with(&prefix))
            .map(str::to_owned)
            .collect();
        let claims = if claims::templates(&set).is_empty() {
            Vec::new()
        } else {
            caches.claims.list_in(&key.namespace)
        };
        let named = claims
            .into_iter()
            .map(|claim| (owner::name(&claim.metadata).to_owned(), claim));
        let claims = named.filter(|(name, _)| claims::is_of(&set, name)).collect();
        Some(Observed {
            pods,
            claims,
            revisions,
            taken,
            set,
        })
    }
}
