//! A Deployment's life: spread, replaced, rolled, undone.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::cluster::{Lab, condition, name};
use crate::manifests::demo;

#[test]
fn three_replicas_spread_over_three_nodes() {
    let lab = Lab::enter("spread");
    lab.apply(&demo("web", 3, "1.0"));
    let pods = lab.until_ready("app=web", 3);
    let nodes: BTreeSet<&str> = pods.iter().filter_map(|pod| pod["spec"]["nodeName"].as_str()).collect();
    assert_eq!(nodes, BTreeSet::from(["node-1", "node-2", "node-3"]));
    let addresses: BTreeSet<&str> = pods.iter().filter_map(|pod| pod["status"]["podIP"].as_str()).collect();
    assert_eq!(addresses.len(), 3, "each pod has an address of its own");
    for tool in [&lab.kubectl, &lab.timonctl] {
        assert!(tool.run(&["get", "deployment", "web", "--no-headers"]).contains("3/3"));
        tool.run(&["rollout", "status", "deployment/web", "--timeout=10s"]);
    }
}

#[test]
fn a_deleted_pod_is_replaced() {
    let lab = Lab::enter("replaced");
    lab.apply(&demo("web", 2, "1.0"));
    let before: BTreeSet<String> = lab.until_ready("app=web", 2).iter().map(name).collect();
    let victim = before.first().expect("there are two").clone();
    lab.timonctl.run(&["delete", "pod", &victim]);
    let after: BTreeSet<String> = lab.until_ready("app=web", 2).iter().map(name).collect();
    assert!(!after.contains(&victim));
    assert_eq!(before.intersection(&after).count(), 1, "the other one stays");
}

#[test]
fn a_new_image_rolls_out_within_its_bounds_and_can_be_undone() {
    let lab = Lab::enter("rolling");
    lab.apply(&demo("web", 3, "1.0"));
    lab.until_ready("app=web", 3);
    lab.kubectl
        .run(&["set", "image", "deployment/web", "demo=timonel.dev/demo:2.0"]);
    // 25 % of 3: one more at most, none missing.
    lab.until("the new version is everywhere", || {
        let deployment = lab.json(&["get", "deployment", "web"])?;
        let pods = lab.pods("app=web")?;
        let live: Vec<&Value> = pods
            .iter()
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
            .collect();
        assert!(live.len() <= 4, "maxSurge is exceeded: {} pods", live.len());
        let available = deployment["status"]["availableReplicas"].as_i64().unwrap_or(0);
        assert!(available >= 3, "maxUnavailable is exceeded: {available} available");
        let new = live
            .iter()
            .filter(|pod| image(pod) == "timonel.dev/demo:2.0" && condition(pod, "Ready") == "True")
            .count();
        if new == 3 && live.len() == 3 {
            Ok(())
        } else {
            Err(format!("{new} of {}", live.len()))
        }
    });
    for tool in [&lab.kubectl, &lab.timonctl] {
        tool.run(&["rollout", "status", "deployment/web", "--timeout=60s"]);
        let history = tool.run(&["rollout", "history", "deployment/web"]);
        assert!(
            history.contains("REVISION") && history.contains("\n1 ") && history.contains("\n2 "),
            "{history}"
        );
    }
    lab.timonctl.run(&["rollout", "undo", "deployment/web"]);
    lab.until("the old version is back", || {
        let pods = lab.until_ready("app=web", 3);
        if pods.iter().all(|pod| image(pod) == "timonel.dev/demo:1.0") {
            Ok(())
        } else {
            Err("not everywhere".to_owned())
        }
    });
    let history = lab.kubectl.run(&["rollout", "history", "deployment/web"]);
    assert!(
        history.contains("\n3 ") && !history.contains("\n1 "),
        "an undone revision becomes the newest: {history}"
    );
}

#[test]
fn scaling_and_restarting_change_what_runs() {
    let lab = Lab::enter("scaling");
    lab.apply(&demo("web", 1, "1.0"));
    let first = name(&lab.until_ready("app=web", 1)[0]);
    lab.timonctl.run(&["scale", "deployment/web", "--replicas=3"]);
    lab.until_ready("app=web", 3);
    lab.kubectl.run(&["scale", "deployment/web", "--replicas=1"]);
    lab.until_ready("app=web", 1);
    lab.timonctl.run(&["rollout", "restart", "deployment/web"]);
    lab.until("another pod has taken over", || {
        let pods = lab.until_ready("app=web", 1);
        if name(&pods[0]) == first {
            Err(first.clone())
        } else {
            Ok(())
        }
    });
}

pub(crate) fn image(pod: &Value) -> &str {
    pod["spec"]["containers"][0]["image"].as_str().unwrap_or("")
}
