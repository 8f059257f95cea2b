//! The order of merged lists: what the patch (or its `$setElementOrder`) names in its order, the rest where it was.

use std::collections::HashMap;

use serde_json::Value;

use super::{PATCH, no_merge_key};
use crate::patch::PatchError;

/// What identifies an item, as text: the value of its merge key, or the scalar itself.
pub(super) fn identity(item: &Value, key: Option<&str>) -> Result<String, PatchError> {
    match key {
        Some(key) => item
            .get(key)
            .map(Value::to_string)
            .ok_or_else(|| no_merge_key(item, key)),
        None => Ok(item.to_string()),
    }
}

/// Where each item of a list stands; of several alike, the first.
pub(super) fn places(items: &[Value], key: Option<&str>) -> Result<HashMap<String, usize>, PatchError> {
    let mut places = HashMap::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        places.entry(identity(item, key)?).or_insert(at);
    }
    Ok(places)
}

fn deletes(item: &Value) -> bool {
    item.get(PATCH).is_some_and(|directive| directive == "delete")
}

/// Sorts items stably into an order; what the order does not name comes last, and deletions after that.
pub(crate) fn sort_by(items: &mut [Value], order: &[Value], key: Option<&str>) -> Result<(), PatchError> {
    let places = places(order, key)?;
    let mut keyed = Vec::with_capacity(items.len());
    for item in items.iter() {
        let place = places.get(&identity(item, key)?).copied().unwrap_or(usize::MAX);
        keyed.push((deletes(item), place));
    }
    let mut indices: Vec<usize> = (0..items.len()).collect();
    indices.sort_by_key(|at| keyed.get(*at).copied());
    let mut sorted: Vec<Value> = indices
        .into_iter()
        .filter_map(|at| items.get_mut(at).map(Value::take))
        .collect();
    items.swap_with_slice(&mut sorted);
    Ok(())
}

/// Orders a merged list by the patch's order, interleaving what only the server had where it was.
pub(super) fn enforce_order(
    merged: Vec<Value>,
    order: &[Value],
    server: &[Value],
    key: Option<&str>,
) -> Result<Vec<Value>, PatchError> {
    let named = places(order, key)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for item in merged {
        if named.contains_key(&identity(&item, key)?) {
            ours.push(item);
        } else {
            theirs.push(item);
        }
    }
    sort_by(&mut ours, order, key)?;
    sort_by(&mut theirs, server, key)?;
    let places = places(server, key)?;
    let place = |item: &Value| places.get(&identity(item, key).ok()?).copied();
    let mut result = Vec::with_capacity(ours.len() + theirs.len());
    let mut theirs = theirs.into_iter().peekable();
    for item in ours {
        let own = place(&item);
        while let Some(other) = theirs.next_if(|other| matches!((place(other), own), (Some(a), Some(b)) if a < b)) {
            result.push(other);
        }
        result.push(item);
    }
    result.extend(theirs);
    Ok(result)
}

/// A patch's list must not contradict its `$setElementOrder`: its items are among those named, in the same order.
pub(super) fn check_order(patch: &[Value], order: &[Value], key: Option<&str>) -> Result<(), PatchError> {
    if order.is_empty() || patch.is_empty() {
        return Ok(());
    }
    let mut order_left = order.iter();
    for item in patch.iter().filter(|item| item.get(PATCH).is_none()) {
        let own = identity(item, key)?;
        let mut found = false;
        for candidate in order_left.by_ref() {
            if identity(candidate, key)? == own {
                found = true;
                break;
            }
        }
        if !found {
            return Err(PatchError::unprocessable(format!(
                "The order in patch list:\n{}\n doesn't match $setElementOrder list:\n{}\n",
                super::go(&Value::Array(patch.to_vec())),
                super::go(&Value::Array(order.to_vec()))
            )));
        }
    }
    Ok(())
}
