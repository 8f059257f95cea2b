//! Patches that lead from one object to another: what kubectl's client-side apply sends.
//!
//! Three objects go in: what was applied last, what is to be applied now (`modified`), and what is live. What was in the last and is not
//! in the new is deleted; what the new says otherwise than the live is changed; everything that others set stays.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::PatchError;
use super::shape::Shape;
use super::strategic::{DELETE_FROM, Mode, PATCH, RETAIN_KEYS, SET_ORDER, merge_map, sort_by};
use crate::facts::Schema;

/// Which halves of a difference are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    /// Additions, changes and deletions.
    All,
    /// No deletions.
    Changes,
    /// Nothing but deletions.
    Deletions,
}

impl Want {
    fn changes(self) -> bool {
        self != Self::Deletions
    }

    fn deletions(self) -> bool {
        self != Self::Changes
    }
}

/// Makes the strategic merge patch that turns `original` into `modified`.
///
/// # Errors
/// Lists whose items lack their merge key.
pub fn two_way_strategic(schema: &Schema, original: &Value, modified: &Value) -> Result<Value, PatchError> {
    let patch = diff_maps(
        object(original)?,
        object(modified)?,
        Shape::Struct(schema),
        Want::All,
        false,
    )?;
    Ok(Value::Object(patch))
}

/// Makes the strategic merge patch that client-side apply sends.
///
/// # Errors
/// Lists whose items lack their merge key.
pub fn three_way_strategic(
    schema: &Schema,
    last_applied: &Value,
    modified: &Value,
    live: &Value,
) -> Result<Value, PatchError> {
    let shape = Shape::Struct(schema);
    let changes = diff_maps(object(live)?, object(modified)?, shape, Want::Changes, false)?;
    let deletions = diff_maps(object(last_applied)?, object(modified)?, shape, Want::Deletions, false)?;
    merge_map(deletions, changes, shape, Mode::Patches).map(Value::Object)
}

/// Makes the JSON merge patch that client-side apply sends for kinds of which no schema is known.
pub fn three_way_merge(last_applied: &Value, modified: &Value, live: &Value) -> Value {
    let empty = Map::new();
    let map = |value| Value::as_object(value).unwrap_or(&empty);
    Value::Object(three_way_maps(map(last_applied), map(modified), map(live)))
}

/// Makes the JSON merge patch that turns `original` into `modified`.
pub fn two_way_merge(original: &Value, modified: &Value) -> Value {
    three_way_merge(original, modified, original)
}

fn three_way_maps(
    last: &Map<String, Value>,
    new: &Map<String, Value>,
    live: &Map<String, Value>,
) -> Map<String, Value> {
    let empty = Map::new();
    let mut patch = Map::new();
    for (key, value) in new {
        let old = live.get(key);
        if let (Value::Object(value), Some(Value::Object(old))) = (value, old) {
            let last = last.get(key).and_then(Value::as_object).unwrap_or(&empty);
            let inner = three_way_maps(last, value, old);
            if !inner.is_empty() {
                patch.insert(key.clone(), Value::Object(inner));
            }
        } else if old != Some(value) && !value.is_null() {
            patch.insert(key.clone(), value.clone());
        }
    }
    for key in last.keys().filter(|key| new.get(*key).is_none_or(Value::is_null)) {
        patch.insert(key.clone(), Value::Null);
    }
    patch
}

fn object(value: &Value) -> Result<&Map<String, Value>, PatchError> {
    static EMPTY: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);
    match value {
        Value::Object(map) => Ok(map),
        Value::Null => Ok(&EMPTY),
        _ => Err(PatchError::bad("invalid JSON document")),
    }
}

fn diff_maps(
    original: &Map<String, Value>,
    modified: &Map<String, Value>,
    shape: Shape<'_>,
    want: Want,
    retains_keys: bool,
) -> Result<Map<String, Value>, PatchError> {
    let mut patch = Map::new();
    for (key, new) in modified {
        let Some(old) = original.get(key) else {
            if want.changes() {
                patch.insert(key.clone(), new.clone());
            }
            continue;
        };
        let field = shape.field(key);
        match (old, new) {
            (Value::Object(old), Value::Object(new)) if !field.replaces => {
                let inner = diff_maps(old, new, field.shape, want, field.retains_keys)?;
                if !inner.is_empty() {
                    patch.insert(key.clone(), Value::Object(inner));
                }
            }
            (Value::Array(old), Value::Array(new)) if field.merges => {
                let lists = diff_lists(old, new, field.shape.item(), field.key, want, field.retains_keys)?;
                for (name, list) in [
                    (key.clone(), lists.items),
                    (format!("{DELETE_FROM}/{key}"), lists.gone),
                    (format!("{SET_ORDER}/{key}"), lists.order),
                ] {
                    if !list.is_empty() {
                        patch.insert(name, Value::Array(list));
                    }
                }
            }
            _ if old != new && want.changes() => {
                patch.insert(key.clone(), new.clone());
            }
            _ => {}
        }
    }
    if want.deletions() {
        for key in original.keys().filter(|key| !modified.contains_key(*key)) {
            patch.insert(key.clone(), Value::Null);
        }
    }
    let more = || {
        original
            .iter()
            .any(|(key, value)| !value.is_null() && !modified.contains_key(key))
    };
    if retains_keys && !modified.is_empty() && (!patch.is_empty() || more()) {
        let mut keys: Vec<&String> = modified
            .iter()
            .filter(|(_, v)| !v.is_null())
            .map(|(key, _)| key)
            .collect();
        keys.sort();
        patch.insert(RETAIN_KEYS.to_owned(), json!(keys));
    }
    Ok(patch)
}

/// What a merging list contributes to a patch.
#[derive(Default)]
struct Lists {
    /// Items added and changed, and `$patch: delete` for those that are gone.
    items: Vec<Value>,
    /// Scalars that are gone.
    gone: Vec<Value>,
    /// The order that the whole list is to have.
    order: Vec<Value>,
}

fn diff_lists(
    original: &[Value],
    modified: &[Value],
    shape: Shape<'_>,
    key: Option<&str>,
    want: Want,
    retains_keys: bool,
) -> Result<Lists, PatchError> {
    if original.is_empty() {
        let items = if want.changes() { modified.to_vec() } else { Vec::new() };
        return Ok(Lists {
            items,
            ..Lists::default()
        });
    }
    match key.filter(|_| original.iter().chain(modified).all(Value::is_object)) {
        Some(key) => diff_objects(original, modified, shape, key, want, retains_keys),
        None => Ok(diff_scalars(original, modified, want)),
    }
}

fn diff_scalars(original: &[Value], modified: &[Value], want: Want) -> Lists {
    let mut lists = Lists::default();
    if want.changes() {
        lists.items = modified
            .iter()
            .filter(|item| !original.contains(item))
            .cloned()
            .collect();
    }
    if want.deletions() {
        for item in original.iter().filter(|item| !modified.contains(item)) {
            if !lists.gone.contains(item) {
                lists.gone.push(item.clone());
            }
        }
    }
    if !lists.gone.is_empty() || (want.changes() && original != modified) {
        lists.order = modified.to_vec();
    }
    lists
}

fn diff_objects(
    original: &[Value],
    modified: &[Value],
    shape: Shape<'_>,
    key: &str,
    want: Want,
    retains_keys: bool,
) -> Result<Lists, PatchError> {
    let keyed = |item: &Value| {
        item.get(key)
            .cloned()
            .ok_or_else(|| super::strategic::no_merge_key(item, key))
    };
    let old_keys: Vec<Value> = original.iter().map(keyed).collect::<Result<_, _>>()?;
    let new_keys: Vec<Value> = modified.iter().map(keyed).collect::<Result<_, _>>()?;
    let mut lists = Lists::default();
    for (new, id) in modified.iter().zip(&new_keys) {
        let old = old_keys
            .iter()
            .position(|old| old == id)
            .and_then(|at| original.get(at));
        match (old.and_then(Value::as_object), new.as_object()) {
            (Some(old), Some(new)) => {
                let mut inner = diff_maps(old, new, shape, want, retains_keys)?;
                if !inner.is_empty() {
                    inner.insert(key.to_owned(), id.clone());
                    lists.items.push(Value::Object(inner));
                }
            }
            _ if want.changes() => lists.items.push(new.clone()),
            _ => {}
        }
    }
    sort_by(&mut lists.items, modified, Some(key))?;
    if want.deletions() {
        for id in old_keys.iter().filter(|id| !new_keys.contains(id)) {
            lists.items.push(json!({key: id, PATCH: "delete"}));
        }
    }
    if !lists.items.is_empty() || (want.changes() && old_keys != new_keys) {
        lists.order = new_keys.iter().map(|id| json!({key: id})).collect();
    }
    Ok(lists)
}
