//! Which names there are. Pure: services and their endpoints in, records out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

/// What the planner looks at.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Every namespace; names in a namespace that is none do not exist.
    pub namespaces: Vec<Arc<Namespace>>,
    /// Every service.
    pub services: Vec<Arc<Service>>,
    /// Every endpoint slice.
    pub slices: Vec<Arc<EndpointSlice>>,
}

/// Where an SRV record leads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The full name, without the last dot.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// All records. Names are lower-case, full, and without the last dot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Zone {
    /// The cluster's domain.
    pub domain: String,
    /// Addresses.
    pub a: BTreeMap<String, BTreeSet<Ipv4Addr>>,
    /// Services.
    pub srv: BTreeMap<String, BTreeSet<Target>>,
    /// Other names.
    pub cname: BTreeMap<String, String>,
    /// Texts.
    pub txt: BTreeMap<String, String>,
    /// Names of addresses.
    pub ptr: BTreeMap<Ipv4Addr, BTreeSet<String>>,
    /// Names that exist only because names below them do.
    pub inner: BTreeSet<String>,
    /// Namespaces, below which `1-2-3-4.NAMESPACE.pod` exists.
    pub namespaces: BTreeSet<String>,
}

impl Zone {
    fn address(&mut self, name: &str, ip: Ipv4Addr) {
        self.a.entry(name.to_owned()).or_default().insert(ip);
        self.exists(name);
    }

    fn service(&mut self, port: &str, protocol: &str, below: &str, host: &str, number: i32) {
        if let (Ok(number), false) = (u16::try_from(number), port.is_empty()) {
            let name = format!("_{port}._{}.{below}", protocol.to_lowercase());
            self.srv.entry(name.clone()).or_default().insert(Target {
                host: host.to_owned(),
                port: number,
            });
            self.exists(&name);
        }
    }

    fn exists(&mut self, name: &str) {
        let mut rest = name;
        while let Some((_, above)) = rest.split_once('.') {
            if rest == self.domain || !self.inner.insert(rest.to_owned()) {
                return;
            }
            rest = above;
        }
    }
}

/// Computes the records of `domain`.
pub fn plan(observed: &Observed, domain: &str) -> Zone {
    let mut zone = Zone {
        domain: domain.to_lowercase(),
        ..Zone::default()
    };
    let version = format!("dns-version.{}", zone.domain);
    zone.txt.insert(version.clone(), "1.1.0".to_owned());
    zone.exists(&version);
    for namespace in observed.namespaces.iter().filter_map(|n| n.metadata.name.as_deref()) {
        zone.namespaces.insert(namespace.to_owned());
        for kind in ["svc", "pod"] {
            let name = format!("{namespace}.{kind}.{}", zone.domain);
            zone.exists(&name);
        }
    }
    let mut slices: BTreeMap<(&str, &str), Vec<&EndpointSlice>> = BTreeMap::new();
    for slice in observed.slices.iter().filter(|slice| slice.address_type == "IPv4") {
        let service = slice
            .metadata
            .labels
            .as_ref()
            .and_then(|l| l.get("kubernetes.io/service-name"));
        if let (Some(service), Some(namespace)) = (service, slice.metadata.namespace.as_deref()) {
            slices.entry((namespace, service)).or_default().push(slice);
        }
    }
    for service in &observed.services {
        let (Some(name), Some(namespace)) = (service.metadata.name.as_deref(), service.metadata.namespace.as_deref())
        else {
            continue;
        };
        let own = slices.get(&(namespace, name)).map_or(&[][..], Vec::as_slice);
        let full = format!("{name}.{namespace}.svc.{}", zone.domain);
        plan_service(&mut zone, service, own, &full);
    }
    zone
}

fn plan_service(zone: &mut Zone, service: &Service, slices: &[&EndpointSlice], full: &str) {
    let Some(spec) = &service.spec else { return };
    if spec.type_.as_deref() == Some("ExternalName") {
        if let Some(other) = &spec.external_name {
            zone.cname
                .insert(full.to_owned(), other.trim_end_matches('.').to_lowercase());
            zone.exists(full);
        }
        return;
    }
    if let Some(ip) = spec.cluster_ip.as_deref().and_then(|ip| ip.parse::<Ipv4Addr>().ok()) {
        zone.address(full, ip);
        zone.ptr.entry(ip).or_default().insert(full.to_owned());
        for port in spec.ports.iter().flatten() {
            let protocol = port.protocol.as_deref().unwrap_or("TCP");
            zone.service(port.name.as_deref().unwrap_or(""), protocol, full, full, port.port);
        }
        return;
    }
    let unready_too = spec.publish_not_ready_addresses.unwrap_or(false);
    for slice in slices {
        for endpoint in slice.endpoints.iter().flatten().filter(|e| unready_too || is_ready(e)) {
            for ip in endpoint.addresses.iter().filter_map(|a| a.parse::<Ipv4Addr>().ok()) {
                let label = endpoint
                    .hostname
                    .clone()
                    .unwrap_or_else(|| ip.to_string().replace('.', "-"));
                let host = format!("{}.{full}", label.to_lowercase());
                zone.address(full, ip);
                zone.address(&host, ip);
                // The specification gives a name back only for endpoints that have one of their own.
                if endpoint.hostname.is_some() {
                    zone.ptr.entry(ip).or_default().insert(host.clone());
                }
                for port in slice.ports.iter().flatten() {
                    let protocol = port.protocol.as_deref().unwrap_or("TCP");
                    let name = port.name.as_deref().unwrap_or("");
                    zone.service(name, protocol, full, &host, port.port.unwrap_or(0));
                }
            }
        }
    }
}

fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true)
}
