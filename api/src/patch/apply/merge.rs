//! Merging of an applied configuration into the live object, and removal of what is no longer applied.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::set::{Element, FieldSet, Node};
use super::typed::Atom;

/// Lays a configuration over the live object: leaves of the configuration win, everything else merges.
pub(super) fn merge(live: &Value, applied: &Value, atom: Atom<'_>) -> Value {
    walk(Some(live), Some(applied), atom).unwrap_or_else(|| live.clone())
}

fn keep_newer(old: Option<&Value>, new: Option<&Value>) -> Option<Value> {
    new.or(old).filter(|value| !value.is_null()).cloned()
}

fn walk(old: Option<&Value>, new: Option<&Value>, atom: Atom<'_>) -> Option<Value> {
    let (Some(old_value), Some(new_value)) = (old, new) else {
        return match (new, atom) {
            // Nulls inside what is new are no values.
            (Some(Value::Object(map)), Atom::Struct(_) | Atom::Map(_)) => Some(Value::Object(
                map.iter()
                    .filter_map(|(key, value)| Some((key.clone(), walk(None, Some(value), atom.child(key).0)?)))
                    .collect(),
            )),
            (Some(Value::Array(items)), Atom::Keyed(..)) => Some(
                items
                    .iter()
                    .filter_map(|item| walk(None, Some(item), atom.item()))
                    .collect(),
            ),
            _ => keep_newer(old, new),
        };
    };
    match (atom, old_value, new_value) {
        (Atom::Struct(_) | Atom::Map(_), Value::Object(old), Value::Object(new)) => {
            Some(Value::Object(objects(old, new, atom)))
        }
        (Atom::Set | Atom::Keyed(..), Value::Array(old), Value::Array(new)) => {
            Some(Value::Array(lists(old, new, atom)))
        }
        (Atom::Struct(_) | Atom::Map(_), Value::Object(map), Value::Null) if !map.is_empty() => Some(old_value.clone()),
        (Atom::Set | Atom::Keyed(..), Value::Array(items), Value::Null) if !items.is_empty() => Some(old_value.clone()),
        _ => keep_newer(old, new),
    }
}

fn objects(old: &Map<String, Value>, new: &Map<String, Value>, atom: Atom<'_>) -> Map<String, Value> {
    let mut merged = Map::new();
    for (key, value) in old {
        let value = match new.get(key) {
            None => Some(value.clone()),
            newer => walk(Some(value), newer, atom.child(key).0),
        };
        if let Some(value) = value {
            merged.insert(key.clone(), value);
        }
    }
    for (key, value) in new.iter().filter(|(key, _)| !old.contains_key(*key)) {
        if let Some(value) = walk(None, Some(value), atom.child(key).0) {
            merged.insert(key.clone(), value);
        }
    }
    merged
}

/// Merges two lists: the configuration's order holds for its items, and the live object's other items stay where they were among them.
fn lists(old: &[Value], new: &[Value], atom: Atom<'_>) -> Vec<Value> {
    let ids = |items: &[Value]| -> Vec<Element> { items.iter().map(|item| atom.element_lenient(item)).collect() };
    let (old_ids, new_ids) = (ids(old), ids(new));
    let mut old_items: HashMap<&Element, &Value> = HashMap::new();
    for (id, item) in old_ids.iter().zip(old) {
        old_items.entry(id).or_insert(item);
    }
    let in_new: HashSet<&Element> = new_ids.iter().collect();
    let mut shared = new_ids.iter().filter(|id| old_items.contains_key(*id));
    let mut next_shared = shared.next();
    let mut done: HashSet<&Element> = HashSet::new();
    let mut merged = Vec::with_capacity(old.len() + new.len());
    let (mut at_old, mut at_new) = (0, 0);
    loop {
        let (left, right) = (old_ids.get(at_old), new_ids.get(at_new));
        if let Some(left) = left
            && right != Some(left)
        {
            if !in_new.contains(left) {
                merged.extend(old.get(at_old).cloned());
                at_old += 1;
                continue;
            }
            // Another item of the configuration stands here: either it is done, or its turn comes later.
            if done.contains(left) || (right.is_some() && next_shared != Some(left)) {
                at_old += 1;
                continue;
            }
        }
        let Some(right) = right else { break };
        merged.extend(walk(old_items.get(right).copied(), new.get(at_new), atom.item()));
        done.insert(right);
        at_new += 1;
        if left == Some(right) {
            at_old += 1;
        }
        if next_shared == Some(right) {
            next_shared = shared.next();
        }
    }
    merged
}

/// Removes what a manager applied last time and nobody owns any more.
///
/// `last` is what it owned, `owned` is what all managers own now, with its new configuration among them.
pub(super) fn prune(object: &mut Value, last: &FieldSet, owned: &FieldSet, atom: Atom<'_>) {
    prune_below(object, last, Some(owned), atom);
}

/// Whether a path is in a set, where a declared field counts as soon as anything below it does.
fn holds(node: Option<&Node>, declared: bool) -> bool {
    node.is_some_and(|node| node.member || declared)
}

/// Returns whether anything is left. `owned` is `None` below what nobody owns.
fn prune_below(value: &mut Value, last: &FieldSet, owned: Option<&FieldSet>, atom: Atom<'_>) -> bool {
    match (atom, value) {
        (Atom::Struct(_) | Atom::Map(_), Value::Object(map)) => {
            let keys: Vec<String> = map.keys().cloned().collect();
            for key in keys {
                let element = Element::field(&key);
                let (child, declared) = atom.child(&key);
                let stays = map
                    .get_mut(&key)
                    .is_none_or(|value| prune_one(value, &element, last, owned, child, declared));
                if !stays {
                    map.remove(&key);
                }
            }
            !map.is_empty()
        }
        (Atom::Set | Atom::Keyed(..), Value::Array(items)) => {
            items.retain_mut(|item| {
                let element = atom.element_lenient(item);
                prune_one(item, &element, last, owned, atom.item(), false)
            });
            !items.is_empty()
        }
        _ => true,
    }
}

fn prune_one(
    value: &mut Value,
    element: &Element,
    last: &FieldSet,
    owned: Option<&FieldSet>,
    atom: Atom<'_>,
    declared: bool,
) -> bool {
    let Some(before) = last.get(element) else {
        return true;
    };
    let now = owned.and_then(|owned| owned.get(element));
    let kept = holds(now, declared);
    if holds(Some(before), declared) && !kept {
        return false;
    }
    if before.children.is_empty() {
        return true;
    }
    let owned_below = now.filter(|_| kept).map(|node| &node.children);
    prune_below(value, &before.children, owned_below, atom)
}
