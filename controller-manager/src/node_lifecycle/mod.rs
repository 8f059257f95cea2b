//! Nodes that fall silent: their conditions turn Unknown, taints keep pods away, their pods turn not ready.
//!
//! Whether a node is alive is judged by our own clock: since when have we seen no new heartbeat (lease or status)?
//! Upstream: `pkg/controller/nodelifecycle`. Eviction itself is `taint_eviction`'s.

mod plan;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use timonel_api::ObjectKey;
use timonel_client::events::{EventType, Recorder};
use timonel_client::runner::{Acting as _, Controller, Plan, ReconcileError, Source, Writes, key_of};

use crate::context::Context;
use crate::owner;
use plan::{Action, Because, Heartbeat, Observed, plan};

struct NodeLifecycle {
    context: Context,
    recorder: Recorder,
    /// When we last saw something new from each node, by our own clock.
    heard: Mutex<BTreeMap<String, Heartbeat>>,
}

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, ()> {
    let controller = NodeLifecycle {
        recorder: context.recorder("node-controller"),
        context: context.clone(),
        heard: Mutex::default(),
    };
    Box::pin(context.run(controller, 8))
}

#[async_trait]
impl Controller for NodeLifecycle {
    type Observed = Observed;
    type Action = Action;
    type Because = Because;

    fn name(&self) -> &'static str {
        "node-lifecycle"
    }

    fn sources(&self) -> Vec<Source> {
        let caches = &self.context.caches;
        // A renewed lease of a healthy node is no news: the next look at the node reads it.
        vec![
            Source::primary(&caches.nodes),
            Source::filtered(
                &caches.node_leases,
                |old, new| old.is_none() != new.is_none(),
                |lease: &Lease| vec![ObjectKey::cluster(owner::name(&lease.metadata))],
            ),
            Source::filtered(
                &caches.pods,
                |old, new| {
                    let node = |pod: Option<&Pod>| pod.and_then(|pod| pod.spec.as_ref()?.node_name.clone());
                    node(old) != node(new)
                },
                |pod: &Pod| {
                    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
                    node.map(ObjectKey::cluster).into_iter().collect()
                },
            ),
        ]
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.context.caches.nodes.snapshot().keys().cloned().collect()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<Observed>, ReconcileError> {
        let caches = &self.context.caches;
        let Some(node) = caches.nodes.get(key) else {
            self.heard
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&key.name);
            return Ok(None);
        };
        let now = self.context.clock.now();
        let mut memory = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let mut hear = |node: &Node| {
            let name = owner::name(&node.metadata);
            let lease = caches.node_leases.get(&ObjectKey::new("kube-node-lease", name));
            let entry = memory
                .entry(name.to_owned())
                .or_insert_with(|| Heartbeat::first(node, lease.as_deref(), now));
            entry.hear(node, lease.as_deref(), now);
            entry.clone()
        };
        let heard = hear(&node);
        // Nodes are judged together: those that fell silent at the same moment must not vouch for each other.
        let nodes = caches.nodes.snapshot();
        let mut ready = nodes.values().filter(|other| plan::is_ready(other));
        let someone_is_ready = ready.any(|other| !hear(other).is_stale(self.context.timings(), now));
        drop(memory);
        let on_node =
            |pod: &Arc<Pod>| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(key.name.as_str());
        let unready = !plan::is_ready(&node);
        // Pods matter only once the node is not ready; scanning them all for every heartbeat would be dear.
        let stale = heard.is_stale(self.context.timings(), now);
        let pods = if unready || stale {
            caches.pods.list().into_iter().filter(on_node).collect()
        } else {
            Vec::new()
        };
        Ok(Some(Observed {
            someone_is_ready,
            timings: self.context.timings().clone(),
            node,
            heard,
            pods,
        }))
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan<Action, Because> {
        plan(observed, now)
    }

    async fn apply(
        &self,
        key: &ObjectKey,
        observed: &Observed,
        plan: &Plan<Action, Because>,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        let nodes: Api<Node> = Api::all(self.context.client.clone());
        for action in &plan.actions {
            match action {
                Action::SetConditions(conditions) => {
                    let patch =
                        json!({"metadata": {"uid": observed.node.metadata.uid}, "status": {"conditions": conditions}});
                    let written = nodes
                        .patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(&patch))
                        .await;
                    let written = written.acting(|| format!("cannot write the conditions of node {key}"))?;
                    writes.wrote(&self.context.caches.nodes, &written);
                }
                Action::SetTaints(taints) => {
                    let patch = json!({
                        "metadata": {"uid": observed.node.metadata.uid, "resourceVersion": observed.node.metadata.resource_version},
                        "spec": {"taints": (!taints.is_empty()).then_some(taints)},
                    });
                    let written = nodes
                        .patch(&key.name, &PatchParams::default(), &Patch::Merge(&patch))
                        .await;
                    let written = written.acting(|| format!("cannot taint node {key}"))?;
                    writes.wrote(&self.context.caches.nodes, &written);
                }
                Action::SayNotReady => {
                    let text = format!("Node {key} status is now: NodeNotReady");
                    self.recorder
                        .publish(&*observed.node, EventType::Normal, "NodeNotReady", text);
                }
                Action::MarkPodNotReady { pod, condition } => {
                    self.mark(pod, condition, writes).await?;
                }
            }
        }
        Ok(())
    }
}

impl NodeLifecycle {
    async fn mark(
        &self,
        pod: &Arc<Pod>,
        condition: &k8s_openapi::api::core::v1::PodCondition,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        let api: Api<Pod> = Api::namespaced(self.context.client.clone(), owner::namespace(&pod.metadata));
        let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [condition]}});
        match api
            .patch_status(
                owner::name(&pod.metadata),
                &PatchParams::default(),
                &Patch::Strategic(&patch),
            )
            .await
        {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            written => {
                let written = written.acting(|| format!("cannot mark pod {} not ready", key_of(&**pod)))?;
                writes.wrote(&self.context.caches.pods, &written);
                self.recorder
                    .publish(&**pod, EventType::Warning, "NodeNotReady", "Node is not ready");
                Ok(())
            }
        }
    }
}
