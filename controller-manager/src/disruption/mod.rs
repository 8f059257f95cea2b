//! Disruption budgets: how many of their pods may be evicted now.
//!
//! Upstream: `pkg/controller/disruption`. The API server's eviction takes from what this status allows.

mod plan;
mod scale;
mod stale;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, PostParams};
use timonel_api::ObjectKey;
use timonel_api::selector::LabelSelector;
use timonel_client::events::{EventType, Recorder};
use timonel_client::runner::{Acting as _, Controller, Plan, ReconcileError, Source, Writes, key_of};

use crate::context::Context;
use crate::owner;
use plan::{Action, Because, Observed, Told, plan};
use stale::StalePods;

struct Disruption {
    context: Context,
    recorder: Recorder,
}

/// Runs both controllers: that of budgets, and that of pods which were to be disrupted and are not.
pub(crate) fn start(context: Context) -> BoxFuture<'static, ()> {
    let budgets = Disruption {
        context: context.clone(),
        recorder: context.recorder("controllermanager"),
    };
    let pods = StalePods(context.clone());
    let budgets = context.clone().run(budgets, 2);
    Box::pin(async move {
        tokio::select! {
            () = budgets => {}
            () = context.run(pods, 1) => {}
        }
    })
}

impl Disruption {
    fn tell<K>(&self, object: &K, told: &Told)
    where
        K: kube::Resource<DynamicType = ()>,
    {
        let kind = if told.warning {
            EventType::Warning
        } else {
            EventType::Normal
        };
        self.recorder.publish(object, kind, told.reason, told.message.clone());
    }
}

fn covers(budget: &PodDisruptionBudget, pod: &Pod) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    LabelSelector::from_optional(selector).matches_optional(pod.metadata.labels.as_ref())
}

#[async_trait]
impl Controller for Disruption {
    type Observed = Observed;
    type Action = Action;
    type Because = Because;

    fn name(&self) -> &'static str {
        "disruption"
    }

    fn sources(&self) -> Vec<Source> {
        let caches = &self.context.caches;
        let budgets = caches.budgets.clone();
        let concerned = move |pod: &Pod| {
            let budgets = budgets.list_in(owner::namespace(&pod.metadata));
            budgets
                .iter()
                .filter(|budget| covers(budget, pod))
                .map(|budget| key_of(&**budget))
                .collect()
        };
        vec![
            Source::primary(&caches.budgets),
            Source::new(&caches.pods, concerned),
            Source::looked_into(&caches.replica_sets),
            Source::looked_into(&caches.deployments),
            Source::looked_into(&caches.stateful_sets),
            Source::looked_into(&caches.replication_controllers),
        ]
    }

    fn keys(&self) -> Vec<ObjectKey> {
        self.context.caches.budgets.snapshot().keys().cloned().collect()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<Observed>, ReconcileError> {
        let caches = &self.context.caches;
        let Some(budget) = caches.budgets.get(key) else {
            return Ok(None);
        };
        let pods = caches.pods.list_in(&key.namespace);
        let pods: Vec<_> = pods.into_iter().filter(|pod| covers(&budget, pod)).collect();
        let scale = scale::of(&pods, |reference, namespace| {
            scale::look_up(caches, reference, namespace)
        });
        Ok(Some(Observed {
            budget,
            pods,
            scale,
            timeout: self.context.timings().disruption_timeout,
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
        let api: Api<PodDisruptionBudget> = Api::namespaced(self.context.client.clone(), &key.namespace);
        for action in &plan.actions {
            match action {
                Action::SetStatus(status) => {
                    // With its version: an eviction that was granted meanwhile must not be forgotten.
                    let mut whole = PodDisruptionBudget::clone(&observed.budget);
                    whole.status = Some((**status).clone());
                    let written = api.replace_status(&key.name, &PostParams::default(), &whole).await;
                    let written = written.acting(|| format!("cannot write the status of disruption budget {key}"))?;
                    writes.wrote(&self.context.caches.budgets, &written);
                }
                Action::Tell(told) => self.tell(&*observed.budget, told),
                Action::TellOf(pod, told) => self.tell(&**pod, told),
            }
        }
        Ok(())
    }
}
