//! Endpoints.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};
use timonel_api::{FieldError, Path, names};

use super::super::cells::{age, name};
use super::super::common::{one_of, wrong};
use super::super::ip;
use super::super::strategy::{Column, Strategy};
use super::super::value::{at, default_text, each, has, int, list, text};
use super::super::warnings as odd;

/// The lists of addresses of a subset.
const LISTS: [&str; 2] = ["addresses", "notReadyAddresses"];

/// `endpoints`.
pub(crate) struct Endpoints;

impl Strategy for Endpoints {
    fn has_status(&self) -> bool {
        false
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        each(object, "subsets", |subset| {
            each(subset, "ports", |port| default_text(port, "protocol", "TCP"))
        });
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        subsets(object, &Value::Null)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        subsets(new, old)
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        // What the controller writes came from pods and needs no second look.
        if text(
            at(at(object, "metadata"), "labels"),
            "endpoints.kubernetes.io/managed-by",
        ) == "endpoint-controller"
        {
            return Vec::new();
        }
        let mut warnings = Vec::new();
        for (index, subset) in list(object, "subsets").iter().enumerate() {
            for field in ["addresses", "notReadyAddresses"] {
                let path = Path::new("subsets").index(index).child(field);
                for (index, address) in list(subset, field).iter().enumerate() {
                    warnings.extend(odd::ip(text(address, "ip"), &path.index(index).child("ip")));
                }
            }
        }
        warnings
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[Column::name(), Column::new("Endpoints"), Column::new("Age")];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let mut all = Vec::new();
        for subset in list(object, "subsets") {
            for address in list(subset, "addresses") {
                let ip = text(address, "ip");
                if list(subset, "ports").is_empty() {
                    all.push(ip.to_owned());
                }
                all.extend(
                    list(subset, "ports")
                        .iter()
                        .map(|port| format!("{ip}:{}", int(port, "port").unwrap_or(0))),
                );
            }
        }
        let shown = match all.len() {
            0 => "<none>".to_owned(),
            1..=3 => all.join(","),
            more => format!("{} + {} more...", all[..3].join(","), more - 3),
        };
        vec![name(object), json!(shown), age(object, now)]
    }
}

fn subsets(object: &Value, old: &Value) -> Vec<FieldError> {
    let addresses = |object| {
        let subsets = list(object, "subsets").iter();
        let all = subsets.flat_map(|subset| LISTS.iter().flat_map(|field| list(subset, field)));
        all.map(|address| text(address, "ip")).collect::<BTreeSet<_>>()
    };
    let (before, mut errors) = (addresses(old), Vec::new());
    for (index, subset) in list(object, "subsets").iter().enumerate() {
        let path = Path::new("subsets").index(index);
        if LISTS.iter().all(|field| list(subset, field).is_empty()) {
            let detail = "must specify `addresses` or `notReadyAddresses`";
            errors.push(FieldError::required(&path, detail));
        }
        for field in LISTS {
            for (index, one) in list(subset, field).iter().enumerate() {
                address(one, &before, &path.child(field).index(index), &mut errors);
            }
        }
        let ports = list(subset, "ports");
        for (index, one) in ports.iter().enumerate() {
            port(one, ports.len() > 1, &path.child("ports").index(index), &mut errors);
        }
    }
    errors
}

/// Checks an address; its form only where it is new.
fn address(address: &Value, before: &BTreeSet<&str>, path: &Path, errors: &mut Vec<FieldError>) {
    let (own, at_ip) = (text(address, "ip"), path.child("ip"));
    if !before.contains(own) {
        wrong(&at_ip, own, ip::address(own), errors);
    }
    let host = text(address, "hostname");
    if !host.is_empty() {
        wrong(&path.child("hostname"), host, names::label(host, false), errors);
    }
    if has(address, "nodeName") {
        let node = text(address, "nodeName");
        wrong(&path.child("nodeName"), node, names::subdomain(node, false), errors);
    }
    match ip::sloppy(own) {
        Some(ip) => wrong(&at_ip, own, ip::special(ip), errors),
        None => errors.push(FieldError::invalid(&at_ip, own, "must be a valid IP address")),
    }
}

fn port(port: &Value, needs_name: bool, path: &Path, errors: &mut Vec<FieldError>) {
    let (name, at_name) = (text(port, "name"), path.child("name"));
    if !name.is_empty() {
        wrong(&at_name, name, names::label(name, false), errors);
    } else if needs_name {
        errors.push(FieldError::required(&at_name, ""));
    }
    let number = int(port, "port").unwrap_or(0);
    for sentence in names::port_number(number) {
        errors.push(FieldError::invalid(&path.child("port"), number, sentence));
    }
    one_of(port, "protocol", &["SCTP", "TCP", "UDP"], path, errors);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lead_somewhere_and_ports_have_names() {
        let said = |subset: Value, old: Value| -> Vec<String> {
            let of = |subset| json!({"subsets": [subset]});
            let errors = Endpoints.validate_update(&of(subset), &of(old));
            errors.iter().map(ToString::to_string).collect()
        };
        let good = json!({"addresses": [{"ip": "10.0.0.1", "nodeName": "n", "hostname": "h"}], "ports": [{"port": 80, "protocol": "TCP"}]});
        assert_eq!(said(good, json!({})), Vec::<String>::new());
        assert_eq!(
            said(json!({}), json!({})),
            ["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"]
        );
        let bad = said(
            json!({"addresses": [{"ip": "x", "hostname": "H"}], "notReadyAddresses": [{"ip": "127.0.0.1", "nodeName": ""}],
                "ports": [{"port": 0, "protocol": "ICMP", "appProtocol": "-"}, {"name": "a", "port": 1}]}),
            json!({}),
        );
        let starts = [
            "subsets[0].addresses[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g.",
            "subsets[0].addresses[0].hostname: Invalid value: \"H\": a lowercase RFC 1123 label",
            "subsets[0].addresses[0].ip: Invalid value: \"x\": must be a valid IP address",
            "subsets[0].notReadyAddresses[0].nodeName: Invalid value: \"\": a lowercase RFC 1123 subdomain",
            "subsets[0].notReadyAddresses[0].ip: Invalid value: \"127.0.0.1\": may not be in the loopback range",
            "subsets[0].ports[0].name: Required value",
            "subsets[0].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
            "subsets[0].ports[0].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
            "subsets[0].ports[0].appProtocol: Invalid value: \"-\": name part must",
            "subsets[0].ports[1].protocol: Required value",
        ];
        assert_eq!(bad.len(), starts.len(), "{bad:#?}");
        for (said, start) in bad.iter().zip(starts) {
            assert!(said.starts_with(start), "{said}");
        }
        let odd = json!({"addresses": [{"ip": "010.0.0.1"}]});
        assert_eq!(said(odd.clone(), json!({})).len(), 1);
        assert_eq!(said(odd.clone(), odd), Vec::<String>::new());
    }
}
