//! Decides which packets go where. Pure: the same observation gives the same rules.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::str::FromStr;

use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::network::{internal_ip, pod_cidr};
use crate::observe::Observed;

/// A transport protocol, as nftables spells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    fn of(name: Option<&str>) -> Option<Self> {
        match name.unwrap_or("TCP") {
            "TCP" => Some(Self::Tcp),
            "UDP" => Some(Self::Udp),
            "SCTP" => Some(Self::Sctp),
            _ => None,
        }
    }

    /// Returns the name that nftables uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// Where a client knocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Front {
    /// The service's address.
    pub ip: Ipv4Addr,
    /// The protocol.
    pub protocol: Protocol,
    /// The service's port.
    pub port: u16,
}

/// A port that every node listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeFront {
    /// The protocol.
    pub protocol: Protocol,
    /// The node port.
    pub port: u16,
}

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Backend {
    /// The endpoint's address.
    pub ip: Ipv4Addr,
    /// The endpoint's port.
    pub port: u16,
}

/// How one of a front's endpoints is picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pick {
    /// Out of how many.
    pub among: u32,
    /// The same client gets the same endpoint (`sessionAffinity: ClientIP`).
    ///
    /// Differs from upstream: the choice is a hash of the client's address, not a memory of 3 hours, so it lasts for as
    /// long as the endpoints stay the same and moves when they change.
    pub sticky: bool,
    /// The client's address is replaced by the node's, because the answer must come back this way.
    pub masquerade: bool,
}

/// What happens to packets for a port without a usable endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unserved {
    /// No endpoint anywhere: the client is told at once.
    Reject,
    /// Endpoints elsewhere, but the traffic policy is `Local`.
    Drop,
}

/// Every rule of the node, as data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleSet {
    /// Service ports that have endpoints.
    pub services: BTreeMap<Front, Pick>,
    /// The endpoints of service ports, numbered from 0.
    pub endpoints: BTreeMap<(Front, u32), Backend>,
    /// Node ports that have endpoints.
    pub node_ports: BTreeMap<NodeFront, Pick>,
    /// The endpoints of node ports, numbered from 0.
    pub node_endpoints: BTreeMap<(NodeFront, u32), Backend>,
    /// Service ports that have none.
    pub unserved: BTreeMap<Front, Unserved>,
    /// Node ports that have none.
    pub unserved_node_ports: BTreeMap<NodeFront, Unserved>,
    /// The addresses of services: whatever is sent to another of their ports is refused.
    pub cluster_ips: BTreeSet<Ipv4Addr>,
    /// Endpoints on this node; one that reaches itself through a service needs its address replaced.
    pub hairpins: BTreeSet<Ipv4Addr>,
    /// The pods of this node: their packets leave the cluster with the node's address.
    pub own_pods: BTreeSet<Ipv4Net>,
    /// What counts as the cluster: pods and nodes.
    pub cluster: BTreeSet<Ipv4Net>,
}

/// Computes the rules.
pub fn plan(observed: &Observed) -> RuleSet {
    let mut rules = RuleSet::default();
    let slices = by_service(&observed.slices);
    for service in &observed.services {
        let key = (namespace(service), service.metadata.name.as_deref().unwrap_or(""));
        let own = slices.get(&key).map_or(&[][..], Vec::as_slice);
        plan_service(&mut rules, observed, service, own);
    }
    for node in &observed.nodes {
        let pods = pod_cidr(node);
        rules.cluster.extend(pods);
        rules.cluster.extend(internal_ip(node).map(Ipv4Net::from));
        if node.metadata.name.as_deref() == Some(&observed.node_name) {
            rules.own_pods.extend(pods);
        }
    }
    rules
}

fn namespace(service: &Service) -> &str {
    service.metadata.namespace.as_deref().unwrap_or("")
}

type Slices<'a> = BTreeMap<(&'a str, &'a str), Vec<&'a EndpointSlice>>;

fn by_service(slices: &[std::sync::Arc<EndpointSlice>]) -> Slices<'_> {
    let mut found = Slices::new();
    for slice in slices.iter().filter(|slice| slice.address_type == "IPv4") {
        let service = slice
            .metadata
            .labels
            .as_ref()
            .and_then(|l| l.get("kubernetes.io/service-name"));
        if let (Some(service), Some(namespace)) = (service, slice.metadata.namespace.as_deref()) {
            found.entry((namespace, service)).or_default().push(slice);
        }
    }
    found
}

/// Says whether this proxy is not meant for the service.
fn is_foreign(service: &Service) -> bool {
    let labels = service.metadata.labels.as_ref();
    labels.is_some_and(|l| l.contains_key("service.kubernetes.io/service-proxy-name"))
        || service
            .spec
            .as_ref()
            .is_none_or(|spec| spec.type_.as_deref() == Some("ExternalName"))
}

fn plan_service(rules: &mut RuleSet, observed: &Observed, service: &Service, slices: &[&EndpointSlice]) {
    let Some(spec) = service.spec.as_ref().filter(|_| !is_foreign(service)) else {
        return;
    };
    let Some(cluster_ip) = spec.cluster_ip.as_deref().and_then(|ip| Ipv4Addr::from_str(ip).ok()) else {
        return;
    };
    if observed.served_here.contains(&cluster_ip) {
        return;
    }
    rules.cluster_ips.insert(cluster_ip);
    let sticky = spec.session_affinity.as_deref() == Some("ClientIP");
    let within_node = spec.internal_traffic_policy.as_deref() == Some("Local");
    let from_outside_local = spec.external_traffic_policy.as_deref() == Some("Local");
    let outside: BTreeSet<Ipv4Addr> = outside_addresses(service)
        .difference(&observed.served_here)
        .copied()
        .collect();

    for port in spec.ports.iter().flatten() {
        let Some(protocol) = Protocol::of(port.protocol.as_deref()) else {
            continue;
        };
        let Ok(number) = u16::try_from(port.port) else { continue };
        let all = backends(slices, port, protocol, None);
        let local = backends(slices, port, protocol, Some(&observed.node_name));
        rules.hairpins.extend(local.iter().map(|backend| backend.ip));

        let front = Front {
            ip: cluster_ip,
            protocol,
            port: number,
        };
        let chosen = if within_node { &local } else { &all };
        serve(
            rules,
            front,
            chosen,
            all.is_empty(),
            Pick {
                among: 0,
                sticky,
                masquerade: false,
            },
        );

        let (chosen, masquerade) = if from_outside_local {
            (&local, false)
        } else {
            (&all, true)
        };
        for &ip in &outside {
            let front = Front {
                ip,
                protocol,
                port: number,
            };
            serve(
                rules,
                front,
                chosen,
                all.is_empty(),
                Pick {
                    among: 0,
                    sticky,
                    masquerade,
                },
            );
        }
        if let Some(node_port) = port.node_port.and_then(|p| u16::try_from(p).ok()).filter(|&p| p > 0) {
            let front = NodeFront {
                protocol,
                port: node_port,
            };
            let among = count(chosen);
            if among == 0 {
                rules.unserved_node_ports.insert(front, unserved(all.is_empty()));
            } else {
                rules.node_ports.insert(
                    front,
                    Pick {
                        among,
                        sticky,
                        masquerade,
                    },
                );
                rules
                    .node_endpoints
                    .extend((0..among).zip(chosen).map(|(at, &backend)| ((front, at), backend)));
            }
        }
    }
}

fn serve(rules: &mut RuleSet, front: Front, chosen: &BTreeSet<Backend>, none_anywhere: bool, pick: Pick) {
    let among = count(chosen);
    if among == 0 {
        rules.unserved.insert(front, unserved(none_anywhere));
    } else {
        rules.services.insert(front, Pick { among, ..pick });
        rules
            .endpoints
            .extend((0..among).zip(chosen).map(|(at, &backend)| ((front, at), backend)));
    }
}

fn count(backends: &BTreeSet<Backend>) -> u32 {
    u32::try_from(backends.len()).unwrap_or(u32::MAX)
}

fn unserved(none_anywhere: bool) -> Unserved {
    if none_anywhere {
        Unserved::Reject
    } else {
        Unserved::Drop
    }
}

/// Returns the addresses besides the cluster's own: external ones and those of load balancers.
fn outside_addresses(service: &Service) -> BTreeSet<Ipv4Addr> {
    let external = service
        .spec
        .iter()
        .flat_map(|spec| spec.external_ips.iter().flatten().map(String::as_str));
    let balancers = service
        .status
        .iter()
        .flat_map(|status| status.load_balancer.iter())
        .flat_map(|balancer| balancer.ingress.iter().flatten())
        .filter(|ingress| ingress.ip_mode.as_deref() != Some("Proxy"))
        .filter_map(|ingress| ingress.ip.as_deref());
    external.chain(balancers).filter_map(|ip| ip.parse().ok()).collect()
}

/// Gathers the endpoints that may get traffic: the ready ones, or, where none is, those that still serve while they end.
fn backends(
    slices: &[&EndpointSlice],
    port: &ServicePort,
    protocol: Protocol,
    node: Option<&str>,
) -> BTreeSet<Backend> {
    let gather = |wanted: fn(&Endpoint) -> bool| -> BTreeSet<Backend> {
        let mut found = BTreeSet::new();
        for slice in slices {
            let name = port.name.as_deref().unwrap_or("");
            let number = slice.ports.iter().flatten().find_map(|p| {
                let same =
                    p.name.as_deref().unwrap_or("") == name && Protocol::of(p.protocol.as_deref()) == Some(protocol);
                if same { p.port.or_else(|| fallback(port)) } else { None }
            });
            let Some(number) = number.and_then(|n| u16::try_from(n).ok()) else {
                continue;
            };
            for endpoint in slice.endpoints.iter().flatten() {
                let here = node.is_none_or(|node| endpoint.node_name.as_deref() == Some(node));
                if here && wanted(endpoint) {
                    let ips = endpoint.addresses.iter().take(1).filter_map(|a| a.parse().ok());
                    found.extend(ips.map(|ip| Backend { ip, port: number }));
                }
            }
        }
        found
    };
    let ready = gather(is_ready);
    if ready.is_empty() {
        gather(is_serving_its_end)
    } else {
        ready
    }
}

/// A slice's port without a number means every port; the service's own number is then meant.
fn fallback(port: &ServicePort) -> Option<i32> {
    match &port.target_port {
        Some(IntOrString::Int(number)) => Some(*number),
        _ => Some(port.port),
    }
}

fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|c| c.ready).unwrap_or(true)
}

/// KEP-1669: traffic goes on to terminating endpoints where there is nobody else.
fn is_serving_its_end(endpoint: &Endpoint) -> bool {
    endpoint
        .conditions
        .as_ref()
        .is_some_and(|c| c.serving.unwrap_or(false) && c.terminating.unwrap_or(false))
}
