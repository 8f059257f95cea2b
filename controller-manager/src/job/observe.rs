//! Takes the snapshot that a Job's plan rests on.

use std::sync::{Arc, PoisonError};

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use timonel_api::selector::LabelSelector;
use timonel_api::{ObjectKey, Revision};
use timonel_client::runner::{Acting as _, ReconcileError};

use super::Jobs;
use super::backoff::Backoff;
use super::facts::{counts_as_failed, is_finished, is_managed_elsewhere, is_tracked};
use super::tally::Tally;
use crate::owner;

/// A Job, the pods that are its own or could be, and what is remembered of its failures.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) job: Arc<Job>,
    pub(crate) pods: Vec<Arc<Pod>>,
    /// Nothing after a restart.
    pub(super) backoff: Option<Backoff>,
}

/// What the controller knows of a Job that the API does not.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    pub(super) uid: String,
    pub(super) backoff: Option<Backoff>,
    /// How new the copy of the pods must be to be believed: it is behind when nobody knows whether a creation took effect.
    pub(super) believe_from: Option<Believe>,
}

/// From when on the copy of the pods is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Believe {
    /// Once the server itself has been asked.
    Asked,
    /// From this revision on.
    From(Revision),
}

impl Jobs {
    pub(super) async fn observe_now(&self, key: &ObjectKey) -> Result<Option<Observed>, ReconcileError> {
        let caches = &self.context.caches;
        let Some(job) = caches.jobs.get(key) else {
            self.forget(key);
            return Ok(None);
        };
        if is_finished(&job) || is_managed_elsewhere(&job) {
            self.forget(key);
            return Ok(None);
        }
        let memory = self.memory_of(&job, key);
        let mut pods = its_own(&job, caches.pods.list_in(&key.namespace));
        let behind = match memory.believe_from {
            Some(Believe::Asked) => true,
            Some(Believe::From(revision)) => caches.pods.revision() < revision,
            None => self.might_count_twice(&job, &pods),
        };
        if behind {
            let (listed, revision) = self.ask_for_pods(&key.namespace).await?;
            pods = its_own(&job, listed);
            if memory.believe_from.is_some() {
                self.remember(key, |memory| memory.believe_from = Some(Believe::From(revision)));
            }
        } else if memory.believe_from.is_some() {
            self.remember(key, |memory| memory.believe_from = None);
        }
        Ok(Some(Observed {
            pods,
            backoff: memory.backoff,
            job,
        }))
    }

    /// Whether a pod looks as if it was to be counted although the status may already count it: then the copy of the pods has to be
    /// as new as the status. After a crash, another process may have counted between our list of pods and our list of Jobs.
    fn might_count_twice(&self, job: &Job, pods: &[Arc<Pod>]) -> bool {
        let revision = job
            .metadata
            .resource_version
            .as_deref()
            .and_then(|text| text.parse().ok());
        let fresh = revision.is_none_or(|revision: Revision| self.context.caches.pods.revision() >= revision);
        let Some(spec) = job.spec.as_ref().filter(|_| !fresh) else {
            return false;
        };
        let uid = owner::uid(&job.metadata);
        let own = pods
            .iter()
            .filter(|pod| owner::is_controlled_by(&pod.metadata, uid) && is_tracked(pod));
        let tally = Tally::of(job, spec, own.collect());
        !tally.newly_succeeded.is_empty() || tally.pods.iter().any(|pod| counts_as_failed(pod, spec))
    }

    async fn ask_for_pods(&self, namespace: &str) -> Result<(Vec<Arc<Pod>>, Revision), ReconcileError> {
        let api: Api<Pod> = Api::namespaced(self.context.client.clone(), namespace);
        let listed = api.list(&ListParams::default()).await;
        let listed = listed.acting(|| format!("cannot list the pods of {namespace}"))?;
        let revision = listed
            .metadata
            .resource_version
            .as_deref()
            .and_then(|text| text.parse().ok());
        let mut pods: Vec<Arc<Pod>> = listed.items.into_iter().map(Arc::new).collect();
        pods.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        Ok((pods, revision.unwrap_or_default()))
    }

    fn memory_of(&self, job: &Job, key: &ObjectKey) -> Memory {
        let uid = owner::uid(&job.metadata);
        let mut memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        let memory = memories.entry(key.clone()).or_default();
        if memory.uid != uid {
            *memory = Memory {
                uid: uid.to_owned(),
                ..Memory::default()
            };
        }
        memory.clone()
    }

    pub(super) fn remember(&self, key: &ObjectKey, change: impl FnOnce(&mut Memory)) {
        let mut memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(memory) = memories.get_mut(key) {
            change(memory);
        }
    }

    fn forget(&self, key: &ObjectKey) {
        self.memories.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

/// The pods that a Job controls, and the orphans that its selector matches.
fn its_own(job: &Job, pods: Vec<Arc<Pod>>) -> Vec<Arc<Pod>> {
    let uid = owner::uid(&job.metadata);
    let selector = LabelSelector::from_optional(job.spec.as_ref().and_then(|spec| spec.selector.as_ref()));
    let mut pods = pods;
    pods.retain(|pod| match owner::controller_of(&pod.metadata) {
        Some(owner) => owner.uid == uid,
        None => selector.matches_optional(pod.metadata.labels.as_ref()),
    });
    pods
}
