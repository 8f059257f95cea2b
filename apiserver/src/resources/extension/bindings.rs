//! The bindings of admission policies: which policy holds where, and with which parameters.

use std::collections::BTreeSet;

use serde_json::Value;
use timonel_api::{FieldError, Path, names};

use super::super::common::{label_selector, one_of, wrong};
use super::super::value::{at, has, list, text, within};
use super::matching;
use super::policies::{MUTATING, default_match, only};

/// Fills in the defaults of a binding.
pub(super) fn default_binding(object: &mut Value) {
    within(object, "spec", |spec| within(spec, "matchResources", default_match));
}

/// Checks a `ValidatingAdmissionPolicyBinding`.
pub(super) fn validating(object: &Value) -> Vec<FieldError> {
    let (path, spec, mut errors) = (Path::new("spec"), at(object, "spec"), Vec::new());
    binding(spec, &path, &mut errors);
    actions(
        list(spec, "validationActions"),
        &path.child("validationActions"),
        &mut errors,
    );
    errors
}

/// Checks a `MutatingAdmissionPolicyBinding`.
pub(super) fn mutating(object: &Value) -> Vec<FieldError> {
    let (path, spec, mut errors) = (Path::new("spec"), at(object, "spec"), Vec::new());
    binding(spec, &path, &mut errors);
    only(
        at(spec, "matchResources"),
        &MUTATING,
        &path.child("matchResources"),
        &mut errors,
    );
    errors
}

fn binding(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (policy, at_policy) = (text(spec, "policyName"), path.child("policyName"));
    if policy.is_empty() {
        errors.push(FieldError::required(&at_policy, ""));
    } else {
        wrong(&at_policy, policy, names::subdomain(policy, false), errors);
    }
    if has(spec, "paramRef") {
        param_ref(at(spec, "paramRef"), &path.child("paramRef"), errors);
    }
    if has(spec, "matchResources") {
        let path = path.child("matchResources");
        matching::match_resources(at(spec, "matchResources"), &path, errors);
    }
}

fn param_ref(reference: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    const BOTH: &str = "name and selector are mutually exclusive";
    let (name, named) = (text(reference, "name"), !text(reference, "name").is_empty());
    let selects = has(reference, "selector");
    if named {
        wrong(&path.child("name"), name, names::path_segment(name, false), errors);
    }
    if named && selects {
        errors.push(FieldError::forbidden(&path.child("name"), BOTH));
    }
    if selects {
        label_selector(at(reference, "selector"), &path.child("selector"), errors);
    }
    if named && selects {
        errors.push(FieldError::forbidden(&path.child("selector"), BOTH));
    }
    if !named && !selects {
        errors.push(FieldError::required(path, "one of name or selector must be specified"));
    }
    let actions = ["Deny", "Allow"];
    one_of(reference, "parameterNotFoundAction", &actions, path, errors);
}

fn actions(actions: &[Value], path: &Path, errors: &mut Vec<FieldError>) {
    const ACTIONS: [&str; 3] = ["Audit", "Deny", "Warn"];
    let mut seen = BTreeSet::new();
    for (index, action) in actions.iter().filter_map(Value::as_str).enumerate() {
        let path = path.index(index);
        if !ACTIONS.contains(&action) {
            errors.push(FieldError::not_supported(&path, action, &ACTIONS));
        }
        if !seen.insert(action) {
            errors.push(FieldError::duplicate(&path, action));
        }
    }
    if seen.contains("Deny") && seen.contains("Warn") {
        let detail = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)";
        errors.push(FieldError::invalid(path, actions.to_vec(), detail));
    }
    if seen.is_empty() {
        let detail = "at least one validation action is required";
        errors.push(FieldError::required(path, detail));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn said(errors: &[FieldError]) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_binding_names_its_policy_and_finds_its_parameters() {
        let mut good = json!({"spec": {"policyName": "p", "validationActions": ["Deny"], "matchResources": {},
            "paramRef": {"selector": {}, "parameterNotFoundAction": "Allow"}}});
        default_binding(&mut good);
        assert_eq!(validating(&good), []);
        let bad = json!({"spec": {"validationActions": ["Deny", "Warn", "Deny", "Shout"],
            "paramRef": {"name": "..", "selector": {"matchLabels": {"a": "-"}}}}});
        let said = said(&validating(&bad));
        assert_eq!(
            said[..3],
            [
                "spec.policyName: Required value",
                "spec.paramRef.name: Invalid value: \"..\": may not be '..'",
                "spec.paramRef.name: Forbidden: name and selector are mutually exclusive",
            ]
        );
        assert!(said[3].starts_with("spec.paramRef.selector.matchLabels: Invalid value: \"-\""));
        assert_eq!(
            said[4..],
            [
                "spec.paramRef.selector: Forbidden: name and selector are mutually exclusive",
                "spec.paramRef.parameterNotFoundAction: Required value",
                "spec.validationActions[2]: Duplicate value: \"Deny\"",
                "spec.validationActions[3]: Unsupported value: \"Shout\": supported values: \"Audit\", \"Deny\", \"Warn\"",
                "spec.validationActions: Invalid value: [\"Deny\",\"Warn\",\"Deny\",\"Shout\"]: must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)",
            ]
        );
    }
}
