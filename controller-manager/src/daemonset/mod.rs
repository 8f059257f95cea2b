//! DaemonSets: one pod of a template on every node that may have it.
//!
//! ```text
//! plan: adopt, release -> history: which revision is the template's? -> manage: each node its pod, no other pods
//!                                                                    -> update: old pods make way for new ones
//!                                                                    -> forget old revisions -> status
//! ```
//!
//! Upstream: `pkg/controller/daemon`. Pods are bound by the scheduler; their node affinity leaves it one node to choose from.

mod apply;
mod backoff;
mod eligible;
mod observe;
mod plan;
mod pod;
mod status;
#[cfg(test)]
mod tests;
mod update;

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use timonel_api::ObjectKey;
use timonel_client::events::Recorder;
use timonel_client::runner::{Controller, Plan, ReconcileError, Source, Writes};

use crate::claim;
use crate::context::Context;
use backoff::Pauses;
pub(crate) use observe::Observed;
pub(crate) use plan::{Action, Because, plan};

/// The controller.
pub(crate) struct DaemonSets {
    context: Context,
    recorder: Recorder,
    /// By uid of the set: how long the pods that ended on each node have to wait for their deletion.
    pauses: Mutex<BTreeMap<String, Pauses>>,
}

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, ()> {
    let controller = DaemonSets {
        recorder: context.recorder("daemonset-controller"),
        context: context.clone(),
        pauses: Mutex::default(),
    };
    Box::pin(context.run(controller, 2))
}

fn selector(set: &DaemonSet) -> Option<LabelSelector> {
    Some(set.spec.as_ref()?.selector.clone())
}

/// Whether a change of a node can make it eligible for other sets than before.
fn matters(old: Option<&Node>, new: Option<&Node>) -> bool {
    let (Some(old), Some(new)) = (old, new) else {
        return true;
    };
    let taints = |node: &Node| node.spec.as_ref().and_then(|spec| spec.taints.clone());
    old.metadata.labels != new.metadata.labels || taints(old) != taints(new)
}

#[async_trait]
impl Controller for DaemonSets {
    type Observed = Observed;
    type Action = Action;
    type Because = Because;

    fn name(&self) -> &'static str {
        "daemonset"
    }

    fn sources(&self) -> Vec<Source> {
        let caches = &self.context.caches;
        let (for_pods, for_revisions, for_nodes) = (
            caches.daemon_sets.clone(),
            caches.daemon_sets.clone(),
            caches.daemon_sets.clone(),
        );
        vec![
            Source::primary(&caches.daemon_sets),
            Source::new(&caches.pods, move |pod: &Pod| {
                claim::concerned(&for_pods, &pod.metadata, selector)
            }),
            Source::new(&caches.revisions, move |revision: &ControllerRevision| {
                claim::concerned(&for_revisions, &revision.metadata, selector)
            }),
            Source::filtered(&caches.nodes, matters, move |_: &Node| {
                for_nodes.snapshot().keys().cloned().collect()
            }),
        ]
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.context.caches.daemon_sets.snapshot().keys().cloned().collect()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<Observed>, ReconcileError> {
        Ok(self.observe_now(key))
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan<Action, Because> {
        plan(observed, now)
    }

    async fn apply(
        &self,
        _: &ObjectKey,
        observed: &Observed,
        plan: &Plan<Action, Because>,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        self.carry_out(observed, plan, writes).await
    }
}
