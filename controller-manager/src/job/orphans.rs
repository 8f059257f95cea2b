//! Pods that nobody will count any more lose the finalizer that waits for it: their Job is gone, has ended, or has let them go.
//!
//! Upstream: the orphan queue of its job controller. A pod is only touched when the server itself says that the Job is not there.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, Patch, PatchParams};
use timonel_api::ObjectKey;
use timonel_client::runner::{Acting as _, Controller, Plan, ReconcileError, Source, Writes, key_of};

use super::apply::without_finalizer;
use super::facts::{is_finished, is_managed_elsewhere, is_tracked};
use crate::context::Context;
use crate::owner;

pub(super) struct OrphanPods {
    pub(super) context: Context,
}

/// A pod, and the Job that it says controls it.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    pub(super) pod: Arc<Pod>,
    pub(super) job: Option<Arc<Job>>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    RemoveFinalizer,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Because {
    HasNoController,
    JobIsGone { job: String },
    JobHasEnded { job: String },
}

/// Decides.
pub(super) fn plan(observed: &Observed) -> Plan<Action, Because> {
    let mut plan = Plan::nothing();
    if !is_tracked(&observed.pod) {
        return plan;
    }
    let because = match (owner::controller_of(&observed.pod.metadata), &observed.job) {
        (None, _) => Because::HasNoController,
        (Some(other), _) if other.kind != "Job" || other.api_version != "batch/v1" => return plan,
        (Some(gone), None) => Because::JobIsGone { job: gone.name.clone() },
        (Some(_), Some(job)) if is_managed_elsewhere(job) || !is_finished(job) => return plan,
        (Some(ended), Some(_)) => Because::JobHasEnded {
            job: ended.name.clone(),
        },
    };
    plan.act(Action::RemoveFinalizer, because);
    plan
}

#[async_trait]
impl Controller for OrphanPods {
    type Observed = Observed;
    type Action = Action;
    type Because = Because;

    fn name(&self) -> &'static str {
        "job-orphan-pods"
    }

    fn sources(&self) -> Vec<Source> {
        let caches = &self.context.caches;
        let tracked = |pod: &Pod| if is_tracked(pod) { vec![key_of(pod)] } else { Vec::new() };
        let pods = caches.pods.clone();
        let of_job = move |job: &Job| {
            let uid = owner::uid(&job.metadata);
            let pods = pods.list_in(owner::namespace(&job.metadata));
            let own = pods
                .iter()
                .filter(|pod| is_tracked(pod) && owner::is_controlled_by(&pod.metadata, uid));
            own.map(|pod| key_of(&**pod)).collect()
        };
        let ended = |_: Option<&Job>, new: Option<&Job>| new.is_none_or(is_finished);
        vec![
            Source::new(&caches.pods, tracked),
            Source::filtered(&caches.jobs, ended, of_job),
        ]
    }

    fn keys(&self) -> Vec<ObjectKey> {
        let pods = self.context.caches.pods.snapshot();
        pods.iter()
            .filter(|(_, pod)| is_tracked(pod))
            .map(|(key, _)| key.clone())
            .collect()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<Observed>, ReconcileError> {
        let caches = &self.context.caches;
        let Some(pod) = caches.pods.get(key).filter(|pod| is_tracked(pod)) else {
            return Ok(None);
        };
        let Some(controller) = owner::controller_of(&pod.metadata).filter(|controller| controller.kind == "Job") else {
            return Ok(Some(Observed { pod, job: None }));
        };
        let its_own = |job: &Job| owner::uid(&job.metadata) == controller.uid;
        let mut job = caches
            .jobs
            .get(&ObjectKey::new(&key.namespace, &controller.name))
            .filter(|job| its_own(job));
        if job.is_none() {
            let api: Api<Job> = Api::namespaced(self.context.client.clone(), &key.namespace);
            let found = api.get_opt(&controller.name).await;
            let found = found.acting(|| format!("cannot look for job {}/{}", key.namespace, controller.name))?;
            job = found.filter(its_own).map(Arc::new);
        }
        Ok(Some(Observed { pod, job }))
    }

    fn plan(&self, observed: &Observed, _: Timestamp) -> Plan<Action, Because> {
        plan(observed)
    }

    async fn apply(
        &self,
        _: &ObjectKey,
        observed: &Observed,
        plan: &Plan<Action, Because>,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        for Action::RemoveFinalizer in &plan.actions {
            let pod = &*observed.pod;
            let api: Api<Pod> = Api::namespaced(self.context.client.clone(), owner::namespace(&pod.metadata));
            let mut patch = without_finalizer(pod);
            // Exactly this pod: a Job may have adopted it since.
            patch["metadata"]["resourceVersion"] = pod.metadata.resource_version.clone().into();
            let name = owner::name(&pod.metadata);
            match api
                .patch(name, &PatchParams::default(), &Patch::Strategic(&patch))
                .await
            {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                written => {
                    let written = written.acting(|| format!("cannot let go of pod {}", key_of(pod)))?;
                    writes.wrote(&self.context.caches.pods, &written);
                }
            }
        }
        Ok(())
    }
}
