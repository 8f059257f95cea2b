//! Amounts of resources: what a resource may be called, and how much of it there may be.
//!
//! Pods, nodes, limit ranges and quotas speak of the same resources, and each knows some names of its own.

use std::collections::BTreeMap;

use serde_json::Value;
use timonel_api::quantity::Quantity;
use timonel_api::{FieldError, Path, names};

use super::common::{NOT_NEGATIVE, wrong};
use super::value::entries;

/// What is counted in whole objects.
pub(crate) const COUNTS: [&str; 9] = [
    "pods",
    "services",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "services.nodeports",
    "services.loadbalancers",
];

/// What containers use, and what quotas tell of it.
const USED: [&str; 9] = [
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
];

const NOT_AN_INTEGER: &str = "must be an integer";

/// Pages of memory of one size: `hugepages-2Mi`.
pub(crate) fn is_huge_page(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// Whether Kubernetes itself knows a resource.
fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

/// What devices offer: `example.com/gpu`. It comes in whole pieces.
fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with("requests.") && names::qualified_name(&format!("requests.{name}")).is_empty()
}

/// Whether more of a resource may be promised than there is.
pub(crate) fn may_be_overcommitted(name: &str) -> bool {
    is_native(name) && !is_huge_page(name)
}

/// Whether a quota knows a resource that has no prefix.
pub(crate) fn is_standard_for_quota(name: &str) -> bool {
    COUNTS.contains(&name)
        || USED.contains(&name)
        || name == "requests.storage"
        || is_huge_page(name.strip_prefix("requests.").unwrap_or(name))
}

/// A rule for the name of a resource.
pub(crate) type NameRule = fn(&str, &Path, &mut Vec<FieldError>);

/// Checks a name that has a prefix of its own or is one of upstream's, and says whether it is good.
fn known(name: &str, path: &Path, errors: &mut Vec<FieldError>) -> bool {
    let sentences = names::qualified_name(name);
    let named = sentences.is_empty();
    wrong(path, name, sentences, errors);
    let standard = name.contains('/') || name == "storage" || is_standard_for_quota(name);
    if named && !standard {
        let detail = "must be a standard resource type or fully qualified";
        errors.push(FieldError::invalid(path, name, detail));
    }
    named && standard
}

/// The rule for whatever has resources and is no container.
pub(crate) fn resource_name(name: &str, path: &Path, errors: &mut Vec<FieldError>) {
    known(name, path, errors);
}

/// The rule for containers.
pub(crate) fn container_resource_name(name: &str, path: &Path, errors: &mut Vec<FieldError>) {
    known(name, path, errors);
    let detail = if !name.contains('/') {
        if ["cpu", "memory", "ephemeral-storage"].contains(&name) || is_huge_page(name) {
            return;
        }
        "must be a standard resource for containers"
    } else if is_native(name) || is_extended(name) {
        return;
    } else {
        "doesn't follow extended resource name standard"
    };
    errors.push(FieldError::invalid(path, name, detail));
}

/// The rule for a pod as a whole.
pub(crate) fn pod_resource_name(name: &str, path: &Path, errors: &mut Vec<FieldError>) {
    const OF_PODS: [&str; 2] = ["cpu", "memory"];
    if known(name, path, errors) && !OF_PODS.contains(&name) && !is_huge_page(name) {
        errors.push(FieldError::not_supported(path, name, &OF_PODS));
    }
}

/// The rule for quotas.
pub(crate) fn quota_resource_name(name: &str, path: &Path, errors: &mut Vec<FieldError>) {
    known(name, path, errors);
    if !name.contains('/') && !is_standard_for_quota(name) {
        let detail = "must be a standard resource for quotas";
        errors.push(FieldError::invalid(path, name, detail));
    }
}

/// Reads an amount; `None` where it is none.
pub(crate) fn read(amount: &Value) -> Option<Quantity> {
    match amount {
        Value::String(text) => Quantity::parse(text).ok(),
        Value::Number(number) => Quantity::parse(&number.to_string()).ok(),
        _ => None,
    }
}

const UNREADABLE: &str = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// Checks an amount of a resource, and returns it where it can be read.
pub(crate) fn amount(name: &str, value: &Value, path: &Path, errors: &mut Vec<FieldError>) -> Option<Quantity> {
    let Some(amount) = read(value) else {
        errors.push(FieldError::invalid(path, value.clone(), UNREADABLE));
        return None;
    };
    if amount.sign() < 0 {
        errors.push(FieldError::invalid(path, amount.to_string(), NOT_NEGATIVE));
    }
    if (COUNTS.contains(&name) || is_extended(name)) && amount.millis() % 1000 != 0 {
        errors.push(FieldError::invalid(path, amount.to_string(), NOT_AN_INTEGER));
    }
    Some(amount)
}

/// Checks a map of amounts, and returns those that can be read.
pub(crate) fn amounts<'a>(
    object: &'a Value,
    field: &str,
    rule: NameRule,
    path: &Path,
    errors: &mut Vec<FieldError>,
) -> BTreeMap<&'a str, Quantity> {
    let mut read = BTreeMap::new();
    for (name, value) in entries(object, field) {
        let path = path.child(field).key(name);
        rule(name, &path, errors);
        if let Some(amount) = amount(name, value, &path, errors) {
            read.insert(name, amount);
        }
    }
    read
}

fn whole_pages(name: &str, amount: Quantity, path: &Path, errors: &mut Vec<FieldError>) {
    let size = name.strip_prefix("hugepages-").map(Quantity::parse);
    let fits = match size {
        None => return,
        Some(Ok(size)) if size.sign() > 0 && size.millis() % 1000 == 0 => amount.value() % size.value() == 0,
        Some(_) => false,
    };
    if !fits {
        let detail = format!("{amount} is not positive integer multiple of {name}");
        errors.push(FieldError::invalid(path, amount.to_string(), detail));
    }
}

/// Checks the `limits` and `requests` of a container or a pod.
pub(crate) fn requirements(resources: &Value, rule: NameRule, path: &Path, errors: &mut Vec<FieldError>) {
    let (at_limits, at_requests) = (path.child("limits"), path.child("requests"));
    let limits = amounts(resources, "limits", rule, path, errors);
    for (name, limit) in &limits {
        whole_pages(name, *limit, &at_limits.key(name), errors);
    }
    let requests = amounts(resources, "requests", rule, path, errors);
    for (name, request) in &requests {
        let fixed = !may_be_overcommitted(name);
        let detail = match limits.get(name) {
            Some(limit) if fixed && request != limit => Some(format!("must be equal to {name} limit of {limit}")),
            Some(limit) if request > limit => Some(format!("must be less than or equal to {name} limit of {limit}")),
            None if fixed => {
                let detail = "Limit must be set for non overcommitable resources";
                errors.push(FieldError::required(&at_limits, detail));
                None
            }
            _ => None,
        };
        if let Some(detail) = detail {
            errors.push(FieldError::invalid(&at_requests, request.to_string(), detail));
        }
        whole_pages(name, *request, &at_requests.key(name), errors);
    }
    let mut named = limits.keys().chain(requests.keys());
    if named.clone().any(|name| is_huge_page(name)) && !named.any(|name| ["cpu", "memory"].contains(name)) {
        errors.push(FieldError::forbidden(path, "HugePages require cpu or memory"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(resources: Value, rule: NameRule) -> Vec<String> {
        let mut errors = Vec::new();
        requirements(&resources, rule, &Path::new("r"), &mut errors);
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_container_asks_for_what_there_is() {
        let cases: &[(Value, &[&str])] = &[
            (
                json!({"limits": {"cpu": "1", "example.com/gpu": "2"}, "requests": {"example.com/gpu": "2"}}),
                &[],
            ),
            (json!({"limits": {"cpu": "1", "hugepages-2Mi": "4Mi"}}), &[]),
            (
                json!({"limits": {"pods": "1"}}),
                &["r.limits[pods]: Invalid value: \"pods\": must be a standard resource for containers"],
            ),
            (
                json!({"limits": {"shoes": "1"}}),
                &[
                    "r.limits[shoes]: Invalid value: \"shoes\": must be a standard resource type or fully qualified",
                    "r.limits[shoes]: Invalid value: \"shoes\": must be a standard resource for containers",
                ],
            ),
            (
                json!({"limits": {"requests.example.com/gpu": "1"}}),
                &[
                    "r.limits[requests.example.com/gpu]: Invalid value: \"requests.example.com/gpu\": doesn't follow extended resource name standard",
                ],
            ),
            (
                json!({"limits": {"cpu": "-1", "example.com/gpu": "0.5"}}),
                &[
                    "r.limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
                    "r.limits[example.com/gpu]: Invalid value: \"500m\": must be an integer",
                ],
            ),
            (
                json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1500m", "memory": "1Gi"}}),
                &["r.requests: Invalid value: \"1500m\": must be less than or equal to cpu limit of 1"],
            ),
            (
                json!({"limits": {"a.b/c": "2"}, "requests": {"a.b/c": "1", "a.b/d": "1"}}),
                &[
                    "r.requests: Invalid value: \"1\": must be equal to a.b/c limit of 2",
                    "r.limits: Required value: Limit must be set for non overcommitable resources",
                ],
            ),
            (
                json!({"limits": {"hugepages-2Mi": "3Mi"}}),
                &[
                    "r.limits[hugepages-2Mi]: Invalid value: \"3Mi\": 3Mi is not positive integer multiple of hugepages-2Mi",
                    "r: Forbidden: HugePages require cpu or memory",
                ],
            ),
        ];
        for (resources, expected) in cases {
            assert_eq!(
                said(resources.clone(), container_resource_name),
                *expected,
                "{resources}"
            );
        }
    }

    #[test]
    fn a_pod_as_a_whole_has_processors_and_memory() {
        assert_eq!(
            said(
                json!({"limits": {"memory": "1", "hugepages-1Gi": "1Gi"}}),
                pod_resource_name
            ),
            Vec::<String>::new()
        );
        assert_eq!(
            said(json!({"limits": {"ephemeral-storage": "1"}}), pod_resource_name),
            [
                "r.limits[ephemeral-storage]: Unsupported value: \"ephemeral-storage\": supported values: \"cpu\", \"memory\""
            ]
        );
    }
}
