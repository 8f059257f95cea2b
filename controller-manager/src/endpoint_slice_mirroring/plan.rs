//! Decides which slices mirror an Endpoints object: one per address family and set of ports.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort as OldPort, EndpointSubset, Endpoints, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort, EndpointSlice};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use timonel_api::ObjectKey;
use timonel_client::runner::Plan;

use crate::owner;

const SERVICE_LABEL: &str = "kubernetes.io/service-name";
const MANAGED_BY: (&str, &str) = (
    "endpointslice.kubernetes.io/managed-by",
    "endpointslicemirroring-controller.k8s.io",
);
const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";
/// Annotations that are about the Endpoints object itself.
const NOT_COPIED: [&str; 2] = [
    "endpoints.kubernetes.io/last-change-trigger-time",
    "kubectl.kubernetes.io/last-applied-configuration",
];
/// Upstream's default of `--mirroring-max-endpoints-per-subset`.
pub(crate) const MOST: usize = 1000;

/// An Endpoints object, the Service of its name, and the slices that mirror it.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) endpoints: Option<Arc<Endpoints>>,
    pub(crate) service: Option<Arc<Service>>,
    pub(crate) slices: Vec<Arc<EndpointSlice>>,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Action {
    Create(Box<EndpointSlice>),
    Replace(Box<EndpointSlice>),
    Delete(Arc<EndpointSlice>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    Missing,
    Differs { slice: String },
    Surplus { slice: String },
    NotToBeMirrored { slice: String },
}

/// How many addresses are not mirrored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Skipped {
    pub(crate) invalid: usize,
    pub(crate) too_many: usize,
}

/// Tells whether a slice is a mirror.
pub(crate) fn is_ours(slice: &EndpointSlice) -> bool {
    let labels = slice.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(MANAGED_BY.0)).map(String::as_str) == Some(MANAGED_BY.1)
}

/// Returns the key of the Endpoints that a slice mirrors, which is its Service's too.
pub(crate) fn service_of(slice: &EndpointSlice) -> Option<ObjectKey> {
    let name = slice.metadata.labels.as_ref()?.get(SERVICE_LABEL)?;
    Some(ObjectKey::new(owner::namespace(&slice.metadata), name))
}

/// Returns the Endpoints if they are to be mirrored: kept by people, for a Service without a selector, and not declared otherwise.
fn mirrored(observed: &Observed) -> Option<&Endpoints> {
    let endpoints = observed.endpoints.as_deref()?;
    let labels = endpoints.metadata.labels.as_ref();
    let skips = labels
        .and_then(|labels| labels.get(SKIP))
        .is_some_and(|value| value == "true");
    let annotations = endpoints.metadata.annotations.as_ref();
    let leads = annotations.is_some_and(|annotations| annotations.contains_key(LEADER));
    let spec = observed.service.as_ref()?.spec.as_ref();
    let selects = spec.is_some_and(|spec| spec.selector.is_some());
    (!skips && !leads && !selects).then_some(endpoints)
}

/// Decides.
pub(crate) fn plan(observed: &Observed) -> Plan<Action, Because> {
    let mut plan = Plan::nothing();
    let mut left: Vec<&Arc<EndpointSlice>> = observed.slices.iter().collect();
    let Some(endpoints) = mirrored(observed) else {
        for slice in left {
            let name = owner::name(&slice.metadata).to_owned();
            plan.act(
                Action::Delete(Arc::clone(slice)),
                Because::NotToBeMirrored { slice: name },
            );
        }
        return plan;
    };
    let mut missing = Vec::new();
    for ((family, ports), members) in groups(endpoints) {
        let ports: Vec<EndpointPort> = ports.iter().map(|port| port.render()).collect();
        let fits = |slice: &&Arc<EndpointSlice>| {
            slice.address_type == family && slice.ports.clone().unwrap_or_default() == ports
        };
        let wanted = render(endpoints, family, ports.clone(), members);
        match left.iter().position(fits) {
            Some(at) => correct(&mut plan, left.remove(at), wanted),
            None => missing.push(wanted),
        }
    }
    // A slice that is not needed any more is better used for one that is missing than deleted: proxies see no gap.
    for wanted in missing {
        match left.iter().position(|slice| slice.address_type == wanted.address_type) {
            Some(at) => correct(&mut plan, left.remove(at), wanted),
            None if endpoints.metadata.deletion_timestamp.is_none() => {
                plan.act(Action::Create(Box::new(wanted)), Because::Missing);
            }
            None => {}
        }
    }
    for slice in left {
        let name = owner::name(&slice.metadata).to_owned();
        plan.act(Action::Delete(Arc::clone(slice)), Because::Surplus { slice: name });
    }
    plan
}

/// Makes an existing slice what it should be.
fn correct(plan: &mut Plan<Action, Because>, existing: &EndpointSlice, wanted: EndpointSlice) {
    let mut next = existing.clone();
    next.metadata.labels = wanted.metadata.labels;
    next.metadata.annotations = wanted.metadata.annotations.filter(|map| !map.is_empty());
    next.metadata.owner_references = wanted.metadata.owner_references;
    let differs = existing.ports.clone().unwrap_or_default() != wanted.ports.clone().unwrap_or_default();
    if differs {
        next.ports = wanted.ports;
    }
    if existing.endpoints.clone().unwrap_or_default() != wanted.endpoints.clone().unwrap_or_default() {
        next.endpoints = wanted.endpoints;
    }
    if next != *existing {
        let slice = owner::name(&existing.metadata).to_owned();
        plan.act(Action::Replace(Box::new(next)), Because::Differs { slice });
    }
}

/// A port, in an order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Port(String, i32, String, Option<String>);

impl Port {
    fn of(port: &OldPort) -> Self {
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".into());
        Self(
            port.name.clone().unwrap_or_default(),
            port.port,
            protocol,
            port.app_protocol.clone(),
        )
    }

    fn render(&self) -> EndpointPort {
        EndpointPort {
            name: Some(self.0.clone()),
            port: Some(self.1),
            protocol: Some(self.2.clone()),
            app_protocol: self.3.clone(),
        }
    }
}

type Groups = BTreeMap<(&'static str, Vec<Port>), Vec<Endpoint>>;

/// The addresses of a subset, ready ones first, and whether they are.
fn addresses(subset: &EndpointSubset) -> impl Iterator<Item = (&EndpointAddress, bool)> {
    let ready = subset.addresses.iter().flatten().map(|address| (address, true));
    let others = subset
        .not_ready_addresses
        .iter()
        .flatten()
        .map(|address| (address, false));
    ready.chain(others)
}

/// Sorts the addresses into slices, as many of each subset as can be mirrored.
fn groups(endpoints: &Endpoints) -> Groups {
    let mut groups = Groups::new();
    for subset in endpoints.subsets.iter().flatten() {
        let mut ports: Vec<Port> = subset.ports.iter().flatten().map(Port::of).collect();
        ports.sort();
        let valid = addresses(subset).filter_map(|(address, ready)| Some((address.ip.parse().ok()?, address, ready)));
        for (ip, address, ready) in valid.take(MOST) {
            let ip: IpAddr = ip;
            let family = if ip.is_ipv4() { "IPv4" } else { "IPv6" };
            let members = groups.entry((family, ports.clone())).or_default();
            // Subsets with the same ports share a slice, which holds no more than any.
            if members.len() < MOST {
                members.push(endpoint(ip, address, ready));
            }
        }
    }
    groups
}

/// Counts what is not mirrored.
pub(crate) fn skipped(endpoints: &Endpoints) -> Skipped {
    let mut skipped = Skipped::default();
    for subset in endpoints.subsets.iter().flatten() {
        let all = addresses(subset).count();
        let valid = addresses(subset)
            .filter(|(address, _)| address.ip.parse::<IpAddr>().is_ok())
            .count();
        skipped.invalid += all - valid;
        skipped.too_many += valid.saturating_sub(MOST);
    }
    skipped
}

fn endpoint(ip: IpAddr, address: &EndpointAddress, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![ip.to_string()],
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            ..EndpointConditions::default()
        }),
        hostname: address.hostname.clone().filter(|name| !name.is_empty()),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}

fn render(endpoints: &Endpoints, family: &str, ports: Vec<EndpointPort>, members: Vec<Endpoint>) -> EndpointSlice {
    let name = owner::name(&endpoints.metadata);
    let mut labels = endpoints.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_LABEL.into(), name.into());
    labels.insert(MANAGED_BY.0.into(), MANAGED_BY.1.into());
    let mut annotations = endpoints.metadata.annotations.clone().unwrap_or_default();
    annotations.retain(|key, _| !NOT_COPIED.contains(&key.as_str()));
    EndpointSlice {
        metadata: ObjectMeta {
            generate_name: Some(format!("{name}-")),
            namespace: endpoints.metadata.namespace.clone(),
            labels: Some(labels),
            annotations: (!annotations.is_empty()).then_some(annotations),
            owner_references: Some(vec![owner::controller_reference(endpoints)]),
            ..ObjectMeta::default()
        },
        address_type: family.to_owned(),
        ports: Some(ports),
        endpoints: Some(members),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use timonel_client::law::settles;

    use super::*;

    fn observed(endpoints: Value, service: Value) -> Observed {
        Observed {
            endpoints: Some(Arc::new(serde_json::from_value(endpoints).unwrap())),
            service: Some(Arc::new(serde_json::from_value(service).unwrap())),
            slices: Vec::new(),
        }
    }

    fn apply(seen: &mut Observed, action: &Action) {
        match action {
            Action::Create(slice) => {
                let mut slice = EndpointSlice::clone(slice);
                slice.metadata.name = Some(format!("s{}", seen.slices.len()));
                seen.slices.push(Arc::new(slice));
            }
            Action::Replace(new) => {
                let slices = seen.slices.iter_mut();
                for slice in slices.filter(|slice| slice.metadata.name == new.metadata.name) {
                    *slice = Arc::new(EndpointSlice::clone(new));
                }
            }
            Action::Delete(gone) => seen.slices.retain(|slice| slice.metadata.name != gone.metadata.name),
        }
    }

    fn service() -> Value {
        json!({"metadata": {"name": "db", "namespace": "demo"}, "spec": {"ports": [{"port": 5432}]}})
    }

    fn endpoints() -> Value {
        json!({
            "metadata": {"name": "db", "namespace": "demo", "uid": "e", "labels": {"tier": "data"}, "annotations": {
                "note": "kept", "kubectl.kubernetes.io/last-applied-configuration": "{}",
            }},
            "subsets": [{
                "addresses": [{"ip": "10.0.0.1", "hostname": "a"}, {"ip": "fd00::1"}, {"ip": "nonsense"}],
                "notReadyAddresses": [{"ip": "10.0.0.2"}],
                "ports": [{"name": "pg", "port": 5432, "protocol": "TCP"}],
            }],
        })
    }

    /// A line per slice: family, ports, addresses with a `!` where not ready.
    fn told(seen: &Observed) -> Vec<String> {
        let slice = |slice: &Arc<EndpointSlice>| {
            let ports = slice
                .ports
                .iter()
                .flatten()
                .map(|port| port.port.unwrap_or(0).to_string());
            let members = slice.endpoints.iter().flatten().map(|endpoint| {
                let ready = endpoint.conditions.as_ref().and_then(|conditions| conditions.ready);
                format!(
                    "{}{}",
                    endpoint.addresses[0],
                    if ready == Some(true) { "" } else { "!" }
                )
            });
            let (ports, members): (Vec<_>, Vec<_>) = (ports.collect(), members.collect());
            format!("{} {} {}", slice.address_type, ports.join(","), members.join(","))
        };
        seen.slices.iter().map(slice).collect()
    }

    #[test]
    fn each_family_has_its_slice_and_what_is_no_address_is_left_out() {
        let mut seen = observed(endpoints(), service());
        settles(&mut seen, |seen| plan(seen).actions, apply).unwrap();
        assert_eq!(told(&seen), ["IPv4 5432 10.0.0.1,10.0.0.2!", "IPv6 5432 fd00::1"]);
        let metadata = &seen.slices[0].metadata;
        assert_eq!(metadata.labels.as_ref().unwrap()["tier"], "data");
        let annotations = metadata.annotations.as_ref().unwrap();
        assert_eq!(annotations.keys().collect::<Vec<_>>(), ["note"]);
        let skipped = skipped(seen.endpoints.as_ref().unwrap());
        assert_eq!((skipped.invalid, skipped.too_many), (1, 0));
    }

    #[test]
    fn a_slice_whose_ports_change_is_used_again() {
        let mut seen = observed(endpoints(), service());
        settles(&mut seen, |seen| plan(seen).actions, apply).unwrap();
        let mut changed = endpoints();
        changed["subsets"][0]["ports"][0]["port"] = 5433.into();
        changed["subsets"][0]["addresses"] = json!([{"ip": "10.0.0.1"}]);
        seen.endpoints = observed(changed, service()).endpoints;
        settles(&mut seen, |seen| plan(seen).actions, apply).unwrap();
        assert_eq!(told(&seen), ["IPv4 5433 10.0.0.1,10.0.0.2!"]);
        assert_eq!(seen.slices[0].metadata.name.as_deref(), Some("s0"));
    }

    #[test]
    fn no_more_than_a_thousand_addresses_of_a_subset_are_mirrored() {
        let mut many = endpoints();
        let addresses = (0..1003).map(|at| json!({"ip": format!("10.1.{}.{}", at / 250, at % 250)}));
        many["subsets"][0]["addresses"] = addresses.collect();
        let mut seen = observed(many, service());
        settles(&mut seen, |seen| plan(seen).actions, apply).unwrap();
        assert_eq!(seen.slices[0].endpoints.as_ref().unwrap().len(), MOST);
        assert_eq!(skipped(seen.endpoints.as_ref().unwrap()).too_many, 4);
    }

    #[test]
    fn mirrors_go_when_they_are_not_wanted() {
        let mut mirrored = observed(endpoints(), service());
        settles(&mut mirrored, |seen| plan(seen).actions, apply).unwrap();
        let mut selecting = service();
        selecting["spec"]["selector"] = json!({"app": "db"});
        let mut skipping = endpoints();
        skipping["metadata"]["labels"][SKIP] = "true".into();
        let mut leading = endpoints();
        leading["metadata"]["annotations"][LEADER] = "{}".into();
        let none = Observed {
            endpoints: None,
            service: None,
            slices: Vec::new(),
        };
        let unwanted = [
            observed(endpoints(), selecting),
            observed(skipping, service()),
            observed(leading, service()),
            none,
        ];
        for mut seen in unwanted {
            assert!(plan(&seen).is_empty());
            seen.slices.clone_from(&mirrored.slices);
            settles(&mut seen, |seen| plan(seen).actions, apply).unwrap();
            assert!(seen.slices.is_empty());
        }
    }
}
