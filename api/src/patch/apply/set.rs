//! Sets of fields: what a manager owns, as `FieldsV1` writes it.
//!
//! `{"f:spec": {"f:replicas": {}, "f:template": {"f:containers": {"k:{\"name\":\"a\"}": {".": {}, "f:image": {}}}}}}`: `f:` is a field or a
//! map's key, `k:` a list's item by its keys, `v:` a set's item, `i:` an item by its place, and `.` the thing itself.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt::Write as _;

use serde_json::{Map, Value};

/// One step of a path, in the form that `FieldsV1` writes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Element(String);

impl Element {
    /// A field, or a key of a map.
    pub fn field(name: &str) -> Self {
        Self(format!("f:{name}"))
    }

    /// An item of a list, by its keys and their values, in any order.
    pub fn keyed(mut keys: Vec<(&str, &Value)>) -> Self {
        keys.sort_by_key(|(key, _)| *key);
        let mut text = "k:{".to_owned();
        for (at, (key, value)) in keys.into_iter().enumerate() {
            let comma = if at > 0 { "," } else { "" };
            // Writing to a string cannot fail; keys are the names of fields, which need no escaping, or came as JSON themselves.
            let _ = match key.bytes().all(|b| b.is_ascii_alphanumeric()) {
                true => write!(text, "{comma}\"{key}\":{value}"),
                false => write!(text, "{comma}{}:{value}", Value::from(key)),
            };
        }
        text.push('}');
        Self(text)
    }

    /// An item of a set.
    pub fn value(value: &Value) -> Self {
        Self(format!("v:{value}"))
    }

    /// Reads the form of `FieldsV1`; `None` where it is malformed.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':')?;
        match kind {
            "f" => Some(Self(text.to_owned())),
            "i" => rest.parse::<i64>().ok().map(|_| Self(text.to_owned())),
            "v" => serde_json::from_str(rest).ok().map(|value: Value| Self::value(&value)),
            "k" => {
                let keys: BTreeMap<String, Value> = serde_json::from_str(rest).ok()?;
                Some(Self::keyed(
                    keys.iter().map(|(key, value)| (key.as_str(), value)).collect(),
                ))
            }
            _ => None,
        }
    }

    /// As messages print it: `.name`, `[name="a"]`, `[="x"]`, `[0]`.
    pub(super) fn print(&self) -> String {
        let Some((kind, rest)) = self.0.split_once(':') else {
            return self.0.clone();
        };
        match kind {
            "f" => format!(".{rest}"),
            "v" => format!("[={rest}]"),
            "k" => {
                let keys: BTreeMap<String, Value> = serde_json::from_str(rest).unwrap_or_default();
                let pairs: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
                format!("[{}]", pairs.join(","))
            }
            _ => format!("[{rest}]"),
        }
    }
}

/// A path and what lies below it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// Whether the path itself is in the set.
    pub member: bool,
    /// What is in the set below it.
    pub children: FieldSet,
}

impl Node {
    fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }
}

/// A set of paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet(BTreeMap<Element, Node>);

impl FieldSet {
    /// Whether nothing is in the set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the set holds at and below one step.
    pub fn get(&self, element: &Element) -> Option<&Node> {
        self.0.get(element)
    }

    /// Puts something at and below one step, on top of what is there.
    pub fn attach(&mut self, element: Element, node: Node) {
        if node.is_empty() {
            return;
        }
        match self.0.entry(element) {
            Entry::Vacant(entry) => {
                entry.insert(node);
            }
            Entry::Occupied(mut entry) => {
                let old = entry.get_mut();
                old.member |= node.member;
                old.children.union_with(node.children);
            }
        }
    }

    /// Puts in a path of fields.
    pub fn insert_fields(&mut self, path: &[&str]) {
        if let [first, rest @ ..] = path {
            let mut node = Node::default();
            if rest.is_empty() {
                node.member = true;
            } else {
                node.children.insert_fields(rest);
            }
            self.attach(Element::field(first), node);
        }
    }

    /// Puts in everything that is in another set.
    pub fn union_with(&mut self, other: FieldSet) {
        if self.0.is_empty() {
            self.0 = other.0;
            return;
        }
        for (element, node) in other.0 {
            self.attach(element, node);
        }
    }

    /// Takes out every path that is in another set; what lies below such a path stays.
    pub fn subtract(&mut self, other: &FieldSet) {
        for (element, gone) in &other.0 {
            if let Entry::Occupied(mut entry) = self.0.entry(element.clone()) {
                let node = entry.get_mut();
                node.member &= !gone.member;
                node.children.subtract(&gone.children);
                if node.is_empty() {
                    entry.remove();
                }
            }
        }
    }

    /// Takes out a step with everything below it.
    pub fn cut(&mut self, element: &Element) {
        self.0.remove(element);
    }

    /// Takes out a path of fields with everything below it.
    pub fn cut_fields(&mut self, path: &[&str]) {
        match path {
            [] => {}
            [last] => self.cut(&Element::field(last)),
            [first, rest @ ..] => {
                if let Entry::Occupied(mut entry) = self.0.entry(Element::field(first)) {
                    entry.get_mut().children.cut_fields(rest);
                    if entry.get().is_empty() {
                        entry.remove();
                    }
                }
            }
        }
    }

    /// What is in both sets.
    #[must_use]
    pub fn intersection(&self, other: &FieldSet) -> FieldSet {
        let mut both = FieldSet::default();
        for (element, node) in &self.0 {
            if let Some(theirs) = other.0.get(element) {
                both.attach(
                    element.clone(),
                    Node {
                        member: node.member && theirs.member,
                        children: node.children.intersection(&theirs.children),
                    },
                );
            }
        }
        both
    }

    /// Every path in the set, as messages print it: `.spec.containers[name="a"].image`.
    pub fn paths(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.gather("", &mut found);
        found
    }

    fn gather(&self, prefix: &str, found: &mut Vec<String>) {
        for (element, node) in &self.0 {
            let path = format!("{prefix}{}", element.print());
            node.children.gather(&path, found);
            if node.member {
                found.push(path);
            }
        }
    }

    /// Reads `fieldsV1`; `None` where it is malformed.
    pub fn decode(value: &Value) -> Option<Self> {
        let mut set = FieldSet::default();
        for (key, below) in value.as_object()? {
            if key == "." {
                continue;
            }
            let below_map = below.as_object()?;
            set.attach(
                Element::parse(key)?,
                Node {
                    member: below_map.is_empty() || below_map.contains_key("."),
                    children: Self::decode(below)?,
                },
            );
        }
        Some(set)
    }

    /// Writes `fieldsV1`.
    pub fn encode(&self) -> Value {
        Value::Object(
            self.0
                .iter()
                .map(|(element, node)| (element.0.clone(), node.encode()))
                .collect(),
        )
    }
}

impl Node {
    fn encode(&self) -> Value {
        let mut fields = self.children.encode();
        if self.member
            && !self.children.is_empty()
            && let Some(map) = fields.as_object_mut()
        {
            map.insert(".".to_owned(), Value::Object(Map::new()));
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn sets_are_read_and_written_as_upstream_does() {
        let fields =
            json!({"f:spec": {"f:x": {"k:{\"b\":\"TCP\",\"a\":1}": {".": {}, "f:y": {}}}, "f:z": {"v:\"s\"": {}}}});
        let set = FieldSet::decode(&fields).unwrap();
        assert_eq!(
            set.paths(),
            [".spec.x[a=1,b=\"TCP\"].y", ".spec.x[a=1,b=\"TCP\"]", ".spec.z[=\"s\"]"]
        );
        let again = set.encode();
        assert_eq!(
            again,
            json!({"f:spec": {"f:x": {"k:{\"a\":1,\"b\":\"TCP\"}": {".": {}, "f:y": {}}}, "f:z": {"v:\"s\"": {}}}})
        );
        for bad in [json!({"x": {}}), json!({"k:[": {}}), json!({"f:x": 1}), json!([])] {
            assert_eq!(FieldSet::decode(&bad), None, "{bad}");
        }
    }

    #[test]
    fn subtraction_takes_paths_and_not_what_is_below() {
        let mut set = FieldSet::decode(&json!({"f:a": {".": {}, "f:b": {}}, "f:c": {}})).unwrap();
        set.subtract(&FieldSet::decode(&json!({"f:a": {}, "f:c": {}})).unwrap());
        assert_eq!(set.encode(), json!({"f:a": {"f:b": {}}}));
    }
}
