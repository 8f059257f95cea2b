//! Carries out what was decided about claims that ask for volumes, and about the volumes made for them.

use std::time::Duration;

use http::Request;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use timonel_api::storage;
use timonel_client::events::EventType::{Normal, Warning};
use timonel_client::runner::{Acting as _, ReconcileError, Writes, key_of};

use super::Provisioner;
use super::plan::{Action, ClaimSeen, VolumeSeen, with_finalizer};
use crate::owner;

/// A node that does not answer is asked again later.
const PATIENCE: Duration = Duration::from_secs(30);

impl Provisioner {
    /// Carries out what was decided about a claim.
    pub(super) async fn provide(
        &self,
        seen: &ClaimSeen,
        actions: &[Action],
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        let claim = &*seen.claim;
        for action in actions {
            match action {
                Action::Make(volume) => self.make(claim, volume, writes).await?,
                Action::Tell(why) => {
                    self.recorder.publish(claim, Warning, "ProvisioningFailed", why.clone());
                    self.remember(key_of(claim), owner::uid(&claim.metadata), why);
                }
                Action::Reschedule => {
                    let mut claim = claim.clone();
                    if let Some(annotations) = &mut claim.metadata.annotations {
                        annotations.remove(storage::SELECTED_NODE);
                    }
                    let api: Api<PersistentVolumeClaim> =
                        Api::namespaced(self.context.client.clone(), owner::namespace(&claim.metadata));
                    let name = owner::name(&claim.metadata);
                    let written = api.replace(name, &PostParams::default(), &claim).await;
                    let written = written.acting(|| format!("cannot take the node from claim {}", key_of(&claim)))?;
                    writes.wrote(&self.context.caches.claims, &written);
                }
                _ => {}
            }
        }
        Ok(())
    }

    async fn make(
        &self,
        claim: &PersistentVolumeClaim,
        volume: &PersistentVolume,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        let (key, name) = (key_of(claim), owner::name(&volume.metadata));
        let text = format!("External provisioner is provisioning volume for claim \"{key}\"");
        self.recorder.publish(claim, Normal, "Provisioning", text);
        let api: Api<PersistentVolume> = Api::all(self.context.client.clone());
        match api.create(&PostParams::default(), volume).await {
            // An earlier attempt whose answer was lost: its name is that of this claim and no other.
            Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {}
            Err(error) => {
                let text = format!(
                    "error creating PersistentVolume {name}: {}",
                    timonel_client::chain(&error)
                );
                self.recorder.publish(claim, Warning, "ProvisioningFailed", text);
                return Err(error).acting(|| format!("cannot create volume {name} for claim {key}"));
            }
            Ok(made) => {
                writes.wrote(&self.context.caches.volumes, &made);
                let text = format!("Successfully provisioned volume {name}");
                self.recorder.publish(claim, Normal, "ProvisioningSucceeded", text);
            }
        }
        Ok(())
    }

    /// Carries out what was decided about a volume.
    pub(super) async fn end(
        &self,
        seen: &VolumeSeen,
        actions: &[Action],
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        let volume = &*seen.volume;
        for action in actions {
            match action {
                Action::Tell(why) => {
                    self.recorder
                        .publish(volume, Warning, "VolumeFailedDelete", why.clone());
                    self.remember(key_of(volume), owner::uid(&volume.metadata), why);
                }
                Action::RemoveFolder { node, folder } => {
                    if let Err(why) = self.remove_folder(node, folder).await {
                        let why = format!("cannot remove {folder} on node {node}: {why}");
                        self.recorder
                            .publish(volume, Warning, "VolumeFailedDelete", why.clone());
                        return Err(ReconcileError::Again(why));
                    }
                }
                Action::WriteVolume(volume) => self.write(volume, writes).await?,
                Action::Delete => self.delete(volume, writes).await?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Asks the node's kubelet, through the API server. One that has no such folder is content.
    async fn remove_folder(&self, node: &str, folder: &str) -> Result<(), String> {
        let path = format!("/api/v1/nodes/{node}/proxy/timonel/local-path/{folder}");
        let request = Request::delete(path)
            .body(Vec::new())
            .map_err(|error| error.to_string())?;
        match tokio::time::timeout(PATIENCE, self.context.client.request_text(request)).await {
            Ok(answer) => answer.map(|_| ()).map_err(|error| timonel_client::chain(&error)),
            Err(_) => Err("no answer in time".to_owned()),
        }
    }

    async fn write(&self, volume: &PersistentVolume, writes: &mut Writes) -> Result<(), ReconcileError> {
        let api: Api<PersistentVolume> = Api::all(self.context.client.clone());
        let name = owner::name(&volume.metadata);
        let written = api.replace(name, &PostParams::default(), volume).await;
        let written = written.acting(|| format!("cannot write the finalizers of volume {name}"))?;
        writes.wrote(&self.context.caches.volumes, &written);
        Ok(())
    }

    async fn delete(&self, volume: &PersistentVolume, writes: &mut Writes) -> Result<(), ReconcileError> {
        let api: Api<PersistentVolume> = Api::all(self.context.client.clone());
        let name = owner::name(&volume.metadata);
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: volume.metadata.uid.clone(),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let gone = |error: &kube::Error| matches!(error, kube::Error::Api(status) if status.code == 404);
        match api.delete(name, &params).await {
            Err(error) if gone(&error) => {}
            deleted => {
                deleted.acting(|| format!("cannot delete volume {name}"))?;
                // Deleted first and let go then: a crash in between leaves a volume that is being deleted, and is let go later.
                let latest = api
                    .get_opt(name)
                    .await
                    .acting(|| format!("cannot read volume {name}"))?;
                if let Some(latest) = latest.filter(|latest| latest.metadata.uid == volume.metadata.uid) {
                    let free = with_finalizer(&latest, false);
                    match api.replace(name, &PostParams::default(), &free).await {
                        Err(error) if gone(&error) => {}
                        written => {
                            written.acting(|| format!("cannot let volume {name} go"))?;
                        }
                    }
                }
            }
        }
        writes.deleted(
            &self.context.caches.volumes,
            key_of(volume),
            owner::uid(&volume.metadata),
        );
        Ok(())
    }
}
