//! Decides what is to be attached to a node, and what is to be detached from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{AttachedVolume, Node, PersistentVolume, Pod};
use k8s_openapi::api::storage::v1::{VolumeAttachment, VolumeAttachmentSource, VolumeAttachmentSpec};
use kube::core::ObjectMeta;
use sha2::{Digest as _, Sha256};
use timonel_client::runner::Plan;

use crate::owner;

/// How long a volume may stay mounted on a node that does not answer before it is taken away by force. Upstream's.
const FORCE_AFTER: Duration = Duration::from_secs(360);
const OUT_OF_SERVICE: &str = "node.kubernetes.io/out-of-service";

/// A node, what its pods need, and what is attached to it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Observed {
    pub(crate) name: String,
    pub(crate) node: Option<Arc<Node>>,
    pub(crate) wanted: Vec<Wanted>,
    pub(crate) attachments: Vec<Attached>,
    /// Since when what is attached is needed by nobody, by the attachment's name.
    pub(crate) idle_since: BTreeMap<String, Timestamp>,
    /// What was said already.
    pub(crate) told: BTreeSet<Say>,
}

/// A CSI volume that pods on the node need.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) volume: Arc<PersistentVolume>,
    pub(crate) pods: Vec<Arc<Pod>>,
    /// Other nodes that have it, where it can be on one only.
    pub(crate) elsewhere: bool,
}

/// An attachment to the node, and how nodes name its volume.
#[derive(Clone, Debug)]
pub(crate) struct Attached {
    pub(crate) attachment: Arc<VolumeAttachment>,
    pub(crate) unique_name: Option<String>,
}

/// What pods are told, each once: the pod's uid and the volume.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Say {
    Attached { pod: String, volume: String },
    Failed { pod: String, volume: String, why: String },
    MultiAttach { pod: String, volume: String },
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    Attach(Box<VolumeAttachment>),
    Detach(Arc<VolumeAttachment>),
    Report(Vec<AttachedVolume>),
    Tell { pod: Arc<Pod>, what: Say },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    APodNeedsIt,
    NoPodNeedsIt,
    TheNodeIsOutOfService,
    TheNodeHasNotAnswered,
    ItIsSo,
}

/// How nodes name a volume in their status.
pub(crate) fn unique_name(volume: &PersistentVolume) -> Option<String> {
    let csi = volume.spec.as_ref()?.csi.as_ref()?;
    Some(format!("kubernetes.io/csi/{}^{}", csi.driver, csi.volume_handle))
}

/// The name of the attachment of a volume to a node, as upstream derives it.
pub(crate) fn attachment_name(volume: &PersistentVolume, node: &str) -> Option<String> {
    let csi = volume.spec.as_ref()?.csi.as_ref()?;
    let digest = Sha256::digest(format!("{}{}{node}", csi.volume_handle, csi.driver));
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(format!("csi-{hex}"))
}

/// Attachments of people and of other programs are left alone.
fn is_ours(attachment: &VolumeAttachment) -> bool {
    let name = owner::name(&attachment.metadata);
    let digits = name.strip_prefix("csi-").unwrap_or_default();
    digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Decides.
pub(crate) fn plan(observed: &Observed, now: Timestamp) -> Plan<Action, Because> {
    let mut plan = Plan::nothing();
    let mut needed = BTreeSet::new();
    for wanted in &observed.wanted {
        let Some(name) = attachment_name(&wanted.volume, &observed.name) else {
            continue;
        };
        want(&mut plan, observed, wanted, &name);
        needed.insert(name);
    }
    let idle: Vec<&Attached> = observed
        .attachments
        .iter()
        .filter(|one| {
            let name = owner::name(&one.attachment.metadata);
            is_ours(&one.attachment) && !needed.contains(name) && one.attachment.metadata.deletion_timestamp.is_none()
        })
        .collect();
    let mut leaving = Vec::new();
    for one in idle {
        match may_detach(observed, one, now) {
            Ok(because) => leaving.push((one, because)),
            Err(wait) => plan.look_again(wait),
        }
    }
    // What is about to go is not reported any more before it goes.
    report(&mut plan, observed, &leaving);
    for (one, because) in leaving {
        plan.act(Action::Detach(Arc::clone(&one.attachment)), because);
    }
    plan
}

fn want(plan: &mut Plan<Action, Because>, observed: &Observed, wanted: &Wanted, name: &str) {
    let volume = owner::name(&wanted.volume.metadata).to_owned();
    let present = observed
        .attachments
        .iter()
        .find(|one| owner::name(&one.attachment.metadata) == name);
    let tell = |plan: &mut Plan<Action, Because>, say: &dyn Fn(String) -> Say| {
        for pod in &wanted.pods {
            let what = say(owner::uid(&pod.metadata).to_owned());
            if !observed.told.contains(&what) {
                let pod = Arc::clone(pod);
                plan.act(Action::Tell { pod, what }, Because::ItIsSo);
            }
        }
    };
    let Some(present) = present else {
        if wanted.elsewhere {
            tell(plan, &|pod| Say::MultiAttach {
                pod,
                volume: volume.clone(),
            });
        } else if observed.node.is_some() {
            let attachment = attachment(&wanted.volume, &observed.name, name);
            plan.act(Action::Attach(Box::new(attachment)), Because::APodNeedsIt);
        }
        return;
    };
    let Some(status) = &present.attachment.status else {
        return;
    };
    if status.attached {
        tell(plan, &|pod| Say::Attached {
            pod,
            volume: volume.clone(),
        });
    } else if let Some(error) = &status.attach_error {
        let why = error.message.clone().unwrap_or_default();
        tell(plan, &|pod| Say::Failed {
            pod,
            volume: volume.clone(),
            why: why.clone(),
        });
    }
}

fn attachment(volume: &PersistentVolume, node: &str, name: &str) -> VolumeAttachment {
    let csi = volume.spec.as_ref().and_then(|spec| spec.csi.as_ref());
    VolumeAttachment {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            ..ObjectMeta::default()
        },
        spec: VolumeAttachmentSpec {
            attacher: csi.map(|csi| csi.driver.clone()).unwrap_or_default(),
            node_name: node.to_owned(),
            source: VolumeAttachmentSource {
                persistent_volume_name: volume.metadata.name.clone(),
                ..VolumeAttachmentSource::default()
            },
        },
        status: None,
    }
}

/// Whether what nobody needs may be detached now; else how long to wait before asking again.
fn may_detach(observed: &Observed, one: &Attached, now: Timestamp) -> Result<Because, Duration> {
    let Some(node) = &observed.node else {
        return Ok(Because::NoPodNeedsIt);
    };
    let status = node.status.as_ref();
    let used = status.and_then(|status| status.volumes_in_use.as_ref());
    let mounted = one
        .unique_name
        .as_ref()
        .is_some_and(|name| used.is_some_and(|used| used.contains(name)));
    if !mounted {
        return Ok(Because::NoPodNeedsIt);
    }
    let mut taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    if taints.any(|taint| taint.key == OUT_OF_SERVICE) {
        return Ok(Because::TheNodeIsOutOfService);
    }
    let conditions = status.and_then(|status| status.conditions.as_ref());
    let ready = conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"));
    let since = observed.idle_since.get(owner::name(&one.attachment.metadata));
    let waited = since.map(|since| Duration::try_from(now.duration_since(*since)).unwrap_or_default());
    let waited = waited.unwrap_or_default();
    if !ready && waited >= FORCE_AFTER {
        return Ok(Because::TheNodeHasNotAnswered);
    }
    Err(FORCE_AFTER.saturating_sub(waited).max(Duration::from_secs(1)))
}

fn report(plan: &mut Plan<Action, Because>, observed: &Observed, leaving: &[(&Attached, Because)]) {
    let Some(node) = &observed.node else { return };
    let goes = |one: &Attached| {
        leaving
            .iter()
            .any(|(other, _)| other.attachment.metadata.name == one.attachment.metadata.name)
    };
    let attached = observed.attachments.iter().filter(|one| {
        let done = one.attachment.status.as_ref().is_some_and(|status| status.attached);
        done && is_ours(&one.attachment) && !goes(one)
    });
    let names: BTreeSet<&String> = attached.filter_map(|one| one.unique_name.as_ref()).collect();
    let wanted: Vec<AttachedVolume> = names
        .into_iter()
        .map(|name| AttachedVolume {
            name: name.clone(),
            device_path: String::new(),
        })
        .collect();
    let present = node.status.as_ref().and_then(|status| status.volumes_attached.clone());
    if present.unwrap_or_default() != wanted {
        plan.act(Action::Report(wanted), Because::ItIsSo);
    }
}
