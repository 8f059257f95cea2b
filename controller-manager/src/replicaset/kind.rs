//! The two kinds that keep a number of pods: ReplicaSets, and ReplicationControllers, which are an older way to say the same.
//!
//! All decisions are about a ReplicaSet; a ReplicationController is seen as one, and its status is written back as its own.
//! Upstream does the same: `pkg/controller/replication/conversion.go`.

use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition, ReplicaSetSpec, ReplicaSetStatus};
use k8s_openapi::api::core::v1::{
    ReplicationController, ReplicationControllerCondition, ReplicationControllerSpec, ReplicationControllerStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde::Serialize;
use serde::de::DeserializeOwned;
use timonel_client::Reader;

use crate::context::Caches;

/// A kind whose objects can be seen as ReplicaSets.
pub(crate) trait Kind:
    kube::Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + Sync
    + 'static
{
    /// The controller's name.
    const NAME: &'static str;
    /// Who reports its events.
    const COMPONENT: &'static str;
    /// Whether the status counts pods that are being deleted.
    const COUNTS_TERMINATING: bool;

    fn cache(caches: &Caches) -> &Reader<Self>;
    /// Sees an object as a ReplicaSet.
    fn see(object: &Arc<Self>) -> Arc<ReplicaSet>;
    /// Returns its selector, as a ReplicaSet says it.
    fn selector(&self) -> Option<LabelSelector>;
    /// The opposite of `see`.
    fn restore(set: ReplicaSet) -> Self;
}

impl Kind for ReplicaSet {
    const NAME: &'static str = "replicaset";
    const COMPONENT: &'static str = "replicaset-controller";
    const COUNTS_TERMINATING: bool = true;

    fn cache(caches: &Caches) -> &Reader<Self> {
        &caches.replica_sets
    }

    fn see(object: &Arc<Self>) -> Arc<ReplicaSet> {
        Arc::clone(object)
    }

    fn selector(&self) -> Option<LabelSelector> {
        Some(self.spec.as_ref()?.selector.clone())
    }

    fn restore(set: ReplicaSet) -> Self {
        set
    }
}

impl Kind for ReplicationController {
    const NAME: &'static str = "replicationcontroller";
    const COMPONENT: &'static str = "replication-controller";
    const COUNTS_TERMINATING: bool = false;

    fn cache(caches: &Caches) -> &Reader<Self> {
        &caches.replication_controllers
    }

    fn selector(&self) -> Option<LabelSelector> {
        Some(LabelSelector {
            match_labels: Some(self.spec.as_ref()?.selector.clone().unwrap_or_default()),
            match_expressions: None,
        })
    }

    fn see(object: &Arc<Self>) -> Arc<ReplicaSet> {
        let controller = Self::clone(object);
        let selector = object.selector().unwrap_or_default();
        Arc::new(ReplicaSet {
            metadata: controller.metadata,
            spec: controller.spec.map(|spec| ReplicaSetSpec {
                replicas: spec.replicas,
                min_ready_seconds: spec.min_ready_seconds,
                selector,
                template: spec.template,
            }),
            status: controller.status.map(|status| ReplicaSetStatus {
                replicas: status.replicas,
                fully_labeled_replicas: status.fully_labeled_replicas,
                ready_replicas: status.ready_replicas,
                available_replicas: status.available_replicas,
                terminating_replicas: None,
                observed_generation: status.observed_generation,
                conditions: status.conditions.map(|list| {
                    let seen = list.into_iter().map(|condition| ReplicaSetCondition {
                        type_: condition.type_,
                        status: condition.status,
                        reason: condition.reason,
                        message: condition.message,
                        last_transition_time: condition.last_transition_time,
                    });
                    seen.collect()
                }),
            }),
        })
    }

    fn restore(set: ReplicaSet) -> Self {
        Self {
            metadata: set.metadata,
            spec: set.spec.map(|spec| ReplicationControllerSpec {
                replicas: spec.replicas,
                min_ready_seconds: spec.min_ready_seconds,
                selector: spec.selector.match_labels,
                template: spec.template,
            }),
            status: set.status.map(|status| ReplicationControllerStatus {
                replicas: status.replicas,
                fully_labeled_replicas: status.fully_labeled_replicas,
                ready_replicas: status.ready_replicas,
                available_replicas: status.available_replicas,
                observed_generation: status.observed_generation,
                conditions: status.conditions.map(|list| {
                    let restored = list.into_iter().map(|condition| ReplicationControllerCondition {
                        type_: condition.type_,
                        status: condition.status,
                        reason: condition.reason,
                        message: condition.message,
                        last_transition_time: condition.last_transition_time,
                    });
                    restored.collect()
                }),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_replication_controller_comes_back_as_it_was() {
        let whole: ReplicationController = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "demo", "uid": "u", "generation": 3},
            "spec": {"replicas": 2, "minReadySeconds": 5, "selector": {"app": "web"},
                     "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}}},
            "status": {"replicas": 1, "readyReplicas": 1, "observedGeneration": 2, "conditions": [
                {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "quota"}]},
        }))
        .unwrap();
        let seen = ReplicationController::see(&Arc::new(whole.clone()));
        assert_eq!(ReplicationController::restore(ReplicaSet::clone(&seen)), whole);
    }
}
