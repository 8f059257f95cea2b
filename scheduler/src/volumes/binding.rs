//! The writes that bind a pod's volumes, and the wait until the binder and the provisioner have done their part (upstream's PreBind).

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::Api;
use kube::api::PostParams;
use timonel_api::{ObjectKey, storage};
use timonel_client::informer::Reader;

use super::{Readers, revision};

/// How often a pod's claims are looked at while they are waited for, should no change have been heard of. As upstream.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Why volumes were not bound; the pod is tried again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VolumeError {
    /// A volume could not be given to its claim.
    #[error("cannot bind volume {volume} to claim {claim}")]
    Bind {
        /// Which volume.
        volume: String,
        /// Which claim.
        claim: ObjectKey,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// The node could not be written to a claim.
    #[error("cannot select a node for claim {claim}")]
    Select {
        /// Which claim.
        claim: ObjectKey,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// Something happened that makes waiting pointless, in upstream's words.
    #[error("binding volumes: {0}")]
    GivenUp(String),
}

/// The work of binding a pod's volumes.
pub(crate) struct Binding {
    pub(super) client: kube::Client,
    pub(super) readers: Readers,
    pub(super) patience: Duration,
    pub(super) pod: ObjectKey,
    pub(super) uid: String,
    pub(super) node: String,
    /// Claims, each with the volume as it is to be.
    pub(super) bindings: Vec<(Arc<PersistentVolumeClaim>, Arc<PersistentVolume>)>,
    /// Claims as they are to be: with the node for which a volume is made.
    pub(super) provisions: Vec<Arc<PersistentVolumeClaim>>,
}

impl Binding {
    /// Writes what was chosen, and waits until the binder and the provisioner have done their part.
    pub(crate) async fn carry_out(self, pods: Reader<Pod>, nodes: Reader<Node>) -> Result<(), VolumeError> {
        for (claim, volume) in &self.bindings {
            let name = volume.metadata.name.clone().unwrap_or_default();
            let api: Api<PersistentVolume> = Api::all(self.client.clone());
            let write = api.replace(&name, &PostParams::default(), volume).await;
            write.map_err(|source| VolumeError::Bind {
                volume: name,
                claim: timonel_client::runner::key_of(&**claim),
                source: Box::new(source),
            })?;
        }
        for claim in &self.provisions {
            let key = timonel_client::runner::key_of(&**claim);
            let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &key.namespace);
            let write = api.replace(&key.name, &PostParams::default(), claim).await;
            write.map_err(|source| VolumeError::Select {
                claim: key,
                source: Box::new(source),
            })?;
        }
        let mut changes = self.readers.claims.changes();
        let waiting = async {
            loop {
                if self.is_done(&pods, &nodes)? {
                    return Ok(());
                }
                tokio::select! {
                    _ = changes.next() => {}
                    () = tokio::time::sleep(LOOK_AGAIN) => {}
                }
            }
        };
        let timed_out = || VolumeError::GivenUp("context deadline exceeded".to_owned());
        tokio::time::timeout(self.patience, waiting)
            .await
            .map_err(|_| timed_out())?
    }

    fn is_done(&self, pods: &Reader<Pod>, nodes: &Reader<Node>) -> Result<bool, VolumeError> {
        let give_up = |why: String| Err(VolumeError::GivenUp(why));
        let Some(node) = nodes.get(&ObjectKey::cluster(self.node.clone())) else {
            return give_up(format!("failed to get node \"{0}\": node \"{0}\" not found", self.node));
        };
        let labels = node.metadata.labels.clone().unwrap_or_default();
        let pod = pods.get(&self.pod);
        if pod.is_none_or(|pod| pod.metadata.uid.as_deref() != Some(self.uid.as_str())) {
            let name = &self.pod.name;
            return give_up(format!("pod does not exist any more: pod \"{name}\" not found"));
        }
        let out_of_reach = |volume: &PersistentVolume| {
            let name = volume.metadata.name.as_deref().unwrap_or_default();
            (!storage::fits_node(volume, &labels)).then(|| {
                format!(
                    "pv \"{name}\" node affinity doesn't match node \"{}\": no matching NodeSelectorTerms",
                    self.node
                )
            })
        };
        let mut done = true;
        for (claim, promised) in &self.bindings {
            let name = promised.metadata.name.clone().unwrap_or_default();
            let Some(volume) = self.readers.volumes.get(&ObjectKey::cluster(name.clone())) else {
                return give_up(format!(
                    "failed to check binding: could not find v1.PersistentVolume \"{name}\""
                ));
            };
            let claim = self.claim(claim, "failed to check binding")?;
            // The cache may not show our own write yet.
            if revision(&volume.metadata) <= revision(&promised.metadata) {
                done = false;
                continue;
            }
            if let Some(why) = out_of_reach(&volume) {
                return give_up(why);
            }
            if !storage::refers_to(&volume, &claim) {
                return give_up(format!("ClaimRef got reset for pv \"{name}\""));
            }
            done &= storage::is_fully_bound(&claim);
        }
        for asked in &self.provisions {
            let claim = self.claim(asked, "failed to check provisioning pvc")?;
            let annotations = claim.metadata.annotations.as_ref();
            let selected = annotations.and_then(|all| all.get(storage::SELECTED_NODE));
            if selected != Some(&self.node) {
                if revision(&claim.metadata) > revision(&asked.metadata) {
                    let name = claim.metadata.name.as_deref().unwrap_or_default();
                    return give_up(format!("provisioning failed for PVC \"{name}\""));
                }
                done = false;
                continue;
            }
            let volume = storage::volume_of(&claim).map(|name| ObjectKey::cluster(name.to_owned()));
            let volume = volume.and_then(|key| self.readers.volumes.get(&key));
            if let Some(why) = volume.and_then(|volume| out_of_reach(&volume)) {
                return give_up(why);
            }
            done &= storage::is_fully_bound(&claim);
        }
        Ok(done)
    }

    fn claim(&self, claim: &PersistentVolumeClaim, act: &str) -> Result<Arc<PersistentVolumeClaim>, VolumeError> {
        let key = timonel_client::runner::key_of(claim);
        let found = self
            .readers
            .claims
            .get(&key)
            .filter(|found| found.metadata.uid == claim.metadata.uid);
        found.ok_or_else(|| VolumeError::GivenUp(format!("{act}: could not find v1.PersistentVolumeClaim \"{key}\"")))
    }
}
