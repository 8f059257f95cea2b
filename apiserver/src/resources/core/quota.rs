//! Resource quotas: which amounts and scopes they may name. What they hold back is `admission::resource_quota`.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};
use timonel_api::{FieldError, Path};

use super::super::amounts::{is_standard_for_quota, quota_resource_name};
use super::super::cells::{age, name};
use super::super::strategy::{Column, Strategy};
use super::super::value::{at, entries, list, text};

/// `resourcequotas`.
pub(crate) struct ResourceQuotas;

impl Strategy for ResourceQuotas {
    fn has_generation(&self) -> bool {
        false
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let (path, spec, mut errors) = (Path::new("spec"), at(object, "spec"), Vec::new());
        amounts(spec, "hard", &path, &mut errors);
        scopes(spec, &path, &mut errors);
        selector(spec, &path, &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate(new);
        let set = |object: &Value| -> BTreeSet<String> {
            let scopes = list(at(object, "spec"), "scopes").iter();
            scopes.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        if set(new) != set(old) {
            let scopes = at(at(new, "spec"), "scopes").clone();
            let path = Path::new("spec").child("scopes");
            errors.push(FieldError::invalid(&path, scopes, "field is immutable"));
        }
        errors
    }

    fn validate_status_update(&self, new: &Value, _old: &Value) -> Vec<FieldError> {
        let (path, mut errors) = (Path::new("status"), Vec::new());
        amounts(at(new, "status"), "hard", &path, &mut errors);
        amounts(at(new, "status"), "used", &path, &mut errors);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::name(),
            Column::new("Request"),
            Column::new("Limit"),
            Column::new("Age"),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let status = at(object, "status");
        let column = |limits: bool| {
            let mut parts: Vec<String> = entries(status, "hard")
                .filter(|(resource, _)| resource.starts_with("limits.") == limits)
                .map(|(resource, hard)| {
                    let used = at(at(status, "used"), resource);
                    format!(
                        "{resource}: {}/{}",
                        used.as_str().unwrap_or("0"),
                        hard.as_str().unwrap_or("")
                    )
                })
                .collect();
            parts.sort();
            json!(parts.join(", "))
        };
        vec![name(object), column(false), column(true), age(object, now)]
    }
}

/// What pods ask for and scopes apply to.
const COMPUTE: [&str; 6] = [
    "cpu",
    "memory",
    "requests.cpu",
    "requests.memory",
    "limits.cpu",
    "limits.memory",
];

fn amounts(object: &Value, field: &str, path: &Path, errors: &mut Vec<FieldError>) {
    super::super::amounts::amounts(object, field, quota_resource_name, path, errors);
}

const UNSUPPORTED: &str = "unsupported scope applied to resource";

/// Whether a scope says anything about a resource; `None` where there is no such scope.
fn applies(scope: &str, resource: &str) -> Option<bool> {
    let of_pods = resource == "pods" || COMPUTE.contains(&resource);
    Some(match scope {
        "BestEffort" => resource == "pods",
        "NotBestEffort" | "Terminating" | "NotTerminating" | "PriorityClass" | "CrossNamespacePodAffinity" => of_pods,
        "VolumeAttributesClass" => ["persistentvolumeclaims", "requests.storage"].contains(&resource),
        _ => return None,
    })
}

fn scopes(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (scopes, path) = (list(spec, "scopes"), path.child("scopes"));
    let mut refuse = |detail: &str| errors.push(FieldError::invalid(&path, scopes.to_vec(), detail));
    for scope in scopes.iter().filter_map(Value::as_str) {
        if applies(scope, "pods").is_none() {
            refuse("unsupported scope");
        }
        for (resource, _) in entries(spec, "hard") {
            if is_standard_for_quota(resource) && applies(scope, resource) != Some(true) {
                refuse(UNSUPPORTED);
            }
        }
    }
    conflicts(|scope| scopes.iter().any(|given| given == scope), spec, &path, errors);
}

const ONLY_EXISTS: &str = "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity";

/// Scopes without values.
const PLAIN: [&str; 5] = [
    "BestEffort",
    "NotBestEffort",
    "Terminating",
    "NotTerminating",
    "CrossNamespacePodAffinity",
];

/// Checks the expressions. Upstream's paths do not tell which.
fn selector(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let selector = at(spec, "scopeSelector");
    let path = path.child("scopeSelector").child("matchExpressions");
    let (at_operator, at_values) = (path.child("operator"), path.child("values"));
    let expressions = list(selector, "matchExpressions");
    for expression in expressions {
        let scope = text(expression, "scopeName");
        if applies(scope, "pods").is_none() {
            let path = path.child("scopeName");
            errors.push(FieldError::invalid(&path, scope, "unsupported scope"));
        }
        for (resource, _) in entries(spec, "hard") {
            if is_standard_for_quota(resource) && applies(scope, resource) != Some(true) {
                errors.push(FieldError::invalid(&path, selector.clone(), UNSUPPORTED));
            }
        }
        let (operator, values) = (text(expression, "operator"), list(expression, "values"));
        if PLAIN.contains(&scope) && operator != "Exists" {
            errors.push(FieldError::invalid(&at_operator, operator, ONLY_EXISTS));
        }
        match operator {
            "In" | "NotIn" if values.is_empty() => errors.push(FieldError::required(
                &at_values,
                "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector",
            )),
            "Exists" | "DoesNotExist" if !values.is_empty() => errors.push(FieldError::invalid(
                &at_values,
                values.to_vec(),
                "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector",
            )),
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => errors.push(FieldError::invalid(
                &at_operator,
                other,
                "not a valid selector operator",
            )),
        }
    }
    let named = |scope: &str| expressions.iter().any(|one| text(one, "scopeName") == scope);
    conflicts(named, spec, &path, errors);
}

/// Checks that no pod is demanded to be two things at once. The scopes are shown, also where the selector is meant.
fn conflicts(named: impl Fn(&str) -> bool, spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    for pair in [["BestEffort", "NotBestEffort"], ["Terminating", "NotTerminating"]] {
        if pair.iter().all(|scope| named(scope)) {
            let scopes = at(spec, "scopes").clone();
            errors.push(FieldError::invalid(path, scopes, "conflicting scopes"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(spec: Value) -> Vec<String> {
        let errors = ResourceQuotas.validate(&json!({"spec": spec}));
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn scopes_must_say_something_about_what_is_counted() {
        let hard = json!({"pods": "1", "requests.cpu": "1", "count/deployments.apps": "2", "example.com/gpu": "1"});
        assert_eq!(
            said(json!({"hard": hard, "scopes": ["NotBestEffort", "Terminating"]})),
            Vec::<String>::new()
        );
        assert_eq!(
            said(json!({"hard": {"cpu": "1"}, "scopes": ["BestEffort"]})),
            ["spec.scopes: Invalid value: [\"BestEffort\"]: unsupported scope applied to resource"]
        );
        assert_eq!(
            said(json!({"hard": {"pods": "0.5", "shoes": "-1"}, "scopes": ["BestEffort", "NotBestEffort"]})),
            [
                "spec.hard[pods]: Invalid value: \"500m\": must be an integer",
                "spec.hard[shoes]: Invalid value: \"shoes\": must be a standard resource type or fully qualified",
                "spec.hard[shoes]: Invalid value: \"shoes\": must be a standard resource for quotas",
                "spec.hard[shoes]: Invalid value: \"-1\": must be greater than or equal to 0",
                "spec.scopes: Invalid value: [\"BestEffort\",\"NotBestEffort\"]: conflicting scopes",
            ]
        );
        let expression = json!({"scopeName": "PriorityClass", "operator": "In"});
        assert_eq!(
            said(json!({"hard": {"pods": "1"}, "scopeSelector": {"matchExpressions": [expression]}})),
            [
                "spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
            ]
        );
        let one = |scope: &str, operator: &str| json!({"scopeName": scope, "operator": operator, "values": ["a"]});
        let path = "spec.scopeSelector.matchExpressions";
        assert_eq!(
            said(
                json!({"scopeSelector": {"matchExpressions": [one("Terminating", "In"), one("NotTerminating", "Exists"), one("X", "Like")]}})
            ),
            [
                format!("{path}.operator: Invalid value: \"In\": {ONLY_EXISTS}"),
                format!(
                    "{path}.values: Invalid value: [\"a\"]: must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
                ),
                format!("{path}.scopeName: Invalid value: \"X\": unsupported scope"),
                format!("{path}.operator: Invalid value: \"Like\": not a valid selector operator"),
                format!("{path}: Invalid value: \"null\": conflicting scopes"),
            ]
        );
    }
}
