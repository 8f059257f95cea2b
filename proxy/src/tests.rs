//! What packets meet, as text.

use std::sync::Arc;

use expect_test::{Expect, expect};
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use serde_json::{Value, json};

use crate::{Observed, RuleSet, network, plan, render_all, render_changes};

fn service(name: &str, ip: &str, ports: Value) -> Arc<Service> {
    let spec = json!({ "clusterIP": ip, "ports": ports });
    Arc::new(
        serde_json::from_value(json!({ "metadata": { "namespace": "demo", "name": name }, "spec": spec })).unwrap(),
    )
}

fn slice(of: &str, ports: Value, endpoints: Value) -> Arc<EndpointSlice> {
    Arc::new(
        serde_json::from_value(json!({
            "metadata": { "namespace": "demo", "name": format!("{of}-x"), "labels": { "kubernetes.io/service-name": of } },
            "addressType": "IPv4", "ports": ports, "endpoints": endpoints,
        }))
        .unwrap(),
    )
}

fn node(name: &str, pods: &str, address: &str) -> Arc<Node> {
    Arc::new(
        serde_json::from_value(json!({
            "metadata": { "name": name }, "spec": { "podCIDR": pods },
            "status": { "addresses": [{ "type": "InternalIP", "address": address }] },
        }))
        .unwrap(),
    )
}

fn hello() -> Observed {
    Observed {
        node_name: "node-1".to_owned(),
        services: vec![service(
            "hello",
            "10.96.0.50",
            json!([{ "port": 80, "targetPort": 8080 }]),
        )],
        slices: vec![slice(
            "hello",
            json!([{ "name": "", "port": 8080, "protocol": "TCP" }]),
            json!([
                { "addresses": ["10.244.2.3"], "nodeName": "node-2", "conditions": { "ready": true } },
                { "addresses": ["10.244.1.2"], "nodeName": "node-1", "conditions": { "ready": true } },
                { "addresses": ["10.244.1.9"], "nodeName": "node-1", "conditions": { "ready": false } },
            ]),
        )],
        nodes: vec![
            node("node-1", "10.244.1.0/24", "10.210.0.11"),
            node("node-2", "10.244.2.0/24", "10.210.0.12"),
        ],
        ..Observed::default()
    }
}

/// Checks what has to be loaded on top of nothing.
#[track_caller]
fn check(observed: &Observed, expected: Expect) {
    expected.assert_eq(&render_changes(&RuleSet::default(), &plan(observed)));
}

#[test]
fn a_service_sends_to_ready_endpoints_only() {
    check(
        &hello(),
        expect![[r#"
            add chain ip timonel service_2
            flush chain ip timonel service_2
            add rule ip timonel service_2 meta mark set numgen random mod 2
            add rule ip timonel service_2 dnat ip to ip daddr . meta l4proto . th dport . meta mark map @endpoints
            add element ip timonel services { 10.96.0.50 . tcp . 80 : goto service_2 }
            add element ip timonel endpoints { 10.96.0.50 . tcp . 80 . 0 : 10.244.1.2 . 8080, 10.96.0.50 . tcp . 80 . 1 : 10.244.2.3 . 8080 }
            add element ip timonel cluster_ips { 10.96.0.50 }
            add element ip timonel hairpins { 10.244.1.2 . 10.244.1.2 }
            add element ip timonel own_pods { 10.244.1.0/24 }
            add element ip timonel cluster { 10.210.0.11, 10.210.0.12, 10.244.1.0/24, 10.244.2.0/24 }
        "#]],
    );
}

#[test]
fn without_endpoints_the_client_is_refused() {
    let observed = Observed {
        slices: Vec::new(),
        nodes: Vec::new(),
        ..hello()
    };
    check(
        &observed,
        expect![[r#"
            add element ip timonel unserved { 10.96.0.50 . tcp . 80 : goto refuse }
            add element ip timonel cluster_ips { 10.96.0.50 }
        "#]],
    );
}

#[test]
fn a_new_endpoint_is_one_element_and_a_new_count() {
    let before = plan(&hello());
    let mut observed = hello();
    observed.slices.push(slice(
        "hello",
        json!([{ "name": "", "port": 8080 }]),
        json!([{ "addresses": ["10.244.9.1"], "nodeName": "node-9" }]),
    ));
    expect![[r#"
        add chain ip timonel service_3
        flush chain ip timonel service_3
        add rule ip timonel service_3 meta mark set numgen random mod 3
        add rule ip timonel service_3 dnat ip to ip daddr . meta l4proto . th dport . meta mark map @endpoints
        delete element ip timonel services { 10.96.0.50 . tcp . 80 : goto service_2 }
        add element ip timonel services { 10.96.0.50 . tcp . 80 : goto service_3 }
        add element ip timonel endpoints { 10.96.0.50 . tcp . 80 . 2 : 10.244.9.1 . 8080 }
    "#]]
    .assert_eq(&render_changes(&before, &plan(&observed)));
}

#[test]
fn what_is_loaded_needs_no_change() {
    assert_eq!(render_changes(&plan(&hello()), &plan(&hello())), "");
}

#[test]
fn a_local_policy_drops_where_endpoints_are_elsewhere() {
    let mut observed = hello();
    observed.node_name = "node-7".to_owned();
    let mut service = (*observed.services[0]).clone();
    if let Some(spec) = service.spec.as_mut() {
        spec.internal_traffic_policy = Some("Local".to_owned());
    }
    observed.services = vec![Arc::new(service)];
    observed.nodes = Vec::new();
    check(
        &observed,
        expect![[r#"
            add element ip timonel unserved { 10.96.0.50 . tcp . 80 : drop }
            add element ip timonel cluster_ips { 10.96.0.50 }
        "#]],
    );
}

#[test]
fn headless_and_locally_served_addresses_have_no_rules() {
    let mut observed = hello();
    observed.nodes = Vec::new();
    observed.services = vec![
        service("headless", "None", json!([{ "port": 80 }])),
        service("dns", "10.96.0.10", json!([{ "port": 53, "protocol": "UDP" }])),
    ];
    observed.served_here = ["10.96.0.10".parse().unwrap()].into();
    check(&observed, expect![""]);
}

#[test]
fn routes_lead_to_other_nodes_and_the_own_range_to_the_bridge() {
    let plan = network::plan(&hello());
    assert_eq!(plan.gateway().map(|ip| ip.to_string()).as_deref(), Some("10.244.1.1"));
    assert_eq!(format!("{:?}", plan.routes), "{10.244.2.0/24: 10.210.0.12}");
}

/// Loads scripts one after the other in a network namespace of their own.
#[track_caller]
fn load(scripts: &[String]) {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let folder = std::env::temp_dir().join(format!("timonel-proxy-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut shell = String::from("set -e\n");
    for (at, script) in scripts.iter().enumerate() {
        let path = folder.join(format!("{at}.nft"));
        std::fs::write(&path, script).unwrap();
        shell.push_str(&format!("nft -f {}\n", path.display()));
    }
    let mut child = Command::new("unshare")
        .args(["--net", "--map-root-user", "sh"])
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(shell.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stderr),
        scripts.join("\n----\n")
    );
}

#[test]
fn the_kernel_takes_the_table_and_every_change_to_it() {
    let none = RuleSet::default();
    let some = plan(&hello());
    let mut observed = hello();
    let mut service = (*observed.services[0]).clone();
    if let Some(spec) = service.spec.as_mut() {
        spec.type_ = Some("NodePort".to_owned());
        spec.session_affinity = Some("ClientIP".to_owned());
        spec.external_ips = Some(vec!["192.0.2.7".to_owned()]);
        if let Some(port) = spec.ports.as_mut().and_then(|ports| ports.first_mut()) {
            port.node_port = Some(30080);
        }
    }
    observed.services.push(Arc::new(service));
    observed.services.remove(0);
    let more = plan(&observed);
    observed.slices.clear();
    let unserved = plan(&observed);
    load(&[
        render_all(&none),
        render_changes(&none, &some),
        render_changes(&some, &more),
        render_changes(&more, &unserved),
        render_changes(&unserved, &more),
        render_changes(&more, &none),
        render_all(&more),
    ]);
}

#[test]
fn the_whole_table_is_one_transaction() {
    let text = render_all(&RuleSet::default());
    assert!(
        text.starts_with("table ip timonel\ndelete table ip timonel\ntable ip timonel {\n"),
        "{text}"
    );
}
