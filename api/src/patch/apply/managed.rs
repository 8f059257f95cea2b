//! `metadata.managedFields`: who owns which fields.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::set::FieldSet;

/// More update managers than this are thrown together, oldest first.
const MAX_UPDATERS: usize = 10;
/// Under this name.
const ANCIENT: &str = "ancient-changes";

/// What tells managers apart: the same name owns separately as an applier, through a subresource, and in another version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ManagerKey {
    pub(super) name: String,
    pub(super) applied: bool,
    /// Empty for appliers: those are the same in every version.
    pub(super) api_version: String,
    pub(super) subresource: String,
}

impl ManagerKey {
    pub(super) fn applier(name: &str, subresource: &str) -> Self {
        Self {
            name: name.to_owned(),
            applied: true,
            api_version: String::new(),
            subresource: subresource.to_owned(),
        }
    }

    pub(super) fn updater(name: &str, api_version: &str, subresource: &str) -> Self {
        Self {
            name: name.to_owned(),
            applied: false,
            api_version: api_version.to_owned(),
            subresource: subresource.to_owned(),
        }
    }

    /// As conflicts print it: `"kubectl" using apps/v1`.
    pub(super) fn print(&self) -> String {
        let mut text = format!("{:?}", self.name);
        if !self.subresource.is_empty() {
            text.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if !self.applied {
            text.push_str(&format!(" using {}", self.api_version));
        }
        text
    }
}

/// What one manager owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) set: FieldSet,
    pub(super) api_version: String,
    /// As it is on the wire.
    pub(super) time: Option<String>,
}

/// What all managers own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Managed(pub(super) BTreeMap<ManagerKey, Owned>);

/// A time as `managedFields` writes it.
pub(super) fn stamp(now: Timestamp) -> String {
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

impl Managed {
    /// Reads an object's `managedFields`; what is malformed counts as nobody owning anything, as upstream has it.
    pub(super) fn of(object: &Value) -> Self {
        let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
        entries.and_then(|entries| Self::decode(entries)).unwrap_or_default()
    }

    fn decode(entries: &[Value]) -> Option<Self> {
        let mut managed = BTreeMap::new();
        for entry in entries {
            let text = |field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default();
            let api_version = text("apiVersion");
            let key = match text("operation") {
                "Apply" => ManagerKey::applier(text("manager"), text("subresource")),
                "Update" => ManagerKey::updater(text("manager"), api_version, text("subresource")),
                _ => return None,
            };
            if !matches!(text("fieldsType"), "" | "FieldsV1") {
                return None;
            }
            let set = match entry.get("fieldsV1") {
                None | Some(Value::Null) => FieldSet::default(),
                Some(fields) => FieldSet::decode(fields)?,
            };
            let owned = Owned {
                set,
                api_version: api_version.to_owned(),
                time: entry.get("time").and_then(Value::as_str).map(str::to_owned),
            };
            managed.insert(key, owned);
        }
        Some(Self(managed))
    }

    /// Everything that anybody owns.
    pub(super) fn union(&self) -> FieldSet {
        let mut all = FieldSet::default();
        for owned in self.0.values() {
            all.union_with(owned.set.clone());
        }
        all
    }

    /// Forgets managers that own nothing.
    pub(super) fn drop_empty(&mut self) {
        self.0.retain(|_, owned| !owned.set.is_empty());
    }

    /// Throws the oldest update managers of each version together until there are few enough.
    pub(super) fn cap(&mut self) {
        let mut updaters: Vec<(String, ManagerKey)> = self
            .0
            .iter()
            .filter(|(key, _)| !key.applied)
            .map(|(key, owned)| (owned.time.clone().unwrap_or_default(), key.clone()))
            .collect();
        let mut length = updaters.len();
        if length <= MAX_UPDATERS {
            return;
        }
        updaters.sort();
        let mut firsts: BTreeMap<String, ManagerKey> = BTreeMap::new();
        for (time, key) in updaters {
            if length <= MAX_UPDATERS {
                break;
            }
            let Some(first) = firsts.get(&key.api_version) else {
                firsts.insert(key.api_version.clone(), key);
                continue;
            };
            let Some(owned) = self.0.remove(&key) else { continue };
            let bucket = ManagerKey::updater(ANCIENT, &key.api_version, "");
            if !self.0.contains_key(&bucket)
                && let Some(oldest) = self.0.remove(first)
            {
                self.0.insert(bucket.clone(), oldest);
            }
            let entry = self.0.entry(bucket).or_insert_with(|| Owned {
                set: FieldSet::default(),
                api_version: key.api_version.clone(),
                time: None,
            });
            entry.set.union_with(owned.set);
            entry.time = (!time.is_empty()).then_some(time);
            length -= 1;
        }
    }

    /// Writes an object's `managedFields`.
    pub(super) fn write(&self, object: &mut Value) {
        let mut entries: Vec<(&ManagerKey, &Owned)> = self.0.iter().collect();
        entries.sort_by(|(a, x), (b, y)| {
            let rank = |key: &ManagerKey| !key.applied;
            (rank(a), &x.time, &a.name, &x.api_version, &a.subresource).cmp(&(
                rank(b),
                &y.time,
                &b.name,
                &y.api_version,
                &b.subresource,
            ))
        });
        let entries: Vec<Value> = entries.into_iter().map(|(key, owned)| encode(key, owned)).collect();
        let Some(object) = object.as_object_mut() else { return };
        let metadata = object.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
        if let Some(metadata) = metadata.as_object_mut() {
            if entries.is_empty() {
                metadata.remove("managedFields");
            } else {
                metadata.insert("managedFields".to_owned(), Value::Array(entries));
            }
        }
    }
}

fn encode(key: &ManagerKey, owned: &Owned) -> Value {
    let mut entry = json!({
        "manager": key.name,
        "operation": if key.applied { "Apply" } else { "Update" },
        "apiVersion": owned.api_version,
        "fieldsType": "FieldsV1",
        "fieldsV1": owned.set.encode(),
    });
    if let Some(time) = &owned.time {
        entry["time"] = json!(time);
    }
    if !key.subresource.is_empty() {
        entry["subresource"] = json!(key.subresource);
    }
    entry
}

/// Whether two objects are equal, but for their `managedFields`.
pub(super) fn same_but_owners(a: &Value, b: &Value) -> bool {
    let (Value::Object(a), Value::Object(b)) = (a, b) else {
        return a == b;
    };
    let same = |a: &Map<String, Value>, b: &Map<String, Value>, but: &str| {
        let count = |map: &Map<String, Value>| map.len() - usize::from(map.contains_key(but));
        count(a) == count(b) && a.iter().all(|(key, value)| key == but || b.get(key) == Some(value))
    };
    let metadata = |object: &Map<String, Value>| object.get("metadata").and_then(Value::as_object).is_some();
    let inside = match (a.get("metadata"), b.get("metadata")) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => same(a, b, "managedFields"),
        _ => !metadata(a) && !metadata(b),
    };
    inside && same(a, b, "metadata")
}
