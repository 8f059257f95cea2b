use std::sync::Arc;

use expect_test::{Expect, expect};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use proptest::prelude::*;
use serde_json::{Value, json};
use timonel_client::law::settles_within;

use super::observe::Observed;
use super::plan::{Action, plan};
use super::scale::{available, size};
use crate::owner;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + second).unwrap()
}

fn deployment(replicas: i32, image: &str, strategy: Value) -> Deployment {
    serde_json::from_value(json!({
        "metadata": {"name": "web", "namespace": "demo", "uid": "d", "generation": 1, "annotations": {"note": "kept"}},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": strategy,
            "progressDeadlineSeconds": 600,
            "revisionHistoryLimit": 1,
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": image}]}},
        },
    }))
    .unwrap()
}

fn rolling(surge: Value, unavailable: Value) -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
}

/// A Deployment and a model of the ReplicaSet controller below it.
struct World {
    seen: Observed,
    created: i64,
    /// The most and the fewest pods there ever were, asked for and available.
    most: i32,
    fewest: i32,
}

impl World {
    fn new(replicas: i32, strategy: Value) -> Self {
        Self {
            seen: Observed {
                deployment: Arc::new(deployment(replicas, "demo:1", strategy)),
                sets: Vec::new(),
                taken: Vec::new(),
                pods: Vec::new(),
            },
            created: 0,
            most: 0,
            fewest: i32::MAX,
        }
    }

    fn edit(&mut self, edit: impl FnOnce(&mut Deployment)) {
        let deployment = Arc::make_mut(&mut self.seen.deployment);
        edit(deployment);
        *deployment.metadata.generation.get_or_insert(0) += 1;
    }

    fn image(&mut self, image: &str) {
        self.edit(|deployment| {
            let spec = deployment.spec.as_mut().unwrap();
            spec.template.spec.as_mut().unwrap().containers[0].image = Some(image.into());
        });
    }

    fn scale(&mut self, replicas: i32) {
        self.edit(|deployment| deployment.spec.as_mut().unwrap().replicas = Some(replicas));
    }

    /// Every set has the pods that it asks for, all of them available.
    fn pods_follow(&mut self) {
        for set in &mut self.seen.sets {
            let wanted = size(set);
            let set = Arc::make_mut(set);
            let generation = set.metadata.generation;
            let status = set.status.get_or_insert_default();
            status.replicas = wanted;
            status.ready_replicas = Some(wanted).filter(|count| *count > 0);
            status.available_replicas = status.ready_replicas;
            status.observed_generation = generation;
        }
    }

    fn step(&mut self) -> Vec<String> {
        let actions = plan(&self.seen, at(0)).actions;
        let mut lines = Vec::new();
        for action in &actions {
            lines.extend(render(action));
            apply(&mut self.seen, &mut self.created, action);
        }
        let asked: i32 = self.seen.sets.iter().map(|set| size(set)).sum();
        let there: i32 = self.seen.sets.iter().map(|set| available(set).min(size(set))).sum();
        self.most = self.most.max(asked);
        self.fewest = self.fewest.min(there);
        lines
    }

    /// Goes on until nothing is left to do; returns the story.
    fn settle(&mut self) -> String {
        let mut story = Vec::new();
        for _ in 0..200 {
            let lines = self.step();
            let done = plan(&self.seen, at(0)).is_empty();
            let before: Vec<_> = self.seen.sets.iter().map(|set| set.status.clone()).collect();
            self.pods_follow();
            let after: Vec<_> = self.seen.sets.iter().map(|set| set.status.clone()).collect();
            story.extend(lines);
            if done && before == after {
                return story.join("\n");
            }
        }
        panic!("never settles:\n{}", story.join("\n"))
    }
}

fn render(action: &Action) -> Option<String> {
    let image = |set: &ReplicaSet| {
        let template = set.spec.as_ref().unwrap().template.as_ref().unwrap();
        template.spec.as_ref().unwrap().containers[0].image.clone().unwrap()
    };
    Some(match action {
        Action::Create(set) => format!("create {} with {}", image(set), size(set)),
        Action::Resize { set, to, .. } => format!("resize {} {} -> {to}", image(set), size(set)),
        Action::Delete(set) => format!("delete {}", image(set)),
        Action::SetRevision(to) => format!("revision {to}"),
        Action::Adopt(_) => "adopt".into(),
        Action::Release(_) => "release".into(),
        Action::WarnSelectsAll => "warn".into(),
        Action::Update { .. } => return None,
        Action::SetStatus(_) => return None,
    })
}

fn apply(seen: &mut Observed, created: &mut i64, action: &Action) {
    let change = |sets: &mut Vec<Arc<ReplicaSet>>, which: &ReplicaSet, edit: &dyn Fn(&mut ReplicaSet)| {
        for set in sets {
            if set.metadata.name == which.metadata.name {
                let set = Arc::make_mut(set);
                edit(set);
                *set.metadata.generation.get_or_insert(0) += 1;
            }
        }
    };
    match action {
        Action::Create(set) => {
            let mut set = ReplicaSet::clone(set);
            *created += 1;
            set.metadata.uid = Some(format!("rs-{created}"));
            let time = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(*created));
            set.metadata.creation_timestamp = Some(time);
            set.metadata.generation = Some(1);
            seen.sets.push(Arc::new(set));
        }
        Action::Resize { set, to, desired, max } => change(&mut seen.sets, set, &|set| {
            set.spec.as_mut().unwrap().replicas = Some(*to);
            let annotations = set.metadata.annotations.get_or_insert_default();
            annotations.insert(super::revision::DESIRED.into(), desired.to_string());
            annotations.insert(super::revision::MAX.into(), max.to_string());
        }),
        Action::Update {
            set,
            annotations,
            min_ready_seconds,
        } => change(&mut seen.sets, set, &|set| {
            set.metadata.annotations = Some(annotations.clone());
            set.spec.as_mut().unwrap().min_ready_seconds = Some(*min_ready_seconds).filter(|seconds| *seconds > 0);
        }),
        Action::Delete(set) => seen.sets.retain(|other| other.metadata.name != set.metadata.name),
        Action::SetRevision(to) => {
            let deployment = Arc::make_mut(&mut seen.deployment);
            let annotations = deployment.metadata.annotations.get_or_insert_default();
            annotations.insert(super::revision::REVISION.into(), to.to_string());
        }
        Action::SetStatus(status) => Arc::make_mut(&mut seen.deployment).status = Some((**status).clone()),
        Action::Adopt(_) | Action::Release(_) | Action::WarnSelectsAll => {}
    }
}

#[track_caller]
fn check(story: &str, expected: Expect) {
    expected.assert_eq(story);
}

fn conditions(world: &World) -> String {
    let status = world.seen.deployment.status.clone().unwrap();
    let mut lines: Vec<String> = status
        .conditions
        .unwrap()
        .iter()
        .map(|one| {
            format!(
                "{}={} {}",
                one.type_,
                one.status,
                one.reason.as_deref().unwrap_or_default()
            )
        })
        .collect();
    lines.sort();
    lines.join("\n")
}

#[test]
fn a_first_rollout_makes_one_set_and_completes() {
    let mut world = World::new(3, rolling(json!("25%"), json!("25%")));
    check(
        &world.settle(),
        expect![[r#"
            create demo:1 with 3
            revision 1"#]],
    );
    check(
        &conditions(&world),
        expect![[r#"
            Available=True MinimumReplicasAvailable
            Progressing=True NewReplicaSetAvailable"#]],
    );
    let set = &world.seen.sets[0];
    let hash = &set.metadata.labels.as_ref().unwrap()["pod-template-hash"];
    assert_eq!(owner::name(&set.metadata), format!("web-{hash}"));
    assert_eq!(set.metadata.annotations.as_ref().unwrap()["note"], "kept");
}

#[test]
fn an_update_rolls_within_surge_and_unavailability() {
    let mut world = World::new(3, rolling(json!(1), json!(0)));
    world.settle();
    (world.most, world.fewest) = (0, i32::MAX);
    world.image("demo:2");
    check(
        &world.settle(),
        expect![[r#"
            create demo:2 with 1
            revision 2
            resize demo:1 3 -> 2
            resize demo:2 1 -> 2
            resize demo:1 2 -> 1
            resize demo:2 2 -> 3
            resize demo:1 1 -> 0"#]],
    );
    assert_eq!((world.most, world.fewest), (4, 3));
}

#[test]
fn an_undo_reuses_the_old_set_under_a_new_revision() {
    let mut world = World::new(1, rolling(json!(1), json!(0)));
    world.settle();
    world.image("demo:2");
    world.settle();
    world.image("demo:1");
    check(
        &world.settle(),
        expect![[r#"
            revision 3
            resize demo:1 0 -> 1
            resize demo:2 1 -> 0"#]],
    );
    let annotations = world.seen.sets[0].metadata.annotations.clone().unwrap();
    assert_eq!(annotations["deployment.kubernetes.io/revision"], "3");
    assert_eq!(annotations["deployment.kubernetes.io/revision-history"], "1");
}

#[test]
fn the_history_keeps_as_many_old_sets_as_its_limit() {
    let mut world = World::new(1, rolling(json!(1), json!(0)));
    for image in ["demo:1", "demo:2", "demo:3"] {
        world.image(image);
        world.settle();
    }
    assert_eq!(world.seen.sets.len(), 2);
}

#[test]
fn recreate_takes_all_down_before_it_brings_any_up() {
    let mut world = World::new(3, json!({"type": "Recreate"}));
    world.settle();
    world.image("demo:2");
    check(
        &world.settle(),
        expect![[r#"
            resize demo:1 3 -> 0
            create demo:2 with 3
            revision 2"#]],
    );
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let mut world = World::new(2, rolling(json!(1), json!(0)));
    world.settle();
    world.edit(|deployment| deployment.spec.as_mut().unwrap().paused = Some(true));
    world.image("demo:2");
    world.scale(4);
    check(&world.settle(), expect![[r#"resize demo:1 2 -> 4"#]]);
    check(
        &conditions(&world),
        expect![[r#"
            Available=True MinimumReplicasAvailable
            Progressing=Unknown DeploymentPaused"#]],
    );
}

#[test]
fn a_resize_in_the_middle_of_a_rollout_is_spread_over_both_sets() {
    let mut world = World::new(10, rolling(json!(2), json!(2)));
    world.settle();
    world.image("demo:2");
    world.step();
    world.step();
    world.scale(20);
    let lines = world.step();
    check(
        &lines.join("\n"),
        expect![[r#"
            resize demo:1 8 -> 18
            resize demo:2 2 -> 4"#]],
    );
}

#[test]
fn a_rollout_without_progress_times_out() {
    let mut world = World::new(1, rolling(json!(1), json!(0)));
    world.step();
    world.step();
    let stuck = plan(&world.seen, at(599));
    assert!(stuck.requeue.is_some());
    let late = plan(&world.seen, at(700));
    let Some(Action::SetStatus(status)) = late.actions.first() else {
        panic!("{late:?}")
    };
    Arc::make_mut(&mut world.seen.deployment).status = Some((**status).clone());
    check(
        &conditions(&world),
        expect![[r#"
            Available=False MinimumReplicasUnavailable
            Progressing=False ProgressDeadlineExceeded"#]],
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_rollout_settles_within_its_limits(
        replicas in 1..8, surge in 0..4, unavailable in 0..4, images in prop::collection::vec(0..3, 1..4),
    ) {
        prop_assume!(surge + unavailable > 0);
        let mut world = World::new(replicas, rolling(json!(surge), json!(unavailable)));
        world.settle();
        (world.most, world.fewest) = (0, i32::MAX);
        for image in images {
            world.image(&format!("demo:{image}"));
            world.settle();
        }
        prop_assert!(world.most <= replicas + surge, "{} pods", world.most);
        prop_assert!(world.fewest >= replicas - unavailable, "{} available", world.fewest);
        // The law itself: after the end nothing is planned, and while pods stand still neither.
        let mut created = world.created;
        let rounds = std::cell::RefCell::new(&mut created);
        let law = settles_within(0, &mut world.seen, |seen| plan(seen, at(0)).actions, |seen, action| {
            apply(seen, *rounds.borrow_mut(), action);
        });
        prop_assert!(law.is_ok(), "{}", law.unwrap_err());
    }
}
