use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::api::PropagationPolicy;
use timonel_api::ObjectKey;
use timonel_client::law::settles;

use super::graph::Graph;
use super::plan::{Action, Dependent, Observed, OwnerState, plan};

fn reference(uid: &str) -> OwnerReference {
    OwnerReference {
        uid: uid.into(),
        ..OwnerReference::default()
    }
}

fn owned_by(states: &[OwnerState]) -> Observed {
    let owners = states
        .iter()
        .enumerate()
        .map(|(at, state)| (reference(&at.to_string()), *state))
        .collect();
    Observed {
        meta: ObjectMeta::default(),
        owners,
        dependents: Vec::new(),
    }
}

fn apply(seen: &mut Observed, action: &Action) {
    match action {
        Action::Delete(_) => seen.meta.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH)),
        Action::SetOwners(owners) => seen.owners.retain(|(owner, _)| owners.contains(owner)),
        Action::SetFinalizers(finalizers) => seen.meta.finalizers = Some(finalizers.clone()),
        Action::Orphan(gone) => seen.dependents.retain(|dependent| dependent != gone),
    }
}

#[test]
fn every_state_settles() {
    use OwnerState::{Absent, Solid, Unknown, Waiting};
    for states in [
        vec![],
        vec![Absent],
        vec![Solid, Absent],
        vec![Waiting],
        vec![Unknown, Absent],
        vec![Waiting, Absent],
    ] {
        for finalizers in [
            None,
            Some(vec!["orphan".to_owned()]),
            Some(vec!["foregroundDeletion".to_owned()]),
        ] {
            for leaving in [false, true] {
                let mut observed = owned_by(&states);
                observed.meta.finalizers = finalizers.clone();
                observed.meta.deletion_timestamp = leaving.then_some(Time(jiff::Timestamp::UNIX_EPOCH));
                let first = plan(&observed);
                // A deletion is a first step; what its finalizers ask for is the next.
                if matches!(first.actions.as_slice(), [Action::Delete(_)]) {
                    apply(&mut observed, &first.actions[0]);
                }
                settles(&mut observed, |seen| plan(seen).actions, apply).unwrap();
            }
        }
    }
}

#[test]
fn what_has_no_owner_left_is_deleted_in_the_background() {
    let plan = plan(&owned_by(&[OwnerState::Absent]));
    assert_eq!(plan.actions, [Action::Delete(PropagationPolicy::Background)]);
}

#[test]
fn an_unknown_owner_protects() {
    assert!(plan(&owned_by(&[OwnerState::Unknown])).is_empty());
}

#[test]
fn a_foreground_deletion_waits_for_dependents_that_block_it() {
    let mut observed = owned_by(&[]);
    observed.meta.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH));
    observed.meta.finalizers = Some(vec!["foregroundDeletion".into()]);
    observed.dependents = vec![Dependent {
        key: ObjectKey::new("/pods/default", "a"),
        uid: "a".into(),
        blocks: true,
        waits: false,
        owners: vec![],
    }];
    assert!(plan(&observed).is_empty());
    observed.dependents[0].blocks = false;
    assert_eq!(plan(&observed).actions, [Action::SetFinalizers(vec![])]);
}

#[test]
fn a_circle_is_opened_before_it_is_deleted() {
    let mut observed = owned_by(&[OwnerState::Waiting]);
    observed.owners[0].0.block_owner_deletion = Some(true);
    observed.dependents = vec![Dependent {
        key: ObjectKey::new("/pods/default", "a"),
        uid: "a".into(),
        blocks: true,
        waits: true,
        owners: vec![],
    }];
    let first = plan(&observed);
    let [Action::SetOwners(owners)] = first.actions.as_slice() else {
        panic!("it must stop blocking its owner");
    };
    assert_eq!(owners[0].block_owner_deletion, Some(false));
    observed.owners = vec![(owners[0].clone(), OwnerState::Waiting)];
    assert_eq!(plan(&observed).actions, [Action::Delete(PropagationPolicy::Foreground)]);
}

#[test]
fn the_graph_follows_owner_references() {
    let mut graph = Graph::default();
    let key = ObjectKey::new("/pods/default", "a");
    let owned = ObjectMeta {
        uid: Some("a".into()),
        owner_references: Some(vec![reference("rs")]),
        ..ObjectMeta::default()
    };
    assert!(graph.change(&key, None, Some(&owned)));
    assert_eq!(graph.dependents("rs"), std::slice::from_ref(&key));
    let free = ObjectMeta {
        owner_references: None,
        ..owned.clone()
    };
    assert!(graph.change(&key, Some(&owned), Some(&free)));
    assert!(graph.dependents("rs").is_empty());
    assert!(!graph.change(&key, Some(&free), Some(&free)));
}
