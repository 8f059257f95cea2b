//! Where cluster addresses come from: the ranges of the ServiceCIDR objects.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;

use ipnet::Ipv4Net;
use serde_json::{Value, json};
use timonel_api::FieldErrorKind;
use timonel_store::Guard;

use super::super::update::invalid_field;
use super::super::{Registry, Target};
use super::{ADDRESSES, addresses};
use crate::error::ApiError;
use crate::resources::is_ready_service_cidr;

/// The ServiceCIDR that holds the range the server was started with.
pub(super) const DEFAULT: &str = "kubernetes";

/// A range, and what must still be so when an address is taken from it: the ServiceCIDR as it was seen. One that is being deleted has
/// changed, so nothing is ever taken from it any more.
#[derive(Clone, Debug)]
struct Place {
    range: Ipv4Net,
    guard: Option<Guard>,
}

impl Registry {
    /// The ranges from which addresses may be taken now.
    fn places(&self) -> Vec<Place> {
        let mut places = Vec::new();
        let mut has_default = false;
        if let Some(slot) = self.caches.slot(addresses::SERVICE_CIDRS) {
            for (key, object) in &slot.cache.snapshot(self.caches.applied()).objects {
                has_default |= key.name == DEFAULT;
                let value = object.value();
                if !is_ready_service_cidr(&value) {
                    continue;
                }
                let guard = Guard::At(slot.store_key(key), object.revision);
                places.extend(ipv4_ranges(&value).into_iter().map(|range| Place {
                    range,
                    guard: Some(guard.clone()),
                }));
            }
        }
        // While the cluster's first objects are being made.
        if !has_default {
            places.push(Place {
                range: self.config.service_range,
                guard: None,
            });
        }
        places
    }

    /// Says what must stay so while an address that a client asks for is taken.
    ///
    /// *Errors:* the address lies in no range.
    pub(super) fn range_of(&self, target: &Target, address: &str) -> Result<Option<Guard>, ApiError> {
        let wanted = address.parse::<Ipv4Addr>().map(u32::from).ok();
        let place = self
            .places()
            .into_iter()
            .find(|place| wanted.is_some_and(|wanted| usable(place.range).contains(&wanted)));
        place.map(|place| place.guard).ok_or_else(|| {
            let detail =
                format!("failed to allocate IP {address}: the provided network does not match the current range");
            let path = "spec.clusterIPs";
            invalid_field(target, FieldErrorKind::Invalid, path, json!([address]), &detail)
        })
    }

    /// Picks a free address: at random, and by search where a range is nearly full; from the next range where it is full.
    pub(super) async fn free_address(&self) -> Result<(String, Option<Guard>), ApiError> {
        let mut taken = self.taken(ADDRESSES).await?;
        taken.extend(self.ip_addresses());
        for place in self.places() {
            if let Some(address) = pick(place.range, &taken, self.rng.next_u64()) {
                return Ok((address, place.guard));
            }
        }
        Err(ApiError::internal("failed to allocate a serviceIP: range is full"))
    }
}

/// The IPv4 ranges of a ServiceCIDR. Those of the other family are kept and not used: this cluster speaks IPv4.
pub(super) fn ipv4_ranges(service_cidr: &Value) -> Vec<Ipv4Net> {
    let cidrs = service_cidr["spec"]["cidrs"].as_array().into_iter().flatten();
    cidrs.filter_map(|cidr| cidr.as_str()?.parse().ok()).collect()
}

/// The addresses of a range without network and broadcast address.
pub(super) fn usable(range: Ipv4Net) -> RangeInclusive<u32> {
    let (first, last) = (u32::from(range.network()), u32::from(range.broadcast()));
    if range.prefix_len() >= 31 {
        first..=last
    } else {
        first + 1..=last - 1
    }
}

fn pick(range: Ipv4Net, taken: &BTreeSet<String>, random: u64) -> Option<String> {
    let usable = usable(range);
    let count = u64::from(usable.end() - usable.start()) + 1;
    let at = |offset: u64| {
        let offset = u32::try_from(offset % count).unwrap_or_default();
        Ipv4Addr::from(usable.start() + offset).to_string()
    };
    // The lower band is left to those who ask for an address of their own, as upstream (KEP-3070).
    let band = (count / 16).clamp(16, 256).min(count / 2);
    let start = band + random % (count - band);
    (0..count)
        .map(|step| at(start + step))
        .find(|address| !taken.contains(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_of_a_range_is_found_before_it_is_full() {
        let range: Ipv4Net = "10.0.0.0/28".parse().unwrap();
        let mut taken = BTreeSet::new();
        for random in 0..14 {
            let address = pick(range, &taken, random * 7).unwrap();
            assert!(!address.ends_with(".0") && !address.ends_with(".15"), "{address}");
            assert!(taken.insert(address));
        }
        assert_eq!(pick(range, &taken, 3), None);
        assert_eq!(usable("10.0.0.4/32".parse().unwrap()).count(), 1);
    }
}
