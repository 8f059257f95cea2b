//! Validation of the conditions that have the shape of `metav1.Condition`.

use std::collections::BTreeSet;

use serde_json::Value;
use timonel_api::{FieldError, Path, names};

use super::common::wrong;
use super::value::{has, int, list, text};

const REASON_MAX: usize = 1024;
const MESSAGE_MAX: usize = 32 * 1024;
const REASON: &str = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')";

/// Checks the `conditions` of a status, or of whatever else has them.
pub(crate) fn conditions(status: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let mut seen = BTreeSet::new();
    for (index, condition) in list(status, "conditions").iter().enumerate() {
        let path = path.child("conditions").index(index);
        let kind = text(condition, "type");
        if !seen.insert(kind) {
            errors.push(FieldError::duplicate(&path.child("type"), kind));
        }
        self::condition(condition, &path, errors);
    }
}

fn condition(condition: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let kind = text(condition, "type");
    wrong(&path.child("type"), kind, names::qualified_name(kind), errors);
    let (status, statuses) = (text(condition, "status"), ["False", "True", "Unknown"]);
    if !statuses.contains(&status) {
        errors.push(FieldError::not_supported(&path.child("status"), status, &statuses));
    }
    if let Some(generation) = int(condition, "observedGeneration").filter(|generation| *generation < 0) {
        let detail = "must be greater than or equal to zero";
        errors.push(FieldError::invalid(
            &path.child("observedGeneration"),
            generation,
            detail,
        ));
    }
    if !has(condition, "lastTransitionTime") {
        errors.push(FieldError::required(&path.child("lastTransitionTime"), "must be set"));
    }
    let (reason, at_reason) = (text(condition, "reason"), path.child("reason"));
    if reason.is_empty() {
        errors.push(FieldError::required(&at_reason, "must be set"));
    } else if !is_reason(reason) {
        errors.push(FieldError::invalid(&at_reason, reason, REASON));
    }
    if reason.len() > REASON_MAX {
        errors.push(FieldError::too_long(&at_reason, REASON_MAX));
    }
    if text(condition, "message").len() > MESSAGE_MAX {
        errors.push(FieldError::too_long(&path.child("message"), MESSAGE_MAX));
    }
}

fn is_reason(reason: &str) -> bool {
    let word = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_';
    let bytes = reason.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.last().is_some_and(word)
        && bytes.iter().all(|b| word(b) || b",:".contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_condition_has_a_type_a_status_a_time_and_a_reason() {
        let good =
            json!({"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z", "reason": "A:b"});
        let bad = json!({"type": "Ready", "status": "Maybe", "observedGeneration": -1, "reason": "A:", "message": "x".repeat(40_000)});
        let mut errors = Vec::new();
        conditions(&json!({"conditions": [good, bad]}), &Path::new("status"), &mut errors);
        let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            said[..4],
            [
                "status.conditions[1].type: Duplicate value: \"Ready\"",
                "status.conditions[1].status: Unsupported value: \"Maybe\": supported values: \"False\", \"True\", \"Unknown\"",
                "status.conditions[1].observedGeneration: Invalid value: -1: must be greater than or equal to zero",
                "status.conditions[1].lastTransitionTime: Required value: must be set",
            ]
        );
        assert!(said[4].starts_with("status.conditions[1].reason: Invalid value: \"A:\": a condition reason must"));
        assert_eq!(
            said[5..],
            ["status.conditions[1].message: Too long: may not be more than 32768 bytes"]
        );
    }
}
