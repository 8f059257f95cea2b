//! Validation of webhook configurations, and of the clients that webhooks are called through.

use std::collections::BTreeSet;

use serde_json::Value;
use timonel_api::{FieldError, Path, names};

use super::super::common::{any_of, label_selector};
use super::super::value::{at, has, int, list, text};
use super::matching;

const REVIEWS: [&str; 2] = ["v1", "v1beta1"];
const HARMLESS: [&str; 2] = ["None", "NoneOnDryRun"];

/// What an update is not asked for, because the stored configuration did not have it either.
#[derive(Clone, Copy, Default)]
struct Spared {
    conditions: bool,
    side_effects: bool,
    reviews: bool,
    names: bool,
}

impl Spared {
    fn by(new: &[Value], old: &[Value]) -> Self {
        let mut seen = BTreeSet::new();
        let unchanged = |(new, old): (&Value, &Value)| at(new, "matchConditions") == at(old, "matchConditions");
        Self {
            conditions: new.len() == old.len() && new.iter().zip(old).all(unchanged),
            side_effects: old.iter().any(|hook| !HARMLESS.contains(&text(hook, "sideEffects"))),
            reviews: old.iter().any(|hook| {
                let versions = list(hook, "admissionReviewVersions");
                !versions.is_empty() && !versions.iter().any(is_known_review)
            }),
            names: old.iter().any(|hook| !seen.insert(text(hook, "name"))),
        }
    }
}

/// Checks a `ValidatingWebhookConfiguration` or `MutatingWebhookConfiguration`.
pub(super) fn validate(object: &Value) -> Vec<FieldError> {
    configuration(list(object, "webhooks"), Spared::default())
}

/// Checks an update of one.
pub(super) fn validate_update(new: &Value, old: &Value) -> Vec<FieldError> {
    let (new, old) = (list(new, "webhooks"), list(old, "webhooks"));
    configuration(new, Spared::by(new, old))
}

fn configuration(hooks: &[Value], spared: Spared) -> Vec<FieldError> {
    let (mut errors, mut seen) = (Vec::new(), BTreeSet::new());
    for (index, hook) in hooks.iter().enumerate() {
        let path = Path::new("webhooks").index(index);
        webhook(hook, spared, &path, &mut errors);
        let name = text(hook, "name");
        if !spared.names && !name.is_empty() && !seen.insert(name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
    }
    errors
}

fn webhook(hook: &Value, spared: Spared, path: &Path, errors: &mut Vec<FieldError>) {
    let (name, at_name) = (text(hook, "name"), path.child("name"));
    let wrong = names::subdomain(name, false);
    if name.is_empty() {
        errors.push(FieldError::required(&at_name, ""));
    } else if !wrong.is_empty() {
        errors.push(FieldError::invalid(&at_name, name, wrong.join(",")));
    } else if name.split('.').count() < 3 {
        let detail = "should be a domain with at least three segments separated by dots";
        errors.push(FieldError::invalid(&at_name, name, detail));
    }
    for (index, rule) in list(hook, "rules").iter().enumerate() {
        matching::rule(rule, &path.child("rules").index(index), errors);
    }
    any_of(hook, "failurePolicy", &["Fail", "Ignore"], path, errors);
    any_of(hook, "matchPolicy", &["Equivalent", "Exact"], path, errors);
    let allowed: &[&str] = if spared.side_effects {
        &["None", "NoneOnDryRun", "Some", "Unknown"]
    } else {
        &HARMLESS
    };
    if has(hook, "sideEffects") {
        any_of(hook, "sideEffects", allowed, path, errors);
    } else {
        let detail = format!("must specify one of {}", allowed.join(", "));
        errors.push(FieldError::required(&path.child("sideEffects"), detail));
    }
    if let Some(seconds) = int(hook, "timeoutSeconds").filter(|seconds| !(1..=30).contains(seconds)) {
        let detail = "the timeout value must be between 1 and 30 seconds";
        errors.push(FieldError::invalid(&path.child("timeoutSeconds"), seconds, detail));
    }
    for selector in ["namespaceSelector", "objectSelector"] {
        label_selector(at(hook, selector), &path.child(selector), errors);
    }
    // Validating webhooks have no such field: decoding has dropped it.
    any_of(hook, "reinvocationPolicy", &["IfNeeded", "Never"], path, errors);
    client(at(hook, "clientConfig"), &path.child("clientConfig"), errors);
    if !spared.conditions {
        let path = path.child("matchConditions");
        matching::conditions(list(hook, "matchConditions"), &path, errors);
    }
    let (versions, path) = (
        list(hook, "admissionReviewVersions"),
        path.child("admissionReviewVersions"),
    );
    if versions.is_empty() {
        let detail = format!("must specify one of {}", REVIEWS.join(", "));
        errors.push(FieldError::required(&path, detail));
    } else {
        review_versions(versions, !spared.reviews, &path, errors);
    }
}

fn is_known_review(version: &Value) -> bool {
    REVIEWS.iter().any(|known| version == known)
}

/// Checks the versions of reviews that a webhook understands; we must speak one of them.
pub(super) fn review_versions(versions: &[Value], known: bool, path: &Path, errors: &mut Vec<FieldError>) {
    let mut seen = BTreeSet::new();
    for (index, version) in versions.iter().filter_map(Value::as_str).enumerate() {
        let path = path.index(index);
        if seen.insert(version) {
            super::super::common::wrong(&path, version, names::label_1035(version, false), errors);
        } else {
            errors.push(FieldError::invalid(&path, version, "duplicate version"));
        }
    }
    if known && !versions.iter().any(is_known_review) {
        let detail = format!("must include at least one of {}", REVIEWS.join(", "));
        errors.push(FieldError::invalid(path, versions.to_vec(), detail));
    }
}

/// Checks how a webhook is reached: by a URL or through a service.
pub(super) fn client(client: &Value, path: &Path, errors: &mut Vec<FieldError>) {
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
    let authority = if scheme.is_empty() { "" } else { authority };
    let mut refuse = |value: &str, detail: String| errors.push(FieldError::invalid(path, value, detail));
    if scheme != "https" {
        refuse(scheme, format!("'https' is the only allowed URL scheme{FORM}"));
    }
    let (user, host) = authority
        .rsplit_once('@')
        .map_or((None, authority), |(u, h)| (Some(u), h));
    if host.is_empty() {
        refuse("", format!("host must be provided{FORM}"));
    }
    if let Some(user) = user {
        refuse(user, "user information is not permitted in the URL".to_owned());
    }
    let (before, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    if !fragment.is_empty() {
        refuse(fragment, "fragments are not permitted in the URL".to_owned());
    }
    if let Some((_, query)) = before.split_once('?').filter(|(_, query)| !query.is_empty()) {
        refuse(query, "query parameters are not permitted in the URL".to_owned());
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
    let sentences = names::port_number(port);
    if !sentences.is_empty() {
        let detail = format!("port is not valid: {}", sentences.join(", "));
        errors.push(FieldError::invalid(&path.child("port"), port, detail));
    }
    route(text(service, "path"), &path.child("path"), errors);
}

/// Checks the URL path of a service: segments that are subdomains.
fn route(route: &str, path: &Path, errors: &mut Vec<FieldError>) {
    if matches!(route, "" | "/") {
        return;
    }
    let mut refuse = |detail: String| errors.push(FieldError::invalid(path, route, detail));
    if route == "//" {
        refuse("segment[0] may not be empty".to_owned());
        return;
    }
    let rest = route.strip_prefix('/');
    if rest.is_none() {
        refuse("must start with a '/'".to_owned());
    }
    let rest = rest.unwrap_or_else(|| route.char_indices().nth(1).map_or("", |(at, _)| &route[at..]));
    for (index, step) in rest.strip_suffix('/').unwrap_or(rest).split('/').enumerate() {
        if step.is_empty() {
            refuse(format!("segment[{index}] may not be empty"));
            continue;
        }
        for failure in names::subdomain(step, false) {
            refuse(format!("segment[{index}]: {failure}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn good() -> Value {
        json!({
            "name": "a.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": "https://example.com/check"},
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
        })
    }

    fn said(errors: &[FieldError]) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn webhooks_are_checked_whole() {
        assert_eq!(validate(&json!({"webhooks": [good()]})), []);
        let bad = json!({
            "name": "short", "failurePolicy": "Shrug", "timeoutSeconds": 31, "admissionReviewVersions": ["v9", "v9"],
            "clientConfig": {"url": "http://me@example.com/?a#b"}, "reinvocationPolicy": "Always",
            "rules": [{"operations": ["*", "READ"], "apiGroups": [], "apiVersions": [""], "resources": ["*/*", "pods"]}],
            "matchConditions": [{"name": "", "expression": ""}],
        });
        assert_eq!(
            said(&validate(&json!({"webhooks": [bad, good(), good()]}))),
            [
                "webhooks[0].name: Invalid value: \"short\": should be a domain with at least three segments separated by dots",
                "webhooks[0].rules[0].operations: Invalid value: [\"*\",\"READ\"]: if '*' is present, must not specify other operations",
                "webhooks[0].rules[0].operations[1]: Unsupported value: \"READ\": supported values: \"*\", \"CONNECT\", \"CREATE\", \"DELETE\", \"UPDATE\"",
                "webhooks[0].rules[0].apiGroups: Required value",
                "webhooks[0].rules[0].apiVersions[0]: Required value",
                "webhooks[0].rules[0].resources: Invalid value: [\"*/*\",\"pods\"]: if '*/*' is present, must not specify other resources",
                "webhooks[0].failurePolicy: Unsupported value: \"Shrug\": supported values: \"Fail\", \"Ignore\"",
                "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun",
                "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
                "webhooks[0].reinvocationPolicy: Unsupported value: \"Always\": supported values: \"IfNeeded\", \"Never\"",
                "webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: https://host[/path]",
                "webhooks[0].clientConfig.url: Invalid value: \"me\": user information is not permitted in the URL",
                "webhooks[0].clientConfig.url: Invalid value: \"b\": fragments are not permitted in the URL",
                "webhooks[0].clientConfig.url: Invalid value: \"a\": query parameters are not permitted in the URL",
                "webhooks[0].matchConditions[0].expression: Required value",
                "webhooks[0].matchConditions[0].name: Required value",
                "webhooks[0].admissionReviewVersions[1]: Invalid value: \"v9\": duplicate version",
                "webhooks[0].admissionReviewVersions: Invalid value: [\"v9\",\"v9\"]: must include at least one of v1, v1beta1",
                "webhooks[2].name: Duplicate value: \"a.example.com\"",
            ]
        );
    }

    #[test]
    fn a_services_path_is_made_of_subdomains() {
        let mut errors = Vec::new();
        let given = json!({"service": {"name": "s", "namespace": "", "port": 70_000, "path": "a//B"}});
        client(&given, &Path::new("c"), &mut errors);
        let said = said(&errors);
        assert_eq!(
            said[..4],
            [
                "c.service.namespace: Required value: service namespace is required",
                "c.service.port: Invalid value: 70000: port is not valid: must be between 1 and 65535, inclusive",
                "c.service.path: Invalid value: \"a//B\": must start with a '/'",
                "c.service.path: Invalid value: \"a//B\": segment[0] may not be empty",
            ]
        );
        assert!(
            said[5].starts_with("c.service.path: Invalid value: \"a//B\": segment[2]: a lowercase RFC 1123 subdomain")
        );
    }

    #[test]
    fn an_update_is_not_asked_for_what_was_never_there() {
        let mut old = good();
        old["sideEffects"] = json!("Some");
        old["admissionReviewVersions"] = json!(["v9"]);
        old["matchConditions"] = json!([{"name": "", "expression": "x"}]);
        let old = json!({"webhooks": [old.clone(), old]});
        assert_eq!(validate(&old).len(), 7);
        assert_eq!(validate_update(&old, &old), []);
        let fine = json!({"webhooks": [good()]});
        assert_eq!(validate_update(&old, &fine).len(), 7);
    }
}
