//! Validation of a container's environment: variables, and where their values come from.

use serde_json::Value;
use timonel_api::{FieldError, Path, names};

use super::super::common::wrong;
use super::super::value::{at, has, list, text};
use super::fields;

const SOURCES: [&str; 5] = [
    "fieldRef",
    "resourceFieldRef",
    "configMapKeyRef",
    "secretKeyRef",
    "fileKeyRef",
];

/// Checks `env` and `envFrom`.
pub(super) fn validate(container: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    for (index, variable) in list(container, "env").iter().enumerate() {
        let path = path.child("env").index(index);
        let (name, at_name) = (text(variable, "name"), path.child("name"));
        if name.is_empty() {
            errors.push(FieldError::required(&at_name, ""));
        } else {
            wrong(&at_name, name, names::env_var_name(name), errors);
        }
        if has(variable, "valueFrom") {
            value_from(variable, &path.child("valueFrom"), errors);
        }
    }
    let path = path.child("envFrom");
    for (index, source) in list(container, "envFrom").iter().enumerate() {
        whole(source, &path, index, errors);
    }
}

fn value_from(variable: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let source = at(variable, "valueFrom");
    let count = SOURCES.iter().filter(|kind| has(source, kind)).count();
    let (field, resource) = (at(source, "fieldRef"), at(source, "resourceFieldRef"));
    if !field.is_null() {
        fields::object_field(field, fields::Use::Variable, &path.child("fieldRef"), errors);
    }
    if !resource.is_null() {
        let path = path.child("resourceFieldRef");
        fields::resource_field(resource, fields::Use::Variable, &path, errors);
    }
    for kind in ["configMapKeyRef", "secretKeyRef"] {
        let (reference, path) = (at(source, kind), path.child(kind));
        if reference.is_null() {
            continue;
        }
        let (name, key) = (text(reference, "name"), text(reference, "key"));
        wrong(&path.child("name"), name, names::subdomain(name, false), errors);
        if key.is_empty() {
            errors.push(FieldError::required(&path.child("key"), ""));
        } else {
            wrong(&path.child("key"), key, names::config_map_key(key), errors);
        }
    }
    let detail = match count {
        0 => "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        _ if !text(variable, "value").is_empty() => "may not be specified when `value` is not empty",
        1 => return,
        _ => "may not have more than one field specified at a time",
    };
    errors.push(FieldError::invalid(path, "", detail));
}

/// Checks a whole ConfigMap or Secret of variables. How many there are is told at the list, as upstream does.
fn whole(source: &Value, path: &Path, index: usize, errors: &mut Vec<FieldError>) {
    let (here, prefix) = (path.index(index), text(source, "prefix"));
    if !prefix.is_empty() {
        wrong(&here.child("prefix"), prefix, names::env_var_name(prefix), errors);
    }
    let mut count = 0;
    for kind in ["configMapRef", "secretRef"].iter().filter(|kind| has(source, kind)) {
        count += 1;
        let (name, path) = (text(at(source, kind), "name"), here.child(kind).child("name"));
        if name.is_empty() {
            errors.push(FieldError::required(&path, ""));
        } else {
            wrong(&path, name, names::subdomain(name, true), errors);
        }
    }
    let detail = match count {
        0 => "must specify one of: `configMapRef` or `secretRef`",
        1 => return,
        _ => "may not have more than one field specified at a time",
    };
    errors.push(FieldError::invalid(path, "", detail));
}
