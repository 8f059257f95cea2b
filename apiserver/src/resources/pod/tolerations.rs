//! Validation of tolerations, and of what an update may do to them.

use serde_json::Value;
use timonel_api::{FieldError, Path, names};

use super::super::common::label_key;
use super::super::value::{has, list, remove, text};

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

/// Checks the effect of a taint, or the one that is tolerated.
pub(crate) fn effect(effect: &str, path: &Path, errors: &mut Vec<FieldError>) {
    if !EFFECTS.contains(&effect) {
        errors.push(FieldError::not_supported(path, effect, &EFFECTS));
    }
}

/// Checks a list of tolerations.
pub(crate) fn validate(tolerations: &[Value], path: &Path, errors: &mut Vec<FieldError>) {
    for (index, toleration) in tolerations.iter().enumerate() {
        one(toleration, &path.index(index), errors);
    }
}

fn one(toleration: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (key, operator) = (text(toleration, "key"), text(toleration, "operator"));
    let at_operator = path.child("operator");
    if !key.is_empty() {
        label_key(key, &path.child("key"), errors);
    } else if operator != "Exists" {
        errors.push(FieldError::invalid(
            &at_operator,
            operator,
            "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
        ));
    }
    let (tolerated, at_effect) = (text(toleration, "effect"), path.child("effect"));
    if has(toleration, "tolerationSeconds") && tolerated != "NoExecute" {
        let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
        errors.push(FieldError::invalid(&at_effect, tolerated, detail));
    }
    let value = text(toleration, "value");
    match operator {
        "" | "Equal" => {
            let sentences = names::label_value(value);
            if !sentences.is_empty() {
                errors.push(FieldError::invalid(&at_operator, value, sentences.join(";")));
            }
        }
        "Exists" if !value.is_empty() => {
            let detail = "value must be empty when `operator` is 'Exists'";
            errors.push(FieldError::invalid(&at_operator, value, detail));
        }
        "Exists" => {}
        other => errors.push(FieldError::not_supported(&at_operator, other, &["Equal", "Exists"])),
    }
    if !tolerated.is_empty() {
        effect(tolerated, &at_effect, errors);
    }
}

/// Checks that tolerations are only added; how long something is tolerated may change.
pub(super) fn only_added(new: &Value, old: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let kept = |old: &Value| {
        list(new, "tolerations").iter().any(|new| {
            let forever = |toleration: &Value| {
                let mut toleration = toleration.clone();
                remove(&mut toleration, "tolerationSeconds");
                toleration
            };
            forever(old) == forever(new)
        })
    };
    if !list(old, "tolerations").iter().all(kept) {
        let detail = "existing toleration can not be modified except its tolerationSeconds";
        errors.push(FieldError::forbidden(path, detail));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_tolerated_can_be_a_taint() {
        let said = |toleration: Value| {
            let mut errors = Vec::new();
            validate(&[toleration], &Path::new("t"), &mut errors);
            errors.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let cases: &[(Value, &[&str])] = &[
            (json!({"operator": "Exists"}), &[]),
            (
                json!({"key": "a", "value": "b", "effect": "NoExecute", "tolerationSeconds": 1}),
                &[],
            ),
            (
                json!({}),
                &[
                    "t[0].operator: Invalid value: \"\": operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
                ],
            ),
            (
                json!({"key": "a", "operator": "Exists", "value": "b", "effect": "Maybe", "tolerationSeconds": 1}),
                &[
                    "t[0].effect: Invalid value: \"Maybe\": effect must be 'NoExecute' when `tolerationSeconds` is set",
                    "t[0].operator: Invalid value: \"b\": value must be empty when `operator` is 'Exists'",
                    "t[0].effect: Unsupported value: \"Maybe\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
                ],
            ),
            (
                json!({"key": "a", "operator": "Lt", "value": "5"}),
                &["t[0].operator: Unsupported value: \"Lt\": supported values: \"Equal\", \"Exists\""],
            ),
        ];
        for (toleration, expected) in cases {
            assert_eq!(said(toleration.clone()), *expected, "{toleration}");
        }
        assert!(
            said(json!({"key": "a", "value": "-"}))[0]
                .starts_with("t[0].operator: Invalid value: \"-\": a valid label")
        );
        assert!(said(json!({"key": "-"}))[0].starts_with("t[0].key: Invalid value: \"-\": name part must"));
    }

    #[test]
    fn tolerations_stay_though_not_for_as_long() {
        let said = |new: Value, old: Value| {
            let mut errors = Vec::new();
            let of = |tolerations: Value| json!({"tolerations": tolerations});
            only_added(&of(new), &of(old), &Path::new("t"), &mut errors);
            errors.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let one = |seconds: Option<i64>| json!({"key": "a", "effect": "NoExecute", "tolerationSeconds": seconds});
        assert_eq!(
            said(json!([one(Some(5)), {"key": "b"}]), json!([one(Some(9))])),
            Vec::<String>::new()
        );
        assert_eq!(
            said(json!([{"key": "a", "effect": "NoExecute"}]), json!([one(Some(9))])),
            Vec::<String>::new()
        );
        assert_eq!(
            said(json!([{"key": "b"}]), json!([one(None)])),
            ["t: Forbidden: existing toleration can not be modified except its tolerationSeconds"]
        );
    }
}
