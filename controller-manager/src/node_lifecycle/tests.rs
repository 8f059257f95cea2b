use std::sync::Arc;
use std::time::Duration;

use expect_test::expect;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::json;
use timonel_api::conditions;
use timonel_client::law::settles;

use super::plan::{Action, Heartbeat, Observed, plan};
use super::zones::Eviction;
use crate::Timings;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).unwrap()
}

fn ready_node() -> Node {
    let time = at(0).to_string();
    serde_json::from_value(json!({
        "metadata": {"name": "n1"},
        "spec": {"taints": [{"key": "mine", "effect": "NoSchedule"}]},
        "status": {"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": time, "lastTransitionTime": time}]},
    }))
    .unwrap()
}

fn observed() -> Observed {
    let node = ready_node();
    let pod: Pod = serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    }))
    .unwrap();
    Observed {
        heard: Heartbeat::first(&node, None, at(0)),
        node: Arc::new(node),
        pods: vec![Arc::new(pod)],
        eviction: Eviction::Allowed,
        registered: true,
        gone: false,
        timings: Timings::default(),
    }
}

fn apply(seen: &mut Observed, action: &Action) {
    match action {
        Action::SetConditions(changed) => {
            let status = Arc::make_mut(&mut seen.node).status.get_or_insert_default();
            for condition in changed {
                conditions::set(status.conditions.get_or_insert_default(), condition.clone(), at(60));
            }
        }
        Action::SetTaints(taints) => {
            Arc::make_mut(&mut seen.node).spec.get_or_insert_default().taints = Some(taints.clone());
        }
        Action::SetLabels(labels) => {
            let there = Arc::make_mut(&mut seen.node).metadata.labels.get_or_insert_default();
            there.extend(labels.clone());
        }
        Action::SayNotReady | Action::SayRemoving => {}
        Action::SayRegistered => seen.registered = true,
        Action::MarkPodNotReady { condition, .. } => {
            for pod in &mut seen.pods {
                let status = Arc::make_mut(pod).status.get_or_insert_default();
                conditions::set(status.conditions.get_or_insert_default(), condition.clone(), at(60));
            }
        }
    }
}

#[test]
fn a_node_within_its_grace_is_left_alone() {
    assert!(plan(&observed(), at(50)).is_empty());
}

#[test]
fn a_silent_node_turns_unknown_and_is_tainted_and_its_pods_turn_unready() {
    let mut seen = observed();
    let because = plan(&seen, at(51)).because;
    assert_eq!(because.len(), 4, "{because:?}");
    settles(&mut seen, |seen| plan(seen, at(51)).actions, apply).unwrap();
    let spec = seen.node.spec.clone().unwrap();
    let taints: Vec<_> = spec
        .taints
        .unwrap()
        .iter()
        .map(|taint| format!("{}:{}", taint.key, taint.effect))
        .collect();
    expect![[r#"
        mine:NoSchedule
        node.kubernetes.io/unreachable:NoSchedule
        node.kubernetes.io/unreachable:NoExecute"#]]
    .assert_eq(&taints.join("\n"));
    let list = seen.node.status.clone().unwrap().conditions.unwrap();
    let ready = conditions::find(&list, "Ready").unwrap();
    assert_eq!(ready.reason.as_deref(), Some("NodeStatusUnknown"));
    assert_eq!(ready.message.as_deref(), Some("Kubelet stopped posting node status."));
    assert!(!timonel_api::pod::is_ready(&seen.pods[0]));
}

#[test]
fn a_node_that_comes_back_loses_its_taints() {
    let mut seen = observed();
    settles(&mut seen, |seen| plan(seen, at(51)).actions, apply).unwrap();
    let mut node = ready_node();
    node.spec = seen.node.spec.clone();
    seen.heard.hear(&node, None, at(70));
    let mut fresh = node.clone();
    fresh.status.as_mut().unwrap().conditions.as_mut().unwrap()[0].last_heartbeat_time =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(at(70)));
    seen.heard.hear(&fresh, None, at(70));
    seen.node = Arc::new(fresh);
    settles(&mut seen, |seen| plan(seen, at(71)).actions, apply).unwrap();
    assert_eq!(seen.node.spec.as_ref().unwrap().taints.as_ref().unwrap().len(), 1);
}

#[test]
fn when_all_zones_are_lost_nobody_is_evicted_and_what_was_begun_is_called_off() {
    let evicting = |seen: &Observed| super::plan::is_evicting(&seen.node);
    for eviction in [Eviction::Stopped, Eviction::Later(None)] {
        let mut seen = observed();
        seen.eviction = eviction;
        settles(&mut seen, |seen| plan(seen, at(51)).actions, apply).unwrap();
        assert!(!evicting(&seen), "{eviction:?}");
    }
    let mut seen = observed();
    settles(&mut seen, |seen| plan(seen, at(51)).actions, apply).unwrap();
    assert!(evicting(&seen));
    seen.eviction = Eviction::Stopped;
    settles(&mut seen, |seen| plan(seen, at(52)).actions, apply).unwrap();
    assert!(!evicting(&seen));
}

#[test]
fn a_node_whose_zone_makes_it_wait_is_looked_at_when_its_turn_comes() {
    let mut seen = observed();
    seen.eviction = Eviction::Later(Some(Duration::from_secs(3)));
    assert_eq!(plan(&seen, at(51)).requeue, Some(Duration::from_secs(3)));
}

#[test]
fn older_labels_follow_the_newer_ones() {
    let mut seen = observed();
    let labels =
        json!({"kubernetes.io/os": "linux", "kubernetes.io/arch": "arm64", "beta.kubernetes.io/arch": "amd64"});
    Arc::make_mut(&mut seen.node).metadata.labels = Some(serde_json::from_value(labels).unwrap());
    settles(&mut seen, |seen| plan(seen, at(1)).actions, apply).unwrap();
    let labels = seen.node.metadata.labels.clone().unwrap();
    assert_eq!(labels["beta.kubernetes.io/os"], "linux");
    assert_eq!(labels["beta.kubernetes.io/arch"], "arm64");
}

#[test]
fn a_node_that_never_reported_is_said_to_have_never_reported() {
    let mut seen = observed();
    let created = json!({"metadata": {"name": "n1", "creationTimestamp": at(0).to_string()}});
    let node: Node = serde_json::from_value(created).unwrap();
    seen.heard = Heartbeat::first(&node, None, at(30));
    seen.node = Arc::new(node);
    assert!(plan(&seen, at(60)).is_empty(), "a new node is given a minute");
    settles(&mut seen, |seen| plan(seen, at(61)).actions, apply).unwrap();
    let list = seen.node.status.clone().unwrap().conditions.unwrap();
    let told = |condition: &k8s_openapi::api::core::v1::NodeCondition| {
        format!(
            "{} {} {}: {}",
            condition.type_,
            condition.status,
            condition.reason.as_deref().unwrap_or(""),
            condition.message.as_deref().unwrap_or(""),
        )
    };
    expect![[r#"
        Ready Unknown NodeStatusNeverUpdated: Kubelet never posted node status.
        MemoryPressure Unknown NodeStatusNeverUpdated: Kubelet never posted node status.
        DiskPressure Unknown NodeStatusNeverUpdated: Kubelet never posted node status.
        PIDPressure Unknown NodeStatusNeverUpdated: Kubelet never posted node status."#]]
    .assert_eq(&list.iter().map(told).collect::<Vec<_>>().join("\n"));
}

#[test]
fn the_coming_and_going_of_a_node_is_told() {
    let mut seen = observed();
    seen.registered = false;
    assert_eq!(plan(&seen, at(1)).actions, [Action::SayRegistered]);
    seen.gone = true;
    assert_eq!(plan(&seen, at(1)).actions, [Action::SayRemoving]);
}
