//! VolumeAttachments: which CSI volume is to be attached to which node, for the drivers to carry out.
//!
//! Upstream: `pkg/controller/volume/attachdetach`, for CSI volumes. Timonel has no drivers of its own: where nobody answers an attachment, it
//! stays unattached, and the pod waits. Difference: attachments that were not named as upstream names them are left alone.

mod plan;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::future::BoxFuture;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, PersistentVolume, Pod};
use k8s_openapi::api::storage::v1::{CSIDriver, VolumeAttachment};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::json;
use timonel_api::{ObjectKey, storage};
use timonel_client::events::{EventType, Recorder};
use timonel_client::informer::{self, Reader, Selection};
use timonel_client::runner::{Acting as _, Controller, Plan, ReconcileError, Source, Writes, key_of};

use crate::context::Context;
use crate::owner;
use plan::{Action, Attached, Because, Observed, Say, Wanted, plan, unique_name};

/// Nodes whose kubelet leaves attaching to the control plane say so.
const MANAGED: &str = "volumes.kubernetes.io/controller-managed-attach-detach";

struct AttachDetach {
    context: Context,
    recorder: Recorder,
    attachments: Reader<VolumeAttachment>,
    drivers: Reader<CSIDriver>,
    memory: Mutex<BTreeMap<ObjectKey, Memory>>,
}

/// What the API does not know of a node.
#[derive(Clone, Debug, Default)]
struct Memory {
    idle_since: BTreeMap<String, Timestamp>,
    told: BTreeSet<Say>,
}

/// Runs the controller.
pub(crate) fn start(context: Context) -> BoxFuture<'static, ()> {
    fn follow<K>(context: &Context) -> Reader<K>
    where
        K: kube::Resource<DynamicType = ()> + Clone + serde::de::DeserializeOwned + std::fmt::Debug,
        K: Send + Sync + 'static,
    {
        let (rng, shutdown) = (Arc::clone(&context.rng), context.shutdown.clone());
        informer::start_with(Api::all(context.client.clone()), Selection::all(), rng, shutdown)
    }
    let controller = AttachDetach {
        recorder: context.recorder("attachdetach-controller"),
        attachments: follow(&context),
        drivers: follow(&context),
        context: context.clone(),
        memory: Mutex::default(),
    };
    Box::pin(context.run(controller, 2))
}

fn node_of(pod: &Pod) -> Option<ObjectKey> {
    let name = pod.spec.as_ref()?.node_name.clone()?;
    (!name.is_empty()).then(|| ObjectKey::cluster(name))
}

/// Tells whether a volume may be on one node only.
fn is_exclusive(volume: &PersistentVolume) -> bool {
    let modes = volume.spec.as_ref().and_then(|spec| spec.access_modes.as_ref());
    modes.is_some_and(|modes| {
        let alone = |mode: &String| matches!(mode.as_str(), "ReadWriteOnce" | "ReadWriteOncePod");
        !modes.is_empty() && modes.iter().all(alone)
    })
}

impl AttachDetach {
    /// The CSI volumes of a pod that are to be attached.
    fn volumes_of(&self, pod: &Pod) -> Vec<Arc<PersistentVolume>> {
        let caches = &self.context.caches;
        let namespace = owner::namespace(&pod.metadata);
        let sources = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
        sources
            .filter_map(|source| {
                let claim = caches
                    .claims
                    .get(&ObjectKey::new(namespace, storage::claim_behind(pod, source)?))?;
                let volume = caches.volumes.get(&ObjectKey::cluster(storage::volume_of(&claim)?))?;
                let driver = volume.spec.as_ref()?.csi.as_ref()?.driver.clone();
                let driver = self.drivers.get(&ObjectKey::cluster(driver));
                let attaches = driver.is_none_or(|driver| driver.spec.attach_required != Some(false));
                (attaches && storage::is_fully_bound(&claim)).then_some(volume)
            })
            .collect()
    }

    fn wanted(&self, node: &str) -> Vec<Wanted> {
        let pods = self.context.caches.pods.list();
        let mut wanted: BTreeMap<String, Wanted> = BTreeMap::new();
        let here =
            |pod: &&Arc<Pod>| node_of(pod).is_some_and(|key| key.name == node) && !timonel_api::pod::is_terminal(pod);
        for pod in pods.iter().filter(here) {
            for volume in self.volumes_of(pod) {
                let name = owner::name(&volume.metadata).to_owned();
                let elsewhere = is_exclusive(&volume) && self.is_on_another(&name, node);
                let entry = wanted.entry(name).or_insert_with(|| Wanted {
                    volume,
                    pods: Vec::new(),
                    elsewhere,
                });
                entry.pods.push(Arc::clone(pod));
            }
        }
        wanted.into_values().collect()
    }

    fn is_on_another(&self, volume: &str, node: &str) -> bool {
        self.attachments
            .list()
            .iter()
            .any(|one| one.spec.source.persistent_volume_name.as_deref() == Some(volume) && one.spec.node_name != node)
    }
}

#[async_trait]
impl Controller for AttachDetach {
    type Observed = Observed;
    type Action = Action;
    type Because = Because;

    fn name(&self) -> &'static str {
        "attachdetach"
    }

    fn sources(&self) -> Vec<Source> {
        let caches = &self.context.caches;
        let pods = caches.pods.clone();
        // An attachment that goes may let another node have the volume.
        let attachments = self.attachments.clone();
        let of_attachment = move |one: &VolumeAttachment| {
            let volume = &one.spec.source.persistent_volume_name;
            let others = attachments.list();
            let others = others
                .iter()
                .filter(|other| other.spec.source.persistent_volume_name == *volume);
            let mut nodes: Vec<ObjectKey> = others
                .map(|other| ObjectKey::cluster(other.spec.node_name.clone()))
                .collect();
            nodes.push(ObjectKey::cluster(one.spec.node_name.clone()));
            nodes.extend(
                pods.list()
                    .iter()
                    .filter(|pod| has_claims(pod))
                    .filter_map(|pod| node_of(pod)),
            );
            nodes
        };
        let of_claim = {
            let pods = caches.pods.clone();
            move |claim: &k8s_openapi::api::core::v1::PersistentVolumeClaim| {
                let pods = pods.list_in(owner::namespace(&claim.metadata));
                let uses = pods.iter().filter(|pod| {
                    let sources = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
                    let mut names = sources.filter_map(|source| storage::claim_behind(pod, source));
                    names.any(|name| name == owner::name(&claim.metadata))
                });
                uses.filter_map(|pod| node_of(pod)).collect()
            }
        };
        let of_pod = |pod: &Pod| {
            if has_claims(pod) {
                node_of(pod).into_iter().collect()
            } else {
                Vec::new()
            }
        };
        vec![
            Source::filtered(&caches.nodes, node_matters, |node: &Node| vec![key_of(node)]),
            Source::new(&caches.pods, of_pod),
            Source::new(&caches.claims, of_claim),
            Source::new(&self.attachments, of_attachment),
            Source::looked_into(&caches.volumes),
            Source::looked_into(&self.drivers),
        ]
    }

    fn keys(&self) -> Vec<ObjectKey> {
        let nodes = self.context.caches.nodes.snapshot();
        let mut keys: BTreeSet<ObjectKey> = nodes.keys().cloned().collect();
        let attachments = self.attachments.list();
        keys.extend(
            attachments
                .iter()
                .map(|one| ObjectKey::cluster(one.spec.node_name.clone())),
        );
        keys.into_iter().collect()
    }

    async fn observe(&self, key: &ObjectKey) -> Result<Option<Observed>, ReconcileError> {
        let caches = &self.context.caches;
        let node = caches.nodes.get(key);
        let managed = node.as_ref().is_none_or(|node| {
            let annotations = node.metadata.annotations.as_ref();
            annotations.is_some_and(|all| all.get(MANAGED).is_some_and(|value| value == "true"))
        });
        if !managed {
            return Ok(None);
        }
        let wanted = self.wanted(&key.name);
        let attachments: Vec<Attached> = self
            .attachments
            .list()
            .into_iter()
            .filter(|one| one.spec.node_name == key.name)
            .map(|attachment| {
                let volume = attachment.spec.source.persistent_volume_name.as_deref();
                let volume = volume.and_then(|name| caches.volumes.get(&ObjectKey::cluster(name)));
                Attached {
                    unique_name: volume.and_then(|volume| unique_name(&volume)),
                    attachment,
                }
            })
            .collect();
        let now = self.context.clock.now();
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let known = memory.entry(key.clone()).or_default();
        let needed: BTreeSet<&str> = wanted.iter().map(|one| owner::name(&one.volume.metadata)).collect();
        let idle = attachments.iter().filter(|one| {
            let volume = one.attachment.spec.source.persistent_volume_name.as_deref();
            !volume.is_some_and(|volume| needed.contains(volume))
        });
        let idle: BTreeSet<String> = idle
            .map(|one| owner::name(&one.attachment.metadata).to_owned())
            .collect();
        known.idle_since.retain(|name, _| idle.contains(name));
        for name in idle {
            known.idle_since.entry(name).or_insert(now);
        }
        let pods: BTreeSet<&str> = wanted
            .iter()
            .flat_map(|one| one.pods.iter().map(|pod| owner::uid(&pod.metadata)))
            .collect();
        known.told.retain(|say| pods.contains(say.pod()));
        let known = known.clone();
        if node.is_none() && attachments.is_empty() {
            memory.remove(key);
        }
        Ok(Some(Observed {
            name: key.name.clone(),
            node,
            wanted,
            attachments,
            idle_since: known.idle_since,
            told: known.told,
        }))
    }

    fn plan(&self, observed: &Observed, now: Timestamp) -> Plan<Action, Because> {
        plan(observed, now)
    }

    async fn apply(
        &self,
        key: &ObjectKey,
        _: &Observed,
        plan: &Plan<Action, Because>,
        writes: &mut Writes,
    ) -> Result<(), ReconcileError> {
        let client = &self.context.client;
        let api: Api<VolumeAttachment> = Api::all(client.clone());
        for action in &plan.actions {
            match action {
                Action::Attach(attachment) => match api.create(&PostParams::default(), attachment).await {
                    Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {}
                    made => {
                        let made = made.acting(|| format!("cannot attach a volume to node {key}"))?;
                        writes.wrote(&self.attachments, &made);
                    }
                },
                Action::Detach(attachment) => {
                    let name = owner::name(&attachment.metadata);
                    let params = DeleteParams {
                        preconditions: Some(Preconditions {
                            uid: attachment.metadata.uid.clone(),
                            resource_version: None,
                        }),
                        ..DeleteParams::default()
                    };
                    match api.delete(name, &params).await {
                        Err(kube::Error::Api(status)) if status.code == 404 => {}
                        deleted => {
                            deleted.acting(|| format!("cannot detach {name} from node {key}"))?;
                        }
                    }
                    writes.deleted(
                        &self.attachments,
                        key_of(&**attachment),
                        owner::uid(&attachment.metadata),
                    );
                }
                Action::Report(attached) => {
                    let nodes: Api<Node> = Api::all(client.clone());
                    // A list without merge keys: it is replaced as a whole.
                    let patch = Patch::Merge(json!({"status": {"volumesAttached": attached}}));
                    let written = nodes.patch_status(&key.name, &PatchParams::default(), &patch).await;
                    let written = written.acting(|| format!("cannot report what is attached to node {key}"))?;
                    writes.wrote(&self.context.caches.nodes, &written);
                }
                Action::Tell { pod, what } => self.say(key, pod, what),
            }
        }
        Ok(())
    }
}

fn has_claims(pod: &Pod) -> bool {
    let mut sources = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    sources.any(|source| source.persistent_volume_claim.is_some() || source.ephemeral.is_some())
}

/// Heartbeats do not matter; what is mounted, attached, tainted and ready does.
fn node_matters(old: Option<&Node>, new: Option<&Node>) -> bool {
    let part = |node: Option<&Node>| {
        let node = node?;
        let status = node.status.as_ref();
        let ready = status.and_then(|status| status.conditions.as_ref()).and_then(|all| {
            let mut ready = all.iter().filter(|one| one.type_ == "Ready");
            ready.next().map(|one| one.status.clone())
        });
        let mounted = status.map(|status| (status.volumes_in_use.clone(), status.volumes_attached.clone()));
        let taints = node.spec.as_ref().map(|spec| spec.taints.clone());
        Some((mounted, taints, ready, node.metadata.annotations.clone()))
    };
    part(old) != part(new)
}

impl Say {
    fn pod(&self) -> &str {
        match self {
            Self::Attached { pod, .. } | Self::Failed { pod, .. } | Self::MultiAttach { pod, .. } => pod,
        }
    }
}

impl AttachDetach {
    fn say(&self, key: &ObjectKey, pod: &Pod, what: &Say) {
        let (kind, reason, message) = match what {
            Say::Attached { volume, .. } => (
                EventType::Normal,
                "SuccessfulAttachVolume",
                format!("AttachVolume.Attach succeeded for volume \"{volume}\" "),
            ),
            Say::Failed { volume, why, .. } => (
                EventType::Warning,
                "FailedAttachVolume",
                format!("AttachVolume.Attach failed for volume \"{volume}\" : {why}"),
            ),
            Say::MultiAttach { volume, .. } => (
                EventType::Warning,
                "FailedAttachVolume",
                format!(
                    "Multi-Attach error for volume \"{volume}\" Volume is already exclusively attached to one node and can't be attached to another"
                ),
            ),
        };
        self.recorder.publish(pod, kind, reason, message);
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.entry(key.clone()).or_default().told.insert(what.clone());
    }
}
