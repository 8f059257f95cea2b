//! IPAddress objects: what the API shows of an allocation. They are written and removed in the transaction of their Service.

use serde_json::{Value, json};
use timonel_api::ObjectKey;
use timonel_store::{Guard, Op};

use super::super::{Registry, Target, fields, meta};
use super::{Allocation, address_key};
use crate::error::ApiError;

pub(super) const SERVICE_CIDRS: &str = "servicecidrs.networking.k8s.io";
pub(super) const IP_ADDRESSES: &str = "ipaddresses.networking.k8s.io";
/// Who wrote an IPAddress that belongs to a Service.
pub(super) const MANAGED_BY: &str = "ipaddress.kubernetes.io/managed-by";
pub(super) const ALLOCATOR: &str = "ipallocator";

impl Registry {
    /// The IPAddress resource as a target.
    fn ip_address_target(&self, address: &str) -> Option<Target> {
        let info = self.caches.slot(IP_ADDRESSES)?.info;
        self.target(info, None, "", address).ok()
    }

    /// Adds the IPAddress of a Service to what is written with it.
    pub(super) fn take_ip_address(
        &self,
        allocation: &mut Allocation,
        services: &Target,
        service: &Value,
        address: &str,
    ) -> Result<(), ApiError> {
        let target = self
            .ip_address_target(address)
            .ok_or_else(|| ApiError::internal("there are no IPAddresses"))?;
        let now = self.clock.now();
        let mut object = json!({
            "apiVersion": target.info.api_version(),
            "kind": target.info.kind,
            "metadata": {
                "name": address,
                "uid": self.rng.uuid().to_string(),
                "creationTimestamp": meta::time(now),
                "labels": {MANAGED_BY: ALLOCATOR, "ipaddress.kubernetes.io/ip-family": "IPv4"},
            },
            "spec": {"parentRef": {
                "group": "",
                "resource": "services",
                "namespace": services.namespace,
                "name": meta::text(service, "name"),
            }},
        });
        fields::track(&target, None, &mut object, "kube-apiserver", now);
        let put = self.put(&target, &target.key(), &object)?;
        allocation.guards.push(Guard::Absent(put.store_key.clone()));
        allocation.ops.push(Op::Put(put.store_key, put.sealed));
        Ok(())
    }

    /// What is removed with the address of a Service: the allocation, and the IPAddress unless it is somebody else's by now.
    pub(super) fn give_back(&self, services: &Target, address: &str) -> Vec<Op> {
        let mut ops = vec![Op::Delete(address_key(address))];
        if let Some(slot) = self.caches.slot(IP_ADDRESSES) {
            let key = ObjectKey::cluster(address);
            let own = slot.cache.get(&key).is_none_or(|object| {
                let value = object.value();
                let parent = &value["spec"]["parentRef"];
                parent["resource"] == "services"
                    && parent["namespace"] == services.namespace.as_str()
                    && parent["name"] == services.name.as_str()
            });
            if own {
                ops.push(Op::Delete(slot.store_key(&key)));
            }
        }
        ops
    }

    /// The names of all IPAddresses.
    pub(super) fn ip_addresses(&self) -> Vec<String> {
        let Some(slot) = self.caches.slot(IP_ADDRESSES) else {
            return Vec::new();
        };
        let objects = slot.cache.snapshot(self.caches.applied()).objects;
        objects.iter().map(|(key, _)| key.name.clone()).collect()
    }
}
