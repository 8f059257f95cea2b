use std::sync::Arc;

use expect_test::{Expect, expect};
use serde_json::{Value, json};
use timonel_api::selector::LabelSelector;

use super::*;
use crate::preempt::{Preemption, preempt};

/// A cluster described in a few words.
#[derive(Default)]
struct World {
    nodes: imbl::OrdMap<String, Arc<NodeInfo>>,
    nominated: crate::snapshot::Nominated,
}

impl World {
    fn node(self, name: &str) -> Self {
        self.node_with(name, json!({}))
    }

    fn node_with(mut self, name: &str, spec: Value) -> Self {
        let node = json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "spec": spec,
            "status": {"allocatable": {"cpu": "2", "memory": "4Gi", "pods": "5"}},
        });
        let mut info = NodeInfo::default();
        info.set_node(Arc::new(serde_json::from_value(node).unwrap()));
        self.nodes.insert(name.to_owned(), Arc::new(info));
        self
    }

    fn running(mut self, node: &str, pod: PodInfo) -> Self {
        Arc::make_mut(self.nodes.get_mut(node).unwrap()).add_pod(Arc::new(pod));
        self
    }

    fn nominated(mut self, node: &str, pod: PodInfo) -> Self {
        self.nominated.entry(node.to_owned()).or_default().push(Arc::new(pod));
        self
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.nodes.clone(), Default::default(), self.nominated.clone())
    }
}

fn pod_with(name: &str, spec: Value) -> PodInfo {
    let mut spec = spec;
    let containers = json!([{"name": "c", "image": "demo:1.0", "resources": {"requests": spec.get("requests").cloned().unwrap_or(json!({}))}}]);
    spec.as_object_mut().unwrap().remove("requests");
    spec["containers"] = containers;
    let pod = json!({
        "metadata": {"name": name, "namespace": "demo", "uid": format!("uid-{name}"), "labels": {"app": "web"}},
        "spec": spec,
    });
    let selector = LabelSelector::parse("app=web").unwrap();
    PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap()), Some(selector))
}

fn pod(name: &str) -> PodInfo {
    pod_with(name, json!({}))
}

#[track_caller]
fn check(pod: &PodInfo, world: &World, expected: Expect) {
    let decision = decide(pod, &world.snapshot(), 0);
    let text = decision.node.clone().unwrap_or_else(|| decision.message());
    expected.assert_eq(&text);
}

#[test]
fn an_empty_cluster_is_said_to_be_empty() {
    check(
        &pod("p"),
        &World::default(),
        expect!["no nodes available to schedule pods"],
    );
}

#[test]
fn replicas_of_one_owner_spread_over_nodes() {
    let mut world = World::default().node("n1").node("n2").node("n3");
    let mut chosen = Vec::new();
    for name in ["a", "b", "c"] {
        let replica = pod(name);
        let node = decide(&replica, &world.snapshot(), 7).node.unwrap();
        world = world.running(&node, replica);
        chosen.push(node);
    }
    chosen.sort();
    assert_eq!(chosen, ["n1", "n2", "n3"]);
}

#[test]
fn every_reason_is_counted_in_upstreams_words() {
    let taint = json!({"taints": [{"key": "node.kubernetes.io/unreachable", "effect": "NoExecute"}]});
    let world = World::default()
        .node_with("n1", taint)
        .node_with("n2", json!({"unschedulable": true}))
        .node("n3");
    check(
        &pod_with("p", json!({"requests": {"cpu": "3", "memory": "5Gi"}})),
        &world,
        expect![
            "0/3 nodes are available: 1 Insufficient cpu, 1 Insufficient memory, 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable."
        ],
    );
}

#[test]
fn node_selector_and_affinity_choose_nodes() {
    let world = World::default().node("n1").node("n2");
    let spec = json!({"nodeSelector": {"kubernetes.io/hostname": "n2"}});
    check(&pod_with("p", spec), &world, expect!["n2"]);
    let terms = json!([{"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}]);
    let spec = json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}});
    check(
        &pod_with("p", spec),
        &world,
        expect!["0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector."],
    );
}

#[test]
fn anti_affinity_works_both_ways() {
    let spec = json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "kubernetes.io/hostname"},
    ]}}});
    let world = World::default().node("n1").running("n1", pod_with("a", spec.clone()));
    check(
        &pod_with("b", spec),
        &world,
        expect!["0/1 nodes are available: 1 node(s) didn't match pod anti-affinity rules."],
    );
    check(
        &pod("c"),
        &world,
        expect!["0/1 nodes are available: 1 node(s) didn't satisfy existing pods anti-affinity rules."],
    );
}

#[test]
fn a_required_spread_refuses_a_node_that_has_too_many() {
    let spec = json!({"topologySpreadConstraints": [{
        "maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"app": "web"}},
    }]});
    let world = World::default().node("n1").node("n2").running("n1", pod("a"));
    check(&pod_with("b", spec), &world, expect!["n2"]);
}

#[test]
fn host_ports_and_pod_counts_are_taken() {
    let spec = json!({"priority": 0});
    let mut full = World::default().node("n1");
    for name in ["a", "b", "c", "d", "e"] {
        full = full.running("n1", pod_with(name, spec.clone()));
    }
    check(&pod("p"), &full, expect!["0/1 nodes are available: 1 Too many pods."]);
}

#[test]
fn a_more_important_pod_takes_the_place_of_the_least_important_one() {
    let low = |name, priority| pod_with(name, json!({"priority": priority, "requests": {"cpu": "1"}}));
    let world = World::default()
        .node("n1")
        .running("n1", low("a", 1))
        .running("n1", low("b", 5))
        .node_with("n2", json!({"unschedulable": true}));
    let important = pod_with("p", json!({"priority": 100, "requests": {"cpu": "1"}}));
    let snapshot = world.snapshot();
    let decision = decide(&important, &snapshot, 0);
    let Preemption::Evict { node, victims, .. } =
        preempt(&Profile::default(), &important, &snapshot, &decision, &[], 0)
    else {
        panic!("expected an eviction")
    };
    let names: Vec<_> = victims.iter().map(|victim| victim.key.name.as_str()).collect();
    assert_eq!((node.as_str(), names), ("n1", vec!["a"]));

    let equal = pod_with("q", json!({"priority": 1, "requests": {"cpu": "1"}}));
    let Preemption::Nothing(why) = preempt(
        &Profile::default(),
        &equal,
        &snapshot,
        &decide(&equal, &snapshot, 0),
        &[],
        0,
    ) else {
        panic!("expected no eviction")
    };
    expect!["preemption: 0/2 nodes are available: 1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling."]
        .assert_eq(&why);
}

fn important(name: &str, priority: i32) -> PodInfo {
    pod_with(name, json!({"priority": priority, "requests": {"cpu": "1500m"}}))
}

/// What the status of a pod says for which room is made on a node.
fn waiting_for(node: &str, pod: PodInfo) -> PodInfo {
    let mut with = (*pod.pod).clone();
    with.status.get_or_insert_default().nominated_node_name = Some(node.to_owned());
    PodInfo::new(Arc::new(with), None)
}

#[test]
fn room_that_is_made_for_a_pod_is_not_given_to_a_lesser_one() {
    let world = World::default().node("n1").nominated("n1", important("waits", 10));
    check(
        &important("lesser", 9),
        &world,
        expect!["0/1 nodes are available: 1 Insufficient cpu."],
    );
    check(&important("greater", 11), &world, expect!["n1"]);
    check(
        &pod_with("small", json!({"priority": 0, "requests": {"cpu": "500m"}})),
        &world,
        expect!["n1"],
    );
    check(&important("waits", 10), &world, expect!["n1"]);
}

#[test]
fn a_pod_goes_where_room_was_made_for_it() {
    let world = World::default()
        .node("n1")
        .node("n2")
        .running("n2", pod_with("a", json!({"requests": {"cpu": "500m"}})));
    check(&important("p", 10), &world, expect!["n1"]);
    check(&waiting_for("n2", important("p", 10)), &world, expect!["n2"]);
    let world = world.running("n2", pod_with("b", json!({"requests": {"cpu": "500m"}})));
    check(&waiting_for("n2", important("p", 10)), &world, expect!["n1"]);
}

#[test]
fn who_waits_for_leaving_victims_asks_nobody_else_to_leave_and_displaces_lesser_ones() {
    let victim = |labels: Value| {
        let mut victim = (*important("victim", 1).pod).clone();
        victim.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
        victim.status = serde_json::from_value(json!({"conditions": labels})).unwrap();
        PodInfo::new(Arc::new(victim), None)
    };
    let preempted = json!([{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]);
    let pod = waiting_for("n1", important("p", 10));
    let ask = |world: World| {
        let snapshot = world.snapshot();
        preempt(
            &Profile::default(),
            &pod,
            &snapshot,
            &decide(&pod, &snapshot, 0),
            &[],
            0,
        )
    };
    let Preemption::NotEligible(why) = ask(World::default().node("n1").running("n1", victim(preempted))) else {
        panic!("it waits")
    };
    expect!["preemption: not eligible due to a terminating pod on the nominated node."].assert_eq(why);
    // Somebody who leaves for another reason is nobody to wait for.
    let world = World::default()
        .node("n1")
        .running("n1", victim(json!([])))
        .nominated("n1", important("lesser", 5));
    let Preemption::Evict { displaced, .. } = ask(world) else {
        panic!("it makes room")
    };
    let names: Vec<_> = displaced.iter().map(|other| other.key.name.as_str()).collect();
    assert_eq!(names, ["lesser"]);
}

/// Decides by a profile with arguments of its own.
#[track_caller]
fn check_with(args: &crate::plugins::args::Args, pod: &PodInfo, world: &World, expected: Expect) {
    let profile = Profile::new("default-scheduler", args);
    let decision = decide_for(&profile, pod, &world.snapshot(), Turn::default());
    let text = decision.node.clone().unwrap_or_else(|| decision.message());
    expected.assert_eq(&text);
}

#[test]
fn a_profile_may_pack_nodes_full() {
    use crate::plugins::args::{Args, FitArgs, ShapePoint, Strategy};
    let world = World::default()
        .node("n1")
        .node("n2")
        .running("n2", pod_with("a", json!({"requests": {"cpu": "1", "memory": "2Gi"}})));
    // Nothing selects it, so that only resources make a difference.
    let wants = pod_with("p", json!({"requests": {"cpu": "500m", "memory": "1Gi"}}));
    let wants = PodInfo::new(Arc::clone(&wants.pod), None);
    let by = |strategy| Args {
        fit: FitArgs {
            strategy,
            ..FitArgs::default()
        },
        ..Args::default()
    };
    check_with(&by(Strategy::LeastAllocated), &wants, &world, expect!["n1"]);
    check_with(&by(Strategy::MostAllocated), &wants, &world, expect!["n2"]);
    let point = |utilization, score| ShapePoint { utilization, score };
    let fuller = Strategy::RequestedToCapacityRatio(vec![point(0, 0), point(100, 10)]);
    check_with(&by(fuller), &wants, &world, expect!["n2"]);
    let emptier = Strategy::RequestedToCapacityRatio(vec![point(0, 10), point(100, 0)]);
    check_with(&by(emptier), &wants, &world, expect!["n1"]);
}

#[test]
fn a_profile_may_keep_pods_off_nodes_and_leave_resources_out() {
    use crate::plugins::args::{Args, FitArgs, NodeAffinityArgs};
    let world = World::default().node("n1").node("n2");
    let affinity = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["n3"]}]},
    ]}});
    let args = Args {
        node_affinity: NodeAffinityArgs {
            added_affinity: serde_json::from_value(affinity).unwrap(),
        },
        ..Args::default()
    };
    check_with(
        &args,
        &pod("p"),
        &world,
        expect!["0/2 nodes are available: 2 node(s) didn't match scheduler-enforced node affinity."],
    );
    let wants = pod_with("p", json!({"requests": {"example.com/gpu": "1"}}));
    check(
        &wants,
        &world,
        expect!["0/2 nodes are available: 2 Insufficient example.com/gpu."],
    );
    let args = Args {
        fit: FitArgs {
            ignored_resource_groups: vec!["example.com".to_owned()],
            ..FitArgs::default()
        },
        ..Args::default()
    };
    check_with(&args, &wants, &world, expect!["n1"]);
}

#[test]
fn a_pod_that_names_its_node_is_asked_of_that_node_only() {
    let world = World::default()
        .node("n1")
        .node_with("n2", json!({"unschedulable": true}))
        .node("n3");
    let named = |name: &str| {
        let terms = json!([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]}]);
        pod_with(
            "p",
            json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}}),
        )
    };
    check(&named("n3"), &world, expect!["n3"]);
    check(
        &named("n2"),
        &world,
        expect![
            "0/3 nodes are available: 1 node(s) were unschedulable, 2 node(s) didn't satisfy plugin(s) [NodeAffinity]."
        ],
    );
}

#[test]
fn enough_nodes_are_looked_at_and_the_next_decision_goes_on_from_there() {
    let mut world = World::default();
    for at in 0..1000 {
        world = world.node(&format!("n{at:04}"));
    }
    let (profile, snapshot) = (Profile::default(), world.snapshot());
    // 50 - 1000/125 = 42 percent, as upstream.
    assert_eq!(profile.enough(1000), 420);
    assert_eq!(
        (profile.enough(99), profile.enough(100), profile.enough(5000)),
        (99, 100, 500)
    );
    let turn = Turn {
        start: 700,
        ..Turn::default()
    };
    let decision = decide_for(&profile, &pod("p"), &snapshot, turn);
    assert_eq!((decision.verdicts().len(), decision.next_start), (420, 120));
    let thorough = Turn { thorough: true, ..turn };
    assert_eq!(
        decide_for(&profile, &pod("p"), &snapshot, thorough).verdicts().len(),
        1000
    );
}

#[test]
fn preemption_says_what_still_stands_in_the_way() {
    let low = pod_with("low", json!({"priority": 1, "requests": {"cpu": "500m"}}));
    let high = pod_with("high", json!({"priority": 100, "requests": {"cpu": "1500m"}}));
    let world = World::default().node("n1").running("n1", low).running("n1", high);
    let wants = pod_with("p", json!({"priority": 10, "requests": {"cpu": "1"}}));
    let snapshot = world.snapshot();
    let decision = decide(&wants, &snapshot, 0);
    let Preemption::Nothing(why) = preempt(&Profile::default(), &wants, &snapshot, &decision, &[], 0) else {
        panic!("expected no eviction")
    };
    expect!["preemption: 0/1 nodes are available: 1 Insufficient cpu."].assert_eq(&why);
}

#[test]
fn a_plan_tells_the_verdict_of_every_node() {
    let world = World::default()
        .node("n1")
        .node_with("n2", json!({"unschedulable": true}))
        .running(
            "n1",
            pod_with("low", json!({"priority": 1, "requests": {"cpu": "1500m"}})),
        );
    let profile = Arc::new(Profile::default());
    let profiles = BTreeMap::from([(profile.scheduler_name.clone(), profile)]);
    let fits = Arc::new(pod_with("fits", json!({"requests": {"cpu": "500m"}})));
    let preempts = Arc::new(pod_with("preempts", json!({"priority": 5, "requests": {"cpu": "1"}})));
    let accounts = crate::plan::plan(&profiles, &world.snapshot(), &[], &[fits, preempts]);
    let told: Vec<String> = accounts
        .iter()
        .map(|account| serde_json::to_string_pretty(account).unwrap())
        .collect();
    expect![[r#"
        {
          "namespace": "demo",
          "name": "fits",
          "schedulerName": "default-scheduler",
          "node": "n1",
          "nodesInAll": 2,
          "nodes": [
            {
              "node": "n1",
              "score": 0,
              "parts": []
            },
            {
              "node": "n2",
              "plugin": "NodeUnschedulable",
              "reasons": [
                "node(s) were unschedulable"
              ]
            }
          ],
          "leftOut": 0
        }
        {
          "namespace": "demo",
          "name": "preempts",
          "schedulerName": "default-scheduler",
          "node": null,
          "message": "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) were unschedulable.",
          "nominatedNode": "n1",
          "victims": [
            "demo/low"
          ],
          "nodesInAll": 2,
          "nodes": [
            {
              "node": "n1",
              "plugin": "NodeResourcesFit",
              "reasons": [
                "Insufficient cpu"
              ]
            },
            {
              "node": "n2",
              "plugin": "NodeUnschedulable",
              "reasons": [
                "node(s) were unschedulable"
              ]
            }
          ],
          "leftOut": 0
        }"#]]
    .assert_eq(&told.join("\n"));
}
