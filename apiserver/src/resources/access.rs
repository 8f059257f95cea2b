//! RBAC kinds, leases and the classes of priority and runtime.

use jiff::Timestamp;
use serde_json::{Value, json};
use timonel_api::{FieldError, Path, names};

use super::amounts;
use super::cells::{age, join, name};
use super::common::{immutable, label_selector};
use super::pod::validate_tolerations;
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
            policy_rule(rule, self.cluster, &Path::new("rules").index(index), &mut errors);
        }
        let aggregation = at(object, "aggregationRule");
        if self.cluster && errors.is_empty() && !aggregation.is_null() {
            let path = Path::new("aggregationRule").child("clusterRoleSelectors");
            let selectors = list(aggregation, "clusterRoleSelectors");
            if selectors.is_empty() {
                let detail = "at least one clusterRoleSelector required if aggregationRule is non-nil";
                errors.push(FieldError::required(&path, detail));
            }
            for (index, selector) in selectors.iter().enumerate() {
                label_selector(selector, &path.index(index), &mut errors);
            }
        }
        errors
    }

    fn columns(&self) -> &'static [Column] {
        const COLUMNS: &[Column] = &[Column::name(), Column::new("Created At")];
        COLUMNS
    }
}

fn policy_rule(rule: &Value, cluster: bool, path: &Path, errors: &mut Vec<FieldError>) {
    let given = |field: &str| !list(rule, field).is_empty();
    let required = |field: &str, detail: &str| FieldError::required(&path.child(field), detail);
    if !given("verbs") {
        errors.push(required("verbs", "verbs must contain at least one value"));
    }
    if given("nonResourceURLs") {
        let (urls, path) = (at(rule, "nonResourceURLs"), path.child("nonResourceURLs"));
        if !cluster {
            let detail = "namespaced rules cannot apply to non-resource URLs";
            errors.push(FieldError::invalid(&path, urls.clone(), detail));
        }
        if ["apiGroups", "resources", "resourceNames"].into_iter().any(given) {
            let detail = "rules cannot apply to both regular resources and non-resource URLs";
            errors.push(FieldError::invalid(&path, urls.clone(), detail));
        }
        return;
    }
    if !given("apiGroups") {
        errors.push(required(
            "apiGroups",
            "resource rules must supply at least one api group",
        ));
    }
    if !given("resources") {
        errors.push(required(
            "resources",
            "resource rules must supply at least one resource",
        ));
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
            &["Role", "ClusterRole"]
        };
        if !kinds.contains(&text(reference, "kind")) {
            errors.push(FieldError::not_supported(
                &path.child("kind"),
                text(reference, "kind"),
                kinds,
            ));
        }
        super::common::reference(reference, "name", &path, &mut errors);
        for (index, subject) in list(object, "subjects").iter().enumerate() {
            self::subject(subject, self.cluster, &Path::new("subjects").index(index), &mut errors);
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

fn subject(subject: &Value, cluster: bool, path: &Path, errors: &mut Vec<FieldError>) {
    const KINDS: [&str; 3] = ["ServiceAccount", "User", "Group"];
    let (own, group) = (text(subject, "name"), text(subject, "apiGroup"));
    let (at_name, at_group) = (path.child("name"), path.child("apiGroup"));
    if own.is_empty() {
        errors.push(FieldError::required(&at_name, ""));
    }
    match text(subject, "kind") {
        "ServiceAccount" => {
            if !own.is_empty() {
                super::common::wrong(&at_name, own, names::subdomain(own, false), errors);
            }
            if !group.is_empty() {
                errors.push(FieldError::not_supported(&at_group, group, &[""]));
            }
            if cluster && text(subject, "namespace").is_empty() {
                errors.push(FieldError::required(&path.child("namespace"), ""));
            }
        }
        "User" | "Group" if group != RBAC => errors.push(FieldError::not_supported(&at_group, group, &[RBAC])),
        "User" | "Group" => {}
        other => errors.push(FieldError::not_supported(&path.child("kind"), other, &KINDS)),
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

/// The highest priority that people give.
const HIGHEST: i64 = 1_000_000_000;

/// Why a priority class is none of the system's own.
fn not_systems_own(name: &str, value: i64, default: bool) -> Option<String> {
    let known = match name {
        "system-node-critical" => 2_000_001_000,
        "system-cluster-critical" => 2_000_000_000,
        _ => return Some(format!("{name} is not a known system priority class")),
    };
    if value != known {
        return Some(format!("value of {name} PriorityClass must be {known}"));
    }
    default.then(|| format!("globalDefault of {name} PriorityClass must be false"))
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
        if own.starts_with("system-") {
            if let Some(why) = not_systems_own(own, value, super::value::flag(object, "globalDefault")) {
                let detail = format!(
                    "priority class names with 'system-' prefix are reserved for system use only. error: {why}"
                );
                errors.push(FieldError::forbidden(&Path::new("metadata").child("name"), detail));
            }
        } else if value > HIGHEST {
            let detail = format!("maximum allowed value of a user defined priority is {HIGHEST}");
            errors.push(FieldError::forbidden(&Path::new("value"), detail));
        }
        let policies = ["PreemptLowerPriority", "Never"];
        super::common::one_of(object, "preemptionPolicy", &policies, &Path::root(), &mut errors);
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
        if has(object, "overhead") {
            let fixed = json!({"limits": at(at(object, "overhead"), "podFixed")});
            let path = Path::new("overhead").child("podFixed");
            amounts::requirements(&fixed, amounts::container_resource_name, &path, &mut errors);
        }
        let path = Path::new("scheduling").child("nodeSelector");
        for (key, value) in entries(at(object, "scheduling"), "nodeSelector") {
            super::common::label(key, value.as_str().unwrap_or_default(), &path, &mut errors);
        }
        let tolerations = list(at(object, "scheduling"), "tolerations");
        let path = Path::new("scheduling").child("tolerations");
        validate_tolerations(tolerations, &path, &mut errors);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn said(kind: &dyn Strategy, object: Value, expected: &[&str]) {
        let said: Vec<String> = kind.validate(&object).iter().map(ToString::to_string).collect();
        assert_eq!(said, expected, "{object}");
    }

    #[test]
    fn roles_speak_of_resources_or_of_paths() {
        let (role, cluster) = (Roles { cluster: false }, Roles { cluster: true });
        let of = |rule: Value| json!({"rules": [rule]});
        said(
            &role,
            of(json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]})),
            &[],
        );
        said(&cluster, of(json!({"verbs": ["get"], "nonResourceURLs": ["/a"]})), &[]);
        said(
            &role,
            of(json!({})),
            &[
                "rules[0].verbs: Required value: verbs must contain at least one value",
                "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
                "rules[0].resources: Required value: resource rules must supply at least one resource",
            ],
        );
        said(
            &role,
            of(json!({"verbs": ["get"], "nonResourceURLs": ["/a"], "resourceNames": ["b"]})),
            &[
                "rules[0].nonResourceURLs: Invalid value: [\"/a\"]: namespaced rules cannot apply to non-resource URLs",
                "rules[0].nonResourceURLs: Invalid value: [\"/a\"]: rules cannot apply to both regular resources and non-resource URLs",
            ],
        );
        said(
            &cluster,
            json!({"aggregationRule": {}}),
            &[
                "aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil",
            ],
        );
        said(
            &cluster,
            json!({"aggregationRule": {"clusterRoleSelectors": [{"matchExpressions": [{"key": "a", "operator": "In"}]}]}}),
            &[
                "aggregationRule.clusterRoleSelectors[0].matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
            ],
        );
    }

    #[test]
    fn bindings_name_a_role_and_whom_it_is_for() {
        let (binding, cluster) = (RoleBindings { cluster: false }, RoleBindings { cluster: true });
        let role = json!({"apiGroup": RBAC, "kind": "ClusterRole", "name": "view"});
        let account = json!({"kind": "ServiceAccount", "name": "default"});
        said(&binding, json!({"roleRef": role, "subjects": [account]}), &[]);
        said(
            &cluster,
            json!({"roleRef": role, "subjects": [account]}),
            &["subjects[0].namespace: Required value"],
        );
        said(
            &binding,
            json!({"roleRef": {"kind": "Deployment", "name": "a/b"}, "subjects": [{"kind": "User"}, {"kind": "ServiceAccount", "name": "a", "apiGroup": "b"}, {"kind": "Node", "name": "n"}]}),
            &[
                "roleRef.apiGroup: Unsupported value: \"\": supported values: \"rbac.authorization.k8s.io\"",
                "roleRef.kind: Unsupported value: \"Deployment\": supported values: \"Role\", \"ClusterRole\"",
                "roleRef.name: Invalid value: \"a/b\": may not contain '/'",
                "subjects[0].name: Required value",
                "subjects[0].apiGroup: Unsupported value: \"\": supported values: \"rbac.authorization.k8s.io\"",
                "subjects[1].apiGroup: Unsupported value: \"b\": supported values: \"\"",
                "subjects[2].kind: Unsupported value: \"Node\": supported values: \"ServiceAccount\", \"User\", \"Group\"",
            ],
        );
    }

    #[test]
    fn the_highest_priorities_are_the_systems() {
        let class =
            |name: &str, value: i64| json!({"metadata": {"name": name}, "value": value, "preemptionPolicy": "Never"});
        let reserved = "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error";
        said(&PriorityClasses, class("high", HIGHEST), &[]);
        said(&PriorityClasses, class("system-node-critical", 2_000_001_000), &[]);
        said(
            &PriorityClasses,
            class("high", HIGHEST + 1),
            &["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"],
        );
        said(
            &PriorityClasses,
            class("system-mine", 1),
            &[&format!("{reserved}: system-mine is not a known system priority class")],
        );
        said(
            &PriorityClasses,
            class("system-cluster-critical", 1),
            &[&format!(
                "{reserved}: value of system-cluster-critical PriorityClass must be 2000000000"
            )],
        );
        let mut odd = class("odd", 1);
        odd["preemptionPolicy"] = json!("Maybe");
        said(
            &PriorityClasses,
            odd,
            &["preemptionPolicy: Unsupported value: \"Maybe\": supported values: \"PreemptLowerPriority\", \"Never\""],
        );
    }

    #[test]
    fn a_runtime_says_what_it_costs_and_where_it_is() {
        said(
            &RuntimeClasses,
            json!({"handler": "runc", "overhead": {"podFixed": {"cpu": "1"}}, "scheduling": {"tolerations": [{"operator": "Exists"}]}}),
            &[],
        );
        said(
            &RuntimeClasses,
            json!({"handler": "runc", "overhead": {"podFixed": {"cpu": "-1", "pods": "1"}}, "scheduling": {"tolerations": [{"key": "a", "operator": "X"}]}}),
            &[
                "overhead.podFixed.limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
                "overhead.podFixed.limits[pods]: Invalid value: \"pods\": must be a standard resource for containers",
                "scheduling.tolerations[0].operator: Unsupported value: \"X\": supported values: \"Equal\", \"Exists\"",
            ],
        );
    }
}
