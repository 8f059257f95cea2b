use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use timonel_client::law::settles;

use super::plan::{Action, Observed, Told, plan};
use super::scale::Scale;

fn observed(spec: Value, ready: usize, unready: usize) -> Observed {
    let pod = |at: usize| -> Arc<Pod> {
        let is = if at < ready { "True" } else { "False" };
        let pod = json!({"metadata": {"name": format!("p{at}")}, "status": {"conditions": [{"type": "Ready", "status": is}]}});
        Arc::new(serde_json::from_value(pod).unwrap())
    };
    let budget = json!({"metadata": {"name": "b", "generation": 1}, "spec": spec});
    Observed {
        budget: Arc::new(serde_json::from_value(budget).unwrap()),
        pods: (0..ready + unready).map(pod).collect(),
        scale: Ok(Scale {
            pods: i32::try_from(ready + unready).unwrap(),
            unmanaged: Vec::new(),
        }),
        timeout: Duration::from_secs(120),
    }
}

fn apply(seen: &mut Observed, action: &Action) {
    if let Action::SetStatus(status) = action {
        Arc::make_mut(&mut seen.budget).status = Some((**status).clone());
    }
}

/// What a plan tells, without the pods and messages.
fn reasons(seen: &Observed, now: Timestamp) -> Vec<&'static str> {
    let told = plan(seen, now).actions.into_iter().filter_map(|action| match action {
        Action::Tell(told) | Action::TellOf(_, told) => Some(told.reason),
        Action::SetStatus(_) => None,
    });
    told.collect()
}

#[track_caller]
fn allows(spec: Value, ready: usize, unready: usize, expected: i32) {
    let mut seen = observed(spec, ready, unready);
    let now = Timestamp::UNIX_EPOCH;
    settles(&mut seen, |seen| plan(seen, now).actions, apply).unwrap();
    assert_eq!(seen.budget.status.clone().unwrap().disruptions_allowed, Some(expected));
}

#[test]
fn budgets_count_healthy_pods() {
    allows(json!({"minAvailable": 2}), 3, 0, 1);
    allows(json!({"minAvailable": 2}), 2, 1, 0);
    allows(json!({"minAvailable": "50%"}), 3, 0, 1);
    allows(json!({"maxUnavailable": 1}), 3, 0, 1);
    allows(json!({"maxUnavailable": 1}), 2, 1, 0);
    allows(json!({"maxUnavailable": "34%"}), 3, 0, 2);
    allows(json!({"minAvailable": 1}), 0, 0, 0);
}

#[test]
fn what_controllers_want_is_the_measure_not_what_there_is() {
    let mut seen = observed(json!({"maxUnavailable": 1}), 2, 0);
    seen.scale.as_mut().unwrap().pods = 3;
    settles(&mut seen, |seen| plan(seen, Timestamp::UNIX_EPOCH).actions, apply).unwrap();
    let status = seen.budget.status.clone().unwrap();
    assert_eq!((status.expected_pods, status.disruptions_allowed), (Some(3), Some(0)));
}

#[test]
fn what_cannot_be_known_allows_nothing_and_is_told_once() {
    let now = Timestamp::UNIX_EPOCH;
    let mut seen = observed(json!({"maxUnavailable": 1}), 3, 0);
    settles(&mut seen, |seen| plan(seen, now).actions, apply).unwrap();
    seen.scale = Err("jobs.batch does not implement the scale subresource".to_owned());
    assert_eq!(reasons(&seen, now), ["CalculateExpectedPodCountFailed"]);
    assert!(plan(&seen, now).requeue.is_some(), "it is tried again");
    settles(&mut seen, |seen| plan(seen, now).actions, apply).unwrap();
    let status = seen.budget.status.clone().unwrap();
    let condition = &status.conditions.unwrap()[0];
    assert_eq!((status.disruptions_allowed, status.current_healthy), (Some(0), Some(3)));
    assert_eq!(condition.reason, "SyncFailed");
    assert_eq!(condition.message, "jobs.batch does not implement the scale subresource");

    // Who asks for a number of pods does not ask for their controllers.
    let mut numbered = observed(json!({"minAvailable": 1}), 3, 0);
    numbered.scale = seen.scale;
    settles(&mut numbered, |seen| plan(seen, now).actions, apply).unwrap();
    assert_eq!(numbered.budget.status.clone().unwrap().disruptions_allowed, Some(2));
}

#[test]
fn pods_that_nobody_controls_and_budgets_without_pods_are_told() {
    let now = Timestamp::UNIX_EPOCH;
    assert_eq!(reasons(&observed(json!({"minAvailable": 1}), 0, 0), now), ["NoPods"]);
    let selector = json!({"matchLabels": {"app": "x"}, "matchExpressions": [{"key": "k", "operator": "In", "values": ["a", "b"]}]});
    let mut seen = observed(json!({"maxUnavailable": 1, "selector": selector}), 2, 0);
    seen.scale.as_mut().unwrap().unmanaged.push("p0".to_owned());
    let Some(Action::Tell(Told { reason, message, .. })) = plan(&seen, now).actions.into_iter().next() else {
        panic!("it is told");
    };
    assert_eq!(reason, "UnmanagedPods");
    let printed = "(selector: &LabelSelector{MatchLabels:map[string]string{app: x,},MatchExpressions:[]LabelSelectorRequirement\
                   {LabelSelectorRequirement{Key:k,Operator:In,Values:[a b],},},})";
    assert!(message.contains(printed), "{message}");
}

#[test]
fn a_granted_eviction_counts_for_two_minutes_and_its_failure_is_told() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let mut seen = observed(json!({"minAvailable": 1}), 3, 0);
    settles(&mut seen, |seen| plan(seen, at(0)).actions, apply).unwrap();
    let granted = json!({"p0": "1970-01-01T00:00:00Z"});
    let budget = Arc::make_mut(&mut seen.budget);
    budget.status.as_mut().unwrap().disrupted_pods = serde_json::from_value(granted).unwrap();
    settles(&mut seen, |seen| plan(seen, at(60)).actions, apply).unwrap();
    assert_eq!(seen.budget.status.clone().unwrap().disruptions_allowed, Some(1));
    assert_eq!(reasons(&seen, at(121)), ["NotDeleted"]);
    settles(&mut seen, |seen| plan(seen, at(121)).actions, apply).unwrap();
    let status = seen.budget.status.clone().unwrap();
    assert_eq!((status.disruptions_allowed, status.disrupted_pods), (Some(2), None));
}
