//! Pods leave nodes with NoExecute taints, at once or when the time that they tolerate the taint is over.
//!
//! Upstream: `pkg/controller/tainteviction`. Times count from the taint's `timeAdded`, so that a restart forgets nothing.

mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::json;
use timonel_api::ObjectKey;
use timonel_client::events::{EventType, Recorder};
use timonel_client::runner::{Acting as _, Controller, Plan, ReconcileError, Source, Writes, key_of};

use crate::context::Context;
use crate::owner;
use plan::{Action, Because, Observed, no_execute, plan};

struct TaintEviction {
    context: Context,
    recorder: Recorder,
    seen: Mutex<BTreeMap<ObjectKey, (Vec<Taint>, Timestamp)>>,
    /// By node, the uids of the pods whose eviction is put off.
    waiting: Mutex<BTreeMap<ObjectKey, BTreeSet<String>>>,
}

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, ()> {
    let controller = TaintEviction {
        recorder: context.recorder("taint-eviction-controller"),
        context: context.clone(),
        seen: Mutex::default(),
        waiting: Mutex::default(),
    };
    Box::pin(context.run(controller, 8))
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

impl TaintEviction {
    /// Remembers a node's taints, and tells since when they are as they are.
    fn noticed(&self, node: &ObjectKey, taints: &[Taint]) -> Timestamp {
        let now = self.context.clock.now();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match seen.get(node) {
            Some((known, since)) if known == taints => *since,
            _ if taints.is_empty() => {
                seen.remove(node);
                now
            }
            _ => {
                seen.insert(node.clone(), (taints.to_vec(), now));
                now
            }
        }
    }
}

#[async_trait]
impl Controller for TaintEviction {
    type Observed = Observed;
    type Action = Action;
    type Because = Because;

    fn name(&self) -> &'static str {
        "taint-eviction"
    }

    fn sources(&self) -> Vec<Source> {
        let caches = &self.context.caches;
        vec![
            Source::filtered(
                &caches.nodes,
                |old: Option<&Node>, new: Option<&Node>| old.map(no_execute) != new.map(no_execute),
                |node: &Node| vec![ObjectKey::cluster(owner::name(&node.metadata))],
            ),
            Source::filtered(
                &caches.pods,
                |old: Option<&Pod>, new: Option<&Pod>| {
                    let tolerations = |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.tolerations.clone());
                    old.and_then(node_of) != new.and_then(node_of) || old.map(tolerations) != new.map(tolerations)
                },
                |pod: &Pod| node_of(pod).map(ObjectKey::cluster).into_iter().collect(),
            ),
        ]
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.context.caches.nodes.snapshot().keys().cloned().collect()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<Observed>, ReconcileError> {
        let caches = &self.context.caches;
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = waiting.get(key).cloned().unwrap_or_default();
        let node = caches.nodes.get(key);
        let Some(node) = node.filter(|node| !no_execute(node).is_empty() || !waits.is_empty()) else {
            waiting.remove(key);
            self.noticed(key, &[]);
            return Ok(None);
        };
        let here = |pod: &Arc<Pod>| node_of(pod) == Some(key.name.as_str());
        let pods: Vec<_> = caches.pods.list().into_iter().filter(here).collect();
        // Whoever has left waits no more.
        let there: BTreeSet<&str> = pods.iter().map(|pod| owner::uid(&pod.metadata)).collect();
        let waits: BTreeSet<String> = waits.into_iter().filter(|uid| there.contains(uid.as_str())).collect();
        if waits.is_empty() {
            waiting.remove(key);
        } else {
            waiting.insert(key.clone(), waits.clone());
        }
        drop(waiting);
        let noticed = self.noticed(key, &no_execute(&node));
        Ok(Some(Observed {
            waiting: waits,
            node,
            noticed,
            pods,
        }))
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan<Action, Because> {
        plan(observed, now)
    }

    async fn apply(
        &self,
        key: &ObjectKey,
        _: &Observed,
        plan: &Plan<Action, Because>,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        for action in &plan.actions {
            match action {
                Action::Evict(pod) => self.evict(pod, writes).await?,
                Action::Await(pod) => {
                    let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                    let uids = waiting.entry(key.clone()).or_default();
                    uids.insert(owner::uid(&pod.metadata).to_owned());
                }
                Action::Cancel(pod) => {
                    let text = format!("Cancelling deletion of Pod {}", key_of(&**pod));
                    self.recorder
                        .publish(&**pod, EventType::Normal, "TaintManagerEviction", text);
                    let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
                    if let Some(uids) = waiting.get_mut(key) {
                        uids.remove(owner::uid(&pod.metadata));
                    }
                }
            }
        }
        Ok(())
    }
}

impl TaintEviction {
    async fn evict(&self, pod: &Arc<Pod>, writes: &mut Writes) -> Result<(), ReconcileError> {
        let name = owner::name(&pod.metadata);
        let api: Api<Pod> = Api::namespaced(self.context.client.clone(), owner::namespace(&pod.metadata));
        let text = format!("Marking for deletion Pod {}", key_of(&**pod));
        self.recorder
            .publish(&**pod, EventType::Normal, "TaintManagerEviction", text);
        let patch = json!({"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [{
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint",
            "lastTransitionTime": Time(self.context.clock.now()),
        }]}});
        match api
            .patch_status(name, &PatchParams::default(), &Patch::Strategic(&patch))
            .await
        {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => return Ok(()),
            written => written.acting(|| format!("cannot mark pod {} as evicted", key_of(&**pod)))?,
        };
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: pod.metadata.uid.clone(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match api.delete(name, &params).await {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => return Ok(()),
            deleted => deleted.acting(|| format!("cannot evict pod {}", key_of(&**pod)))?,
        };
        writes.deleted(&self.context.caches.pods, key_of(&**pod), owner::uid(&pod.metadata));
        Ok(())
    }
}
