//! Decides about a claim that asks one of our provisioners for a volume, and about a volume that one of them made.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use timonel_api::storage::{self, LOCAL_PATH, LOCAL_PATH_ROOT, NFS};
use timonel_client::runner::Plan;

use super::make::{self, FINALIZER, NODE};
use crate::owner;

/// A claim, and what its volume would be made from.
#[derive(Clone, Debug)]
pub(crate) struct ClaimSeen {
    pub(crate) claim: Arc<PersistentVolumeClaim>,
    pub(crate) class: Option<Arc<StorageClass>>,
    /// The node that the scheduler chose, if it is there.
    pub(crate) node: Option<Arc<Node>>,
    /// Whether the volume was made already.
    pub(crate) made: bool,
    /// What was said last about why it cannot be made.
    pub(crate) told: Option<String>,
}

/// A volume, and whether the node that has its folder is there.
#[derive(Clone, Debug)]
pub(crate) struct VolumeSeen {
    pub(crate) volume: Arc<PersistentVolume>,
    pub(crate) node_is_there: bool,
    pub(crate) told: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    /// Make this volume.
    Make(Box<PersistentVolume>),
    /// Tell why a claim's volume, or the end of a volume, cannot be had.
    Tell(String),
    /// Take the node back from a claim, so that the scheduler chooses another.
    Reschedule,
    /// Write the volume's finalizers.
    WriteVolume(Box<PersistentVolume>),
    /// Remove a folder on a node.
    RemoveFolder { node: String, folder: String },
    /// Delete the volume, whose finalizer of ours goes too.
    Delete,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    AsksUs,
    Impossible,
    ItsNodeIsGone,
    ItsClaimIsGone,
    PolicyIs(String),
}

fn is_ours(provisioner: &str) -> bool {
    provisioner == LOCAL_PATH || provisioner == NFS
}

/// The node that the scheduler chose for a claim.
pub(super) fn selected(claim: &PersistentVolumeClaim) -> Option<&str> {
    let annotations = claim.metadata.annotations.as_ref()?;
    annotations.get(storage::SELECTED_NODE).map(String::as_str)
}

/// Decides about a claim.
pub(crate) fn plan_claim(seen: &ClaimSeen) -> Plan<Action, Because> {
    let mut plan = Plan::nothing();
    let claim = &*seen.claim;
    // The binder asks in the claim's annotation; it has looked for a volume that is there already.
    let asked = claim
        .metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(storage::PROVISIONERS[1]));
    let Some(class) = seen.class.as_ref().filter(|class| asked == Some(&class.provisioner)) else {
        return plan;
    };
    let open = storage::volume_of(claim).is_none() && claim.metadata.deletion_timestamp.is_none();
    if !open || seen.made || !is_ours(&class.provisioner) {
        return plan;
    }
    let late = class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer");
    let node = match (late, selected(claim)) {
        (true, None) => return plan,
        (true, Some(name)) if seen.node.is_none() => {
            let why = format!("failed to get target node: node \"{name}\" not found");
            plan.act(Action::Tell(failure(class, &why)), Because::ItsNodeIsGone);
            plan.act(Action::Reschedule, Because::ItsNodeIsGone);
            return plan;
        }
        _ => seen.node.as_deref(),
    };
    match make::volume(claim, class, node) {
        Ok(volume) => plan.act(Action::Make(Box::new(volume)), Because::AsksUs),
        Err(why) => {
            let why = failure(class, &why);
            if seen.told.as_ref() != Some(&why) {
                plan.act(Action::Tell(why), Because::Impossible);
            }
        }
    }
    plan
}

fn failure(class: &StorageClass, why: &str) -> String {
    let class = owner::name(&class.metadata);
    format!("failed to provision volume with StorageClass \"{class}\": {why}")
}

/// Decides about a volume that one of our provisioners made.
pub(crate) fn plan_volume(seen: &VolumeSeen) -> Plan<Action, Because> {
    let mut plan = Plan::nothing();
    let volume = &*seen.volume;
    let annotations = volume.metadata.annotations.as_ref();
    let by = annotations
        .and_then(|all| all.get(storage::PROVISIONED_BY))
        .map(String::as_str);
    let deletes = make::spec_deletes(volume);
    let policy = || Because::PolicyIs(if deletes { "Delete" } else { "another" }.to_owned());
    let released = volume.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Released");
    match by {
        Some(LOCAL_PATH) => {
            let kept = volume
                .metadata
                .finalizers
                .iter()
                .flatten()
                .any(|name| name == FINALIZER);
            let leaving = volume.metadata.deletion_timestamp.is_some();
            if deletes && released {
                end(&mut plan, seen, kept);
            } else if kept != deletes && !(leaving && deletes) {
                // The finalizer goes with the policy, which people may change.
                plan.act(Action::WriteVolume(Box::new(with_finalizer(volume, deletes))), policy());
            }
        }
        Some(NFS) if deletes && released && volume.metadata.deletion_timestamp.is_none() => {
            let path = volume
                .spec
                .as_ref()
                .and_then(|spec| spec.nfs.as_ref())
                .map(|nfs| nfs.path.as_str());
            let why = format!(
                "the control plane does not mount NFS: remove {} on the server, then delete the PersistentVolume",
                path.unwrap_or_default()
            );
            if seen.told.as_ref() != Some(&why) {
                plan.act(Action::Tell(why), Because::ItsClaimIsGone);
            }
        }
        _ => {}
    }
    plan
}

/// The folder goes first, then the finalizer and the volume. With its node, the folder is gone already.
fn end(plan: &mut Plan<Action, Because>, seen: &VolumeSeen, kept: bool) {
    let volume = &*seen.volume;
    if volume.metadata.deletion_timestamp.is_some() && !kept {
        return;
    }
    if seen.node_is_there {
        let Some((node, folder)) = folder_of(volume) else {
            let why = "its path is not that of a folder of this volume; nothing is removed".to_owned();
            if seen.told.as_ref() != Some(&why) {
                plan.act(Action::Tell(why), Because::Impossible);
            }
            return;
        };
        plan.act(Action::RemoveFolder { node, folder }, Because::ItsClaimIsGone);
    }
    plan.act(Action::Delete, Because::ItsClaimIsGone);
}

/// The node and the name of a volume's folder, if it is this volume's own: whoever may write volumes may not have other folders removed.
fn folder_of(volume: &PersistentVolume) -> Option<(String, String)> {
    let node = volume.metadata.annotations.as_ref()?.get(NODE)?.clone();
    let path = &volume.spec.as_ref()?.host_path.as_ref()?.path;
    let folder = path.strip_prefix(LOCAL_PATH_ROOT)?.strip_prefix('/')?;
    let own = format!("{}_", owner::name(&volume.metadata));
    (folder.starts_with(&own) && storage::is_folder_of_local_path(folder)).then(|| (node, folder.to_owned()))
}

pub(super) fn with_finalizer(volume: &PersistentVolume, wanted: bool) -> PersistentVolume {
    let mut volume = volume.clone();
    let finalizers = volume.metadata.finalizers.get_or_insert_default();
    finalizers.retain(|name| name != FINALIZER);
    if wanted {
        finalizers.push(FINALIZER.to_owned());
    }
    volume
}
