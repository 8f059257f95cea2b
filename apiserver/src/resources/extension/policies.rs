//! Admission policies, validating and mutating: defaults and validation.
//!
//! Expressions are asked to be there. Whether they compile nobody here can tell yet; policies are stored and not evaluated.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use timonel_api::{FieldError, Path, names};

use super::super::common::{any_of, one_of, wrong};
use super::super::conditions::conditions as meta_conditions;
use super::super::value::{at, default, default_text, each, has, list, text, within};
use super::matching;

const ANNOTATIONS: usize = 20;
/// The longest expression of an audit annotation.
const ANNOTATION_EXPRESSION: usize = 5 * 1024;
/// A mutating policy cannot match DELETE.
pub(super) const MUTATING: [&str; 4] = ["*", "CONNECT", "CREATE", "UPDATE"];

/// Words that CEL keeps for itself.
const RESERVED: [&str; 21] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];

/// Fills in the defaults of a policy.
pub(super) fn default_policy(object: &mut Value) {
    within(object, "spec", |spec| {
        default_text(spec, "failurePolicy", "Fail");
        within(spec, "matchConstraints", default_match);
    });
}

/// Fills in what a policy or a binding matches.
pub(super) fn default_match(resources: &mut Value) {
    default_text(resources, "matchPolicy", "Equivalent");
    for selector in ["namespaceSelector", "objectSelector"] {
        default(resources, selector, json!({}));
    }
    for rules in ["resourceRules", "excludeResourceRules"] {
        each(resources, rules, |rule| default_text(rule, "scope", "*"));
    }
}

/// Checks a `ValidatingAdmissionPolicy`.
pub(super) fn validating(object: &Value) -> Vec<FieldError> {
    validating_policy(object, true)
}

/// Checks an update of one. Match conditions that were accepted once are not looked at again.
pub(super) fn validating_update(new: &Value, old: &Value) -> Vec<FieldError> {
    validating_policy(new, conditions_changed(new, old))
}

/// Checks a `MutatingAdmissionPolicy`.
pub(super) fn mutating(object: &Value) -> Vec<FieldError> {
    mutating_policy(object, true)
}

/// Checks an update of one.
pub(super) fn mutating_update(new: &Value, old: &Value) -> Vec<FieldError> {
    mutating_policy(new, conditions_changed(new, old))
}

fn conditions_changed(new: &Value, old: &Value) -> bool {
    let (new, old) = (at(new, "spec"), at(old, "spec"));
    ["paramKind", "matchConditions"]
        .iter()
        .any(|field| at(new, field) != at(old, field))
}

fn validating_policy(object: &Value, conditions: bool) -> Vec<FieldError> {
    let (path, spec, mut errors) = (Path::new("spec"), at(object, "spec"), Vec::new());
    shared(spec, conditions, None, &path, &mut errors);
    let (validations, annotations) = (list(spec, "validations"), list(spec, "auditAnnotations"));
    let (at_validations, at_annotations) = (path.child("validations"), path.child("auditAnnotations"));
    if validations.is_empty() && annotations.is_empty() {
        let detail = "validations or auditAnnotations must contain at least one item";
        errors.push(FieldError::required(&at_validations, detail));
        errors.push(FieldError::required(&at_annotations, detail));
        return errors;
    }
    for (index, each) in validations.iter().enumerate() {
        validation(each, &at_validations.index(index), &mut errors);
    }
    if annotations.len() > ANNOTATIONS {
        let detail = format!("must not have more than {ANNOTATIONS} auditAnnotations");
        errors.push(FieldError::invalid(&at_annotations, annotations.to_vec(), detail));
    }
    let own = text(at(object, "metadata"), "name");
    let mut seen = BTreeSet::new();
    for (index, each) in annotations.iter().enumerate() {
        let path = at_annotations.index(index);
        annotation(own, each, &path, &mut errors);
        let key = text(each, "key");
        if !seen.insert(key) {
            errors.push(FieldError::duplicate(&path.child("key"), key));
        }
    }
    errors
}

fn mutating_policy(object: &Value, conditions: bool) -> Vec<FieldError> {
    let (path, spec, mut errors) = (Path::new("spec"), at(object, "spec"), Vec::new());
    shared(spec, conditions, Some(&MUTATING), &path, &mut errors);
    let (mutations, at_mutations) = (list(spec, "mutations"), path.child("mutations"));
    if mutations.is_empty() {
        let detail = "mutations must contain at least one item";
        errors.push(FieldError::required(&at_mutations, detail));
    }
    for (index, each) in mutations.iter().enumerate() {
        mutation(each, &at_mutations.index(index), &mut errors);
    }
    let policies = ["IfNeeded", "Never"];
    one_of(spec, "reinvocationPolicy", &policies, &path, &mut errors);
    errors
}

/// What both kinds of policies have.
fn shared(spec: &Value, conditions: bool, operations: Option<&[&str]>, path: &Path, errors: &mut Vec<FieldError>) {
    if has(spec, "failurePolicy") {
        any_of(spec, "failurePolicy", &["Fail", "Ignore"], path, errors);
    } else {
        errors.push(FieldError::required(&path.child("failurePolicy"), ""));
    }
    if has(spec, "paramKind") {
        param_kind(at(spec, "paramKind"), &path.child("paramKind"), errors);
    }
    let (constraints, at_constraints) = (at(spec, "matchConstraints"), path.child("matchConstraints"));
    if constraints.is_null() {
        errors.push(FieldError::required(&at_constraints, ""));
    } else {
        matching::match_resources(constraints, &at_constraints, errors);
        if list(constraints, "resourceRules").is_empty() {
            errors.push(FieldError::required(&at_constraints.child("resourceRules"), ""));
        }
        if let Some(supported) = operations {
            only(constraints, supported, &at_constraints, errors);
        }
    }
    if conditions {
        let path = path.child("matchConditions");
        matching::conditions(list(spec, "matchConditions"), &path, errors);
    }
    for (index, each) in list(spec, "variables").iter().enumerate() {
        variable(each, &path.child("variables").index(index), errors);
    }
}

/// Checks that the rules name no operations but these.
pub(super) fn only(resources: &Value, supported: &[&str], path: &Path, errors: &mut Vec<FieldError>) {
    let path = path.child("resourceRules").child("operations");
    let rules = list(resources, "resourceRules").iter();
    for operation in rules
        .flat_map(|rule| list(rule, "operations"))
        .filter_map(Value::as_str)
    {
        if !supported.contains(&operation) {
            errors.push(FieldError::not_supported(&path, operation, supported));
        }
    }
}

fn param_kind(kind: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (given, at_version) = (text(kind, "apiVersion"), path.child("apiVersion"));
    let mut refuse = |value: &str, detail: String| errors.push(FieldError::invalid(&at_version, value, detail));
    let (group, version) = match given {
        "/" => ("", ""),
        _ => given.split_once('/').unwrap_or(("", given)),
    };
    if version.contains('/') {
        refuse(given, format!("unexpected GroupVersion string: {given}"));
    } else if !given.is_empty() {
        let wrong = names::subdomain(group, false);
        if !group.is_empty() && !wrong.is_empty() {
            refuse(group, wrong.join(","));
        }
        let wrong = names::label_1035(version, false);
        if version.is_empty() {
            refuse(given, "version must be specified".to_owned());
        } else if !wrong.is_empty() {
            refuse(version, wrong.join(","));
        }
    } else {
        errors.push(FieldError::required(&at_version, ""));
    }
    let (name, path) = (text(kind, "kind"), path.child("kind"));
    let wrong = names::label_1035(&name.to_lowercase(), false);
    if name.is_empty() {
        errors.push(FieldError::required(&path, ""));
    } else if !wrong.is_empty() {
        let detail = format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
        errors.push(FieldError::invalid(&path, name, detail));
    }
}

fn is_cel_identifier(name: &str) -> bool {
    names::c_identifier(name).is_empty() && !RESERVED.contains(&name)
}

fn variable(variable: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let name = text(variable, "name");
    if name.trim().is_empty() {
        errors.push(FieldError::required(&path.child("name"), "name is not specified"));
    } else if !is_cel_identifier(name) {
        let detail = "name is not a valid CEL identifier";
        errors.push(FieldError::invalid(&path.child("name"), name, detail));
    }
    expression(variable, "expression", path, errors);
}

fn expression(object: &Value, field: &str, path: &Path, errors: &mut Vec<FieldError>) {
    if text(object, field).trim().is_empty() {
        let detail = format!("{field} is not specified");
        errors.push(FieldError::required(&path.child(field), detail));
    }
}

fn validation(validation: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    expression(validation, "expression", path, errors);
    let blank = |text: &str| !text.is_empty() && text.trim().is_empty();
    let message = text(validation, "messageExpression");
    if blank(message) {
        let path = path.child("messageExpression");
        errors.push(FieldError::invalid(&path, message, "must be non-empty if specified"));
    }
    let message = text(validation, "message");
    let detail = match message {
        message if blank(message) => "message must be non-empty if specified",
        message if message.trim().contains(['\n', '\r']) => "message must not contain line breaks",
        _ => "",
    };
    if !detail.is_empty() {
        errors.push(FieldError::invalid(&path.child("message"), message, detail));
    }
    let reasons = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
    any_of(validation, "reason", &reasons, path, errors);
}

fn annotation(policy: &str, annotation: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (key, at_key) = (text(annotation, "key"), path.child("key"));
    if policy.is_empty() {
        let detail = "requires metadata.name be non-empty";
        errors.push(FieldError::invalid(&at_key, key, detail));
    } else {
        let full = format!("{policy}/{key}");
        wrong(&at_key, &full, names::qualified_name(&full), errors);
    }
    expression(annotation, "valueExpression", path, errors);
    if text(annotation, "valueExpression").trim().len() > ANNOTATION_EXPRESSION {
        let detail = format!("must not exceed {ANNOTATION_EXPRESSION} bytes in length");
        errors.push(FieldError::required(&path.child("valueExpression"), detail));
    }
}

/// Checks a mutation: an expression of the type that it says, and none of the other.
fn mutation(mutation: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let kind = text(mutation, "patchType");
    let (wanted, other) = match kind {
        "JSONPatch" => ("jsonPatch", "applyConfiguration"),
        "ApplyConfiguration" => ("applyConfiguration", "jsonPatch"),
        _ => {
            let kinds = ["ApplyConfiguration", "JSONPatch"];
            one_of(mutation, "patchType", &kinds, path, errors);
            return;
        }
    };
    if !has(mutation, wanted) {
        let detail = format!("must be specified when patchType is {kind}");
        errors.push(FieldError::required(&path.child(wanted), detail));
    } else if text(at(mutation, wanted), "expression").trim().is_empty() {
        errors.push(FieldError::required(&path.child(wanted).child("expression"), ""));
    }
    if has(mutation, other) {
        let detail = format!("must not be specified when patchType is {kind}");
        errors.push(FieldError::invalid(&path.child(other), format!("{{{other}}}"), detail));
    }
}

/// Checks the status of a `ValidatingAdmissionPolicy`.
pub(super) fn validating_status(new: &Value, _old: &Value) -> Vec<FieldError> {
    let (path, status, mut errors) = (Path::new("status"), at(new, "status"), Vec::new());
    let warnings = list(at(status, "typeChecking"), "expressionWarnings");
    for (index, warning) in warnings.iter().enumerate() {
        let path = path.child("typeChecking").child("expressionWarnings").index(index);
        for field in ["warning", "fieldRef"] {
            if text(warning, field).trim().is_empty() {
                errors.push(FieldError::required(&path.child(field), ""));
            }
        }
    }
    meta_conditions(status, &path, &mut errors);
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(errors: &[FieldError]) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    fn policy(rest: &Value) -> Value {
        let rule = json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]});
        let mut object =
            json!({"metadata": {"name": "p.example.com"}, "spec": {"matchConstraints": {"resourceRules": [rule]}}});
        for (field, value) in rest.as_object().unwrap() {
            object["spec"][field] = value.clone();
        }
        default_policy(&mut object);
        object
    }

    #[test]
    fn a_policy_says_what_it_is_about_and_what_it_asks() {
        let good = policy(&json!({"validations": [{"expression": "true"}]}));
        assert_eq!(validating(&good), []);
        assert_eq!(good["spec"]["matchConstraints"]["resourceRules"][0]["scope"], "*");
        assert_eq!(
            said(&validating(&json!({"spec": {}}))),
            [
                "spec.failurePolicy: Required value",
                "spec.matchConstraints: Required value",
                "spec.validations: Required value: validations or auditAnnotations must contain at least one item",
                "spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item",
            ]
        );
        let bad = policy(&json!({
            "failurePolicy": "Shrug", "paramKind": {"apiVersion": "a/b/c", "kind": ""},
            "matchConstraints": {"matchPolicy": "Roughly", "resourceRules": [], "excludeResourceRules": [{"resourceNames": ["a", "a", "."]}]},
            "variables": [{"name": "for", "expression": ""}, {"name": " ", "expression": "1"}],
            "validations": [{"expression": " ", "message": "a\nb", "messageExpression": " ", "reason": "Because"}, {"expression": "x", "message": " "}],
            "auditAnnotations": [{"key": "a", "valueExpression": ""}, {"key": "a", "valueExpression": "x".repeat(6000)}],
        }));
        assert_eq!(
            said(&validating(&bad)),
            [
                "spec.failurePolicy: Unsupported value: \"Shrug\": supported values: \"Fail\", \"Ignore\"",
                "spec.paramKind.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c",
                "spec.paramKind.kind: Required value",
                "spec.matchConstraints.matchPolicy: Unsupported value: \"Roughly\": supported values: \"Equivalent\", \"Exact\"",
                "spec.matchConstraints.excludeResourceRules[0].resourceNames[1]: Duplicate value: \"a\"",
                "spec.matchConstraints.excludeResourceRules[0].resourceNames[2]: Invalid value: \".\": may not be '.'",
                "spec.matchConstraints.excludeResourceRules[0].operations: Required value",
                "spec.matchConstraints.excludeResourceRules[0].apiGroups: Required value",
                "spec.matchConstraints.excludeResourceRules[0].apiVersions: Required value",
                "spec.matchConstraints.excludeResourceRules[0].resources: Required value",
                "spec.matchConstraints.resourceRules: Required value",
                "spec.variables[0].name: Invalid value: \"for\": name is not a valid CEL identifier",
                "spec.variables[0].expression: Required value: expression is not specified",
                "spec.variables[1].name: Required value: name is not specified",
                "spec.validations[0].expression: Required value: expression is not specified",
                "spec.validations[0].messageExpression: Invalid value: \" \": must be non-empty if specified",
                "spec.validations[0].message: Invalid value: \"a\\nb\": message must not contain line breaks",
                "spec.validations[0].reason: Unsupported value: \"Because\": supported values: \"Forbidden\", \"Invalid\", \"RequestEntityTooLarge\"",
                "spec.validations[1].message: Invalid value: \" \": message must be non-empty if specified",
                "spec.auditAnnotations[0].valueExpression: Required value: valueExpression is not specified",
                "spec.auditAnnotations[1].valueExpression: Required value: must not exceed 5120 bytes in length",
                "spec.auditAnnotations[1].key: Duplicate value: \"a\"",
            ]
        );
    }

    #[test]
    fn match_conditions_that_did_not_change_are_not_looked_at_again() {
        let old = policy(
            &json!({"validations": [{"expression": "true"}], "matchConditions": [{"name": "", "expression": ""}]}),
        );
        assert_eq!(validating(&old).len(), 2);
        assert_eq!(validating_update(&old, &old), []);
        let mut new = old.clone();
        new["spec"]["paramKind"] = json!({"apiVersion": "v1", "kind": "ConfigMap"});
        assert_eq!(validating_update(&new, &old).len(), 2);
    }

    #[test]
    fn a_mutation_has_one_expression_of_its_type() {
        let patch = json!({"patchType": "JSONPatch", "jsonPatch": {"expression": "[]"}});
        let good = policy(&json!({"reinvocationPolicy": "Never", "mutations": [patch]}));
        assert_eq!(mutating(&good), []);
        let mut bad = policy(&json!({"reinvocationPolicy": "Twice", "mutations": [
            {}, {"patchType": "Hammer"}, {"patchType": "JSONPatch", "applyConfiguration": {"expression": "x"}},
            {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": " "}}]}));
        bad["spec"]["matchConstraints"]["resourceRules"][0]["operations"] = json!(["DELETE"]);
        assert_eq!(
            said(&mutating(&bad)),
            [
                "spec.matchConstraints.resourceRules.operations: Unsupported value: \"DELETE\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"UPDATE\"",
                "spec.mutations[0].patchType: Required value",
                "spec.mutations[1].patchType: Unsupported value: \"Hammer\": supported values: \"ApplyConfiguration\", \"JSONPatch\"",
                "spec.mutations[2].jsonPatch: Required value: must be specified when patchType is JSONPatch",
                "spec.mutations[2].applyConfiguration: Invalid value: \"{applyConfiguration}\": must not be specified when patchType is JSONPatch",
                "spec.mutations[3].applyConfiguration.expression: Required value",
                "spec.reinvocationPolicy: Unsupported value: \"Twice\": supported values: \"IfNeeded\", \"Never\"",
            ]
        );
        assert_eq!(
            said(&mutating(&policy(
                &json!({"paramKind": {"apiVersion": "Up/v_1", "kind": "X_"}})
            )))
            .len(),
            5
        );
    }
}
