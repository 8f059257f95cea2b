//! Network policies.

use ipnet::IpNet;
use jiff::Timestamp;
use serde_json::{Value, json};
use timonel_api::{FieldError, Path, names};

use super::super::cells::{age, name, selector};
use super::super::common::{any_of, label_selector, wrong};
use super::super::strategy::{Column, Strategy};
use super::super::value::{at, default_text, each, has, int, list, set, text, within};
use super::super::warnings::cidr;

/// `networkpolicies.networking.k8s.io`.
pub(crate) struct NetworkPolicies;

impl Strategy for NetworkPolicies {
    fn has_status(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        within(object, "spec", |spec| {
            for rules in ["ingress", "egress"] {
                each(spec, rules, |rule| {
                    each(rule, "ports", |port| default_text(port, "protocol", "TCP"))
                });
            }
            if list(spec, "policyTypes").is_empty() {
                let egress = !list(spec, "egress").is_empty();
                set(
                    spec,
                    "policyTypes",
                    if egress {
                        json!(["Ingress", "Egress"])
                    } else {
                        json!(["Ingress"])
                    },
                );
            }
        });
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let (path, spec, mut errors) = (Path::new("spec"), at(object, "spec"), Vec::new());
        label_selector(at(spec, "podSelector"), &path.child("podSelector"), &mut errors);
        for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
            for (index, rule) in list(spec, direction).iter().enumerate() {
                let path = path.child(direction).index(index);
                for (index, port) in list(rule, "ports").iter().enumerate() {
                    self::port(port, &path.child("ports").index(index), &mut errors);
                }
                for (index, peer) in list(rule, peers).iter().enumerate() {
                    self::peer(peer, &path.child(peers).index(index), &mut errors);
                }
            }
        }
        let (types, path) = (at(spec, "policyTypes"), path.child("policyTypes"));
        if list(spec, "policyTypes").len() > 2 {
            let detail = "may not specify more than two policyTypes";
            errors.push(FieldError::invalid(&path, types.clone(), detail));
            return errors;
        }
        for (index, kind) in list(spec, "policyTypes").iter().enumerate() {
            let supported = ["Ingress", "Egress"];
            if !supported.iter().any(|supported| kind == supported) {
                errors.push(FieldError::not_supported(&path.index(index), kind.clone(), &supported));
            }
        }
        errors
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        let (path, spec, mut warnings) = (Path::new("spec"), at(object, "spec"), Vec::new());
        for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
            for (index, rule) in list(spec, direction).iter().enumerate() {
                let path = path.child(direction).index(index).child(peers);
                for (index, peer) in list(rule, peers).iter().enumerate() {
                    let (block, path) = (at(peer, "ipBlock"), path.index(index).child("ipBlock"));
                    warnings.extend(cidr(text(block, "cidr"), &path.child("cidr")));
                    let except = list(block, "except").iter().filter_map(Value::as_str);
                    for (index, range) in except.enumerate() {
                        warnings.extend(cidr(range, &path.child("except").index(index)));
                    }
                }
            }
        }
        warnings
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[Column::name(), Column::new("Pod-Selector"), Column::new("Age")];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            name(object),
            json!(selector(at(at(object, "spec"), "podSelector"))),
            age(object, now),
        ]
    }
}

fn port(port: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    any_of(port, "protocol", &["SCTP", "TCP", "UDP"], path, errors);
    let (at_port, at_end, end) = (path.child("port"), path.child("endPort"), int(port, "endPort"));
    let mut number = |value: i64, path: &Path| {
        for sentence in names::port_number(value) {
            errors.push(FieldError::invalid(path, value, sentence));
        }
    };
    match at(port, "port") {
        Value::Null if end.is_some() => errors.push(FieldError::required(
            &at_port,
            "must be specified when `endPort` is specified",
        )),
        Value::Null => {}
        Value::String(name) => {
            if let Some(end) = end {
                let detail = "may not be specified when `port` is non-numeric";
                errors.push(FieldError::invalid(&at_end, end, detail));
            }
            wrong(&at_port, name, names::port_name(name), errors);
        }
        value => {
            let value = value.as_i64().unwrap_or(0);
            number(value, &at_port);
            if let Some(end) = end {
                number(end, &at_end);
                if end < value {
                    let detail = "must be greater than or equal to `port`";
                    errors.push(FieldError::invalid(&at_end, end, detail));
                }
            }
        }
    }
}

fn peer(peer: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let mut kinds = 0;
    for field in ["podSelector", "namespaceSelector"] {
        if has(peer, field) {
            kinds += 1;
            label_selector(at(peer, field), &path.child(field), errors);
        }
    }
    if has(peer, "ipBlock") {
        kinds += 1;
        block(at(peer, "ipBlock"), &path.child("ipBlock"), errors);
    }
    if kinds == 0 {
        errors.push(FieldError::required(path, "must specify a peer"));
    } else if kinds > 1 && has(peer, "ipBlock") {
        let detail = "may not specify both ipBlock and another peer";
        errors.push(FieldError::forbidden(path, detail));
    }
}

const NOT_A_CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

fn block(block: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let cidr = text(block, "cidr");
    if cidr.is_empty() {
        errors.push(FieldError::required(&path.child("cidr"), ""));
        return;
    }
    let Ok(whole) = cidr.parse::<IpNet>() else {
        errors.push(FieldError::invalid(&path.child("cidr"), cidr, NOT_A_CIDR));
        return;
    };
    for (index, range) in list(block, "except").iter().filter_map(Value::as_str).enumerate() {
        let path = path.child("except").index(index);
        match range.parse::<IpNet>() {
            Err(_) => errors.push(FieldError::invalid(&path, range, NOT_A_CIDR)),
            Ok(part) if whole.contains(&part) && part.prefix_len() > whole.prefix_len() => {}
            Ok(_) => errors.push(FieldError::invalid(&path, range, "must be a strict subset of `cidr`")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_peers_are_checked_together() {
        let said = |spec: Value| -> Vec<String> {
            let errors = NetworkPolicies.validate(&json!({"spec": spec}));
            errors.iter().map(ToString::to_string).collect()
        };
        let good = json!({
            "podSelector": {}, "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"ports": [{"port": 80, "endPort": 90, "protocol": "TCP"}], "from": [{"podSelector": {}, "namespaceSelector": {}}]}],
            "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]}],
        });
        assert_eq!(said(good), Vec::<String>::new());
        let bad = json!({
            "podSelector": {}, "policyTypes": ["Sideways"],
            "ingress": [{
                "ports": [{"port": 80, "endPort": 70, "protocol": "ICMP"}, {"endPort": 1}, {"port": "http", "endPort": 5}, {"port": 0}],
                "from": [{}, {"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/8", "x"]}}],
            }],
            "egress": [{"to": [{"ipBlock": {"cidr": "nonsense"}}]}],
        });
        assert_eq!(
            said(bad),
            [
                "spec.ingress[0].ports[0].protocol: Unsupported value: \"ICMP\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
                "spec.ingress[0].ports[0].endPort: Invalid value: 70: must be greater than or equal to `port`",
                "spec.ingress[0].ports[1].port: Required value: must be specified when `endPort` is specified",
                "spec.ingress[0].ports[2].endPort: Invalid value: 5: may not be specified when `port` is non-numeric",
                "spec.ingress[0].ports[3].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                "spec.ingress[0].from[0]: Required value: must specify a peer",
                "spec.ingress[0].from[1].ipBlock.except[0]: Invalid value: \"10.0.0.0/8\": must be a strict subset of `cidr`",
                "spec.ingress[0].from[1].ipBlock.except[1]: Invalid value: \"x\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
                "spec.ingress[0].from[1]: Forbidden: may not specify both ipBlock and another peer",
                "spec.egress[0].to[0].ipBlock.cidr: Invalid value: \"nonsense\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
                "spec.policyTypes[0]: Unsupported value: \"Sideways\": supported values: \"Ingress\", \"Egress\"",
            ]
        );
    }
}
