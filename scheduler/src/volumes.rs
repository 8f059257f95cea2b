//! What the scheduler knows of claims and volumes, and the writes that bind them for a pod before the pod itself is bound.
//!
//! ```text
//! informers --> Storage (+ what was assumed) --> VolumeBinding::filter --> choice
//!                  ^                                                         |
//!                  +--- assume: volume names claim, claim names node <-------+--> write, wait until bound --> bind the pod
//! ```
//!
//! Between a decision and the watch that shows its writes, what was decided is laid over the caches, so that two pods are not given one
//! volume. Should that ever miss something, the write itself is over exactly the object that was looked at.

mod binding;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use imbl::OrdMap;
use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::{CSINode, StorageClass, VolumeAttachment};
use kube::Api;
use timonel_api::{ObjectKey, storage};
use timonel_client::informer::{self, Changes, Reader, Selection};
use tokio_util::sync::CancellationToken;

pub(crate) use binding::{Binding, VolumeError};

use crate::plugins::{Choice, ClusterEvent};
use crate::pod_info::PodInfo;

/// Claims, volumes, and what else decides about them. Cloning costs a few pointers.
#[derive(Clone, Debug, Default)]
pub struct Storage {
    /// Claims.
    pub claims: OrdMap<ObjectKey, Arc<PersistentVolumeClaim>>,
    /// Volumes.
    pub volumes: OrdMap<ObjectKey, Arc<PersistentVolume>>,
    /// Classes.
    pub classes: OrdMap<ObjectKey, Arc<StorageClass>>,
    /// What CSI drivers say of nodes.
    pub csi_nodes: OrdMap<ObjectKey, Arc<CSINode>>,
    /// What is attached where.
    pub attachments: OrdMap<ObjectKey, Arc<VolumeAttachment>>,
}

impl Storage {
    /// Returns a claim.
    pub fn claim(&self, namespace: &str, name: &str) -> Option<&Arc<PersistentVolumeClaim>> {
        self.claims.get(&ObjectKey::new(namespace, name))
    }

    /// Returns a volume.
    pub fn volume(&self, name: &str) -> Option<&Arc<PersistentVolume>> {
        self.volumes.get(&ObjectKey::cluster(name))
    }

    /// Returns a class.
    pub fn class(&self, name: &str) -> Option<&Arc<StorageClass>> {
        self.classes.get(&ObjectKey::cluster(name))
    }

    /// Returns what CSI drivers say of a node.
    pub fn csi_node(&self, name: &str) -> Option<&Arc<CSINode>> {
        self.csi_nodes.get(&ObjectKey::cluster(name))
    }
}

/// Returns the claims of a pod, or what is wrong with one of them, in upstream's words.
pub(crate) fn claims_of(pod: &PodInfo, storage: &Storage) -> Result<Vec<Arc<PersistentVolumeClaim>>, String> {
    let volumes = pod.spec().into_iter().flat_map(|spec| spec.volumes.iter().flatten());
    let mut claims = Vec::new();
    for volume in volumes {
        let Some(name) = storage::claim_behind(&pod.pod, volume) else {
            continue;
        };
        let ephemeral = volume.ephemeral.is_some();
        let Some(claim) = storage.claim(&pod.key.namespace, &name) else {
            return Err(if ephemeral {
                format!("waiting for ephemeral volume controller to create the persistentvolumeclaim \"{name}\"")
            } else {
                format!("persistentvolumeclaim \"{name}\" not found")
            });
        };
        let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
        if phase == Some("Lost") {
            let volume = storage::volume_of(claim).unwrap_or_default();
            return Err(format!(
                "persistentvolumeclaim \"{name}\" bound to non-existent persistentvolume \"{volume}\""
            ));
        }
        if claim.metadata.deletion_timestamp.is_some() {
            return Err(format!("persistentvolumeclaim \"{name}\" is being deleted"));
        }
        if ephemeral && !storage::is_made_for(claim, &pod.pod) {
            let (namespace, pod) = (&pod.key.namespace, &pod.key.name);
            return Err(format!(
                "PVC {namespace}/{name} was not created for pod {namespace}/{pod} (pod is not owner)"
            ));
        }
        claims.push(Arc::clone(claim));
    }
    Ok(claims)
}

/// What was decided for a pod and is not seen in the caches yet.
#[derive(Debug, Default)]
struct Assumed {
    volumes: Vec<Arc<PersistentVolume>>,
    claims: Vec<Arc<PersistentVolumeClaim>>,
}

#[derive(Clone, Debug)]
struct Readers {
    claims: Reader<PersistentVolumeClaim>,
    volumes: Reader<PersistentVolume>,
    classes: Reader<StorageClass>,
    csi_nodes: Reader<CSINode>,
    attachments: Reader<VolumeAttachment>,
}

/// Claims and volumes as the scheduler follows them.
pub(crate) struct Volumes {
    client: kube::Client,
    readers: Readers,
    /// By the uid of the pod.
    assumed: BTreeMap<String, Assumed>,
}

/// Changes of everything that decides about volumes.
pub(crate) struct VolumeChanges {
    claims: Changes<PersistentVolumeClaim>,
    volumes: Changes<PersistentVolume>,
    classes: Changes<StorageClass>,
    csi_nodes: Changes<CSINode>,
    attachments: Changes<VolumeAttachment>,
}

impl VolumeChanges {
    /// Waits for the next.
    ///
    /// *Cancel safety*: safe.
    pub(crate) async fn next(&mut self) -> ClusterEvent {
        tokio::select! {
            biased;
            _ = self.claims.next() => ClusterEvent::ClaimChanged,
            _ = self.volumes.next() => ClusterEvent::VolumeChanged,
            _ = self.classes.next() => ClusterEvent::ClassChanged,
            _ = self.csi_nodes.next() => ClusterEvent::CsiNodeChanged,
            _ = self.attachments.next() => ClusterEvent::CsiNodeChanged,
        }
    }
}

fn revision(meta: &kube::core::ObjectMeta) -> u64 {
    let text = meta.resource_version.as_deref().unwrap_or_default();
    text.parse().unwrap_or(0)
}

/// Lays what was assumed over a cache, unless the cache has moved on.
fn lay_over<K: kube::Resource>(map: &mut OrdMap<ObjectKey, Arc<K>>, assumed: &Arc<K>) {
    let key = timonel_client::runner::key_of(&**assumed);
    let newer =
        |known: &Arc<K>| known.meta().uid != assumed.meta().uid || revision(known.meta()) > revision(assumed.meta());
    if map.get(&key).is_some_and(|known| !newer(known)) {
        map.insert(key, Arc::clone(assumed));
    }
}

impl Volumes {
    /// Starts following.
    pub(crate) fn start(client: &kube::Client, shutdown: &CancellationToken) -> Self {
        fn follow<K>(client: &kube::Client, shutdown: &CancellationToken) -> Reader<K>
        where
            K: kube::Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
            K: Send + Sync + 'static,
        {
            informer::start(Api::all(client.clone()), Selection::all(), shutdown.clone())
        }
        Self {
            readers: Readers {
                claims: follow(client, shutdown),
                volumes: follow(client, shutdown),
                classes: follow(client, shutdown),
                csi_nodes: follow(client, shutdown),
                attachments: follow(client, shutdown),
            },
            client: client.clone(),
            assumed: BTreeMap::new(),
        }
    }

    /// Waits until everything has been listed once.
    pub(crate) fn wait_synced(&self) -> impl Future<Output = ()> + 'static {
        let readers = self.readers.clone();
        async move {
            readers.claims.wait_synced().await;
            readers.volumes.wait_synced().await;
            readers.classes.wait_synced().await;
            readers.csi_nodes.wait_synced().await;
            readers.attachments.wait_synced().await;
        }
    }

    /// Follows the changes from now on.
    pub(crate) fn changes(&self) -> VolumeChanges {
        VolumeChanges {
            claims: self.readers.claims.changes(),
            volumes: self.readers.volumes.changes(),
            classes: self.readers.classes.changes(),
            csi_nodes: self.readers.csi_nodes.changes(),
            attachments: self.readers.attachments.changes(),
        }
    }

    /// Returns what a decision sees.
    pub(crate) fn snapshot(&self) -> Storage {
        let mut storage = Storage {
            claims: self.readers.claims.snapshot(),
            volumes: self.readers.volumes.snapshot(),
            classes: self.readers.classes.snapshot(),
            csi_nodes: self.readers.csi_nodes.snapshot(),
            attachments: self.readers.attachments.snapshot(),
        };
        for assumed in self.assumed.values() {
            for volume in &assumed.volumes {
                lay_over(&mut storage.volumes, volume);
            }
            for claim in &assumed.claims {
                lay_over(&mut storage.claims, claim);
            }
        }
        storage
    }

    /// Keeps for a pod what was chosen for it; returns the work of making that true, which may take as long as `patience`.
    pub(crate) fn reserve(&mut self, pod: &PodInfo, node: &str, choice: &Choice, patience: Duration) -> Binding {
        let volumes: Vec<_> = choice
            .bindings
            .iter()
            .map(|(claim, volume)| Arc::new(promise(volume, claim)))
            .collect();
        let claims: Vec<_> = choice
            .provisions
            .iter()
            .map(|claim| Arc::new(send_to(claim, node)))
            .collect();
        let work = Binding {
            client: self.client.clone(),
            readers: self.readers.clone(),
            patience,
            pod: pod.key.clone(),
            uid: pod.uid.clone(),
            node: node.to_owned(),
            bindings: choice
                .bindings
                .iter()
                .zip(&volumes)
                .map(|((claim, _), volume)| (Arc::clone(claim), Arc::clone(volume)))
                .collect(),
            provisions: claims.clone(),
        };
        self.assumed.insert(pod.uid.clone(), Assumed { volumes, claims });
        work
    }

    /// Keeps it no longer: it is written, or given up.
    pub(crate) fn release(&mut self, uid: &str) {
        self.assumed.remove(uid);
    }
}

/// The volume, promised to a claim.
fn promise(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> PersistentVolume {
    let mut volume = volume.clone();
    let reference = ObjectReference {
        uid: claim.metadata.uid.clone(),
        ..timonel_client::events::reference_to(claim)
    };
    let mut ours = false;
    if let Some(spec) = &mut volume.spec {
        ours = spec.claim_ref.replace(reference).is_none();
    }
    if ours {
        let annotations = volume.metadata.annotations.get_or_insert_default();
        annotations.insert(storage::BOUND_BY_CONTROLLER.to_owned(), "yes".to_owned());
    }
    volume
}

/// The claim, with the node that its first consumer is sent to.
fn send_to(claim: &PersistentVolumeClaim, node: &str) -> PersistentVolumeClaim {
    let mut claim = claim.clone();
    let annotations = claim.metadata.annotations.get_or_insert_default();
    annotations.insert(storage::SELECTED_NODE.to_owned(), node.to_owned());
    claim
}
