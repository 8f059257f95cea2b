use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use serde_json::json;
use timonel_api::selector::LabelSelector;

use super::{Author, Because, Collision, Settled, Step, claim_all, data, excess, hash_of, settle, template_of};
use crate::owner;

fn template(image: &str) -> PodTemplateSpec {
    serde_json::from_value(json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": image}]},
    }))
    .unwrap()
}

fn owner_set() -> DaemonSet {
    serde_json::from_value(json!({"metadata": {"name": "web", "namespace": "demo", "uid": "ds", "annotations": {"kubernetes.io/change-cause": "because"}}})).unwrap()
}

fn settled(
    own: &[Arc<ControllerRevision>],
    image: &str,
    collisions: i32,
    taken: &[String],
) -> Result<Settled, Collision> {
    let (set, template) = (owner_set(), template(image));
    let author = Author {
        meta: &set.metadata,
        owner: owner::controller_reference(&set),
        template: &template,
        collisions,
        hash_label: super::REVISION_LABEL,
        taken,
    };
    settle(own, &author)
}

/// Creates what the steps say.
fn grown(own: &mut Vec<Arc<ControllerRevision>>, image: &str) -> Settled {
    let outcome = settled(own, image, 0, &[]).unwrap();
    for (step, _) in &outcome.steps {
        match step {
            Step::Create(revision) => own.push(Arc::new((**revision).clone())),
            Step::Renumber(revision, to) => {
                let found = own
                    .iter_mut()
                    .find(|other| other.metadata.name == revision.metadata.name)
                    .unwrap();
                Arc::make_mut(found).revision = *to;
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    own.sort_by_key(|revision| revision.revision);
    outcome
}

#[test]
fn a_new_template_is_the_next_revision_and_an_old_one_comes_back_at_the_end() {
    let mut own = Vec::new();
    for image in ["a", "b", "c"] {
        grown(&mut own, image);
        assert!(settled(&own, image, 0, &[]).unwrap().steps.is_empty(), "settled");
    }
    assert_eq!(
        own.iter().map(|revision| revision.revision).collect::<Vec<_>>(),
        [1, 2, 3]
    );
    let back = grown(&mut own, "a");
    assert_eq!(back.steps[0].1, Because::RolledBack { to: 4 });
    assert_eq!(
        own.iter().map(|revision| revision.revision).collect::<Vec<_>>(),
        [2, 3, 4]
    );
    let last = own.last().unwrap();
    assert_eq!(template_of(last).unwrap(), template("a"));
    assert_eq!(last.metadata.name.as_deref().unwrap(), format!("web-{}", hash_of(last)));
    assert_eq!(
        last.metadata.annotations.as_ref().unwrap()["kubernetes.io/change-cause"],
        "because"
    );
    assert_eq!(last.data.as_ref().unwrap().0, data(&template("a")));
}

#[test]
fn a_name_that_is_taken_is_a_collision_and_another_count_gives_another_name() {
    let mut own = Vec::new();
    grown(&mut own, "a");
    let name = owner::name(&own[0].metadata).to_owned();
    let taken = [name.clone()];
    assert_eq!(
        settled(&[], "a", 0, &taken).unwrap_err(),
        Collision { name: name.clone() }
    );
    let other = settled(&[], "a", 1, &taken).unwrap();
    assert_ne!(owner::name(&other.current.metadata), name);
}

#[test]
fn of_two_revisions_of_one_template_the_newer_stays() {
    let mut own = Vec::new();
    grown(&mut own, "a");
    let mut twin = ControllerRevision::clone(&own[0]);
    twin.metadata.name = Some("twin".into());
    twin.revision = 7;
    own.push(Arc::new(twin));
    let outcome = settled(&own, "a", 0, &[]).unwrap();
    assert_eq!(owner::name(&outcome.current.metadata), "twin");
    assert_eq!(outcome.duplicates.len(), 1);
}

#[test]
fn the_oldest_that_nothing_uses_are_forgotten() {
    let mut own = Vec::new();
    for image in ["a", "b", "c", "d"] {
        grown(&mut own, image);
    }
    let names = |limit, live: &[usize], count| -> Vec<i64> {
        let live: BTreeSet<&str> = live.iter().map(|at| hash_of(&own[*at])).collect();
        excess(&own, &live, hash_of, limit, count)
            .iter()
            .map(|revision| revision.revision)
            .collect()
    };
    assert_eq!(names(2, &[], false), [1, 2]);
    assert_eq!(names(2, &[0], false), [2], "a live one takes no room");
    assert_eq!(names(2, &[0], true), [2, 3], "a live one takes room");
    assert_eq!(names(0, &[3], false), [1, 2, 3]);
    assert!(names(-1, &[], false).is_empty());
    assert!(names(9, &[], true).is_empty());
}

#[test]
fn orphans_that_match_are_adopted() {
    let mut own = Vec::new();
    grown(&mut own, "a");
    let mut orphan = ControllerRevision::clone(&own[0]);
    orphan.metadata.owner_references = None;
    let selector: LabelSelector = LabelSelector::parse("app=web").unwrap();
    let (mine, steps) = claim_all(&[Arc::new(orphan)], "ds", &selector, false);
    assert_eq!(mine.len(), 1);
    assert!(matches!(steps[0], (Step::Adopt(_), Because::MatchesSelector)));
    let (mine, steps) = claim_all(&own, "ds", &LabelSelector::parse("app=other").unwrap(), false);
    assert!(mine.is_empty() && matches!(steps[0].0, Step::Release(_)));
}
