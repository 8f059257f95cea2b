//! Node ports: a number belongs to one Service for each protocol.

use serde_json::{Value, json};
use timonel_api::FieldErrorKind;
use timonel_store::Op;

use super::super::update::invalid_field;
use super::super::{Registry, Target};
use super::Allocation;
use crate::error::ApiError;
use crate::resources::needs_health_check;

const PORTS: &str = "/registry/timonel-allocations/ports/";

/// The port is somebody else's.
pub(super) fn taken(target: &Target, path: &str, port: u64) -> ApiError {
    invalid_field(
        target,
        FieldErrorKind::Invalid,
        path,
        json!(port),
        "provided port is already allocated",
    )
}

/// The node ports, with protocol: 53/UDP and 53/TCP may share a number.
pub(super) fn of(service: &Value) -> Vec<(String, u64)> {
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

pub(super) fn key((protocol, number): &(String, u64)) -> String {
    format!("{PORTS}{protocol}/{number}")
}

/// Whether a key stands for this number, under any protocol.
pub(super) fn is_key_of(key: &str, number: u64) -> bool {
    key.strip_prefix(PORTS)
        .and_then(|rest| rest.split_once('/'))
        .is_some_and(|(_, rest)| rest == number.to_string())
}

fn wants(service: &Value) -> bool {
    match service["spec"]["type"].as_str() {
        Some("NodePort") => true,
        Some("LoadBalancer") => service["spec"]["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    }
}

/// The path of the field that holds a node port.
fn path_of(service: &Value, port: &(String, u64)) -> String {
    let ports = service["spec"]["ports"].as_array().into_iter().flatten();
    let mut numbers = ports.map(|other| other["nodePort"].as_u64());
    let index = numbers.position(|number| number == Some(port.1));
    index.map_or_else(
        || "spec.healthCheckNodePort".to_owned(),
        |index| format!("spec.ports[{index}].nodePort"),
    )
}

impl Registry {
    /// Gives a Service the node ports that it needs, and gives back those that it does not any more.
    ///
    /// Ports that a Service has no use for are left for validation to refuse.
    pub(super) async fn allocate_ports(
        &self,
        target: &Target,
        new: &mut Value,
        old: Option<&Value>,
        allocation: &mut Allocation,
    ) -> Result<(), ApiError> {
        let held = old.map(of).unwrap_or_default();
        let mut chosen = of(new);
        for port in chosen.iter().filter(|port| !held.contains(port)) {
            let path = path_of(new, port);
            let allowed = &self.config.node_ports;
            if !allowed.contains(&u16::try_from(port.1).unwrap_or_default()) {
                let detail = format!(
                    "provided port is not in the valid range. The range of valid ports is {}-{}",
                    allowed.start(),
                    allowed.end()
                );
                let kind = FieldErrorKind::Invalid;
                return Err(invalid_field(target, kind, &path, json!(port.1), &detail));
            }
            allocation.fixed_ports.push((path, port.1));
        }
        if wants(new) {
            let ports = new.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
            for port in ports.into_iter().flatten() {
                if port["nodePort"].as_u64().unwrap_or_default() > 0 {
                    continue;
                }
                let protocol = port["protocol"].as_str().unwrap_or("TCP").to_owned();
                let number = self.free_port(&protocol, &chosen).await?;
                chosen.push((protocol, number));
                port["nodePort"] = number.into();
            }
        }
        if needs_health_check(&new["spec"]) && new["spec"]["healthCheckNodePort"].as_u64().unwrap_or_default() == 0 {
            new["spec"]["healthCheckNodePort"] = self.free_port("TCP", &chosen).await?.into();
        }
        let now = of(new);
        for port in now.iter().filter(|port| !held.contains(port)) {
            allocation.take(key(port));
        }
        for port in held.iter().filter(|port| !now.contains(port)) {
            allocation.ops.push(Op::Delete(key(port)));
        }
        Ok(())
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
}
