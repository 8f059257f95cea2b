//! What people ask the scheduler: `plan` before pods are there, `why` once they are. The nodes are made up; nothing runs on them.

use std::time::Duration;

use serde_json::{Value, json};
use timonel_tests::eventually;

use super::server::Server;

fn file(server: &Server, name: &str, objects: &[Value]) -> String {
    let path = server.folder().join(name);
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    std::fs::write(&path, list.to_string()).expect("writable");
    path.display().to_string()
}

/// A node with two cores; one is for graphics only.
fn node(name: &str, taints: &Value) -> Value {
    let capacity = json!({"cpu": "2", "memory": "4Gi", "pods": "10"});
    json!({
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {"taints": taints},
        "status": {"capacity": capacity, "allocatable": capacity, "conditions": [{"type": "Ready", "status": "True", "reason": "MadeUp"}]},
    })
}

fn pod(name: &str, cpu: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": {"containers": [
        {"name": "c", "image": "registry/app:1", "resources": {"requests": {"cpu": cpu}}},
    ]}})
}

#[test]
fn the_scheduler_tells_what_it_would_do_and_why_it_did_what_it_did() {
    let server = Server::whole();
    let dedicated = json!([{"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}]);
    let nodes = [node("plain", &Value::Null), node("graphics", &dedicated)];
    let pods = file(&server, "pods.json", &[pod("fits", "100m"), pod("big", "3")]);
    server
        .kubectl
        .run(&["create", "-f", &file(&server, "nodes.json", &nodes)]);

    let refused = [
        "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s)",
        "plain: NodeResourcesFit: Insufficient cpu",
        "graphics: TaintToleration: node(s) had untolerated taint(s)",
    ];
    let has = |told: &str, wanted: &[&str]| match wanted.iter().find(|wanted| !told.contains(**wanted)) {
        Some(missing) => Err(format!("no {missing:?} in {told}")),
        None => Ok(()),
    };
    // Until the scheduler's caches are whole and nobody waits for the nodes' first heartbeat.
    let until = |what: &str, check: &dyn Fn() -> Result<(), String>| {
        eventually(what, Duration::from_secs(30), check, || server.log());
    };
    until("the plan is told", &|| {
        let plan = server.timonctl.try_run(&["plan", "-f", &pods])?;
        has(&plan, &["pod default/fits: plain"])?;
        has(&plan, &refused)
    });
    assert_eq!(
        server.kubectl.run(&["get", "pods", "-o", "name"]),
        "",
        "nothing was created"
    );

    server.kubectl.run(&["create", "-f", &pods]);
    until("what was decided is told", &|| {
        let why = server.timonctl.try_run(&["why", "pod/fits"])?;
        has(
            &why,
            &[
                "is on node plain (spec.nodeName)",
                "default-scheduler decided at",
                "plain: ",
            ],
        )?;
        let why = server.timonctl.try_run(&["why", "pod", "big"])?;
        has(&why, &["has no node: Unschedulable: "])?;
        has(&why, &refused)
    });
    let raw = server
        .kubectl
        .run(&["get", "--raw", "/debug/scheduler/pods/default/big"]);
    let account: Value = serde_json::from_str(&raw).expect("JSON");
    assert_eq!(account["nodesInAll"], 2, "{raw}");

    let said = server.timonctl.output(&["why", "pod", "nobody"]);
    assert!(!said.status.success());
    assert!(String::from_utf8_lossy(&said.stderr).contains("pods \"nobody\" not found"));
    let said = server.timonctl.output(&["why", "service/kubernetes"]);
    assert!(!said.status.success(), "only pods, until more is known");
}
