//! Priority and fairness, as objects.

use serde_json::json;

use crate::kind::Kind;

fn condition(kind: &str, reason: &str) -> serde_json::Value {
    json!({"conditions": [{"type": kind, "status": "True", "reason": reason, "message": "said by a test",
        "lastTransitionTime": "2026-01-02T03:04:05Z"}]})
}

/// Priority and Fairness FlowSchema API
#[test]
fn priority_and_fairness_flowschema_api() {
    Kind {
        group: "flowcontrol.apiserver.k8s.io",
        plural: "flowschemas",
        kind: "FlowSchema",
        object: |_| {
            json!({"spec": {
                "matchingPrecedence": 10000,
                "priorityLevelConfiguration": {"name": "global-default"},
                "distinguisherMethod": {"type": "ByUser"},
                "rules": [{
                    "subjects": [{"kind": "User", "user": {"name": "example-e2e-non-existent-user"}}],
                    "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
                }],
            }})
        },
        status: Some([condition("Dangling", "First"), condition("Dangling", "Second")]),
        ..Kind::default()
    }
    .conforms();
}

/// Priority and Fairness PriorityLevelConfiguration API
#[test]
fn priority_and_fairness_prioritylevelconfiguration_api() {
    Kind {
        group: "flowcontrol.apiserver.k8s.io",
        plural: "prioritylevelconfigurations",
        kind: "PriorityLevelConfiguration",
        object: |_| {
            json!({"spec": {"type": "Limited", "limited": {
                "nominalConcurrencyShares": 2, "limitResponse": {"type": "Reject"},
            }}})
        },
        status: Some([condition("Dangling", "First"), condition("Dangling", "Second")]),
        ..Kind::default()
    }
    .conforms();
}
