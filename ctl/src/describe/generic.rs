//! Any kind that has no page of its own: all of its fields.

use serde_json::{Map, Value};

use super::page::Page;
use super::values::{shown, text};

const SHOWN_ABOVE: [&str; 5] = [
    ".metadata.managedFields",
    ".metadata.name",
    ".metadata.namespace",
    ".metadata.labels",
    ".metadata.annotations",
];

pub(super) fn any(page: &mut Page, object: &Value) {
    page.field(0, "Name", text(object, "/metadata/name"));
    page.field(0, "Namespace", text(object, "/metadata/namespace"));
    page.labels("", "Labels", &object["metadata"]["labels"]);
    page.annotations("", &object["metadata"]["annotations"]);
    if let Some(fields) = object.as_object() {
        content(page, 0, fields, "");
    }
}

fn content(page: &mut Page, level: usize, fields: &Map<String, Value>, prefix: &str) {
    let mut names: Vec<&String> = fields.keys().collect();
    names.sort();
    for name in names {
        let path = format!("{prefix}.{name}");
        if SHOWN_ABOVE.contains(&path.as_str()) {
            continue;
        }
        let label = label(name);
        match &fields[name] {
            Value::Object(inner) => {
                page.line(level, format_args!("{label}:"));
                content(page, level + 1, inner, &path);
            }
            Value::Array(items) => {
                page.line(level, format_args!("{label}:"));
                for item in items {
                    match item {
                        Value::Object(inner) => content(page, level + 1, inner, &path),
                        scalar => page.line(level + 1, shown(scalar)),
                    }
                }
            }
            scalar => page.field(level, &label, shown(scalar)),
        }
    }
}

/// `podIP` becomes `Pod IP`, `apiVersion` becomes `API Version`; names with other signs stay as they are.
fn label(name: &str) -> String {
    if !name.chars().all(|c| c.is_alphabetic() || c == '-') {
        return name.to_owned();
    }
    let words = words(name).into_iter().map(|word| {
        let upper = word.to_uppercase();
        if ["API", "URL", "UID", "GUID"].contains(&upper.as_str()) {
            return upper;
        }
        let mut letters = word.chars();
        match letters.next() {
            Some(first) if first.is_lowercase() && word == word.to_lowercase() => {
                first.to_uppercase().collect::<String>() + letters.as_str()
            }
            _ => word,
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Splits at the humps: `clusterIPs` is `cluster`, `IPs`; `podCIDRBlock` is `pod`, `CIDR`, `Block`.
fn words(name: &str) -> Vec<String> {
    let letters: Vec<char> = name.chars().collect();
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    for (at, &letter) in letters.iter().enumerate() {
        let before = at.checked_sub(1).map(|at| letters[at]);
        let hump = before.is_some_and(|before| {
            let next_is_lower = letters.get(at + 1).is_some_and(|next| next.is_lowercase());
            let plural = letters.get(at + 1) == Some(&'s') && letters.get(at + 2).is_none_or(|c| c.is_uppercase());
            letter.is_uppercase() && (before.is_lowercase() || (before.is_uppercase() && next_is_lower && !plural))
        });
        if hump {
            words.push(std::mem::take(&mut word));
        }
        word.push(letter);
    }
    words.push(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_names_become_titles() {
        for (name, title) in [
            ("apiVersion", "API Version"),
            ("creationTimestamp", "Creation Timestamp"),
            ("podCIDRBlock", "Pod CIDR Block"),
            ("a.b/c", "a.b/c"),
            ("uid", "UID"),
        ] {
            assert_eq!(label(name), title);
        }
    }
}
