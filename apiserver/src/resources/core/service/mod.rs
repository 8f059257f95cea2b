//! Services. Addresses and node ports are allocated by the registry; this is what the object itself says.

mod addresses;
mod change;
mod rules;
#[cfg(test)]
mod tests;

use jiff::Timestamp;
use serde_json::{Value, json};
use timonel_api::{FieldError, Path, names};

pub(crate) use self::addresses::cluster_ips;
use super::super::cells::{age, labels, name};
use super::super::strategy::{Column, Context, Strategy};
use super::super::value::{at, default, default_text, each, ensure, has, int, list, set, text, within};
use super::super::warnings as odd;

/// Whether a Service has no cluster address, on purpose.
pub(crate) fn is_headless(spec: &Value) -> bool {
    matches!(list(spec, "clusterIPs"), [only] if only == "None")
}

/// Whether a Service can be reached from outside of the cluster.
fn externally_accessible(spec: &Value) -> bool {
    match text(spec, "type") {
        "LoadBalancer" | "NodePort" => true,
        "ClusterIP" => !list(spec, "externalIPs").is_empty(),
        _ => false,
    }
}

/// Whether load balancers ask nodes for pods of their own.
pub(crate) fn needs_health_check(spec: &Value) -> bool {
    text(spec, "type") == "LoadBalancer" && text(spec, "externalTrafficPolicy") == "Local"
}

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
            if externally_accessible(spec) {
                default_text(spec, "externalTrafficPolicy", "Cluster");
            }
            if matches!(kind.as_str(), "ClusterIP" | "LoadBalancer" | "NodePort") {
                default(spec, "internalTrafficPolicy", "Cluster");
            }
            if kind == "LoadBalancer" {
                default(spec, "allocateLoadBalancerNodePorts", true);
            }
        });
        if let Some(status) = ensure(object, "status") {
            default(status, "loadBalancer", json!({}));
            within(status, "loadBalancer", |balancer| {
                each(balancer, "ingress", |point| {
                    if !text(point, "ip").is_empty() {
                        default(point, "ipMode", "VIP");
                    }
                });
            });
        }
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        // Since 1.36 a name may begin with a digit (`RelaxedServiceNameValidation`).
        names::label(name, prefix)
    }

    fn prepare_create(&self, object: &mut Value, _context: &Context<'_>) {
        within(object, "spec", |spec| addresses::normalise(spec, None));
    }

    fn prepare_update(&self, new: &mut Value, old: &Value, _context: &Context<'_>) {
        change::complete(new, old);
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        rules::validate(object, &Value::Null)
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        warnings(object)
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let (path, now, before) = (Path::new("spec"), at(new, "spec"), at(old, "spec"));
        addresses::update(now, before, &mut errors);
        let balancers = [now, before].iter().all(|spec| text(spec, "type") == "LoadBalancer");
        let (class, at_class) = (at(now, "loadBalancerClass"), path.child("loadBalancerClass"));
        if balancers && class != at(before, "loadBalancerClass") {
            errors.push(FieldError::invalid(&at_class, class.clone(), "may not change once set"));
        }
        rules::balancer_class(now, &path, &mut errors);
        let port = "healthCheckNodePort";
        if needs_health_check(now) && needs_health_check(before) && at(now, port) != at(before, port) {
            errors.push(FieldError::forbidden(&path.child(port), "field is immutable"));
        }
        errors.extend(rules::validate(new, old));
        errors
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        rules::balancer_status(new, old)
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
