//! What upstream checks of a Service: its type, ports, addresses, and the fields that only some types have.
//!
//! Rules: upstream's `ValidateService` (pkg/apis/core/validation).

use std::collections::BTreeSet;

use serde_json::{Value, json};
use timonel_api::{FieldError, Path, names};

use super::super::super::common::{self, any_of, one_of, wrong};
use super::super::super::ip;
use super::super::super::value::{at, entries, has, int, list, text};
use super::addresses::cluster_ips;
use super::{externally_accessible, is_headless, needs_health_check};

const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const MODE: &str = "service.kubernetes.io/topology-mode";
const RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
/// A day: the longest that a client may be sent to the same pod.
const AFFINITY: i64 = 86_400;

/// Finds what is wrong with a Service. Addresses that the old one had may stay as they are written.
pub(super) fn validate(object: &Value, old: &Value) -> Vec<FieldError> {
    let (path, spec, mut errors) = (Path::new("spec"), at(object, "spec"), Vec::new());
    topology(object, &mut errors);
    let (kind, headless) = (text(spec, "type"), is_headless(spec));
    if list(spec, "ports").is_empty() && !headless && kind != "ExternalName" {
        errors.push(FieldError::required(&path.child("ports"), ""));
    }
    of_type(spec, &path, &mut errors);
    ports(spec, &path.child("ports"), &mut errors);
    for (key, value) in entries(spec, "selector") {
        common::label(key, value.as_str().unwrap_or(""), &path.child("selector"), &mut errors);
    }
    affinity(spec, &path, &mut errors);
    cluster_ips(spec, at(old, "spec"), &mut errors);
    let before = list(at(old, "spec"), "externalIPs");
    let external = path.child("externalIPs");
    ip::listed(list(spec, "externalIPs"), before, &external, ip::ordinary, &mut errors);
    let types = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    one_of(spec, "type", &types, &path, &mut errors);
    numbers(spec, &path.child("ports"), &mut errors);
    source_ranges(object, old, &mut errors);
    balancer(spec, &path, &mut errors);
    balancer_class(spec, &path, &mut errors);
    traffic(spec, &path, &mut errors);
    errors
}

fn topology(object: &Value, errors: &mut Vec<FieldError>) {
    let annotations = at(at(object, "metadata"), "annotations");
    if has(annotations, HINTS) && has(annotations, MODE) && at(annotations, HINTS) != at(annotations, MODE) {
        let path = Path::new("metadata").child("annotations").key(MODE);
        let detail = format!("must match annotations[{HINTS}] when both are specified");
        errors.push(FieldError::invalid(&path, text(annotations, MODE), detail));
    }
}

fn of_type(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let kind = text(spec, "type");
    if kind == "ExternalName" {
        for field in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            let there = has(spec, field) && at(spec, field) != &json!([]);
            if there {
                let detail = "may not be set for ExternalName services";
                errors.push(FieldError::forbidden(&path.child(field), detail));
            }
        }
        let (name, path) = (text(spec, "externalName"), path.child("externalName"));
        // A dot at its end says that the name is a whole one.
        let name = name.strip_suffix('.').unwrap_or(name);
        if name.is_empty() {
            errors.push(FieldError::required(&path, ""));
        } else {
            wrong(&path, name, names::subdomain(name, false), errors);
        }
    } else if is_headless(spec) && matches!(kind, "LoadBalancer" | "NodePort") {
        let detail = format!("may not be set to 'None' for {kind} services");
        errors.push(FieldError::invalid(&path.child("clusterIPs").index(0), "None", detail));
    }
}

fn ports(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (all, mut seen) = (list(spec, "ports"), BTreeSet::new());
    for (index, port) in all.iter().enumerate() {
        let (path, name) = (path.index(index), text(port, "name"));
        let at_name = path.child("name");
        if !name.is_empty() {
            wrong(&at_name, name, names::label(name, false), errors);
            if !seen.insert(name) {
                errors.push(FieldError::duplicate(&at_name, name));
            }
        } else if all.len() > 1 {
            errors.push(FieldError::required(&at_name, ""));
        }
        number(int(port, "port").unwrap_or(0), &path.child("port"), errors);
        one_of(port, "protocol", &["SCTP", "TCP", "UDP"], &path, errors);
        let target = path.child("targetPort");
        match at(port, "targetPort") {
            Value::String(name) => wrong(&target, name, names::port_name(name), errors),
            other => number(other.as_i64().unwrap_or(0), &target, errors),
        }
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

fn number(number: i64, path: &Path, errors: &mut Vec<FieldError>) {
    let sentences = names::port_number(number).into_iter();
    errors.extend(sentences.map(|sentence| FieldError::invalid(path, number, sentence)));
}

fn affinity(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    one_of(spec, "sessionAffinity", &["ClientIP", "None"], path, errors);
    let (config, path) = (at(spec, "sessionAffinityConfig"), path.child("sessionAffinityConfig"));
    match text(spec, "sessionAffinity") {
        "None" if !config.is_null() => {
            let detail = "must not be set when session affinity is None";
            errors.push(FieldError::forbidden(&path, detail));
        }
        "ClientIP" => {
            let detail = "when session affinity type is ClientIP";
            let (client, at_client) = (at(config, "clientIP"), path.child("clientIP"));
            let at_timeout = at_client.child("timeoutSeconds");
            if config.is_null() {
                errors.push(FieldError::required(&path, detail));
            } else if client.is_null() {
                errors.push(FieldError::required(&at_client, detail));
            } else {
                match int(client, "timeoutSeconds") {
                    None => errors.push(FieldError::required(&at_timeout, detail)),
                    Some(1..=AFFINITY) => {}
                    Some(seconds) => {
                        let detail = format!("must be greater than 0 and less than {AFFINITY}");
                        errors.push(FieldError::invalid(&at_timeout, seconds, detail));
                    }
                }
            }
        }
        _ => {}
    }
}

/// Numbers that may be there once.
fn numbers(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let all = list(spec, "ports");
    let node_port = |port: &Value| int(port, "nodePort").filter(|number| *number != 0);
    for (index, _) in all.iter().enumerate().filter(|(_, port)| node_port(port).is_some()) {
        if text(spec, "type") == "ClusterIP" {
            let detail = "may not be used when `type` is 'ClusterIP'";
            errors.push(FieldError::forbidden(&path.index(index).child("nodePort"), detail));
        }
    }
    let mut seen = BTreeSet::new();
    for (index, port) in all.iter().enumerate() {
        if let Some(number) = node_port(port)
            && !seen.insert((text(port, "protocol"), number))
        {
            errors.push(FieldError::duplicate(&path.index(index).child("nodePort"), number));
        }
    }
    let mut seen = BTreeSet::new();
    for (index, port) in all.iter().enumerate() {
        let (protocol, number) = (text(port, "protocol"), int(port, "port"));
        if !seen.insert((protocol, number)) {
            let shown = json!({"port": number, "protocol": protocol});
            errors.push(FieldError::duplicate(&path.index(index), shown));
        }
    }
}

/// The field's path is upstream's, capital and all.
fn source_ranges(object: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    const ONLY: &str = "may only be used when `type` is 'LoadBalancer'";
    let spec = at(object, "spec");
    let other_type = text(spec, "type") != "LoadBalancer";
    let ranges = list(spec, "loadBalancerSourceRanges");
    let annotations = at(at(object, "metadata"), "annotations");
    if !ranges.is_empty() {
        let path = Path::new("spec").child("LoadBalancerSourceRanges");
        if other_type {
            errors.push(FieldError::forbidden(&path, ONLY));
        }
        let before = list(at(old, "spec"), "loadBalancerSourceRanges");
        let trimmed: Vec<Value> = ranges
            .iter()
            .map(|range| json!(range.as_str().map(str::trim)))
            .collect();
        ip::listed(&trimmed, before, &path, ip::range, errors);
    } else if has(annotations, RANGES) {
        let path = Path::new("metadata").child("annotations").key(RANGES);
        if other_type {
            errors.push(FieldError::forbidden(&path, ONLY));
        }
        let text = text(annotations, RANGES).trim();
        for range in text.split(',').map(str::trim).filter(|_| !text.is_empty()) {
            wrong(&path, range, ip::range(range), errors);
        }
    }
}

fn balancer(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let field = "allocateLoadBalancerNodePorts";
    match (text(spec, "type") == "LoadBalancer", has(spec, field)) {
        (false, true) => errors.push(FieldError::forbidden(
            &path.child(field),
            "may only be used when `type` is 'LoadBalancer'",
        )),
        // As upstream writes this path.
        (true, false) => errors.push(FieldError::required(&Path::new(field), "")),
        _ => {}
    }
}

/// Checks the name of a load balancer's class.
pub(super) fn balancer_class(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (class, path) = (at(spec, "loadBalancerClass"), path.child("loadBalancerClass"));
    let Some(class) = class.as_str() else { return };
    if text(spec, "type") == "LoadBalancer" {
        wrong(&path, class, names::qualified_name(class), errors);
    } else {
        let detail = "may only be used when `type` is 'LoadBalancer'";
        errors.push(FieldError::forbidden(&path, detail));
    }
}

fn traffic(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (policy, at_policy) = (text(spec, "externalTrafficPolicy"), path.child("externalTrafficPolicy"));
    if externally_accessible(spec) {
        one_of(spec, "externalTrafficPolicy", &["Cluster", "Local"], path, errors);
    } else if !policy.is_empty() {
        let detail = "may only be set for externally-accessible services";
        errors.push(FieldError::invalid(&at_policy, policy, detail));
    }
    let (check, at_check) = (
        int(spec, "healthCheckNodePort").unwrap_or(0),
        path.child("healthCheckNodePort"),
    );
    match (needs_health_check(spec), check) {
        (true, 0) => errors.push(FieldError::required(&at_check, "")),
        (true, port) => number(port, &at_check, errors),
        (false, 0) => {}
        (false, port) => {
            let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.push(FieldError::invalid(&at_check, port, detail));
        }
    }
    let internal = "internalTrafficPolicy";
    if has(spec, internal) {
        any_of(spec, internal, &["Cluster", "Local"], path, errors);
    } else if text(spec, "type") != "ExternalName" {
        errors.push(FieldError::required(&path.child(internal), ""));
    }
    let ways = ["PreferClose", "PreferSameNode", "PreferSameZone"];
    any_of(spec, "trafficDistribution", &ways, path, errors);
}

/// Checks the status of a load balancer.
pub(super) fn balancer_status(object: &Value, old: &Value) -> Vec<FieldError> {
    let (path, mut errors) = (Path::new("status").child("loadBalancer").child("ingress"), Vec::new());
    let ingress = |object| list(at(at(object, "status"), "loadBalancer"), "ingress");
    let (points, before) = (ingress(object), ingress(old));
    if !points.is_empty() && text(at(object, "spec"), "type") != "LoadBalancer" {
        let detail = "may only be used when `spec.type` is 'LoadBalancer'";
        errors.push(FieldError::forbidden(&path, detail));
        return errors;
    }
    for (index, point) in points.iter().enumerate() {
        let (path, address) = (path.index(index), text(point, "ip"));
        let kept = before.iter().any(|other| text(other, "ip") == address);
        if !address.is_empty() && !kept {
            wrong(&path.child("ip"), address, ip::address(address), &mut errors);
        }
        let at_mode = path.child("ipMode");
        if address.is_empty() && has(point, "ipMode") {
            let detail = "may not be specified when `ip` is not set";
            errors.push(FieldError::forbidden(&at_mode, detail));
        } else if !address.is_empty() && !has(point, "ipMode") {
            let detail = "must be specified when `ip` is set";
            errors.push(FieldError::required(&at_mode, detail));
        } else {
            any_of(point, "ipMode", &["Proxy", "VIP"], &path, &mut errors);
        }
        let (host, at_host) = (text(point, "hostname"), path.child("hostname"));
        if !host.is_empty() {
            wrong(&at_host, host, names::subdomain(host, false), &mut errors);
            if ip::sloppy(host).is_some() {
                let detail = "must be a DNS name, not an IP address";
                errors.push(FieldError::invalid(&at_host, host, detail));
            }
        }
    }
    errors
}
