//! Validation of the OpenAPI schema of a custom resource: which parts of JSON schema may be used, and how lists and maps are told apart.
//!
//! CEL rules are asked to be there; whether they compile and what they cost nobody here can tell yet. Whether defaults satisfy the
//! schema that they stand in is not looked at either.

use serde_json::Value;
use timonel_api::{FieldError, Path};

use super::super::super::value::{at, entries, flag, has, list, text};
use super::structure;

const TYPES: [&str; 6] = ["array", "boolean", "integer", "number", "object", "string"];
const LIST_TYPE: &str = "x-kubernetes-list-type";
const MAP_TYPE: &str = "x-kubernetes-map-type";
const MAP_KEYS: &str = "x-kubernetes-list-map-keys";
const RULES: &str = "x-kubernetes-validations";

/// What may stand at the root where the status is a subresource, by upstream's names.
const AT_ROOT: [(&str, &str); 22] = [
    ("description", "Description"),
    ("type", "Type"),
    ("format", "Format"),
    ("title", "Title"),
    ("maximum", "Maximum"),
    ("exclusiveMaximum", "ExclusiveMaximum"),
    ("minimum", "Minimum"),
    ("exclusiveMinimum", "ExclusiveMinimum"),
    ("maxLength", "MaxLength"),
    ("minLength", "MinLength"),
    ("pattern", "Pattern"),
    ("maxItems", "MaxItems"),
    ("minItems", "MinItems"),
    ("uniqueItems", "UniqueItems"),
    ("multipleOf", "MultipleOf"),
    ("required", "Required"),
    ("items", "Items"),
    ("properties", "Properties"),
    ("externalDocs", "ExternalDocs"),
    ("example", "Example"),
    ("x-kubernetes-preserve-unknown-fields", "XPreserveUnknownFields"),
    ("x-kubernetes-validations", "XValidations"),
];

/// What a schema may not do because of where it stands.
#[derive(Clone, Default)]
struct Place {
    /// Why there may be no defaults.
    no_defaults: Option<String>,
    /// Inside of metadata, kind or apiVersion.
    meta: bool,
    root: bool,
}

/// Checks a `CustomResourceValidation`.
pub(super) fn validation(validation: &Value, status: bool, path: &Path, errors: &mut Vec<FieldError>) {
    let schema = at(validation, "openAPIV3Schema");
    if schema.is_null() {
        return;
    }
    let path = path.child("openAPIV3Schema");
    if status {
        with_status(schema, &path, errors);
    }
    if flag(schema, "nullable") {
        errors.push(FieldError::forbidden(
            &path.child("nullable"),
            "nullable cannot be true at the root",
        ));
    }
    errors.extend(structure::structural(schema, &path));
    let place = Place {
        root: true,
        ..Place::default()
    };
    self::schema(schema, &place, &path, errors);
}

fn with_status(schema: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let kind = text(schema, "type");
    if !kind.is_empty() && kind != "object" {
        let detail =
            "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        errors.push(FieldError::invalid(&path.child("type"), kind, detail));
        return;
    }
    let mut given = schema.as_object().into_iter().flatten();
    let unknown = given.any(|(key, value)| {
        let empty = value.is_null() || *value == false || *value == "" || value.as_array().is_some_and(Vec::is_empty);
        !empty && !AT_ROOT.iter().any(|(allowed, _)| key == allowed)
    });
    if unknown {
        let allowed: Vec<&str> = AT_ROOT.iter().map(|(_, name)| *name).collect();
        let detail = format!(
            "only [{}] fields are allowed at the root of the schema if the status subresource is enabled",
            allowed.join(" ")
        );
        errors.push(FieldError::invalid(path, schema.clone(), detail));
    }
}

fn schema(schema: &Value, place: &Place, path: &Path, errors: &mut Vec<FieldError>) {
    standard(schema, place, path, errors);
    if flag(schema, "uniqueItems") {
        let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(FieldError::forbidden(&path.child("uniqueItems"), detail));
    }
    let deeper = Place {
        root: false,
        ..place.clone()
    };
    let others = at(schema, "additionalProperties");
    if !others.is_null() {
        let path = path.child("additionalProperties");
        if entries(schema, "properties").next().is_some() && *others != true {
            let detail = "additionalProperties and properties are mutual exclusive";
            errors.push(FieldError::forbidden(&path, detail));
        }
        let mut below = deeper.clone();
        if below.meta {
            below.no_defaults = Some("inside additionalProperties applying to object metadata".to_owned());
        }
        if others.is_object() {
            self::schema(others, &below, &path, errors);
        }
    }
    let is_object = place.root || flag(schema, "x-kubernetes-embedded-resource");
    for (key, field) in entries(schema, "properties") {
        let mut below = deeper.clone();
        if is_object && matches!(key, "metadata" | "kind" | "apiVersion") {
            below.meta = true;
            if place.root {
                below.no_defaults = Some(format!("in top-level {key}"));
            }
        }
        self::schema(field, &below, &path.child("properties").key(key), errors);
    }
    if has(schema, "not") {
        self::schema(at(schema, "not"), &deeper, &path.child("not"), errors);
    }
    for junctor in ["allOf", "oneOf", "anyOf"] {
        for (index, each) in list(schema, junctor).iter().enumerate() {
            self::schema(each, &deeper, &path.child(junctor).index(index), errors);
        }
    }
    if at(schema, "items").is_object() {
        self::schema(at(schema, "items"), &deeper, &path.child("items"), errors);
    }
    extensions(schema, path, errors);
    for (index, rule) in list(schema, RULES).iter().enumerate() {
        self::rule(rule, &path.child(RULES).index(index), errors);
    }
}

/// Checks what of JSON schema is spoken.
fn standard(schema: &Value, place: &Place, path: &Path, errors: &mut Vec<FieldError>) {
    let kind = text(schema, "type");
    if !kind.is_empty() && !TYPES.contains(&kind) {
        errors.push(FieldError::not_supported(&path.child("type"), kind, &TYPES));
    }
    if let Some(reason) = &place.no_defaults
        && has(schema, "default")
    {
        let detail = format!("must not be set {reason}");
        errors.push(FieldError::forbidden(&path.child("default"), detail));
    }
    for field in [
        "id",
        "additionalItems",
        "patternProperties",
        "definitions",
        "dependencies",
        "$ref",
    ] {
        let value = at(schema, field);
        let empty = value.is_null() || *value == "" || value.as_object().is_some_and(serde_json::Map::is_empty);
        if !empty {
            errors.push(FieldError::forbidden(
                &path.child(field),
                format!("{field} is not supported"),
            ));
        }
    }
    if kind == "null" {
        let detail = "type cannot be set to null, use nullable as an alternative";
        errors.push(FieldError::forbidden(&path.child("type"), detail));
    }
    if at(schema, "items").is_array() {
        let detail = "items must be a schema object and not an array";
        errors.push(FieldError::forbidden(&path.child("items"), detail));
    }
    let embedded = "x-kubernetes-embedded-resource";
    if place.meta && flag(schema, embedded) {
        let detail = "must not be used inside of resource meta";
        errors.push(FieldError::forbidden(&path.child(embedded), detail));
    }
}

/// An extension that only one type of values can have.
fn of_type(schema: &Value, extension: &str, wanted: &str, path: &Path, errors: &mut Vec<FieldError>) -> bool {
    let (kind, path) = (text(schema, "type"), path.child("type"));
    if !has(schema, extension) || kind == wanted {
        return true;
    }
    let detail = format!("must be {wanted} if {extension} is specified");
    errors.push(if kind.is_empty() {
        FieldError::required(&path, detail)
    } else {
        FieldError::invalid(&path, kind, detail)
    });
    false
}

fn extensions(schema: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let preserved = "x-kubernetes-preserve-unknown-fields";
    if *at(schema, preserved) == false {
        errors.push(FieldError::invalid(
            &path.child(preserved),
            false,
            "must be true or undefined",
        ));
    }
    of_type(schema, MAP_TYPE, "object", path, errors);
    let (maps, lists) = (text(schema, MAP_TYPE), text(schema, LIST_TYPE));
    if has(schema, MAP_TYPE) && !["atomic", "granular"].contains(&maps) {
        let kinds = ["atomic", "granular"];
        errors.push(FieldError::not_supported(&path.child(MAP_TYPE), maps, &kinds));
    }
    let (items, at_items) = (at(schema, "items"), path.child("items"));
    if of_type(schema, LIST_TYPE, "array", path, errors) && lists == "set" {
        let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
        let granular = match text(items, "type") {
            "array" => has(items, LIST_TYPE) && text(items, LIST_TYPE) != "atomic",
            "object" => text(items, MAP_TYPE) != "atomic",
            _ => false,
        };
        let field = if text(items, "type") == "array" {
            LIST_TYPE
        } else {
            MAP_TYPE
        };
        if granular {
            let value = at(items, LIST_TYPE).clone();
            errors.push(FieldError::invalid(&at_items.child(field), value, detail));
        }
    }
    if has(schema, LIST_TYPE) && !["atomic", "set", "map"].contains(&lists) {
        let kinds = ["atomic", "set", "map"];
        errors.push(FieldError::not_supported(&path.child(LIST_TYPE), lists, &kinds));
    }
    let keys = list(schema, MAP_KEYS);
    if !keys.is_empty() && lists != "map" {
        let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
        let path = path.child(LIST_TYPE);
        errors.push(if has(schema, LIST_TYPE) {
            FieldError::invalid(&path, lists, detail)
        } else {
            FieldError::required(&path, detail)
        });
    }
    if lists == "map" {
        map_list(schema, items, path, errors);
    }
    if items.is_object() && matches!(lists, "set" | "map") && flag(items, "nullable") {
        let detail = format!("cannot be nullable when x-kubernetes-list-type is {lists}");
        errors.push(FieldError::forbidden(&at_items.child("nullable"), detail));
    }
    if items.is_object() && lists == "map" {
        map_keys(keys, items, &at_items, errors);
    }
}

/// Checks a list whose entries are found by keys.
fn map_list(schema: &Value, items: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let (keys, at_keys, at_items) = (list(schema, MAP_KEYS), path.child(MAP_KEYS), path.child("items"));
    if keys.is_empty() {
        let detail = "must not be empty if x-kubernetes-list-type is map";
        errors.push(FieldError::required(&at_keys, detail));
    }
    if items.is_null() {
        let detail = "must have a schema if x-kubernetes-list-type is map";
        errors.push(FieldError::required(&at_items, detail));
    } else if items.is_array() {
        let detail = "must only have a single schema if x-kubernetes-list-type is map";
        errors.push(FieldError::invalid(&at_items, items.clone(), detail));
    } else if text(items, "type") != "object" {
        let detail = "must be object if parent array's x-kubernetes-list-type is map";
        errors.push(FieldError::invalid(
            &at_items.child("type"),
            text(items, "type"),
            detail,
        ));
    } else {
        for (index, key) in keys.iter().filter_map(Value::as_str).enumerate() {
            let mut refuse = |detail: &str| errors.push(FieldError::invalid(&at_keys, keys.to_vec(), detail));
            let property = at(at(items, "properties"), key);
            if property.is_null() {
                refuse("entries must all be names of item properties");
            }
            if keys[..index].iter().any(|other| other == key) {
                refuse("must not contain duplicate entries");
            }
            if matches!(text(property, "type"), "array" | "object") {
                let path = at_items.child("properties").key(key).child("type");
                let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                errors.push(FieldError::invalid(&path, text(items, "type"), detail));
            }
        }
    }
}

/// A key is always there.
fn map_keys(keys: &[Value], items: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    for key in keys.iter().filter_map(Value::as_str) {
        let (property, path) = (at(at(items, "properties"), key), path.child("properties").key(key));
        if property.is_null() {
            continue;
        }
        let required = list(items, "required").iter().any(|name| name == key);
        if !required && !has(property, "default") {
            let detail =
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            errors.push(FieldError::required(&path.child("default"), detail));
        }
        if flag(property, "nullable") {
            let detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.push(FieldError::forbidden(&path.child("nullable"), detail));
        }
    }
}

fn rule(rule: &Value, path: &Path, errors: &mut Vec<FieldError>) {
    let breaks = |text: &str| text.contains(['\n', '\r']);
    let blank = |field: &str| !text(rule, field).is_empty() && text(rule, field).trim().is_empty();
    let (cel, message) = (text(rule, "rule").trim(), text(rule, "message"));
    let at_message = path.child("message");
    if cel.is_empty() {
        errors.push(FieldError::required(&path.child("rule"), "rule is not specified"));
    } else if blank("message") {
        errors.push(FieldError::invalid(
            &at_message,
            message,
            "message must be non-empty if specified",
        ));
    } else if breaks(message.trim()) {
        errors.push(FieldError::invalid(
            &at_message,
            message,
            "message must not contain line breaks",
        ));
    } else if breaks(cel) && message.is_empty() {
        let detail = "message must be specified if rule contains line breaks";
        errors.push(FieldError::required(&at_message, detail));
    }
    if blank("messageExpression") {
        let detail = "messageExpression must be non-empty if specified";
        errors.push(FieldError::required(&path.child("messageExpression"), detail));
    }
    let reasons = [
        "FieldValueDuplicate",
        "FieldValueForbidden",
        "FieldValueInvalid",
        "FieldValueRequired",
    ];
    super::super::super::common::any_of(rule, "reason", &reasons, path, errors);
    let (field, path) = (text(rule, "fieldPath"), path.child("fieldPath"));
    if blank("fieldPath") {
        errors.push(FieldError::invalid(
            &path,
            field,
            "fieldPath must be non-empty if specified",
        ));
    }
    if breaks(field) {
        errors.push(FieldError::invalid(
            &path,
            field,
            "fieldPath must not contain line breaks",
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn said(schema: &Value, status: bool) -> Vec<String> {
        let mut errors = Vec::new();
        validation(
            &json!({"openAPIV3Schema": schema}),
            status,
            &Path::new("v"),
            &mut errors,
        );
        errors
            .iter()
            .map(|error| error.to_string().replace("v.openAPIV3Schema", "s"))
            .collect()
    }

    #[test]
    fn lists_of_maps_have_keys_that_are_always_there() {
        let list = |rest: Value| {
            let mut list = json!({"type": "array", "x-kubernetes-list-type": "map"});
            for (key, value) in rest.as_object().unwrap() {
                list[key] = value.clone();
            }
            said(&json!({"type": "object", "properties": {"l": list}}), false)
        };
        let item = json!({"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}, "port": {"type": "integer", "default": 80}}});
        assert_eq!(
            list(json!({"x-kubernetes-list-map-keys": ["name", "port"], "items": item})),
            Vec::<String>::new()
        );
        let at = "s.properties[l]";
        assert_eq!(
            list(json!({"items": {"type": "string"}})),
            [
                format!(
                    "{at}.x-kubernetes-list-map-keys: Required value: must not be empty if x-kubernetes-list-type is map"
                ),
                format!(
                    "{at}.items.type: Invalid value: \"string\": must be object if parent array's x-kubernetes-list-type is map"
                ),
            ]
        );
        let item = json!({"type": "object", "nullable": true, "properties": {"name": {"type": "string"}, "o": {"type": "object", "nullable": true}}});
        assert_eq!(
            list(json!({"x-kubernetes-list-map-keys": ["name", "o", "x", "name"], "items": item})),
            [
                format!(
                    "{at}.items.properties[o].type: Invalid value: \"object\": must be a scalar type if parent array's x-kubernetes-list-type is map"
                ),
                format!(
                    "{at}.x-kubernetes-list-map-keys: Invalid value: [\"name\",\"o\",\"x\",\"name\"]: entries must all be names of item properties"
                ),
                format!(
                    "{at}.x-kubernetes-list-map-keys: Invalid value: [\"name\",\"o\",\"x\",\"name\"]: must not contain duplicate entries"
                ),
                format!("{at}.items.nullable: Forbidden: cannot be nullable when x-kubernetes-list-type is map"),
                format!(
                    "{at}.items.properties[name].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
                ),
                format!(
                    "{at}.items.properties[o].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
                ),
                format!(
                    "{at}.items.properties[o].nullable: Forbidden: this property is in x-kubernetes-list-map-keys, so it cannot be nullable"
                ),
                format!(
                    "{at}.items.properties[name].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
                ),
            ]
        );
        let set = json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "object"}});
        let odd = json!({"x-kubernetes-preserve-unknown-fields": false, "type": "string", "x-kubernetes-map-type": "round", "x-kubernetes-list-map-keys": ["a"]});
        assert_eq!(
            said(&json!({"type": "object", "properties": {"a": set, "b": odd}}), false),
            [
                "s.properties[a].items.x-kubernetes-map-type: Invalid value: \"null\": must be atomic as item of a list with x-kubernetes-list-type=set",
                "s.properties[b].x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or undefined",
                "s.properties[b].type: Invalid value: \"string\": must be object if x-kubernetes-map-type is specified",
                "s.properties[b].x-kubernetes-map-type: Unsupported value: \"round\": supported values: \"atomic\", \"granular\"",
                "s.properties[b].x-kubernetes-list-type: Required value: must be map if x-kubernetes-list-map-keys is non-empty",
            ]
        );
    }

    #[test]
    fn only_a_part_of_json_schema_is_spoken() {
        let rules = json!([{"rule": " "}, {"rule": "a\nb"}, {"rule": "x", "message": " ", "reason": "Because", "fieldPath": " "}]);
        let bad = json!({"type": "object", "nullable": true, "x-kubernetes-validations": rules, "properties": {
            "metadata": {"type": "object", "default": {}},
            "a": {"type": "file", "uniqueItems": true, "$ref": "#/x", "definitions": {"x": {}}},
            "b": {"type": "object", "properties": {"c": {"type": "string"}}, "additionalProperties": false}}});
        assert_eq!(
            said(&bad, false),
            [
                "s.nullable: Forbidden: nullable cannot be true at the root",
                "s.properties[a].type: Unsupported value: \"file\": supported values: \"array\", \"boolean\", \"integer\", \"number\", \"object\", \"string\"",
                "s.properties[a].definitions: Forbidden: definitions is not supported",
                "s.properties[a].$ref: Forbidden: $ref is not supported",
                "s.properties[a].uniqueItems: Forbidden: uniqueItems cannot be set to true since the runtime complexity becomes quadratic",
                "s.properties[b].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
                "s.properties[metadata].default: Forbidden: must not be set in top-level metadata",
                "s.x-kubernetes-validations[0].rule: Required value: rule is not specified",
                "s.x-kubernetes-validations[1].message: Required value: message must be specified if rule contains line breaks",
                "s.x-kubernetes-validations[2].message: Invalid value: \" \": message must be non-empty if specified",
                "s.x-kubernetes-validations[2].reason: Unsupported value: \"Because\": supported values: \"FieldValueDuplicate\", \"FieldValueForbidden\", \"FieldValueInvalid\", \"FieldValueRequired\"",
                "s.x-kubernetes-validations[2].fieldPath: Invalid value: \" \": fieldPath must be non-empty if specified",
            ]
        );
        let words = said(&json!({"type": "object", "oneOf": [{"required": ["a"]}]}), true);
        assert!(words[0].contains("only [Description Type Format Title"));
    }
}
