//! Node ports: a number belongs to one Service for each protocol.

use serde_json::{Value, json};
use timonel_api::FieldErrorKind;
use timonel_store::Op;

use super::super::update::invalid_field;
use super::super::{Registry, Target};
use super::Allocation;
use crate::error::ApiError;

const PORTS: &str = "/registry/timonel-allocations/ports/";

/// The port is somebody else's.
pub(super) fn taken(target: &Target, port: u64) -> ApiError {
    invalid_field(
        target,
        FieldErrorKind::Invalid,
        "spec.ports[0].nodePort",
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

impl Registry {
    /// Gives a Service the node ports that it needs, and gives back those that it does not any more.
    pub(super) async fn allocate_ports(
        &self,
        target: &Target,
        new: &mut Value,
        old: Option<&Value>,
        allocation: &mut Allocation,
    ) -> Result<(), ApiError> {
        let held = old.map(of).unwrap_or_default();
        let mut free = held.clone();
        if wants(new) {
            let given = of(new);
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
