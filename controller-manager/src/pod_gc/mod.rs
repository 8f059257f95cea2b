//! Pods that nobody else will clean up: on nodes that are gone, terminating on nodes out of service, never scheduled but
//! terminating, and terminated ones beyond the number that is kept.
//!
//! Upstream: `pkg/controller/podgc`. It looks at all pods every 20 s; so does this, under one key.

mod plan;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::json;
use timonel_api::{ObjectKey, pod};
use timonel_client::runner::{Acting as _, Controller, Plan, ReconcileError, Source, Writes, key_of};

use crate::context::Context;
use crate::owner;
use plan::{Action, Because, Observed, plan};

struct PodGc {
    context: Context,
    /// Since when we have missed each node.
    missed: Mutex<BTreeMap<String, Timestamp>>,
}

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, ()> {
    let controller = PodGc {
        context: context.clone(),
        missed: Mutex::default(),
    };
    Box::pin(context.run(controller, 1))
}

#[async_trait]
impl Controller for PodGc {
    type Observed = Observed;
    type Action = Action;
    type Because = Because;

    fn name(&self) -> &'static str {
        "pod-garbage-collector"
    }

    fn sources(&self) -> Vec<Source> {
        vec![
            Source::looked_into(&self.context.caches.pods),
            Source::looked_into(&self.context.caches.nodes),
        ]
    }

    fn keys(&self) -> Vec<ObjectKey> {
        vec![ObjectKey::cluster("all")]
    }

    async fn observe(&self, _: &ObjectKey) -> Result<Option<Observed>, ReconcileError> {
        let caches = &self.context.caches;
        let nodes = caches.nodes.snapshot();
        let pods = caches.pods.list();
        let now = self.context.clock.now();
        let mut missed = self.missed.lock().unwrap_or_else(PoisonError::into_inner);
        let absent = pods
            .iter()
            .filter_map(|pod| plan::node_of(pod))
            .filter(|name| !nodes.contains_key(&ObjectKey::cluster(*name)));
        let fresh: BTreeMap<String, Timestamp> = absent
            .map(|name| (name.to_owned(), missed.get(name).copied().unwrap_or(now)))
            .collect();
        *missed = fresh.clone();
        Ok(Some(Observed {
            out_of_service: nodes
                .values()
                .filter(|node| plan::is_out_of_service(node))
                .map(|node| owner::name(&node.metadata).to_owned())
                .collect(),
            missed: fresh,
            pods,
            timings: self.context.timings().clone(),
        }))
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan<Action, Because> {
        plan(observed, now)
    }

    async fn apply(
        &self,
        _: &ObjectKey,
        _: &Observed,
        plan: &Plan<Action, Because>,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        for Action::Collect { pod, disrupted } in &plan.actions {
            let name = owner::name(&pod.metadata);
            let api: Api<Pod> = Api::namespaced(self.context.client.clone(), owner::namespace(&pod.metadata));
            if self.is_really_there(pod).await? {
                continue;
            }
            if !pod::is_terminal(pod) {
                let mut patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"phase": "Failed"}});
                if let Some(message) = disrupted {
                    patch["status"]["conditions"] = json!([{
                        "type": "DisruptionTarget",
                        "status": "True",
                        "reason": "DeletionByPodGC",
                        "message": message,
                        "lastTransitionTime": Time(self.context.clock.now()),
                    }]);
                }
                match api
                    .patch_status(name, &PatchParams::default(), &Patch::Strategic(&patch))
                    .await
                {
                    Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => continue,
                    written => written.acting(|| format!("cannot mark pod {} as failed", key_of(&**pod)))?,
                };
            }
            let params = DeleteParams {
                grace_period_seconds: Some(0),
                preconditions: Some(Preconditions {
                    uid: pod.metadata.uid.clone(),
                    resource_version: None,
                }),
                ..DeleteParams::default()
            };
            match api.delete(name, &params).await {
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => continue,
                deleted => deleted.acting(|| format!("cannot collect pod {}", key_of(&**pod)))?,
            };
            writes.deleted(&self.context.caches.pods, key_of(&**pod), owner::uid(&pod.metadata));
        }
        Ok(())
    }
}

impl PodGc {
    /// Asks the server itself, as upstream does, before a pod is deleted because its node is missing from our cache.
    async fn is_really_there(&self, pod: &Pod) -> Result<bool, ReconcileError> {
        let Some(node) = plan::node_of(pod) else {
            return Ok(false);
        };
        if self.context.caches.nodes.get(&ObjectKey::cluster(node)).is_some() {
            return Ok(false);
        }
        let api: Api<Node> = Api::all(self.context.client.clone());
        let found = api
            .get_metadata_opt(node)
            .await
            .acting(|| format!("cannot look for node {node}"))?;
        Ok(found.is_some())
    }
}
