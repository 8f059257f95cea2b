//! Nodes that fall silent: their conditions turn Unknown, taints keep pods away, their pods turn not ready.
//!
//! How fast pods are driven from lost nodes is their zone's to say ([`zones`]). Whether a node is alive is judged by our own clock: since when have we seen no new heartbeat (lease or status)?
//! Upstream: `pkg/controller/nodelifecycle`. Eviction itself is `taint_eviction`'s.

mod plan;
#[cfg(test)]
mod tests;
mod zones;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::{SignedDuration, Timestamp};
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
use zones::{Change, Counted, Eviction, Zones};

struct NodeLifecycle {
    context: Context,
    recorder: Recorder,
    memory: Mutex<Memory>,
}

/// What the API does not know.
#[derive(Default)]
struct Memory {
    /// When we last saw something new from each node, by our own clock.
    heard: BTreeMap<String, Heartbeat>,
    /// The nodes whose coming was told, as they were last seen.
    registered: BTreeMap<String, Arc<Node>>,
    zones: Zones,
}

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, ()> {
    let controller = NodeLifecycle {
        recorder: context.recorder("node-controller"),
        context: context.clone(),
        memory: Mutex::default(),
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
        let (now, timings) = (self.context.clock.now(), self.context.timings());
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(node) = caches.nodes.get(key) else {
            memory.zones.forget(&key.name);
            let heard = memory.heard.remove(&key.name);
            // Whose coming was told, whose going is told as well.
            return Ok(memory.registered.get(&key.name).map(|node| Observed {
                heard: heard.unwrap_or_else(|| Heartbeat::first(node, None, now)),
                node: Arc::clone(node),
                pods: Vec::new(),
                eviction: Eviction::Later(None),
                registered: true,
                gone: true,
                timings: timings.clone(),
            }));
        };
        let heard = self.hear(&mut memory.heard, &node, now);
        let eviction = self.eviction(&mut memory, &node, &heard, now);
        // The look at all nodes may have given this one time again.
        let heard = memory.heard.get(&key.name).cloned().unwrap_or(heard);
        let registered = memory.registered.contains_key(&key.name);
        if registered {
            memory.registered.insert(key.name.clone(), Arc::clone(&node));
        }
        drop(memory);
        let on_node =
            |pod: &Arc<Pod>| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(key.name.as_str());
        let unready = !plan::is_ready(&node);
        // Pods matter only once the node is not ready; scanning them all for every heartbeat would be dear.
        let stale = heard.is_stale(timings, now);
        let pods = if unready || stale {
            caches.pods.list().into_iter().filter(on_node).collect()
        } else {
            Vec::new()
        };
        Ok(Some(Observed {
            eviction,
            registered,
            gone: false,
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
                Action::SetLabels(labels) => {
                    let patch = json!({"metadata": {"uid": observed.node.metadata.uid, "labels": labels}});
                    let written = nodes
                        .patch(&key.name, &PatchParams::default(), &Patch::Merge(&patch))
                        .await;
                    let written = written.acting(|| format!("cannot label node {key}"))?;
                    writes.wrote(&self.context.caches.nodes, &written);
                }
                Action::SayRegistered => {
                    let text = format!("Node {key} event: Registered Node {key} in Controller");
                    self.recorder
                        .publish(&*observed.node, EventType::Normal, "RegisteredNode", text);
                    let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
                    memory.registered.insert(key.name.clone(), Arc::clone(&observed.node));
                }
                Action::SayRemoving => {
                    let text = format!("Node {key} event: Removing Node {key} from Controller");
                    self.recorder
                        .publish(&*observed.node, EventType::Normal, "RemovingNode", text);
                    let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
                    memory.registered.remove(&key.name);
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
    fn hear(&self, heard: &mut BTreeMap<String, Heartbeat>, node: &Node, now: Timestamp) -> Heartbeat {
        let name = owner::name(&node.metadata);
        let lease = self
            .context
            .caches
            .node_leases
            .get(&ObjectKey::new("kube-node-lease", name));
        let entry = heard
            .entry(name.to_owned())
            .or_insert_with(|| Heartbeat::first(node, lease.as_deref(), now));
        entry.hear(node, lease.as_deref(), now);
        entry.clone()
    }

    /// Asks the node's zone whether pods may be driven from it. All nodes are looked at once in a while, and before any is let
    /// through: those that fell silent at the same moment must not vouch for each other.
    fn eviction(&self, memory: &mut Memory, node: &Node, heard: &Heartbeat, now: Timestamp) -> Eviction {
        let timings = self.context.timings();
        let (zone, name) = (zones::of(node), owner::name(&node.metadata));
        let lost = !plan::is_ready(node) || heard.is_stale(timings, now);
        let due = memory.zones.looked().is_none_or(|looked| {
            let period = SignedDuration::try_from(timings.node_monitor_period).unwrap_or(SignedDuration::MAX);
            now.duration_since(looked) >= period
        });
        if due || lost && !plan::is_evicting(node) && memory.zones.has_room(&zone, now) {
            self.look(memory, now);
        }
        if memory.zones.is_stopped() {
            return Eviction::Stopped;
        }
        if !lost {
            memory.zones.forget(name);
            return Eviction::Allowed;
        }
        // One taint takes another's place at once: its pods are on their way already.
        if plan::is_evicting(node) {
            return Eviction::Allowed;
        }
        memory.zones.admit(zone, name, timings, now)
    }

    fn look(&self, memory: &mut Memory, now: Timestamp) {
        let timings = self.context.timings();
        let Memory { heard, zones, .. } = memory;
        let nodes = self.context.caches.nodes.snapshot();
        let counted = nodes.values().filter(|node| zones::counts(node)).map(|node| Counted {
            zone: zones::of(node),
            ready: plan::is_ready(node) && !self.hear(heard, node, now).is_stale(timings, now),
        });
        let counted: Vec<Counted> = counted.collect();
        if zones.look(counted.into_iter(), timings, now) == Change::Resumed {
            for heartbeat in heard.values_mut() {
                heartbeat.at = now;
            }
        }
    }

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
