//! Nodes.

use jiff::Timestamp;
use serde_json::{Value, json};
use timonel_api::{FieldError, Path};

use super::super::cells::{age, name};
use super::super::common;
use super::super::strategy::{Column, Strategy};
use super::super::value::{at, default, entries, flag, has, list, text, within};
use super::super::warnings::cidr;

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
        within(object, "status", |status| {
            if has(status, "capacity") {
                let capacity = at(status, "capacity").clone();
                default(status, "allocatable", capacity);
            }
        });
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let path = Path::new("spec").child("taints");
        for (index, taint) in list(at(object, "spec"), "taints").iter().enumerate() {
            let path = path.index(index);
            common::label_key(text(taint, "key"), &path.child("key"), &mut errors);
            common::label_value(text(taint, "value"), &path.child("value"), &mut errors);
            let effect = text(taint, "effect");
            let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
            if effect.is_empty() {
                errors.push(FieldError::required(&path.child("effect"), ""));
            } else if !effects.contains(&effect) {
                errors.push(FieldError::not_supported(&path.child("effect"), effect, &effects));
            }
            let same = |other: &&Value| text(other, "key") == text(taint, "key") && text(other, "effect") == effect;
            if list(at(object, "spec"), "taints")[..index]
                .iter()
                .any(|other| same(&other))
            {
                errors.push(FieldError::duplicate(&path, taint.clone()));
            }
        }
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
        let mut errors = self.validate(new);
        let (new, old, path) = (at(new, "spec"), at(old, "spec"), Path::new("spec"));
        if !list(old, "podCIDRs").is_empty() && at(new, "podCIDRs") != at(old, "podCIDRs") {
            let detail = "node updates may not change podCIDR except from \"\" to valid";
            errors.push(FieldError::forbidden(&path.child("podCIDRs"), detail));
        }
        if !text(old, "providerID").is_empty() && text(new, "providerID") != text(old, "providerID") {
            let detail = "node updates may not change providerID except from \"\" to valid";
            errors.push(FieldError::forbidden(&path.child("providerID"), detail));
        }
        errors
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
