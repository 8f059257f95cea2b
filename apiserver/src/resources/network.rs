//! Networking and discovery kinds: ingresses, policies, endpoint slices, addresses.

use jiff::Timestamp;
use serde_json::{Value, json};
use timonel_api::{FieldError, Path};

use super::cells::{age, name, selector};
use super::common::{self, immutable};
use super::strategy::{Column, Strategy};
use super::value::{at, default, default_text, each, has, int, list, set, text, within};

/// `ingresses.networking.k8s.io`.
pub(super) struct Ingresses;

impl Strategy for Ingresses {
    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let (path, spec, mut errors) = (Path::new("spec"), at(object, "spec"), Vec::new());
        if list(spec, "rules").is_empty() && !has(spec, "defaultBackend") {
            errors.push(FieldError::invalid(
                &path,
                spec.clone(),
                "either `defaultBackend` or `rules` must be specified",
            ));
        }
        for (index, rule) in list(spec, "rules").iter().enumerate() {
            let path = path.child("rules").index(index).child("http").child("paths");
            for (index, route) in list(at(rule, "http"), "paths").iter().enumerate() {
                let (path, kind) = (path.index(index), text(route, "pathType"));
                let kinds = ["Exact", "ImplementationSpecific", "Prefix"];
                if kind.is_empty() {
                    errors.push(FieldError::required(
                        &path.child("pathType"),
                        "pathType must be specified",
                    ));
                } else if !kinds.contains(&kind) {
                    errors.push(FieldError::not_supported(&path.child("pathType"), kind, &kinds));
                } else if kind != "ImplementationSpecific" && !text(route, "path").starts_with('/') {
                    let detail = "must be an absolute path";
                    errors.push(FieldError::invalid(&path.child("path"), text(route, "path"), detail));
                }
            }
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::name(),
            Column::new("Class"),
            Column::new("Hosts"),
            Column::new("Address"),
            Column::new("Ports"),
            Column::new("Age"),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let spec = at(object, "spec");
        let class = text(spec, "ingressClassName");
        let hosts: Vec<&str> = list(spec, "rules")
            .iter()
            .map(|rule| text(rule, "host"))
            .filter(|h| !h.is_empty())
            .collect();
        let addresses: Vec<&str> = list(at(at(object, "status"), "loadBalancer"), "ingress")
            .iter()
            .map(|ingress| {
                if text(ingress, "ip").is_empty() {
                    text(ingress, "hostname")
                } else {
                    text(ingress, "ip")
                }
            })
            .collect();
        let shown_hosts = match hosts.len() {
            0 => "*".to_owned(),
            1..=3 => hosts.join(","),
            more => format!("{} + {} more...", hosts[..3].join(","), more - 3),
        };
        vec![
            name(object),
            json!(if class.is_empty() { "<none>" } else { class }),
            json!(shown_hosts),
            json!(addresses.join(",")),
            json!(if list(spec, "tls").is_empty() { "80" } else { "80, 443" }),
            age(object, now),
        ]
    }
}

/// `networkpolicies.networking.k8s.io`.
pub(super) struct NetworkPolicies;

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
        let mut errors = Vec::new();
        let path = Path::new("spec").child("podSelector");
        common::label_selector(at(at(object, "spec"), "podSelector"), &path, &mut errors);
        errors
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

/// `endpointslices.discovery.k8s.io`.
pub(super) struct EndpointSlices;

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
        let mut errors = Vec::new();
        common::one_of(
            object,
            "addressType",
            &["FQDN", "IPv4", "IPv6"],
            &Path::root(),
            &mut errors,
        );
        for (index, endpoint) in list(object, "endpoints").iter().enumerate() {
            if list(endpoint, "addresses").is_empty() {
                let path = Path::new("endpoints").index(index).child("addresses");
                errors.push(FieldError::required(&path, "must contain at least 1 address"));
            }
        }
        errors
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

/// `ingressclasses.networking.k8s.io`.
pub(super) struct IngressClasses;

impl Strategy for IngressClasses {
    fn has_status(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::name(),
            Column::new("Controller"),
            Column::new("Parameters"),
            Column::new("Age"),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let (spec, parameters) = (at(object, "spec"), at(at(object, "spec"), "parameters"));
        let shown = if parameters.is_null() {
            "<none>".to_owned()
        } else {
            let group = text(parameters, "apiGroup");
            let dot = if group.is_empty() { "" } else { "." };
            format!("{}{dot}{group}/{}", text(parameters, "kind"), text(parameters, "name"))
        };
        vec![
            name(object),
            json!(text(spec, "controller")),
            json!(shown),
            age(object, now),
        ]
    }
}

/// `ipaddresses.networking.k8s.io`.
pub(super) struct IpAddresses;

impl Strategy for IpAddresses {
    fn has_status(&self) -> bool {
        false
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[Column::name(), Column::new("ParentRef")];
        COLUMNS
    }

    fn row(&self, object: &Value, _now: Timestamp) -> Vec<Value> {
        let parent = at(at(object, "spec"), "parentRef");
        let parts = ["resource", "namespace", "name"].map(|field| text(parent, field));
        vec![
            name(object),
            json!(
                parts
                    .into_iter()
                    .filter(|part| !part.is_empty())
                    .collect::<Vec<_>>()
                    .join("/")
            ),
        ]
    }
}

/// `servicecidrs.networking.k8s.io`.
pub(super) struct ServiceCidrs;

impl Strategy for ServiceCidrs {
    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[Column::name(), Column::new("CIDRs"), Column::new("Age")];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let cidrs: Vec<&str> = list(at(object, "spec"), "cidrs")
            .iter()
            .filter_map(Value::as_str)
            .collect();
        vec![name(object), json!(cidrs.join(",")), age(object, now)]
    }
}

/// `poddisruptionbudgets.policy`.
pub(super) struct PodDisruptionBudgets;

impl Strategy for PodDisruptionBudgets {
    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let (path, spec, mut errors) = (Path::new("spec"), at(object, "spec"), Vec::new());
        if has(spec, "minAvailable") && has(spec, "maxUnavailable") {
            let detail = "minAvailable and maxUnavailable cannot be both set";
            errors.push(FieldError::invalid(&path, spec.clone(), detail));
        }
        common::label_selector(at(spec, "selector"), &path.child("selector"), &mut errors);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::name(),
            Column::new("Min Available"),
            Column::new("Max Unavailable"),
            Column::integer("Allowed Disruptions"),
            Column::new("Age"),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let spec = at(object, "spec");
        let shown = |field: &str| match at(spec, field) {
            Value::Null => json!("N/A"),
            Value::String(text) => json!(text),
            other => json!(other.to_string()),
        };
        vec![
            name(object),
            shown("minAvailable"),
            shown("maxUnavailable"),
            json!(int(at(object, "status"), "disruptionsAllowed").unwrap_or(0)),
            age(object, now),
        ]
    }
}

/// `horizontalpodautoscalers.autoscaling`, in the v2 shape.
pub(super) struct HorizontalPodAutoscalers;

impl Strategy for HorizontalPodAutoscalers {
    fn has_generation(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        within(object, "spec", |spec| {
            default(spec, "minReplicas", 1);
            if list(spec, "metrics").is_empty() {
                let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}});
                set(spec, "metrics", json!([cpu]));
            }
        });
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let (path, spec, mut errors) = (Path::new("spec"), at(object, "spec"), Vec::new());
        let (min, max) = (
            int(spec, "minReplicas").unwrap_or(1),
            int(spec, "maxReplicas").unwrap_or(0),
        );
        if min < 1 {
            errors.push(FieldError::invalid(
                &path.child("minReplicas"),
                min,
                "must be greater than or equal to 1",
            ));
        }
        if max < 1 {
            errors.push(FieldError::invalid(
                &path.child("maxReplicas"),
                max,
                "must be greater than 0",
            ));
        } else if max < min {
            let detail = "must be greater than or equal to `minReplicas`";
            errors.push(FieldError::invalid(&path.child("maxReplicas"), max, detail));
        }
        for field in ["kind", "name"] {
            if text(at(spec, "scaleTargetRef"), field).is_empty() {
                errors.push(FieldError::required(&path.child("scaleTargetRef").child(field), ""));
            }
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::name(),
            Column::new("Reference"),
            Column::new("Targets"),
            Column::new("MinPods"),
            Column::new("MaxPods"),
            Column::new("Replicas"),
            Column::new("Age"),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (at(object, "spec"), at(object, "status"));
        let target = at(spec, "scaleTargetRef");
        let targets: Vec<String> = list(spec, "metrics")
            .iter()
            .zip(0..)
            .map(|(metric, i)| shown_metric(metric, status, i))
            .collect();
        vec![
            name(object),
            json!(format!("{}/{}", text(target, "kind"), text(target, "name"))),
            json!(if targets.is_empty() {
                "<none>".to_owned()
            } else {
                targets.join(", ")
            }),
            json!(int(spec, "minReplicas").map_or("<unset>".to_owned(), |n| n.to_string())),
            json!(int(spec, "maxReplicas").unwrap_or(0)),
            json!(int(status, "currentReplicas").unwrap_or(0)),
            age(object, now),
        ]
    }
}

fn shown_metric(metric: &Value, status: &Value, index: usize) -> String {
    let resource = at(metric, "resource");
    let current = at(
        at(
            list(status, "currentMetrics").get(index).unwrap_or(&Value::Null),
            "resource",
        ),
        "current",
    );
    if resource.is_null() {
        return format!("<unknown>/{}", text(metric, "type"));
    }
    let (label, target) = (text(resource, "name"), at(resource, "target"));
    if let Some(goal) = int(target, "averageUtilization") {
        let now = int(current, "averageUtilization").map_or("<unknown>".to_owned(), |n| format!("{n}%"));
        return format!("{label}: {now}/{goal}%");
    }
    let now = text(current, "averageValue");
    format!(
        "{label}: {}/{}",
        if now.is_empty() { "<unknown>" } else { now },
        text(target, "averageValue")
    )
}
