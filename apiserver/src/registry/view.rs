//! Resources that are another resource in another shape: `events.k8s.io/v1` Events are stored as core/v1 Events.

use std::sync::Arc;

use serde_json::{Map, Value};
use timonel_api::resources::ResourceInfo;

use super::{Answer, Target};
use crate::cache::Object;

/// core/v1's name of a field, and events.k8s.io/v1's.
const EVENT_FIELDS: &[(&str, &str)] = &[
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("source", "deprecatedSource"),
    ("reportingComponent", "reportingController"),
];

/// The group resource under which a resource's objects are stored.
pub(super) fn stored_as(info: &ResourceInfo) -> String {
    if info.group == "events.k8s.io" {
        info.plural.to_owned()
    } else {
        info.group_resource()
    }
}

/// Turns a stored object into the shape that was addressed.
pub(super) fn outward(target: &Target, object: Arc<Object>) -> Answer {
    if target.is_view() {
        Answer::Value(outward_value(target, &object.value()))
    } else {
        Answer::Stored(object)
    }
}

/// Turns a stored value into the shape that was addressed.
pub(super) fn outward_value(target: &Target, value: &Value) -> Value {
    if target.is_view() {
        rename(value, &target.info.api_version(), |(stored, addressed)| {
            (stored, addressed)
        })
    } else {
        value.clone()
    }
}

/// Turns a value in the shape that was addressed into the stored one.
pub(super) fn inward(target: &Target, value: Value) -> Value {
    if target.is_view() {
        rename(&value, &target.slot.info.api_version(), |(stored, addressed)| {
            (addressed, stored)
        })
    } else {
        value
    }
}

fn rename<'a>(value: &Value, api_version: &str, direction: impl Fn((&'a str, &'a str)) -> (&'a str, &'a str)) -> Value {
    let mut out = Map::new();
    for (key, field) in value.as_object().into_iter().flatten() {
        let renamed = EVENT_FIELDS
            .iter()
            .map(|pair| direction(*pair))
            .find(|(from, _)| from == key)
            .map_or(key.as_str(), |(_, to)| to);
        out.insert(renamed.to_owned(), field.clone());
    }
    out.insert("apiVersion".to_owned(), api_version.into());
    Value::Object(out)
}

impl Target {
    /// A stored object in the shape that was addressed.
    pub fn shown(&self, object: &Arc<Object>) -> Answer {
        outward(self, object.clone())
    }

    /// A stored value in the shape that was addressed.
    pub fn shown_value(&self, stored: &Value) -> Value {
        outward_value(self, stored)
    }

    /// A shown object in the stored shape.
    pub fn stored_value(&self, shown: &Arc<Value>) -> Arc<Value> {
        if self.is_view() {
            Arc::new(inward(self, (**shown).clone()))
        } else {
            shown.clone()
        }
    }
}
