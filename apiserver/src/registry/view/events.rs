//! `events.k8s.io/v1` Events are core/v1 Events with other names for some fields.

use serde_json::{Map, Value};

/// core/v1's name of a field, and events.k8s.io/v1's.
const FIELDS: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("source", "deprecatedSource"),
    ("reportingComponent", "reportingController"),
];

pub(super) fn outward(stored: &Value) -> Value {
    rename(stored, |(stored, shown)| (stored, shown))
}

pub(super) fn inward(shown: &Value) -> Result<Value, String> {
    Ok(rename(shown, |(stored, shown)| (shown, stored)))
}

fn rename<'a>(value: &Value, direction: impl Fn((&'a str, &'a str)) -> (&'a str, &'a str)) -> Value {
    let mut out = Map::new();
    for (key, field) in value.as_object().into_iter().flatten() {
        let renamed = FIELDS
            .iter()
            .map(|pair| direction(*pair))
            .find(|(from, _)| from == key)
            .map_or(key.as_str(), |(_, to)| to);
        out.insert(renamed.to_owned(), field.clone());
    }
    Value::Object(out)
}
