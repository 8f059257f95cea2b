//! Validation of webhook configurations.

use std::collections::BTreeSet;

use serde_json::Value;
use timonel_api::{FieldError, Path, names};

use super::super::common::{any_of, label_selector, wrong};
use super::super::value::{at, has, int, list, text};

/// Checks a `ValidatingWebhookConfiguration`.
pub(super) fn validating(object: &Value) -> Vec<FieldError> {
    let (mut errors, mut seen) = (Vec::new(), BTreeSet::new());
    for (index, hook) in list(object, "webhooks").iter().enumerate() {
        let path = Path::new("webhooks").index(index);
        webhook(hook, &path, &mut errors);
        let name = text(hook, "name");
        if !name.is_empty() && !seen.insert(name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
    }
    errors
}

/// Checks a `MutatingWebhookConfiguration`.
pub(super) fn mutating(object: &Value) -> Vec<FieldError> {
    let mut errors = validating(object);
    for (index, hook) in list(object, "webhooks").iter().enumerate() {
        let path = Path::new("webhooks").index(index);
        any_of(hook, "reinvocationPolicy", &["IfNeeded", "Never"], &path, &mut errors);
    }
    errors
}

fn webhook(hook: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (name, at_name) = (text(hook, "name"), path.child("name"));
    if name.is_empty() {
        errors.push(FieldError::required(&at_name, ""));
    } else {
        wrong(&at_name, name, names::subdomain(name, false), errors);
        if name.split('.').count() < 3 {
            let detail = "should be a domain with at least three segments separated by dots";
            errors.push(FieldError::invalid(&at_name, name, detail));
        }
    }
    for (index, rule) in list(hook, "rules").iter().enumerate() {
        self::rule(rule, &path.child("rules").index(index), errors);
    }
    any_of(hook, "failurePolicy", &["Fail", "Ignore"], path, errors);
    any_of(hook, "matchPolicy", &["Equivalent", "Exact"], path, errors);
    if has(hook, "sideEffects") {
        any_of(hook, "sideEffects", &["None", "NoneOnDryRun"], path, errors);
    } else {
        let detail = "must specify one of None, NoneOnDryRun";
        errors.push(FieldError::required(&path.child("sideEffects"), detail));
    }
    if let Some(seconds) = int(hook, "timeoutSeconds").filter(|seconds| !(1..=30).contains(seconds)) {
        let detail = "the timeout value must be between 1 and 30 seconds";
        errors.push(FieldError::invalid(&path.child("timeoutSeconds"), seconds, detail));
    }
    for selector in ["namespaceSelector", "objectSelector"] {
        label_selector(at(hook, selector), &path.child(selector), errors);
    }
    client(at(hook, "clientConfig"), &path.child("clientConfig"), errors);
    review_versions(
        list(hook, "admissionReviewVersions"),
        &path.child("admissionReviewVersions"),
        errors,
    );
}

fn review_versions(versions: &[Value], path: &Path, errors: &mut Vec<FieldError>) {
    const KNOWN: [&str; 2] = ["v1", "v1beta1"];
    if versions.is_empty() {
        errors.push(FieldError::required(path, "must specify one of v1, v1beta1"));
        return;
    }
    let mut seen = BTreeSet::new();
    for (index, version) in versions.iter().filter_map(Value::as_str).enumerate() {
        let path = path.index(index);
        wrong(&path, version, names::label_1035(version, false), errors);
        if !seen.insert(version) {
            errors.push(FieldError::invalid(&path, version, "duplicate version"));
        }
    }
    if !KNOWN.iter().any(|known| seen.contains(known)) {
        let detail = "must include at least one of v1, v1beta1";
        errors.push(FieldError::invalid(path, versions.to_vec(), detail));
    }
}

fn rule(rule: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let operations = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
    for (field, noun) in [
        ("operations", "operations"),
        ("apiGroups", "API groups"),
        ("apiVersions", "API versions"),
        ("resources", "resources"),
    ] {
        let (values, path) = (list(rule, field), path.child(field));
        if values.is_empty() {
            errors.push(FieldError::required(&path, ""));
        }
        let everything = if field == "resources" { "*/*" } else { "*" };
        if values.len() > 1 && values.iter().any(|value| value == everything) {
            let detail = format!("if '{everything}' is present, must not specify other {noun}");
            errors.push(FieldError::invalid(&path, values.to_vec(), detail));
        }
        for (index, value) in values.iter().filter_map(Value::as_str).enumerate() {
            let path = path.index(index);
            if field == "operations" && !operations.contains(&value) {
                errors.push(FieldError::not_supported(&path, value, &operations));
            } else if value.is_empty() && field != "apiGroups" {
                errors.push(FieldError::required(&path, ""));
            }
        }
    }
    any_of(rule, "scope", &["*", "Cluster", "Namespaced"], path, errors);
}

fn client(client: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    if has(client, "url") == has(client, "service") {
        errors.push(FieldError::required(path, "exactly one of url or service is required"));
    } else if has(client, "url") {
        url(text(client, "url"), &path.child("url"), errors);
    } else {
        service(at(client, "service"), &path.child("service"), errors);
    }
}

fn url(url: &str, path: &Path, errors: &mut Vec<FieldError>) {
    const FORM: &str = "; desired format: https://host[/path]";
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let mut refuse = |value: &str, detail: &str| {
        errors.push(FieldError::invalid(path, value, format!("{detail}{FORM}")));
    };
    if scheme != "https" {
        refuse(scheme, "'https' is the only allowed URL scheme");
    }
    if authority.is_empty() {
        refuse("", "host must be specified");
    }
    if let Some((user, _)) = authority.rsplit_once('@') {
        refuse(user, "user information is not permitted in the URL");
    }
    if let Some((_, fragment)) = rest.split_once('#') {
        refuse(fragment, "fragments are not permitted in the URL");
    }
    let before = rest.split('#').next().unwrap_or_default();
    if let Some((_, query)) = before.split_once('?') {
        refuse(query, "query parameters are not permitted in the URL");
    }
}

fn service(service: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    for (field, detail) in [
        ("name", "service name is required"),
        ("namespace", "service namespace is required"),
    ] {
        if text(service, field).is_empty() {
            errors.push(FieldError::required(&path.child(field), detail));
        }
    }
    let port = int(service, "port").unwrap_or(443);
    for sentence in names::port_number(port) {
        let detail = format!("port is not valid: {sentence}");
        errors.push(FieldError::invalid(&path.child("port"), port, detail));
    }
    let route = text(service, "path");
    if has(service, "path") && !route.starts_with('/') {
        errors.push(FieldError::invalid(&path.child("path"), route, "must start with a '/'"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn webhooks_are_checked_whole() {
        let good = json!({
            "name": "a.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": "https://example.com/check"},
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
        });
        assert_eq!(mutating(&json!({"webhooks": [good]})), []);
        let bad = json!({
            "name": "short", "failurePolicy": "Shrug", "timeoutSeconds": 31, "admissionReviewVersions": ["v9"],
            "clientConfig": {"url": "http://me@example.com/?a#b"},
            "rules": [{"operations": ["*", "READ"], "apiGroups": [], "apiVersions": [""], "resources": ["*/*", "pods"]}],
        });
        let said: Vec<String> = validating(&json!({"webhooks": [bad]}))
            .iter()
            .map(ToString::to_string)
            .collect();
        let form = "; desired format: https://host[/path]";
        assert_eq!(
            said,
            [
                "webhooks[0].name: Invalid value: \"short\": should be a domain with at least three segments separated by dots".to_owned(),
                "webhooks[0].rules[0].operations: Invalid value: [\"*\",\"READ\"]: if '*' is present, must not specify other operations".to_owned(),
                "webhooks[0].rules[0].operations[1]: Unsupported value: \"READ\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"DELETE\", \"UPDATE\"".to_owned(),
                "webhooks[0].rules[0].apiGroups: Required value".to_owned(),
                "webhooks[0].rules[0].apiVersions[0]: Required value".to_owned(),
                "webhooks[0].rules[0].resources: Invalid value: [\"*/*\",\"pods\"]: if '*/*' is present, must not specify other resources".to_owned(),
                "webhooks[0].failurePolicy: Unsupported value: \"Shrug\": supported values: \"Fail\", \"Ignore\"".to_owned(),
                "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun".to_owned(),
                "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds".to_owned(),
                format!("webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme{form}"),
                format!("webhooks[0].clientConfig.url: Invalid value: \"me\": user information is not permitted in the URL{form}"),
                format!("webhooks[0].clientConfig.url: Invalid value: \"b\": fragments are not permitted in the URL{form}"),
                format!("webhooks[0].clientConfig.url: Invalid value: \"a\": query parameters are not permitted in the URL{form}"),
                "webhooks[0].admissionReviewVersions: Invalid value: [\"v9\"]: must include at least one of v1, v1beta1".to_owned(),
            ]
        );
    }
}
