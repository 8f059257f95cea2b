//! What writes are warned of, refused for and given: pod security, deprecations, service addresses, the health of components.

use std::time::Duration;

use serde_json::Value;
use timonel_tests::eventually;

use crate::server::Server;

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: plain, namespace: strict}
spec:
  serviceAccountName: default
  automountServiceAccountToken: false
  hostPID: true
  containers: [{name: c, image: "c:1"}]
"#;

const DEPLOYMENT: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: plain, namespace: strict}
spec:
  selector: {matchLabels: {a: b}}
  template:
    metadata: {labels: {a: b}}
    spec: {hostPID: true, containers: [{name: c, image: "c:1"}]}
"#;

/// A namespace as it is where no controller runs: with the account that pods need.
fn namespace(server: &Server, name: &str) {
    server.kubectl.run(&["create", "namespace", name]);
    server.kubectl.run(&["create", "serviceaccount", "default", "-n", name]);
}

#[test]
fn pod_security_warns_and_refuses_as_the_namespace_says() {
    let server = Server::start();
    namespace(&server, "strict");
    let level = "pod-security.kubernetes.io";
    let label = |labels: &str| {
        server
            .kubectl
            .warned(&["label", "--overwrite", "namespace", "strict", labels], "")
    };
    assert_eq!(label(&format!("{level}/warn=baseline")), "");
    let words = "Warning: would violate PodSecurity \"baseline:latest\": host namespaces (hostPID=true)\n";
    assert_eq!(server.kubectl.warned(&["create", "-f", "-"], POD), words);
    assert_eq!(server.kubectl.warned(&["create", "-f", "-"], DEPLOYMENT), words);
    let said = server.timonctl.warned(
        &["create", "--dry-run=server", "-f", "-"],
        &POD.replace("plain", "other"),
    );
    assert_eq!(said, words);
    assert_eq!(
        label(&format!("{level}/enforce=baseline")),
        "Warning: existing pods in namespace \"strict\" violate the new PodSecurity enforce level \"baseline:latest\"\n\
         Warning: plain: host namespaces\n"
    );
    let said = server
        .kubectl
        .refused(&["create", "-f", "-"], &POD.replace("plain", "other"));
    assert!(
        said.contains(
            "pods \"other\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostPID=true)"
        ),
        "{said}"
    );
    let odd = format!("{level}/enforce-version=v2");
    let said = server.kubectl.refused(&["label", "namespace", "strict", &odd], "");
    assert!(said.contains("must be \"latest\" or \"v1.x\""), "{said}");
}

#[test]
fn what_is_deprecated_or_odd_is_warned_of() {
    let server = Server::start();
    namespace(&server, "strict");
    assert_eq!(
        server.kubectl.warned(&["get", "endpoints"], "").lines().next(),
        Some("Warning: v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
    );
    let pod = r#"
apiVersion: v1
kind: Pod
metadata: {name: odd, namespace: strict}
spec:
  nodeSelector: {beta.kubernetes.io/os: linux}
  containers:
  - {name: c, image: "c:1", env: [{name: A, value: a}, {name: A, value: b}], ports: [{containerPort: 80}, {containerPort: 80, name: web}]}
"#;
    assert_eq!(
        server.kubectl.warned(&["create", "-f", "-"], pod),
        "Warning: spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead\n\
         Warning: spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply\n\
         Warning: spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]\n"
    );
    let service = r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"odd"},
        "spec":{"clusterIP":"None","externalIPs":["2001:DB8::1"],"ports":[{"port":80}]}}"#;
    let said = server.kubectl.warned(&["create", "-f", "-"], service);
    assert!(
        said.contains("spec.externalIPs is ignored for headless services"),
        "{said}"
    );
    assert!(
        said.contains("IPv6 address \"2001:DB8::1\" should be in RFC 5952 canonical format (\"2001:db8::1\")"),
        "{said}"
    );
    let plain = server.kubectl.warned(
        &["create", "-f", "-"],
        &pod.replace("beta.", "")
            .replace("name: A, value: b", "name: B")
            .replace("containerPort: 80, name", "containerPort: 81, name")
            .replace("odd", "even"),
    );
    assert_eq!(plain, "");
}

#[test]
fn the_stores_health_is_a_component_status() {
    let server = Server::start();
    let table = server.kubectl.run(&["get", "componentstatuses"]);
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(
        rows,
        [
            vec!["NAME", "STATUS", "MESSAGE", "ERROR"],
            vec!["etcd-0", "Healthy", "ok"]
        ]
    );
    let said = server.kubectl.warned(&["get", "cs", "etcd-0"], "");
    assert_eq!(said, "Warning: v1 ComponentStatus is deprecated in v1.19+\n");
    let one = json(&server.kubectl.run(&["get", "cs", "etcd-0", "-o", "json"]));
    assert_eq!(
        (&one["conditions"][0]["type"], &one["conditions"][0]["status"]),
        (&"Healthy".into(), &"True".into())
    );
    let none = json(&server.kubectl.run(&[
        "get",
        "--raw",
        "/api/v1/componentstatuses?fieldSelector=metadata.name%3Dscheduler",
    ]));
    assert_eq!(none["items"], Value::Array(vec![]));
    assert!(
        server
            .kubectl
            .refused(&["get", "cs", "nobody"], "")
            .contains("not found")
    );
}

#[test]
fn addresses_come_and_go_with_their_service_and_more_ranges_can_be_added() {
    let mut server = Server::start();
    let get = |server: &Server, args: &[&str]| json(&server.kubectl.run(&[&["get", "-o", "json"], args].concat()));
    let default = get(&server, &["servicecidr", "kubernetes"]);
    assert_eq!(default["status"]["conditions"][0]["type"], "Ready");
    assert_eq!(default["status"]["conditions"][0]["status"], "True");
    assert_eq!(
        default["metadata"]["finalizers"][0],
        "networking.k8s.io/service-cidr-finalizer"
    );
    server
        .kubectl
        .run(&["create", "service", "clusterip", "web", "--tcp=80"]);
    let ip = server
        .kubectl
        .run(&["get", "service", "web", "-o", "jsonpath={.spec.clusterIP}"]);
    let object = get(&server, &["ipaddress", &ip]);
    assert_eq!(
        object["metadata"]["labels"]["ipaddress.kubernetes.io/managed-by"],
        "ipallocator"
    );
    assert_eq!(
        object["metadata"]["labels"]["ipaddress.kubernetes.io/ip-family"],
        "IPv4"
    );
    assert_eq!(
        object["spec"]["parentRef"],
        serde_json::json!({"group": "", "resource": "services", "namespace": "default", "name": "web"})
    );
    let table = server.kubectl.run(&["get", "ipaddresses"]);
    assert!(
        table.contains("services/default/web") && table.contains("services/default/kubernetes"),
        "{table}"
    );

    // Another range widens what can be asked for.
    let service = |address: &str, name: &str| {
        format!(
            r#"{{"apiVersion":"v1","kind":"Service","metadata":{{"name":"{name}"}},"spec":{{"clusterIP":"{address}","ports":[{{"port":80}}]}}}}"#
        )
    };
    let refused = server
        .kubectl
        .refused(&["create", "-f", "-"], &service("10.200.0.9", "far"));
    assert!(
        refused.contains("failed to allocate IP 10.200.0.9: the provided network does not match the current range"),
        "{refused}"
    );
    let range = r#"{"apiVersion":"networking.k8s.io/v1","kind":"ServiceCIDR","metadata":{"name":"extra"},"spec":{"cidrs":["10.200.0.0/24"]}}"#;
    server.kubectl.run_with(&["create", "-f", "-"], range);
    server
        .kubectl
        .run_with(&["create", "-f", "-"], &service("10.200.0.9", "far"));
    let refused = server
        .kubectl
        .refused(&["create", "-f", "-"], &service("10.200.0.9", "near"));
    assert!(refused.contains("provided IP is already allocated"), "{refused}");
    let patch = r#"{"spec":{"cidrs":["10.201.0.0/24"]}}"#;
    let refused = server
        .kubectl
        .refused(&["patch", "servicecidr", "extra", "--type=merge", "-p", patch], "");
    assert!(refused.contains("field is immutable"), "{refused}");

    // In use, it stays; and nothing new is taken from it.
    server.kubectl.run(&["delete", "servicecidr", "extra", "--wait=false"]);
    let terminating = || {
        let extra = get(&server, &["servicecidr", "extra"]);
        let condition = &extra["status"]["conditions"][0];
        match condition["reason"] == "Terminating" && condition["status"] == "False" {
            true => Ok(()),
            false => Err(condition.to_string()),
        }
    };
    eventually(
        "the range says that it is still in use",
        Duration::from_secs(20),
        terminating,
        String::new,
    );
    let refused = server
        .kubectl
        .refused(&["create", "-f", "-"], &service("10.200.0.10", "near"));
    assert!(refused.contains("does not match the current range"), "{refused}");
    server.kubectl.run(&["delete", "service", "far"]);
    assert!(
        server
            .kubectl
            .refused(&["get", "ipaddress", "10.200.0.9"], "")
            .contains("not found")
    );
    let gone = || match server.kubectl.try_run(&["get", "servicecidr", "extra"]) {
        Err(said) if said.contains("not found") => Ok(()),
        other => Err(format!("{other:?}")),
    };
    eventually(
        "the range goes when nothing is in it",
        Duration::from_secs(20),
        gone,
        String::new,
    );

    // An IPAddress that somebody removed comes back, and its address stays taken meanwhile; a crash changes nothing.
    server.kubectl.run(&["delete", "ipaddress", &ip]);
    let refused = server.kubectl.refused(&["create", "-f", "-"], &service(&ip, "thief"));
    assert!(refused.contains("provided IP is already allocated"), "{refused}");
    server.kill();
    server.restart();
    let back = || server.kubectl.try_run(&["get", "ipaddress", &ip]).map(drop);
    eventually("the address is shown again", Duration::from_secs(20), back, String::new);
    server.timonctl.run(&["delete", "service", "web"]);
    assert!(
        server
            .kubectl
            .refused(&["get", "ipaddress", &ip], "")
            .contains("not found")
    );
}
