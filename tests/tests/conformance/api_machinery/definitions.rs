//! Custom resource definitions as objects. Their resources are not served yet.

use serde_json::{Value, json};

use crate::kind::Kind;
use crate::server::Server;

/// A definition whose name says what it defines: `e2e-ones.example.com`.
fn definitions() -> Kind {
    Kind {
        group: "apiextensions.k8s.io",
        plural: "customresourcedefinitions",
        kind: "CustomResourceDefinition",
        names: ["e2e-ones.example.com", "e2e-twos.example.com", "e2e-threes.example.com"],
        object: |name| {
            let plural = name.split('.').next().unwrap_or_default();
            let properties = json!({"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}});
            json!({"spec": {
                "group": "example.com", "scope": "Namespaced",
                "names": {"plural": plural, "singular": plural.trim_end_matches('s'), "kind": "E2e"},
                "versions": [{"name": "v1", "served": true, "storage": true,
                    "schema": {"openAPIV3Schema": {"type": "object", "properties": properties}}}],
            }})
        },
        status: Some([condition("patched"), condition("updated")]),
        ..Kind::default()
    }
}

fn condition(message: &str) -> Value {
    json!({"conditions": [{"type": "E2e", "status": "True", "reason": "E2E", "message": message}]})
}

/// Custom Resource Definition, create
#[test]
fn custom_resource_definition_create() {
    let server = Server::alone();
    let kind = definitions();
    let definitions = kind.resource(&server);
    let name = kind.names[0];
    let made = definitions.create(kind.sample(name));
    assert_eq!(made["spec"]["names"]["listKind"], "E2eList");
    assert_eq!(made["spec"]["conversion"]["strategy"], "None");
    assert_eq!(made["status"]["storedVersions"], json!(["v1"]));
    let mut misnamed = kind.sample("other.example.com");
    misnamed["spec"]["names"]["plural"] = json!("others");
    let message = definitions.try_create(&misnamed).refused(422, "Invalid");
    assert!(
        message.contains("must be spec.names.plural+\".\"+spec.group"),
        "{message}"
    );
    definitions.delete(name);
    definitions.absent(name);
}

/// Custom Resource Definition, list
#[test]
fn custom_resource_definition_list() {
    let server = Server::alone();
    let kind = definitions();
    let definitions = kind.resource(&server);
    let mut labelled: Vec<String> = (0..10).map(|number| format!("e2e-{number}s.example.com")).collect();
    for name in &labelled {
        definitions.create(kind.sample(name));
    }
    let mut other = kind.sample("others.example.com");
    other["metadata"]["labels"] = json!({"suite": "another"});
    definitions.create(other);
    labelled.sort();
    let query = "labelSelector=suite%3Dconformance";
    assert_eq!(definitions.names(query), labelled);
    definitions.delete_collection(query);
    assert!(definitions.names(query).is_empty());
    assert_eq!(definitions.names(""), ["others.example.com"]);
}

/// Custom Resource Definition, status sub-resource
#[test]
fn custom_resource_definition_status_sub_resource() {
    let server = Server::alone();
    let kind = definitions();
    let definitions = kind.resource(&server);
    definitions.create(kind.sample(kind.names[0]));
    let patches = kind.status.as_ref().expect("definitions have a status");
    kind.supports_status(&definitions, patches);
}
