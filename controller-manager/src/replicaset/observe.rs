//! What a decision about one ReplicaSet rests on.

use std::sync::{Arc, PoisonError};

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use timonel_api::ObjectKey;
use timonel_api::selector::LabelSelector;

use super::{Kind, ReplicaSets};
use crate::owner;

/// Why the last attempt to create or delete pods failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    /// `FailedCreate` or `FailedDelete`.
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

/// A ReplicaSet, the pods that are its own or could be, and what its siblings run where.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) set: Arc<ReplicaSet>,
    /// Pods that it controls, and orphans that its selector matches, by name.
    pub(crate) pods: Vec<Arc<Pod>>,
    /// Pods of all ReplicaSets with the same controller: pods that double up on a node go first.
    pub(crate) related: Vec<Arc<Pod>>,
    pub(crate) failure: Option<Failure>,
    /// Whether the status counts pods that are being deleted; a ReplicationController's does not.
    pub(crate) counts_terminating: bool,
}

impl<K: Kind> ReplicaSets<K> {
    pub(super) fn observe_now(&self, key: &ObjectKey) -> Option<Observed> {
        let caches = &self.context.caches;
        let set = K::see(&K::cache(caches).get(key)?);
        let uid = owner::uid(&set.metadata);
        let selector = LabelSelector::from_optional(set.spec.as_ref().map(|spec| &spec.selector));
        let in_namespace = caches.pods.list_in(&key.namespace);
        let pods = in_namespace
            .iter()
            .filter(|pod| match owner::controller_of(&pod.metadata) {
                Some(owner) => owner.uid == uid,
                None => selector.matches_optional(pod.metadata.labels.as_ref()),
            });
        let pods = pods.cloned().collect();
        let related = match owner::controller_of(&set.metadata) {
            None => Vec::new(),
            Some(parent) => {
                let siblings: Vec<String> = K::cache(caches)
                    .list_in(&key.namespace)
                    .iter()
                    .filter(|other| owner::is_controlled_by(other.meta(), &parent.uid))
                    .map(|other| owner::uid(other.meta()).to_owned())
                    .collect();
                let related = in_namespace.iter().filter(|pod| {
                    owner::controller_of(&pod.metadata).is_some_and(|owner| siblings.contains(&owner.uid))
                });
                related.cloned().collect()
            }
        };
        let failure = self
            .failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(uid)
            .cloned();
        Some(Observed {
            pods,
            related,
            failure,
            counts_terminating: K::COUNTS_TERMINATING,
            set,
        })
    }
}
