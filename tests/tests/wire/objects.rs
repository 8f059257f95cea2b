//! The life of objects: written, patched, applied, watched, selected, deleted, refused.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;

use crate::server::Server;

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

const DEPLOYMENT: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: "web:1", ports: [{containerPort: 80}]}]
"#;

#[test]
fn defaults_and_generations_are_upstreams() {
    let server = Server::start();
    server.kubectl.run_with(&["create", "-f", "-"], DEPLOYMENT);
    let deployment = json(&server.kubectl.run(&["get", "deployment", "web", "-o", "json"]));
    assert_eq!(deployment["metadata"]["generation"], 1);
    assert_eq!(deployment["spec"]["strategy"]["rollingUpdate"]["maxSurge"], "25%");
    assert_eq!(
        deployment["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"],
        "IfNotPresent"
    );
    assert_eq!(
        deployment["spec"]["template"]["spec"]["containers"][0]["ports"][0]["protocol"],
        "TCP"
    );
    server.timonctl.run(&["label", "deployment", "web", "tier=front"]);
    server.timonctl.run(&["scale", "deployment/web", "--replicas=5"]);
    let deployment = json(&server.kubectl.run(&["get", "deployment", "web", "-o", "json"]));
    assert_eq!(
        deployment["metadata"]["generation"], 2,
        "labels change no generation, replicas do"
    );
    let status = r#"{"status":{"replicas":5,"observedGeneration":2}}"#;
    server.kubectl.run(&[
        "patch",
        "deployment",
        "web",
        "--subresource=status",
        "--type=merge",
        "-p",
        status,
    ]);
    let after = json(&server.kubectl.run(&["get", "deployment", "web", "-o", "json"]));
    assert_eq!(
        (&after["metadata"]["generation"], &after["status"]["replicas"]),
        (&2.into(), &5.into())
    );
    server.kubectl.run(&[
        "patch",
        "deployment",
        "web",
        "--type=merge",
        "-p",
        r#"{"status":{"replicas":9}}"#,
    ]);
    let after = json(&server.kubectl.run(&["get", "deployment", "web", "-o", "json"]));
    assert_eq!(
        after["status"]["replicas"], 5,
        "a status is written only through its subresource"
    );
}

#[test]
fn all_four_patches_work() {
    let server = Server::start();
    server.kubectl.run_with(&["create", "-f", "-"], DEPLOYMENT);
    let get = |path: &str| {
        server
            .kubectl
            .run(&["get", "deployment", "web", "-o", &format!("jsonpath={path}")])
    };
    for tool in [&server.kubectl, &server.timonctl] {
        tool.run(&[
            "patch",
            "deployment",
            "web",
            "--type=json",
            "-p",
            r#"[{"op":"replace","path":"/spec/replicas","value":7}]"#,
        ]);
        assert_eq!(get("{.spec.replicas}"), "7");
        tool.run(&[
            "patch",
            "deployment",
            "web",
            "--type=merge",
            "-p",
            r#"{"spec":{"replicas":8}}"#,
        ]);
        assert_eq!(get("{.spec.replicas}"), "8");
        let side = r#"{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"side:1"}]}}}}"#;
        tool.run(&["patch", "deployment", "web", "-p", side]);
        assert_eq!(
            get("{.spec.template.spec.containers[*].name}"),
            "side web",
            "lists merge by name"
        );
        let gone = r#"{"spec":{"template":{"spec":{"containers":[{"name":"side","$patch":"delete"}]}}}}"#;
        tool.run(&["patch", "deployment", "web", "-p", gone]);
        assert_eq!(get("{.spec.template.spec.containers[*].name}"), "web");
    }
    let applied = server.kubectl.run_with(
        &[
            "apply",
            "--server-side",
            "--field-manager=me",
            "--force-conflicts",
            "-f",
            "-",
        ],
        DEPLOYMENT,
    );
    assert!(applied.contains("serverside-applied"), "{applied}");
    assert_eq!(get("{.spec.replicas}"), "3");
    let owners = server.kubectl.run(&[
        "get",
        "deployment",
        "web",
        "--show-managed-fields",
        "-o",
        "jsonpath={.metadata.managedFields[*].manager}",
    ]);
    assert!(owners.contains("me"), "{owners}");
}

#[test]
fn what_is_wrong_is_refused_with_every_field_named() {
    let server = Server::start();
    let bad = DEPLOYMENT
        .replace("app: web}}\n  template", "app: other}}\n  template")
        .replace("image: \"web:1\"", "image: \"\"")
        .replace("replicas: 3", "replicas: -1");
    for tool in [&server.kubectl, &server.timonctl] {
        let said = tool.refused(&["create", "-f", "-"], &bad);
        for field in [
            "spec.replicas",
            "spec.template.metadata.labels",
            "spec.template.spec.containers[0].image",
        ] {
            assert!(said.contains(field), "{field} is missing in: {said}");
        }
        let unknown = DEPLOYMENT.replace("replicas: 3", "replicas: 3\n  replicants: 4");
        let said = tool.refused(&["create", "-f", "-"], &unknown);
        assert!(said.contains("unknown field \"spec.replicants\""), "{said}");
    }
    assert_eq!(server.kubectl.run(&["get", "deployments", "-o", "name"]), "");
    let unknown = DEPLOYMENT.replace("replicas: 3", "replicas: 3\n  replicants: 4");
    server.kubectl.run_with(
        &["create", "--validate=ignore", "--dry-run=server", "-f", "-"],
        &unknown,
    );
    assert_eq!(
        server.kubectl.run(&["get", "deployments", "-o", "name"]),
        "",
        "a dry run leaves nothing"
    );
    assert!(
        server
            .kubectl
            .refused(&["get", "deployment", "web"], "")
            .contains("Error from server (NotFound): deployments.apps \"web\" not found")
    );
}

#[test]
fn long_lists_come_in_chunks_and_selectors_select() {
    let server = Server::start();
    let many: String = (0..25)
        .map(|n| {
            format!(
                "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c{n:02}, labels: {{odd: \"{}\"}}}}\n",
                n % 2
            )
        })
        .collect();
    server.kubectl.run_with(&["create", "-f", "-"], &many);
    let page = json(
        &server
            .kubectl
            .run(&["get", "--raw", "/api/v1/namespaces/default/configmaps?limit=10"]),
    );
    assert_eq!(page["items"].as_array().map(Vec::len), Some(10));
    assert_eq!(page["metadata"]["remainingItemCount"], 15);
    server.kubectl.run(&["delete", "configmap", "c24"]);
    let token = page["metadata"]["continue"].as_str().expect("a token");
    let rest = json(&server.kubectl.run(&[
        "get",
        "--raw",
        &format!("/api/v1/namespaces/default/configmaps?limit=500&continue={token}"),
    ]));
    assert_eq!(
        rest["items"].as_array().map(Vec::len),
        Some(15),
        "all pages show the state of the first"
    );
    for tool in [&server.kubectl, &server.timonctl] {
        assert_eq!(
            tool.run(&["get", "cm", "-l", "odd=1", "-o", "name", "--chunk-size=3"])
                .lines()
                .count(),
            12
        );
        assert_eq!(
            tool.run(&["get", "cm", "--field-selector", "metadata.name=c07", "-o", "name"])
                .trim(),
            "configmap/c07"
        );
    }
    server.kubectl.run(&[
        "delete",
        "--raw",
        "/api/v1/namespaces/default/configmaps?labelSelector=odd%3D0",
    ]);
    assert_eq!(server.kubectl.run(&["get", "cm", "-l", "odd=0", "-o", "name"]), "");
}

#[test]
fn a_watch_shows_changes_as_they_come() {
    let server = Server::start();
    for tool in [&server.kubectl, &server.timonctl] {
        server.kubectl.run(&["create", "configmap", "watched"]);
        let mut watch = tool
            .command(&["get", "cm", "watched", "-w", "-o", "jsonpath={.data.n}{\"\\n\"}"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(watch.stdout.take().expect("piped")).lines();
        assert_eq!(lines.next().expect("a line").expect("text"), "");
        for n in 1..=3 {
            server.kubectl.run(&[
                "patch",
                "cm",
                "watched",
                "--type=merge",
                "-p",
                &format!("{{\"data\":{{\"n\":\"{n}\"}}}}"),
            ]);
            assert_eq!(lines.next().expect("a line").expect("text"), n.to_string());
        }
        watch.kill().expect("it ends");
        watch.wait().expect("it ended");
        server.kubectl.run(&["delete", "cm", "watched"]);
    }
}

#[test]
fn finalizers_hold_an_object_back_and_updates_of_old_versions_conflict() {
    let server = Server::start();
    server.kubectl.run_with(
        &["create", "-f", "-"],
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: held, finalizers: [example.com/hold]}\n",
    );
    let before = server.kubectl.run(&["get", "cm", "held", "-o", "json"]);
    server.timonctl.run(&["delete", "cm", "held", "--wait=false"]);
    let held = json(&server.kubectl.run(&["get", "cm", "held", "-o", "json"]));
    assert!(held["metadata"]["deletionTimestamp"].is_string());
    let said = server.kubectl.refused(&["replace", "-f", "-"], &before);
    assert!(
        said.contains("Conflict") && said.contains("the object has been modified"),
        "{said}"
    );
    server.kubectl.run(&[
        "patch",
        "cm",
        "held",
        "--type=json",
        "-p",
        r#"[{"op":"remove","path":"/metadata/finalizers"}]"#,
    ]);
    assert!(server.kubectl.refused(&["get", "cm", "held"], "").contains("NotFound"));
}

#[test]
fn secrets_do_not_lie_in_the_open() {
    let server = Server::start();
    server.timonctl.run(&[
        "create",
        "secret",
        "generic",
        "hidden",
        "--from-literal=password=correct-horse-battery",
    ]);
    let data = server
        .kubectl
        .run(&["get", "secret", "hidden", "-o", "jsonpath={.data.password}"]);
    assert_eq!(data, "Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5");
    assert!(!server.on_disk(b"Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5"), "neither encoded");
    assert!(!server.on_disk(b"correct-horse-battery"), "nor plain");
    server
        .kubectl
        .run(&["create", "configmap", "open", "--from-literal=a=plain-as-day"]);
    assert!(server.on_disk(b"plain-as-day"), "the search itself works");
}

#[test]
fn an_autoscaler_is_one_object_in_two_versions() {
    let server = Server::start();
    server.kubectl.run_with(&["create", "-f", "-"], DEPLOYMENT);
    server
        .timonctl
        .run_with(&["create", "-f", "-"], "apiVersion: autoscaling/v1\nkind: HorizontalPodAutoscaler\nmetadata: {name: web}\nspec: {maxReplicas: 5, targetCPUUtilizationPercentage: 60, scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}\n");
    let v2 = json(&server.kubectl.run(&["get", "hpa", "web", "-o", "json"]));
    assert_eq!(v2["apiVersion"], "autoscaling/v2");
    let goal = "/spec/metrics/0/resource/target/averageUtilization";
    assert_eq!(v2.pointer(goal).unwrap(), 60);
    let patch = r#"{"spec":{"behavior":{"scaleDown":{"stabilizationWindowSeconds":5}},"metrics":[{"type":"Resource","resource":{"name":"memory","target":{"type":"AverageValue","averageValue":"64Mi"}}}]}}"#;
    server
        .kubectl
        .run(&["patch", "hpa", "web", "--type=merge", "-p", patch]);
    let v1 = "horizontalpodautoscalers.v1.autoscaling";
    let more = r#"{"spec":{"targetCPUUtilizationPercentage":70}}"#;
    server.kubectl.run(&["patch", v1, "web", "--type=merge", "-p", more]);
    let v2 = json(&server.timonctl.run(&["get", "hpa", "web", "-o", "json"]));
    assert_eq!(v2.pointer(goal).unwrap(), 70);
    assert_eq!(v2["spec"]["metrics"][1]["resource"]["name"], "memory");
    assert_eq!(v2["spec"]["behavior"]["scaleDown"]["stabilizationWindowSeconds"], 5);
    assert!(v2["metadata"]["annotations"].is_null());
    let broken = r#"{"metadata":{"annotations":{"autoscaling.alpha.kubernetes.io/metrics":"[{\"type\":7}]"}}}"#;
    server
        .kubectl
        .refused(&["patch", v1, "web", "--type=merge", "-p", broken], "");
}

#[test]
fn an_update_creates_the_kinds_that_upstreams_do() {
    let server = Server::start();
    let lease = r#"{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"mine"}}"#;
    let path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/mine";
    let made = json(&server.kubectl.run_with(&["replace", "--raw", path, "-f", "-"], lease));
    assert!(made["metadata"]["uid"].is_string());
    let path = "/api/v1/namespaces/default/configmaps/mine";
    let map = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"mine"}}"#;
    let said = server.kubectl.refused(&["replace", "--raw", path, "-f", "-"], map);
    assert!(said.contains("NotFound"), "{said}");
    let may_update = "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: updates}\nrules: [{apiGroups: [coordination.k8s.io], resources: [leases], verbs: [update, patch, get]}]\n";
    server.kubectl.run_with(&["create", "-f", "-"], may_update);
    server
        .kubectl
        .run(&["create", "rolebinding", "updates", "--role=updates", "--user=eve"]);
    let other = lease.replace("mine", "hers");
    let path = "/apis/coordination.k8s.io/v1/namespaces/default/leases/hers";
    let said = server
        .kubectl
        .refused(&["--as=eve", "replace", "--raw", path, "-f", "-"], &other);
    assert!(said.contains("cannot create resource"), "{said}");
    let said = server
        .kubectl
        .refused(&["--as=eve", "apply", "--server-side", "-f", "-"], &other);
    assert!(said.contains("cannot create resource"), "{said}");
}
