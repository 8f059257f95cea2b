//! Services. Addresses and node ports are allocated by the registry; this is what the object itself says.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::{Value, json};
use timonel_api::{FieldError, Path, names};

use super::super::cells::{age, labels, name};
use super::super::common;
use super::super::strategy::{Column, Strategy};
use super::super::value::{at, default, default_text, each, ensure, flag, has, int, list, set, text, within};
use super::super::warnings as odd;

/// `services`.
pub(crate) struct Services;

impl Strategy for Services {
    fn has_generation(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        within(object, "spec", |spec| {
            default_text(spec, "sessionAffinity", "None");
            default_text(spec, "type", "ClusterIP");
            if text(spec, "sessionAffinity") == "ClientIP"
                && let Some(client) =
                    ensure(spec, "sessionAffinityConfig").and_then(|config| ensure(config, "clientIP"))
            {
                default(client, "timeoutSeconds", 10_800);
            }
            each(spec, "ports", |port| {
                default_text(port, "protocol", "TCP");
                let number = at(port, "port").clone();
                let unset = matches!(at(port, "targetPort"), Value::Null)
                    || at(port, "targetPort") == &json!(0)
                    || at(port, "targetPort") == &json!("");
                if unset {
                    set(port, "targetPort", number);
                }
            });
            let kind = text(spec, "type").to_owned();
            if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
                default_text(spec, "externalTrafficPolicy", "Cluster");
            }
            if kind != "ExternalName" {
                default_text(spec, "internalTrafficPolicy", "Cluster");
            }
            if kind == "LoadBalancer" {
                default(spec, "allocateLoadBalancerNodePorts", true);
            }
        });
        if let Some(status) = ensure(object, "status") {
            default(status, "loadBalancer", json!({}));
        }
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::label_1035(name, prefix)
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let (path, spec, mut errors) = (Path::new("spec"), at(object, "spec"), Vec::new());
        let kind = text(spec, "type");
        common::one_of(
            spec,
            "type",
            &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
            &path,
            &mut errors,
        );
        common::one_of(spec, "sessionAffinity", &["ClientIP", "None"], &path, &mut errors);
        let headless = text(spec, "clusterIP") == "None";
        if list(spec, "ports").is_empty() && !headless && kind != "ExternalName" {
            errors.push(FieldError::required(&path.child("ports"), ""));
        }
        if kind == "ExternalName" {
            let external = text(spec, "externalName");
            if external.is_empty() {
                errors.push(FieldError::required(&path.child("externalName"), ""));
            } else {
                let wrong = names::subdomain(external.strip_suffix('.').unwrap_or(external), false);
                let path = path.child("externalName");
                errors.extend(wrong.into_iter().map(|m| FieldError::invalid(&path, external, m)));
            }
        }
        if headless && kind != "ClusterIP" {
            let detail = "may not be set to 'None' for LoadBalancer services";
            errors.push(FieldError::invalid(&path.child("clusterIPs").index(0), "None", detail));
        }
        for (key, value) in super::super::value::entries(spec, "selector") {
            common::label(key, value.as_str().unwrap_or(""), &path.child("selector"), &mut errors);
        }
        ports(spec, &path, &mut errors);
        errors
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        warnings(object)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate(new);
        let (new, old, path) = (at(new, "spec"), at(old, "spec"), Path::new("spec"));
        let had = text(old, "clusterIP");
        if !had.is_empty()
            && text(new, "type") != "ExternalName"
            && text(old, "type") != "ExternalName"
            && text(new, "clusterIP") != had
        {
            let shown = json!([text(new, "clusterIP")]);
            errors.push(FieldError::invalid(
                &path.child("clusterIPs").index(0),
                shown,
                "may not change once set",
            ));
        }
        errors
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        let spec = at(object, "spec");
        vec![
            ("spec.clusterIP", text(spec, "clusterIP").to_owned()),
            ("spec.type", text(spec, "type").to_owned()),
        ]
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::name(),
            Column::new("Type"),
            Column::new("Cluster-IP"),
            Column::new("External-IP"),
            Column::new("Port(s)"),
            Column::new("Age"),
            Column::wide("Selector"),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let spec = at(object, "spec");
        let cluster_ip = text(spec, "clusterIP");
        vec![
            name(object),
            json!(text(spec, "type")),
            json!(if cluster_ip.is_empty() { "<none>" } else { cluster_ip }),
            json!(external_ip(object)),
            json!(shown_ports(spec)),
            age(object, now),
            json!(labels(spec, "selector")),
        ]
    }
}

fn warnings(service: &Value) -> Vec<String> {
    let (path, spec, mut warnings) = (Path::new("spec"), at(service, "spec"), Vec::new());
    let annotations = at(at(service, "metadata"), "annotations");
    if has(annotations, "service.kubernetes.io/topology-aware-hints") {
        let words = "annotation service.kubernetes.io/topology-aware-hints is deprecated, please use service.kubernetes.io/topology-mode instead";
        warnings.push(words.to_owned());
    }
    let texts = |field: &str| list(spec, field).iter().filter_map(Value::as_str).enumerate();
    for (index, address) in texts("clusterIPs").filter(|(_, address)| *address != "None") {
        warnings.extend(odd::ip(address, &path.child("clusterIPs").index(index)));
    }
    let external_name = text(spec, "type") == "ExternalName";
    let headless = text(spec, "type") == "ClusterIP" && text(spec, "clusterIP") == "None";
    let (external, balancer) = (list(spec, "externalIPs"), text(spec, "loadBalancerIP"));
    if headless && !balancer.is_empty() {
        warnings.push("spec.loadBalancerIP is ignored for headless services".to_owned());
    }
    if headless && !external.is_empty() {
        warnings.push("spec.externalIPs is ignored for headless services".to_owned());
    }
    if headless && text(spec, "sessionAffinity") != "None" {
        warnings.push("spec.SessionAffinity is ignored for headless services".to_owned());
    }
    for (index, address) in texts("externalIPs") {
        warnings.extend(odd::ip(address, &path.child("externalIPs").index(index)));
    }
    if !external.is_empty() && !headless && !external_name {
        warnings.push("spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned());
    }
    if !balancer.is_empty() {
        warnings.extend(odd::ip(balancer, &path.child("loadBalancerIP")));
    }
    for (index, range) in texts("loadBalancerSourceRanges") {
        warnings.extend(odd::cidr(range, &path.child("loadBalancerSourceRanges").index(index)));
    }
    if external_name && !external.is_empty() {
        warnings.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
    }
    if !external_name && !text(spec, "externalName").is_empty() {
        warnings.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    if text(spec, "trafficDistribution") == "PreferClose" {
        warnings.push("spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"".to_owned());
    }
    warnings
}

fn ports(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let all = list(spec, "ports");
    let mut seen_names = BTreeSet::new();
    let mut seen_ports = BTreeSet::new();
    for (index, port) in all.iter().enumerate() {
        let path = path.child("ports").index(index);
        let port_name = text(port, "name");
        if port_name.is_empty() {
            if all.len() > 1 {
                errors.push(FieldError::required(&path.child("name"), ""));
            }
        } else {
            let wrong = names::label(port_name, false);
            errors.extend(
                wrong
                    .into_iter()
                    .map(|m| FieldError::invalid(&path.child("name"), port_name, m)),
            );
            if !seen_names.insert(port_name) {
                errors.push(FieldError::duplicate(&path.child("name"), port_name));
            }
        }
        let number = int(port, "port").unwrap_or(0);
        if !(1..=65535).contains(&number) {
            errors.push(FieldError::invalid(
                &path.child("port"),
                number,
                "must be between 1 and 65535, inclusive",
            ));
        }
        common::one_of(port, "protocol", &["SCTP", "TCP", "UDP"], &path, errors);
        if !seen_ports.insert((number, text(port, "protocol"))) {
            errors.push(FieldError::duplicate(
                &path,
                json!({"port": number, "protocol": text(port, "protocol")}),
            ));
        }
        match at(port, "targetPort") {
            Value::String(target) => {
                let wrong = names::port_name(target);
                let path = path.child("targetPort");
                errors.extend(
                    wrong
                        .into_iter()
                        .map(|m| FieldError::invalid(&path, target.as_str(), m)),
                );
            }
            target => {
                let target = target.as_i64().unwrap_or(0);
                if !(1..=65535).contains(&target) {
                    let detail = "must be between 1 and 65535, inclusive";
                    errors.push(FieldError::invalid(&path.child("targetPort"), target, detail));
                }
            }
        }
        if int(port, "nodePort").unwrap_or(0) != 0 && text(spec, "type") == "ClusterIP" {
            let detail = "may not be used when `type` is 'ClusterIP'";
            errors.push(FieldError::forbidden(&path.child("nodePort"), detail));
        }
    }
    if has(spec, "publishNotReadyAddresses")
        && flag(spec, "publishNotReadyAddresses")
        && text(spec, "type") == "ExternalName"
    {
        let detail = "may not be set when `type` is 'ExternalName'";
        errors.push(FieldError::forbidden(&path.child("publishNotReadyAddresses"), detail));
    }
}

fn external_ip(service: &Value) -> String {
    let spec = at(service, "spec");
    let mut addresses: Vec<&str> = Vec::new();
    match text(spec, "type") {
        "ExternalName" => return text(spec, "externalName").to_owned(),
        "LoadBalancer" => {
            for ingress in list(at(at(service, "status"), "loadBalancer"), "ingress") {
                let ip = text(ingress, "ip");
                addresses.push(if ip.is_empty() { text(ingress, "hostname") } else { ip });
            }
            addresses.extend(list(spec, "externalIPs").iter().filter_map(Value::as_str));
            if addresses.is_empty() {
                return "<pending>".to_owned();
            }
        }
        _ => addresses.extend(list(spec, "externalIPs").iter().filter_map(Value::as_str)),
    }
    if addresses.is_empty() {
        "<none>".to_owned()
    } else {
        addresses.join(",")
    }
}

fn shown_ports(spec: &Value) -> String {
    let ports: Vec<String> = list(spec, "ports")
        .iter()
        .map(|port| {
            let (number, node, protocol) = (
                int(port, "port").unwrap_or(0),
                int(port, "nodePort").unwrap_or(0),
                text(port, "protocol"),
            );
            if node > 0 {
                format!("{number}:{node}/{protocol}")
            } else {
                format!("{number}/{protocol}")
            }
        })
        .collect();
    if ports.is_empty() {
        "<none>".to_owned()
    } else {
        ports.join(",")
    }
}
