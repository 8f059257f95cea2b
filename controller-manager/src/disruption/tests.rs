use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use timonel_client::law::settles;

use super::plan::{Action, Observed, plan};

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
        expected: Some(i32::try_from(ready + unready).unwrap()),
        timeout: Duration::from_secs(120),
    }
}

#[track_caller]
fn allows(spec: Value, ready: usize, unready: usize, expected: i32) {
    let mut seen = observed(spec, ready, unready);
    let now = Timestamp::UNIX_EPOCH;
    let apply = |seen: &mut Observed, Action::SetStatus(status): &Action| {
        Arc::make_mut(&mut seen.budget).status = Some((**status).clone());
    };
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
