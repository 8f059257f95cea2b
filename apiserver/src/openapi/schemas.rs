//! Facts turned into OpenAPI schemas.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use timonel_api::facts::{self, Field, ListType, MapType, Scalar, Schema, Type};

use super::describe::Descriptions;

/// Where v3 keeps its schemas.
const V3: &str = "#/components/schemas/";
/// Where v2 does.
const V2: &str = "#/definitions/";

/// Every schema that can be reached from some roots, the roots included.
pub(super) fn reachable(roots: &[String]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open: Vec<String> = roots.to_vec();
    while let Some(name) = open.pop() {
        if !found.insert(name.clone()) {
            continue;
        }
        for field in facts::schema_by_name(&name)
            .into_iter()
            .flat_map(|schema| &schema.fields)
        {
            open.extend(leaf(&field.ty).map(str::to_owned));
            open.extend(field.leaf_name.map(str::to_owned));
        }
    }
    found
}

fn leaf(ty: &Type) -> Option<&'static str> {
    match ty {
        Type::Ref(schema) => Some(schema.name()),
        Type::List { item, .. } => leaf(item),
        Type::Map { value, .. } => leaf(value),
        _ => None,
    }
}

/// A schema of v3. `group` and `version` are the document's: options that every group has name only that one.
pub(super) fn v3(name: &str, group: &str, version: &str, descriptions: &Descriptions) -> Value {
    build(name, &[(group, version)], descriptions, true)
}

/// A definition of v2.
pub(super) fn v2(name: &str, versions: &[(&str, &str)], descriptions: &Descriptions) -> Value {
    build(name, versions, descriptions, false)
}

fn build(name: &str, versions: &[(&str, &str)], descriptions: &Descriptions, v3: bool) -> Value {
    let Some(schema) = facts::schema_by_name(name) else {
        return special(name, descriptions, v3);
    };
    let mut out = Map::new();
    let mut set = |key: &str, value: Value| out.insert(key.to_owned(), value);
    if let Some(text) = descriptions.of_type(name) {
        set("description", text.into());
    }
    set("type", "object".into());
    if !schema.fields.is_empty() {
        let properties: Map<String, Value> = schema
            .fields
            .iter()
            .map(|field| (field.name.to_owned(), property(schema, field, descriptions, v3)))
            .collect();
        set("properties", Value::Object(properties));
    }
    let required: Vec<&str> = schema.fields.iter().filter(|f| f.required).map(|f| f.name).collect();
    if !required.is_empty() {
        set("required", required.into());
    }
    let kinds = kinds(schema, versions);
    if !kinds.is_empty() {
        set("x-kubernetes-group-version-kind", kinds.into());
    }
    if let Some(map_type) = schema.map_type {
        set("x-kubernetes-map-type", map_word(map_type).into());
    }
    let unions: Vec<Value> = schema
        .unions
        .iter()
        .filter_map(|text| serde_json::from_str(text).ok())
        .collect();
    if !unions.is_empty() {
        set("x-kubernetes-unions", unions.into());
    }
    Value::Object(out)
}

fn kinds(schema: &Schema, versions: &[(&str, &str)]) -> Vec<Value> {
    let kind = |group: &str, version: &str, kind: &str| json!({"group": group, "version": version, "kind": kind});
    match schema.name.strip_prefix("io.k8s.apimachinery.pkg.apis.meta.v1.") {
        Some(name @ ("DeleteOptions" | "WatchEvent")) => {
            let others = versions.iter().filter(|version| **version != ("", "v1"));
            std::iter::once(&("", "v1"))
                .chain(others)
                .map(|(g, v)| kind(g, v, name))
                .collect()
        }
        Some(name @ ("Status" | "APIResourceList")) => vec![kind("", "v1", name)],
        _ => schema.kinds.iter().map(|k| kind(k.group, k.version, k.kind)).collect(),
    }
}

fn property(schema: &Schema, field: &Field, descriptions: &Descriptions, v3: bool) -> Value {
    let default = |text: Option<&str>| text.and_then(|text| serde_json::from_str(text).ok());
    let list = schema
        .name
        .strip_suffix("List")
        .filter(|_| field.name == "items" && !schema.kinds.is_empty());
    let description = match list {
        Some(item) => item.rsplit('.').next().map(|kind| format!("The list of {kind}s.")),
        // k8s-openapi's watch event is an enum without descriptions.
        None if schema.go_name() == "WatchEvent" && field.name == "object" => {
            Some("The object after the change, before its deletion, or a Status for an error.".to_owned())
        }
        None => descriptions.of_field(schema.name, field.name).map(str::to_owned),
    };
    let mut out = typed(&field.ty, field, default(field.default), description, v3);
    let Some(map) = out.as_object_mut() else { return out };
    if let Some(list_type) = field.list_type {
        let word = match list_type {
            ListType::Atomic => "atomic",
            ListType::Set => "set",
            ListType::Map => "map",
        };
        map.insert("x-kubernetes-list-type".to_owned(), word.into());
    }
    if let Type::List { map_keys, .. } = &field.ty
        && !map_keys.is_empty()
    {
        map.insert("x-kubernetes-list-map-keys".to_owned(), map_keys.as_slice().into());
    }
    if let Some(map_type) = field.map_type {
        map.insert("x-kubernetes-map-type".to_owned(), map_word(map_type).into());
    }
    if let Some(strategy) = field.patch_strategy {
        map.insert("x-kubernetes-patch-strategy".to_owned(), strategy.into());
    }
    if let Some(key) = field.patch_merge_key {
        map.insert("x-kubernetes-patch-merge-key".to_owned(), key.into());
    }
    out
}

fn map_word(map_type: MapType) -> &'static str {
    match map_type {
        MapType::Atomic => "atomic",
        MapType::Granular => "granular",
    }
}

fn typed(ty: &Type, field: &Field, default: Option<Value>, description: Option<String>, v3: bool) -> Value {
    let element = |ty: &Type| {
        let default = field.element_default.and_then(|text| serde_json::from_str(text).ok());
        typed(ty, field, default, None, v3)
    };
    let mut out = match ty {
        Type::Ref(schema) => return reference(schema.name(), default, description, v3),
        Type::List { item, .. } => json!({"type": "array", "items": element(item)}),
        Type::Map { value, .. } => json!({"type": "object", "additionalProperties": element(value)}),
        Type::RawObject | Type::Any => match field.leaf_name {
            Some(name) => return reference(name, default, description, v3),
            None => json!({"type": "object"}),
        },
        Type::Scalar(scalar) => match (scalar, field.leaf_name) {
            (_, Some(name)) => return reference(name, default, description, v3),
            (Scalar::Bool, _) => json!({"type": "boolean"}),
            (Scalar::Int32, _) => json!({"type": "integer", "format": "int32"}),
            (Scalar::Int64, _) => json!({"type": "integer", "format": "int64"}),
            (Scalar::Double, _) => json!({"type": "number", "format": "double"}),
            (Scalar::Bytes, _) => json!({"type": "string", "format": "byte"}),
            _ => json!({"type": "string"}),
        },
    };
    if let (Some(default), true) = (default, v3) {
        out["default"] = default;
    }
    if let Some(description) = description {
        out["description"] = description.into();
    }
    out
}

/// In v3 nothing may stand beside a `$ref`, so it moves into an `allOf`; v2 has no defaults and takes descriptions beside it.
fn reference(name: &str, default: Option<Value>, description: Option<String>, v3: bool) -> Value {
    let mut out = Map::new();
    let target = json!(format!("{}{name}", if v3 { V3 } else { V2 }));
    if v3 && (default.is_some() || description.is_some()) {
        out.insert("allOf".to_owned(), json!([{"$ref": target}]));
    } else {
        out.insert("$ref".to_owned(), target);
    }
    if let (Some(default), true) = (default, v3) {
        out.insert("default".to_owned(), default);
    }
    if let Some(description) = description {
        out.insert("description".to_owned(), description.into());
    }
    Value::Object(out)
}

/// Types that marshal themselves in Go.
fn special(name: &str, descriptions: &Descriptions, v3: bool) -> Value {
    let mut out = match name.rsplit('.').next().unwrap_or_default() {
        "Time" | "MicroTime" => json!({"type": "string", "format": "date-time"}),
        "Quantity" if v3 => json!({"oneOf": [{"type": "string"}, {"type": "number"}]}),
        "Quantity" => json!({"type": "string"}),
        "IntOrString" if v3 => json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}),
        "IntOrString" => json!({"type": "string", "format": "int-or-string"}),
        "FieldsV1" | "RawExtension" | "Patch" => json!({"type": "object"}),
        _ => json!({}),
    };
    if let Some(text) = descriptions.of_type(name) {
        out["description"] = text.into();
    }
    out
}
