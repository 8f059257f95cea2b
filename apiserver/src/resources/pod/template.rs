//! Validation of a pod spec: one piece of code for pods and for every kind that embeds a template.

use std::collections::BTreeSet;

use serde_json::Value;
use timonel_api::{FieldError, Path, names};

use super::super::value::{at, entries, flag, has, int, list, text};
use super::{affinity, containers, volumes};

/// Checks a template: its labels and annotations, and its spec.
pub(crate) fn template(template: &Value, path: &Path) -> Vec<FieldError> {
    if template.is_null() {
        return vec![FieldError::required(path, "")];
    }
    let mut errors = pod_metadata(at(template, "metadata"), &path.child("metadata"));
    errors.extend(pod_spec(at(template, "spec"), &path.child("spec")));
    errors
}

/// Checks labels and annotations.
pub(super) fn pod_metadata(metadata: &Value, path: &Path) -> Vec<FieldError> {
    super::super::common::labels(metadata, &path.child("labels"))
}

/// Checks a pod spec.
pub(crate) fn pod_spec(spec: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let volume_names = volumes::validate(list(spec, "volumes"), &path.child("volumes"), &mut errors);
    let mut seen = BTreeSet::new();
    let host_network = flag(spec, "hostNetwork");
    let containers_path = path.child("containers");
    if list(spec, "containers").is_empty() {
        errors.push(FieldError::required(&containers_path, ""));
    }
    for (field, is_init) in [("containers", false), ("initContainers", true)] {
        for (index, container) in list(spec, field).iter().enumerate() {
            let at = path.child(field).index(index);
            containers::validate(container, &at, is_init, host_network, &volume_names, &mut errors);
            let name = text(container, "name");
            if !name.is_empty() && !seen.insert(name) {
                errors.push(FieldError::duplicate(&at.child("name"), name));
            }
        }
    }
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
    if text(spec, "dnsPolicy") == "None" && list(at(spec, "dnsConfig"), "nameservers").is_empty() {
        errors.push(FieldError::required(
            &path.child("dnsConfig").child("nameservers"),
            "must provide at least one DNS nameserver when `dnsPolicy` is None",
        ));
    }
}

fn names_and_numbers(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let not_negative = |field: &str, errors: &mut Vec<FieldError>| {
        if let Some(value) = int(spec, field)
            && value < 0
        {
            errors.push(FieldError::invalid(
                &path.child(field),
                value,
                "must be greater than or equal to 0",
            ));
        }
    };
    not_negative("terminationGracePeriodSeconds", errors);
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
    for (index, reference) in list(spec, "imagePullSecrets").iter().enumerate() {
        if text(reference, "name").is_empty() {
            errors.push(FieldError::required(
                &path.child("imagePullSecrets").index(index).child("name"),
                "",
            ));
        }
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
        "" | "Equal" => super::super::common::label_value(text(toleration, "value"), &path.child("value"), errors),
        "Exists" if !text(toleration, "value").is_empty() => errors.push(FieldError::invalid(
            &path.child("operator"),
            toleration.clone(),
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
