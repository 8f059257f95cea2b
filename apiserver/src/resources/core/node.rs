//! Nodes.

use std::collections::BTreeSet;

use ipnet::IpNet;
use jiff::Timestamp;
use serde_json::{Value, json};
use timonel_api::{FieldError, Path, names};

use super::super::amounts::amount;
use super::super::cells::{age, name};
use super::super::pod::taint_effect;
use super::super::strategy::{Column, Strategy};
use super::super::value::{at, default, default_text, entries, flag, has, list, set, text, within};
use super::super::warnings::cidr;
use super::super::{common, ip};

/// `nodes`.
pub(crate) struct Nodes;

impl Strategy for Nodes {
    fn comes_with_status(&self) -> bool {
        true
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        // One range and several are two ways to say the same.
        within(object, "spec", |spec| {
            let first = at(spec, "podCIDRs").get(0).cloned();
            if let Some(first) = first {
                default_text(spec, "podCIDR", first.as_str().unwrap_or(""));
            } else if !text(spec, "podCIDR").is_empty() {
                let one = json!([text(spec, "podCIDR")]);
                set(spec, "podCIDRs", one);
            }
        });
        within(object, "status", |status| {
            if has(status, "capacity") {
                let capacity = at(status, "capacity").clone();
                default(status, "allocatable", capacity);
            }
        });
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let (spec, mut errors) = (at(object, "spec"), Vec::new());
        taints(spec, &mut errors);
        resources(object, &mut errors);
        pod_ranges(spec, &Path::new("spec").child("podCIDRs"), &mut errors);
        errors
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        let (path, spec, mut warnings) = (Path::new("spec"), at(object, "spec"), Vec::new());
        if has(spec, "configSource") {
            warnings.push("spec.configSource: deprecated in v1.22, support removed in v1.24".to_owned());
        }
        if !text(spec, "externalID").is_empty() {
            let words = "spec.externalID: this field is deprecated, and is unused by Kubernetes";
            warnings.push(words.to_owned());
        }
        for (index, range) in list(spec, "podCIDRs").iter().filter_map(Value::as_str).enumerate() {
            warnings.extend(cidr(range, &path.child("podCIDRs").index(index)));
        }
        warnings
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let (path, mut errors, mut seen) = (Path::new("spec"), Vec::new(), Vec::new());
        resources(new, &mut errors);
        for (index, address) in list(at(new, "status"), "addresses").iter().enumerate() {
            let path = Path::new("status").child("addresses").index(index);
            if seen.contains(&address) {
                errors.push(FieldError::duplicate(&path, address.clone()));
            }
            seen.push(address);
        }
        let (new, old) = (at(new, "spec"), at(old, "spec"));
        let (after, before) = (list(new, "podCIDRs"), list(old, "podCIDRs"));
        // Each range that changed is told of, or all of them at once.
        let changed = match after.len() == before.len() {
            true => before
                .iter()
                .zip(after)
                .filter(|(before, after)| before != after)
                .count(),
            false => usize::from(!before.is_empty()),
        };
        for _ in 0..changed {
            let detail = "node updates may not change podCIDR except from \"\" to valid";
            errors.push(FieldError::forbidden(&path.child("podCIDRs"), detail));
        }
        if !text(old, "providerID").is_empty() && text(new, "providerID") != text(old, "providerID") {
            let detail = "node updates may not change providerID except from \"\" to valid";
            errors.push(FieldError::forbidden(&path.child("providerID"), detail));
        }
        taints(new, &mut errors);
        if text(new, "externalID") != text(old, "externalID") {
            errors.push(FieldError::forbidden(&path.child("externalID"), "may not be updated"));
        }
        errors
    }

    fn validate_status_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        self.validate_update(new, old)
    }

    fn selectable_fields(&self, object: &Value) -> Vec<(&'static str, String)> {
        vec![(
            "spec.unschedulable",
            flag(at(object, "spec"), "unschedulable").to_string(),
        )]
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::name(),
            Column::new("Status"),
            Column::new("Roles"),
            Column::new("Age"),
            Column::new("Version"),
            Column::wide("Internal-IP"),
            Column::wide("External-IP"),
            Column::wide("OS-Image"),
            Column::wide("Kernel-Version"),
            Column::wide("Container-Runtime"),
        ];
        COLUMNS
    }

    fn row(&self, node: &Value, now: Timestamp) -> Vec<Value> {
        let status = at(node, "status");
        let info = at(status, "nodeInfo");
        let ready = list(status, "conditions").iter().find(|c| text(c, "type") == "Ready");
        let mut words = vec![match ready.map(|c| text(c, "status")) {
            Some("True") => "Ready",
            Some(_) => "NotReady",
            None => "Unknown",
        }];
        if flag(at(node, "spec"), "unschedulable") {
            words.push("SchedulingDisabled");
        }
        let address = |kind: &str| {
            let found = list(status, "addresses").iter().find(|a| text(a, "type") == kind);
            json!(found.map_or("<none>", |a| text(a, "address")))
        };
        let or_unknown = |field: &str| {
            let value = text(info, field);
            json!(if value.is_empty() { "<unknown>" } else { value })
        };
        vec![
            name(node),
            json!(words.join(",")),
            json!(roles(node)),
            age(node, now),
            json!(text(info, "kubeletVersion")),
            address("InternalIP"),
            address("ExternalIP"),
            or_unknown("osImage"),
            or_unknown("kernelVersion"),
            or_unknown("containerRuntimeVersion"),
        ]
    }
}

/// Checks taints. Upstream's path begins at the metadata.
fn taints(spec: &Value, errors: &mut Vec<FieldError>) {
    let (all, path) = (list(spec, "taints"), Path::new("metadata").child("taints"));
    for (index, taint) in all.iter().enumerate() {
        let path = path.index(index);
        common::label_key(text(taint, "key"), &path.child("key"), errors);
        let (value, effect) = (text(taint, "value"), text(taint, "effect"));
        let sentences = names::label_value(value);
        if !sentences.is_empty() {
            errors.push(FieldError::invalid(&path.child("value"), value, sentences.join(";")));
        }
        if effect.is_empty() {
            errors.push(FieldError::required(&path.child("effect"), ""));
        } else {
            taint_effect(effect, &path.child("effect"), errors);
        }
        let same = |other: &Value| {
            ["key", "effect"]
                .iter()
                .all(|field| text(other, field) == text(taint, field))
        };
        if all[..index].iter().any(same) {
            let mut error = FieldError::duplicate(&path, taint.clone());
            error.detail = "taints must be unique by key and effect pair".to_owned();
            errors.push(error);
        }
    }
}

/// Checks what a node has and gives. Upstream writes these keys like fields.
fn resources(node: &Value, errors: &mut Vec<FieldError>) {
    for field in ["capacity", "allocatable"] {
        let path = Path::new("status").child(field);
        for (name, value) in entries(at(node, "status"), field) {
            amount(name, value, &path.child(name), errors);
        }
    }
}

fn pod_ranges(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let all = list(spec, "podCIDRs");
    ip::listed(all, &[], path, ip::range, errors);
    let families: BTreeSet<bool> = all
        .iter()
        .filter_map(|range| range.as_str()?.parse::<IpNet>().ok())
        .map(|range| range.addr().is_ipv4())
        .collect();
    if all.len() > 1 && families.len() != all.len() {
        let detail = "may specify no more than one CIDR for each IP family";
        errors.push(FieldError::invalid(path, all.to_vec(), detail));
    }
    for (index, range) in all
        .iter()
        .enumerate()
        .filter(|(index, range)| all[..*index].contains(range))
    {
        errors.push(FieldError::duplicate(&path.index(index), range.clone()));
    }
}

fn roles(node: &Value) -> String {
    let mut roles: Vec<&str> = Vec::new();
    for (key, value) in entries(at(node, "metadata"), "labels") {
        if let Some(role) = key.strip_prefix("node-role.kubernetes.io/") {
            if !role.is_empty() {
                roles.push(role);
            }
        } else if key == "kubernetes.io/role" {
            roles.extend(value.as_str().filter(|role| !role.is_empty()));
        }
    }
    roles.sort_unstable();
    roles.dedup();
    if roles.is_empty() {
        "<none>".to_owned()
    } else {
        roles.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(errors: &[FieldError]) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_node_obeys_every_rule() {
        let mut good = json!({"spec": {"podCIDR": "10.0.0.0/24", "taints": [{"key": "a", "effect": "NoExecute"}, {"key": "a", "effect": "NoSchedule"}]},
            "status": {"capacity": {"cpu": "4", "a.b/c": "2"}}});
        Nodes.default(&mut good);
        assert_eq!(good["spec"]["podCIDRs"], json!(["10.0.0.0/24"]));
        assert_eq!(Nodes.validate(&good), []);
        let bad = json!({
            "spec": {"podCIDRs": ["10.0.0.0/24", "10.0.0.0/24"], "taints": [{"key": "a", "effect": "X", "value": "-"}, {"key": "a", "effect": "X"}, {"key": "b"}]},
            "status": {"capacity": {"a.b/c": "0.5"}, "allocatable": {"cpu": "-1"}},
        });
        let said = words(&Nodes.validate(&bad));
        let starts = [
            "metadata.taints[0].value: Invalid value: \"-\": a valid label must be",
            "metadata.taints[0].effect: Unsupported value: \"X\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
            "metadata.taints[1].effect: Unsupported value: \"X\"",
            "metadata.taints[1]: Duplicate value: {\"effect\":\"X\",\"key\":\"a\"}: taints must be unique by key and effect pair",
            "metadata.taints[2].effect: Required value",
            "status.capacity.a.b/c: Invalid value: \"500m\": must be an integer",
            "status.allocatable.cpu: Invalid value: \"-1\": must be greater than or equal to 0",
            "spec.podCIDRs: Invalid value: [\"10.0.0.0/24\",\"10.0.0.0/24\"]: may specify no more than one CIDR for each IP family",
            "spec.podCIDRs[1]: Duplicate value: \"10.0.0.0/24\"",
        ];
        assert_eq!(said.len(), starts.len(), "{said:#?}");
        for (said, start) in said.iter().zip(starts) {
            assert!(said.starts_with(start), "{said}");
        }
    }

    #[test]
    fn what_a_node_is_stays() {
        let old = json!({"spec": {"podCIDRs": ["10.0.0.0/24"], "providerID": "a"}});
        let new = json!({"spec": {"podCIDRs": ["10.0.1.0/24"], "providerID": "b", "externalID": "c"}, "status": {"addresses": [{"type": "InternalIP", "address": "a"}, {"type": "InternalIP", "address": "a"}]}});
        assert_eq!(Nodes.validate_update(&old, &json!({})), []);
        assert_eq!(
            words(&Nodes.validate_status_update(&new, &old)),
            [
                "status.addresses[1]: Duplicate value: {\"address\":\"a\",\"type\":\"InternalIP\"}",
                "spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid",
                "spec.providerID: Forbidden: node updates may not change providerID except from \"\" to valid",
                "spec.externalID: Forbidden: may not be updated",
            ]
        );
    }
}
