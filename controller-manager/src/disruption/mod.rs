//! Disruption budgets: how many of their pods may be evicted now.
//!
//! Upstream: `pkg/controller/disruption`. The API server's eviction takes from what this status allows.

mod plan;
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
use timonel_client::runner::{Acting as _, Controller, Plan, ReconcileError, Source, Writes, key_of};

use crate::context::Context;
use crate::owner;
use plan::{Action, Because, Observed, plan};

struct Disruption {
    context: Context,
}

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, ()> {
    let controller = Disruption {
        context: context.clone(),
    };
    Box::pin(context.run(controller, 2))
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
        // How many pods there should be, as their controllers' scales say: each controller counts once.
        let mut scales = std::collections::BTreeMap::new();
        for pod in &pods {
            let Some(set) = owner::controller_of(&pod.metadata).filter(|owner| owner.kind == "ReplicaSet") else {
                continue;
            };
            let Some(set) = caches.replica_sets.get(&ObjectKey::new(&key.namespace, &set.name)) else {
                continue;
            };
            let deployment = owner::controller_of(&set.metadata)
                .filter(|owner| owner.kind == "Deployment")
                .and_then(|owner| caches.deployments.get(&ObjectKey::new(&key.namespace, &owner.name)));
            let (uid, scale) = match deployment {
                Some(deployment) => {
                    let scale = deployment.spec.as_ref().and_then(|spec| spec.replicas);
                    (owner::uid(&deployment.metadata).to_owned(), scale)
                }
                None => {
                    let scale = set.spec.as_ref().and_then(|spec| spec.replicas);
                    (owner::uid(&set.metadata).to_owned(), scale)
                }
            };
            scales.insert(uid, scale.unwrap_or(1));
        }
        Ok(Some(Observed {
            budget,
            expected: (!scales.is_empty()).then(|| scales.values().sum()),
            pods,
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
        for Action::SetStatus(status) in &plan.actions {
            // With its version: an eviction that was granted meanwhile must not be forgotten.
            let mut whole = PodDisruptionBudget::clone(&observed.budget);
            whole.status = Some((**status).clone());
            let written = api.replace_status(&key.name, &PostParams::default(), &whole).await;
            let written = written.acting(|| format!("cannot write the status of disruption budget {key}"))?;
            writes.wrote(&self.context.caches.budgets, &written);
        }
        Ok(())
    }
}
