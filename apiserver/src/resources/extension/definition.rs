//! Custom resource definitions: their names, versions and defaults. What they define is not served yet.

use std::collections::BTreeSet;

use serde_json::Value;
use timonel_api::{FieldError, Path, names};

use super::super::common::{one_of, wrong};
use super::super::strategy::Strategy;
use super::super::value::{at, default_text, ensure, flag, has, list, text, within};

/// `customresourcedefinitions.apiextensions.k8s.io`.
pub(crate) struct CustomResourceDefinitions;

impl Strategy for CustomResourceDefinitions {
    fn default(&self, object: &mut Value) {
        within(object, "spec", |spec| {
            within(spec, "names", |names| {
                let kind = text(names, "kind").to_owned();
                default_text(names, "singular", &kind.to_lowercase());
                if !kind.is_empty() {
                    default_text(names, "listKind", &format!("{kind}List"));
                }
            });
            if let Some(conversion) = ensure(spec, "conversion") {
                default_text(conversion, "strategy", "None");
            }
        });
    }

    fn validate(&self, object: &Value) -> Vec<FieldError> {
        let (path, spec, mut errors) = (Path::new("spec"), at(object, "spec"), Vec::new());
        let (group, own) = (text(spec, "group"), text(at(object, "metadata"), "name"));
        let plural = text(at(spec, "names"), "plural");
        if own != format!("{plural}.{group}") {
            let detail = "must be spec.names.plural+\".\"+spec.group";
            errors.push(FieldError::invalid(&Path::new("metadata").child("name"), own, detail));
        }
        let at_group = path.child("group");
        if group.is_empty() {
            errors.push(FieldError::required(&at_group, ""));
        } else {
            wrong(&at_group, group, names::subdomain(group, false), &mut errors);
            if !group.contains('.') {
                let detail = "should be a domain with at least one dot";
                errors.push(FieldError::invalid(&at_group, group, detail));
            }
        }
        one_of(spec, "scope", &["Cluster", "Namespaced"], &path, &mut errors);
        versions(spec, &path.child("versions"), &mut errors);
        defined_names(at(spec, "names"), &path.child("names"), &mut errors);
        errors
    }

    fn validate_update(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let mut errors = self.validate(new);
        let established = list(at(old, "status"), "conditions")
            .iter()
            .any(|condition| text(condition, "type") == "Established" && text(condition, "status") == "True");
        if established {
            let (path, new, old) = (Path::new("spec"), at(new, "spec"), at(old, "spec"));
            super::super::common::immutable(new, old, "scope", &path, &mut errors);
            let (new, old, path) = (at(new, "names"), at(old, "names"), path.child("names"));
            super::super::common::immutable(new, old, "kind", &path, &mut errors);
        }
        errors
    }
}

fn versions(spec: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let versions = list(spec, "versions");
    let mut seen = BTreeSet::new();
    let mut unique = true;
    for (index, version) in versions.iter().enumerate() {
        let path = path.index(index);
        let name = text(version, "name");
        unique &= seen.insert(name);
        wrong(&path.child("name"), name, names::label_1035(name, false), errors);
        if !has(at(version, "schema"), "openAPIV3Schema") {
            let path = path.child("schema").child("openAPIV3Schema");
            errors.push(FieldError::required(&path, "schemas are required"));
        }
    }
    let mut refuse = |detail: &str| errors.push(FieldError::invalid(path, versions.to_vec(), detail));
    if !unique {
        refuse("must contain unique version names");
    }
    if versions.iter().filter(|version| flag(version, "storage")).count() != 1 {
        refuse("must have exactly one version marked as storage version");
    }
}

fn defined_names(given: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    for (field, mixed) in [
        ("plural", false),
        ("singular", false),
        ("kind", true),
        ("listKind", true),
    ] {
        let (name, path) = (text(given, field), path.child(field));
        if name.is_empty() {
            errors.push(FieldError::required(&path, ""));
        } else if mixed {
            for sentence in names::label_1035(&name.to_lowercase(), false) {
                let detail = format!("may have mixed case, but should otherwise match: {sentence}");
                errors.push(FieldError::invalid(&path, name, detail));
            }
        } else {
            wrong(&path, name, names::label_1035(name, false), errors);
        }
    }
    for field in ["shortNames", "categories"] {
        for (index, name) in list(given, field).iter().filter_map(Value::as_str).enumerate() {
            let path = path.child(field).index(index);
            wrong(&path, name, names::label_1035(name, false), errors);
        }
    }
    let kind = text(given, "kind");
    if !kind.is_empty() && kind == text(given, "listKind") {
        let detail = "kind and listKind may not be the same";
        errors.push(FieldError::invalid(&path.child("listKind"), kind, detail));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_definition_is_named_after_what_it_defines() {
        let version =
            json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}});
        let mut good = json!({
            "metadata": {"name": "crons.example.com"},
            "spec": {"group": "example.com", "scope": "Namespaced", "versions": [version], "names": {"plural": "crons", "kind": "Cron"}},
        });
        CustomResourceDefinitions.default(&mut good);
        assert_eq!(good["spec"]["names"]["listKind"], "CronList");
        assert_eq!(good["spec"]["names"]["singular"], "cron");
        assert_eq!(CustomResourceDefinitions.validate(&good), []);
        let mut bad = good;
        bad["spec"]["group"] = json!("example");
        bad["spec"]["versions"] = json!([{"name": "v1", "storage": false}]);
        bad["spec"]["names"]["listKind"] = json!("Cron");
        let said: Vec<String> = CustomResourceDefinitions
            .validate(&bad)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            said,
            [
                "metadata.name: Invalid value: \"crons.example.com\": must be spec.names.plural+\".\"+spec.group",
                "spec.group: Invalid value: \"example\": should be a domain with at least one dot",
                "spec.versions[0].schema.openAPIV3Schema: Required value: schemas are required",
                "spec.versions: Invalid value: [{\"name\":\"v1\",\"storage\":false}]: must have exactly one version marked as storage version",
                "spec.names.listKind: Invalid value: \"Cron\": kind and listKind may not be the same",
            ]
        );
    }
}
