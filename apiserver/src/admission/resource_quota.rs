//! `ResourceQuota`: what a namespace may hold in all, exactly, also when many ask at once.
//!
//! Upstream writes the new usage into the quota's status before it lets the object in. Here usage is counted from the objects themselves
//! while a lock on the namespace is held, and the lock is held until the write has been answered ([`Permit`]), by which time every
//! reader sees the object: so no two requests ever count the same free place. A request that is given up while its write is under way
//! leaves the lock to the write (`Registry::commit_with`). Namespaces without quotas take no lock.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use timonel_api::quantity::Quantity;
use tokio::sync::OwnedMutexGuard;

use super::{AdmissionRequest, Context, Operation, items, text};
use crate::error::ApiError;

/// Permission to write. Where a quota counts, no other write that it counts is let in until this is dropped.
#[derive(Debug, Default)]
#[must_use = "keep it until the write is answered"]
pub struct Permit {
    namespace: Option<OwnedMutexGuard<()>>,
}

type Amounts = BTreeMap<String, Quantity>;

#[derive(Default)]
pub(super) struct ResourceQuota {
    locks: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

impl Permit {
    /// Whether anything is held.
    pub(crate) fn holds(&self) -> bool {
        self.namespace.is_some()
    }
}

impl ResourceQuota {
    fn lock(&self, namespace: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
        // Namespaces come and go; locks that nobody holds need not be remembered.
        if locks.len() > 1024 {
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        }
        Arc::clone(locks.entry(namespace.to_owned()).or_default())
    }

    pub(super) async fn admit(&self, request: &AdmissionRequest<'_>, context: &Context) -> Result<Permit, ApiError> {
        let grows = match request.operation {
            Operation::Create => true,
            // Pods change their requests through `resize`, claims when they are expanded, services when they change their type.
            Operation::Update => {
                let changes = ["persistentvolumeclaims", "services"].contains(&request.resource.plural);
                changes && request.resource.group.is_empty() && request.subresource.is_none()
                    || request.is("", "pods", Some("resize"))
            }
            _ => false,
        };
        let counted = request.subresource.is_none() || request.subresource == Some("resize");
        if !grows || !counted || request.namespace.is_empty() || !request.resource.storage {
            return Ok(Permit::default());
        }
        if context
            .reader
            .list("resourcequotas", Some(request.namespace))
            .is_empty()
        {
            return Ok(Permit::default());
        }
        let guard = self.lock(request.namespace).lock_owned().await;
        check(request, context)?;
        Ok(Permit { namespace: Some(guard) })
    }
}

fn check(request: &AdmissionRequest<'_>, context: &Context) -> Result<(), ApiError> {
    let resource = request.resource.group_resource();
    let new = request.new_object();
    let after = usage(&resource, new);
    let before = request.old.map(|old| usage(&resource, old)).unwrap_or_default();
    let mut refusals = Vec::new();
    for quota in context.reader.list("resourcequotas", Some(request.namespace)) {
        if !in_scope(&quota, &resource, new) {
            continue;
        }
        let name = text(&quota["metadata"]["name"]);
        let hard = amounts(&quota["spec"]["hard"]);
        let missing: Vec<String> = hard
            .keys()
            .filter(|_| resource == "pods")
            .filter_map(|key| not_given(new, key))
            .collect();
        if !missing.is_empty() {
            return Err(request.forbidden(format!("failed quota: {name}: must specify {}", missing.join("; "))));
        }
        let mut asked: Amounts = BTreeMap::new();
        for (key, amount) in &after {
            let more = match before.get(key) {
                Some(present) => *amount - *present,
                None => *amount,
            };
            if hard.contains_key(key) && more.nanos() > 0 {
                asked.insert(key.clone(), more);
            }
        }
        if asked.is_empty() {
            continue;
        }
        let used = used(context, request, &quota, &resource);
        let over: Vec<&String> = asked
            .iter()
            .filter(|(key, more)| {
                let present = used.get(*key).copied().unwrap_or(Quantity::ZERO);
                hard.get(*key)
                    .is_some_and(|most| (present + **more).nanos() > most.nanos())
            })
            .map(|(key, _)| key)
            .collect();
        if over.is_empty() {
            continue;
        }
        let show = |list: &Amounts| {
            let terms = over
                .iter()
                .map(|key| format!("{key}={}", list.get(*key).copied().unwrap_or(Quantity::ZERO)));
            terms.collect::<Vec<_>>().join(",")
        };
        refusals.push(format!(
            "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
            show(&asked),
            show(&used),
            show(&hard)
        ));
    }
    match refusals.into_iter().next() {
        Some(refusal) => Err(request.forbidden(refusal)),
        None => Ok(()),
    }
}

/// What the namespace's objects of this resource use, as far as the quota's scopes count them.
fn used(context: &Context, request: &AdmissionRequest<'_>, quota: &Value, resource: &str) -> Amounts {
    let mut sum = Amounts::new();
    for object in context.reader.list(resource, Some(request.namespace)) {
        if !in_scope(quota, resource, &object) {
            continue;
        }
        for (key, amount) in usage(resource, &object) {
            let total = sum.entry(key).or_insert(Quantity::ZERO);
            *total += amount;
        }
    }
    sum
}

fn amounts(list: &Value) -> Amounts {
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
    Quantity::from_units(1, timonel_api::quantity::Format::DecimalSi)
}

fn count(number: usize) -> Quantity {
    Quantity::from_units(
        i64::try_from(number).unwrap_or(i64::MAX),
        timonel_api::quantity::Format::DecimalSi,
    )
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

/// What one object uses.
fn usage(resource: &str, object: &Value) -> Amounts {
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

fn pod_usage(pod: &Value, usage: &mut Amounts) {
    let Ok(typed) = serde_json::from_value::<k8s_openapi::api::core::v1::Pod>(pod.clone()) else {
        return;
    };
    for (name, amount) in timonel_api::pod::requests(&typed) {
        let plain = ["cpu", "memory", "ephemeral-storage"].contains(&name.as_str());
        if plain || name.starts_with("hugepages-") {
            usage.insert(name.clone(), amount);
        }
        usage.insert(format!("requests.{name}"), amount);
    }
    for (name, amount) in timonel_api::pod::limits(&typed) {
        usage.insert(format!("limits.{name}"), amount);
    }
}

/// A quota on these makes every container say how much it wants, unless the pod says it for all. Says which do not.
fn not_given(pod: &Value, key: &str) -> Option<String> {
    let (list, resource) = key.split_once('.').unwrap_or(("requests", key));
    if !["requests", "limits"].contains(&list) || !["cpu", "memory"].contains(&resource) {
        return None;
    }
    let given = |holder: &Value| !holder["resources"][list][resource].is_null();
    let spec = &pod["spec"];
    if given(spec) {
        return None;
    }
    let containers = ["containers", "initContainers"]
        .iter()
        .flat_map(|list| items(&spec[*list]));
    let mut silent: Vec<&str> = containers
        .filter(|container| !given(container))
        .map(|container| text(&container["name"]))
        .collect();
    silent.sort_unstable();
    (!silent.is_empty()).then(|| format!("{key} for: {}", silent.join(",")))
}

fn in_scope(quota: &Value, resource: &str, object: &Value) -> bool {
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
    let best_effort =
        || serde_json::from_value(pod.clone()).is_ok_and(|typed| timonel_api::pod::qos_class(&typed) == "BestEffort");
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
