//! Which requests a webhook or an admission policy is about: rules, selectors and match conditions.
//!
//! The expressions of match conditions are asked to be there; whether they compile, nobody here can tell yet.

use std::collections::BTreeSet;

use serde_json::Value;
use timonel_api::{FieldError, Path, names};

use super::super::common::{any_of, label_selector, wrong};
use super::super::value::{at, has, list, text};

const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const CONDITIONS: usize = 64;

/// Checks a `RuleWithOperations`.
pub(super) fn rule(rule: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let operations = list(rule, "operations");
    wildcard(operations, "operations", &path.child("operations"), errors);
    for (index, operation) in operations.iter().filter_map(Value::as_str).enumerate() {
        if !OPERATIONS.contains(&operation) {
            let path = path.child("operations").index(index);
            errors.push(FieldError::not_supported(&path, operation, &OPERATIONS));
        }
    }
    wildcard(list(rule, "apiGroups"), "API groups", &path.child("apiGroups"), errors);
    let (versions, at_versions) = (list(rule, "apiVersions"), path.child("apiVersions"));
    wildcard(versions, "API versions", &at_versions, errors);
    for (index, _) in versions.iter().enumerate().filter(|(_, version)| *version == "") {
        errors.push(FieldError::required(&at_versions.index(index), ""));
    }
    resources(list(rule, "resources"), &path.child("resources"), errors);
    any_of(rule, "scope", &["*", "Cluster", "Namespaced"], path, errors);
}

/// A list that is there, and that has nothing beside a `*`.
fn wildcard(values: &[Value], noun: &str, path: &Path, errors: &mut Vec<FieldError>) {
    if values.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
    if values.len() > 1 && values.iter().any(|value| value == "*") {
        let detail = format!("if '*' is present, must not specify other {noun}");
        errors.push(FieldError::invalid(path, values.to_vec(), detail));
    }
}

/// Checks resources with their subresources: whatever a wildcard before it covers is one too many.
fn resources(resources: &[Value], path: &Path, errors: &mut Vec<FieldError>) {
    if resources.is_empty() {
        errors.push(FieldError::required(path, ""));
    }
    let (mut whole, mut everywhere) = (BTreeSet::new(), BTreeSet::new());
    let mut bare = false;
    for (index, resource) in resources.iter().filter_map(Value::as_str).enumerate() {
        let path = path.index(index);
        if resource.is_empty() {
            errors.push(FieldError::required(&path, ""));
            continue;
        }
        let Some((name, part)) = resource.split_once('/') else {
            // As upstream: the last one decides.
            bare = resource != "*";
            continue;
        };
        if whole.contains(name) {
            let detail = format!("if '{name}/*' is present, must not specify {resource}");
            errors.push(FieldError::invalid(&path, resource, detail));
        }
        if everywhere.contains(part) {
            let detail = format!("if '*/{part}' is present, must not specify {resource}");
            errors.push(FieldError::invalid(&path, resource, detail));
        }
        if part == "*" {
            whole.insert(name);
        }
        if name == "*" {
            everywhere.insert(part);
        }
    }
    let there = |wanted: &str| resources.iter().any(|resource| resource == wanted);
    let mut refuse = |detail: &str| errors.push(FieldError::invalid(path, resources.to_vec(), detail));
    if resources.len() > 1 && there("*/*") {
        refuse("if '*/*' is present, must not specify other resources");
    }
    if there("*") && bare {
        refuse("if '*' is present, must not specify other resources without subresources");
    }
}

/// Checks a `MatchResources`.
pub(super) fn match_resources(resources: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    if has(resources, "matchPolicy") {
        any_of(resources, "matchPolicy", &["Equivalent", "Exact"], path, errors);
    } else {
        errors.push(FieldError::required(&path.child("matchPolicy"), ""));
    }
    for field in ["namespaceSelector", "objectSelector"] {
        if has(resources, field) {
            label_selector(at(resources, field), &path.child(field), errors);
        } else {
            errors.push(FieldError::required(&path.child(field), ""));
        }
    }
    for field in ["resourceRules", "excludeResourceRules"] {
        for (index, named) in list(resources, field).iter().enumerate() {
            let path = path.child(field).index(index);
            let mut seen = BTreeSet::new();
            for (index, name) in list(named, "resourceNames")
                .iter()
                .filter_map(Value::as_str)
                .enumerate()
            {
                let path = path.child("resourceNames").index(index);
                wrong(&path, name, names::path_segment(name, false), errors);
                if !seen.insert(name) {
                    errors.push(FieldError::duplicate(&path, name));
                }
            }
            rule(named, &path, errors);
        }
    }
}

/// Checks match conditions: each has an expression and a name of its own.
pub(super) fn conditions(conditions: &[Value], path: &Path, errors: &mut Vec<FieldError>) {
    if conditions.len() > CONDITIONS {
        errors.push(FieldError::too_many(path, conditions.len(), CONDITIONS));
    }
    let mut seen = BTreeSet::new();
    for (index, condition) in conditions.iter().enumerate() {
        let path = path.index(index);
        if text(condition, "expression").trim().is_empty() {
            errors.push(FieldError::required(&path.child("expression"), ""));
        }
        let (name, at_name) = (text(condition, "name"), path.child("name"));
        if name.is_empty() {
            errors.push(FieldError::required(&at_name, ""));
            continue;
        }
        wrong(&at_name, name, names::qualified_name(name), errors);
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&at_name, name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(of: &Value) -> Vec<String> {
        let mut errors = Vec::new();
        resources(of.as_array().unwrap(), &Path::new("resources"), &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_resource_that_a_wildcard_covers_is_one_too_many() {
        assert_eq!(said(&json!(["pods", "pods/*", "*/scale"])), Vec::<String>::new());
        assert_eq!(said(&json!([])), ["resources: Required value"]);
        assert_eq!(
            said(&json!(["pods/*", "pods/exec", "*/scale", "a/scale", ""])),
            [
                "resources[1]: Invalid value: \"pods/exec\": if 'pods/*' is present, must not specify pods/exec",
                "resources[3]: Invalid value: \"a/scale\": if '*/scale' is present, must not specify a/scale",
                "resources[4]: Required value",
            ]
        );
        assert_eq!(
            said(&json!(["*", "a"])),
            [
                "resources: Invalid value: [\"*\",\"a\"]: if '*' is present, must not specify other resources without subresources"
            ]
        );
    }

    #[test]
    fn match_conditions_have_names_of_their_own() {
        let given = json!([{"name": "a", "expression": "true"}, {"name": "a", "expression": " "}, {"expression": "x"}, {"name": "-", "expression": "x"}]);
        let mut errors = Vec::new();
        conditions(given.as_array().unwrap(), &Path::new("c"), &mut errors);
        let said: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert_eq!(
            said[..3],
            [
                "c[1].expression: Required value",
                "c[1].name: Duplicate value: \"a\"",
                "c[2].name: Required value"
            ]
        );
        assert!(said[3].starts_with("c[3].name: Invalid value: \"-\": name part must consist of"));
        errors.clear();
        let many = vec![json!({"name": "", "expression": "x"}); 65];
        conditions(&many, &Path::new("c"), &mut errors);
        assert_eq!(errors[0].to_string(), "c: Too many: 65: must have at most 64 items");
    }
}
