//! Decides about one object: does it go, does it wait, are its dependents let go?

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::PropagationPolicy;
use timonel_api::ObjectKey;
use timonel_client::runner::Plan;

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";

/// How an owner is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OwnerState {
    /// It is there.
    Solid,
    /// It is being deleted and waits for its dependents.
    Waiting,
    /// It is gone, or another object has its name.
    Absent,
    /// We cannot tell.
    Unknown,
}

/// Judges an owner that was found.
pub(crate) fn state_of(meta: &ObjectMeta) -> OwnerState {
    if meta.deletion_timestamp.is_some() && has(meta, FOREGROUND) {
        OwnerState::Waiting
    } else {
        OwnerState::Solid
    }
}

fn has(meta: &ObjectMeta, finalizer: &str) -> bool {
    meta.finalizers.iter().flatten().any(|other| other == finalizer)
}

/// An object that names ours as its owner.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Dependent {
    pub(crate) key: ObjectKey,
    pub(crate) uid: String,
    /// Whether a deletion in the foreground waits for it.
    pub(crate) blocks: bool,
    /// Whether it is being deleted itself and waits for its own dependents.
    pub(crate) waits: bool,
    pub(crate) owners: Vec<OwnerReference>,
}

/// An object, its owners and its dependents.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) meta: ObjectMeta,
    pub(crate) owners: Vec<(OwnerReference, OwnerState)>,
    pub(crate) dependents: Vec<Dependent>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    Delete(PropagationPolicy),
    SetOwners(Vec<OwnerReference>),
    SetFinalizers(Vec<String>),
    Orphan(Dependent),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    NoOwnerLeft,
    OwnerWaitsForIt,
    InACircle,
    SomeOwnersGone,
    DependentsGone,
    DependentsLetGo,
}

/// Decides.
pub(crate) fn plan(observed: &Observed) -> Plan<Action, Because> {
    let mut plan = Plan::nothing();
    let meta = &observed.meta;
    let without = |gone: &str| {
        meta.finalizers
            .iter()
            .flatten()
            .filter(|other| *other != gone)
            .cloned()
            .collect::<Vec<_>>()
    };
    if meta.deletion_timestamp.is_some() {
        if has(meta, ORPHAN) {
            for dependent in &observed.dependents {
                plan.act(Action::Orphan(dependent.clone()), Because::DependentsLetGo);
            }
            plan.act(Action::SetFinalizers(without(ORPHAN)), Because::DependentsLetGo);
        } else if has(meta, FOREGROUND) && !observed.dependents.iter().any(|dependent| dependent.blocks) {
            plan.act(Action::SetFinalizers(without(FOREGROUND)), Because::DependentsGone);
        }
        return plan;
    }
    if observed.owners.is_empty() {
        return plan;
    }
    let stays = |state: OwnerState| matches!(state, OwnerState::Solid | OwnerState::Unknown);
    let solid: Vec<OwnerReference> = observed
        .owners
        .iter()
        .filter(|(_, state)| stays(*state))
        .map(|(owner, _)| owner.clone())
        .collect();
    if !solid.is_empty() {
        if solid.len() < observed.owners.len() {
            plan.act(Action::SetOwners(solid), Because::SomeOwnersGone);
        }
        return plan;
    }
    let waited_for = observed.owners.iter().any(|(_, state)| *state == OwnerState::Waiting);
    if waited_for && !observed.dependents.is_empty() {
        // Its owner waits for it, and so would it for a dependent that waits: one of them has to stop blocking. This may also hit a line of
        // three that is no circle, as it does upstream; there it costs the order of their ends.
        let blocking = |owner: &OwnerReference| owner.block_owner_deletion == Some(true);
        if observed.dependents.iter().any(|dependent| dependent.waits)
            && observed.owners.iter().any(|(o, _)| blocking(o))
        {
            let unblocked = observed.owners.iter().map(|(owner, _)| OwnerReference {
                block_owner_deletion: Some(false),
                ..owner.clone()
            });
            plan.act(Action::SetOwners(unblocked.collect()), Because::InACircle);
            return plan;
        }
        plan.act(Action::Delete(PropagationPolicy::Foreground), Because::OwnerWaitsForIt);
        return plan;
    }
    // A finalizer that somebody put there says how the object itself wants to go.
    let policy = if has(meta, ORPHAN) {
        PropagationPolicy::Orphan
    } else if has(meta, FOREGROUND) {
        PropagationPolicy::Foreground
    } else {
        PropagationPolicy::Background
    };
    plan.act(
        Action::Delete(policy),
        if waited_for {
            Because::OwnerWaitsForIt
        } else {
            Because::NoOwnerLeft
        },
    );
    plan
}
