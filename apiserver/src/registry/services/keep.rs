//! What is kept right about service addresses in the background: Services from before there were IPAddresses get theirs, IPAddresses
//! whose Service is gone go, and a ServiceCIDR that is being deleted goes when nothing is in it any more.
//!
//! Allocation itself needs none of this: it is exact by its transactions.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use timonel_api::{ObjectKey, Revision};
use timonel_store::{Guard, Op, StoreError, Txn};
use tokio_util::sync::CancellationToken;

use super::super::{Caller, Change, Registry, Scope, Target, WriteOptions, meta};
use super::ranges::{ipv4_ranges, usable};
use super::{Allocation, address_key, address_of, addresses};
use crate::error::ApiError;
use crate::identity::UserInfo;
use crate::resources::{SERVICE_CIDR_FINALIZER as FINALIZER, is_ready_service_cidr};

/// How long writes are gathered before things are looked at again.
const PAUSE: Duration = Duration::from_secs(1);
/// How long to wait where nothing is written.
const IDLE: Duration = Duration::from_secs(60);

/// One object, and when it was last written.
type Seen = (Arc<Value>, Revision);

/// The objects that matter, by key.
#[derive(Default)]
struct Observed {
    services: BTreeMap<ObjectKey, Seen>,
    addresses: BTreeMap<String, Seen>,
    ranges: BTreeMap<String, Seen>,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    /// A Service has an address and no IPAddress.
    Show { service: ObjectKey, address: String },
    /// An IPAddress says that it belongs to a Service that does not have it.
    Forget { address: String },
    /// Nothing is in a ServiceCIDR that is being deleted.
    Release { range: String },
    /// Something still is.
    Waiting { range: String },
    /// A ServiceCIDR from before they had a finalizer.
    Adopt { range: String },
}

/// Runs until the server stops.
pub(crate) async fn keep(registry: Arc<Registry>, stop: CancellationToken) {
    let mut before = None;
    loop {
        let looked_at = registry.caches.applied();
        let now = fingerprint(&registry);
        let changed = before.replace(now.clone()) != Some(now);
        let plan = if changed { plan(&observe(&registry)) } else { Vec::new() };
        for action in plan {
            if let Err(problem) = apply(&registry, &action).await {
                before = None;
                tracing::warn!(?action, %problem, "service addresses could not be put right");
            }
        }
        let next = async {
            // Whoever only waits would look again at each write; a pause lets many be one.
            let _ = tokio::time::timeout(IDLE, registry.caches.wait_for(Revision(looked_at.0 + 1))).await;
            tokio::time::sleep(PAUSE).await;
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = next => {}
        }
    }
}

/// How many objects there are, and when the last of them was written: while that is the same, nothing needs to be read.
fn fingerprint(registry: &Registry) -> Vec<(usize, Option<Revision>)> {
    ["services", addresses::IP_ADDRESSES, addresses::SERVICE_CIDRS]
        .iter()
        .filter_map(|resource| registry.caches.slot(resource))
        .map(|slot| {
            let objects = slot.cache.snapshot(registry.caches.applied()).objects;
            let newest = objects.iter().map(|(_, object)| object.revision).max();
            (objects.len(), newest)
        })
        .collect()
}

fn observe(registry: &Registry) -> Observed {
    let all = |resource: &str| -> BTreeMap<ObjectKey, Seen> {
        let Some(slot) = registry.caches.slot(resource) else {
            return BTreeMap::new();
        };
        let objects = slot.cache.snapshot(registry.caches.applied()).objects;
        let seen = objects
            .iter()
            .map(|(key, object)| (key.clone(), (object.value(), object.revision)));
        seen.collect()
    };
    let by_name = |resource: &str| all(resource).into_iter().map(|(key, seen)| (key.name, seen)).collect();
    Observed {
        services: all("services"),
        addresses: by_name(addresses::IP_ADDRESSES),
        ranges: by_name(addresses::SERVICE_CIDRS),
    }
}

fn plan(observed: &Observed) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut held: BTreeSet<(&str, &ObjectKey)> = BTreeSet::new();
    for (key, (service, _)) in &observed.services {
        let Some(address) = address_of(service) else { continue };
        held.insert((address, key));
        if !observed.addresses.contains_key(address) {
            actions.push(Action::Show {
                service: key.clone(),
                address: address.to_owned(),
            });
        }
    }
    for (address, (object, _)) in &observed.addresses {
        if object["metadata"]["labels"][addresses::MANAGED_BY] != addresses::ALLOCATOR {
            continue;
        }
        if parent(object).is_none_or(|service| !held.contains(&(address.as_str(), &service))) {
            actions.push(Action::Forget {
                address: address.clone(),
            });
        }
    }
    for (name, (object, _)) in &observed.ranges {
        let range = name.clone();
        let has_finalizer = meta::finalizers(object).contains(&FINALIZER);
        if object["metadata"]["deletionTimestamp"].is_null() {
            if !has_finalizer || condition(object).is_none() {
                actions.push(Action::Adopt { range });
            }
        } else if has_finalizer && !is_used(name, observed) {
            actions.push(Action::Release { range });
        } else if has_finalizer && condition(object).is_none_or(|condition| condition["status"] != "False") {
            actions.push(Action::Waiting { range });
        }
    }
    actions
}

fn parent(address: &Value) -> Option<ObjectKey> {
    let parent = &address["spec"]["parentRef"];
    let text = |field: &str| parent[field].as_str().unwrap_or_default();
    (text("resource") == "services").then(|| ObjectKey::new(text("namespace"), text("name")))
}

fn condition(range: &Value) -> Option<&Value> {
    let conditions = range["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == "Ready")
}

/// Whether an address lies in this range and in none that stays.
fn is_used(name: &str, observed: &Observed) -> bool {
    let holds = |range: &Value, address: u32| {
        let mut ranges = ipv4_ranges(range).into_iter();
        ranges.any(|range| usable(range).contains(&address))
    };
    let Some((range, _)) = observed.ranges.get(name) else {
        return false;
    };
    observed
        .addresses
        .keys()
        .filter_map(|name| name.parse::<Ipv4Addr>().map(u32::from).ok())
        .any(|address: u32| {
            let elsewhere = || {
                let others = observed.ranges.iter().filter(|(other, _)| *other != name);
                let mut staying = others.filter(|(_, (other, _))| is_ready_service_cidr(other));
                staying.any(|(_, (other, _))| holds(other, address))
            };
            holds(range, address) && !elsewhere()
        })
}

async fn apply(registry: &Registry, action: &Action) -> Result<(), ApiError> {
    match action {
        Action::Show { service, address } => show(registry, service, address).await,
        Action::Forget { address } => forget(registry, address).await,
        Action::Release { range } => {
            change(registry, range, None, &|object| {
                let finalizers: Vec<&str> = meta::finalizers(object)
                    .into_iter()
                    .filter(|f| *f != FINALIZER)
                    .collect();
                let finalizers = json!(finalizers);
                meta::metadata(object).insert("finalizers".to_owned(), finalizers);
            })
            .await
        }
        Action::Waiting { range } => {
            let now = meta::time(registry.clock.now());
            let waiting = json!([{
                "type": "Ready", "status": "False", "reason": "Terminating", "lastTransitionTime": now,
                "message": "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR",
            }]);
            change(registry, range, Some("status"), &|object| {
                meta::static_map(object, "status").insert("conditions".to_owned(), waiting.clone());
            })
            .await
        }
        Action::Adopt { range } => {
            let now = registry.clock.now();
            change(registry, range, None, &|object| {
                crate::resources::adopt_service_cidr(object, now)
            })
            .await
        }
    }
}

/// Writes the IPAddress of a Service that has none, and holds its allocation, if the Service is still as it was seen.
async fn show(registry: &Registry, key: &ObjectKey, address: &str) -> Result<(), ApiError> {
    let Some(slot) = registry.caches.slot("services") else {
        return Ok(());
    };
    let target = registry.target(slot.info, None, &key.namespace, &key.name)?;
    let Ok(service) = registry.current(&target) else {
        return Ok(());
    };
    let value = service.value();
    if address_of(&value) != Some(address) {
        return Ok(());
    }
    let mut allocation = Allocation::default();
    registry.take_ip_address(&mut allocation, &target, &value, address)?;
    let mut txn = Txn {
        guards: vec![Guard::At(slot.store_key(key), service.revision)],
        ops: vec![Op::Put(address_key(address), bytes::Bytes::new())],
    };
    txn.guards.extend(allocation.guards);
    txn.ops.extend(allocation.ops);
    settle(registry.commit(txn).await.map(drop))
}

/// Removes an IPAddress, if neither it nor its Service has changed since.
async fn forget(registry: &Registry, address: &str) -> Result<(), ApiError> {
    let (Some(addresses), Some(services)) = (
        registry.caches.slot(addresses::IP_ADDRESSES),
        registry.caches.slot("services"),
    ) else {
        return Ok(());
    };
    let key = ObjectKey::cluster(address);
    let Some(object) = addresses.cache.get(&key) else {
        return Ok(());
    };
    let mut guards = vec![Guard::At(addresses.store_key(&key), object.revision)];
    if let Some(parent) = parent(&object.value()) {
        let store_key = services.store_key(&parent);
        guards.push(match services.cache.get(&parent) {
            Some(service) if address_of(&service.value()) == Some(address) => return Ok(()),
            Some(service) => Guard::At(store_key, service.revision),
            None => Guard::Absent(store_key),
        });
    }
    let ops = vec![Op::Delete(addresses.store_key(&key))];
    settle(registry.commit(Txn { guards, ops }).await.map(drop))
}

/// Somebody who came first is no trouble: things are looked at again.
fn settle(result: Result<(), StoreError>) -> Result<(), ApiError> {
    match result {
        Ok(()) | Err(StoreError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Changes a ServiceCIDR as upstream's controller would.
async fn change(
    registry: &Registry,
    name: &str,
    subresource: Option<&str>,
    edit: &(dyn Fn(&mut Value) + Send + Sync),
) -> Result<(), ApiError> {
    let Some(slot) = registry.caches.slot(addresses::SERVICE_CIDRS) else {
        return Ok(());
    };
    let subresource = subresource.and_then(|name| slot.info.subresource(name));
    let target: Target = registry.target(slot.info, subresource, "", name)?;
    let user = UserInfo::new("system:apiserver", &["system:masters"]);
    let caller = Caller::new(user, registry.clock.now(), "service-cidr-controller");
    let wanted = |old: &Value| {
        let mut value = old.clone();
        edit(&mut value);
        Ok(Change { value })
    };
    let scope = Scope::Custom { desired: false };
    match registry
        .modify(&target, &WriteOptions::default(), &caller, scope, &wanted)
        .await
    {
        Ok(_) | Err(ApiError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(value: Value) -> Seen {
        (Arc::new(value), Revision(1))
    }

    fn service(observed: &mut Observed, name: &str, address: &str) {
        let value = json!({"spec": {"clusterIP": address}});
        observed.services.insert(ObjectKey::new("demo", name), seen(value));
    }

    fn address(observed: &mut Observed, address: &str, service: &str) {
        let value = json!({
            "metadata": {"labels": {addresses::MANAGED_BY: addresses::ALLOCATOR}},
            "spec": {"parentRef": {"group": "", "resource": "services", "namespace": "demo", "name": service}},
        });
        observed.addresses.insert(address.to_owned(), seen(value));
    }

    fn range(observed: &mut Observed, name: &str, cidr: &str, deleting: bool) {
        let mut value = json!({
            "metadata": {"finalizers": [FINALIZER]}, "spec": {"cidrs": [cidr]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        });
        if deleting {
            value["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        observed.ranges.insert(name.to_owned(), seen(value));
    }

    #[test]
    fn services_and_their_addresses_are_brought_together() {
        let mut observed = Observed::default();
        service(&mut observed, "old", "10.0.0.1");
        service(&mut observed, "headless", "None");
        service(&mut observed, "fine", "10.0.0.2");
        address(&mut observed, "10.0.0.2", "fine");
        address(&mut observed, "10.0.0.3", "gone");
        let by_hand = json!({"spec": {"parentRef": {"resource": "machines", "name": "m"}}});
        observed.addresses.insert("10.0.0.4".to_owned(), seen(by_hand));
        assert_eq!(
            plan(&observed),
            [
                Action::Show {
                    service: ObjectKey::new("demo", "old"),
                    address: "10.0.0.1".to_owned()
                },
                Action::Forget {
                    address: "10.0.0.3".to_owned()
                },
            ]
        );
    }

    #[test]
    fn a_range_goes_when_nothing_is_in_it_that_another_does_not_hold() {
        let mut observed = Observed::default();
        range(&mut observed, "extra", "10.1.0.0/24", true);
        let extra = || "extra".to_owned();
        assert_eq!(plan(&observed), [Action::Release { range: extra() }]);
        service(&mut observed, "s", "10.1.0.9");
        address(&mut observed, "10.1.0.9", "s");
        assert_eq!(plan(&observed), [Action::Waiting { range: extra() }]);
        range(&mut observed, "wide", "10.1.0.0/16", false);
        assert_eq!(plan(&observed), [Action::Release { range: extra() }]);
    }
}
