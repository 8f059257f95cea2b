//! Makes of a value what upstream's decoding into Go structs and encoding again would have made of it.

use serde_json::{Map, Value};

use crate::facts::{Scalar, Schema, Type};

/// Drops unknown fields, nulls, and lists and maps that are empty and need not be there; nulls inside lists and maps become the type's zero value. Numbers given for quantities
/// become strings, empty times vanish. Run [`super::types`] first: what has a wrong type is left as it is.
///
/// Quantities keep the client's spelling; [`prune_with`] takes a function that makes them canonical.
pub fn prune(schema: &Schema, value: &mut Value) {
    prune_with(schema, value, &|_| None);
}

/// As [`prune`], and gives every quantity to `canonical`, which answers another spelling (`1000m` -> `1`) or `None` to keep it.
pub fn prune_with(schema: &Schema, value: &mut Value, canonical: &dyn Fn(&str) -> Option<String>) {
    if let Value::Object(map) = value {
        prune_struct(schema, map, canonical);
    }
}

fn prune_struct(schema: &Schema, map: &mut Map<String, Value>, canonical: &dyn Fn(&str) -> Option<String>) {
    map.retain(|key, value| {
        let Some(field) = schema.field(key) else { return false };
        if value.is_null() {
            // `null` is a JSON value of its own to a field of any type.
            return matches!(field.ty, Type::Any);
        }
        prune_value(&field.ty, value, canonical);
        match &field.ty {
            Type::Scalar(Scalar::Time | Scalar::MicroTime) => value.as_str() != Some(""),
            Type::List { .. } | Type::Map { .. } => {
                field.required || !is_empty(value) || ALWAYS_WRITTEN.contains(&(schema.go_name(), key))
            }
            _ => true,
        }
    });
}

/// Lists that Go writes though they are empty (their `json` tags have no `omitempty`), though the documents do not require them.
const ALWAYS_WRITTEN: [(&str, &str); 5] = [
    ("ClusterRole", "rules"),
    ("CustomResourceDefinitionStatus", "conditions"),
    ("CustomResourceDefinitionStatus", "storedVersions"),
    ("EndpointSlice", "ports"),
    ("Role", "rules"),
];

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

fn prune_value(ty: &Type, value: &mut Value, canonical: &dyn Fn(&str) -> Option<String>) {
    match (ty, value) {
        (ty, value @ Value::Null) => *value = zero(ty),
        (Type::Ref(schema), Value::Object(map)) => prune_struct(schema, map, canonical),
        (Type::List { item, .. }, Value::Array(items)) => {
            items.iter_mut().for_each(|value| prune_value(item, value, canonical));
        }
        (Type::Map { value: ty, .. }, Value::Object(map)) => {
            map.values_mut().for_each(|value| prune_value(ty, value, canonical));
        }
        (Type::Scalar(Scalar::Quantity), value) => {
            if let Value::Number(number) = value {
                *value = Value::String(number.to_string());
            }
            if let Some(text) = value.as_str().and_then(canonical) {
                *value = Value::String(text);
            }
        }
        _ => {}
    }
}

/// What Go leaves where a null stood for something that is not a pointer.
fn zero(ty: &Type) -> Value {
    match ty {
        Type::Ref(_) => Value::Object(Map::new()),
        Type::Scalar(Scalar::String) => Value::String(String::new()),
        Type::Scalar(Scalar::Bool) => Value::Bool(false),
        Type::Scalar(Scalar::Int32 | Scalar::Int64 | Scalar::Double | Scalar::IntOrString) => Value::Number(0.into()),
        Type::Scalar(Scalar::Quantity) => Value::String("0".to_owned()),
        _ => Value::Null,
    }
}
