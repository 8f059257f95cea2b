//! Decides which slices a Service should have: one per address family and set of ports, at most 100 endpoints each.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{
    Endpoint, EndpointConditions, EndpointHints, EndpointPort, EndpointSlice, ForNode, ForZone,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use timonel_client::runner::Plan;

use crate::backends::{Backend, Port};
use crate::owner;

pub(super) const SERVICE_LABEL: &str = "kubernetes.io/service-name";
const MANAGED_BY: (&str, &str) = (
    "endpointslice.kubernetes.io/managed-by",
    "endpointslice-controller.k8s.io",
);
const HEADLESS: &str = "service.kubernetes.io/headless";
/// Upstream's default of `--max-endpoints-per-slice`.
const PER_SLICE: usize = 100;

/// A Service that selects pods, those pods, and the slices that it has.
#[derive(Clone, Debug)]
pub(crate) struct Observed {
    pub(crate) service: Arc<Service>,
    pub(crate) backends: Vec<Backend>,
    pub(crate) slices: Vec<Arc<EndpointSlice>>,
    /// Zones of the nodes concerned.
    pub(crate) zones: BTreeMap<String, String>,
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
}

/// Tells whether a slice is this controller's.
pub(crate) fn is_ours(slice: &EndpointSlice) -> bool {
    let labels = slice.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(MANAGED_BY.0)).map(String::as_str) == Some(MANAGED_BY.1)
}

/// Decides.
pub(crate) fn plan(observed: &Observed) -> Plan<Action, Because> {
    let mut plan = Plan::nothing();
    if observed.service.metadata.deletion_timestamp.is_some() {
        return plan;
    }
    let spec = observed.service.spec.as_ref();
    let families = spec
        .and_then(|spec| spec.ip_families.clone())
        .filter(|families| !families.is_empty());
    let families = families.unwrap_or_else(|| vec!["IPv4".into()]);
    let mut left: Vec<&Arc<EndpointSlice>> = observed
        .slices
        .iter()
        .filter(|slice| slice.metadata.deletion_timestamp.is_none())
        .collect();
    for family in &families {
        let mut groups: BTreeMap<Vec<Port>, Vec<Endpoint>> = BTreeMap::new();
        for backend in &observed.backends {
            if let Some(address) = backend.address(family) {
                groups
                    .entry(backend.ports.clone())
                    .or_default()
                    .push(endpoint(observed, backend, address));
            }
        }
        if groups.is_empty() {
            // An empty slice says that there is nobody, which is not the same as not knowing.
            groups.insert(Vec::new(), Vec::new());
        }
        for (ports, endpoints) in groups {
            let ports = render(&ports);
            let mut chunks: Vec<&[Endpoint]> = endpoints.chunks(PER_SLICE).collect();
            if chunks.is_empty() {
                chunks.push(&[]);
            }
            for chunk in chunks {
                let fits = |slice: &&Arc<EndpointSlice>| {
                    slice.address_type == *family && slice.ports.clone().unwrap_or_default() == ports
                };
                let wanted = |existing: Option<&EndpointSlice>| slice(observed, family, &ports, chunk, existing);
                match left.iter().position(fits) {
                    Some(at) => {
                        let existing = left.remove(at);
                        let wanted = wanted(Some(existing));
                        if wanted != **existing {
                            let slice = owner::name(&existing.metadata).to_owned();
                            plan.act(Action::Replace(Box::new(wanted)), Because::Differs { slice });
                        }
                    }
                    None => plan.act(Action::Create(Box::new(wanted(None))), Because::Missing),
                }
            }
        }
    }
    for slice in left {
        let name = owner::name(&slice.metadata).to_owned();
        plan.act(Action::Delete(Arc::clone(slice)), Because::Surplus { slice: name });
    }
    plan
}

fn render(ports: &[Port]) -> Vec<EndpointPort> {
    let port = |port: &Port| EndpointPort {
        name: Some(port.name.clone()),
        port: Some(port.port),
        protocol: Some(port.protocol.clone()),
        app_protocol: port.app_protocol.clone(),
    };
    ports.iter().map(port).collect()
}

fn endpoint(observed: &Observed, backend: &Backend, address: String) -> Endpoint {
    let node_name = backend.node();
    let zone = node_name.as_ref().and_then(|name| observed.zones.get(name)).cloned();
    Endpoint {
        hints: hints(&observed.service, backend.ready, zone.as_ref(), node_name.as_ref()),
        addresses: vec![address],
        conditions: Some(EndpointConditions {
            ready: Some(backend.ready),
            serving: Some(backend.serving),
            terminating: Some(backend.terminating),
        }),
        hostname: backend.hostname(&observed.service),
        target_ref: Some(backend.reference()),
        zone,
        node_name,
        ..Endpoint::default()
    }
}

/// Says for whom an endpoint is, where the Service wants its traffic to stay near.
fn hints(service: &Service, ready: bool, zone: Option<&String>, node: Option<&String>) -> Option<EndpointHints> {
    let wanted = service.spec.as_ref()?.traffic_distribution.as_deref()?;
    let same_node = match wanted {
        "PreferClose" | "PreferSameZone" => false,
        "PreferSameNode" => true,
        _ => return None,
    };
    let node = node.filter(|_| same_node);
    (ready && (zone.is_some() || node.is_some())).then(|| EndpointHints {
        for_zones: zone.map(|name| vec![ForZone { name: name.clone() }]),
        for_nodes: node.map(|name| vec![ForNode { name: name.clone() }]),
    })
}

fn slice(
    observed: &Observed,
    family: &str,
    ports: &[EndpointPort],
    endpoints: &[Endpoint],
    existing: Option<&EndpointSlice>,
) -> EndpointSlice {
    let service = &*observed.service;
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_LABEL.into(), owner::name(&service.metadata).into());
    labels.insert(MANAGED_BY.0.into(), MANAGED_BY.1.into());
    if service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None") {
        labels.insert(HEADLESS.into(), String::new());
    }
    let mut metadata = match existing {
        Some(existing) => existing.metadata.clone(),
        None => ObjectMeta {
            generate_name: Some(format!("{}-", owner::name(&service.metadata))),
            namespace: service.metadata.namespace.clone(),
            owner_references: Some(vec![owner::controller_reference(service)]),
            ..ObjectMeta::default()
        },
    };
    metadata.labels = Some(labels);
    EndpointSlice {
        metadata,
        address_type: family.to_owned(),
        // Lists keep the shape in which the server stored them, so that equal stays equal.
        ports: match existing.map(|existing| &existing.ports) {
            Some(None) if ports.is_empty() => None,
            _ => Some(ports.to_vec()),
        },
        endpoints: match existing.map(|existing| &existing.endpoints) {
            Some(None) if endpoints.is_empty() => None,
            _ => Some(endpoints.to_vec()),
        },
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use timonel_client::law::settles;

    use super::*;
    use crate::backends;

    fn observed(pods: usize) -> Observed {
        let service: Service = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "demo", "uid": "s"},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": "http"}]},
        }))
        .unwrap();
        let pod = |at: usize| {
            let pod = json!({
                "metadata": {"name": format!("web-{at:03}"), "namespace": "demo", "labels": {"app": "web"}},
                "spec": {"nodeName": "n1", "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]},
                "status": {"phase": "Running", "podIP": format!("10.0.{}.{}", at / 250, at % 250),
                    "conditions": [{"type": "Ready", "status": "True"}]},
            });
            Arc::new(serde_json::from_value(pod).unwrap())
        };
        let pods: Vec<_> = (0..pods).map(pod).collect();
        Observed {
            backends: backends::of(&service, &pods),
            service: Arc::new(service),
            slices: Vec::new(),
            zones: BTreeMap::new(),
        }
    }

    fn apply(seen: &mut Observed, action: &Action) {
        match action {
            Action::Create(slice) => {
                let mut slice = EndpointSlice::clone(slice);
                let last = seen
                    .slices
                    .iter()
                    .map(|slice| slice.metadata.name.clone().unwrap().len())
                    .max();
                slice.metadata.name = Some("x".repeat(last.unwrap_or(0) + 1));
                seen.slices.push(Arc::new(slice));
            }
            Action::Replace(new) => {
                for slice in &mut seen.slices {
                    if slice.metadata.name == new.metadata.name {
                        *slice = Arc::new(EndpointSlice::clone(new));
                    }
                }
            }
            Action::Delete(gone) => seen.slices.retain(|slice| slice.metadata.name != gone.metadata.name),
        }
    }

    #[test]
    fn slices_follow_the_pods_and_settle() {
        let mut seen = observed(0);
        for (pods, slices) in [(0, 1), (3, 1), (150, 2), (20, 1), (0, 1)] {
            seen.backends = observed(pods).backends;
            settles(&mut seen, |seen| plan(seen).actions, apply).unwrap();
            assert_eq!(seen.slices.len(), slices, "{pods} pods");
            let total: usize = seen
                .slices
                .iter()
                .map(|slice| slice.endpoints.as_ref().map_or(0, Vec::len))
                .sum();
            assert_eq!(total, pods);
        }
    }

    #[test]
    fn traffic_that_is_to_stay_near_gets_hints() {
        for (wanted, zones, nodes) in [
            (None, false, false),
            (Some("PreferClose"), true, false),
            (Some("PreferSameZone"), true, false),
            (Some("PreferSameNode"), true, true),
        ] {
            let mut seen = observed(1);
            seen.zones.insert("n1".into(), "z1".into());
            let spec = Arc::make_mut(&mut seen.service).spec.get_or_insert_default();
            spec.traffic_distribution = wanted.map(str::to_owned);
            settles(&mut seen, |seen| plan(seen).actions, apply).unwrap();
            let hints = seen.slices[0].endpoints.as_ref().unwrap()[0]
                .hints
                .clone()
                .unwrap_or_default();
            let zone = hints.for_zones.iter().flatten().any(|zone| zone.name == "z1");
            let node = hints.for_nodes.iter().flatten().any(|node| node.name == "n1");
            assert_eq!((zone, node), (zones, nodes), "{wanted:?}");
        }
    }

    #[test]
    fn a_pod_that_is_published_before_it_is_ready_is_ready_but_does_not_serve() {
        let mut seen = observed(1);
        let spec = Arc::make_mut(&mut seen.service).spec.get_or_insert_default();
        spec.publish_not_ready_addresses = Some(true);
        let mut pod = Arc::clone(&seen.backends[0].pod);
        Arc::make_mut(&mut pod).status.get_or_insert_default().conditions = None;
        seen.backends = backends::of(&seen.service, &[pod]);
        settles(&mut seen, |seen| plan(seen).actions, apply).unwrap();
        let conditions = seen.slices[0].endpoints.as_ref().unwrap()[0]
            .conditions
            .clone()
            .unwrap();
        assert_eq!((conditions.ready, conditions.serving), (Some(true), Some(false)));
    }

    #[test]
    fn a_named_port_is_looked_up_in_the_pod() {
        let plan = plan(&observed(1));
        let [Action::Create(slice)] = &plan.actions[..] else {
            panic!("{plan:?}")
        };
        assert_eq!(slice.ports.as_ref().unwrap()[0].port, Some(8080));
    }
}
