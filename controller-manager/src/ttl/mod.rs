//! Tells nodes how long they may keep Secrets and ConfigMaps before they ask again: the larger the cluster, the longer.
//!
//! Upstream: `pkg/controller/ttl`.

mod plan;

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;
use timonel_api::ObjectKey;
use timonel_client::runner::{Acting as _, Controller, Plan, ReconcileError, Source, Writes};

use crate::context::Context;
use plan::{ANNOTATION, Action, Because, Observed, plan, step};

struct Ttl {
    context: Context,
    /// The step that the cluster's size is at; it has hysteresis.
    step: Mutex<usize>,
}

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, ()> {
    let controller = Ttl {
        context: context.clone(),
        step: Mutex::default(),
    };
    Box::pin(context.run(controller, 5))
}

#[async_trait]
impl Controller for Ttl {
    type Observed = Observed;
    type Action = Action;
    type Because = Because;

    fn name(&self) -> &'static str {
        "ttl"
    }

    fn sources(&self) -> Vec<Source> {
        // Every node reports now and then; that is when a change of the cluster's size reaches it.
        vec![Source::primary(&self.context.caches.nodes)]
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.context.caches.nodes.snapshot().keys().cloned().collect()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<Observed>, ReconcileError> {
        let nodes = &self.context.caches.nodes;
        let mut held = self.step.lock().unwrap_or_else(PoisonError::into_inner);
        *held = step(*held, nodes.snapshot().len());
        Ok(nodes.get(key).map(|node| Observed { node, step: *held }))
    }

    fn plan(&self, observed: &Observed, _: Timestamp) -> Plan<Action, Because> {
        plan(observed)
    }

    async fn apply(
        &self,
        key: &ObjectKey,
        observed: &Observed,
        plan: &Plan<Action, Because>,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        let api: Api<Node> = Api::all(self.context.client.clone());
        for Action::Annotate(seconds) in &plan.actions {
            let patch = json!({"metadata": {
                "uid": observed.node.metadata.uid,
                "annotations": {ANNOTATION: seconds.to_string()},
            }});
            let written = api
                .patch(&key.name, &PatchParams::default(), &Patch::Merge(&patch))
                .await;
            let written = written.acting(|| format!("cannot note the TTL of node {key}"))?;
            writes.wrote(&self.context.caches.nodes, &written);
        }
        Ok(())
    }
}
