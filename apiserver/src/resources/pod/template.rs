//! Validation of a pod spec: one piece of code for pods and for every kind that embeds a template.

use std::collections::BTreeSet;

use serde_json::Value;
use timonel_api::{FieldError, Path, names};

use super::super::common::wrong;
use super::super::ip;
use super::super::value::{at, entries, flag, has, int, list, text};
use super::{affinity, containers, volumes};

/// Checks a template: its labels and annotations, and its spec.
pub(crate) fn template(template: &Value, path: &Path) -> Vec<FieldError> {
    if template.is_null() {
        return vec![FieldError::required(path, "")];
    }
    let mut errors = pod_metadata(at(template, "metadata"), &path.child("metadata"));
    let (spec, path) = (at(template, "spec"), path.child("spec"));
    errors.extend(pod_spec(spec, None, &path));
    if !list(spec, "ephemeralContainers").is_empty() {
        let detail = "ephemeral containers not allowed in pod template";
        errors.push(FieldError::forbidden(&path.child("ephemeralContainers"), detail));
    }
    errors
}

/// Checks labels and annotations.
pub(super) fn pod_metadata(metadata: &Value, path: &Path) -> Vec<FieldError> {
    super::super::common::labels(metadata, &path.child("labels"))
}

/// Checks the specification of a pod, or of a template where there is no pod yet.
pub(super) fn pod_spec(spec: &Value, pod: Option<&Value>, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if !has(spec, "terminationGracePeriodSeconds") {
        let path = path.child("terminationGracePeriodSeconds");
        errors.push(FieldError::required(&path, ""));
    }
    let name = pod.map_or("", |pod| text(at(pod, "metadata"), "name"));
    let volumes = volumes::validate(list(spec, "volumes"), name, &path.child("volumes"), &mut errors);
    let around = containers::Around {
        spec,
        volumes: &volumes,
        is_pod: pod.is_some(),
    };
    all_containers(&around, path, &mut errors);
    policies(spec, path, &mut errors);
    super::sysctls::validate(at(spec, "securityContext"), &path.child("securityContext"), &mut errors);
    names_and_numbers(spec, path, &mut errors);
    for (index, toleration) in list(spec, "tolerations").iter().enumerate() {
        self::toleration(toleration, &path.child("tolerations").index(index), &mut errors);
    }
    let constraints = list(spec, "topologySpreadConstraints");
    affinity::spread(constraints, &path.child("topologySpreadConstraints"), &mut errors);
    affinity::affinity(at(spec, "affinity"), &path.child("affinity"), &mut errors);
    errors
}

fn all_containers(around: &containers::Around<'_>, path: &Path, errors: &mut Vec<FieldError>) {
    let (spec, mut seen) = (around.spec, BTreeSet::new());
    let grace = int(spec, "terminationGracePeriodSeconds");
    if list(spec, "containers").is_empty() {
        errors.push(FieldError::required(&path.child("containers"), ""));
    }
    for (field, is_init) in [("containers", false), ("initContainers", true)] {
        let mut host_ports = BTreeSet::new();
        for (index, container) in list(spec, field).iter().enumerate() {
            let here = path.child(field).index(index);
            containers::validate(container, &here, around, errors);
            let name = text(container, "name");
            if !name.is_empty() && !seen.insert(name) {
                errors.push(FieldError::duplicate(&here.child("name"), name));
            }
            if is_init {
                // One after the other: each has the host's ports for itself.
                host_ports.clear();
            }
            containers::host_ports(container, &here, &mut host_ports, errors);
            containers::probes(container, &here, is_init, grace, errors);
        }
    }
    if flag(spec, "hostNetwork") {
        for (index, container) in list(spec, "containers").iter().enumerate() {
            let path = path.child("containers").index(index).child("ports");
            for (index, port) in list(container, "ports").iter().enumerate() {
                let host = int(port, "hostPort").unwrap_or(0);
                // What is left out is filled in when pods are made.
                if (around.is_pod || host != 0) && Some(host) != int(port, "containerPort") {
                    let detail = "must match `containerPort` when `hostNetwork` is true";
                    errors.push(FieldError::invalid(&path.index(index).child("hostPort"), host, detail));
                }
            }
        }
    }
}

fn policies(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let choices: [(&str, &[&str]); 3] = [
        ("restartPolicy", &["Always", "OnFailure", "Never"]),
        (
            "dnsPolicy",
            &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
        ),
        ("preemptionPolicy", &["PreemptLowerPriority", "Never"]),
    ];
    for (field, supported) in choices {
        let value = text(spec, field);
        if value.is_empty() && field != "preemptionPolicy" {
            errors.push(FieldError::required(&path.child(field), ""));
        } else if !value.is_empty() && !supported.contains(&value) {
            errors.push(FieldError::not_supported(&path.child(field), value, supported));
        }
    }
    dns_config(spec, &path.child("dnsConfig"), errors);
    host_users(spec, path, errors);
}

/// What the C library of most images bears.
const NAMESERVERS: usize = 3;
const SEARCHES: usize = 32;
const SEARCH_CHARACTERS: usize = 2048;

fn dns_config(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let config = at(spec, "dnsConfig");
    let (servers, searches) = (list(config, "nameservers"), list(config, "searches"));
    if text(spec, "dnsPolicy") == "None" && config.is_null() {
        let detail = "must provide `dnsConfig` when `dnsPolicy` is None";
        errors.push(FieldError::required(path, detail));
        return;
    }
    if text(spec, "dnsPolicy") == "None" && servers.is_empty() {
        let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        errors.push(FieldError::required(&path.child("nameservers"), detail));
        return;
    }
    let (at_servers, at_searches) = (path.child("nameservers"), path.child("searches"));
    if servers.len() > NAMESERVERS {
        let detail = format!("must not have more than {NAMESERVERS} nameservers");
        errors.push(FieldError::invalid(&at_servers, servers.to_vec(), detail));
    }
    ip::listed(servers, &[], &at_servers, ip::address, errors);
    if searches.len() > SEARCHES {
        let detail = format!("must not have more than {SEARCHES} search paths");
        errors.push(FieldError::invalid(&at_searches, searches.to_vec(), detail));
    }
    let texts: Vec<&str> = searches.iter().filter_map(Value::as_str).collect();
    if texts.join(" ").len() > SEARCH_CHARACTERS {
        let detail =
            format!("must not have more than {SEARCH_CHARACTERS} characters (including spaces) in the search list");
        errors.push(FieldError::invalid(&at_searches, searches.to_vec(), detail));
    }
    for (index, search) in texts.iter().enumerate().filter(|(_, search)| **search != ".") {
        let search = search.strip_suffix('.').unwrap_or(search);
        // Since 1.34 an underscore may stand where a letter may.
        let plain = search.replace('_', "a");
        for sentence in names::subdomain(&plain, false) {
            errors.push(FieldError::invalid(&at_searches.index(index), search, sentence));
        }
    }
    for (index, option) in list(config, "options").iter().enumerate() {
        if text(option, "name").is_empty() {
            let path = path.child("options").index(index);
            errors.push(FieldError::required(&path, "must not be empty"));
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

fn names_and_numbers(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    super::super::common::not_negative(spec, &["terminationGracePeriodSeconds"], path, errors);
    if let Some(seconds) = int(spec, "activeDeadlineSeconds")
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        errors.push(FieldError::invalid(
            &path.child("activeDeadlineSeconds"),
            seconds,
            "must be between 1 and 2147483647, inclusive",
        ));
    }
    type Rule = fn(&str, bool) -> Vec<String>;
    let rules: [(&str, Rule); 5] = [
        ("serviceAccountName", names::subdomain),
        ("nodeName", names::subdomain),
        ("priorityClassName", names::subdomain),
        ("hostname", names::label),
        ("subdomain", names::label),
    ];
    for (field, rule) in rules {
        let value = text(spec, field);
        if !value.is_empty() {
            errors.extend(
                rule(value, false)
                    .into_iter()
                    .map(|m| FieldError::invalid(&path.child(field), value, m)),
            );
        }
    }
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
    for (index, alias) in list(spec, "hostAliases").iter().enumerate() {
        let (path, address) = (path.child("hostAliases").index(index), text(alias, "ip"));
        wrong(&path.child("ip"), address, ip::address(address), errors);
        let hosts = list(alias, "hostnames").iter().filter_map(Value::as_str);
        for (index, host) in hosts.enumerate() {
            let path = path.child("hostnames").index(index);
            wrong(&path, host, names::subdomain(host, false), errors);
        }
    }
    if has(spec, "runtimeClassName") {
        let (class, path) = (text(spec, "runtimeClassName"), path.child("runtimeClassName"));
        wrong(&path, class, names::subdomain(class, false), errors);
    }
    for (key, value) in entries(spec, "nodeSelector") {
        super::super::common::label(key, value.as_str().unwrap_or(""), &path.child("nodeSelector"), errors);
    }
}

const EFFECTS: [&str; 3] = ["NoSchedule", "PreferNoSchedule", "NoExecute"];

fn toleration(toleration: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (key, operator) = (text(toleration, "key"), text(toleration, "operator"));
    if !key.is_empty() {
        super::super::common::label_key(key, &path.child("key"), errors);
    } else if operator != "Exists" {
        errors.push(FieldError::invalid(
            &path.child("operator"),
            operator,
            "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
        ));
    }
    let effect = text(toleration, "effect");
    if has(toleration, "tolerationSeconds") && effect != "NoExecute" {
        errors.push(FieldError::invalid(
            &path.child("effect"),
            effect,
            "effect must be 'NoExecute' when `tolerationSeconds` is set",
        ));
    }
    match operator {
        "" | "Equal" => {
            let value = text(toleration, "value");
            let sentences = names::label_value(value);
            if !sentences.is_empty() {
                let path = path.child("operator");
                errors.push(FieldError::invalid(&path, value, sentences.join(";")));
            }
        }
        "Exists" if !text(toleration, "value").is_empty() => errors.push(FieldError::invalid(
            &path.child("operator"),
            text(toleration, "value"),
            "value must be empty when `operator` is 'Exists'",
        )),
        "Exists" => {}
        other => errors.push(FieldError::not_supported(
            &path.child("operator"),
            other,
            &["Equal", "Exists"],
        )),
    }
    if !effect.is_empty() && !EFFECTS.contains(&effect) {
        errors.push(FieldError::not_supported(&path.child("effect"), effect, &EFFECTS));
    }
}
