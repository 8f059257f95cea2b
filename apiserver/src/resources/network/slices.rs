//! Endpoint slices.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;
use serde_json::{Value, json};
use timonel_api::{FieldError, Path, names};

use super::super::cells::{age, name};
use super::super::common::{immutable, label, one_of, wrong};
use super::super::ip::{sloppy, special};
use super::super::strategy::{Column, Strategy};
use super::super::value::{at, default, default_text, each, entries, has, int, list, text};
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
const HINTS: usize = 8;
const TOPOLOGY_LABELS: usize = 16;

fn endpoint(endpoint: &Value, kind: &str, path: &Path, errors: &mut Vec<FieldError>) {
    let (addresses, at_addresses) = (list(endpoint, "addresses"), path.child("addresses"));
    if addresses.is_empty() {
        errors.push(FieldError::required(&at_addresses, "must contain at least 1 address"));
    } else if addresses.len() > ADDRESSES {
        errors.push(FieldError::too_many(&at_addresses, addresses.len(), ADDRESSES));
    }
    for (index, own) in addresses.iter().filter_map(Value::as_str).enumerate() {
        address(own, kind, &at_addresses.index(index), errors);
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
    let topology = path.child("deprecatedTopology");
    let count = entries(endpoint, "deprecatedTopology").count();
    if count > TOPOLOGY_LABELS {
        errors.push(FieldError::too_many(&topology, count, TOPOLOGY_LABELS));
    }
    for (key, value) in entries(endpoint, "deprecatedTopology") {
        label(key, value.as_str().unwrap_or(""), &topology, errors);
    }
    for (field, rule) in [
        ("forZones", zone_name as fn(&str) -> Vec<String>),
        ("forNodes", node_name),
    ] {
        hints(
            list(at(endpoint, "hints"), field),
            rule,
            &path.child("hints").child(field),
            errors,
        );
    }
}

fn address(address: &str, kind: &str, path: &Path, errors: &mut Vec<FieldError>) {
    if kind == "FQDN" {
        return wrong(path, address, names::fully_qualified_domain_name(address), errors);
    }
    if !["IPv4", "IPv6"].contains(&kind) {
        return;
    }
    let strict = address.parse::<IpAddr>().ok();
    if strict.is_none_or(|ip| ip.is_ipv4() != (kind == "IPv4")) {
        errors.push(FieldError::invalid(
            path,
            address,
            format!("must be a valid {kind} address"),
        ));
    }
    match sloppy(address) {
        Some(ip) => wrong(path, address, special(ip), errors),
        None => errors.push(FieldError::invalid(path, address, "must be a valid IP address")),
    }
}

fn zone_name(zone: &str) -> Vec<String> {
    names::label_value(zone)
}

fn node_name(node: &str) -> Vec<String> {
    names::subdomain(node, false)
}

/// Checks for whom an endpoint is meant.
fn hints(all: &[Value], rule: fn(&str) -> Vec<String>, path: &Path, errors: &mut Vec<FieldError>) {
    if all.len() > HINTS {
        errors.push(FieldError::too_many(path, all.len(), HINTS));
        return;
    }
    let mut seen = BTreeSet::new();
    for (index, hint) in all.iter().enumerate() {
        let (path, name) = (path.index(index).child("name"), text(hint, "name"));
        if name.is_empty() {
            errors.push(FieldError::required(&path, ""));
            continue;
        }
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path, name));
        }
        wrong(&path, name, rule(name), errors);
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
            "endpoints": [{"addresses": ["10.0.0.1", "127.0.0.1", "fd00::1", "x"], "hostname": "A",
                "hints": {"forZones": [{"name": "a"}, {"name": "a"}], "forNodes": [{"name": "N"}, {}]}}, {"addresses": []}],
            "ports": [{"name": "a", "protocol": "TCP"}, {"name": "a", "protocol": "X"}],
        });
        let said: Vec<String> = EndpointSlices.validate(&bad).iter().map(ToString::to_string).collect();
        assert_eq!(
            said[..4],
            [
                "endpoints[0].addresses[1]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
                "endpoints[0].addresses[2]: Invalid value: \"fd00::1\": must be a valid IPv4 address",
                "endpoints[0].addresses[3]: Invalid value: \"x\": must be a valid IPv4 address",
                "endpoints[0].addresses[3]: Invalid value: \"x\": must be a valid IP address",
            ]
        );
        assert!(said[4].starts_with("endpoints[0].hostname: Invalid value: \"A\": a lowercase RFC 1123 label"));
        assert_eq!(said[5], "endpoints[0].hints.forZones[1].name: Duplicate value: \"a\"");
        assert!(said[6].starts_with("endpoints[0].hints.forNodes[0].name: Invalid value: \"N\": a lowercase RFC 1123"));
        assert_eq!(
            said[7..],
            [
                "endpoints[0].hints.forNodes[1].name: Required value",
                "endpoints[1].addresses: Required value: must contain at least 1 address",
                "ports[1].name: Duplicate value: \"a\"",
                "ports[1].protocol: Unsupported value: \"X\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
            ]
        );
    }
}
