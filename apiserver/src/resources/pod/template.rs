//! Validation of a pod spec: one piece of code for pods and for every kind that embeds a template.
//!
//! What is wrong is told in upstream's order (`ValidatePodSpec`).

use std::collections::BTreeSet;

use serde_json::Value;
use timonel_api::{FieldError, Path, names};

use super::super::amounts;
use super::super::common::{label, one_of, wrong};
use super::super::ip;
use super::super::value::{at, entries, flag, has, int, list, text};
use super::{
    affinity, annotations, containers, dns, ephemeral, restart, security, tolerations, volumes, whole, windows,
};

/// Checks a template: its labels and annotations, and its spec.
pub(crate) fn template(template: &Value, path: &Path) -> Vec<FieldError> {
    if template.is_null() {
        return vec![FieldError::required(path, "")];
    }
    let (metadata, spec, at_spec) = (at(template, "metadata"), at(template, "spec"), path.child("spec"));
    let mut errors = super::super::common::labels(metadata, &path.child("labels"));
    let at_annotations = path.child("annotations");
    errors.extend(super::super::common::annotations(metadata, &at_annotations));
    annotations::validate(metadata, spec, &at_annotations, &mut errors);
    errors.extend(pod_spec(spec, None, &at_spec));
    annotations::match_fields(metadata, spec, &at_spec, &mut errors);
    if !list(spec, "ephemeralContainers").is_empty() {
        let detail = "ephemeral containers not allowed in pod template";
        errors.push(FieldError::forbidden(&at_spec.child("ephemeralContainers"), detail));
    }
    errors
}

/// Checks a pod's annotations and spec, on whichever way it comes.
pub(super) fn pod(pod: &Value) -> Vec<FieldError> {
    let (metadata, spec, path) = (at(pod, "metadata"), at(pod, "spec"), Path::new("spec"));
    let mut errors = Vec::new();
    let at_annotations = Path::new("metadata").child("annotations");
    annotations::validate(metadata, spec, &at_annotations, &mut errors);
    errors.extend(pod_spec(spec, Some(pod), &path));
    if text(spec, "serviceAccountName").is_empty() {
        for (index, volume) in list(spec, "volumes").iter().enumerate() {
            let path = path.child("volumes").index(index).child("projected").child("sources");
            let sources = list(at(volume, "projected"), "sources").iter().enumerate();
            for (index, _) in sources.filter(|(_, source)| has(source, "serviceAccountToken")) {
                let path = path.index(index).child("serviceAccountToken");
                let detail = "must not be specified when serviceAccountName is not set";
                errors.push(FieldError::forbidden(&path, detail));
            }
        }
    }
    for field in ["containers", "initContainers"] {
        for (index, container) in list(spec, field).iter().enumerate() {
            containers::trimmed_image(container, &path.child(field).index(index), &mut errors);
        }
    }
    errors
}

/// Checks a new pod.
pub(super) fn new_pod(new: &Value) -> Vec<FieldError> {
    let (spec, path, mut errors) = (at(new, "spec"), Path::new("spec"), pod(new));
    if !list(spec, "ephemeralContainers").is_empty() {
        let detail = "cannot be set on create";
        errors.push(FieldError::forbidden(&path.child("ephemeralContainers"), detail));
    }
    if !text(spec, "nodeName").is_empty() && !list(spec, "schedulingGates").is_empty() {
        let detail = "cannot be set until all schedulingGates have been cleared";
        errors.push(FieldError::forbidden(&path.child("nodeName"), detail));
    }
    annotations::match_fields(at(new, "metadata"), spec, &path, &mut errors);
    errors
}

/// Checks the specification of a pod, or of a template where there is no pod yet.
fn pod_spec(spec: &Value, pod: Option<&Value>, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if !has(spec, "terminationGracePeriodSeconds") {
        let path = path.child("terminationGracePeriodSeconds");
        errors.push(FieldError::required(&path, ""));
    }
    let name = pod.map_or("", |pod| text(at(pod, "metadata"), "name"));
    let volumes = volumes::validate(list(spec, "volumes"), name, &path.child("volumes"), &mut errors);
    whole::claims(spec, name, path, &mut errors);
    let around = containers::Around {
        spec,
        volumes: &volumes,
    };
    main_containers(&around, path, &mut errors);
    init_containers(&around, path, &mut errors);
    ephemeral::validate(&around, path, &mut errors);
    whole::resources(spec, path, &mut errors);
    host_ports_match(spec, pod.is_some(), path, &mut errors);
    one_of(
        spec,
        "restartPolicy",
        &["Always", "OnFailure", "Never"],
        path,
        &mut errors,
    );
    let policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    one_of(spec, "dnsPolicy", &policies, path, &mut errors);
    for (key, value) in entries(spec, "nodeSelector") {
        let path = path.child("nodeSelector");
        label(key, value.as_str().unwrap_or(""), &path, &mut errors);
    }
    security::of_pod(spec, path, &mut errors);
    affinity::affinity(at(spec, "affinity"), &path.child("affinity"), &mut errors);
    dns::validate(spec, &path.child("dnsConfig"), &mut errors);
    gates(spec, path, &mut errors);
    let constraints = list(spec, "topologySpreadConstraints");
    affinity::spread(constraints, &path.child("topologySpreadConstraints"), &mut errors);
    windows::host_process(spec, path, &mut errors);
    host_users(spec, path, &mut errors);
    names_and_numbers(spec, path, &mut errors);
    tolerations::validate(list(spec, "tolerations"), &path.child("tolerations"), &mut errors);
    host_aliases(spec, path, &mut errors);
    classes(spec, path, &mut errors);
    windows::os(spec, path, &mut errors);
    errors
}

fn main_containers(around: &containers::Around<'_>, path: &Path, errors: &mut Vec<FieldError>) {
    let (all, path) = (list(around.spec, "containers"), path.child("containers"));
    if all.is_empty() {
        errors.push(FieldError::required(&path, ""));
        return;
    }
    let grace = int(around.spec, "terminationGracePeriodSeconds");
    let (mut names, mut host_ports) = (BTreeSet::new(), BTreeSet::new());
    for (index, container) in all.iter().enumerate() {
        let (path, name) = (path.index(index), text(container, "name"));
        containers::validate(container, &path, around, errors);
        if !names.insert(name) {
            errors.push(FieldError::duplicate(&path.child("name"), name));
        }
        containers::probes(container, &path, false, grace, errors);
        restart::validate(container, &path, errors);
    }
    for (index, container) in all.iter().enumerate() {
        containers::host_ports(container, &path.index(index), &mut host_ports, errors);
    }
}

fn init_containers(around: &containers::Around<'_>, path: &Path, errors: &mut Vec<FieldError>) {
    let (spec, path) = (around.spec, path.child("initContainers"));
    let grace = int(spec, "terminationGracePeriodSeconds");
    let others = list(spec, "containers").iter().map(|container| text(container, "name"));
    let mut names: BTreeSet<&str> = others.collect();
    for (index, container) in list(spec, "initContainers").iter().enumerate() {
        let (here, name) = (path.index(index), text(container, "name"));
        containers::validate(container, &here, around, errors);
        restart::validate(container, &here, errors);
        if names.contains(name) {
            errors.push(FieldError::duplicate(&here.child("name"), name));
        } else if !name.is_empty() {
            names.insert(name);
        }
        // One after the other: each has the host's ports for itself. Upstream calls each the first.
        containers::host_ports(container, &path.index(0), &mut BTreeSet::new(), errors);
        containers::probes(container, &here, true, grace, errors);
    }
}

fn host_ports_match(spec: &Value, is_pod: bool, path: &Path, errors: &mut Vec<FieldError>) {
    if !flag(spec, "hostNetwork") {
        return;
    }
    for (index, container) in list(spec, "containers").iter().enumerate() {
        let path = path.child("containers").index(index).child("ports");
        for (index, port) in list(container, "ports").iter().enumerate() {
            let [host, own] = ["hostPort", "containerPort"].map(|field| int(port, field).unwrap_or(0));
            // What is left out is filled in when pods are made.
            if (is_pod || host != 0) && host != own {
                let detail = "must match `containerPort` when `hostNetwork` is true";
                errors.push(FieldError::invalid(&path.index(index).child("hostPort"), host, detail));
            }
        }
    }
}

fn gates(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    for (index, gate) in list(spec, "readinessGates").iter().enumerate() {
        let path = path.child("readinessGates").index(index).child("conditionType");
        let kind = text(gate, "conditionType");
        wrong(&path, kind, names::qualified_name(kind), errors);
    }
    let mut seen = BTreeSet::new();
    for (index, gate) in list(spec, "schedulingGates").iter().enumerate() {
        let (path, name) = (path.child("schedulingGates").index(index), text(gate, "name"));
        wrong(&path, name, names::qualified_name(name), errors);
        if !seen.insert(name) {
            errors.push(FieldError::duplicate(&path, name));
        }
    }
}

fn host_users(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    if !has(spec, "hostUsers") || flag(spec, "hostUsers") {
        return;
    }
    // Two of upstream's paths begin with a capital.
    for (field, shown) in [
        ("hostNetwork", "hostNetwork"),
        ("hostPID", "HostPID"),
        ("hostIPC", "HostIPC"),
    ] {
        if flag(spec, field) {
            let detail = "when `pod.Spec.HostUsers` is false";
            errors.push(FieldError::forbidden(&path.child(shown), detail));
        }
    }
}

type Rule = fn(&str, bool) -> Vec<String>;

fn named(spec: &Value, field: &str, rule: Rule, path: &Path, errors: &mut Vec<FieldError>) {
    let value = text(spec, field);
    if !value.is_empty() {
        wrong(&path.child(field), value, rule(value, false), errors);
    }
}

/// The most that Linux takes as a host name.
const HOST_NAME_MAX: usize = 64;

fn names_and_numbers(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    named(spec, "serviceAccountName", names::subdomain, path, errors);
    named(spec, "nodeName", names::subdomain, path, errors);
    if let Some(seconds) = int(spec, "activeDeadlineSeconds") {
        for sentence in names::in_range(seconds, 1, i32::MAX.into()) {
            let path = path.child("activeDeadlineSeconds");
            errors.push(FieldError::invalid(&path, seconds, sentence));
        }
    }
    named(spec, "hostname", names::label, path, errors);
    if has(spec, "hostnameOverride") {
        let (name, at_name) = (text(spec, "hostnameOverride"), path.child("hostnameOverride"));
        wrong(&at_name, name, names::subdomain(name, false), errors);
        if name.len() > HOST_NAME_MAX {
            errors.push(FieldError::too_long(&at_name, HOST_NAME_MAX));
        }
        for field in ["setHostnameAsFQDN", "hostNetwork"]
            .iter()
            .filter(|field| flag(spec, field))
        {
            let detail = "may not be set when `hostnameOverride` is set";
            errors.push(FieldError::forbidden(&path.child(field), detail));
        }
    }
    named(spec, "subdomain", names::label, path, errors);
}

fn host_aliases(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    for (index, alias) in list(spec, "hostAliases").iter().enumerate() {
        let (path, address) = (path.child("hostAliases").index(index), text(alias, "ip"));
        wrong(&path.child("ip"), address, ip::address(address), errors);
        let hosts = list(alias, "hostnames").iter().filter_map(Value::as_str);
        for (index, host) in hosts.enumerate() {
            let path = path.child("hostnames").index(index);
            wrong(&path, host, names::subdomain(host, false), errors);
        }
    }
}

fn classes(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    named(spec, "priorityClassName", names::subdomain, path, errors);
    if has(spec, "runtimeClassName") {
        let (class, path) = (text(spec, "runtimeClassName"), path.child("runtimeClassName"));
        wrong(&path, class, names::subdomain(class, false), errors);
    }
    if has(spec, "preemptionPolicy") {
        one_of(
            spec,
            "preemptionPolicy",
            &["PreemptLowerPriority", "Never"],
            path,
            errors,
        );
    }
    if has(spec, "overhead") {
        let overhead = serde_json::json!({"limits": at(spec, "overhead")});
        let path = path.child("overhead");
        amounts::requirements(&overhead, amounts::container_resource_name, &path, errors);
    }
}
