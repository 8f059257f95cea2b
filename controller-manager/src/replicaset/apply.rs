//! Carries out what was decided about a ReplicaSet.

use std::sync::{Arc, PoisonError};

use futures::future::join_all;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use timonel_client::events::EventType;
use timonel_client::runner::{Acting as _, Plan, ReconcileError, Writes, is_namespace_terminating, key_of};

use super::{Action, Because, Failure, Observed, ReplicaSets};
use crate::{owner, template};

impl ReplicaSets {
    pub(super) async fn carry_out(
        &self,
        observed: &Observed,
        plan: &Plan<Action, Because>,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        let set = &*observed.set;
        let namespace = owner::namespace(&set.metadata);
        let pods: Api<Pod> = Api::namespaced(self.context.client.clone(), namespace);
        let mut failed = None;
        for action in &plan.actions {
            let result = match action {
                Action::Adopt(pod) => {
                    let patch = owner::adoption(&pod.metadata, &owner::controller_reference(set));
                    self.patch_pod(&pods, pod, &patch, "adopt", writes).await
                }
                Action::Release(pod) => {
                    let patch = owner::release(&pod.metadata, owner::uid(&set.metadata));
                    self.patch_pod(&pods, pod, &patch, "release", writes).await
                }
                Action::Create(count) => self.create(&pods, set, *count, writes).await,
                Action::Delete(pod) => self.delete(&pods, set, pod, writes).await,
                Action::SetStatus(status) => self.set_status(set, status, writes).await,
            };
            if let Err(error) = result {
                failed.get_or_insert(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn patch_pod(
        &self,
        api: &Api<Pod>,
        pod: &Pod,
        patch: &serde_json::Value,
        verb: &str,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        let name = owner::name(&pod.metadata);
        let written = api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await;
        let written = written.acting(|| format!("cannot {verb} pod {}", key_of(pod)))?;
        writes.wrote(&self.context.caches.pods, &written);
        Ok(())
    }

    /// Creates pods in batches of 1, 2, 4, ... and stops at the first batch with a failure, so that what cannot work (a
    /// quota, an invalid template) is not tried hundreds of times.
    async fn create(
        &self,
        api: &Api<Pod>,
        set: &ReplicaSet,
        count: usize,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        let Some(pod) = template::pod_for(set, set.spec.as_ref().and_then(|spec| spec.template.as_ref())) else {
            return Ok(());
        };
        let (mut left, mut batch) = (count, 1);
        while left > 0 {
            let params = PostParams::default();
            let attempts = join_all((0..batch.min(left)).map(|_| api.create(&params, &pod))).await;
            left -= attempts.len();
            batch *= 2;
            let mut failed = None;
            for attempt in attempts {
                match attempt {
                    Ok(created) => {
                        writes.wrote(&self.context.caches.pods, &created);
                        let text = format!("Created pod: {}", owner::name(&created.metadata));
                        self.recorder.publish(set, EventType::Normal, "SuccessfulCreate", text);
                    }
                    Err(error) => failed = Some(error),
                }
            }
            if let Some(error) = failed {
                if !is_namespace_terminating(&error) {
                    self.note(
                        set,
                        "FailedCreate",
                        format!("Error creating: {}", template::words(&error)),
                        template::words(&error),
                    );
                }
                return Err(ReconcileError::Backoff {
                    act: format!("cannot create pods of replica set {}", key_of(set)),
                    source: error,
                });
            }
        }
        self.forget_failure(set);
        Ok(())
    }

    async fn delete(
        &self,
        api: &Api<Pod>,
        set: &ReplicaSet,
        pod: &Arc<Pod>,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        let name = owner::name(&pod.metadata);
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: pod.metadata.uid.clone(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match api.delete(name, &params).await {
            Ok(_) => {
                writes.deleted(&self.context.caches.pods, key_of(&**pod), owner::uid(&pod.metadata));
                self.recorder.publish(
                    set,
                    EventType::Normal,
                    "SuccessfulDelete",
                    format!("Deleted pod: {name}"),
                );
                self.forget_failure(set);
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => {
                self.note(
                    set,
                    "FailedDelete",
                    format!("Error deleting: {}", template::words(&error)),
                    template::words(&error),
                );
                Err(error).acting(|| format!("cannot delete pod {}", key_of(&**pod)))
            }
        }
    }

    async fn set_status(
        &self,
        set: &ReplicaSet,
        status: &k8s_openapi::api::apps::v1::ReplicaSetStatus,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        let api: Api<ReplicaSet> = Api::namespaced(self.context.client.clone(), owner::namespace(&set.metadata));
        let mut whole = set.clone();
        whole.status = Some(status.clone());
        let written = api
            .replace_status(owner::name(&set.metadata), &PostParams::default(), &whole)
            .await;
        let written = written.acting(|| format!("cannot write the status of replica set {}", key_of(set)))?;
        writes.wrote(&self.context.caches.replica_sets, &written);
        Ok(())
    }

    fn note(&self, set: &ReplicaSet, reason: &'static str, event: String, message: String) {
        self.recorder.publish(set, EventType::Warning, reason, event);
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.insert(owner::uid(&set.metadata).to_owned(), Failure { reason, message });
    }

    fn forget_failure(&self, set: &ReplicaSet) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.remove(owner::uid(&set.metadata));
    }
}
