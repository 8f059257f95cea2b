//! Endpoint slices.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;
use serde_json::{Value, json};
use timonel_api::{FieldError, Path, names};

use super::super::cells::{age, name};
use super::super::common::{immutable, one_of, wrong};
use super::super::ip::special;
use super::super::strategy::{Column, Strategy};
use super::super::value::{at, default, default_text, each, has, int, list, text};
use super::super::warnings as odd;

/// `endpointslices.discovery.k8s.io`.
pub(crate) struct EndpointSlices;

impl Strategy for EndpointSlices {
    fn has_status(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        each(object, "ports", |port| {
            default(port, "name", "");
            default_text(port, "protocol", "TCP");
        });
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let (root, mut errors) = (Path::root(), Vec::new());
        one_of(object, "addressType", &["FQDN", "IPv4", "IPv6"], &root, &mut errors);
        let (all, path) = (list(object, "endpoints"), Path::new("endpoints"));
        if all.len() > ENDPOINTS {
            errors.push(FieldError::too_many(&path, all.len(), ENDPOINTS));
            return errors;
        }
        let kind = text(object, "addressType");
        for (index, endpoint) in all.iter().enumerate() {
            self::endpoint(endpoint, kind, &path.index(index), &mut errors);
        }
        ports(object, &Path::new("ports"), &mut errors);
        errors
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        let labels = at(at(object, "metadata"), "labels");
        // What the controllers write came from pods and needs no second look.
        let managers = [
            "endpointslice-controller.k8s.io",
            "endpointslicemirroring-controller.k8s.io",
        ];
        if managers.contains(&text(labels, "endpointslice.kubernetes.io/managed-by")) {
            return Vec::new();
        }
        let mut warnings = Vec::new();
        if text(object, "addressType") == "FQDN" {
            warnings.push("addressType: FQDN endpoints are deprecated".to_owned());
            return warnings;
        }
        for (index, endpoint) in list(object, "endpoints").iter().enumerate() {
            let path = Path::new("endpoints").index(index).child("addresses");
            let addresses = list(endpoint, "addresses").iter().filter_map(Value::as_str);
            for (index, address) in addresses.enumerate() {
                warnings.extend(odd::ip(address, &path.index(index)));
            }
        }
        warnings
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate(new);
        immutable(new, old, "addressType", &Path::root(), &mut errors);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::name(),
            Column::new("AddressType"),
            Column::new("Ports"),
            Column::new("Endpoints"),
            Column::new("Age"),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let few = |all: Vec<String>| match all.len() {
            0 => "<unset>".to_owned(),
            1..=3 => all.join(","),
            more => format!("{} + {} more...", all[..3].join(","), more - 3),
        };
        let ports = list(object, "ports")
            .iter()
            .map(|p| int(p, "port").map_or("*".to_owned(), |n| n.to_string()))
            .collect();
        let endpoints = list(object, "endpoints")
            .iter()
            .flat_map(|e| list(e, "addresses"))
            .filter_map(Value::as_str)
            .map(str::to_owned);
        vec![
            name(object),
            json!(text(object, "addressType")),
            json!(few(ports)),
            json!(few(endpoints.collect())),
            age(object, now),
        ]
    }
}

/// Upstream's limits of a slice.
const ENDPOINTS: usize = 1000;
const ADDRESSES: usize = 100;
const PORTS: usize = 20_000;

fn endpoint(endpoint: &Value, kind: &str, path: &Path, errors: &mut Vec<FieldError>) {
    let (addresses, at_addresses) = (list(endpoint, "addresses"), path.child("addresses"));
    if addresses.is_empty() {
        errors.push(FieldError::required(&at_addresses, "must contain at least 1 address"));
    } else if addresses.len() > ADDRESSES {
        errors.push(FieldError::too_many(&at_addresses, addresses.len(), ADDRESSES));
    }
    for (index, address) in addresses.iter().filter_map(Value::as_str).enumerate() {
        let path = at_addresses.index(index);
        let parsed = address.parse::<IpAddr>().ok();
        match (kind, parsed) {
            ("IPv4", Some(ip)) if ip.is_ipv4() => wrong(&path, address, special(ip), errors),
            ("IPv6", Some(ip)) if ip.is_ipv6() => wrong(&path, address, special(ip), errors),
            ("IPv4", _) => errors.push(FieldError::invalid(&path, address, "must be a valid IPv4 address")),
            ("IPv6", _) => errors.push(FieldError::invalid(&path, address, "must be a valid IPv6 address")),
            ("FQDN", _) => wrong(&path, address, names::fully_qualified_domain_name(address), errors),
            _ => {}
        }
    }
    for (field, check) in [
        ("nodeName", names::subdomain as fn(&str, bool) -> Vec<String>),
        ("hostname", names::label),
    ] {
        if has(endpoint, field) {
            let value = text(endpoint, field);
            wrong(&path.child(field), value, check(value, false), errors);
        }
    }
    for (index, zone) in list(at(endpoint, "hints"), "forZones").iter().enumerate() {
        let path = path.child("hints").child("forZones").index(index).child("name");
        let zone = text(zone, "name");
        if zone.is_empty() {
            errors.push(FieldError::required(&path, ""));
        } else {
            wrong(&path, zone, names::label_value(zone), errors);
        }
    }
}

fn ports(slice: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let all = list(slice, "ports");
    if all.len() > PORTS {
        errors.push(FieldError::too_many(path, all.len(), PORTS));
        return;
    }
    let mut seen = BTreeSet::new();
    for (index, port) in all.iter().enumerate() {
        let (path, name) = (path.index(index), text(port, "name"));
        if !name.is_empty() {
            wrong(&path.child("name"), name, names::label(name, false), errors);
        }
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
        one_of(port, "protocol", &["SCTP", "TCP", "UDP"], &path, errors);
        if has(port, "appProtocol") {
            let protocol = text(port, "appProtocol");
            wrong(
                &path.child("appProtocol"),
                protocol,
                names::qualified_name(protocol),
                errors,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_ports_are_checked_together() {
        let bad = json!({
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.0.0.1", "127.0.0.1", "::1"], "hostname": "A"}, {"addresses": []}],
            "ports": [{"name": "a", "protocol": "TCP"}, {"name": "a", "protocol": "X"}],
        });
        let said: Vec<String> = EndpointSlices.validate(&bad).iter().map(ToString::to_string).collect();
        assert_eq!(
            said[..2],
            [
                "endpoints[0].addresses[1]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
                "endpoints[0].addresses[2]: Invalid value: \"::1\": must be a valid IPv4 address",
            ]
        );
        assert!(said[2].starts_with("endpoints[0].hostname: Invalid value: \"A\": a lowercase RFC 1123 label"));
        assert_eq!(
            said[3..],
            [
                "endpoints[1].addresses: Required value: must contain at least 1 address",
                "ports[1].name: Duplicate value: \"a\"",
                "ports[1].protocol: Unsupported value: \"X\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
            ]
        );
    }
}
