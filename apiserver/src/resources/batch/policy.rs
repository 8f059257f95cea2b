//! What a Job says about failed and successful pods: `podFailurePolicy`, `successPolicy`, and the limits of indexed Jobs.

use std::collections::BTreeSet;

use serde_json::Value;
use timonel_api::{FieldError, FieldErrorKind, Path, names};

use super::super::common::wrong;
use super::super::value::{at, has, int, list, text};

const RULES: usize = 20;
const EXIT_CODES: usize = 255;
const CONDITIONS: usize = 20;
/// More pods than this at a time, or failed indexes, are too much to write down in a status.
const INDEXED_PODS: i64 = 100_000;
/// The same where each index has a limit of its own and there are very many of them.
const LIMITED_PODS: i64 = 10_000;

/// Checks what only indexed Jobs may say, and how much of it.
pub(super) fn indexes(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let number = |field: &str| int(spec, field);
    let mut refuse = |field: &str, detail: String| {
        errors.push(FieldError::invalid(&path.child(field), at(spec, field).clone(), detail));
    };
    if text(spec, "completionMode") != "Indexed" {
        for field in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            if has(spec, field) {
                refuse(field, "requires indexed completion mode".to_owned());
            }
        }
        return;
    }
    let (parallelism, failed) = (number("parallelism"), number("maxFailedIndexes"));
    let completions = number("completions").unwrap_or(0);
    if parallelism.is_some_and(|pods| pods > INDEXED_PODS) {
        let detail = format!("must be less than or equal to {INDEXED_PODS} when completion mode is Indexed");
        refuse("parallelism", detail);
    }
    if failed.is_some_and(|failed| failed > completions) {
        refuse(
            "maxFailedIndexes",
            "must be less than or equal to completions".to_owned(),
        );
    }
    if failed.is_some_and(|failed| failed > INDEXED_PODS) {
        refuse(
            "maxFailedIndexes",
            format!("must be less than or equal to {INDEXED_PODS}"),
        );
    }
    if completions > INDEXED_PODS && has(spec, "backoffLimitPerIndex") {
        let detail = || {
            format!(
                "must be less than or equal to {LIMITED_PODS} when completions are above {INDEXED_PODS} and used with backoff limit per index"
            )
        };
        for (field, value) in [("parallelism", parallelism), ("maxFailedIndexes", failed)] {
            if value.is_some_and(|value| value > LIMITED_PODS) {
                refuse(field, detail());
            }
        }
        if failed.is_none() {
            let detail = format!("must be specified when completions is above {INDEXED_PODS}");
            errors.push(FieldError::required(&path.child("maxFailedIndexes"), detail));
        }
    }
}

/// Checks `podFailurePolicy`.
pub(super) fn failure(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let rules = list(at(spec, "podFailurePolicy"), "rules");
    let path = path.child("podFailurePolicy").child("rules");
    if rules.len() > RULES {
        errors.push(FieldError::too_many(&path, rules.len(), RULES));
        return;
    }
    let template = at(at(spec, "template"), "spec");
    let containers: BTreeSet<&str> = ["containers", "initContainers"]
        .iter()
        .flat_map(|field| list(template, field))
        .map(|container| text(container, "name"))
        .collect();
    for (index, rule) in rules.iter().enumerate() {
        let path = path.index(index);
        let (action, at_action) = (text(rule, "action"), path.child("action"));
        let actions = ["Count", "FailIndex", "FailJob", "Ignore"];
        match action {
            "" => errors.push(FieldError::required(
                &at_action,
                "valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]",
            )),
            "FailIndex" if !has(spec, "backoffLimitPerIndex") => {
                let detail = "requires the backoffLimitPerIndex to be set";
                errors.push(FieldError::invalid(&at_action, action, detail));
            }
            _ if !actions.contains(&action) => {
                errors.push(FieldError::not_supported(&at_action, action, &actions));
            }
            _ => {}
        }
        let (codes, conditions) = (at(rule, "onExitCodes"), list(rule, "onPodConditions"));
        if !codes.is_null() {
            exit_codes(codes, &containers, &path.child("onExitCodes"), errors);
        }
        pod_conditions(conditions, &path.child("onPodConditions"), errors);
        let words = match (codes.is_null(), conditions.is_empty()) {
            (false, false) => "specifying both OnExitCodes and OnPodConditions is not supported",
            (true, true) => "specifying one of OnExitCodes and OnPodConditions is required",
            _ => continue,
        };
        errors.push(FieldError {
            kind: FieldErrorKind::Invalid,
            path: path.clone(),
            value: None,
            detail: words.to_owned(),
        });
    }
}

fn exit_codes(codes: &Value, containers: &BTreeSet<&str>, path: &Path, errors: &mut Vec<FieldError>) {
    let (operator, at_operator) = (text(codes, "operator"), path.child("operator"));
    match operator {
        "In" | "NotIn" => {}
        "" => errors.push(FieldError::required(&at_operator, "valid values: [\"In\" \"NotIn\"]")),
        other => errors.push(FieldError::not_supported(&at_operator, other, &["In", "NotIn"])),
    }
    if has(codes, "containerName") && !containers.contains(text(codes, "containerName")) {
        let detail = "must be one of the container or initContainer names in the pod template";
        let name = text(codes, "containerName");
        errors.push(FieldError::invalid(&path.child("containerName"), name, detail));
    }
    let (values, path) = (list(codes, "values"), path.child("values"));
    if values.is_empty() {
        let detail = "at least one value is required";
        errors.push(FieldError::invalid(&path, values.to_vec(), detail));
    } else if values.len() > EXIT_CODES {
        errors.push(FieldError::too_many(&path, values.len(), EXIT_CODES));
    }
    let numbers: Vec<i64> = values.iter().filter_map(Value::as_i64).collect();
    let mut seen = BTreeSet::new();
    for (index, number) in numbers.iter().enumerate() {
        let path = path.index(index);
        if *number == 0 && operator == "In" {
            errors.push(FieldError::invalid(&path, 0, "must not be 0 for the In operator"));
        }
        if !seen.insert(number) {
            errors.push(FieldError::duplicate(&path, *number));
        }
    }
    if !numbers.is_sorted() {
        errors.push(FieldError::invalid(&path, values.to_vec(), "must be ordered"));
    }
}

fn pod_conditions(conditions: &[Value], path: &Path, errors: &mut Vec<FieldError>) {
    if conditions.len() > CONDITIONS {
        errors.push(FieldError::too_many(path, conditions.len(), CONDITIONS));
        return;
    }
    for (index, pattern) in conditions.iter().enumerate() {
        let (path, kind) = (path.index(index), text(pattern, "type"));
        wrong(&path.child("type"), kind, names::qualified_name(kind), errors);
        let (status, path) = (text(pattern, "status"), path.child("status"));
        match status {
            "True" | "False" | "Unknown" => {}
            "" => errors.push(FieldError::required(
                &path,
                "valid values: [\"False\" \"True\" \"Unknown\"]",
            )),
            other => errors.push(FieldError::not_supported(&path, other, &["False", "True", "Unknown"])),
        }
    }
}

/// Checks `successPolicy`.
pub(super) fn success(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (policy, path) = (at(spec, "successPolicy"), path.child("successPolicy"));
    if text(spec, "completionMode") != "Indexed" {
        let detail = "requires indexed completion mode";
        errors.push(FieldError::invalid(&path, policy.clone(), detail));
        return;
    }
    let (rules, path) = (list(policy, "rules"), path.child("rules"));
    if rules.is_empty() {
        errors.push(FieldError::required(
            &path,
            "at least one rules must be specified when the successPolicy is specified",
        ));
    } else if rules.len() > RULES {
        errors.push(FieldError::too_many(&path, rules.len(), RULES));
    }
    let completions = int(spec, "completions").unwrap_or(0);
    for (index, rule) in rules.iter().enumerate() {
        let path = path.index(index);
        if !has(rule, "succeededCount") && !has(rule, "succeededIndexes") {
            let detail = "at least one of succeededCount or succeededIndexes must be specified";
            errors.push(FieldError::required(&path, detail));
        }
        let mut total = None;
        if has(rule, "succeededIndexes") {
            let (text, path) = (text(rule, "succeededIndexes"), path.child("succeededIndexes"));
            match count_indexes(text, completions) {
                Ok(count) => total = Some(count),
                Err(why) => {
                    let detail = format!("error parsing succeededIndexes: {why}");
                    errors.push(FieldError::invalid(&path, text, detail));
                }
            }
        }
        let Some(count) = int(rule, "succeededCount") else {
            continue;
        };
        let path = path.child("succeededCount");
        let mut refuse = |detail: String| errors.push(FieldError::invalid(&path, count, detail));
        if count < 0 {
            refuse("must be greater than or equal to 0".to_owned());
        }
        if count > completions {
            refuse(format!(
                "must be less than or equal to {completions} (the number of specified completions)"
            ));
        }
        if let Some(total) = total.filter(|total| count > *total) {
            refuse(format!(
                "must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
            ));
        }
    }
}

/// Counts the indexes of a list like `1,3-5,7`.
fn count_indexes(text: &str, completions: i64) -> Result<i64, String> {
    let intervals = parse_indexes(text, completions)?;
    Ok(intervals.iter().map(|(first, last)| last - first + 1).sum())
}

/// Reads a list like `1,3-5,7`, which must grow and stay below the completions: the first and last index of each part.
pub(super) fn parse_indexes(text: &str, completions: i64) -> Result<Vec<(i64, i64)>, String> {
    let mut intervals = Vec::new();
    if text.is_empty() {
        return Ok(intervals);
    }
    let mut last = -1;
    for part in text.split(',') {
        let number = |text: &str| -> Result<i64, String> {
            let index: i64 = text
                .parse()
                .map_err(|_| format!("cannot convert string to integer for index: {text:?}"))?;
            if index >= completions {
                return Err(format!("too large index: {text:?}"));
            }
            Ok(index)
        };
        let mut ends = part.split('-');
        let (first, second) = (number(ends.next().unwrap_or_default())?, ends.next());
        if ends.next().is_some() {
            return Err(format!(
                "the fragment {part:?} violates the requirement that an index interval can have at most two parts separated by '-'"
            ));
        }
        let end = second.map_or(Ok(first), number)?;
        if first <= last {
            return Err(format!("non-increasing order, previous: {last}, current: {first}"));
        }
        if second.is_some() && end <= first {
            return Err(format!("non-increasing order, previous: {first}, current: {end}"));
        }
        intervals.push((first, end));
        last = end;
    }
    Ok(intervals)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn failure_rules_are_checked_one_by_one() {
        let spec = json!({
            "template": {"spec": {"containers": [{"name": "main"}]}},
            "podFailurePolicy": {"rules": [
                {"action": "FailJob", "onExitCodes": {"containerName": "main", "operator": "In", "values": [1, 42]}},
                {"action": "FailIndex", "onExitCodes": {"containerName": "x", "operator": "In", "values": [3, 0, 3]}},
                {"action": "Panic", "onPodConditions": [{"type": "DisruptionTarget", "status": "Maybe"}]},
                {},
            ]},
        });
        let mut errors = Vec::new();
        failure(&spec, &Path::new("spec"), &mut errors);
        let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let rule = |index: usize| format!("spec.podFailurePolicy.rules[{index}]");
        assert_eq!(
            said,
            [
                format!(
                    "{}.action: Invalid value: \"FailIndex\": requires the backoffLimitPerIndex to be set",
                    rule(1)
                ),
                format!(
                    "{}.onExitCodes.containerName: Invalid value: \"x\": must be one of the container or initContainer names in the pod template",
                    rule(1)
                ),
                format!(
                    "{}.onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In operator",
                    rule(1)
                ),
                format!("{}.onExitCodes.values[2]: Duplicate value: 3", rule(1)),
                format!(
                    "{}.onExitCodes.values: Invalid value: [3,0,3]: must be ordered",
                    rule(1)
                ),
                format!(
                    "{}.action: Unsupported value: \"Panic\": supported values: \"Count\", \"FailIndex\", \"FailJob\", \"Ignore\"",
                    rule(2)
                ),
                format!(
                    "{}.onPodConditions[0].status: Unsupported value: \"Maybe\": supported values: \"False\", \"True\", \"Unknown\"",
                    rule(2)
                ),
                format!(
                    "{}.action: Required value: valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]",
                    rule(3)
                ),
                format!(
                    "{}: Invalid value: specifying one of OnExitCodes and OnPodConditions is required",
                    rule(3)
                ),
            ]
        );
    }

    #[test]
    fn indexes_are_counted_and_must_grow() {
        assert_eq!(count_indexes("0,2-4,9", 10), Ok(5));
        assert_eq!(count_indexes("", 10), Ok(0));
        for wrong in ["10", "a", "3,2", "4-4", "1-2-3", "-1"] {
            assert!(count_indexes(wrong, 10).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_indexed_jobs_count_by_index() {
        let mut errors = Vec::new();
        let spec = json!({"completionMode": "NonIndexed", "backoffLimitPerIndex": 1, "successPolicy": {}});
        indexes(&spec, &Path::new("spec"), &mut errors);
        success(&spec, &Path::new("spec"), &mut errors);
        assert_eq!(
            errors.iter().map(ToString::to_string).collect::<Vec<_>>(),
            [
                "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode",
                "spec.successPolicy: Invalid value: {}: requires indexed completion mode",
            ]
        );
    }
}
