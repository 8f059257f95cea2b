//! Decides what a Service's Endpoints should say: pods grouped by their ports, ready ones apart from others.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use timonel_client::runner::Plan;

use crate::backends::{Backend, Port};

const MANAGED_BY: (&str, &str) = ("endpoints.kubernetes.io/managed-by", "endpoint-controller");
const HEADLESS: &str = "service.kubernetes.io/headless";
/// Says that not all addresses are named.
const OVER_CAPACITY: (&str, &str) = ("endpoints.kubernetes.io/over-capacity", "truncated");
/// Upstream names no more addresses than this.
const MOST: usize = 1000;

/// A Service that selects pods, those pods, and its Endpoints; no Service where it is gone.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) service: Option<Arc<Service>>,
    pub(crate) backends: Vec<Backend>,
    pub(crate) endpoints: Option<Arc<Endpoints>>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    Create(Box<Endpoints>),
    Replace(Box<Endpoints>),
    Delete(Arc<Endpoints>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    Missing,
    Differs,
    ServiceGone,
}

/// Decides.
pub(crate) fn plan(observed: &Observed) -> Plan<Action, Because> {
    let mut plan = Plan::nothing();
    let Some(service) = observed.service.as_deref() else {
        // What somebody else made without a Service is none of ours.
        let ours = |endpoints: &&Arc<Endpoints>| {
            let labels = endpoints.metadata.labels.iter().flatten();
            labels
                .map(|(key, value)| (key.as_str(), value.as_str()))
                .any(|label| label == MANAGED_BY)
        };
        if let Some(endpoints) = observed.endpoints.as_ref().filter(ours) {
            plan.act(Action::Delete(Arc::clone(endpoints)), Because::ServiceGone);
        }
        return plan;
    };
    if service.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(MANAGED_BY.0.into(), MANAGED_BY.1.into());
    if service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None") {
        labels.insert(HEADLESS.into(), String::new());
    }
    let mut subsets = subsets(service, &observed.backends);
    let truncated = truncate(&mut subsets);
    let existing = observed.endpoints.as_ref();
    let mut annotations = existing
        .and_then(|endpoints| endpoints.metadata.annotations.clone())
        .unwrap_or_default();
    if truncated {
        annotations.insert(OVER_CAPACITY.0.into(), OVER_CAPACITY.1.into());
    } else {
        annotations.remove(OVER_CAPACITY.0);
    }
    let annotations = (!annotations.is_empty()).then_some(annotations);
    match &observed.endpoints {
        None => {
            let endpoints = Endpoints {
                metadata: ObjectMeta {
                    name: service.metadata.name.clone(),
                    namespace: service.metadata.namespace.clone(),
                    labels: Some(labels),
                    annotations,
                    ..ObjectMeta::default()
                },
                subsets: (!subsets.is_empty()).then_some(subsets),
            };
            plan.act(Action::Create(Box::new(endpoints)), Because::Missing);
        }
        Some(existing) => {
            let held = existing.metadata.annotations.clone().filter(|map| !map.is_empty());
            let same = existing.metadata.labels.as_ref() == Some(&labels)
                && held == annotations
                && existing.subsets.as_deref().unwrap_or_default() == subsets;
            if !same {
                let mut wanted = Endpoints::clone(existing);
                wanted.metadata.labels = Some(labels);
                wanted.metadata.annotations = annotations;
                wanted.subsets = (!subsets.is_empty()).then_some(subsets);
                plan.act(Action::Replace(Box::new(wanted)), Because::Differs);
            }
        }
    }
    plan
}

fn subsets(service: &Service, backends: &[Backend]) -> Vec<EndpointSubset> {
    let family = service
        .spec
        .as_ref()
        .and_then(|spec| spec.ip_families.as_ref()?.first().cloned());
    let family = family.unwrap_or_else(|| "IPv4".into());
    let mut groups: BTreeMap<Vec<Port>, (Vec<EndpointAddress>, Vec<EndpointAddress>)> = BTreeMap::new();
    // Unlike slices, Endpoints do not name pods that are leaving.
    for backend in backends.iter().filter(|backend| !backend.terminating || backend.ready) {
        let Some(ip) = backend.address(&family) else { continue };
        let address = EndpointAddress {
            ip,
            hostname: backend.hostname(service),
            node_name: backend.node(),
            target_ref: Some(backend.reference()),
        };
        let (ready, others) = groups.entry(backend.ports.clone()).or_default();
        if backend.ready {
            ready.push(address)
        } else {
            others.push(address)
        }
    }
    let subset = |(ports, (mut ready, mut others)): (Vec<Port>, (Vec<EndpointAddress>, Vec<EndpointAddress>))| {
        ready.sort_by(|one, two| one.ip.cmp(&two.ip));
        others.sort_by(|one, two| one.ip.cmp(&two.ip));
        let port = |port: Port| EndpointPort {
            name: (!port.name.is_empty()).then_some(port.name),
            port: port.port,
            protocol: Some(port.protocol),
            app_protocol: port.app_protocol,
        };
        EndpointSubset {
            addresses: (!ready.is_empty()).then_some(ready),
            not_ready_addresses: (!others.is_empty()).then_some(others),
            ports: (!ports.is_empty()).then(|| ports.into_iter().map(port).collect()),
        }
    };
    groups.into_iter().map(subset).collect()
}

/// Leaves out what is too many, those that are not ready first, of each subset as its share; tells whether it did.
fn truncate(subsets: &mut [EndpointSubset]) -> bool {
    let ready = |subset: &EndpointSubset| subset.addresses.as_ref().map_or(0, Vec::len);
    let others = |subset: &EndpointSubset| subset.not_ready_addresses.as_ref().map_or(0, Vec::len);
    let all_ready: usize = subsets.iter().map(ready).sum();
    let all_others: usize = subsets.iter().map(others).sum();
    if all_ready + all_others <= MOST {
        return false;
    }
    let of_ready = all_ready > MOST;
    let (room, total) = if of_ready {
        (MOST, all_ready)
    } else {
        (MOST - all_ready, all_others)
    };
    let mut left = room;
    for subset in subsets {
        let list = if of_ready {
            subset.not_ready_addresses = None;
            &mut subset.addresses
        } else {
            &mut subset.not_ready_addresses
        };
        if let Some(addresses) = list {
            // Rounded up, so that the last subset gets what is left.
            addresses.truncate((addresses.len() * room).div_ceil(total.max(1)).min(left));
            left -= addresses.len();
        }
        *list = list.take().filter(|addresses| !addresses.is_empty());
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subset(ready: usize, others: usize) -> EndpointSubset {
        let list = |count: usize| (count > 0).then(|| vec![EndpointAddress::default(); count]);
        EndpointSubset {
            addresses: list(ready),
            not_ready_addresses: list(others),
            ports: None,
        }
    }

    #[test]
    fn of_more_than_a_thousand_addresses_the_ready_ones_are_kept_by_share() {
        for (given, cut, expected) in [
            ([(600, 200), (100, 100)], false, [(600, 200), (100, 100)]),
            ([(600, 300), (100, 300)], true, [(600, 150), (100, 150)]),
            ([(900, 50), (300, 50)], true, [(750, 0), (250, 0)]),
        ] {
            let mut subsets = given.map(|(ready, others)| subset(ready, others));
            assert_eq!(truncate(&mut subsets), cut);
            let kept = subsets.map(|subset| {
                let count = |list: Option<Vec<EndpointAddress>>| list.map_or(0, |list| list.len());
                (count(subset.addresses), count(subset.not_ready_addresses))
            });
            assert_eq!(kept, expected);
        }
    }
}
