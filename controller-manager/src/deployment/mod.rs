//! Deployments: ReplicaSets of successive templates, rolled over within the limits of the strategy.
//!
//! ```text
//! plan: adopt, release -> which set is new? -> paused or resized: scale all in proportion
//!                                           -> RollingUpdate: one step up or down    -> status
//!                                           -> Recreate: all down, wait, all up
//! ```
//!
//! Upstream: `pkg/controller/deployment`. Each plan is one of upstream's syncs: at most one step of a rollout.

mod apply;
mod observe;
mod plan;
mod revision;
mod rollout;
mod scale;
mod status;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use k8s_openapi::api::core::v1::Pod;
use timonel_api::ObjectKey;
use timonel_api::selector::LabelSelector;
use timonel_client::events::Recorder;
use timonel_client::runner::{Controller, Plan, ReconcileError, Source, Writes, key_of};

use crate::context::Context;
use crate::owner;
pub(crate) use observe::Observed;
pub(crate) use plan::{Action, Because, plan};

/// The controller.
pub(crate) struct Deployments {
    context: Context,
    recorder: Recorder,
}

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, ()> {
    let controller = Deployments {
        recorder: context.recorder("deployment-controller"),
        context: context.clone(),
    };
    Box::pin(context.run(controller, 5))
}

#[async_trait]
impl Controller for Deployments {
    type Observed = Observed;
    type Action = Action;
    type Because = Because;

    fn name(&self) -> &'static str {
        "deployment"
    }

    fn sources(&self) -> Vec<Source> {
        let caches = &self.context.caches;
        let deployments = caches.deployments.clone();
        let of_set = move |set: &ReplicaSet| {
            let namespace = owner::namespace(&set.metadata);
            match owner::controller_of(&set.metadata) {
                Some(owner) if owner.kind == "Deployment" => vec![ObjectKey::new(namespace, owner.name.clone())],
                Some(_) => Vec::new(),
                None => deployments
                    .list_in(namespace)
                    .iter()
                    .filter(|deployment| selects(deployment, set))
                    .map(|deployment| key_of(&**deployment))
                    .collect(),
            }
        };
        // Recreate waits until the last pod of the old sets is gone: only deletions of pods matter.
        let sets = caches.replica_sets.clone();
        let of_pod = move |pod: &Pod| {
            let namespace = owner::namespace(&pod.metadata);
            let set = owner::controller_of(&pod.metadata).filter(|owner| owner.kind == "ReplicaSet");
            let set = set.and_then(|owner| sets.get(&ObjectKey::new(namespace, owner.name.clone())));
            let deployment = set.as_ref().and_then(|set| owner::controller_of(&set.metadata));
            deployment
                .map(|owner| ObjectKey::new(namespace, owner.name.clone()))
                .into_iter()
                .collect()
        };
        vec![
            Source::primary(&caches.deployments),
            Source::new(&caches.replica_sets, of_set),
            Source::filtered(
                &caches.pods,
                |_, new| new.is_none_or(timonel_api::pod::is_terminal),
                of_pod,
            ),
        ]
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.context.caches.deployments.snapshot().keys().cloned().collect()
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

fn selects(deployment: &Deployment, set: &ReplicaSet) -> bool {
    let selector = deployment.spec.as_ref().map(|spec| &spec.selector);
    LabelSelector::from_optional(selector).matches_optional(set.metadata.labels.as_ref())
}
