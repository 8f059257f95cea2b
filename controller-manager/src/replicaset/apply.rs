//! Carries out what was decided about a ReplicaSet, or about what is seen as one.

use std::sync::PoisonError;

use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetStatus};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, PostParams};
use timonel_client::runner::{Acting as _, Plan, ReconcileError, Writes, key_of};

use super::{Action, Because, Failure, Kind, Observed, ReplicaSets};
use crate::pod_control::{Failed, PodControl};
use crate::{owner, template};

impl<K: Kind> ReplicaSets<K> {
    pub(super) async fn carry_out(
        &self,
        observed: &Observed,
        plan: &Plan<Action, Because>,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        let set = &*observed.set;
        let owner = owner_reference::<K>(set);
        let pods = PodControl::new(&self.context, &self.recorder, about::<K>(set));
        let mut failed = None;
        for action in &plan.actions {
            let result = match action {
                Action::Adopt(pod) => pods.adopt(pod, &owner, writes).await,
                Action::Release(pod) => pods.release(pod, writes).await,
                Action::Create(count) => {
                    let Some(template) = set.spec.as_ref().and_then(|spec| spec.template.as_ref()) else {
                        continue;
                    };
                    let pod = template::pod_for(owner::namespace(&set.metadata), owner.clone(), template);
                    let created = pods.create(*count, |_| pod.clone(), writes).await;
                    self.note(set, created)
                }
                Action::Delete(pod) => {
                    let deleted = pods.delete(pod, writes).await;
                    self.note(set, deleted)
                }
                Action::SetStatus(status) => self.set_status(set, status, writes).await,
            };
            if let Err(error) = result {
                failed.get_or_insert(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn set_status(
        &self,
        set: &ReplicaSet,
        status: &ReplicaSetStatus,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        let api: Api<K> = Api::namespaced(self.context.client.clone(), owner::namespace(&set.metadata));
        let mut whole = set.clone();
        whole.status = Some(status.clone());
        let written = api
            .replace_status(owner::name(&set.metadata), &PostParams::default(), &K::restore(whole))
            .await;
        let written = written.acting(|| format!("cannot write the status of {} {}", K::NAME, key_of(set)))?;
        writes.wrote(K::cache(&self.context.caches), &written);
        Ok(())
    }

    /// Remembers a failure for the condition, or forgets the last one after a success.
    fn note(&self, set: &ReplicaSet, result: Result<(), Failed>) -> Result<(), ReconcileError> {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let uid = owner::uid(&set.metadata);
        let Err(failed) = result else {
            failures.remove(uid);
            return Ok(());
        };
        if let Some(message) = failed.message {
            let reason = failed.reason;
            failures.insert(uid.to_owned(), Failure { reason, message });
        }
        Err(failed.error)
    }
}

fn owner_reference<K: Kind>(set: &ReplicaSet) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        ..owner::controller_reference(set)
    }
}

fn about<K: Kind>(set: &ReplicaSet) -> ObjectReference {
    ObjectReference {
        api_version: Some(K::api_version(&()).into_owned()),
        kind: Some(K::kind(&()).into_owned()),
        ..timonel_client::events::reference_to(set)
    }
}
