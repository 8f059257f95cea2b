//! What objects use of a quota: shared by whoever enforces quotas and whoever writes their usage down.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::pod;
use crate::quantity::{Format, Quantity};

/// How much of what.
pub type Amounts = BTreeMap<String, Quantity>;

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// Reads a list of amounts, as `spec.hard` is one. What is no amount is passed over.
pub fn amounts(list: &Value) -> Amounts {
    let entries = list.as_object().into_iter().flatten();
    entries
        .filter_map(|(name, amount)| Some((name.clone(), quantity(amount)?)))
        .collect()
}

fn quantity(value: &Value) -> Option<Quantity> {
    match value {
        Value::String(text) => Quantity::parse(text).ok(),
        Value::Number(number) => Quantity::parse(&number.to_string()).ok(),
        _ => None,
    }
}

fn one() -> Quantity {
    Quantity::from_units(1, Format::DecimalSi)
}

fn count(number: usize) -> Quantity {
    Quantity::from_units(i64::try_from(number).unwrap_or(i64::MAX), Format::DecimalSi)
}

/// The resources that a bare name counts, besides `count/RESOURCE`, which counts any.
const PLAIN: [&str; 7] = [
    "pods",
    "services",
    "replicationcontrollers",
    "resourcequotas",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
];

/// What one object of a resource (`pods`, `deployments.apps`) uses.
pub fn usage(resource: &str, object: &Value) -> Amounts {
    let mut usage = Amounts::from([(format!("count/{resource}"), one())]);
    if resource == "pods" {
        if ["Succeeded", "Failed"].contains(&text(&object["status"]["phase"])) {
            return usage;
        }
        pod_usage(object, &mut usage);
    }
    if PLAIN.contains(&resource) {
        usage.insert(resource.to_owned(), one());
    }
    match resource {
        "services" => {
            let ports = items(&object["spec"]["ports"]);
            let with_node_ports = ports
                .iter()
                .filter(|port| port["nodePort"].as_u64().is_some_and(|port| port > 0));
            match text(&object["spec"]["type"]) {
                "NodePort" => {
                    usage.insert("services.nodeports".to_owned(), count(ports.len()));
                }
                "LoadBalancer" => {
                    let nodeports = if object["spec"]["allocateLoadBalancerNodePorts"] == false {
                        with_node_ports.count()
                    } else {
                        ports.len()
                    };
                    usage.insert("services.nodeports".to_owned(), count(nodeports));
                    usage.insert("services.loadbalancers".to_owned(), one());
                }
                _ => {}
            }
        }
        "persistentvolumeclaims" => {
            let storage = quantity(&object["spec"]["resources"]["requests"]["storage"]);
            let class = text(&object["spec"]["storageClassName"]);
            if let Some(storage) = storage {
                usage.insert("requests.storage".to_owned(), storage);
            }
            if !class.is_empty() {
                let prefix = format!("{class}.storageclass.storage.k8s.io");
                usage.insert(format!("{prefix}/persistentvolumeclaims"), one());
                if let Some(storage) = storage {
                    usage.insert(format!("{prefix}/requests.storage"), storage);
                }
            }
        }
        _ => {}
    }
    usage
}

fn pod_usage(object: &Value, usage: &mut Amounts) {
    let Ok(typed) = serde_json::from_value::<k8s_openapi::api::core::v1::Pod>(object.clone()) else {
        return;
    };
    for (name, amount) in pod::requests(&typed) {
        let plain = ["cpu", "memory", "ephemeral-storage"].contains(&name.as_str());
        if plain || name.starts_with("hugepages-") {
            usage.insert(name.clone(), amount);
        }
        usage.insert(format!("requests.{name}"), amount);
    }
    for (name, amount) in pod::limits(&typed) {
        usage.insert(format!("limits.{name}"), amount);
    }
}

/// Whether a quota's scopes let it count an object.
pub fn in_scope(quota: &Value, resource: &str, object: &Value) -> bool {
    let scopes = items(&quota["spec"]["scopes"]);
    let expressions = items(&quota["spec"]["scopeSelector"]["matchExpressions"]);
    if scopes.is_empty() && expressions.is_empty() {
        return true;
    }
    if !["pods", "persistentvolumeclaims"].contains(&resource) {
        // Scopes are about pods, and one is about claims; such a quota counts nothing else.
        return false;
    }
    let of_claims = resource == "persistentvolumeclaims";
    let about_claims = |scope: &Value| scope == "VolumeAttributesClass";
    let mut named = scopes
        .iter()
        .chain(expressions.iter().map(|expression| &expression["scopeName"]));
    if named.any(|scope| about_claims(scope) != of_claims) {
        return false;
    }
    scopes
        .iter()
        .all(|scope| scope_matches(text(scope), "Exists", &[], object))
        && expressions.iter().all(|expression| {
            scope_matches(
                text(&expression["scopeName"]),
                text(&expression["operator"]),
                items(&expression["values"]),
                object,
            )
        })
}

fn scope_matches(scope: &str, operator: &str, values: &[Value], pod: &Value) -> bool {
    let spec = &pod["spec"];
    let terminating = spec["activeDeadlineSeconds"]
        .as_i64()
        .is_some_and(|seconds| seconds >= 0);
    let best_effort = || serde_json::from_value(pod.clone()).is_ok_and(|typed| pod::qos_class(&typed) == "BestEffort");
    match scope {
        "Terminating" => terminating,
        "NotTerminating" => !terminating,
        "BestEffort" => best_effort(),
        "NotBestEffort" => !best_effort(),
        "CrossNamespacePodAffinity" => ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
            let affinity = &spec["affinity"][*kind];
            let required = items(&affinity["requiredDuringSchedulingIgnoredDuringExecution"]).iter();
            let preferred = items(&affinity["preferredDuringSchedulingIgnoredDuringExecution"])
                .iter()
                .map(|weighted| &weighted["podAffinityTerm"]);
            required
                .chain(preferred)
                .any(|term| !items(&term["namespaces"]).is_empty() || term["namespaceSelector"].is_object())
        }),
        "PriorityClass" | "VolumeAttributesClass" => {
            let class = match scope {
                "PriorityClass" => text(&spec["priorityClassName"]),
                _ => text(&spec["volumeAttributesClassName"]),
            };
            let listed = values.iter().any(|value| value == class);
            match operator {
                "In" => listed,
                "NotIn" => !listed,
                "DoesNotExist" => class.is_empty(),
                _ => !class.is_empty(),
            }
        }
        _ => false,
    }
}
