//! `ResourceQuota`: what a namespace may hold in all, exactly, also when many ask at once.
//!
//! Upstream writes the new usage into the quota's status before it lets the object in. Here usage is counted from the objects themselves
//! while a lock on the namespace is held, and the lock is held until the write has been answered ([`Permit`]), by which time every
//! reader sees the object: so no two requests ever count the same free place. A request that is given up while its write is under way
//! leaves the lock to the write (`Registry::commit_with`). Namespaces without quotas take no lock.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use timonel_api::quantity::Quantity;
use timonel_api::quota::{Amounts, amounts, in_scope, usage};
use tokio::sync::OwnedMutexGuard;

use super::{AdmissionRequest, Context, Operation, items, text};
use crate::error::ApiError;

/// Permission to write. Where a quota counts, no other write that it counts is let in until this is dropped.
#[derive(Debug, Default)]
#[must_use = "keep it until the write is answered"]
pub struct Permit {
    namespace: Option<OwnedMutexGuard<()>>,
}

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
        let mut asked = Amounts::new();
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
