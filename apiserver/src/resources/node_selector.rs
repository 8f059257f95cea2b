//! Validation of node selectors, as pods, volumes and devices have them.

use serde_json::Value;
use timonel_api::{FieldError, Path, names};

use super::common::{label_key, label_value, wrong};
use super::value::{list, text};

/// Checks a `core/v1.NodeSelector`.
pub(crate) fn node_selector(selector: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (terms, path) = (list(selector, "nodeSelectorTerms"), path.child("nodeSelectorTerms"));
    if terms.is_empty() {
        errors.push(FieldError::required(&path, "must have at least one node selector term"));
    }
    for (index, term) in terms.iter().enumerate() {
        self::term(term, true, &path.index(index), errors);
    }
}

/// Checks a `core/v1.NodeSelectorTerm`; the values of labels only where it is asked for.
pub(crate) fn term(term: &Value, values: bool, path: &Path, errors: &mut Vec<FieldError>) {
    for (index, requirement) in list(term, "matchExpressions").iter().enumerate() {
        label(
            requirement,
            values,
            &path.child("matchExpressions").index(index),
            errors,
        );
    }
    for (index, requirement) in list(term, "matchFields").iter().enumerate() {
        field(requirement, &path.child("matchFields").index(index), errors);
    }
}

fn label(requirement: &Value, check: bool, path: &Path, errors: &mut Vec<FieldError>) {
    let (values, at_values) = (list(requirement, "values"), path.child("values"));
    match text(requirement, "operator") {
        "In" | "NotIn" if values.is_empty() => errors.push(FieldError::required(
            &at_values,
            "must be specified when `operator` is 'In' or 'NotIn'",
        )),
        "Exists" | "DoesNotExist" if !values.is_empty() => errors.push(FieldError::forbidden(
            &at_values,
            "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
        )),
        "Gt" | "Lt" if values.len() != 1 => errors.push(FieldError::required(
            &at_values,
            "must be specified single value when `operator` is 'Lt' or 'Gt'",
        )),
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        other => unknown(other, path, errors),
    }
    label_key(text(requirement, "key"), &path.child("key"), errors);
    for (index, value) in values.iter().filter_map(Value::as_str).enumerate().filter(|_| check) {
        label_value(value, &at_values.index(index), errors);
    }
}

fn field(requirement: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (values, at_values) = (list(requirement, "values"), path.child("values"));
    match text(requirement, "operator") {
        "In" | "NotIn" if values.len() != 1 => errors.push(FieldError::required(
            &at_values,
            "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
        )),
        "In" | "NotIn" => {}
        other => unknown(other, path, errors),
    }
    let key = text(requirement, "key");
    if key != "metadata.name" {
        let detail = "not a valid field selector key";
        errors.push(FieldError::invalid(&path.child("key"), key, detail));
        return;
    }
    for (index, value) in values.iter().filter_map(Value::as_str).enumerate() {
        wrong(&at_values.index(index), value, names::subdomain(value, false), errors);
    }
}

fn unknown(operator: &str, path: &Path, errors: &mut Vec<FieldError>) {
    let detail = "not a valid selector operator";
    errors.push(FieldError::invalid(&path.child("operator"), operator, detail));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_operator_has_its_number_of_values() {
        let said = |selector: Value| -> Vec<String> {
            let mut errors = Vec::new();
            node_selector(&selector, &Path::new("s"), &mut errors);
            errors.iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            said(json!({})),
            ["s.nodeSelectorTerms: Required value: must have at least one node selector term"]
        );
        let labels = json!([
            {"key": "a", "operator": "In"}, {"key": "a", "operator": "Exists", "values": ["b"]},
            {"key": "a", "operator": "Gt", "values": ["1", "2"]}, {"key": "a", "operator": "Near"}]);
        let fields =
            json!([{"key": "spec.x", "operator": "In", "values": []}, {"key": "metadata.name", "operator": "Gt"}]);
        let path = "s.nodeSelectorTerms[0]";
        assert_eq!(
            said(json!({"nodeSelectorTerms": [{"matchExpressions": labels, "matchFields": fields}]})),
            [
                format!(
                    "{path}.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"
                ),
                format!(
                    "{path}.matchExpressions[1].values: Forbidden: may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                ),
                format!(
                    "{path}.matchExpressions[2].values: Required value: must be specified single value when `operator` is 'Lt' or 'Gt'"
                ),
                format!("{path}.matchExpressions[3].operator: Invalid value: \"Near\": not a valid selector operator"),
                format!(
                    "{path}.matchFields[0].values: Required value: must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
                ),
                format!("{path}.matchFields[0].key: Invalid value: \"spec.x\": not a valid field selector key"),
                format!("{path}.matchFields[1].operator: Invalid value: \"Gt\": not a valid selector operator"),
            ]
        );
    }
}
