//! Cluster addresses and node ports of Services.
//!
//! An allocation is a key of its own in the store, written and deleted in the same transaction as its Service. So two
//! Services can never hold one address, however many servers there are, and nothing needs repair after a crash.

use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use ipnet::Ipv4Net;
use serde_json::{Value, json};
use timonel_api::FieldErrorKind;
use timonel_store::{Guard, Op, Range};

use super::update::invalid_field;
use super::{Registry, Target};
use crate::error::ApiError;

const ADDRESSES: &str = "/registry/timonel-allocations/addresses/";
const PORTS: &str = "/registry/timonel-allocations/ports/";

/// What a write of a Service needs besides itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Allocation {
    /// What was free when it was chosen.
    pub(super) guards: Vec<Guard>,
    /// What is taken or given back.
    pub(super) ops: Vec<Op>,
    /// The address that the client asked for.
    fixed_address: Option<String>,
    /// The ports that the client asked for.
    fixed_ports: Vec<u64>,
}

impl Allocation {
    /// When the allocation was taken meanwhile and the client insists on it, trying another is no use.
    pub(super) fn refuse_if_fixed(&self, target: &Target) -> Result<(), ApiError> {
        if let Some(address) = &self.fixed_address {
            return Err(taken_address(target, address));
        }
        match self.fixed_ports.first() {
            Some(port) => Err(taken_port(target, *port)),
            None => Ok(()),
        }
    }

    fn take(&mut self, key: String) {
        self.guards.push(Guard::Absent(key.clone()));
        self.ops.push(Op::Put(key, Bytes::new()));
    }
}

fn taken_address(target: &Target, address: &str) -> ApiError {
    invalid_field(
        target,
        FieldErrorKind::Invalid,
        "spec.clusterIPs",
        json!([address]),
        &format!("failed to allocate IP {address}: provided IP is already allocated"),
    )
}

fn taken_port(target: &Target, port: u64) -> ApiError {
    invalid_field(
        target,
        FieldErrorKind::Invalid,
        "spec.ports[0].nodePort",
        json!(port),
        "provided port is already allocated",
    )
}

fn address_of(service: &Value) -> Option<&str> {
    service["spec"]["clusterIP"]
        .as_str()
        .filter(|ip| !matches!(*ip, "" | "None"))
}

/// The node ports, with protocol: 53/UDP and 53/TCP may share a number.
fn ports_of(service: &Value) -> Vec<(String, u64)> {
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let mut all: Vec<(String, u64)> = ports
        .filter_map(|port| {
            let number = port["nodePort"].as_u64().filter(|number| *number > 0)?;
            Some((port["protocol"].as_str().unwrap_or("TCP").to_owned(), number))
        })
        .collect();
    if let Some(port) = service["spec"]["healthCheckNodePort"].as_u64().filter(|port| *port > 0) {
        all.push(("TCP".to_owned(), port));
    }
    all
}

fn port_key((protocol, number): &(String, u64)) -> String {
    format!("{PORTS}{protocol}/{number}")
}

fn wants_address(service: &Value) -> bool {
    service["spec"]["type"] != "ExternalName" && service["spec"]["clusterIP"] != "None"
}

fn wants_ports(service: &Value) -> bool {
    match service["spec"]["type"].as_str() {
        Some("NodePort") => true,
        Some("LoadBalancer") => service["spec"]["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    }
}

impl Registry {
    /// Gives a Service the addresses and ports that it needs, and says what to write with it.
    pub(super) async fn allocate(
        &self,
        target: &Target,
        new: &mut Value,
        old: Option<&Value>,
    ) -> Result<Allocation, ApiError> {
        let mut allocation = Allocation::default();
        if target.slot.group_resource != "services" || target.subresource.is_some() {
            return Ok(allocation);
        }
        let spec = super::meta::static_map(new, "spec");
        if let Some(old) = old {
            // Clients that replace a Service from a manifest leave out what was allocated.
            for field in ["clusterIP", "clusterIPs"] {
                if spec.get(field).is_none_or(Value::is_null)
                    && spec.get("type") != Some(&json!("ExternalName"))
                    && let Some(value) = old["spec"].get(field)
                {
                    spec.insert(field.to_owned(), value.clone());
                }
            }
        }
        let old_address = old.and_then(address_of);
        if wants_address(new) {
            let address = match address_of(new) {
                Some(given) => {
                    if old_address != Some(given) {
                        self.check_address(target, given)?;
                        allocation.fixed_address = Some(given.to_owned());
                    }
                    given.to_owned()
                }
                None => self.free_address().await?,
            };
            if old_address != Some(address.as_str()) {
                allocation.take(format!("{ADDRESSES}{address}"));
            }
            new["spec"]["clusterIP"] = address.as_str().into();
            new["spec"]["clusterIPs"] = json!([address]);
        } else if new["spec"]["clusterIP"] == "None" {
            new["spec"]["clusterIPs"] = json!(["None"]);
        }
        if wants_address(new) || new["spec"]["clusterIP"] == "None" {
            let spec = super::meta::static_map(new, "spec");
            spec.entry("ipFamilies").or_insert_with(|| json!(["IPv4"]));
            spec.entry("ipFamilyPolicy").or_insert_with(|| json!("SingleStack"));
        }
        if let Some(address) = old_address.filter(|address| address_of(new) != Some(*address)) {
            allocation.ops.push(Op::Delete(format!("{ADDRESSES}{address}")));
        }
        self.allocate_ports(target, new, old, &mut allocation).await?;
        Ok(allocation)
    }

    async fn allocate_ports(
        &self,
        target: &Target,
        new: &mut Value,
        old: Option<&Value>,
        allocation: &mut Allocation,
    ) -> Result<(), ApiError> {
        let held = old.map(ports_of).unwrap_or_default();
        let mut free = held.clone();
        if wants_ports(new) {
            let given = ports_of(new);
            free.retain(|port| !given.contains(port));
            for port in &given {
                if !held.contains(port) {
                    let allowed = &self.config.node_ports;
                    if !allowed.contains(&u16::try_from(port.1).unwrap_or_default()) {
                        let detail = format!(
                            "provided port is not in the valid range. The range of valid ports is {}-{}",
                            allowed.start(),
                            allowed.end()
                        );
                        let path = "spec.ports[0].nodePort";
                        return Err(invalid_field(
                            target,
                            FieldErrorKind::Invalid,
                            path,
                            json!(port.1),
                            &detail,
                        ));
                    }
                    if !allocation.fixed_ports.contains(&port.1) {
                        allocation.fixed_ports.push(port.1);
                    }
                }
            }
            let mut chosen: Vec<(String, u64)> = given;
            let ports = new.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
            for port in ports.into_iter().flatten() {
                if port["nodePort"].as_u64().unwrap_or_default() > 0 {
                    continue;
                }
                let protocol = port["protocol"].as_str().unwrap_or("TCP").to_owned();
                let reused = free
                    .iter()
                    .position(|(p, _)| *p == protocol)
                    .map(|at| free.remove(at).1);
                let number = match reused {
                    Some(number) => number,
                    None => self.free_port(&protocol, &chosen).await?,
                };
                chosen.push((protocol, number));
                port["nodePort"] = number.into();
            }
        } else {
            let ports = new.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
            for port in ports.into_iter().flatten() {
                if let Some(port) = port.as_object_mut() {
                    port.remove("nodePort");
                }
            }
        }
        let now = ports_of(new);
        for port in now.iter().filter(|port| !held.contains(port)) {
            allocation.take(port_key(port));
        }
        for port in held.iter().filter(|port| !now.contains(port)) {
            allocation.ops.push(Op::Delete(port_key(port)));
        }
        Ok(())
    }

    /// What a deleted Service gives back.
    pub(super) fn release(&self, target: &Target, old: &Value) -> Vec<Op> {
        if target.slot.group_resource != "services" {
            return Vec::new();
        }
        let address = address_of(old).map(|address| format!("{ADDRESSES}{address}"));
        let ports = ports_of(old).into_iter().map(|port| port_key(&port));
        address.into_iter().chain(ports).map(Op::Delete).collect()
    }

    fn check_address(&self, target: &Target, address: &str) -> Result<(), ApiError> {
        let range = self.config.service_range;
        let inside = matches!(address.parse(), Ok(IpAddr::V4(ip)) if usable(range).contains(&u32::from(ip)));
        if inside {
            return Ok(());
        }
        let detail = format!(
            "failed to allocate IP {address}: the provided IP ({address}) is not in the valid range. The range of valid IPs is {range}"
        );
        Err(invalid_field(
            target,
            FieldErrorKind::Invalid,
            "spec.clusterIPs",
            json!([address]),
            &detail,
        ))
    }

    /// Picks a free address: at random, and by search when the range is nearly full.
    async fn free_address(&self) -> Result<String, ApiError> {
        let usable = usable(self.config.service_range);
        let count = u64::from(usable.end() - usable.start()) + 1;
        let at = |offset: u64| {
            let offset = u32::try_from(offset % count).unwrap_or_default();
            Ipv4Addr::from(usable.start() + offset).to_string()
        };
        // The lower band is left to those who ask for an address of their own, as upstream (KEP-3070).
        let band = (count / 16).clamp(16, 256).min(count / 2);
        let start = band + self.rng.next_u64() % (count - band);
        let taken = self.taken(ADDRESSES).await?;
        (0..count)
            .map(|step| at(start + step))
            .find(|address| !taken.contains(address))
            .ok_or_else(|| ApiError::internal("failed to allocate a serviceIP: range is full"))
    }

    async fn free_port(&self, protocol: &str, chosen: &[(String, u64)]) -> Result<u64, ApiError> {
        let range = &self.config.node_ports;
        let count = u64::from(range.end() - range.start()) + 1;
        let start = self.rng.next_u64() % count;
        let taken = self.taken(&format!("{PORTS}{protocol}/")).await?;
        (0..count)
            .map(|step| u64::from(*range.start()) + (start + step) % count)
            .find(|port| {
                !taken.contains(&port.to_string()) && !chosen.iter().any(|(p, number)| p == protocol && number == port)
            })
            .ok_or_else(|| ApiError::internal("failed to allocate a nodePort: range is full"))
    }

    async fn taken(&self, prefix: &str) -> Result<std::collections::BTreeSet<String>, ApiError> {
        let range = Range {
            prefix: prefix.to_owned(),
            ..Range::default()
        };
        let page = self.caches.store().range(range).await?;
        Ok(page
            .entries
            .iter()
            .map(|entry| entry.key[prefix.len()..].to_owned())
            .collect())
    }
}

/// The addresses of a range without network and broadcast address.
fn usable(range: Ipv4Net) -> std::ops::RangeInclusive<u32> {
    u32::from(range.network()) + 1..=u32::from(range.broadcast()).saturating_sub(1)
}
