//! What a decision about one Deployment rests on.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use timonel_api::ObjectKey;

use super::{Deployments, selects};
use crate::owner;

/// A Deployment, the ReplicaSets that are its own or could be, and their pods.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) deployment: Arc<Deployment>,
    /// Sets that it controls, and orphans that its selector matches, by name.
    pub(crate) sets: Vec<Arc<ReplicaSet>>,
    /// Names of all other sets in the namespace that begin with the Deployment's name.
    pub(crate) taken: Vec<String>,
    /// Pods of those sets.
    pub(crate) pods: Vec<Arc<Pod>>,
}

impl Deployments {
    pub(super) fn observe_now(&self, key: &ObjectKey) -> Option<Observed> {
        let caches = &self.context.caches;
        let deployment = caches.deployments.get(key)?;
        let uid = owner::uid(&deployment.metadata);
        let (sets, others): (Vec<_>, Vec<_>) =
            caches
                .replica_sets
                .list_in(&key.namespace)
                .into_iter()
                .partition(|set| match owner::controller_of(&set.metadata) {
                    Some(owner) => owner.uid == uid,
                    None => selects(&deployment, set),
                });
        let prefix = format!("{}-", key.name);
        let taken = others
            .iter()
            .map(|set| owner::name(&set.metadata).to_owned())
            .filter(|name| name.starts_with(&prefix));
        let taken = taken.collect();
        let recreates = deployment
            .spec
            .as_ref()
            .and_then(|spec| spec.strategy.as_ref())
            .is_some_and(|strategy| strategy.type_.as_deref() == Some("Recreate"));
        let uids: Vec<&str> = sets.iter().map(|set| owner::uid(&set.metadata)).collect();
        // Only Recreate looks at pods.
        let pods = if recreates {
            caches.pods.list_in(&key.namespace)
        } else {
            Vec::new()
        };
        let owned = |pod: &Arc<Pod>| {
            owner::controller_of(&pod.metadata).is_some_and(|owner| uids.contains(&owner.uid.as_str()))
        };
        let pods = pods.into_iter().filter(owned).collect();
        Some(Observed {
            sets,
            taken,
            pods,
            deployment,
        })
    }
}
