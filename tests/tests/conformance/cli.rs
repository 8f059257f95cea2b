//! sig-cli: the real kubectl.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::client::eventually;
use crate::server::Server;

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// Kubectl, check version v1
#[test]
fn kubectl_check_version_v1() {
    let server = Server::alone();
    let versions = server.kubectl().run(&["api-versions"]);
    assert!(versions.lines().any(|line| line == "v1"), "{versions}");
}

/// Kubectl, cluster info
#[test]
fn kubectl_cluster_info() {
    let server = Server::alone();
    let said = server.kubectl().run(&["cluster-info"]);
    assert!(
        said.contains("Kubernetes control plane") && said.contains("is running at"),
        "{said}"
    );
}

/// Kubectl, version
#[test]
fn kubectl_version() {
    let server = Server::alone();
    let said = parsed(&server.kubectl().run(&["version", "-o", "json"]));
    for side in ["clientVersion", "serverVersion"] {
        for field in [
            "major",
            "minor",
            "gitVersion",
            "gitTreeState",
            "buildDate",
            "compiler",
            "platform",
        ] {
            assert!(
                said[side][field].as_str().is_some_and(|text| !text.is_empty()),
                "{side}.{field}: {said}"
            );
        }
    }
    // Outside of a repository nobody knows the commit, and the server does not make one up.
    let state = &said["serverVersion"]["gitTreeState"];
    let commit = said["serverVersion"]["gitCommit"].as_str().unwrap_or_default();
    let known = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    let inside = std::process::Command::new("git")
        .args(["-C", env!("CARGO_MANIFEST_DIR"), "rev-parse", "HEAD"])
        .output()
        .is_ok_and(|output| output.status.success());
    assert_eq!(known, inside || !commit.is_empty(), "{said}");
    assert!(known || state == "archive", "{said}");
    let plain = server.kubectl().run(&["version"]);
    assert!(
        plain.contains("Client Version:") && plain.contains("Server Version:"),
        "{plain}"
    );
}

const DEPLOYMENT: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: httpd, labels: {app: httpd}}
spec:
  replicas: 1
  selector: {matchLabels: {app: httpd}}
  template:
    metadata: {labels: {app: httpd}}
    spec: {containers: [{name: httpd, image: "agnhost:2", ports: [{containerPort: 80}]}]}
"#;

/// Kubectl, diff Deployment
#[test]
fn kubectl_diff_deployment() {
    let server = Server::alone();
    let kubectl = server.kubectl();
    kubectl.run_with(&["create", "-f", "-"], DEPLOYMENT);
    let declared = server.folder().join("declared.yaml");
    std::fs::write(&declared, DEPLOYMENT.replace("agnhost:2", "busybox:1")).expect("writable");
    let output = kubectl.output(&["diff", "-f", &declared.display().to_string()]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "there is a difference: {said}");
    assert!(
        said.lines()
            .any(|line| line.starts_with('-') && line.contains("agnhost:2")),
        "{said}"
    );
    assert!(
        said.lines()
            .any(|line| line.starts_with('+') && line.contains("busybox:1")),
        "{said}"
    );
    let image = "jsonpath={.spec.template.spec.containers[0].image}";
    assert_eq!(
        kubectl.run(&["get", "deployment", "httpd", "-o", image]),
        "agnhost:2",
        "a diff changes nothing"
    );
}

const IMAGE: &str = "jsonpath={.spec.containers[*].image}";

/// Kubectl, run pod
#[test]
fn kubectl_run_pod() {
    let server = Server::alone().with_service_account();
    let kubectl = server.kubectl();
    kubectl.run(&["run", "e2e-httpd", "--restart=Never", "--image=httpd:2"]);
    assert_eq!(kubectl.run(&["get", "pod", "e2e-httpd", "-o", IMAGE]), "httpd:2");
}

/// Kubectl, replace
#[test]
fn kubectl_replace() {
    let server = Server::alone().with_service_account();
    let kubectl = server.kubectl();
    kubectl.run(&["run", "e2e-httpd", "--image=httpd:2", "--labels=run=e2e"]);
    let live = kubectl.run(&["get", "pod", "e2e-httpd", "-o", "json"]);
    kubectl.run_with(&["replace", "-f", "-"], &live.replace("httpd:2", "busybox:1"));
    assert_eq!(kubectl.run(&["get", "pod", "e2e-httpd", "-o", IMAGE]), "busybox:1");
    // What a pod may not change takes a new pod.
    let mut next = parsed(&kubectl.run(&["get", "pod", "e2e-httpd", "-o", "json"]));
    let uid = next["metadata"]["uid"].clone();
    next["spec"]["containers"][0]["image"] = "busybox:2".into();
    next["spec"]["containers"][0]["command"] = json!(["sleep"]);
    let refused = kubectl.refused(&["replace", "-f", "-"], &next.to_string());
    assert!(
        refused.contains("pod updates may not change fields other than"),
        "{refused}"
    );
    let file = server.folder().join("next.json");
    std::fs::write(&file, next.to_string()).expect("writable");
    kubectl.run(&["replace", "--force", "-f", &file.display().to_string()]);
    let made = parsed(&kubectl.run(&["get", "pod", "e2e-httpd", "-o", "json"]));
    assert_eq!(made["spec"]["containers"][0]["image"], "busybox:2");
    assert_ne!(made["metadata"]["uid"], uid);
}

/// Kubectl, server-side dry-run Pod
#[test]
fn kubectl_server_side_dry_run_pod() {
    let server = Server::alone().with_service_account();
    let kubectl = server.kubectl();
    kubectl.run(&["run", "e2e-httpd", "--image=httpd:2", "--labels=run=e2e"]);
    let patch = r#"{"spec":{"containers":[{"name":"e2e-httpd","image":"busybox:1"}]}}"#;
    let answered = kubectl.run(&[
        "patch",
        "pod",
        "e2e-httpd",
        "-p",
        patch,
        "--dry-run=server",
        "-o",
        IMAGE,
    ]);
    assert_eq!(answered, "busybox:1");
    assert_eq!(kubectl.run(&["get", "pod", "e2e-httpd", "-o", IMAGE]), "httpd:2");
}

/// Kubectl, label update
#[test]
fn kubectl_label_update() {
    let server = Server::alone().with_service_account();
    let kubectl = server.kubectl();
    kubectl.run(&["run", "pause", "--image=pause:3"]);
    // A kubelet would say so.
    server
        .at("v1", "pods")
        .within("default")
        .patch("pause/status", json!({"status": {"phase": "Running"}}));
    kubectl.run(&["label", "pods", "pause", "testing-label=testing-label-value"]);
    let shown = kubectl.run(&["get", "pod", "pause", "-L", "testing-label"]);
    assert!(shown.contains("testing-label-value"), "{shown}");
    let selected = || kubectl.run(&["get", "pod", "-l", "testing-label=testing-label-value", "-o", "name"]);
    assert_eq!(selected().trim(), "pod/pause");
    kubectl.run(&["label", "pods", "pause", "testing-label-"]);
    assert_eq!(selected().trim(), "");
    let shown = kubectl.run(&["get", "pod", "pause", "-L", "testing-label"]);
    assert!(!shown.contains("testing-label-value"), "{shown}");
}

struct Proxy(Child);

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn proxy(mut command: Command) -> Proxy {
    Proxy(command.stdout(Stdio::piped()).spawn().expect("the proxy starts"))
}

/// What stands below the headers of the answer to `GET /api/`.
fn ask(mut stream: impl std::io::Read + std::io::Write) -> Value {
    stream
        .write_all(b"GET /api/ HTTP/1.0\r\nHost: localhost\r\n\r\n")
        .expect("it listens");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers");
    parsed(text.split_once("\r\n\r\n").expect("headers and a body").1)
}

fn has_versions(answer: &Value) {
    let versions = answer["versions"].as_array().expect("versions");
    assert!(versions.contains(&"v1".into()), "{answer}");
}

/// Kubectl, proxy port zero
#[test]
fn kubectl_proxy_port_zero() {
    let server = Server::alone();
    let mut proxy = proxy(server.kubectl().command(&["proxy", "-p", "0", "--disable-filter"]));
    let mut line = String::new();
    BufReader::new(proxy.0.stdout.take().expect("piped"))
        .read_line(&mut line)
        .expect("it says where it listens");
    let address = line.trim().rsplit(' ').next().expect("an address");
    has_versions(&ask(std::net::TcpStream::connect(address).expect("it listens")));
}

/// Kubectl, proxy socket
#[test]
fn kubectl_proxy_socket() {
    let server = Server::alone();
    let socket = server.folder().join("socket");
    let _proxy = proxy(
        server
            .kubectl()
            .command(&["proxy", &format!("--unix-socket={}", socket.display())]),
    );
    let stream = eventually("the socket", || {
        std::os::unix::net::UnixStream::connect(&socket).map_err(|error| error.to_string())
    });
    has_versions(&ask(stream));
}

/// A ReplicationController whose pods run, as far as their objects say.
const CONTROLLER: &str = r#"
apiVersion: v1
kind: ReplicationController
metadata: {name: agnhost-primary, labels: {app: agnhost, role: primary}}
spec:
  replicas: 2
  selector: {app: agnhost, role: primary}
  template:
    metadata: {labels: {app: agnhost, role: primary}}
    spec: {containers: [{name: agnhost-primary, image: "agnhost:2", ports: [{name: agnhost-server, containerPort: 6379}]}]}
"#;

fn controlled(server: &Server, replicas: usize) {
    eventually("the controller's pods run", || {
        let phases = server.kubectl().run(&[
            "get",
            "pods",
            "-l",
            "app=agnhost",
            "-o",
            "jsonpath={.items[*].status.phase}",
        ]);
        if phases.split_whitespace().collect::<Vec<_>>() == vec!["Running"; replicas] {
            Ok(())
        } else {
            Err(phases)
        }
    });
}

fn with_controller() -> (Server, crate::hollow::Hollow) {
    let server = Server::control_plane();
    let node = crate::hollow::Hollow::start(&server);
    server.kubectl().run_with(&["create", "-f", "-"], CONTROLLER);
    controlled(&server, 2);
    (server, node)
}

/// Kubectl, replication controller
#[test]
fn kubectl_replication_controller() {
    let (server, _node) = with_controller();
    let told = "jsonpath={.status.replicas}";
    assert_eq!(server.kubectl().run(&["get", "rc", "agnhost-primary", "-o", told]), "2");
}

/// Kubectl, scale replication controller
#[test]
fn kubectl_scale_replication_controller() {
    let (server, _node) = with_controller();
    for (replicas, count) in [("1", 1), ("2", 2)] {
        let replicas = format!("--replicas={replicas}");
        server
            .kubectl()
            .run(&["scale", "rc", "agnhost-primary", &replicas, "--timeout=1m"]);
        controlled(&server, count);
    }
}

/// Kubectl, patch to annotate
#[test]
fn kubectl_patch_to_annotate() {
    let (server, _node) = with_controller();
    let kubectl = server.kubectl();
    for pod in kubectl.run(&["get", "pods", "-l", "app=agnhost", "-o", "name"]).lines() {
        kubectl.run(&["patch", pod, "-p", r#"{"metadata":{"annotations":{"x":"y"}}}"#]);
    }
    let said = kubectl.run(&[
        "get",
        "pods",
        "-l",
        "app=agnhost",
        "-o",
        "jsonpath={.items[*].metadata.annotations.x}",
    ]);
    assert_eq!(said, "y y");
}

/// Kubectl, describe pod or rc
#[test]
fn kubectl_describe_pod_or_rc() {
    let (server, _node) = with_controller();
    let kubectl = server.kubectl();
    kubectl.run(&[
        "expose",
        "rc",
        "agnhost-primary",
        "--port=6379",
        "--target-port=agnhost-server",
    ]);
    #[track_caller]
    fn holds(said: &str, lines: &[&[&str]]) {
        for words in lines {
            let found = said.lines().any(|line| words.iter().all(|word| line.contains(word)));
            assert!(found, "{words:?} in\n{said}");
        }
    }
    let pod = kubectl.run(&[
        "get",
        "pods",
        "-l",
        "app=agnhost",
        "-o",
        "jsonpath={.items[0].metadata.name}",
    ]);
    let pods: &[&[&str]] = &[
        &["Name:", "agnhost-primary-"],
        &["Namespace:", "default"],
        &["Node:", "hollow"],
        &["Labels:", "app=agnhost"],
        &["role=primary"],
        &["Status:", "Running"],
        &["IP:"],
        &["Controlled By:", "ReplicationController/agnhost-primary"],
        &["Image:", "agnhost:2"],
        &["State:", "Running"],
        &["QoS Class:", "BestEffort"],
    ];
    holds(&kubectl.run(&["describe", "pod", &pod]), pods);
    let controllers: &[&[&str]] = &[
        &["Name:", "agnhost-primary"],
        &["Namespace:", "default"],
        &["Selector:", "app=agnhost,role=primary"],
        &["Labels:", "app=agnhost"],
        &["Replicas:", "2 current", "2 desired"],
        &["Pods Status:", "2 Running", "0 Waiting", "0 Succeeded", "0 Failed"],
        &["Pod Template:"],
        &["Image:", "agnhost:2"],
    ];
    holds(&kubectl.run(&["describe", "rc", "agnhost-primary"]), controllers);
    let services: &[&[&str]] = &[
        &["Name:", "agnhost-primary"],
        &["Selector:", "app=agnhost,role=primary"],
        &["Type:", "ClusterIP"],
        &["Port:", "6379/TCP"],
        &["TargetPort:", "agnhost-server/TCP"],
    ];
    holds(&kubectl.run(&["describe", "service", "agnhost-primary"]), services);
    let nodes: &[&[&str]] = &[
        &["Name:", "hollow"],
        &["Labels:"],
        &["Conditions:"],
        &["Capacity:"],
        &["agnhost-primary-"],
    ];
    holds(&kubectl.run(&["describe", "node", "hollow"]), nodes);
    let namespaces: &[&[&str]] = &[&["Name:", "default"], &["Status:", "Active"]];
    holds(&kubectl.run(&["describe", "namespace", "default"]), namespaces);
}

/// Kubectl, create service, replication controller
#[test]
fn kubectl_create_service_replication_controller() {
    let (server, _node) = with_controller();
    let kubectl = server.kubectl();
    kubectl.run(&[
        "expose",
        "rc",
        "agnhost-primary",
        "--name=rm2",
        "--port=1234",
        "--target-port=6379",
    ]);
    kubectl.run(&[
        "expose",
        "service",
        "rm2",
        "--name=rm3",
        "--port=2345",
        "--target-port=6379",
    ]);
    let endpoints = server.at("v1", "endpoints").within("default");
    for (name, port) in [("rm2", 1234), ("rm3", 2345)] {
        let service = parsed(&kubectl.run(&["get", "service", name, "-o", "json"]));
        assert_eq!(service["spec"]["ports"][0]["port"], port);
        eventually("both pods stand behind it", || {
            let found = endpoints.items(&format!("fieldSelector=metadata.name%3D{name}"));
            let subset = found.first().map(|one| one["subsets"][0].clone()).unwrap_or_default();
            let addresses = subset["addresses"].as_array().map_or(0, Vec::len);
            if addresses == 2 && subset["ports"][0]["port"] == 6379 {
                Ok(())
            } else {
                Err(format!("{found:?}"))
            }
        });
    }
}
