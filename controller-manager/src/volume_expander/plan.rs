//! Decides about a claim that asks for more than its volume has.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimCondition, PersistentVolumeClaimStatus,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Wire;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use timonel_api::storage::{self, LOCAL_PATH, NFS, PROVISIONED_BY};
use timonel_client::runner::Plan;

const STORAGE: &str = "storage";
const RESIZING: &str = "Resizing";
const IN_PROGRESS: &str = "ControllerResizeInProgress";

/// A claim, and the volume that it is bound to.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) claim: Arc<PersistentVolumeClaim>,
    pub(crate) volume: Option<Arc<PersistentVolume>>,
    /// Whether it was said that somebody else must expand it.
    pub(crate) told: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    SetStatus(Box<PersistentVolumeClaimStatus>),
    WriteVolume(Box<PersistentVolume>),
    Tell(Say),
}

/// What people are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Say {
    Resizing,
    Done,
    SomebodyElse,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    AsksForMore,
    VolumeHasGrown,
    NotOurs,
}

/// Decides. One write at a time, so that whoever finds it half way goes on from there: the claim says that it is being resized, the volume
/// grows, the claim says what it has.
pub(crate) fn plan(observed: &Observed, now: Timestamp) -> Plan<Action, Because> {
    let mut plan = Plan::nothing();
    let claim = &*observed.claim;
    let status = claim.status.clone().unwrap_or_default();
    let wanted = claim
        .spec
        .as_ref()
        .and_then(|spec| spec.resources.as_ref()?.requests.as_ref()?.get(STORAGE));
    let (Some(wanted), Some(volume)) = (wanted, &observed.volume) else {
        return plan;
    };
    let has = storage::amount(status.capacity.as_ref()).nanos();
    let bound = status.phase.as_deref() == Some("Bound") && storage::is_fully_bound(claim);
    if !bound || claim.metadata.deletion_timestamp.is_some() || storage::requested(claim).nanos() <= has {
        return plan;
    }
    let by = volume
        .metadata
        .annotations
        .as_ref()
        .and_then(|all| all.get(PROVISIONED_BY));
    if !by.is_some_and(|by| by == LOCAL_PATH || by == NFS) {
        if !observed.told {
            plan.act(Action::Tell(Say::SomebodyElse), Because::NotOurs);
        }
        return plan;
    }
    if !is_resizing(&status, wanted) {
        plan.act(
            Action::SetStatus(Box::new(resizing(status, wanted, now))),
            Because::AsksForMore,
        );
        plan.act(Action::Tell(Say::Resizing), Because::AsksForMore);
    } else if storage::capacity(volume).nanos() < storage::requested(claim).nanos() {
        let mut volume = PersistentVolume::clone(volume);
        let capacity = volume.spec.get_or_insert_default().capacity.get_or_insert_default();
        capacity.insert(STORAGE.to_owned(), wanted.clone());
        plan.act(Action::WriteVolume(Box::new(volume)), Because::AsksForMore);
    } else {
        plan.act(
            Action::SetStatus(Box::new(done(status, volume))),
            Because::VolumeHasGrown,
        );
        plan.act(Action::Tell(Say::Done), Because::VolumeHasGrown);
    }
    plan
}

fn is_resizing(status: &PersistentVolumeClaimStatus, wanted: &Wire) -> bool {
    let allocated = status.allocated_resources.as_ref().and_then(|all| all.get(STORAGE));
    let at = status
        .allocated_resource_statuses
        .as_ref()
        .and_then(|all| all.get(STORAGE));
    allocated == Some(wanted) && at.is_some_and(|at| at == IN_PROGRESS)
}

fn resizing(mut status: PersistentVolumeClaimStatus, wanted: &Wire, now: Timestamp) -> PersistentVolumeClaimStatus {
    let set = |map: &mut Option<BTreeMap<String, Wire>>| {
        map.get_or_insert_default().insert(STORAGE.to_owned(), wanted.clone());
    };
    set(&mut status.allocated_resources);
    let statuses = status.allocated_resource_statuses.get_or_insert_default();
    statuses.insert(STORAGE.to_owned(), IN_PROGRESS.to_owned());
    let conditions = status.conditions.get_or_insert_default();
    if !conditions.iter().any(|condition| condition.type_ == RESIZING) {
        conditions.push(PersistentVolumeClaimCondition {
            type_: RESIZING.to_owned(),
            status: "True".to_owned(),
            last_transition_time: Some(Time(now)),
            ..PersistentVolumeClaimCondition::default()
        });
    }
    status
}

fn done(mut status: PersistentVolumeClaimStatus, volume: &PersistentVolume) -> PersistentVolumeClaimStatus {
    status.capacity = volume.spec.as_ref().and_then(|spec| spec.capacity.clone());
    if let Some(statuses) = &mut status.allocated_resource_statuses {
        statuses.remove(STORAGE);
    }
    status.allocated_resource_statuses = status.allocated_resource_statuses.filter(|all| !all.is_empty());
    let conditions = status.conditions.unwrap_or_default();
    let kept: Vec<_> = conditions.into_iter().filter(|one| one.type_ != RESIZING).collect();
    status.conditions = (!kept.is_empty()).then_some(kept);
    status
}
