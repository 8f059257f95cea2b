//! What the server says it has, it has.

use std::collections::BTreeSet;
use std::process::Stdio;

use serde_json::Value;
use timonel_api::resources;

use crate::server::Server;

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn every_built_in_resource_is_discovered_listed_and_shown_as_a_table() {
    let server = Server::start();
    let words = server
        .kubectl
        .run(&["api-resources", "--verbs=list", "-o", "name", "--no-headers"]);
    let found: BTreeSet<&str> = words.lines().collect();
    let mut missing = Vec::new();
    for resource in resources::all().iter().filter(|resource| resource.has_verb("list")) {
        let name = resource.group_resource();
        if !found.contains(name.as_str()) {
            missing.push(name);
            continue;
        }
        let path = match resource.group {
            "" => format!("/api/v1/{}", resource.plural),
            group => format!("/apis/{group}/{}/{}", resource.version, resource.plural),
        };
        let list = json(&server.kubectl.run(&["get", "--raw", &path]));
        assert_eq!(list["kind"], format!("{}List", resource.kind), "{path}");
        assert!(
            list["metadata"]["resourceVersion"]
                .as_str()
                .is_some_and(|v| v.parse::<u64>().is_ok()),
            "{path}"
        );
        server.timonctl.run(&["get", &name, "-A"]);
    }
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn health_version_and_metrics_answer() {
    let server = Server::start();
    for path in ["/healthz", "/livez", "/readyz"] {
        assert_eq!(server.kubectl.run(&["get", "--raw", path]).trim(), "ok", "{path}");
    }
    assert!(
        json(&server.kubectl.run(&["get", "--raw", "/version"]))["gitVersion"]
            .as_str()
            .unwrap_or("")
            .starts_with("v1.36")
    );
    assert!(!server.kubectl.run(&["get", "--raw", "/metrics"]).is_empty());
    assert!(server.timonctl.run(&["version"]).contains("Server Version: v1.36"));
}

#[test]
fn a_reader_that_has_seen_enough_ends_timonctl_without_a_word() {
    let server = Server::start();
    let mut child = server
        .timonctl
        .command(&["explain", "pods", "--recursive"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn explain_reads_the_servers_own_schemas() {
    let server = Server::start();
    let said = server
        .kubectl
        .run(&["explain", "deployment.spec.strategy.rollingUpdate"]);
    assert!(said.contains("maxSurge") && said.contains("apps"), "{said}");
    let said = server.kubectl.run(&["explain", "pods", "--recursive"]);
    assert!(said.contains("livenessProbe") && said.contains("failureThreshold"));
    let said = server
        .timonctl
        .run(&["explain", "deployment.spec.strategy.rollingUpdate"]);
    assert!(said.contains("maxSurge"), "{said}");
}

#[test]
fn nobody_gets_in_without_credentials() {
    let server = Server::start();
    let whoami = server.kubectl.run(&["auth", "whoami"]);
    assert!(whoami.contains("kubernetes-admin"), "{whoami}");
    let said = server.kubectl.refused(&["get", "pods", "--as=mallory"], "");
    assert!(
        said.contains(
            "pods is forbidden: User \"mallory\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\""
        ),
        "{said}"
    );
    let (nobody, impostors) = server.strangers();
    let said = nobody.refused(&["get", "pods"], "");
    assert!(said.contains("system:anonymous"), "{said}");
    for tool in impostors {
        let said = tool.refused(&["get", "pods"], "");
        assert!(said.contains("Unauthorized"), "{said}");
    }
}
