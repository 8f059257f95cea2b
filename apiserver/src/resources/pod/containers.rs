//! Validation of one container: names, image, ports, environment, mounts, probes, hooks, resources.

use std::collections::BTreeSet;

use serde_json::Value;
use timonel_api::quantity::Quantity;
use timonel_api::{FieldError, Path, names};

use super::super::value::{at, entries, flag, has, int, list, text};

/// Checks a container of a pod.
pub(super) fn validate(
    container: &Value,
    path: &Path,
    is_init: bool,
    host_network: bool,
    volumes: &BTreeSet<&str>,
    errors: &mut Vec<FieldError>,
) {
    let name = text(container, "name");
    if name.is_empty() {
        errors.push(FieldError::required(&path.child("name"), ""));
    } else {
        let wrong = names::label(name, false);
        errors.extend(
            wrong
                .into_iter()
                .map(|m| FieldError::invalid(&path.child("name"), name, m)),
        );
    }
    image(container, path, errors);
    ports(container, path, host_network, errors);
    environment(container, path, errors);
    mounts(container, path, volumes, errors);
    probes(container, path, is_init, errors);
    choices(container, path, errors);
    resources(at(container, "resources"), &path.child("resources"), errors);
}

fn image(container: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let image = text(container, "image");
    if image.is_empty() {
        errors.push(FieldError::required(&path.child("image"), ""));
    } else if image.trim() != image {
        errors.push(FieldError::invalid(
            &path.child("image"),
            image,
            "must not have leading or trailing whitespace",
        ));
    }
}

fn choices(container: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let choices: [(&str, &[&str]); 2] = [
        ("imagePullPolicy", &["Always", "IfNotPresent", "Never"]),
        ("terminationMessagePolicy", &["FallbackToLogsOnError", "File"]),
    ];
    for (field, supported) in choices {
        let value = text(container, field);
        if value.is_empty() {
            errors.push(FieldError::required(&path.child(field), ""));
        } else if !supported.contains(&value) {
            errors.push(FieldError::not_supported(&path.child(field), value, supported));
        }
    }
    let context = at(container, "securityContext");
    let context_path = path.child("securityContext");
    for field in ["runAsUser", "runAsGroup"] {
        if let Some(id) = int(context, field)
            && !(0..=2_147_483_647).contains(&id)
        {
            errors.push(FieldError::invalid(
                &context_path.child(field),
                id,
                "must be between 0 and 2147483647, inclusive",
            ));
        }
    }
    if has(context, "allowPrivilegeEscalation")
        && !flag(context, "allowPrivilegeEscalation")
        && flag(context, "privileged")
    {
        errors.push(FieldError::invalid(
            &context_path,
            context.clone(),
            "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
        ));
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

fn ports(container: &Value, path: &Path, host_network: bool, errors: &mut Vec<FieldError>) {
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
            if host_network && Some(host_port) != int(port, "containerPort") {
                let detail = "must match `containerPort` when `hostNetwork` is true";
                errors.push(FieldError::invalid(&path.child("hostPort"), host_port, detail));
            }
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

fn environment(container: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    for (index, variable) in list(container, "env").iter().enumerate() {
        let path = path.child("env").index(index);
        let name = text(variable, "name");
        if name.is_empty() {
            errors.push(FieldError::required(&path.child("name"), ""));
        } else {
            let wrong = names::env_var_name(name);
            errors.extend(
                wrong
                    .into_iter()
                    .map(|m| FieldError::invalid(&path.child("name"), name, m)),
            );
        }
        let source = at(variable, "valueFrom");
        if source.is_null() {
            continue;
        }
        let path = path.child("valueFrom");
        let sources = source
            .as_object()
            .map_or(0, |map| map.values().filter(|v| !v.is_null()).count());
        if sources == 0 {
            let detail = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`";
            errors.push(FieldError::invalid(&path, "", detail));
        } else if !text(variable, "value").is_empty() {
            errors.push(FieldError::invalid(
                &path,
                "",
                "may not be specified when `value` is not empty",
            ));
        } else if sources > 1 {
            errors.push(FieldError::invalid(
                &path,
                "",
                "may not have more than one field specified at a time",
            ));
        }
        for kind in ["configMapKeyRef", "secretKeyRef"] {
            let reference = at(source, kind);
            if !reference.is_null() && text(reference, "key").is_empty() {
                errors.push(FieldError::required(&path.child(kind).child("key"), ""));
            }
        }
    }
}

fn mounts(container: &Value, path: &Path, volumes: &BTreeSet<&str>, errors: &mut Vec<FieldError>) {
    let mut paths = BTreeSet::new();
    for (index, mount) in list(container, "volumeMounts").iter().enumerate() {
        let path = path.child("volumeMounts").index(index);
        let name = text(mount, "name");
        if name.is_empty() {
            errors.push(FieldError::required(&path.child("name"), ""));
        } else if !volumes.contains(name) {
            errors.push(FieldError::not_found(&path.child("name"), name));
        }
        let target = text(mount, "mountPath");
        if target.is_empty() {
            errors.push(FieldError::required(&path.child("mountPath"), ""));
        } else if !paths.insert(target) {
            errors.push(FieldError::invalid(&path.child("mountPath"), target, "must be unique"));
        }
        for field in ["subPath", "subPathExpr"] {
            let sub = text(mount, field);
            if sub.starts_with('/') {
                errors.push(FieldError::invalid(&path.child(field), sub, "must be a relative path"));
            } else if sub.split('/').any(|part| part == "..") {
                errors.push(FieldError::invalid(&path.child(field), sub, "must not contain '..'"));
            }
        }
        if !text(mount, "subPath").is_empty() && !text(mount, "subPathExpr").is_empty() {
            errors.push(FieldError::invalid(
                &path.child("subPathExpr"),
                text(mount, "subPathExpr"),
                "subPathExpr and subPath are mutually exclusive",
            ));
        }
    }
}

fn probes(container: &Value, path: &Path, is_init: bool, errors: &mut Vec<FieldError>) {
    let sidecar = text(container, "restartPolicy") == "Always";
    for kind in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let probe = at(container, kind);
        if probe.is_null() {
            continue;
        }
        let path = path.child(kind);
        if is_init && !sidecar {
            errors.push(FieldError::forbidden(
                &path,
                "may not be set for init containers without restartPolicy=Always",
            ));
            continue;
        }
        handler(probe, &path, errors);
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
    for hook in ["postStart", "preStop"] {
        let action = at(at(container, "lifecycle"), hook);
        if !action.is_null() {
            handler(action, &path.child("lifecycle").child(hook), errors);
        }
    }
}

fn handler(action: &Value, path: &Path, errors: &mut Vec<FieldError>) {
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

/// Checks requests and limits: readable, not negative, requests within limits.
pub(crate) fn resources(resources: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let parse = |field: &str, errors: &mut Vec<FieldError>| {
        let mut parsed = Vec::new();
        for (name, value) in entries(resources, field) {
            let path = path.child(field).key(name);
            let written = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            match written.parse::<Quantity>() {
                Err(_) => errors.push(FieldError::invalid(&path, written, QUANTITY)),
                Ok(quantity) if quantity < Quantity::default() => {
                    errors.push(FieldError::invalid(
                        &path,
                        written,
                        "must be greater than or equal to 0",
                    ));
                }
                Ok(quantity) => parsed.push((name, written, quantity)),
            }
        }
        parsed
    };
    let limits = parse("limits", errors);
    for (name, written, request) in parse("requests", errors) {
        if let Some((_, limit_text, limit)) = limits.iter().find(|(limited, ..)| *limited == name)
            && request > *limit
        {
            let detail = format!("must be less than or equal to {name} limit of {limit_text}");
            errors.push(FieldError::invalid(&path.child("requests"), written, detail));
        }
    }
}

const QUANTITY: &str = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
