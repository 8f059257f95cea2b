//! Machines that die, freeze, are cut off, and come back; components that are killed in the middle of their work.

use std::collections::BTreeMap;

use crate::cluster::{Lab, condition, container, name};
use crate::manifests::demo;
use crate::rollout::image;

fn node_ready(lab: &Lab, node: &str) -> Result<String, String> {
    Ok(condition(&lab.json(&["get", "node", node])?, "Ready").to_owned())
}

#[test]
fn a_dead_node_is_noticed_its_pods_move_and_it_comes_back() {
    let lab = Lab::enter("death");
    lab.apply(&demo("web", 3, "1.0"));
    lab.until_ready("app=web", 3);
    lab.node(&["kill", "node-2"]);
    lab.until("node-2 is not ready", || {
        let ready = node_ready(&lab, "node-2")?;
        if ready == "Unknown" { Ok(()) } else { Err(ready) }
    });
    assert!(lab.timonctl.run(&["get", "nodes"]).contains("NotReady"));
    lab.until("three pods are ready on the other two nodes", || {
        let pods = lab.pods("app=web")?;
        let elsewhere = pods
            .iter()
            .filter(|pod| pod["spec"]["nodeName"] != "node-2" && condition(pod, "Ready") == "True");
        let count = elsewhere.count();
        if count == 3 {
            Ok(())
        } else {
            Err(format!("{count} are"))
        }
    });
    lab.node(&["start", "node-2"]);
    lab.until("node-2 is back and the dead pods are gone", || {
        let ready = node_ready(&lab, "node-2")?;
        let left = lab.pods("app=web")?.len();
        if ready == "True" && left == 3 {
            Ok(())
        } else {
            Err(format!("ready {ready}, {left} pods"))
        }
    });
    lab.until("its taints are gone", || {
        let node = lab.json(&["get", "node", "node-2"])?;
        let taints = &node["spec"]["taints"];
        if taints.as_array().is_none_or(Vec::is_empty) {
            Ok(())
        } else {
            Err(taints.to_string())
        }
    });
}

#[test]
fn a_node_that_is_cut_off_keeps_its_containers_and_rejoins() {
    let lab = Lab::enter("cut");
    // It may stay on a node that does not answer, so what is there after the cut is what was there before.
    let stays =
        "    spec:\n      tolerations: [{key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute}]\n";
    lab.apply(&demo("web", 3, "1.0").replace("    spec:\n", stays));
    let before = running(&lab, "app=web");
    lab.node(&["cut", "node-3"]);
    lab.until("node-3 is not ready", || {
        let ready = node_ready(&lab, "node-3")?;
        if ready == "Unknown" { Ok(()) } else { Err(ready) }
    });
    lab.node(&["join", "node-3"]);
    lab.until("node-3 is back", || {
        let ready = node_ready(&lab, "node-3")?;
        if ready == "True" { Ok(()) } else { Err(ready) }
    });
    assert_eq!(
        running(&lab, "app=web"),
        before,
        "containers ran on untouched, and their pods are Ready again"
    );
}

#[test]
fn a_machine_joins_the_lab_and_leaves_it() {
    let lab = Lab::enter("joins");
    lab.node(&["add", "node-4"]);
    assert_eq!(
        node_ready(&lab, "node-4").as_deref(),
        Ok("True"),
        "it is Ready when `add` returns"
    );
    let here = "    spec:\n      nodeName: node-4\n";
    lab.apply(&demo("web", 1, "1.0").replace("    spec:\n", here));
    lab.until_ready("app=web", 1);
    lab.kubectl.run(&["delete", "deployment", "web", "--wait"]);
    lab.node(&["remove", "node-4"]);
    let said = lab.kubectl.refused(&["get", "node", "node-4"], "");
    assert!(said.contains("NotFound"), "{said}");
    assert!(!lab.timonel.run(&["lab", "status"]).contains("node-4"));
}

#[test]
fn a_frozen_node_thaws_and_goes_on() {
    let lab = Lab::enter("frozen");
    lab.node(&["freeze", "node-1"]);
    lab.until("node-1 is not ready", || {
        let ready = node_ready(&lab, "node-1")?;
        if ready == "Unknown" { Ok(()) } else { Err(ready) }
    });
    lab.node(&["thaw", "node-1"]);
    lab.until("node-1 is back", || {
        let ready = node_ready(&lab, "node-1")?;
        if ready == "True" { Ok(()) } else { Err(ready) }
    });
}

/// What identifies each running container of the pods: its id and when it started.
fn running(lab: &Lab, selector: &str) -> BTreeMap<String, String> {
    let pods = lab.until_ready(selector, 3);
    let identity = |pod| {
        let container = container(pod);
        format!(
            "{} {}",
            container["containerID"], container["state"]["running"]["startedAt"]
        )
    };
    pods.iter().map(|pod| (name(pod), identity(pod))).collect()
}

#[test]
fn the_server_killed_in_the_middle_of_a_rolling_update_loses_nothing() {
    let lab = Lab::enter("server");
    lab.apply(&demo("steady", 3, "1.0"));
    let before = running(&lab, "app=steady");
    lab.apply(&demo("web", 3, "1.0"));
    lab.until_ready("app=web", 3);
    lab.kubectl
        .run(&["set", "image", "deployment/web", "demo=timonel.dev/demo:2.0"]);
    let acknowledged = lab.kubectl.run(&[
        "create",
        "configmap",
        "acknowledged",
        "--from-literal=a=b",
        "-o",
        "jsonpath={.metadata.uid}",
    ]);
    lab.node(&["kill", "server"]);
    assert!(
        lab.kubectl.try_run(&["get", "nodes", "--request-timeout=2s"]).is_err(),
        "the server is dead"
    );
    lab.node(&["start", "server"]);
    let kept = lab.until("the server answers", || {
        lab.kubectl
            .try_run(&["get", "configmap", "acknowledged", "-o", "jsonpath={.metadata.uid}"])
    });
    assert_eq!(kept, acknowledged, "what was acknowledged is there");
    lab.until("the update completes", || {
        let pods = lab.until_ready("app=web", 3);
        if pods.iter().all(|pod| image(pod) == "timonel.dev/demo:2.0") {
            Ok(())
        } else {
            Err("not everywhere".to_owned())
        }
    });
    assert_eq!(running(&lab, "app=steady"), before, "containers ran on untouched");
}

#[test]
fn containers_keep_their_pids_when_kubelet_and_containerd_restart() {
    let lab = Lab::enter("pids");
    lab.apply(&demo("web", 3, "1.0"));
    let before = running(&lab, "app=web");
    for unit in ["kubelet", "containerd"] {
        for node in ["node-1", "node-2", "node-3"] {
            lab.node(&["restart", node, "--unit", unit]);
        }
        lab.until("all nodes are ready", || {
            for node in ["node-1", "node-2", "node-3"] {
                if node_ready(&lab, node)? != "True" {
                    return Err(format!("{node} is not"));
                }
            }
            Ok(())
        });
        // A restarted kubelet that wanted other containers would have made them by the time it has answered for its pods.
        for pod in before.keys() {
            lab.until("the node answers for its pods", || lab.exec(pod, &["true"]));
        }
        assert_eq!(running(&lab, "app=web"), before, "after the restart of {unit}");
    }
}
