//! Ingresses and their classes.

use jiff::Timestamp;
use serde_json::{Value, json};
use timonel_api::{FieldError, Path, names};

use super::super::cells::{age, name};
use super::super::common::{immutable, reference, wrong};
use super::super::ip;
use super::super::strategy::{Column, Strategy};
use super::super::value::{at, default, has, int, list, text, within};

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// `ingresses.networking.k8s.io`.
pub(crate) struct Ingresses;

impl Strategy for Ingresses {
    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let (path, spec, mut errors) = (Path::new("spec"), at(object, "spec"), Vec::new());
        if list(spec, "rules").is_empty() && !has(spec, "defaultBackend") {
            let detail = "either `defaultBackend` or `rules` must be specified";
            errors.push(FieldError::invalid(&path, at(spec, "rules").clone(), detail));
        }
        if has(spec, "defaultBackend") {
            backend(at(spec, "defaultBackend"), &path.child("defaultBackend"), &mut errors);
        }
        for (index, rule) in list(spec, "rules").iter().enumerate() {
            self::rule(rule, &path.child("rules").index(index), &mut errors);
        }
        if has(spec, "ingressClassName") {
            let class = text(spec, "ingressClassName");
            wrong(
                &path.child("ingressClassName"),
                class,
                names::subdomain(class, false),
                &mut errors,
            );
        }
        for (index, tls) in list(spec, "tls").iter().enumerate() {
            let path = path.child("tls").index(index);
            for (index, host) in list(tls, "hosts").iter().filter_map(Value::as_str).enumerate() {
                self::host(host, &path.child("hosts").index(index), &mut errors);
            }
            let secret = text(tls, "secretName");
            if !secret.is_empty() {
                let path = path.child("secretName");
                wrong(&path, secret, names::subdomain(secret, false), &mut errors);
            }
        }
        errors
    }

    fn validate_create(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = self.validate(object);
        let class = at(at(object, "metadata"), "annotations").get(CLASS_ANNOTATION);
        if let Some(class) = class.filter(|_| has(at(object, "spec"), "ingressClassName")) {
            let path = Path::new("metadata").child("annotations").child(CLASS_ANNOTATION);
            let detail = "can not be set when the class field is also set";
            errors.push(FieldError::invalid(&path, class.clone(), detail));
        }
        errors
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let all = |object| list(at(at(object, "status"), "loadBalancer"), "ingress");
        let (path, mut errors) = (Path::new("status").child("loadBalancer").child("ingress"), Vec::new());
        let before: Vec<&str> = all(old).iter().map(|door| text(door, "ip")).collect();
        for (index, door) in all(new).iter().enumerate() {
            let (path, address, name) = (path.index(index), text(door, "ip"), text(door, "hostname"));
            if !address.is_empty() && !before.contains(&address) {
                wrong(&path.child("ip"), address, ip::address(address), &mut errors);
            }
            let path = path.child("hostname");
            if !name.is_empty() {
                wrong(&path, name, names::subdomain(name, false), &mut errors);
            }
            if ip::sloppy(name).is_some() {
                let detail = "must be a DNS name, not an IP address";
                errors.push(FieldError::invalid(&path, name, detail));
            }
        }
        errors
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        let annotations = at(at(object, "metadata"), "annotations");
        if has(annotations, CLASS_ANNOTATION) && !has(at(object, "spec"), "ingressClassName") {
            return vec![format!(
                "annotation \"{CLASS_ANNOTATION}\" is deprecated, please use 'spec.ingressClassName' instead"
            )];
        }
        Vec::new()
    }

    fn update_warnings(&self, _new: &Value, _old: &Value) -> Vec<String> {
        Vec::new()
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

fn host(host: &str, path: &Path, errors: &mut Vec<FieldError>) {
    let sentences = if host.contains('*') {
        names::wildcard_subdomain(host)
    } else {
        names::subdomain(host, false)
    };
    wrong(path, host, sentences, errors);
}

fn rule(rule: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let name = text(rule, "host");
    if name.parse::<std::net::IpAddr>().is_ok() {
        let detail = "must be a DNS name, not an IP address";
        errors.push(FieldError::invalid(&path.child("host"), name, detail));
    } else if !name.is_empty() {
        host(name, &path.child("host"), errors);
    }
    if !has(rule, "http") {
        return;
    }
    let (routes, path) = (list(at(rule, "http"), "paths"), path.child("http").child("paths"));
    if routes.is_empty() {
        errors.push(FieldError::required(&path, ""));
    }
    for (index, route) in routes.iter().enumerate() {
        let path = path.index(index);
        self::route(route, &path, errors);
        backend(at(route, "backend"), &path.child("backend"), errors);
    }
}

fn route(route: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (given, at_path) = (text(route, "path"), path.child("path"));
    let mut refuse = |detail: String| errors.push(FieldError::invalid(&at_path, given, detail));
    let absolute = given.starts_with('/');
    match text(route, "pathType") {
        "Exact" | "Prefix" => {
            if !absolute {
                refuse("must be an absolute path".to_owned());
            }
            for part in ["//", "/./", "/../", "%2f", "%2F"] {
                if given.contains(part) {
                    refuse(format!("must not contain '{part}'"));
                }
            }
            for end in ["/..", "/."] {
                if given.ends_with(end) {
                    refuse(format!("cannot end with '{end}'"));
                }
            }
        }
        "ImplementationSpecific" if given.is_empty() || absolute => {}
        "ImplementationSpecific" => refuse("must be an absolute path".to_owned()),
        "" => errors.push(FieldError::required(
            &path.child("pathType"),
            "pathType must be specified",
        )),
        other => {
            let kinds = ["Exact", "ImplementationSpecific", "Prefix"];
            errors.push(FieldError::not_supported(&path.child("pathType"), other, &kinds));
        }
    }
}

fn backend(backend: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    match (has(backend, "resource"), has(backend, "service")) {
        (true, true) => errors.push(FieldError::invalid(
            path,
            "",
            "cannot set both resource and service backends",
        )),
        (true, false) => typed_reference(at(backend, "resource"), &path.child("resource"), errors),
        (false, true) => service_backend(at(backend, "service"), path, errors),
        (false, false) => errors.push(FieldError::invalid(path, "", "resource or service backend is required")),
    }
}

fn service_backend(service: &Value, backend: &Path, errors: &mut Vec<FieldError>) {
    let path = backend.child("service");
    let name = text(service, "name");
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("name"), ""));
    } else {
        wrong(&path.child("name"), name, names::label(name, false), errors);
    }
    let (port, path) = (at(service, "port"), path.child("port"));
    let (name, number) = (text(port, "name"), int(port, "number").unwrap_or(0));
    match (!name.is_empty(), number != 0) {
        (true, true) => errors.push(FieldError::invalid(
            backend,
            "",
            "cannot set both port name & port number",
        )),
        (true, false) => wrong(&path.child("name"), name, names::port_name(name), errors),
        (false, true) => {
            let sentences = names::port_number(number);
            errors.extend(
                sentences
                    .into_iter()
                    .map(|m| FieldError::invalid(&path.child("number"), number, m)),
            );
        }
        (false, false) => errors.push(FieldError::required(backend, "port name or number is required")),
    }
}

/// Checks a `TypedLocalObjectReference`.
fn typed_reference(object: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    if has(object, "apiGroup") {
        let group = text(object, "apiGroup");
        wrong(&path.child("apiGroup"), group, names::subdomain(group, false), errors);
    }
    reference(object, "kind", path, errors);
    reference(object, "name", path, errors);
}

/// `ingressclasses.networking.k8s.io`.
pub(crate) struct IngressClasses;

impl Strategy for IngressClasses {
    fn has_status(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        within(object, "spec", |spec| {
            within(spec, "parameters", |parameters| default(parameters, "scope", "Cluster"));
        });
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let (path, spec, mut errors) = (Path::new("spec"), at(object, "spec"), Vec::new());
        let (controller, at_controller) = (text(spec, "controller"), path.child("controller"));
        if controller.len() > 250 {
            errors.push(FieldError::too_long(&at_controller, 250));
        }
        if controller.is_empty() {
            errors.push(FieldError::required(&at_controller, ""));
        } else {
            wrong(
                &at_controller,
                controller,
                names::domain_prefixed_path(controller),
                &mut errors,
            );
        }
        let (parameters, path) = (at(spec, "parameters"), path.child("parameters"));
        if parameters.is_null() {
            return errors;
        }
        typed_reference(parameters, &path, &mut errors);
        match (text(parameters, "scope"), has(parameters, "namespace")) {
            ("Cluster", true) => errors.push(FieldError::forbidden(
                &path.child("namespace"),
                "`parameters.scope` is set to 'Cluster'",
            )),
            ("Namespace", false) => errors.push(FieldError::required(
                &path.child("namespace"),
                "`parameters.scope` is set to 'Namespace'",
            )),
            ("Namespace", true) => {
                let namespace = text(parameters, "namespace");
                wrong(
                    &path.child("namespace"),
                    namespace,
                    names::label(namespace, false),
                    &mut errors,
                );
            }
            ("Cluster", false) => {}
            ("", _) => errors.push(FieldError::required(&path.child("scope"), "")),
            (other, _) => {
                let scopes = ["Cluster", "Namespace"];
                errors.push(FieldError::not_supported(&path.child("scope"), other, &scopes));
            }
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate(new);
        immutable(
            at(new, "spec"),
            at(old, "spec"),
            "controller",
            &Path::new("spec"),
            &mut errors,
        );
        errors
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

#[cfg(test)]
mod tests {
    use super::*;

    fn said(spec: Value) -> Vec<String> {
        let errors = Ingresses.validate(&json!({"spec": spec}));
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn rules_and_backends_are_checked_together() {
        let fine = json!({"service": {"name": "web", "port": {"number": 80}}});
        let good = json!({
            "defaultBackend": fine, "tls": [{"hosts": ["*.example.com"], "secretName": "s"}],
            "rules": [{"host": "example.com", "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": fine}]}}],
        });
        assert_eq!(said(good), Vec::<String>::new());
        assert_eq!(
            said(json!({})),
            ["spec: Invalid value: \"null\": either `defaultBackend` or `rules` must be specified"]
        );
        let bad = json!({
            "defaultBackend": {},
            "rules": [
                {"host": "10.0.0.1", "http": {"paths": [
                    {"path": "a//b/..", "pathType": "Exact", "backend": {"service": {"name": "web", "port": {}}}},
                    {"backend": {"service": {"port": {"name": "http", "number": 1}}, "resource": {}}},
                    {"path": "/", "pathType": "Fuzzy", "backend": {"resource": {"name": "n"}}},
                ]}},
                {"http": {}},
            ],
        });
        let route = "spec.rules[0].http.paths";
        assert_eq!(
            said(bad),
            [
                "spec.defaultBackend: Invalid value: \"\": resource or service backend is required".to_owned(),
                "spec.rules[0].host: Invalid value: \"10.0.0.1\": must be a DNS name, not an IP address".to_owned(),
                format!("{route}[0].path: Invalid value: \"a//b/..\": must be an absolute path"),
                format!("{route}[0].path: Invalid value: \"a//b/..\": must not contain '//'"),
                format!("{route}[0].path: Invalid value: \"a//b/..\": cannot end with '/..'"),
                format!("{route}[0].backend: Required value: port name or number is required"),
                format!("{route}[1].pathType: Required value: pathType must be specified"),
                format!("{route}[1].backend: Invalid value: \"\": cannot set both resource and service backends"),
                format!(
                    "{route}[2].pathType: Unsupported value: \"Fuzzy\": supported values: \"Exact\", \"ImplementationSpecific\", \"Prefix\""
                ),
                format!("{route}[2].backend.resource.kind: Required value"),
                "spec.rules[1].http.paths: Required value".to_owned(),
            ]
        );
    }

    #[test]
    fn an_ingress_is_reached_by_addresses_and_names() {
        let of = |doors: Value| json!({"status": {"loadBalancer": {"ingress": doors}}});
        let said = |doors: Value, old: Value| -> Vec<String> {
            let errors = Ingresses.validate_status_update(&of(doors), &of(old));
            errors.iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            said(json!([{"ip": "10.0.0.1", "hostname": "a.b"}]), json!([])),
            Vec::<String>::new()
        );
        assert_eq!(
            said(json!([{"ip": "010.0.0.1", "hostname": "10.0.0.1"}]), json!([])),
            [
                "status.loadBalancer.ingress[0].ip: Invalid value: \"010.0.0.1\": must not have leading 0s",
                "status.loadBalancer.ingress[0].hostname: Invalid value: \"10.0.0.1\": must be a DNS name, not an IP address",
            ]
        );
        let odd = json!([{"ip": "010.0.0.1"}]);
        assert_eq!(said(odd.clone(), odd), Vec::<String>::new());
    }
}
