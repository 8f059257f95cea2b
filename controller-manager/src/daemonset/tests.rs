use std::sync::Arc;

use expect_test::{Expect, expect};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::apps::v1::{ControllerRevision, DaemonSet};
use k8s_openapi::api::core::v1::{Node, Pod};
use proptest::prelude::*;
use serde_json::{Value, json};
use timonel_client::law::settles_within;

use super::backoff::Pause;
use super::observe::Observed;
use super::plan::{Action, plan};
use super::{matters, pod};
use crate::history::{self, Step};
use crate::owner;

/// A world around one DaemonSet `log` (uid `ds`), in a few words.
#[derive(Clone)]
struct World(Observed);

fn set() -> World {
    let set: DaemonSet = serde_json::from_value(json!({
        "metadata": {"name": "log", "namespace": "demo", "uid": "ds", "generation": 1},
        "spec": {
            "selector": {"matchLabels": {"app": "log"}},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}},
            "template": {"metadata": {"labels": {"app": "log"}}, "spec": {"containers": [{"name": "log", "image": "v1"}]}},
        },
    }))
    .unwrap();
    let mut world = World(Observed {
        set: Arc::new(set),
        nodes: Vec::new(),
        pods: Vec::new(),
        revisions: Vec::new(),
        taken: Vec::new(),
        pauses: Default::default(),
    });
    world.create_revision();
    world
}

impl World {
    /// Carries out what the planner wants to do to the history, and nothing else.
    fn create_revision(&mut self) {
        for action in plan(&self.0, now()).actions {
            if let Action::History(_) = action {
                apply(&mut self.0, &action);
            }
        }
    }
    fn spec(mut self, change: impl FnOnce(&mut Value)) -> Self {
        let mut value = serde_json::to_value(&*self.0.set).unwrap();
        change(&mut value["spec"]);
        self.0.set = Arc::new(serde_json::from_value(value).unwrap());
        self
    }
    fn image(mut self, image: &str) -> Self {
        self = self.spec(|spec| spec["template"]["spec"]["containers"][0]["image"] = json!(image));
        self.create_revision();
        self
    }
    fn surge(self) -> Self {
        self.spec(|spec| spec["updateStrategy"]["rollingUpdate"] = json!({"maxUnavailable": 0, "maxSurge": 1}))
    }
    fn node(self, name: &str) -> Self {
        self.node_with(name, json!({}), json!([]))
    }
    fn node_with(mut self, name: &str, labels: Value, taints: Value) -> Self {
        let node = json!({"metadata": {"name": name, "labels": labels}, "spec": {"taints": taints}});
        self.0.nodes.push(Arc::new(serde_json::from_value(node).unwrap()));
        self
    }
    fn nodes(self, count: usize) -> Self {
        (1..=count).fold(self, |world, at| world.node(&format!("n{at}")))
    }
    /// A pod of the revision that is the newest now.
    fn pod(mut self, name: &str, node: &str, change: impl FnOnce(&mut Value)) -> Self {
        let newest = self
            .0
            .revisions
            .iter()
            .max_by_key(|revision| revision.revision)
            .unwrap();
        let hash = history::hash_of(newest).to_owned();
        let complete = pod::complete(&self.0.set, &self.0.set.spec.as_ref().unwrap().template, &hash);
        let made = pod::for_node(&self.0.set, &complete, node);
        let mut value = serde_json::to_value(made).unwrap();
        value["metadata"]["name"] = json!(name);
        value["metadata"]["uid"] = json!(format!("uid-{name}"));
        value["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
        value["spec"]["nodeName"] = json!(node);
        value["status"] = status("Running", true);
        change(&mut value);
        self.0.pods.push(Arc::new(serde_json::from_value(value).unwrap()));
        self
    }
    fn ready(self, name: &str, node: &str) -> Self {
        self.pod(name, node, |_| {})
    }
    /// A ready pod on each of the first nodes.
    fn running(self, count: usize) -> Self {
        (1..=count).fold(self, |world, at| world.ready(&format!("p{at}"), &format!("n{at}")))
    }
}

fn status(phase: &str, ready: bool) -> Value {
    let ready = if ready { "True" } else { "False" };
    json!({"phase": phase, "conditions": [
        {"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"}]})
}

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

fn render(action: &Action) -> String {
    let name = |pod: &Pod| owner::name(&pod.metadata).to_owned();
    match action {
        Action::History(Step::Create(revision)) => format!("remember revision {}", revision.revision),
        Action::History(Step::Renumber(revision, to)) => format!("renumber revision {} to {to}", revision.revision),
        Action::History(Step::Delete(revision)) => format!("forget revision {}", revision.revision),
        Action::History(other) => format!("{other:?}"),
        Action::Adopt(pod) => format!("adopt {}", name(pod)),
        Action::Release(pod) => format!("release {}", name(pod)),
        Action::Relabel { pod, .. } => format!("relabel {}", name(pod)),
        Action::Create { nodes, .. } => format!("create on {}", nodes.join(" ")),
        Action::Delete(pod) => format!("delete {}", name(pod)),
        Action::DeleteEnded { pod, node } => format!("delete ended {} on {node}", name(pod)),
        Action::SetStatus(status) => format!(
            "status desired={} current={} ready={} updated={} available={} unavailable={} misscheduled={}{}",
            status.desired_number_scheduled,
            status.current_number_scheduled,
            status.number_ready,
            status.updated_number_scheduled.unwrap_or(0),
            status.number_available.unwrap_or(0),
            status.number_unavailable.unwrap_or(0),
            status.number_misscheduled,
            status
                .collision_count
                .map(|count| format!(" collisions={count}"))
                .unwrap_or_default(),
        ),
    }
}

#[track_caller]
fn check(world: &World, expected: Expect) {
    let actions: Vec<_> = plan(&world.0, now()).actions.iter().map(render).collect();
    expected.assert_eq(&actions.join("\n"));
}

#[test]
fn every_node_gets_a_pod() {
    check(
        &set().nodes(3).running(1),
        expect![[r#"
        create on n2 n3
        status desired=3 current=1 ready=1 updated=1 available=1 unavailable=2 misscheduled=0"#]],
    );
}

#[test]
fn the_first_look_remembers_the_template() {
    let mut world = set().nodes(1);
    world.0.revisions.clear();
    check(
        &world,
        expect![[r#"
        remember revision 1
        create on n1
        status desired=1 current=0 ready=0 updated=0 available=0 unavailable=1 misscheduled=0"#]],
    );
}

#[test]
fn a_pod_names_its_node_and_bears_what_daemons_bear() {
    let world = set().spec(|spec| {
        spec["template"]["spec"]["hostNetwork"] = json!(true);
        spec["template"]["spec"]["affinity"] = json!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            {"nodeSelectorTerms": [{"matchExpressions": [{"key": "disk", "operator": "Exists"}]}]}}});
    });
    let complete = pod::complete(&world.0.set, &world.0.set.spec.as_ref().unwrap().template, "hash");
    let made = pod::for_node(&world.0.set, &complete, "n1");
    assert_eq!(pod::target(&made), Some("n1"));
    let spec = made.spec.unwrap();
    let borne: Vec<String> = spec
        .tolerations
        .unwrap()
        .into_iter()
        .map(|one| format!("{}:{}", one.key.unwrap(), one.effect.unwrap()))
        .collect();
    expect![[r#"
        node.kubernetes.io/not-ready:NoExecute
        node.kubernetes.io/unreachable:NoExecute
        node.kubernetes.io/disk-pressure:NoSchedule
        node.kubernetes.io/memory-pressure:NoSchedule
        node.kubernetes.io/pid-pressure:NoSchedule
        node.kubernetes.io/unschedulable:NoSchedule
        node.kubernetes.io/network-unavailable:NoSchedule"#]]
    .assert_eq(&borne.join("\n"));
    expect![[r#"{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchFields":[{"key":"metadata.name","operator":"In","values":["n1"]}]}]}}}"#]].assert_eq(&serde_json::to_string(&spec.affinity).unwrap());
}

#[test]
fn labels_affinity_and_taints_choose_the_nodes() {
    let taint = |effect: &str| json!([{"key": "special", "effect": effect}]);
    let world = set()
        .spec(|spec| spec["template"]["spec"]["nodeSelector"] = json!({"disk": "ssd"}))
        .node_with("fits", json!({"disk": "ssd"}), json!([]))
        .node_with("other-label", json!({"disk": "hdd"}), json!([]))
        .node_with("soft-taint", json!({"disk": "ssd"}), taint("PreferNoSchedule"))
        .node_with("tainted", json!({"disk": "ssd"}), taint("NoSchedule"))
        .node_with("kept", json!({"disk": "ssd"}), taint("NoSchedule"))
        .node_with("evicting", json!({"disk": "ssd"}), taint("NoExecute"))
        .node_with(
            "cordoned",
            json!({"disk": "ssd"}),
            json!([{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]),
        )
        .node_with(
            "silent",
            json!({"disk": "ssd"}),
            json!([{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]),
        )
        .image("v1")
        .ready("stays", "kept")
        .ready("goes", "evicting")
        .ready("stray", "other-label");
    check(
        &world,
        expect![[r#"
        delete stray
        delete goes
        create on fits soft-taint cordoned silent
        status desired=4 current=0 ready=0 updated=0 available=0 unavailable=4 misscheduled=3"#]],
    );
}

#[test]
fn pods_that_ended_are_deleted_after_a_pause() {
    let ended = |phase: &'static str| move |pod: &mut Value| pod["status"] = status(phase, false);
    let world = set()
        .nodes(2)
        .pod("failed", "n1", ended("Failed"))
        .pod("done", "n2", ended("Succeeded"));
    check(
        &world,
        expect![[r#"
        delete ended failed on n1
        delete ended done on n2
        status desired=2 current=2 ready=0 updated=2 available=0 unavailable=2 misscheduled=0"#]],
    );
    let mut waiting = world;
    waiting.0.pauses.insert("n1".into(), Pause::after(None, now()));
    check(
        &waiting,
        expect![[r#"
        delete ended done on n2
        status desired=2 current=2 ready=0 updated=2 available=0 unavailable=2 misscheduled=0"#]],
    );
    assert_eq!(plan(&waiting.0, now()).requeue, Some(std::time::Duration::from_secs(1)));
}

#[test]
fn of_two_pods_on_a_node_the_older_stays() {
    let world = set().nodes(1).ready("old", "n1").pod("young", "n1", |pod| {
        pod["metadata"]["creationTimestamp"] = json!("2026-01-01T00:30:00Z");
    });
    check(
        &world,
        expect![[r#"
        delete young
        status desired=1 current=1 ready=1 updated=1 available=1 unavailable=0 misscheduled=0"#]],
    );
}

#[test]
fn pods_that_wait_for_a_node_that_is_gone_are_deleted() {
    let world = set().nodes(1).running(1).pod("lost", "n9", |pod| {
        pod["spec"]["nodeName"] = Value::Null;
        pod["status"] = status("Pending", false);
    });
    check(
        &world,
        expect![[r#"
        delete lost
        status desired=1 current=1 ready=1 updated=1 available=1 unavailable=0 misscheduled=0"#]],
    );
}

#[test]
fn a_node_waits_for_its_leaving_pod_before_it_gets_another() {
    let world = set().nodes(1).pod("leaving", "n1", |pod| {
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:59:59Z");
    });
    check(
        &world,
        expect!["status desired=1 current=1 ready=1 updated=1 available=1 unavailable=0 misscheduled=0"],
    );
}

#[test]
fn an_update_takes_one_available_pod_at_a_time() {
    check(
        &set().nodes(3).running(3).image("v2"),
        expect![[r#"
        delete p1
        status desired=3 current=3 ready=3 updated=0 available=3 unavailable=0 misscheduled=0"#]],
    );
}

#[test]
fn an_update_counts_what_is_missing_already() {
    // n1 has been updated but is not ready yet; n2's old pod is broken and may go; n3 must wait.
    let world = set()
        .nodes(3)
        .pod("p2", "n2", |pod| pod["status"] = status("Running", false))
        .ready("p3", "n3");
    let world = world
        .image("v2")
        .pod("p1", "n1", |pod| pod["status"] = status("Running", false));
    check(
        &world,
        expect![[r#"
        delete p2
        status desired=3 current=3 ready=1 updated=1 available=1 unavailable=2 misscheduled=0"#]],
    );
}

#[test]
fn on_delete_waits_for_people() {
    let world = set()
        .nodes(1)
        .running(1)
        .spec(|spec| spec["updateStrategy"] = json!({"type": "OnDelete"}));
    check(
        &world.image("v2"),
        expect!["status desired=1 current=1 ready=1 updated=0 available=1 unavailable=0 misscheduled=0"],
    );
}

#[test]
fn a_surge_puts_the_new_pod_beside_the_old_one() {
    let world = set().surge().nodes(2).running(2).image("v2");
    check(
        &world,
        expect![[r#"
        create on n1
        status desired=2 current=2 ready=2 updated=0 available=2 unavailable=0 misscheduled=0"#]],
    );
    let beside = world
        .clone()
        .pod("new", "n1", |pod| pod["status"] = status("Running", false));
    check(
        &beside,
        expect!["status desired=2 current=2 ready=1 updated=1 available=1 unavailable=1 misscheduled=0"],
    );
    let over = world.ready("new", "n1");
    check(
        &over,
        expect![[r#"
        delete p1
        status desired=2 current=2 ready=2 updated=1 available=2 unavailable=0 misscheduled=0"#]],
    );
}

#[test]
fn min_ready_seconds_hold_an_update_back() {
    let since =
        |at: &'static str| move |pod: &mut Value| pod["status"]["conditions"][0]["lastTransitionTime"] = json!(at);
    let world = set()
        .spec(|spec| spec["minReadySeconds"] = json!(10))
        .nodes(2)
        .ready("p2", "n2")
        .image("v2");
    let world = world.pod("p1", "n1", since("2026-01-01T00:59:57Z"));
    check(
        &world,
        expect!["status desired=2 current=2 ready=2 updated=1 available=1 unavailable=1 misscheduled=0"],
    );
    assert_eq!(plan(&world.0, now()).requeue, Some(std::time::Duration::from_secs(7)));
}

#[test]
fn a_rollback_moves_the_old_revision_to_the_end() {
    let mut world = set().nodes(1).image("v2").running(1);
    let set = world.0.set.clone();
    world = world.spec(|spec| spec["template"]["spec"]["containers"][0]["image"] = json!("v1"));
    check(
        &world,
        expect![[r#"
        renumber revision 1 to 3
        delete p1
        status desired=1 current=1 ready=1 updated=0 available=1 unavailable=0 misscheduled=0"#]],
    );
    assert_ne!(set, world.0.set);
}

#[test]
fn history_beyond_the_limit_is_forgotten_unless_a_pod_is_of_it() {
    let world = set()
        .spec(|spec| spec["revisionHistoryLimit"] = json!(1))
        .nodes(1)
        .running(1);
    let world = world.image("v2").image("v3").image("v4");
    check(
        &world,
        expect![[r#"
        delete p1
        status desired=1 current=1 ready=1 updated=0 available=1 unavailable=0 misscheduled=0"#]],
    );
}

#[test]
fn a_taken_name_counts_a_collision() {
    let mut world = set();
    let mine = world.0.revisions.pop().unwrap();
    world.0.taken.push(owner::name(&mine.metadata).to_owned());
    check(
        &world,
        expect!["status desired=0 current=0 ready=0 updated=0 available=0 unavailable=0 misscheduled=0 collisions=1"],
    );
}

#[test]
fn only_labels_and_taints_of_a_node_matter() {
    let node = |value: Value| -> Node { serde_json::from_value(value).unwrap() };
    let plain = node(json!({"metadata": {"name": "n", "resourceVersion": "1"}}));
    let heartbeat = node(json!({"metadata": {"name": "n", "resourceVersion": "2"}, "status": {"phase": "x"}}));
    let tainted = node(json!({"metadata": {"name": "n"}, "spec": {"taints": [{"key": "k", "effect": "NoSchedule"}]}}));
    assert!(!matters(Some(&plain), Some(&heartbeat)));
    assert!(matters(Some(&plain), Some(&tainted)) && matters(None, Some(&plain)) && matters(Some(&plain), None));
}

/// What the API server, the scheduler, the kubelet and the caches make of an action: pods start at once, and go at once.
fn apply(seen: &mut Observed, action: &Action) {
    let set = Arc::clone(&seen.set);
    let set_owner = |pod: &Arc<Pod>, owned: bool| {
        let mut pod = Pod::clone(pod);
        pod.metadata.owner_references = owned.then(|| vec![owner::controller_reference(&*set)]);
        Arc::new(pod)
    };
    match action {
        Action::History(Step::Create(revision)) => seen.revisions.push(Arc::new((**revision).clone())),
        Action::History(Step::Renumber(revision, to)) => {
            for other in &mut seen.revisions {
                if other.metadata.name == revision.metadata.name {
                    Arc::make_mut(other).revision = *to;
                }
            }
        }
        Action::History(Step::Delete(gone)) => {
            seen.revisions
                .retain(|other: &Arc<ControllerRevision>| other.metadata.name != gone.metadata.name);
        }
        Action::History(other) => panic!("unexpected {other:?}"),
        Action::Adopt(pod) | Action::Release(pod) => {
            let changed = set_owner(pod, matches!(action, Action::Adopt(_)));
            for other in &mut seen.pods {
                if other.metadata.name == pod.metadata.name {
                    *other = Arc::clone(&changed);
                }
            }
        }
        Action::Relabel { pod, hash } => {
            for other in &mut seen.pods {
                if other.metadata.name == pod.metadata.name {
                    let labels = Arc::make_mut(other).metadata.labels.get_or_insert_default();
                    labels.insert(history::REVISION_LABEL.into(), hash.clone());
                }
            }
        }
        Action::Create { template, nodes } => {
            for node in nodes {
                let mut value = serde_json::to_value(pod::for_node(&set, template, node)).unwrap();
                value["metadata"]["name"] = json!(format!("new-{node}-{}", seen.pods.len()));
                value["metadata"]["creationTimestamp"] = json!("2026-01-01T00:59:00Z");
                value["spec"]["nodeName"] = json!(node);
                value["status"] = status("Running", true);
                seen.pods.push(Arc::new(serde_json::from_value(value).unwrap()));
            }
        }
        Action::Delete(gone) | Action::DeleteEnded { pod: gone, .. } => {
            seen.pods.retain(|pod| pod.metadata.name != gone.metadata.name);
            if let Action::DeleteEnded { node, .. } = action {
                let next = Pause::after(seen.pauses.get(node), now() - SignedDuration::from_secs(60));
                seen.pauses.insert(node.clone(), next);
            }
        }
        Action::SetStatus(status) => Arc::make_mut(&mut seen.set).status = Some((**status).clone()),
    }
}

#[derive(Clone, Debug)]
struct AnyPod {
    node: usize,
    phase: &'static str,
    ready: bool,
    old: bool,
    owner: Option<&'static str>,
    app: &'static str,
}

fn any_pod() -> impl Strategy<Value = AnyPod> {
    let phases = prop_oneof![Just("Pending"), Just("Running"), Just("Failed"), Just("Succeeded")];
    let owners = prop_oneof![3 => Just(Some("ds")), 1 => Just(None), 1 => Just(Some("other"))];
    let apps = prop_oneof![4 => Just("log"), 1 => Just("other")];
    (0..5_usize, phases, any::<bool>(), any::<bool>(), owners, apps).prop_map(
        |(node, phase, ready, old, owner, app)| AnyPod {
            node,
            phase,
            ready,
            old,
            owner,
            app,
        },
    )
}

proptest! {
    #[test]
    fn whatever_was_there_each_eligible_node_ends_with_one_new_pod(
        nodes in 0..5_usize, surge in any::<bool>(), pods in prop::collection::vec(any_pod(), 0..8),
    ) {
        let mut world = if surge { set().surge() } else { set() };
        world = world.nodes(nodes);
        let place = |world: World, old: bool| pods.iter().enumerate().filter(|(_, pod)| pod.old == old).fold(world, |world, (at, pod)| {
            world.pod(&format!("p{at}"), &format!("n{}", pod.node + 1), |value| {
                value["status"] = status(pod.phase, pod.ready && pod.phase == "Running");
                value["metadata"]["labels"]["app"] = json!(pod.app);
                match pod.owner {
                    Some(uid) => value["metadata"]["ownerReferences"][0]["uid"] = json!(uid),
                    None => value["metadata"]["ownerReferences"] = Value::Null,
                }
                // Pods of nodes that are not there are collected by somebody else once they are bound.
                if pod.node >= nodes {
                    value["spec"]["nodeName"] = Value::Null;
                }
            })
        });
        world = place(world, true);
        world = place(world.image("v2"), false);
        // The world's pods that are not ready become ready in time.
        let ready = |seen: &mut Observed| for pod in &mut seen.pods {
            let phase = pod.status.as_ref().unwrap().phase.clone().unwrap();
            if phase == "Pending" || phase == "Running" {
                Arc::make_mut(pod).status = serde_json::from_value(status("Running", true)).unwrap();
            }
        };
        let rounds = settles_within(40, &mut world.0, |seen| {
            let mut seen = seen.clone();
            ready(&mut seen);
            plan(&seen, now()).actions
        }, apply);
        prop_assert!(rounds.is_ok(), "{}", rounds.unwrap_err());
        let hash = history::hash_of(world.0.revisions.iter().max_by_key(|one| one.revision).unwrap()).to_owned();
        for node in &world.0.nodes {
            let name = owner::name(&node.metadata);
            let here = world.0.pods.iter().filter(|pod| {
                owner::is_controlled_by(&pod.metadata, "ds") && pod::target(pod) == Some(name)
            });
            let here: Vec<_> = here.collect();
            prop_assert_eq!(here.len(), 1, "on {}", name);
            prop_assert!(pod::is_updated(&world.0.set, here[0], &hash));
        }
        prop_assert_eq!(usize::try_from(world.0.set.status.as_ref().unwrap().number_ready).unwrap(), nodes);
    }
}
