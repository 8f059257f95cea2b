//! Validation of flow schemas: who is served with whom.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use timonel_api::{FieldError, Path, names};

use super::super::common::wrong;
use super::super::value::{at, flag, has, int, list, text};

const PRECEDENCE_MAX: i64 = 10_000;
const VERBS: [&str; 9] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "proxy",
    "update",
    "watch",
];

/// The schemas that every server has, in which nothing may be changed.
fn mandatory_schema(name: &str) -> Option<Value> {
    let group = |name: &str| json!({"kind": "Group", "group": {"name": name}});
    let anything = |subjects: Vec<Value>| {
        json!({
            "subjects": subjects,
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true, "namespaces": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        })
    };
    match name {
        "exempt" => Some(json!({
            "priorityLevelConfiguration": {"name": "exempt"}, "matchingPrecedence": 1,
            "rules": [anything(vec![group("system:masters")])],
        })),
        "catch-all" => Some(json!({
            "priorityLevelConfiguration": {"name": "catch-all"}, "matchingPrecedence": 10_000,
            "distinguisherMethod": {"type": "ByUser"},
            "rules": [anything(vec![group("system:unauthenticated"), group("system:authenticated")])],
        })),
        _ => None,
    }
}

/// Checks a `FlowSchema`.
pub(super) fn flow_schema(object: &Value) -> Vec<FieldError> {
    let (path, spec, mut errors) = (Path::new("spec"), at(object, "spec"), Vec::new());
    let name = text(at(object, "metadata"), "name");
    let precedence = int(spec, "matchingPrecedence").unwrap_or(0);
    let at_precedence = path.child("matchingPrecedence");
    if precedence <= 0 {
        let detail = "must be a positive value";
        errors.push(FieldError::invalid(&at_precedence, precedence, detail));
    }
    if precedence > PRECEDENCE_MAX {
        let detail = format!("must not be greater than {PRECEDENCE_MAX}");
        errors.push(FieldError::invalid(&at_precedence, precedence, detail));
    }
    if precedence == 1 && name != "exempt" {
        let detail = "only the schema named 'exempt' may have matchingPrecedence 1";
        errors.push(FieldError::invalid(&at_precedence, precedence, detail));
    }
    if has(spec, "distinguisherMethod") {
        let method = at(spec, "distinguisherMethod");
        let kinds = ["ByNamespace", "ByUser"];
        if !kinds.contains(&text(method, "type")) {
            let path = path.child("distinguisherMethod").child("type");
            errors.push(FieldError::not_supported(&path, method.clone(), &kinds));
        }
    }
    let level = text(at(spec, "priorityLevelConfiguration"), "name");
    let at_level = path.child("priorityLevelConfiguration").child("name");
    if level.is_empty() {
        errors.push(FieldError::required(&at_level, "must reference a priority level"));
    } else {
        wrong(&at_level, level, names::subdomain(level, false), &mut errors);
    }
    for (index, each) in list(spec, "rules").iter().enumerate() {
        rule(each, &path.child("rules").index(index), &mut errors);
    }
    if mandatory_schema(name).is_some_and(|fixed| fixed != *spec) {
        let detail = format!("spec of '{name}' must equal the fixed value");
        errors.push(FieldError::invalid(&path, spec.clone(), detail));
    }
    errors
}

fn rule(rule: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (subjects, at_subjects) = (list(rule, "subjects"), path.child("subjects"));
    if subjects.is_empty() {
        let detail = "subjects must contain at least one value";
        errors.push(FieldError::required(&at_subjects, detail));
    }
    for (index, each) in subjects.iter().enumerate() {
        subject(each, &at_subjects.index(index), errors);
    }
    let (resources, urls) = (list(rule, "resourceRules"), list(rule, "nonResourceRules"));
    if resources.is_empty() && urls.is_empty() {
        let detail = "at least one of resourceRules and nonResourceRules has to be non-empty";
        errors.push(FieldError::required(path, detail));
    }
    for (index, each) in resources.iter().enumerate() {
        resource_rule(each, &path.child("resourceRules").index(index), errors);
    }
    for (index, each) in urls.iter().enumerate() {
        url_rule(each, &path.child("nonResourceRules").index(index), errors);
    }
}

fn subject(subject: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    const KINDS: [(&str, &str); 3] = [
        ("ServiceAccount", "serviceAccount"),
        ("User", "user"),
        ("Group", "group"),
    ];
    let kind = text(subject, "kind");
    let Some((_, own)) = KINDS.iter().find(|(known, _)| *known == kind) else {
        let kinds = ["Group", "ServiceAccount", "User"];
        errors.push(FieldError::not_supported(&path.child("kind"), kind, &kinds));
        return;
    };
    let (value, at_own) = (at(subject, own), path.child(own));
    if value.is_null() {
        let detail = format!("{own} is required when subject kind is '{kind}'");
        errors.push(FieldError::required(&at_own, detail));
    } else {
        let name = text(value, "name");
        if name.is_empty() {
            errors.push(FieldError::required(&at_own.child("name"), ""));
        } else if kind == "ServiceAccount" && name != "*" {
            wrong(&at_own.child("name"), name, names::subdomain(name, false), errors);
        }
        let (namespace, path) = (text(value, "namespace"), at_own.child("namespace"));
        if kind == "ServiceAccount" && namespace.is_empty() {
            let detail = "must specify namespace for service account";
            errors.push(FieldError::required(&path, detail));
        } else if kind == "ServiceAccount" {
            wrong(&path, namespace, names::label(namespace, false), errors);
        }
    }
    for (other, field) in KINDS
        .iter()
        .filter(|(other, field)| *other != kind && has(subject, field))
    {
        let detail = format!("{field} is forbidden when subject kind is not '{other}'");
        errors.push(FieldError::forbidden(&path.child(field), detail));
    }
}

fn verbs(rule: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (verbs, path) = (list(rule, "verbs"), path.child("verbs"));
    if verbs.is_empty() {
        errors.push(FieldError::required(&path, "verbs must contain at least one value"));
    } else if verbs.iter().any(|verb| verb == "*") {
        alone(verbs, "verbs", &path, errors);
    } else if !verbs.iter().all(|verb| VERBS.iter().any(|known| verb == known)) {
        errors.push(FieldError::not_supported(&path, verbs.to_vec(), &VERBS));
    }
}

/// Nothing stands beside a `*`.
fn alone(values: &[Value], noun: &str, path: &Path, errors: &mut Vec<FieldError>) {
    if values.len() > 1 && values.iter().any(|value| value == "*") {
        let detail = format!("if '*' is present, must not specify other {noun}");
        errors.push(FieldError::invalid(path, values.to_vec(), detail));
    }
}

fn resource_rule(rule: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    verbs(rule, path, errors);
    for (field, one, others) in [
        ("apiGroups", "api group", "api groups"),
        ("resources", "resource", "resources"),
    ] {
        let (values, path) = (list(rule, field), path.child(field));
        if values.is_empty() {
            let detail = format!("resource rules must supply at least one {one}");
            errors.push(FieldError::required(&path, detail));
        }
        alone(values, others, &path, errors);
    }
    let (namespaces, path) = (list(rule, "namespaces"), path.child("namespaces"));
    if namespaces.is_empty() && !flag(rule, "clusterScope") {
        let detail = "resource rules that are not cluster scoped must supply at least one namespace";
        errors.push(FieldError::required(&path, detail));
    } else if namespaces.iter().any(|namespace| namespace == "*") {
        alone(namespaces, "namespaces", &path, errors);
    } else {
        for (index, namespace) in namespaces.iter().filter_map(Value::as_str).enumerate() {
            for sentence in names::label(namespace, false) {
                let detail = format!("each member of this list must be '*' or a DNS-1123 label; {sentence}");
                errors.push(FieldError::invalid(&path.index(index), namespace, detail));
            }
        }
    }
}

fn url_rule(rule: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    verbs(rule, path, errors);
    let (urls, path) = (list(rule, "nonResourceURLs"), path.child("nonResourceURLs"));
    if urls.is_empty() {
        let detail = "nonResourceURLs must contain at least one value";
        errors.push(FieldError::required(&path, detail));
    } else if urls.iter().any(|url| url == "*") {
        alone(urls, "non-resource URLs", &path, errors);
    } else {
        for (index, url) in urls.iter().filter_map(Value::as_str).enumerate() {
            let stars = url.matches('*').count();
            let detail = match url {
                "" => "must not be empty",
                "/" => continue,
                url if !url.starts_with('/') => "must start with slash",
                url if url.contains(' ') => "must not contain white-space",
                url if url.contains("//") => "must not contain double slash",
                url if stars > 1 || (stars == 1 && !url.ends_with("/*")) => "wildcard can only do suffix matching",
                _ => continue,
            };
            errors.push(FieldError::invalid(&path.index(index), url, detail));
        }
    }
}

/// Checks the status of either: no condition twice, each with a type.
pub(super) fn status(new: &Value, _old: &Value) -> Vec<FieldError> {
    let (path, mut errors) = (Path::new("status").child("conditions"), Vec::new());
    let mut seen = BTreeSet::new();
    for (index, condition) in list(at(new, "status"), "conditions").iter().enumerate() {
        let (kind, path) = (text(condition, "type"), path.index(index).child("type"));
        if !seen.insert(kind) {
            errors.push(FieldError::duplicate(&path, kind));
        }
        if kind.is_empty() {
            errors.push(FieldError::required(&path, "must not be empty"));
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(errors: &[FieldError]) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_schema_says_whose_requests_go_where() {
        let rule = json!({"subjects": [{"kind": "User", "user": {"name": "*"}}],
            "resourceRules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "namespaces": ["*"]}]});
        let spec = json!({"matchingPrecedence": 1000, "priorityLevelConfiguration": {"name": "x"}, "rules": [rule]});
        assert_eq!(flow_schema(&json!({"metadata": {"name": "a"}, "spec": spec})), []);
        let subjects = json!([
            {"kind": "ServiceAccount", "serviceAccount": {"name": "A", "namespace": ""}, "user": {"name": "u"}},
            {"kind": "Group"}, {"kind": "Robot"}]);
        let bad = json!({"metadata": {"name": "a"}, "spec": {
            "matchingPrecedence": 1, "distinguisherMethod": {"type": "ByHat"},
            "rules": [{"subjects": subjects,
                "resourceRules": [{"verbs": ["look"], "apiGroups": ["*", ""], "namespaces": ["A_"]}],
                "nonResourceRules": [{"verbs": ["*", "get"], "nonResourceURLs": ["/a*", "b", "/a//b", "/a/*"]}]}, {}]}});
        let words = said(&flow_schema(&bad));
        assert_eq!(
            words[..3],
            [
                "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1",
                "spec.distinguisherMethod.type: Unsupported value: {\"type\":\"ByHat\"}: supported values: \"ByNamespace\", \"ByUser\"",
                "spec.priorityLevelConfiguration.name: Required value: must reference a priority level",
            ]
        );
        assert!(
            words[3].starts_with("spec.rules[0].subjects[0].serviceAccount.name: Invalid value: \"A\": a lowercase")
        );
        let at = "spec.rules[0]";
        assert_eq!(
            words[4..11],
            [
                format!(
                    "{at}.subjects[0].serviceAccount.namespace: Required value: must specify namespace for service account"
                ),
                format!("{at}.subjects[0].user: Forbidden: user is forbidden when subject kind is not 'User'"),
                format!("{at}.subjects[1].group: Required value: group is required when subject kind is 'Group'"),
                format!(
                    "{at}.subjects[2].kind: Unsupported value: \"Robot\": supported values: \"Group\", \"ServiceAccount\", \"User\""
                ),
                format!(
                    "{at}.resourceRules[0].verbs: Unsupported value: [\"look\"]: supported values: \"create\", \"delete\", \"deletecollection\", \"get\", \"list\", \"patch\", \"proxy\", \"update\", \"watch\""
                ),
                format!(
                    "{at}.resourceRules[0].apiGroups: Invalid value: [\"*\",\"\"]: if '*' is present, must not specify other api groups"
                ),
                format!(
                    "{at}.resourceRules[0].resources: Required value: resource rules must supply at least one resource"
                ),
            ]
        );
        assert!(words[11].starts_with("spec.rules[0].resourceRules[0].namespaces[0]: Invalid value: \"A_\": each member of this list must be '*' or a DNS-1123 label; "));
        assert_eq!(
            words[12..],
            [
                format!(
                    "{at}.nonResourceRules[0].verbs: Invalid value: [\"*\",\"get\"]: if '*' is present, must not specify other verbs"
                ),
                format!(
                    "{at}.nonResourceRules[0].nonResourceURLs[0]: Invalid value: \"/a*\": wildcard can only do suffix matching"
                ),
                format!("{at}.nonResourceRules[0].nonResourceURLs[1]: Invalid value: \"b\": must start with slash"),
                format!(
                    "{at}.nonResourceRules[0].nonResourceURLs[2]: Invalid value: \"/a//b\": must not contain double slash"
                ),
                "spec.rules[1].subjects: Required value: subjects must contain at least one value".to_owned(),
                "spec.rules[1]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty"
                    .to_owned(),
            ]
        );
    }

    #[test]
    fn the_mandatory_schemas_do_not_change() {
        for name in ["exempt", "catch-all"] {
            let object = json!({"metadata": {"name": name}, "spec": mandatory_schema(name)});
            assert_eq!(flow_schema(&object), []);
            let mut other = object;
            other["spec"]["rules"] = json!([]);
            let words = said(&flow_schema(&other));
            assert!(words[0].ends_with(&format!("spec of '{name}' must equal the fixed value")));
        }
    }

    #[test]
    fn a_status_has_each_condition_once() {
        assert_eq!(
            said(&status(
                &json!({"status": {"conditions": [{}, {"type": "a"}, {"type": "a"}]}}),
                &Value::Null
            )),
            [
                "status.conditions[0].type: Required value: must not be empty",
                "status.conditions[2].type: Duplicate value: \"a\"",
            ]
        );
    }
}
