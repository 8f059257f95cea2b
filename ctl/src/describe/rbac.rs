//! Roles and bindings.

use serde_json::Value;

use super::page::Page;
use super::values::{go_list, list, text};

pub(super) fn role(page: &mut Page, role: &Value) {
    page.field(0, "Name", text(role, "/metadata/name"));
    page.labels("", "Labels", &role["metadata"]["labels"]);
    page.annotations("", &role["metadata"]["annotations"]);
    page.line(0, "PolicyRule:");
    page.line(1, "Resources\tNon-Resource URLs\tResource Names\tVerbs");
    page.line(1, "---------\t-----------------\t--------------\t-----");
    for rule in simple_rules(list(role, "/rules")) {
        page.line(
            1,
            format_args!(
                "{}\t{}\t{}\t{}",
                rule.resource(),
                go(&rule.url),
                go(&rule.name),
                go_list(&rule.verbs)
            ),
        );
    }
}

fn go(one: &Option<String>) -> String {
    format!("[{}]", one.as_deref().unwrap_or(""))
}

/// A rule for one resource (and one name), or for one URL.
#[derive(Debug, PartialEq, Eq)]
struct Simple {
    group: String,
    resource: Option<String>,
    name: Option<String>,
    url: Option<String>,
    verbs: Vec<Value>,
}

impl Simple {
    /// `pods/log`, `deployments.apps/scale`
    fn resource(&self) -> String {
        let Some(resource) = &self.resource else {
            return String::new();
        };
        let (name, sub) = resource
            .split_once('/')
            .map_or((resource.as_str(), ""), |(a, b)| (a, b));
        let group = if self.group.is_empty() {
            String::new()
        } else {
            format!(".{}", self.group)
        };
        let sub = if sub.is_empty() {
            String::new()
        } else {
            format!("/{sub}")
        };
        format!("{name}{group}{sub}")
    }

    /// The order in which kubectl shows rules: by the text of the whole rule, verbs first.
    fn order(&self) -> String {
        format!(
            "{},[{}],{},{},{}",
            go_list(&self.verbs),
            self.group,
            go(&self.resource),
            go(&self.name),
            go(&self.url)
        )
    }
}

/// Takes rules apart into single resources, and puts the verbs of the same resource together again.
fn simple_rules(rules: &[Value]) -> Vec<Simple> {
    let mut simple: Vec<Simple> = Vec::new();
    let mut add = |group: &str, resource: Option<&str>, name: Option<&str>, url: Option<&str>, verbs: &[Value]| {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let new = Simple {
            group: group.to_owned(),
            resource: owned(resource),
            name: owned(name),
            url: owned(url),
            verbs: verbs.to_vec(),
        };
        let same = |old: &&mut Simple| {
            old.group == new.group && old.resource == new.resource && old.name == new.name && old.url == new.url
        };
        match simple.iter_mut().find(same) {
            Some(old) if old.resource.is_some() => {
                let missing: Vec<Value> = new
                    .verbs
                    .iter()
                    .filter(|verb| !old.verbs.contains(verb))
                    .cloned()
                    .collect();
                old.verbs.extend(missing);
            }
            _ => simple.push(new),
        }
    };
    for rule in rules {
        let verbs = list(rule, "/verbs");
        let texts = |field: &str| list(rule, field).iter().filter_map(Value::as_str).collect::<Vec<_>>();
        for group in texts("/apiGroups") {
            for resource in texts("/resources") {
                let names = texts("/resourceNames");
                if names.is_empty() {
                    add(group, Some(resource), None, None, verbs);
                }
                for name in names {
                    add(group, Some(resource), Some(name), None, verbs);
                }
            }
        }
        for url in texts("/nonResourceURLs") {
            add("", None, None, Some(url), verbs);
        }
    }
    simple.sort_by_cached_key(Simple::order);
    simple
}

pub(super) fn binding(page: &mut Page, binding: &Value) {
    page.field(0, "Name", text(binding, "/metadata/name"));
    page.labels("", "Labels", &binding["metadata"]["labels"]);
    page.annotations("", &binding["metadata"]["annotations"]);
    page.line(0, "Role:");
    page.field(1, "Kind", text(binding, "/roleRef/kind"));
    page.field(1, "Name", text(binding, "/roleRef/name"));
    page.line(0, "Subjects:");
    page.line(1, "Kind\tName\tNamespace");
    page.line(1, "----\t----\t---------");
    for subject in list(binding, "/subjects") {
        page.line(
            1,
            format_args!(
                "{}\t{}\t{}",
                text(subject, "/kind"),
                text(subject, "/name"),
                text(subject, "/namespace")
            ),
        );
    }
}

/// Rows of `auth can-i --list`: resource, URL, name, verbs; those that span everything first.
pub(crate) fn rows(rules: &[Value]) -> Vec<[String; 4]> {
    simple_rules(rules)
        .into_iter()
        .map(|rule| [rule.resource(), go(&rule.url), go(&rule.name), go_list(&rule.verbs)])
        .collect()
}
