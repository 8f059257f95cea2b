//! Carries out what was decided about a Job.

use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};
use timonel_client::events::EventType;
use timonel_client::runner::{Acting as _, Plan, ReconcileError, Writes, is_namespace_terminating, key_of};

use super::facts::{TRACKING, is_tracked};
use super::observe::{Believe, Observed};
use super::plan::{Action, Because, NewPod, Say};
use super::{Jobs, new_pod};
use crate::{owner, template};

impl Jobs {
    /// Nothing is counted when a deletion failed; what failed to be created does not keep pods from being counted.
    pub(super) async fn carry_out(
        &self,
        observed: &Observed,
        plan: &Plan<Action, Because>,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        let job = &*observed.job;
        let api: Api<Pod> = Api::namespaced(self.context.client.clone(), owner::namespace(&job.metadata));
        let mut failed = None;
        for action in &plan.actions {
            match action {
                Action::Adopt(pod) => self.patch_pod(&api, pod, &adoption(pod, job), "adopt", writes).await?,
                Action::Release(pod) => self.patch_pod(&api, pod, &release(pod, job), "release", writes).await?,
                Action::Delete { pod, uncounted } => {
                    if *uncounted && is_tracked(pod) {
                        self.patch_pod(&api, pod, &without_finalizer(pod), "stop tracking", writes)
                            .await?;
                    }
                    self.delete(&api, job, pod, writes).await?;
                }
                Action::Create(pods) => failed = self.create(&api, job, pods, writes).await.err(),
                Action::SetStatus { status, say } => {
                    self.set_status(job, status, writes).await?;
                    for what in say {
                        self.say(job, what);
                    }
                }
                Action::Remember(backoff) => {
                    self.remember(&key_of(job), |memory| memory.backoff = Some(*backoff));
                }
                Action::RemoveFinalizer(pod) => {
                    let done = self
                        .patch_pod(&api, pod, &without_finalizer(pod), "let go of", writes)
                        .await;
                    if let Err(error) = done {
                        failed.get_or_insert(error);
                    }
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn patch_pod(
        &self,
        api: &Api<Pod>,
        pod: &Pod,
        patch: &Value,
        verb: &str,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        let name = owner::name(&pod.metadata);
        match api.patch(name, &PatchParams::default(), &Patch::Strategic(patch)).await {
            // Gone: then there is nothing to hold on to, and another pod may have the name by now.
            Err(kube::Error::Api(status)) if status.code == 404 => {
                writes.deleted(&self.context.caches.pods, key_of(pod), owner::uid(&pod.metadata));
            }
            written => {
                let written = written.acting(|| format!("cannot {verb} pod {}", key_of(pod)))?;
                writes.wrote(&self.context.caches.pods, &written);
            }
        }
        Ok(())
    }

    /// Creates pods in batches of 1, 2, 4, ... and stops at the first batch with a failure, so that what cannot work is not tried
    /// hundreds of times.
    async fn create(
        &self,
        api: &Api<Pod>,
        job: &Job,
        wanted: &[NewPod],
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        let pods: Vec<Pod> = wanted.iter().map(|new| new_pod::build(job, new)).collect();
        let (mut rest, mut batch) = (&pods[..], 1);
        while !rest.is_empty() {
            let (now, later) = rest.split_at(batch.min(rest.len()));
            (rest, batch) = (later, batch * 2);
            let params = PostParams::default();
            let attempts = join_all(now.iter().map(|pod| api.create(&params, pod))).await;
            let mut failed = None;
            for attempt in attempts {
                match attempt {
                    Ok(created) => {
                        writes.wrote(&self.context.caches.pods, &created);
                        let text = format!("Created pod: {}", owner::name(&created.metadata));
                        self.recorder.publish(job, EventType::Normal, "SuccessfulCreate", text);
                    }
                    Err(error) => failed = Some(error),
                }
            }
            if let Some(error) = failed {
                if !matches!(error, kube::Error::Api(_)) {
                    // Nobody knows whether that took effect: the server has to be asked before more pods are created.
                    self.remember(&key_of(job), |memory| memory.believe_from = Some(Believe::Asked));
                }
                if !is_namespace_terminating(&error) {
                    let text = format!("Error creating: {}", template::words(&error));
                    self.recorder.publish(job, EventType::Warning, "FailedCreate", text);
                }
                return Err(error).acting(|| format!("cannot create pods of job {}", key_of(job)));
            }
        }
        Ok(())
    }

    async fn delete(
        &self,
        api: &Api<Pod>,
        job: &Job,
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
                let text = format!("Deleted pod: {name}");
                self.recorder.publish(job, EventType::Normal, "SuccessfulDelete", text);
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => {
                let text = format!("Error deleting: {}", template::words(&error));
                self.recorder.publish(job, EventType::Warning, "FailedDelete", text);
                Err(error).acting(|| format!("cannot delete pod {}", key_of(&**pod)))
            }
        }
    }

    /// Writes over exactly the Job that was looked at: a count must not be added to a count that somebody else has moved.
    async fn set_status(&self, job: &Job, status: &JobStatus, writes: &mut Writes) -> Result<(), ReconcileError> {
        let api: Api<Job> = Api::namespaced(self.context.client.clone(), owner::namespace(&job.metadata));
        let mut whole = job.clone();
        whole.status = Some(status.clone());
        let written = api
            .replace_status(owner::name(&job.metadata), &PostParams::default(), &whole)
            .await;
        let written = written.acting(|| format!("cannot write the status of job {}", key_of(job)))?;
        writes.wrote(&self.context.caches.jobs, &written);
        Ok(())
    }

    fn say(&self, job: &Job, what: &Say) {
        let (kind, reason, message) = match what {
            Say::Suspended => (EventType::Normal, "Suspended", "Job suspended"),
            Say::Resumed => (EventType::Normal, "Resumed", "Job resumed"),
            Say::Completed => (EventType::Normal, "Completed", "Job completed"),
            Say::TooManySucceeded => (
                EventType::Warning,
                "TooManySucceededPods",
                "Too many succeeded pods running after completion count reached",
            ),
            Say::Failed { reason, message } => (EventType::Warning, reason.as_str(), message.as_str()),
        };
        self.recorder.publish(job, kind, reason, message);
    }
}

fn adoption(pod: &Pod, job: &Job) -> Value {
    let mut patch = owner::adoption(&pod.metadata, &owner::controller_reference(job));
    patch["metadata"]["finalizers"] = json!([TRACKING]);
    patch
}

fn release(pod: &Pod, job: &Job) -> Value {
    json!({"metadata": {
        "uid": pod.metadata.uid,
        "ownerReferences": [{"$patch": "delete", "uid": job.metadata.uid}],
        "$deleteFromPrimitiveList/finalizers": [TRACKING],
    }})
}

/// The patch that takes the tracking finalizer off a pod and leaves all else alone.
pub(super) fn without_finalizer(pod: &Pod) -> Value {
    json!({"metadata": {
        "uid": pod.metadata.uid,
        "$deleteFromPrimitiveList/finalizers": [TRACKING],
    }})
}
