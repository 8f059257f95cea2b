//! Carries out what was decided about a Deployment.

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};
use timonel_client::events::EventType;
use timonel_client::runner::{Acting as _, Plan, ReconcileError, Writes, is_namespace_terminating, key_of};

use super::scale::size;
use super::{Action, Because, Deployments, Observed, revision};
use crate::{owner, template};

impl Deployments {
    pub(super) async fn carry_out(
        &self,
        observed: &Observed,
        plan: &Plan<Action, Because>,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        for action in &plan.actions {
            self.carry_out_one(&observed.deployment, action, writes).await?;
        }
        Ok(())
    }

    async fn carry_out_one(
        &self,
        deployment: &Deployment,
        action: &Action,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        match action {
            Action::Adopt(set) => {
                let patch = owner::adoption(&set.metadata, &owner::controller_reference(deployment));
                self.patch_set(set, patch, "adopt", writes).await
            }
            Action::Release(set) => {
                let patch = owner::release(&set.metadata, owner::uid(&deployment.metadata));
                self.patch_set(set, patch, "release", writes).await
            }
            Action::Create(set) => self.create(deployment, set, writes).await,
            Action::Resize { set, to, desired, max } => {
                let annotations = json!({revision::DESIRED: desired.to_string(), revision::MAX: max.to_string()});
                let patch = json!({
                    "metadata": {"uid": set.metadata.uid, "annotations": annotations},
                    "spec": {"replicas": to},
                });
                self.patch_set(set, patch, "resize", writes).await?;
                if size(set) != *to {
                    self.say_scaled(deployment, owner::name(&set.metadata), size(set), *to);
                }
                Ok(())
            }
            Action::Update {
                set,
                annotations,
                min_ready_seconds,
            } => {
                let patch = json!({
                    "metadata": {"uid": set.metadata.uid, "annotations": annotations},
                    "spec": {"minReadySeconds": min_ready_seconds},
                });
                self.patch_set(set, patch, "update", writes).await
            }
            Action::Delete(set) => self.delete(set, writes).await,
            Action::SetRevision(to) => {
                let patch = json!({"metadata": {
                    "uid": deployment.metadata.uid,
                    "annotations": {revision::REVISION: to.to_string()},
                }});
                let written = self
                    .deployments(deployment)
                    .patch(
                        owner::name(&deployment.metadata),
                        &PatchParams::default(),
                        &Patch::Merge(&patch),
                    )
                    .await;
                let written =
                    written.acting(|| format!("cannot note the revision of deployment {}", key_of(deployment)))?;
                writes.wrote(&self.context.caches.deployments, &written);
                Ok(())
            }
            Action::SetStatus(status) => {
                // Without a resource version: the revision may just have been noted, and only we write this status.
                let patch = json!({"metadata": {"uid": deployment.metadata.uid}, "status": complete(status)});
                let written = self
                    .deployments(deployment)
                    .patch_status(
                        owner::name(&deployment.metadata),
                        &PatchParams::default(),
                        &Patch::Merge(&patch),
                    )
                    .await;
                let written =
                    written.acting(|| format!("cannot write the status of deployment {}", key_of(deployment)))?;
                writes.wrote(&self.context.caches.deployments, &written);
                Ok(())
            }
            Action::WarnSelectsAll => {
                let text = "This deployment is selecting all pods. A non-empty selector is required.";
                self.recorder
                    .publish(deployment, EventType::Warning, "SelectingAll", text);
                Ok(())
            }
        }
    }

    fn deployments(&self, deployment: &Deployment) -> Api<Deployment> {
        Api::namespaced(self.context.client.clone(), owner::namespace(&deployment.metadata))
    }

    fn sets(&self, namespace: &str) -> Api<ReplicaSet> {
        Api::namespaced(self.context.client.clone(), namespace)
    }

    async fn patch_set(
        &self,
        set: &ReplicaSet,
        patch: Value,
        verb: &str,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        let api = self.sets(owner::namespace(&set.metadata));
        let written = api
            .patch(
                owner::name(&set.metadata),
                &PatchParams::default(),
                &Patch::Merge(&patch),
            )
            .await;
        let written = written.acting(|| format!("cannot {verb} replica set {}", key_of(set)))?;
        writes.wrote(&self.context.caches.replica_sets, &written);
        Ok(())
    }

    async fn create(
        &self,
        deployment: &Deployment,
        set: &ReplicaSet,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        let api = self.sets(owner::namespace(&deployment.metadata));
        match api.create(&PostParams::default(), set).await {
            Ok(created) => {
                writes.wrote(&self.context.caches.replica_sets, &created);
                if size(set) > 0 {
                    self.say_scaled(deployment, owner::name(&created.metadata), 0, size(set));
                }
                Ok(())
            }
            Err(error) => {
                if !is_namespace_terminating(&error) {
                    let name = owner::name(&set.metadata);
                    let text = format!(
                        "Failed to create new replica set \"{name}\": {}",
                        template::words(&error)
                    );
                    self.recorder
                        .publish(deployment, EventType::Warning, "ReplicaSetCreateError", text);
                }
                Err(error).acting(|| format!("cannot create replica set {}", key_of(set)))
            }
        }
    }

    async fn delete(&self, set: &ReplicaSet, writes: &mut Writes) -> Result<(), ReconcileError> {
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: set.metadata.uid.clone(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        match self
            .sets(owner::namespace(&set.metadata))
            .delete(owner::name(&set.metadata), &params)
            .await
        {
            Ok(_) => {
                writes.deleted(
                    &self.context.caches.replica_sets,
                    key_of(set),
                    owner::uid(&set.metadata),
                );
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error).acting(|| format!("cannot delete replica set {}", key_of(set))),
        }
    }

    fn say_scaled(&self, deployment: &Deployment, set: &str, from: i32, to: i32) {
        let way = if to > from { "up" } else { "down" };
        let text = format!("Scaled {way} replica set {set} from {from} to {to}");
        self.recorder
            .publish(deployment, EventType::Normal, "ScalingReplicaSet", text);
    }
}

/// Renders a status for a merge patch: what is not in it must be removed, so it is named as null.
fn complete(status: &k8s_openapi::api::apps::v1::DeploymentStatus) -> Value {
    let mut value = serde_json::to_value(status).unwrap_or_else(|_| json!({}));
    for field in [
        "replicas",
        "updatedReplicas",
        "readyReplicas",
        "availableReplicas",
        "unavailableReplicas",
        "collisionCount",
        "conditions",
    ] {
        if value.get(field).is_none() {
            value[field] = Value::Null;
        }
    }
    value
}
