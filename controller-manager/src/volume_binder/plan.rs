//! Decides about one claim, or about one volume.
//!
//! A pair is bound in four writes, always in this order: the volume names the claim; its phase follows; the claim names the volume; its
//! status follows. Whoever finds a pair half way goes on from there.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    ObjectReference, PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimStatus,
};
use k8s_openapi::api::storage::v1::StorageClass;
use timonel_api::storage::{
    BIND_COMPLETED as BOUND, BOUND_BY_CONTROLLER as BY_CONTROLLER, LOCAL_PATH, NO_PROVISIONER, PROVISIONED_BY,
    PROVISIONERS, SELECTED_NODE, class_of_claim, is_annotated as annotated, mismatch, refers_to,
};
use timonel_client::runner::Plan;

use super::matching::best;
use crate::owner;

/// A claim, and all volumes.
#[derive(Clone, Debug)]
pub(crate) struct ClaimSeen {
    pub(crate) claim: Arc<PersistentVolumeClaim>,
    pub(crate) volumes: Vec<Arc<PersistentVolume>>,
    pub(crate) class: Option<Arc<StorageClass>>,
    /// Pods with this claim that have no node, by name.
    pub(crate) waiting: Vec<String>,
    /// What was said of this claim last.
    pub(crate) told: Option<Say>,
}

/// A volume, and the claim that it names.
#[derive(Clone, Debug)]
pub(crate) struct VolumeSeen {
    pub(crate) volume: Arc<PersistentVolume>,
    pub(crate) claim: Option<Arc<PersistentVolumeClaim>>,
}

/// What people are told about a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Say {
    WaitsForConsumer,
    /// Its first consumers are there and have no node yet.
    WaitsForPods {
        names: Vec<String>,
    },
    WaitsForProvisioner {
        name: String,
    },
    NothingFits,
    Mismatch {
        volume: String,
        why: &'static str,
    },
    Lost {
        reason: &'static str,
        message: &'static str,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    WriteVolume(Box<PersistentVolume>),
    SetVolumePhase {
        volume: Arc<PersistentVolume>,
        phase: &'static str,
    },
    DeleteVolume(Arc<PersistentVolume>),
    /// What its policy asks for cannot be done.
    FailVolume {
        volume: Arc<PersistentVolume>,
        reason: &'static str,
        message: String,
    },
    WriteClaim(Box<PersistentVolumeClaim>),
    SetClaimStatus(Box<PersistentVolumeClaimStatus>),
    Tell(Say),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    Fits { volume: String },
    IsBound { volume: String },
    NotBoundYet,
    VolumeIsLost,
    NobodyClaimsIt,
    ItsClaimIsGone,
    ReclaimPolicyIsDelete,
    NobodyReclaims,
    TheClaimChoseAnother,
    WorthKnowing,
}

/// Decides about a claim.
pub(crate) fn plan_claim(seen: &ClaimSeen) -> Plan<Action, Because> {
    let mut plan = Plan::nothing();
    let claim = &*seen.claim;
    let Some(spec) = &claim.spec else { return plan };
    let name = spec.volume_name.as_deref().unwrap_or_default();
    let named = seen.volumes.iter().find(|volume| owner::name(&volume.metadata) == name);
    if annotated(claim.metadata.annotations.as_ref(), BOUND) {
        let claimed = |volume: &PersistentVolume| volume.spec.as_ref().is_none_or(|spec| spec.claim_ref.is_some());
        match named {
            Some(volume) if refers_to(volume, claim) || !claimed(volume) => bind(&mut plan, claim, volume),
            Some(_) => lost(
                &mut plan,
                seen,
                "ClaimMisbound",
                "Two claims are bound to the same volume, this one is bound incorrectly",
            ),
            None => lost(
                &mut plan,
                seen,
                "ClaimLost",
                "Bound claim has lost its PersistentVolume. Data on the volume is lost!",
            ),
        }
        return plan;
    }
    if claim.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    if !name.is_empty() {
        let taken = |volume: &PersistentVolume| volume.spec.as_ref().is_some_and(|spec| spec.claim_ref.is_some());
        match named {
            Some(volume) if refers_to(volume, claim) => bind(&mut plan, claim, volume),
            Some(volume) if !taken(volume) => match mismatch(volume, claim) {
                None => bind(&mut plan, claim, volume),
                Some(why) => {
                    pending(&mut plan, claim);
                    tell(
                        &mut plan,
                        seen,
                        Say::Mismatch {
                            volume: name.to_owned(),
                            why,
                        },
                    );
                }
            },
            _ => pending(&mut plan, claim),
        }
        return plan;
    }
    let waits = seen
        .class
        .as_ref()
        .is_some_and(|class| class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"));
    let placed = annotated(claim.metadata.annotations.as_ref(), SELECTED_NODE);
    // With a late binding, it is the scheduler that makes volumes name claims; nothing else is chosen here.
    if let Some(volume) = best(claim, &seen.volumes, waits) {
        bind(&mut plan, claim, volume);
        return plan;
    }
    pending(&mut plan, claim);
    if waits && !placed {
        let names = seen.waiting.clone();
        let what = if names.is_empty() {
            Say::WaitsForConsumer
        } else {
            Say::WaitsForPods { names }
        };
        tell(&mut plan, seen, what);
        return plan;
    }
    match seen.class.as_ref().filter(|class| class.provisioner != NO_PROVISIONER) {
        Some(class) => {
            let asked = |key: &&&str| annotated(claim.metadata.annotations.as_ref(), key);
            if PROVISIONERS.iter().filter(asked).count() < PROVISIONERS.len() {
                let mut claim = claim.clone();
                let annotations = claim.metadata.annotations.get_or_insert_default();
                annotations.extend(PROVISIONERS.map(|key| (key.to_owned(), class.provisioner.clone())));
                plan.act(Action::WriteClaim(Box::new(claim)), Because::NotBoundYet);
            }
            tell(
                &mut plan,
                seen,
                Say::WaitsForProvisioner {
                    name: class.provisioner.clone(),
                },
            );
        }
        None if class_of_claim(claim).is_empty() => tell(&mut plan, seen, Say::NothingFits),
        None => {}
    }
    plan
}

fn tell(plan: &mut Plan<Action, Because>, seen: &ClaimSeen, what: Say) {
    if seen.told.as_ref() != Some(&what) {
        plan.act(Action::Tell(what), Because::WorthKnowing);
    }
}

fn pending(plan: &mut Plan<Action, Because>, claim: &PersistentVolumeClaim) {
    set_phase(plan, claim, "Pending", Because::NotBoundYet);
}

fn lost(plan: &mut Plan<Action, Because>, seen: &ClaimSeen, reason: &'static str, message: &'static str) {
    let phase = seen.claim.status.as_ref().and_then(|status| status.phase.as_deref());
    if phase != Some("Lost") {
        set_phase(plan, &seen.claim, "Lost", Because::VolumeIsLost);
        tell(plan, seen, Say::Lost { reason, message });
    }
}

fn set_phase(plan: &mut Plan<Action, Because>, claim: &PersistentVolumeClaim, phase: &str, because: Because) {
    let mut status = claim.status.clone().unwrap_or_default();
    if status.phase.as_deref() != Some(phase) {
        status.phase = Some(phase.to_owned());
        plan.act(Action::SetClaimStatus(Box::new(status)), because);
    }
}

/// The next write that a pair needs to be bound.
fn bind(plan: &mut Plan<Action, Because>, claim: &PersistentVolumeClaim, volume: &Arc<PersistentVolume>) {
    let name = owner::name(&volume.metadata).to_owned();
    let because = || Because::Fits { volume: name.clone() };
    let Some(offer) = &volume.spec else { return };
    let wanted = ObjectReference {
        uid: claim.metadata.uid.clone(),
        ..timonel_client::events::reference_to(claim)
    };
    let complete = offer
        .claim_ref
        .as_ref()
        .is_some_and(|reference| reference.uid == wanted.uid);
    if !complete {
        let mut volume = PersistentVolume::clone(volume);
        let ours = volume
            .spec
            .as_mut()
            .is_some_and(|spec| spec.claim_ref.replace(wanted).is_none());
        if ours {
            volume
                .metadata
                .annotations
                .get_or_insert_default()
                .insert(BY_CONTROLLER.to_owned(), "yes".to_owned());
        }
        plan.act(Action::WriteVolume(Box::new(volume)), because());
        return;
    }
    let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
    if phase != Some("Bound") {
        plan.act(
            Action::SetVolumePhase {
                volume: Arc::clone(volume),
                phase: "Bound",
            },
            because(),
        );
        return;
    }
    let chosen = claim
        .spec
        .as_ref()
        .and_then(|spec| spec.volume_name.as_deref())
        .unwrap_or_default()
        == name;
    if !chosen || !annotated(claim.metadata.annotations.as_ref(), BOUND) {
        let mut claim = claim.clone();
        let annotations = claim.metadata.annotations.get_or_insert_default();
        annotations.insert(BOUND.to_owned(), "yes".to_owned());
        if !chosen {
            annotations.insert(BY_CONTROLLER.to_owned(), "yes".to_owned());
        }
        if let Some(spec) = &mut claim.spec {
            spec.volume_name = Some(name.clone());
        }
        plan.act(Action::WriteClaim(Box::new(claim)), because());
        return;
    }
    let mut status = claim.status.clone().unwrap_or_default();
    status.phase = Some("Bound".to_owned());
    status.access_modes.clone_from(&offer.access_modes);
    if status.capacity.is_none() {
        status.capacity.clone_from(&offer.capacity);
    }
    if claim.status.as_ref() != Some(&status) {
        plan.act(
            Action::SetClaimStatus(Box::new(status)),
            Because::IsBound { volume: name },
        );
    }
}

/// Decides about a volume.
pub(crate) fn plan_volume(seen: &VolumeSeen) -> Plan<Action, Because> {
    let mut plan = Plan::nothing();
    let volume = &seen.volume;
    let phase = volume
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref())
        .unwrap_or_default();
    let set = |plan: &mut Plan<Action, Because>, wanted: &'static str, because: Because| {
        if phase != wanted {
            plan.act(
                Action::SetVolumePhase {
                    volume: Arc::clone(volume),
                    phase: wanted,
                },
                because,
            );
        }
    };
    let Some(spec) = &volume.spec else { return plan };
    let reference = spec
        .claim_ref
        .as_ref()
        .filter(|reference| reference.uid.as_deref().is_some_and(|uid| !uid.is_empty()));
    let Some(reference) = reference else {
        set(&mut plan, "Available", Because::NobodyClaimsIt);
        return plan;
    };
    let claim = seen.claim.as_ref().filter(|claim| claim.metadata.uid == reference.uid);
    let Some(claim) = claim else {
        if phase == "Failed" {
            return plan;
        }
        set(&mut plan, "Released", Because::ItsClaimIsGone);
        if plan.is_empty() && volume.metadata.deletion_timestamp.is_none() {
            reclaim(&mut plan, volume);
        }
        return plan;
    };
    let chosen = claim
        .spec
        .as_ref()
        .and_then(|spec| spec.volume_name.as_deref())
        .unwrap_or_default();
    if chosen == owner::name(&volume.metadata) {
        set(
            &mut plan,
            "Bound",
            Because::IsBound {
                volume: chosen.to_owned(),
            },
        );
    } else if !chosen.is_empty() {
        // The claim went to another volume: this one is free again.
        let mut free = PersistentVolume::clone(volume);
        let ours = annotated(free.metadata.annotations.as_ref(), BY_CONTROLLER);
        if let Some(annotations) = &mut free.metadata.annotations {
            annotations.remove(BY_CONTROLLER);
        }
        if let Some(spec) = &mut free.spec {
            match &mut spec.claim_ref {
                Some(reference) if !ours => reference.uid = None,
                reference => *reference = None,
            }
        }
        plan.act(Action::WriteVolume(Box::new(free)), Because::TheClaimChoseAnother);
    }
    plan
}

/// What becomes of a volume whose claim is gone.
fn reclaim(plan: &mut Plan<Action, Because>, volume: &Arc<PersistentVolume>) {
    let Some(spec) = &volume.spec else { return };
    let mut fail = |reason, message: String| {
        let volume = Arc::clone(volume);
        plan.act(
            Action::FailVolume {
                volume,
                reason,
                message,
            },
            Because::NobodyReclaims,
        );
    };
    // Who made it, ends it.
    let by = volume
        .metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(PROVISIONED_BY));
    match spec.persistent_volume_reclaim_policy.as_deref() {
        Some("Recycle") => fail(
            "VolumeFailedRecycle",
            "No recycler plugin found for the volume!".to_owned(),
        ),
        Some("Delete") if by.is_some_and(|by| by == LOCAL_PATH) => {}
        // What is in the folder stays; README says so.
        Some("Delete") if spec.host_path.is_some() || spec.local.is_some() => {
            plan.act(Action::DeleteVolume(Arc::clone(volume)), Because::ReclaimPolicyIsDelete);
        }
        Some("Delete") if by.is_none() => {
            let name = owner::name(&volume.metadata);
            let text = format!("error getting deleter volume plugin for volume \"{name}\": no volume plugin matched");
            fail("VolumeFailedDelete", text);
        }
        _ => {}
    }
}
