//! Short reads and defaults on JSON values, for the hooks of this folder.

use serde_json::{Map, Value};

const NULL: &Value = &Value::Null;

/// Reads a text field; empty when it is absent or no text.
pub(crate) fn text<'a>(object: &'a Value, field: &str) -> &'a str {
    object.get(field).and_then(Value::as_str).unwrap_or("")
}

/// Reads a whole number.
pub(crate) fn int(object: &Value, field: &str) -> Option<i64> {
    object.get(field).and_then(Value::as_i64)
}

/// Reads a boolean; false when it is absent.
pub(crate) fn flag(object: &Value, field: &str) -> bool {
    object.get(field).and_then(Value::as_bool).unwrap_or(false)
}

/// Reads a list; empty when it is absent.
pub(crate) fn list<'a>(object: &'a Value, field: &str) -> &'a [Value] {
    object.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// Reads the entries of a map; none when it is absent.
pub(crate) fn entries<'a>(object: &'a Value, field: &str) -> impl Iterator<Item = (&'a str, &'a Value)> {
    object
        .get(field)
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.as_str(), value))
}

/// Reads any field; null when it is absent.
pub(crate) fn at<'a>(object: &'a Value, field: &str) -> &'a Value {
    object.get(field).unwrap_or(NULL)
}

/// Says whether a field is there and not null.
pub(crate) fn has(object: &Value, field: &str) -> bool {
    object.get(field).is_some_and(|value| !value.is_null())
}

/// Sets a field that is absent or null.
pub(crate) fn default(object: &mut Value, field: &str, value: impl Into<Value>) {
    if let Some(map) = object.as_object_mut()
        && map.get(field).is_none_or(Value::is_null)
    {
        map.insert(field.to_owned(), value.into());
    }
}

/// Sets a text field that is absent, null or empty.
pub(crate) fn default_text(object: &mut Value, field: &str, value: &str) {
    if text(object, field).is_empty() {
        set(object, field, value);
    }
}

/// Sets a field.
pub(crate) fn set(object: &mut Value, field: &str, value: impl Into<Value>) {
    if let Some(map) = object.as_object_mut() {
        map.insert(field.to_owned(), value.into());
    }
}

/// Removes a field.
pub(crate) fn remove(object: &mut Value, field: &str) -> Option<Value> {
    object.as_object_mut().and_then(|map| map.remove(field))
}

/// Visits each element of a list.
pub(crate) fn each(object: &mut Value, field: &str, visit: impl FnMut(&mut Value)) {
    if let Some(list) = object.get_mut(field).and_then(Value::as_array_mut) {
        list.iter_mut().for_each(visit);
    }
}

/// Visits a field that holds an object.
pub(crate) fn within(object: &mut Value, field: &str, visit: impl FnOnce(&mut Value)) {
    if let Some(value) = object.get_mut(field)
        && value.is_object()
    {
        visit(value);
    }
}

/// Returns a field as an object, making it where it is absent or null.
pub(crate) fn ensure<'a>(object: &'a mut Value, field: &str) -> Option<&'a mut Value> {
    let map = object.as_object_mut()?;
    let value = map.entry(field.to_owned()).or_insert_with(|| Value::Object(Map::new()));
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    Some(value)
}
