//! Pods as their controllers create, delete, adopt and release them, with upstream's events on the controller.
//!
//! Upstream: `RealPodControl` in `pkg/controller/controller_utils.go`.

use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use timonel_client::events::{EventType, Recorder};
use timonel_client::runner::{Acting as _, ReconcileError, Writes, is_namespace_terminating, key_of};

use crate::context::Context;
use crate::{owner, template};

/// Why pods could not be created or deleted.
pub(crate) struct Failed {
    /// `FailedCreate` or `FailedDelete`.
    pub(crate) reason: &'static str,
    /// The server's words; none where the namespace is going away and nobody needs to hear of it.
    pub(crate) message: Option<String>,
    pub(crate) error: ReconcileError,
}

/// The pods of one controller.
pub(crate) struct PodControl<'a> {
    context: &'a Context,
    recorder: &'a Recorder,
    about: ObjectReference,
    api: Api<Pod>,
}

impl<'a> PodControl<'a> {
    /// Acts for the controller that `about` refers to, in its namespace.
    pub(crate) fn new(context: &'a Context, recorder: &'a Recorder, about: ObjectReference) -> Self {
        let namespace = about.namespace.clone().unwrap_or_default();
        Self {
            api: Api::namespaced(context.client.clone(), &namespace),
            context,
            recorder,
            about,
        }
    }

    /// Becomes the controller of an orphan.
    pub(crate) async fn adopt(
        &self,
        pod: &Pod,
        owner: &OwnerReference,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        self.patch(pod, &owner::adoption(&pod.metadata, owner), "adopt", writes)
            .await
    }

    /// Lets a pod go.
    pub(crate) async fn release(&self, pod: &Pod, writes: &mut Writes) -> Result<(), ReconcileError> {
        let uid = self.about.uid.as_deref().unwrap_or_default();
        self.patch(pod, &owner::release(&pod.metadata, uid), "release", writes)
            .await
    }

    /// Merges a patch into a pod.
    pub(crate) async fn patch(
        &self,
        pod: &Pod,
        patch: &serde_json::Value,
        verb: &str,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        let (name, params) = (owner::name(&pod.metadata), PatchParams::default());
        match self.api.patch(name, &params, &Patch::Merge(patch)).await {
            Ok(written) => {
                writes.wrote(&self.context.caches.pods, &written);
                Ok(())
            }
            // A pod that is gone needs neither adoption nor release.
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error).acting(|| format!("cannot {verb} pod {}", key_of(pod))),
        }
    }

    /// Creates pods in batches of 1, 2, 4, ... and stops at the first batch with a failure, so that what cannot work (a
    /// quota, an invalid template) is not tried hundreds of times.
    pub(crate) async fn create(
        &self,
        count: usize,
        make: impl Fn(usize) -> Pod,
        writes: &mut Writes,
    ) -> Result<(), Failed> {
        let (mut done, mut batch) = (0, 1);
        let params = PostParams::default();
        while done < count {
            let pods: Vec<Pod> = (done..count.min(done + batch)).map(&make).collect();
            let attempts = join_all(pods.iter().map(|pod| self.api.create(&params, pod))).await;
            done += attempts.len();
            batch *= 2;
            let mut failed = None;
            for attempt in attempts {
                match attempt {
                    Ok(created) => {
                        writes.wrote(&self.context.caches.pods, &created);
                        let text = format!("Created pod: {}", owner::name(&created.metadata));
                        self.say(EventType::Normal, "SuccessfulCreate", text);
                    }
                    Err(error) => failed = Some(error),
                }
            }
            if let Some(error) = failed {
                let message = (!is_namespace_terminating(&error)).then(|| template::words(&error));
                if let Some(message) = &message {
                    self.say(EventType::Warning, "FailedCreate", format!("Error creating: {message}"));
                }
                return Err(Failed {
                    reason: "FailedCreate",
                    message,
                    error: ReconcileError::Backoff {
                        act: format!("cannot create pods of {}", self.subject()),
                        source: error,
                    },
                });
            }
        }
        Ok(())
    }

    /// Deletes a pod; one that is gone already is fine.
    pub(crate) async fn delete(&self, pod: &Arc<Pod>, writes: &mut Writes) -> Result<(), Failed> {
        let name = owner::name(&pod.metadata);
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: pod.metadata.uid.clone(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match self.api.delete(name, &params).await {
            Ok(_) => {
                writes.deleted(&self.context.caches.pods, key_of(&**pod), owner::uid(&pod.metadata));
                self.say(EventType::Normal, "SuccessfulDelete", format!("Deleted pod: {name}"));
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => {
                let message = template::words(&error);
                self.say(EventType::Warning, "FailedDelete", format!("Error deleting: {message}"));
                Err(Failed {
                    reason: "FailedDelete",
                    message: Some(message),
                    error: ReconcileError::from_client(format!("cannot delete pod {}", key_of(&**pod)), error),
                })
            }
        }
    }

    fn say(&self, kind: EventType, reason: &str, text: String) {
        self.recorder.event(&self.about, kind, reason, text);
    }

    fn subject(&self) -> String {
        let part = |text: &Option<String>| text.clone().unwrap_or_default();
        let about = &self.about;
        format!("{} {}/{}", part(&about.kind), part(&about.namespace), part(&about.name))
    }
}
