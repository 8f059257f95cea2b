//! One policy rule: what it matches, what it covers, and how upstream prints it.

use std::fmt;

use serde_json::{Value, json};

use super::Attributes;

/// A `rbac.authorization.k8s.io/v1` PolicyRule.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rule {
    pub(crate) verbs: Vec<String>,
    pub(crate) groups: Vec<String>,
    pub(crate) resources: Vec<String>,
    pub(crate) names: Vec<String>,
    pub(crate) urls: Vec<String>,
}

fn strings(value: &Value) -> Vec<String> {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == "*" || item == wanted)
}

fn url_matches(pattern: &str, url: &str) -> bool {
    pattern == "*" || pattern == url || pattern.ends_with('*') && url.starts_with(pattern.trim_end_matches('*'))
}

impl Rule {
    /// Reads a role's `rules`.
    pub(crate) fn all_of(role: &Value) -> Vec<Self> {
        let rules = role["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
        rules.iter().map(Self::read).collect()
    }

    fn read(rule: &Value) -> Self {
        Self {
            verbs: strings(&rule["verbs"]),
            groups: strings(&rule["apiGroups"]),
            resources: strings(&rule["resources"]),
            names: strings(&rule["resourceNames"]),
            urls: strings(&rule["nonResourceURLs"]),
        }
    }

    /// Says whether the rule allows the request.
    pub(super) fn allows(&self, attributes: &Attributes<'_>) -> bool {
        if !has(&self.verbs, attributes.verb) {
            return false;
        }
        if !attributes.resource_request {
            return self.urls.iter().any(|url| url_matches(url, attributes.path));
        }
        has(&self.groups, attributes.api_group)
            && self
                .resources
                .iter()
                .any(|resource| resource_matches(resource, attributes.resource, attributes.subresource))
            && (self.names.is_empty() || self.names.iter().any(|name| name == attributes.name))
    }

    /// Splits into rules of one verb, one group, one resource and at most one name each.
    pub(super) fn atoms(&self) -> Vec<Self> {
        let mut atoms = Vec::new();
        let one = |text: &String| vec![text.clone()];
        for verb in &self.verbs {
            for url in &self.urls {
                atoms.push(Self {
                    verbs: one(verb),
                    urls: one(url),
                    ..Self::default()
                });
            }
            for group in &self.groups {
                for resource in &self.resources {
                    let base = Self {
                        verbs: one(verb),
                        groups: one(group),
                        resources: one(resource),
                        ..Self::default()
                    };
                    if self.names.is_empty() {
                        atoms.push(base);
                    } else {
                        atoms.extend(self.names.iter().map(|name| Self {
                            names: one(name),
                            ..base.clone()
                        }));
                    }
                }
            }
        }
        atoms
    }

    /// Says whether everything that `atom` (of [`Rule::atoms`]) grants is granted by this rule too.
    pub(super) fn covers(&self, atom: &Self) -> bool {
        let resource_covered = |wanted: &String| {
            self.resources.iter().any(|resource| {
                resource == "*"
                    || resource == wanted
                    || wanted
                        .split_once('/')
                        .is_some_and(|(_, sub)| resource.strip_prefix("*/") == Some(sub))
            })
        };
        atom.verbs.iter().all(|verb| has(&self.verbs, verb))
            && atom.groups.iter().all(|group| has(&self.groups, group))
            && atom.resources.iter().all(resource_covered)
            && (self.names.is_empty() || !atom.names.is_empty() && atom.names.iter().all(|n| self.names.contains(n)))
            && atom
                .urls
                .iter()
                .all(|url| self.urls.iter().any(|pattern| url_matches(pattern, url)))
    }

    /// The rule as JSON, fields that are empty left out.
    pub(super) fn to_json(&self) -> Value {
        let mut rule = json!({"verbs": self.verbs});
        for (field, list) in [
            ("apiGroups", &self.groups),
            ("resources", &self.resources),
            ("resourceNames", &self.names),
            ("nonResourceURLs", &self.urls),
        ] {
            if !list.is_empty() {
                rule[field] = json!(list);
            }
        }
        rule
    }
}

fn resource_matches(pattern: &str, resource: &str, subresource: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    if subresource.is_empty() {
        return pattern == resource;
    }
    match pattern.split_once('/') {
        Some((main, sub)) => sub == subresource && (main == "*" || main == resource),
        None => false,
    }
}

/// `{APIGroups:["apps"], Resources:["deployments"], Verbs:["get"]}`, as upstream's `CompactString`.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        for (label, list) in [
            ("APIGroups", &self.groups),
            ("Resources", &self.resources),
            ("NonResourceURLs", &self.urls),
            ("ResourceNames", &self.names),
            ("Verbs", &self.verbs),
        ] {
            if !list.is_empty() {
                let quoted: Vec<String> = list.iter().map(|item| format!("{item:?}")).collect();
                parts.push(format!("{label}:[{}]", quoted.join(" ")));
            }
        }
        write!(f, "{{{}}}", parts.join(", "))
    }
}
