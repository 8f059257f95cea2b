//! Carries out steps on a history.

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};
use timonel_client::runner::{Acting as _, ReconcileError, Writes, key_of};

use super::Step;
use crate::context::Context;
use crate::owner;

/// The revisions of one object.
pub(crate) struct RevisionControl<'a> {
    context: &'a Context,
    owner: OwnerReference,
    api: Api<ControllerRevision>,
}

impl<'a> RevisionControl<'a> {
    pub(crate) fn new(context: &'a Context, namespace: &str, owner: OwnerReference) -> Self {
        Self {
            api: Api::namespaced(context.client.clone(), namespace),
            context,
            owner,
        }
    }

    pub(crate) async fn carry_out(&self, step: &Step, writes: &mut Writes) -> Result<(), ReconcileError> {
        match step {
            Step::Adopt(revision) => {
                let patch = owner::adoption(&revision.metadata, &self.owner);
                self.patch(revision, patch, "adopt", writes).await
            }
            Step::Release(revision) => {
                let patch = owner::release(&revision.metadata, &self.owner.uid);
                self.patch(revision, patch, "release", writes).await
            }
            Step::Renumber(revision, to) => {
                let meta = &revision.metadata;
                let patch = json!({
                    "metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version},
                    "revision": to,
                });
                self.patch(revision, patch, "renumber", writes).await
            }
            Step::Create(revision) => {
                let created = self.api.create(&PostParams::default(), revision).await;
                let created = created.map_err(|source| ReconcileError::Backoff {
                    act: format!("cannot create controller revision {}", key_of(&**revision)),
                    source,
                })?;
                writes.wrote(&self.context.caches.revisions, &created);
                Ok(())
            }
            Step::Delete(revision) => self.delete(revision, writes).await,
        }
    }

    async fn patch(
        &self,
        revision: &ControllerRevision,
        patch: Value,
        verb: &str,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        let name = owner::name(&revision.metadata);
        let written = self
            .api
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await;
        let written = written.acting(|| format!("cannot {verb} controller revision {}", key_of(revision)))?;
        writes.wrote(&self.context.caches.revisions, &written);
        Ok(())
    }

    async fn delete(&self, revision: &ControllerRevision, writes: &mut Writes) -> Result<(), ReconcileError> {
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: revision.metadata.uid.clone(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match self.api.delete(owner::name(&revision.metadata), &params).await {
            Ok(_) => {
                let uid = owner::uid(&revision.metadata);
                writes.deleted(&self.context.caches.revisions, key_of(revision), uid);
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error).acting(|| format!("cannot delete controller revision {}", key_of(revision))),
        }
    }
}
