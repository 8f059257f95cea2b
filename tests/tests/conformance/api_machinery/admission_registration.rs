//! Webhook configurations and admission policies, as objects.

use serde_json::{Value, json};

use crate::kind::Kind;
use crate::server::Server;

const GROUP: &str = "admissionregistration.k8s.io";

fn webhooks(kind: &str, conditions: &Value) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": "with-conditions"},
        "webhooks": [{
            "name": "deny.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"service": {"namespace": "nowhere", "name": "nothing", "path": "/"}},
            // It concerns a group that nobody has, so that it stands in no other request's way.
            "rules": [{"apiGroups": ["example.com"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["things"]}],
            "matchConditions": conditions,
        }],
    })
}

fn keeps_match_conditions(plural: &str, kind: &str) {
    let server = Server::alone();
    let resource = server.at("admissionregistration.k8s.io/v1", plural);
    let first = json!([{"name": "expression-1", "expression": "object.metadata.namespace == 'production'"}]);
    let second = json!([
        {"name": "expression-1", "expression": "object.metadata.namespace == 'production'"},
        {"name": "expression-2", "expression": "request.operation == 'CREATE'"},
    ]);
    resource.create(webhooks(kind, &first));
    assert_eq!(resource.get("with-conditions")["webhooks"][0]["matchConditions"], first);
    resource.edit("with-conditions", |object| {
        object["webhooks"][0]["matchConditions"] = second.clone();
    });
    assert_eq!(
        resource.get("with-conditions")["webhooks"][0]["matchConditions"],
        second
    );
}

/// Mutating Admission webhook, create and update mutating webhook configuration with matchConditions
#[test]
fn mutating_admission_webhook_create_and_update_with_match_conditions() {
    keeps_match_conditions("mutatingwebhookconfigurations", "MutatingWebhookConfiguration");
}

/// Validating Admission webhook, create and update validating webhook configuration with matchConditions
#[test]
fn validating_admission_webhook_create_and_update_with_match_conditions() {
    keeps_match_conditions("validatingwebhookconfigurations", "ValidatingWebhookConfiguration");
}

/// Admission webhook, discovery document
#[test]
fn admission_webhook_discovery_document() {
    let server = Server::alone();
    for plural in ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"] {
        Kind {
            group: GROUP,
            plural,
            ..Kind::default()
        }
        .is_discovered(&server);
    }
}

fn policy_constraints() -> Value {
    json!({"resourceRules": [{
        "apiGroups": ["example.com"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["things"],
    }]})
}

/// ValidatingAdmissionPolicy API
#[test]
fn validatingadmissionpolicy_api() {
    Kind {
        group: GROUP,
        plural: "validatingadmissionpolicies",
        kind: "ValidatingAdmissionPolicy",
        object: |_| {
            json!({"spec": {
                "matchConstraints": policy_constraints(),
                "validations": [{"expression": "object.spec.replicas <= 100"}],
            }})
        },
        status: Some([
            json!({"observedGeneration": 1}),
            json!({"conditions": [{"type": "Checked", "status": "True", "reason": "Updated", "message": "by a test",
                "lastTransitionTime": "2026-01-02T03:04:05Z"}]}),
        ]),
        ..Kind::default()
    }
    .conforms();
}

/// ValidatingadmissionPolicyBinding API
#[test]
fn validatingadmissionpolicybinding_api() {
    Kind {
        group: GROUP,
        plural: "validatingadmissionpolicybindings",
        kind: "ValidatingAdmissionPolicyBinding",
        object: |_| json!({"spec": {"policyName": "replicalimit.example.com", "validationActions": ["Deny"]}}),
        ..Kind::default()
    }
    .conforms();
}

/// MutatingAdmissionPolicy API
#[test]
fn mutatingadmissionpolicy_api() {
    Kind {
        group: GROUP,
        plural: "mutatingadmissionpolicies",
        kind: "MutatingAdmissionPolicy",
        object: |_| {
            json!({"spec": {
                "matchConstraints": policy_constraints(),
                "reinvocationPolicy": "Never",
                "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {
                    "expression": "Object{metadata: Object.metadata{labels: {\"seen\": \"true\"}}}",
                }}],
            }})
        },
        ..Kind::default()
    }
    .conforms();
}

/// MutatingAdmissionPolicyBinding API
#[test]
fn mutatingadmissionpolicybinding_api() {
    Kind {
        group: GROUP,
        plural: "mutatingadmissionpolicybindings",
        kind: "MutatingAdmissionPolicyBinding",
        object: |_| json!({"spec": {"policyName": "labels.example.com"}}),
        ..Kind::default()
    }
    .conforms();
}
