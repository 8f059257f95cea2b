//! Jobs: pods that run until enough of them have succeeded, each counted exactly once.
//!
//! ```text
//! observe: the Job, its pods, failures in a row
//! plan:    tally -> ending? -> scale -> counting        (indexes, policy, backoff: the parts that decide about one thing each)
//! apply:   claims, deletions, creations | status | finalizers
//! ```
//!
//! Upstream: `pkg/controller/job`. Read-your-own-writes of the runner replaces its expectations, of pods and of finalizers.
//! Differences: the status follows pods at once where upstream waits a second for more of them; a creation of which nobody knows
//! whether it took effect makes the next look ask the server; after a restart, failures in a row are read off the pods.

mod apply;
mod backoff;
mod counting;
mod ending;
mod facts;
mod indexes;
mod new_pod;
mod observe;
mod orphans;
mod plan;
mod policy;
mod scale;
mod tally;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use timonel_api::ObjectKey;
use timonel_api::selector::LabelSelector;
use timonel_client::events::Recorder;
use timonel_client::runner::{Controller, Plan, ReconcileError, Source, Writes, key_of};

use crate::context::Context;
use crate::owner;
use observe::Memory;
pub(crate) use observe::Observed;
pub(crate) use plan::{Action, Because, plan};

/// The controller.
pub(crate) struct Jobs {
    context: Context,
    recorder: Recorder,
    memories: Mutex<BTreeMap<ObjectKey, Memory>>,
}

/// Runs the controller, and beside it the one for pods that no Job will count any more.
pub(crate) fn start(context: Context) -> BoxFuture<'static, ()> {
    let controller = Jobs {
        recorder: context.recorder("job-controller"),
        context: context.clone(),
        memories: Mutex::default(),
    };
    let orphans = orphans::OrphanPods {
        context: context.clone(),
    };
    let orphans = context.clone().run(orphans, 1);
    Box::pin(async move {
        // One that ends takes the other down, so that whoever supervises hears of it.
        tokio::select! {
            () = context.run(controller, 5) => {}
            () = orphans => {}
        }
    })
}

#[async_trait]
impl Controller for Jobs {
    type Observed = Observed;
    type Action = Action;
    type Because = Because;

    fn name(&self) -> &'static str {
        "job"
    }

    fn sources(&self) -> Vec<Source> {
        let caches = &self.context.caches;
        let jobs = caches.jobs.clone();
        let concerned = move |pod: &Pod| {
            let namespace = owner::namespace(&pod.metadata);
            match owner::controller_of(&pod.metadata) {
                Some(owner) if owner.kind == "Job" => vec![ObjectKey::new(namespace, owner.name.clone())],
                Some(_) => Vec::new(),
                // An orphan concerns every Job that would adopt it.
                None => {
                    let jobs = jobs.list_in(namespace);
                    let adopting = jobs.iter().filter(|job| {
                        let selector = job.spec.as_ref().and_then(|spec| spec.selector.as_ref());
                        LabelSelector::from_optional(selector).matches_optional(pod.metadata.labels.as_ref())
                    });
                    adopting.map(|job| key_of(&**job)).collect()
                }
            }
        };
        vec![Source::primary(&caches.jobs), Source::new(&caches.pods, concerned)]
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.context.caches.jobs.snapshot().keys().cloned().collect()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<Observed>, ReconcileError> {
        self.observe_now(key).await
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
