//! Validation of one container: names, image, ports, environment, mounts, probes, hooks, resources.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use timonel_api::{FieldError, Path, names};

use super::super::amounts;
use super::super::common::{one_of, wrong};
use super::super::value::{at, has, int, list, text};
use super::{environment, mounts, security};

const ONLY_SIDECARS: &str = "may not be set for init containers without restartPolicy=Always";

/// What a container stands in.
pub(super) struct Around<'a> {
    /// The pod's specification.
    pub(super) spec: &'a Value,
    /// The volumes that may be mounted.
    pub(super) volumes: &'a BTreeMap<&'a str, &'a Value>,
}

/// Checks a container of a pod: what all kinds of containers have.
pub(super) fn validate(container: &Value, path: &Path, around: &Around<'_>, errors: &mut Vec<FieldError>) {
    let name = text(container, "name");
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("name"), ""));
    } else {
        wrong(&path.child("name"), name, names::label(name, false), errors);
    }
    if text(container, "image").is_empty() {
        errors.push(FieldError::required(&path.child("image"), ""));
    }
    let policies = ["File", "FallbackToLogsOnError"];
    one_of(container, "terminationMessagePolicy", &policies, path, errors);
    ports(container, path, errors);
    environment::validate(container, path, errors);
    mounts::validate(container, path, around.volumes, errors);
    let policies = ["Always", "IfNotPresent", "Never"];
    one_of(container, "imagePullPolicy", &policies, path, errors);
    let at_resources = path.child("resources");
    let resources = at(container, "resources");
    amounts::requirements(resources, amounts::container_resource_name, &at_resources, errors);
    claims(container, around.spec, &at_resources.child("claims"), errors);
    resize_policy(container, around.spec, &path.child("resizePolicy"), errors);
    let at_context = path.child("securityContext");
    security::of_container(at(container, "securityContext"), around.spec, &at_context, errors);
}

/// Checks what is asked of a pod's image and not of a template's.
pub(super) fn trimmed_image(container: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let image = text(container, "image");
    if image.trim() != image {
        let detail = "must not have leading or trailing whitespace";
        errors.push(FieldError::invalid(&path.child("image"), image, detail));
    }
}

/// Checks that the devices a container asks for are among its pod's.
fn claims(container: &Value, spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let all = list(spec, "resourceClaims").iter().map(|claim| text(claim, "name"));
    let known: BTreeSet<&str> = all.filter(|name| !name.is_empty()).collect();
    let mut seen = BTreeSet::new();
    for (index, claim) in list(at(container, "resources"), "claims").iter().enumerate() {
        let (path, name) = (path.index(index), text(claim, "name"));
        if name.is_empty() {
            errors.push(FieldError::required(&path, ""));
            continue;
        }
        let request = text(claim, "request");
        if !request.is_empty() && !seen.contains(&(name, "")) {
            wrong(&path.child("request"), request, names::label(request, false), errors);
        }
        // The whole claim holds each of its requests.
        if seen.contains(&(name, "")) {
            errors.push(FieldError::duplicate(&path, name));
        } else if seen.contains(&(name, request)) {
            errors.push(FieldError::duplicate(&path, format!("{name}/{request}")));
        } else if request.is_empty() {
            for _ in seen.iter().filter(|(other, _)| *other == name) {
                errors.push(FieldError::duplicate(&path, name));
            }
        }
        seen.insert((name, request));
        if !known.contains(name) {
            let mut error = FieldError::not_found(&path, name);
            let names: Vec<&str> = known.iter().copied().collect();
            error.detail = match names.is_empty() {
                true => "must be one of the names in pod.spec.resourceClaims which is empty".to_owned(),
                false => format!(
                    "must be one of the names in pod.spec.resourceClaims: {}",
                    names.join(", ")
                ),
            };
            errors.push(error);
        }
    }
}

/// Checks how a container takes a change of what it may use. Everything is told at the list, as upstream does.
fn resize_policy(container: &Value, spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let mut seen = BTreeSet::new();
    for (index, policy) in list(container, "resizePolicy").iter().enumerate() {
        let (resource, restart) = (text(policy, "resourceName"), text(policy, "restartPolicy"));
        if !seen.insert(resource) {
            errors.push(FieldError::duplicate(&path.index(index), resource));
        }
        for (value, supported) in [
            (resource, ["cpu", "memory"]),
            (restart, ["NotRequired", "RestartContainer"]),
        ] {
            if value.is_empty() {
                errors.push(FieldError::required(path, ""));
            } else if !supported.contains(&value) {
                errors.push(FieldError::not_supported(path, value, &supported));
            }
        }
        if text(spec, "restartPolicy") == "Never" && restart != "NotRequired" {
            let detail = "must be 'NotRequired' when `restartPolicy` is 'Never'";
            errors.push(FieldError::invalid(path, restart, detail));
        }
    }
}

fn port_number(number: i64, path: &Path, errors: &mut Vec<FieldError>) {
    if !(1..=65535).contains(&number) {
        errors.push(FieldError::invalid(
            path,
            number,
            "must be between 1 and 65535, inclusive",
        ));
    }
}

fn ports(container: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let mut seen = BTreeSet::new();
    for (index, port) in list(container, "ports").iter().enumerate() {
        let path = path.child("ports").index(index);
        let name = text(port, "name");
        if !name.is_empty() {
            let wrong = names::port_name(name);
            if wrong.is_empty() && !seen.insert(name) {
                errors.push(FieldError::duplicate(&path.child("name"), name));
            }
            errors.extend(
                wrong
                    .into_iter()
                    .map(|m| FieldError::invalid(&path.child("name"), name, m)),
            );
        }
        match int(port, "containerPort").unwrap_or(0) {
            0 => errors.push(FieldError::required(&path.child("containerPort"), "")),
            number => port_number(number, &path.child("containerPort"), errors),
        }
        let host_port = int(port, "hostPort").unwrap_or(0);
        if host_port != 0 {
            port_number(host_port, &path.child("hostPort"), errors);
        }
        let protocol = text(port, "protocol");
        if protocol.is_empty() {
            errors.push(FieldError::required(&path.child("protocol"), ""));
        } else if !["SCTP", "TCP", "UDP"].contains(&protocol) {
            errors.push(FieldError::not_supported(
                &path.child("protocol"),
                protocol,
                &["SCTP", "TCP", "UDP"],
            ));
        }
    }
}

/// Checks that no two containers that run together want one port of the host.
pub(super) fn host_ports(container: &Value, path: &Path, taken: &mut BTreeSet<String>, errors: &mut Vec<FieldError>) {
    for (index, port) in list(container, "ports").iter().enumerate() {
        let number = int(port, "hostPort").unwrap_or(0);
        let key = format!("{}/{}/{number}", text(port, "protocol"), text(port, "hostIP"));
        if number != 0 && !taken.insert(key.clone()) {
            let path = path.child("ports").index(index).child("hostPort");
            errors.push(FieldError::duplicate(&path, key));
        }
    }
}

/// Checks what only containers that keep running have.
pub(super) fn probes(container: &Value, path: &Path, is_init: bool, grace: Option<i64>, errors: &mut Vec<FieldError>) {
    let sidecar = text(container, "restartPolicy") == "Always";
    let lifecycle = at(container, "lifecycle");
    if is_init && !sidecar && !lifecycle.is_null() {
        errors.push(FieldError::forbidden(&path.child("lifecycle"), ONLY_SIDECARS));
    } else {
        for hook in ["postStart", "preStop"].iter().filter(|hook| has(lifecycle, hook)) {
            handler(at(lifecycle, hook), grace, &path.child("lifecycle").child(hook), errors);
        }
    }
    for kind in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let probe = at(container, kind);
        if probe.is_null() {
            continue;
        }
        let path = path.child(kind);
        if is_init && !sidecar {
            errors.push(FieldError::forbidden(&path, ONLY_SIDECARS));
            continue;
        }
        handler(probe, grace, &path, errors);
        for field in [
            "initialDelaySeconds",
            "timeoutSeconds",
            "periodSeconds",
            "successThreshold",
            "failureThreshold",
        ] {
            if let Some(value) = int(probe, field)
                && value < 0
            {
                errors.push(FieldError::invalid(
                    &path.child(field),
                    value,
                    "must be greater than or equal to 0",
                ));
            }
        }
        let successes = int(probe, "successThreshold").unwrap_or(1);
        if kind != "readinessProbe" && successes != 1 {
            errors.push(FieldError::invalid(
                &path.child("successThreshold"),
                successes,
                "must be 1",
            ));
        }
        if let Some(seconds) = int(probe, "terminationGracePeriodSeconds") {
            let path = path.child("terminationGracePeriodSeconds");
            if kind == "readinessProbe" {
                errors.push(FieldError::invalid(
                    &path,
                    seconds,
                    "must not be set for readinessProbes",
                ));
            } else if seconds <= 0 {
                errors.push(FieldError::invalid(&path, seconds, "must be greater than 0"));
            }
        }
    }
}

fn handler(action: &Value, grace: Option<i64>, path: &Path, errors: &mut Vec<FieldError>) {
    let mut kinds = ["exec", "httpGet", "tcpSocket", "grpc", "sleep"]
        .into_iter()
        .filter(|kind| has(action, kind));
    let Some(kind) = kinds.next() else {
        errors.push(FieldError::required(path, "must specify a handler type"));
        return;
    };
    for extra in kinds {
        errors.push(FieldError::forbidden(
            &path.child(extra),
            "may not specify more than 1 handler type",
        ));
    }
    let (action, path) = (at(action, kind), path.child(kind));
    match kind {
        "exec" if list(action, "command").is_empty() => errors.push(FieldError::required(&path.child("command"), "")),
        "httpGet" => {
            if text(action, "path").is_empty() {
                errors.push(FieldError::required(&path.child("path"), ""));
            }
            port_or_name(at(action, "port"), &path.child("port"), errors);
            let scheme = text(action, "scheme");
            if !["HTTP", "HTTPS"].contains(&scheme) {
                errors.push(FieldError::not_supported(
                    &path.child("scheme"),
                    scheme,
                    &["HTTP", "HTTPS"],
                ));
            }
            for header in list(action, "httpHeaders") {
                let name = text(header, "name");
                wrong(&path.child("httpHeaders"), name, names::http_header_name(name), errors);
            }
        }
        "sleep" => {
            let seconds = int(action, "seconds").unwrap_or(0);
            if let Some(grace) = grace.filter(|grace| seconds < 0 || seconds > *grace) {
                let detail = format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
                errors.push(FieldError::invalid(&path, seconds, detail));
            }
        }
        "tcpSocket" => port_or_name(at(action, "port"), &path.child("port"), errors),
        "grpc" => port_number(int(action, "port").unwrap_or(0), &path.child("port"), errors),
        _ => {}
    }
}

fn port_or_name(port: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    match port {
        Value::String(name) => {
            errors.extend(
                names::port_name(name)
                    .into_iter()
                    .map(|m| FieldError::invalid(path, name.as_str(), m)),
            );
        }
        other => port_number(other.as_i64().unwrap_or(0), path, errors),
    }
}
