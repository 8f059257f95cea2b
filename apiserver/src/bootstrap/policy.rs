//! Reads `policy.txt`, the table of roles and bindings, and makes API objects of it.
//!
//! ```text
//! clusterrole NAME | role NAMESPACE NAME | controller NAME (a cluster role and its binding)
//!   VERBS | GROUPS | RESOURCES [| NAMES]      READ, WRITE, ALL stand for the usual sets of verbs, `core` for the core group
//!   VERBS | url | URLS
//!   EVENTS                                    may write events of both groups
//!   labelled KEY...                           what aggregates it
//!   aggregates KEY...                         is made of those labelled so
//! clusterbinding NAME = CLUSTERROLE SUBJECT... | binding NAMESPACE NAME = ROLE SUBJECT...
//!                                             user:NAME, group:NAME, sa:NAMESPACE:NAME
//! ```

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

const TABLE: &str = include_str!("policy.txt");
const GROUP: &str = "rbac.authorization.k8s.io";

/// Makes every role and binding of the table, roles before bindings.
pub(super) fn objects() -> Vec<Value> {
    let mut roles: Vec<Value> = Vec::new();
    let mut bindings: Vec<Value> = Vec::new();
    for line in TABLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(rest) = line.strip_prefix("  ") {
            if let Some(role) = roles.last_mut() {
                add(role, rest);
            }
            continue;
        }
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["clusterrole", name] => roles.push(role("", name)),
            ["role", namespace, name] => roles.push(role(namespace, name)),
            ["controller", name] => {
                let full = format!("system:controller:{name}");
                let subject = format!("sa:kube-system:{name}");
                roles.push(role("", &full));
                bindings.push(binding("", &full, &full, &[&subject]));
            }
            ["clusterbinding", name, "=", role, subjects @ ..] => bindings.push(binding("", name, role, subjects)),
            ["binding", namespace, name, "=", role, subjects @ ..] => {
                bindings.push(binding(namespace, name, role, subjects));
            }
            _ => {}
        }
    }
    aggregate(&mut roles);
    roles.append(&mut bindings);
    roles
}

fn metadata(namespace: &str, name: &str) -> Value {
    let mut metadata = json!({
        "name": name,
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
    });
    if !namespace.is_empty() {
        metadata["namespace"] = namespace.into();
    }
    metadata
}

fn role(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/v1"),
        "kind": if namespace.is_empty() { "ClusterRole" } else { "Role" },
        "metadata": metadata(namespace, name),
        "rules": [],
    })
}

fn binding(namespace: &str, name: &str, role: &str, subjects: &[&str]) -> Value {
    let subjects: Vec<Value> = subjects.iter().filter_map(|subject| self::subject(subject)).collect();
    let (kind, role_kind) = if namespace.is_empty() {
        ("ClusterRoleBinding", "ClusterRole")
    } else {
        ("RoleBinding", "Role")
    };
    let mut binding = json!({
        "apiVersion": format!("{GROUP}/v1"),
        "kind": kind,
        "metadata": metadata(namespace, name),
        "roleRef": {"apiGroup": GROUP, "kind": role_kind, "name": role},
    });
    if !subjects.is_empty() {
        binding["subjects"] = subjects.into();
    }
    binding
}

fn subject(text: &str) -> Option<Value> {
    let (kind, name) = text.split_once(':')?;
    match kind {
        "user" => Some(json!({"apiGroup": GROUP, "kind": "User", "name": name})),
        "group" => Some(json!({"apiGroup": GROUP, "kind": "Group", "name": name})),
        "sa" => {
            let (namespace, name) = name.split_once(':')?;
            Some(json!({"kind": "ServiceAccount", "namespace": namespace, "name": name}))
        }
        _ => None,
    }
}

fn verbs(text: &str) -> Vec<&str> {
    const READ: [&str; 3] = ["get", "list", "watch"];
    const WRITE: [&str; 5] = ["create", "delete", "deletecollection", "patch", "update"];
    let mut verbs = Vec::new();
    for word in text.split_whitespace() {
        match word {
            "READ" => verbs.extend(READ),
            "WRITE" => verbs.extend(WRITE),
            "ALL" => verbs.extend(READ.iter().chain(&WRITE)),
            verb => verbs.push(verb),
        }
    }
    verbs.sort_unstable();
    verbs.dedup();
    verbs
}

fn label(key: &str) -> String {
    format!("{GROUP}/{key}")
}

/// Adds one indented line to a role.
fn add(role: &mut Value, line: &str) {
    if line == "EVENTS" {
        add(role, "create patch update | core events.k8s.io | events");
    } else if let Some(keys) = line.strip_prefix("labelled ") {
        for key in keys.split(' ') {
            role["metadata"]["labels"][label(key)] = "true".into();
        }
    } else if let Some(keys) = line.strip_prefix("aggregates ") {
        // Each set aggregates the one below through its label; only its own key is selected, as upstream has it.
        let own = keys.split(' ').next().unwrap_or_default();
        role["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {label(own): "true"}}]});
    } else {
        let parts: Vec<&str> = line.split('|').map(str::trim).collect();
        let list = |text: &str| -> Vec<String> { text.split_whitespace().map(str::to_owned).collect() };
        let rule = match parts.as_slice() {
            [verbs, "url", urls] => json!({"verbs": self::verbs(verbs), "nonResourceURLs": list(urls)}),
            [verbs, groups, resources, rest @ ..] => {
                let groups: Vec<&str> = groups
                    .split_whitespace()
                    .map(|group| if group == "core" { "" } else { group })
                    .collect();
                let mut rule = json!({"verbs": self::verbs(verbs), "apiGroups": groups, "resources": list(resources)});
                if let Some(names) = rest.first() {
                    rule["resourceNames"] = json!(list(names));
                }
                rule
            }
            _ => return,
        };
        if let Some(rules) = role["rules"].as_array_mut() {
            rules.push(rule);
        }
    }
}

/// Fills aggregated roles, so that they hold before the aggregation controller has run for the first time.
fn aggregate(roles: &mut [Value]) {
    let mut by_label: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    let set = |map: &Map<String, Value>| {
        map.keys()
            .filter(|key| key.starts_with(GROUP))
            .cloned()
            .collect::<Vec<_>>()
    };
    // `view` is part of `edit`, and `edit` of `admin`: three rounds carry the rules all the way up.
    for _ in 0..3 {
        by_label.clear();
        for role in roles.iter() {
            for key in role["metadata"]["labels"].as_object().map(set).unwrap_or_default() {
                let rules = role["rules"].as_array().cloned().unwrap_or_default();
                by_label.entry(key).or_default().extend(rules);
            }
        }
        for role in roles.iter_mut().filter(|role| role["aggregationRule"].is_object()) {
            let selected = &role["aggregationRule"]["clusterRoleSelectors"][0]["matchLabels"];
            let key = selected.as_object().and_then(|labels| labels.keys().next()).cloned();
            let mut rules: Vec<Value> = Vec::new();
            for rule in key.and_then(|key| by_label.get(&key)).into_iter().flatten() {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
            role["rules"] = rules.into();
        }
    }
}
