//! Decides what a Service's Endpoints should say: pods grouped by their ports, ready ones apart from others.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use timonel_client::runner::Plan;

use crate::backends::{Backend, Port};

const MANAGED_BY: (&str, &str) = ("endpoints.kubernetes.io/managed-by", "endpoint-controller");
const HEADLESS: &str = "service.kubernetes.io/headless";
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
    let subsets = subsets(service, &observed.backends);
    match &observed.endpoints {
        None => {
            let endpoints = Endpoints {
                metadata: ObjectMeta {
                    name: service.metadata.name.clone(),
                    namespace: service.metadata.namespace.clone(),
                    labels: Some(labels),
                    ..ObjectMeta::default()
                },
                subsets: (!subsets.is_empty()).then_some(subsets),
            };
            plan.act(Action::Create(Box::new(endpoints)), Because::Missing);
        }
        Some(existing) => {
            let same = existing.metadata.labels.as_ref() == Some(&labels)
                && existing.subsets.as_deref().unwrap_or_default() == subsets;
            if !same {
                let mut wanted = Endpoints::clone(existing);
                wanted.metadata.labels = Some(labels);
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
    for backend in backends
        .iter()
        .filter(|backend| !backend.terminating || backend.ready)
        .take(MOST)
    {
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
