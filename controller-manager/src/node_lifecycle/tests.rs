use std::sync::Arc;

use expect_test::expect;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use serde_json::json;
use timonel_api::conditions;
use timonel_client::law::settles;

use super::plan::{Action, Heartbeat, Observed, plan};
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
        someone_is_ready: true,
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
        Action::SayNotReady => {}
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
fn when_nobody_is_ready_nobody_is_evicted() {
    let mut seen = observed();
    seen.someone_is_ready = false;
    settles(&mut seen, |seen| plan(seen, at(51)).actions, apply).unwrap();
    let taints = seen.node.spec.clone().unwrap().taints.unwrap();
    assert!(taints.iter().all(|taint| taint.effect != "NoExecute"));
}
