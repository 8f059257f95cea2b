//! What changed between two objects, as sets of fields.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::set::{Element, FieldSet, Node};
use super::typed::Atom;

/// The fields that differ.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    pub(super) added: FieldSet,
    pub(super) modified: FieldSet,
    pub(super) removed: FieldSet,
}

impl Comparison {
    /// Leaves a top-level field out of account.
    pub(super) fn ignore(&mut self, field: &str) {
        let element = Element::field(field);
        self.added.cut(&element);
        self.modified.cut(&element);
        self.removed.cut(&element);
    }

    /// Leaves `metadata.managedFields` out of account.
    fn ignore_owners(&mut self) {
        for set in [&mut self.added, &mut self.modified, &mut self.removed] {
            set.cut_fields(&["metadata", "managedFields"]);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }

    /// What the newer object sets otherwise than the older, and what it no longer sets.
    pub(super) fn into_anew_and_removed(mut self) -> (FieldSet, FieldSet) {
        self.added.union_with(self.modified);
        (self.added, self.removed)
    }

    fn attach(&mut self, element: Element, change: Change, below: Comparison) {
        let mut sets = [
            (&mut self.added, Change::Added, below.added),
            (&mut self.modified, Change::Modified, below.modified),
            (&mut self.removed, Change::Removed, below.removed),
        ]
        .into_iter()
        .filter(|(_, is, children)| change == *is || !children.is_empty())
        .peekable();
        let mut element = Some(element);
        while let Some((set, is, children)) = sets.next() {
            // Nearly always there is one, which gets the element itself.
            let own = if sets.peek().is_some() {
                element.clone()
            } else {
                element.take()
            };
            let member = change == is;
            if let Some(element) = own {
                set.attach(element, Node { member, children });
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Same,
    Added,
    Modified,
    Removed,
}

/// Compares two objects, but for their `managedFields`.
pub(super) fn compare(old: &Value, new: &Value, atom: Atom<'_>) -> Comparison {
    let mut comparison = walk(Some(old), Some(new), atom).1;
    comparison.ignore_owners();
    comparison
}

fn leaf(old: Option<&Value>, new: Option<&Value>) -> Change {
    match (old, new) {
        (None, Some(_)) => Change::Added,
        (Some(_), None) => Change::Removed,
        (Some(old), Some(new)) if old != new => Change::Modified,
        _ => Change::Same,
    }
}

fn walk(old: Option<&Value>, new: Option<&Value>, atom: Atom<'_>) -> (Change, Comparison) {
    let mut found = Comparison::default();
    match atom {
        Atom::Struct(_) | Atom::Map(_) => {
            let odd = |value: Option<&Value>| value.is_some_and(|v| !v.is_object() && !v.is_null());
            let full = |value: Option<&Value>| value.and_then(Value::as_object).is_some_and(|map| !map.is_empty());
            if odd(old) || odd(new) || !(full(old) || full(new)) {
                return (leaf(old, new), found);
            }
            objects(old, new, atom, &mut found);
        }
        Atom::Set | Atom::Keyed(..) => {
            let odd = |value: Option<&Value>| value.is_some_and(|v| !v.is_array() && !v.is_null());
            let full = |value: Option<&Value>| value.and_then(Value::as_array).is_some_and(|items| !items.is_empty());
            if odd(old) || odd(new) || !(full(old) || full(new)) {
                return (leaf(old, new), found);
            }
            lists(old, new, atom, &mut found);
        }
        Atom::Leaf(_) => return (leaf(old, new), found),
    }
    let change = match (old, new) {
        (None, _) => Change::Added,
        (_, None) => Change::Removed,
        _ => Change::Same,
    };
    (change, found)
}

fn objects(old: Option<&Value>, new: Option<&Value>, atom: Atom<'_>, found: &mut Comparison) {
    static NULL: Value = Value::Null;
    let old_map = old.and_then(Value::as_object);
    let new_map = new.and_then(Value::as_object);
    let mut visit = |key: &str, old_value: Option<&Value>, new_value: Option<&Value>| {
        let container = |value: Option<&Value>| value.is_some_and(|v| v.is_object() || v.is_array());
        let implied = |present: bool, own, other| match own {
            None if present && container(other) && atom.always_has(key) => Some(&NULL),
            own => own,
        };
        let old_side = implied(old.is_some(), old_value, new_value);
        let new_side = implied(new.is_some(), new_value, old_value);
        let (change, below) = walk(old_side, new_side, atom.child(key).0);
        found.attach(Element::field(key), change, below);
    };
    for (key, value) in new_map.into_iter().flatten() {
        visit(key, old_map.and_then(|map| map.get(key)), Some(value));
    }
    let gone = |key: &String| new_map.is_none_or(|map: &Map<String, Value>| !map.contains_key(key));
    for (key, value) in old_map.into_iter().flatten().filter(|(key, _)| gone(key)) {
        visit(key, Some(value), None);
    }
}

fn lists(old: Option<&Value>, new: Option<&Value>, atom: Atom<'_>, found: &mut Comparison) {
    let mut pairs: BTreeMap<Element, (Option<&Value>, Option<&Value>)> = BTreeMap::new();
    for item in old.and_then(Value::as_array).into_iter().flatten() {
        pairs
            .entry(atom.element_lenient(item))
            .or_default()
            .0
            .get_or_insert(item);
    }
    for item in new.and_then(Value::as_array).into_iter().flatten() {
        pairs
            .entry(atom.element_lenient(item))
            .or_default()
            .1
            .get_or_insert(item);
    }
    for (element, (old, new)) in pairs {
        let (change, below) = walk(old, new, atom.item());
        found.attach(element, change, below);
    }
}
