//! Merging of lists: scalars as a set, objects by their merge key.

use std::collections::HashSet;

use serde_json::Value;

use super::merge::{Mode, merge_map, stripped, stripped_list};
use super::order::{enforce_order, identity, places};
use super::{PATCH, go, no_merge_key};
use crate::patch::PatchError;
use crate::patch::shape::Shape;

pub(super) fn wrong_type(expected: &str, value: &Value) -> PatchError {
    let found = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "map",
    };
    PatchError::unprocessable(format!("expected a {expected}, but received a {found}"))
}

/// `$deleteFromPrimitiveList/FIELD`
pub(super) fn delete_scalars(old: Vec<Value>, gone: &[Value]) -> Value {
    Value::Array(old.into_iter().filter(|item| !gone.contains(item)).collect())
}

/// Merges a list of a patch into a list.
pub(super) fn merge_list(
    original: Vec<Value>,
    patch: Vec<Value>,
    shape: Shape<'_>,
    key: Option<&str>,
    mode: Mode,
) -> Result<Vec<Value>, PatchError> {
    let all = || original.iter().chain(&patch);
    if all().any(Value::is_array) {
        return Err(PatchError::unprocessable("lists of lists are not supported"));
    }
    let objects = all().filter(|item| item.is_object()).count();
    if objects == 0 {
        let mut known: HashSet<String> = original.iter().map(Value::to_string).collect();
        let mut merged = original.clone();
        merged.extend(patch.iter().filter(|item| known.insert(item.to_string())).cloned());
        return enforce_order(merged, &patch, &original, None);
    }
    if objects != all().count() {
        return Err(PatchError::unprocessable(format!(
            "list element types are not identical: {}",
            go(&Value::Array(all().cloned().collect()))
        )));
    }
    let key = key.ok_or_else(|| PatchError::unprocessable("cannot merge lists without merge key"))?;
    let (original, patch) = special_items(original, patch, key, mode)?;
    let known = places(&original, Some(key))?;
    let mut merged = original.clone();
    for item in &patch {
        let found = known
            .get(&identity(item, Some(key))?)
            .and_then(|at| merged.get_mut(*at));
        match (found, item) {
            (Some(old), Value::Object(new)) => {
                let before = match old.take() {
                    Value::Object(map) => map,
                    _ => serde_json::Map::new(),
                };
                *old = Value::Object(merge_map(before, new.clone(), shape, mode)?);
            }
            _ if mode == Mode::Final => merged.extend(stripped(item.clone())),
            _ => merged.push(item.clone()),
        }
    }
    enforce_order(merged, &patch, &original, Some(key))
}

/// Carries out the items that are directives: `$patch: delete` with a merge key, and a lone `$patch: replace`.
fn special_items(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    key: &str,
    mode: Mode,
) -> Result<(Vec<Value>, Vec<Value>), PatchError> {
    let mut plain = Vec::with_capacity(patch.len());
    let mut replaces = false;
    for item in patch {
        match item.get(PATCH) {
            None => plain.push(item),
            Some(directive) if directive == "delete" => {
                let value = item.get(key).ok_or_else(|| no_merge_key(&item, key))?;
                original.retain(|old| old.get(key) != Some(value));
            }
            Some(directive) if directive == "replace" => replaces = true,
            Some(directive) if directive == "merge" => {
                return Err(PatchError::unprocessable(
                    "merging lists cannot yet be specified in the patch",
                ));
            }
            Some(directive) => {
                return Err(PatchError::unprocessable(format!(
                    "unknown patch type: {} in map: {}",
                    go(directive),
                    go(&item)
                )));
            }
        }
    }
    Ok(match (replaces, mode) {
        (false, _) => (original, plain),
        (true, Mode::Final) => (stripped_list(plain), Vec::new()),
        (true, Mode::Patches) => (plain, Vec::new()),
    })
}
