//! What a decision about one DaemonSet rests on.

use std::sync::{Arc, PoisonError};

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Node, Pod};
use timonel_api::ObjectKey;

use super::backoff::Pauses;
use super::{DaemonSets, selector};
use crate::{claim, owner};

/// A DaemonSet, all nodes, and what is its own or could be.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) set: Arc<DaemonSet>,
    /// By name.
    pub(crate) nodes: Vec<Arc<Node>>,
    /// Pods that it controls, and orphans that its selector matches, by name.
    pub(crate) pods: Vec<Arc<Pod>>,
    /// The same for revisions.
    pub(crate) revisions: Vec<Arc<ControllerRevision>>,
    /// Names of all other revisions in the namespace that begin with the set's name.
    pub(crate) taken: Vec<String>,
    /// How long the pods that ended on each node have to wait.
    pub(crate) pauses: Pauses,
}

impl DaemonSets {
    pub(super) fn observe_now(&self, key: &ObjectKey) -> Option<Observed> {
        let caches = &self.context.caches;
        let set = caches.daemon_sets.get(key)?;
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
        let pauses = self.pauses.lock().unwrap_or_else(PoisonError::into_inner);
        let pauses = pauses.get(owner::uid(&set.metadata)).cloned().unwrap_or_default();
        Some(Observed {
            nodes: caches.nodes.list(),
            pods,
            revisions,
            taken,
            pauses,
            set,
        })
    }
}
