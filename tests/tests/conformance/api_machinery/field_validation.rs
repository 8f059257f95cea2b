//! `fieldValidation=Strict` for built-in types.

use crate::server::Server;

fn deployment(extra_metadata: &str, extra_spec: &str) -> String {
    format!(
        r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"web","labels":{{"app":"web"}}{extra_metadata}}},
        "spec":{{"replicas":2{extra_spec},"selector":{{"matchLabels":{{"app":"web"}}}},
        "template":{{"metadata":{{"labels":{{"app":"web"}}}},"spec":{{"containers":[{{"name":"web","image":"web:1"}}]}}}}}}}}"#
    )
}

const PATH: &str = "/apis/apps/v1/namespaces/default/deployments";

/// Server side field validation, typed object
#[test]
fn server_side_field_validation_typed_object() {
    let server = Server::alone();
    let strict = format!("{PATH}?fieldValidation=Strict");
    let unknown = server.send(
        "POST",
        &strict,
        "application/json",
        deployment("", r#","unknownField":"x""#),
    );
    let message = unknown.refused(400, "BadRequest");
    assert!(message.contains(r#"unknown field "spec.unknownField""#), "{message}");
    let twice = server.send("POST", &strict, "application/json", deployment("", r#","replicas":3"#));
    let message = twice.refused(400, "BadRequest");
    assert!(message.contains(r#"duplicate field "spec.replicas""#), "{message}");
    server.at("apps/v1", "deployments").within("default").absent("web");
    // Server-side apply is YAML, and no less strict.
    let apply = format!("{PATH}/web?fieldManager=e2e&fieldValidation=Strict");
    let body = deployment("", r#","unknownField":"x","replicas":3"#);
    let message = server
        .send("PATCH", &apply, "application/apply-patch+yaml", body)
        .refused(400, "BadRequest");
    assert!(message.contains(r#"unknown field "spec.unknownField""#), "{message}");
    assert!(message.contains("replicas"), "{message}");
    server
        .send("POST", &strict, "application/json", deployment("", ""))
        .expect(201);
    let update = format!("{PATH}/web?fieldValidation=Strict");
    let body = deployment("", r#","unknownField":"x""#);
    server
        .send("PUT", &update, "application/json", body)
        .refused(400, "BadRequest");
}

/// Server side field validation, typed unknown metadata
#[test]
fn server_side_field_validation_typed_unknown_metadata() {
    let server = Server::alone();
    let strict = format!("{PATH}?fieldValidation=Strict");
    let body = deployment(r#","unknownMeta":"unknown""#, "");
    let message = server
        .send("POST", &strict, "application/json", body.clone())
        .refused(400, "BadRequest");
    assert!(message.contains(r#"unknown field "metadata.unknownMeta""#), "{message}");
    let apply = format!("{PATH}/web?fieldManager=e2e&fieldValidation=Strict");
    let message = server
        .send("PATCH", &apply, "application/apply-patch+yaml", body)
        .refused(400, "BadRequest");
    assert!(message.contains("metadata.unknownMeta"), "{message}");
    server.at("apps/v1", "deployments").within("default").absent("web");
}
