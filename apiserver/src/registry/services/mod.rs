//! Cluster addresses and node ports of Services.
//!
//! An allocation is a key of its own in the store, written and deleted in the same transaction as its Service. So two
//! Services can never hold one address, however many servers there are, and nothing needs repair after a crash.
//!
//! ```text
//! families.rs: which families of addresses a Service is to have
//! ServiceCIDR objects --ranges.rs--> where addresses come from
//! one transaction: the Service + the allocation's key + its IPAddress object (addresses.rs) + the node ports' keys (ports.rs)
//! in the background: keep.rs gives old Services their IPAddress objects, and lets ServiceCIDRs go that nothing is in any more
//! ```

mod addresses;
mod families;
mod keep;
mod ports;
mod ranges;

use bytes::Bytes;
use serde_json::{Value, json};
use timonel_api::FieldErrorKind;
use timonel_store::{Guard, Op, Range};

pub(crate) use keep::keep;

use super::update::invalid_field;
use super::{Registry, Target};
use crate::error::ApiError;

const ADDRESSES: &str = "/registry/timonel-allocations/addresses/";

/// What a write of a Service needs besides itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Allocation {
    /// What was free when it was chosen.
    pub(super) guards: Vec<Guard>,
    /// What is taken or given back.
    pub(super) ops: Vec<Op>,
    /// The address that the client asked for.
    fixed_address: Option<String>,
    /// The ports that the client asked for, with the places where it did.
    fixed_ports: Vec<(String, u64)>,
}

impl Allocation {
    /// When the key was taken meanwhile and the client insists on what it stands for, trying another is no use.
    pub(super) fn refuse_if_fixed(&self, target: &Target, key: &str) -> Result<(), ApiError> {
        if let Some(address) = &self.fixed_address
            && (key == address_key(address) || key.ends_with(&format!("/ipaddresses/{address}")))
        {
            return Err(taken_address(target, address));
        }
        let fixed = self.fixed_ports.iter().find(|(_, port)| ports::is_key_of(key, *port));
        fixed.map_or(Ok(()), |(path, port)| Err(ports::taken(target, path, *port)))
    }

    /// Takes a key that nobody has.
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

/// The key that holds an address.
fn address_key(address: &str) -> String {
    format!("{ADDRESSES}{address}")
}

/// The cluster address of a Service that has one.
fn address_of(service: &Value) -> Option<&str> {
    service["spec"]["clusterIP"]
        .as_str()
        .filter(|ip| !matches!(*ip, "" | "None"))
}

fn wants_address(service: &Value) -> bool {
    service["spec"]["type"] != "ExternalName" && service["spec"]["clusterIP"] != "None"
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
        families::settle(target, new, old)?;
        let old_address = old.and_then(address_of);
        let given = address_of(new).map(str::to_owned);
        // An address is given once. Whoever asks for another is refused by validation, not by the range.
        if wants_address(new) && old_address.is_none() {
            let (address, range) = match given {
                Some(given) => {
                    let range = self.range_of(target, &given)?;
                    allocation.fixed_address = Some(given.clone());
                    (given, range)
                }
                None => self.free_address().await?,
            };
            allocation.guards.extend(range);
            allocation.take(address_key(&address));
            self.take_ip_address(&mut allocation, target, new, &address)?;
            new["spec"]["clusterIP"] = address.as_str().into();
            new["spec"]["clusterIPs"] = json!([address]);
        }
        if let Some(address) = old_address.filter(|address| address_of(new) != Some(*address)) {
            allocation.ops.extend(self.give_back(target, address));
        }
        self.allocate_ports(target, new, old, &mut allocation).await?;
        Ok(allocation)
    }

    /// What a deleted Service gives back.
    pub(super) fn release(&self, target: &Target, old: &Value) -> Vec<Op> {
        if target.slot.group_resource != "services" {
            return Vec::new();
        }
        let addresses = address_of(old).map(|address| self.give_back(target, address));
        let ports = ports::of(old).into_iter().map(|port| Op::Delete(ports::key(&port)));
        addresses.into_iter().flatten().chain(ports).collect()
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
