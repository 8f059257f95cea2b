//! StatefulSets: pods with names, numbers and claims of their own, that come and go in order.
//!
//! ```text
//! plan: adopt, release -> history: the current and the new revision -> living: each ordinal its pod, in order
//!        -> condemned: pods beyond the last ordinal go, the last first -> update: old pods make way, the last first -> status
//! ```
//!
//! Upstream: `pkg/controller/statefulset`. Unless pods are managed in parallel, each plan ends at the first pod that is to be waited for.

mod apply;
mod claims;
mod identity;
mod observe;
mod plan;
mod roll;
mod status;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use timonel_api::ObjectKey;
use timonel_client::events::Recorder;
use timonel_client::runner::{Controller, Plan, ReconcileError, Source, Writes, key_of};

use crate::context::Context;
use crate::{claim, owner};
pub(crate) use observe::Observed;
pub(crate) use plan::{Action, Because, plan};

/// The controller.
pub(crate) struct StatefulSets {
    context: Context,
    recorder: Recorder,
}

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, ()> {
    let controller = StatefulSets {
        recorder: context.recorder("statefulset-controller"),
        context: context.clone(),
    };
    Box::pin(context.run(controller, 5))
}

fn selector(set: &StatefulSet) -> Option<LabelSelector> {
    Some(set.spec.as_ref()?.selector.clone())
}

#[async_trait]
impl Controller for StatefulSets {
    type Observed = Observed;
    type Action = Action;
    type Because = Because;

    fn name(&self) -> &'static str {
        "statefulset"
    }

    fn sources(&self) -> Vec<Source> {
        let caches = &self.context.caches;
        let (for_pods, for_revisions, for_claims) = (
            caches.stateful_sets.clone(),
            caches.stateful_sets.clone(),
            caches.stateful_sets.clone(),
        );
        let of_claim = move |claim: &PersistentVolumeClaim| {
            let sets = for_claims.list_in(owner::namespace(&claim.metadata));
            let name = owner::name(&claim.metadata);
            let owners = sets.iter().filter(|set| claims::is_of(set, name));
            owners.map(|set| key_of(&**set)).collect()
        };
        vec![
            Source::primary(&caches.stateful_sets),
            Source::new(&caches.pods, move |pod: &Pod| {
                claim::concerned(&for_pods, &pod.metadata, selector)
            }),
            Source::new(&caches.revisions, move |revision: &ControllerRevision| {
                claim::concerned(&for_revisions, &revision.metadata, selector)
            }),
            Source::new(&caches.claims, of_claim),
        ]
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.context.caches.stateful_sets.snapshot().keys().cloned().collect()
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
