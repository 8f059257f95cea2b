//! Values seen through the facts: which parts are owned as a whole, and which piece by piece.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::set::{Element, FieldSet, Node};
use crate::facts::{Field, ListType, MapType, Scalar, Schema, Type};

/// How a value is owned.
#[derive(Clone, Copy, Debug)]
pub(super) enum Atom<'a> {
    /// As a whole: scalars, atomic lists and structs, raw objects, whatever the facts do not know.
    Leaf(Option<Scalar>),
    /// Field by field.
    Struct(&'a Schema),
    /// Key by key.
    Map(&'a Type),
    /// A list of scalars, each on its own.
    Set,
    /// A list of objects, each by its keys.
    Keyed(&'a Type, &'a [&'static str]),
}

const WHOLE: Atom<'static> = Atom::Leaf(None);

impl<'a> Atom<'a> {
    pub(super) fn of(ty: &'a Type) -> Self {
        match ty {
            Type::Ref(schema) if schema.map_type != Some(MapType::Atomic) => Self::Struct(schema.schema()),
            Type::Map {
                value,
                map_type: MapType::Granular,
            } => Self::Map(value),
            Type::List {
                list_type: ListType::Set,
                ..
            } => Self::Set,
            Type::List {
                item,
                list_type: ListType::Map,
                map_keys,
            } => Self::Keyed(item, map_keys),
            Type::Scalar(scalar) => Self::Leaf(Some(*scalar)),
            _ => WHOLE,
        }
    }

    fn of_field(field: &'a Field) -> Self {
        match Self::of(&field.ty) {
            Self::Leaf(scalar) => Self::Leaf(scalar),
            _ if field.is_atomic() => WHOLE,
            other => other,
        }
    }

    /// What lies at a key of an object, and whether it is a declared field of a struct.
    pub(super) fn child(self, key: &str) -> (Self, bool) {
        match self {
            Self::Struct(schema) => schema
                .field(key)
                .map_or((WHOLE, false), |field| (Self::of_field(field), true)),
            Self::Map(value) => (Self::of(value), false),
            _ => (WHOLE, false),
        }
    }

    /// What the items of a list are.
    pub(super) fn item(self) -> Self {
        match self {
            Self::Keyed(item, _) => Self::of(item),
            _ => WHOLE,
        }
    }

    /// Whether a field is there even in an empty object: structs that Go keeps by value, lists that it never omits.
    pub(super) fn always_has(self, key: &str) -> bool {
        match self {
            Self::Struct(schema) => schema
                .field(key)
                .is_some_and(|field| field.required || field.default.is_some_and(|default| default.starts_with('{'))),
            _ => false,
        }
    }

    /// What identifies an item of a list; `Err` names the key that is missing and has no default.
    pub(super) fn element(self, item: &Value) -> Result<Element, &'static str> {
        let Self::Keyed(ty, keys) = self else {
            return Ok(Element::value(item));
        };
        let own = |key: &str| item.get(key).filter(|value| !value.is_null());
        let mut defaults = Vec::new();
        for key in keys.iter().filter(|key| own(key).is_none()) {
            defaults.push((*key, default_of(ty, key).ok_or(*key)?));
        }
        let present = keys.iter().filter_map(|key| Some((*key, own(key)?)));
        Ok(Element::keyed(
            present
                .chain(defaults.iter().map(|(key, value)| (*key, value)))
                .collect(),
        ))
    }

    /// What identifies an item of a list that was let in long ago: a missing key is null.
    pub(super) fn element_lenient(self, item: &Value) -> Element {
        match (self.element(item), self) {
            (Ok(element), _) => element,
            (Err(_), Self::Keyed(_, keys)) => {
                let found = keys.iter().map(|key| (*key, item.get(key).unwrap_or(&Value::Null)));
                Element::keyed(found.collect())
            }
            (Err(_), _) => Element::value(item),
        }
    }
}

fn default_of(item: &Type, key: &str) -> Option<Value> {
    match item {
        Type::Ref(schema) => schema.field(key)?.default_value(),
        _ => None,
    }
}

/// Finds every path that a value sets, without complaint: of objects that are stored.
pub(super) fn fields_of(value: &Value, atom: Atom<'_>) -> FieldSet {
    Walk::default().node(value, atom, "").children
}

/// Finds every path that an applied configuration sets.
///
/// # Errors
/// Everything that does not fit the facts, as upstream words it, one per line.
pub(super) fn fields_of_applied(value: &Value, atom: Atom<'_>) -> Result<FieldSet, String> {
    let mut walk = Walk {
        strict: true,
        wrong: Vec::new(),
    };
    let set = walk.node(value, atom, "").children;
    match walk.wrong.as_slice() {
        [] => Ok(set),
        [one] => Err(one.clone()),
        many => Err(many.iter().fold("errors:".to_owned(), |mut text, one| {
            let _ = write!(text, "\n  {one}");
            text
        })),
    }
}

#[derive(Default)]
struct Walk {
    strict: bool,
    wrong: Vec<String>,
}

impl Walk {
    fn complain(&mut self, path: &str, text: &str) {
        if self.strict && self.wrong.len() < 100 {
            self.wrong.push(format!("{path}: {text}"));
        }
    }

    fn node(&mut self, value: &Value, atom: Atom<'_>, path: &str) -> Node {
        let whole = Node {
            member: true,
            children: FieldSet::default(),
        };
        match (atom, value) {
            (Atom::Leaf(scalar), _) => {
                if let Some(expected) = scalar.and_then(|scalar| mismatch(scalar, value)) {
                    self.complain(path, &format!("expected {expected}, got {value}"));
                }
                whole
            }
            (Atom::Struct(_) | Atom::Map(_), Value::Object(map)) => Node {
                member: false,
                children: self.object(map, atom, path),
            },
            (Atom::Set | Atom::Keyed(..), Value::Array(items)) => Node {
                member: false,
                children: self.list(items, atom, path),
            },
            (_, Value::Null) => Node::default(),
            (Atom::Struct(_) | Atom::Map(_), _) => {
                self.complain(path, &format!("expected map, got {value}"));
                whole
            }
            (Atom::Set | Atom::Keyed(..), _) => {
                self.complain(path, &format!("expected list, got {value}"));
                whole
            }
        }
    }

    fn object(&mut self, map: &Map<String, Value>, atom: Atom<'_>, path: &str) -> FieldSet {
        let mut set = FieldSet::default();
        for (key, value) in map {
            let (child, declared) = atom.child(key);
            let path = if self.strict {
                format!("{path}.{key}")
            } else {
                String::new()
            };
            if !declared && matches!(atom, Atom::Struct(_)) {
                self.complain(&path, "field not declared in schema");
            }
            let mut node = self.node(value, child, &path);
            node.member |= !declared || value.is_null() || value.as_object().is_some_and(Map::is_empty);
            set.attach(Element::field(key), node);
        }
        set
    }

    fn list(&mut self, items: &[Value], atom: Atom<'_>, path: &str) -> FieldSet {
        let mut set = FieldSet::default();
        for (at, item) in items.iter().enumerate() {
            let element = atom.element(item).unwrap_or_else(|key| {
                self.complain(
                    path,
                    &format!(
                        "element {at}: associative list with keys has an element that omits key field {key:?} (and doesn't have default value)"
                    ),
                );
                atom.element_lenient(item)
            });
            let name = if self.strict { element.print() } else { String::new() };
            if set.get(&element).is_some() {
                self.complain(path, &format!("duplicate entries for key {name}"));
            }
            let mut node = self.node(item, atom.item(), &format!("{path}{name}"));
            node.member = true;
            set.attach(element, node);
        }
        set
    }
}

/// What a scalar should have been.
fn mismatch(scalar: Scalar, value: &Value) -> Option<&'static str> {
    match (scalar, value) {
        (_, Value::Null) => None,
        (Scalar::String | Scalar::Time | Scalar::MicroTime | Scalar::Bytes, Value::String(_)) => None,
        (Scalar::String | Scalar::Time | Scalar::MicroTime | Scalar::Bytes, _) => Some("string"),
        (Scalar::Bool, Value::Bool(_)) => None,
        (Scalar::Bool, _) => Some("boolean"),
        (Scalar::Int32 | Scalar::Int64 | Scalar::Double, Value::Number(_)) => None,
        (Scalar::Int32 | Scalar::Int64 | Scalar::Double, _) => Some("numeric (int or float)"),
        (Scalar::IntOrString | Scalar::Quantity, Value::String(_) | Value::Number(_)) => None,
        (Scalar::IntOrString | Scalar::Quantity, _) => Some("string or numeric"),
    }
}
