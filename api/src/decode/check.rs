//! Holds a value against a schema: fields that the schema does not have, values of the wrong type.

use base64::Engine as _;
use serde_json::Value;

use super::{Place, TypeError, note};
use crate::facts::{Scalar, Schema, Type};
use crate::quantity::Quantity;

/// Finds the fields that a schema does not have, with their paths; upstream's spelling matters, also its case.
pub fn unknown_fields(schema: &Schema, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    unknown_in_struct(schema, value, &Place::Root, &mut found);
    found
}

fn unknown_in_struct(schema: &Schema, value: &Value, place: &Place<'_>, found: &mut Vec<String>) {
    for (key, value) in value.as_object().into_iter().flatten() {
        let place = Place::Key(place, key);
        match schema.field(key) {
            Some(field) => unknown_in(&field.ty, value, &place, found),
            None => note(found, place.path()),
        }
    }
}

fn unknown_in(ty: &Type, value: &Value, place: &Place<'_>, found: &mut Vec<String>) {
    match ty {
        Type::Ref(schema) => unknown_in_struct(schema, value, place, found),
        Type::List { item, .. } => {
            for (index, value) in value.as_array().into_iter().flatten().enumerate() {
                unknown_in(item, value, &Place::Index(place, index), found);
            }
        }
        Type::Map { value: ty, .. } => {
            for (key, value) in value.as_object().into_iter().flatten() {
                unknown_in(ty, value, &Place::Key(place, key), found);
            }
        }
        Type::Scalar(_) | Type::RawObject | Type::Any => {}
    }
}

/// Checks that every known field holds what its type can hold. Null is allowed everywhere, as in Go. Unknown fields are ignored.
///
/// # Errors
/// The first value of a wrong type, in the words of Go's decoder.
pub fn types(schema: &'static Schema, value: &Value) -> Result<(), TypeError> {
    if !value.is_object() && !value.is_null() {
        return Err(TypeError::Value {
            value: go_value(value),
            wanted: go_struct(schema),
        });
    }
    types_in_struct(schema, value, &Place::Root)
}

fn types_in_struct(schema: &'static Schema, value: &Value, place: &Place<'_>) -> Result<(), TypeError> {
    for (key, value) in value.as_object().into_iter().flatten() {
        if let Some(field) = schema.field(key) {
            types_in(&field.ty, value, schema, &Place::Key(place, key))?;
        }
    }
    Ok(())
}

fn types_in(ty: &'static Type, value: &Value, owner: &'static Schema, place: &Place<'_>) -> Result<(), TypeError> {
    let wrong = |value: String| TypeError::Field {
        value,
        owner: owner.go_name(),
        path: place.field_path(),
        wanted: go_type(ty),
    };
    match (ty, value) {
        (_, Value::Null) | (Type::Any, _) | (Type::RawObject, Value::Object(_)) => Ok(()),
        (Type::Ref(schema), Value::Object(_)) => types_in_struct(schema.schema(), value, place),
        (Type::List { item, .. }, Value::Array(items)) => {
            for (index, value) in items.iter().enumerate() {
                types_in(item, value, owner, &Place::Index(place, index))?;
            }
            Ok(())
        }
        (Type::Map { value: ty, .. }, Value::Object(map)) => {
            for (_, value) in map {
                types_in(ty, value, owner, place)?;
            }
            Ok(())
        }
        (Type::Scalar(scalar), _) => scalar_fits(*scalar, value, &wrong),
        _ => Err(wrong(go_value(value))),
    }
}

fn scalar_fits(scalar: Scalar, value: &Value, wrong: &dyn Fn(String) -> TypeError) -> Result<(), TypeError> {
    let int32 = |n: &serde_json::Number| n.as_i64().is_some_and(|n| i32::try_from(n).is_ok());
    match (scalar, value) {
        (Scalar::String | Scalar::IntOrString, Value::String(_)) | (Scalar::Bool, Value::Bool(_)) => Ok(()),
        (Scalar::Double, Value::Number(_)) => Ok(()),
        (Scalar::Int64, Value::Number(number)) if number.is_i64() => Ok(()),
        (Scalar::Int32 | Scalar::IntOrString, Value::Number(number)) if int32(number) => Ok(()),
        (Scalar::Int32 | Scalar::Int64, Value::Number(number)) => Err(wrong(format!("number {number}"))),
        (Scalar::Quantity, Value::String(text)) => quantity(text),
        (Scalar::Quantity, Value::Number(number)) => quantity(&number.to_string()),
        (Scalar::Time | Scalar::MicroTime, Value::String(text)) => time(scalar, text),
        (Scalar::Bytes, Value::String(text)) => bytes(text),
        // These unmarshal themselves in Go, so that their errors do not know the field.
        (Scalar::IntOrString, Value::Number(number)) => Err(TypeError::Value {
            value: format!("number {number}"),
            wanted: "int32".to_owned(),
        }),
        (Scalar::IntOrString, _) => Err(TypeError::Value {
            value: go_value(value),
            wanted: "int32".to_owned(),
        }),
        (Scalar::Time | Scalar::MicroTime, _) => Err(TypeError::Value {
            value: go_value(value),
            wanted: "string".to_owned(),
        }),
        (Scalar::Quantity, _) => quantity("?"),
        _ => Err(wrong(go_value(value))),
    }
}

/// Whether a text is a quantity, with upstream's sentence if it is none.
fn quantity(text: &str) -> Result<(), TypeError> {
    match Quantity::parse(text.trim()) {
        Ok(_) => Ok(()),
        Err(error) => Err(TypeError::Format(error.to_string())),
    }
}

fn time(scalar: Scalar, text: &str) -> Result<(), TypeError> {
    // metav1.Time takes an empty string for no time at all.
    if text.is_empty() && scalar == Scalar::Time || text.parse::<jiff::Timestamp>().is_ok() {
        return Ok(());
    }
    let layout = match scalar {
        Scalar::MicroTime => "2006-01-02T15:04:05.000000Z07:00",
        _ => "2006-01-02T15:04:05Z07:00",
    };
    Err(TypeError::Format(format!(
        "parsing time {text:?} as {layout:?}: cannot parse {text:?} as \"2006\""
    )))
}

fn bytes(text: &str) -> Result<(), TypeError> {
    // Go's decoder skips line breaks.
    let packed: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    match base64::engine::general_purpose::STANDARD.decode(&packed) {
        Ok(_) => Ok(()),
        Err(error) => {
            let at = match error {
                base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => at,
                base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => packed.len() / 4 * 4,
            };
            Err(TypeError::Format(format!("illegal base64 data at input byte {at}")))
        }
    }
}

fn go_value(value: &Value) -> String {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
    .to_owned()
}

/// A struct as Go's errors name it: package and type.
fn go_struct(schema: &Schema) -> String {
    let mut parts = schema.name.rsplit('.');
    let (name, package) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    format!("{package}.{name}")
}

fn go_type(ty: &Type) -> String {
    match ty {
        Type::Ref(schema) => go_struct(schema),
        Type::List { item, .. } => format!("[]{}", go_type(item)),
        Type::Map { value, .. } => format!("map[string]{}", go_type(value)),
        Type::RawObject => "map[string]interface {}".to_owned(),
        Type::Any => "interface {}".to_owned(),
        Type::Scalar(scalar) => match scalar {
            Scalar::String => "string",
            Scalar::Bool => "bool",
            Scalar::Int32 => "int32",
            Scalar::Int64 => "int64",
            Scalar::Double => "float64",
            Scalar::IntOrString => "intstr.IntOrString",
            Scalar::Quantity => "resource.Quantity",
            Scalar::Time => "v1.Time",
            Scalar::MicroTime => "v1.MicroTime",
            Scalar::Bytes => "[]uint8",
        }
        .to_owned(),
    }
}
