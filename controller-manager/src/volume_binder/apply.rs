//! Carries out what was decided about claims and volumes.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::api::{Api, DeleteParams, PostParams, Preconditions};
use timonel_client::events::EventType::{Normal, Warning};
use timonel_client::runner::{Acting as _, ReconcileError, Writes, key_of};

use super::Binder;
use super::plan::{Action, Say};
use crate::owner;

impl Binder {
    /// Every write is over exactly what was looked at: two claims never get one volume.
    pub(super) async fn carry_out(
        &self,
        claim: Option<&PersistentVolumeClaim>,
        actions: &[Action],
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        let params = PostParams::default();
        let (caches, client) = (&self.context.caches, &self.context.client);
        let volumes: Api<PersistentVolume> = Api::all(client.clone());
        for action in actions {
            match action {
                Action::WriteVolume(volume) => {
                    let name = owner::name(&volume.metadata);
                    let written = volumes.replace(name, &params, volume).await;
                    writes.wrote(
                        &caches.volumes,
                        &written.acting(|| format!("cannot write volume {name}"))?,
                    );
                }
                Action::SetVolumePhase { volume, phase } => {
                    let name = owner::name(&volume.metadata);
                    let mut whole = PersistentVolume::clone(volume);
                    whole.status.get_or_insert_default().phase = Some((*phase).to_owned());
                    let written = volumes.replace_status(name, &params, &whole).await;
                    let written = written.acting(|| format!("cannot write the status of volume {name}"))?;
                    writes.wrote(&caches.volumes, &written);
                }
                Action::DeleteVolume(volume) => {
                    let name = owner::name(&volume.metadata);
                    let params = DeleteParams {
                        preconditions: Some(Preconditions {
                            uid: volume.metadata.uid.clone(),
                            resource_version: volume.metadata.resource_version.clone(),
                        }),
                        ..DeleteParams::default()
                    };
                    match volumes.delete(name, &params).await {
                        Err(kube::Error::Api(status)) if status.code == 404 => {}
                        deleted => {
                            deleted.acting(|| format!("cannot delete volume {name}"))?;
                        }
                    }
                    writes.deleted(&caches.volumes, key_of(&**volume), owner::uid(&volume.metadata));
                }
                Action::FailVolume {
                    volume,
                    reason,
                    message,
                } => {
                    let name = owner::name(&volume.metadata);
                    let mut whole = PersistentVolume::clone(volume);
                    let status = whole.status.get_or_insert_default();
                    status.phase = Some("Failed".to_owned());
                    status.message = Some(message.clone());
                    let written = volumes.replace_status(name, &params, &whole).await;
                    let written = written.acting(|| format!("cannot write the status of volume {name}"))?;
                    writes.wrote(&caches.volumes, &written);
                    self.recorder.publish(&**volume, Warning, reason, message.clone());
                }
                Action::WriteClaim(claim) => {
                    let api: Api<PersistentVolumeClaim> =
                        Api::namespaced(client.clone(), owner::namespace(&claim.metadata));
                    let written = api.replace(owner::name(&claim.metadata), &params, claim).await;
                    let written = written.acting(|| format!("cannot write claim {}", key_of(&**claim)))?;
                    writes.wrote(&caches.claims, &written);
                }
                Action::SetClaimStatus(status) => {
                    let Some(claim) = claim else { continue };
                    let api: Api<PersistentVolumeClaim> =
                        Api::namespaced(client.clone(), owner::namespace(&claim.metadata));
                    let mut whole = claim.clone();
                    whole.status = Some((**status).clone());
                    let written = api.replace_status(owner::name(&claim.metadata), &params, &whole).await;
                    let written = written.acting(|| format!("cannot write the status of claim {}", key_of(claim)))?;
                    writes.wrote(&caches.claims, &written);
                }
                Action::Tell(what) => {
                    if let Some(claim) = claim {
                        self.say(claim, what);
                    }
                }
            }
        }
        Ok(())
    }

    fn say(&self, claim: &PersistentVolumeClaim, what: &Say) {
        let (kind, reason, message) = match what {
            Say::WaitsForConsumer => {
                let text = "waiting for first consumer to be created before binding";
                (Normal, "WaitForFirstConsumer", text.to_owned())
            }
            Say::WaitsForPods { names } => {
                let pods = if names.len() > 1 { "pods" } else { "pod" };
                let text = format!("waiting for {pods} {} to be scheduled", names.join(","));
                (Normal, "WaitForPodScheduled", text)
            }
            Say::WaitsForProvisioner { name } => {
                let text = format!(
                    "Waiting for a volume to be created either by the external provisioner '{name}' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered."
                );
                (Normal, "ExternalProvisioning", text)
            }
            Say::NothingFits => {
                let text = "no persistent volumes available for this claim and no storage class is set";
                (Normal, "FailedBinding", text.to_owned())
            }
            Say::Mismatch { volume, why } => (
                Warning,
                "VolumeMismatch",
                format!("Cannot bind to requested volume \"{volume}\": {why}"),
            ),
            Say::Lost { reason, message } => (Warning, *reason, (*message).to_owned()),
        };
        self.recorder.publish(claim, kind, reason, message);
        self.remember(claim, what);
    }
}
