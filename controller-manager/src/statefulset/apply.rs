//! Carries out what was decided about a StatefulSet.

use futures::future::join_all;
use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use serde_json::json;
use timonel_client::events::{EventType, reference_to};
use timonel_client::runner::{Acting as _, Plan, ReconcileError, Writes, is_namespace_terminating, key_of};

use super::plan::NewPod;
use super::{Action, Because, Observed, StatefulSets, identity};
use crate::history::RevisionControl;
use crate::pod_control::PodControl;
use crate::{owner, template};

impl StatefulSets {
    pub(super) async fn carry_out(
        &self,
        observed: &Observed,
        plan: &Plan<Action, Because>,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        let set = &*observed.set;
        let owner = owner::controller_reference(set);
        let pods = PodControl::new(&self.context, &self.recorder, reference_to(set));
        let revisions = RevisionControl::new(&self.context, owner::namespace(&set.metadata), owner.clone());
        let mut failed = None;
        for action in &plan.actions {
            let result = match action {
                // What follows rests on the history: it must be as planned.
                Action::History(step) => {
                    revisions.carry_out(step, writes).await?;
                    Ok(())
                }
                Action::Adopt(pod) => pods.adopt(pod, &owner, writes).await,
                Action::Release(pod) => pods.release(pod, writes).await,
                Action::Create(new) => self.create(set, new, writes).await,
                Action::CreateClaim { pod, claim } => {
                    let created = self.create_claim(set, pod, claim).await;
                    created.map(|claim| self.wrote_claim(claim.as_ref(), writes))
                }
                Action::OwnClaim { claim, owners } => self.own_claim(claim, owners, writes).await,
                Action::Identify { pod, ordinal } => {
                    let name = owner::name(&pod.metadata);
                    let labels = json!({identity::NAME_LABEL: name, identity::INDEX_LABEL: ordinal.to_string()});
                    let patch = json!({"metadata": {"uid": pod.metadata.uid, "labels": labels}});
                    let written = pods.patch(pod, &patch, "identify", writes).await;
                    let failure = written.as_ref().err().map(words_of);
                    self.say(set, "update", name, failure.as_deref());
                    written
                }
                Action::Delete(pod) => self.delete(set, pod, writes).await,
                Action::SetStatus(status) => self.set_status(set, status, writes).await,
            };
            if let Err(error) = result {
                failed.get_or_insert(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Creates pods in batches of 1, 2, 4, ... and stops at the first batch with a failure.
    async fn create(&self, set: &StatefulSet, new: &[NewPod], writes: &mut Writes) -> Result<(), ReconcileError> {
        let (mut rest, mut batch) = (new, 1);
        while !rest.is_empty() {
            let (now, later) = rest.split_at(batch.min(rest.len()));
            let mut failed = None;
            for (claims, outcome) in join_all(now.iter().map(|new| self.create_one(set, new))).await {
                for claim in &claims {
                    self.wrote_claim(Some(claim), writes);
                }
                match outcome {
                    Ok(pod) => writes.wrote(&self.context.caches.pods, &pod),
                    Err(error) => failed = Some(error),
                }
            }
            if let Some(error) = failed {
                return Err(error);
            }
            (rest, batch) = (later, batch * 2);
        }
        Ok(())
    }

    /// Creates a pod's claims and then the pod. Returns the claims that were created in any case.
    async fn create_one(
        &self,
        set: &StatefulSet,
        new: &NewPod,
    ) -> (Vec<PersistentVolumeClaim>, Result<Pod, ReconcileError>) {
        let name = owner::name(&new.pod.metadata);
        let mut created = Vec::new();
        for claim in &new.claims {
            match self.create_claim(set, name, claim).await {
                Ok(claim) => created.extend(claim),
                Err(error) => {
                    let why = format!(
                        "failed to create PVC {}: {}",
                        owner::name(&claim.metadata),
                        words_of(&error)
                    );
                    self.say(set, "create", name, Some(&why));
                    return (created, Err(error));
                }
            }
        }
        let api: Api<Pod> = Api::namespaced(self.context.client.clone(), owner::namespace(&set.metadata));
        let outcome = api.create(&PostParams::default(), &new.pod).await;
        // A pod of this name that the cache does not show yet is no news; nor is a namespace that goes away.
        let told = outcome.as_ref().err().map(|error| {
            let exists = matches!(error, kube::Error::Api(status) if status.code == 409);
            (exists || is_namespace_terminating(error), template::words(error))
        });
        match told {
            None => self.say(set, "create", name, None),
            Some((false, words)) => self.say(set, "create", name, Some(&words)),
            Some((true, _)) => {}
        }
        let outcome = outcome.map_err(|source| ReconcileError::Backoff {
            act: format!("cannot create pod {name} of stateful set {}", key_of(set)),
            source,
        });
        (created, outcome)
    }

    /// Creates a claim; one that is there already is fine.
    async fn create_claim(
        &self,
        set: &StatefulSet,
        pod: &str,
        claim: &PersistentVolumeClaim,
    ) -> Result<Option<PersistentVolumeClaim>, ReconcileError> {
        let api: Api<PersistentVolumeClaim> = self.claims(set.metadata.namespace.as_deref());
        let (name, set_name) = (owner::name(&claim.metadata), owner::name(&set.metadata));
        match api.create(&PostParams::default(), claim).await {
            Ok(created) => {
                let text = format!("create Claim {name} Pod {pod} in StatefulSet {set_name} success");
                self.recorder.publish(set, EventType::Normal, "SuccessfulCreate", text);
                Ok(Some(created))
            }
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(None),
            Err(source) => {
                if !is_namespace_terminating(&source) {
                    let words = template::words(&source);
                    let text =
                        format!("create Claim {name} for Pod {pod} in StatefulSet {set_name} failed error: {words}");
                    self.recorder.publish(set, EventType::Warning, "FailedCreate", text);
                }
                let act = format!("cannot create claim {name} of stateful set {}", key_of(set));
                Err(ReconcileError::Backoff { act, source })
            }
        }
    }

    fn claims(&self, namespace: Option<&str>) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.context.client.clone(), namespace.unwrap_or_default())
    }

    fn wrote_claim(&self, claim: Option<&PersistentVolumeClaim>, writes: &mut Writes) {
        if let Some(claim) = claim {
            writes.wrote(&self.context.caches.claims, claim);
        }
    }

    async fn own_claim(
        &self,
        claim: &PersistentVolumeClaim,
        owners: &[OwnerReference],
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        // A replacement, for the controller's role has no patch on claims; the resource version makes it safe.
        let mut whole = claim.clone();
        whole.metadata.owner_references = (!owners.is_empty()).then(|| owners.to_vec());
        let api = self.claims(claim.metadata.namespace.as_deref());
        let name = owner::name(&claim.metadata);
        let written = api.replace(name, &PostParams::default(), &whole).await;
        let written = written.acting(|| format!("cannot set the owners of claim {}", key_of(claim)))?;
        self.wrote_claim(Some(&written), writes);
        Ok(())
    }

    async fn delete(&self, set: &StatefulSet, pod: &Pod, writes: &mut Writes) -> Result<(), ReconcileError> {
        let name = owner::name(&pod.metadata);
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: pod.metadata.uid.clone(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let api: Api<Pod> = Api::namespaced(self.context.client.clone(), owner::namespace(&set.metadata));
        match api.delete(name, &params).await {
            Ok(_) => {
                writes.deleted(&self.context.caches.pods, key_of(pod), owner::uid(&pod.metadata));
                self.say(set, "delete", name, None);
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => {
                self.say(set, "delete", name, Some(&template::words(&error)));
                Err(error).acting(|| format!("cannot delete pod {}", key_of(pod)))
            }
        }
    }

    async fn set_status(
        &self,
        set: &StatefulSet,
        status: &StatefulSetStatus,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        let api: Api<StatefulSet> = Api::namespaced(self.context.client.clone(), owner::namespace(&set.metadata));
        let mut whole = set.clone();
        whole.status = Some(status.clone());
        let name = owner::name(&set.metadata);
        let written = api.replace_status(name, &PostParams::default(), &whole).await;
        let written = written.acting(|| format!("cannot write the status of stateful set {}", key_of(set)))?;
        writes.wrote(&self.context.caches.stateful_sets, &written);
        Ok(())
    }

    /// Says what became of a pod, in upstream's words.
    fn say(&self, set: &StatefulSet, verb: &str, pod: &str, failure: Option<&str>) {
        let what = match verb {
            "create" => "Create",
            "delete" => "Delete",
            _ => "Update",
        };
        let name = owner::name(&set.metadata);
        let (kind, reason, text) = match failure {
            None => (
                EventType::Normal,
                format!("Successful{what}"),
                format!("{verb} Pod {pod} in StatefulSet {name} successful"),
            ),
            Some(error) => (
                EventType::Warning,
                format!("Failed{what}"),
                format!("{verb} Pod {pod} in StatefulSet {name} failed error: {error}"),
            ),
        };
        self.recorder.publish(set, kind, &reason, text);
    }
}

fn words_of(error: &ReconcileError) -> String {
    timonel_client::chain(error)
}
