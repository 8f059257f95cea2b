//! Validation of when a single container is started again, and the rule by which it is.

use serde_json::Value;
use timonel_api::{FieldError, Path};

use super::super::value::{at, has, int, list, text};

const RULES_MAX: usize = 20;
const VALUES_MAX: usize = 255;

/// Checks a container's `restartPolicy` and `restartPolicyRules`.
pub(super) fn validate(container: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    const POLICIES: [&str; 3] = ["Always", "Never", "OnFailure"];
    const ACTIONS: [&str; 2] = ["Restart", "RestartAllContainers"];
    let (rules, at_rules) = (list(container, "restartPolicyRules"), path.child("restartPolicyRules"));
    let (policy, at_policy) = (text(container, "restartPolicy"), path.child("restartPolicy"));
    if !has(container, "restartPolicy") {
        if !rules.is_empty() {
            let detail = "must specify restartPolicy when restart rules are used";
            errors.push(FieldError::required(&at_policy, detail));
        }
    } else if !POLICIES.contains(&policy) {
        errors.push(FieldError::not_supported(&at_policy, policy, &POLICIES));
    }
    if rules.len() > RULES_MAX {
        errors.push(FieldError::too_long(&at_rules, RULES_MAX));
    }
    for (index, rule) in rules.iter().enumerate() {
        let (path, action) = (at_rules.index(index), text(rule, "action"));
        if !ACTIONS.contains(&action) {
            errors.push(FieldError::not_supported(&path.child("action"), action, &ACTIONS));
        }
        exit_codes(rule, &path.child("exitCodes"), errors);
    }
}

fn exit_codes(rule: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    const OPERATORS: [&str; 2] = ["In", "NotIn"];
    if !has(rule, "exitCodes") {
        errors.push(FieldError::required(path, "must be specified"));
        return;
    }
    let codes = at(rule, "exitCodes");
    let operator = text(codes, "operator");
    if !OPERATORS.contains(&operator) {
        errors.push(FieldError::not_supported(&path.child("operator"), operator, &OPERATORS));
    }
    if list(codes, "values").len() > VALUES_MAX {
        errors.push(FieldError::too_long(&path.child("values"), VALUES_MAX));
    }
}

/// Whether a container that ended so may run again: by its own rules, by its own policy, or by its pod's.
pub(super) fn may_restart(container: &Value, spec: &Value, exit_code: i64) -> bool {
    let own = text(container, "restartPolicy");
    let applies = |rule: &&Value| {
        let codes = at(rule, "exitCodes");
        let listed = list(codes, "values")
            .iter()
            .any(|code| code.as_i64() == Some(exit_code));
        match text(codes, "operator") {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        }
    };
    if list(container, "restartPolicyRules").iter().any(|rule| applies(&rule)) {
        return true;
    }
    match if own.is_empty() {
        text(spec, "restartPolicy")
    } else {
        own
    } {
        "Never" => false,
        "OnFailure" => exit_code != 0,
        _ => true,
    }
}

/// Whether some container of a pod can make all of them start anew.
pub(super) fn all_may_restart(spec: &Value) -> bool {
    let rules = ["containers", "initContainers"]
        .iter()
        .flat_map(|field| list(spec, field))
        .flat_map(|container| list(container, "restartPolicyRules"));
    rules
        .into_iter()
        .any(|rule| text(rule, "action") == "RestartAllContainers")
}

/// The code with which a container has ended, by its status; `None` while it has not.
pub(super) fn exit_code(status: &Value) -> Option<i64> {
    let ended = at(at(status, "state"), "terminated");
    (!ended.is_null()).then(|| int(ended, "exitCode").unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rules_want_a_policy_beside_them() {
        let said = |container: Value| {
            let mut errors = Vec::new();
            validate(&container, &Path::new("c"), &mut errors);
            errors.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let rule = json!({"action": "Restart", "exitCodes": {"operator": "In", "values": [300, -1]}});
        let cases: Vec<(Value, &[&str])> = vec![
            (json!({"restartPolicy": "Never", "restartPolicyRules": [rule]}), &[]),
            (
                json!({"restartPolicyRules": [rule]}),
                &["c.restartPolicy: Required value: must specify restartPolicy when restart rules are used"],
            ),
            (
                json!({"restartPolicy": "Maybe", "restartPolicyRules": vec![&rule; 21]}),
                &[
                    "c.restartPolicy: Unsupported value: \"Maybe\": supported values: \"Always\", \"Never\", \"OnFailure\"",
                    "c.restartPolicyRules: Too long: may not be more than 20 bytes",
                ],
            ),
            (
                json!({"restartPolicy": "Never", "restartPolicyRules": [{"action": "DoNotRestart"}, {"action": "RestartAllContainers", "exitCodes": {"operator": "Equals", "values": vec![1; 256]}}]}),
                &[
                    "c.restartPolicyRules[0].action: Unsupported value: \"DoNotRestart\": supported values: \"Restart\", \"RestartAllContainers\"",
                    "c.restartPolicyRules[0].exitCodes: Required value: must be specified",
                    "c.restartPolicyRules[1].exitCodes.operator: Unsupported value: \"Equals\": supported values: \"In\", \"NotIn\"",
                    "c.restartPolicyRules[1].exitCodes.values: Too long: may not be more than 255 bytes",
                ],
            ),
        ];
        for (container, expected) in cases {
            assert_eq!(said(container.clone()), *expected, "{container}");
        }
    }

    #[test]
    fn rules_come_first_then_the_container_then_the_pod() {
        let never = json!({"restartPolicy": "Never"});
        let rule = json!({"restartPolicy": "Never", "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]});
        assert!(may_restart(&rule, &never, 42));
        assert!(!may_restart(&rule, &never, 1));
        assert!(may_restart(&json!({"restartPolicy": "OnFailure"}), &never, 1));
        assert!(!may_restart(&json!({"restartPolicy": "OnFailure"}), &never, 0));
        assert!(!may_restart(&json!({}), &never, 1));
        assert!(may_restart(&json!({}), &json!({"restartPolicy": "Always"}), 0));
    }
}
