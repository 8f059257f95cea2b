//! RBAC kinds, leases and the classes of priority and runtime.

use jiff::Timestamp;
use serde_json::{Value, json};
use timonel_api::{FieldError, Path, names};

use super::cells::{age, join, name};
use super::common::immutable;
use super::strategy::{Column, Strategy};
use super::value::{at, default_text, each, entries, has, int, list, text, within};

const RBAC: &str = "rbac.authorization.k8s.io";

/// `roles` and `clusterroles`.
pub(super) struct Roles {
    /// Cluster roles may name non-resource URLs.
    pub(super) cluster: bool,
}

impl Strategy for Roles {
    fn has_status(&self) -> bool {
        false
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::path_segment(name, prefix)
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for (index, rule) in list(object, "rules").iter().enumerate() {
            let path = Path::new("rules").index(index);
            if list(rule, "verbs").is_empty() {
                errors.push(FieldError::required(
                    &path.child("verbs"),
                    "verbs must contain at least one value",
                ));
            }
            if !list(rule, "nonResourceURLs").is_empty() {
                if !self.cluster {
                    let detail = "namespaced rules cannot apply to non-resource URLs";
                    errors.push(FieldError::invalid(
                        &path.child("nonResourceURLs"),
                        at(rule, "nonResourceURLs").clone(),
                        detail,
                    ));
                }
                if !list(rule, "resources").is_empty() || !list(rule, "apiGroups").is_empty() {
                    let detail = "rules cannot apply to both regular resources and non-resource URLs";
                    errors.push(FieldError::invalid(
                        &path.child("nonResourceURLs"),
                        at(rule, "nonResourceURLs").clone(),
                        detail,
                    ));
                }
                continue;
            }
            if list(rule, "apiGroups").is_empty() {
                let detail = "resource rules must supply at least one api group";
                errors.push(FieldError::required(&path.child("apiGroups"), detail));
            }
            if list(rule, "resources").is_empty() {
                let detail = "resource rules must supply at least one resource";
                errors.push(FieldError::required(&path.child("resources"), detail));
            }
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[Column::name(), Column::new("Created At")];
        COLUMNS
    }
}

/// `rolebindings` and `clusterrolebindings`.
pub(super) struct RoleBindings {
    /// Cluster bindings refer to cluster roles only.
    pub(super) cluster: bool,
}

impl Strategy for RoleBindings {
    fn has_status(&self) -> bool {
        false
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn default(&self, object: &mut Value) {
        within(object, "roleRef", |reference| default_text(reference, "apiGroup", RBAC));
        each(object, "subjects", |subject| {
            if matches!(text(subject, "kind"), "User" | "Group") {
                default_text(subject, "apiGroup", RBAC);
            }
        });
    }

    fn validate_name(&self, name: &str, prefix: bool) -> Vec<String> {
        names::path_segment(name, prefix)
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let (reference, path) = (at(object, "roleRef"), Path::new("roleRef"));
        if text(reference, "apiGroup") != RBAC {
            errors.push(FieldError::not_supported(
                &path.child("apiGroup"),
                text(reference, "apiGroup"),
                &[RBAC],
            ));
        }
        let kinds: &[&str] = if self.cluster {
            &["ClusterRole"]
        } else {
            &["ClusterRole", "Role"]
        };
        if !kinds.contains(&text(reference, "kind")) {
            errors.push(FieldError::not_supported(
                &path.child("kind"),
                text(reference, "kind"),
                kinds,
            ));
        }
        if text(reference, "name").is_empty() {
            errors.push(FieldError::required(&path.child("name"), ""));
        }
        for (index, subject) in list(object, "subjects").iter().enumerate() {
            let path = Path::new("subjects").index(index);
            if text(subject, "name").is_empty() {
                errors.push(FieldError::required(&path.child("name"), ""));
            }
            match text(subject, "kind") {
                "ServiceAccount" if text(subject, "namespace").is_empty() && self.cluster => {
                    errors.push(FieldError::required(&path.child("namespace"), ""));
                }
                "ServiceAccount" | "User" | "Group" => {}
                other => {
                    let kinds = ["ServiceAccount", "User", "Group"];
                    errors.push(FieldError::not_supported(&path.child("kind"), other, &kinds));
                }
            }
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate(new);
        if at(new, "roleRef") != at(old, "roleRef") {
            let detail = "cannot change roleRef";
            errors.push(FieldError::invalid(
                &Path::new("roleRef"),
                at(new, "roleRef").clone(),
                detail,
            ));
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::name(),
            Column::new("Role"),
            Column::new("Age"),
            Column::wide("Users"),
            Column::wide("Groups"),
            Column::wide("ServiceAccounts"),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let reference = at(object, "roleRef");
        let of = |kind: &str| {
            let subjects = list(object, "subjects")
                .iter()
                .filter(|subject| text(subject, "kind") == kind);
            subjects
                .map(|subject| match text(subject, "namespace") {
                    namespace if kind == "ServiceAccount" => format!("{namespace}/{}", text(subject, "name")),
                    _ => text(subject, "name").to_owned(),
                })
                .collect::<Vec<_>>()
                .join(", ")
        };
        vec![
            name(object),
            json!(format!("{}/{}", text(reference, "kind"), text(reference, "name"))),
            age(object, now),
            json!(of("User")),
            json!(of("Group")),
            json!(of("ServiceAccount")),
        ]
    }
}

/// `leases.coordination.k8s.io`.
pub(super) struct Leases;

impl Strategy for Leases {
    fn has_status(&self) -> bool {
        false
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let (path, spec, mut errors) = (Path::new("spec"), at(object, "spec"), Vec::new());
        if has(spec, "leaseDurationSeconds") && int(spec, "leaseDurationSeconds").unwrap_or(0) <= 0 {
            let value = at(spec, "leaseDurationSeconds").clone();
            errors.push(FieldError::invalid(
                &path.child("leaseDurationSeconds"),
                value,
                "must be greater than 0",
            ));
        }
        super::common::not_negative(spec, &["leaseTransitions"], &path, &mut errors);
        let (strategy, at_strategy) = (text(spec, "strategy"), path.child("strategy"));
        if has(spec, "strategy") && !strategy.contains('/') {
            super::common::any_of(spec, "strategy", &["OldestEmulationVersion"], &path, &mut errors);
        } else if !strategy.is_empty() {
            super::common::wrong(&at_strategy, strategy, names::qualified_name(strategy), &mut errors);
        }
        if !text(spec, "preferredHolder").is_empty() && strategy.is_empty() {
            let detail = "may only be specified if `strategy` is defined";
            errors.push(FieldError::forbidden(&path.child("preferredHolder"), detail));
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[Column::name(), Column::new("Holder"), Column::new("Age")];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            name(object),
            json!(text(at(object, "spec"), "holderIdentity")),
            age(object, now),
        ]
    }
}

/// `priorityclasses.scheduling.k8s.io`.
pub(super) struct PriorityClasses;

impl Strategy for PriorityClasses {
    fn has_status(&self) -> bool {
        false
    }

    fn has_generation(&self) -> bool {
        true
    }

    fn default(&self, object: &mut Value) {
        default_text(object, "preemptionPolicy", "PreemptLowerPriority");
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let own = text(at(object, "metadata"), "name");
        let value = int(object, "value").unwrap_or(0);
        if own.starts_with("system-") && !["system-cluster-critical", "system-node-critical"].contains(&own) {
            let detail = "priority class names with 'system-' prefix are reserved for system use only. error: the name is not one of the known system priority classes";
            errors.push(FieldError::forbidden(&Path::new("metadata").child("name"), detail));
        } else if value > 1_000_000_000 && !own.starts_with("system-") {
            let detail = "maximum allowed value of a user defined priority is 1000000000";
            errors.push(FieldError::forbidden(&Path::new("value"), detail));
        }
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if int(new, "value") != int(old, "value") {
            errors.push(FieldError::forbidden(
                &Path::new("value"),
                "may not be changed in an update.",
            ));
        }
        immutable(new, old, "preemptionPolicy", &Path::root(), &mut errors);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[
            Column::name(),
            Column::integer("Value"),
            Column::new("Global-Default"),
            Column::new("Age"),
            Column::new("PreemptionPolicy"),
        ];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            name(object),
            json!(int(object, "value").unwrap_or(0)),
            json!(super::value::flag(object, "globalDefault")),
            age(object, now),
            json!(text(object, "preemptionPolicy")),
        ]
    }
}

/// `runtimeclasses.node.k8s.io`.
pub(super) struct RuntimeClasses;

impl Strategy for RuntimeClasses {
    fn has_status(&self) -> bool {
        false
    }

    fn has_generation(&self) -> bool {
        false
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let handler = text(object, "handler");
        errors.extend(
            names::label(handler, false)
                .into_iter()
                .map(|m| FieldError::invalid(&Path::new("handler"), handler, m)),
        );
        let path = Path::new("overhead").child("podFixed");
        for (resource, amount) in entries(at(object, "overhead"), "podFixed") {
            let amount = amount.as_str().unwrap_or_default();
            let negative = timonel_api::quantity::Quantity::parse(amount).is_ok_and(|amount| amount.sign() < 0);
            if negative {
                let detail = super::common::NOT_NEGATIVE;
                errors.push(FieldError::invalid(&path.key(resource), amount, detail));
            }
        }
        let path = Path::new("scheduling").child("nodeSelector");
        for (key, value) in entries(at(object, "scheduling"), "nodeSelector") {
            super::common::label(key, value.as_str().unwrap_or_default(), &path, &mut errors);
        }
        errors
    }

    fn warnings(&self, object: &Value) -> Vec<String> {
        let selector = entries(at(object, "scheduling"), "nodeSelector");
        let deprecated = selector.filter_map(|(key, _)| super::warnings::node_label(key));
        deprecated
            .map(|words| format!("scheduling.nodeSelector: {words}"))
            .collect()
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate(new);
        immutable(new, old, "handler", &Path::root(), &mut errors);
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[Column::name(), Column::new("Handler"), Column::new("Age")];
        COLUMNS
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        vec![
            name(object),
            json!(join([text(object, "handler")], "")),
            age(object, now),
        ]
    }
}
