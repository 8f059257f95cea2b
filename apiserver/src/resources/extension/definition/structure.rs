//! Whether the schema of a custom resource is structural: every field is described once, outside of value validation, so that what
//! the schema does not know can be pruned and what it defaults can be filled in.
//!
//! The rules are those of upstream's documentation of structural schemas and its `apiextensions-apiserver/pkg/apiserver/schema`.

use serde_json::{Value, json};
use timonel_api::{FieldError, Path};

use super::super::super::value::{at, entries, flag, has, list, text};

const EMBEDDED: &str = "x-kubernetes-embedded-resource";
const PRESERVED: &str = "x-kubernetes-preserve-unknown-fields";
const INT_OR_STRING: &str = "x-kubernetes-int-or-string";

/// Where a schema stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Root,
    Item,
    Field,
}

/// Finds everything that keeps a schema from being structural, sorted by its text.
pub(super) fn structural(schema: &Value, path: &Path) -> Vec<FieldError> {
    let mut errors = Vec::new();
    invariants(schema, Level::Root, path, &mut errors);
    complete(schema, schema, path, path, &mut errors);
    errors.sort_by_cached_key(ToString::to_string);
    errors
}

fn invariants(schema: &Value, level: Level, path: &Path, errors: &mut Vec<FieldError>) {
    let (kind, root) = (text(schema, "type"), level == Level::Root);
    let (embedded, preserved) = (flag(schema, EMBEDDED), flag(schema, PRESERVED));
    if kind == "array" && !has(schema, "items") {
        errors.push(FieldError::required(&path.child("items"), "must be specified"));
    }
    if has(schema, "items") {
        invariants(at(schema, "items"), Level::Item, &path.child("items"), errors);
    }
    for (key, field) in entries(schema, "properties") {
        invariants(field, Level::Field, &path.child("properties").key(key), errors);
    }
    let (others, at_others) = (at(schema, "additionalProperties"), path.child("additionalProperties"));
    if !others.is_null() && root {
        errors.push(FieldError::forbidden(&at_others, "must not be used at the root"));
    }
    if others.is_object() {
        invariants(others, Level::Field, &at_others, errors);
    }
    if flag(schema, INT_OR_STRING) {
        for other in [PRESERVED, EMBEDDED].into_iter().filter(|other| flag(schema, other)) {
            let detail = "must be false if x-kubernetes-int-or-string is true";
            errors.push(FieldError::invalid(&path.child(other), true, detail));
        }
    }
    values(schema, is_int_or_string(schema), path, errors);
    let at_type = path.child("type");
    if embedded && kind != "object" {
        let detail = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(if kind.is_empty() {
            FieldError::required(&at_type, detail)
        } else {
            FieldError::invalid(&at_type, kind, detail)
        });
    } else if kind.is_empty() && !flag(schema, INT_OR_STRING) && !preserved {
        let detail = match level {
            Level::Root => "must not be empty at the root",
            Level::Item => "must not be empty for specified array items",
            Level::Field => "must not be empty for specified object fields",
        };
        errors.push(FieldError::required(&at_type, detail));
    }
    if embedded && !others.is_null() {
        let detail = "must not be used if x-kubernetes-embedded-resource is set";
        errors.push(FieldError::forbidden(&at_others, detail));
    }
    if root && !kind.is_empty() && kind != "object" {
        errors.push(FieldError::invalid(&at_type, kind, "must be object at the root"));
    }
    let (properties, at_properties) = (at(schema, "properties"), path.child("properties"));
    let is_object = root || embedded;
    for field in ["kind", "apiVersion"]
        .into_iter()
        .filter(|field| has(properties, field))
    {
        let kind = text(at(properties, field), "type");
        if is_object && kind != "string" {
            let path = at_properties.key(field).child("type");
            errors.push(FieldError::invalid(&path, kind, "must be string"));
        }
    }
    if has(properties, "metadata") {
        metadata(
            at(properties, "metadata"),
            is_object,
            root,
            &at_properties.key("metadata"),
            errors,
        );
    }
    if embedded && !preserved && entries(schema, "properties").next().is_none() {
        let detail =
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
        errors.push(FieldError::required(&at_properties, detail));
    }
}

/// Metadata is known; a schema may only narrow names.
fn metadata(schema: &Value, is_object: bool, root: bool, path: &Path, errors: &mut Vec<FieldError>) {
    let kind = text(schema, "type");
    if is_object && kind != "object" {
        errors.push(FieldError::invalid(&path.child("type"), kind, "must be object"));
    }
    let names_only = entries(schema, "properties").all(|(key, _)| matches!(key, "name" | "generateName"));
    let mut others = schema.as_object().into_iter().flatten().filter(|(key, value)| {
        !matches!(key.as_str(), "type" | "default" | "properties") && !value.is_null() && **value != json!("")
    });
    if root && (!names_only || others.next().is_some()) {
        let detail = "must not specify anything other than name and generateName, but metadata is implicitly specified";
        errors.push(FieldError::forbidden(path, detail));
    }
}

/// The one `anyOf` that says more than value validation: a number or a text.
fn is_int_or_string(schema: &Value) -> bool {
    *at(schema, "anyOf") == json!([{"type": "integer"}, {"type": "string"}])
}

/// Checks the value validation of a schema. `skip` leaves out its `anyOf`.
fn values(schema: &Value, skip: bool, path: &Path, errors: &mut Vec<FieldError>) {
    for junctor in ["anyOf", "allOf", "oneOf"] {
        if junctor == "anyOf" && skip {
            continue;
        }
        for (index, each) in list(schema, junctor).iter().enumerate() {
            let skip = junctor == "allOf" && index == 0 && is_int_or_string(each);
            nested(each, skip, &path.child(junctor).index(index), errors);
        }
    }
    if has(schema, "not") {
        nested(at(schema, "not"), false, &path.child("not"), errors);
    }
    let pattern = text(schema, "pattern");
    if !pattern.is_empty()
        && let Err(error) = regex::Regex::new(pattern)
    {
        let error = error.to_string();
        let reason = error
            .lines()
            .last()
            .unwrap_or_default()
            .trim_start_matches("error: ")
            .to_owned();
        let detail = format!("must be a valid regular expression, but isn't: {reason}");
        errors.push(FieldError::invalid(&path.child("pattern"), pattern, detail));
    }
}

/// Checks a schema below a junctor: it judges values and describes nothing.
fn nested(schema: &Value, skip: bool, path: &Path, errors: &mut Vec<FieldError>) {
    values(schema, skip, path, errors);
    if has(schema, "items") {
        nested(at(schema, "items"), false, &path.child("items"), errors);
    }
    for (key, field) in entries(schema, "properties") {
        nested(field, false, &path.child("properties").key(key), errors);
    }
    let mut refuse = |field: &str, detail: &str| errors.push(FieldError::forbidden(&path.child(field), detail));
    let mut words = |field: &str| {
        if !text(schema, field).is_empty() {
            refuse(field, "must be empty to be structural");
        }
    };
    words("type");
    words("title");
    words("description");
    for field in [
        "additionalProperties",
        "default",
        "externalDocs",
        "x-kubernetes-list-type",
        "x-kubernetes-map-type",
    ] {
        if has(schema, field) {
            refuse(field, "must be undefined to be structural");
        }
    }
    for field in ["nullable", PRESERVED, EMBEDDED, INT_OR_STRING] {
        if flag(schema, field) {
            refuse(field, "must be false to be structural");
        }
    }
    for field in ["x-kubernetes-list-map-keys", "x-kubernetes-validations"] {
        if !list(schema, field).is_empty() {
            refuse(field, "must be empty to be structural");
        }
    }
    if has(at(schema, "properties"), "metadata") {
        let path = path.child("properties").key("metadata");
        let detail = "must not be specified in a nested context";
        errors.push(FieldError::forbidden(&path, detail));
    }
}

/// Checks that what value validation `judge` speaks of is described by the schema.
fn complete(judge: &Value, schema: &Value, path: &Path, at_judge: &Path, errors: &mut Vec<FieldError>) {
    if has(judge, "not") {
        covered(at(judge, "not"), schema, path, &at_judge.child("not"), errors);
    }
    for junctor in ["allOf", "anyOf", "oneOf"] {
        for (index, each) in list(judge, junctor).iter().enumerate() {
            covered(each, schema, path, &at_judge.child(junctor).index(index), errors);
        }
    }
}

fn covered(judge: &Value, schema: &Value, path: &Path, at_judge: &Path, errors: &mut Vec<FieldError>) {
    if schema.is_null() {
        let detail = format!("because it is defined in {at_judge}");
        errors.push(FieldError::required(path, detail));
        return;
    }
    complete(judge, schema, path, at_judge, errors);
    if has(judge, "items") {
        let (path, at_judge) = (path.child("items"), at_judge.child("items"));
        covered(at(judge, "items"), at(schema, "items"), &path, &at_judge, errors);
    }
    for (key, field) in entries(judge, "properties") {
        let (path, at_judge) = (path.child("properties").key(key), at_judge.child("properties").key(key));
        covered(field, at(at(schema, "properties"), key), &path, &at_judge, errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(schema: &Value) -> Vec<String> {
        let errors = structural(schema, &Path::new("s"));
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_field_has_a_type() {
        let fine = json!({"type": "object", "properties": {
            "metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 5}}},
            "spec": {"type": "object", "properties": {
                "port": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
                "any": {"x-kubernetes-preserve-unknown-fields": true},
                "list": {"type": "array", "items": {"type": "string", "pattern": "^a+$"}}}}}});
        assert_eq!(said(&fine), Vec::<String>::new());
        let bad = json!({"additionalProperties": {"type": "string"}, "properties": {
            "kind": {"type": "integer"}, "metadata": {"type": "object", "properties": {"labels": {"type": "object"}}},
            "a": {"type": "array"}, "b": {"type": "array", "items": {}}, "c": {"type": "string", "pattern": "("},
            "d": {"x-kubernetes-embedded-resource": true}}});
        let words = said(&bad);
        assert_eq!(
            words,
            [
                "s.additionalProperties: Forbidden: must not be used at the root",
                "s.properties[a].items: Required value: must be specified",
                "s.properties[b].items.type: Required value: must not be empty for specified array items",
                "s.properties[c].pattern: Invalid value: \"(\": must be a valid regular expression, but isn't: unclosed group",
                "s.properties[d].properties: Required value: must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields",
                "s.properties[d].type: Required value: must be object if x-kubernetes-embedded-resource is true",
                "s.properties[kind].type: Invalid value: \"integer\": must be string",
                "s.properties[metadata]: Forbidden: must not specify anything other than name and generateName, but metadata is implicitly specified",
                "s.type: Required value: must not be empty at the root",
            ]
        );
    }

    #[test]
    fn what_judges_values_describes_nothing() {
        let bad = json!({"type": "object", "properties": {"a": {"type": "string"}}, "allOf": [
            {"anyOf": [{"type": "integer"}, {"type": "string"}]},
            {"type": "object", "nullable": true, "default": 1, "properties": {"a": {"minLength": 1}, "b": {"minLength": 1}, "metadata": {}}}],
            "not": {"items": {"description": "x"}, "x-kubernetes-validations": [{"rule": "x"}]}});
        assert_eq!(
            said(&bad),
            [
                "s.allOf[1].default: Forbidden: must be undefined to be structural",
                "s.allOf[1].nullable: Forbidden: must be false to be structural",
                "s.allOf[1].properties[metadata]: Forbidden: must not be specified in a nested context",
                "s.allOf[1].type: Forbidden: must be empty to be structural",
                "s.items: Required value: because it is defined in s.not.items",
                "s.not.items.description: Forbidden: must be empty to be structural",
                "s.not.x-kubernetes-validations: Forbidden: must be empty to be structural",
                "s.properties[b]: Required value: because it is defined in s.allOf[1].properties[b]",
                "s.properties[metadata]: Required value: because it is defined in s.allOf[1].properties[metadata]",
            ]
        );
    }
}
