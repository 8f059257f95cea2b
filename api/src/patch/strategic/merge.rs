//! Merging of objects, and the directives that they carry.

use serde_json::{Map, Value};

use super::list::{delete_scalars, merge_list, wrong_type};
use super::order::{check_order, enforce_order};
use super::{DELETE_FROM, PATCH, RETAIN_KEYS, SET_ORDER, go};
use crate::patch::PatchError;
use crate::patch::shape::Shape;

/// What is merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A patch into an object: directives are carried out and vanish.
    Final,
    /// A patch into another patch, when a three-way patch is made: directives stay.
    Patches,
}

/// Lays one object over another.
pub(crate) fn merge_map(
    mut original: Map<String, Value>,
    mut patch: Map<String, Value>,
    shape: Shape<'_>,
    mode: Mode,
) -> Result<Map<String, Value>, PatchError> {
    match patch.remove(PATCH) {
        None => {}
        Some(Value::String(directive)) if directive == "replace" => {
            return Ok(if mode == Mode::Final {
                stripped_map(patch)
            } else {
                patch
            });
        }
        Some(Value::String(directive)) if directive == "delete" => return Ok(Map::new()),
        Some(Value::String(directive)) if directive == "merge" => {}
        Some(other) => {
            return Err(PatchError::unprocessable(format!(
                "unknown patch type: {} in map: {}",
                go(&other),
                go(&Value::Object(patch))
            )));
        }
    }
    retain_keys(&mut original, &mut patch, mode)?;
    ordered_lists(&mut original, &mut patch, shape, mode)?;
    for (key, value) in patch {
        let (key, deletes) = match key.strip_prefix(DELETE_FROM) {
            Some(_) if mode == Mode::Patches => {
                original.insert(key, value);
                continue;
            }
            Some(rest) => match rest.strip_prefix('/') {
                Some(field) => (field.to_owned(), true),
                None => return Err(PatchError::bad("invalid patch format of primitive list")),
            },
            None => (key, false),
        };
        if value.is_null() {
            match mode {
                Mode::Final => original.remove(&key),
                Mode::Patches => original.insert(key, value),
            };
            continue;
        }
        let field = shape.field(&key);
        let merged = match (original.remove(&key), value) {
            (Some(Value::Array(old)), Value::Array(items)) if deletes => Some(delete_scalars(old, &items)),
            (old, _) if deletes => old,
            (Some(Value::Object(old)), Value::Object(new)) if !field.replaces => {
                Some(Value::Object(merge_map(old, new, field.shape, mode)?))
            }
            (Some(Value::Array(old)), Value::Array(new)) if field.merges => {
                Some(Value::Array(merge_list(old, new, field.shape.item(), field.key, mode)?))
            }
            (_, new) if mode == Mode::Final => stripped(new),
            (_, new) => Some(new),
        };
        if let Some(merged) = merged {
            original.insert(key, merged);
        }
    }
    Ok(original)
}

/// `$retainKeys`: keys that the directive does not name are removed.
fn retain_keys(
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
    mode: Mode,
) -> Result<(), PatchError> {
    let Some(keys) = patch.remove(RETAIN_KEYS) else {
        return Ok(());
    };
    if mode == Mode::Patches {
        original.insert(RETAIN_KEYS.to_owned(), keys);
        return Ok(());
    }
    let malformed = || PatchError::bad("invalid patch format of retainKeys");
    let keys = keys.as_array().ok_or_else(malformed)?;
    let named = |key: &str| keys.iter().any(|named| named.as_str() == Some(key));
    let directive = |key: &str| key.starts_with(DELETE_FROM) || key.starts_with(SET_ORDER);
    if patch
        .iter()
        .any(|(key, value)| !value.is_null() && !directive(key) && !named(key))
    {
        return Err(malformed());
    }
    original.retain(|key, _| named(key));
    Ok(())
}

/// `$setElementOrder/FIELD`: merges the list and then sorts it: what the directive names in its order, what it does not name where it was.
fn ordered_lists(
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
    shape: Shape<'_>,
    mode: Mode,
) -> Result<(), PatchError> {
    let keys: Vec<String> = patch.keys().filter(|key| key.starts_with(SET_ORDER)).cloned().collect();
    for key in keys {
        let malformed = || PatchError::bad("invalid patch format of setElementOrder list");
        let Some(order) = patch.remove(&key) else { continue };
        let name = key
            .strip_prefix(SET_ORDER)
            .and_then(|rest| rest.strip_prefix('/'))
            .ok_or_else(malformed)?;
        if mode == Mode::Patches {
            match original.get(&key) {
                Some(other) if *other != order => return Err(malformed()),
                _ => original.insert(key.clone(), order.clone()),
            };
        }
        let order = order.as_array().ok_or_else(malformed)?;
        let list = |value: Option<Value>| match value {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(other) => Err(wrong_type("list", &other)),
        };
        let field = shape.field(name);
        let new = list(patch.remove(name))?;
        let old = list(original.remove(name))?;
        if let Some(new) = &new {
            check_order(new, order, field.key)?;
        }
        let merged = match (old.clone(), new) {
            (None, None) => continue,
            (Some(old), None) => old,
            (None, Some(new)) if mode == Mode::Final => stripped_list(new),
            (None, Some(new)) => new,
            (Some(old), Some(new)) => merge_list(old, new, field.shape.item(), field.key, mode)?,
        };
        let sorted = enforce_order(merged, order, &old.unwrap_or_default(), field.key)?;
        original.insert(name.to_owned(), Value::Array(sorted));
    }
    Ok(())
}

/// What a patch's value means where there was nothing before: without directives, without nulls.
pub(super) fn stripped(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) if map.get(PATCH).is_some_and(|directive| directive == "delete") => None,
        Value::Object(map) => Some(Value::Object(stripped_map(map))),
        Value::Array(items) => Some(Value::Array(stripped_list(items))),
        other => Some(other),
    }
}

fn stripped_map(map: Map<String, Value>) -> Map<String, Value> {
    let directive =
        |key: &str| key == PATCH || key == RETAIN_KEYS || key.starts_with(SET_ORDER) || key.starts_with(DELETE_FROM);
    map.into_iter()
        .filter(|(key, value)| !value.is_null() && !directive(key))
        .filter_map(|(key, value)| stripped(value).map(|value| (key, value)))
        .collect()
}

pub(super) fn stripped_list(items: Vec<Value>) -> Vec<Value> {
    let marker = |item: &Value| {
        item.as_object()
            .is_some_and(|map| map.len() == 1 && map.contains_key(PATCH))
    };
    items
        .into_iter()
        .filter(|item| !marker(item))
        .filter_map(stripped)
        .collect()
}
